CREATE TABLE threadline.exempt_columns (
  relation    regclass    NOT NULL,
  column_name text        NOT NULL COLLATE "C",
  reason      text        NOT NULL CHECK (reason ~ '[^[:space:]]'),
  exempted_at timestamptz NOT NULL,
  exempted_by text        NOT NULL,
  actor_ref   jsonb,
  table_schema text        NOT NULL,
  table_name  text        NOT NULL,
  database    text        NOT NULL,
  -- The key includes the names: pg_dump writes the OID of a dropped table, and another table may have that OID in the
  -- copy.
  PRIMARY KEY (relation, table_schema, table_name, column_name)
);
COMMENT ON TABLE threadline.exempt_columns IS
  'Columns that have the name of a secret but may be recorded, with the reason; written by threadline.exempt_column '
  'and threadline.unexempt_column.';
COMMENT ON COLUMN threadline.exempt_columns.relation IS 'The table of the column, whatever its current name.';
COMMENT ON COLUMN threadline.exempt_columns.column_name IS 'The name of the column.';
COMMENT ON COLUMN threadline.exempt_columns.reason IS 'Why its values may be recorded.';
COMMENT ON COLUMN threadline.exempt_columns.exempted_at IS 'When the column was exempted.';
COMMENT ON COLUMN threadline.exempt_columns.exempted_by IS
  'The database role that exempted the column (including SET ROLE).';
COMMENT ON COLUMN threadline.exempt_columns.actor_ref IS
  'Who exempted the column, as {"type": "user", "id": "123"}; NULL if the transaction had no actor.';
COMMENT ON COLUMN threadline.exempt_columns.table_schema IS 'Schema of the table when the column was exempted.';
COMMENT ON COLUMN threadline.exempt_columns.table_name IS 'Name of the table when the column was exempted.';
COMMENT ON COLUMN threadline.exempt_columns.database IS
  'Identity of the database in which the column was exempted. In a restored database, the table name must match too.';
