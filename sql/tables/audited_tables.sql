CREATE TABLE threadline.audited_tables (
  id                    integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  -- regclass instead of text, because it follows a rename, and pg_dump writes it by name. The column is not unique: for
  -- a dropped table pg_dump writes the OID, and another table may have that OID where the dump is restored.
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
COMMENT ON INDEX threadline.audited_tables_relation IS 'Finds the audited_tables rows of a table.';
COMMENT ON TABLE threadline.audited_tables IS
  'The audited tables, one row each; written only by threadline.audit_table and threadline.unaudit_table.';
COMMENT ON COLUMN threadline.audited_tables.id IS
  'Identity of the table in the audit log; unchanged when the table is renamed.';
COMMENT ON COLUMN threadline.audited_tables.relation IS 'The table itself, whatever its current name.';
COMMENT ON COLUMN threadline.audited_tables.table_schema IS 'Schema of the table when its capture was last defined.';
COMMENT ON COLUMN threadline.audited_tables.table_name IS 'Name of the table when its capture was last defined.';
COMMENT ON COLUMN threadline.audited_tables.key_columns IS
  'Columns of the primary key, in key order; empty if there is no primary key.';
COMMENT ON COLUMN threadline.audited_tables.key_type IS
  'Which key column of audit_changes contains the keys of this table: key_bigint, key_integer, key_text or key_uuid; '
  'NULL if the table has no primary key.';
COMMENT ON COLUMN threadline.audited_tables.excluded_columns IS 'Columns that are never recorded.';
COMMENT ON COLUMN threadline.audited_tables.masked_columns IS 'Columns recorded as the placeholder [REDACTED].';
COMMENT ON COLUMN threadline.audited_tables.hashed_columns IS
  'Columns of the primary key that are recorded as a keyed hash of their values.';
COMMENT ON COLUMN threadline.audited_tables.granularity IS 'Whether capture runs once per statement or once per row.';
COMMENT ON COLUMN threadline.audited_tables.requested_granularity IS
  'The requested granularity; NULL if threadline.audit_table chooses it.';
COMMENT ON COLUMN threadline.audited_tables.definition_version IS
  'Version of the generator that created the capture functions of this table.';
COMMENT ON COLUMN threadline.audited_tables.definition IS
  'What the generator read from the catalog: columns with their numbers and types, defaults of columns added since, '
  'and partitions. If it differs from the catalog, the definition is stale.';
COMMENT ON COLUMN threadline.audited_tables.definition_id IS
  'The table_definitions row that describes the table as its capture is defined.';
COMMENT ON COLUMN threadline.audited_tables.first_definition_id IS
  'The table_definitions row with which the history of the table begins. Changes with older definitions are kept, but '
  'the audit log does not know what happened between them and that beginning.';
COMMENT ON COLUMN threadline.audited_tables.older_definitions IS
  'How row images with other definitions of the table are read today: for each definition id, the current names of its '
  'columns and how their values were converted.';
COMMENT ON COLUMN threadline.audited_tables.gap IS
  'Why the history before capture_since is unknown; NULL if capture_since is when the table was first audited.';
COMMENT ON COLUMN threadline.audited_tables.capture_since IS 'Every change from this time on is recorded.';
COMMENT ON COLUMN threadline.audited_tables.capture_ended_at IS 'When capture ended; NULL while capture is active.';
COMMENT ON COLUMN threadline.audited_tables.catalog_versions IS
  'Versions of the capture triggers, columns and files of the table at the last refresh. They change when someone '
  'disables and re-enables a trigger or rewrites a column.';
COMMENT ON COLUMN threadline.audited_tables.purged_before IS
  'Changes before this time were removed from the audit log, so no row can be read as of an earlier time; NULL if none '
  'were removed.';
-- The ids start at a different value in each installation, so that rows loaded from another audit log are not mistaken
-- for rows of this one.
SELECT setval('threadline.audited_tables_id_seq', 1 + (hashtextextended(
         concat(s.system_identifier, d.oid, clock_timestamp()), 14) & 1073741823), false)
  FROM pg_control_system() AS s, pg_database AS d WHERE d.datname = current_database();
