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
  'Definitions of audited tables. Each change refers to the definition of its table when the change was recorded. A '
  'refresh creates a definition, and so does the first write after a change of the columns that no refresh has '
  'followed.';
COMMENT ON COLUMN threadline.table_definitions.id IS
  'The id that audit_changes.definition_id refers to; increases over time.';
COMMENT ON COLUMN threadline.table_definitions.table_id IS 'The audited_tables row of the table.';
COMMENT ON COLUMN threadline.table_definitions.columns IS
  'The columns by name, each with its type and its number, which identifies it after a rename.';
COMMENT ON COLUMN threadline.table_definitions.key_columns IS
  'The columns that form the keys of the changes, in key order; empty if there is no primary key.';
COMMENT ON COLUMN threadline.table_definitions.layout IS 'A hash of the names, numbers and types of the columns.';
COMMENT ON COLUMN threadline.table_definitions.relation IS 'The OID of the table at that time.';
COMMENT ON COLUMN threadline.table_definitions.database IS
  'Identity of the database. Column numbers differ where a dump was restored.';
COMMENT ON COLUMN threadline.table_definitions.defined_at IS 'When the definition was created.';
-- The ids start at a different value in each installation, so that rows loaded from another audit log are not mistaken
-- for rows of this one.
SELECT setval('threadline.table_definitions_id_seq', 1 + (hashtextextended(
         concat(s.system_identifier, d.oid, clock_timestamp()), 17) & 1073741823), false)
  FROM pg_control_system() AS s, pg_database AS d WHERE d.datname = current_database();
