CREATE TABLE threadline.exempt_tables (
  relation    regclass    NOT NULL,
  reason      text        NOT NULL CHECK (reason ~ '[^[:space:]]'),
  exempted_at timestamptz NOT NULL,
  exempted_by text        NOT NULL,
  actor_ref   jsonb,
  table_schema text        NOT NULL,
  table_name  text        NOT NULL,
  database    text        NOT NULL,
  -- The names as well: pg_dump writes the OID of a table that is gone, and another may have that in the copy.
  PRIMARY KEY (relation, table_schema, table_name)
);
COMMENT ON TABLE threadline.exempt_tables IS
  'The tables that need not be audited, with the reason; written by threadline.exempt_table and '
  'threadline.unexempt_table.';
COMMENT ON COLUMN threadline.exempt_tables.relation IS 'The table itself, wherever it is called today.';
COMMENT ON COLUMN threadline.exempt_tables.reason IS 'Why it need not be audited.';
COMMENT ON COLUMN threadline.exempt_tables.exempted_at IS 'When that was said.';
COMMENT ON COLUMN threadline.exempt_tables.exempted_by IS 'The database role that said so (SET ROLE included).';
COMMENT ON COLUMN threadline.exempt_tables.actor_ref IS
  'Who said so, as {"type": "user", "id": "123"}; NULL when the transaction had no actor.';
COMMENT ON COLUMN threadline.exempt_tables.table_schema IS 'The schema of the table when that was said.';
COMMENT ON COLUMN threadline.exempt_tables.table_name IS 'The name of the table when that was said.';
COMMENT ON COLUMN threadline.exempt_tables.database IS
  'The identity of the database that it was said in: in a restored one the name has to agree.';
