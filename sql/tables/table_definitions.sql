CREATE TABLE threadline.table_definitions (
  id           integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  table_id     integer     NOT NULL,
  columns      jsonb       NOT NULL,
  key_columns  text[]      NOT NULL,
  layout       text        NOT NULL,
  relation     oid         NOT NULL,
  database     text        NOT NULL,
  defined_at   timestamptz NOT NULL
);
CREATE INDEX table_definitions_table_id ON threadline.table_definitions (table_id, layout);
COMMENT ON INDEX threadline.table_definitions_table_id IS 'Finds the definitions of a table.';
COMMENT ON TABLE threadline.table_definitions IS
  'What an audited table was like when changes of it were recorded: each change names its definition. A refresh makes '
  'one, and so does the first write after a change of the columns that no refresh has followed.';
COMMENT ON COLUMN threadline.table_definitions.id IS 'What audit_changes.definition_id refers to; grows with time.';
COMMENT ON COLUMN threadline.table_definitions.table_id IS 'The audited_tables row of the table.';
COMMENT ON COLUMN threadline.table_definitions.columns IS
  'The columns by name, each with its number, by which it is known after a renaming, and its type.';
COMMENT ON COLUMN threadline.table_definitions.key_columns IS
  'The columns that the keys of the changes are taken from, in key order; empty without a primary key.';
COMMENT ON COLUMN threadline.table_definitions.layout IS 'A hash of the names, numbers and types of the columns.';
COMMENT ON COLUMN threadline.table_definitions.relation IS 'The OID that the table had.';
COMMENT ON COLUMN threadline.table_definitions.database IS
  'The identity of the database; the numbers of columns are others where a dump was restored.';
COMMENT ON COLUMN threadline.table_definitions.defined_at IS 'When the definition was made.';
-- The ids begin somewhere else in each installation: rows of one audit log that are loaded into another are not taken
-- for its own.
SELECT setval('threadline.table_definitions_id_seq', 1 + (hashtextextended(
         concat(s.system_identifier, d.oid, clock_timestamp()), 17) & 1073741823), false)
  FROM pg_control_system() AS s, pg_database AS d WHERE d.datname = current_database();
