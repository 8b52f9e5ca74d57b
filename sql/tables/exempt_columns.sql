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
  -- The names as well: pg_dump writes the OID of a table that is gone, and another may have that in the copy.
  PRIMARY KEY (relation, table_schema, table_name, column_name)
);
COMMENT ON TABLE threadline.exempt_columns IS
  'The columns with the name of a secret that may be recorded, with the reason; written by '
  'threadline.exempt_column and threadline.unexempt_column.';
COMMENT ON COLUMN threadline.exempt_columns.relation IS 'The table of the column, wherever it is called today.';
COMMENT ON COLUMN threadline.exempt_columns.column_name IS 'The name of the column.';
COMMENT ON COLUMN threadline.exempt_columns.reason IS 'Why its values may be recorded.';
COMMENT ON COLUMN threadline.exempt_columns.exempted_at IS 'When that was said.';
COMMENT ON COLUMN threadline.exempt_columns.exempted_by IS
  'The database role that said so (SET ROLE included).';
COMMENT ON COLUMN threadline.exempt_columns.actor_ref IS
  'Who said so, as {"type": "user", "id": "123"}; NULL when the transaction had no actor.';
COMMENT ON COLUMN threadline.exempt_columns.table_schema IS 'The schema of the table when that was said.';
COMMENT ON COLUMN threadline.exempt_columns.table_name IS 'The name of the table when that was said.';
COMMENT ON COLUMN threadline.exempt_columns.database IS
  'The identity of the database that it was said in: in a restored one the name has to agree.';
