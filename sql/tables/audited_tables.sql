CREATE TABLE threadline.audited_tables (
  id                    integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  -- regclass and not text: it follows a rename, and pg_dump writes it by name. Not unique: pg_dump writes the OID of a
  -- table that is gone, and another table may have that one where the dump is restored.
  relation              regclass    NOT NULL,
  table_schema           text        NOT NULL,
  table_name            text        NOT NULL,
  key_columns           text[]      NOT NULL,
  key_type              text        CHECK (key_type IN ('bigint', 'integer', 'text', 'uuid')),
  excluded_columns      text[]      NOT NULL,
  masked_columns        text[]      NOT NULL,
  hashed_columns        text[]      NOT NULL,
  granularity           text        NOT NULL CHECK (granularity IN ('row', 'statement')),
  requested_granularity text        CHECK (requested_granularity IN ('row', 'statement')),
  definition_version    integer     NOT NULL,
  definition            jsonb       NOT NULL,
  definition_id         integer     NOT NULL,
  first_definition_id   integer     NOT NULL,
  older_definitions     jsonb       NOT NULL,
  capture_since         timestamptz NOT NULL,
  gap                   text,
  capture_ended_at      timestamptz,
  purged_before         timestamptz,
  catalog_versions      jsonb
);
CREATE INDEX audited_tables_relation ON threadline.audited_tables (relation);
COMMENT ON INDEX threadline.audited_tables_relation IS 'Finds what is known of a table.';
COMMENT ON TABLE threadline.audited_tables IS
  'The tables under capture, one row each; written by threadline.audit_table and threadline.unaudit_table only.';
COMMENT ON COLUMN threadline.audited_tables.id IS
  'Identity of the table in the audit log; survives renaming the table.';
COMMENT ON COLUMN threadline.audited_tables.relation IS 'The table itself, wherever it is called today.';
COMMENT ON COLUMN threadline.audited_tables.table_schema IS 'Schema of the table when its capture was last defined.';
COMMENT ON COLUMN threadline.audited_tables.table_name IS 'Name of the table when its capture was last defined.';
COMMENT ON COLUMN threadline.audited_tables.key_columns IS
  'Columns of the primary key, in key order; empty without one.';
COMMENT ON COLUMN threadline.audited_tables.key_type IS
  'Which key column of audit_changes holds the keys of this table: key_bigint, key_integer, key_text or key_uuid; '
  'NULL without a primary key.';
COMMENT ON COLUMN threadline.audited_tables.excluded_columns IS 'Columns that are never recorded.';
COMMENT ON COLUMN threadline.audited_tables.masked_columns IS 'Columns recorded as the placeholder [REDACTED].';
COMMENT ON COLUMN threadline.audited_tables.hashed_columns IS
  'Columns of the primary key recorded as a keyed hash of their values.';
COMMENT ON COLUMN threadline.audited_tables.granularity IS 'Whether capture runs once per statement or once per row.';
COMMENT ON COLUMN threadline.audited_tables.requested_granularity IS
  'The granularity asked for; NULL leaves the choice to threadline.audit_table.';
COMMENT ON COLUMN threadline.audited_tables.definition_version IS
  'Version of the generator that built the capture functions of this table.';
COMMENT ON COLUMN threadline.audited_tables.definition IS
  'What the generator read from the catalog: columns with their numbers and types, defaults of columns '
  'added since, partitions. Differs from the catalog when the definition is stale.';
COMMENT ON COLUMN threadline.audited_tables.definition_id IS
  'The table_definitions row of the table, as its capture is defined.';
COMMENT ON COLUMN threadline.audited_tables.first_definition_id IS
  'The table_definitions row that the history of the table begins with. Changes of older definitions are kept, but '
  'nothing says what happened between them and the beginning.';
COMMENT ON COLUMN threadline.audited_tables.older_definitions IS
  'How images of other definitions of the table are read today: by the id of the definition, what its columns are '
  'called now, and how their values were converted.';
COMMENT ON COLUMN threadline.audited_tables.gap IS
  'Why nothing is known of the time before capture_since; NULL where that is when the table was first audited.';
COMMENT ON COLUMN threadline.audited_tables.capture_since IS 'Every change from this time on is recorded.';
COMMENT ON COLUMN threadline.audited_tables.capture_ended_at IS 'When capture was ended; NULL while it goes on.';
COMMENT ON COLUMN threadline.audited_tables.catalog_versions IS
  'The versions that the capture triggers, the columns and the files of the table had at the last refresh. They are '
  'others when somebody has switched a trigger off and on again, or rewritten a column.';
COMMENT ON COLUMN threadline.audited_tables.purged_before IS
  'Changes from before this time were removed from the audit log, so that nothing can be read as of it; NULL while '
  'none were.';
-- The ids begin somewhere else in each installation: rows of one audit log that are loaded into another are not taken
-- for its own.
SELECT setval('threadline.audited_tables_id_seq', 1 + (hashtextextended(
         concat(s.system_identifier, d.oid, clock_timestamp()), 14) & 1073741823), false)
  FROM pg_control_system() AS s, pg_database AS d WHERE d.datname = current_database();
