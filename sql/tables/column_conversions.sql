CREATE TABLE threadline.column_conversions (
  table_id       integer     NOT NULL,
  column_number  smallint    NOT NULL,
  definition_id  integer     NOT NULL,
  last_definition_id integer NOT NULL,
  column_name    text        NOT NULL,
  from_type      text        NOT NULL,
  to_type        text        NOT NULL,
  converted_at   timestamptz NOT NULL,
  expression     text,
  gap            text,
  can_be_declared boolean    NOT NULL,
  PRIMARY KEY (table_id, column_number, definition_id)
);
COMMENT ON TABLE threadline.column_conversions IS
  'The columns of audited tables whose values a migration converted to another type or to other values, and the '
  'columns that a migration may have rewritten with the same type (without a gap). Older values are converted the same '
  'way when they are read, as far as the conversion is known.';
COMMENT ON COLUMN threadline.column_conversions.table_id IS 'The audited_tables row of the table.';
COMMENT ON COLUMN threadline.column_conversions.column_number IS
  'Number of the column, which does not change when the column is renamed.';
COMMENT ON COLUMN threadline.column_conversions.definition_id IS
  'The first table_definitions row with the converted column.';
COMMENT ON COLUMN threadline.column_conversions.last_definition_id IS
  'The last table_definitions row whose changes were all recorded before the migration. A change with a later '
  'definition was recorded before the migration if the column had another type.';
COMMENT ON COLUMN threadline.column_conversions.column_name IS 'Name of the column before the conversion.';
COMMENT ON COLUMN threadline.column_conversions.from_type IS 'Type of the column before the conversion.';
COMMENT ON COLUMN threadline.column_conversions.to_type IS 'Type of the column after the conversion.';
COMMENT ON COLUMN threadline.column_conversions.converted_at IS
  'When the refresh after the migration detected the conversion.';
COMMENT ON COLUMN threadline.column_conversions.expression IS
  'The conversion that threadline.declare_conversion declared; NULL if PostgreSQL converts the one type to the other.';
COMMENT ON COLUMN threadline.column_conversions.can_be_declared IS
  'Whether the changes recorded before the migration can be identified: either by the type of the column, or because '
  'the refresh ran in the transaction of the migration.';
COMMENT ON COLUMN threadline.column_conversions.gap IS
  'Why the conversion is unknown, so that the column cannot be read as of an earlier time; NULL if the conversion is '
  'known.';
