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
  'The columns of audited tables whose values a migration has converted: to another type, or to other values; and '
  'those that it has perhaps rewritten, with the same type and no gap. What was recorded before is converted the same '
  'way when it is read, as far as the conversion is known.';
COMMENT ON COLUMN threadline.column_conversions.table_id IS 'The audited_tables row of the table.';
COMMENT ON COLUMN threadline.column_conversions.column_number IS
  'Number of the column, which stays the same when it is renamed.';
COMMENT ON COLUMN threadline.column_conversions.definition_id IS
  'The first table_definitions row with the converted column.';
COMMENT ON COLUMN threadline.column_conversions.last_definition_id IS
  'The last table_definitions row all of whose changes were recorded before the migration. What has a later one was '
  'recorded before it if the column had another type.';
COMMENT ON COLUMN threadline.column_conversions.column_name IS 'What the column was called before.';
COMMENT ON COLUMN threadline.column_conversions.from_type IS 'Type of the column before.';
COMMENT ON COLUMN threadline.column_conversions.to_type IS 'Type of the column since.';
COMMENT ON COLUMN threadline.column_conversions.converted_at IS
  'When the refresh that followed the migration found the conversion.';
COMMENT ON COLUMN threadline.column_conversions.expression IS
  'The conversion, as threadline.declare_conversion was told; NULL where PostgreSQL converts the one type to the '
  'other.';
COMMENT ON COLUMN threadline.column_conversions.can_be_declared IS
  'Whether it is known which changes were recorded before the migration: they are told by the type of the column, or '
  'the '
  'refresh was in the transaction of the migration.';
COMMENT ON COLUMN threadline.column_conversions.gap IS
  'Why the conversion is not known, so that the column cannot be read as of a time before it; NULL where it is known.';
