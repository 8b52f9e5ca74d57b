CREATE TABLE threadline.exempt_tables (
  relation    regclass    NOT NULL,
  reason      text        NOT NULL CHECK (reason ~ '[^[:space:]]'),
  exempted_at timestamptz NOT NULL,
  exempted_by text        NOT NULL,
  actor_ref   jsonb,
  table_schema text        NOT NULL,
  table_name  text        NOT NULL,
  database    text        NOT NULL,
  -- The key includes the names: pg_dump writes the OID of a dropped table, and another table may have that OID in the
  -- copy.
  PRIMARY KEY (relation, table_schema, table_name)
);
COMMENT ON TABLE threadline.exempt_tables IS
  'Tables that need not be audited, with the reason; written by threadline.exempt_table and threadline.unexempt_table.';
COMMENT ON COLUMN threadline.exempt_tables.relation IS 'The table itself, whatever its current name.';
COMMENT ON COLUMN threadline.exempt_tables.reason IS 'Why the table need not be audited.';
COMMENT ON COLUMN threadline.exempt_tables.exempted_at IS 'When the table was exempted.';
COMMENT ON COLUMN threadline.exempt_tables.exempted_by IS
  'The database role that exempted the table (including SET ROLE).';
COMMENT ON COLUMN threadline.exempt_tables.actor_ref IS
  'Who exempted the table, as {"type": "user", "id": "123"}; NULL if the transaction had no actor.';
COMMENT ON COLUMN threadline.exempt_tables.table_schema IS 'Schema of the table when it was exempted.';
COMMENT ON COLUMN threadline.exempt_tables.table_name IS 'Name of the table when it was exempted.';
COMMENT ON COLUMN threadline.exempt_tables.database IS
  'Identity of the database in which the table was exempted. In a restored database, the table name must match too.';
