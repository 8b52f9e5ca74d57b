-- Threadline, written from sql/ of its repository by `cargo xtask migration`. Do not edit.

SELECT pg_catalog.set_config('check_function_bodies', 'off', true);

-- Running a migration writes a row to Diesel's table of migrations, and so runs any code on that table with the rights
-- of the role that runs the migration. The table and all of its code must therefore belong to that role or to a
-- superuser. The check looks up the table in the search_path of the session, as Diesel does, and uses the search_path
-- for nothing else. Code is whatever the triggers, defaults, constraints, indexes and columns of the table depend on. A
-- rule or a policy is always rejected, whatever it does.
DO $check$
DECLARE
  migrations regclass := pg_catalog.to_regclass('__diesel_schema_migrations');
  path text := pg_catalog.current_setting('search_path');
  trusted oid[];
  owned_by oid;
  found text;
  problem text;
  advice text;
BEGIN
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  trusted := ARRAY(SELECT r.oid FROM pg_roles AS r WHERE r.rolsuper OR r.rolname = current_user);
  SELECT c.relowner INTO owned_by FROM pg_class AS c WHERE c.oid = migrations;
  WITH parts AS (
    SELECT 'pg_class'::regclass::oid AS classid, migrations::oid AS objid
     UNION
    SELECT d.classid, d.objid FROM pg_depend AS d
     WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = migrations AND d.deptype IN ('a', 'i'))
  SELECT pg_describe_object(p.classid, p.objid, 0) INTO found
    FROM parts AS p
   WHERE p.classid IN ('pg_rewrite'::regclass, 'pg_policy'::regclass)
      OR EXISTS (SELECT FROM pg_depend AS u
                   LEFT JOIN pg_proc AS f ON u.refclassid = 'pg_proc'::regclass AND f.oid = u.refobjid
                   LEFT JOIN pg_type AS t ON u.refclassid = 'pg_type'::regclass AND t.oid = u.refobjid
                   LEFT JOIN pg_operator AS o ON u.refclassid = 'pg_operator'::regclass AND o.oid = u.refobjid
                  WHERE u.classid = p.classid AND u.objid = p.objid
                    AND coalesce(f.proowner, t.typowner, o.oprowner) <> ALL (trusted))
   ORDER BY 1 LIMIT 1;
  IF NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = migrations AND c.relkind = 'r')
    OR EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhparent = migrations) THEN
    problem := format('%s is not an ordinary table', migrations);
    advice := 'Find out who made it. Rename it, and run the migrations of Threadline again.';
  ELSIF owned_by <> ALL (trusted) THEN
    problem := format('%s belongs to %s, whose code would run as %I', migrations, owned_by::regrole, current_user);
    advice := format('Run the migrations of Threadline as %2$s, or first: ALTER TABLE %1$s OWNER TO %3$I; '
      'GRANT SELECT, INSERT, UPDATE, DELETE ON %1$s TO %2$s;', migrations, owned_by::regrole, current_user);
  ELSIF found IS NOT NULL THEN
    problem := format('%s has code that would run as %I: %s', migrations, current_user, found);
    advice := 'Look at it, and drop it; then run the migrations of Threadline again.';
  END IF;
  IF migrations IS NOT NULL AND problem IS NOT NULL THEN
    RAISE EXCEPTION '%', problem USING ERRCODE = 'object_not_in_prerequisite_state',
      CONSTRAINT = 'threadline_migrations_table', HINT = advice;
  END IF;
  PERFORM pg_catalog.set_config('search_path', path, true);
END
$check$;

-- Nothing in these schemas is granted to PUBLIC. Applications need no right in them to be audited. The owner of the
-- schemas lets roles read the audit log with threadline.grant_reader.
CREATE SCHEMA threadline;
COMMENT ON SCHEMA threadline IS
  'Threadline: who changed what, when and why, and what everything looked like then. The public functions and views.';
CREATE SCHEMA threadline_internal;
COMMENT ON SCHEMA threadline_internal IS
  'Threadline: the implementation of the functions and views of the schema threadline. It changes without notice.';

CREATE TABLE threadline.action_rules (
  name            text    PRIMARY KEY CHECK (name ~ '^[a-z0-9_]+([.][a-z0-9_]+)+$'),
  reason_required boolean NOT NULL
);
COMMENT ON TABLE threadline.action_rules IS 'Rules for actions, by action name; written by threadline.require_reason.';
COMMENT ON COLUMN threadline.action_rules.name IS 'Name of the action, as category.verb.';
COMMENT ON COLUMN threadline.action_rules.reason_required IS
  'Whether an action with this name is rejected without a reason.';

CREATE TABLE threadline.audit_actions (
  id             uuid        PRIMARY KEY,
  name           text        NOT NULL CHECK (name ~ '^[a-z0-9_]+([.][a-z0-9_]+)+$'),
  occurred_at    timestamptz NOT NULL,
  actor_ref      jsonb       NOT NULL,
  on_behalf_of   jsonb,
  status         text        NOT NULL CHECK (status IN ('error', 'ok')),
  reason         text,
  comment        text,
  correlation_id text,
  request_id     text,
  job_id         text,
  meta           jsonb,
  transaction_id uuid        NOT NULL
);
CREATE INDEX audit_actions_transaction_id_idx ON threadline.audit_actions (transaction_id);
COMMENT ON INDEX threadline.audit_actions_transaction_id_idx IS 'The actions of a transaction.';
COMMENT ON TABLE threadline.audit_actions IS
  'Actions that someone performed, in business terms. A transaction may record several.';
COMMENT ON COLUMN threadline.audit_actions.id IS 'Identity of the action (UUID version 7).';
COMMENT ON COLUMN threadline.audit_actions.name IS 'Name of the action, as category.verb.';
COMMENT ON COLUMN threadline.audit_actions.occurred_at IS 'When the action was recorded.';
COMMENT ON COLUMN threadline.audit_actions.actor_ref IS 'Who performed the action, as {"type": "user", "id": "123"}.';
COMMENT ON COLUMN threadline.audit_actions.on_behalf_of IS
  'For whom the actor acted, in the same form; NULL if the actor acted for nobody else.';
COMMENT ON COLUMN threadline.audit_actions.status IS 'Outcome of the action: ok or error.';
COMMENT ON COLUMN threadline.audit_actions.reason IS 'Why the action was performed.';
COMMENT ON COLUMN threadline.audit_actions.comment IS 'A comment for human readers.';
COMMENT ON COLUMN threadline.audit_actions.correlation_id IS 'Links the actions of one business process.';
COMMENT ON COLUMN threadline.audit_actions.request_id IS 'The request that caused the action.';
COMMENT ON COLUMN threadline.audit_actions.job_id IS 'The background job that caused the action.';
COMMENT ON COLUMN threadline.audit_actions.meta IS 'Additional JSON data from the application.';
COMMENT ON COLUMN threadline.audit_actions.transaction_id IS
  'The audit_transactions row of the transaction that recorded the action. That transaction may contain no changes.';
CREATE INDEX audit_actions_correlation_id_idx ON threadline.audit_actions (correlation_id, transaction_id)
  WHERE correlation_id IS NOT NULL;
COMMENT ON INDEX threadline.audit_actions_correlation_id_idx IS
  'The actions of a business process, by the start time of their transactions.';
CREATE INDEX audit_actions_name_idx ON threadline.audit_actions (name, transaction_id);
COMMENT ON INDEX threadline.audit_actions_name_idx IS
  'The actions with a name, by the start time of their transactions.';
CREATE INDEX audit_actions_actor_ref_idx ON threadline.audit_actions (actor_ref, transaction_id);
COMMENT ON INDEX threadline.audit_actions_actor_ref_idx IS
  'The actions of an actor, by the start time of their transactions.';
CREATE INDEX audit_actions_on_behalf_of_idx ON threadline.audit_actions (on_behalf_of, transaction_id)
  WHERE on_behalf_of IS NOT NULL;
COMMENT ON INDEX threadline.audit_actions_on_behalf_of_idx IS
  'The actions on behalf of someone, by the start time of their transactions.';
CREATE INDEX audit_actions_name_id_idx ON threadline.audit_actions (name, id);
COMMENT ON INDEX threadline.audit_actions_name_id_idx IS 'The actions with a name, by the time they were recorded.';
CREATE INDEX audit_actions_actor_ref_id_idx ON threadline.audit_actions (actor_ref, id);
COMMENT ON INDEX threadline.audit_actions_actor_ref_id_idx IS
  'The actions of an actor, by the time they were recorded.';
CREATE INDEX audit_actions_correlation_id_id_idx ON threadline.audit_actions (correlation_id, id)
  WHERE correlation_id IS NOT NULL;
COMMENT ON INDEX threadline.audit_actions_correlation_id_id_idx IS
  'The actions of a business process, by the time they were recorded.';

CREATE TABLE threadline.audit_changes (
  id             bigint      GENERATED ALWAYS AS IDENTITY,
  transaction_id uuid        NOT NULL,
  table_id       integer     NOT NULL,
  definition_id  integer     NOT NULL DEFAULT 0,
  -- There is no CHECK, because PostgreSQL would parse it again for every statement, at a sixth of the cost of capture.
  -- Only the functions of this schema can write here.
  op             text        NOT NULL,
  captured_at    timestamptz NOT NULL,
  key_integer    integer,
  key_bigint     bigint,
  key_uuid       uuid,
  key_text       text        COLLATE "C",
  moved_key      text        COLLATE "C",
  data_after     jsonb,
  changed_from   jsonb,
  context        jsonb,
  -- In this order, the primary key serves "all changes of a transaction" and "did it change anything after T", and id
  -- needs no index of its own. There are no foreign keys: they would check for every row what the triggers already
  -- guarantee.
  PRIMARY KEY (transaction_id, captured_at, id)
) PARTITION BY RANGE (captured_at);
-- Keys of other types have an index only if a table has such keys: see threadline_internal.key_types. This index
-- contains only the start of a key: a key that fits into the index of its own table may not fit into this one,
-- especially as JSON.
CREATE INDEX audit_changes_key_text_idx ON threadline.audit_changes (table_id, left(key_text, 500), captured_at, id)
  WHERE key_text IS NOT NULL;
COMMENT ON INDEX threadline.audit_changes_key_text_idx IS
  'History of a row by a key that is neither an integer nor a uuid. Includes composite keys.';
COMMENT ON TABLE threadline.audit_changes IS
  'The insert, update, delete or truncation of one row, or its snapshot. data_after || changed_from is the row before '
  'an update. changed_from alone is the row before a delete or truncate.';
COMMENT ON COLUMN threadline.audit_changes.id IS
  'Order of the changes: of two changes of one row, the later one has the greater id.';
COMMENT ON COLUMN threadline.audit_changes.transaction_id IS
  'The audit_transactions row of the transaction that made the change.';
COMMENT ON COLUMN threadline.audit_changes.table_id IS 'The audited_tables row of the changed table.';
COMMENT ON COLUMN threadline.audit_changes.definition_id IS
  'The table_definitions row that describes the columns of the table when the change was made; 0 if the definition is '
  'unknown, in which case the row images are read unchanged.';
COMMENT ON COLUMN threadline.audit_changes.op IS
  'Operation on the row: delete, insert, truncate or update; or snapshot, which records a row that existed before '
  'capture began.';
COMMENT ON COLUMN threadline.audit_changes.captured_at IS
  'Clock time of the write, taken after the row was locked. With capture by statement, all rows of a statement have '
  'the same time.';
COMMENT ON COLUMN threadline.audit_changes.key_integer IS 'Primary key, if it is a single integer or smallint column.';
COMMENT ON COLUMN threadline.audit_changes.key_bigint IS 'Primary key, if it is a single bigint column.';
COMMENT ON COLUMN threadline.audit_changes.key_uuid IS 'Primary key, if it is a single uuid column.';
COMMENT ON COLUMN threadline.audit_changes.key_text IS
  'Primary key of any other type, as text. A composite key is a JSON array of its columns in key order.';
COMMENT ON COLUMN threadline.audit_changes.moved_key IS
  'Set if an UPDATE changed the primary key. Such an update is recorded as a delete of the old key and an insert of '
  'the new key: the delete contains the new key here, the insert the old key.';
COMMENT ON COLUMN threadline.audit_changes.data_after IS
  'The row after an insert or update, or as a snapshot found it.';
COMMENT ON COLUMN threadline.audit_changes.changed_from IS
  'Old values of the columns that an update changed; the whole row for a delete or truncate.';
COMMENT ON COLUMN threadline.audit_changes.context IS
  'Actor and context of this change if they differ from those of its transaction (a nested audited transaction); '
  'otherwise NULL.';
CREATE TABLE threadline.audit_changes_default PARTITION OF threadline.audit_changes DEFAULT;
COMMENT ON TABLE threadline.audit_changes_default IS
  'Receives the changes of months without a partition, so that a missing partition never fails a write.';
CREATE INDEX audit_changes_table_id_idx ON threadline.audit_changes (table_id, captured_at, id);
COMMENT ON INDEX threadline.audit_changes_table_id_idx IS 'The changes of a table, in timeline order.';

CREATE TABLE threadline.audit_transactions (
  id               uuid        PRIMARY KEY,
  txid             xid8        NOT NULL,
  occurred_at      timestamptz NOT NULL,
  actor_ref        jsonb,
  on_behalf_of     jsonb,
  source           text,
  correlation_id   text,
  request_id       text,
  job_id           text,
  remote_ip        inet,
  meta             jsonb,
  database_role    text        NOT NULL,
  application_name text,
  duration_class           smallint    NOT NULL DEFAULT 0
);
COMMENT ON TABLE threadline.audit_transactions IS
  'The database transactions that changed audited rows or recorded an action, with actor and context.';
COMMENT ON COLUMN threadline.audit_transactions.id IS 'Identity of the transaction (UUID version 7).';
COMMENT ON COLUMN threadline.audit_transactions.txid IS
  'Transaction id assigned by the server. Unique only together with occurred_at, because ids start again in a restored '
  'cluster.';
COMMENT ON COLUMN threadline.audit_transactions.occurred_at IS 'When the transaction began (transaction_timestamp).';
COMMENT ON COLUMN threadline.audit_transactions.actor_ref IS
  'Who acted, as {"type": "user", "id": "123"}; NULL if no actor was set.';
COMMENT ON COLUMN threadline.audit_transactions.on_behalf_of IS
  'For whom the actor acted, in the same form; NULL if the actor acted for nobody else.';
COMMENT ON COLUMN threadline.audit_transactions.source IS
  'Origin of the work: the name of an application, route or command.';
COMMENT ON COLUMN threadline.audit_transactions.correlation_id IS 'Links the transactions of one business process.';
COMMENT ON COLUMN threadline.audit_transactions.request_id IS 'The request that caused the transaction.';
COMMENT ON COLUMN threadline.audit_transactions.job_id IS 'The background job that caused the transaction.';
COMMENT ON COLUMN threadline.audit_transactions.remote_ip IS 'Address of the client that requested the work.';
COMMENT ON COLUMN threadline.audit_transactions.meta IS 'Additional JSON data from the application.';
COMMENT ON COLUMN threadline.audit_transactions.database_role IS
  'The role that wrote (including SET ROLE), so that a manual change can also be attributed.';
COMMENT ON COLUMN threadline.audit_transactions.application_name IS 'application_name of the session that wrote.';
COMMENT ON COLUMN threadline.audit_transactions.duration_class IS
  'The highest duration class of this transaction in long_transactions, if recorded; 0 if there is none.';
CREATE INDEX audit_transactions_actor_ref_idx ON threadline.audit_transactions (actor_ref, id)
  WHERE actor_ref IS NOT NULL;
COMMENT ON INDEX threadline.audit_transactions_actor_ref_idx IS 'The transactions of an actor, by the time they began.';
CREATE INDEX audit_transactions_correlation_id_idx ON threadline.audit_transactions (correlation_id, id)
  WHERE correlation_id IS NOT NULL;
COMMENT ON INDEX threadline.audit_transactions_correlation_id_idx IS
  'The transactions of a business process, by the time they began.';

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

CREATE TABLE threadline.baselines (
  table_id    integer     NOT NULL,
  as_of       timestamptz NOT NULL,
  key_order   text        NOT NULL,
  position    jsonb,
  passed      bigint      NOT NULL,
  recorded    bigint      NOT NULL,
  started_at  timestamptz NOT NULL,
  finished_at timestamptz,
  action_id   uuid        NOT NULL,
  PRIMARY KEY (table_id, as_of)
);
COMMENT ON TABLE threadline.baselines IS
  'Progress of recording snapshots of the rows that existed before capture of their table began; written by '
  'threadline.baseline_step.';
COMMENT ON COLUMN threadline.baselines.table_id IS 'The audited_tables row of the table.';
COMMENT ON COLUMN threadline.baselines.as_of IS
  'The moment that the snapshots describe: when capture began, or the time before which changes were removed from the '
  'audit log. A later moment needs another baseline.';
COMMENT ON COLUMN threadline.baselines.key_order IS
  'The key columns, in the order in which the table is scanned. If the order changes, the scan starts again.';
COMMENT ON COLUMN threadline.baselines.position IS 'The last key that was scanned, as JSON; NULL at the start.';
COMMENT ON COLUMN threadline.baselines.passed IS 'Number of rows scanned.';
COMMENT ON COLUMN threadline.baselines.recorded IS
  'Number of scanned rows for which a snapshot was recorded, which are the rows without a change.';
COMMENT ON COLUMN threadline.baselines.started_at IS 'When the first batch was recorded.';
COMMENT ON COLUMN threadline.baselines.finished_at IS 'When the last row was scanned; NULL until then.';
COMMENT ON COLUMN threadline.baselines.action_id IS 'The audit_actions row of the last run, with its actor and reason.';

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

CREATE TABLE threadline_internal.key_secrets (
  table_id   integer     PRIMARY KEY,
  inner_pad  bytea       NOT NULL,
  outer_pad  bytea       NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE threadline_internal.key_secrets IS
  'The secrets of tables whose keys are recorded as keyed hashes. Only the owner of the audit log may read them: '
  'anyone who has a secret can test guesses offline. A dump includes them, so that a restored database computes the '
  'same hashes.';
COMMENT ON COLUMN threadline_internal.key_secrets.table_id IS 'The audited_tables row of the table.';
COMMENT ON COLUMN threadline_internal.key_secrets.inner_pad IS 'Input that HMAC-SHA256 hashes before a value.';
COMMENT ON COLUMN threadline_internal.key_secrets.outer_pad IS 'Input that HMAC-SHA256 hashes before the inner hash.';
COMMENT ON COLUMN threadline_internal.key_secrets.created_at IS 'When the secret was created.';

-- Integers and uuids compare fast and stay small, and a condition on them can use an index without a cast. But every
-- statement pays for each index, whatever it writes. A key type therefore has its indexes only if a table has or had
-- such keys. Text keys always have their index, because any table may have some until it is refreshed.
CREATE TABLE threadline_internal.key_types (
  key_type text PRIMARY KEY CHECK (key_type IN ('bigint', 'integer', 'uuid'))
);
COMMENT ON TABLE threadline_internal.key_types IS
  'Types of the keys that audited tables have or had, except text. Each has an index on every partition of '
  'audit_changes.';
COMMENT ON COLUMN threadline_internal.key_types.key_type IS 'The key type, as in audited_tables.';

CREATE TABLE threadline.legal_holds (
  id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  table_id  integer,
  row_key   text        COLLATE "C",
  actor_ref jsonb,
  reason    text        NOT NULL,
  placed_at timestamptz NOT NULL,
  placed_by text        NOT NULL,
  CHECK (num_nonnulls(table_id, actor_ref) = 1 AND (row_key IS NULL OR table_id IS NOT NULL))
);
COMMENT ON TABLE threadline.legal_holds IS
  'Legal holds on data that is neither purged nor redacted, whatever the retention policies; written by '
  'threadline.place_hold and threadline.release_hold.';
COMMENT ON COLUMN threadline.legal_holds.id IS 'Identity of the hold.';
COMMENT ON COLUMN threadline.legal_holds.table_id IS
  'The audited_tables row of the held table, or of the table of the held row.';
COMMENT ON COLUMN threadline.legal_holds.row_key IS 'Primary key of the held row; NULL if the whole table is held.';
COMMENT ON COLUMN threadline.legal_holds.actor_ref IS
  'The held actor. The hold covers everything done by or on behalf of the actor.';
COMMENT ON COLUMN threadline.legal_holds.reason IS 'Why the hold was placed.';
COMMENT ON COLUMN threadline.legal_holds.placed_at IS 'When the hold was placed.';
COMMENT ON COLUMN threadline.legal_holds.placed_by IS 'The database role that placed the hold (including SET ROLE).';

CREATE TABLE threadline_internal.locks (
  name text PRIMARY KEY
);
COMMENT ON TABLE threadline_internal.locks IS
  'Tasks that only one transaction at a time may perform; see threadline_internal.take_lock.';
COMMENT ON COLUMN threadline_internal.locks.name IS
  'definitions: capture is being defined. purge: changes are being removed or redacted. retention: a policy or a hold '
  'is being changed (exclusive), or a step of a purge or redaction is reading them (shared).';
INSERT INTO threadline_internal.locks (name) VALUES ('definitions'), ('purge'), ('retention');

-- Reads as of a moment need the transactions that straddle it, which began by then and made a change after it. Most
-- transactions end soon after they began, and are found among those that began just before the moment. This table
-- records the others while they run.
CREATE TABLE threadline_internal.long_transactions (
  duration_class         smallint    NOT NULL,
  occurred_at    timestamptz NOT NULL,
  transaction_id uuid        NOT NULL,
  PRIMARY KEY (duration_class, occurred_at, transaction_id)
);
COMMENT ON TABLE threadline_internal.long_transactions IS
  'Transactions with a change 125 ms or more after they began. A transaction gets one more row each time that duration '
  'doubles.';
COMMENT ON COLUMN threadline_internal.long_transactions.duration_class IS
  'A change was captured less than 2^duration_class * 125 ms after the transaction began, and at least half of that.';
COMMENT ON COLUMN threadline_internal.long_transactions.occurred_at IS 'When the transaction began.';
COMMENT ON COLUMN threadline_internal.long_transactions.transaction_id IS
  'The audit_transactions row of the transaction.';

-- The state that each step of a purge passes to the next. It is JSON between the calls of threadline.purge_step.
CREATE TYPE threadline_internal.purge_state AS (
  partition    text,
  table_id     integer,
  after        timestamptz,
  postponed    text[],
  is_sweeping  boolean,
  action_id    uuid,
  step         text,
  counts       jsonb,
  transactions bigint
);
COMMENT ON TYPE threadline_internal.purge_state IS 'The progress of a purge, and the result of its last step.';
COMMENT ON COLUMN threadline_internal.purge_state.partition IS 'The partition that is being purged.';
COMMENT ON COLUMN threadline_internal.purge_state.table_id IS
  'The table whose changes are being removed from the partition; NULL before the first batch.';
COMMENT ON COLUMN threadline_internal.purge_state.after IS 'The time of the last removed change of that table.';
COMMENT ON COLUMN threadline_internal.purge_state.postponed IS
  'The partitions that were in use for too long to be dropped. This purge does not try them again.';
COMMENT ON COLUMN threadline_internal.purge_state.is_sweeping IS
  'Whether all partitions are done and empty transactions are being removed.';
COMMENT ON COLUMN threadline_internal.purge_state.action_id IS
  'The action that records the purge; NULL until the purge has removed something.';
COMMENT ON COLUMN threadline_internal.purge_state.step IS
  'What the step did: dropped, postponed, deleted, swept or done. This field and the ones below are not passed to the '
  'next step.';
COMMENT ON COLUMN threadline_internal.purge_state.counts IS 'Number of changes that the step removed, by table.';
COMMENT ON COLUMN threadline_internal.purge_state.transactions IS 'Number of transactions that the step removed.';

CREATE TABLE threadline_internal.purged_months (
  lower_bound timestamptz PRIMARY KEY,
  upper_bound timestamptz NOT NULL,
  after_id    uuid        NOT NULL
);
COMMENT ON TABLE threadline_internal.purged_months IS
  'Months whose partition was dropped, and whose transactions have not all been checked for being empty.';
COMMENT ON COLUMN threadline_internal.purged_months.lower_bound IS 'Start of the month.';
COMMENT ON COLUMN threadline_internal.purged_months.upper_bound IS 'End of the month.';
COMMENT ON COLUMN threadline_internal.purged_months.after_id IS 'The last transaction that was checked.';

CREATE TABLE threadline.retention_policies (
  table_id     integer     PRIMARY KEY,
  keep         interval    CHECK (keep >= '1 day'),
  whole_months boolean     NOT NULL,
  set_at       timestamptz NOT NULL,
  set_by       text        NOT NULL,
  actor_ref    jsonb
);
COMMENT ON TABLE threadline.retention_policies IS
  'Minimum time for which changes are kept; written by threadline.set_retention and threadline.unset_retention.';
COMMENT ON COLUMN threadline.retention_policies.table_id IS
  'The audited_tables row of the table; 0 for the policy of all tables without their own.';
COMMENT ON COLUMN threadline.retention_policies.keep IS 'How long changes are kept; NULL to keep them forever.';
COMMENT ON COLUMN threadline.retention_policies.whole_months IS
  'Whether changes are purged by whole months (UTC), when the whole month is old enough, instead of as soon as they '
  'are old enough.';
COMMENT ON COLUMN threadline.retention_policies.set_at IS 'When the policy was set.';
COMMENT ON COLUMN threadline.retention_policies.set_by IS 'The database role that set the policy (including SET ROLE).';
COMMENT ON COLUMN threadline.retention_policies.actor_ref IS
  'Who set the policy, as {"type": "user", "id": "123"}; NULL if the transaction had no actor.';

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

-- How to find the changes that match a filter. threadline_internal.plan_timeline chooses the plan once per page.
CREATE TYPE threadline_internal.timeline_plan AS (
  by_transaction boolean,
  filter         jsonb,
  filter_key     text,
  condition      text
);
COMMENT ON TYPE threadline_internal.timeline_plan IS 'How to find the changes that match a timeline filter.';
COMMENT ON COLUMN threadline_internal.timeline_plan.by_transaction IS
  'Whether changes are found through their transactions instead of through their row or table.';
COMMENT ON COLUMN threadline_internal.timeline_plan.filter IS 'The filter.';
COMMENT ON COLUMN threadline_internal.timeline_plan.filter_key IS
  'The part of the filter that matches the fewest transactions; NULL if no part selects transactions.';
COMMENT ON COLUMN threadline_internal.timeline_plan.condition IS
  'SQL condition that decides whether a change c of a transaction t matches the filter.';

-- The indexes of audit_transactions find most transactions. The others, which contain changes of nested audited
-- transactions or were made on behalf of someone, also have rows here, so that only these few transactions pay for what
-- few of them need.
CREATE TABLE threadline_internal.transaction_contexts (
  transaction_id uuid  NOT NULL,
  digest         bytea NOT NULL,
  actor_ref      jsonb,
  on_behalf_of   jsonb,
  correlation_id text,
  PRIMARY KEY (transaction_id, digest)
);
CREATE INDEX transaction_contexts_actor_ref_idx ON threadline_internal.transaction_contexts (actor_ref, transaction_id)
  WHERE actor_ref IS NOT NULL;
CREATE INDEX transaction_contexts_on_behalf_of_idx ON threadline_internal.transaction_contexts (on_behalf_of,
  transaction_id) WHERE on_behalf_of IS NOT NULL;
CREATE INDEX transaction_contexts_correlation_id_idx ON threadline_internal.transaction_contexts (correlation_id,
  transaction_id) WHERE correlation_id IS NOT NULL;
COMMENT ON INDEX threadline_internal.transaction_contexts_actor_ref_idx IS
  'The transactions in which an actor ran a nested transaction, by the time they began.';
COMMENT ON INDEX threadline_internal.transaction_contexts_on_behalf_of_idx IS
  'The transactions on behalf of someone, or with a nested one on behalf of someone, by the time they began.';
COMMENT ON INDEX threadline_internal.transaction_contexts_correlation_id_idx IS
  'The transactions in which a business process ran a nested transaction, by the time they began.';
COMMENT ON TABLE threadline_internal.transaction_contexts IS
  'Contexts by which transactions are found, in addition to the columns of audit_transactions: contexts of nested '
  'audited transactions, and contexts on behalf of someone.';
COMMENT ON COLUMN threadline_internal.transaction_contexts.transaction_id IS
  'The audit_transactions row of the transaction.';
COMMENT ON COLUMN threadline_internal.transaction_contexts.digest IS
  'SHA-256 of the other columns, so that each context has one row per transaction.';
COMMENT ON COLUMN threadline_internal.transaction_contexts.actor_ref IS 'Who acted.';
COMMENT ON COLUMN threadline_internal.transaction_contexts.on_behalf_of IS 'For whom the actor acted.';
COMMENT ON COLUMN threadline_internal.transaction_contexts.correlation_id IS
  'The business process that the context belongs to.';

-- Long-running work of a release, such as filling a new column. A migration is one transaction, so it only registers
-- the work here. threadline.upgrade_step performs it in small transactions.
CREATE TABLE threadline_internal.upgrade_steps (
  name         text        PRIMARY KEY,
  noted_at     timestamptz NOT NULL DEFAULT now(),
  position     jsonb       NOT NULL DEFAULT '{}',
  rows_done    bigint      NOT NULL DEFAULT 0,
  row_estimate bigint      NOT NULL,
  ended_at     timestamptz
);
COMMENT ON TABLE threadline_internal.upgrade_steps IS
  'Long-running work of upgrades, with its progress; see threadline.upgrade_step.';
COMMENT ON COLUMN threadline_internal.upgrade_steps.name IS
  'The function of this schema that processes one batch, such as upgrade_0_2_origin.';
COMMENT ON COLUMN threadline_internal.upgrade_steps.noted_at IS 'When the migration ran. Steps run in this order.';
COMMENT ON COLUMN threadline_internal.upgrade_steps.position IS
  'Where the next batch begins, in the format of the function.';
COMMENT ON COLUMN threadline_internal.upgrade_steps.rows_done IS 'Number of rows that the batches have processed.';
COMMENT ON COLUMN threadline_internal.upgrade_steps.row_estimate IS
  'Estimated number of rows when the step was registered.';
COMMENT ON COLUMN threadline_internal.upgrade_steps.ended_at IS 'When the last batch was done; NULL until then.';

CREATE TABLE threadline_internal.young_partitions (
  table_id  integer NOT NULL,
  relation  oid     NOT NULL,
  database  text    NOT NULL,
  noted_by  xid8    NOT NULL,
  is_filled boolean,
  first_row tid,
  links     text,
  file      oid
);
COMMENT ON TABLE threadline_internal.young_partitions IS
  'Partitions that were written before a refresh recognized them, kept until a refresh does. A partition dropped '
  'before then is missed.';
COMMENT ON COLUMN threadline_internal.young_partitions.table_id IS 'The audited_tables row of the table.';
COMMENT ON COLUMN threadline_internal.young_partitions.relation IS 'The OID of the partition.';
COMMENT ON COLUMN threadline_internal.young_partitions.database IS
  'Identity of the database that contained the partition.';
COMMENT ON COLUMN threadline_internal.young_partitions.noted_by IS 'The transaction that wrote the partition.';
COMMENT ON COLUMN threadline_internal.young_partitions.is_filled IS
  'Whether the partition, when it was first written, had rows that were not inserted through the table; NULL if the '
  'writer could not see them.';
COMMENT ON COLUMN threadline_internal.young_partitions.first_row IS
  'The position (ctid) of the row that was written first.';
COMMENT ON COLUMN threadline_internal.young_partitions.links IS
  'The transactions that attached the partition, and the branches that it belongs to.';
COMMENT ON COLUMN threadline_internal.young_partitions.file IS
  'The file of the partition; NULL if a truncation was recorded, because a truncation changes the file.';

-- Empties the default partition of the changes of a month: PostgreSQL rejects a new partition if the default partition
-- contains rows for it.
CREATE FUNCTION threadline_internal.empty_default_partition(month timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC'
AS $function$
BEGIN
  EXECUTE threadline_internal.render($sql$
    WITH moved AS (DELETE FROM threadline.audit_changes_default
                    WHERE captured_at >= {from} AND captured_at < {before} RETURNING *)
    INSERT INTO threadline.{partition} SELECT * FROM moved$sql$, jsonb_build_object(
    'partition', quote_ident(threadline_internal.partition_of(month)), 'from', quote_literal(month),
    'before', quote_literal(month + interval '1 month')));
END
$function$;
COMMENT ON FUNCTION threadline_internal.empty_default_partition(timestamptz) IS
  'Moves the changes of a month from the default partition to its own.';

-- All slow work happens before anyone has to wait: indexes are built, and rows are moved and checked.
CREATE FUNCTION threadline_internal.prepare_partitions(months_ahead integer) RETURNS timestamptz[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC'
AS $function$
DECLARE
  months timestamptz[] := '{}';
  month timestamptz;
BEGIN
  FOR month IN SELECT generate_series(
                 date_trunc('month', least(now(), (SELECT min(captured_at) FROM threadline.audit_changes_default))),
                 date_trunc('month', now()) + make_interval(months => months_ahead), interval '1 month') LOOP
    CONTINUE WHEN to_regclass(format('threadline.%I', threadline_internal.partition_of(month))) IS NOT NULL;
    EXECUTE threadline_internal.render($sql$
      CREATE TABLE threadline.{partition} (
        LIKE threadline.audit_changes INCLUDING COMMENTS INCLUDING CONSTRAINTS INCLUDING INDEXES,
        CONSTRAINT of_month CHECK (captured_at >= {from} AND captured_at < {before}))$sql$, jsonb_build_object(
      'partition', quote_ident(threadline_internal.partition_of(month)), 'from', quote_literal(month),
      'before', quote_literal(month + interval '1 month')));
    PERFORM threadline_internal.create_key_indexes_of(threadline_internal.partition_of(month));
    -- Prevents others from using its row type in a way that would keep it from being dropped.
    EXECUTE format('REVOKE USAGE ON TYPE threadline.%I FROM PUBLIC', threadline_internal.partition_of(month));
    PERFORM threadline_internal.empty_default_partition(month);
    months := months || month;
  END LOOP;
  RETURN months;
END
$function$;
COMMENT ON FUNCTION threadline_internal.prepare_partitions(integer) IS
  'Creates the tables for the months without a partition, from the oldest month in the default partition, or the '
  'current month, to the given number of months ahead.';

-- Capture may be writing to the default partition, and PostgreSQL raises an error for a row on its way there if another
-- partition takes over its month. So it is kept from starting to, by a lock on the table that it names; other months
-- are not affected.
CREATE FUNCTION threadline_internal.attach_partitions(months timestamptz[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC'
AS $function$
DECLARE
  month timestamptz;
BEGIN
  IF months[1] <= clock_timestamp() + interval '1 hour' THEN
    LOCK TABLE ONLY threadline.audit_changes IN SHARE ROW EXCLUSIVE MODE;
  END IF;
  LOCK TABLE threadline.audit_changes_default IN ACCESS EXCLUSIVE MODE;
  FOREACH month IN ARRAY months LOOP
    IF month <= clock_timestamp() + interval '1 hour' THEN
      PERFORM threadline_internal.empty_default_partition(month);
    END IF;
    EXECUTE format('ALTER TABLE threadline.audit_changes ATTACH PARTITION threadline.%I FOR VALUES FROM (%L) TO (%L)',
      threadline_internal.partition_of(month), month, month + interval '1 month');
    EXECUTE format('ALTER TABLE threadline.%I DROP CONSTRAINT of_month', threadline_internal.partition_of(month));
    EXECUTE format('COMMENT ON TABLE threadline.%I IS %L', threadline_internal.partition_of(month),
      'Changes captured in ' || to_char(month, 'YYYY-MM') || ' (UTC).');
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.attach_partitions(timestamptz[]) IS
  'Makes partitions of the tables that threadline_internal.prepare_partitions created.';

-- Creates the missing partitions, and waits for locks only for moments. What it cannot attach in time is left to the
-- next call: until then, the default partition receives the changes.
CREATE FUNCTION threadline_internal.create_partitions(months_ahead integer DEFAULT 3, patience interval DEFAULT '1 s',
  OUT created integer, OUT postponed integer)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
DECLARE
  until timestamptz := clock_timestamp() + patience;
  months timestamptz[] := '{}';
BEGIN
  created := 0;
  postponed := 0;
  IF NOT threadline_internal.lock_or_give_up(
      $sql$SELECT threadline_internal.take_lock('definitions')$sql$, until, 0) THEN
    RAISE lock_not_available;
  END IF;
  months := threadline_internal.prepare_partitions(months_ahead);
  IF months <> '{}' AND NOT threadline_internal.lock_or_give_up(
      format('SELECT threadline_internal.attach_partitions(%L)', months), until) THEN
    RAISE lock_not_available;
  END IF;
  created := cardinality(months);
EXCEPTION WHEN lock_not_available THEN
  postponed := greatest(cardinality(months), 1);
END
$function$;
COMMENT ON FUNCTION threadline_internal.create_partitions(integer, interval) IS
  'Creates the missing monthly partitions of audit_changes, from the oldest month in the default partition, or the '
  'current month, to the given number of months ahead. Returns how many it created, and how many it postponed because '
  'it could not get a lock. threadline.audit_table calls it.';

-- A statement that waits for a lock blocks all statements that come after it. So this function waits only for moments,
-- and retries.
CREATE FUNCTION threadline_internal.lock_or_give_up(statement text, until timestamptz,
  pause double precision DEFAULT 0.2)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET lock_timeout = '50 ms'
AS $function$
BEGIN
  LOOP
    BEGIN
      EXECUTE statement;
      RETURN true;
    EXCEPTION WHEN lock_not_available THEN
      IF clock_timestamp() >= until THEN
        RETURN false;
      END IF;
      PERFORM pg_sleep(pause);
    END;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.lock_or_give_up(text, timestamptz, double precision) IS
  'Runs a statement that takes locks, and retries until it gets them or the time is up; returns whether it got them.';

-- Takes a lock until the end of the transaction. Only the owner of the audit log can lock a row of this table; anyone
-- can take an advisory lock.
CREATE FUNCTION threadline_internal.take_lock(name text, shared boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF shared THEN
    PERFORM FROM threadline_internal.locks AS l WHERE l.name = take_lock.name FOR SHARE;
  ELSE
    PERFORM FROM threadline_internal.locks AS l WHERE l.name = take_lock.name FOR UPDATE;
  END IF;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'threadline_internal.locks has no row %', take_lock.name
      USING ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_refused',
        HINT = format('INSERT INTO threadline_internal.locks VALUES (%L);', take_lock.name);
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.take_lock(text, boolean) IS
  'Waits for a lock, and holds it until the end of the transaction.';

-- Locks a table against writes, trying for moments at a time: a statement that waits for a lock blocks all statements
-- that come after it.
CREATE FUNCTION threadline_internal.lock_table(relation regclass, mode text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF NOT threadline_internal.lock_or_give_up(format('LOCK TABLE %s IN %s MODE', relation, mode),
    clock_timestamp() + threadline_internal.patience()) THEN
    RAISE EXCEPTION 'could not lock % within %', relation, threadline_internal.patience()
      USING ERRCODE = 'lock_not_available', CONSTRAINT = 'threadline_audit_table', TABLE = relation::text,
        HINT = 'A transaction that has written or locked it is open. Call this again when it has ended; lock_timeout '
          'says how long to try.';
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.lock_table(regclass, text) IS
  'Locks a table, trying for moments at a time; raises an error when patience() is exceeded.';

-- Returns how long to try to lock a table: as long as the session would wait for any lock.
CREATE FUNCTION threadline_internal.patience() RETURNS interval
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(nullif(current_setting('lock_timeout')::interval, '0'), '10 s')
$function$;
COMMENT ON FUNCTION threadline_internal.patience() IS 'lock_timeout of the session, or 10 s if it is not set.';

-- For a scheduler: pg_cron, or the command line. It waits for locks only for moments, until its patience is exceeded.
-- Then it leaves nothing behind, and the next call starts again. Autovacuum analyzes partitions, but never their parent
-- table. ANALYZE runs before the locks, which last until the end; if it cannot get its lock, the statistics stay as
-- they are.
CREATE FUNCTION threadline.maintain(months_ahead integer DEFAULT 3, patience interval DEFAULT '10 s',
  OUT created integer, OUT postponed integer)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  until timestamptz := clock_timestamp() + patience;
BEGIN
  PERFORM threadline_internal.lock_or_give_up('ANALYZE threadline.audit_changes', until);
  -- Slow work comes first, and work that blocks writers comes last.
  PERFORM threadline_internal.create_key_indexes(past_months => true);
  SELECT p.created, p.postponed INTO created, postponed
    FROM threadline_internal.create_partitions(months_ahead, until - clock_timestamp()) AS p;
  PERFORM threadline_internal.create_key_indexes();
END
$function$;
COMMENT ON FUNCTION threadline.maintain(integer, interval) IS
  'Runs threadline_internal.create_partitions, and analyzes the audit log. Returns how many partitions it created, and '
  'how many it postponed because it could not get a lock for so long. Call it daily.';

CREATE FUNCTION threadline_internal.partition_of(month timestamptz) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC'
AS $function$
  SELECT 'audit_changes_' || to_char(month, 'YYYY_MM')
$function$;
COMMENT ON FUNCTION threadline_internal.partition_of(timestamptz) IS 'The name of the partition of a month.';

CREATE FUNCTION threadline_internal.partitions() RETURNS TABLE (name text, lower_bound timestamptz,
  upper_bound timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
  SELECT c.relname::text, coalesce(substring(bounds FROM 'FROM [(]''([^'']+)''[)]')::timestamptz, '-infinity'),
         coalesce(substring(bounds FROM 'TO [(]''([^'']+)''[)]')::timestamptz, 'infinity')
    FROM pg_inherits AS i
    JOIN pg_class AS c ON c.oid = i.inhrelid
   CROSS JOIN LATERAL pg_get_expr(c.relpartbound, c.oid) AS bounds
   WHERE i.inhparent = 'threadline.audit_changes'::regclass
$function$;
COMMENT ON FUNCTION threadline_internal.partitions() IS
  'The partitions of the audit log, with the time range that each can hold.';

-- Returns the indexes that a partition should have, each with the statement that creates it.
CREATE FUNCTION threadline_internal.key_indexes(partition text) RETURNS TABLE (index_name text, statement text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT i.name, threadline_internal.render(
           'CREATE INDEX {name} ON threadline.{partition} (table_id, {key}, captured_at, id) WHERE {key} IS NOT NULL',
           jsonb_build_object('name', quote_ident(i.name), 'partition', quote_ident(partition), 'key', i.key))
    FROM (SELECT 'key_' || t.key_type AS key, concat(partition, '_key_', t.key_type, '_idx') AS name
            FROM threadline_internal.key_types AS t) AS i
$function$;
COMMENT ON FUNCTION threadline_internal.key_indexes(text) IS
  'The key indexes that a partition of audit_changes should have, for the key types that tables have.';

CREATE FUNCTION threadline_internal.create_key_indexes_of(partition text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  statement text;
BEGIN
  FOR statement IN SELECT k.statement FROM threadline_internal.key_indexes(partition) AS k LOOP
    EXECUTE statement;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.create_key_indexes_of(text) IS
  'Creates the key indexes of a partition that is not attached yet.';

-- Returns the missing indexes. An invalid index was left by CREATE INDEX CONCURRENTLY, or is being created.
CREATE FUNCTION threadline_internal.missing_key_indexes() RETURNS TABLE (partition text, upper_bound timestamptz,
  bytes bigint, is_invalid boolean, statement text, concurrent_statement text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT p.name, p.upper_bound, pg_relation_size(to_regclass(format('threadline.%I', p.name))),
         i.indexrelid IS NOT NULL, k.statement,
         CASE WHEN i.indexrelid IS NOT NULL THEN format('REINDEX INDEX CONCURRENTLY threadline.%I', k.index_name)
           ELSE replace(k.statement, 'CREATE INDEX', 'CREATE INDEX CONCURRENTLY') END
    FROM threadline_internal.partitions() AS p
   CROSS JOIN LATERAL threadline_internal.key_indexes(p.name) AS k
    LEFT JOIN pg_index AS i ON i.indexrelid = to_regclass(format('threadline.%I', k.index_name))
   WHERE i.indisvalid IS NOT TRUE
   ORDER BY p.upper_bound DESC, k.index_name
$function$;
COMMENT ON FUNCTION threadline_internal.missing_key_indexes() IS
  'The missing key indexes of partitions of audit_changes. The history of a row can be found without them, but only by '
  'reading all changes of its table in that month.';

-- Nobody can write to a partition while its index is built, or until the end of the transaction. So this function tries
-- each one for a moment, and leaves a large partition that is in use for writes to CREATE INDEX CONCURRENTLY:
-- threadline.health reports it, and the command line does it. 16 MB take about 20 ms.
CREATE FUNCTION threadline_internal.create_key_indexes(past_months boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  missing record;
BEGIN
  FOR missing IN
    SELECT * FROM threadline_internal.missing_key_indexes() AS m
     WHERE NOT m.is_invalid AND CASE WHEN past_months THEN m.upper_bound < now() ELSE m.bytes <= 16 * 1024 * 1024 END
  LOOP
    PERFORM threadline_internal.lock_or_give_up(missing.statement, clock_timestamp());
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.create_key_indexes(boolean) IS
  'Creates the missing key indexes, on partitions of up to 16 MB, or on those of past months.';

-- Registers a key type that a table is about to have.
CREATE FUNCTION threadline_internal.add_key_type(key_type text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF add_key_type.key_type <> 'text' THEN
    INSERT INTO threadline_internal.key_types (key_type) VALUES (add_key_type.key_type) ON CONFLICT DO NOTHING;
    IF FOUND THEN
      PERFORM threadline_internal.create_key_indexes();
    END IF;
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.add_key_type(text) IS
  'Creates the indexes for keys of a type, unless tables already have or had such keys.';

-- Actions: what someone did, in business terms, recorded next to the changes of the same transaction.

CREATE FUNCTION threadline.require_reason(action_name text, required boolean DEFAULT true) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF required IS NULL THEN
    RAISE EXCEPTION 'a reason is required or is not' USING ERRCODE = 'null_value_not_allowed',
      CONSTRAINT = 'threadline_action';
  ELSIF required THEN
    INSERT INTO threadline.action_rules (name, reason_required) VALUES (action_name, true)
    ON CONFLICT (name) DO UPDATE SET reason_required = true;
  ELSE
    DELETE FROM threadline.action_rules AS r WHERE r.name = action_name;
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline.require_reason(text, boolean) IS
  'Sets whether actions with a name are rejected without a reason. The rule applies to every caller, including '
  'Threadline itself.';

-- Called by Threadline's own operations, and by threadline.record_action for all other callers. The action belongs to
-- the transaction that records it, and creates the row of that transaction if no change did so before. Its actor is
-- that of the transaction, or of the open nested one, unless the caller names another. If the caller does, on_behalf_of
-- is not inherited either. The ids are inherited key by key: a key of `context` takes precedence, even if it is null.
CREATE FUNCTION threadline_internal.insert_action(name text, status text DEFAULT 'ok', reason text DEFAULT NULL,
  comment text DEFAULT NULL,
  meta jsonb DEFAULT NULL, actor_ref jsonb DEFAULT NULL, context jsonb DEFAULT NULL,
  OUT id uuid, OUT transaction_id uuid, OUT occurred_at timestamptz)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  said jsonb := threadline_internal.read_context(nullif(current_setting('threadline.actor_ref', true), ''),
                                        nullif(current_setting('threadline.context', true), ''));
  given jsonb := threadline_internal.read_context(insert_action.actor_ref::text, insert_action.context::text);
  us bigint;
BEGIN
  IF insert_action.actor_ref IS NOT NULL AND NOT given ? 'actor_ref' THEN
    RAISE EXCEPTION 'this is no actor: %', left(insert_action.actor_ref::text, 1000)
      USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_action',
        HINT = 'Write it like {"type": "user", "id": "123"}, with at most 1000 bytes an id.';
  ELSIF given #> '{meta,unreadable_context}' IS NOT NULL OR given #> '{meta,unreadable_on_behalf_of}' IS NOT NULL
    OR EXISTS (SELECT FROM unnest(ARRAY['correlation_id', 'request_id', 'job_id']) AS k
                WHERE jsonb_typeof(insert_action.context -> k) NOT IN ('null', 'string')
                  OR octet_length(given ->> k) > 256) THEN
    RAISE EXCEPTION 'this is no context: %', left(insert_action.context::text, 1000)
      USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_action',
        HINT = 'Write it like {"correlation_id": "order-77"}, with at most 256 bytes an id.';
  ELSIF NOT (said || given) ? 'actor_ref' THEN
    RAISE EXCEPTION 'nobody is known who does %', insert_action.name
      USING ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_missing_actor',
        HINT = 'Set threadline.actor_ref in the transaction, or name the actor.';
  ELSIF threadline_internal.is_blank(insert_action.reason)
    AND EXISTS (SELECT FROM threadline.action_rules AS r WHERE r.name = insert_action.name AND r.reason_required) THEN
    RAISE EXCEPTION '% needs a reason', insert_action.name
      USING ERRCODE = 'check_violation', CONSTRAINT = 'threadline_reason_required', DETAIL = insert_action.name,
        HINT = 'threadline.require_reason asked for it.';
  END IF;
  IF given ? 'actor_ref' THEN
    said := said - 'on_behalf_of';
  END IF;
  said := said - ARRAY(SELECT k FROM unnest(ARRAY['on_behalf_of', 'correlation_id', 'request_id', 'job_id']) AS k
                        WHERE insert_action.context ? k) || given;

  -- Not the time of a change, because none is written.
  transaction_id := threadline_internal.enter_transaction(transaction_timestamp(), NULL);
  occurred_at := clock_timestamp();
  us := extract(epoch FROM occurred_at) * 1000000;
  id := threadline_internal.uuid_v7(us, substring(uuid_send(gen_random_uuid()) FROM 9));
  INSERT INTO threadline.audit_actions AS a (id, name, occurred_at, actor_ref, on_behalf_of, status, reason, comment,
      correlation_id, request_id, job_id, meta, transaction_id)
  VALUES (insert_action.id, insert_action.name, insert_action.occurred_at, said -> 'actor_ref', said -> 'on_behalf_of',
      insert_action.status, insert_action.reason, insert_action.comment, said ->> 'correlation_id',
        said ->> 'request_id',
      said ->> 'job_id', insert_action.meta, insert_action.transaction_id);
END
$function$;
COMMENT ON FUNCTION threadline_internal.insert_action(text, text, text, text, jsonb, jsonb, jsonb) IS
  'Records an action in the running transaction, including actions of Threadline itself; granted to no role.';

-- An application calls this function without any right on the tables. Actions that describe what was done to the audit
-- log itself are recorded only by roles that may do it.
CREATE FUNCTION threadline.record_action(name text, status text DEFAULT 'ok', reason text DEFAULT NULL,
  comment text DEFAULT NULL,
  meta jsonb DEFAULT NULL, actor_ref jsonb DEFAULT NULL, context jsonb DEFAULT NULL,
  OUT id uuid, OUT transaction_id uuid, OUT occurred_at timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  problem text;
BEGIN
  IF coalesce(record_action.name, '') !~ '^[a-z0-9_]+([.][a-z0-9_]+)+$' OR length(record_action.name) > 256 THEN
    RAISE EXCEPTION 'this is no name of an action: %', coalesce(quote_literal(left(record_action.name, 1000)), 'NULL')
      USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_action',
        HINT = 'Write category.verb, in a-z, 0-9 and _, with at most 256 characters.';
  ELSIF starts_with(record_action.name, 'threadline.') THEN
    RAISE EXCEPTION 'only Threadline itself records %', record_action.name
      USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_action',
        HINT = 'Names that begin with threadline. say what was done to the audit log: use another category.';
  ELSIF record_action.status IS NULL OR record_action.status NOT IN ('error', 'ok') THEN
    RAISE EXCEPTION 'the status of an action is error or ok' USING ERRCODE = 'invalid_parameter_value',
      CONSTRAINT = 'threadline_action';
  END IF;
  problem := CASE
    WHEN length(record_action.reason) > 10000 THEN 'the reason of an action has at most 10000 characters'
    WHEN length(record_action.comment) > 10000 THEN 'the comment of an action has at most 10000 characters'
    WHEN octet_length(record_action.meta::text) > 65536
      THEN 'the meta of an action has at most 65536 bytes of text' END;
  IF problem IS NOT NULL THEN
    RAISE EXCEPTION '%', problem USING ERRCODE = 'string_data_right_truncation', CONSTRAINT = 'threadline_action',
      HINT = 'Keep the whole somewhere else, and record where it is.';
  END IF;
  SELECT * INTO id, transaction_id, occurred_at
    FROM threadline_internal.insert_action(record_action.name, record_action.status, record_action.reason,
      record_action.comment, record_action.meta, record_action.actor_ref, record_action.context);
END
$function$;
COMMENT ON FUNCTION threadline.record_action(text, text, text, text, jsonb, jsonb, jsonb) IS
  'Records an action in the running transaction. context contains on_behalf_of, correlation_id, request_id and job_id '
  'if they differ from those of the transaction. Limits: 256 characters for the name, 10000 for reason and comment, 64 '
  'KiB of text for meta. Names that begin with threadline. are reserved for Threadline itself.';

-- Work that spans many transactions is one action. The first transaction records it and each one adds its progress, so
-- the audit log shows what was done even if the work is killed.
CREATE FUNCTION threadline_internal.add_to_action(id uuid, counts jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  UPDATE threadline.audit_actions AS a
     SET meta = coalesce(a.meta, '{}') || (SELECT jsonb_object_agg(c.key, coalesce((a.meta ->> c.key)::bigint,
       0) + c.value::bigint) FROM jsonb_each_text(counts) AS c)
   WHERE a.id = add_to_action.id;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no action %', coalesce(add_to_action.id::text, 'NULL') USING ERRCODE = 'no_data_found',
      CONSTRAINT = 'threadline_action';
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.add_to_action(uuid, jsonb) IS
  'Adds numbers to those in the meta of an action, as {"changes": 5000}, for long work that is recorded as one action.';

-- The context and key of a change, for queries. The planner inlines both functions, because they have no SET clause and
-- qualify every name with its schema. The view threadline.changes repeats both expressions: someone who reads it
-- through their own view has no right to execute functions.

-- A change has its own context only if that differs from the context of its transaction. The parameter is the context
-- instead of the whole change, because the planner can look inside a whole row only within one query.
CREATE FUNCTION threadline_internal.context_of(context jsonb, transaction threadline.audit_transactions)
RETURNS TABLE (actor_ref jsonb, on_behalf_of jsonb, source text, correlation_id text, request_id text, job_id text,
  remote_ip inet, meta jsonb)
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 1
AS $function$
  SELECT CASE WHEN $1 IS NULL THEN $2.actor_ref ELSE $1 OPERATOR(pg_catalog.->) 'actor_ref' END,
         CASE WHEN $1 IS NULL THEN $2.on_behalf_of ELSE $1 OPERATOR(pg_catalog.->) 'on_behalf_of' END,
         CASE WHEN $1 IS NULL THEN $2.source ELSE $1 OPERATOR(pg_catalog.->>) 'source' END,
         CASE WHEN $1 IS NULL THEN $2.correlation_id ELSE $1 OPERATOR(pg_catalog.->>) 'correlation_id' END,
         CASE WHEN $1 IS NULL THEN $2.request_id ELSE $1 OPERATOR(pg_catalog.->>) 'request_id' END,
         CASE WHEN $1 IS NULL THEN $2.job_id ELSE $1 OPERATOR(pg_catalog.->>) 'job_id' END,
         CASE WHEN $1 IS NULL THEN $2.remote_ip ELSE ($1 OPERATOR(pg_catalog.->>) 'remote_ip')::pg_catalog.inet END,
         CASE WHEN $1 IS NULL THEN $2.meta ELSE $1 OPERATOR(pg_catalog.->) 'meta' END
$function$;
COMMENT ON FUNCTION threadline_internal.context_of(jsonb, threadline.audit_transactions) IS
  'Actor and context of a change: its own context, or that of its transaction.';

CREATE FUNCTION threadline_internal.key_of(change threadline.audit_changes) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $function$
  SELECT coalesce($1.key_integer::pg_catalog.text, $1.key_bigint::pg_catalog.text, $1.key_uuid::pg_catalog.text,
    $1.key_text)
$function$;
COMMENT ON FUNCTION threadline_internal.key_of(threadline.audit_changes) IS 'The key of a changed row as text.';

-- How the running transaction gets its row in audit_transactions, through its first change or its first action.
-- Two settings report it to the session. threadline.entered contains the id of the transaction and the ids of the
-- tables that it changed, each followed by a comma. threadline.entered_with contains the id, and the actor and context
-- with which the transaction was entered, separated by chr(31). The code never trusts either setting: a forged value
-- changes only what the session reads or claims about itself. Both contain the id, so they are worthless in the next
-- transaction even if someone set them for the whole session.

-- Enters the running transaction for a change that is almost certainly its first, if its context is so plain that
-- threadline_internal.read_context would keep it unchanged. Otherwise returns NULL, and
-- threadline_internal.enter_transaction enters it. Nearly every transaction calls this function, and PL/pgSQL sets up
-- each expression again in every transaction, so it has few of them. It has no SET clause, which would cost a one-row
-- transaction two percent, so every name is qualified with its schema.
CREATE FUNCTION threadline_internal.enter_first(written_at timestamptz, table_id integer) RETURNS uuid
LANGUAGE plpgsql VOLATILE
AS $function$
DECLARE
  actor_text text := pg_catalog.current_setting('threadline.actor_ref', true);
  context_text text := pg_catalog.current_setting('threadline.context', true);
  actor pg_catalog.jsonb;
  claims pg_catalog.jsonb;
  address pg_catalog.inet;
  entered pg_catalog.uuid;
  told text;
BEGIN
  BEGIN
    actor := CASE WHEN actor_text OPERATOR(pg_catalog.<>) '' THEN actor_text END;
    claims := CASE WHEN context_text OPERATOR(pg_catalog.<>) '' THEN context_text END;
    address := claims OPERATOR(pg_catalog.->>) 'remote_ip';
  EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN NULL;
  END;
  INSERT INTO threadline.audit_transactions (id, txid, occurred_at, actor_ref, source, correlation_id, request_id,
      job_id, remote_ip, meta, database_role, application_name)
  SELECT threadline_internal.transaction_id((pg_catalog.date_part('epoch', pg_catalog.transaction_timestamp())
           OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8),
         pg_catalog.pg_current_xact_id(), pg_catalog.transaction_timestamp(), actor,
         claims OPERATOR(pg_catalog.->>) 'source', claims OPERATOR(pg_catalog.->>) 'correlation_id',
         claims OPERATOR(pg_catalog.->>) 'request_id', claims OPERATOR(pg_catalog.->>) 'job_id', address,
         CASE WHEN (claims OPERATOR(pg_catalog.->) 'meta') OPERATOR(pg_catalog.<>) 'null'
           THEN claims OPERATOR(pg_catalog.->) 'meta' END,
         CASE WHEN pg_catalog.current_setting('role') OPERATOR(pg_catalog.=) 'none' THEN session_user
           ELSE pg_catalog.current_setting('role') END,
         CASE WHEN pg_catalog.current_setting('application_name') OPERATOR(pg_catalog.<>) ''
           THEN pg_catalog.current_setting('application_name') END
   WHERE (pg_catalog.current_setting('threadline.entered', true) OPERATOR(pg_catalog.<>) '') IS NOT TRUE
     AND (pg_catalog.current_setting('threadline.outer_context', true) OPERATOR(pg_catalog.<>) '') IS NOT TRUE
     AND written_at OPERATOR(pg_catalog.<)
           (pg_catalog.transaction_timestamp() OPERATOR(pg_catalog.+) '125 ms'::pg_catalog.interval)
     AND pg_catalog.octet_length(pg_catalog.concat(actor_text, context_text)) OPERATOR(pg_catalog.<=) 1000
     AND (claims IS NULL OR pg_catalog.jsonb_typeof(claims) OPERATOR(pg_catalog.=) 'object'
          AND NOT (claims OPERATOR(pg_catalog.?) 'on_behalf_of'))
     -- An object with fewer than three keys: JSON objects sort by their number of keys.
     AND (actor IS NULL OR actor OPERATOR(pg_catalog.=) '{"type": "anonymous"}'
          OR actor OPERATOR(pg_catalog.<) '{"": 0, "1": 0, "2": 0}'
             AND (actor OPERATOR(pg_catalog.->>) 'type') OPERATOR(pg_catalog.=)
                   ANY ('{user, admin, service_account, job, system}')
             AND (actor OPERATOR(pg_catalog.->>) 'id') OPERATOR(pg_catalog.<>) ''
             AND pg_catalog.jsonb_typeof(actor OPERATOR(pg_catalog.->) 'id') OPERATOR(pg_catalog.=) 'string')
  ON CONFLICT (id) DO NOTHING
  RETURNING id, pg_catalog.concat(
      pg_catalog.set_config('threadline.entered', pg_catalog.concat(id, ',', table_id, ','), true),
      pg_catalog.set_config('threadline.entered_with', pg_catalog.concat(id, pg_catalog.chr(31), actor_text,
        pg_catalog.chr(31), context_text), true))
    INTO entered, told;
  RETURN entered;
END
$function$;
COMMENT ON FUNCTION threadline_internal.enter_first(timestamptz, integer) IS
  'Creates the audit_transactions row of the running transaction for its first change; NULL if enter_transaction has '
  'to do it.';

-- Reports to the session, for its metrics, that the running transaction changed a table. Rolling back a savepoint
-- undoes the report. It has no SET clause, because that would prevent the planner from inlining it.
CREATE FUNCTION threadline_internal.tell_table(table_id integer) RETURNS text
LANGUAGE sql VOLATILE
AS $function$
  SELECT CASE WHEN pg_catalog.strpos(pg_catalog.current_setting('threadline.entered', true),
                     pg_catalog.concat(',', table_id, ',')) OPERATOR(pg_catalog.>) 0
                OR pg_catalog.length(pg_catalog.current_setting('threadline.entered', true)) OPERATOR(pg_catalog.>)
                     100000 THEN ''
           ELSE pg_catalog.set_config('threadline.entered', pg_catalog.concat(
                  pg_catalog.current_setting('threadline.entered', true), table_id, ','), true) END
$function$;
COMMENT ON FUNCTION threadline_internal.tell_table(integer) IS
  'Adds a table to threadline.entered, as changed by the running transaction; never returns NULL.';

-- Returns the row of the running transaction, and creates it if necessary. enable_seqscan is off because the plan is
-- kept for the life of the session, and a plan made while the table was small would always read the whole table.
CREATE FUNCTION threadline_internal.enter_transaction(written_at timestamptz, table_id integer) RETURNS uuid
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
  entered uuid := threadline_internal.transaction_id((date_part('epoch', transaction_timestamp()) * 1000000)::bigint);
  told text := current_setting('threadline.entered', true);
  noted smallint;
  outermost jsonb;
  actor text := nullif(current_setting('threadline.actor_ref', true), '');
  claims text := nullif(current_setting('threadline.context', true), '');
  said jsonb;
BEGIN
  -- Reading the index would make a serializable transaction depend on others that enter at the same time, and fail
  -- needlessly. In such a transaction, and if this seems to be the first change, the insert below finds out without
  -- recording such a dependency.
  IF told <> '' AND current_setting('transaction_isolation') <> 'serializable' THEN
    SELECT t.duration_class INTO noted FROM threadline.audit_transactions AS t WHERE t.id = entered;
  END IF;
  -- Uses an assignment instead of PERFORM, because a query costs more than the settings.
  IF starts_with(told, concat(entered, ',')) IS NOT TRUE THEN
    told := set_config('threadline.entered', concat(entered, ','), true);
  END IF;
  IF noted IS NULL THEN
    -- If the first change comes from a nested audited transaction, the row still belongs to the outermost one.
    IF current_setting('threadline.outer_context', true) <> '' THEN
      outermost := threadline_internal.outermost_context();
      IF outermost IS NOT NULL THEN
        actor := nullif(outermost ->> 'actor_ref', '');
        claims := nullif(outermost ->> 'context', '');
      END IF;
    END IF;
    said := threadline_internal.read_context(actor, claims);
    INSERT INTO threadline.audit_transactions AS t (id, txid, occurred_at, actor_ref, on_behalf_of, source,
      correlation_id, request_id, job_id, remote_ip, meta, database_role, application_name)
    VALUES (entered, pg_current_xact_id(), transaction_timestamp(), said -> 'actor_ref', said -> 'on_behalf_of',
        said ->> 'source', said ->> 'correlation_id', said ->> 'request_id', said ->> 'job_id',
        (said ->> 'remote_ip')::inet, said -> 'meta',
        -- In a SECURITY DEFINER function, current_user is the owner. The role setting still contains the role of SET
        -- ROLE.
        CASE current_setting('role') WHEN 'none' THEN session_user ELSE current_setting('role') END,
        nullif(current_setting('application_name'), ''))
    ON CONFLICT (id) DO NOTHING;
    IF FOUND THEN
      told := set_config('threadline.entered_with', concat(entered, chr(31), actor, chr(31), claims), true);
      IF said ? 'on_behalf_of' THEN
        PERFORM threadline_internal.note_context(entered, said);
      END IF;
    END IF;
    noted := 0;
  END IF;
  IF table_id IS NOT NULL THEN
    told := threadline_internal.tell_table(table_id);
  END IF;
  IF written_at >= transaction_timestamp() + interval '125 ms' * power(2, noted) THEN
    PERFORM threadline_internal.note_long_transaction(entered, written_at);
  END IF;
  RETURN entered;
END
$function$;
COMMENT ON FUNCTION threadline_internal.enter_transaction(timestamptz, integer) IS
  'Returns the audit_transactions row of the running transaction, and creates it if necessary. Arguments: when the '
  'change was written, and in which table.';

-- Functions that the generated capture functions call during a write. The callers are SECURITY DEFINER functions, so
-- the writer needs no rights. Every caller pins search_path and the settings that affect text output.

-- A setting is only text, and anyone may set it: its value must neither fail the write nor pass for an actor. Indexed
-- values must not be too long for the index, so an id has at most 1000 bytes.
CREATE FUNCTION threadline_internal.read_actor(value text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  actor jsonb;
BEGIN
  actor := value::jsonb;  -- not in DECLARE, where the handler below would miss its error
  RETURN CASE
    WHEN actor ->> 'type' = 'anonymous' THEN jsonb_build_object('type', 'anonymous')
    WHEN actor ->> 'type' IN ('user', 'admin', 'service_account', 'job', 'system')
     AND jsonb_typeof(actor -> 'id') = 'string' AND octet_length(actor ->> 'id') BETWEEN 1 AND 1000
      THEN jsonb_build_object('type', actor -> 'type', 'id', actor -> 'id') END;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
  RETURN NULL;
END
$function$;
COMMENT ON FUNCTION threadline_internal.read_actor(text) IS
  'Returns the actor in a setting, or NULL if it contains no valid one; never fails.';

CREATE FUNCTION threadline_internal.is_blank(value text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(value, '') !~ '[^[:space:]]'
$function$;
COMMENT ON FUNCTION threadline_internal.is_blank(text) IS 'Whether a text is NULL or contains only whitespace.';

CREATE FUNCTION threadline_internal.first_bytes(value text, bytes integer) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  kept text := left(value, bytes);
BEGIN
  -- A character has at most 4 bytes, so this never removes more than necessary.
  WHILE octet_length(kept) > bytes LOOP
    kept := left(kept, length(kept) - (octet_length(kept) - bytes + 3) / 4);
  END LOOP;
  RETURN kept;
END
$function$;
COMMENT ON FUNCTION threadline_internal.first_bytes(text, integer) IS
  'The beginning of a text, in whole characters, of at most the given number of bytes.';

CREATE FUNCTION threadline_internal.add_to_meta(claims jsonb, evidence jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(claims, '{}') || jsonb_build_object('meta', CASE coalesce(jsonb_typeof(claims -> 'meta'), 'null')
    WHEN 'object' THEN claims -> 'meta' WHEN 'null' THEN '{}' ELSE jsonb_build_object('meta', claims -> 'meta') END
      || evidence)
$function$;
COMMENT ON FUNCTION threadline_internal.add_to_meta(jsonb, jsonb) IS
  'A context with more keys in its meta. If meta is not an object, it becomes the key meta of one.';

-- Shortens values that are too long (threadline_internal.read_context has the same limits), and keeps unreadable values
-- as text up to a maximum length: they are evidence, even if not an actor. One context is copied into every change of a
-- nested transaction, so every part of it has a size limit.
CREATE FUNCTION threadline_internal.kept_context(claims jsonb, context text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  said text;
  key text;
  shortened text[] := '{}';
  evidence jsonb := '{}';
  behalf jsonb;
BEGIN
  IF jsonb_typeof(claims) <> 'object' THEN
    RAISE data_exception;
  END IF;
  FOREACH key IN ARRAY '{source,correlation_id,request_id,job_id}'::text[] LOOP
    said := claims ->> key;
    IF octet_length(said) > 1000 THEN
      claims := claims || jsonb_build_object(key, threadline_internal.first_bytes(said, 1000));
      shortened := shortened || key;
    END IF;
  END LOOP;
  said := claims ->> 'meta';
  IF octet_length(said) > 16384 THEN
    claims := claims - 'meta';
    evidence := jsonb_build_object('text', threadline_internal.first_bytes(said, 10000));
    shortened := shortened || 'meta'::text;
  END IF;
  IF shortened <> '{}' THEN
    evidence := evidence || jsonb_build_object('shortened', shortened);
  END IF;
  IF claims -> 'on_behalf_of' <> 'null' THEN
    said := (claims -> 'on_behalf_of')::text;
    behalf := threadline_internal.read_actor(said);
    IF behalf IS NULL THEN
      evidence := evidence || jsonb_build_object('unreadable_on_behalf_of', CASE WHEN octet_length(said) > 4000
        THEN to_jsonb(threadline_internal.first_bytes(said, 4000)) ELSE claims -> 'on_behalf_of' END);
    END IF;
    claims := claims || jsonb_build_object('on_behalf_of', behalf);
  END IF;
  RETURN CASE WHEN evidence = '{}' THEN claims ELSE threadline_internal.add_to_meta(claims, evidence) END;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
  RETURN threadline_internal.add_to_meta('{}',
    jsonb_build_object('unreadable_context', threadline_internal.first_bytes(context, 4000)));
END
$function$;
COMMENT ON FUNCTION threadline_internal.kept_context(jsonb, text) IS
  'What is kept of a context that is too long or unreadable, with a note in its meta; never fails.';

-- Every transaction calls this function once, and PL/pgSQL sets up each expression again in every transaction. A valid
-- context therefore takes few expressions, and only an invalid one is examined in detail.
CREATE FUNCTION threadline_internal.read_context(actor text, context text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  said_by jsonb;
  claims jsonb;
  address inet;
  readable boolean;
BEGIN
  BEGIN
    said_by := threadline_internal.read_actor(actor);
    claims := context::jsonb;
    -- Cast here, where a failure can be caught, instead of when the column is written.
    address := claims ->> 'remote_ip';
    -- Checks all four together, because one expression costs less than four.
    readable := num_nulls(said_by, actor) <> 1 AND (claims IS NULL OR jsonb_typeof(claims) = 'object'
      AND octet_length(concat(claims ->> 'correlation_id', claims ->> 'request_id', claims ->> 'job_id',
                              claims ->> 'source')) <= 1000
      AND coalesce(octet_length(claims ->> 'meta') <= 16384, true)
      AND coalesce(claims -> 'on_behalf_of' = 'null', true));
  EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    claims := '[]';
    address := NULL;
  END;
  IF readable IS NOT TRUE THEN
    claims := threadline_internal.kept_context(claims, context);
    IF num_nulls(said_by, actor) = 1 THEN
      claims := threadline_internal.add_to_meta(claims,
        jsonb_build_object('unreadable_actor_ref', threadline_internal.first_bytes(actor, 4000)));
    END IF;
  END IF;
  -- Stores the address as PostgreSQL writes it: the original text may have any number of leading zeros.
  RETURN jsonb_strip_nulls(jsonb_build_object(
      'actor_ref', said_by, 'on_behalf_of', claims -> 'on_behalf_of', 'source', claims ->> 'source', 'correlation_id',
        claims ->> 'correlation_id',
      'request_id', claims ->> 'request_id', 'job_id', claims ->> 'job_id', 'remote_ip', address))
    || CASE WHEN claims -> 'meta' <> 'null' THEN jsonb_build_object('meta', claims -> 'meta') ELSE '{}' END;
END
$function$;
COMMENT ON FUNCTION threadline_internal.read_context(text, text) IS
  'Reads actor and context from the settings threadline.actor_ref and threadline.context; never fails. An id or source '
  'has at most 1000 bytes, and meta at most 16 KiB. Longer values are shortened, and the key shortened of meta names '
  'them.';

-- A nested audited transaction saves what it replaces in threadline.outer_context, a chain of {"began": ...,
-- "actor_ref": ..., "context": ..., "outer": ...}. The last link with any value is the outermost context. A chain that
-- began with another transaction was set for the session by an earlier user of a pooled connection.
CREATE FUNCTION threadline_internal.outermost_context() RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  link jsonb;
  outermost jsonb;
BEGIN
  link := nullif(current_setting('threadline.outer_context', true), '')::jsonb;
  IF link ->> 'began' IS DISTINCT FROM (date_part('epoch', transaction_timestamp()) * 1000000)::bigint::text THEN
    RETURN NULL;
  END IF;
  WHILE jsonb_typeof(link) = 'object' LOOP
    IF concat(link ->> 'actor_ref', link ->> 'context') <> '' THEN
      outermost := link;
    END IF;
    link := link -> 'outer';
  END LOOP;
  RETURN outermost;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
  RETURN NULL;
END
$function$;
COMMENT ON FUNCTION threadline_internal.outermost_context() IS
  'Settings of the outermost audited transaction while a nested one is open, otherwise NULL; never fails.';

-- Records a context by which the running transaction can be found, in addition to that of its row.
CREATE FUNCTION threadline_internal.note_context(transaction_id uuid, context jsonb) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  INSERT INTO threadline_internal.transaction_contexts (transaction_id, digest, actor_ref, on_behalf_of, correlation_id)
  SELECT transaction_id, sha256(convert_to(jsonb_build_array(context -> 'actor_ref', context -> 'on_behalf_of',
           context -> 'correlation_id')::text, 'UTF8')), context -> 'actor_ref', context -> 'on_behalf_of',
         context ->> 'correlation_id'
   WHERE context ?| '{actor_ref,on_behalf_of,correlation_id}'
  ON CONFLICT DO NOTHING
$function$;
COMMENT ON FUNCTION threadline_internal.note_context(uuid, jsonb) IS
  'Adds a context to transaction_contexts, unless it is already there.';

CREATE FUNCTION threadline_internal.nested_context() RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  context jsonb := threadline_internal.read_context(nullif(current_setting('threadline.actor_ref', true), ''),
    nullif(current_setting('threadline.context', true), ''));
BEGIN
  PERFORM threadline_internal.note_context(threadline_internal.transaction_id(
    (date_part('epoch', transaction_timestamp()) * 1000000)::bigint), context);
  RETURN context;
END
$function$;
COMMENT ON FUNCTION threadline_internal.nested_context() IS
  'The current actor and context settings, recorded so that the running transaction can be found by them.';

-- Has no SET clause, because that would prevent the planner from inlining it. VOLATILE, because the functions that it
-- calls are. Applies to the transaction that was entered last, which is the running one once it has its row.
CREATE FUNCTION threadline_internal.change_context() RETURNS jsonb
LANGUAGE sql VOLATILE
AS $function$
  SELECT CASE WHEN pg_catalog.current_setting('threadline.entered_with', true) OPERATOR(pg_catalog.=) pg_catalog.concat(
                     pg_catalog."left"(pg_catalog.current_setting('threadline.entered', true), 36), pg_catalog.chr(31),
                     pg_catalog.current_setting('threadline.actor_ref', true), pg_catalog.chr(31),
                     pg_catalog.current_setting('threadline.context', true))
           THEN NULL ELSE threadline_internal.nested_context() END
$function$;
COMMENT ON FUNCTION threadline_internal.change_context() IS
  'Actor and context of a change if they differ from those with which its transaction was entered, otherwise NULL.';

-- See threadline_internal.long_transactions. The argument is the exact capture time of the change: if the function read
-- the clock again, a process delayed in between could write a late change unnoticed.
CREATE FUNCTION threadline_internal.note_long_transaction(transaction_id uuid, written_at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
  -- In whole units of 125 ms, so that duration_class is exact: it is the number of binary digits of this number.
  units bigint := floor(extract(epoch FROM written_at - transaction_timestamp()) * 8);
  reached smallint := length(ltrim(units::bit(64)::text, '0'));
BEGIN
  INSERT INTO threadline_internal.long_transactions AS l (duration_class, occurred_at, transaction_id)
  VALUES (reached, transaction_timestamp(), note_long_transaction.transaction_id) ON CONFLICT DO NOTHING;
  -- Saves the next change of this duration_class the call. Not in a serializable transaction: see
  -- threadline_internal.enter_transaction.
  IF current_setting('transaction_isolation') <> 'serializable' THEN
    UPDATE threadline.audit_transactions AS t SET duration_class = reached
      WHERE t.id = note_long_transaction.transaction_id;
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.note_long_transaction(uuid, timestamptz) IS
  'Records that the running transaction has a change 125 ms or more after it began.';

-- For callers that run rarely. Capture inlines the value by hand, to save each statement the call.
CREATE FUNCTION threadline_internal.long_after() RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $function$
  SELECT '125 ms'::pg_catalog.interval
$function$;
COMMENT ON FUNCTION threadline_internal.long_after() IS
  'The time after its start from which a change makes a transaction a long one, with a row in long_transactions.';

CREATE FUNCTION threadline_internal.long_transactions_around(began_by timestamptz, at timestamptz)
RETURNS SETOF threadline_internal.long_transactions
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 10 SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
BEGIN
  RETURN QUERY
    SELECT l.*
      FROM generate_series(1, (SELECT max(n.duration_class) FROM threadline_internal.long_transactions AS n))
        AS d (class)
      JOIN threadline_internal.long_transactions AS l
        ON l.duration_class = d.class AND l.occurred_at <= began_by
       AND l.occurred_at > at - threadline_internal.long_after() * power(2, d.class);
END
$function$;
COMMENT ON FUNCTION threadline_internal.long_transactions_around(timestamptz, timestamptz) IS
  'The long transactions that began by one time and may have a change after another.';

-- UUIDs of version 7 (RFC 9562, method 3): 48 bits of milliseconds and 12 bits of their fraction, followed by the tail:
-- the variant and 62 bits. The planner inlines this function, because it has no SET clause.
CREATE FUNCTION threadline_internal.uuid_v7(us bigint, tail bytea) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $function$
  SELECT pg_catalog.encode(
    pg_catalog.int8send(($1 OPERATOR(pg_catalog./) 1000) OPERATOR(pg_catalog.<<) 16 OPERATOR(pg_catalog.|) 28672
                        OPERATOR(pg_catalog.|) ($1 OPERATOR(pg_catalog.%) 1000 OPERATOR(pg_catalog.*) 4096
                          OPERATOR(pg_catalog./) 1000))
    OPERATOR(pg_catalog.||) $2, 'hex')::pg_catalog.uuid
$function$;
COMMENT ON FUNCTION threadline_internal.uuid_v7(bigint, bytea) IS
  'A version 7 UUID made from a time in microseconds since 1970 and its last 8 bytes.';

-- Returns the id of the running transaction. The id is computed from what the server knows about the transaction and
-- not stored in a setting, because a setting can be forged: a session that names the row of another transaction must
-- not be believed. It is a UUID of version 7 (RFC 9562, method 3): 48 bits of milliseconds and 12 bits of their
-- fraction, then the variant and 62 bits. Instead of random bits, these contain the transaction number, which no other
-- transaction that began at the same time has. There is no SET clause, because it would prevent the planner from
-- inlining the function. All callers compute the time in the same way, to the bit: double precision distinguishes
-- microseconds until 2106.
CREATE FUNCTION threadline_internal.transaction_id(began_us bigint) RETURNS uuid
LANGUAGE sql STABLE
AS $function$
  SELECT pg_catalog.encode(
    pg_catalog.int8send((began_us OPERATOR(pg_catalog./) 1000) OPERATOR(pg_catalog.<<) 16 OPERATOR(pg_catalog.|) 28672
                        OPERATOR(pg_catalog.|) (began_us OPERATOR(pg_catalog.%) 1000 OPERATOR(pg_catalog.*) 4096
                          OPERATOR(pg_catalog./) 1000))
    OPERATOR(pg_catalog.||)
    pg_catalog.set_byte(pg_catalog.xid8send(pg_catalog.pg_current_xact_id()), 0, 128), 'hex')::pg_catalog.uuid
$function$;
COMMENT ON FUNCTION threadline_internal.transaction_id(bigint) IS
  'The id of the running transaction, from its start in microseconds since 1970.';

-- threadline_internal.transaction_id creates the ids as version 7 UUIDs from the start time of the transaction, so this
-- bound turns the primary key of audit_changes into an index by time. IMMUTABLE, so that the planner has its value.
CREATE FUNCTION threadline.first_id_after(at timestamptz) RETURNS uuid
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  -- Clamps all times outside these years, including the infinities, because no id is outside them.
  bounded timestamptz := least(greatest(at, '1970-01-01 00:00:00+00'), '5000-01-01 00:00:00+00');
  us bigint := extract(epoch FROM bounded - '1970-01-01 00:00:00+00'::timestamptz) * 1000000 + 1;
BEGIN
  RETURN threadline_internal.uuid_v7(us, int8send(-9223372036854775808));
END
$function$;
COMMENT ON FUNCTION threadline.first_id_after(timestamptz) IS
  'The lowest id of a transaction that began after the given time.';

-- An image contains the attributes of a composite value by name. Attribute numbers show whether a name still means the
-- same attribute, because PostgreSQL never reuses a number. The numbers are valid in one database only: restoring a
-- dump renumbers the attributes.

-- Returns the attribute numbers by name for each composite type that values of a type contain; NULL if there is none.
CREATE FUNCTION threadline_internal.attribute_numbers(type oid) RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN CASE WHEN type >= 16384 THEN (
    SELECT jsonb_object_agg(a.type, a.numbers)
      FROM (SELECT t.type, jsonb_object_agg(c.name, c.number) AS numbers
              FROM threadline_internal.types_of_type(attribute_numbers.type) AS t (type)
              JOIN pg_type AS y ON y.oid = t.type AND y.typrelid <> 0
             CROSS JOIN LATERAL threadline_internal.columns_of(y.typrelid) AS c
             GROUP BY t.type) AS a) END;
END
$function$;
COMMENT ON FUNCTION threadline_internal.attribute_numbers(oid) IS
  'The attribute numbers of the composite types that values of a type contain.';

-- Returns whether an attribute has a name that belonged to another attribute.
CREATE FUNCTION threadline_internal.are_exchanged(old_attributes jsonb, new_attributes jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT EXISTS (
    SELECT FROM jsonb_each(old_attributes) AS o
      JOIN jsonb_each(new_attributes) AS n USING (key)
     CROSS JOIN LATERAL jsonb_each(o.value) AS a
     WHERE n.value -> a.key <> a.value)
$function$;
COMMENT ON FUNCTION threadline_internal.are_exchanged(jsonb, jsonb) IS
  'Whether attributes of composite types exchanged names, or were dropped and added again.';

-- Returns whether attributes of a column were exchanged in this way since the last refresh.
CREATE FUNCTION threadline_internal.has_exchanged_attributes(audited threadline.audited_tables) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  IF NOT audited.definition @? '$.columns.*.attributes' THEN
    RETURN false;
  END IF;
  RETURN threadline_internal.is_described(audited.relation, audited.definition)
     AND EXISTS (
       SELECT FROM jsonb_each(audited.definition -> 'columns') AS d
         JOIN threadline_internal.columns_of(audited.relation) AS c ON c.number = (d.value ->> 'number')::smallint
        WHERE d.value ? 'attributes'
          AND threadline_internal.are_exchanged(d.value -> 'attributes',
                threadline_internal.attribute_numbers(c.type)));
END
$function$;
COMMENT ON FUNCTION threadline_internal.has_exchanged_attributes(threadline.audited_tables) IS
  'Whether attributes in a column of a table exchanged names, or were added again, since its last refresh.';

-- Records a gap for each column whose attributes were exchanged since any of its definitions, unless a gap or a
-- conversion of the column was recorded after that.
CREATE FUNCTION threadline_internal.find_exchanged_attributes(audited threadline.audited_tables,
  present threadline.table_definitions) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.keep_gap(audited, o.name, p.value,
           format('attributes of column %I have exchanged names, or were dropped and added again', p.key))
    FROM jsonb_each(present.columns) AS p
   CROSS JOIN LATERAL (
     SELECT o.key AS name
       FROM threadline.table_definitions AS d CROSS JOIN LATERAL jsonb_each(d.columns) AS o
      WHERE d.table_id = audited.id AND d.id < audited.definition_id
        AND (d.relation, d.database) = (present.relation, present.database)
        AND o.value -> 'number' = p.value -> 'number'
        AND threadline_internal.are_exchanged(o.value -> 'attributes', p.value -> 'attributes')
        AND NOT EXISTS (SELECT FROM threadline.column_conversions AS c
                         WHERE c.table_id = audited.id AND c.column_number = (p.value ->> 'number')::smallint
                           AND c.definition_id > d.id AND c.definition_id < audited.definition_id
                           AND c.gap IS NOT NULL)
        AND EXISTS (SELECT FROM threadline.audit_changes AS c
                     WHERE c.table_id = audited.id AND c.definition_id <= d.id)
      ORDER BY d.id DESC LIMIT 1) AS o
   WHERE p.value ? 'attributes' AND p.key <> ALL (audited.masked_columns || audited.excluded_columns)
$function$;
COMMENT ON FUNCTION threadline_internal.find_exchanged_attributes(threadline.audited_tables,
  threadline.table_definitions) IS
  'Records that attributes in columns of a table can no longer be identified by their names.';

-- Records that enum labels were renamed and rows were written with them before a refresh, so that it is unknown whether
-- a change contains the old name or the new one. A change was written after the rename if its row is newer than that of
-- the label.
CREATE FUNCTION threadline_internal.find_renamed_labels(audited threadline.audited_tables,
  before threadline.audited_tables, present threadline.table_definitions) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.keep_gap(audited, o.key, p.value,
           format('labels of column %I were renamed, and rows written before the refresh', p.key))
    FROM threadline.table_definitions AS d
   CROSS JOIN LATERAL jsonb_each(d.columns) AS o
    JOIN jsonb_each(present.columns) AS p ON p.value -> 'number' = o.value -> 'number'
   WHERE d.id = before.definition_id AND p.value -> 'type_oid' = o.value -> 'type_oid'
     AND p.key <> ALL (audited.masked_columns || audited.excluded_columns)
     AND EXISTS (
       SELECT FROM jsonb_each_text(p.value -> 'labels') AS n
         JOIN jsonb_each_text(o.value -> 'labels') AS l ON l.value = n.value AND l.key <> n.key
         JOIN pg_enum AS e ON e.oid = n.value::oid
         JOIN threadline.audit_changes AS c ON c.table_id = audited.id AND c.definition_id >= before.definition_id
        WHERE age(c.xmin) < age(e.xmin)
           OR c.xmin = e.xmin AND c.cmin::text::bigint > e.cmin::text::bigint)
$function$;
COMMENT ON FUNCTION threadline_internal.find_renamed_labels(threadline.audited_tables, threadline.audited_tables,
  threadline.table_definitions) IS
  'Records that columns of a table were written between a rename of labels and the next refresh.';

-- Whether a table is partitioned.
CREATE FUNCTION threadline_internal.is_partitioned(relation regclass) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN (SELECT c.relkind = 'p' FROM pg_class AS c WHERE c.oid = is_partitioned.relation);
END
$function$;
COMMENT ON FUNCTION threadline_internal.is_partitioned(regclass) IS 'Whether a table is partitioned.';

-- Lists the columns of a table. The planner inlines it, so it has no pinned search_path.
CREATE FUNCTION threadline_internal.columns_of(relation regclass)
RETURNS TABLE (number smallint, name text, type oid, typmod integer, not_null boolean, generated "char",
  identity "char")
LANGUAGE sql STABLE PARALLEL SAFE
AS $function$
  SELECT a.attnum, a.attname::pg_catalog.text, a.atttypid, a.atttypmod, a.attnotnull, a.attgenerated, a.attidentity
    FROM pg_catalog.pg_attribute AS a
   WHERE a.attrelid OPERATOR(pg_catalog.=) relation AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
$function$;
COMMENT ON FUNCTION threadline_internal.columns_of(regclass) IS
  'The columns of a table, without those that were dropped.';

-- Writes the columns of a row, in the order of its table.
CREATE FUNCTION threadline_internal.columns_of_row(relation regclass, row_name text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(format('%s.%I', row_name, c.name), ', ' ORDER BY c.number)
    FROM threadline_internal.columns_of(relation) AS c
$function$;
COMMENT ON FUNCTION threadline_internal.columns_of_row(regclass, text) IS 'SQL for the list of the columns of a row.';

-- Only reached between the renaming of a key column and the next refresh.
CREATE FUNCTION threadline_internal.current_column(table_id integer, column_name text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT a.attname::text
    FROM threadline.audited_tables AS t
    JOIN pg_attribute AS a
      ON a.attrelid = t.relation AND NOT a.attisdropped AND t.relation::oid = (t.definition ->> 'oid')::oid
     AND a.attnum = (t.definition #>> ARRAY['columns', current_column.column_name, 'number'])::smallint
   WHERE t.id = current_column.table_id
$function$;
COMMENT ON FUNCTION threadline_internal.current_column(integer, text) IS
  'What a column known to the capture functions of a table is called now.';

-- Compares the values that a migration left with the values recorded before it.

-- Returns the condition that an image c.image has the key of a live row t as capture would write it, whatever its type.
CREATE FUNCTION threadline_internal.image_has_recorded_key(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(format('c.image -> %L = to_jsonb(%s)', k.name, threadline_internal.column_image(
           threadline_internal.recorded_value(audited, k.name, format('t.%I', k.name)), k.name = ANY (x.columns))),
           ' AND ')
    FROM unnest(audited.key_columns) AS k (name)
   CROSS JOIN threadline_internal.text_columns(audited.relation) AS x (columns)
$function$;
COMMENT ON FUNCTION threadline_internal.image_has_recorded_key(threadline.audited_tables) IS
  'SQL condition that an image has the primary key of a live row, in the text form of the image.';

-- Returns SQL for the value of a column in an image: NULL if the image has no value, or if the value was not recorded.
CREATE FUNCTION threadline_internal.said_value(image text, name text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('CASE WHEN %1$s ? %2$L AND NOT (%1$s ? %3$L AND %2$L = ANY '
    '(threadline_internal.columns_not_recorded(%1$s))) THEN %1$s -> %2$L END', image, name, '')
$function$;
COMMENT ON FUNCTION threadline_internal.said_value(text, text) IS
  'SQL for the value of a column in an image; NULL if the image has none.';

-- Compares the converted values that were last recorded before a migration with the values of the same rows after it:
-- those that the next change found, or the current ones. It reads the 10,000 newest changes. `is_whole` says that there
-- are no more, and `is_complete` that they cover all rows of the table. `convert` is SQL for the conversion of a JSON
-- value `v.value`.
-- NULL, 0 and empty values stay the same in many conversions, so they do not count as compared; `is_trivial` says that
-- there were no other values. A value that was not recorded, or is lost in an older gap, proves nothing, and is not
-- trivial if the type changed. Changes from before the history began prove nothing either: unrecorded rows may have
-- been inserted or deleted since.
-- A change written between the migration and the refresh has a later definition. Its values are already converted, or
-- the plain conversion is applied to them again. If the type stayed the same, it has the old definition, so `within`
-- compares the changes of that definition with each other.
-- More than 60 lines: it is one statement.
CREATE FUNCTION threadline_internal.compare_conversion(audited threadline.audited_tables, number smallint,
  convert text, last_definition_id integer, within boolean, OUT compared bigint, OUT differing bigint,
  OUT later_compared bigint, OUT later_differing bigint, OUT example text, OUT is_complete boolean,
  OUT is_trivial boolean, OUT is_whole boolean)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C' SET enable_nestloop = off
AS $function$
DECLARE
  typed_key text := threadline_internal.image_has_key(audited);
  same_key text := coalesce(typed_key, threadline_internal.image_has_recorded_key(audited));
BEGIN
  IF same_key IS NULL THEN
    compared := 0;  -- and is_complete is NULL
    RETURN;
  END IF;
  PERFORM threadline_internal.check_foreign_code(audited.relation);
  EXECUTE threadline_internal.render($sql$
    WITH change AS MATERIALIZED (
      SELECT c.*, lead(c.definition_id) OVER w AS next_definition_id, lead(c.found) OVER w AS next_found
        FROM (SELECT c.op, c.captured_at, c.id, c.definition_id,
                     threadline_internal.present_image(c.data_after, {older}) AS image,
                     threadline_internal.present_image(coalesce(c.data_after || c.changed_from, c.changed_from),
                       {older}) AS found
                FROM threadline.audit_changes AS c
               WHERE c.table_id = {table_id} AND c.definition_id >= {first_definition_id}
               ORDER BY c.captured_at DESC, c.id DESC LIMIT 10000) AS c
      WINDOW w AS (PARTITION BY {key} ORDER BY c.captured_at, c.id)
    ), said AS MATERIALIZED (
      SELECT c.*, {said} AS value, {next_said} AS after FROM change AS c
    ), pair AS (
      SELECT c.value, c.after, c.definition_id > {last_definition_id} AS is_later,
             c.next_definition_id > greatest({last_definition_id}, c.definition_id) AS is_across
        FROM said AS c
       WHERE (c.next_definition_id > {last_definition_id} OR {within} AND c.definition_id = {last_definition_id})
         AND c.value IS NOT NULL AND c.after IS NOT NULL
      UNION ALL
      SELECT c.value, coalesce({live_value}, 'null'), c.definition_id > {last_definition_id}, true
        FROM said AS c {join} {live_rows} AS t ON {same_key}
       WHERE c.next_definition_id IS NULL AND c.value IS NOT NULL
    ), converted AS MATERIALIZED (
      SELECT p.value, p.is_later, p.is_across,
             coalesce((SELECT {convert} FROM (SELECT p.value) AS v), 'null') AS converted,
             coalesce((SELECT {convert} FROM (SELECT p.after AS value) AS v), 'null') AS after
        FROM pair AS p
    )
    SELECT count(*) FILTER (WHERE p.is_across AND NOT p.is_later AND p.value <> ALL ({trivial})),
           count(*) FILTER (WHERE p.converted <> p.after),
           count(*) FILTER (WHERE p.is_across AND p.is_later AND p.value <> ALL ({trivial})),
           count(*) FILTER (WHERE p.converted <> p.after AND p.is_later),
           min(format('%s, which is %s', p.converted, p.after)) FILTER (WHERE p.converted <> p.after),
           CASE WHEN (SELECT count(*) >= 10000 FROM change) THEN false
             ELSE NOT EXISTS (SELECT FROM {live_rows} AS t WHERE NOT EXISTS (
                                SELECT FROM (SELECT coalesce(c.image, c.found) AS image FROM change AS c OFFSET 0) AS c
                                 WHERE {same_key})) END,
           (SELECT coalesce(bool_and(
                     coalesce(c.value = ANY ({trivial}), {within} OR NOT c.image ? {name}, true)
                     AND coalesce({found_said} = ANY ({trivial}), {within} OR NOT c.found ? {name}, true))
                       FILTER (WHERE c.definition_id <= {last_definition_id}), true) FROM said AS c),
           (SELECT count(*) < 10000 FROM change)
      FROM converted AS p$sql$, jsonb_build_object(
    'table_id', audited.id, 'first_definition_id', audited.first_definition_id,
    -- Not the recorded keys: keys recorded before the refresh may have another type.
    'key', (SELECT string_agg(CASE WHEN typed_key IS NULL THEN format('coalesce(c.image, c.found) -> %L', k.name)
                       ELSE threadline_internal.image_value('coalesce(c.image, c.found)', k.name, k.type, k.typmod) END,
                     ', ')
              FROM threadline_internal.columns_of(audited.relation) AS k WHERE k.name = ANY (audited.key_columns)),
    'older', format('%L::jsonb, c.definition_id::text', audited.older_definitions),
    'name', quote_literal(c.name), 'said', threadline_internal.said_value('c.image', c.name),
    'found_said', threadline_internal.said_value('c.found', c.name),
    'next_said', threadline_internal.said_value('c.next_found', c.name),
    'trivial', $$ARRAY['null', '0', '""', '[]', '{}']::jsonb[]$$,
    'last_definition_id', last_definition_id, 'within', within,
    'live_value', format('to_jsonb(%s)', threadline_internal.column_image(
      threadline_internal.recorded_value(audited, c.name, format('t.%I', c.name)),
      c.name = ANY (threadline_internal.text_columns(audited.relation)))),
    -- A key that was converted in another way finds no row.
    'join', CASE WHEN c.name = ANY (audited.key_columns) THEN 'LEFT JOIN' ELSE 'JOIN' END,
    'live_rows', threadline_internal.live_rows(audited.relation), 'same_key', same_key, 'convert', convert))
    FROM threadline_internal.columns_of(audited.relation) AS c WHERE c.number = compare_conversion.number
    INTO compared, differing, later_compared, later_differing, example, is_complete, is_trivial, is_whole;
END
$function$;
COMMENT ON FUNCTION threadline_internal.compare_conversion(threadline.audited_tables, smallint, text, integer, boolean)
  IS
  'Compares the last recorded values of a column, converted, with those of their rows after a migration, and counts '
  'how many are equal and how many are not.';

-- Returns SQL for a value of an image in the type of its column, or as text if that is not a built-in type. A numeric
-- that became an integer has a scale.
CREATE FUNCTION threadline_internal.image_value(image text, name text, type oid, typmod integer) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format(CASE WHEN b.type IN ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype)
           THEN '(%s ->> %L)::numeric::%s' ELSE '(%s ->> %L)::%s' END, image, name,
           threadline_internal.built_in_type(type, typmod))
    FROM threadline_internal.base_type(type, typmod) AS b
$function$;
COMMENT ON FUNCTION threadline_internal.image_value(text, text, oid, integer) IS
  'SQL for a value of an image in its own type, or as text.';

-- Returns the condition that an image c.image has the key of a live row t; NULL if only code of a type could decide it,
-- or if the key is JSON of several values.
CREATE FUNCTION threadline_internal.image_has_key(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(format(CASE WHEN b.is_built_in THEN '%s = %s' ELSE '%s = %s::text' END,
           threadline_internal.image_value('c.image', c.name, c.type, c.typmod),
           threadline_internal.recorded_value(audited, c.name, format('t.%I', c.name))), ' AND ')
    FROM threadline_internal.columns_of(audited.relation) AS c
   CROSS JOIN threadline_internal.base_type(c.type, c.typmod) AS b
   WHERE c.name = ANY (audited.key_columns)
  HAVING bool_and(threadline_internal.built_in_type(c.type, c.typmod) IS NOT NULL AND b.category <> 'A')
$function$;
COMMENT ON FUNCTION threadline_internal.image_has_key(threadline.audited_tables) IS
  'SQL condition that an image has the primary key of a live row.';

-- A migration can convert the values of a column with ALTER TABLE ... ALTER COLUMN ... TYPE ... USING. PostgreSQL does
-- not store the expression. Threadline therefore assumes the plain conversion between the types only if it turns the
-- last recorded values of the rows into their present values, or if someone declares it. Otherwise the column has a
-- gap.

-- Returns whether the time zone of the session affects how PostgreSQL converts one type to the other.
CREATE FUNCTION threadline_internal.converts_by_zone(old_type text, type text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT (old_type ~ 'with time zone') <> (type ~ 'with time zone')
$function$;
COMMENT ON FUNCTION threadline_internal.converts_by_zone(text, text) IS
  'Whether a conversion between two types depends on the time zone of the session.';

-- Returns why the migration did not apply the plain conversion to the present type of a column; NULL if it did.
-- `last_definition_id` is the last definition that the conversion or gap applies to, whatever the type.
CREATE FUNCTION threadline_internal.why_not_plain(audited threadline.audited_tables, converted record,
  before threadline.audited_tables, OUT gap text, OUT last_definition_id integer)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  comparison record;
  is_hashed boolean := converted.name = ANY (audited.hashed_columns);
  was_another boolean;
  changed text := CASE WHEN converted.old_type = converted.type THEN format('column %I was rewritten', converted.name)
    ELSE format('column %I was converted from %s to %s', converted.name, converted.old_type, converted.type) END;
BEGIN
  last_definition_id := before.definition_id;
  IF converted.name = ANY (audited.masked_columns || audited.excluded_columns) THEN
    gap := format('%s while it was redacted', changed);  -- the gap matters once the redaction ends
    RETURN;
  ELSIF is_hashed AND converted.old_type <> converted.type
    AND NOT threadline_internal.holds_all_values(converted.old_type, converted.type) THEN
    gap := format('%s, and a hash cannot be converted', changed);
    RETURN;
  ELSIF NOT EXISTS (SELECT FROM threadline.audit_changes AS c
                     WHERE c.table_id = audited.id AND c.definition_id < audited.definition_id) THEN
    RETURN;  -- No recorded value needs a conversion.
  END IF;
  -- A history that begins again with this refresh has nothing to compare.
  audited.first_definition_id := before.first_definition_id;
  comparison := threadline_internal.compare_conversion(audited, converted.number,
    threadline_internal.plain_conversion(audited, converted.number), before.definition_id,
    converted.old_type = converted.type);
  was_another := comparison.later_compared = 0 AND threadline_internal.had_another_type(audited, converted, before);
  IF comparison.later_differing > 0 OR was_another THEN
    last_definition_id := audited.definition_id - 1;
  END IF;
  gap := CASE
    WHEN was_another THEN format('%s, and was of another type in between', changed)
    WHEN comparison.differing > 0 THEN format('%s, and its values are others than before', changed)
    WHEN comparison.is_complete IS NULL THEN format('%s, and there is no primary key to compare rows by', changed)
    WHEN converted.is_certain AND comparison.is_complete IS NOT TRUE THEN changed
    WHEN comparison.compared = 0 AND NOT (comparison.is_trivial AND (comparison.is_whole OR converted.is_behind))
      THEN format('%s, and nothing shows how', changed)
    WHEN threadline_internal.converts_by_zone(converted.old_type, converted.type) AND NOT comparison.is_trivial
      AND NOT (threadline_internal.is_converted_here(audited, converted.number)
               AND current_setting('TimeZone') IN ('Etc/UTC', 'GMT', 'UTC'))
      THEN format('%s, in a time zone that is not known', changed) END;
EXCEPTION WHEN data_exception OR insufficient_privilege OR integrity_constraint_violation OR undefined_function THEN
  -- PostgreSQL's message contains a recorded value, and no redaction would reach a value stored here.
  gap := format('%s, and PostgreSQL cannot convert a recorded value: SQLSTATE %s', changed, SQLSTATE);
END
$function$;
COMMENT ON FUNCTION threadline_internal.why_not_plain(threadline.audited_tables, record, threadline.audited_tables) IS
  'Why the plain conversion of a column to its present type is not known to be what the migration did; NULL if it is.';

-- Returns whether values of a column were recorded while it had a type other than its previous and its present one.
CREATE FUNCTION threadline_internal.had_another_type(audited threadline.audited_tables, converted record,
  before threadline.audited_tables) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN EXISTS (
    SELECT FROM threadline.table_definitions AS d CROSS JOIN LATERAL jsonb_each(d.columns) AS c
     WHERE d.table_id = audited.id AND d.id > before.definition_id AND d.id < audited.definition_id
       AND (c.value ->> 'number')::smallint = converted.number
       AND c.value ->> 'type' NOT IN (converted.old_type, converted.type));
END
$function$;
COMMENT ON FUNCTION threadline_internal.had_another_type(threadline.audited_tables, record, threadline.audited_tables)
  IS
  'Whether a column had a third type between two refreshes.';

-- Returns SQL for the plain conversion of a JSON value v.value to the present type of a column.
CREATE FUNCTION threadline_internal.plain_conversion(audited threadline.audited_tables, number smallint) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE
      WHEN c.name = ANY (audited.hashed_columns) THEN 'v.value'
      WHEN threadline_internal.built_in_type(c.type, c.typmod) IS NOT NULL
        THEN format('threadline_internal.value_as(%L, v.value)', threadline_internal.built_in_type(c.type, c.typmod))
      WHEN c.name = ANY (threadline_internal.text_columns(audited.relation)) THEN $$to_jsonb(v.value #>> '{}')$$
      ELSE 'v.value' END
    FROM threadline_internal.columns_of(audited.relation) AS c WHERE c.number = plain_conversion.number
$function$;
COMMENT ON FUNCTION threadline_internal.plain_conversion(threadline.audited_tables, smallint) IS
  'SQL for PostgreSQL''s conversion of a value in an image to the present type of its column.';

-- Returns whether the running transaction altered a column before it wrote the table. If so, all recorded changes of
-- the table precede the conversion.
CREATE FUNCTION threadline_internal.is_converted_here(audited threadline.audited_tables, number smallint)
RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT EXISTS (SELECT FROM pg_attribute AS a
                  WHERE a.attrelid = audited.relation AND a.attnum = is_converted_here.number
                    -- The row version is visible, and from a transaction in progress: this one, or a savepoint in it.
                    AND CASE WHEN age(a.xmin) <= 0 THEN pg_xact_status(
                          (pg_current_xact_id()::text::bigint - age(a.xmin))::text::xid8) = 'in progress' END)
         AND NOT EXISTS (SELECT FROM threadline.audit_changes AS c
                           JOIN threadline.audit_transactions AS t ON t.id = c.transaction_id
                          WHERE c.table_id = audited.id AND c.captured_at >= transaction_timestamp()
                            AND t.txid = pg_current_xact_id())
$function$;
COMMENT ON FUNCTION threadline_internal.is_converted_here(threadline.audited_tables, smallint) IS
  'Whether the running transaction altered a column and has not written the table.';

-- Returns whether each value of one type is the same value of another, or no value of it. Nobody converts between such
-- types in another way, except to change the values.
CREATE FUNCTION threadline_internal.holds_all_values(old_type text, type text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT old_type ~ whole AND type ~ (whole || '|^numeric$') OR (old_type, type) IN (('real', 'double precision'))
         OR old_type ~ '^(text|character varying|character)([(][0-9]+[)])?$'
            AND type ~ '^(text|character varying)([(][0-9]+[)])?$'
    FROM (SELECT '^(smallint|integer|bigint)$'::text AS whole) AS w
$function$;
COMMENT ON FUNCTION threadline_internal.holds_all_values(text, text) IS
  'Whether values of one built-in type are values of another.';

-- Records the conversions that a refresh finds.
CREATE FUNCTION threadline_internal.find_conversions(audited threadline.audited_tables,
  before threadline.audited_tables, present threadline.table_definitions) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  converted record;
  plain record;
  is_rewritten boolean := EXISTS (
    SELECT FROM jsonb_each(threadline_internal.present_files(audited.relation)) AS f
     WHERE before.catalog_versions -> 'files' -> f.key IS DISTINCT FROM f.value);
BEGIN
  FOR converted IN SELECT * FROM threadline_internal.converted_columns(audited, before, present) LOOP
    IF is_rewritten OR converted.is_certain THEN
      plain := threadline_internal.why_not_plain(audited, converted, before);
    ELSE
      SELECT NULL::text AS gap, before.definition_id AS last_definition_id INTO plain;
    END IF;
    -- Also records a column that may have been rewritten: the comparison may have missed it, and someone may declare
    -- it.
    IF NOT is_rewritten AND converted.old_type = converted.type THEN
      DELETE FROM threadline.column_conversions AS c
       WHERE (c.table_id, c.column_number, c.definition_id) = (audited.id, converted.number, audited.definition_id);
    ELSE
      INSERT INTO threadline.column_conversions VALUES (audited.id, converted.number, audited.definition_id,
        plain.last_definition_id, converted.old_name, converted.old_type, converted.type, clock_timestamp(), NULL,
        plain.gap, plain.last_definition_id = before.definition_id AND (converted.old_type <> converted.type
          OR threadline_internal.is_converted_here(audited, converted.number)))
      ON CONFLICT (table_id, column_number, definition_id) DO UPDATE
        SET gap = EXCLUDED.gap, last_definition_id = EXCLUDED.last_definition_id;
    END IF;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.find_conversions(threadline.audited_tables, threadline.audited_tables,
  threadline.table_definitions) IS
  'Records how columns of a table were converted since its last refresh.';

-- Records that a column cannot be read as of a time before this refresh, whichever migration was the reason, and that
-- nobody can declare its conversion.
CREATE FUNCTION threadline_internal.keep_gap(audited threadline.audited_tables, old_name text, "column" jsonb, gap text)
RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  INSERT INTO threadline.column_conversions VALUES (audited.id, ("column" ->> 'number')::smallint,
    audited.definition_id, audited.definition_id - 1, old_name, "column" ->> 'type', "column" ->> 'type',
    clock_timestamp(), NULL, gap, false)
  ON CONFLICT (table_id, column_number, definition_id) DO UPDATE SET gap = EXCLUDED.gap, from_type = EXCLUDED.from_type,
    last_definition_id = EXCLUDED.last_definition_id, can_be_declared = false;
END
$function$;
COMMENT ON FUNCTION threadline_internal.keep_gap(threadline.audited_tables, text, jsonb, text) IS
  'Records that a column has no value as of a time before a refresh, and why.';

-- An image from before a column was added has no value for it. Its row had the default with which the column was added,
-- as do rows that were not written since. A default that was set later is another one. No catalog records which default
-- was which, but PostgreSQL stores the first one with the column until it rewrites the table.

-- Returns the value of an added column in rows written before it was added, as JSON; NULL if it is NULL, or if it
-- differs by row in a column that is NOT NULL. If the value is unknown, `gap` says why, and the value cannot be read.
CREATE FUNCTION threadline_internal.added_default(relation regclass, number smallint, OUT value jsonb, OUT gap text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C' SET quote_all_identifiers = off
AS $function$
DECLARE
  audited threadline.audited_tables;
  attribute record;
  literals text[];
  literal text;
BEGIN
  SELECT t.* INTO audited FROM threadline_internal.audited_table(relation) AS t;
  SELECT a.attname::text AS name, a.attgenerated <> '' AS is_generated, d.adbin IS NOT NULL AS has_default,
         (regexp_match(pg_get_expr(d.adbin, d.adrelid),
           '^(''(?:[^'']|'''')*''|[(]?-?[0-9.]+[)]?|true|false)(?:::[]a-z "[0-9(),_.]+)?$'))[1] AS literal,
         threadline_internal.built_in_type(a.atttypid, a.atttypmod) AS type
    INTO attribute
    FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
   WHERE a.attrelid = added_default.relation AND a.attnum = added_default.number;
  -- A recreated table never had this column added: images of the earlier table have no such value.
  IF attribute.is_generated OR audited.id IS NULL THEN
    RETURN;
  END IF;
  literals := threadline_internal.missing_values(audited, relation, attribute.name);
  -- After a rewrite, the catalog no longer has the value. A constant default may still have it, and the rows show
  -- whether it does.
  literal := CASE WHEN cardinality(literals) = 1 THEN literals[1] ELSE coalesce(attribute.literal, 'NULL') END;
  IF literal <> 'NULL' AND attribute.type IS NOT NULL THEN
    EXECUTE format('SELECT to_jsonb(CAST(%s AS %s))', literal, attribute.type) INTO value;
  END IF;
  IF literal <> 'NULL' AND value IS NULL THEN
    gap := format('column %I was added with a default that only code of its type could tell', attribute.name);
  ELSIF cardinality(literals) IS DISTINCT FROM 1 AND NOT threadline_internal.is_borne_out(audited, attribute.name,
      coalesce(value, 'null'), attribute.has_default) THEN
    value := NULL;
    gap := format('column %I was added, and the table was rewritten: its rows do not show with which default',
      attribute.name);
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.added_default(regclass, smallint) IS
  'The value of an added column in the rows that existed before it, or why the value is unknown.';

-- Returns SQL for the values of an added column in rows of files that existed at the last refresh: the value that
-- PostgreSQL stores for them, or NULL if it stores none and the file is the same.
CREATE FUNCTION threadline_internal.missing_values(audited threadline.audited_tables, relation regclass, name text)
RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN (SELECT array_agg(DISTINCT CASE WHEN a.atthasmissing THEN quote_literal((a.attmissingval::text::text[])[1])
                             ELSE 'NULL' END)
            FROM jsonb_each(threadline_internal.present_files(missing_values.relation)) AS f
            JOIN pg_attribute AS a ON a.attrelid = f.key::oid AND a.attname = missing_values.name
           WHERE a.atthasmissing
              OR audited.catalog_versions ->> 'database' = threadline_internal.database_identity()
                 AND audited.catalog_versions -> 'files' -> f.key = f.value);
END
$function$;
COMMENT ON FUNCTION threadline_internal.missing_values(threadline.audited_tables, regclass, text) IS
  'SQL for the values that PostgreSQL gives an added column in rows that existed before it; empty if they cannot be '
  'determined.';

-- Returns whether all rows that were not written since the last refresh have a given value in a column. If there are no
-- rows, a column without a default is assumed to be NULL.
CREATE FUNCTION threadline_internal.is_borne_out(audited threadline.audited_tables, name text, value jsonb,
  has_default boolean) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C' SET jit = off
AS $function$
DECLARE
  same_key text;
  is_so boolean;
BEGIN
  IF audited.id IS NULL THEN
    RETURN false;
  ELSIF EXISTS (SELECT FROM threadline.audit_changes AS c
                 WHERE c.table_id = audited.id AND c.definition_id > audited.definition_id) THEN
    same_key := coalesce(threadline_internal.image_has_key(audited),
      threadline_internal.image_has_recorded_key(audited), 'true');
  END IF;
  PERFORM threadline_internal.check_foreign_code(audited.relation);
  EXECUTE threadline_internal.render($sql$
    SELECT coalesce(bool_and(coalesce(to_jsonb({column}), 'null') = $1),
                    NOT {has_default} AND NOT EXISTS (SELECT FROM {live_rows}))
      FROM {live_rows} AS t
     WHERE NOT EXISTS (
             SELECT FROM (SELECT w.data_after AS image FROM threadline.audit_changes AS w
                           WHERE w.table_id = {table_id} AND w.definition_id > {definition_id}
                             AND w.data_after IS NOT NULL) AS c
              WHERE {same_key})$sql$, jsonb_build_object(
    'column', threadline_internal.column_image(format('t.%I', name),
      name = ANY (threadline_internal.text_columns(audited.relation))),
    'has_default', has_default, 'live_rows', threadline_internal.live_rows(audited.relation), 'table_id', audited.id,
    'definition_id', audited.definition_id, 'same_key', coalesce(same_key, 'false'))) INTO is_so USING value;
  RETURN is_so;
EXCEPTION WHEN data_exception OR insufficient_privilege OR integrity_constraint_violation OR undefined_function
    OR undefined_column THEN
  RETURN false;
END
$function$;
COMMENT ON FUNCTION threadline_internal.is_borne_out(threadline.audited_tables, text, jsonb, boolean) IS
  'Whether the rows that were not written since the last refresh have a given value in a column.';

-- Identifies the generator that wrote the functions of a table. An older version requires a refresh.
CREATE FUNCTION threadline_internal.definition_version() RETURNS integer
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS 'SELECT 1';
COMMENT ON FUNCTION threadline_internal.definition_version() IS
  'Version of the generator; threadline.refresh_audited_tables() rebuilds tables whose definition_version is older.';

-- Returns whether a description belongs to this very table, so that its column numbers are those of the table. A
-- restored table may have the same OID by chance.
CREATE FUNCTION threadline_internal.is_described(relation regclass, description jsonb) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce((description ->> 'oid')::oid = relation
                  AND description ->> 'database' = threadline_internal.database_identity(), false)
$function$;
COMMENT ON FUNCTION threadline_internal.is_described(regclass, jsonb) IS
  'Whether a description belongs to a table in this database, and not to one that was restored or recreated.';

-- Returns whether the table of a row of audited_tables exists. For a dropped table pg_dump writes the OID, which may
-- belong to any other table where the dump is restored.
CREATE FUNCTION threadline_internal.is_table_of(audited threadline.audited_tables) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT EXISTS (
    SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.oid = audited.relation
       -- The name identifies nearly all tables, and comparing it costs least.
       AND ((n.nspname, c.relname) = (audited.table_schema, audited.table_name)
            OR threadline_internal.is_described(audited.relation, audited.definition)
            OR EXISTS (SELECT FROM pg_trigger AS g
                        WHERE g.tgrelid = audited.relation
                          AND g.tgfoid = to_regproc(format('threadline_internal.capture_%s_insert', audited.id)))))
$function$;
COMMENT ON FUNCTION threadline_internal.is_table_of(threadline.audited_tables) IS
  'Whether the table that a row of audited_tables names is the one that was audited, and not another one with its OID.';

-- Returns the row of a table, or of the OID of a dropped table.
CREATE FUNCTION threadline_internal.audited_table(relation regclass) RETURNS SETOF threadline.audited_tables
LANGUAGE sql STABLE ROWS 1 SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT t.* FROM threadline.audited_tables AS t
   WHERE t.relation = audited_table.relation
     AND (threadline_internal.is_table_of(t) OR NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.relation))
   ORDER BY threadline_internal.is_described(t.relation, t.definition) DESC, t.id LIMIT 1
$function$;
COMMENT ON FUNCTION threadline_internal.audited_table(regclass) IS 'The audited_tables row of a table, if it has one.';

-- Returns whether stored data about a table belongs to the table with its OID. In this database the OID decides; in a
-- restored database the name must match too.
CREATE FUNCTION threadline_internal.is_said_of(relation oid, table_schema text, table_name text, database text)
RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                  WHERE c.oid = is_said_of.relation
                    AND ((n.nspname, c.relname) = (is_said_of.table_schema, is_said_of.table_name)
                         OR is_said_of.database = threadline_internal.database_identity()))
$function$;
COMMENT ON FUNCTION threadline_internal.is_said_of(oid, text, text, text) IS
  'Whether a table is the one that was recorded, in this database or in the one that it was restored from.';

-- Returns whether a table has two rows in audited_tables, and this row is for a table of another database.
CREATE FUNCTION threadline_internal.is_audited_twice(audited threadline.audited_tables) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT NOT threadline_internal.is_described(audited.relation, audited.definition)
     AND EXISTS (SELECT FROM threadline.audited_tables AS t
                  WHERE t.relation = audited.relation AND t.id <> audited.id
                    AND threadline_internal.is_described(t.relation, t.definition))
$function$;
COMMENT ON FUNCTION threadline_internal.is_audited_twice(threadline.audited_tables) IS
  'Whether a row of audited_tables came from the audit log of another database, and this database audits the table '
  'too.';

-- Describes what the generated functions are built from. Comparing it with the stored definition shows whether anything
-- must be rebuilt. `previous` carries over what the catalog forgets: the defaults of added columns (except redacted
-- ones), columns whose redaction was ended, and former names of the table. quote_all_identifiers would quote even the
-- names of types.
CREATE FUNCTION threadline_internal.describe_table(relation regclass, previous jsonb, redacted text[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off SET lock_timeout = '1 s'
AS $function$
#variable_conflict use_column
BEGIN
  RETURN (WITH old AS (
      SELECT name, (value ->> 'number')::smallint AS number, value -> 'default' AS value,
             value ->> 'default_gap' AS gap, value ->> 'type' AS type, value ? 'retyped' AS retyped
        FROM jsonb_each(previous -> 'columns') AS c (name, value)
    ), present AS (
      SELECT c.name, c.number, s.shape AS type, threadline_internal.attribute_numbers(c.type) AS attributes,
             nullif(c.generated, '') AS generated,
             nullif(c.not_null, false) AS not_null,
             nullif(NOT threadline_internal.is_short(c.type, c.typmod), false) AS long,
             nullif(c.name = ANY (j.columns), false) AS json,
             nullif(threadline_internal.compared_as(c.type, c.typmod), 'value') AS compared_as,
             -- Permanent, because an older recorded value may not be valid for the present type.
             nullif(old.retyped OR old.type <> s.shape, false) AS retyped,
             CASE WHEN c.name <> ALL (redacted) THEN coalesce(old.value, a.value) END AS added_default,
             CASE WHEN c.name <> ALL (redacted) THEN coalesce(old.gap, a.gap) END AS default_gap
        FROM threadline_internal.columns_of(relation) AS c
       CROSS JOIN LATERAL threadline_internal.type_shape(c.type, c.typmod) AS s (shape)
       CROSS JOIN threadline_internal.json_columns(relation) AS j (columns)
        -- In a restored or recreated table the column numbers mean nothing, so the names decide.
        LEFT JOIN old
          ON CASE WHEN threadline_internal.is_described(relation, previous) THEN old.number = c.number
               ELSE old.name = c.name END
        LEFT JOIN LATERAL threadline_internal.added_default(relation, c.number) AS a
          ON old.number IS NULL AND c.name <> ALL (redacted) AND EXISTS (SELECT FROM old)
    )
    SELECT jsonb_build_object(
      'oid', relation::oid::bigint,
      'database', threadline_internal.database_identity(),
      'layout', threadline_internal.column_layout(relation),
      'owner', (SELECT c.relowner::regrole FROM pg_class AS c WHERE c.oid = relation),
      'trusted', threadline_internal.is_trusted_table(relation),
      'text_columns', threadline_internal.text_columns(relation),
      'strict', coalesce(previous -> 'strict', 'false'),
      'unredacted', coalesce(previous -> 'unredacted', '{}'),
      'names', coalesce(previous -> 'names', '[]'),
      'columns', (
        SELECT coalesce(jsonb_object_agg(name,
                 jsonb_strip_nulls(jsonb_build_object('number', number, 'type', type, 'generated', generated,
                   'not_null', not_null, 'long', long, 'json', json, 'compared_as', compared_as, 'retyped', retyped,
                   'default_gap', default_gap, 'attributes', attributes))
                 -- The default may be a JSON null.
                 || CASE WHEN added_default IS NULL THEN '{}' ELSE jsonb_build_object('default', added_default) END),
                 '{}')
          FROM present),
      'partitions', (SELECT coalesce(jsonb_agg(relid::oid::bigint ORDER BY relid), '[]')
                       FROM threadline_internal.partition_tree(relation) WHERE isleaf AND relid <> relation)));
END
$function$;
COMMENT ON FUNCTION threadline_internal.describe_table(regclass, jsonb, text[]) IS
  'Columns and partitions of a table as its capture needs them, carried over from a previous description.';

-- Row triggers are cloned to partitions, and see every row of an inheritance tree once. Statement triggers do neither.
-- And if a row trigger of the application writes to the table again, its inner changes would be recorded before the
-- outer change that caused them, unless capture runs per row, and first. The actions of two foreign keys, or of one
-- that references its own table, can write a row twice in one statement.
CREATE FUNCTION threadline_internal.granularity_for(relation regclass) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN (SELECT CASE WHEN EXISTS (SELECT FROM pg_class WHERE oid = relation AND relkind = 'p')
                  OR EXISTS (SELECT FROM pg_inherits AS i JOIN pg_class AS p ON p.oid = i.inhparent AND p.relkind <> 'p'
                              WHERE relation IN (i.inhrelid, i.inhparent))
                  OR EXISTS (SELECT FROM pg_trigger WHERE tgrelid = relation AND NOT tgisinternal
                                -- Bits of tgtype: 1 is FOR EACH ROW, 2 is BEFORE, 64 is INSTEAD OF.
                                AND tgtype & 1 = 1 AND tgtype & 66 = 0
                                AND NOT starts_with(tgname::text, '!threadline_'))
                  OR (SELECT count(*) > 1 OR bool_or(confrelid = relation) FROM pg_constraint
                       WHERE conrelid = relation AND contype = 'f'
                         AND (confupdtype IN ('c', 'd', 'n') OR confdeltype IN ('c', 'd', 'n')))
             THEN 'row' ELSE 'statement' END);
END
$function$;
COMMENT ON FUNCTION threadline_internal.granularity_for(regclass) IS 'The granularity that records this table exactly.';

-- Returns the columns of a primary key, their types, and the audit_changes column that stores the key.
-- quote_all_identifiers: see threadline_internal.describe_table.
CREATE FUNCTION threadline_internal.primary_key(relation regclass,
  OUT columns text[], OUT types text[], OUT key_type text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
  SELECT coalesce(array_agg(a.attname::text ORDER BY k.position), '{}'),
         -- integer also serves smallint, so that versions(NULL::t, 3) needs no cast.
         coalesce(array_agg(CASE a.atttypid WHEN 'smallint'::regtype THEN 'integer'
                              ELSE format_type(a.atttypid, NULL) END ORDER BY k.position), '{}'),
         CASE count(*) WHEN 0 THEN NULL WHEN 1 THEN
           CASE min(coalesce(nullif(t.typbasetype, 0), t.oid)::oid::regtype::text)
             WHEN 'smallint' THEN 'integer' WHEN 'integer' THEN 'integer' WHEN 'bigint' THEN 'bigint'
             WHEN 'uuid' THEN 'uuid' ELSE 'text' END
         ELSE 'text' END
    FROM pg_index AS i
   CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (number, position)
    JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number
    JOIN pg_type AS t ON t.oid = a.atttypid
   WHERE i.indrelid = relation AND i.indisprimary AND k.position <= i.indnkeyatts
$function$;
COMMENT ON FUNCTION threadline_internal.primary_key(regclass) IS
  'Columns and types of the primary key of a table, and the key type under which audit_changes stores it.';

-- How values recorded under older definitions of a table are read today. A column is identified by its number, and an
-- enum label by its own number, whatever their names were then.

-- Returns, for each other definition of a table, how to turn its images into images of the given columns: {"names":
-- ...} for the present names of columns, with NULL for a dropped column whose name another column has now; {"labels":
-- ...} for the present names of enum labels; {"convert": ...} for how values were converted, step by step; and {"gaps":
-- ...} for the columns whose conversion is unknown. Conversions from before_definition_id on are left out. {"defaults":
-- ...} has the original defaults of columns that were added later, if they were converted since or are unknown, or all
-- of them for a caller that checks whether they were. More than 60 lines: it is one statement.
CREATE FUNCTION threadline_internal.older_definitions(audited threadline.audited_tables, columns jsonb,
  before_definition_id integer DEFAULT 2147483647) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH known AS (
    SELECT d.id, o.key AS old_name, o.value AS old, p.key AS name, p.value AS new,
           threadline_internal.renamed_labels(o.value -> 'labels', CASE
             WHEN o.value -> 'type_oid' = p.value -> 'type_oid' THEN p.value -> 'labels'
             ELSE threadline_internal.last_labels(d, o.value) END) AS renamed_labels,
           NULL::jsonb AS added
      FROM threadline.table_definitions AS d
     CROSS JOIN LATERAL jsonb_each(d.columns) AS o
      LEFT JOIN jsonb_each(older_definitions.columns) AS p ON p.value -> 'number' = o.value -> 'number'
     WHERE d.table_id = audited.id AND d.id IS DISTINCT FROM audited.definition_id
    UNION ALL
    SELECT d.id, a.name, a.first_value, a.name, a.new, a.renamed_labels, a.added
      FROM threadline.table_definitions AS d, threadline_internal.added_columns(audited, older_definitions.columns) AS a
     WHERE d.table_id = audited.id AND d.id IS DISTINCT FROM audited.definition_id
       AND NOT EXISTS (SELECT FROM jsonb_each(d.columns) AS o WHERE o.value -> 'number' = a.new -> 'number')
  ), gone AS (
    SELECT DISTINCT ON (k.old -> 'number') k.old -> 'number' AS number, k.old_name AS name
      FROM known AS k WHERE k.name IS NULL ORDER BY k.old -> 'number', k.id DESC
  ), read AS (
    SELECT k.id,
           -- A dropped column keeps its last name.
           jsonb_object_agg(k.old_name, coalesce(k.name,
             CASE WHEN NOT older_definitions.columns ? g.name THEN g.name END))
             FILTER (WHERE coalesce(k.name, g.name) <> k.old_name
               OR k.name IS NULL AND older_definitions.columns ? k.old_name) AS names,
           jsonb_object_agg(k.name, k.renamed_labels) FILTER (WHERE k.name IS NOT NULL AND k.renamed_labels <> '{}')
             AS labels,
           jsonb_object_agg(k.name, s.steps) FILTER (WHERE s.steps IS NOT NULL AND b.gap IS NULL) AS convert,
           jsonb_object_agg(k.name, b.gap) FILTER (WHERE b.gap IS NOT NULL) AS gaps,
           jsonb_object_agg(k.name, coalesce(k.added -> 'default', 'null')) FILTER (WHERE k.added IS NOT NULL
               AND (k.renamed_labels <> '{}' OR s.steps IS NOT NULL OR b.gap IS NOT NULL
                    OR before_definition_id < 2147483647)) AS defaults
      FROM known AS k
      LEFT JOIN gone AS g ON g.number = k.old -> 'number' AND k.name IS NULL
      LEFT JOIN LATERAL (
        SELECT jsonb_agg(CASE WHEN c.expression IS NULL THEN to_jsonb(c.to_type)
                           ELSE jsonb_build_array(threadline_internal.conversion_function(c)) END
                           ORDER BY c.definition_id)
                 FILTER (WHERE c.expression IS NOT NULL
                   OR c.from_type <> c.to_type AND threadline_internal.is_built_in(c.to_type)) AS steps,
               string_agg(c.gap, '; ' ORDER BY c.definition_id) AS gap
          FROM threadline.column_conversions AS c
         WHERE c.table_id = audited.id AND c.column_number = (k.new ->> 'number')::smallint AND c.definition_id > k.id
           AND c.definition_id < before_definition_id
           -- A redacted column is not converted while its redaction lasts.
           AND k.name <> ALL (audited.masked_columns || audited.excluded_columns)
           -- Values written between the migration and the refresh are already converted.
           AND (k.id <= c.last_definition_id OR c.from_type = c.to_type OR k.added IS NOT NULL
                OR k.old ->> 'type' <> c.to_type)) AS s
        ON k.name IS NOT NULL
     CROSS JOIN LATERAL (SELECT coalesce(k.added ->> 'default_gap', s.gap) AS gap) AS b
     GROUP BY k.id
  )
  SELECT coalesce(jsonb_object_agg(r.id, (
             SELECT jsonb_object_agg(p.key, p.value)
               FROM (VALUES ('names', r.names), ('labels', r.labels), ('convert', r.convert), ('gaps', r.gaps),
                      ('defaults', r.defaults)) AS p (key, value)
              WHERE p.value IS NOT NULL))
           FILTER (WHERE num_nonnulls(r.names, r.labels, r.convert, r.gaps, r.defaults) > 0), '{}')
    FROM read AS r
$function$;
COMMENT ON FUNCTION threadline_internal.older_definitions(threadline.audited_tables, jsonb, integer) IS
  'How to read images of other definitions of a table with the given columns.';

-- Returns the columns whose values in earlier rows are given by a default, or are unknown and must not be read as NULL:
-- their present description, and that of the first definition that has them.
CREATE FUNCTION threadline_internal.added_columns(audited threadline.audited_tables, columns jsonb)
RETURNS TABLE (name text, new jsonb, added jsonb, first_value jsonb, renamed_labels jsonb)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT p.key, p.value, a.value, f.value,
         threadline_internal.renamed_labels(f.value -> 'labels', CASE
           WHEN f.value -> 'type_oid' = p.value -> 'type_oid' THEN p.value -> 'labels'
           ELSE threadline_internal.last_labels(f.definition, f.value) END)
    FROM jsonb_each(columns) AS p
    JOIN jsonb_each(audited.definition -> 'columns') AS a ON a.value -> 'number' = p.value -> 'number'
    LEFT JOIN LATERAL (
      SELECT d AS definition, o.value
        FROM threadline.table_definitions AS d CROSS JOIN LATERAL jsonb_each(d.columns) AS o
       WHERE d.table_id = audited.id AND o.value -> 'number' = p.value -> 'number' ORDER BY d.id LIMIT 1) AS f ON true
   WHERE a.value ? 'default' OR a.value ? 'default_gap' AND NOT a.value ? 'not_null'
$function$;
COMMENT ON FUNCTION threadline_internal.added_columns(threadline.audited_tables, jsonb) IS
  'The columns that were added to a table while it was audited, with the values that stand for their earlier values.';

-- Returns the last names of the enum labels of a column before the column got another type.
CREATE FUNCTION threadline_internal.last_labels(old threadline.table_definitions, old_column jsonb) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT c.value -> 'labels'
    FROM threadline.table_definitions AS d CROSS JOIN LATERAL jsonb_each(d.columns) AS c
   WHERE old_column ? 'labels' AND d.table_id = old.table_id AND d.id >= old.id
     AND c.value -> 'number' = old_column -> 'number' AND c.value -> 'type_oid' = old_column -> 'type_oid'
   ORDER BY d.id DESC LIMIT 1
$function$;
COMMENT ON FUNCTION threadline_internal.last_labels(threadline.table_definitions, jsonb) IS
  'The last enum labels of a column before the column got another type.';

-- Returns the labels of an enum that were renamed since, each with its present name.
CREATE FUNCTION threadline_internal.renamed_labels(old_labels jsonb, new_labels jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(jsonb_object_agg(o.key, n.key), '{}')
    FROM jsonb_each(old_labels) AS o JOIN jsonb_each(new_labels) AS n ON n.value = o.value
   WHERE n.key <> o.key
$function$;
COMMENT ON FUNCTION threadline_internal.renamed_labels(jsonb, jsonb) IS
  'The labels of an enum that were renamed between two definitions, with their new names.';

-- Returns the labels of a type with their numbers, if it is an enum, an array of an enum, or a domain over one.
CREATE FUNCTION threadline_internal.labels(type oid, typmod integer) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT jsonb_object_agg(e.enumlabel, e.oid)
    FROM threadline_internal.base_type(type, typmod) AS b
    JOIN pg_type AS y ON y.oid = b.type
    JOIN pg_enum AS e ON e.enumtypid = CASE WHEN y.typcategory = 'A' THEN y.typelem ELSE y.oid END
$function$;
COMMENT ON FUNCTION threadline_internal.labels(oid, integer) IS 'The labels of an enum with their numbers.';

-- Returns an image with the present names of its columns.
CREATE FUNCTION threadline_internal.rename_image(image jsonb, older jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN older -> 'names' IS NULL THEN image
    ELSE (image - ARRAY(SELECT jsonb_object_keys(older -> 'names')))
      || (SELECT coalesce(jsonb_object_agg(n.value, image -> n.key), '{}')
            FROM jsonb_each_text(older -> 'names') AS n WHERE n.value IS NOT NULL AND image ? n.key) END
$function$;
COMMENT ON FUNCTION threadline_internal.rename_image(jsonb, jsonb) IS
  'An image of an older definition of its table with the present names of its columns.';

-- Marks columns in an image as having an unknown conversion, in the same way as values that are not recorded: see
-- threadline_internal.columns_not_recorded.
CREATE FUNCTION threadline_internal.image_with_gaps(image jsonb, gaps jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(image || jsonb_object_agg(g.key, jsonb_build_object('threadline', 'not recorded', 'gap', g.value))
                    || jsonb_build_object('', coalesce(image -> '', '[]') || jsonb_agg(g.key)), image)
    FROM jsonb_each(gaps) AS g WHERE image ? g.key
$function$;
COMMENT ON FUNCTION threadline_internal.image_with_gaps(jsonb, jsonb) IS
  'An image without the values of columns whose conversion by a migration is unknown.';

-- Returns an image with the present names and values of its columns. A column whose conversion is unknown has no value.
CREATE FUNCTION threadline_internal.present_image(image jsonb, older jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS $function$
DECLARE
  converted record;
  step jsonb;
BEGIN
  IF older IS NULL OR image IS NULL THEN
    RETURN image;
  END IF;
  image := threadline_internal.image_with_gaps(
    coalesce(older -> 'defaults', '{}') || threadline_internal.rename_image(image, older), older -> 'gaps');
  FOR converted IN SELECT l.key AS name, image -> l.key AS value, l.value AS labels
                     FROM jsonb_each(older -> 'labels') AS l WHERE image ? l.key LOOP
    image := image || jsonb_build_object(converted.name, CASE jsonb_typeof(converted.value)
      WHEN 'string' THEN coalesce(converted.labels -> (converted.value #>> '{}'), converted.value)
      WHEN 'array' THEN (SELECT coalesce(jsonb_agg(coalesce(converted.labels -> (e.value #>> '{}'), e.value)
                                  ORDER BY e.place), '[]')
                           FROM jsonb_array_elements(converted.value) WITH ORDINALITY AS e (value, place))
      ELSE converted.value END);
  END LOOP;
  FOR converted IN SELECT c.key AS name, image -> c.key AS value, c.value AS steps
                     FROM jsonb_each(older -> 'convert') AS c
                    WHERE image ? c.key AND NOT coalesce(image -> '' ? c.key, false) LOOP
    FOR step IN SELECT value FROM jsonb_array_elements(converted.steps) LOOP
      converted.value := CASE jsonb_typeof(step)
        WHEN 'array' THEN threadline_internal.convert_value(step ->> 0, converted.value)
        ELSE threadline_internal.plain_value(step #>> '{}', converted.value) END;
    END LOOP;
    image := image || jsonb_build_object(converted.name, converted.value);
  END LOOP;
  RETURN image;
END
$function$;
COMMENT ON FUNCTION threadline_internal.present_image(jsonb, jsonb) IS
  'An image of an older definition of its table as it would be under the present one.';

-- Applies a declared conversion to a value.
CREATE FUNCTION threadline_internal.convert_value(conversion text, value jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  converted jsonb;
BEGIN
  EXECUTE format('SELECT threadline_internal.%I($1)', conversion) INTO converted USING value;
  RETURN coalesce(converted, 'null');
END
$function$;
COMMENT ON FUNCTION threadline_internal.convert_value(text, jsonb) IS 'A value after a declared conversion.';

-- Converts a value to a built-in type, as PostgreSQL does. A value of any other type stays unchanged, because reading
-- it converts it.
CREATE FUNCTION threadline_internal.plain_value(type text, value jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN CASE WHEN threadline_internal.is_built_in(type)
    THEN coalesce(threadline_internal.value_as(type, value), 'null') ELSE value END;
EXCEPTION WHEN data_exception THEN
  RETURN value;  -- A reader of the column gets the error, with the column and the change.
END
$function$;
COMMENT ON FUNCTION threadline_internal.plain_value(text, jsonb) IS
  'A value after PostgreSQL''s conversion to a built-in type.';

-- Returns whether a type name is that of a built-in type of PostgreSQL.
CREATE FUNCTION threadline_internal.is_built_in(type text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  -- The name of a composite type contains its attributes, so it is not an actual type name.
  SELECT type !~ '[(][^0-9]' AND EXISTS (
    SELECT FROM pg_type AS y
     WHERE y.oid = to_regtype(CASE WHEN type !~ '[(][^0-9]' THEN type END)
       AND y.typnamespace = 'pg_catalog'::regnamespace)
$function$;
COMMENT ON FUNCTION threadline_internal.is_built_in(text) IS 'Whether a type is a built-in type of PostgreSQL.';

-- Returns the name of the function of a declared conversion.
CREATE FUNCTION threadline_internal.conversion_function(conversion threadline.column_conversions) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('convert_%s_%s_%s', conversion.table_id, conversion.definition_id, conversion.column_number)
$function$;
COMMENT ON FUNCTION threadline_internal.conversion_function(threadline.column_conversions) IS
  'The name of the function of a declared conversion.';

-- Returns a table and its partitions, as pg_partition_tree does; no rows if the table is neither partitioned nor a
-- partition. pg_partition_tree waits for a lock on each partition, so the owner of one could block everyone who checks
-- the health of all tables.
CREATE FUNCTION threadline_internal.partition_tree(relation regclass) RETURNS TABLE (relid regclass, isleaf boolean)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 10 SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH RECURSIVE tree AS (
    SELECT c.oid, c.relkind FROM pg_class AS c WHERE c.oid = relation AND (c.relkind = 'p' OR c.relispartition)
    UNION ALL
    SELECT c.oid, c.relkind
      FROM tree AS t JOIN pg_inherits AS i ON i.inhparent = t.oid JOIN pg_class AS c ON c.oid = i.inhrelid
           -- Since PostgreSQL 14, pg_inherits also contains a partition that is being detached concurrently.
     WHERE t.relkind = 'p' AND (to_jsonb(i) ->> 'inhdetachpending')::boolean IS NOT TRUE
  )
  SELECT t.oid::regclass, t.relkind <> 'p' FROM tree AS t;
END
$function$;
COMMENT ON FUNCTION threadline_internal.partition_tree(regclass) IS
  'A partitioned table or a partition, and all partitions below it; takes no locks.';

-- A redaction writes values of the present definition into images of older definitions. If a migration converted such a
-- column in between, the image stores the definition of the new value: {"redacted": {"column": id}}, in the list of the
-- key "". Reading the value then applies only later conversions.

-- Returns the redacted columns of an image by their names in it, each with that definition.
CREATE FUNCTION threadline_internal.redacted_under(image jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce((SELECT e.value -> 'redacted' FROM jsonb_array_elements(image -> '') AS e
                    WHERE jsonb_typeof(e.value) = 'object' LIMIT 1), '{}')
$function$;
COMMENT ON FUNCTION threadline_internal.redacted_under(jsonb) IS
  'The columns of an image that were redacted under a later definition, each with the id of that definition.';

-- Replaces that list in an image.
CREATE FUNCTION threadline_internal.image_redacted_under(image jsonb, redacted jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT (image - '') || CASE WHEN e.list = '[]' THEN '{}' ELSE jsonb_build_object('', e.list) END
    FROM (SELECT coalesce((SELECT jsonb_agg(e.value) FROM jsonb_array_elements(image -> '') AS e
                            WHERE jsonb_typeof(e.value) <> 'object'), '[]')
                 || CASE WHEN redacted = '{}' THEN '[]'
                      ELSE jsonb_build_array(jsonb_build_object('redacted', redacted)) END AS list) AS e
$function$;
COMMENT ON FUNCTION threadline_internal.image_redacted_under(jsonb, jsonb) IS
  'An image with the definitions under which its columns were redacted.';

-- Returns whether reading changes a value that was written under another definition.
CREATE FUNCTION threadline_internal.is_converted(older jsonb, name text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(older -> 'labels' ? name, false) OR coalesce(older -> 'convert' ? name, false)
         OR coalesce(older -> 'gaps' ? name, false)
$function$;
COMMENT ON FUNCTION threadline_internal.is_converted(jsonb, text) IS
  'Whether values of a column of an older definition are converted when they are read.';

-- Returns an image with the present names and values of its columns, given the older_definitions of the table: redacted
-- values have another definition than the rest.
CREATE FUNCTION threadline_internal.present_image(image jsonb, older jsonb, definition_id text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  redacted jsonb := CASE WHEN image ? '' THEN threadline_internal.redacted_under(image) ELSE '{}' END;
  result jsonb;
  part record;
BEGIN
  IF redacted = '{}' THEN
    RETURN threadline_internal.present_image(image, older -> definition_id);
  END IF;
  result := threadline_internal.present_image(threadline_internal.image_redacted_under(image, '{}')
    - ARRAY(SELECT jsonb_object_keys(redacted)), older -> definition_id);
  FOR part IN
    SELECT threadline_internal.present_image(threadline_internal.rename_image(r.image, older -> definition_id),
             (older -> r.id) - 'names') AS image
      FROM (SELECT r.value #>> '{}' AS id, jsonb_object_agg(r.key, image -> r.key) AS image
              FROM jsonb_each(redacted) AS r WHERE image ? r.key GROUP BY 1) AS r LOOP
    result := result || part.image || CASE WHEN result ? '' OR part.image ? ''
      THEN jsonb_build_object('', coalesce(result -> '', '[]') || coalesce(part.image -> '', '[]')) ELSE '{}' END;
  END LOOP;
  RETURN result;
END
$function$;
COMMENT ON FUNCTION threadline_internal.present_image(jsonb, jsonb, text) IS
  'An image as it would be under the present definition of its table, including its redacted values.';

-- Renders SQL from a template that looks like its result. Every {name} stands for a value, and a NULL value becomes
-- empty text. Braces around anything but a name stay unchanged. The template is scanned once, and values are not: a
-- {name} in a value stays unchanged.
CREATE FUNCTION threadline_internal.render(template text, names jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  parts text[] := regexp_split_to_array(template, '[{](?=[a-z_]+[}])');  -- all but the first begin with "name}"
  rendered text := parts[1];
  part text;
  name text;
BEGIN
  FOREACH part IN ARRAY parts[2:] LOOP
    name := split_part(part, '}', 1);
    IF NOT names ? name THEN
      RAISE EXCEPTION 'a template names {%}, which is not given', name USING ERRCODE = 'invalid_parameter_value';
    END IF;
    rendered := concat(rendered, names ->> name, substr(part, length(name) + 2));
  END LOOP;
  RETURN rendered;
END
$function$;
COMMENT ON FUNCTION threadline_internal.render(text, jsonb) IS
  'A template with each {name} replaced by its value; raises an error for a name that is not given.';

-- Evidence that a migration rewrote a table, and which of its columns.

-- Returns the files of a table and its partitions, by OID: when PostgreSQL rewrites a table, it gets another file.
CREATE FUNCTION threadline_internal.present_files(relation regclass) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(jsonb_object_agg(f.relid::oid, pg_relation_filenode(f.relid))
                    FILTER (WHERE pg_relation_filenode(f.relid) IS NOT NULL), '{}')
    FROM (SELECT relation AS relid
          UNION SELECT p.relid FROM threadline_internal.partition_tree(relation) AS p) AS f
$function$;
COMMENT ON FUNCTION threadline_internal.present_files(regclass) IS 'The files of a table and its partitions.';

-- Returns evidence that a column was altered: the version of its pg_attribute row, of which two commands in a
-- transaction create two; a hash of the rest of that row; and what newer minor releases of PostgreSQL record there when
-- the type of a column is altered. The rest of the row includes whether rows from before ADD COLUMN lack the column:
-- they get it when another column is rewritten, and that also creates a version.
CREATE FUNCTION threadline_internal.present_column_versions(relation regclass) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN (SELECT coalesce(jsonb_object_agg(a.attnum, jsonb_build_object('version', concat(a.xmin, '.', a.cmin),
           'says', md5(concat_ws(' ', a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.atthasdef, d.oid,
             a.attstattarget, a.attstorage, o.options, a.attacl, a.attinhcount, a.attislocal, a.attidentity,
             a.attgenerated, a.attcollation, a.attndims, a.atthasmissing)),
           'altered', o.altered)), '{}')
    FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
   CROSS JOIN LATERAL (
     SELECT array_agg(u.option) FILTER (WHERE NOT starts_with(u.option, 'pg_attver=')) AS options,
            max(u.option) FILTER (WHERE starts_with(u.option, 'pg_attver=')) AS altered
       FROM unnest(a.attoptions) AS u (option)) AS o
   WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped);
END
$function$;
COMMENT ON FUNCTION threadline_internal.present_column_versions(regclass) IS
  'The present versions of the columns of a table.';

-- Returns the columns that may have been rewritten with an unchanged type since their versions were stored. ALTER
-- COLUMN ... TYPE ... USING changes the file and the version of the column, and nothing else about it: then the rewrite
-- is `certain`. A default, NOT NULL or a privilege also changes the version, but something else with it. If PostgreSQL
-- records such an ALTER, it does so for the column and all columns after it: the first of them is certain. Every read
-- of the past calls this function, so it examines the columns only if a file changed.
CREATE FUNCTION threadline_internal.rewritten_columns(audited threadline.audited_tables)
RETURNS TABLE (number smallint, certain boolean, is_behind boolean)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH altered AS (
    SELECT p.key::smallint AS number, p.value -> 'says' = k.value -> 'says' AS is_alone,
           p.value ->> 'altered' AS altered
      FROM jsonb_each(threadline_internal.present_column_versions(audited.relation)) AS p
      JOIN jsonb_each(audited.catalog_versions -> 'columns') AS k USING (key)
     WHERE audited.catalog_versions ->> 'database' = threadline_internal.database_identity()
       AND threadline_internal.is_described(audited.relation, audited.definition)
       AND p.value -> 'version' <> k.value -> 'version'
       AND (p.value ->> 'altered' IS NULL OR p.value -> 'altered' <> k.value -> 'altered')
       AND EXISTS (SELECT FROM jsonb_each(threadline_internal.present_files(audited.relation)) AS f
                    WHERE audited.catalog_versions -> 'files' -> f.key <> f.value)
  )
  SELECT a.number, a.is_alone AND NOT a.is_behind, a.is_alone AND a.is_behind
    FROM (SELECT a.number, a.is_alone, a.altered IS NOT NULL AND a.number > min(a.number) OVER (PARTITION BY a.altered)
            FROM altered AS a) AS a (number, is_alone, is_behind);
END
$function$;
COMMENT ON FUNCTION threadline_internal.rewritten_columns(threadline.audited_tables) IS
  'The columns of a table that may have been rewritten since its last refresh, although their type is the same.';

-- Returns the columns that were converted since the last refresh: those with another type, and those that were
-- rewritten.
CREATE FUNCTION threadline_internal.converted_columns(audited threadline.audited_tables,
  before threadline.audited_tables, present threadline.table_definitions)
RETURNS TABLE (number smallint, name text, old_name text, old_type text, type text, is_certain boolean,
  is_behind boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT c.number, c.name, o.key, o.value ->> 'type', p.value ->> 'type', coalesce(r.certain, false),
         coalesce(r.is_behind, false)
    FROM threadline.table_definitions AS d
   CROSS JOIN LATERAL jsonb_each(d.columns) AS o
    JOIN threadline_internal.columns_of(audited.relation) AS c ON c.number = (o.value ->> 'number')::smallint
    JOIN jsonb_each(present.columns) AS p ON p.key = c.name
    LEFT JOIN threadline_internal.rewritten_columns(before) AS r ON r.number = c.number
   WHERE d.id = before.definition_id AND c.generated <> 'v'
     AND (r.number IS NOT NULL OR o.value -> 'type' <> p.value -> 'type'
          OR threadline_internal.is_described(audited.relation, before.definition)
             AND o.value -> 'type_oid' <> p.value -> 'type_oid')
$function$;
COMMENT ON FUNCTION threadline_internal.converted_columns(threadline.audited_tables, threadline.audited_tables,
  threadline.table_definitions) IS
  'The columns of a table that were converted since its last refresh.';

-- What stored generated columns are computed from.

-- Lists the stored generated columns, each with the columns that it is computed from. Before version 15 PostgreSQL
-- notes them at the generated column, and since then at its expression. Since version 16 a partition may compute a
-- column otherwise than its table does.
CREATE FUNCTION threadline_internal.generated_columns(relation regclass)
RETURNS TABLE (generated text, number smallint, source_number smallint)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH member AS (
    SELECT relation::oid AS oid
     UNION SELECT p.relid::oid FROM threadline_internal.partition_tree(relation) AS p
  ), computed AS (
    SELECT g.attname AS name, s.attname AS source
      FROM member AS m
      JOIN pg_depend AS p ON p.refclassid = 'pg_class'::regclass AND p.refobjid = m.oid AND p.refobjsubid > 0
      LEFT JOIN pg_attrdef AS d ON p.classid = 'pg_attrdef'::regclass AND d.oid = p.objid
      JOIN pg_attribute AS g ON g.attrelid = m.oid AND g.attgenerated = 's' AND NOT g.attisdropped
       AND g.attnum = CASE WHEN d.oid IS NULL THEN p.objsubid ELSE d.adnum END
      JOIN pg_attribute AS s ON s.attrelid = m.oid AND s.attnum = p.refobjsubid
     WHERE p.refobjsubid <> g.attnum
       AND (d.adrelid = m.oid OR p.classid = 'pg_class'::regclass AND p.objid = m.oid AND p.objsubid > 0)
  )
  SELECT DISTINCT g.attname::text, g.attnum, s.attnum
    FROM computed AS c
    JOIN pg_attribute AS g ON g.attrelid = relation AND g.attname = c.name AND g.attnum > 0
    JOIN pg_attribute AS s ON s.attrelid = relation AND s.attname = c.source AND s.attnum > 0
$function$;
COMMENT ON FUNCTION threadline_internal.generated_columns(regclass) IS
  'The stored generated columns of a table, each with the number of each column that it is computed from.';

-- Finds a stored generated column that tells what is in columns that are to be redacted.
CREATE FUNCTION threadline_internal.generated_from(relation regclass, columns text[],
  OUT generated text, OUT source text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT g.generated, c.name
    FROM threadline_internal.generated_columns(relation) AS g
    JOIN threadline_internal.columns_of(relation) AS c ON c.number = g.source_number AND c.name = ANY (columns)
   WHERE g.generated <> ALL (columns)
   ORDER BY g.number, c.number LIMIT 1
$function$;
COMMENT ON FUNCTION threadline_internal.generated_from(regclass, text[]) IS
  'A stored generated column that tells what is in one of these columns, and is none of them.';

-- The same for capture functions, as a condition that they may go on. Like threadline_internal.present_layout it is not
-- immutable, and says so all the same: a session computes it once, and again when the table was altered, as it is when
-- the expression of a generated column is.
CREATE FUNCTION threadline_internal.generates_nothing_from(relation regclass, columns text[]) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN NOT EXISTS (SELECT FROM threadline_internal.generated_from(relation, columns) AS g
                      WHERE g.generated IS NOT NULL);
END
$function$;
COMMENT ON FUNCTION threadline_internal.generates_nothing_from(regclass, text[]) IS
  'Whether no stored generated column tells what is in columns that are redacted, as a session knows it.';

-- Tells a type by name, with the attributes it consists of: as JSON a row has them by name, like columns. It follows a
-- type that holds an array of itself no deeper than makes sense.
CREATE FUNCTION threadline_internal.type_shape(type oid, typmod integer, depth integer DEFAULT 0) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
BEGIN
  RETURN format_type(type, typmod) || coalesce(
    (SELECT format('(%s)', string_agg(format('%I %s', c.name,
              threadline_internal.type_shape(c.type, c.typmod, depth + 1)), ', ' ORDER BY c.number))
       FROM pg_type AS y
       LEFT JOIN pg_type AS e
         ON e.oid = CASE WHEN y.typtype = 'd' THEN y.typbasetype WHEN y.typcategory = 'A' THEN y.typelem END
      CROSS JOIN LATERAL threadline_internal.columns_of(coalesce(nullif(y.typrelid, 0), e.typrelid)) AS c
      WHERE y.oid = type_shape.type AND depth < 8 HAVING count(*) > 0), '');
END
$function$;
COMMENT ON FUNCTION threadline_internal.type_shape(oid, integer, integer) IS
  'A type with the attributes that its values have in an image.';

-- A type as it is written where the search_path is not pinned. Those that have a keyword need no schema.
CREATE FUNCTION threadline_internal.type_name(type oid, typmod integer) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
#variable_conflict use_column
BEGIN
  RETURN (SELECT CASE WHEN y.typnamespace = 'pg_catalog'::regnamespace
                  -- Newer versions quote json, which is a keyword there. A type has one name on all of them.
                  AND replace(f.name, '[]', '') IN (quote_ident(coalesce(e.typname, y.typname)), 'json')
             THEN 'pg_catalog.' || f.name ELSE f.name END
      FROM pg_type AS y
      LEFT JOIN pg_type AS e ON y.typcategory = 'A' AND e.oid = y.typelem
     CROSS JOIN LATERAL (SELECT format_type(y.oid, typmod) AS name) AS f
     WHERE y.oid = type_name.type);
END
$function$;
COMMENT ON FUNCTION threadline_internal.type_name(oid, integer) IS 'The name of a type, whatever the search_path.';

-- Looks through domains, down to the type that values have. It says whether there is a CHECK, and never runs it: it may
-- belong to anybody.
CREATE FUNCTION threadline_internal.base_type(INOUT type oid, INOUT typmod integer, OUT kind "char",
  OUT category "char", OUT is_built_in boolean, OUT has_check boolean, OUT not_null_domain oid)
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  found_type record;
BEGIN
  has_check := false;
  LOOP
    SELECT y.typtype, y.typcategory, y.typnamespace, y.typbasetype, y.typtypmod, y.typnotnull INTO found_type
      FROM pg_type AS y WHERE y.oid = type;
    EXIT WHEN found_type.typtype IS DISTINCT FROM 'd';
    has_check := has_check OR EXISTS (SELECT FROM pg_constraint AS c WHERE c.contypid = type AND c.contype = 'c');
    not_null_domain := coalesce(not_null_domain, CASE WHEN found_type.typnotnull THEN type END);
    type := found_type.typbasetype;
    typmod := greatest(typmod, found_type.typtypmod);
  END LOOP;
  kind := found_type.typtype;
  category := found_type.typcategory;
  is_built_in := found_type.typnamespace = 'pg_catalog'::regnamespace;
END
$function$;
COMMENT ON FUNCTION threadline_internal.base_type(oid, integer) IS
  'The type that a domain is of, and what its domains demand; any other type as it is.';

-- Names the type in which a constant of a column may be evaluated without running anybody's code: a built-in one. A
-- domain is looked through, and the labels of an enum are text.
CREATE FUNCTION threadline_internal.built_in_type(type oid, typmod integer) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN b.is_built_in THEN threadline_internal.type_name(b.type, b.typmod)
           WHEN b.kind = 'e' OR b.kind = 'b' AND b.category = 'S' THEN 'pg_catalog.text'
           WHEN e.typtype = 'e' THEN 'pg_catalog.text[]' END
    FROM threadline_internal.base_type(type, typmod) AS b
    JOIN pg_type AS y ON y.oid = b.type
    LEFT JOIN pg_type AS e ON e.oid = y.typelem AND b.category = 'A'
$function$;
COMMENT ON FUNCTION threadline_internal.built_in_type(oid, integer) IS
  'The built-in type that values of a type are converted like; NULL where only code of the type itself can convert.';

-- Converts a value as a built-in type does. An integer type reads no number with a scale.
CREATE FUNCTION threadline_internal.value_as(type text, value jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF type ~ '(smallint|integer|bigint)$' AND jsonb_typeof(value) = 'number' THEN
    value := to_jsonb(trim_scale(value::numeric));
  END IF;
  EXECUTE format('SELECT to_jsonb(r.value) FROM jsonb_to_record(jsonb_build_object(%L, $1)) AS r (value %s)', 'value',
    type) INTO value USING value;
  RETURN value;
END
$function$;
COMMENT ON FUNCTION threadline_internal.value_as(text, jsonb) IS
  'A value as JSON, as a column of a built-in type would have it under the settings of the session.';

-- Converts a value as its type does, by built-in types alone.
CREATE FUNCTION threadline_internal.built_in_value(type oid, typmod integer, value jsonb) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS $function$
  SELECT threadline_internal.value_as(threadline_internal.built_in_type(type, typmod), value)
$function$;
COMMENT ON FUNCTION threadline_internal.built_in_value(oid, integer, jsonb) IS
  'A value as JSON, as a column of a type would have it; raises an error if the built-in type cannot hold it.';

-- Tells why a value is none of a type, as far as the catalog tells without running code of the type. The CHECK of a
-- domain may belong to anybody, so it is not asked: whoever reads the past of the table asks it, and gets an error.
CREATE FUNCTION threadline_internal.why_not_value(type oid, typmod integer, value jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  is_null boolean := coalesce(value, 'null') = 'null';
  base record := threadline_internal.base_type(type, typmod);
BEGIN
  IF is_null THEN
    RETURN 'its domain ' || base.not_null_domain::regtype || ' is NOT NULL';  -- NULL where there is none
  ELSIF threadline_internal.built_in_type(type, typmod) IS NULL THEN
    RETURN 'only code of the type itself could tell';
  END IF;
  PERFORM threadline_internal.built_in_value(type, typmod, value);
  IF base.kind = 'e' AND NOT EXISTS (
      SELECT FROM pg_enum AS e WHERE e.enumtypid = base.type AND e.enumlabel = value #>> '{}') THEN
    RETURN format('%s has no such label', base.type::regtype);
  END IF;
  RETURN NULL;
EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
  RETURN SQLERRM;
END
$function$;
COMMENT ON FUNCTION threadline_internal.why_not_value(oid, integer, jsonb) IS
  'Why a value cannot be one of a type; NULL where it can.';

-- Whether a type can hold the placeholder [REDACTED], by catalog: no value is ever converted. A domain with a CHECK
-- might refuse the placeholder, and only running the CHECK could tell.
CREATE FUNCTION threadline_internal.holds_placeholder(type oid, typmod integer) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  base record := threadline_internal.base_type(type, typmod);
BEGIN
  -- typmod of varchar(n) and char(n) is n + 4; "char" is a single byte.
  RETURN NOT base.has_check AND base.kind = 'b' AND base.category = 'S' AND base.type <> '"char"'::regtype
    AND base.typmod NOT BETWEEN 4 AND 13;
END
$function$;
COMMENT ON FUNCTION threadline_internal.holds_placeholder(oid, integer) IS
  'Whether a value of a type can be the placeholder [REDACTED].';

-- Lists the types that the values of a type consist of, down to those that JSON has as one value.
CREATE FUNCTION threadline_internal.types_of_type(type oid) RETURNS SETOF oid
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH RECURSIVE types AS (
    SELECT types_of_type.type
    UNION
    SELECT part.type
      FROM types AS t JOIN pg_type AS y ON y.oid = t.type
     CROSS JOIN LATERAL (
       SELECT y.typbasetype AS type WHERE y.typtype = 'd'
       UNION ALL SELECT y.typelem WHERE y.typelem <> 0 AND y.typcategory = 'A'
       UNION ALL SELECT c.type FROM threadline_internal.columns_of(y.typrelid) AS c WHERE y.typrelid <> 0) AS part
  )
  SELECT t.type FROM types AS t
$function$;
COMMENT ON FUNCTION threadline_internal.types_of_type(oid) IS
  'A type, and the types that JSON has inside of its values.';

-- Lists the columns that to_jsonb would make JSON of by a cast, which can be the code of anybody, can fail, and can
-- lose what the text of the value says. Images have the text. to_jsonb asks for a cast to json, and not to jsonb, of no
-- type of PostgreSQL itself, and looks for it inside of arrays, domains and composite types.
CREATE FUNCTION threadline_internal.text_columns(relation regclass) RETURNS text[]
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(array_agg(c.name ORDER BY c.name COLLATE "C"), '{}')
    FROM threadline_internal.columns_of(relation) AS c
   WHERE c.type >= 16384
     AND EXISTS (SELECT FROM threadline_internal.types_of_type(c.type) AS t (type)
                   JOIN pg_cast AS k ON k.castsource = t.type AND k.casttarget = 'json'::regtype
                  WHERE t.type >= 16384 AND k.castfunc <> 0)
$function$;
COMMENT ON FUNCTION threadline_internal.text_columns(regclass) IS
  'The columns of a table that images have as text: those whose type has, or consists of one that has, a cast to json.';

-- Lists the columns that may not become JSON, be they ever so small: json stores what jsonb refuses, like \u0000.
CREATE FUNCTION threadline_internal.json_columns(relation regclass) RETURNS text[]
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(array_agg(c.name ORDER BY c.name COLLATE "C"), '{}')
    FROM threadline_internal.columns_of(relation) AS c
   WHERE c.type = 'json'::regtype OR c.type = 'json[]'::regtype
      OR c.type >= 16384 AND EXISTS (
        SELECT FROM threadline_internal.types_of_type(c.type) AS t (type) WHERE t.type = 'json'::regtype)
$function$;
COMMENT ON FUNCTION threadline_internal.json_columns(regclass) IS
  'The columns of a table whose values are of the type json, or consist of such.';

-- Whether values of a type are always short: no row of them exceeds what JSON can hold.
CREATE FUNCTION threadline_internal.is_short(type oid, typmod integer) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT y.typlen > 0 OR b.type = ANY ('{numeric, inet, cidr}'::regtype[]::oid[])
         OR b.type = ANY ('{varchar, bpchar, bit, varbit}'::regtype[]::oid[]) AND b.typmod BETWEEN 0 AND 1000
    FROM threadline_internal.base_type(type, typmod) AS b JOIN pg_type AS y ON y.oid = b.type
$function$;
COMMENT ON FUNCTION threadline_internal.is_short(oid, integer) IS 'Whether values of a type are always short.';

-- Tells how two values of a type are compared: as what they are, as text byte by byte, or as JSON, which is slower.
-- Values of the first two are equal just where their JSON is. A collation might say otherwise, and can be altered
-- without a trace in the definition. In JSON a NULL is a JSON null.
CREATE FUNCTION threadline_internal.compared_as(type oid, typmod integer) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN b.kind = 'e' OR b.type = ANY ('{bool, int2, int4, int8, float4, float8, numeric, date, time,
             timestamp, timestamptz, uuid, bytea}'::regtype[]) THEN 'value'
           WHEN b.type = ANY ('{text, varchar}'::regtype[]) THEN 'text'
           WHEN b.type = 'jsonb'::regtype THEN 'jsonb' ELSE 'json' END
    FROM threadline_internal.base_type(type, typmod) AS b
$function$;
COMMENT ON FUNCTION threadline_internal.compared_as(oid, integer) IS
  'How values of a type are compared: as value, text, jsonb, or what JSON they make.';

-- Every change stores the definition of its table under which it was made. What happened to a column is therefore never
-- guessed from names or times: its column number identifies it, whatever its name.

-- Returns the present columns of a table even if the snapshot of the transaction is older than the table. Such a
-- transaction sees an old state of the catalog, but row types and pg_identify_object_as_address are always current.
CREATE FUNCTION threadline_internal.present_columns(relation regclass)
RETURNS TABLE (number smallint, name text, type oid, typmod integer)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  names text[];
  types oid[];
  place integer := 0;
BEGIN
  IF current_setting('transaction_isolation') NOT IN ('repeatable read', 'serializable') THEN
    RETURN QUERY SELECT c.number, c.name, c.type, c.typmod FROM threadline_internal.columns_of(relation) AS c;
    RETURN;
  END IF;
  EXECUTE format('SELECT ARRAY(SELECT json_object_keys(row_to_json(r.*))) FROM (SELECT (NULL::%s).*) AS r', relation)
    INTO names;
  EXECUTE format('SELECT ARRAY[%s]::oid[]', (
      SELECT string_agg(format('pg_typeof((NULL::%s).%I)', relation, n.name), ', ' ORDER BY n.place)
        FROM unnest(names) WITH ORDINALITY AS n (name, place))) INTO types;
  number := 0;
  WHILE place < cardinality(names) LOOP
    number := number + 1;
    IF (pg_identify_object_as_address('pg_class'::regclass, relation, number)).object_names[3] = names[place + 1] THEN
      place := place + 1;
      name := names[place];
      type := types[place];
      -- Everything except this is current.
      typmod := (SELECT a.atttypmod FROM pg_attribute AS a WHERE a.attrelid = relation AND a.attnum = number);
      RETURN NEXT;
    END IF;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.present_columns(regclass) IS
  'The columns that a table has now, whatever the snapshot of the transaction.';

-- Returns a hash of the names, numbers and types of the columns, so that two states of a table can be compared cheaply.
-- It includes the types because PL/pgSQL fails if a field of NEW has a different type than in the plan cached by the
-- session.
CREATE FUNCTION threadline_internal.column_layout(relation regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT encode(sha256(convert_to(coalesce(string_agg(format('%s %s %s %s', c.number, c.type, c.typmod, c.name), E'\n'
           ORDER BY c.number), ''), 'UTF8')), 'hex')
    FROM threadline_internal.present_columns(relation) AS c
$function$;
COMMENT ON FUNCTION threadline_internal.column_layout(regclass) IS
  'A hash of the names, numbers and types of the columns of a table.';

-- Distinguishes a layout in one database from the same layout in another: the functions of a restored table detect that
-- no refresh knows their database, even if the table has the same OID by chance.
CREATE FUNCTION threadline_internal.layout_in(layout text, database text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT encode(sha256(convert_to(concat(layout, ' ', database), 'UTF8')), 'hex')
$function$;
COMMENT ON FUNCTION threadline_internal.layout_in(text, text) IS
  'A hash of the columns of a table and the identity of its database.';

-- Returns the same hash, for capture functions. The function is not immutable but is declared so: a session then
-- computes the result once and caches it in the plan of the expression. The plan depends on the table, which is a
-- constant in it, so PostgreSQL discards the plan when the table is altered.
CREATE FUNCTION threadline_internal.present_layout(relation regclass) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  -- In a restored database the OID may belong to another object, or to none.
  RETURN CASE WHEN EXISTS (SELECT FROM pg_class AS c WHERE c.oid = relation)
    THEN threadline_internal.layout_in(threadline_internal.column_layout(relation),
           threadline_internal.database_identity()) END;
END
$function$;
COMMENT ON FUNCTION threadline_internal.present_layout(regclass) IS
  'A hash of the columns of a table in this database. A session computes it once, and again after the table was '
  'altered.';

-- Returns the next definition id, which is greater than all earlier ones. A sequence that is behind, as in a copy by
-- logical replication, is set first.
CREATE FUNCTION threadline_internal.next_definition_id() RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  sequence regclass := pg_get_serial_sequence('threadline.table_definitions', 'id');
  greatest_id integer := (SELECT max(d.id) FROM threadline.table_definitions AS d);
  next_id integer := nextval(sequence);
BEGIN
  IF next_id <= greatest_id THEN
    PERFORM setval(sequence, greatest_id);
    next_id := nextval(sequence);
  END IF;
  RETURN next_id;
END
$function$;
COMMENT ON FUNCTION threadline_internal.next_definition_id() IS
  'An id for a definition, greater than all earlier ones.';

-- Returns the definition under which a change is made if the columns differ from those of the last capture definition,
-- and creates that definition for the first such change. Also returns what must not be recorded of the change.
-- `written` is the table or partition that fired the trigger: a table that was restored alone is not the one in
-- audited_tables.
CREATE FUNCTION threadline_internal.enter_definition(table_id integer, written oid, OUT definition_id integer,
  OUT excluded text[], OUT mask jsonb, OUT hashed jsonb)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
DECLARE
  audited threadline.audited_tables;
  present threadline.table_definitions;
BEGIN
  SELECT t.* INTO audited FROM threadline.audited_tables AS t WHERE t.id = enter_definition.table_id;
  -- A schema was restored without the audit log, or before it: the written table is not a known table.
  IF NOT FOUND THEN
    RETURN;
  END IF;
  -- In a restored database, the OID of a dropped table may belong to any other table.
  IF audited.relation <> written AND audited.relation NOT IN (SELECT pg_partition_ancestors(written)) THEN
    audited.relation := coalesce(pg_partition_root(written)::oid, written);
  END IF;
  excluded := '{}';
  mask := '{}';
  hashed := '{}';
  IF threadline_internal.is_redacted(audited) THEN
    SELECT r.excluded, r.mask, r.hashed INTO excluded, mask, hashed FROM threadline_internal.redaction(audited) AS r;
  END IF;
  -- Describing a table is slow, and every statement comes here until the next refresh.
  SELECT d.id INTO definition_id FROM threadline.table_definitions AS d
   WHERE d.table_id = audited.id AND d.layout = threadline_internal.column_layout(audited.relation)
     AND d.id >= audited.definition_id AND d.relation = audited.relation
     AND d.database = threadline_internal.database_identity() AND d.key_columns = audited.key_columns
   ORDER BY d.id DESC LIMIT 1;
  IF NOT FOUND THEN
    present := threadline_internal.describe_definition(audited);
    -- Two concurrent writers create two definitions, which is harmless and makes neither wait.
    definition_id := threadline_internal.next_definition_id();
    present.id := definition_id;
    INSERT INTO threadline.table_definitions OVERRIDING SYSTEM VALUE SELECT present.*;
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.enter_definition(integer, oid) IS
  'The definition under which a change is made after a change of the columns that no refresh has followed, and what '
  'must not be recorded of the change.';

-- Returns what must not be recorded of a table. A redacted column that took the name of a key column would become the
-- key, which is read before it is masked, so it is excluded. A hashed column whose present type cannot store a hash is
-- also excluded.
CREATE FUNCTION threadline_internal.redaction(audited threadline.audited_tables, OUT excluded text[], OUT mask jsonb,
  OUT hashed jsonb)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(array_agg(r.name) FILTER (WHERE NOT k.masks AND NOT r.is_hashed), '{}'),
         coalesce(jsonb_object_agg(r.name, '[REDACTED]') FILTER (WHERE k.masks), '{}'),
         threadline_internal.hash_kinds(audited.relation, array_agg(r.name) FILTER (WHERE r.is_hashed))
    FROM threadline_internal.redacted_columns(audited) AS r
   CROSS JOIN LATERAL (SELECT r.is_masked AND r.name <> ALL (audited.key_columns) AS masks) AS k
$function$;
COMMENT ON FUNCTION threadline_internal.redaction(threadline.audited_tables) IS
  'The columns that images of a table omit, the placeholders of masked columns, and how hashed columns are hashed.';

-- Describes the present state of a table. The keys of its changes are those of the capture functions.
CREATE FUNCTION threadline_internal.describe_definition(audited threadline.audited_tables,
  OUT present threadline.table_definitions)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  -- The labels of an enum may be the redacted values themselves.
  redacted text[] := CASE WHEN threadline_internal.is_redacted(audited) THEN threadline_internal.redacted_names(audited)
    || ARRAY(SELECT r.name FROM threadline_internal.redacted_columns(audited) AS r)
    ELSE '{}' END;
BEGIN
  present.table_id := audited.id;
  SELECT coalesce(jsonb_object_agg(c.name, jsonb_build_object('number', c.number,
           'type', threadline_internal.type_shape(c.type, c.typmod), 'type_oid', c.type)
           || jsonb_strip_nulls(jsonb_build_object(
             'attributes', threadline_internal.attribute_numbers(c.type), 'labels',
             CASE WHEN c.name <> ALL (redacted) THEN threadline_internal.labels(c.type, c.typmod) END))), '{}')
    INTO present.columns
    FROM threadline_internal.present_columns(audited.relation) AS c;
  present.key_columns := audited.key_columns;
  present.layout := threadline_internal.column_layout(audited.relation);
  present.relation := audited.relation;
  present.database := threadline_internal.database_identity();
  present.defined_at := clock_timestamp();
END
$function$;
COMMENT ON FUNCTION threadline_internal.describe_definition(threadline.audited_tables) IS
  'The present definition of a table.';

-- Capture functions run with the rights of the owner of the audit log, whoever writes. So they must not run anyone
-- else's code, including that of the table owner, who chooses the types of the columns and the expressions that
-- PostgreSQL evaluates when it plans a read.

-- Returns whether a trigger fired for a table that it may record: the table in audited_tables or a partition of it. If
-- that table no longer exists, it may record the table with the same name, because that was restored with its triggers.
CREATE FUNCTION threadline_internal.captures(table_id integer, written oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT EXISTS (
    SELECT FROM threadline.audited_tables AS t
     WHERE t.id = captures.table_id AND t.capture_ended_at IS NULL
       AND (t.relation = captures.written
            OR t.relation IN (SELECT pg_partition_ancestors(captures.written))
            OR NOT threadline_internal.is_table_of(t)
               AND to_regclass(format('%I.%I', t.table_schema, t.table_name))
                   IN (SELECT captures.written UNION ALL SELECT pg_partition_ancestors(captures.written))))
$function$;
COMMENT ON FUNCTION threadline_internal.captures(integer, oid) IS
  'Whether the capture functions of a table record writes to a relation.';

-- Returns whether the code of a role may run with the rights of another: if it is the same role, or has all rights
-- anyway.
CREATE FUNCTION threadline_internal.is_trusted(role oid, runner oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT role = runner OR EXISTS (SELECT FROM pg_roles AS r WHERE r.oid = role AND r.rolsuper)
$function$;
COMMENT ON FUNCTION threadline_internal.is_trusted(oid, oid) IS
  'Whether code of a role may run with the rights of another: it is the same role or a superuser.';

-- Returns the current user.
CREATE FUNCTION threadline_internal.runner() RETURNS oid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT r.oid FROM pg_roles AS r WHERE r.rolname = current_user
$function$;
COMMENT ON FUNCTION threadline_internal.runner() IS 'The current user.';

-- Returns the owner of the audit log, with whose rights capture runs.
CREATE FUNCTION threadline_internal.log_owner() RETURNS oid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT c.relowner FROM pg_class AS c WHERE c.oid = 'threadline.audit_changes'::regclass
$function$;
COMMENT ON FUNCTION threadline_internal.log_owner() IS 'The owner of the audit log.';

-- Returns the types that values of a table contain.
CREATE FUNCTION threadline_internal.types_of_table(relation regclass) RETURNS SETOF oid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH RECURSIVE types AS (
    SELECT c.type FROM threadline_internal.columns_of(relation) AS c
    UNION
    SELECT part.type
      FROM types AS t JOIN pg_type AS y ON y.oid = t.type
     CROSS JOIN LATERAL (
       SELECT y.typbasetype AS type WHERE y.typtype = 'd'
       UNION ALL SELECT y.typelem WHERE y.typelem <> 0
       UNION ALL SELECT c.type FROM threadline_internal.columns_of(y.typrelid) AS c WHERE y.typrelid <> 0
       UNION ALL SELECT r.rngsubtype FROM pg_range AS r WHERE r.rngtypid = y.oid) AS part
  )
  SELECT t.type FROM types AS t;
END
$function$;
COMMENT ON FUNCTION threadline_internal.types_of_table(regclass) IS
  'The types of the columns of a table, and all types that those contain.';

-- Returns whether only the owner of the audit log or a superuser can give a table a type with code.
CREATE FUNCTION threadline_internal.is_trusted_table(relation regclass) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN (SELECT bool_and(threadline_internal.is_trusted(o.owner, threadline_internal.log_owner()))
      FROM (SELECT c.relowner AS owner FROM pg_class AS c WHERE c.oid = relation
            UNION SELECT y.typowner FROM threadline_internal.types_of_table(relation) AS t (type)
                    JOIN pg_type AS y ON y.oid = t.type) AS o);
END
$function$;
COMMENT ON FUNCTION threadline_internal.is_trusted_table(regclass) IS
  'Whether a table and its types belong to the owner of the audit log or to superusers.';

CREATE FUNCTION threadline_internal.raise_foreign_code(relation regclass, code text, hint text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RAISE EXCEPTION 'reading % would run %, with the rights of %', relation, code, current_user
    USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'threadline_foreign_code', TABLE = relation::text,
      HINT = hint;
END
$function$;
COMMENT ON FUNCTION threadline_internal.raise_foreign_code(regclass, text, text) IS
  'Raises the error for a table that cannot be read without running someone else''s code.';

-- Raises an error if reading a table could run code of its owner. To plan a query of a table, PostgreSQL evaluates
-- constants in the expressions of its indexes, constraints and statistics. So every function that these depend on, even
-- through an operator, a domain or an operator class, must belong to a trusted role.
CREATE FUNCTION threadline_internal.check_foreign_code(relation regclass) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
AS $function$
DECLARE
  function regprocedure;
BEGIN
  WITH RECURSIVE member AS (
    SELECT relation::oid AS oid UNION SELECT p.relid FROM threadline_internal.partition_tree(relation) AS p
  ), used AS (
    SELECT 'pg_class'::regclass::oid AS class, i.indexrelid AS oid
      FROM member AS m JOIN pg_index AS i ON i.indrelid = m.oid
    UNION
    SELECT 'pg_constraint'::regclass, c.oid FROM member AS m JOIN pg_constraint AS c ON c.conrelid = m.oid
    UNION
    SELECT 'pg_statistic_ext'::regclass, s.oid FROM member AS m JOIN pg_statistic_ext AS s ON s.stxrelid = m.oid
    UNION
    SELECT 'pg_attrdef'::regclass, d.oid
      FROM member AS m JOIN pg_attrdef AS d ON d.adrelid = m.oid
      JOIN pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum AND a.attgenerated = 'v'
    UNION
    SELECT n.class, n.oid
      FROM used AS u
     CROSS JOIN LATERAL (
       SELECT d.refclassid, d.refobjid FROM pg_depend AS d
        WHERE d.classid = u.class AND d.objid = u.oid
          AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_type'::regclass,
            'pg_opclass'::regclass, 'pg_opfamily'::regclass)
       UNION ALL
       SELECT 'pg_constraint'::regclass, c.oid FROM pg_constraint AS c
        WHERE u.class = 'pg_type'::regclass AND c.contypid = u.oid
       UNION ALL
       SELECT 'pg_proc'::regclass, a.amproc FROM pg_amproc AS a
        WHERE u.class = 'pg_opfamily'::regclass AND a.amprocfamily = u.oid) AS n (class, oid)
  )
  SELECT p.oid INTO function
    FROM used AS u JOIN pg_proc AS p ON p.oid = u.oid
   WHERE u.class = 'pg_proc'::regclass AND NOT threadline_internal.is_trusted(p.proowner, threadline_internal.runner())
   LIMIT 1;
  IF FOUND THEN
    PERFORM threadline_internal.raise_foreign_code(relation,
      format('%s, which an index or a constraint uses', function),
      format('Let the owner of the audit log own it: ALTER FUNCTION %s OWNER TO %s; or drop what uses it.', function,
             current_user));
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.check_foreign_code(regclass) IS
  'Raises an error if reading a table could run someone else''s code.';

-- A secret, such as a session token, can be the key of its table. The key identifies the row of a change, so it can be
-- neither masked nor excluded. It is recorded as a keyed hash instead: HMAC-SHA256 of its text under a secret of the
-- table, in the type of the column, so that images are still rows of the table.

-- Returns how values of a type are hashed: as text, bytea or uuid; NULL if the type cannot store a hash. The typmod of
-- varchar(n) is n + 4, and the hash has 69 characters. char(n), citext and nondeterministic collations are not
-- supported, because texts that are equal there have different hashes.
CREATE FUNCTION threadline_internal.hash_kind(type oid, typmod integer) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  base record := threadline_internal.base_type(type, typmod);
BEGIN
  RETURN CASE WHEN base.has_check THEN NULL
    WHEN base.type = 'text'::regtype THEN 'text'
    WHEN base.type = 'varchar'::regtype AND base.typmod NOT BETWEEN 4 AND 72 THEN 'text'
    WHEN base.type IN ('bytea'::regtype, 'uuid'::regtype) THEN base.type::regtype::text END;
END
$function$;
COMMENT ON FUNCTION threadline_internal.hash_kind(oid, integer) IS
  'How values of a type are recorded as a hash: text, bytea or uuid; NULL where they cannot be.';

-- Returns the columns of a table that are recorded as hashes, each with its kind of hash.
CREATE FUNCTION threadline_internal.hash_kinds(relation regclass, columns text[]) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(jsonb_object_agg(c.name, k.kind), '{}')
    FROM threadline_internal.columns_of(relation) AS c
    JOIN pg_attribute AS a ON a.attrelid = hash_kinds.relation AND a.attnum = c.number
    LEFT JOIN pg_collation AS l ON l.oid = a.attcollation
   CROSS JOIN LATERAL threadline_internal.hash_kind(c.type, c.typmod) AS k (kind)
   WHERE c.name = ANY (columns) AND k.kind IS NOT NULL AND coalesce(l.collisdeterministic, true)
$function$;
COMMENT ON FUNCTION threadline_internal.hash_kinds(regclass, text[]) IS
  'Those of the given columns whose values can be recorded as hashes, each with its kind of hash.';

-- Returns what HMAC (RFC 2104) hashes before a message, for a secret of at most 64 bytes.
CREATE FUNCTION threadline_internal.hmac_pad(secret bytea, mask integer) RETURNS bytea
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  pad bytea := decode(repeat('00', 64), 'hex');
BEGIN
  FOR i IN 0 .. 63 LOOP
    pad := set_byte(pad, i, mask # CASE WHEN i < length(secret) THEN get_byte(secret, i) ELSE 0 END);
  END LOOP;
  RETURN pad;
END
$function$;
COMMENT ON FUNCTION threadline_internal.hmac_pad(bytea, integer) IS
  'A pad of HMAC-SHA256: for the inner hash with the mask 54, for the outer hash with 92.';

-- Creates the secret of a table, unless it has one. A random uuid has 122 random bits.
CREATE FUNCTION threadline_internal.create_key_secret(table_id integer) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  INSERT INTO threadline_internal.key_secrets (table_id, inner_pad, outer_pad)
  SELECT create_key_secret.table_id, threadline_internal.hmac_pad(s.secret, 54),
         threadline_internal.hmac_pad(s.secret, 92)
    FROM (SELECT sha256(string_agg(uuid_send(gen_random_uuid()), '')) AS secret FROM generate_series(1, 3)) AS s
  ON CONFLICT DO NOTHING
$function$;
COMMENT ON FUNCTION threadline_internal.create_key_secret(integer) IS
  'Creates the secret for hashing the keys of a table, unless there is one.';

CREATE FUNCTION threadline_internal.has_key_secret(table_id integer) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT EXISTS (SELECT FROM threadline_internal.key_secrets AS s WHERE s.table_id = has_key_secret.table_id)
$function$;
COMMENT ON FUNCTION threadline_internal.has_key_secret(integer) IS
  'Whether there is a secret for hashing the keys of a table.';

-- Returns the bytes of a text, identical in every encoding that has its characters. If UTF8 does not have them, returns
-- their bytes in the encoding of this database.
CREATE FUNCTION threadline_internal.bytes_of(value text) RETURNS bytea
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN convert_to(value, 'UTF8');
EXCEPTION WHEN OTHERS THEN
  RETURN convert_to(value, getdatabaseencoding());
END
$function$;
COMMENT ON FUNCTION threadline_internal.bytes_of(text) IS 'The bytes of a text in UTF8, or its unconverted bytes.';

-- Returns a hash as a value of the column type. Nobody else generates such a value: no uuid of any version has the
-- variant of this one.
CREATE FUNCTION threadline_internal.hash_text(kind text, hash bytea) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN CASE kind WHEN 'text' THEN 'hmac:' || encode(hash, 'hex')
    -- chr(92) instead of a backslash, whose meaning depends on a setting of the session.
    WHEN 'bytea' THEN chr(92) || 'x686d61633a' || encode(hash, 'hex')
    ELSE encode(set_byte(set_byte(substring(hash FROM 1 FOR 16), 6, get_byte(hash, 6) & 15 | 128), 8,
           get_byte(hash, 8) | 224), 'hex')::uuid::text END;
END
$function$;
COMMENT ON FUNCTION threadline_internal.hash_text(text, bytea) IS
  'A hash as the text of a value that stands for a key.';

CREATE FUNCTION threadline_internal.is_hash_text(kind text, value text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN value ~ CASE kind WHEN 'text' THEN '^hmac:[0-9a-f]{64}$' WHEN 'bytea' THEN '^.x686d61633a[0-9a-f]{64}$'
    ELSE '^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[ef][0-9a-f]{3}-[0-9a-f]{12}$' END;
END
$function$;
COMMENT ON FUNCTION threadline_internal.is_hash_text(text, text) IS 'Whether the text of a value is a hash.';

-- Hashes a value, given as its text. It runs with the rights of the owner of the audit log, who alone may read the
-- secret, so a reader can find the history of a known key, and test a guess. `given` says that a user passed the key,
-- and may have it from the audit log. If the secret is lost, a write still succeeds, and its key is recorded as one
-- that no row has.
CREATE FUNCTION threadline_internal.key_hash(table_id integer, kind text, value text, given boolean) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  secret threadline_internal.key_secrets;
  hash bytea;
BEGIN
  IF value IS NULL THEN
    RETURN NULL;
  ELSIF given AND threadline_internal.is_hash_text(kind, value) THEN
    RETURN value;
  END IF;
  SELECT s.* INTO secret FROM threadline_internal.key_secrets AS s WHERE s.table_id = key_hash.table_id;
  hash := CASE WHEN secret.table_id IS NULL THEN sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
    ELSE sha256(secret.outer_pad || sha256(secret.inner_pad || CASE getdatabaseencoding()
      WHEN 'UTF8' THEN convert_to(value, 'UTF8') ELSE threadline_internal.bytes_of(value) END)) END;
  -- Nearly all hashes are text, and a function call takes longer than this.
  RETURN CASE kind WHEN 'text' THEN 'hmac:' || encode(hash, 'hex') ELSE threadline_internal.hash_text(kind, hash) END;
END
$function$;
COMMENT ON FUNCTION threadline_internal.key_hash(integer, text, text, boolean) IS
  'The keyed hash that stands for a value in the key of a table. With it, a reader can find the history of a known '
  'key.';

-- Replaces values in an image by their hashes, for the columns in `hashed`, which gives the kind of hash. NULLs stay
-- unchanged.
CREATE FUNCTION threadline_internal.hashed_image(image jsonb, table_id integer, hashed jsonb,
  given boolean DEFAULT false) RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  name text;
  kind text;
BEGIN
  FOR name, kind IN SELECT h.key, h.value FROM jsonb_each_text(hashed) AS h LOOP
    IF image ->> name IS NOT NULL THEN
      image := image || jsonb_build_object(name, threadline_internal.key_hash(table_id, kind, image ->> name, given));
    END IF;
  END LOOP;
  RETURN image;
END
$function$;
COMMENT ON FUNCTION threadline_internal.hashed_image(jsonb, integer, jsonb, boolean) IS
  'An image with hashes in place of the values of keys.';

-- Returns SQL for the hash of a column, or of a given key, as a value of the column type. The text of a bytea depends
-- on a setting.
CREATE FUNCTION threadline_internal.hash_expression(table_id integer, kind text, value text, type text, given boolean)
RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render('threadline_internal.key_hash({table_id}, {kind}, {text}, {given})::{type}',
    jsonb_build_object('table_id', table_id, 'kind', quote_literal(kind), 'given', given, 'type', type,
      'text', format(CASE kind WHEN 'bytea' THEN
          $sql$pg_catalog.concat(pg_catalog.chr(92), 'x', pg_catalog.encode((%s)::pg_catalog.bytea, 'hex'))$sql$
        ELSE '(%s)::pg_catalog.text' END, value)))
$function$;
COMMENT ON FUNCTION threadline_internal.hash_expression(integer, text, text, text, boolean) IS
  'SQL for the hash that stands for a value of a column.';

-- Returns SQL for a column of a live row as images have it: its hash, or the column itself.
CREATE FUNCTION threadline_internal.recorded_value(audited threadline.audited_tables, name text, value text,
  given boolean DEFAULT false) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN recorded_value.name <> ALL (audited.hashed_columns) THEN recorded_value.value ELSE coalesce((
    SELECT threadline_internal.hash_expression(audited.id, h.kind, recorded_value.value,
             threadline_internal.type_name(c.type, c.typmod), given)
      FROM threadline_internal.columns_of(audited.relation) AS c
     CROSS JOIN LATERAL (SELECT threadline_internal.hash_kinds(audited.relation, ARRAY[c.name]) ->> c.name) AS h (kind)
     WHERE c.name = recorded_value.name AND h.kind IS NOT NULL), recorded_value.value) END
$function$;
COMMENT ON FUNCTION threadline_internal.recorded_value(threadline.audited_tables, text, text, boolean) IS
  'SQL for a value of a column as the audit log stores it, if the column may be recorded as a hash.';

-- Returns the columns of a table that are not recorded in clear.
CREATE FUNCTION threadline_internal.redacted_names(audited threadline.audited_tables) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT audited.masked_columns || audited.excluded_columns || audited.hashed_columns
$function$;
COMMENT ON FUNCTION threadline_internal.redacted_names(threadline.audited_tables) IS
  'The columns of a table that are or ever were masked, excluded or recorded as a hash.';

-- Returns why earlier keys differ from present ones because hashing began or ended; NULL if it did neither.
CREATE FUNCTION threadline_internal.hash_gap(audited threadline.audited_tables, before threadline.audited_tables)
RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  key record;
BEGIN
  IF before.id IS NULL OR before.hashed_columns || audited.hashed_columns = '{}' THEN
    RETURN NULL;
  ELSIF before.hashed_columns <> '{}' AND NOT threadline_internal.has_key_secret(before.id) THEN
    RETURN 'the secret of its hashed keys was lost';
  END IF;
  FOR key IN
    SELECT k.name, k.name = ANY (audited.hashed_columns) AS is_hashed, coalesce((
             SELECT d.key FROM jsonb_each(before.definition -> 'columns') AS d
              WHERE d.value ->> 'number' = audited.definition #>> ARRAY['columns', k.name, 'number']
                AND threadline_internal.is_described(audited.relation, before.definition)), k.name)
             = ANY (before.hashed_columns) AS was_hashed
      FROM unnest(audited.key_columns) AS k (name) LOOP
    IF key.is_hashed AND NOT key.was_hashed THEN
      RETURN format('key column %I is recorded as a hash since then; what was recorded before has it in clear',
        key.name);
    ELSIF key.was_hashed AND NOT key.is_hashed THEN
      RETURN format('key column %I is recorded in clear since then, and as a hash before', key.name);
    END IF;
  END LOOP;
  RETURN NULL;
END
$function$;
COMMENT ON FUNCTION threadline_internal.hash_gap(threadline.audited_tables, threadline.audited_tables) IS
  'Why previously recorded keys differ from those recorded now; NULL if they do not.';

-- Images that handle difficult values: a value that to_jsonb cannot convert must not fail the write, and a value that
-- to_jsonb would convert with a user-defined cast is recorded as text. These functions use the columns that the table
-- has at that moment.
-- A value that an image cannot contain is replaced by its length in bytes and its hash. The image then lists such
-- columns under the key "", which cannot be a column name: an application value that looks like a replacement is not
-- one if that list is missing.

-- Returns the maximum size of an image: JSON can have 256 MB, and a reader may request the row before and after a
-- change in one value.
CREATE FUNCTION threadline_internal.image_limit() RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS 'SELECT 128000000';
COMMENT ON FUNCTION threadline_internal.image_limit() IS 'Maximum number of bytes of an image.';

-- Returns the replacement of a value that is not recorded. A value whose text exceeds what PostgreSQL can store has no
-- hash.
CREATE FUNCTION threadline_internal.not_recorded(value anyelement) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  bytes bytea;
BEGIN
  BEGIN
    IF pg_typeof(value) = 'bytea'::regtype THEN
      bytes := value;
    ELSE
      bytes := convert_to(format('%s', value), getdatabaseencoding());
    END IF;
  EXCEPTION WHEN OTHERS THEN
    NULL;
  END;
  RETURN jsonb_build_object('threadline', 'not recorded', 'length', octet_length(bytes),
    'sha256', encode(sha256(bytes), 'hex'));
END
$function$;
COMMENT ON FUNCTION threadline_internal.not_recorded(anyelement) IS
  'The replacement in an image for a value that cannot be recorded: its length in bytes and its SHA-256.';

-- Returns SQL for the image of a row $1, column by column. format runs the output function of a type, and no
-- user-defined cast.
CREATE FUNCTION threadline_internal.column_images(relation regclass, excluded text[])
RETURNS TABLE (name text, value text, image text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT c.name, v.value, threadline_internal.column_image(v.value, c.name = ANY (t.columns))
    FROM threadline_internal.present_columns(relation) AS c
   CROSS JOIN threadline_internal.text_columns(relation) AS t (columns)
   CROSS JOIN LATERAL (SELECT format('($1).%I', c.name)) AS v (value)
   WHERE c.name <> ALL (excluded)
     AND NOT EXISTS (SELECT FROM threadline_internal.columns_of(relation) AS g
                      WHERE g.number = c.number AND g.generated = 'v')
$function$;
COMMENT ON FUNCTION threadline_internal.column_images(regclass, text[]) IS
  'SQL for the columns of a row that its image contains, and for the JSON of each.';

-- Returns SQL for one column of an image.
CREATE FUNCTION threadline_internal.column_image(value text, as_text boolean) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN as_text
      THEN format($sql$CASE WHEN %s IS DISTINCT FROM NULL THEN format('%%s', %s) END$sql$, value, value)
      ELSE value END
$function$;
COMMENT ON FUNCTION threadline_internal.column_image(text, boolean) IS
  'SQL for a column as an image contains it: as its text, or as PostgreSQL converts it to JSON.';

-- Returns the image of a row of a table, in one step if possible, otherwise column by column.
CREATE FUNCTION threadline_internal.typed_image(sample anyelement, row_of record, relation regclass, excluded text[],
  strict boolean) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  part record;
  value jsonb;
  image jsonb := '{}';
  missing text[] := '{}';
BEGIN
  sample := row_of;
  BEGIN
    EXECUTE (SELECT 'SELECT ' || coalesce(string_agg(format('jsonb_build_object(%s)', p.pairs), ' || '),
                                          $$'{}'::jsonb$$)
               FROM (SELECT string_agg(format('%L, %s', c.name, c.image), ', ') AS pairs
                       FROM (SELECT c.*, row_number() OVER () AS number
                               FROM threadline_internal.column_images(relation, excluded) AS c) AS c
                      GROUP BY c.number / 50) AS p) INTO image USING sample;
    IF strict OR pg_column_size(image) <= threadline_internal.image_limit() THEN
      RETURN image;
    END IF;
  EXCEPTION WHEN OTHERS THEN
    IF strict THEN
      RAISE;
    END IF;
  END;
  image := '{}';
  FOR part IN SELECT * FROM threadline_internal.column_images(relation, excluded) LOOP
    BEGIN
      EXECUTE format('SELECT coalesce(to_jsonb(%s), %L)', part.image, 'null') INTO value USING sample;
      IF pg_column_size(value) + pg_column_size(image) > threadline_internal.image_limit() THEN
        value := NULL;
      END IF;
    EXCEPTION WHEN OTHERS THEN
      value := NULL;
    END;
    IF value IS NULL THEN
      EXECUTE format('SELECT threadline_internal.not_recorded(%s)', part.value) INTO value USING sample;
      missing := missing || part.name;
    END IF;
    image := image || jsonb_build_object(part.name, value);
  END LOOP;
  RETURN image || CASE WHEN missing = '{}' THEN '{}' ELSE jsonb_build_object('', missing) END;
END
$function$;
COMMENT ON FUNCTION threadline_internal.typed_image(anyelement, record, regclass, text[], boolean) IS
  'The image of a row of a table, given the type of its rows.';

-- Returns the image of a row, whatever its columns and values.
CREATE FUNCTION threadline_internal.careful_image(row_of record, relation regclass, excluded text[], strict boolean)
RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  image jsonb;
BEGIN
  EXECUTE format('SELECT threadline_internal.typed_image(NULL::%s, $1, $2, $3, $4)', relation) INTO image
    USING row_of, relation, coalesce(excluded, '{}'), strict;
  RETURN image;
END
$function$;
COMMENT ON FUNCTION threadline_internal.careful_image(record, regclass, text[], boolean) IS
  'The image of a row with the present columns of its table; a value that cannot be JSON is replaced by its hash.';

-- Returns the image of a row for which to_jsonb nearly always succeeds.
CREATE FUNCTION threadline_internal.guarded_image(row_of record, relation regclass, excluded text[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN to_jsonb(row_of) - excluded;
EXCEPTION WHEN OTHERS THEN
  RETURN threadline_internal.careful_image(row_of, relation, excluded, false);
END
$function$;
COMMENT ON FUNCTION threadline_internal.guarded_image(record, regclass, text[]) IS
  'The image of a row that may have a value which cannot be JSON.';

-- Returns whether a value can be converted to JSON.
CREATE FUNCTION threadline_internal.can_be_json(value anyelement) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  PERFORM to_jsonb(value);
  RETURN true;
EXCEPTION WHEN OTHERS THEN
  RETURN false;
END
$function$;
COMMENT ON FUNCTION threadline_internal.can_be_json(anyelement) IS
  'Whether a value of type json can be converted to jsonb.';

-- Returns whether images of a table with its present columns need special handling that its definition does not
-- include.
CREATE FUNCTION threadline_internal.needs_care(relation regclass, known_text text[], knows_json boolean,
  knows_long boolean) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.text_columns(relation) <> known_text
      OR NOT knows_json AND threadline_internal.json_columns(relation) <> '{}'
      OR NOT knows_long AND EXISTS (SELECT FROM threadline_internal.columns_of(relation) AS c
                                     WHERE NOT threadline_internal.is_short(c.type, c.typmod))
$function$;
COMMENT ON FUNCTION threadline_internal.needs_care(regclass, text[], boolean, boolean) IS
  'Whether a table now has columns that need special handling in images, unlike those of its definition.';

-- Redaction is permanent: a column that was ever masked, excluded or hashed is never recorded in clear, whatever
-- happens to its table, until a call of threadline.audit_table names it in `unredact`. So audited_tables keeps the name
-- of every column that was ever redacted, and the functions below find those columns again after any change of the
-- table.

-- Distinguishes a database from all others. A restored dump is another database, even on a server that assigns the same
-- OIDs.
CREATE FUNCTION threadline_internal.database_identity() RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN (SELECT c.system_identifier || '/' || d.oid FROM pg_control_system() AS c, pg_database AS d
     WHERE d.datname = current_database());
END
$function$;
COMMENT ON FUNCTION threadline_internal.database_identity() IS
  'The identity of the database and its server, which a restored dump does not share.';

-- Returns the present columns of a table that must not be recorded. In the database in which a definition was made, a
-- name and a number identify a redacted column. If the two disagree (columns exchanged names, or a new column took the
-- name of an old one), both columns are redacted. In a restored database or a recreated table, numbers mean nothing, so
-- names decide. There, the order of the known columns shows whether two of them exchanged names before the dump. An
-- unknown column may be a renamed redacted one if a redacted one is missing, or if its position is not after that of a
-- redacted one: columns added since then come after the remaining ones. A primary key column can only be a hashed one,
-- because no other redacted column can be in the key. Changes written before the dump also show the names that the
-- columns had then.
-- Stored generated columns that are computed from a redacted column are excluded.
-- More than 60 lines: each part of the query is one way to identify a column again.
CREATE FUNCTION threadline_internal.redacted_columns(audited threadline.audited_tables)
RETURNS TABLE (name text, is_masked boolean, is_hashed boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH same AS (
    SELECT threadline_internal.is_described(audited.relation, audited.definition) AS table
  ), defined AS (
    SELECT d.key AS name, (d.value ->> 'number')::smallint AS number,
           row_number() OVER (ORDER BY (d.value ->> 'number')::smallint) AS rank
      FROM jsonb_each(audited.definition -> 'columns') AS d
  ), last_known AS (
    SELECT c.key AS name, (c.value ->> 'number')::smallint AS number
      FROM (SELECT d.columns FROM threadline.table_definitions AS d
             WHERE d.table_id = audited.id AND d.relation = (audited.definition ->> 'oid')::oid
               AND d.database = audited.definition ->> 'database'
             ORDER BY d.id DESC LIMIT 1) AS d, jsonb_each(d.columns) AS c
  ), listed AS (
    SELECT l.name, l.is_masked, l.is_hashed, d.number, d.rank
      FROM (SELECT unnest(audited.excluded_columns) AS name, false AS is_masked, false AS is_hashed
            UNION ALL SELECT unnest(audited.masked_columns), true, false
            UNION ALL SELECT unnest(audited.hashed_columns), false, true) AS l
      LEFT JOIN defined AS d USING (name)
  ), present AS (
    SELECT c.name, c.number, c.type, c.typmod, d.number AS defined_number, d.rank AS defined_rank,
           row_number() OVER (ORDER BY c.number) AS rank,
           c.name = ANY (audited.key_columns) AND c.name = ANY (k.columns) AS is_key,
           row_number() OVER (PARTITION BY d.number IS NULL ORDER BY c.number) AS place,
           row_number() OVER (PARTITION BY d.number IS NULL ORDER BY d.number) AS defined_place
      FROM threadline_internal.columns_of(audited.relation) AS c LEFT JOIN defined AS d USING (name)
     CROSS JOIN threadline_internal.primary_key(audited.relation) AS k
  ), renamed AS (
    SELECT EXISTS (SELECT FROM present AS p WHERE p.place <> p.defined_place AND p.defined_number IS NOT NULL)
           OR EXISTS (SELECT FROM present AS p, present AS n
                       WHERE p.defined_number IS NULL AND n.defined_number IS NOT NULL AND p.rank < n.rank) AS any
  ), matching AS (
    SELECT p.*, l.is_masked, l.is_hashed
      FROM present AS p JOIN listed AS l ON p.name = l.name
    UNION ALL
    SELECT p.*, l.is_masked, l.is_hashed
      FROM same AS s, present AS p JOIN listed AS l ON p.number = l.number WHERE s.table
    UNION ALL
    SELECT p.*, l.is_masked, l.is_hashed
      FROM same AS s, listed AS l JOIN present AS n ON n.name = l.name
      JOIN present AS p ON p.place = n.defined_place AND p.defined_number IS NOT NULL
     WHERE NOT s.table AND n.defined_number IS NOT NULL AND (l.is_hashed OR NOT p.is_key)
    UNION ALL
    SELECT p.*, l.is_masked, l.is_hashed
      FROM same AS s, listed AS l
      JOIN present AS p ON CASE WHEN p.defined_number IS NULL
          THEN p.rank <= l.rank OR NOT EXISTS (SELECT FROM present AS n WHERE n.name = l.name)
          -- If columns were renamed, and others dropped and perhaps added again, positions are weaker evidence.
          ELSE (p.place <> p.defined_place OR p.rank <> p.defined_rank) AND p.rank <= l.rank
            AND (SELECT r.any FROM renamed AS r) END
     WHERE NOT s.table AND l.number IS NOT NULL AND (l.is_hashed OR NOT p.is_key)
    UNION ALL
    SELECT p.*, l.is_masked, l.is_hashed
      FROM same AS s, present AS p JOIN last_known AS k ON k.name = p.name JOIN listed AS l ON l.number = k.number
     WHERE NOT s.table
  )
  -- A column identified as redacted in two ways gets the stricter one: exclude before mask, mask before hash.
  SELECT m.name, bool_or(m.is_masked)
           AND bool_and(m.is_hashed OR m.is_masked AND threadline_internal.holds_placeholder(m.type, m.typmod)),
         bool_and(m.is_hashed) AND threadline_internal.hash_kinds(audited.relation, ARRAY[m.name]) <> '{}'
    FROM matching AS m GROUP BY m.name
  UNION ALL
  SELECT DISTINCT g.generated, false, false
    FROM matching AS m
    JOIN threadline_internal.generated_columns(audited.relation) AS g ON g.source_number = m.number
   WHERE NOT EXISTS (SELECT FROM matching AS n WHERE n.name = g.generated)
$function$;
COMMENT ON FUNCTION threadline_internal.redacted_columns(threadline.audited_tables) IS
  'The present columns of a table that must not be recorded, and whether each is masked or hashed; otherwise it is '
  'excluded.';

-- Returns the columns that images contain, in table order. No image contains excluded columns or virtual generated
-- columns.
CREATE FUNCTION threadline_internal.compared_columns(audited threadline.audited_tables) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(array_agg(name ORDER BY (value ->> 'number')::integer), '{}')
    FROM jsonb_each(audited.definition -> 'columns') AS c (name, value)
   WHERE name <> ALL (audited.excluded_columns) AND value ->> 'generated' IS DISTINCT FROM 'v'
$function$;
COMMENT ON FUNCTION threadline_internal.compared_columns(threadline.audited_tables) IS
  'The columns of a table that its images contain.';

-- Returns SQL for the columns that may have changed, with their old values: it removes equal columns from the old
-- image, by name. Columns added since the definition all stay in, and threadline_internal.changed_values compares them
-- one by one, which is slower but equally correct.
CREATE FUNCTION threadline_internal.possibly_changed(audited threadline.audited_tables, old_image text, new_image text)
RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format(E'%s - ARRAY[\n      %s]::text[]', old_image, string_agg(threadline_internal.render(
      'CASE WHEN {old_image} -> {column} = {new_image} -> {column} THEN {column} END', jsonb_build_object(
        'old_image', old_image, 'new_image', new_image, 'column', quote_literal(name))), E',\n      ' ORDER BY number))
    FROM unnest(threadline_internal.compared_columns(audited)) WITH ORDINALITY AS c (name, number)
$function$;
COMMENT ON FUNCTION threadline_internal.possibly_changed(threadline.audited_tables, text, text) IS
  'SQL for the old image of a row without the columns known to be equal in the new one.';

-- Returns SQL for the columns that did change, among those that may have changed.
CREATE FUNCTION threadline_internal.changed_values(candidates text, new_image text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format($sql$(SELECT coalesce(jsonb_object_agg(c.key, c.value), '{}') FROM jsonb_each(%s) AS c
      WHERE c.value IS DISTINCT FROM %s -> c.key)$sql$, candidates, new_image)
$function$;
COMMENT ON FUNCTION threadline_internal.changed_values(text, text) IS
  'SQL for the old values of the columns that an update changed, among those that may have changed.';

-- Returns SQL for changed values as the audit log stores them.
CREATE FUNCTION threadline_internal.masked_values(audited threadline.audited_tables, changed text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN audited.masked_columns = '{}' THEN changed ELSE threadline_internal.render(
    $sql${changed} || ({placeholders} WHERE {changed} ? m.key)$sql$, jsonb_build_object('placeholders',
      $sql$SELECT coalesce(jsonb_object_agg(m.key, m.value), '{}') FROM jsonb_each(mask) AS m$sql$,
      'changed', changed)) END
$function$;
COMMENT ON FUNCTION threadline_internal.masked_values(threadline.audited_tables, text) IS
  'SQL for changed values as they are stored, with the placeholder in place of values of masked columns.';

-- Returns the settings that affect the text of a value. Keys and images are written and read under these, whatever the
-- session uses. (A function that needs them repeats them, because CREATE FUNCTION accepts no list.)
CREATE FUNCTION threadline_internal.canonical_settings() RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT ARRAY['search_path=pg_catalog, pg_temp', 'TimeZone=UTC', 'DateStyle=ISO', 'IntervalStyle=postgres',
    'extra_float_digits=1', 'bytea_output=hex', 'lc_monetary=C']
$function$;
COMMENT ON FUNCTION threadline_internal.canonical_settings() IS
  'The settings under which keys and images are written and read, in the format of pg_proc.';

-- Returns the settings that all capture functions of an event share. They make names, keys and images independent of
-- the writing session. Functions that look up their transaction cache the plan: see
-- threadline_internal.enter_transaction. A truncation reads its whole table.
CREATE FUNCTION threadline_internal.pinned_settings(event text) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.canonical_settings()
    || CASE event WHEN 'truncate' THEN 'row_security=off' ELSE 'enable_seqscan=off' END
$function$;
COMMENT ON FUNCTION threadline_internal.pinned_settings(text) IS
  'The settings of the capture function of an event, in the format of pg_proc.';

-- Returns settings in the syntax of CREATE FUNCTION.
CREATE FUNCTION threadline_internal.settings_clause(settings text[]) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(format('SET %s = %s', s[1], CASE s[1] WHEN 'search_path' THEN s[2] ELSE quote_literal(s[2]) END),
                    ' ' ORDER BY number)
    FROM unnest(settings) WITH ORDINALITY AS u (setting, number), string_to_array(setting, '=') AS s
$function$;
COMMENT ON FUNCTION threadline_internal.settings_clause(text[]) IS 'SQL for the settings of a function.';

-- Returns the variables that a capture function always needs, including where the columns are known.
CREATE FUNCTION threadline_internal.known_variables(audited threadline.audited_tables, event text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(format(E'  %s;\n', v.variable), '' ORDER BY v.number)
    FROM (SELECT event <> 'truncate' AS of_rows, event <> 'truncate' AND audited.granularity <> 'row' AS by_statement)
      AS t
   CROSS JOIN LATERAL (VALUES
      -- A transaction that has written has an id, which makes it known to threadline.settled_at. Only a truncation is
      -- captured before anything is written.
      (1, 'txid xid8 := pg_current_xact_id()', event = 'truncate'),
      (2, 'written_at timestamptz := clock_timestamp()', true),
      (3, 'running uuid', of_rows),
      (4, 'known_context jsonb', of_rows),
      (5, 'known_changes text', event = 'update'),
      (6, 'known_key ' || coalesce(audited.key_type, 'text'), by_statement),
      (7, 'known_image jsonb', by_statement),
      (8, 'many boolean', by_statement),
      (9, 'key_changed boolean', by_statement AND event = 'update')) AS v (number, variable, needed)
   WHERE v.needed
$function$;
COMMENT ON FUNCTION threadline_internal.known_variables(threadline.audited_tables, text) IS
  'The declarations of the capture function of an event.';

-- Returns the additional variables for code that handles any columns.
CREATE FUNCTION threadline_internal.capture_variables(audited threadline.audited_tables, event text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(format(E'  %s;\n', v.variable), '' ORDER BY v.number)
    FROM (SELECT threadline_internal.is_redacted(audited) AS redacted, event <> 'truncate' AS of_rows) AS t
   CROSS JOIN LATERAL (VALUES
      (3, format('is_current boolean := threadline_internal.present_layout(%L) = %L', audited.definition ->> 'oid',
         threadline_internal.layout_in(audited.definition ->> 'layout', audited.definition ->> 'database')), true),
      (4, format('definition_id integer := %s', audited.definition_id), true),
      (5, format('excluded text[] := %L', audited.excluded_columns), redacted),
      (15, format('mask jsonb := %L', (SELECT coalesce(jsonb_object_agg(m, '[REDACTED]'), '{}')
         FROM unnest(audited.masked_columns) AS m WHERE m = ANY (threadline_internal.compared_columns(audited)))),
         redacted),
      (16, 'careful boolean := false', true),
      (17, CASE WHEN audited.hashed_columns <> '{}' THEN format('hashed jsonb := %L',
         threadline_internal.hash_kinds(audited.relation, audited.hashed_columns)) END, audited.hashed_columns <> '{}'),
      (7, 'row_key jsonb', of_rows),
      (8, 'row_image jsonb', of_rows),
      (9, 'typed_row_key ' || audited.key_type, of_rows AND audited.key_type <> 'text'),
      (10, 'old_row_key jsonb', event = 'update'),
      (11, 'old_row_image jsonb', event = 'update'),
      (12, 'row_changed jsonb', event = 'update')) AS v (number, variable, needed)
   WHERE v.needed
$function$;
COMMENT ON FUNCTION threadline_internal.capture_variables(threadline.audited_tables, text) IS
  'The declarations for the part of a capture function that handles any columns.';

-- Returns PL/pgSQL that assigns the images of the written row to variables, for capture per row.
CREATE FUNCTION threadline_internal.written_row(audited threadline.audited_tables, event text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render(CASE event
      WHEN 'insert' THEN E'  row_image := {new_image};\n'
      WHEN 'delete' THEN E'  row_image := {old_image};\n'
      WHEN 'update' THEN E'  old_row_image := {old_image};\n  row_image := {new_image};\n' END, jsonb_build_object(
    'old_image', threadline_internal.image_expression(audited, 'OLD'),
    'new_image', threadline_internal.image_expression(audited, 'NEW')))
$function$;
COMMENT ON FUNCTION threadline_internal.written_row(threadline.audited_tables, text) IS
  'PL/pgSQL for the images of the row for which a row trigger was called.';

-- Returns PL/pgSQL that reads the first row of a statement, and captures all rows if there are more. Most statements
-- write only one row, and are recorded in the same way as with capture per row.
CREATE FUNCTION threadline_internal.first_of_rows(audited threadline.audited_tables, event text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$  SELECT {images}, {more} INTO {variables}, many FROM {written} LIMIT 1;
  IF many IS NOT FALSE THEN
    IF many THEN
    {capture_rows}
    END IF;
    RETURN NULL;
  END IF;
$sql$, CASE event
      WHEN 'insert' THEN jsonb_build_object('images', new_image, 'variables', 'row_image', 'written', 'new_rows AS n',
        'more', 'EXISTS (SELECT FROM new_rows OFFSET 1)',
        'capture_rows', threadline_internal.capture_inserted_rows(audited))
      WHEN 'delete' THEN jsonb_build_object('images', old_image, 'variables', 'row_image', 'written', 'old_rows AS o',
        'more', 'EXISTS (SELECT FROM old_rows OFFSET 1)',
        'capture_rows', threadline_internal.capture_deleted_rows(audited))
      WHEN 'update' THEN jsonb_build_object('images', format('%s, %s', old_image, new_image),
        'variables', 'old_row_image, row_image', 'written', 'old_rows AS o, new_rows AS n',
        'more', 'EXISTS (SELECT FROM new_rows OFFSET 1)',
        'capture_rows', threadline_internal.capture_updated_rows(audited)) END)
    FROM threadline_internal.image_expression(audited, 'o.*') AS old_image,
         threadline_internal.image_expression(audited, 'n.*') AS new_image
$function$;
COMMENT ON FUNCTION threadline_internal.first_of_rows(threadline.audited_tables, text) IS
  'PL/pgSQL for the images of the only row of a statement; if the statement has more rows, it records them.';

-- Returns PL/pgSQL that reads and records the written rows.
CREATE FUNCTION threadline_internal.capture_body(audited threadline.audited_tables, event text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT concat(CASE WHEN event = 'truncate' THEN NULL
      WHEN audited.granularity = 'row' THEN threadline_internal.written_row(audited, event)
      ELSE threadline_internal.first_of_rows(audited, event) END,
    CASE event
      WHEN 'insert' THEN threadline_internal.capture_inserted_row(audited)
      WHEN 'delete' THEN threadline_internal.capture_deleted_row(audited)
      WHEN 'update' THEN threadline_internal.capture_updated_row(audited)
      WHEN 'truncate' THEN threadline_internal.capture_truncated_rows(audited) END)
$function$;
COMMENT ON FUNCTION threadline_internal.capture_body(threadline.audited_tables, text) IS
  'PL/pgSQL that captures the rows written to a table.';

-- Returns the condition that a trigger fired for a table other than its own, or for a partition that is not known yet.
-- The cheap comparisons nearly always decide; see threadline_internal.captures for the rest.
CREATE FUNCTION threadline_internal.unknown_table(audited threadline.audited_tables) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN p.oids = '[]' THEN format('TG_RELID <> %s OR TG_TABLE_NAME <> %L', audited.definition ->> 'oid',
             audited.table_name)
           ELSE format('TG_RELID <> ALL (%L)', ARRAY(
             SELECT o::oid FROM jsonb_array_elements_text(p.oids || (audited.definition -> 'oid')) AS o)) END
    FROM (SELECT audited.definition -> 'partitions' AS oids) AS p
$function$;
COMMENT ON FUNCTION threadline_internal.unknown_table(threadline.audited_tables) IS
  'SQL condition that a trigger fired for a table that its definition does not know.';

-- Returns PL/pgSQL that checks whether images need special handling that the definition does not include: the columns
-- no longer match the definition, or an untrusted role has since created a cast to json.
CREATE FUNCTION threadline_internal.check_casts(audited threadline.audited_tables) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$  IF is_current IS NOT TRUE{casts} THEN
    careful := threadline_internal.needs_care(TG_RELID, {text_columns}, {json}, {long});
  END IF;
$sql$, jsonb_build_object(
    'casts', CASE WHEN NOT (audited.definition ->> 'trusted')::boolean THEN $sql$ OR EXISTS (
      SELECT FROM pg_cast AS c WHERE c.oid >= 16384 AND c.casttarget = 'json'::regtype)$sql$ END,
    'text_columns', quote_literal(ARRAY(SELECT jsonb_array_elements_text(audited.definition -> 'text_columns'))),
    'json', threadline_internal.has_json(audited),
    'long', EXISTS (SELECT FROM unnest(threadline_internal.compared_columns(audited)) AS c (name)
                     WHERE audited.definition #> ARRAY['columns', name] ? 'long')))
$function$;
COMMENT ON FUNCTION threadline_internal.check_casts(threadline.audited_tables) IS
  'PL/pgSQL that checks whether images need special handling that they do not need according to the definition.';

-- Returns PL/pgSQL that finds the definition under which a change is made. Checking that the columns match the
-- definition costs almost nothing: threadline_internal.present_layout is computed when the session plans the
-- expression, and again after PostgreSQL reports to the session that the table was altered.
CREATE FUNCTION threadline_internal.find_definition(audited threadline.audited_tables, event text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$  IF {unknown_table} THEN
    IF NOT threadline_internal.captures({table_id}, TG_RELID) THEN
      RETURN NULL;
    END IF;
{young}    is_current := is_current AND {oid} IN (SELECT TG_RELID UNION ALL SELECT pg_partition_ancestors(TG_RELID));
  END IF;
{truncated}{generated}  IF is_current IS NOT TRUE THEN
    SELECT {values} INTO {variables} FROM threadline_internal.enter_definition({table_id}, TG_RELID) AS d;
    IF definition_id IS NULL THEN
      RETURN NULL;
    END IF;
  END IF;
$sql$, jsonb_build_object(
    'unknown_table', threadline_internal.unknown_table(audited),
    'table_id', audited.id, 'oid', audited.definition ->> 'oid',
    'young', CASE WHEN event <> 'truncate' AND threadline_internal.is_partitioned(audited.relation)
      THEN threadline_internal.render(
      E'    PERFORM threadline_internal.note_partition({table_id}, TG_RELID, TG_OP, '
        '{row}.xmin, {row}.cmin, {row}.ctid);\n',
      jsonb_build_object('table_id', audited.id, 'row', CASE event WHEN 'insert' THEN 'NEW' ELSE 'OLD' END)) END,
    'truncated', CASE WHEN event = 'truncate' AND threadline_internal.is_partitioned(audited.relation)
      THEN threadline_internal.render(E'  PERFORM threadline_internal.note_truncation({table_id}, TG_RELID);\n',
      jsonb_build_object('table_id', audited.id)) END,
    -- The expression of a generated column can be altered without altering a column.
    'generated', CASE WHEN redacted AND audited.definition @? '$.columns.*.generated ? (@ == "s")'
      THEN threadline_internal.render($sql$  is_current := is_current AND NOT EXISTS (
    SELECT FROM threadline_internal.generated_from({oid}, {columns}) AS g WHERE g.generated IS NOT NULL);
$sql$, jsonb_build_object('oid', audited.definition ->> 'oid',
        'columns', quote_literal(audited.excluded_columns || audited.masked_columns || audited.hashed_columns))) END,
    'values', concat('d.definition_id', CASE WHEN redacted THEN ', d.excluded, d.mask' END,
      CASE WHEN audited.hashed_columns <> '{}' THEN ', d.hashed' END),
    'variables', concat('definition_id', CASE WHEN redacted THEN ', excluded, mask' END,
      CASE WHEN audited.hashed_columns <> '{}' THEN ', hashed' END)))
    FROM threadline_internal.is_redacted(audited) AS redacted
$function$;
COMMENT ON FUNCTION threadline_internal.find_definition(threadline.audited_tables, text) IS
  'PL/pgSQL that finds the definition of its table under which a change is made, and what must not be recorded of it.';

-- Returns PL/pgSQL that captures rows by their images, whatever the present columns of their table.
CREATE FUNCTION threadline_internal.careful_source(audited threadline.audited_tables, event text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render('{find_definition}{check_code}{body}', jsonb_build_object(
    'find_definition', threadline_internal.find_definition(audited, event),
    'check_code', concat(
      CASE event WHEN 'truncate' THEN E'  PERFORM threadline_internal.check_foreign_code(TG_RELID);\n' END,
      threadline_internal.check_casts(audited)),
    'body', CASE WHEN audited.excluded_columns = '{}' AND NOT threadline_internal.has_text_columns(audited)
        THEN threadline_internal.capture_body(audited, event)
      ELSE threadline_internal.render($sql$  IF is_current AND NOT careful THEN
{listing_body}
  ELSE
{body}
  END IF;$sql$, jsonb_build_object('body', threadline_internal.capture_body(audited, event),
        'listing_body', threadline_internal.capture_body(threadline_internal.list_images(audited), event))) END))
$function$;
COMMENT ON FUNCTION threadline_internal.careful_source(threadline.audited_tables, text) IS
  'PL/pgSQL that captures the rows written to a table, whatever its columns.';

-- Returns the capture functions of a table. A column of the table may have the name of a variable. The variables of the
-- careful path are declared where it begins, because initializing each one takes time.
CREATE FUNCTION threadline_internal.trigger_sources(audited threadline.audited_tables)
RETURNS TABLE (event text, source text)
LANGUAGE sql STABLE ROWS 4 SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT e.event, threadline_internal.render($sql$
#variable_conflict use_variable
DECLARE
{known_variables}BEGIN
{known}  DECLARE
{variables}  BEGIN
{careful}
  END;
  RETURN NULL;
END
$sql$, jsonb_build_object(
    'known_variables', threadline_internal.known_variables(audited, e.event),
    -- A key that is recorded as a hash is hashed once per row, for its image.
    'known', CASE WHEN e.event <> 'truncate' AND audited.hashed_columns = '{}' THEN CASE audited.granularity
        WHEN 'row' THEN threadline_internal.capture_known_row(audited, e.event)
        ELSE threadline_internal.capture_known_rows(audited, e.event) END END,
    'variables', threadline_internal.capture_variables(audited, e.event),
    'careful', threadline_internal.careful_source(audited, e.event)))
    FROM unnest('{insert, delete, update, truncate}'::text[]) AS e (event)
$function$;
COMMENT ON FUNCTION threadline_internal.trigger_sources(threadline.audited_tables) IS
  'PL/pgSQL of the functions that capture inserts, updates, deletes and truncations of a table.';

-- Creates or replaces a generated function. It belongs to the owner of the audit log, never to the caller of
-- audit_table.
CREATE FUNCTION threadline_internal.define_function(signature text, definition text, description text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  defined pg_proc;
BEGIN
  EXECUTE format('CREATE OR REPLACE FUNCTION %s %s', signature, definition);
  SELECT p.* INTO STRICT defined FROM pg_proc AS p WHERE p.oid = to_regprocedure(signature);
  -- Each of these commands locks the function until the end of the transaction, so they run only if something changes.
  IF obj_description(defined.oid, 'pg_proc') IS DISTINCT FROM description THEN
    EXECUTE format('COMMENT ON FUNCTION %s IS %L', signature, description);
  END IF;
  IF EXISTS (SELECT FROM aclexplode(coalesce(defined.proacl, acldefault('f', defined.proowner))) AS a
              WHERE a.grantee = 0) THEN
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', signature);
  END IF;
  IF defined.proowner <> threadline_internal.log_owner() THEN
    EXECUTE format('ALTER FUNCTION %s OWNER TO %s', signature, threadline_internal.log_owner()::regrole);
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.define_function(text, text, text) IS
  'Creates or replaces a generated function of the owner of the audit log.';

-- Returns whether a right on a function was granted to the role itself, and not to a role of which it is a member.
CREATE FUNCTION threadline_internal.has_execute(signature text, role regrole) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN EXISTS (SELECT FROM pg_proc AS p, aclexplode(p.proacl) AS a
                  WHERE p.oid = to_regprocedure(signature) AND a.grantee = role AND a.privilege_type = 'EXECUTE');
END
$function$;
COMMENT ON FUNCTION threadline_internal.has_execute(text, regrole) IS
  'Whether a role has its own right to call a function.';

-- SECURITY DEFINER lets the capture functions write the audit log for writers who have no right on it. The owner of the
-- table may execute them: PostgreSQL requires that right when the owner adds a partition, which gets the triggers of
-- the table. The functions record nothing for any other table.
CREATE FUNCTION threadline_internal.define_capture_functions(audited threadline.audited_tables) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  capture record;
  signature text;
BEGIN
  FOR capture IN SELECT * FROM threadline_internal.trigger_sources(audited) LOOP
    signature := format('threadline_internal.capture_%s_%s()', audited.id, capture.event);
    PERFORM threadline_internal.define_function(signature,
      format('RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER %s AS %L',
             threadline_internal.settings_clause(threadline_internal.pinned_settings(capture.event)), capture.source),
      format('Captures the %s of rows of %I.%I.', capture.event, audited.table_schema, audited.table_name));
    IF NOT threadline_internal.has_execute(signature, (audited.definition ->> 'owner')::regrole) THEN
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', signature, audited.definition ->> 'owner');
    END IF;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.define_capture_functions(threadline.audited_tables) IS
  'Creates the functions that capture inserts, updates, deletes and truncations of a table.';

-- Returns SQL for a row as JSON without the excluded columns. `row_name` is r.* instead of r if a column could also be
-- called r. A virtual generated column is NULL in a trigger, and follows from the others. If the columns are those of
-- the definition (see list_images), an excluded column is not read: it can have any size, and costs nothing. Otherwise
-- the excluded columns, which a variable of the function names, are removed from the whole row. Hashed columns already
-- contain their hashes, so keys and comparisons use the hashes.
CREATE FUNCTION threadline_internal.image_expression(audited threadline.audited_tables, row_name text,
  excluded text DEFAULT 'excluded', relation text DEFAULT 'TG_RELID', careful text DEFAULT 'careful',
  hashed text DEFAULT 'hashed') RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format(CASE WHEN audited.hashed_columns = '{}' THEN '%s'
      ELSE 'threadline_internal.hashed_image(%s, %s, %s)' END, threadline_internal.render(CASE
      WHEN NOT listed AND threadline_internal.has_text_columns(audited) THEN '{careful_image}'
      WHEN NOT listed AND guard AND threadline_internal.has_json(audited) THEN
        CASE WHEN is_careful IS NULL THEN '{guarded_image}'
          ELSE 'CASE WHEN {careful} THEN {careful_image} ELSE {guarded_image} END' END
      WHEN careful_when IS NULL THEN '{image}'
      ELSE 'CASE WHEN {careful_when} THEN {careful_image} ELSE {image} END' END, jsonb_build_object(
    'image', CASE WHEN listed THEN threadline_internal.listed_image(audited, row_name)
      ELSE format('to_jsonb(%s)', row_name) || coalesce(' - ' || left_out, '') END,
    'careful', is_careful, 'careful_when', careful_when,
    'guarded_image', format('threadline_internal.guarded_image(%s, %s, %s)', row_name, relation,
      coalesce(left_out, $$'{}'$$)),
    'careful_image', threadline_internal.careful_image_expression(audited, row_name, relation, excluded))),
      audited.id, hashed)
    FROM (SELECT coalesce(audited.definition ? 'lists_images', false) AS listed,
                 NOT threadline_internal.is_strict(audited) AS guard,
                 CASE WHEN NOT audited.definition ? 'lists_images' THEN careful END AS is_careful,
                 nullif(concat_ws(' || ', CASE WHEN threadline_internal.is_redacted(audited) THEN excluded END,
                   (SELECT format('%L::text[]', array_agg(name ORDER BY name COLLATE "C"))
                      FROM jsonb_each(audited.definition -> 'columns') AS c (name, value)
                     WHERE value ->> 'generated' = 'v' HAVING count(*) > 0)), '') AS left_out) AS i
   CROSS JOIN LATERAL (SELECT nullif(concat_ws(' OR ', is_careful,
     CASE WHEN guard THEN threadline_internal.may_not_fit(audited, row_name) END), '')) AS c (careful_when)
$function$;
COMMENT ON FUNCTION threadline_internal.image_expression(threadline.audited_tables, text, text, text, text, text) IS
  'SQL for the image of a row as it is compared: without excluded columns, with masked columns still in clear.';

-- Returns SQL for the image of a row that needs special handling.
CREATE FUNCTION threadline_internal.careful_image_expression(audited threadline.audited_tables, row_name text,
  relation text, excluded text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render('threadline_internal.careful_image({row}, {relation}, {excluded}, {strict})',
    jsonb_build_object('row', row_name, 'relation', relation, 'strict', threadline_internal.is_strict(audited),
      'excluded', CASE WHEN threadline_internal.is_redacted(audited) THEN excluded ELSE $$'{}'$$ END))
$function$;
COMMENT ON FUNCTION threadline_internal.careful_image_expression(threadline.audited_tables, text, text, text) IS
  'SQL for the image of a row whose values may not fit into JSON.';

-- Returns the condition that a row may not fit into JSON; NULL if every row does. The condition uses the stored size of
-- a value, which does not read the value: even a compressed 16 kB expand to no more than JSON can hold.
CREATE FUNCTION threadline_internal.may_not_fit(audited threadline.audited_tables, row_name text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN audited.definition ? 'lists_images'
      THEN concat_ws(' OR ', string_agg(format('coalesce(pg_column_size(%s), 0)', v.value), ' + ' ORDER BY number)
             FILTER (WHERE d.described ? 'long') || ' > 16384',
           string_agg(format('NOT threadline_internal.can_be_json(%s)', v.value), ' OR ' ORDER BY number)
             FILTER (WHERE d.described ? 'json'))
      WHEN bool_or(d.described ? 'long') THEN format('pg_column_size(%s) > 16384', row_name) END
    FROM unnest(threadline_internal.compared_columns(audited)) WITH ORDINALITY AS c (name, number)
   CROSS JOIN LATERAL (SELECT audited.definition #> ARRAY['columns', name]) AS d (described)
   CROSS JOIN LATERAL (SELECT format('%s.%I', rtrim(row_name, '.*'), name)) AS v (value)
$function$;
COMMENT ON FUNCTION threadline_internal.may_not_fit(threadline.audited_tables, text) IS
  'SQL condition that the image of a row may be larger than JSON can hold.';

-- Returns SQL for a row as JSON, column by column. A function call takes at most 100 arguments.
CREATE FUNCTION threadline_internal.listed_image(audited threadline.audited_tables, row_name text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(string_agg(format('jsonb_build_object(%s)', p.pairs), ' || ' ORDER BY p.part), $$'{}'::jsonb$$)
    FROM (SELECT (number - 1) / 50 AS part,
                 string_agg(format('%L, %s', name, threadline_internal.column_image(
                   format('%s.%I', rtrim(row_name, '.*'), name), audited.definition -> 'text_columns' ? name)), ', '
                   ORDER BY number) AS pairs
            FROM unnest(threadline_internal.compared_columns(audited)) WITH ORDINALITY AS c (name, number)
           GROUP BY 1) AS p
$function$;
COMMENT ON FUNCTION threadline_internal.listed_image(threadline.audited_tables, text) IS
  'SQL for the image of a row from those columns of the definition that are not excluded.';

-- Returns whether images contain columns as text that to_jsonb would convert with a cast.
CREATE FUNCTION threadline_internal.has_text_columns(audited threadline.audited_tables) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT audited.definition -> 'text_columns' <> '[]'
$function$;
COMMENT ON FUNCTION threadline_internal.has_text_columns(threadline.audited_tables) IS
  'Whether images of a table contain columns as text, whatever casts to json exist.';

-- Returns whether an image contains a column of type json, even inside another type.
CREATE FUNCTION threadline_internal.has_json(audited threadline.audited_tables) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT EXISTS (SELECT FROM unnest(threadline_internal.compared_columns(audited)) AS c (name)
                  WHERE audited.definition #> ARRAY['columns', name] ? 'json')
$function$;
COMMENT ON FUNCTION threadline_internal.has_json(threadline.audited_tables) IS
  'Whether images of a table contain values of type json, which jsonb may not be able to hold.';

CREATE FUNCTION threadline_internal.is_strict(audited threadline.audited_tables) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce((audited.definition ->> 'strict')::boolean, false)
$function$;
COMMENT ON FUNCTION threadline_internal.is_strict(threadline.audited_tables) IS
  'Whether a value that cannot be recorded fails the write, instead of being replaced by its hash.';

-- Requests images that list their columns, which requires that the columns are those of the definition.
CREATE FUNCTION threadline_internal.list_images(audited threadline.audited_tables) RETURNS threadline.audited_tables
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  audited.definition := audited.definition || '{"lists_images": true}';
  RETURN audited;
END
$function$;
COMMENT ON FUNCTION threadline_internal.list_images(threadline.audited_tables) IS
  'A definition whose images are written column by column.';

-- Returns whether capture of a table has to check what must not be recorded.
CREATE FUNCTION threadline_internal.is_redacted(audited threadline.audited_tables) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT audited.excluded_columns || audited.masked_columns || audited.hashed_columns <> '{}'
$function$;
COMMENT ON FUNCTION threadline_internal.is_redacted(threadline.audited_tables) IS
  'Whether a column of a table is, or was, masked, excluded or hashed.';

-- Returns SQL for an image as the audit log stores it.
CREATE FUNCTION threadline_internal.masked_expression(audited threadline.audited_tables, image text,
  mask text DEFAULT 'mask') RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN audited.masked_columns = '{}' THEN image ELSE format('%s || %s', image, mask) END
$function$;
COMMENT ON FUNCTION threadline_internal.masked_expression(threadline.audited_tables, text, text) IS
  'SQL for an image as it is stored, with the placeholder in place of masked columns.';

-- Returns SQL for the rows of an event with one image per row. OFFSET 0 prevents the planner from computing an image
-- once per reference.
CREATE FUNCTION threadline_internal.image_rows(audited threadline.audited_tables, row_name text, from_clause text,
  excluded text DEFAULT 'excluded', mask text DEFAULT 'mask', relation text DEFAULT 'TG_RELID',
  careful text DEFAULT 'careful', hashed text DEFAULT 'hashed') RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render('SELECT {key} AS key, {masked} AS image
                    FROM (SELECT {image} AS image{from_clause} OFFSET 0) AS i OFFSET 0', jsonb_build_object(
    'key', threadline_internal.key_expression(audited, 'image'),
    'masked', threadline_internal.masked_expression(audited, 'image', mask),
    'image', threadline_internal.image_expression(audited, row_name, excluded, relation, careful, hashed),
    'from_clause', from_clause))
$function$;
COMMENT ON FUNCTION
  threadline_internal.image_rows(threadline.audited_tables, text, text, text, text, text, text, text) IS
  'SQL for the key and image of the rows of an insert, delete or truncation.';

-- The generator reads the definition of a table from the catalog, and writes its capture functions, triggers and
-- reading functions. A later change of the columns can make the generated code stale but never fail a write: a capture
-- function uses column names only as keys of JSON images, or after it has checked that the columns exist (see
-- known_columns.sql).

-- Returns SQL for one column of a key as JSON, given its value as JSON. Equal keys must have the same text: numerics
-- lose trailing zeros, char(n) its padding. The output function identifies the type, because domains share it.
CREATE FUNCTION threadline_internal.key_part(value text, output text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render(CASE output
      WHEN 'numeric_out' THEN
        $$CASE WHEN jsonb_typeof({value}) = 'number' THEN to_jsonb(trim_scale(({value})::numeric)) ELSE {value} END$$
      WHEN 'bpcharout' THEN $$to_jsonb(rtrim({value} #>> '{}', ' '))$$
      ELSE '{value}' END, jsonb_build_object('value', key_part.value))
$function$;
COMMENT ON FUNCTION threadline_internal.key_part(text, text) IS 'SQL for one column of a key, as JSON.';

-- Returns SQL for a whole key as JSON: the value itself, or an array of the columns of a composite key. The columns are
-- given as JSON, by name.
CREATE FUNCTION threadline_internal.key_of_columns(audited threadline.audited_tables, columns jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN (SELECT CASE count(*) WHEN 0 THEN 'NULL::jsonb' WHEN 1 THEN min(part)
              ELSE format('jsonb_build_array(%s)', string_agg(part, ', ' ORDER BY position)) END
            FROM unnest(audited.key_columns) WITH ORDINALITY AS k (name, position)
            JOIN threadline_internal.columns_of(audited.relation) AS c USING (name)
            JOIN pg_type AS t ON t.oid = c.type
           CROSS JOIN LATERAL threadline_internal.key_part(columns ->> name, t.typoutput::text) AS part);
END
$function$;
COMMENT ON FUNCTION threadline_internal.key_of_columns(threadline.audited_tables, jsonb) IS
  'SQL for the key of a row, as JSON, given SQL for each of its columns.';

-- Returns SQL for the key of an image, which survives a rename of its columns. PL/pgSQL caches the plan, which takes
-- longer to create than to run.
CREATE FUNCTION threadline_internal.key_expression(audited threadline.audited_tables, image text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN threadline_internal.key_of_columns(audited, (
    SELECT jsonb_object_agg(k.name, threadline_internal.render(
             'coalesce({image} -> {column}, {image} -> threadline_internal.current_column({table_id}, {column}))',
             jsonb_build_object('image', image, 'column', quote_literal(k.name), 'table_id', audited.id)))
      FROM unnest(audited.key_columns) AS k (name)));
END
$function$;
COMMENT ON FUNCTION threadline_internal.key_expression(threadline.audited_tables, text) IS
  'SQL for the key of an image, as JSON.';

-- Returns SQL for a key in the type of its key column. A key of another type (the column was retyped and the definition
-- not yet refreshed) must not fail the write: it is NULL here and goes to key_text.
CREATE FUNCTION threadline_internal.typed_key(key_type text, key text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render(CASE
      WHEN key_type IN ('bigint', 'integer') THEN $$CASE WHEN jsonb_typeof({key}) = 'number' THEN
        CASE WHEN scale({number}) = 0 AND {number} >= {min} AND {number} <= {max} THEN ({key})::{key_type} END END$$
      WHEN key_type = 'uuid' THEN $$CASE WHEN {key} #>> '{}' ~ {pattern} THEN ({key} #>> '{}')::uuid END$$
      ELSE 'NULL::text' END, jsonb_build_object(
    'key', key, 'key_type', key_type,
    'number', format('(%s)::numeric', key),
    'min', quote_literal(CASE key_type WHEN 'integer' THEN -2147483648 ELSE -9223372036854775808 END),
    'max', quote_literal(CASE key_type WHEN 'integer' THEN 2147483647 ELSE 9223372036854775807 END),
    'pattern', quote_literal('^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$')))
$function$;
COMMENT ON FUNCTION threadline_internal.typed_key(text, text) IS
  'SQL for a key, given as JSON, in the type of its key column.';

-- Where a table has the very columns of its definition, which capture knows before it touches them, its functions name
-- the columns and read them in their own types. That costs a part of what images cost that are compared as JSON.

-- Lists the columns that images have, with SQL for each: its value as images have it, as JSON, and whether two rows
-- differ in it. `row_format` is how a column of a row is written, from its name and its number. The generator asks
-- often, so the definition has all that it takes.
CREATE FUNCTION threadline_internal.known_columns(audited threadline.audited_tables, row_format text,
  old_row_format text DEFAULT NULL)
RETURNS TABLE (number bigint, name text, value text, as_json text, differs text, is_long boolean, is_json boolean,
  is_masked boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT k.number, k.name, CASE WHEN t.is_masked THEN $$'[REDACTED]'::text$$ ELSE i.image END,
         format('to_jsonb(%s)', i.image),
         CASE CASE WHEN t.as_text THEN 'json' ELSE d.described ->> 'compared_as' END
           WHEN 'text' THEN format('%s COLLATE "C" IS DISTINCT FROM %s', r.old_value, r.value)
           WHEN 'jsonb' THEN format($$coalesce((%s)::jsonb, 'null') <> coalesce((%s)::jsonb, 'null')$$, r.old_value,
             r.value)
           WHEN 'json' THEN format($$coalesce(to_jsonb(%s), 'null') <> coalesce(to_jsonb(%s), 'null')$$,
             threadline_internal.column_image(r.old_value, t.as_text),
             threadline_internal.column_image(r.value, t.as_text))
           ELSE format('%s IS DISTINCT FROM %s', r.old_value, r.value) END,
         d.described ? 'long', d.described ? 'json', t.is_masked
    FROM unnest(threadline_internal.compared_columns(audited)) WITH ORDINALITY AS k (name, number)
   CROSS JOIN LATERAL (SELECT audited.definition #> ARRAY['columns', k.name] AS described) AS d
   CROSS JOIN LATERAL (SELECT format(row_format, k.name, k.number) AS value,
                              format(old_row_format, k.name, k.number) AS old_value) AS r
   CROSS JOIN LATERAL (SELECT audited.definition -> 'text_columns' ? k.name AS as_text,
                              k.name = ANY (audited.masked_columns) AS is_masked) AS t
   CROSS JOIN LATERAL threadline_internal.column_image(r.value, t.as_text) AS i (image)
$function$;
COMMENT ON FUNCTION threadline_internal.known_columns(threadline.audited_tables, text, text) IS
  'The columns that images of a table have, with SQL for the value of each and for whether it differs.';

-- Writes the image of a row. PostgreSQL makes it of the whole row where it has all columns in clear; else the columns
-- are named, so that a column that is left out is not touched: it can have any size, and costs nothing. A virtual
-- generated column is NULL in a trigger, and follows from the others. A call takes 100 arguments.
CREATE FUNCTION threadline_internal.known_image(audited threadline.audited_tables, row_name text, row_format text)
RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN row_name IS NOT NULL AND audited.excluded_columns = '{}'
              AND NOT threadline_internal.has_text_columns(audited)
      THEN concat(format('to_jsonb(%s)', row_name), ' - ' || (
             SELECT format('%L::text[]', array_agg(name ORDER BY name COLLATE "C"))
               FROM jsonb_each(audited.definition -> 'columns') AS c (name, value)
              WHERE value ->> 'generated' = 'v' HAVING count(*) > 0), ' || ' || (
             SELECT quote_literal(jsonb_object_agg(k.name, '[REDACTED]')) || '::jsonb'
               FROM threadline_internal.known_columns(audited, row_format) AS k WHERE k.is_masked HAVING count(*) > 0))
      ELSE (SELECT coalesce(string_agg(format('jsonb_build_object(%s)', p.pairs), ' || ' ORDER BY p.part),
                            $$'{}'::jsonb$$)
              FROM (SELECT (k.number - 1) / 50 AS part,
                           string_agg(format('%L, %s', k.name, k.value), ', ' ORDER BY k.number) AS pairs
                      FROM threadline_internal.known_columns(audited, row_format) AS k GROUP BY 1) AS p) END
$function$;
COMMENT ON FUNCTION threadline_internal.known_image(threadline.audited_tables, text, text) IS
  'SQL for the image of a row as it is stored.';

-- Writes what an update changed, with the old values: the text of JSON without its braces, empty where nothing was.
CREATE FUNCTION threadline_internal.known_changes(audited threadline.audited_tables, old_format text, new_format text)
RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format(E'array_to_string(ARRAY[\n      %s]::text[], '','')', string_agg(
           format('CASE WHEN %s THEN %s END', d.differs, CASE WHEN k.is_masked
             THEN quote_literal(format('%s:"[REDACTED]"', to_json(k.name)))
             ELSE format($$%L || coalesce(to_json(%s)::text, 'null')$$, to_json(k.name) || ':', k.value) END),
           E',\n      ' ORDER BY k.number))
    FROM threadline_internal.known_columns(audited, old_format) AS k
    JOIN threadline_internal.known_columns(audited, new_format, old_format) AS d USING (number)
$function$;
COMMENT ON FUNCTION threadline_internal.known_changes(threadline.audited_tables, text, text) IS
  'SQL for the text of the old values of what an update changed.';

-- Writes the condition that a row fits into JSON; NULL where every row does. It asks for the size that a value has
-- where it is stored, which does not read it: even compressed, 16 kB come to no more than JSON can hold. It names the
-- columns.
CREATE FUNCTION threadline_internal.known_to_fit(audited threadline.audited_tables, row_format text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN NOT threadline_internal.is_strict(audited) THEN nullif(concat_ws(' AND ',
           string_agg(format('coalesce(pg_column_size(%s), 0)', format(row_format, k.name, k.number)), ' + '
             ORDER BY k.number) FILTER (WHERE k.is_long) || ' <= 16384',
           string_agg(format('threadline_internal.can_be_json(%s)', format(row_format, k.name, k.number)), ' AND '
             ORDER BY k.number) FILTER (WHERE k.is_json)), '') END
    FROM threadline_internal.known_columns(audited, row_format) AS k
$function$;
COMMENT ON FUNCTION threadline_internal.known_to_fit(threadline.audited_tables, text) IS
  'SQL for the condition that the image of a row is no more than JSON can hold.';

-- Whether the size of a whole row tells as much: then a trigger for each row needs no condition that names columns,
-- which PL/pgSQL can only ask once it knows that they are there.
CREATE FUNCTION threadline_internal.fits_by_size(audited threadline.audited_tables) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT audited.excluded_columns = '{}' AND NOT threadline_internal.has_json(audited)
$function$;
COMMENT ON FUNCTION threadline_internal.fits_by_size(threadline.audited_tables) IS
  'Whether the size of a row tells whether its image is no more than JSON can hold.';

-- Names the column of audit_changes that keys of a table are in.
CREATE FUNCTION threadline_internal.key_column(audited threadline.audited_tables) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'key_' || coalesce(audited.key_type, 'text')
$function$;
COMMENT ON FUNCTION threadline_internal.key_column(threadline.audited_tables) IS
  'The column of audit_changes that keys of a table are in.';

-- Writes the key of a row as the column of audit_changes has it that keys of its table are in.
CREATE FUNCTION threadline_internal.known_key(audited threadline.audited_tables, row_format text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN threadline_internal.key_column(audited) <> 'key_text'
      THEN (SELECT format(row_format, k.name, k.number)
              FROM threadline_internal.known_columns(audited, row_format) AS k WHERE k.name = audited.key_columns[1])
      ELSE format($$(%s) #>> '{}'$$, threadline_internal.key_of_columns(audited, (
        SELECT jsonb_object_agg(k.name, k.as_json)
          FROM threadline_internal.known_columns(audited, row_format) AS k
         WHERE k.name = ANY (audited.key_columns)))) END
$function$;
COMMENT ON FUNCTION threadline_internal.known_key(threadline.audited_tables, text) IS
  'SQL for the key of a row, for the column of audit_changes that keys of its table are in.';

-- Writes the condition that an update may have changed the key of a row: a key that is written otherwise can still be
-- the same.
CREATE FUNCTION threadline_internal.known_key_changed(audited threadline.audited_tables, old_format text,
  new_format text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(string_agg(k.differs, ' OR ' ORDER BY k.number), 'false')
    FROM threadline_internal.known_columns(audited, new_format, old_format) AS k
   WHERE k.name = ANY (audited.key_columns)
$function$;
COMMENT ON FUNCTION threadline_internal.known_key_changed(threadline.audited_tables, text, text) IS
  'SQL for the condition that the key columns of two rows differ.';

-- Capture of one row whose columns are known; see known_columns.sql. Most statements write one row.

-- Writes the condition that a trigger fired for the table that a definition describes, or one of its partitions, with
-- the very columns of the definition, whose values nobody's code makes JSON of. What is computed of the catalog, a
-- session computes once, and again when the table was altered.
CREATE FUNCTION threadline_internal.columns_are_known(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render('NOT ({unknown_table}) AND threadline_internal.present_layout({oid}) = {layout}'
      '{generated}{casts}', jsonb_build_object(
    'unknown_table', threadline_internal.unknown_table(audited),
    'oid', quote_literal(audited.definition ->> 'oid'),
    'layout', quote_literal(threadline_internal.layout_in(audited.definition ->> 'layout',
                                                          audited.definition ->> 'database')),
    'generated', CASE WHEN threadline_internal.is_redacted(audited)
                       AND audited.definition @? '$.columns.*.generated ? (@ == "s")'
      -- What a session computed stays when a partition alone is altered.
      THEN format(CASE WHEN threadline_internal.is_partitioned(audited.relation) THEN $sql$
    AND NOT EXISTS (SELECT FROM threadline_internal.generated_from(%L, %L) AS g WHERE g.generated IS NOT NULL)$sql$
        ELSE $sql$
    AND threadline_internal.generates_nothing_from(%L, %L)$sql$ END, audited.definition ->> 'oid',
        threadline_internal.redacted_names(audited)) END,
    'casts', CASE WHEN NOT (audited.definition ->> 'trusted')::boolean THEN $sql$
    AND NOT EXISTS (SELECT FROM pg_cast AS c WHERE c.oid >= 16384 AND c.casttarget = 'json'::regtype)$sql$ END))
$function$;
COMMENT ON FUNCTION threadline_internal.columns_are_known(threadline.audited_tables) IS
  'SQL for the condition that capture may name the columns of its table.';

-- Writes PL/pgSQL that adds one row to audit_changes. The first change of a transaction makes its row. A later one
-- looks that up in the statement that it needs anyhow: an expression of its own costs more.
CREATE FUNCTION threadline_internal.record_known_row(audited threadline.audited_tables, op text, key text,
  data_after text, changed_from text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$    running := CASE WHEN current_setting('threadline.entered', true) <> ''
        AND current_setting('transaction_isolation') <> 'serializable'
      THEN threadline_internal.transaction_id((date_part('epoch', transaction_timestamp()) * 1000000)::bigint) END;
    IF running IS NULL THEN
      running := threadline_internal.enter_first(written_at, {table_id});
      IF running IS NULL THEN
        running := threadline_internal.enter_transaction(written_at, {table_id});
        known_context := threadline_internal.change_context();
      END IF;
      INSERT INTO threadline.audit_changes ({columns})
      VALUES (running, {values}, known_context);
    ELSE
      INSERT INTO threadline.audit_changes ({columns})
      VALUES (coalesce((SELECT t.id FROM threadline.audit_transactions AS t
                         WHERE t.id = running
                           AND written_at < t.occurred_at + interval '125 ms' * power(2, t.duration_class)
                           AND threadline_internal.tell_table({table_id}) IS NOT NULL),
                       threadline_internal.enter_transaction(written_at, {table_id})), {values},
        threadline_internal.change_context());
    END IF;
$sql$, jsonb_build_object(
    'columns', concat_ws(', ', 'transaction_id, table_id, definition_id, op, captured_at',
      threadline_internal.key_column(audited),
      CASE WHEN data_after IS NOT NULL THEN 'data_after' END,
      CASE WHEN changed_from IS NOT NULL THEN 'changed_from' END, 'context'),
    'values', concat_ws(', ', audited.id, audited.definition_id, quote_literal(op), 'written_at',
      key, data_after, changed_from),
    'table_id', audited.id))
$function$;
COMMENT ON FUNCTION threadline_internal.record_known_row(threadline.audited_tables, text, text, text, text) IS
  'PL/pgSQL that adds one row to audit_changes.';

-- Writes PL/pgSQL that captures the row of a trigger for each row, and returns. It goes on where the row does not fit
-- into JSON, or its key changed: that takes more care.
CREATE FUNCTION threadline_internal.capture_known_row(audited threadline.audited_tables, event text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render(CASE event
      WHEN 'update' THEN $sql$  IF {known} THEN{if_fit}
    known_changes := {changes};
    IF known_changes <> '' AND NOT ({key_changed}) THEN
{record}      RETURN NEW;
    ELSIF known_changes = '' THEN
      RETURN NEW;
    END IF;{end_if_fit}
  END IF;
$sql$
      ELSE $sql$  IF {known} THEN{if_fit}
{record}    RETURN {row};{end_if_fit}
  END IF;
$sql$ END, jsonb_build_object(
    'known', concat_ws(E'\n    AND ', threadline_internal.columns_are_known(audited), CASE WHEN by_size THEN fit END),
    'if_fit', CASE WHEN NOT by_size THEN E'\n    IF ' || fit || ' THEN' END,
    'end_if_fit', CASE WHEN NOT by_size AND fit IS NOT NULL THEN E'\n    END IF;' END,
    'row', CASE event WHEN 'delete' THEN 'OLD' ELSE 'NEW' END,
    'changes', CASE event WHEN 'update' THEN threadline_internal.known_changes(audited, 'OLD.%I', 'NEW.%I') END,
    'key_changed', CASE event WHEN 'update' THEN threadline_internal.known_key_changed(audited, 'OLD.%I', 'NEW.%I') END,
    'record', CASE event
      WHEN 'insert' THEN threadline_internal.record_known_row(audited, event,
        threadline_internal.known_key(audited, 'NEW.%I'),
        threadline_internal.known_image(audited, 'NEW', 'NEW.%I'), NULL)
      WHEN 'delete' THEN threadline_internal.record_known_row(audited, event,
        threadline_internal.known_key(audited, 'OLD.%I'),
        NULL, threadline_internal.known_image(audited, 'OLD', 'OLD.%I'))
      WHEN 'update' THEN threadline_internal.record_known_row(audited, event,
        threadline_internal.known_key(audited, 'NEW.%I'), threadline_internal.known_image(audited, 'NEW', 'NEW.%I'),
        $$concat('{', known_changes, '}')::jsonb$$) END))
    FROM (SELECT threadline_internal.fits_by_size(audited) AS by_size) AS s
   CROSS JOIN LATERAL (SELECT string_agg(CASE WHEN s.by_size THEN format('pg_column_size(%s) <= 16384', r.name)
         ELSE threadline_internal.known_to_fit(audited, r.name || '.%I') END, ' AND ') AS fit
       FROM unnest(CASE event WHEN 'insert' THEN '{NEW}' WHEN 'delete' THEN '{OLD}' ELSE '{OLD, NEW}' END::text[])
         AS r (name)
      WHERE threadline_internal.known_to_fit(audited, r.name || '.%I') IS NOT NULL) AS f
$function$;
COMMENT ON FUNCTION threadline_internal.capture_known_row(threadline.audited_tables, text) IS
  'PL/pgSQL that records the row of a trigger for each row where its columns are known.';

-- Captures the rows of a statement whose columns are known; see known_columns.sql.

-- Returns the statement that adds rows to audit_changes. Its subselects run once per statement, and only if there is a
-- row to record.
CREATE FUNCTION threadline_internal.record_known_rows(audited threadline.audited_tables, op text, key text,
  moved_key text, data_after text, changed_from text, rows text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$INSERT INTO threadline.audit_changes (transaction_id, table_id,
        definition_id, op, captured_at, {key_column}, moved_key, data_after, changed_from, context)
      SELECT (SELECT coalesce(threadline_internal.enter_first(written_at, {table_id}),
                              threadline_internal.enter_transaction(written_at, {table_id}))),
        {table_id}, {definition_id}, {op}, written_at, {key}, {moved_key},
        {data_after},
        {changed_from},
        (SELECT threadline_internal.change_context())
        FROM {rows}$sql$, jsonb_build_object(
    'key_column', threadline_internal.key_column(audited), 'table_id', audited.id,
    'definition_id', audited.definition_id, 'op', op, 'key', key, 'moved_key', moved_key, 'data_after', data_after,
    'changed_from', changed_from, 'rows', rows))
$function$;
COMMENT ON FUNCTION
  threadline_internal.record_known_rows(threadline.audited_tables, text, text, text, text, text, text) IS
  'SQL that adds rows to audit_changes.';

-- Returns SQL for the rows of an update, old and new side by side: the columns of the old version are o1, o2, ...,
-- those of the new version n1, n2, ..., next to its image. See threadline_internal.update_rows for how the versions are
-- paired.
CREATE FUNCTION threadline_internal.known_update_rows(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$(SELECT p.*, {key_changed} AS key_changed,
        {changes} AS changed
        FROM (SELECT *
                FROM (SELECT row_number() OVER () AS place{old_columns} FROM old_rows AS r) AS o
                FULL JOIN (SELECT row_number() OVER () AS place{new_columns},
                                  {image} AS image FROM new_rows AS r) AS n USING (place)) AS p OFFSET 0) AS u
       WHERE u.changed <> ''$sql$, jsonb_build_object(
    'key_changed', threadline_internal.known_key_changed(audited, 'o%2$s', 'n%2$s'),
    'changes', threadline_internal.known_changes(audited, 'o%2$s', 'n%2$s'),
    'old_columns', string_agg(format(', r.%I AS o%s', k.name, k.number), '' ORDER BY k.number),
    'new_columns', string_agg(format(', r.%I AS n%s', k.name, k.number), '' ORDER BY k.number),
    'image', threadline_internal.known_image(audited, 'r.*', 'r.%I')))
    FROM threadline_internal.known_columns(audited, '%I') AS k
$function$;
COMMENT ON FUNCTION threadline_internal.known_update_rows(threadline.audited_tables) IS
  'SQL for the rows that an update changed, old and new side by side.';

-- Returns PL/pgSQL that captures all rows of a statement. If the key of a row changed, the old row ends, and the new
-- one begins after all old keys have ended: in id = id + 1, the new key of one row is the old key of another.
CREATE FUNCTION threadline_internal.capture_all_known_rows(audited threadline.audited_tables, event text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE event
    WHEN 'insert' THEN threadline_internal.record_known_rows(audited, $$'insert'$$,
      threadline_internal.known_key(audited, 'r.%I'), 'NULL',
      threadline_internal.known_image(audited, 'r.*', 'r.%I'), 'NULL', 'new_rows AS r') || ';'
    WHEN 'delete' THEN threadline_internal.record_known_rows(audited, $$'delete'$$,
      threadline_internal.known_key(audited, 'r.%I'), 'NULL', 'NULL',
      threadline_internal.known_image(audited, 'r.*', 'r.%I'), 'old_rows AS r') || ';'
    ELSE threadline_internal.render($sql$WITH recorded AS (
      {record_updates}
      RETURNING op = 'delete' AS ended
    )
    SELECT coalesce(bool_or(ended), false) INTO key_changed FROM recorded;
    IF key_changed THEN
      {record_inserts} AND u.key_changed;
    END IF;$sql$, jsonb_build_object(
      'record_updates', threadline_internal.record_known_rows(audited,
        $$CASE WHEN u.key_changed THEN 'delete' ELSE 'update' END$$,
        threadline_internal.known_key(audited, 'o%2$s'),
        format('CASE WHEN u.key_changed THEN (%s)::text END', threadline_internal.known_key(audited, 'n%2$s')),
        'CASE WHEN NOT u.key_changed THEN u.image END',
        format($$CASE WHEN u.key_changed THEN %s ELSE concat('{', u.changed, '}')::jsonb END$$,
          threadline_internal.known_image(audited, NULL, 'o%2$s')),
        threadline_internal.known_update_rows(audited)),
      'record_inserts', threadline_internal.record_known_rows(audited, $$'insert'$$,
        threadline_internal.known_key(audited, 'n%2$s'),
        format('(%s)::text', threadline_internal.known_key(audited, 'o%2$s')),
        'u.image', 'NULL', threadline_internal.known_update_rows(audited)))) END
$function$;
COMMENT ON FUNCTION threadline_internal.capture_all_known_rows(threadline.audited_tables, text) IS
  'PL/pgSQL that records the rows of a statement.';

-- Returns the condition that all rows of a transition table fit into JSON.
CREATE FUNCTION threadline_internal.all_known_to_fit(audited threadline.audited_tables, rows text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format(' AND NOT EXISTS (SELECT FROM %I AS r WHERE NOT (%s))', rows, f.fit)
    FROM threadline_internal.known_to_fit(audited, 'r.%I') AS f (fit) WHERE f.fit IS NOT NULL
$function$;
COMMENT ON FUNCTION threadline_internal.all_known_to_fit(threadline.audited_tables, text) IS
  'SQL condition that all written rows fit into JSON; NULL if every row does.';

-- Returns PL/pgSQL that captures the rows of a statement, and returns. Most statements write one row, which is recorded
-- in the same way as with capture per row. The code falls through if a row does not fit into JSON, or if the key of the
-- only row changed. A query has at most 1664 columns, and the query for an update contains those of the table twice.
CREATE FUNCTION threadline_internal.capture_known_rows(audited threadline.audited_tables, event text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$  IF {known} THEN
    SELECT {key}, {image}{changes}, EXISTS (SELECT FROM {transition} OFFSET 1)
      INTO known_key, known_image{change_variables}, many FROM {rows} LIMIT 1;
    IF NOT many AND known_image IS NOT NULL{is_update} THEN
{record}      RETURN NULL;
    ELSIF many IS NULL{is_no_update} THEN
      RETURN NULL;
    ELSIF many{fit} THEN
      {record_all}
      RETURN NULL;
    END IF;
  END IF;
$sql$, jsonb_build_object(
    'known', threadline_internal.columns_are_known(audited),
    'key', threadline_internal.known_key(audited, row || '.%I'),
    'image', format(CASE WHEN fit IS NULL THEN '%2$s' ELSE 'CASE WHEN %1$s THEN %2$s END' END, fit,
      threadline_internal.known_image(audited, row || '.*', row || '.%I')),
    'transition', CASE event WHEN 'delete' THEN 'old_rows' ELSE 'new_rows' END,
    'rows', CASE event WHEN 'insert' THEN 'new_rows AS n' WHEN 'delete' THEN 'old_rows AS o'
      ELSE 'old_rows AS o, new_rows AS n' END,
    'changes', CASE event WHEN 'update' THEN format(E',\n      %s, %s',
        format(CASE WHEN fit IS NULL THEN '%2$s' ELSE 'CASE WHEN %1$s THEN %2$s END' END, fit,
          threadline_internal.known_changes(audited, 'o.%I', 'n.%I')),
        threadline_internal.known_key_changed(audited, 'o.%I', 'n.%I')) END,
    'change_variables', CASE event WHEN 'update' THEN ', known_changes, key_changed' END,
    'is_update', CASE event WHEN 'update' THEN $$ AND known_changes <> '' AND NOT key_changed$$ END,
    'is_no_update', CASE event WHEN 'update' THEN $$ OR NOT many AND known_changes = ''$$ END,
    'record', threadline_internal.record_known_row(audited, event, 'known_key',
      CASE WHEN event <> 'delete' THEN 'known_image' END,
      CASE event WHEN 'delete' THEN 'known_image' WHEN 'update' THEN $$concat('{', known_changes, '}')::jsonb$$ END),
    'fit', concat(CASE WHEN event <> 'insert' THEN threadline_internal.all_known_to_fit(audited, 'old_rows') END,
      CASE WHEN event <> 'delete' THEN threadline_internal.all_known_to_fit(audited, 'new_rows') END,
      CASE WHEN cardinality(threadline_internal.compared_columns(audited)) > 800 THEN ' AND false' END),
    'record_all', threadline_internal.capture_all_known_rows(audited, event)))
    FROM (SELECT CASE event WHEN 'delete' THEN 'o' ELSE 'n' END AS row) AS r
   CROSS JOIN LATERAL (SELECT nullif(concat_ws(' AND ',
       CASE WHEN event <> 'insert' THEN threadline_internal.known_to_fit(audited, 'o.%I') END,
       CASE WHEN event <> 'delete' THEN threadline_internal.known_to_fit(audited, 'n.%I') END), '')) AS f (fit)
$function$;
COMMENT ON FUNCTION threadline_internal.capture_known_rows(threadline.audited_tables, text) IS
  'PL/pgSQL that records the rows of a statement whose columns are known.';

-- Returns the statement that adds rows to audit_changes. Its subselects run once per statement, and only if there is a
-- row to record, so that an update that changes nothing leaves no transaction behind.
CREATE FUNCTION threadline_internal.record_rows(audited threadline.audited_tables, op text, key text, moved_key text,
  data_after text, changed_from text, rows text, written_at text DEFAULT 'written_at',
  definition_id text DEFAULT 'definition_id') RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render(
    $sql$INSERT INTO threadline.audit_changes (transaction_id, table_id, definition_id, op, captured_at,
      {key_column}key_text, moved_key, data_after, changed_from, context)
    SELECT (SELECT threadline_internal.enter_transaction({written_at}, {table_id})), {table_id}, {definition_id},
      {op}, {written_at},
      {key_value}CASE WHEN typed_key IS NULL THEN {key} #>> '{}' END,
      ({moved_key}) #>> '{}',
      {data_after},
      {changed_from},
      (SELECT threadline_internal.change_context())
    FROM (SELECT s.*, {typed_key} AS typed_key
            FROM ({rows}) AS s OFFSET 0) AS s$sql$, jsonb_build_object(
    'key_column', CASE WHEN audited.key_type <> 'text' THEN 'key_' || audited.key_type || ', ' END,
    'key_value', CASE WHEN audited.key_type <> 'text' THEN 'typed_key, ' END,
    'typed_key', threadline_internal.typed_key(audited.key_type, record_rows.key),
    'table_id', audited.id, 'definition_id', definition_id, 'op', op, 'written_at', written_at, 'key', key,
    'moved_key', moved_key,
    'data_after', data_after, 'changed_from', changed_from, 'rows', rows))
$function$;
COMMENT ON FUNCTION
  threadline_internal.record_rows(threadline.audited_tables, text, text, text, text, text, text, text, text) IS
  'SQL that adds rows to audit_changes.';

-- Returns SQL for the rows of an update: both keys, both images, and the old values of the changed columns. An update
-- puts the old and the new version of a row at the same position of the two transition tables. Pairing by position
-- instead of by key keeps the identity of a row when its key changes, and requires no key.
-- The join is FULL although both tables contain every position: the plan is cached, and a plan made for a few rows
-- would use a nested loop, which takes hours for the next bulk update. A full join cannot.
CREATE FUNCTION threadline_internal.update_rows(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$SELECT {old_key} AS old_key, {new_key} AS new_key,
             {old_image} AS old_image, {new_image} AS new_image,
             {stored_changed} AS changed
        FROM (SELECT old_image, new_image, {changed} AS changed
                FROM (SELECT old_image, new_image, {candidates} AS candidates
                        FROM (SELECT old_image, new_image
                          FROM ({old_images}) AS o
                          FULL JOIN ({new_images}) AS n USING (place) OFFSET 0) AS p OFFSET 0) AS d OFFSET 0) AS u
       WHERE changed <> '{}' OFFSET 0$sql$, jsonb_build_object(
    'old_key', threadline_internal.key_expression(audited, 'old_image'),
    'new_key', threadline_internal.key_expression(audited, 'new_image'),
    'old_image', threadline_internal.masked_expression(audited, 'old_image'),
    'new_image', threadline_internal.masked_expression(audited, 'new_image'),
    'stored_changed', threadline_internal.masked_values(audited, 'changed'),
    'changed', format($sql$CASE WHEN candidates - %L::text[] = '{}' THEN candidates ELSE %s END$sql$,
      threadline_internal.compared_columns(audited), threadline_internal.changed_values('candidates', 'new_image')),
    'candidates', threadline_internal.possibly_changed(audited, 'old_image', 'new_image'),
    'old_images', format('SELECT row_number() OVER () AS place, %s AS old_image FROM old_rows AS r', image),
    'new_images', format('SELECT row_number() OVER () AS place, %s AS new_image FROM new_rows AS r', image)))
    FROM threadline_internal.image_expression(audited, 'r.*') AS image
$function$;
COMMENT ON FUNCTION threadline_internal.update_rows(threadline.audited_tables) IS
  'SQL for the keys, images and changed values of the rows that an update really changed.';

-- Returns PL/pgSQL that captures the rows of an insert, which are in new_rows.
CREATE FUNCTION threadline_internal.capture_inserted_rows(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.record_rows(audited, quote_literal('insert'), 'key', 'NULL::jsonb', 'image', 'NULL',
    threadline_internal.image_rows(audited, 'r.*', ' FROM new_rows AS r')) || ';'
$function$;
COMMENT ON FUNCTION threadline_internal.capture_inserted_rows(threadline.audited_tables) IS
  'PL/pgSQL that records the rows of an insert.';

-- Returns PL/pgSQL that captures the rows of a delete, which are in old_rows.
CREATE FUNCTION threadline_internal.capture_deleted_rows(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.record_rows(audited, quote_literal('delete'), 'key', 'NULL::jsonb', 'NULL', 'image',
    threadline_internal.image_rows(audited, 'r.*', ' FROM old_rows AS r')) || ';'
$function$;
COMMENT ON FUNCTION threadline_internal.capture_deleted_rows(threadline.audited_tables) IS
  'PL/pgSQL that records the rows of a delete.';

-- Returns PL/pgSQL that captures the rows of an update. If the key of a row changed, the old row ends and another
-- begins.
CREATE FUNCTION threadline_internal.capture_updated_rows(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$WITH recorded AS (
    {record_updates}
    RETURNING op = 'delete' AS ended
  )
  SELECT coalesce(bool_or(ended), false) INTO key_changed FROM recorded;
  IF key_changed THEN
    -- Begun when all old keys are ended: in id = id + 1 the new key of one row is the old key of another.
    {record_inserts} WHERE old_key <> new_key;
  END IF;$sql$, jsonb_build_object(
    'record_updates', threadline_internal.record_rows(audited,
      $sql$CASE WHEN old_key <> new_key THEN 'delete' ELSE 'update' END$sql$, 'old_key',
      'CASE WHEN old_key <> new_key THEN new_key END', 'CASE WHEN old_key <> new_key THEN NULL ELSE new_image END',
      'CASE WHEN old_key <> new_key THEN old_image ELSE changed END', updated_rows),
    'record_inserts', threadline_internal.record_rows(audited, quote_literal('insert'), 'new_key', 'old_key',
      'new_image', 'NULL', updated_rows)))
    FROM threadline_internal.update_rows(audited) AS updated_rows
$function$;
COMMENT ON FUNCTION threadline_internal.capture_updated_rows(threadline.audited_tables) IS
  'PL/pgSQL that records the rows of an update.';

-- Returns PL/pgSQL for the rows that the truncation of a partitioned table removes, as arguments of concat. The
-- truncation also fires the triggers of its partitions, but partitions newer than the last refresh have none: their
-- nearest ancestor reads them.
CREATE FUNCTION threadline_internal.rows_of_partitions(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$TG_RELID::regclass, ' AS r
     WHERE r.tableoid IN (SELECT p.relid FROM pg_partition_tree(', TG_RELID, ') AS p WHERE ', TG_RELID, ' =
             (SELECT t.tgrelid FROM pg_partition_ancestors(p.relid) WITH ORDINALITY AS a (relid, height)
                JOIN pg_trigger AS t ON t.tgrelid = a.relid AND {is_capture} ORDER BY a.height LIMIT 1))'$sql$,
    jsonb_build_object('is_capture', concat('t.tgname = ''''',
      threadline_internal.trigger_prefix(audited), 'truncate''''')))
$function$;
COMMENT ON FUNCTION threadline_internal.rows_of_partitions(threadline.audited_tables) IS
  'PL/pgSQL for the rows that a truncation of a partitioned table removes.';

-- Returns PL/pgSQL that captures the rows of a truncation. It looks up the name of the table at run time, because the
-- table may have been renamed.
CREATE FUNCTION threadline_internal.capture_truncated_rows(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render(
    $sql$  EXECUTE concat('WITH truncated AS (SELECT * FROM ', {truncated}, {statement}) USING {values};$sql$,
    jsonb_build_object(
      'truncated', CASE WHEN threadline_internal.is_partitioned(audited.relation)
        THEN threadline_internal.rows_of_partitions(audited) ELSE $sql$'ONLY ', TG_RELID::regclass$sql$ END,
      'statement', quote_literal(E')\n    ' || threadline_internal.record_rows(audited, quote_literal('truncate'),
        'key', 'NULL::jsonb', 'NULL', 'image',
        threadline_internal.image_rows(audited, 'r.*', ' FROM truncated AS r', '$3', '$4', '$5', '$6', '$7'), '$1',
        '$2')),
      'values', concat('written_at, definition_id, ', CASE WHEN threadline_internal.is_redacted(audited)
        THEN 'excluded, mask' ELSE 'NULL::text[], NULL::jsonb' END, ', TG_RELID, careful',
        CASE WHEN audited.hashed_columns <> '{}' THEN ', hashed' END)))
$function$;
COMMENT ON FUNCTION threadline_internal.capture_truncated_rows(threadline.audited_tables) IS
  'PL/pgSQL that records the rows of a truncation.';

-- Captures one row by its images, whatever the columns of the table.

-- Returns PL/pgSQL that adds one row, whose images are in variables, to audit_changes. Most statements write one row,
-- and an expression in a variable costs a fraction of one in a plan, which is set up for every statement.
CREATE FUNCTION threadline_internal.record_row(audited threadline.audited_tables, op text, key text, moved_key text,
  data_after text, changed_from text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql${set_typed_key}  INSERT INTO threadline.audit_changes ({columns})
  VALUES (threadline_internal.enter_transaction(written_at, {table_id}),
    {table_id}, definition_id, {op}, written_at, {key}, {moved_key}, {data_after}, {changed_from},
    {context})$sql$, jsonb_build_object(
    'set_typed_key', CASE WHEN typed
      THEN format(E'  typed_row_key := %s;\n', threadline_internal.typed_key(audited.key_type, record_row.key)) END,
    'columns', concat('transaction_id, table_id, definition_id, op, captured_at, ',
      CASE WHEN typed THEN 'key_' || audited.key_type || ', ' END,
      'key_text, moved_key, data_after, changed_from, context'),
    'table_id', audited.id, 'op', op,
    'key', format(CASE WHEN typed THEN $sql$typed_row_key, CASE WHEN typed_row_key IS NULL THEN %s #>> '{}' END$sql$
                    ELSE $sql$%s #>> '{}'$sql$ END, record_row.key),
    'moved_key', moved_key, 'data_after', data_after, 'changed_from', changed_from,
    'context', 'threadline_internal.change_context()'))
    FROM (SELECT coalesce(audited.key_type <> 'text', false) AS typed) AS k
$function$;
COMMENT ON FUNCTION threadline_internal.record_row(threadline.audited_tables, text, text, text, text, text) IS
  'PL/pgSQL that adds one row to audit_changes.';

-- Returns PL/pgSQL that captures one inserted row.
CREATE FUNCTION threadline_internal.capture_inserted_row(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$  row_key := {row_key};
{record_insert};$sql$, jsonb_build_object(
    'row_key', threadline_internal.key_expression(audited, 'row_image'),
    'record_insert', threadline_internal.record_row(audited, quote_literal('insert'), 'row_key', 'NULL',
      threadline_internal.masked_expression(audited, 'row_image'), 'NULL')))
$function$;
COMMENT ON FUNCTION threadline_internal.capture_inserted_row(threadline.audited_tables) IS
  'PL/pgSQL that records one inserted row.';

-- Returns PL/pgSQL that captures one deleted row. PostgreSQL moves a row to another partition by a delete and an
-- insert, which are recorded as such.
CREATE FUNCTION threadline_internal.capture_deleted_row(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$  row_key := {row_key};
{record_delete};$sql$, jsonb_build_object(
    'row_key', threadline_internal.key_expression(audited, 'row_image'),
    'record_delete', threadline_internal.record_row(audited, quote_literal('delete'), 'row_key', 'NULL', 'NULL',
      threadline_internal.masked_expression(audited, 'row_image'))))
$function$;
COMMENT ON FUNCTION threadline_internal.capture_deleted_row(threadline.audited_tables) IS
  'PL/pgSQL that records one deleted row.';

-- Returns PL/pgSQL that captures one updated row. An update of the key ends one row and begins another.
CREATE FUNCTION threadline_internal.capture_updated_row(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$  row_changed := {possibly_changed};
  IF row_changed - {compared_columns}::text[] <> '{}' THEN
    row_changed := {changed_values};
  END IF;
  IF row_changed = '{}' THEN
    RETURN NULL;
  END IF;
  row_key := {row_key};
  old_row_key := {old_row_key};
  IF old_row_key <> row_key THEN
  {record_delete};
  {record_insert};
    RETURN NULL;
  END IF;
{record_update};$sql$, jsonb_build_object(
    'possibly_changed', threadline_internal.possibly_changed(audited, 'old_row_image', 'row_image'),
    'compared_columns', quote_literal(threadline_internal.compared_columns(audited)),
    'changed_values', threadline_internal.changed_values('row_changed', 'row_image'),
    'row_key', threadline_internal.key_expression(audited, 'row_image'),
    'old_row_key', threadline_internal.key_expression(audited, 'old_row_image'),
    'record_delete', threadline_internal.record_row(audited, quote_literal('delete'), 'old_row_key',
      $sql$row_key #>> '{}'$sql$, 'NULL', threadline_internal.masked_expression(audited, 'old_row_image')),
    'record_insert', threadline_internal.record_row(audited, quote_literal('insert'), 'row_key',
      $sql$old_row_key #>> '{}'$sql$, image, 'NULL'),
    'record_update', threadline_internal.record_row(audited, quote_literal('update'), 'old_row_key', 'NULL', image,
      threadline_internal.masked_values(audited, 'row_changed'))))
    FROM threadline_internal.masked_expression(audited, 'row_image') AS image
$function$;
COMMENT ON FUNCTION threadline_internal.capture_updated_row(threadline.audited_tables) IS
  'PL/pgSQL that records one updated row.';

-- Returns the prefix of the trigger names of a table. It contains the id of the table, because the triggers of a
-- partitioned table are cloned to its partitions, and a partition can have its own from before it was attached.
CREATE FUNCTION threadline_internal.trigger_prefix(audited threadline.audited_tables) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN concat('!threadline_', CASE WHEN threadline_internal.is_partitioned(audited.relation)
           THEN audited.id || '_' END);
END
$function$;
COMMENT ON FUNCTION threadline_internal.trigger_prefix(threadline.audited_tables) IS
  'The prefix of the names of the capture triggers of a table.';

-- Returns the names of the four triggers of a table.
CREATE FUNCTION threadline_internal.trigger_names(audited threadline.audited_tables) RETURNS text[]
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  prefix text := threadline_internal.trigger_prefix(audited);
BEGIN
  RETURN ARRAY[prefix || 'delete', prefix || 'insert', prefix || 'truncate', prefix || 'update'];
END
$function$;
COMMENT ON FUNCTION threadline_internal.trigger_names(threadline.audited_tables) IS
  'The names of the capture triggers of a table.';

-- Returns the triggers that an audited table must have, on the table itself and on its partitions. "!" sorts before the
-- triggers of the application and of foreign keys ("RI_..."), so that their writes are recorded after the change that
-- caused them. PostgreSQL clones row triggers to partitions (is_clone), but not statement triggers: a statement on a
-- partition itself needs a trigger there. A partition attached since the last refresh has the clones. It gets the other
-- triggers at the next refresh, when the definition contains the partition and they are due (is_due).
CREATE FUNCTION threadline_internal.capture_triggers(audited threadline.audited_tables)
RETURNS TABLE (relation regclass, name text, function text, fires text, type integer, old_table text, new_table text,
  condition text, is_clone boolean, is_due boolean)
LANGUAGE sql STABLE ROWS 8 SET search_path = pg_catalog, pg_temp
AS $function$
  WITH member AS (
    SELECT audited.relation::oid AS oid, true AS is_root, true AS is_known
    UNION ALL
    SELECT p.relid, false, EXISTS (SELECT FROM threadline_internal.partition_tree(p.relid) AS l
                                    WHERE audited.definition -> 'partitions' @> to_jsonb(l.relid::oid::bigint))
      FROM threadline_internal.partition_tree(audited.relation) AS p WHERE p.relid <> audited.relation
  )
  SELECT m.oid::regclass, g.prefix || e.event, format('capture_%s_%s', audited.id, e.event),
         e.fires, e.type + CASE WHEN e.captures_rows AND g.per_row THEN 1 ELSE 0 END,
         CASE WHEN e.captures_rows AND NOT g.per_row AND e.event <> 'insert' THEN 'old_rows' END,
         CASE WHEN e.captures_rows AND NOT g.per_row AND e.event <> 'delete' THEN 'new_rows' END,
         -- By image instead of IS DISTINCT FROM, because json and point have no equality operator.
         CASE WHEN e.event = 'update' AND g.per_row THEN
           CASE WHEN m.is_root THEN '(NOT (old.* *= new.*))'
             ELSE format('(NOT ((old.*)::%1$s *= (new.*)::%1$s))', audited.relation) END END,
         e.captures_rows AND NOT m.is_root, m.is_root OR m.is_known OR e.captures_rows
    FROM member AS m
   CROSS JOIN (SELECT audited.granularity = 'row' AS per_row,
                      threadline_internal.trigger_prefix(audited) AS prefix) AS g
         -- Bits of tgtype: 1 is FOR EACH ROW, 2 BEFORE, 4 INSERT, 8 DELETE, 16 UPDATE, 32 TRUNCATE.
   CROSS JOIN (VALUES ('insert', 'AFTER INSERT', 4, true),
                      ('update', 'AFTER UPDATE', 16, true),
                      ('delete', 'AFTER DELETE', 8, true),
                      ('truncate', 'BEFORE TRUNCATE', 34, false)
                    ) AS e (event, fires, type, captures_rows)
$function$;
COMMENT ON FUNCTION threadline_internal.capture_triggers(threadline.audited_tables) IS
  'The triggers that an audited table must have.';

-- Returns the triggers of a table that are not as they must be. A role that may lock the table must not block readers
-- of this function, and pg_get_triggerdef waits for locks.
CREATE FUNCTION threadline_internal.wrong_triggers(audited threadline.audited_tables)
RETURNS TABLE (relation regclass, name text, is_clone boolean, "check" text, fault text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off SET lock_timeout = '1 s'
AS $function$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT h.relation, h.name, h.is_clone, CASE WHEN t.oid IS NULL THEN 'trigger_missing'
           WHEN t.tgenabled NOT IN ('A', 'O') THEN 'trigger_disabled' ELSE 'trigger_replaced' END,
         CASE WHEN t.oid IS NULL THEN 'is missing' WHEN t.tgenabled = 'R' THEN 'is enabled for replication only'
           WHEN t.tgenabled = 'D' THEN 'is disabled' ELSE 'is another one than Threadline made' END
    FROM threadline_internal.capture_triggers(audited) AS h
    LEFT JOIN pg_trigger AS t ON t.tgrelid = h.relation AND t.tgname = h.name
   WHERE h.is_due
     AND (t.oid IS NULL OR t.tgenabled NOT IN ('A', 'O')
          OR t.tgfoid IS DISTINCT FROM to_regproc(format('threadline_internal.%I', h.function)) OR t.tgtype <> h.type
          OR t.tgoldtable IS DISTINCT FROM h.old_table OR t.tgnewtable IS DISTINCT FROM h.new_table
          OR t.tgattr::text <> '' OR t.tgnargs <> 0 OR t.tgconstraint <> 0
          OR substring(pg_get_triggerdef(t.oid) FROM ' WHEN [(](.*)[)] EXECUTE FUNCTION ')
            IS DISTINCT FROM h.condition);
END
$function$;
COMMENT ON FUNCTION threadline_internal.wrong_triggers(threadline.audited_tables) IS
  'Capture triggers of a table that are missing, disabled, or changed.';

-- Drops the triggers of a table, or only those that it must not have: a detached partition keeps some. A clone on a
-- partition (tgparentid) is dropped with its parent. Only the owner of a table can drop its triggers. If the caller is
-- not the owner, they stay but record nothing, because their functions check the table.
CREATE FUNCTION threadline_internal.drop_triggers(audited threadline.audited_tables, keep_due boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  trigger record;
BEGIN
  FOR trigger IN
    SELECT t.tgname, t.tgrelid::regclass AS relation
      FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
     WHERE t.tgparentid = 0 AND pg_has_role(c.relowner, 'USAGE')
       -- By index, because there may be thousands of audited tables: pg_depend has an index for the triggers of a
       -- function.
       AND t.oid IN (SELECT m.oid FROM pg_trigger AS m
                      WHERE m.tgname = ANY (threadline_internal.trigger_names(audited))
                        AND m.tgrelid IN (SELECT audited.relation::oid
                                          UNION
                                          SELECT p.relid FROM threadline_internal.partition_tree(audited.relation) AS p)
                     UNION
                     SELECT d.objid FROM pg_depend AS d
                      WHERE d.classid = 'pg_trigger'::regclass AND d.refclassid = 'pg_proc'::regclass AND d.refobjid
                        = to_regproc(format('threadline_internal.capture_%s_truncate', audited.id)))
       AND NOT (keep_due AND (t.tgrelid, t.tgname::text) IN (
             SELECT h.relation, h.name FROM threadline_internal.capture_triggers(audited) AS h)) LOOP
    EXECUTE format('DROP TRIGGER %I ON %s', trigger.tgname, trigger.relation);
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.drop_triggers(threadline.audited_tables, boolean) IS
  'Drops the capture triggers of a table and its partitions: all of them, or those that are not due.';

-- Creates the triggers on a table and its partitions. Correct triggers stay, so that a refresh by a role that does not
-- own the table needs only the TRIGGER right. A faulty clone is recreated with its parent. Before version 14,
-- PostgreSQL cannot replace a trigger, and only the owner of the table can drop it.
CREATE FUNCTION threadline_internal.define_triggers(audited threadline.audited_tables) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET lock_timeout = '1 s'
AS $function$
DECLARE
  trigger record;
  can_replace boolean := current_setting('server_version_num')::integer >= 140000;
BEGIN
  PERFORM threadline_internal.drop_triggers(audited, true);
  FOR trigger IN
    SELECT h.*, EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = h.relation AND t.tgname = h.name) AS is_there
      FROM threadline_internal.capture_triggers(audited) AS h
     WHERE NOT h.is_clone AND EXISTS (
             SELECT FROM threadline_internal.wrong_triggers(audited) AS w
              WHERE w.name = h.name AND (w.relation = h.relation OR w.is_clone AND h.relation = audited.relation)) LOOP
    IF trigger.is_there AND NOT can_replace THEN
      EXECUTE format('DROP TRIGGER %I ON %s', trigger.name, trigger.relation);
    END IF;
    EXECUTE threadline_internal.render($sql$
      CREATE {or_replace} TRIGGER {name} {fires} ON {relation} {transition_tables} FOR EACH {level} {condition}
        EXECUTE FUNCTION threadline_internal.{function}()$sql$, jsonb_build_object(
      'or_replace', CASE WHEN can_replace THEN 'OR REPLACE' END,
      'name', quote_ident(trigger.name), 'fires', trigger.fires, 'relation', trigger.relation,
      'transition_tables', 'REFERENCING' || nullif(concat(' OLD TABLE AS ' || trigger.old_table,
        ' NEW TABLE AS ' || trigger.new_table), ''),
      'level', CASE WHEN trigger.type & 1 = 1 THEN 'ROW' ELSE 'STATEMENT' END,
      'condition', 'WHEN (' || trigger.condition || ')', 'function', quote_ident(trigger.function)));
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.define_triggers(threadline.audited_tables) IS
  'Creates the capture triggers on a table and its partitions.';

-- The names of the functions that read a table contain its id: versions_12(NULL::t). They take and return rows of any
-- type, and name the table and its types only in their text. PostgreSQL therefore records no dependency, and nothing
-- prevents the application from dropping or altering the table and its types. Two kinds of functions call them. The
-- functions in schema threadline are for interactive use, and find the table by the type of the row. The functions
-- named after the table are for programs: the planner inlines them, so that conditions can use the indexes.

CREATE FUNCTION threadline_internal.functions_of_table(table_id integer) RETURNS SETOF regprocedure
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT p.oid::regprocedure
    FROM unnest('{as_of,computed_columns,restore,row_as_of,row_key,row_of,versions}'::text[]) AS f (name)
    JOIN pg_proc AS p ON p.proname = format('%s_%s', f.name, table_id)
   WHERE p.pronamespace = 'threadline_internal'::regnamespace
$function$;
COMMENT ON FUNCTION threadline_internal.functions_of_table(integer) IS
  'The generated functions that read the history and the past of a table.';

-- Returns the roles that may read the audit log, except its owner: the roles passed to threadline.grant_reader. A role
-- that was only granted a table by hand gets no further rights.
CREATE FUNCTION threadline_internal.readers() RETURNS SETOF regrole
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT DISTINCT acl.grantee::regrole
    FROM pg_class AS c, aclexplode(c.relacl) AS acl
   WHERE c.oid = 'threadline.audit_changes'::regclass AND acl.privilege_type = 'SELECT'
     AND acl.grantee NOT IN (0, c.relowner)
     AND EXISTS (SELECT FROM pg_namespace AS n, aclexplode(n.nspacl) AS u
                  WHERE n.nspname = 'threadline_internal' AND u.grantee = acl.grantee AND u.privilege_type = 'USAGE');
END
$function$;
COMMENT ON FUNCTION threadline_internal.readers() IS 'The roles that may read the audit log, except its owner.';

-- Creates a function that readers of the audit log may call; nobody else could use it.
CREATE FUNCTION threadline_internal.define_reading_function(signature text, definition text, description text)
RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  reader regrole;
BEGIN
  PERFORM threadline_internal.define_function(signature, definition, description);
  FOR reader IN SELECT r FROM threadline_internal.readers() AS r
                 WHERE NOT threadline_internal.has_execute(signature, r) LOOP
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', signature, reader);
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.define_reading_function(text, text, text) IS
  'Creates or replaces a generated function that readers may call.';

-- Drops a function, unless something depends on it. A function that remains checks what it reads, like any other.
CREATE FUNCTION threadline_internal.drop_reading_function(outdated regprocedure) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  EXECUTE format('DROP FUNCTION %s', outdated);
EXCEPTION WHEN dependent_objects_still_exist THEN
  NULL;
END
$function$;
COMMENT ON FUNCTION threadline_internal.drop_reading_function(regprocedure) IS
  'Drops a generated function that nothing depends on.';

-- Creates the functions that read a table, including unchanged ones: this makes PostgreSQL parse a prepared statement
-- that calls one again, which would otherwise use the old columns of the table.
CREATE FUNCTION threadline_internal.define_reading_functions(audited threadline.audited_tables) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.drop_reading_function(outdated)
    FROM (SELECT threadline_internal.functions_of_table(audited.id)
          EXCEPT
          SELECT to_regprocedure(f.signature) FROM threadline_internal.reading_functions(audited) AS f) AS o (outdated);
  SELECT threadline_internal.define_reading_function(f.signature, f.definition, f.description)
    FROM threadline_internal.reading_functions(audited) AS f;
  SELECT threadline_internal.define_reading_function(f.signature, f.definition, f.description)
    FROM threadline_internal.dispatchers(audited) AS f;
  SELECT threadline_internal.define_name(n.name, audited) FROM threadline_internal.names_of_table(audited) AS n (name)
$function$;
COMMENT ON FUNCTION threadline_internal.define_reading_functions(threadline.audited_tables) IS
  'Creates the functions that read the history and the past of a table.';

CREATE FUNCTION threadline_internal.reading_functions(audited threadline.audited_tables)
RETURNS TABLE (signature text, definition text, description text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT * FROM threadline_internal.history_functions(audited)
  UNION ALL
  SELECT * FROM threadline_internal.past_functions(audited)
  UNION ALL
  SELECT * FROM threadline_internal.past_functions_by_key(audited)
$function$;
COMMENT ON FUNCTION threadline_internal.reading_functions(threadline.audited_tables) IS
  'Definitions of the functions that read the history and the past of a table.';

-- Drops the functions of dropped tables. Dropping a table drops nothing of Threadline.
CREATE FUNCTION threadline_internal.drop_abandoned_functions() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  gone threadline.audited_tables;
BEGIN
  FOR gone IN SELECT t.* FROM threadline.audited_tables AS t
               WHERE NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.relation) LOOP
    CONTINUE WHEN to_regprocedure(format('threadline_internal.as_of_%s(anyelement, timestamptz)', gone.id)) IS NULL;
    PERFORM threadline_internal.drop_reading_function(f)
       FROM threadline_internal.functions_of_table(gone.id) AS f;
    PERFORM threadline_internal.define_name(n, NULL)
       FROM threadline_internal.name_in_functions(gone.table_schema, gone.table_name) AS n;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.drop_abandoned_functions() IS
  'Drops the reading functions of tables that no longer exist.';

-- Returns the audited table of a row. The functions of schema threadline call this function first, so that a table
-- without a past is rejected even if it is empty.
CREATE FUNCTION threadline_internal.audited_of(row_type regtype) RETURNS threadline.audited_tables
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  audited threadline.audited_tables;
  reason text := 'it is not audited';
  advice text := 'Put it under capture with threadline.audit_table, or name it as live in the query.';
BEGIN
  SELECT t.* INTO audited
    FROM pg_class AS c JOIN threadline.audited_tables AS t ON t.relation = c.oid
   WHERE c.oid = (SELECT y.typrelid FROM pg_type AS y WHERE y.oid = row_type)
   -- Decides as threadline_internal.audited_table does, which costs more. There are at most two rows, in a restored
   -- database.
   ORDER BY CASE WHEN count(*) OVER () > 1 THEN threadline_internal.is_table_of(t) END DESC,
            CASE WHEN count(*) OVER () > 1 THEN threadline_internal.is_described(t.relation, t.definition) END DESC
   LIMIT 1;
  IF FOUND THEN
    IF EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                WHERE c.oid = audited.relation AND (n.nspname, c.relname) = (audited.table_schema, audited.table_name))
        THEN
      RETURN audited;
    END IF;
    reason := 'its name or columns are not those that its capture was defined for';
    advice := 'Call threadline.refresh_audited_tables(), best in the migration that changes them.';
  -- NULL::"path" has the built-in type, even if a table has that name.
  ELSIF (SELECT y.typtype FROM pg_type AS y WHERE y.oid = row_type) <> 'c' THEN
    RAISE EXCEPTION 'cannot read % as of the past: this is a type, and no table', row_type
      USING ERRCODE = 'wrong_object_type', CONSTRAINT = 'threadline_past', HINT = 'Write the table with its schema.';
  END IF;
  RAISE EXCEPTION 'cannot read % as of the past: %', row_type, reason
    USING ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_past', TABLE = row_type::text,
      HINT = advice;
END
$function$;
COMMENT ON FUNCTION threadline_internal.audited_of(regtype) IS
  'The audited table of a row; raises an error for any other type.';

-- Rejects rows of a table other than the one that a function reads. Another table may have taken over its name, and the
-- two tables may even have the same columns.
CREATE FUNCTION threadline_internal.check_row_type(table_id integer, row_type regtype) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  audited threadline.audited_tables;
BEGIN
  SELECT t.* INTO audited FROM threadline.audited_tables AS t WHERE t.id = check_row_type.table_id;
  IF EXISTS (SELECT FROM pg_class AS c WHERE c.oid = audited.relation AND c.reltype = row_type) THEN
    RETURN true;
  END IF;
  RAISE EXCEPTION 'cannot read % by a function of %', row_type,
      format('%I.%I', audited.table_schema, audited.table_name)
    USING ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_past', TABLE = row_type::text,
      HINT = 'If the table was renamed or created anew, call threadline.refresh_audited_tables(), or audit it.';
END
$function$;
COMMENT ON FUNCTION threadline_internal.check_row_type(integer, regtype) IS
  'Raises an error unless a row belongs to the table that a function reads.';

-- Returns SQL for that check on the row passed to a function, once per query.
CREATE FUNCTION threadline_internal.check_row_type_condition(audited threadline.audited_tables) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('threadline_internal.check_row_type(%s, pg_catalog.pg_typeof($1))', audited.id)
$function$;
COMMENT ON FUNCTION threadline_internal.check_row_type_condition(threadline.audited_tables) IS
  'SQL that raises an error unless $1 is a row of the table.';

-- Returns whether a key part can be passed as one type where another is required. An untyped literal arrives as text.
CREATE FUNCTION threadline_internal.can_be_given_as(given oid, wanted oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT given IN (wanted, 'text'::regtype)
      OR (SELECT count(*) = 2 FROM pg_type AS y WHERE y.oid IN (given, wanted) AND y.typcategory = 'N')
      OR EXISTS (SELECT FROM pg_cast AS c
                  WHERE c.castsource = given AND c.casttarget = wanted AND c.castcontext = 'i')
$function$;
COMMENT ON FUNCTION threadline_internal.can_be_given_as(oid, oid) IS
  'Whether an argument of one type can stand for an argument of another.';

-- Returns the call of the function that reads the table of a row.
CREATE FUNCTION threadline_internal.call_for_table(function_name text, row_type regtype, given regtype[],
  columns text DEFAULT '*') RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  audited threadline.audited_tables := threadline_internal.audited_of(row_type);
  call text;
BEGIN
  SELECT concat('SELECT ', columns, ' FROM threadline_internal.', p.proname, '($1', a.arguments, ')') INTO call
    FROM pg_proc AS p
   CROSS JOIN LATERAL (
      SELECT coalesce(string_agg(format(', $%s::%s', a.n + 1, a.wanted::regtype), '' ORDER BY a.n), '') AS arguments,
             coalesce(bool_and(threadline_internal.can_be_given_as(a.given, a.wanted)), true) AS fits
        FROM ROWS FROM (unnest(given), unnest((p.proargtypes::oid[])[1:])) WITH ORDINALITY AS a (given, wanted, n))
         AS a
   WHERE p.proname = format('%s_%s', function_name, audited.id)
     AND p.pronamespace = 'threadline_internal'::regnamespace AND p.pronargs = 1 + cardinality(given) AND a.fits
   ORDER BY p.oid LIMIT 1;
  IF function_name IN ('as_of', 'row_of') AND audited.excluded_columns <> '{}' THEN
    RAISE WARNING 'columns of % are excluded from the audit log, and NULL here: %', row_type,
      array_to_string(audited.excluded_columns, ', ');
  END IF;
  IF call IS NULL THEN
    RAISE EXCEPTION 'threadline.% does not take a key of % as (%): the key is (%)', function_name, row_type,
        array_to_string(given, ', '), array_to_string(audited.key_columns, ', ')
      USING ERRCODE = 'undefined_function', CONSTRAINT = 'threadline_past', TABLE = row_type::text,
        HINT = 'Give each column of the primary key in its own type, or as a literal without a type.';
  END IF;
  RETURN call;
END
$function$;
COMMENT ON FUNCTION threadline_internal.call_for_table(text, regtype, regtype[], text) IS
  'SQL that calls the function of a table, which the type of a row identifies.';

-- Returns the types in which users pass a key of the table: those of its columns, integer for any number, and text for
-- an untyped literal. All tables with such a key share the functions.
CREATE FUNCTION threadline_internal.public_signatures(audited threadline.audited_tables) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT s.types FROM threadline_internal.key_signatures(audited) AS s
  UNION
  SELECT unnest(ARRAY[string_agg(k.given, ', ' ORDER BY k.number),
           string_agg(CASE k.category WHEN 'N' THEN 'integer' ELSE 'text' END, ', ' ORDER BY k.number),
           string_agg('text', ', ' ORDER BY k.number)])
    FROM threadline_internal.key_parameters(audited) AS k HAVING count(*) > 0
$function$;
COMMENT ON FUNCTION threadline_internal.public_signatures(threadline.audited_tables) IS
  'The types of the arguments in which users pass a key.';

-- Returns a function that calls the one of the table whose row it receives. It runs with the rights of the caller.
CREATE FUNCTION threadline_internal.dispatcher(function_name text, given text, result text)
RETURNS TABLE (signature text, definition text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('threadline.%I(anyelement, %s)', function_name, given),
         format(E'%s\nLANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS %L', result,
           threadline_internal.render($sql$
BEGIN
  PERFORM set_config('threadline.excluded', 'null', true);
  RETURN QUERY EXECUTE threadline_internal.call_for_table({function_name}, pg_typeof($1), {given}) USING {arguments};
  PERFORM set_config('threadline.excluded', '', true);
END
$sql$, jsonb_build_object(
             'function_name', quote_literal(function_name), 'given', quote_literal(format('{%s}', given)),
             'arguments', (SELECT string_agg('$' || n, ', ' ORDER BY n)
                             FROM generate_series(1, 1 + cardinality(string_to_array(given, ', '))) AS n))))
$function$;
COMMENT ON FUNCTION threadline_internal.dispatcher(text, text, text) IS
  'Definition of a function that calls the one of a table.';

-- Returns threadline.versions for a key. The function that reads the audit log omits the row in its own type. The
-- function that adds it is inlined, so that the row is built only if a query uses it: a recorded value may not be valid
-- for the present type.
CREATE FUNCTION threadline_internal.versions_dispatchers(given text) RETURNS TABLE (signature text, definition text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT f.*
    FROM threadline_internal.versions_columns() AS c (columns),
         threadline_internal.versions_names() AS n (names),
         concat('$1, ', (SELECT string_agg('$' || n + 1, ', ' ORDER BY n)
                           FROM generate_series(1, cardinality(string_to_array(given, ', '))) AS n)) AS a (arguments)
   CROSS JOIN LATERAL (VALUES
     (format('threadline_internal.versions_of(anyelement, %s)', given),
      threadline_internal.render($sql$RETURNS TABLE ({columns})
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS {body}$sql$, jsonb_build_object(
        'columns', c.columns, 'body', quote_literal(threadline_internal.render($sql$
BEGIN
  RETURN QUERY EXECUTE threadline_internal.call_for_table('versions', pg_typeof($1), {given}, {names})
    USING {arguments};
END
$sql$, jsonb_build_object('given', quote_literal(format('{%s}', given)), 'names', quote_literal(n.names),
          'arguments', a.arguments)))))),
     (format('threadline.versions(anyelement, %s)', given),
      format(E'RETURNS TABLE (%s, typed_row anyelement)\nLANGUAGE sql STABLE AS %L', c.columns,
        threadline_internal.render($sql$
SELECT v.*, threadline_internal.row_or_error(CASE WHEN false THEN $1 END, v."row", v.id)
  FROM threadline_internal.versions_of({arguments}) AS v$sql$, jsonb_build_object('arguments', a.arguments)))))
     AS f (signature, definition)
$function$;
COMMENT ON FUNCTION threadline_internal.versions_dispatchers(text) IS
  'Definitions of threadline.versions for a key of these types, and of the function that it calls.';

-- Returns the functions that take a key of the table.
CREATE FUNCTION threadline_internal.dispatchers(audited threadline.audited_tables)
RETURNS TABLE (signature text, definition text, description text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT d.signature, d.definition, 'Every recorded change of one row of an audited table, by its primary key.'
    FROM threadline_internal.public_signatures(audited) AS key (types)
   CROSS JOIN LATERAL threadline_internal.versions_dispatchers(key.types) AS d
  UNION ALL
  SELECT d.signature, d.definition, f.description
    FROM threadline_internal.public_signatures(audited) AS key (types)
   CROSS JOIN LATERAL (VALUES
     ('as_of', 'timestamptz, ', 'RETURNS SETOF anyelement',
      'The row of an audited table with a key, as of a time.'),
     ('row_as_of', 'timestamptz, ', threadline_internal.row_as_of_result(),
      'What one row of an audited table was as of a time: found, deleted, not_yet or before_history.'),
     ('row_of', 'jsonb, bigint, ', 'RETURNS SETOF anyelement',
      'The row of an audited table that threadline.row_as_of found.')) AS f (name, first, result, description)
   CROSS JOIN LATERAL threadline_internal.dispatcher(f.name, f.first || key.types, f.result) AS d
$function$;
COMMENT ON FUNCTION threadline_internal.dispatchers(threadline.audited_tables) IS
  'Definitions of the functions that take a key of an audited table.';

CREATE FUNCTION threadline_internal.versions_of(anyelement) RETURNS TABLE (
  id bigint, transaction_id uuid, op text, captured_at timestamptz, row_key text, moved_key text, changed_fields text[],
  diff jsonb, "row" jsonb, row_before jsonb, data_after jsonb, changed_from jsonb,
  actor_ref jsonb, on_behalf_of jsonb, source text, correlation_id text, request_id text, job_id text, remote_ip inet,
  meta jsonb, occurred_at timestamptz, database_role text, application_name text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN QUERY EXECUTE threadline_internal.call_for_table('versions', pg_typeof($1), '{}',
    threadline_internal.versions_names()) USING $1;
END
$function$;
COMMENT ON FUNCTION threadline_internal.versions_of(anyelement) IS
  'Every recorded change of an audited table, without the row in its own type.';

CREATE FUNCTION threadline.versions(anyelement) RETURNS TABLE (
  id bigint, transaction_id uuid, op text, captured_at timestamptz, row_key text, moved_key text, changed_fields text[],
  diff jsonb, "row" jsonb, row_before jsonb, data_after jsonb, changed_from jsonb,
  actor_ref jsonb, on_behalf_of jsonb, source text, correlation_id text, request_id text, job_id text, remote_ip inet,
  meta jsonb, occurred_at timestamptz, database_role text, application_name text, typed_row anyelement)
LANGUAGE sql STABLE
AS $function$
  SELECT v.*, threadline_internal.row_or_error(CASE WHEN false THEN $1 END, v."row", v.id)
    FROM threadline_internal.versions_of($1) AS v
$function$;
COMMENT ON FUNCTION threadline.versions(anyelement) IS 'Every recorded change of an audited table.';

-- Builds whole rows, whichever columns the query uses. So an excluded column is NULL here, with a warning. The function
-- named after the table builds only the columns that the query uses, and raises an error for an excluded one.
CREATE FUNCTION threadline.as_of(anyelement, timestamptz) RETURNS SETOF anyelement
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  PERFORM set_config('threadline.excluded', 'null', true);
  RETURN QUERY EXECUTE threadline_internal.call_for_table('as_of', pg_typeof($1), '{timestamptz}') USING $1, $2;
  PERFORM set_config('threadline.excluded', '', true);
END
$function$;
COMMENT ON FUNCTION threadline.as_of(anyelement, timestamptz) IS
  'The rows of an audited table as of a time. It computes all of them before it applies a condition.';

CREATE FUNCTION threadline.row_of(anyelement, jsonb, bigint) RETURNS SETOF anyelement
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  PERFORM set_config('threadline.excluded', 'null', true);
  RETURN QUERY EXECUTE threadline_internal.call_for_table('row_of', pg_typeof($1), '{jsonb, bigint}') USING $1, $2, $3;
  PERFORM set_config('threadline.excluded', '', true);
END
$function$;
COMMENT ON FUNCTION threadline.row_of(anyelement, jsonb, bigint) IS
  'The row of an audited table that an image describes, as it is read today.';

CREATE FUNCTION threadline.restore(anyelement, uuid, timestamptz, bigint, bigint)
RETURNS TABLE (op text, skipped_columns text[])
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN QUERY EXECUTE threadline_internal.call_for_table('restore', pg_typeof($1),
    '{uuid, timestamptz, bigint, bigint}') USING $1, $2, $3, $4, $5;
END
$function$;
COMMENT ON FUNCTION threadline.restore(anyelement, uuid, timestamptz, bigint, bigint) IS
  'Restores a row of an audited table to its state after a change, unless later changes would be lost.';

-- Rejects a table without a past in the query of a program. The name is resolved as in the query.
CREATE FUNCTION threadline_internal.is_audited_name(name text) RETURNS boolean
LANGUAGE sql STABLE
AS $function$
  -- If the table does not exist, the query itself raises the error.
  SELECT pg_catalog.to_regclass(name) IS NULL
      OR (threadline_internal.audited_of(pg_catalog.to_regtype(name))).id IS NOT NULL
$function$;
COMMENT ON FUNCTION threadline_internal.is_audited_name(text) IS
  'Raises an error unless a name is the name of an audited table.';

-- PostgreSQL converts an array literal while it parses a query, and checks the CHECK of the elements then. So
-- '{users}'::threadline_internal.audited_name[] reports that a table is not audited before the query could report only
-- that no function with its name exists.
CREATE DOMAIN threadline_internal.audited_name AS text CHECK (threadline_internal.is_audited_name(VALUE));
COMMENT ON DOMAIN threadline_internal.audited_name IS 'The name of an audited table.';

-- Keys that a user or program passes as text, in any spelling that the types of the key accept. No user code runs:
-- built-in types convert the values, and the catalog describes enums, domains and citext.

-- Parses a key into JSON, with one part for each column of the primary key, without converting the parts yet; NULL if
-- it does not have the form of a key.
CREATE FUNCTION threadline_internal.key_parts(row_key text, columns integer, type oid, typmod integer) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  base record := threadline_internal.base_type(type, typmod);
  parsed jsonb;
BEGIN
  IF columns > 1 OR base.type = 'jsonb'::regtype OR base.category = 'A' THEN
    BEGIN
      parsed := row_key::jsonb;
    EXCEPTION WHEN data_exception OR statement_too_complex THEN
      NULL;
    END;
  END IF;
  IF columns > 1 THEN
    -- Objects and scalar values have no length.
    RETURN CASE WHEN jsonb_typeof(parsed) = 'array' THEN
      CASE WHEN jsonb_array_length(parsed) = columns THEN parsed END END;
  ELSIF base.type = 'jsonb'::regtype THEN
    RETURN jsonb_build_array(parsed) - CASE WHEN parsed IS NULL THEN 0 ELSE 1 END;
  END IF;
  -- An array can be passed as JSON, as in the audit log, or in SQL syntax.
  RETURN jsonb_build_array(CASE WHEN jsonb_typeof(parsed) = 'array' THEN parsed ELSE to_jsonb(row_key) END);
END
$function$;
COMMENT ON FUNCTION threadline_internal.key_parts(text, integer, oid, integer) IS
  'The columns of a key passed as text, as a JSON array; NULL or empty if the text does not have that form.';

-- Converts a key as the types of the primary key do: `image` has each column, and `key` is the key as audit_changes
-- stores it. Otherwise `reason` says why it is not a key. `is_opaque` says that only code of a type of the key could
-- decide.
CREATE FUNCTION threadline_internal.read_key(audited threadline.audited_tables, row_key text,
  OUT key text, OUT image jsonb, OUT is_opaque boolean, OUT reason text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS $function$
DECLARE
  found_column record;
  parts jsonb;
  part jsonb;
  hashed jsonb;
BEGIN
  is_opaque := false;
  hashed := CASE WHEN audited.hashed_columns = '{}' THEN '{}'
    ELSE (SELECT r.hashed FROM threadline_internal.redaction(audited) AS r) END;
  -- The present names, which differ from those of the definition between a rename and the refresh.
  audited.key_columns := (SELECT k.columns FROM threadline_internal.primary_key(audited.relation) AS k);
  IF audited.key_columns = '{}' THEN
    reason := 'nothing recorded has it, and there is no primary key';
    RETURN;
  END IF;
  image := '{}';
  FOR found_column IN
    SELECT c.name, c.type, c.typmod, k.number::integer AS number
      FROM unnest(audited.key_columns) WITH ORDINALITY AS k (name, number)
      JOIN threadline_internal.columns_of(audited.relation) AS c USING (name) ORDER BY k.number LOOP
    parts := coalesce(parts, threadline_internal.key_parts(row_key, cardinality(audited.key_columns),
      found_column.type, found_column.typmod), '[]');
    part := parts -> found_column.number - 1;
    reason := CASE WHEN parts = '[]' AND cardinality(audited.key_columns) > 1
        THEN format('it is no JSON array of %s values', cardinality(audited.key_columns))
      WHEN parts = '[]' THEN 'it is no JSON'
      WHEN part = 'null' THEN format('column %I is NOT NULL', found_column.name)
      WHEN threadline_internal.built_in_type(found_column.type, found_column.typmod) IS NOT NULL
        THEN threadline_internal.why_not_value(found_column.type, found_column.typmod, part) END;
    IF reason IS NOT NULL THEN
      image := NULL;
      RETURN;
    ELSIF threadline_internal.built_in_type(found_column.type, found_column.typmod) IS NULL THEN
      is_opaque := true;
    ELSE
      part := threadline_internal.built_in_value(found_column.type, found_column.typmod, part);
    END IF;
    image := image || jsonb_build_object(found_column.name, part);
  END LOOP;
  image := threadline_internal.hashed_image(image, audited.id, hashed, true);
  EXECUTE format('SELECT (%s) #>> ''{}'' FROM (SELECT $1 AS image) AS i',
    threadline_internal.key_expression(audited, 'image')) INTO key USING image;
END
$function$;
COMMENT ON FUNCTION threadline_internal.read_key(threadline.audited_tables, text) IS
  'A key passed as text, as audit_changes stores it, or the reason why it is not a key of the table.';

-- Returns the condition that a column of the key of a change c equals a value. Equal texts are equal in every type.
-- Different texts may also be equal in citext and under collations, and different spellings in types such as interval.
CREATE FUNCTION threadline_internal.equal_key_part(type oid, typmod integer, exact boolean, equals text,
  text_collation text, recorded text, value jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  base record := threadline_internal.base_type(type, typmod);
  converted text := '(SELECT r.value FROM jsonb_to_record(jsonb_build_object(''value'', {json})) AS r (value {type}))';
BEGIN
  RETURN threadline_internal.render(CASE
      WHEN exact THEN '{recorded} = {value}'
      WHEN EXISTS (SELECT FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid
                    WHERE d.classid = 'pg_type'::regclass AND d.objid = base.type AND d.deptype = 'e'
                      AND d.refclassid = 'pg_extension'::regclass AND e.extname = 'citext') THEN
        'lower({recorded} #>> ''{}'' COLLATE "default") = lower({value} #>> ''{}'' COLLATE "default")'
      WHEN base.is_built_in AND equals = 'OPERATOR(pg_catalog.=)' THEN
        '{converted_recorded}{collate} = {converted_value}'
      ELSE '{recorded} = {value}' END, jsonb_build_object(
    'recorded', recorded, 'value', format('%L::jsonb', value), 'collate', ' COLLATE ' || text_collation,
    'converted_recorded', threadline_internal.render(converted, jsonb_build_object('json', recorded,
      'type', threadline_internal.built_in_type(type, typmod))),
    'converted_value', threadline_internal.render(converted, jsonb_build_object('json', format('%L::jsonb', value),
      'type', threadline_internal.built_in_type(type, typmod)))));
END
$function$;
COMMENT ON FUNCTION threadline_internal.equal_key_part(oid, integer, boolean, text, text, text, jsonb) IS
  'SQL for the changes whose key has a value in one column, using only built-in types.';

-- Returns the other spellings of a key in the audit log, if keys with different texts can be equal. Reads every change
-- of the table.
CREATE FUNCTION threadline_internal.equal_keys(audited threadline.audited_tables, image jsonb) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS $function$
DECLARE
  condition text;
  found text[];
BEGIN
  IF audited.key_type <> 'text' THEN
    RETURN '{}';
  END IF;
  SELECT string_agg(threadline_internal.equal_key_part(c.type, c.typmod, k.exact, k.equals, k.text_collation, CASE
             WHEN k.columns > 1 THEN format('(c.key_text::jsonb -> %s)', k.number - 1)
             WHEN b.category = 'A' OR b.type = 'jsonb'::regtype THEN 'c.key_text::jsonb'
             ELSE 'to_jsonb(c.key_text)' END, image -> k.name), ' AND ')
    INTO condition
    FROM (SELECT k.*, count(*) OVER () AS columns, bool_and(k.exact) OVER () AS all_exact
            FROM threadline_internal.recorded_key_columns(audited) AS k) AS k
    JOIN threadline_internal.columns_of(audited.relation) AS c ON c.name = k.name
   CROSS JOIN LATERAL threadline_internal.base_type(c.type, c.typmod) AS b
   WHERE NOT k.all_exact;
  IF condition IS NULL THEN
    RETURN '{}';
  END IF;
  EXECUTE format('SELECT array_agg(DISTINCT c.key_text) FROM threadline.audit_changes AS c
                   WHERE c.table_id = $1 AND c.key_text IS NOT NULL AND %s', condition) INTO found USING audited.id;
  RETURN coalesce(found, '{}');
EXCEPTION WHEN data_exception THEN
  RETURN '{}';  -- a key from before the column got its present type
END
$function$;
COMMENT ON FUNCTION threadline_internal.equal_keys(threadline.audited_tables, jsonb) IS
  'The keys in the audit log that are equal to a key, if equal keys can have different texts.';

-- Most keys have one column, and are spelled as in the audit log. This function recognizes them cheaply, because
-- PL/pgSQL caches its plan. Finding out more takes longer than reading a page.
CREATE FUNCTION threadline_internal.is_plain_key(audited threadline.audited_tables, row_key text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN audited.hashed_columns = '{}' AND EXISTS (
    SELECT FROM pg_index AS i
      JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
      LEFT JOIN pg_collation AS l ON l.oid = a.attcollation
     WHERE i.indrelid = audited.relation AND i.indisprimary AND i.indnkeyatts = 1
       AND CASE a.atttypid
         WHEN 'smallint'::regtype THEN row_key ~ '^(0|-?[1-9][0-9]{0,3})$'
         WHEN 'integer'::regtype THEN row_key ~ '^(0|-?[1-9][0-9]{0,8})$'
         WHEN 'bigint'::regtype THEN row_key ~ '^(0|-?[1-9][0-9]{0,17})$'
         WHEN 'uuid'::regtype THEN row_key ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
         WHEN 'text'::regtype THEN l.collisdeterministic
         ELSE false END);
END
$function$;
COMMENT ON FUNCTION threadline_internal.is_plain_key(threadline.audited_tables, text) IS
  'Whether a text is a key of a table exactly as audit_changes stores it; false if that takes more than a look-up.';

-- Returns the key as audit_changes stores it: as its types convert it, and as it is spelled, if that spelling is
-- recorded. The spelling serves dropped tables, and keys that the present types would not accept.
CREATE FUNCTION threadline_internal.given_keys(audited threadline.audited_tables, row_key text,
  OUT keys text[], OUT reason text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  read record;
  is_recorded boolean;
BEGIN
  keys := '{}';
  IF threadline_internal.is_plain_key(audited, row_key) THEN
    keys := ARRAY[row_key];
    RETURN;
  ELSIF EXISTS (SELECT FROM pg_class AS c WHERE c.oid = audited.relation) THEN
    SELECT * INTO read FROM threadline_internal.read_key(audited, row_key);
  ELSE
    SELECT NULL AS key, NULL::jsonb AS image, false AS is_opaque,
           'nothing recorded has it, and the table is gone' AS reason INTO read;
  END IF;
  reason := read.reason;
  IF read.key IS NOT NULL AND NOT read.is_opaque THEN
    keys := ARRAY[read.key] || threadline_internal.equal_keys(audited, read.image);
  END IF;
  is_recorded := row_key <> ALL (keys) AND EXISTS (
    SELECT FROM threadline_internal.redactable_changes(audited.id, row_key, NULL, NULL, 1));
  IF is_recorded THEN
    keys := keys || row_key;
  ELSIF read.is_opaque THEN
    IF EXISTS (SELECT FROM threadline_internal.redactable_changes(audited.id, read.key, NULL, NULL, 1)) THEN
      keys := keys || read.key;
    ELSE
      reason := 'nothing recorded has it, and only code of its type could tell whether it is written otherwise';
    END IF;
  END IF;
  keys := ARRAY(SELECT DISTINCT k COLLATE "C" FROM unnest(keys) AS k ORDER BY 1);
  IF keys <> '{}' THEN
    reason := NULL;
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.given_keys(threadline.audited_tables, text) IS
  'A key passed as text, as audit_changes stores it: usually one row; none, with the reason, if it is not a key.';

CREATE FUNCTION threadline_internal.raise_no_key(audited threadline.audited_tables, row_key text, reason text)
RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
DECLARE
  columns text[] := ARRAY(
    SELECT format('%I %s', c.name, format_type(c.type, c.typmod))
      FROM threadline_internal.primary_key(audited.relation) AS p
     CROSS JOIN unnest(p.columns) WITH ORDINALITY AS k (name, number)
      JOIN threadline_internal.columns_of(audited.relation) AS c ON c.name = k.name ORDER BY k.number);
BEGIN
  RAISE EXCEPTION '% is no key of %.%: %', quote_literal(left(row_key, 200)), quote_ident(audited.table_schema),
      quote_ident(audited.table_name), reason
    USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_refused', TABLE = audited.relation::text,
      HINT = CASE cardinality(columns)
        WHEN 0 THEN 'Write it as threadline.changes shows it in row_key.'
        WHEN 1 THEN format('The primary key is %s.', columns[1])
        ELSE format('The primary key is (%1$s). Write it as a JSON array of %2$s values.',
          array_to_string(columns, ', '), cardinality(columns)) END;
END
$function$;
COMMENT ON FUNCTION threadline_internal.raise_no_key(threadline.audited_tables, text, text) IS
  'Raises the error for a text that is not a key of a table.';

CREATE FUNCTION threadline_internal.row_filter(table_id integer, row_key text) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT jsonb_build_object('tables', ARRAY[table_id],
    'row_keys', jsonb_build_array(jsonb_build_object('key', row_key, 'tables', ARRAY[table_id])))
$function$;
COMMENT ON FUNCTION threadline_internal.row_filter(integer, text) IS
  'The timeline filter for one row, by its key as audit_changes stores it.';

-- Returns the tables of which a text is a key, with that key. If there are several tables, or all, it need not be a key
-- of each.
CREATE FUNCTION threadline_internal.filtered_rows(filter jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  audited threadline.audited_tables;
  given record;
  failed threadline.audited_tables;
  reason text;
  rows jsonb := '{}';
  key text;
BEGIN
  FOR audited IN SELECT * FROM threadline_internal.filtered_tables(filter - 'row_key') AS a ORDER BY a.id LOOP
    SELECT * INTO given FROM threadline_internal.given_keys(audited, filter ->> 'row_key');
    IF given.keys = '{}' AND reason IS NULL THEN
      failed := audited;
      reason := given.reason;
    END IF;
    FOREACH key IN ARRAY given.keys LOOP
      rows := jsonb_set(rows, ARRAY[key], coalesce(rows -> key, '[]') || to_jsonb(audited.id));
    END LOOP;
  END LOOP;
  IF rows = '{}' AND reason IS NOT NULL THEN
    PERFORM threadline_internal.raise_no_key(failed, filter ->> 'row_key', reason);
  END IF;
  RETURN (filter - 'row_key') || jsonb_build_object(
    'tables', (SELECT coalesce(jsonb_agg(DISTINCT t ORDER BY t), '[]')
                 FROM jsonb_each(rows) AS r CROSS JOIN jsonb_array_elements(r.value) AS t),
    'row_keys', (SELECT coalesce(jsonb_agg(jsonb_build_object('key', r.key, 'tables', r.value) ORDER BY r.key), '[]')
                   FROM jsonb_each(rows) AS r));
END
$function$;
COMMENT ON FUNCTION threadline_internal.filtered_rows(jsonb) IS
  'A timeline filter in which the key is stored for each table as audit_changes stores it.';

-- Reads the audit log of a table: its key, images under the present column names, and threadline.versions.

-- Returns SQL for an image of a change c under the present names of its columns, with converted values unless the
-- recorded ones are requested.
CREATE FUNCTION threadline_internal.renamed_expression(audited threadline.audited_tables, image text,
  converted boolean DEFAULT true, definition_id text DEFAULT 'c.definition_id') RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN audited.older_definitions = '{}' THEN image ELSE threadline_internal.render(
    CASE WHEN converted THEN 'threadline_internal.present_image({image}, {older}::pg_catalog.jsonb,
      {definition_id}::pg_catalog.text)'
    ELSE 'threadline_internal.rename_image({image}, {older}::pg_catalog.jsonb OPERATOR(pg_catalog.->)
      {definition_id}::pg_catalog.text)' END, jsonb_build_object('image', image,
      'older', quote_literal(audited.older_definitions), 'definition_id', definition_id)) END
$function$;
COMMENT ON FUNCTION threadline_internal.renamed_expression(threadline.audited_tables, text, boolean, text) IS
  'SQL for an image under the present names of its columns.';

-- Returns SQL for a whole row of the past: under the present names, with the defaults of columns added since. One read
-- never mixes values recorded before a column was redacted with values recorded after; data_after contains all of them.
CREATE FUNCTION threadline_internal.row_expression(audited threadline.audited_tables, image text,
  converted boolean DEFAULT true) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  defaults jsonb;
  excluded text[] := audited.excluded_columns;
BEGIN
  image := threadline_internal.renamed_expression(audited, image, converted);
  SELECT jsonb_object_agg(name, value -> 'default') INTO defaults
    FROM jsonb_each(audited.definition -> 'columns') AS c (name, value) WHERE value ? 'default';
  IF defaults IS NOT NULL THEN
    image := format('(%L::pg_catalog.jsonb OPERATOR(pg_catalog.||) %s)', defaults, image);
  END IF;
  IF excluded <> '{}' THEN
    image := format('(%s OPERATOR(pg_catalog.-) %L::pg_catalog.text[])', image, excluded);
  END IF;
  IF audited.masked_columns <> '{}' THEN
    image := format('(%s OPERATOR(pg_catalog.||) %L::pg_catalog.jsonb)', image,
      (SELECT jsonb_object_agg(m, '[REDACTED]') FROM unnest(audited.masked_columns) AS m));
  END IF;
  RETURN image;
END
$function$;
COMMENT ON FUNCTION threadline_internal.row_expression(threadline.audited_tables, text, boolean) IS
  'SQL for a whole row of the past from an image, as it is read today.';

-- Returns SQL for what a change c did to each column, under the present names: [{"column": ..., "before": ..., "after":
-- ...}], without a side that does not exist. A changed masked column is included, with the placeholder on both sides.
CREATE FUNCTION threadline_internal.diff_expression(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$(SELECT coalesce(pg_catalog.jsonb_agg({column}
               OPERATOR(pg_catalog.||) {value_before}
               OPERATOR(pg_catalog.||) {value_after}{masked}
               ORDER BY k COLLATE pg_catalog."C"), '[]')
          FROM (SELECT CASE WHEN c.changed_from IS NOT NULL THEN {before} END AS before,
                       CASE WHEN c.data_after IS NOT NULL THEN {after} END AS after) AS i
         CROSS JOIN LATERAL pg_catalog.jsonb_object_keys({changed} OPERATOR(pg_catalog.-) ''::pg_catalog.text) AS k
         WHERE i.before OPERATOR(pg_catalog.?) k OR i.after OPERATOR(pg_catalog.?) k)$sql$, jsonb_build_object(
    'column', $sql$pg_catalog.jsonb_build_object('column', k)$sql$,
    'value_before', threadline_internal.diff_side('before'),
    'value_after', threadline_internal.diff_side('after'),
    'masked', CASE WHEN audited.masked_columns <> '{}' THEN threadline_internal.render($sql$
               OPERATOR(pg_catalog.||) CASE WHEN {is_masked} THEN {masked} ELSE '{}' END$sql$, jsonb_build_object(
        'is_masked', format('k OPERATOR(pg_catalog.=) ANY (%L::pg_catalog.text[])', audited.masked_columns),
        'masked', $sql$pg_catalog.jsonb_build_object('masked', true)$sql$)) END,
    'before', threadline_internal.row_before_expression(audited, false),
    'after', threadline_internal.row_expression(audited, 'c.data_after', false),
    'changed', format(
      '(CASE WHEN i.before IS NOT NULL AND i.after IS NOT NULL THEN %s ELSE coalesce(i.after, i.before) END)',
      threadline_internal.renamed_expression(audited, 'c.changed_from', false))))
$function$;
COMMENT ON FUNCTION threadline_internal.diff_expression(threadline.audited_tables) IS
  'SQL for what a change did, column by column.';

-- Returns SQL for one side of the difference of column k: "before" or "after".
CREATE FUNCTION threadline_internal.diff_side(side text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render(
    $sql$CASE WHEN i.{side} OPERATOR(pg_catalog.?) k THEN {object} ELSE '{}' END$sql$, jsonb_build_object(
      'side', side,
      'object', format('pg_catalog.jsonb_build_object(%L, i.%s OPERATOR(pg_catalog.->) k)', side, side)))
$function$;
COMMENT ON FUNCTION threadline_internal.diff_side(text) IS 'SQL for the value of a column before or after a change.';

-- Returns SQL for the row that a change c found.
CREATE FUNCTION threadline_internal.row_before_expression(audited threadline.audited_tables,
  converted boolean DEFAULT true) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.row_expression(audited,
    'coalesce(c.data_after OPERATOR(pg_catalog.||) c.changed_from, c.changed_from)', converted)
$function$;
COMMENT ON FUNCTION threadline_internal.row_before_expression(threadline.audited_tables, boolean) IS
  'SQL for the whole row before a change, as it is read today.';

-- Returns SQL for one column of a primary key as the audit log stores it, in its own type. `place` is its position in a
-- composite key, and NULL if it is the whole key. Returns NULL for a single jsonb column, which cannot be read back
-- from text.
CREATE FUNCTION threadline_internal.recorded_key_column(audited threadline.audited_tables, name text, type oid,
  typmod integer, place bigint) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN NOT (audited.key_type = 'text' AND b.oid = 'jsonb'::regtype AND place IS NULL) THEN
    threadline_internal.render(CASE
      WHEN audited.key_type <> 'text' AND format_type(y.oid, NULL) = audited.key_type THEN 'c.key_{key_type}'
      WHEN audited.key_type <> 'text' THEN 'c.key_{key_type}::{type}'
      WHEN b.typcategory IN ('A', 'C') THEN
        '(pg_catalog.jsonb_populate_record(NULL::{table}, pg_catalog.jsonb_build_object({name}, {json}))).{column}'
      WHEN b.oid = 'jsonb'::regtype THEN '{json}::{type}'
      WHEN b.oid = 'money'::regtype THEN 'threadline_internal.money_of({text})::{type}'
      WHEN place IS NULL THEN 'c.key_text::{type}'
      ELSE '(c.key_text::pg_catalog.jsonb OPERATOR(pg_catalog.->>) {place})::{type}' END, jsonb_build_object(
    'key_type', audited.key_type, 'table', audited.relation, 'name', quote_literal(name), 'column', quote_ident(name),
    'type', threadline_internal.type_name(y.oid, typmod), 'place', place,
    'text', coalesce('c.key_text::pg_catalog.jsonb OPERATOR(pg_catalog.->>) ' || place, 'c.key_text'),
    'json', coalesce('(c.key_text::pg_catalog.jsonb OPERATOR(pg_catalog.->) ' || place || ')',
      'c.key_text::pg_catalog.jsonb'))) END
    FROM pg_type AS y
    JOIN pg_type AS b ON b.oid = coalesce(nullif(y.typbasetype, 0), y.oid)
   WHERE y.oid = recorded_key_column.type
$function$;
COMMENT ON FUNCTION threadline_internal.recorded_key_column(threadline.audited_tables, text, oid, integer, bigint) IS
  'SQL for one column of a primary key from a change.';

-- Returns the columns of a primary key: as the audit log stores them, in their own type, and with the equality operator
-- of that type, which the index of the key provides. `exact` says that keys are equal exactly if the audit log stores
-- the same text for them: 'Ada' and 'ADA' are equal in citext, but are two texts.
CREATE FUNCTION threadline_internal.recorded_key_columns(audited threadline.audited_tables)
RETURNS TABLE (number bigint, name text, recorded text, equals text, exact boolean, text_collation text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT k.number, a.attname::text,
         threadline_internal.recorded_key_column(audited, a.attname, a.atttypid, a.atttypmod,
           CASE WHEN i.indnkeyatts > 1 THEN k.number - 1 END),
         format('OPERATOR(%I.=)', n.nspname),
         coalesce(l.collisdeterministic, true) AND (b.typtype = 'e' OR b.oid = ANY (
           '{bigint,bit,bool,bpchar,bytea,"char",cidr,date,float4,float8,inet,int,macaddr,money,name,numeric,oid,
             smallint,text,time,timestamp,timestamptz,uuid,varbit,varchar}'::regtype[]::oid[])),
         CASE WHEN l.collisdeterministic THEN 'pg_catalog."C"' ELSE l.oid::regcollation::text END
    FROM pg_index AS i
   CROSS JOIN LATERAL unnest(i.indkey::smallint[], i.indclass::oid[]) WITH ORDINALITY AS k (attnum, opclass, number)
    JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    JOIN pg_type AS y ON y.oid = a.atttypid
    JOIN pg_type AS b ON b.oid = coalesce(nullif(y.typbasetype, 0), y.oid)
    LEFT JOIN pg_collation AS l ON l.oid = a.attcollation
    JOIN pg_opclass AS c ON c.oid = k.opclass
    JOIN pg_amop AS o
      ON o.amopfamily = c.opcfamily AND o.amopstrategy = 3
     AND o.amoplefttype = c.opcintype AND o.amoprighttype = c.opcintype
    JOIN pg_operator AS e ON e.oid = o.amopopr
    JOIN pg_namespace AS n ON n.oid = e.oprnamespace
   WHERE i.indrelid = audited.relation AND i.indisprimary AND k.number <= i.indnkeyatts
   ORDER BY k.number;
END
$function$;
COMMENT ON FUNCTION threadline_internal.recorded_key_columns(threadline.audited_tables) IS
  'SQL for the columns of a primary key from a change, and how they are compared.';

-- Returns SQL for the columns of a passed key as the audit log stores them: hashed, unless a hash was passed.
CREATE FUNCTION threadline_internal.hashed_key(audited threadline.audited_tables, key text[]) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN audited.hashed_columns = '{}' THEN key ELSE (
    SELECT array_agg(threadline_internal.recorded_value(audited, k.name, key[k.number], true) ORDER BY k.number)
      FROM unnest(audited.key_columns) WITH ORDINALITY AS k (name, number)) END
$function$;
COMMENT ON FUNCTION threadline_internal.hashed_key(threadline.audited_tables, text[]) IS
  'SQL for the columns of a passed key, as the audit log stores them.';

-- Returns SQL for the columns of a passed key as the live table stores them. A hash is searched for in all rows, once.
CREATE FUNCTION threadline_internal.unhashed_key(audited threadline.audited_tables, key text[]) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN audited.hashed_columns = '{}' THEN key ELSE (
    SELECT array_agg(CASE WHEN w.hash = w.given THEN w.given ELSE threadline_internal.render(
             $sql$(SELECT coalesce((SELECT x.{column} FROM {live_rows} AS x
                 WHERE {hash_of_given} OPERATOR(pg_catalog.=) {given} AND {hash_of_live} OPERATOR(pg_catalog.=) {given}
                 LIMIT 1), {given}))$sql$, jsonb_build_object(
               'column', quote_ident(w.name), 'live_rows', threadline_internal.live_rows(audited.relation),
               'given', w.given, 'hash_of_given', w.hash,
               'hash_of_live', threadline_internal.recorded_value(audited, w.name, format('x.%I', w.name)))) END
             ORDER BY w.number)
      FROM (SELECT k.name, k.number, key[k.number] AS given,
                   threadline_internal.recorded_value(audited, k.name, key[k.number], true) AS hash
              FROM unnest(audited.key_columns) WITH ORDINALITY AS k (name, number)) AS w) END
$function$;
COMMENT ON FUNCTION threadline_internal.unhashed_key(threadline.audited_tables, text[]) IS
  'SQL for the columns of a passed key, as a live row has them.';

-- Returns the condition that a change c belongs to the row with a key, given as one expression per column. If equal
-- keys can have different texts, it reads every change of the table: slow, but the history of one row stays in one
-- piece.
CREATE FUNCTION threadline_internal.recorded_key(audited threadline.audited_tables, key text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE
      WHEN audited.key_type <> 'text' THEN format('c.key_%s OPERATOR(pg_catalog.=) %s', audited.key_type, h.given[1])
      -- Computed once for all changes; the index contains the start of a key.
      WHEN bool_and(k.exact OR k.recorded IS NULL) THEN threadline_internal.render(
        'c.key_text OPERATOR(pg_catalog.=) {row_key}
   AND pg_catalog.left(c.key_text, 500) OPERATOR(pg_catalog.=) pg_catalog.left({row_key}, 500)', jsonb_build_object(
          -- The collation of the passed key must not conflict with that of key_text.
          'row_key', format('(SELECT threadline_internal.row_key_%s(ROW(%s)) COLLATE pg_catalog."C")', audited.id,
            array_to_string(key, ', '))))
      ELSE string_agg(threadline_internal.render(
        CASE WHEN k.text_collation IS NULL THEN '{recorded} {equals} {key}'
          ELSE '({recorded} COLLATE {collation}) {equals} {key}' END, jsonb_build_object(
          'recorded', k.recorded, 'collation', k.text_collation, 'equals', k.equals, 'key', h.given[k.number])),
        ' AND ') END
    FROM threadline_internal.recorded_key_columns(audited) AS k
   CROSS JOIN threadline_internal.hashed_key(audited, key) AS h (given)
   GROUP BY h.given
$function$;
COMMENT ON FUNCTION threadline_internal.recorded_key(threadline.audited_tables, text[]) IS
  'SQL for the changes of one row, by its key.';

-- Returns the condition that the live row t is the one with a key. A key taken from another column may have another
-- collation.
CREATE FUNCTION threadline_internal.live_key(audited threadline.audited_tables, key text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(format('t.%I %s ', k.name, k.equals) || h.given[k.number]
             || coalesce(concat(' COLLATE ', quote_ident(n.nspname), '.') || quote_ident(l.collname), ''), ' AND ')
      || CASE WHEN bool_or(k.recorded IS NULL) THEN threadline_internal.render(
           ' AND threadline_internal.row_key_{table_id}(ROW({columns})) OPERATOR(pg_catalog.=) '
           'threadline_internal.row_key_{table_id}(ROW({key}))', jsonb_build_object('table_id', audited.id,
             'columns', string_agg(format('t.%I', k.name), ', '), 'key', array_to_string(key, ', '))) ELSE '' END
    FROM threadline_internal.recorded_key_columns(audited) AS k
   CROSS JOIN threadline_internal.unhashed_key(audited, key) AS h (given)
    JOIN pg_attribute AS a ON a.attrelid = audited.relation AND a.attname = k.name
    LEFT JOIN pg_collation AS l ON l.oid = a.attcollation
    LEFT JOIN pg_namespace AS n ON n.oid = l.collnamespace
$function$;
COMMENT ON FUNCTION threadline_internal.live_key(threadline.audited_tables, text[]) IS
  'SQL for the live row with a key.';

-- Returns the columns of a primary key with the built-in types of the function arguments, so that nothing depends on a
-- type of the application. A domain is passed as its base type, and any other type as text; `cast_as` converts it back
-- to the type of the column. integer serves smallint, so that versions(NULL::t, 3) needs no cast.
CREATE FUNCTION threadline_internal.key_parameters(audited threadline.audited_tables)
RETURNS TABLE (number bigint, type text, cast_as text, is_domain boolean, given text, category "char")
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
  SELECT k.number,
         CASE WHEN NOT b.is_built_in THEN 'text' WHEN b.type = 'smallint'::regtype THEN 'integer'
           ELSE format_type(b.type, NULL) END,
         CASE WHEN NOT b.is_built_in THEN '::' || threadline_internal.type_name(c.type, NULL) ELSE '' END,
         b.is_built_in AND b.type <> c.type,
         CASE WHEN b.is_built_in THEN format_type(b.type, NULL) ELSE 'text' END,
         CASE WHEN b.is_built_in THEN b.category ELSE 'S' END
    FROM unnest(audited.key_columns) WITH ORDINALITY AS k (name, number)
    JOIN threadline_internal.columns_of(audited.relation) AS c USING (name)
   CROSS JOIN LATERAL threadline_internal.base_type(c.type, c.typmod) AS b
$function$;
COMMENT ON FUNCTION threadline_internal.key_parameters(threadline.audited_tables) IS
  'The columns of a primary key, with the built-in types of the function arguments.';

-- Returns the signatures with which the functions of a table take its key: the argument types, and the cast of each to
-- the type of its column. A client that refers to a domain by its name passes text, so there is a second signature for
-- it.
CREATE FUNCTION threadline_internal.key_signatures(audited threadline.audited_tables)
RETURNS TABLE (types text, casts text[])
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(k.type, ', ' ORDER BY k.number), array_agg(k.cast_as ORDER BY k.number)
    FROM threadline_internal.key_parameters(audited) AS k HAVING count(*) > 0
  UNION ALL
  SELECT string_agg(CASE WHEN k.is_domain THEN 'text' ELSE k.type END, ', ' ORDER BY k.number),
         array_agg(CASE WHEN k.is_domain THEN '::' || threadline_internal.type_name(k.type::regtype, NULL)
                     ELSE k.cast_as END ORDER BY k.number)
    FROM threadline_internal.key_parameters(audited) AS k HAVING bool_or(k.is_domain AND k.type <> 'text')
$function$;
COMMENT ON FUNCTION threadline_internal.key_signatures(threadline.audited_tables) IS
  'The argument types for a key, with the casts to the types of its columns.';

-- Returns the arguments of a function that takes a key, starting with the given position, in the types of its columns.
CREATE FUNCTION threadline_internal.key_arguments(casts text[], first integer) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT array_agg(concat('$', first + n - 1, c) ORDER BY n) FROM unnest(casts) WITH ORDINALITY AS c (c, n)
$function$;
COMMENT ON FUNCTION threadline_internal.key_arguments(text[], integer) IS 'SQL for the key passed to a function.';

-- Returns the name of a table in the names of functions: with its schema, and without it. A name that is too long for
-- all of them is replaced by a number, which src/sql/past_table.rs computes as well. Two tables with the same name, or
-- number, share its functions.
CREATE FUNCTION threadline_internal.name_in_functions(table_schema text, table_name text) RETURNS SETOF text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  name text;
  bytes bytea;
  number bigint;
BEGIN
  FOREACH name IN ARRAY ARRAY[concat(table_schema, '.', table_name), table_name] LOOP
    bytes := convert_to(name, 'UTF8');
    IF length(bytes) > 53 THEN  -- 63 less 'row_as_of '
      number := 0;
      FOR i IN 0 .. length(bytes) - 1 LOOP
        number := (number * 257 + get_byte(bytes, i)) % 9007199254740881;
      END LOOP;
      name := '#' || number;
    END IF;
    RETURN NEXT name;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.name_in_functions(text, text) IS
  'The name of a table in the names of functions, with its schema and without it.';

-- Returns the present and former names of a table.
CREATE FUNCTION threadline_internal.names_of_table(audited threadline.audited_tables) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.name_in_functions(audited.table_schema, audited.table_name)
  UNION
  SELECT threadline_internal.name_in_functions(t.table_schema, t.table_name)
    FROM threadline.audited_tables AS t WHERE t.id = audited.id
$function$;
COMMENT ON FUNCTION threadline_internal.names_of_table(threadline.audited_tables) IS
  'The present and former names of a table in the names of functions.';

-- Returns the tables with a name. One of them may not be stored yet, or may be stored under its former name.
CREATE FUNCTION threadline_internal.tables_of_name(name text, audited threadline.audited_tables) RETURNS SETOF integer
LANGUAGE sql STABLE ROWS 4 SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT t.id
    FROM (SELECT audited.id, audited.table_schema, audited.table_name WHERE audited.id IS NOT NULL
          UNION ALL
          SELECT t.id, t.table_schema, t.table_name FROM threadline.audited_tables AS t
           WHERE t.id IS DISTINCT FROM audited.id AND EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.relation)) AS t
   -- Computing a number is slow, and only a long name has one.
   WHERE (tables_of_name.name IN (t.table_name, concat(t.table_schema, '.', t.table_name))
          OR starts_with(tables_of_name.name, '#'))
     AND tables_of_name.name IN (SELECT threadline_internal.name_in_functions(t.table_schema, t.table_name))
$function$;
COMMENT ON FUNCTION threadline_internal.tables_of_name(text, threadline.audited_tables) IS
  'The audited tables that have a name in the names of functions.';

-- Returns the functions of a name. They call those of the table with that name. If several tables have it, the type of
-- the row decides, and conditions cannot use the indexes.
CREATE FUNCTION threadline_internal.functions_of_name(name text, audited threadline.audited_tables)
RETURNS TABLE (signature text, definition text, description text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
  WITH tables AS (
    SELECT t.id, count(*) OVER () > 1 AS is_shared FROM threadline_internal.tables_of_name(name, audited) AS t (id)
  ), called AS (
    -- Thousands of tables may have a name, one in each schema, but there are few kinds of keys.
    SELECT DISTINCT ON (f.name, p.proargtypes, p.proallargtypes, p.proargnames, p.prorettype, p.proparallel)
           f.name, p.oid, p.pronargs, p.proparallel,
           CASE WHEN t.is_shared THEN format('threadline.%I', f.name)
             ELSE format('threadline_internal.%I', p.proname) END AS function
      FROM tables AS t
     CROSS JOIN unnest('{as_of,row_as_of,row_of,versions}'::text[]) AS f (name)
      JOIN pg_proc AS p
        ON p.proname = format('%s_%s', f.name, t.id) AND p.pronamespace = 'threadline_internal'::regnamespace
  )
  SELECT DISTINCT
         format('threadline_internal.%I(%s)', concat(c.name, ' ', functions_of_name.name),
           pg_get_function_identity_arguments(c.oid)),
         format(E'RETURNS %s\nLANGUAGE sql STABLE %s AS %L', pg_get_function_result(c.oid),
           CASE c.proparallel WHEN 's' THEN 'PARALLEL SAFE' END,
           format('SELECT * FROM %s(%s)', c.function,
             (SELECT string_agg('$' || n, ', ' ORDER BY n) FROM generate_series(1, c.pronargs) AS n))),
         format('threadline.%s for %s, inlined.', c.name, functions_of_name.name)
    FROM called AS c
$function$;
COMMENT ON FUNCTION threadline_internal.functions_of_name(text, threadline.audited_tables) IS
  'Definitions of the functions named after a table.';

-- Creates the functions of a name, and drops those that it no longer has.
CREATE FUNCTION threadline_internal.define_name(name text, audited threadline.audited_tables) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  named record;
  kept oid[] := '{}';
BEGIN
  FOR named IN SELECT f.* FROM threadline_internal.functions_of_name(define_name.name, audited) AS f LOOP
    PERFORM threadline_internal.define_reading_function(named.signature, named.definition, named.description);
    kept := kept || to_regprocedure(named.signature)::oid;
  END LOOP;
  PERFORM threadline_internal.drop_reading_function(p.oid)
     FROM unnest('{as_of,row_as_of,row_of,versions}'::text[]) AS f (name)
     JOIN pg_proc AS p ON p.proname = concat(f.name, ' ', define_name.name)
    WHERE p.pronamespace = 'threadline_internal'::regnamespace AND p.oid <> ALL (kept);
END
$function$;
COMMENT ON FUNCTION threadline_internal.define_name(text, threadline.audited_tables) IS
  'Updates the functions named after a table to match the tables with that name.';

-- Writes the function that gives a key, a row of its columns, as audit_changes.key_text holds it. Keys of another kind
-- need none.
CREATE FUNCTION threadline_internal.row_key_function(audited threadline.audited_tables)
RETURNS TABLE (signature text, definition text, description text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('threadline_internal.row_key_%s(anyelement)', audited.id),
         format('RETURNS text LANGUAGE plpgsql STABLE PARALLEL SAFE %s AS %L',
           threadline_internal.settings_clause(threadline_internal.canonical_settings()),
           threadline_internal.render($sql$
BEGIN
  RETURN (SELECT ({key}) #>> '{}' FROM (SELECT {image} AS image FROM to_jsonb($1) AS k) AS i);
END
$sql$,
             jsonb_build_object('image', format(CASE WHEN audited.hashed_columns = '{}' THEN 'jsonb_build_object(%s)'
                 ELSE 'threadline_internal.hashed_image(jsonb_build_object(%s), %s, %L, true)' END, v.list, audited.id,
                 threadline_internal.hash_kinds(audited.relation, audited.hashed_columns)),
               'key', threadline_internal.key_expression(audited, 'image')))),
         format('A key of %s as audit_changes.key_text holds it.', audited.relation)
    FROM (SELECT string_agg(format('%L, k -> %L', name, 'f' || position), ', ' ORDER BY position)
            FROM unnest(audited.key_columns) WITH ORDINALITY AS k (name, position)) AS v (list)
   WHERE audited.key_type = 'text'
$function$;
COMMENT ON FUNCTION threadline_internal.row_key_function(threadline.audited_tables) IS
  'Definition of the function that gives a key of a table as text.';

-- What threadline.versions gives, but for the row in its own type.
CREATE FUNCTION threadline_internal.versions_columns() RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'id bigint, transaction_id uuid, op text, captured_at timestamptz, row_key text, moved_key text, '
    'changed_fields text[], diff jsonb, "row" jsonb, row_before jsonb, data_after jsonb, changed_from jsonb, '
    'actor_ref jsonb, on_behalf_of jsonb, source text, correlation_id text, request_id text, job_id text, '
    'remote_ip inet, meta jsonb, occurred_at timestamptz, database_role text, application_name text'
$function$;
COMMENT ON FUNCTION threadline_internal.versions_columns() IS
  'SQL for the columns of threadline.versions but typed_row, with their types.';

-- Lists their names alone.
CREATE FUNCTION threadline_internal.versions_names() RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(split_part(c.name, ' ', 1), ', ' ORDER BY c.place)
    FROM unnest(string_to_array(threadline_internal.versions_columns(), ', ')) WITH ORDINALITY AS c (name, place)
$function$;
COMMENT ON FUNCTION threadline_internal.versions_names() IS 'The names of the columns of threadline.versions.';

-- Writes a function that gives the changes of a table which meet a condition: versions_N(NULL::t) for all of them, and
-- versions_N(NULL::t, key...) for those of one row. It is plain SQL without SECURITY DEFINER or SET, so that the
-- planner inlines it and conditions reach the indexes. So a reader needs SELECT on the audit log, and every name and
-- operator has its schema.
CREATE FUNCTION threadline_internal.versions_definition(audited threadline.audited_tables, condition text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format(E'RETURNS TABLE (%s, typed_row anyelement)\nLANGUAGE sql STABLE PARALLEL SAFE AS %L',
    threadline_internal.versions_columns(),
    threadline_internal.render($sql$
SELECT c.id, c.transaction_id, c.op, c.captured_at,
       coalesce(c.key_integer::pg_catalog.text, c.key_bigint::pg_catalog.text, c.key_uuid::pg_catalog.text, c.key_text),
       c.moved_key,
       ARRAY(SELECT pg_catalog.jsonb_object_keys(coalesce(c.changed_from, c.data_after)
         OPERATOR(pg_catalog.-) ''::pg_catalog.text)),
       {diff},
       {row},
       CASE WHEN c.changed_from IS NOT NULL THEN {row_before} END,
       c.data_after, c.changed_from,
       CASE WHEN c.context IS NULL THEN t.actor_ref ELSE c.context OPERATOR(pg_catalog.->) 'actor_ref' END,
       CASE WHEN c.context IS NULL THEN t.on_behalf_of ELSE c.context OPERATOR(pg_catalog.->) 'on_behalf_of' END,
       CASE WHEN c.context IS NULL THEN t.source ELSE c.context OPERATOR(pg_catalog.->>) 'source' END,
       CASE WHEN c.context IS NULL THEN t.correlation_id ELSE c.context OPERATOR(pg_catalog.->>) 'correlation_id' END,
       CASE WHEN c.context IS NULL THEN t.request_id ELSE c.context OPERATOR(pg_catalog.->>) 'request_id' END,
       CASE WHEN c.context IS NULL THEN t.job_id ELSE c.context OPERATOR(pg_catalog.->>) 'job_id' END,
       CASE WHEN c.context IS NULL THEN t.remote_ip
            ELSE (c.context OPERATOR(pg_catalog.->>) 'remote_ip')::pg_catalog.inet END,
       CASE WHEN c.context IS NULL THEN t.meta ELSE c.context OPERATOR(pg_catalog.->) 'meta' END,
       t.occurred_at, t.database_role, t.application_name,
       {typed_row}
  FROM threadline.audit_changes AS c
  LEFT JOIN threadline.audit_transactions AS t ON t.id OPERATOR(pg_catalog.=) c.transaction_id
 WHERE {check_row_type} AND c.table_id OPERATOR(pg_catalog.=) {table_id}{condition}$sql$, jsonb_build_object(
      'table', audited.relation, 'table_id', audited.id, 'condition', ' AND ' || condition,
      'check_row_type', threadline_internal.check_row_type_condition(audited),
      'row', whole_row,
      'typed_row', format(CASE WHEN threadline_internal.reads_with_care(audited)
            OR threadline_internal.may_have_json_nulls(audited.relation)
          THEN 'threadline_internal.row_or_error(NULL::%s, %s, c.id)'
          ELSE 'pg_catalog.jsonb_populate_record(NULL::%s, %s)' END, audited.relation, whole_row),
      'row_before', threadline_internal.row_before_expression(audited),
      'diff', threadline_internal.diff_expression(audited))))
    FROM threadline_internal.row_expression(audited, 'coalesce(c.data_after, c.changed_from)') AS whole_row
$function$;
COMMENT ON FUNCTION threadline_internal.versions_definition(threadline.audited_tables, text) IS
  'Definition of the function that gives those changes of a table that meet a condition, or all.';

-- Lists the functions that read the history of a table.
CREATE FUNCTION threadline_internal.history_functions(audited threadline.audited_tables)
RETURNS TABLE (signature text, definition text, description text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT * FROM threadline_internal.row_key_function(audited)
  UNION ALL
  SELECT format('threadline_internal.versions_%s(anyelement)', audited.id),
         threadline_internal.versions_definition(audited, NULL),
         format('Every recorded change of %s.', audited.relation)
  UNION ALL
  SELECT format('threadline_internal.versions_%s(anyelement, %s)', audited.id, key.types),
         threadline_internal.versions_definition(audited,
           threadline_internal.recorded_key(audited, threadline_internal.key_arguments(key.casts, 2))),
         format('Every recorded change of one row of %s, by its primary key.', audited.relation)
    FROM threadline_internal.key_signatures(audited) AS key
$function$;
COMMENT ON FUNCTION threadline_internal.history_functions(threadline.audited_tables) IS
  'Definitions of the functions that give the changes of a table.';

-- The select list of a row of the past, from the live row t or an image, with one function for each kind of column.
-- Masked, excluded and hashed columns are the same in both, so that one read never mixes real and redacted values. A
-- NOT NULL column is never NULL: Diesel may read a row with an unexpected NULL as no row. No column becomes NULL, or
-- any other value, because its value was not recorded. An error is raised only if a query reads the column.

-- Returns SQL for the error in place of a column without a value. `row_id` makes it depend on the row.
CREATE FUNCTION threadline_internal.no_value(type text, message text, row_id text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('threadline_internal.raise_no_value(NULL::%s, %L, %s)', type, message, row_id)
$function$;
COMMENT ON FUNCTION threadline_internal.no_value(text, text, text) IS
  'SQL for the error in place of a value that the past does not have.';

-- Returns SQL for an excluded column. No value, NULL or other, could stand for it without being mistaken for the
-- original value.
CREATE FUNCTION threadline_internal.excluded_column(relation regclass, name text, type text, row_id text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('threadline_internal.excluded_value(NULL::%s, %L, %s)', type, format(
    'column %I of %s has no value in the past: it is excluded from the audit log', name, relation), row_id)
$function$;
COMMENT ON FUNCTION threadline_internal.excluded_column(regclass, text, text, text) IS
  'SQL for an excluded column of a row of the past.';

-- Returns SQL for a virtual generated column. Images do not contain it: threadline_internal.row_of_image computes it,
-- unless its inputs may be redacted.
CREATE FUNCTION threadline_internal.virtual_column(audited threadline.audited_tables, name text, type text,
  live boolean, row_id text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE
      WHEN threadline_internal.is_redacted(audited) THEN
        threadline_internal.no_value(type, replace(format(
          'column %I of %s has no value in the past: it is computed, and may be so from redacted columns',
          name, audited.relation), '%', '%%'), row_id)
      WHEN live THEN format('t.%I', name)
      ELSE 'NULL::' || type END
$function$;
COMMENT ON FUNCTION threadline_internal.virtual_column(threadline.audited_tables, text, text, boolean, text) IS
  'SQL for a virtual generated column of a row of the past.';

-- Returns SQL for any other column. If an image could not be converted to a whole row, each column is converted by
-- itself, and only a column that cannot be converted raises an error.
CREATE FUNCTION threadline_internal.stored_column(audited threadline.audited_tables, name text, type text,
  not_null boolean, live boolean) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render(CASE WHEN live THEN '{live}' WHEN not_null
        THEN 'coalesce({value}, CASE WHEN p.image IS NOT NULL THEN {no_value} END)'
      ELSE '{value}' END, jsonb_build_object(
    'live', threadline_internal.recorded_value(audited, name, format('t.%I', name)),
    'value', threadline_internal.render($sql$CASE WHEN p.record IS DISTINCT FROM NULL THEN {of_record}
         ELSE {of_column} END$sql$, jsonb_build_object(
      'of_record', CASE WHEN is_json THEN of_json ELSE format('(p.record).%I', name) END,
      'of_column', CASE WHEN is_json THEN format('coalesce(%s, %s)', of_column, of_json) ELSE of_column END)),
    'no_value', threadline_internal.no_value(type, 'change %s of ' || replace(
      format('%s recorded no value for column %I, which is NOT NULL now', audited.relation, name), '%', '%%'), '$3')))
    FROM (SELECT not_null AND type IN ('pg_catalog.json', 'pg_catalog.jsonb') AS is_json,  -- a JSON null is a value
                 format('(p.image OPERATOR(pg_catalog.->) %L)::%s', name, type) AS of_json,
                 threadline_internal.value_expression(audited.relation, name, type, 'p.image', '$3')
                   AS of_column) AS v
$function$;
COMMENT ON FUNCTION
  threadline_internal.stored_column(threadline.audited_tables, text, text, boolean, boolean) IS
  'SQL for a column of a row of the past that images contain.';

-- Returns the columns whose conversion by a migration is unknown, each with the time of the last such conversion.
CREATE FUNCTION threadline_internal.column_gaps(audited threadline.audited_tables)
RETURNS TABLE (number smallint, converted_at timestamptz, message text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
  SELECT DISTINCT ON (c.column_number) c.column_number, c.converted_at,
         format('column %I of %s has no value before %s: %s', a.name, audited.relation, c.converted_at, c.gap)
    FROM threadline.column_conversions AS c
    JOIN threadline_internal.columns_of(audited.relation) AS a ON a.number = c.column_number
   WHERE c.table_id = audited.id AND c.gap IS NOT NULL AND c.definition_id > audited.first_definition_id
     AND a.name <> ALL (audited.masked_columns || audited.excluded_columns)
   ORDER BY c.column_number, c.definition_id DESC
$function$;
COMMENT ON FUNCTION threadline_internal.column_gaps(threadline.audited_tables) IS
  'The columns of a table that cannot be read as of a time before a migration, and why.';

-- Returns SQL for a column with a gap: an error for a time before the gap.
CREATE FUNCTION threadline_internal.column_with_gap(value text, type text, converted_at timestamptz, message text,
  row_id text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN converted_at IS NULL THEN value ELSE threadline_internal.render(
    'CASE WHEN {is_known} THEN {value} ELSE {no_value} END', jsonb_build_object(
      'is_known', format('$2 OPERATOR(pg_catalog.>=) %L::pg_catalog.timestamptz', converted_at),
      'value', value,
      'no_value', threadline_internal.no_value(type, replace(message, '%', '%%'), row_id))) END
$function$;
COMMENT ON FUNCTION threadline_internal.column_with_gap(text, text, timestamptz, text, text) IS
  'SQL for a column of a row of the past that may have a gap.';

-- Returns the select list. `has_time` says that $2 is the time; otherwise the time is one at which no column has a gap.
CREATE FUNCTION threadline_internal.past_columns(audited threadline.audited_tables, live boolean,
  has_time boolean DEFAULT true) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
  SELECT string_agg(format('%s AS %I', CASE
      WHEN c.name = ANY (audited.masked_columns) THEN format('%L::%s', '[REDACTED]', t.type)
      WHEN c.name = ANY (audited.excluded_columns) THEN
        threadline_internal.excluded_column(audited.relation, c.name, t.type, row_id)
      WHEN c.generated = 'v' THEN threadline_internal.virtual_column(audited, c.name, t.type, live, row_id)
      ELSE threadline_internal.column_with_gap(
        threadline_internal.stored_column(audited, c.name, t.type, c.not_null, live), t.type,
        g.converted_at, g.message, row_id) END, c.name),
    E',\n       ' ORDER BY c.number)
    FROM threadline_internal.columns_of(audited.relation) AS c
   CROSS JOIN LATERAL threadline_internal.type_name(c.type, c.typmod) AS t (type)
    LEFT JOIN threadline_internal.column_gaps(audited) AS g ON g.number = c.number AND live AND has_time
   CROSS JOIN
         (SELECT CASE WHEN live THEN 't.tableoid::pg_catalog.int8' ELSE '$3' END) AS r (row_id)
$function$;
COMMENT ON FUNCTION threadline_internal.past_columns(threadline.audited_tables, boolean, boolean) IS
  'SQL for the columns of a row of the past, from the live row or an image.';

-- Returns the columns for which no row of the past has a value.
CREATE FUNCTION threadline_internal.columns_without_past(audited threadline.audited_tables) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(array_agg(c.name ORDER BY c.number), '{}') FROM threadline_internal.columns_of(audited.relation) AS c
   WHERE c.name = ANY (audited.excluded_columns)
      OR c.generated = 'v' AND threadline_internal.is_redacted(audited)
$function$;
COMMENT ON FUNCTION threadline_internal.columns_without_past(threadline.audited_tables) IS
  'The columns of a table that raise an error if they are read as of the past.';

-- Returns SQL for the columns by which rows are compared, with no value where the past has none.
CREATE FUNCTION threadline_internal.compared_row(audited threadline.audited_tables, row_name text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(CASE WHEN c.name = ANY (w.columns) THEN format('(NULL::%s).%I', audited.relation, c.name)
                      ELSE format('%s.%I', row_name, c.name) END, ', ' ORDER BY c.number)
    FROM threadline_internal.columns_of(audited.relation) AS c,
         threadline_internal.columns_without_past(audited) AS w (columns)
$function$;
COMMENT ON FUNCTION threadline_internal.compared_row(threadline.audited_tables, text) IS
  'SQL for the columns by which rows of a table without a key are compared.';

-- Returns SQL for the columns of a compared row r, as a reader gets them.
CREATE FUNCTION threadline_internal.columns_of_compared(audited threadline.audited_tables, row_id text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
  SELECT string_agg(CASE WHEN c.name = ANY (audited.excluded_columns)
        THEN threadline_internal.excluded_column(audited.relation, c.name, t.type, row_id)
      WHEN c.name = ANY (w.columns) THEN threadline_internal.virtual_column(audited, c.name, t.type, false, row_id)
      ELSE format('r.%I', c.name) END, ', ' ORDER BY c.number)
    FROM threadline_internal.columns_of(audited.relation) AS c,
         threadline_internal.type_name(c.type, c.typmod) AS t (type),
         threadline_internal.columns_without_past(audited) AS w (columns)
$function$;
COMMENT ON FUNCTION threadline_internal.columns_of_compared(threadline.audited_tables, text) IS
  'SQL for the columns of a row of a table without a key.';

-- The functions that return the past of a table, each with its signature, definition and description. Those that the
-- planner must inline are plain SQL, like versions.

-- Returns SQL for the live rows of a table, without those of tables that inherit from it.
CREATE FUNCTION threadline_internal.live_rows(relation regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN threadline_internal.is_partitioned(relation) THEN relation::text ELSE 'ONLY ' || relation END
$function$;
COMMENT ON FUNCTION threadline_internal.live_rows(regclass) IS 'SQL for the live rows of a table in a query.';

-- Returns the condition that a table can be read as of $2.
CREATE FUNCTION threadline_internal.check_past_condition(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('threadline_internal.check_past(%s, %L, $2, pg_catalog.pg_typeof($1))', audited.id,
    threadline_internal.table_shape(audited.relation))
$function$;
COMMENT ON FUNCTION threadline_internal.check_past_condition(threadline.audited_tables) IS
  'SQL that raises an error unless a table can be read as of $2.';

-- Returns the function that computes virtual generated columns. It pins search_path, because the expressions call
-- functions without their schema. Tables without such columns need no such function.
CREATE FUNCTION threadline_internal.computed_columns_function(audited threadline.audited_tables)
RETURNS TABLE (signature text, definition text, description text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('threadline_internal.computed_columns_%s(anyelement)', audited.id),
         format(E'RETURNS SETOF record\nLANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp\nAS %L',
           format('SELECT %s FROM (SELECT ($1).*) AS r',
             string_agg(format('(%s)', pg_get_expr(d.adbin, d.adrelid)), ', ' ORDER BY c.number))),
         format('The virtual generated columns of a row of %s.', audited.relation)
    FROM threadline_internal.columns_of(audited.relation) AS c
    JOIN pg_attrdef AS d ON d.adrelid = audited.relation AND d.adnum = c.number
   WHERE c.generated = 'v' HAVING count(*) > 0
$function$;
COMMENT ON FUNCTION threadline_internal.computed_columns_function(threadline.audited_tables) IS
  'Definition of the function that computes the virtual generated columns of a table, if it has any.';

-- Returns as_of by key if the columns of the key can be read back, and by count otherwise.
CREATE FUNCTION threadline_internal.as_of_body(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN audited.key_type IS NOT NULL
         AND NOT EXISTS (SELECT FROM threadline_internal.recorded_key_columns(audited) AS k WHERE k.recorded IS NULL)
      THEN threadline_internal.as_of_by_key(audited) ELSE threadline_internal.as_of_by_count(audited) END
$function$;
COMMENT ON FUNCTION threadline_internal.as_of_body(threadline.audited_tables) IS
  'SQL for the rows that a table had at a time.';

-- Returns row_of_N(NULL::t, image, change, key...), which gives the row that row_as_of_N found: the live row or an
-- image.
CREATE FUNCTION threadline_internal.row_of_body(audited threadline.audited_tables, key text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render('SELECT {columns}
  FROM {live_rows} AS t
 WHERE $2 IS NULL AND {check_row_type} AND {live_row}
UNION ALL
SELECT r.* FROM threadline_internal.row_of_{table_id}($1, $2, $3) AS r WHERE $2 IS NOT NULL', jsonb_build_object(
    'columns', threadline_internal.past_columns(audited, true, false),
    'live_rows', threadline_internal.live_rows(audited.relation), 'table_id', audited.id,
    'check_row_type', threadline_internal.check_row_type_condition(audited),
    'live_row', threadline_internal.live_key(audited, key)))
$function$;
COMMENT ON FUNCTION threadline_internal.row_of_body(threadline.audited_tables, text[]) IS
  'SQL for the row that row_as_of found.';

-- Returns as_of_N(NULL::t, time, key...), which gives the row of the past with a key, found by the indexes. The indexes
-- of the live table contain no hashes.
CREATE FUNCTION threadline_internal.as_of_key_body(audited threadline.audited_tables, key text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN audited.hashed_columns = '{}'
      THEN format(E'LANGUAGE sql STABLE AS %L', format(
        'SELECT t.* FROM threadline_internal.as_of_%s($1, $2) AS t WHERE %s', audited.id,
        threadline_internal.live_key(audited, key)))
    ELSE format(E'LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS %L', threadline_internal.render($sql$
BEGIN
  PERFORM {check_past};
  RETURN QUERY SELECT r.* FROM threadline_internal.row_as_of_{table_id}($1, $2, {key}) AS a
    CROSS JOIN LATERAL threadline_internal.row_of_{table_id}($1, a.image, a.image_of, {key}) AS r
    WHERE a.state = 'found';
END
$sql$, jsonb_build_object('table_id', audited.id, 'check_past', threadline_internal.check_past_condition(audited),
      'key', (SELECT string_agg('$' || n + 2, ', ' ORDER BY n) FROM generate_subscripts(key, 1) AS n)))) END
$function$;
COMMENT ON FUNCTION threadline_internal.as_of_key_body(threadline.audited_tables, text[]) IS
  'Language and SQL for the row with a key that a table had at a time.';

-- Returns the result type of threadline.row_as_of.
CREATE FUNCTION threadline_internal.row_as_of_result() RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'RETURNS TABLE (state text, since timestamptz, image jsonb, image_of bigint,
  id bigint, transaction_id uuid, op text, captured_at timestamptz, row_key text, moved_key text,
  changed_fields text[], diff jsonb, actor_ref jsonb, on_behalf_of jsonb, source text, correlation_id text,
  request_id text, job_id text, remote_ip inet, meta jsonb, occurred_at timestamptz, database_role text,
  application_name text)'
$function$;
COMMENT ON FUNCTION threadline_internal.row_as_of_result() IS 'SQL for the result of threadline.row_as_of.';

-- Returns the functions that give the past of a table, callees first.
CREATE FUNCTION threadline_internal.past_functions(audited threadline.audited_tables)
RETURNS TABLE (signature text, definition text, description text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT * FROM threadline_internal.computed_columns_function(audited)
  UNION ALL
  SELECT format('threadline_internal.row_of_%s(anyelement, jsonb, bigint)', audited.id),
         format(E'RETURNS SETOF anyelement\nLANGUAGE sql STABLE AS %L', threadline_internal.row_of_image(audited)),
         format('The row of %s that an image is of, as it is read today.', audited.relation)
  UNION ALL
  SELECT format('threadline_internal.as_of_%s(anyelement, timestamptz)', audited.id),
         format(E'RETURNS SETOF anyelement\nLANGUAGE sql STABLE AS %L', threadline_internal.as_of_body(audited)),
         format('The rows of %s as of a time.', audited.relation)
$function$;
COMMENT ON FUNCTION threadline_internal.past_functions(threadline.audited_tables) IS
  'Definitions of the functions that return the past of a table.';

-- Returns the functions that take the key of a table, if it has one.
CREATE FUNCTION threadline_internal.past_functions_by_key(audited threadline.audited_tables)
RETURNS TABLE (signature text, definition text, description text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT f.*
    FROM threadline_internal.key_signatures(audited) AS key
   CROSS JOIN LATERAL (VALUES
     (format('threadline_internal.as_of_%s(anyelement, timestamptz, %s)', audited.id, key.types),
      E'RETURNS SETOF anyelement\n' || threadline_internal.as_of_key_body(audited,
        threadline_internal.key_arguments(key.casts, 3)),
      format('The row of %s with a key, as of a time.', audited.relation)),
     (format('threadline_internal.row_of_%s(anyelement, jsonb, bigint, %s)', audited.id, key.types),
      format(E'RETURNS SETOF anyelement\nLANGUAGE sql STABLE AS %L', threadline_internal.row_of_body(audited,
        threadline_internal.key_arguments(key.casts, 4))),
      format('The row of %s that threadline.row_as_of found.', audited.relation)),
     (format('threadline_internal.row_as_of_%s(anyelement, timestamptz, %s)', audited.id, key.types),
      format(E'%s\nLANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp\n'
        'SET enable_seqscan = off SET plan_cache_mode = force_generic_plan\nAS %L',
        threadline_internal.row_as_of_result(), threadline_internal.row_as_of_body(audited, key.casts)),
      format('What one row of %s was as of a time: found, deleted, not_yet or before_history.', audited.relation)))
     AS f (signature, definition, description)
  UNION ALL
  SELECT format('threadline_internal.restore_%s(anyelement, uuid, timestamptz, bigint, bigint)', audited.id),
         format(E'RETURNS TABLE (op text, skipped_columns text[])\n'
           'LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp\nAS %L',
           threadline_internal.restore_body(audited)),
         format('Brings a row of %s back to what a change left, unless later changes would be lost.', audited.relation)
   WHERE audited.key_type IS NOT NULL
$function$;
COMMENT ON FUNCTION threadline_internal.past_functions_by_key(threadline.audited_tables) IS
  'Definitions of the functions that return the past of a row of a table.';

-- Time travel. A transaction takes effect as a whole, at the time of its last captured change: as of T, a change is in
-- effect exactly if its transaction has no change captured later than T. Row locks make that order agree with the order
-- of conflicting commits, so every read shows a state that the database could have had.
-- The rows of the past are the live rows without those written by a transaction that takes effect later, and the old
-- image of the first such change of each key. The ids alone identify later transactions: those that began after T have
-- ids above a bound, and threadline_internal.straddling_changes finds the few that began before T and continued after
-- it.

-- Returns the transactions that may straddle T. A transaction without a row in long_transactions made its last change
-- less than 125 ms after it began, so if it straddles T, it began in the 125 ms before T. A transaction with a
-- duration_class began within the time that the class stands for.
CREATE FUNCTION threadline_internal.straddling_transactions(at timestamptz) RETURNS uuid[]
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
AS $function$
BEGIN
  IF NOT isfinite(at) THEN
    RETURN '{}';
  END IF;
  RETURN ARRAY(
    SELECT t.id FROM threadline.audit_transactions AS t
     WHERE t.id >= threadline.first_id_after(at - interval '125 ms') AND t.id < threadline.first_id_after(at)
    UNION
    SELECT l.transaction_id
      FROM generate_series(1, (SELECT max(n.duration_class) FROM threadline_internal.long_transactions AS n))
             AS o (duration_class)
      JOIN threadline_internal.long_transactions AS l
        ON l.duration_class = o.duration_class AND l.occurred_at <= at
       AND l.occurred_at > at - interval '125 ms' * power(2, o.duration_class));
END
$function$;
COMMENT ON FUNCTION threadline_internal.straddling_transactions(timestamptz) IS
  'The transactions that began at or before a time and may have changed something after it: all that did, and possibly '
  'others.';

-- Returns the changes of transactions that straddle T. Such transactions are rare, so the search for them is kept out
-- of the plans of the callers.
CREATE FUNCTION threadline_internal.straddling_changes(table_id integer, at timestamptz)
RETURNS SETOF threadline.audit_changes
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 10 SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
AS $function$
#variable_conflict use_column
DECLARE
  began_by timestamptz := straddling_changes.at;
  candidates uuid[] := threadline_internal.straddling_transactions(straddling_changes.at);
BEGIN
  IF candidates <> '{}' THEN
    RETURN QUERY SELECT c.* FROM threadline.audit_changes AS c
                  WHERE c.table_id = straddling_changes.table_id AND c.transaction_id = ANY (candidates)
                    AND EXISTS (SELECT FROM threadline.audit_changes AS l
                                 WHERE l.transaction_id = c.transaction_id AND l.captured_at > began_by);
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.straddling_changes(integer, timestamptz) IS
  'Changes of a table by transactions that began at or before a time and changed something, in any table, after it.';

-- Returns the time at which a transaction took effect, to read as of it or as of just before.
CREATE FUNCTION threadline.after_transaction(id uuid) RETURNS timestamptz
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
  took_effect timestamptz := coalesce(
    (SELECT max(c.captured_at) FROM threadline.audit_changes AS c WHERE c.transaction_id = after_transaction.id),
    (SELECT t.occurred_at FROM threadline.audit_transactions AS t WHERE t.id = after_transaction.id));
BEGIN
  IF took_effect IS NULL THEN
    RAISE EXCEPTION 'there is no audit transaction %', coalesce(after_transaction.id::text, 'NULL')
      USING ERRCODE = 'no_data_found', CONSTRAINT = 'threadline_past',
        HINT = 'Its id stands in threadline.audit_transactions.';
  END IF;
  RETURN took_effect;
END
$function$;
COMMENT ON FUNCTION threadline.after_transaction(uuid) IS
  'When a transaction took effect: the time of its last change.';

-- Returns the time to read as of just before a transaction.
CREATE FUNCTION threadline.before_transaction(id uuid) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline.after_transaction(before_transaction.id) - interval '1 microsecond'
$function$;
COMMENT ON FUNCTION threadline.before_transaction(uuid) IS 'The last moment before a transaction took effect.';

-- Returns the time up to which the past is final. A running transaction may still commit, and then takes effect at the
-- time of its last change. By then that time may have passed, but it is later than the start of the transaction. A
-- transaction without a transaction id has not written anything yet. The start is unknown for a prepared transaction,
-- for one whose session the owner of this function may not inspect or does not track its activity, and for all
-- transactions that a snapshot or a standby does not see yet. But each got its id after every transaction with a lower
-- id had begun.
CREATE FUNCTION threadline.settled_at() RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
  settled timestamptz := clock_timestamp();  -- before it looks at any transaction
  started timestamptz;
  hidden boolean;
  frozen boolean := pg_is_in_recovery()
    OR current_setting('transaction_isolation') IN ('repeatable read', 'serializable');
  snapshot pg_snapshot;
  unseen xid8;
BEGIN
  PERFORM pg_stat_clear_snapshot();
  SELECT min(a.xact_start) FILTER (WHERE a.backend_xid IS NOT NULL),
         coalesce(bool_or(a.query = '<insufficient privilege>' OR a.backend_xid IS NOT NULL AND a.xact_start IS NULL),
           false)
    INTO started, hidden FROM pg_stat_activity AS a WHERE a.datname = current_database();
  -- Sessions first: a transaction seen in a session may be prepared by now, but not the other way round.
  snapshot := pg_current_snapshot();
  SELECT u.txid INTO unseen FROM (
    SELECT pg_snapshot_xmin(snapshot) AS txid WHERE frozen
    UNION ALL
    SELECT coalesce((SELECT x FROM pg_snapshot_xip(snapshot) AS x WHERE x::xid = p.transaction),
             pg_snapshot_xmax(snapshot))
      FROM pg_prepared_xacts AS p WHERE p.database = current_database()
    UNION ALL
    SELECT x FROM pg_snapshot_xip(snapshot) AS x
     WHERE hidden AND NOT EXISTS (SELECT FROM pg_stat_activity AS a
                                   WHERE a.backend_xid = x::xid AND a.xact_start IS NOT NULL)
    UNION ALL
    SELECT pg_snapshot_xmax(snapshot) WHERE hidden) AS u ORDER BY u.txid LIMIT 1;
  IF unseen IS NOT NULL THEN
    settled := least(settled, coalesce(
      (SELECT t.occurred_at FROM threadline.audit_transactions AS t WHERE t.txid < unseen ORDER BY t.id DESC LIMIT 1),
      (SELECT min(a.capture_since) FROM threadline.audited_tables AS a)));  -- no earlier time can be read
  END IF;
  RETURN least(settled, started) - interval '1 microsecond';
END
$function$;
COMMENT ON FUNCTION threadline.settled_at() IS
  'The time up to which the past is final: no transaction that is still running can take effect at or before this '
  'time.';

-- Returns whether a subscription writes a table without firing its capture triggers: the workers of a subscription fire
-- only triggers that are enabled ALWAYS, and among these only row triggers.
CREATE FUNCTION threadline_internal.is_replicated_to(relation regclass) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_subscription_rel) THEN
    RETURN false;
  END IF;
  RETURN EXISTS (SELECT FROM pg_subscription_rel AS s
                  WHERE s.srrelid = is_replicated_to.relation
                     OR s.srrelid IN (SELECT p.relid FROM pg_partition_tree(is_replicated_to.relation) AS p))
     AND NOT EXISTS (
       SELECT FROM threadline.audited_tables AS a
        WHERE a.relation = is_replicated_to.relation AND NOT EXISTS (
                SELECT FROM (SELECT a.relation AS relid
                             UNION SELECT p.relid FROM pg_partition_tree(is_replicated_to.relation) AS p) AS m
                 WHERE (SELECT count(*) FROM pg_trigger AS t
                         WHERE t.tgrelid = m.relid AND t.tgname = ANY (threadline_internal.trigger_names(a))
                           AND t.tgenabled = 'A'
                           AND t.tgtype & 1 = CASE WHEN t.tgtype & 32 = 32 THEN 0 ELSE 1 END) < 4));
END
$function$;
COMMENT ON FUNCTION threadline_internal.is_replicated_to(regclass) IS
  'Whether a logical subscription writes a table without firing its capture triggers.';

-- Returns what prevents the past of a table from being read, whether it is audited or not. It runs with the rights of
-- the reader, because the reader determines whether row level security applies.
CREATE FUNCTION threadline_internal.why_unreadable(relation regclass, OUT reason text, OUT advice text)
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF (SELECT c.relpersistence = 'u' FROM pg_class AS c WHERE c.oid = why_unreadable.relation) THEN
    reason := 'it is unlogged, so a crash of the server empties it and leaves no trace';
    advice := format('ALTER TABLE %s SET LOGGED; or read the changes in threadline.versions.', relation);
  ELSIF (SELECT c.relispartition FROM pg_class AS c WHERE c.oid = why_unreadable.relation) THEN
    reason := format('it has become a partition of %s, through which it is written past its own capture',
      pg_partition_root(relation));
    advice := format('Audit and read %s, and end the capture of this one: SELECT threadline.unaudit_table(%L);',
      pg_partition_root(relation), relation);
  ELSIF threadline_internal.is_replicated_to(relation) THEN
    reason := 'a logical subscription writes it, and its capture triggers do not fire for that';
    advice := format('Read it on the publisher, or audit it by row and ALTER TABLE %s ENABLE ALWAYS TRIGGER its four '
      'capture triggers.', relation);
  ELSIF row_security_active(relation) THEN
    reason := format('row level security hides rows of it from %s', current_user);
    advice := 'The audit log knows no policies; read as a role with BYPASSRLS, or as the owner of the table.';
  ELSIF EXISTS (SELECT FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhparent
                 WHERE i.inhparent = why_unreadable.relation AND c.relkind = 'r') THEN
    reason := 'other tables inherit from it';
    advice := 'Read each of the tables through threadline.versions.';
  ELSIF EXISTS (SELECT FROM pg_index AS i
                 WHERE i.indrelid = why_unreadable.relation AND i.indisprimary AND NOT i.indimmediate) THEN
    reason := 'its primary key is deferrable, so a transaction can write a key before the one that gives it up has '
      'ended';
    advice := 'Make the key NOT DEFERRABLE, or read the changes in threadline.versions.';
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.why_unreadable(regclass) IS
  'Why a table cannot be read as of the past, and what to do about it; NULL if nothing prevents it.';

-- Returns what a reading function was built for, in a form that survives a dump: the names of the table and its
-- columns.
CREATE FUNCTION threadline_internal.table_shape(relation regclass) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
BEGIN
  RETURN format('%s (%s)', relation,
    -- Every read calls this, so types without attributes skip the call.
    (SELECT string_agg(concat(quote_ident(c.name), ' ',
              CASE WHEN y.typtype IN ('c', 'd') OR e.typtype IN ('c', 'd')
                THEN threadline_internal.type_shape(c.type, c.typmod) ELSE format_type(c.type, c.typmod) END,
              CASE WHEN c.not_null THEN ' NOT NULL' END), ', ' ORDER BY c.number)
            || coalesce(' KEY ' || (
                 -- By name: a restored table has no dropped columns, so its column numbers differ.
                 SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY array_position(i.indkey::smallint[], a.attnum))
                   FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
                  WHERE i.indrelid = relation AND i.indisprimary), '')
       FROM threadline_internal.columns_of(relation) AS c
       JOIN pg_type AS y ON y.oid = c.type
       LEFT JOIN pg_type AS e ON e.oid = y.typelem AND y.typcategory = 'A'));
END
$function$;
COMMENT ON FUNCTION threadline_internal.table_shape(regclass) IS 'A table with its columns and their types, as text.';

-- Returns whether a table was rewritten, truncated or repartitioned since the snapshot of the query was taken.
-- PostgreSQL shows such a query the present rows, or none. The query sees the old state of pg_class, and catalog
-- functions see the present one. The query has locked the table by now, so that state does not change.
CREATE FUNCTION threadline_internal.is_of_another_snapshot(relation regclass) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN EXISTS (
    SELECT FROM pg_class AS c
     WHERE c.oid = relation AND c.relkind = 'r' AND c.relfilenode::oid IS DISTINCT FROM pg_relation_filenode(c.oid)
    UNION ALL
    SELECT FROM threadline_internal.partition_tree(relation) AS p JOIN pg_class AS c ON c.oid = p.relid
     WHERE p.relid <> relation
       AND (pg_partition_root(c.oid) IS DISTINCT FROM pg_partition_root(relation)
            OR c.relkind = 'r' AND c.relfilenode::oid IS DISTINCT FROM pg_relation_filenode(c.oid)));
END
$function$;
COMMENT ON FUNCTION threadline_internal.is_of_another_snapshot(regclass) IS
  'Whether a table was rewritten, truncated or repartitioned since the snapshot of the query was taken.';

-- Returns what in the catalog, apart from the name and columns, prevents reading the past of a table.
CREATE FUNCTION threadline_internal.why_not_known(audited threadline.audited_tables, OUT reason text, OUT advice text)
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF threadline_internal.has_exchanged_attributes(audited) THEN
    reason := 'its name or columns are not those that its capture was defined for';
    advice := 'Call threadline.refresh_audited_tables(), best in the migration that changes them.';
  ELSIF EXISTS (SELECT FROM (SELECT audited.relation AS relid
                             UNION ALL
                             SELECT l.relid FROM threadline_internal.partition_tree(audited.relation) AS l
                              WHERE l.isleaf AND (SELECT c.relkind = 'p' FROM pg_class AS c
                                                   WHERE c.oid = audited.relation)) AS p
                 WHERE (SELECT count(*) FROM pg_trigger AS t
                         WHERE t.tgrelid = p.relid AND t.tgenabled IN ('A', 'O')
                           AND t.tgname = ANY (threadline_internal.trigger_names(audited))) < 4) THEN
    reason := 'capture triggers of it or of a partition are missing or disabled, so changes may go unrecorded';
    advice := 'Call threadline.refresh_audited_tables(); where a gap is found, the history of the table begins anew.';
  ELSIF EXISTS (SELECT FROM threadline_internal.switched_triggers(audited)) THEN
    reason := 'its capture triggers were switched off and on, or made anew, so changes may have gone unrecorded';
    advice := 'Call threadline.refresh_audited_tables(): the history of the table begins anew.';
  ELSIF threadline_internal.loading_was_recorded(audited) THEN
    reason := 'its rows were loaded while its capture triggers were there, so that changes were recorded which nobody '
      'made';
    advice := 'Restore it with --disable-triggers; or call threadline.refresh_audited_tables(): its history begins '
      'anew.';
  ELSIF threadline_internal.member_gap(audited) IS NOT NULL THEN
    reason := threadline_internal.member_gap(audited);
    advice := 'Call threadline.refresh_audited_tables(): the history of the table begins anew.';
  ELSIF EXISTS (SELECT FROM threadline_internal.rewritten_columns(audited)) THEN
    reason := 'a migration has rewritten it since its capture was defined';
    advice := 'Call threadline.refresh_audited_tables(), best in the migration that changes them.';
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.why_not_known(threadline.audited_tables) IS
  'Why changes of a table may be missing or uninterpretable, and what to do about it; NULL if nothing indicates that.';

-- Returns the time since which the past can be read, and raises an error if the result would be a guess. Every query
-- calls this function, so it makes the expensive checks only for tables that changed since their last refresh.
CREATE FUNCTION threadline_internal.readable_since(table_id integer, shape text) RETURNS timestamptz
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
AS $function$
DECLARE
  audited threadline.audited_tables;
  is_as_refreshed boolean;
  reason text;
  advice text;
BEGIN
  -- From here on no partition can be dropped. A partition that was dropped since this snapshot was taken is missing,
  -- although the snapshot shows no cutoff after it. The snapshot shows the partition, but it no longer exists.
  PERFORM FROM threadline.audit_changes WHERE false;
  IF EXISTS (SELECT FROM pg_inherits AS i
              WHERE i.inhparent = 'threadline.audit_changes'::regclass AND pg_table_is_visible(i.inhrelid) IS NULL) THEN
    RAISE EXCEPTION 'the audit log was purged while it was read'
      USING ERRCODE = 'serialization_failure', CONSTRAINT = 'threadline_past',
        HINT = 'Read it again, in a new transaction.';
  END IF;
  SELECT * INTO STRICT audited FROM threadline.audited_tables AS t WHERE t.id = readable_since.table_id;
  is_as_refreshed := threadline_internal.is_as_refreshed(audited);
  IF NOT is_as_refreshed AND threadline_internal.is_of_another_snapshot(audited.relation) THEN
    RAISE EXCEPTION '% was rewritten or truncated while it was read', audited.relation
      USING ERRCODE = 'serialization_failure', CONSTRAINT = 'threadline_past', TABLE = audited.relation::text,
        HINT = 'Read it again, in a new transaction.';
  END IF;
  IF audited.capture_ended_at IS NOT NULL THEN
    reason := format('its capture ended at %s, and what became of it since is not recorded', audited.capture_ended_at);
    advice := 'Its recorded changes can still be read: threadline.versions.';
  ELSIF threadline_internal.table_shape(audited.relation) IS DISTINCT FROM readable_since.shape THEN
    reason := 'its name or columns are not those that its capture was defined for';
    advice := 'Call threadline.refresh_audited_tables(), best in the migration that changes them.';
  ELSIF NOT is_as_refreshed THEN
    SELECT o.reason, o.advice INTO reason, advice FROM threadline_internal.why_not_known(audited) AS o;
  END IF;
  IF reason IS NULL AND threadline_internal.future_change(audited) IS NOT NULL THEN
    reason := format('a clock was ahead: changes of it were recorded at times up to %s, which is to come',
      threadline_internal.future_change(audited));
    advice := 'Set the clock right, and call threadline.refresh_audited_tables(): its history begins anew.';
  ELSIF reason IS NULL THEN
    SELECT o.reason, o.advice INTO reason, advice FROM threadline_internal.why_unreadable(audited.relation) AS o;
  END IF;
  IF reason IS NOT NULL THEN
    RAISE EXCEPTION 'cannot read % as of the past: %', audited.relation, reason
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = advice, CONSTRAINT = 'threadline_past',
        TABLE = audited.relation::text;
  END IF;
  RETURN greatest(audited.capture_since, audited.purged_before);
END
$function$;
COMMENT ON FUNCTION threadline_internal.readable_since(integer, text) IS
  'The time since which a table can be read as of the past; raises an error if it cannot be read.';

-- Rejects a time before the history of a table begins.
CREATE FUNCTION threadline_internal.check_past(table_id integer, shape text, at timestamptz, row_type regtype)
RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
DECLARE
  is_its_row boolean := threadline_internal.check_row_type(table_id, row_type);
  since timestamptz := threadline_internal.readable_since(table_id, shape);
  relation regclass;
  gap text;
BEGIN
  IF at IS NULL THEN
    RAISE EXCEPTION 'cannot read the past as of NULL'
      USING ERRCODE = 'null_value_not_allowed', CONSTRAINT = 'threadline_past', HINT = 'Give the time to read as of.';
  ELSIF at < since THEN
    SELECT t.relation, t.gap INTO relation, gap FROM threadline.audited_tables AS t
     WHERE t.id = check_past.table_id;
    RAISE EXCEPTION 'cannot read % as of %: its history begins at %', relation, at, concat(since, ', since ' || gap)
      USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_before_history', DETAIL = since::text,
        HINT = 'What was there before its capture began is not known, nor what retention has removed.';
  END IF;
  RETURN true;
END
$function$;
COMMENT ON FUNCTION threadline_internal.check_past(integer, text, timestamptz, regtype) IS
  'Raises an error unless a table can be read as of a time, into rows of a type.';

-- Returns restore_N(NULL::t, transaction, time, change, losing), which restores a row to its state after a change, with
-- the rights of the caller. The write is captured like any other. Redacted columns are not in the audit log and stay
-- unchanged, as do columns added since. Later changes are read from the audit log after the live row is locked.
-- More than 60 lines, because it reads like the function that it writes.
CREATE FUNCTION threadline_internal.restore_body(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$
#variable_conflict use_column
DECLARE
  is_its_row boolean := {check_row_type};
  since timestamptz := threadline_internal.readable_since({table_id}, {shape});
  change record;
  target {table};
  live {table};
  gone boolean;
  later bigint;
  newest bigint;
  done bigint;
BEGIN
  SELECT c.op, c.id, c.captured_at, ({renamed_image}) - {redacted}::text[] AS image INTO change
    FROM threadline.audit_changes AS c WHERE {given_change} AND c.table_id = {table_id};
  skipped_columns := {redacted} || threadline_internal.columns_not_recorded(change.image);
  change.image := change.image - skipped_columns - '';
  IF NOT FOUND THEN
    RAISE EXCEPTION '% has no change % to restore', {table_name}, $4 USING {no_change},
      HINT = 'It may have been removed from the audit log, or belong to another table.';
  END IF;
  target := threadline_internal.row_or_error(NULL::{table}, change.image, change.id);
  SELECT t.* INTO live FROM {live_rows} AS t WHERE {live_row} FOR UPDATE;
  gone := NOT FOUND;
{without_hashes}  SELECT count(*), max(c.id) INTO later, newest FROM threadline.audit_changes AS c
   WHERE c.table_id = {table_id} AND {same_key} AND c.op <> 'snapshot'
     -- What a snapshot tells was so since before every change of now, be its id what it may.
     AND CASE change.op WHEN 'snapshot' THEN {later_than_snapshot} ELSE c.id > greatest(change.id, $5) END;
  -- Of what was not captured, nobody knows how much would be lost.
  IF later > 0 OR change.captured_at < since AND $5 < 9223372036854775807 THEN
    RAISE EXCEPTION 'later changes of this row of % would be lost: %', {table_name}, {lost}
      USING {later_changes}, DETAIL = coalesce(newest, change.id),
        HINT = 'Look at them, and say that they may be lost.';
  END IF;
  IF change.op IN ('delete', 'truncate') THEN
    IF gone THEN
      RETURN NEXT;
      RETURN;
    END IF;
    DELETE FROM {live_rows} AS t WHERE {live_row};
    op := 'delete';
  ELSIF gone THEN
{not_insertable}    -- Only what the image has, so that the rest takes its default.
    EXECUTE format('{insert}', {table_name},
      (SELECT string_agg(quote_ident(k), ', ') FROM {restored_columns})) USING change.image;
    op := 'insert';
  ELSE
    target := threadline_internal.populate(live, change.image);
    IF live *= target THEN
      RETURN NEXT;
      RETURN;
    END IF;
    UPDATE {live_rows} AS t SET {assignments} WHERE {live_row};
    op := 'update';
  END IF;
  GET DIAGNOSTICS done = ROW_COUNT;
  IF done <> 1 THEN
    RAISE EXCEPTION 'the % that would restore a row of % was prevented', op, {table_name} USING {prevented},
      CONSTRAINT = 'threadline_restore', HINT = 'Look at the triggers and policies of the table.';
  END IF;
  RETURN NEXT;
END
$sql$, jsonb_build_object(
    'table', audited.relation, 'table_id', audited.id, 'table_name', quote_literal(audited.relation),
    'check_row_type', threadline_internal.check_row_type_condition(audited),
    'shape', quote_literal(threadline_internal.table_shape(audited.relation)),
    'renamed_image', threadline_internal.renamed_expression(audited, 'coalesce(c.data_after, c.changed_from)'),
    'redacted', quote_literal(ARRAY(
      SELECT r FROM unnest(audited.masked_columns || audited.excluded_columns) AS r ORDER BY r)),
    'without_hashes', CASE WHEN audited.hashed_columns <> '{}' THEN threadline_internal.render(
      E'  change.image := change.image - {hashed};\n  skipped_columns := skipped_columns || {hashed};\n',
      jsonb_build_object('hashed', format('%L::text[]', audited.hashed_columns))) END,
    'not_insertable', CASE WHEN audited.key_columns && audited.hashed_columns THEN threadline_internal.render($sql$
    RAISE EXCEPTION 'a deleted row of % cannot be restored: its key is recorded as a hash', {table_name}
      USING ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_restore',
        HINT = 'Insert it with a key of your own: threadline.versions has the other columns.';
$sql$, jsonb_build_object('table_name', quote_literal(audited.relation))) END,
    'given_change', 'c.transaction_id = $2 AND c.captured_at = $3 AND c.id = $4',
    'later_than_snapshot', 'c.captured_at >= since AND c.id > $5',
    'no_change', $sql$ERRCODE = 'no_data_found', CONSTRAINT = 'threadline_restore'$sql$,
    'later_changes', $sql$ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_later_changes'$sql$,
    'prevented', $sql$ERRCODE = 'triggered_action_exception'$sql$,
    'lost', $sql$CASE WHEN later > 0 THEN later::text ELSE 'those before ' || since END$sql$,
    'live_rows', threadline_internal.live_rows(audited.relation),
    'live_row', threadline_internal.live_key(audited, key), 'same_key', threadline_internal.recorded_key(audited, key),
    'insert', 'INSERT INTO %1$s (%2$s) OVERRIDING SYSTEM VALUE '
      'SELECT %2$s FROM threadline_internal.populate(NULL::%1$s, $1)',
    'restored_columns', format('jsonb_object_keys(change.image) AS k WHERE k = ANY (%L)', ARRAY(
      SELECT c.name FROM threadline_internal.columns_of(audited.relation) AS c
       WHERE c.generated = '' ORDER BY c.number)),
    'assignments', threadline_internal.restored_columns(audited)))
    FROM (SELECT array_agg(format('target.%I', name) ORDER BY n)
            FROM unnest(audited.key_columns) WITH ORDINALITY AS k (name, n)) AS k (key)
$function$;
COMMENT ON FUNCTION threadline_internal.restore_body(threadline.audited_tables) IS
  'PL/pgSQL that restores a row to its state after a change.';

-- Returns the SET clause of the UPDATE that restores a row. If there is nothing else to set, it sets the key to its own
-- value.
CREATE FUNCTION threadline_internal.restored_columns(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(string_agg(format('%I = target.%I', c.name, c.name), ', ' ORDER BY c.number),
           format('%I = target.%I', audited.key_columns[1], audited.key_columns[1]))
    FROM threadline_internal.columns_of(audited.relation) AS c
   WHERE c.generated = '' AND c.identity <> 'a'
     AND c.name <> ALL (audited.key_columns || threadline_internal.redacted_names(audited))
$function$;
COMMENT ON FUNCTION threadline_internal.restored_columns(threadline.audited_tables) IS
  'SQL for the columns that an UPDATE restores.';

-- Returns row_as_of_N(NULL::t, time, key...), which finds the state of one row by single look-ups. `image` is NULL if
-- the live row is the result; the columns of a change are those of the change that deleted the row.
-- At most one transaction can straddle the time and have written the row before it: the next one to write it had to
-- wait. Snapshots are not events, and are left out: one may be written while an update with an earlier time is still in
-- progress.
-- More than 60 lines, because it reads like the function that it writes.
CREATE FUNCTION threadline_internal.row_as_of_body(audited threadline.audited_tables, casts text[])
RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$
DECLARE
  newest record;
  later record;
BEGIN
  PERFORM {check_row_type};
  since := threadline_internal.readable_since({table_id}, {shape});
  IF $2 IS NULL THEN
    PERFORM {check_past};
  ELSIF $2 < since THEN
    state := 'before_history';
    RETURN NEXT;
    RETURN;
  END IF;
  SELECT c.id, c.transaction_id, c.op, c.captured_at INTO newest FROM threadline.audit_changes AS c
   WHERE {of_row} AND c.captured_at <= $2 AND c.op <> 'snapshot' {newest_first} LIMIT 1;
  IF EXISTS (SELECT FROM threadline.audit_changes AS c WHERE {of_transaction} AND c.captured_at > $2) THEN
    SELECT c.id, c.op, c.captured_at, {row_before} AS image INTO later FROM threadline.audit_changes AS c
     WHERE {of_transaction} AND {of_row} AND c.op <> 'snapshot'
     ORDER BY c.captured_at, c.id LIMIT 1;
    SELECT c.id, c.op, c.captured_at INTO newest FROM threadline.audit_changes AS c
     WHERE {of_row} AND (c.captured_at, c.id) < (later.captured_at, later.id) AND c.op <> 'snapshot'
     {newest_first} LIMIT 1;
  ELSE
    SELECT c.id, c.op, {row_before} AS image INTO later FROM threadline.audit_changes AS c
     WHERE {of_row} AND c.captured_at > $2 AND c.op <> 'snapshot'
     ORDER BY c.captured_at, c.id LIMIT 1;
  END IF;
  IF later.op <> 'insert' THEN
    state := 'found';
    image := later.image;
    image_of := later.id;
  ELSIF later.op IS NULL AND EXISTS (SELECT FROM {live_rows} AS t WHERE {live_row}) THEN
    state := 'found';
{row_before_gaps}  ELSIF newest.op IN ('delete', 'truncate') THEN
    state := 'deleted';
    SELECT {values} INTO {columns} FROM threadline_internal.versions_{table_id}($1, {key}) AS v {of_newest};
  ELSE
    state := 'not_yet';
  END IF;
{without_gaps}  RETURN NEXT;
END
$sql$, jsonb_build_object(
    'table_id', audited.id,
    'shape', quote_literal(threadline_internal.table_shape(audited.relation)),
    'check_row_type', threadline_internal.check_row_type_condition(audited),
    'check_past', threadline_internal.check_past_condition(audited),
    'of_row', concat(format('c.table_id = %s AND %s', audited.id, threadline_internal.recorded_key(audited, key)),
      ' AND ' || threadline_internal.of_this_history(audited)),
    'of_transaction', 'c.transaction_id = newest.transaction_id',
    'newest_first', 'ORDER BY c.captured_at DESC, c.id DESC',
    'row_before', threadline_internal.row_before_expression(audited),
    'live_rows', threadline_internal.live_rows(audited.relation),
    'live_row', threadline_internal.live_key(audited, key),
    'row_before_gaps', threadline_internal.row_before_gaps(audited, key),
    'without_gaps', threadline_internal.image_without_gaps(audited),
    'values', (SELECT string_agg('v.' || name, ', ') FROM unnest(columns) AS name),
    'columns', array_to_string(columns, ', '),
    'key', (SELECT string_agg('$' || n + 2, ', ' ORDER BY n) FROM generate_subscripts(casts, 1) AS n),
    'of_newest', 'WHERE v.id = newest.id AND v.captured_at = newest.captured_at'))
    FROM threadline_internal.key_arguments(casts, 3) AS key,
         CAST('{id, transaction_id, op, captured_at, row_key, moved_key, changed_fields, diff, actor_ref, on_behalf_of,
           source, correlation_id, request_id, job_id, remote_ip, meta, occurred_at, database_role, application_name}'
           AS text[]) AS columns
$function$;
COMMENT ON FUNCTION threadline_internal.row_as_of_body(threadline.audited_tables, text[]) IS
  'PL/pgSQL for the state of one row at a time.';

-- Returns PL/pgSQL that creates an image of a live row for a time at which one of its columns has a gap.
CREATE FUNCTION threadline_internal.row_before_gaps(audited threadline.audited_tables, key text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$    IF $2 < {gap_until}::timestamptz THEN
      SELECT {image}, 0 INTO image, image_of FROM {live_rows} AS t WHERE {live_row};
    END IF;
$sql$, jsonb_build_object('gap_until', quote_literal(max(g.converted_at)),
    'image', CASE WHEN audited.hashed_columns = '{}' THEN 'to_jsonb(t.*)'
      ELSE format('threadline_internal.hashed_image(to_jsonb(t.*), %s, %L)', audited.id,
        threadline_internal.hash_kinds(audited.relation, audited.hashed_columns)) END,
    'live_rows', threadline_internal.live_rows(audited.relation),
    'live_row', threadline_internal.live_key(audited, key)))
    FROM threadline_internal.column_gaps(audited) AS g
  HAVING count(*) > 0
$function$;
COMMENT ON FUNCTION threadline_internal.row_before_gaps(threadline.audited_tables, text[]) IS
  'PL/pgSQL for the image of a live row if one of its columns has a gap; NULL if none has.';

-- Returns PL/pgSQL that removes the columns with a gap from an image.
CREATE FUNCTION threadline_internal.image_without_gaps(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$  image := threadline_internal.image_with_gaps(image, (
    SELECT jsonb_object_agg(g.name, g.reason)
      FROM unnest({names}::text[], {times}::timestamptz[], {reasons}::text[]) AS g (name, converted_at, reason)
     WHERE $2 < g.converted_at));
$sql$, jsonb_build_object('names', quote_literal(array_agg(c.name)), 'times', quote_literal(array_agg(g.converted_at)),
    'reasons', quote_literal(array_agg(g.message))))
    FROM threadline_internal.column_gaps(audited) AS g
    JOIN threadline_internal.columns_of(audited.relation) AS c USING (number)
  HAVING count(*) > 0
$function$;
COMMENT ON FUNCTION threadline_internal.image_without_gaps(threadline.audited_tables) IS
  'PL/pgSQL that removes columns with a gap from an image; NULL if none has one.';

-- Raises an error where a column would be. The last argument only makes the call depend on the row: the planner may
-- call a function of constants by itself.
CREATE FUNCTION threadline_internal.raise_no_value(sample anyelement, message text, change_id bigint) RETURNS anyelement
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RAISE EXCEPTION '%', format(message, change_id) USING ERRCODE = 'data_exception', CONSTRAINT = 'threadline_value',
    HINT = 'Read other columns, through the function that is named like the table, or the images in '
      'threadline.versions.';
END
$function$;
COMMENT ON FUNCTION threadline_internal.raise_no_value(anyelement, text, bigint) IS
  'Raises the error of a value that the past does not have; stands where a column would be.';

-- Stands where an excluded column would be: an error, or NULL in a function that makes whole rows and warns of it.
CREATE FUNCTION threadline_internal.excluded_value(sample anyelement, message text, change_id bigint)
RETURNS anyelement
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF current_setting('threadline.excluded', true) = 'null' THEN
    RETURN NULL;
  END IF;
  RETURN threadline_internal.raise_no_value(sample, replace(message, '%', '%%'), change_id);
END
$function$;
COMMENT ON FUNCTION threadline_internal.excluded_value(anyelement, text, bigint) IS
  'Raises the error of a column that is excluded from the audit log, unless NULL is to stand for it.';

-- Tells whether a value made of an image lacks attributes that the image has.
CREATE FUNCTION threadline_internal.lacks_attributes(made jsonb, image jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE
    WHEN jsonb_typeof(image) = 'object' AND jsonb_typeof(made) = 'object' THEN EXISTS (
      SELECT FROM jsonb_each(image) AS i
       WHERE NOT made ? i.key OR threadline_internal.lacks_attributes(made -> i.key, i.value))
    WHEN jsonb_typeof(image) = 'array' AND jsonb_typeof(made) = 'array' THEN EXISTS (
      SELECT FROM jsonb_array_elements(image) WITH ORDINALITY AS i (value, place)
       WHERE threadline_internal.lacks_attributes(made -> (i.place - 1)::integer, i.value))
    ELSE false END
$function$;
COMMENT ON FUNCTION threadline_internal.lacks_attributes(jsonb, jsonb) IS
  'Whether attributes of a composite value in an image are lost in the row made of it.';

-- Makes a row of an image under the settings that it was written under, which say what a text means.
CREATE FUNCTION threadline_internal.populate(sample anyelement, image jsonb) RETURNS anyelement
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
SET IntervalStyle = 'postgres' SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
SET xmloption = 'content' SET array_nulls = 'on'
AS $function$
BEGIN
  RETURN jsonb_populate_record(sample, image);
END
$function$;
COMMENT ON FUNCTION threadline_internal.populate(anyelement, jsonb) IS
  'The row of an image, whatever the settings of the session.';

-- Reads money out of the audit log, where it stands as the locale C writes it.
CREATE FUNCTION threadline_internal.money_of(value text) RETURNS money
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
SET IntervalStyle = 'postgres' SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS 'SELECT value::money';
COMMENT ON FUNCTION threadline_internal.money_of(text) IS 'An amount out of the audit log, whatever the locale.';

-- Lists the columns of an image whose values were not recorded: see threadline_internal.careful_image. A renaming
-- leaves the names in the list as they were, so the values tell.
CREATE FUNCTION threadline_internal.columns_not_recorded(image jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN image ? '' THEN ARRAY(
    SELECT i.key FROM jsonb_each(image) AS i
     WHERE CASE WHEN jsonb_typeof(i.value) = 'object' THEN i.value -> 'threadline' = '"not recorded"' END
     ORDER BY i.key) ELSE '{}' END
$function$;
COMMENT ON FUNCTION threadline_internal.columns_not_recorded(jsonb) IS
  'The columns of an image that have a hash instead of their value.';

-- Makes a row of an image; NULL where a value is none of its present type, or was not recorded. Attributes of a
-- composite type are told by name, like columns; but nobody kept what became of them.
CREATE FUNCTION threadline_internal.row_or_null(sample anyelement, image jsonb) RETURNS anyelement
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF image ? '' THEN
    RETURN NULL;
  END IF;
  sample := threadline_internal.populate(sample, image);
  RETURN CASE WHEN threadline_internal.lost_attributes(sample, image) IS NULL THEN sample END;
EXCEPTION WHEN OTHERS THEN
  RETURN NULL;
END
$function$;
COMMENT ON FUNCTION threadline_internal.row_or_null(anyelement, jsonb) IS
  'The row of an image; NULL where its columns have to be converted one by one.';

-- Finds a column whose value, a row or an array of rows, has lost attributes in the row that was made of an image.
CREATE FUNCTION threadline_internal.lost_attributes(sample anyelement, image jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  compound jsonb := (SELECT jsonb_object_agg(i.key, i.value) FROM jsonb_each(image) AS i
                      WHERE jsonb_typeof(i.value) IN ('object', 'array'));
  made jsonb;
BEGIN
  IF compound IS NULL THEN
    RETURN NULL;
  END IF;
  made := to_jsonb(threadline_internal.populate(sample, compound));
  RETURN (SELECT i.key FROM jsonb_each(compound) AS i
           WHERE made ? i.key AND threadline_internal.lacks_attributes(made -> i.key, i.value) LIMIT 1);
END
$function$;
COMMENT ON FUNCTION threadline_internal.lost_attributes(anyelement, jsonb) IS
  'A column of an image whose composite values have attributes that its type has no more; NULL if there is none.';

-- Reads one value of an image, as its column alone: the domain of another column may refuse a NULL.
CREATE FUNCTION threadline_internal.value_or_error(sample anyelement, type text, relation text, field text, image jsonb,
  change_id bigint) RETURNS anyelement
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
SET IntervalStyle = 'postgres' SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
SET xmloption = 'content' SET array_nulls = 'on'
AS $function$
DECLARE
  reason text;
BEGIN
  IF field = ANY (threadline_internal.columns_not_recorded(image)) THEN
    IF image -> field ? 'gap' THEN
      RAISE EXCEPTION 'column % of % has no value before a migration: %', quote_ident(field), relation,
          image -> field ->> 'gap'
        USING ERRCODE = 'data_exception', CONSTRAINT = 'threadline_value', COLUMN = field,
          HINT = 'Read other columns, or declare the migration: threadline.declare_conversion.';
    END IF;
    RAISE EXCEPTION 'change % of % did not record column %, whose value was none that JSON can hold', change_id,
      relation, quote_ident(field)
      USING ERRCODE = 'data_exception', CONSTRAINT = 'threadline_value', COLUMN = field,
        DETAIL = image -> field, HINT = 'Read other columns. The detail has its length in bytes and its SHA-256.';
  END IF;
  BEGIN
    IF image ? field THEN
      EXECUTE format('SELECT x.v FROM jsonb_to_record($1) AS x (v %s)', type) INTO sample
        USING jsonb_build_object('v', image -> field);
    END IF;
    IF jsonb_typeof(image -> field) IS DISTINCT FROM 'object' AND jsonb_typeof(image -> field) IS DISTINCT FROM 'array'
      OR NOT threadline_internal.lacks_attributes(to_jsonb(sample), image -> field) THEN
      RETURN sample;
    END IF;
    reason := 'its type has lost or renamed attributes';
  EXCEPTION WHEN OTHERS THEN
    reason := SQLERRM;
  END;
  RAISE EXCEPTION 'the value of column % that change % of % recorded cannot be read in its present type: %',
    quote_ident(field), change_id, relation, reason
    USING ERRCODE = 'data_exception', CONSTRAINT = 'threadline_value', COLUMN = field,
      HINT = 'Read other columns, or the images in threadline.versions, or convert the column back.';
END
$function$;
COMMENT ON FUNCTION threadline_internal.value_or_error(anyelement, text, text, text, jsonb, bigint) IS
  'One value of an image in its present type; an error names the column and the change.';

-- Writes the call.
CREATE FUNCTION threadline_internal.value_expression(relation regclass, name text, type text, image text, change text)
RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render('threadline_internal.value_or_error((NULL::{table}).{column}, {type}, {relation}, '
      '{name}, {image}, {change})', jsonb_build_object('table', relation, 'column', quote_ident(name),
    'type', quote_literal(type), 'relation', quote_literal(relation), 'name', quote_literal(name), 'image', image,
    'change', change))
$function$;
COMMENT ON FUNCTION threadline_internal.value_expression(regclass, text, text, text, text) IS
  'SQL for one value of an image in its present type.';

-- Whether a table has columns in which a JSON null is a value, as they are NOT NULL.
CREATE FUNCTION threadline_internal.may_have_json_nulls(relation regclass) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT EXISTS (SELECT FROM threadline_internal.columns_of(relation) AS c
                  WHERE c.not_null AND c.type IN ('json'::regtype, 'jsonb'::regtype))
$function$;
COMMENT ON FUNCTION threadline_internal.may_have_json_nulls(regclass) IS
  'Whether a table has columns of JSON that are NOT NULL.';

-- Puts a JSON null back into such columns of a row that was made of an image: PostgreSQL makes NULL of it.
CREATE FUNCTION threadline_internal.with_json_nulls(sample anyelement, image jsonb) RETURNS anyelement
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
DECLARE
  relation regclass := (SELECT y.typrelid FROM pg_type AS y WHERE y.oid = pg_typeof(sample));
  columns text;
BEGIN
  IF jsonb_path_exists(image, '$.* ? (@ == null)') THEN
    SELECT string_agg(CASE WHEN n.is_json_null THEN format('%L::%s', 'null', c.type::regtype)
                        ELSE format('($1).%I', c.name) END, ', ' ORDER BY c.number) INTO columns
      FROM threadline_internal.columns_of(relation) AS c
     CROSS JOIN LATERAL (
       SELECT c.not_null AND c.type IN ('json'::regtype, 'jsonb'::regtype) AND coalesce(image -> c.name = 'null', false)
     ) AS n (is_json_null)
    HAVING bool_or(n.is_json_null);
  END IF;
  IF columns IS NOT NULL THEN
    EXECUTE format('SELECT (ROW(%s)::%s).*', columns, relation) INTO sample USING sample;
  END IF;
  RETURN sample;
END
$function$;
COMMENT ON FUNCTION threadline_internal.with_json_nulls(anyelement, jsonb) IS
  'The row of an image with the JSON nulls that its columns may hold.';

-- Makes a row of an image, with an error for a column that cannot be read.
CREATE FUNCTION threadline_internal.row_or_error(sample anyelement, image jsonb, change_id bigint) RETURNS anyelement
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
DECLARE
  relation regclass := (SELECT y.typrelid FROM pg_type AS y WHERE y.oid = pg_typeof(sample));
  part record;
BEGIN
  BEGIN
    IF NOT image ? '' THEN
      sample := threadline_internal.populate(sample, image);
      IF threadline_internal.lost_attributes(sample, image) IS NULL THEN
        RETURN threadline_internal.with_json_nulls(sample, image);
      END IF;
    END IF;
  EXCEPTION WHEN OTHERS THEN
    NULL;
  END;
  FOR part IN SELECT c.name, threadline_internal.type_name(c.type, c.typmod) AS type
                FROM threadline_internal.columns_of(relation) AS c WHERE image ? c.name ORDER BY c.number LOOP
    EXECUTE 'SELECT ' || threadline_internal.value_expression(relation, part.name, part.type, '$1', '$2')
      USING image, change_id;
  END LOOP;
  RETURN threadline_internal.with_json_nulls(threadline_internal.populate(sample, image), image);
END
$function$;
COMMENT ON FUNCTION threadline_internal.row_or_error(anyelement, jsonb, bigint) IS
  'The row of an image; an error names the column whose value cannot be read.';

-- Whether values of an image may be none of the present types, or are read by a setting.
CREATE FUNCTION threadline_internal.reads_with_care(audited threadline.audited_tables) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT EXISTS (
    SELECT FROM jsonb_each(audited.definition -> 'columns') AS d (name, value)
      JOIN threadline_internal.columns_of(audited.relation) AS c USING (name)
     WHERE c.name <> ALL (audited.excluded_columns || audited.masked_columns)
       AND (d.value ?| '{default_gap, retyped}' OR c.type >= 16384
            OR c.type = ANY ('{money, money[], xml, xml[]}'::regtype[]::oid[])))
$function$;
COMMENT ON FUNCTION threadline_internal.reads_with_care(threadline.audited_tables) IS
  'Whether a row out of an image takes more than what PostgreSQL makes of JSON.';

-- Writes the conversion of an image i into a row; NULL where its columns have to be converted one by one. What depends
-- on user-defined types, on settings or on a type the column had once is converted with care; plain conversion is
-- faster.
CREATE FUNCTION threadline_internal.record_of_image(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render(CASE WHEN threadline_internal.reads_with_care(audited)
      THEN 'threadline_internal.row_or_null(NULL::{table}, i.image)'
      ELSE $$CASE WHEN i.image OPERATOR(pg_catalog.?) '' THEN NULL
            ELSE pg_catalog.jsonb_populate_record(NULL::{table}, i.image) END$$ END,
    jsonb_build_object('table', audited.relation))
$function$;
COMMENT ON FUNCTION threadline_internal.record_of_image(threadline.audited_tables) IS
  'SQL for a record that is made of an image.';

-- Writes a row that is made of an image: $2 is the image and $3 the change it is of. OFFSET 0 keeps the planner from
-- converting once per column, and lets it not convert at all for a count. A virtual generated column is not in the
-- image, and follows from the columns that are.
CREATE FUNCTION threadline_internal.row_of_image(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
  SELECT threadline_internal.render(CASE WHEN computed IS NULL THEN '{stored}' ELSE 'SELECT {computed}
  FROM ({stored}) AS r
 CROSS JOIN LATERAL threadline_internal.computed_columns_{table_id}(ROW({columns})::{table}) AS v ({types})' END,
    jsonb_build_object(
    'stored', threadline_internal.render('SELECT {past_columns}
  FROM (SELECT i.image, {record} AS record
          FROM (SELECT $2 AS image OFFSET 0) AS i OFFSET 0) AS p', jsonb_build_object(
      'past_columns', threadline_internal.past_columns(audited, false),
      'record', threadline_internal.record_of_image(audited))),
    'computed', computed, 'types', types, 'table_id', audited.id,
    'columns', threadline_internal.columns_of_row(audited.relation, 'r'),
    'table', audited.relation))
    FROM (SELECT CASE WHEN bool_or(c.generated = 'v') AND NOT threadline_internal.is_redacted(audited) THEN
                   string_agg(format('%s.%I AS %I', CASE c.generated WHEN 'v' THEN 'v' ELSE 'r' END, c.name, c.name),
                              ', ' ORDER BY c.number) END,
                 string_agg(format('%I %s', c.name, threadline_internal.type_name(c.type, c.typmod)), ', '
                              ORDER BY c.number) FILTER (WHERE c.generated = 'v')
            FROM threadline_internal.columns_of(audited.relation) AS c) AS c (computed, types)
$function$;
COMMENT ON FUNCTION threadline_internal.row_of_image(threadline.audited_tables) IS
  'SQL for a row of the past out of an image.';

-- Returns the condition that a change belongs to the present history of a table; NULL if all changes do.
CREATE FUNCTION threadline_internal.of_this_history(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('c.definition_id OPERATOR(pg_catalog.>=) %s', audited.first_definition_id)
   WHERE EXISTS (SELECT FROM threadline.table_definitions AS d
                  WHERE d.table_id = audited.id AND d.id < audited.first_definition_id)
$function$;
COMMENT ON FUNCTION threadline_internal.of_this_history(threadline.audited_tables) IS
  'SQL condition that a change was recorded since the history of its table began.';

-- Returns two lists of changes that take effect after $2. In the first, captured_at adds nothing to the condition on
-- the ids: it excludes older partitions, and bounds the search in the key indexes. The hour is for clocks that were set
-- back, so that such a transaction does not count only in part. The bound is in a subselect, so that the planner does
-- not compare it with statistics that end before it: it would then expect no changes, and join row by row.
-- A snapshot is not an event: nothing happened to the row when it was recorded.
CREATE FUNCTION threadline_internal.later_changes(audited threadline.audited_tables, columns text, condition text)
RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT ARRAY[
      threadline_internal.render($sql$SELECT {columns}FROM threadline.audit_changes AS c
         WHERE c.table_id OPERATOR(pg_catalog.=) {table_id} AND {began_since}
           AND c.captured_at OPERATOR(pg_catalog.>) (SELECT $2 OPERATOR(pg_catalog.-) '1 hour'::pg_catalog.interval)
           AND {is_event}{of_history}{condition}$sql$, names),
      threadline_internal.render('SELECT {columns}FROM threadline_internal.straddling_changes({table_id}, $2) AS c '
        'WHERE {is_event}{of_history}{condition}', names)]
    FROM jsonb_build_object('columns', columns || ' ', 'table_id', audited.id, 'condition', ' AND ' || condition,
      'of_history', ' AND ' || threadline_internal.of_this_history(audited),
      'began_since', 'c.transaction_id OPERATOR(pg_catalog.>=) threadline.first_id_after($2)',
      'is_event', $sql$c.op OPERATOR(pg_catalog.<>) 'snapshot'$sql$) AS names
$function$;
COMMENT ON FUNCTION threadline_internal.later_changes(threadline.audited_tables, text, text) IS
  'SQL for the changes of a table that take effect after $2: those of transactions that began since, and of straddling '
  'ones.';

-- Returns as_of_N(NULL::t, time), which gives the rows of a table with a key. Conditions on a column can use the index
-- of the live table, and conditions on key columns also that of the audit log. If equal keys can have different texts,
-- changes belong to the same row if their keys are equal. The check that rejects an unreadable past is in a subselect,
-- so that it is called once, and not for each half.
CREATE FUNCTION threadline_internal.as_of_by_key(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$SELECT u.*
  FROM (SELECT {live_columns}
          FROM {live_rows} AS t
         WHERE NOT EXISTS ({later})
           AND NOT EXISTS ({straddling})
        UNION ALL
        SELECT {columns}
          FROM (SELECT DISTINCT ON ({key}) c.{key_column}, c.captured_at, c.id, c.definition_id, c.op, c.data_after,
                       c.changed_from
                  FROM ({later_images}
                 UNION ALL
                 {straddling_images}) AS c
                 ORDER BY {key}, c.captured_at, c.id) AS c
         CROSS JOIN LATERAL threadline_internal.row_of_{table_id}(NULL::{table}, {row_before}, c.id) AS r
         WHERE c.op OPERATOR(pg_catalog.<>) 'insert') AS u
 WHERE (SELECT {check_past})$sql$, jsonb_build_object(
    'table', audited.relation, 'table_id', audited.id,
    'live_columns', threadline_internal.past_columns(audited, true),
    'live_rows', threadline_internal.live_rows(audited.relation),
    'check_past', threadline_internal.check_past_condition(audited),
    'later', written[1], 'straddling', written[2],
    'columns', threadline_internal.as_of_key_columns(audited),
    'key', CASE WHEN k.exact THEN 'c.' || key_column ELSE k.typed_key END,
    'key_column', key_column,
    'later_images', images[1], 'straddling_images', images[2],
    'row_before', threadline_internal.row_before_expression(audited)))
    FROM (SELECT bool_and(k.exact) AS exact, string_agg(coalesce(
                   format('(%s COLLATE ', k.recorded) || k.text_collation || ')', k.recorded), ', ') AS typed_key,
                 string_agg(concat(k.recorded, ' ', k.equals, ' ', coalesce(
                   format('(%s COLLATE ', v.live) || k.text_collation || ')', v.live)), ' AND ') AS equality
            FROM threadline_internal.recorded_key_columns(audited) AS k
           CROSS JOIN LATERAL threadline_internal.recorded_value(audited, k.name, format('t.%I', k.name)) AS v (live)
         ) AS k
   CROSS JOIN concat('key_', audited.key_type) AS key_column
   CROSS JOIN LATERAL threadline_internal.later_changes(audited, NULL, k.equality) AS written
   CROSS JOIN LATERAL threadline_internal.later_changes(audited,
                format('c.%s, c.captured_at, c.id, c.definition_id, c.op, c.data_after, c.changed_from', key_column),
                format('c.%s IS NOT NULL', key_column)) AS images
$function$;
COMMENT ON FUNCTION threadline_internal.as_of_by_key(threadline.audited_tables) IS
  'SQL for the rows that a table with a primary key had at a time.';

-- Returns the columns of a row r of the past, with its key columns taken from the change c, so that conditions on them
-- can use the index. A numeric key has lost its trailing zeros.
CREATE FUNCTION threadline_internal.as_of_key_columns(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(format('%s AS %I', CASE WHEN k.exact AND y.typoutput <> 'numeric_out'::regproc THEN k.recorded
                      ELSE threadline_internal.column_with_gap(format('r.%I', c.name),
                        threadline_internal.type_name(c.type, c.typmod), g.converted_at, g.message, 'c.id') END,
                      c.name), ', ' ORDER BY c.number)
    FROM threadline_internal.columns_of(audited.relation) AS c
    JOIN pg_type AS y ON y.oid = c.type
    LEFT JOIN threadline_internal.recorded_key_columns(audited) AS k ON k.name = c.name
    LEFT JOIN threadline_internal.column_gaps(audited) AS g ON g.number = c.number
$function$;
COMMENT ON FUNCTION threadline_internal.as_of_key_columns(threadline.audited_tables) IS
  'SQL for the columns of a row of the past, with its key taken from the change.';

-- Returns the value that decides whether two rows of a table without a key are equal: their JSON, with types that have
-- a cast to json as text, as in images.
CREATE FUNCTION threadline_internal.compared_value(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN threadline_internal.has_text_columns(audited)
      THEN string_agg(format(CASE WHEN audited.definition -> 'text_columns' ? c.name
        THEN $$pg_catalog.format('%%L', (u.record).%I)$$ ELSE 'pg_catalog.to_jsonb((u.record).%I)' END, c.name), ', '
        ORDER BY c.number)
      ELSE 'pg_catalog.to_jsonb(u.record)' END
    FROM threadline_internal.columns_of(audited.relation) AS c
$function$;
COMMENT ON FUNCTION threadline_internal.compared_value(threadline.audited_tables) IS
  'SQL for the value by which rows of a table without a primary key are compared.';

-- Returns as_of_N(NULL::t, time) for a table without a key. Its rows have no identity, but the number of equal rows is
-- correct: the live ones, plus those that later changes removed, minus those that later changes added. This converts
-- every live row to JSON.
CREATE FUNCTION threadline_internal.as_of_by_count(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$SELECT {past_columns}
  FROM (SELECT pg_catalog.sum(u.n) AS n, {records} AS records
          FROM (SELECT ROW({columns_of_live})::{table} AS record, 1 AS n
                  FROM (SELECT {live_columns} FROM {live_rows} AS t WHERE {check_past}) AS l
                UNION ALL
                SELECT ROW({columns})::{table}, 1
                  FROM ({later_images}
         UNION ALL
         {straddling_images}) AS c
                 CROSS JOIN LATERAL threadline_internal.row_of_{table_id}(NULL::{table}, {row_before}, c.id) AS r
                 WHERE c.op OPERATOR(pg_catalog.<>) 'insert'
                UNION ALL
                SELECT ROW({columns})::{table}, -1
                  FROM ({later_images}
         UNION ALL
         {straddling_images}) AS c
                 CROSS JOIN LATERAL threadline_internal.row_of_{table_id}(NULL::{table}, {row_after}, c.id) AS r
                 WHERE c.data_after IS NOT NULL) AS u
         GROUP BY {compared}
        HAVING pg_catalog.sum(u.n) OPERATOR(pg_catalog.<>) 0) AS g
 CROSS JOIN LATERAL pg_catalog.unnest({records_or_error}) AS r$sql$, jsonb_build_object(
    'table', audited.relation, 'table_id', audited.id,
    'records', 'pg_catalog.array_agg(u.record) FILTER (WHERE u.n OPERATOR(pg_catalog.>) 0)',
    'past_columns', threadline_internal.columns_of_compared(audited, 'g.n::pg_catalog.int8'),
    'compared', threadline_internal.compared_value(audited),
    'columns_of_live', threadline_internal.compared_row(audited, 'l'),
    'columns', threadline_internal.compared_row(audited, 'r'),
    'live_columns', threadline_internal.past_columns(audited, true),
    'live_rows', threadline_internal.live_rows(audited.relation),
    'check_past', threadline_internal.check_past_condition(audited),
    'later_images', images[1], 'straddling_images', images[2],
    'row_before', threadline_internal.row_before_expression(audited),
    'row_after', threadline_internal.row_expression(audited, 'c.data_after'),
    'records_or_error', format('CASE WHEN g.n OPERATOR(pg_catalog.>) 0 THEN g.records[1:g.n::pg_catalog.int4]
   ELSE %s END', threadline_internal.no_value(audited.relation || '[]',
      replace(format('the audit log of %s took in rows that the table does not have', audited.relation), '%', '%%')
        || ' (%s)', 'g.n::pg_catalog.int8'))))
    FROM threadline_internal.later_changes(audited,
           'c.captured_at, c.id, c.definition_id, c.op, c.data_after, c.changed_from', NULL) AS images
$function$;
COMMENT ON FUNCTION threadline_internal.as_of_by_count(threadline.audited_tables) IS
  'SQL for the rows that a table without a primary key had at a time.';

CREATE FUNCTION threadline.actions(filter jsonb DEFAULT '{}', before_id uuid DEFAULT NULL, max_rows integer DEFAULT 50)
RETURNS SETOF threadline.audit_actions
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
DECLARE
  known text[] := '{action_id,actor_ref,correlation_id,since,name,until}';
BEGIN
  PERFORM threadline_internal.raise_unknown_filter(filter, known);
  RETURN QUERY EXECUTE concat(
    'SELECT x.* FROM threadline.audit_actions AS x WHERE true', threadline_internal.id_condition('x.id', filter,
      before_id),
    (SELECT string_agg(format(' AND x.%s %s', CASE f.key
         WHEN 'action_id' THEN 'id ='
         WHEN 'since' THEN 'occurred_at >='
         WHEN 'until' THEN 'occurred_at <='
         ELSE f.key || ' =' END, threadline_internal.filter_value(filter, f.key)), '' ORDER BY f.number)
       FROM unnest(known) WITH ORDINALITY AS f (key, number) WHERE filter ? f.key),
    ' ORDER BY x.id DESC LIMIT $1') USING max_rows;
END
$function$;
COMMENT ON FUNCTION threadline.actions(jsonb, uuid, integer) IS
  'A page of the recorded actions that match a filter, newest first; older than a position.';

-- The timeline: every change that matches a filter, newest first, one page at a time.

CREATE FUNCTION threadline_internal.raise_unknown_filter(filter jsonb, known text[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  unknown text;
BEGIN
  SELECT k INTO unknown FROM jsonb_object_keys(filter) AS k WHERE k <> ALL (known) ORDER BY k LIMIT 1;
  IF unknown IS NOT NULL THEN
    RAISE EXCEPTION 'a timeline has no filter %', quote_literal(unknown)
      USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_filter',
        HINT = 'There are: ' || array_to_string(known, ', ');
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.raise_unknown_filter(jsonb, text[]) IS
  'Raises the error for an unknown filter.';

CREATE FUNCTION threadline_internal.filter_value(filter jsonb, key text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
  SELECT CASE
    WHEN key IN ('action_id', 'transaction_id') THEN format('%L::uuid', filter ->> key)
    WHEN key IN ('actor_ref', 'on_behalf_of') THEN format('%L::jsonb', filter -> key)
    WHEN key IN ('since', 'until') THEN format('%L::timestamptz', filter ->> key)
    WHEN key = 'row_keys' THEN (
      SELECT format('(%s)', coalesce(string_agg(format('threadline_internal.key_of(c) = %L', r.key)
               || CASE WHEN jsonb_array_length(filter -> key) > 1 THEN
                    format(' AND c.table_id = ANY (%L::integer[])', ARRAY(SELECT jsonb_array_elements_text(r.tables)))
                  ELSE '' END, ' OR '), 'false'))
        FROM jsonb_to_recordset(filter -> key) AS r (key text, tables jsonb))
    WHEN key = 'ops' THEN format('%L::text[]', ARRAY(SELECT jsonb_array_elements_text(filter -> key)))
    WHEN key = 'tables' THEN format('%L::integer[]', ARRAY(SELECT jsonb_array_elements_text(filter -> key)))
    ELSE format('%L', filter ->> key) END
$function$;
COMMENT ON FUNCTION threadline_internal.filter_value(jsonb, text) IS 'SQL for the value of one part of a filter.';

-- This condition alone decides whether a change matches a filter, for every caller, and it includes the position. How
-- changes are found is a separate question, and must not affect the result.
CREATE FUNCTION threadline_internal.timeline_condition(filter jsonb, before_at timestamptz DEFAULT NULL,
  before_id bigint DEFAULT NULL) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
DECLARE
  known text[] := '{action,action_id,actor_ref,correlation_id,column,since,on_behalf_of,ops,row_keys,tables,until,'
    'transaction_id}';
  -- As in threadline_internal.context_of, which takes longer to inline than a page takes to plan.
  own text := 'CASE WHEN c.context IS NULL THEN t.%1$s ELSE c.context %2$s %1$L END';
BEGIN
  RETURN concat_ws(E'\n   AND ', 'true',
    (SELECT string_agg(threadline_internal.render(CASE f.key
         WHEN 'action' THEN 'EXISTS (SELECT FROM threadline.audit_actions AS x
                                      WHERE x.transaction_id = c.transaction_id AND x.name = {value})'
         WHEN 'action_id' THEN 'c.transaction_id = (SELECT x.transaction_id FROM threadline.audit_actions AS x
                                                     WHERE x.id = {value})'
         WHEN 'actor_ref' THEN '{own} = {value}'
         WHEN 'column' THEN 'coalesce(c.changed_from, c.data_after) ? {value}'
         WHEN 'correlation_id' THEN '({own} = {value} OR EXISTS (
           SELECT FROM threadline.audit_actions AS x
            WHERE x.transaction_id = c.transaction_id AND x.correlation_id = {value}))'
         WHEN 'on_behalf_of' THEN '{own} = {value}'
         WHEN 'ops' THEN 'c.op = ANY ({value})'
         WHEN 'row_keys' THEN '{value}'
         WHEN 'since' THEN 'c.captured_at >= {value}'
         WHEN 'tables' THEN 'c.table_id = ANY ({value})'
         WHEN 'transaction_id' THEN 'c.transaction_id = {value}'
         WHEN 'until' THEN 'c.captured_at <= {value}'
       END, jsonb_build_object('value', threadline_internal.filter_value(filter, f.key),
              'own', format(own, f.key, CASE f.key WHEN 'correlation_id' THEN '->>' ELSE '->' END))), E'\n   AND '
                ORDER BY f.number)
       FROM unnest(known) WITH ORDINALITY AS f (key, number) WHERE filter ? f.key),
    CASE WHEN before_at IS NOT NULL THEN
      format('c.captured_at <= %1$L::timestamptz AND (c.captured_at, c.id) < (%1$L::timestamptz, %2$L::bigint)',
             before_at, before_id) END);
END
$function$;
COMMENT ON FUNCTION threadline_internal.timeline_condition(jsonb, timestamptz, bigint) IS
  'SQL for the changes that match a timeline filter, older than a position.';

-- Returns those of the changes under `found` that match the condition.
CREATE FUNCTION threadline_internal.changes_where(found text, condition text, max_rows integer DEFAULT NULL)
  RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render('SELECT c.*
      FROM threadline.audit_changes AS c
      LEFT JOIN threadline.audit_transactions AS t ON t.id = c.transaction_id
     WHERE {found} AND {condition}{newest}',
    jsonb_build_object('found', found, 'condition', condition,
      'newest', coalesce(' ORDER BY c.captured_at DESC, c.id DESC LIMIT ' || max_rows, '')))
   WHERE found IS NOT NULL
$function$;
COMMENT ON FUNCTION threadline_internal.changes_where(text, text, integer) IS
  'SQL for the changes that match two conditions: all of them, or the newest; NULL if the first condition is.';

-- A page of the timeline for exports. The images contain only what was recorded, under the present names and with the
-- present redaction. JSON is returned as text, as exact as in the database. The function is inlined, and sorts before
-- it creates the text, so that rows are sent while others are read.
CREATE FUNCTION threadline.timeline_export(filter jsonb DEFAULT '{}', tables regclass[] DEFAULT NULL,
  before_at timestamptz DEFAULT NULL,
  before_id bigint DEFAULT NULL, max_rows integer DEFAULT 1000)
RETURNS TABLE (id bigint, captured_at timestamptz, transaction_id uuid, table_schema text, table_name text, op text,
  table_pk text,
  row_key text, moved_key text, data_after text, changed_from text, occurred_at timestamptz, actor_ref text,
    on_behalf_of text, source text,
  correlation_id text, request_id text, job_id text, remote_ip text, meta text, database_role text,
    application_name text, actions text)
LANGUAGE sql STABLE
AS $function$
  SELECT c.id, c.captured_at, c.transaction_id, c.table_schema, c.table_name, c.op,
         CASE WHEN pg_catalog.cardinality(c.key_columns) OPERATOR(pg_catalog.=) 0 THEN '{}'
           WHEN pg_catalog.cardinality(c.key_columns) OPERATOR(pg_catalog.=) 1
             THEN pg_catalog.jsonb_build_object(c.key_columns[1], coalesce(c.redacted_after, c.redacted_before)
               OPERATOR(pg_catalog.->) c.key_columns[1])
           ELSE (SELECT pg_catalog.jsonb_object_agg(k, coalesce(c.redacted_after, c.redacted_before)
             OPERATOR(pg_catalog.->) k)
                   FROM pg_catalog.unnest(c.key_columns) AS k) END::pg_catalog.text,
         c.row_key, c.moved_key, c.redacted_after::pg_catalog.text, c.redacted_before::pg_catalog.text, c.occurred_at,
         c.actor_ref::pg_catalog.text, c.on_behalf_of::pg_catalog.text, c.source, c.correlation_id, c.request_id,
           c.job_id,
         pg_catalog.host(c.remote_ip), c.meta::pg_catalog.text, c.database_role, c.application_name,
           x.actions::pg_catalog.text
    FROM (SELECT c.*,
                 CASE WHEN c.is_redacted THEN (c.after OPERATOR(pg_catalog.-) c.excluded_columns)
                   OPERATOR(pg_catalog.||) coalesce((
                     SELECT pg_catalog.jsonb_object_agg(m, '[REDACTED]') FROM pg_catalog.unnest(c.masked_columns) AS m
                       WHERE c.after OPERATOR(pg_catalog.?) m), '{}')
                   ELSE c.after END AS redacted_after,
                 CASE WHEN c.is_redacted THEN (c.before OPERATOR(pg_catalog.-) c.excluded_columns)
                   OPERATOR(pg_catalog.||) coalesce((
                     SELECT pg_catalog.jsonb_object_agg(m, '[REDACTED]') FROM pg_catalog.unnest(c.masked_columns) AS m
                       WHERE c.before OPERATOR(pg_catalog.?) m), '{}')
                   ELSE c.before END AS redacted_before
            FROM (SELECT c.*, c.excluded_columns OPERATOR(pg_catalog.<>) '{}' OR c.masked_columns
              OPERATOR(pg_catalog.<>) '{}' AS is_redacted
                    FROM threadline_internal.timeline_rows(timeline_export.filter, timeline_export.tables,
                      timeline_export.before_at, timeline_export.before_id,
                                                  timeline_export.max_rows) AS c) AS c
           ORDER BY c.captured_at DESC, c.id DESC) AS c
   CROSS JOIN LATERAL threadline_internal.transaction_actions(c.transaction_id) AS x (actions)
$function$;
COMMENT ON FUNCTION threadline.timeline_export(jsonb, regclass[], timestamptz, bigint, integer) IS
  'A page of the changes that match a filter, newest first, in the format of exports; older than a position.';

-- Finds the positions of the newest changes of transactions. It processes the transactions from the newest to the
-- oldest, by start time. A transaction that began earlier than all of those cannot have a newer change than the ones
-- found, except within a moment, or if it is a long one: see threadline_internal.long_transactions. No transaction has
-- a change from before it began, so older partitions are neither read nor planned for. A transaction contributes no
-- more changes than requested, however many it has.
CREATE FUNCTION threadline_internal.newest_positions(plan threadline_internal.timeline_plan, before_at timestamptz,
  max_rows integer) RETURNS TABLE (transaction_id uuid, captured_at timestamptz, id bigint)
LANGUAGE plpgsql STABLE ROWS 100 SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET max_parallel_workers_per_gather = 0 SET jit = off
AS $function$
DECLARE
  -- $1 to $3 are the results so far, $4 is a time before which no results are needed, $5 and $6 are transactions and
  -- their start times.
  of_transactions text := threadline_internal.newest_of('unnest($5, $6) AS b (id, began) CROSS JOIN LATERAL',
    threadline_internal.changes_where('c.captured_at >= $4 AND c.transaction_id = b.id AND c.captured_at >= b.began',
      plan.condition, max_rows), max_rows);
  older_than uuid := threadline.first_id_after(least(before_at, (plan.filter ->> 'until')::timestamptz, 'infinity'));
  step integer := 50;
  found uuid[];
  begins timestamptz[];
  began timestamptz;
  oldest timestamptz;
  transactions uuid[];
  times timestamptz[];
  ids bigint[];
BEGIN
  LOOP
    EXECUTE format('SELECT array_agg(t.id), array_agg(t.occurred_at), min(t.occurred_at)
                      FROM (%s) AS f JOIN threadline.audit_transactions AS t USING (id)',
      threadline_internal.filtered_transactions(plan.filter, plan.filter_key, older_than, step)) INTO found, begins,
        began;
    EXIT WHEN found IS NULL;
    EXECUTE of_transactions INTO transactions, times, ids, oldest USING transactions, times, ids, began, found, begins;
    EXIT WHEN cardinality(found) < step;
    oldest := greatest(oldest, (plan.filter ->> 'since')::timestamptz);
    IF oldest >= began + threadline_internal.long_after() THEN
      SELECT array_agg(l.transaction_id), array_agg(l.occurred_at) INTO found, begins
        FROM threadline_internal.long_transactions_around(began, oldest) AS l;
      EXECUTE of_transactions INTO transactions, times, ids, oldest USING transactions, times, ids, oldest, found,
        begins;
      EXIT;
    END IF;
    older_than := (SELECT u FROM unnest(found) AS u ORDER BY u LIMIT 1);
    step := least(step * 2, 10000);
  END LOOP;
  RETURN QUERY SELECT * FROM unnest(transactions, times, ids);
END
$function$;
COMMENT ON FUNCTION threadline_internal.newest_positions(threadline_internal.timeline_plan, timestamptz, integer) IS
  'The positions of the newest changes of the transactions that a timeline filter selects, older than a position.';

CREATE FUNCTION threadline_internal.newest_of(within text, changes text, max_rows integer) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render('
    SELECT array_agg(n.transaction_id), array_agg(n.captured_at), array_agg(n.id),
           (array_agg(n.captured_at))[{max_rows}]
      FROM (SELECT p.*
              FROM (SELECT * FROM unnest($1, $2, $3) AS kept (transaction_id, captured_at, id)
                     UNION
                    SELECT c.transaction_id, c.captured_at, c.id FROM {within} ({changes}) AS c) AS p
             ORDER BY p.captured_at DESC, p.id DESC LIMIT {max_rows}) AS n',
    jsonb_build_object('within', within, 'changes', changes, 'max_rows', max_rows))
   WHERE changes IS NOT NULL
$function$;
COMMENT ON FUNCTION threadline_internal.newest_of(text, text, integer) IS
  'SQL for the positions of the newest changes, among the results so far and others.';

CREATE FUNCTION threadline_internal.page_by_transaction(plan threadline_internal.timeline_plan, before_at timestamptz,
  max_rows integer) RETURNS SETOF threadline.audit_changes
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN QUERY
    SELECT c.* FROM threadline_internal.newest_positions(plan, before_at, max_rows) AS p
      JOIN threadline.audit_changes AS c
        ON c.transaction_id = p.transaction_id AND c.captured_at = p.captured_at AND c.id = p.id
     ORDER BY c.captured_at DESC, c.id DESC;
END
$function$;
COMMENT ON FUNCTION threadline_internal.page_by_transaction(threadline_internal.timeline_plan, timestamptz, integer) IS
  'A page of the timeline, found by the transactions that the filter selects.';

-- The most recent month comes first: it is enough for most pages, and a plan for one partition takes almost no time.
CREATE FUNCTION threadline_internal.page_by_table(plan threadline_internal.timeline_plan, before_at timestamptz,
  max_rows integer) RETURNS SETOF threadline.audit_changes
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  month timestamptz := date_trunc('month', least(before_at, (plan.filter ->> 'until')::timestamptz, now()));
  span text;
  changes text;
  found integer;
  wanted integer := max_rows;
BEGIN
  FOREACH span IN ARRAY ARRAY[format('c.captured_at >= %L::timestamptz', month),
    format('c.captured_at < %L::timestamptz', month)] LOOP
    SELECT string_agg(format('(SELECT c.* FROM %s CROSS JOIN LATERAL (%s) AS c)', s.tables,
             threadline_internal.changes_where(s.condition || ' AND ' || span, plan.condition, wanted)), ' UNION ALL ')
      INTO changes FROM threadline_internal.timeline_sources(plan.filter, wanted) AS s;
    EXIT WHEN changes IS NULL;
    RETURN QUERY EXECUTE format('SELECT * FROM (%s) AS c ORDER BY c.captured_at DESC, c.id DESC LIMIT %s', changes,
      wanted);
    GET DIAGNOSTICS found = ROW_COUNT;
    wanted := wanted - found;
    EXIT WHEN wanted = 0;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.page_by_table(threadline_internal.timeline_plan, timestamptz, integer) IS
  'A page of the timeline, found by the tables that the filter names, or by its row.';

CREATE FUNCTION threadline_internal.timeline_page(filter jsonb, before_at timestamptz, before_id bigint,
  max_rows integer)
RETURNS SETOF threadline.audit_changes
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
SET enable_seqscan = off SET max_parallel_workers_per_gather = 0 SET jit = off
AS $function$
DECLARE
  plan threadline_internal.timeline_plan := threadline_internal.plan_timeline(filter, before_at, before_id);
BEGIN
  IF max_rows <= 0 THEN
    RETURN;
  ELSIF plan.by_transaction THEN
    RETURN QUERY SELECT * FROM threadline_internal.page_by_transaction(plan, before_at, max_rows);
  ELSE
    RETURN QUERY SELECT * FROM threadline_internal.page_by_table(plan, before_at, max_rows);
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.timeline_page(jsonb, timestamptz, bigint, integer) IS
  'The newest changes that match a timeline filter, older than a position.';

-- Decides how the changes of a page are found: by the transactions that the filter selects, or by the row or the
-- tables.

-- Returns where to find the transactions that one part of a filter selects. transaction_contexts contains all
-- transactions on behalf of someone.
CREATE FUNCTION threadline_internal.places_of_transactions(key text) RETURNS TABLE (relation text, id_column text,
  key_column text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT p.relation, p.id_column, p.key_column
    FROM (VALUES ('transaction_id', 'threadline.audit_transactions', 'id', 'id'),
                 ('action_id', 'threadline.audit_actions', 'transaction_id', 'id'),
                 ('action', 'threadline.audit_actions', 'transaction_id', 'name'),
                 ('actor_ref', 'threadline.audit_transactions', 'id', 'actor_ref'),
                 ('actor_ref', 'threadline_internal.transaction_contexts', 'transaction_id', 'actor_ref'),
                 ('on_behalf_of', 'threadline_internal.transaction_contexts', 'transaction_id', 'on_behalf_of'),
                 ('correlation_id', 'threadline.audit_transactions', 'id', 'correlation_id'),
                 ('correlation_id', 'threadline_internal.transaction_contexts', 'transaction_id', 'correlation_id'),
                 ('correlation_id', 'threadline.audit_actions', 'transaction_id', 'correlation_id'))
      AS p (key, relation, id_column, key_column)
   WHERE p.key = places_of_transactions.key
$function$;
COMMENT ON FUNCTION threadline_internal.places_of_transactions(text) IS
  'The tables that contain the transactions which one part of a timeline filter selects, and their columns.';

CREATE FUNCTION threadline_internal.filtered_transactions(filter jsonb, key text, older_than uuid DEFAULT NULL,
  max_rows integer DEFAULT NULL) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('SELECT f.id FROM (%s) AS f%s', string_agg(threadline_internal.render(
           '(SELECT DISTINCT x.{id} AS id FROM {relation} AS x WHERE x.{key} = {value}{older}{newest})',
           jsonb_build_object('id', p.id_column, 'relation', p.relation, 'key', p.key_column,
             'value', threadline_internal.filter_value(filter, filtered_transactions.key), 'newest', n.newest,
             'older', format(' AND x.%I < ', p.id_column) || quote_literal(older_than) || '::uuid')), ' UNION '),
           n.newest)
    FROM threadline_internal.places_of_transactions(key) AS p
   CROSS JOIN (SELECT coalesce(' ORDER BY id DESC LIMIT ' || max_rows, '')) AS n (newest)
   GROUP BY n.newest
$function$;
COMMENT ON FUNCTION threadline_internal.filtered_transactions(jsonb, text, uuid, integer) IS
  'SQL for the transactions that one part of a filter selects: all, or the newest that began before the given one.';

-- Returns the part that selects the fewest transactions, counting at most 1000 of each. The other parts are conditions.
CREATE FUNCTION threadline_internal.most_selective_key(filter jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET max_parallel_workers_per_gather = 0 SET jit = off
AS $function$
DECLARE
  keys text[] := ARRAY(
    SELECT k FROM unnest('{transaction_id,action_id,action,correlation_id,on_behalf_of,actor_ref}'::text[])
             WITH ORDINALITY AS k (k, n) WHERE filter ? k ORDER BY n);
  key text;
  fewest bigint;
  found bigint;
  chosen text := keys[1];
BEGIN
  IF cardinality(keys) > 1 AND chosen NOT IN ('transaction_id', 'action_id') THEN
    FOREACH key IN ARRAY keys LOOP
      found := threadline_internal.count_transactions(filter, key);
      IF fewest IS NULL OR found < fewest THEN
        fewest := found;
        chosen := key;
      END IF;
    END LOOP;
  END IF;
  RETURN chosen;
END
$function$;
COMMENT ON FUNCTION threadline_internal.most_selective_key(jsonb) IS
  'The part of a timeline filter that selects the fewest transactions; NULL if no part selects transactions.';

CREATE FUNCTION threadline_internal.count_transactions(filter jsonb, key text) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  found bigint;
BEGIN
  EXECUTE format('SELECT count(*) FROM (%s) AS f',
    threadline_internal.filtered_transactions(filter, key, 'ffffffff-ffff-ffff-ffff-ffffffffffff', 1000)) INTO found;
  RETURN found;
END
$function$;
COMMENT ON FUNCTION threadline_internal.count_transactions(jsonb, text) IS
  'Number of transactions that one part of a filter selects, up to 1000.';

-- Chooses the smaller set: a few transactions are found at once, and most rows have few changes.
CREATE FUNCTION threadline_internal.finds_by_transaction(filter jsonb, key text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
AS $function$
DECLARE
  few boolean;
BEGIN
  IF key IS NULL OR NOT filter ?| '{row_keys,tables}' THEN
    RETURN key IS NOT NULL;
  END IF;
  few := threadline_internal.count_transactions(filter, key) < 1000;
  RETURN few OR NOT filter ? 'row_keys' AND 10000 = (
    SELECT count(*) FROM (
      SELECT FROM threadline.audit_changes AS c
       WHERE c.table_id IN (SELECT a.id FROM threadline_internal.filtered_tables(filter) AS a) LIMIT 10000) AS f);
END
$function$;
COMMENT ON FUNCTION threadline_internal.finds_by_transaction(jsonb, text) IS
  'Whether the changes that match a timeline filter are found by their transactions.';

CREATE FUNCTION threadline_internal.plan_timeline(filter jsonb, before_at timestamptz, before_id bigint)
RETURNS threadline_internal.timeline_plan
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  plan threadline_internal.timeline_plan;
BEGIN
  plan.filter := filter;
  plan.condition := threadline_internal.timeline_condition(filter, before_at, before_id);
  plan.filter_key := threadline_internal.most_selective_key(filter);
  plan.by_transaction := threadline_internal.finds_by_transaction(filter, plan.filter_key);
  RETURN plan;
END
$function$;
COMMENT ON FUNCTION threadline_internal.plan_timeline(jsonb, timestamptz, bigint) IS
  'How the changes that match a timeline filter are found, older than a position.';

CREATE FUNCTION threadline_internal.filtered_tables(filter jsonb) RETURNS SETOF threadline.audited_tables
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT a.* FROM threadline.audited_tables AS a
   WHERE NOT filter ? 'tables' OR a.id IN (SELECT t.id::integer
      FROM jsonb_array_elements_text(filter -> 'tables') AS t (id))
$function$;
COMMENT ON FUNCTION threadline_internal.filtered_tables(jsonb) IS 'The tables that a timeline filter names, or all.';

-- Returns the types as which a key can be recorded, each with its condition. The index of text keys contains the start
-- of a key.
CREATE FUNCTION threadline_internal.row_key_conditions(row_key text) RETURNS TABLE (key_type text, condition text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT k.type, threadline_internal.render(CASE k.type
      WHEN 'text' THEN 'c.key_text = {key} AND left(c.key_text, 500) = left({key}, 500)'
      -- 007 is not a key, although the index finds 7.
      ELSE 'c.key_{type} = {key} AND c.key_{type}::text = {key}' END,
      jsonb_build_object('type', k.type, 'key', quote_nullable(row_key)))
    FROM unnest('{bigint,integer,text,uuid}'::text[]) AS k (type)
   WHERE CASE k.type
      WHEN 'text' THEN true
      WHEN 'uuid' THEN row_key ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
      ELSE row_key ~ '^-?[0-9]{1,19}$' AND row_key::numeric BETWEEN
        CASE k.type WHEN 'integer' THEN -2147483648 ELSE -9223372036854775808 END AND
        CASE k.type WHEN 'integer' THEN 2147483647 ELSE 9223372036854775807 END END
$function$;
COMMENT ON FUNCTION threadline_internal.row_key_conditions(text) IS
  'SQL for the changes of a row in each column of audit_changes that can contain its key.';

-- Returns where to find the changes of the row or tables of a filter, for queries that read each table a separately.
-- One plan for several tables reads too many rows: as many as requested from each. A plan that merges them takes longer
-- to create than a page takes to read.
CREATE FUNCTION threadline_internal.timeline_sources(filter jsonb, max_rows integer) RETURNS TABLE (tables text,
  condition text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE cardinality(s.ids) WHEN 1 THEN format('(SELECT %s) AS a (id)', s.ids[1])
           ELSE format('unnest(%L::integer[]) AS a (id)', s.ids) END,
         concat_ws(' AND ', 'c.table_id = a.id', s.condition)
    FROM (
      SELECT array_agg(a.id) AS ids, k.condition
        FROM jsonb_to_recordset(filter -> 'row_keys') AS r (key text, tables jsonb)
        JOIN threadline_internal.filtered_tables(filter) AS a ON r.tables @> to_jsonb(a.id)
        -- A key is stored as text until its table is known to have one of another type, and in its former type after a
        -- table lost its key.
        JOIN threadline_internal.row_key_conditions(r.key) AS k
          ON k.key_type IN ('text', a.key_type)
          OR a.key_type IS NULL AND k.key_type IN (SELECT t.key_type FROM threadline_internal.key_types AS t)
       WHERE filter ? 'row_keys'
       GROUP BY k.key_type, k.condition
      UNION ALL
      SELECT array_agg(a.id), NULL
        FROM threadline_internal.filtered_tables(filter) AS a WHERE NOT filter ? 'row_keys'
       GROUP BY CASE WHEN max_rows > 100 THEN a.id END) AS s
   WHERE s.ids IS NOT NULL
$function$;
COMMENT ON FUNCTION threadline_internal.timeline_sources(jsonb, integer) IS
  'SQL for the tables that a timeline filter names, and for their changes or those of the row that it names.';

-- Replaces the table names of the caller by the ids in the audit log, and a key by its recorded form.
CREATE FUNCTION threadline_internal.timeline_filter(filter jsonb, tables regclass[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  unaudited regclass;
BEGIN
  PERFORM threadline_internal.raise_unknown_filter(filter, '{action,action_id,actor_ref,correlation_id,column,since,'
    'on_behalf_of,ops,row_key,tables,until,transaction_id}');
  SELECT r INTO unaudited FROM unnest(tables) AS r WHERE NOT EXISTS (
      SELECT FROM threadline_internal.audited_table(r)) LIMIT 1;
  IF unaudited IS NOT NULL THEN
    RAISE EXCEPTION '% has no history: it is not audited', unaudited
      USING ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_filter', TABLE = unaudited::text,
        HINT = 'Put it under capture with threadline.audit_table.';
  END IF;
  IF tables IS NOT NULL THEN
    filter := filter || jsonb_build_object('tables', ARRAY(
      SELECT a.id FROM unnest(tables) AS r CROSS JOIN LATERAL threadline_internal.audited_table(r) AS a ORDER BY a.id));
  END IF;
  RETURN CASE WHEN filter ->> 'row_key' IS NULL THEN filter - 'row_key'
    ELSE threadline_internal.filtered_rows(filter) END;
END
$function$;
COMMENT ON FUNCTION threadline_internal.timeline_filter(jsonb, regclass[]) IS
  'A timeline filter that includes the tables and the row.';

-- Plain SQL with schema-qualified names, so that the planner can inline it. A function that returns rows is inlined
-- whatever it contains.
CREATE FUNCTION threadline_internal.action_json(action threadline.audit_actions) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE
AS $function$
  SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('id', $1.id, 'transaction_id', $1.transaction_id,
    'name', $1.name,
           'occurred_at', $1.occurred_at, 'actor_ref', $1.actor_ref, 'on_behalf_of', $1.on_behalf_of, 'status',
             $1.status,
           'reason', $1.reason, 'comment', $1.comment, 'correlation_id', $1.correlation_id, 'request_id',
             $1.request_id, 'job_id', $1.job_id))
         OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('meta', $1.meta)
$function$;
COMMENT ON FUNCTION threadline_internal.action_json(threadline.audit_actions) IS 'An action as JSON.';

CREATE FUNCTION threadline_internal.transaction_actions(transaction_id uuid) RETURNS SETOF jsonb
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
AS $function$
  SELECT coalesce(pg_catalog.jsonb_agg(threadline_internal.action_json(x) ORDER BY x.occurred_at, x.id), '[]')
    FROM threadline.audit_actions AS x WHERE x.transaction_id OPERATOR(pg_catalog.=) $1
$function$;
COMMENT ON FUNCTION threadline_internal.transaction_actions(uuid) IS
  'The actions of a transaction, in order: one JSON array.';

CREATE FUNCTION threadline_internal.timeline_table(sample anyelement) RETURNS TABLE (table_schema text, table_name text)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1 SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
   WHERE c.oid = (SELECT y.typrelid FROM pg_type AS y WHERE y.oid = pg_typeof(sample))
$function$;
COMMENT ON FUNCTION threadline_internal.timeline_table(anyelement) IS 'The name of a table, given a row of it.';

-- Returns the audited tables, with the processing that their images need. Inlined; OFFSET 0 prevents the planner from
-- computing it once per change.
CREATE FUNCTION threadline_internal.timeline_tables() RETURNS TABLE (id integer, table_schema text, table_name text,
  key_columns text[], excluded_columns text[], masked_columns text[], older jsonb, defaults jsonb, masks jsonb)
LANGUAGE sql STABLE
AS $function$
  SELECT (n.audited).id, n.table_schema, n.table_name, (n.audited).key_columns,
         (n.audited).excluded_columns,
         (n.audited).masked_columns,
         CASE WHEN (n.audited).older_definitions OPERATOR(pg_catalog.<>) '{}' THEN (n.audited).older_definitions END,
         CASE WHEN (n.audited).definition OPERATOR(pg_catalog.@?) '$.columns.*.default' THEN (
             SELECT pg_catalog.jsonb_object_agg(name, value OPERATOR(pg_catalog.->) 'default')
               FROM pg_catalog.jsonb_each((n.audited).definition OPERATOR(pg_catalog.->) 'columns') AS d (name, value)
              WHERE value OPERATOR(pg_catalog.?) 'default') ELSE '{}' END,
         CASE WHEN (n.audited).masked_columns OPERATOR(pg_catalog.<>) '{}' THEN (
             SELECT pg_catalog.jsonb_object_agg(m, '[REDACTED]') FROM pg_catalog.unnest((n.audited).masked_columns)
               AS m)
           ELSE '{}' END
    FROM threadline_internal.audited_table_names AS n
  OFFSET 0
$function$;
COMMENT ON FUNCTION threadline_internal.timeline_tables() IS
  'The audited tables, with the processing that their images need to be read as of today.';

-- Returns a page with everything needed to present it: names, transaction, the context of each change, images under the
-- present names, and the processing that these need. Inlined; OFFSET 0 prevents the planner from computing it once per
-- reference.
CREATE FUNCTION threadline_internal.timeline_rows(filter jsonb, tables regclass[], before_at timestamptz,
  before_id bigint, max_rows integer)
RETURNS TABLE (id bigint, captured_at timestamptz, transaction_id uuid, op text, row_key text, moved_key text,
  data_after jsonb, changed_from jsonb,
  after jsonb, before jsonb, whole_before jsonb, table_schema text, table_name text, key_columns text[],
    excluded_columns text[], masked_columns text[], defaults jsonb,
  masks jsonb, occurred_at timestamptz, actor_ref jsonb, on_behalf_of jsonb, source text, correlation_id text,
    request_id text, job_id text,
  remote_ip inet, meta jsonb, database_role text, application_name text)
LANGUAGE sql STABLE
AS $function$
  SELECT c.id, c.captured_at, c.transaction_id, c.op, threadline_internal.key_of(c), c.moved_key, c.data_after,
    c.changed_from,
         CASE WHEN o.older IS NULL THEN c.data_after
           ELSE threadline_internal.rename_image(c.data_after, o.older) END,
         CASE WHEN o.older IS NULL THEN c.changed_from
           ELSE threadline_internal.rename_image(c.changed_from, o.older) END,
         CASE WHEN o.older IS NULL THEN coalesce(c.data_after OPERATOR(pg_catalog.||) c.changed_from, c.changed_from)
           ELSE threadline_internal.rename_image(
             coalesce(c.data_after OPERATOR(pg_catalog.||) c.changed_from, c.changed_from), o.older) END,
         a.table_schema, a.table_name, a.key_columns, a.excluded_columns, a.masked_columns, a.defaults, a.masks,
           t.occurred_at,
         k.actor_ref, k.on_behalf_of, k.source, k.correlation_id, k.request_id, k.job_id, k.remote_ip, k.meta,
         t.database_role, t.application_name
    FROM threadline_internal.timeline_page(
           threadline_internal.timeline_filter(coalesce(timeline_rows.filter, '{}'), timeline_rows.tables),
           timeline_rows.before_at, timeline_rows.before_id, timeline_rows.max_rows) AS c
    JOIN threadline_internal.timeline_tables() AS a ON a.id OPERATOR(pg_catalog.=) c.table_id
   CROSS JOIN LATERAL (SELECT a.older OPERATOR(pg_catalog.->) c.definition_id::pg_catalog.text AS older) AS o
    LEFT JOIN threadline.audit_transactions AS t ON t.id OPERATOR(pg_catalog.=) c.transaction_id
   CROSS JOIN LATERAL threadline_internal.context_of(c.context, t) AS k
  OFFSET 0
$function$;
COMMENT ON FUNCTION threadline_internal.timeline_rows(jsonb, regclass[], timestamptz, bigint, integer) IS
  'A page of the changes that match a filter, with everything needed to present them.';

-- Rows and diffs equal those of threadline_internal.row_expression and threadline_internal.diff_expression, which are
-- generated for one table.
CREATE FUNCTION threadline.timeline(filter jsonb DEFAULT '{}', tables regclass[] DEFAULT NULL,
  before_at timestamptz DEFAULT NULL,
  before_id bigint DEFAULT NULL, max_rows integer DEFAULT 50)
RETURNS TABLE (table_schema text, table_name text, actions jsonb, id bigint, transaction_id uuid, op text,
  captured_at timestamptz,
  row_key text, moved_key text, changed_fields text[], diff jsonb, "row" jsonb, row_before jsonb, actor_ref jsonb,
    on_behalf_of jsonb,
  source text, correlation_id text, request_id text, job_id text, remote_ip inet, meta jsonb, occurred_at timestamptz,
    database_role text,
  application_name text)
LANGUAGE sql STABLE
AS $function$
  SELECT c.table_schema, c.table_name, x.actions, c.id, c.transaction_id, c.op, c.captured_at, c.row_key, c.moved_key,
         ARRAY(SELECT pg_catalog.jsonb_object_keys(coalesce(c.changed_from, c.data_after)
           OPERATOR(pg_catalog.-) ''::pg_catalog.text)),
         (SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('column', k)
                   OPERATOR(pg_catalog.||) CASE WHEN c.row_before OPERATOR(pg_catalog.?) k
                     THEN pg_catalog.jsonb_build_object('before', c.row_before OPERATOR(pg_catalog.->) k) ELSE '{}' END
                   OPERATOR(pg_catalog.||) CASE WHEN c.row_after OPERATOR(pg_catalog.?) k
                     THEN pg_catalog.jsonb_build_object('after', c.row_after OPERATOR(pg_catalog.->) k) ELSE '{}' END
                   OPERATOR(pg_catalog.||) CASE WHEN c.masks OPERATOR(pg_catalog.?) k
                     THEN '{"masked": true}'::pg_catalog.jsonb ELSE '{}' END
                   ORDER BY k COLLATE pg_catalog."C"), '[]')
            FROM pg_catalog.jsonb_object_keys((CASE WHEN c.after IS NULL OR c.before IS NULL THEN
              coalesce(c.row_after, c.row_before) ELSE c.before END) OPERATOR(pg_catalog.-) ''::pg_catalog.text) AS k
           WHERE c.row_before OPERATOR(pg_catalog.?) k OR c.row_after OPERATOR(pg_catalog.?) k),
         coalesce(c.row_after, c.row_before), c.row_before,
         c.actor_ref, c.on_behalf_of, c.source, c.correlation_id, c.request_id, c.job_id, c.remote_ip, c.meta,
           c.occurred_at, c.database_role,
         c.application_name
    FROM (SELECT c.*, ((c.defaults OPERATOR(pg_catalog.||) c.after) OPERATOR(pg_catalog.-) c.excluded_columns)
      OPERATOR(pg_catalog.||) c.masks AS row_after,
                 ((c.defaults OPERATOR(pg_catalog.||) c.whole_before) OPERATOR(pg_catalog.-) c.excluded_columns)
                   OPERATOR(pg_catalog.||) c.masks AS row_before
            FROM threadline_internal.timeline_rows(timeline.filter, timeline.tables, timeline.before_at,
              timeline.before_id, timeline.max_rows) AS c
           ORDER BY c.captured_at DESC, c.id DESC) AS c
   CROSS JOIN LATERAL threadline_internal.transaction_actions(c.transaction_id) AS x (actions)
   ORDER BY c.captured_at DESC, c.id DESC
$function$;
COMMENT ON FUNCTION threadline.timeline(jsonb, regclass[], timestamptz, bigint, integer) IS
  'A page of the changes that match a filter, newest first, each with its transaction and the actions of that '
  'transaction; older than a position.';

CREATE FUNCTION threadline.timeline_count(filter jsonb DEFAULT '{}', tables regclass[] DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
DECLARE
  resolved jsonb := threadline_internal.timeline_filter(coalesce(filter, '{}'), tables);
  key text := threadline_internal.most_selective_key(resolved);
  allowed text := threadline_internal.timeline_condition(resolved);
  parts text;
  total bigint;
BEGIN
  IF resolved ? 'row_keys' AND NOT threadline_internal.finds_by_transaction(resolved, key) THEN
    SELECT string_agg(format('SELECT c.id FROM %s CROSS JOIN LATERAL (%s) AS c', s.tables,
             threadline_internal.changes_where(s.condition, allowed)), ' UNION ALL ')
      INTO parts FROM threadline_internal.timeline_sources(resolved, 1) AS s;
  ELSE
    parts := threadline_internal.changes_where(coalesce(
      'c.transaction_id IN (' || threadline_internal.filtered_transactions(resolved, key) || ')', 'true'), allowed);
  END IF;
  EXECUTE format('SELECT count(*) FROM (%s) AS c', coalesce(parts, 'SELECT WHERE false')) INTO total;
  RETURN total;
END
$function$;
COMMENT ON FUNCTION threadline.timeline_count(jsonb, regclass[]) IS 'Number of changes that match a timeline filter.';

-- Queries for audit transactions and actions, newest first. Their ids are UUIDs of version 7, so ids sort by time, and
-- the position of a page is an id.

-- Applies to every index column with such an id.
CREATE FUNCTION threadline_internal.id_condition(id_column text, filter jsonb, before_id uuid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
  SELECT coalesce(string_agg(format(' AND %s %s %L::uuid', id_column, b.operator, b.id), '' ORDER BY b.number), '')
    FROM (VALUES (1, '>=', threadline.first_id_after((filter ->> 'since')::timestamptz - interval '1 us')),
                 (2, '<', threadline.first_id_after((filter ->> 'until')::timestamptz)),
                 (3, '<', before_id)) AS b (number, operator, id)
   WHERE CASE b.number WHEN 1 THEN filter ? 'since' WHEN 2 THEN filter ? 'until' ELSE before_id IS NOT NULL END
$function$;
COMMENT ON FUNCTION threadline_internal.id_condition(text, jsonb, uuid) IS
  'SQL condition that an id is between the times of a filter, and before the position of a page.';

-- Returns the condition on a transaction t, without the part of the filter that is already applied. A transaction
-- matches an actor who began it, who changed something in it in a nested audited transaction, or who recorded an action
-- in it; the same holds for a correlation id. OFFSET 0 forces one look-up per transaction, where the planner might
-- otherwise first collect everything of a busy actor.
CREATE FUNCTION threadline_internal.transaction_condition(filter jsonb, seen_to text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(string_agg(threadline_internal.render(CASE k
      WHEN 'action' THEN 'EXISTS (SELECT FROM threadline.audit_actions AS x
                                   WHERE x.transaction_id = t.id AND x.name = {value} OFFSET 0)'
      WHEN 'since' THEN 't.occurred_at >= {value}'
      WHEN 'until' THEN 't.occurred_at <= {value}'
      WHEN 'transaction_id' THEN 't.id = {value}'
      ELSE '(t.{key} = {value}
        OR EXISTS (SELECT FROM threadline.audit_actions AS x
                    WHERE x.transaction_id = t.id AND x.{key} = {value} OFFSET 0)
        OR EXISTS (SELECT FROM threadline_internal.transaction_contexts AS x
                    WHERE x.transaction_id = t.id AND x.{key} = {value} OFFSET 0))' END,
      jsonb_build_object('key', k, 'value', threadline_internal.filter_value(filter, k))),
    E'\n   AND ' ORDER BY k), 'true')
    FROM jsonb_object_keys(filter) AS k WHERE k IS DISTINCT FROM seen_to
$function$;
COMMENT ON FUNCTION threadline_internal.transaction_condition(jsonb, text) IS
  'SQL for the transactions that match a filter, except one part of it.';

-- The most selective part of the filter determines where to search, in index order in each place; the result is the
-- newest of all.
CREATE FUNCTION threadline.transactions(filter jsonb DEFAULT '{}', before_id uuid DEFAULT NULL,
  max_rows integer DEFAULT 50)
RETURNS TABLE (id uuid, occurred_at timestamptz, actor_ref jsonb, on_behalf_of jsonb, source text, correlation_id text,
  request_id text, job_id text, remote_ip inet, meta jsonb, database_role text, application_name text, actions jsonb)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
#variable_conflict use_column
DECLARE
  key text := (SELECT k FROM unnest('{transaction_id,action,correlation_id,on_behalf_of,actor_ref}'::text[])
                        WITH ORDINALITY AS k (k, n) WHERE filter ? k ORDER BY n LIMIT 1);
  value text := threadline_internal.filter_value(filter, key);
  condition text;
  places text;
  newest uuid[];
BEGIN
  PERFORM threadline_internal.raise_unknown_filter(filter,
    '{action,actor_ref,correlation_id,since,on_behalf_of,until,transaction_id}');
  condition := threadline_internal.transaction_condition(filter, key)
            || threadline_internal.id_condition('t.id', filter, before_id);
  -- A transaction also matches the actor of an action in it.
  SELECT string_agg(threadline_internal.render('(SELECT DISTINCT t.id
      FROM {relation} AS x JOIN threadline.audit_transactions AS t ON t.id = x.{id}
     WHERE {named} AND {condition} ORDER BY t.id DESC LIMIT $1)', jsonb_build_object(
           'relation', p.relation, 'id', p.id_column, 'condition', condition,
           'named', format('x.%s = %s%s', p.key_column, value,
             threadline_internal.id_condition('x.' || p.id_column, filter, before_id)))), ' UNION ')
    INTO places
    FROM (SELECT * FROM threadline_internal.places_of_transactions(key)
          UNION ALL
          SELECT 'threadline.audit_actions', 'transaction_id', key WHERE key IN ('actor_ref', 'on_behalf_of')) AS p;
  EXECUTE format('SELECT array_agg(n.id) FROM (SELECT f.id FROM (%s) AS f ORDER BY f.id DESC LIMIT $1) AS n',
    coalesce(places, format('SELECT t.id FROM threadline.audit_transactions AS t WHERE %s ORDER BY t.id DESC LIMIT $1',
      condition))) INTO newest USING max_rows;
  RETURN QUERY
    SELECT t.id, t.occurred_at, t.actor_ref, t.on_behalf_of, t.source, t.correlation_id, t.request_id, t.job_id,
      t.remote_ip,
           t.meta, t.database_role, t.application_name,
           (SELECT x.actions FROM threadline_internal.transaction_actions(t.id) AS x (actions))
      FROM threadline.audit_transactions AS t WHERE t.id = ANY (newest) ORDER BY t.id DESC LIMIT max_rows;
END
$function$;
COMMENT ON FUNCTION threadline.transactions(jsonb, uuid, integer) IS
  'A page of the audit transactions that match a filter, newest first, each with its actions; older than a position.';

-- Finds where capture differs from its definition, and so may have missed changes. Capture that is merely out of date
-- is reported separately. PL/pgSQL caches its plans, which here take longer to create than to run, and audit_table runs
-- these checks on every start of an application.

-- Returns the problems of the triggers of a table.
CREATE FUNCTION threadline_internal.health_triggers(audited threadline.audited_tables) RETURNS TABLE ("check" text,
  relation regclass, message text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH wrong AS MATERIALIZED (SELECT w.* FROM threadline_internal.wrong_triggers(audited) AS w)
  SELECT w."check", w.relation, format('trigger %I%s %s', w.name,
           CASE WHEN w.relation <> audited.relation THEN format(' of partition %s', w.relation) END, w.fault)
    FROM wrong AS w
  UNION ALL
  SELECT 'trigger_switched', s.relation, format('the capture triggers of %s were switched off and on, or made anew',
           s.relation)
    FROM threadline_internal.switched_triggers(audited) AS s (relation)
   WHERE s.relation NOT IN (SELECT w.relation FROM wrong AS w);
END
$function$;
COMMENT ON FUNCTION threadline_internal.health_triggers(threadline.audited_tables) IS
  'Triggers of a table that are missing, disabled, or changed.';

-- Returns the capture functions of a table, and what they were generated from. PostgreSQL gives a function another row
-- version and place when it is altered in any way, so an unchanged result means unaltered functions.
CREATE FUNCTION threadline_internal.present_function_versions(audited threadline.audited_tables) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN md5(concat_ws(' ', audited.id, audited.relation::oid, audited.table_schema, audited.table_name,
      audited.key_columns, audited.key_type, audited.excluded_columns, audited.masked_columns, audited.hashed_columns,
      audited.granularity, audited.definition_version, audited.definition, audited.definition_id))
    || (SELECT string_agg(concat(' ', p.oid, ':', p.xmin, ':', p.ctid), '' ORDER BY e.event)
          FROM unnest('{delete, insert, truncate, update}'::text[]) AS e (event)
          JOIN pg_proc AS p
            ON p.oid = to_regprocedure(format('threadline_internal.capture_%s_%s()', audited.id, e.event)));
END
$function$;
COMMENT ON FUNCTION threadline_internal.present_function_versions(threadline.audited_tables) IS
  'The row versions of the capture functions of a table, with a hash of what they were generated from.';

-- Returns the capture functions that differ from the generated ones. Generating them again is slow, and is skipped if
-- their versions have not changed.
CREATE FUNCTION threadline_internal.health_functions(audited threadline.audited_tables) RETURNS TABLE ("check" text,
  relation regclass, message text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
SET standard_conforming_strings = on
AS $function$
#variable_conflict use_column
BEGIN
  -- An older generator wrote a different function, and the generator no longer knows a key that was renamed or retyped
  -- since.
  IF audited.definition_version <> threadline_internal.definition_version()
    OR audited.catalog_versions ->> 'database' = threadline_internal.database_identity()
      AND audited.catalog_versions ->> 'functions' = threadline_internal.present_function_versions(audited)
    OR EXISTS (SELECT FROM unnest(audited.key_columns) AS k (name)
                 LEFT JOIN pg_attribute AS a ON a.attrelid = audited.relation AND a.attname = k.name
                   AND NOT a.attisdropped
                WHERE threadline_internal.type_shape(a.atttypid, a.atttypmod) IS DISTINCT
                  FROM audited.definition #>> ARRAY['columns', k.name, 'type']) THEN
    RETURN;
  END IF;
  RETURN QUERY
  SELECT 'function_replaced', audited.relation,
    format('function threadline_internal.capture_%s_%s() is another one than Threadline made', audited.id, s.event)
    FROM threadline_internal.trigger_sources(audited) AS s
    JOIN pg_proc AS p ON p.oid = to_regprocedure(format('threadline_internal.capture_%s_%s()', audited.id, s.event))
   WHERE p.prosrc <> s.source OR NOT p.prosecdef OR p.proconfig IS DISTINCT
     FROM threadline_internal.pinned_settings(s.event)
      OR p.prolang <> (SELECT oid FROM pg_language WHERE lanname = 'plpgsql');
END
$function$;
COMMENT ON FUNCTION threadline_internal.health_functions(threadline.audited_tables) IS
  'Capture functions of a table that differ from the generated ones.';

-- Returns rows that were added or removed without firing the triggers, and changes that were recorded although nobody
-- made them.
CREATE FUNCTION threadline_internal.health_rows(audited threadline.audited_tables) RETURNS TABLE ("check" text,
  relation regclass, message text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT 'loading_recorded', audited.relation,
    'its rows were loaded while its capture triggers were there, so that changes were recorded which nobody made'
   WHERE threadline_internal.loading_was_recorded(audited)
  UNION ALL
  SELECT 'partition_moved', audited.relation, m.gap FROM threadline_internal.member_gap(audited) AS m (gap)
   WHERE m.gap IS NOT NULL;
END
$function$;
COMMENT ON FUNCTION threadline_internal.health_rows(threadline.audited_tables) IS
  'Rows of a table that were loaded, or added or removed with a partition, without being captured.';

CREATE FUNCTION threadline_internal.health_capture(audited threadline.audited_tables) RETURNS TABLE ("check" text,
  relation regclass, message text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT * FROM threadline_internal.health_triggers(audited)
  UNION ALL
  SELECT * FROM threadline_internal.health_functions(audited)
  UNION ALL
  SELECT * FROM threadline_internal.health_rows(audited);
END
$function$;
COMMENT ON FUNCTION threadline_internal.health_capture(threadline.audited_tables) IS
  'Problems of the capture of a table: triggers, capture functions, and rows and partitions that bypassed capture.';

CREATE FUNCTION threadline.exempt_table(relation regclass, reason text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  refusal text;
  hint text;
BEGIN
  -- The same lock as audit_table, so that two sessions cannot audit and exempt a table at the same time.
  PERFORM threadline_internal.take_lock('definitions');
  IF threadline_internal.is_blank(exempt_table.reason) THEN
    refusal := 'there is no reason';
    hint := 'Say why it need not be audited: whoever asks later reads it in threadline.coverage.';
  ELSIF EXISTS (SELECT FROM threadline_internal.audited_table(exempt_table.relation) AS a
                 WHERE a.capture_ended_at IS NULL) THEN
    refusal := 'it is audited';
    hint := format('End its capture first: SELECT threadline.unaudit_table(%L);', relation);
  ELSIF NOT EXISTS (SELECT FROM threadline.coverage AS c JOIN pg_namespace AS n ON n.nspname = c.table_schema
                      JOIN pg_class AS r ON r.relnamespace = n.oid AND r.relname = c.table_name
                     WHERE r.oid = exempt_table.relation) THEN
    refusal := 'nobody asks for it to be audited';
    hint := 'Only the tables of threadline.coverage can be exempt: not views, partitions and temporary tables, nor '
      'those of the server and of extensions.';
  END IF;
  IF refusal IS NOT NULL THEN
    RAISE EXCEPTION 'cannot exempt %: %', coalesce(relation::text, 'NULL'), refusal
      USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_exempt_table', HINT = hint;
  END IF;
  -- Rows for dropped tables are not needed: a recreated table is a different table.
  DELETE FROM threadline.exempt_tables AS e
   WHERE e.relation = exempt_table.relation
      OR NOT threadline_internal.is_said_of(e.relation, e.table_schema, e.table_name, e.database);
  INSERT INTO threadline.exempt_tables (relation, reason, exempted_at, exempted_by, actor_ref, table_schema,
    table_name, database)
  SELECT exempt_table.relation, exempt_table.reason, now(), current_user,
         threadline_internal.read_actor(nullif(current_setting('threadline.actor_ref', true), '')),
         n.nspname, c.relname, threadline_internal.database_identity()
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = exempt_table.relation;
END
$function$;
COMMENT ON FUNCTION threadline.exempt_table(regclass, text) IS
  'Exempts a table from auditing, with a reason. An audited table is rejected, and audit_table rejects an exempt '
  'table, so that neither decision silently overrides the other.';

CREATE FUNCTION threadline.unexempt_table(relation regclass) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  DELETE FROM threadline.exempt_tables AS e WHERE e.relation = unexempt_table.relation;
  RETURN FOUND;
END
$function$;
COMMENT ON FUNCTION threadline.unexempt_table(regclass) IS
  'Removes the exemption of a table from auditing; returns false if there was none.';

-- Returns the tables without a decision, including tables that replaced an audited one.
CREATE FUNCTION threadline_internal.health_uncovered() RETURNS TABLE ("check" text, severity text, table_schema text,
  table_name text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'uncovered', 'warning', c.table_schema, c.table_name, 'the table is neither audited nor exempt',
         format('SELECT threadline.audit_table(%1$L); or SELECT threadline.exempt_table(%1$L, ''why'');',
           format('%I.%I', c.table_schema, c.table_name))
    FROM threadline.coverage AS c WHERE c.state = 'uncovered'
$function$;
COMMENT ON FUNCTION threadline_internal.health_uncovered() IS
  'A finding for each table that is neither audited nor exempt.';

-- Describes the changes in words. There is at least one if audit_table would redefine the capture. More than 60 lines,
-- one query for everything that can change.
CREATE FUNCTION threadline_internal.health_definition(audited threadline.audited_tables) RETURNS SETOF text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH described AS (
    SELECT threadline_internal.describe_table(audited.relation, audited.definition,
             threadline_internal.redacted_names(audited)) AS present, audited.definition AS defined
  ), renamed AS (
    SELECT d.key AS old_name, p.key AS new_name
      FROM described, jsonb_each(defined -> 'columns') AS d, jsonb_each(present -> 'columns') AS p
     WHERE present -> 'oid' = defined -> 'oid' AND present -> 'database' = defined -> 'database'
       AND d.value -> 'number' = p.value -> 'number' AND d.key <> p.key
  ), changes AS (
    SELECT 1 AS part, format('column %I is now %I', old_name, new_name) AS change FROM renamed
    UNION ALL
    SELECT 2, format('column %I %s', name, CASE WHEN d.value IS NULL THEN 'is new' WHEN p.value IS NULL THEN 'is gone'
             WHEN p.value -> 'type' <> d.value -> 'type' THEN format('is now of type %s', p.value ->> 'type')
               ELSE 'is defined anew' END)
      FROM described
     CROSS JOIN LATERAL (SELECT * FROM jsonb_each(present -> 'columns')) AS p (name, value)
      FULL JOIN (SELECT c.* FROM described, jsonb_each(defined -> 'columns') AS c) AS d (name, value) USING (name)
     WHERE p.value IS DISTINCT FROM d.value AND name NOT IN (SELECT old_name FROM renamed UNION ALL SELECT new_name
       FROM renamed)
    UNION ALL
    SELECT 3, format('partition %s is new: a TRUNCATE of it alone is not recorded', p::oid::regclass)
      FROM described, jsonb_array_elements_text(present -> 'partitions') AS p
        WHERE NOT defined -> 'partitions' @> to_jsonb(p::bigint)
    UNION ALL
    SELECT 4, format('the primary key is now (%s)', array_to_string(k.columns, ', '))
      FROM threadline_internal.primary_key(audited.relation) AS k WHERE (k.columns, k.key_type) IS DISTINCT
        FROM (audited.key_columns, audited.key_type)
    UNION ALL
    SELECT 5, format('capture by %s would be exact', threadline_internal.granularity_for(audited.relation))
     WHERE audited.granularity <> coalesce(audited.requested_granularity,
       threadline_internal.granularity_for(audited.relation))
    UNION ALL
    SELECT 6, format('it was %I.%I', audited.table_schema, audited.table_name)
      FROM pg_class AS c WHERE c.oid = audited.relation
       AND (c.relnamespace::regnamespace::text, c.relname) IS DISTINCT FROM (quote_ident(audited.table_schema),
         audited.table_name)
    UNION ALL
    SELECT 8, format('column %I was rewritten, or stands behind one that was', c.name)
      FROM threadline_internal.rewritten_columns(audited) AS r
      JOIN threadline_internal.columns_of(audited.relation) AS c
        USING (number)
     WHERE r.certain
    UNION ALL
    SELECT 8, format('labels of column %I have other names', p.key)
      FROM threadline.table_definitions AS d
     CROSS JOIN jsonb_each((threadline_internal.describe_definition(audited)).columns) AS p
      JOIN jsonb_each(d.columns) AS o ON o.value -> 'number' = p.value -> 'number'
     WHERE d.id = audited.definition_id
       AND threadline_internal.renamed_labels(o.value -> 'labels', p.value -> 'labels') <> '{}'
    UNION ALL
    SELECT 8, 'changes were recorded under definitions that no refresh has followed'
      FROM threadline.table_definitions AS d
     WHERE d.table_id = audited.id AND d.id > audited.definition_id
    HAVING count(*) > 0
    UNION ALL
    SELECT 8, 'it, or a type of it, has another owner' FROM described
     WHERE (present -> 'owner', present -> 'trusted') IS DISTINCT FROM (defined -> 'owner', defined -> 'trusted')
  )
  -- In a restored database the column numbers and partitions differ, while everything else may be the same.
  SELECT c.change
    FROM described
   CROSS JOIN LATERAL (SELECT part, change FROM changes WHERE part > 3 OR present -> 'oid' = defined -> 'oid'
                       UNION ALL SELECT 7, 'it was restored, or created anew' WHERE present -> 'oid' <> defined -> 'oid'
                       UNION ALL SELECT 7, CASE WHEN present -> 'database' <> defined -> 'database'
                           THEN 'it was restored, or created anew'
                           WHEN present -> 'partitions' <> defined -> 'partitions' THEN 'a partition is gone'
                           ELSE 'it is laid out anew' END
                          WHERE present IS DISTINCT FROM defined AND present -> 'oid' = defined -> 'oid'
                            AND NOT EXISTS (SELECT FROM changes WHERE part < 4 OR part = 8)) AS c
   ORDER BY c.part, c.change;
END
$function$;
COMMENT ON FUNCTION threadline_internal.health_definition(threadline.audited_tables) IS
  'Changes of a table since its capture was defined.';

CREATE FUNCTION threadline_internal.health_partitions() RETURNS TABLE ("check" text, severity text, table_schema text,
  table_name text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC'
AS $function$
  SELECT 'partition_missing', 'warning', 'threadline', 'audit_changes',
         format('there is no partition for the changes of %s', to_char(m, 'YYYY-MM')),
         CASE WHEN to_regclass(name) IS NULL THEN 'SELECT threadline.maintain(); and let it be called every day.'
           ELSE format('ALTER TABLE threadline.audit_changes ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L);', name,
             m, m + interval '1 month') END
    FROM generate_series(date_trunc('month', now()), date_trunc('month', now()) + interval '1 month',
      interval '1 month') AS m
   CROSS JOIN LATERAL (SELECT 'threadline.audit_changes_' || to_char(m, 'YYYY_MM')) AS p (name)
   WHERE NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = 'threadline.audit_changes'::regclass
     AND inhrelid = to_regclass(name))
  UNION ALL
  SELECT 'default_partition', 'warning', 'threadline', 'audit_changes_default',
         format('%s changes, the latest of %s, stand in the default partition', d.count, d.latest),
         format('SELECT threadline.maintain(%s); and let it be called every day.', greatest(3,
           (extract(year FROM d.latest) - extract(year FROM now())) * 12 + extract(month FROM d.latest) - extract(month
             FROM now())))
    FROM (SELECT count(*), max(c.captured_at) AS latest FROM threadline.audit_changes_default AS c) AS d
   WHERE d.count > 0
  UNION ALL
  SELECT 'key_index_missing', 'warning', 'threadline', m.partition,
         'reading the history of a row reads all changes of its table in that month',
         m.concurrent_statement || '; or threadline maintain.'
    FROM threadline_internal.missing_key_indexes() AS m
  UNION ALL
  SELECT 'partition_kept', 'warning', 'threadline', c.relname,
         'its changes were purged; it is empty, and something depends on it',
         format('DROP TABLE %s CASCADE; which drops what depends on it, too.', c.oid::regclass)
    FROM pg_class AS c
   WHERE c.relnamespace = 'threadline'::regnamespace AND c.relname LIKE 'purged#_audit#_changes#_%' ESCAPE '#'
$function$;
COMMENT ON FUNCTION threadline_internal.health_partitions() IS 'Problems of the partitions of the audit log.';

-- Returns all problems. It only reads, with the rights of the caller.
CREATE FUNCTION threadline_internal.health()
RETURNS TABLE ("check" text, severity text, table_schema text, table_name text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT h.* FROM (SELECT * FROM threadline_internal.health_tables()
                   UNION ALL SELECT * FROM threadline_internal.health_partitions()
                   UNION ALL SELECT * FROM threadline_internal.health_sequences()
                   UNION ALL SELECT * FROM threadline_internal.health_foreign()
                   UNION ALL SELECT * FROM threadline_internal.health_uncovered()
                   UNION ALL SELECT * FROM threadline_internal.health_rights()
                   UNION ALL SELECT * FROM threadline_internal.health_upgrades()) AS h
   ORDER BY h.severity, h.table_schema NULLS LAST, h.table_name, h."check", h.message
$function$;
COMMENT ON FUNCTION threadline_internal.health() IS
  'Problems of the audit log and its capture, errors first, each with advice; empty if there are none.';

-- Problems that a restore or a copy can cause in the audit log itself.

-- Returns identity sequences that are behind the ids in their tables. Logical replication does not copy sequences.
CREATE FUNCTION threadline_internal.health_sequences()
RETURNS TABLE ("check" text, severity text, table_schema text, table_name text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'sequence_behind', 'error', 'threadline', i.name,
         format('the sequence of its ids is at %s, and the greatest id is %s', n.next_id, i.greatest),
         -- The sequence never goes back, even if the hint is old.
         format('SELECT setval(%1$L, greatest(%2$s, nextval(%1$L)));', q.sequence, i.greatest)
    FROM (SELECT 'audit_changes' AS name, (
             -- The newest changes have the greatest ids; reading all of them would take long.
             SELECT max(c.id) FROM (SELECT l.id FROM threadline.audit_changes AS l
                                     ORDER BY l.transaction_id DESC LIMIT 10000) AS c) AS greatest
          UNION ALL SELECT 'audited_tables', max(t.id) FROM threadline.audited_tables AS t
          UNION ALL SELECT 'table_definitions', max(d.id) FROM threadline.table_definitions AS d) AS i
   CROSS JOIN LATERAL (SELECT pg_get_serial_sequence('threadline.' || i.name, 'id') AS sequence) AS q
   CROSS JOIN LATERAL (SELECT CASE WHEN has_sequence_privilege(q.sequence, 'SELECT')
           THEN coalesce(pg_sequence_last_value(q.sequence::regclass), 0) END AS next_id) AS n
   WHERE i.greatest > n.next_id
$function$;
COMMENT ON FUNCTION threadline_internal.health_sequences() IS
  'A finding for each sequence of ids that is behind the ids of its table.';

-- Returns the rows that the audit log of another database left in this one.
CREATE FUNCTION threadline_internal.health_foreign()
RETURNS TABLE ("check" text, severity text, table_schema text, table_name text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'audited_twice', 'error', t.table_schema, t.table_name,
         'the audit log of another database was loaded into this one, which audits the table, too',
         'SELECT threadline.refresh_audited_tables(); what the other database recorded stays under the name of the '
         'table, as that of a table that is gone.'
    FROM threadline.audited_tables AS t WHERE threadline_internal.is_audited_twice(t)
  UNION ALL
  SELECT 'changes_unknown', 'error', 'threadline', 'audit_changes',
         format('there are changes of table %s, which audited_tables does not know', u.table_id),
         'A part of the audit log of another database was loaded into this one. See the guide to restores.'
    FROM threadline_internal.recorded_table_ids() AS u (table_id)
   WHERE NOT EXISTS (SELECT FROM threadline.audited_tables AS t WHERE t.id = u.table_id)
$function$;
COMMENT ON FUNCTION threadline_internal.health_foreign() IS
  'Findings where rows of the audit log of another database were loaded into this one.';

-- Returns the ids of the tables with recorded changes, using an index in that order.
CREATE FUNCTION threadline_internal.recorded_table_ids() RETURNS SETOF integer
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
  found_id integer := 0;
BEGIN
  LOOP
    found_id := (SELECT min(c.table_id) FROM threadline.audit_changes AS c WHERE c.table_id > found_id);
    EXIT WHEN found_id IS NULL;
    RETURN NEXT found_id;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.recorded_table_ids() IS 'The ids of the tables with recorded changes.';

-- Superusers and the owner of the audit log are trusted, because they have all rights anyway.
CREATE FUNCTION threadline_internal.trusted_roles() RETURNS SETOF oid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT nspowner FROM pg_namespace WHERE nspname IN ('threadline', 'threadline_internal')
  UNION SELECT threadline_internal.log_owner()
  UNION SELECT oid FROM pg_roles WHERE rolsuper
$function$;
COMMENT ON FUNCTION threadline_internal.trusted_roles() IS
  'The roles with all rights on the audit log: its owners and superusers.';

-- Returns what Threadline owns, with the privileges on it.
CREATE FUNCTION threadline_internal.owned_objects()
RETURNS TABLE (kind text, name text, table_name text, columns text, owner oid, acl aclitem[])
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH own AS (SELECT oid, nspname, nspowner, nspacl FROM pg_namespace
                WHERE nspname IN ('threadline', 'threadline_internal'))
  SELECT 'SCHEMA', 'SCHEMA ' || quote_ident(nspname), NULL, NULL, nspowner, coalesce(nspacl, acldefault('n', nspowner))
    FROM own
  UNION ALL
  SELECT 'TABLE', CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || c.oid::regclass, c.relname, NULL,
         c.relowner, coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))
    FROM pg_class AS c JOIN own ON own.oid = c.relnamespace
   WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
  UNION ALL
  SELECT 'COLUMN', 'TABLE ' || c.oid::regclass, c.relname, format(' (%I)', a.attname), c.relowner, a.attacl
    FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid JOIN own ON own.oid = c.relnamespace
   WHERE a.attacl IS NOT NULL
  UNION ALL
  SELECT 'FUNCTION', 'FUNCTION ' || p.oid::regprocedure, NULL, NULL, p.proowner,
         coalesce(p.proacl, acldefault('f', p.proowner))
    FROM pg_proc AS p JOIN own ON own.oid = p.pronamespace
$function$;
COMMENT ON FUNCTION threadline_internal.owned_objects() IS
  'The schemas, relations, columns with their own privileges, and functions of Threadline.';

-- Returns privileges to write the audit log, or to replace what writes it.
CREATE FUNCTION threadline_internal.health_grants()
RETURNS TABLE ("check" text, severity text, table_schema text, table_name text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH granted AS (
    SELECT o.kind, o.name, o.table_name,
           CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END AS grantee,
           string_agg(g.privilege_type || coalesce(o.columns, ''), ', ' ORDER BY g.privilege_type) AS privileges
      FROM threadline_internal.owned_objects() AS o CROSS JOIN LATERAL aclexplode(o.acl) AS g
     WHERE CASE WHEN g.grantee = 0 THEN o.kind <> 'FUNCTION'
             WHEN g.grantee = o.owner OR g.grantee IN (SELECT threadline_internal.trusted_roles()) THEN false
             WHEN o.kind = 'SCHEMA' THEN g.privilege_type = 'CREATE'
             WHEN o.kind = 'FUNCTION' THEN false
             ELSE g.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'USAGE') END
     GROUP BY o.kind, o.name, o.table_name, o.columns, g.grantee
  )
  SELECT CASE WHEN grantee = 'PUBLIC' THEN 'granted_to_public' WHEN kind = 'SCHEMA' THEN 'functions_replaceable'
           ELSE 'audit_log_writable' END,
         'error', CASE WHEN table_name IS NOT NULL THEN 'threadline' END, table_name,
         format('%s has %s on %s', grantee, privileges, name),
         format('REVOKE %s ON %s FROM %s;', privileges, name, grantee)
    FROM granted
  UNION ALL
  SELECT 'granted_to_public', 'warning', NULL, NULL, format('PUBLIC has EXECUTE on %s functions', count(*)),
         'REVOKE ALL ON ALL FUNCTIONS IN SCHEMA threadline, threadline_internal FROM PUBLIC;'
    FROM threadline_internal.owned_objects() AS o CROSS JOIN LATERAL aclexplode(o.acl) AS g
   WHERE g.grantee = 0 AND o.kind = 'FUNCTION' HAVING count(*) > 0
  UNION ALL
  SELECT 'audit_log_writable', 'error', NULL, NULL, format('%s is a member of pg_write_all_data', m.member::regrole),
         format('REVOKE pg_write_all_data FROM %s;', m.member::regrole)
    FROM pg_auth_members AS m JOIN pg_roles AS r ON r.oid = m.roleid
   WHERE r.rolname = 'pg_write_all_data' AND m.member NOT IN (SELECT threadline_internal.trusted_roles())
$function$;
COMMENT ON FUNCTION threadline_internal.health_grants() IS
  'Findings for privileges on the audit log of roles other than its owner, and for those of PUBLIC.';

-- Returns parts of Threadline that belong to another role.
CREATE FUNCTION threadline_internal.health_owners()
RETURNS TABLE ("check" text, severity text, table_schema text, table_name text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE o.kind WHEN 'TABLE' THEN 'audit_log_writable' ELSE 'functions_replaceable' END, 'error',
         CASE WHEN o.table_name IS NOT NULL THEN 'threadline' END, o.table_name,
         format('%s belongs to %s, who does not own the audit log', o.name, o.owner::regrole),
         format('ALTER %s OWNER TO %s;', o.name, threadline_internal.log_owner()::regrole)
    FROM threadline_internal.owned_objects() AS o
   WHERE o.kind IN ('FUNCTION', 'TABLE')
     AND o.owner NOT IN (SELECT threadline_internal.trusted_roles())
$function$;
COMMENT ON FUNCTION threadline_internal.health_owners() IS
  'Findings for parts of Threadline that do not belong to the owner of the audit log.';

-- Returns roles and databases whose sessions are not captured: with session_replication_role = replica, only triggers
-- enabled as REPLICA or ALWAYS fire.
CREATE FUNCTION threadline_internal.health_replica_role()
RETURNS TABLE ("check" text, severity text, table_schema text, table_name text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'triggers_bypassed', 'error', NULL, NULL, format('session_replication_role is replica for %s', w.whose),
         format('ALTER %s RESET session_replication_role;', w.whose)
    FROM pg_db_role_setting AS s
   CROSS JOIN LATERAL (
     SELECT concat_ws(' IN ', CASE WHEN s.setrole <> 0 THEN 'ROLE ' || s.setrole::regrole END,
              CASE WHEN s.setdatabase <> 0 THEN 'DATABASE ' || quote_ident(current_database()) END)) AS w (whose)
   WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
     AND 'session_replication_role=replica' = ANY (s.setconfig)
$function$;
COMMENT ON FUNCTION threadline_internal.health_replica_role() IS
  'Findings for roles and databases whose sessions do not fire the capture triggers.';

-- Returns a finding if the owner of the audit log may not inspect other sessions.
CREATE FUNCTION threadline_internal.health_settled_at()
RETURNS TABLE ("check" text, severity text, table_schema text, table_name text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'settled_at_inexact', 'warning', NULL, NULL,
         format('%s, the owner of the audit log, may not look at other sessions, so threadline.settled_at() stays '
                'before the newest transaction', o.owner::regrole),
         format('GRANT pg_read_all_stats TO %s;', o.owner::regrole)
    FROM (SELECT threadline_internal.log_owner() AS owner) AS o
   WHERE NOT pg_has_role(o.owner, 'pg_read_all_stats', 'USAGE')
$function$;
COMMENT ON FUNCTION threadline_internal.health_settled_at() IS
  'A finding if the owner of the audit log cannot see which transactions are running.';

-- Returns everything that lets a role other than the owner of the audit log write it or bypass capture.
CREATE FUNCTION threadline_internal.health_rights()
RETURNS TABLE ("check" text, severity text, table_schema text, table_name text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT * FROM threadline_internal.health_grants()
  UNION ALL SELECT * FROM threadline_internal.health_owners()
  UNION ALL SELECT * FROM threadline_internal.health_replica_role()
  UNION ALL SELECT * FROM threadline_internal.health_settled_at()
   ORDER BY 1, 4, 5
$function$;
COMMENT ON FUNCTION threadline_internal.health_rights() IS
  'Privileges that let a role other than the owner of the audit log write it or change what writes it, privileges of '
  'PUBLIC, and privileges that the owner lacks.';

-- Columns whose names suggest a secret. A new column of an audited table is recorded from its first value on, and
-- nothing else checks it.

-- Returns whether a column with this name and type is likely to contain a secret: the last word of its name decides,
-- and its type must be able to hold text or bytes.
CREATE FUNCTION threadline_internal.looks_secret(name text, type oid) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  words text := lower(regexp_replace(name, '([a-z0-9])([A-Z])', E'\\1_\\2', 'g'));
  base record := threadline_internal.base_type(type, -1);
BEGIN
  IF base.category = 'A' THEN
    base := threadline_internal.base_type((SELECT y.typelem FROM pg_type AS y WHERE y.oid = base.type), -1);
  END IF;
  RETURN (base.kind = 'b' AND base.category = 'S' OR base.type = ANY ('{bytea,json,jsonb,uuid}'::regtype[]::oid[]))
    AND words ~ ('(^|_)(api_?key|access_?key|card_?number|credential|cvc|cvv|hash|iban|mfa|otp|passphrase|passwd|'
      'password|pin|private_?key|pwd|recovery_?code|salt|secret|secret_?key|signing_?key|ssn|token|totp)s?'
      '(_?(base64|digest|enc|encrypted|hash|hashed|new|old|plain|raw|sha256|text|value|[0-9]+))?$');
END
$function$;
COMMENT ON FUNCTION threadline_internal.looks_secret(text, oid) IS
  'Whether the name and type of a column suggest a secret.';

-- Returns columns with the name of a secret that are recorded in clear.
CREATE FUNCTION threadline_internal.health_secrets(audited threadline.audited_tables)
RETURNS TABLE ("check" text, severity text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'secret_recorded', 'warning',
         format('column %I looks like a secret by its name, and its values are recorded', c.name),
         CASE WHEN c.name = ANY (audited.key_columns) THEN format('It is part of the primary key: record it as a keyed '
             'hash, SELECT threadline.audit_table(%L, hash_key => %L);', audited.relation, ARRAY[c.name])
           ELSE 'Mask or exclude it with threadline.audit_table, and redact what is recorded.' END
         || format(' If it is none: SELECT threadline.exempt_column(%L, %L, ''why'');', audited.relation, c.name)
    FROM threadline_internal.columns_of(audited.relation) AS c
   WHERE threadline_internal.looks_secret(c.name, c.type)
     AND c.name <> ALL (threadline_internal.redacted_names(audited))
     AND NOT EXISTS (SELECT FROM threadline.exempt_columns AS e
                      WHERE e.relation = audited.relation AND e.column_name = c.name
                        AND threadline_internal.is_said_of(e.relation, e.table_schema, e.table_name, e.database))
   ORDER BY c.number
$function$;
COMMENT ON FUNCTION threadline_internal.health_secrets(threadline.audited_tables) IS
  'A finding for each column with the name of a secret whose values are recorded.';

CREATE FUNCTION threadline.exempt_column(relation regclass, column_name text, reason text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  refusal text;
  hint text;
BEGIN
  IF threadline_internal.is_blank(exempt_column.reason) THEN
    refusal := 'there is no reason';
    hint := 'Say why its values may be recorded.';
  ELSIF NOT EXISTS (SELECT FROM threadline_internal.columns_of(relation) AS c
                     WHERE c.name = exempt_column.column_name) THEN
    refusal := 'there is no such column';
    hint := format('The columns are: %s.', (SELECT string_agg(quote_ident(c.name), ', ' ORDER BY c.number)
      FROM threadline_internal.columns_of(relation) AS c));
  END IF;
  IF refusal IS NOT NULL THEN
    RAISE EXCEPTION 'cannot exempt column % of %: %', coalesce(quote_ident(column_name), 'NULL'),
        coalesce(relation::text, 'NULL'), refusal
      USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_exempt_table', HINT = hint;
  END IF;
  -- Rows for dropped tables are not needed.
  DELETE FROM threadline.exempt_columns AS e
   WHERE e.relation = exempt_column.relation AND e.column_name = exempt_column.column_name
      OR NOT threadline_internal.is_said_of(e.relation, e.table_schema, e.table_name, e.database);
  INSERT INTO threadline.exempt_columns (relation, column_name, reason, exempted_at, exempted_by, actor_ref,
    table_schema, table_name, database)
  SELECT exempt_column.relation, exempt_column.column_name, exempt_column.reason, now(), current_user,
         threadline_internal.read_actor(nullif(current_setting('threadline.actor_ref', true), '')),
         n.nspname, c.relname, threadline_internal.database_identity()
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = exempt_column.relation;
END
$function$;
COMMENT ON FUNCTION threadline.exempt_column(regclass, text, text) IS
  'Allows the values of a column with the name of a secret to be recorded, with a reason; threadline.health warns '
  'about other such columns.';

CREATE FUNCTION threadline.unexempt_column(relation regclass, column_name text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  DELETE FROM threadline.exempt_columns AS e
   WHERE e.relation = unexempt_column.relation AND e.column_name = unexempt_column.column_name;
  RETURN FOUND;
END
$function$;
COMMENT ON FUNCTION threadline.unexempt_column(regclass, text) IS
  'Removes the permission to record the values of a column; returns false if there was none.';

-- A finding consists of a check, a severity, a table, a message and a hint. The functions in this file that check one
-- audited table omit the table, which health_tables adds.

CREATE FUNCTION threadline_internal.health_missing(audited threadline.audited_tables)
RETURNS TABLE ("check" text, severity text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'table_missing', CASE WHEN to_regclass(n.name) IS NULL THEN 'warning' ELSE 'error' END, 'the table is gone',
         CASE WHEN to_regclass(n.name) IS NULL
           THEN format('If it is not to come back: SELECT threadline.unaudit_table(%L); its history stays.', n.name)
           ELSE format('There is another one of its name, which continues its history once it is audited: '
                       'SELECT threadline.audit_table(%L);', n.name) END
    FROM (SELECT format('%I.%I', audited.table_schema, audited.table_name) AS name) AS n
   WHERE NOT threadline_internal.is_table_of(audited)
$function$;
COMMENT ON FUNCTION threadline_internal.health_missing(threadline.audited_tables) IS
  'A finding if an audited table does not exist.';

-- Returns why a refresh could not define the requested capture of a table.
CREATE FUNCTION threadline_internal.health_auditable(audited threadline.audited_tables)
RETURNS TABLE ("check" text, severity text, message text, hint text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  refused_by text;
BEGIN
  -- A granularity that causes only a warning has its own finding: see health_granularity.
  PERFORM threadline_internal.check_auditable(audited.relation, '{}', '{}',
    CASE WHEN EXISTS (SELECT FROM pg_inherits WHERE audited.relation IN (inhrelid, inhparent))
      THEN audited.requested_granularity END, '{}');
  PERFORM threadline_internal.describe_capture(audited.relation, '{}', '{}', audited.requested_granularity, '{}',
    audited, '{}');
EXCEPTION WHEN invalid_parameter_value THEN
  GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT, refused_by = CONSTRAINT_NAME;
  IF refused_by <> 'threadline_audit_table' THEN
    RAISE;
  END IF;
  "check" := 'not_auditable';
  severity := 'error';
  RETURN NEXT;
END
$function$;
COMMENT ON FUNCTION threadline_internal.health_auditable(threadline.audited_tables) IS
  'A finding if the capture of a table could not be redefined.';

-- Returns row level security that PostgreSQL applies to the owner of the audit log, who reads the rows that TRUNCATE
-- removes.
CREATE FUNCTION threadline_internal.health_row_security(audited threadline.audited_tables)
RETURNS TABLE ("check" text, severity text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'row_security', 'error',
         format('row level security of the table applies to %s, the owner of the audit log, so that a TRUNCATE of it '
                'fails', o.oid::regrole),
         format('ALTER ROLE %s BYPASSRLS;', o.oid::regrole)
    FROM pg_class AS c JOIN pg_roles AS o ON o.oid = threadline_internal.log_owner()
   WHERE c.oid = audited.relation AND c.relrowsecurity AND NOT o.rolsuper AND NOT o.rolbypassrls
     AND (c.relforcerowsecurity OR NOT pg_has_role(o.oid, c.relowner, 'USAGE'))
$function$;
COMMENT ON FUNCTION threadline_internal.health_row_security(threadline.audited_tables) IS
  'A finding if row level security prevents the owner of the audit log from reading a table.';

-- Returns what prevents every reader from reading the past of a table.
CREATE FUNCTION threadline_internal.health_unreadable(audited threadline.audited_tables)
RETURNS TABLE ("check" text, severity text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'unreadable', 'warning', format('its past cannot be read: %s', o.reason), o.advice
    FROM threadline_internal.why_unreadable(audited.relation) AS o
   WHERE (SELECT c.relpersistence = 'u' FROM pg_class AS c WHERE c.oid = audited.relation)
      OR threadline_internal.is_replicated_to(audited.relation)
$function$;
COMMENT ON FUNCTION threadline_internal.health_unreadable(threadline.audited_tables) IS
  'A finding if the past of a table cannot be read.';

-- Returns columns that cannot be read as of a time before a migration.
CREATE FUNCTION threadline_internal.health_conversions(audited threadline.audited_tables)
RETURNS TABLE ("check" text, severity text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'conversion_unknown', 'warning', g.message,
         format('If the migration is known: SELECT threadline.declare_conversion(%L, %L, %L);', audited.relation,
                c.name,
                'the expression after USING')
    FROM threadline_internal.column_gaps(audited) AS g
    JOIN threadline_internal.columns_of(audited.relation) AS c USING (number)
$function$;
COMMENT ON FUNCTION threadline_internal.health_conversions(threadline.audited_tables) IS
  'A finding for each column whose conversion by a migration is unknown.';

-- Returns changes that were recorded while the clock was ahead.
CREATE FUNCTION threadline_internal.health_clock(audited threadline.audited_tables)
RETURNS TABLE ("check" text, severity text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
  SELECT 'clock_was_ahead', 'error', format('changes of it were recorded at times up to %s, which is to come', f.at),
         'Set the clock right, and then: SELECT threadline.refresh_audited_tables(); its history begins anew.'
    FROM threadline_internal.future_change(audited) AS f (at) WHERE f.at IS NOT NULL
$function$;
COMMENT ON FUNCTION threadline_internal.health_clock(threadline.audited_tables) IS
  'A finding if changes of a table were recorded with times in the future.';

-- Returns a granularity that does not record a table exactly.
CREATE FUNCTION threadline_internal.health_granularity(audited threadline.audited_tables)
RETURNS TABLE ("check" text, severity text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'granularity', 'warning',
         'changes that its row triggers or foreign keys make to it are recorded in another order than they are made',
         'Leave the granularity out, or ask for ''row''.'
   WHERE audited.requested_granularity = 'statement'
     AND threadline_internal.granularity_for(audited.relation) = 'row'
$function$;
COMMENT ON FUNCTION threadline_internal.health_granularity(threadline.audited_tables) IS
  'A finding if a table is captured per statement but should be captured per row.';

-- Returns columns about whose redaction two definitions of the table disagree: one ends what the other requests. Also
-- returns keys that can no longer be hashed as before.
CREATE FUNCTION threadline_internal.health_redaction(audited threadline.audited_tables)
RETURNS TABLE ("check" text, severity text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'redaction_alternates', 'warning',
         format('the redaction of column %I was weakened %s times, and asked for again', u.key, u.value),
         'Two models, services or migrations define the table in different ways: let one of them say so.'
    FROM jsonb_each_text(audited.definition -> 'unredacted') AS u
   WHERE u.value::integer > 1
  UNION ALL
  SELECT 'key_secret_missing', 'error', 'the secret of its hashed keys is gone, so the keys of its changes are lost',
         format('Restore threadline_internal.key_secrets, or begin anew: SELECT threadline.refresh_table(%L);',
           audited.relation)
   WHERE audited.hashed_columns <> '{}' AND NOT threadline_internal.has_key_secret(audited.id)
   ORDER BY 3
$function$;
COMMENT ON FUNCTION threadline_internal.health_redaction(threadline.audited_tables) IS
  'A finding for each column whose redaction was weakened more than once, and for a lost secret.';

-- Returns a definition of capture that a refresh would update.
CREATE FUNCTION threadline_internal.health_stale(audited threadline.audited_tables)
RETURNS TABLE ("check" text, severity text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT s."check", 'warning', s.message, CASE s."check"
           WHEN 'generator_outdated' THEN format('threadline refresh, or SELECT threadline.refresh_table(%L);',
             audited.relation)
           ELSE 'SELECT threadline.refresh_audited_tables();' END
    FROM (SELECT 'generator_outdated' AS "check",
                 format('its capture is of version %s of the generator, which is at %s', audited.definition_version,
                        threadline_internal.definition_version()) AS message
           WHERE audited.definition_version <> threadline_internal.definition_version()
          UNION ALL
          SELECT 'definition_stale', string_agg(h, '; ') FROM threadline_internal.health_definition(audited) AS h) AS s
   WHERE s.message IS NOT NULL
$function$;
COMMENT ON FUNCTION threadline_internal.health_stale(threadline.audited_tables) IS
  'Findings if the capture of a table is out of date.';

-- Returns the problems of one existing table. It does not wait long for sessions that lock the table.
CREATE FUNCTION threadline_internal.health_of_table(audited threadline.audited_tables)
RETURNS TABLE ("check" text, severity text, message text, hint text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET lock_timeout = '1 s' SET jit = off
AS $function$
BEGIN
  RETURN QUERY SELECT h."check", 'error', h.message, 'SELECT threadline.refresh_audited_tables(); what was written '
    'since may be missing, so the past begins anew.' FROM threadline_internal.health_capture(audited) AS h
    ORDER BY h.message;
  RETURN QUERY SELECT * FROM threadline_internal.health_auditable(audited);
  RETURN QUERY SELECT * FROM threadline_internal.health_row_security(audited);
  RETURN QUERY SELECT * FROM threadline_internal.health_unreadable(audited);
  RETURN QUERY SELECT * FROM threadline_internal.health_conversions(audited);
  RETURN QUERY SELECT * FROM threadline_internal.health_clock(audited);
  RETURN QUERY SELECT * FROM threadline_internal.health_granularity(audited);
  RETURN QUERY SELECT * FROM threadline_internal.health_redaction(audited);
  RETURN QUERY SELECT * FROM threadline_internal.health_stale(audited);
  RETURN QUERY SELECT * FROM threadline_internal.health_secrets(audited);
END
$function$;
COMMENT ON FUNCTION threadline_internal.health_of_table(threadline.audited_tables) IS
  'Problems of the capture of one table.';

-- Returns the problems of the audited tables, each under its present name.
CREATE FUNCTION threadline_internal.health_tables()
RETURNS TABLE ("check" text, severity text, table_schema text, table_name text, message text, hint text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
DECLARE
  audited threadline.audited_tables;
BEGIN
  FOR audited IN SELECT t.* FROM threadline.audited_tables AS t WHERE t.capture_ended_at IS NULL
                  ORDER BY t.table_schema, t.table_name LOOP
    SELECT n.nspname, c.relname INTO table_schema, table_name
      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.oid = audited.relation AND threadline_internal.is_table_of(audited);
    BEGIN
      IF FOUND THEN
        RETURN QUERY SELECT h."check", h.severity, health_tables.table_schema, health_tables.table_name, h.message,
          h.hint FROM threadline_internal.health_of_table(audited) AS h;
      ELSE
        RETURN QUERY SELECT h."check", h.severity, audited.table_schema, audited.table_name, h.message, h.hint
          FROM threadline_internal.health_missing(audited) AS h;
      END IF;
    -- A problem of one table does not hide the problems of the others.
    EXCEPTION WHEN lock_not_available THEN
      RETURN QUERY SELECT 'check_failed', 'error', audited.table_schema, audited.table_name,
        'the table could not be checked: somebody keeps it or a partition of it locked',
        'Look for the transaction in pg_locks, and check again when it has ended.';
    WHEN OTHERS THEN
      RETURN QUERY SELECT 'check_failed', 'error', audited.table_schema, audited.table_name,
        format('the table could not be checked: %s', SQLERRM), 'Mend what the message names, and check again.';
    END;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.health_tables() IS 'Problems of the capture of the audited tables.';

-- Returns the unfinished work of an upgrade, except for the tables: see health_stale.
CREATE FUNCTION threadline_internal.health_upgrades()
RETURNS TABLE ("check" text, severity text, table_schema text, table_name text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'upgrade_unfinished', 'warning', NULL, NULL,
         format('an upgrade is not finished: %s of about %s rows of %s are done', s.rows_done,
                greatest(s.rows_done, s.row_estimate), s.name),
         'threadline upgrade, or SELECT threadline.upgrade_step(); until it returns no steps_left.'
    FROM threadline_internal.upgrade_steps AS s WHERE s.ended_at IS NULL
  UNION ALL
  SELECT 'rights_missing', 'warning', NULL, NULL,
         format('%s is a %s of the audit log and lacks %s rights, such as %s', m.role, m.kind, count(*), min(m.rights)),
         format('SELECT threadline.grant_%s(%L);', m.kind, m.role)
    FROM threadline_internal.missing_rights() AS m GROUP BY m.role, m.kind
$function$;
COMMENT ON FUNCTION threadline_internal.health_upgrades() IS
  'Findings for unfinished upgrades, and for readers and recorders without a right that they should have.';

CREATE FUNCTION threadline_internal.row_estimate(relation regclass) RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  -- reltuples is from the last VACUUM or ANALYZE, the live tuples are counted since the last crash of the server.
  SELECT coalesce(sum(greatest(c.reltuples, pg_stat_get_live_tuples(c.oid), 0)), 0)::bigint
    FROM pg_class AS c
   WHERE c.relkind = 'r' AND c.oid IN (SELECT relation
                                       UNION ALL SELECT p.relid FROM threadline_internal.partition_tree(relation) AS p)
$function$;
COMMENT ON FUNCTION threadline_internal.row_estimate(regclass) IS
  'Estimated number of rows of a table, including its partitions.';

-- Continuity: what is known about tables that had rows before their capture began, and baselines, which record those
-- rows.
-- A row without a recorded change since capture began is unchanged since then. An ordinary read of it therefore returns
-- its exact values at that moment, without a lock and without blocking writers: a running transaction that changes it
-- has committed neither the row nor the change. Its captured_at is nevertheless the time at which it was recorded,
-- because nothing in the audit log is backdated.

-- Returns the key in the order of its index. The position of the scan is stored as JSON, and converted back to the
-- types of the key. Only a jsonb key is used unconverted, because JSON null is a value there.
CREATE FUNCTION threadline_internal.baseline_key(relation regclass)
RETURNS TABLE (number bigint, name text, declaration text, kept text, equals text, reaches text, follows text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT k.number, a.attname, d.declaration,
         CASE WHEN coalesce(nullif(y.typbasetype, 0), y.oid) = 'jsonb'::regtype THEN format('($1 -> %L)::%s',
           a.attname, d.type)
           ELSE format('(SELECT p.%I FROM jsonb_to_record($1) AS p (%s))', a.attname, d.declaration) END,
         o.operators[3], o.operators[4], o.operators[5]
    FROM pg_index AS i
   CROSS JOIN LATERAL unnest(i.indkey::smallint[], i.indclass::oid[]) WITH ORDINALITY AS k (attnum, opclass, number)
    JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    JOIN pg_type AS y ON y.oid = a.atttypid
    LEFT JOIN pg_collation AS l ON l.oid = a.attcollation
    JOIN pg_opclass AS c ON c.oid = k.opclass
    JOIN pg_am AS m ON m.oid = c.opcmethod AND m.amname = 'btree'
   CROSS JOIN LATERAL (SELECT array_agg(format('OPERATOR(%I.%s)', n.nspname, e.oprname) ORDER BY s.amopstrategy)
     AS operators
                         FROM pg_amop AS s
                         JOIN pg_operator AS e ON e.oid = s.amopopr
                         JOIN pg_namespace AS n ON n.oid = e.oprnamespace
                        WHERE s.amopfamily = c.opcfamily AND s.amoplefttype = c.opcintype
                          AND s.amoprighttype = c.opcintype
                          AND s.amoppurpose = 's') AS o
   CROSS JOIN LATERAL (SELECT t.type, concat(quote_ident(a.attname), ' ', t.type,
     ' COLLATE ' || quote_ident(l.collnamespace::regnamespace::text) || '.' || quote_ident(l.collname)) AS declaration
                         FROM (SELECT threadline_internal.type_name(a.atttypid, a.atttypmod) AS type) AS t) AS d
   WHERE i.indrelid = baseline_key.relation AND i.indisprimary AND k.number <= i.indnkeyatts
   ORDER BY k.number
$function$;
COMMENT ON FUNCTION threadline_internal.baseline_key(regclass) IS
  'SQL for the columns of a primary key: their declarations, their values from a position, and how they are compared. '
  'Empty for a key without an order.';

-- Returns the statement of one batch: $1 is the position after which to continue, $2 the number of rows to scan, $3 the
-- moment, $4 the current time, $5 and $6 the redaction, $7 the table, $8 whether its images need special handling, and
-- $9 its hashed columns. A position would disclose the values of a hashed column, so a table with one is scanned in a
-- single batch, and has no position. OFFSET 0 makes the rows be looked up in the audit log one by one: joined as a
-- whole, a batch would read all of it. If the statistics know no change of the table yet, its index by time looks as
-- good as that of its key, and would be scanned in full for each row. So SELECT hides the table from the planner, and
-- IS TRUE hides the time.
CREATE FUNCTION threadline_internal.baseline_statement(audited threadline.audited_tables, begun boolean) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$WITH batch AS MATERIALIZED (
    SELECT t.* FROM {rows}{behind} ORDER BY {ascending} LIMIT {limit}
  ), recorded AS (
    {record_rows}
    RETURNING 1
  )
  SELECT count(*), (SELECT count(*) FROM recorded),
         {last_position} FROM batch$sql$,
    jsonb_build_object(
      'rows', threadline_internal.live_rows(audited.relation) || ' AS t',
      'behind', CASE WHEN begun THEN ' WHERE ' || threadline_internal.baseline_behind(audited.relation) END,
      'ascending', k.ascending, 'limit', CASE WHEN audited.hashed_columns = '{}' THEN '$2' ELSE 'ALL' END,
      'last_position', CASE WHEN audited.hashed_columns = '{}' THEN format(
        '(SELECT jsonb_build_object(%s) FROM batch AS t ORDER BY %s LIMIT 1)', k.position, k.descending)
        ELSE 'NULL::jsonb' END,
      'record_rows', threadline_internal.record_rows(audited, quote_literal('snapshot'), 'key', 'NULL::jsonb', 'image',
        'NULL', threadline_internal.render($sql$SELECT r.* FROM ({images}) AS r WHERE NOT EXISTS (
          SELECT FROM threadline.audit_changes AS c
           WHERE c.table_id = (SELECT {table_id}) AND {same_key} AND (c.captured_at >= $3) IS TRUE OFFSET 0)$sql$,
          jsonb_build_object(
            'images', threadline_internal.image_rows(audited, 'r.*', ' FROM batch AS r', '$5', '$6', '$7', '$8', '$9'),
            'table_id', audited.id,
            'same_key', CASE audited.key_type WHEN 'text'
              THEN $sql$c.key_text = (r.key #>> '{}') AND left(c.key_text, 500) = left(r.key #>> '{}', 500)$sql$
              ELSE format('c.key_%s = %s', audited.key_type,
                          threadline_internal.typed_key(audited.key_type, 'r.key')) END)), '$4',
        audited.definition_id::text)))
    FROM (SELECT string_agg(format('t.%I', name), ', ' ORDER BY number) AS ascending,
                 string_agg(format('t.%I DESC', name), ', ' ORDER BY number) AS descending,
                 string_agg(format('%L, t.%I', name, name), ', ' ORDER BY number) AS position
            FROM threadline_internal.baseline_key(audited.relation)) AS k
$function$;
COMMENT ON FUNCTION threadline_internal.baseline_statement(threadline.audited_tables, boolean) IS
  'SQL that records a batch of rows as snapshots, from the start of the table or after a position.';

-- Returns the condition that a row comes after the position in $1. A row comparison can use all columns of the index,
-- but has one operator for all of them. If the types have operators in different schemas, only the first column uses
-- the index.
CREATE FUNCTION threadline_internal.baseline_behind(relation regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN count(DISTINCT b.follows) = 1
           THEN format('ROW(%s) %s ROW(%s)', string_agg(format('t.%I', b.name), ', ' ORDER BY b.number),
                       min(b.follows), string_agg(b.kept, ', ' ORDER BY b.number))
           ELSE format('%s AND (%s)', min(format('t.%I %s %s', b.name, b.reaches, b.kept)) FILTER (WHERE b.number = 1),
                       string_agg(e.follows, ' OR ')) END
    FROM threadline_internal.baseline_key(relation) AS b
   CROSS JOIN LATERAL (
     SELECT string_agg(format('t.%I %s %s', e.name, CASE e.number WHEN b.number THEN e.follows ELSE e.equals END,
                              e.kept), ' AND ' ORDER BY e.number)
       FROM threadline_internal.baseline_key(relation) AS e WHERE e.number <= b.number) AS e (follows)
$function$;
COMMENT ON FUNCTION threadline_internal.baseline_behind(regclass) IS
  'SQL condition that a row comes after a position, in the order of the primary key.';

-- Makes the checks that readable_since does not: there, the reading functions must match the present table.
CREATE FUNCTION threadline_internal.why_no_baseline(audited threadline.audited_tables, OUT reason text, OUT advice text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF audited.key_type IS NULL THEN
    reason := 'it has no primary key';
    advice := 'Its changes are recorded, but not told by row: add a primary key, and call '
      'threadline.refresh_audited_tables().';
  ELSIF threadline_internal.describe_table(audited.relation, audited.definition,
      threadline_internal.redacted_names(audited)) <> audited.definition
    OR (SELECT k.columns FROM threadline_internal.primary_key(audited.relation) AS k) <> audited.key_columns THEN
    reason := 'its columns, its key or its partitions are not those that its capture was defined for';
    advice := 'Call threadline.refresh_audited_tables(), best in the migration that changes them.';
  ELSIF NOT EXISTS (SELECT FROM threadline_internal.baseline_key(audited.relation)) THEN
    reason := 'its primary key has no order';
    advice := 'Only a key with a btree index can be gone through in batches.';
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.why_no_baseline(threadline.audited_tables) IS
  'Why the rows of an audited table cannot be recorded as snapshots, and what to do about it; NULL if nothing prevents '
  'it.';

-- Locks the definition of a table during a step of its baseline, so that the definition does not change and no other
-- baseline scans the same rows.
CREATE FUNCTION threadline_internal.lock_for_baseline(relation regclass, batch_size integer)
RETURNS threadline.audited_tables
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  audited threadline.audited_tables;
  refusal text;
  hint text;
BEGIN
  -- Checked first, because a session that locks the table must not also make this function lock its definition, for
  -- which a refresh of all tables waits.
  IF EXISTS (SELECT FROM threadline.audited_tables AS t JOIN pg_class AS c ON c.oid = t.relation
              WHERE t.relation = lock_for_baseline.relation) THEN
    PERFORM threadline_internal.lock_table(relation, 'ACCESS SHARE');
  END IF;
  SELECT t.* INTO audited FROM threadline.audited_tables AS t
   WHERE t.id = (SELECT a.id FROM threadline_internal.audited_table(lock_for_baseline.relation) AS a)
     FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    refusal := 'it is not audited';
    hint := 'Put it under capture with threadline.audit_table: what it holds then is what a baseline records.';
  ELSIF coalesce(batch_size, 0) < 1 THEN
    refusal := 'a batch has at least one row';
    hint := 'Leave batch_size out, or name a number from 1 on.';
  ELSE
    -- Whatever prevents reading the past also prevents recording it.
    PERFORM threadline_internal.readable_since(audited.id, threadline_internal.table_shape(audited.relation));
    SELECT o.reason, o.advice INTO refusal, hint FROM threadline_internal.why_no_baseline(audited) AS o;
    PERFORM threadline_internal.check_foreign_code(audited.relation);
  END IF;
  IF refusal IS NOT NULL THEN
    RAISE EXCEPTION 'cannot record a baseline of %: %', coalesce(relation::text, 'NULL'), refusal
      USING ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_refused', HINT = hint;
  END IF;
  RETURN audited;
END
$function$;
COMMENT ON FUNCTION threadline_internal.lock_for_baseline(regclass, integer) IS
  'The definition of a table, locked; raises an error if no baseline of the table can be recorded.';

-- Adds a batch to the action of its baseline. If another actor resumes the baseline, or it is resumed for another
-- reason, that run gets its own action.
CREATE FUNCTION threadline_internal.baseline_action(audited threadline.audited_tables, as_of timestamptz, actor jsonb,
  reason text, recorded bigint, begun uuid) RETURNS uuid
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF EXISTS (SELECT FROM threadline.audit_actions AS a
              WHERE a.id = begun AND a.actor_ref = actor AND a.reason = baseline_action.reason) THEN
    IF recorded > 0 THEN
      PERFORM threadline_internal.add_to_action(begun, jsonb_build_object('changes', recorded));
    END IF;
    RETURN begun;
  END IF;
  RETURN (SELECT a.id FROM threadline_internal.insert_action('threadline.baseline', reason => baseline_action.reason,
    meta => jsonb_build_object('table', audited.relation::text, 'as_of', as_of, 'changes', recorded)) AS a);
END
$function$;
COMMENT ON FUNCTION threadline_internal.baseline_action(threadline.audited_tables, timestamptz, jsonb, text, bigint,
  uuid) IS
  'The action that a batch of a baseline belongs to.';

-- Returns the actor who records a baseline, and checks that a reason is given.
CREATE FUNCTION threadline_internal.baseline_actor(actor_ref jsonb, reason text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  actor jsonb := threadline_internal.read_actor(
    coalesce(actor_ref::text, nullif(current_setting('threadline.actor_ref', true), '')));
BEGIN
  IF actor IS NULL THEN
    RAISE EXCEPTION 'nobody is known who does threadline.baseline'
      USING ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_missing_actor',
        HINT = 'Name the actor, like {"type": "user", "id": "123"}, or set threadline.actor_ref in the transaction.';
  ELSIF threadline_internal.is_blank(reason) THEN
    RAISE EXCEPTION 'threadline.baseline needs a reason'
      USING ERRCODE = 'check_violation', CONSTRAINT = 'threadline_reason_required', DETAIL = 'threadline.baseline',
        HINT = 'Say why: whoever finds the snapshots in the audit log reads it.';
  END IF;
  RETURN actor;
END
$function$;
COMMENT ON FUNCTION threadline_internal.baseline_actor(jsonb, text) IS
  'The actor of a baseline; raises an error without an actor or a reason.';

-- Records one batch, under the settings of capture and with the rights of the caller, who is the owner of the audit
-- log. It neither blocks writers nor waits for them. A redefinition of the capture of the table waits for a batch, as
-- does another baseline of the table. More than 60 lines, a third of them its arguments, results and settings.
CREATE FUNCTION threadline.baseline_step(relation regclass, actor_ref jsonb, reason text,
  batch_size integer DEFAULT 1000,
  OUT as_of timestamptz, OUT passed bigint, OUT recorded bigint, OUT total_passed bigint, OUT total_recorded bigint,
  OUT row_estimate bigint, OUT finished boolean, OUT action_id uuid)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
SET IntervalStyle = 'postgres' SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
SET row_security = off SET enable_seqscan = off
AS $function$
#variable_conflict use_column
DECLARE
  audited threadline.audited_tables;
  done threadline.baselines;
  order_now text;
  redacted record;
  careful boolean;
  set_before text := coalesce(current_setting('threadline.actor_ref', true), '');
  actor jsonb := threadline_internal.baseline_actor(baseline_step.actor_ref, baseline_step.reason);
BEGIN
  audited := threadline_internal.lock_for_baseline(baseline_step.relation, batch_size);
  as_of := greatest(audited.capture_since, audited.purged_before);
  row_estimate := threadline_internal.row_estimate(audited.relation);
  SELECT string_agg(k.declaration, ', ' ORDER BY k.number) INTO order_now
    FROM threadline_internal.baseline_key(audited.relation) AS k;
  SELECT b.* INTO done FROM threadline.baselines AS b WHERE b.table_id = audited.id AND b.as_of = baseline_step.as_of;
  IF done.finished_at IS NULL AND done.key_order <> order_now THEN
    done.position := NULL;
    done.passed := 0;
  END IF;
  passed := 0;
  recorded := 0;
  action_id := done.action_id;
  IF done.finished_at IS NULL THEN
    IF baseline_step.actor_ref IS NOT NULL THEN
      PERFORM set_config('threadline.actor_ref', actor::text, true);
    END IF;
    careful := threadline_internal.text_columns(audited.relation) <> '{}';
    SELECT r.* INTO redacted FROM threadline_internal.redaction(audited) AS r;
    EXECUTE threadline_internal.baseline_statement(
      CASE WHEN audited.definition ->> 'layout' = threadline_internal.column_layout(audited.relation)
          AND careful = threadline_internal.has_text_columns(audited)
        THEN threadline_internal.list_images(audited) ELSE audited END,
      done.position IS NOT NULL)
      INTO passed, recorded, done.position
      USING done.position, batch_size, as_of, clock_timestamp(), redacted.excluded, redacted.mask,
            audited.relation, careful, redacted.hashed;
    action_id := threadline_internal.baseline_action(audited, as_of, actor, baseline_step.reason, recorded, action_id);
    PERFORM set_config('threadline.actor_ref', set_before, true);
  END IF;
  -- A table with hashed columns is scanned in a single batch.
  finished := done.finished_at IS NOT NULL OR passed < batch_size OR audited.hashed_columns <> '{}';
  total_passed := coalesce(done.passed, 0) + passed;
  total_recorded := coalesce(done.recorded, 0) + recorded;
  IF done.finished_at IS NULL THEN
    INSERT INTO threadline.baselines AS b (table_id, as_of, key_order, position, passed, recorded, started_at,
      finished_at, action_id)
    VALUES (audited.id, baseline_step.as_of, order_now, done.position, total_passed, total_recorded, clock_timestamp(),
      CASE WHEN finished THEN clock_timestamp() END, baseline_step.action_id)
    ON CONFLICT (table_id, as_of) DO UPDATE
      -- The last batch may be empty; the position then stays unchanged.
      SET key_order = excluded.key_order, position = coalesce(excluded.position, b.position), passed = excluded.passed,
          recorded = excluded.recorded, finished_at = excluded.finished_at, action_id = excluded.action_id;
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline.baseline_step(regclass, jsonb, text, integer) IS
  'Scans a batch of rows of a table in key order, and records those without a change as snapshots. Call it until it is '
  'finished, each time in its own transaction. Each call continues where the previous one ended.';

-- Returns what makes the history of a table that is, was or could be audited incomplete.
CREATE FUNCTION threadline_internal.continuity_obstacle(relation regclass, audited threadline.audited_tables,
  OUT obstacle text, OUT hint text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
DECLARE
  refused_by text;
BEGIN
  IF audited.id IS NULL THEN
    PERFORM threadline_internal.check_auditable(relation, '{}', '{}', NULL, '{}');
    SELECT o.reason, o.advice INTO obstacle, hint FROM threadline_internal.why_unreadable(relation) AS o;
    IF obstacle IS NULL AND (SELECT k.key_type FROM threadline_internal.primary_key(relation) AS k) IS NULL THEN
      obstacle := 'it has no primary key';
      hint := 'Its changes would be recorded, but not told by row.';
    END IF;
    obstacle := 'it can be audited, but not all of its history be told: ' || obstacle;
  ELSIF audited.capture_ended_at IS NULL THEN
    PERFORM threadline_internal.readable_since(audited.id, threadline_internal.table_shape(audited.relation));
    SELECT 'not all of its history can be told: ' || o.reason, o.advice INTO obstacle, hint
      FROM threadline_internal.why_no_baseline(audited) AS o;
  ELSE
    obstacle := format('its capture ended at %s: changes since %s until then can be read, and nothing else',
      audited.capture_ended_at, audited.capture_since);
    hint := format('If it is to go on, its history begins anew: SELECT threadline.audit_table(%L);', relation);
  END IF;
EXCEPTION
  WHEN invalid_parameter_value OR object_not_in_prerequisite_state THEN
    GET STACKED DIAGNOSTICS obstacle = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT, refused_by = CONSTRAINT_NAME;
    IF refused_by NOT IN ('threadline_audit_table', 'threadline_past') THEN
      obstacle := format('it could not be checked: %s', obstacle);
    END IF;
  WHEN OTHERS THEN
    obstacle := format('it could not be checked: %s', SQLERRM);
    hint := 'Mend what the message names, and look again.';
END
$function$;
COMMENT ON FUNCTION threadline_internal.continuity_obstacle(regclass, threadline.audited_tables) IS
  'Why the history of a table is incomplete, and what to do about it; NULL if it is complete.';

-- Returns every table that is, was or could be audited. A table is `ready` if nothing makes its history incomplete.
CREATE FUNCTION threadline_internal.continuity()
RETURNS TABLE (table_schema text, table_name text, state text, capture_since timestamptz, readable_since timestamptz,
  row_estimate bigint, baseline text, baseline_rows bigint, ready boolean, message text, hint text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
#variable_conflict use_column
DECLARE
  candidate regclass;
  audited threadline.audited_tables;
  done threadline.baselines;
BEGIN
  FOR candidate, table_schema, table_name IN
    SELECT r.oid, c.table_schema, c.table_name
      FROM threadline.coverage AS c
      JOIN pg_namespace AS n ON n.nspname = c.table_schema
      JOIN pg_class AS r ON r.relnamespace = n.oid AND r.relname = c.table_name
     WHERE c.state <> 'exempt' OR EXISTS (SELECT FROM threadline_internal.audited_table(r.oid))
     ORDER BY c.table_schema, c.table_name
  LOOP
    SELECT t.* INTO audited FROM threadline_internal.audited_table(candidate) AS t;
    state := CASE WHEN audited.id IS NULL THEN 'uncovered' WHEN audited.capture_ended_at IS NULL THEN 'audited'
      ELSE 'ended' END;
    capture_since := audited.capture_since;
    readable_since := CASE state WHEN 'audited' THEN greatest(audited.capture_since, audited.purged_before) END;
    row_estimate := threadline_internal.row_estimate(candidate);
    SELECT b.* INTO done FROM threadline.baselines AS b WHERE b.table_id = audited.id AND b.as_of = readable_since;
    baseline := CASE WHEN readable_since IS NOT NULL THEN
      CASE WHEN done.finished_at IS NOT NULL THEN 'complete' WHEN done.table_id IS NOT NULL THEN 'partial'
        ELSE 'none' END END;
    baseline_rows := done.recorded;
    SELECT o.obstacle, o.hint INTO message, hint FROM threadline_internal.continuity_obstacle(candidate, audited) AS o;
    ready := message IS NULL;
    IF ready AND state = 'uncovered' THEN
      message := 'it can be audited; what its rows are like before that will not be known';
      hint := format('SELECT threadline.audit_table(%L);', candidate);
    ELSIF ready THEN
      message := format('all of it is known since %s; ', readable_since) || CASE baseline
        WHEN 'complete' THEN 'every row that was there then has a change or a snapshot in its history'
        WHEN 'partial' THEN format('a baseline has gone past %s of about %s rows', done.passed,
          greatest(row_estimate, done.passed))
        ELSE 'the history of a row that was there then begins with its first change after it' END;
      hint := CASE baseline
        WHEN 'none' THEN format('If it is to begin with the row as it was: threadline baseline %L', candidate::text)
        WHEN 'partial' THEN format('It goes on where it ended: threadline baseline %L', candidate::text) END;
    END IF;
    RETURN NEXT;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.continuity() IS
  'Each table that is, was or could be audited: the time since which its past is known, whether its earlier rows are '
  'recorded as well, and what makes its history incomplete.';

-- Redaction removes values from the audit log that must no longer be in it, one batch of changes at a time. Only the
-- owner of the audit log may redact, and the audit log records who did it, why, and how much.

-- Returns the table with its present column names: a column that was renamed since the last refresh has its former name
-- in everything recorded before.
CREATE FUNCTION threadline_internal.redactable_table(relation regclass) RETURNS threadline.audited_tables
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  audited threadline.audited_tables;
BEGIN
  SELECT t.* INTO audited FROM threadline_internal.audited_table(redactable_table.relation) AS t;
  IF NOT FOUND THEN
    PERFORM threadline_internal.raise_redaction_error(coalesce(relation::text, 'NULL'), 'nothing of it is recorded',
      'See threadline.audited_tables; a table that is gone is named by the number that stands there for it.');
  ELSIF EXISTS (SELECT FROM pg_class AS c WHERE c.oid = relation) THEN
    audited.definition := threadline_internal.describe_table(relation, audited.definition,
      threadline_internal.redacted_names(audited));
    audited.definition_id := NULL;
    audited.older_definitions := threadline_internal.older_definitions(audited, audited.definition -> 'columns');
    audited.key_columns := coalesce((SELECT nullif(k.columns, '{}') FROM threadline_internal.primary_key(relation)
      AS k), audited.key_columns);
  END IF;
  -- If values identify the rows of the past, a redacted row could not be distinguished from another one.
  IF audited.key_type IS NULL OR EXISTS (SELECT FROM threadline_internal.recorded_key_columns(audited) AS k
    WHERE k.recorded IS NULL) THEN
    PERFORM threadline_internal.raise_redaction_error(relation::text,
      'its rows have no primary key by which the past knows them',
      'Give the table a primary key, not of one jsonb column, and refresh its capture.');
  END IF;
  RETURN audited;
END
$function$;
COMMENT ON FUNCTION threadline_internal.redactable_table(regclass) IS
  'A table whose changes are to be redacted, with the present names of its columns; raises an error if it cannot be '
  'redacted.';

-- Finds the changes as the timeline does, through the key indexes. The text decides, as for holds: 007 is not a key,
-- although the index of integers finds it. Without a batch size, LIMIT is NULL.
CREATE FUNCTION threadline_internal.redactable_changes(table_id integer, row_key text,
  after_at timestamptz DEFAULT NULL,
  after_id bigint DEFAULT NULL, batch_size integer DEFAULT NULL) RETURNS SETOF threadline.audit_changes
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
SET enable_seqscan = off SET jit = off
AS $function$
DECLARE
  names jsonb := jsonb_build_object('row_key', quote_nullable(row_key), 'limit', quote_nullable(batch_size),
    'position', CASE WHEN after_at IS NULL THEN '' ELSE
      format(' AND c.captured_at >= %1$L::timestamptz AND (c.captured_at, c.id) > (%1$L::timestamptz, %2$s)', after_at,
        after_id) END);
  changes text := (
    SELECT string_agg(threadline_internal.render('(SELECT c.* FROM {tables} CROSS JOIN LATERAL (
          SELECT c.* FROM threadline.audit_changes AS c
           WHERE {condition}{position}
           ORDER BY c.captured_at, c.id LIMIT {limit}) AS c)',
        names || jsonb_build_object('tables', s.tables, 'condition', s.condition)), ' UNION ALL ')
      FROM threadline_internal.timeline_sources(threadline_internal.row_filter(table_id, row_key), 1) AS s);
BEGIN
  RETURN QUERY EXECUTE threadline_internal.render(
    'SELECT * FROM ({changes}) AS c ORDER BY c.captured_at, c.id LIMIT {limit}',
    names || jsonb_build_object('changes', changes));
END
$function$;
COMMENT ON FUNCTION threadline_internal.redactable_changes(integer, text, timestamptz, bigint, integer) IS
  'Changes of one row, oldest first, after a position.';

-- Returns the recorded columns of a change: the present name of each and the name under which it was recorded. A
-- dropped column keeps its name here, even if another column has it today: a redaction of that name covers both.
CREATE FUNCTION threadline_internal.recorded_names(change threadline.audit_changes, older jsonb)
RETURNS TABLE (name text, recorded text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(older #>> ARRAY[change.definition_id::text, 'names', k], k), k
    FROM jsonb_object_keys(coalesce(change.data_after, '{}') || coalesce(change.changed_from, '{}')) AS k
$function$;
COMMENT ON FUNCTION threadline_internal.recorded_names(threadline.audit_changes, jsonb) IS
  'The columns that a change recorded: their present names, and those under which they were recorded.';

-- Never adds a column key to an image and never removes one: the fact that a column changed stays known, and a missing
-- column that was added later would be read as its default. The new values belong to the given definition. Each image
-- stores that if values of a column were converted since: of any column, if no refresh has followed that definition.
CREATE FUNCTION threadline_internal.redacted_change(change threadline.audit_changes, older jsonb, replacements jsonb,
  definition_id integer DEFAULT NULL, is_stale boolean DEFAULT false, OUT data_after jsonb, OUT changed_from jsonb,
  OUT replaced text[])
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN m.marks = '{}' THEN x.data_after
           ELSE threadline_internal.image_redacted_under(x.data_after, m.marks) END,
         CASE WHEN m.marks = '{}' THEN x.changed_from
           ELSE threadline_internal.image_redacted_under(x.changed_from, m.marks) END, x.replaced
    FROM (
      SELECT change.data_after || coalesce(jsonb_object_agg(r.recorded, r.value) FILTER (WHERE r.is_after), '{}')
               AS data_after,
             change.changed_from || coalesce(jsonb_object_agg(r.recorded, r.value) FILTER (WHERE r.is_from), '{}')
               AS changed_from,
             coalesce(array_agg(r.name) FILTER (WHERE r.is_after), '{}')
               || coalesce(array_agg(r.name) FILTER (WHERE r.is_from), '{}') AS replaced,
             coalesce(jsonb_object_agg(r.recorded, definition_id) FILTER (
               WHERE (r.is_after OR r.is_from) AND (r.is_converted OR is_stale)), '{}') AS marks
        FROM (SELECT n.name, n.recorded, v.value, v.is_converted,
                     coalesce(change.data_after -> n.recorded <> v.value OR change.data_after ? n.recorded
                       AND v.is_converted, false) AS is_after,
                     coalesce(change.changed_from -> n.recorded <> v.value OR change.changed_from ? n.recorded
                       AND v.is_converted, false) AS is_from
                FROM threadline_internal.recorded_names(change, older) AS n
               CROSS JOIN threadline_internal.redacted_under(
                 coalesce(change.data_after, '{}') || coalesce(change.changed_from, '{}')) AS u (redacted)
               CROSS JOIN LATERAL (
                 SELECT replacements -> n.name AS value, threadline_internal.is_converted(
                          older -> coalesce(u.redacted ->> n.recorded, change.definition_id::text), n.name)
                          AS is_converted) AS v
               WHERE replacements ? n.name) AS r) AS x
   CROSS JOIN LATERAL (SELECT CASE WHEN x.marks = '{}' THEN '{}' ELSE threadline_internal.redacted_under(
     coalesce(change.data_after, '{}') || coalesce(change.changed_from, '{}')) || x.marks END AS marks) AS m
$function$;
COMMENT ON FUNCTION
  threadline_internal.redacted_change(threadline.audit_changes, jsonb, jsonb, integer, boolean) IS
  'The images of a change with replaced values, and the column of each replaced value.';

-- Returns the present definition of the table, and whether no refresh has followed it.
CREATE FUNCTION threadline_internal.definition_of_redaction(audited threadline.audited_tables,
  OUT definition_id integer, OUT is_stale boolean)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  SELECT t.definition_id,
         CASE WHEN EXISTS (SELECT FROM pg_class AS c WHERE c.oid = audited.relation)
           THEN d.layout IS DISTINCT FROM threadline_internal.column_layout(audited.relation) ELSE false END
    INTO definition_id, is_stale
    FROM threadline.audited_tables AS t LEFT JOIN threadline.table_definitions AS d ON d.id = t.definition_id
   WHERE t.id = audited.id;
  IF is_stale THEN
    definition_id := (threadline_internal.enter_definition(audited.id, audited.relation)).definition_id;
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.definition_of_redaction(threadline.audited_tables) IS
  'The definition under which the values of a redaction are written.';

CREATE FUNCTION threadline.redaction_plan(relation regclass, row_keys text[], mask text[] DEFAULT '{}',
  remove text[] DEFAULT '{}',
  substitutes jsonb DEFAULT '{}',
  OUT rows bigint, OUT changes bigint, OUT replaced jsonb, OUT unknown_keys text[], OUT moved_keys text[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  audited threadline.audited_tables := threadline_internal.redactable_table(relation);
  keys text[] := threadline_internal.redaction_keys(audited, row_keys);
  replacements jsonb := threadline_internal.redaction_replacements(audited, keys, mask, remove, substitutes);
BEGIN
  PERFORM threadline_internal.require_not_held(audited, keys, keys);
  WITH found AS (
    SELECT k.key, c.moved_key, r.replaced
      FROM unnest(keys) AS k (key)
     CROSS JOIN LATERAL threadline_internal.redactable_changes(audited.id, k.key) AS c
     CROSS JOIN LATERAL threadline_internal.redacted_change(c, audited.older_definitions, replacements)
       AS r
  )
  SELECT count(DISTINCT f.key), count(*) FILTER (WHERE f.replaced <> '{}'),
         (SELECT jsonb_object_agg(c, (SELECT count(*) FROM found CROSS JOIN LATERAL unnest(found.replaced) AS v
           WHERE v = c))
            FROM jsonb_object_keys(replacements) AS c),
         ARRAY(SELECT k FROM unnest(keys) AS k EXCEPT SELECT found.key FROM found ORDER BY 1),
         ARRAY(SELECT DISTINCT found.moved_key FROM found WHERE found.moved_key <> ALL (keys) ORDER BY 1)
    INTO rows, changes, replaced, unknown_keys, moved_keys FROM found AS f;
END
$function$;
COMMENT ON FUNCTION threadline.redaction_plan(regclass, text[], text[], text[], jsonb) IS
  'What threadline.redact_step would do in total: rows found, changes and values of each column to replace, keys '
  'without recorded changes, and other keys that the rows had.';

CREATE FUNCTION threadline_internal.raise_redaction_error(table_name text, reason text, hint text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RAISE EXCEPTION 'cannot redact %: %', table_name, reason
    USING ERRCODE = 'invalid_parameter_value', HINT = hint, CONSTRAINT = 'threadline_refused', TABLE = table_name;
END
$function$;
COMMENT ON FUNCTION threadline_internal.raise_redaction_error(text, text, text) IS
  'Raises the error for a redaction that cannot be done as requested.';

-- Returns the replacement for the values of a column, in the form in which the audit log stores it and every read of
-- the past accepts it. A single value that is invalid for the column type would break the past of the whole table. Only
-- built-in types convert a value, because code of any other type would run with the rights of the owner of the audit
-- log.
CREATE FUNCTION threadline_internal.redacted_value(audited threadline.audited_tables, column_name text, mode text,
  substitute jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS $function$
DECLARE
  table_name text := audited.relation::text;
  attribute record;
  can_mask boolean;
  value jsonb := CASE mode WHEN 'mask' THEN to_jsonb('[REDACTED]'::text) WHEN 'remove' THEN 'null' ELSE substitute END;
  reason text;
BEGIN
  SELECT c.*, format('column %I of type %s cannot hold ', c.name, format_type(c.type, c.typmod)) AS cannot_hold
    INTO attribute FROM threadline_internal.columns_of(audited.relation) AS c WHERE c.name = column_name;
  IF NOT FOUND THEN
    RETURN value;  -- Nobody reads a dropped column.
  END IF;
  can_mask := threadline_internal.holds_placeholder(attribute.type, attribute.typmod);
  IF mode = 'mask' AND NOT can_mask THEN
    PERFORM threadline_internal.raise_redaction_error(table_name, attribute.cannot_hold || 'the placeholder [REDACTED]',
      CASE WHEN attribute.not_null THEN 'Substitute a value of its type.'
        ELSE 'Remove its values, or substitute one of its type.' END);
  ELSIF mode <> 'mask' AND NOT (value = 'null' AND attribute.not_null) THEN
    reason := threadline_internal.why_not_value(attribute.type, attribute.typmod, value);
    IF reason IS NOT NULL THEN
      PERFORM threadline_internal.raise_redaction_error(table_name,
        concat(attribute.cannot_hold, left(value::text, 1000), ': ', reason), 'Substitute a value of its type.');
    END IF;
    IF value <> 'null' THEN
      value := coalesce(threadline_internal.built_in_value(attribute.type, attribute.typmod, value), 'null');
    END IF;
  END IF;
  IF value = 'null' AND attribute.not_null THEN
    PERFORM threadline_internal.raise_redaction_error(table_name,
      format('column %I is NOT NULL, so its values cannot be removed', column_name),
      CASE WHEN can_mask THEN 'Mask it, or substitute a value of its type.'
        ELSE 'Substitute a value of its type.' END);
  END IF;
  RETURN value;
END
$function$;
COMMENT ON FUNCTION threadline_internal.redacted_value(threadline.audited_tables, text, text, jsonb) IS
  'The replacement for the redacted values of a column; raises an error if the column could not contain it.';

CREATE FUNCTION threadline_internal.redaction_modes(mask text[], remove text[], substitutes jsonb)
  RETURNS TABLE (name text, mode text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT unnest(mask), 'mask' UNION SELECT unnest(remove), 'remove'
  UNION SELECT jsonb_object_keys(CASE jsonb_typeof(substitutes) WHEN 'object' THEN substitutes ELSE '{}' END),
    'substitute' ORDER BY 1, 2
$function$;
COMMENT ON FUNCTION threadline_internal.redaction_modes(text[], text[], jsonb) IS
  'The columns that a redaction names, and what to do with each.';

CREATE FUNCTION threadline_internal.redaction_keys(audited threadline.audited_tables, row_keys text[]) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  keys text[] := '{}';
  given record;
  row_key text;
BEGIN
  FOR row_key IN SELECT DISTINCT k FROM unnest(row_keys) AS k WHERE k IS NOT NULL LOOP
    SELECT * INTO given FROM threadline_internal.given_keys(audited, row_key);
    IF given.keys = '{}' THEN
      PERFORM threadline_internal.raise_no_key(audited, row_key, given.reason);
    END IF;
    keys := keys || given.keys;
  END LOOP;
  RETURN ARRAY(SELECT DISTINCT k COLLATE "C" FROM unnest(keys) AS k ORDER BY 1);
END
$function$;
COMMENT ON FUNCTION threadline_internal.redaction_keys(threadline.audited_tables, text[]) IS
  'Each key once, as audit_changes stores it, in the order in which rows are redacted.';

-- The audit log must not contain a completed redaction that replaced nothing.
CREATE FUNCTION threadline_internal.require_values(audited threadline.audited_tables, keys text[],
  replacements jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  redacted boolean;
  is_recorded boolean := false;
BEGIN
  FOR redacted IN
    SELECT r.replaced <> '{}'
      FROM unnest(keys) AS k (key)
     CROSS JOIN LATERAL threadline_internal.redactable_changes(audited.id, k.key) AS c
     CROSS JOIN LATERAL threadline_internal.redacted_change(c, audited.older_definitions, replacements)
       AS r LOOP
    IF redacted THEN
      RETURN;
    END IF;
    is_recorded := true;
  END LOOP;
  IF is_recorded THEN
    PERFORM threadline_internal.raise_redaction_error(audited.relation::text,
      'the recorded changes of these rows have no such values any more', 'There is nothing left to do.');
  END IF;
  PERFORM threadline_internal.raise_redaction_error(audited.relation::text,
    'nothing is recorded of ' || left(array_to_string(keys, ' '), 1000),
    'Look the keys up in row_key of threadline.changes.');
END
$function$;
COMMENT ON FUNCTION threadline_internal.require_values(threadline.audited_tables, text[], jsonb) IS
  'Raises an error if a redaction would replace no value.';

-- Returns {"column": value}, or raises an error that says which part is invalid.
CREATE FUNCTION threadline_internal.redaction_replacements(audited threadline.audited_tables, row_keys text[],
  mask text[], remove text[], substitutes jsonb)
RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  table_name text := audited.relation::text;
  replacements jsonb := '{}';
  named record;
  present text[] := ARRAY(SELECT a.attname::text FROM pg_attribute AS a
                           WHERE a.attrelid = audited.relation AND a.attnum > 0 AND NOT a.attisdropped
                             ORDER BY a.attnum);
BEGIN
  IF row_keys = '{}' THEN
    PERFORM threadline_internal.raise_redaction_error(table_name, 'no row is named',
      'Name the rows by their keys, as threadline.changes has them in row_key.');
  ELSIF substitutes IS NOT NULL AND jsonb_typeof(substitutes) <> 'object' THEN
    PERFORM threadline_internal.raise_redaction_error(table_name, 'the substitutes are no object',
      'Write them like {"column": "value"}.');
  END IF;
  FOR named IN SELECT * FROM threadline_internal.redaction_modes(mask, remove, substitutes) LOOP
    IF named.name IS NULL OR replacements ? named.name THEN
      PERFORM threadline_internal.raise_redaction_error(table_name, format('column %s is named twice, or is NULL',
        coalesce(quote_ident(named.name), 'NULL')),
        'Mask it, remove it or substitute it: choose one.');
    ELSIF named.name = ANY (audited.key_columns) THEN
      PERFORM threadline_internal.raise_redaction_error(table_name, format('column %I is part of its primary key',
        named.name),
        'The key says whose history a change belongs to. Where it is personal itself, use a surrogate key, or let '
          'retention remove the changes.');
    ELSIF named.name <> ALL (present) AND NOT EXISTS (
        SELECT FROM unnest(row_keys) AS k CROSS JOIN LATERAL threadline_internal.redactable_changes(audited.id, k) AS c
         CROSS JOIN LATERAL threadline_internal.recorded_names(c, audited.older_definitions) AS r
         WHERE r.name = named.name) THEN
      PERFORM threadline_internal.raise_redaction_error(table_name,
        format('it has no column %I, and the audit log of these rows has none', named.name),
        format('Its columns are: %s.', (SELECT string_agg(quote_ident(p), ', ' ORDER BY n)
          FROM unnest(present) WITH ORDINALITY AS c (p, n))));
    END IF;
    replacements := replacements || jsonb_build_object(named.name, threadline_internal.redacted_value(audited,
      named.name, named.mode, substitutes -> named.name));
  END LOOP;
  IF replacements = '{}' THEN
    PERFORM threadline_internal.raise_redaction_error(table_name, 'no column is named',
      'Name the columns to mask, to remove or to substitute.');
  END IF;
  SELECT * INTO named FROM threadline_internal.generated_from(audited.relation,
    ARRAY(SELECT jsonb_object_keys(replacements))) AS g (name, mode);
  IF named.name IS NOT NULL THEN
    PERFORM threadline_internal.raise_redaction_error(table_name, format('column %I is generated from column %I',
      named.name, named.mode),
      'Name the generated column as well.');
  END IF;
  RETURN replacements;
END
$function$;
COMMENT ON FUNCTION threadline_internal.redaction_replacements(threadline.audited_tables, text[], text[], text[],
  jsonb) IS
  'The replacement for the values of each column that a redaction names; raises an error if it cannot be done as '
  'requested.';

-- Records the action of a redaction that begins, or checks that the given action belongs to it.
CREATE FUNCTION threadline_internal.redaction_action(relation regclass, meta jsonb, row_keys text[], actor_ref jsonb,
  reason text, given uuid) RETURNS uuid
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF given IS NULL THEN
    IF threadline_internal.is_blank(reason) THEN
      RAISE EXCEPTION 'threadline.redaction needs a reason'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'threadline_reason_required', DETAIL = 'threadline.redaction',
          HINT = 'Say who asked for it, or what obliges you.';
    ELSIF coalesce(current_setting('threadline.actor_ref', true), '') = '' AND actor_ref IS NOT NULL THEN
      PERFORM set_config('threadline.actor_ref', actor_ref::text, true);
    END IF;
    SELECT a.id INTO given
      FROM threadline_internal.insert_action('threadline.redaction', reason => reason, actor_ref => actor_ref,
        meta => meta || jsonb_build_object('row_keys', row_keys[1:100], 'rows', 0, 'changes', 0, 'values', 0,
          'finished', false)) AS a;
  ELSIF NOT EXISTS (SELECT FROM threadline.audit_actions AS a
                     WHERE a.id = given AND a.name = 'threadline.redaction' AND a.meta @> redaction_action.meta) THEN
    PERFORM threadline_internal.raise_redaction_error(relation::text,
      format('%s is not the action of this redaction', given),
      'Leave it out at the first batch, which returns it.');
  END IF;
  RETURN given;
END
$function$;
COMMENT ON FUNCTION threadline_internal.redaction_action(regclass, jsonb, text[], jsonb, text, uuid) IS
  'The action of a redaction: a new one for the first batch, that of the first batch for the others.';

-- Redacts up to a given number of changes of one row, and returns the position where it ended.
CREATE FUNCTION threadline_internal.redact_row(audited threadline.audited_tables, row_key text,
  replacements jsonb, definition_id integer, is_stale boolean, batch_size integer, INOUT at timestamptz,
  INOUT id bigint,
  OUT seen integer, OUT changes bigint, OUT replaced bigint, OUT moved_keys text[])
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
  SET plan_cache_mode = force_generic_plan
AS $function$
DECLARE
  change threadline.audit_changes;
  redacted record;
BEGIN
  seen := 0;
  changes := 0;
  replaced := 0;
  moved_keys := '{}';
  FOR change IN SELECT * FROM threadline_internal.redactable_changes(audited.id, row_key, at, id, batch_size) LOOP
    seen := seen + 1;
    at := change.captured_at;
    id := change.id;
    IF change.moved_key IS NOT NULL THEN
      moved_keys := moved_keys || change.moved_key;
    END IF;
    SELECT * INTO redacted
      FROM threadline_internal.redacted_change(change, audited.older_definitions, replacements, definition_id,
        is_stale);
    CONTINUE WHEN redacted.replaced = '{}';
    UPDATE threadline.audit_changes AS c SET data_after = redacted.data_after, changed_from = redacted.changed_from
     WHERE c.transaction_id = change.transaction_id AND c.captured_at = change.captured_at AND c.id = change.id;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'change % was moved or removed at the same time', change.id
        USING ERRCODE = 'serialization_failure', HINT = 'Try again.';
    END IF;
    changes := changes + 1;
    replaced := replaced + cardinality(redacted.replaced);
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.redact_row(threadline.audited_tables, text, jsonb, integer, boolean, integer,
  timestamptz, bigint) IS
  'Redacts the changes of one row after a position; returns how many it read, and the position of the last one.';

-- Redacts one batch. It returns the position from which the next call continues, with the action of the first call, or
-- NULL when everything is done. It does not change live rows: the next change of a live row records its values again.
-- More than 60 lines, half of them its arguments and results.
CREATE FUNCTION threadline.redact_step(relation regclass, row_keys text[], mask text[] DEFAULT '{}',
  remove text[] DEFAULT '{}', substitutes jsonb DEFAULT '{}', actor_ref jsonb DEFAULT NULL, reason text DEFAULT NULL,
  batch_size integer DEFAULT 1000, after jsonb DEFAULT NULL, INOUT action_id uuid DEFAULT NULL,
  OUT rows bigint, OUT changes bigint, OUT replaced bigint, OUT next jsonb, OUT moved_keys text[])
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
DECLARE
  audited threadline.audited_tables;
  keys text[];
  number integer;
  at timestamptz := after ->> 'captured_at';
  id bigint := after ->> 'id';
  rest integer := batch_size;
  replacements jsonb;
  written record;
  batch record;
BEGIN
  -- Only one redaction at a time: if two redact the same change, the second must see the result of the first. None runs
  -- during a purge, which processes changes in another order.
  PERFORM threadline_internal.require_read_committed();
  PERFORM threadline_internal.take_lock('purge');
  audited := threadline_internal.redactable_table(relation);
  keys := threadline_internal.redaction_keys(audited, row_keys);
  -- By the key instead of its number, because the list may differ from that of the previous batch.
  number := 1 + (SELECT count(*) FROM unnest(keys) AS k WHERE k COLLATE "C" < after ->> 'key');
  IF keys[number] IS DISTINCT FROM after ->> 'key' THEN
    at := NULL;
    id := NULL;
  END IF;
  IF batch_size IS NULL OR batch_size < 1 THEN
    PERFORM threadline_internal.raise_redaction_error(relation::text, 'a batch has one change or more',
      'Say so in batch_size.');
  END IF;
  -- Checked in every batch, because the table may have changed since the previous one.
  replacements := threadline_internal.redaction_replacements(audited, keys, mask, remove, substitutes);
  -- A hold placed meanwhile waits for this batch, and the next batch is rejected.
  PERFORM threadline_internal.take_lock('retention', shared => true);
  PERFORM threadline_internal.require_not_held(audited, keys, keys[number:number + batch_size - 1]);
  IF action_id IS NULL THEN
    PERFORM threadline_internal.require_values(audited, keys, replacements);
  END IF;
  action_id := threadline_internal.redaction_action(relation, jsonb_build_object(
      'table', format('%I.%I', audited.table_schema, audited.table_name),
      'columns', (SELECT jsonb_object_agg(m.name, m.mode)
                    FROM threadline_internal.redaction_modes(mask, remove, substitutes) AS m
                   WHERE m.name IS NOT NULL)), keys, actor_ref, reason, action_id);

  written := threadline_internal.definition_of_redaction(audited);
  rows := 0;
  changes := 0;
  replaced := 0;
  moved_keys := '{}';
  WHILE rest > 0 AND number <= cardinality(keys) LOOP
    SELECT * INTO batch
      FROM threadline_internal.redact_row(audited, keys[number], replacements, written.definition_id,
        written.is_stale, rest, at, id);
    rows := rows + CASE WHEN at IS NULL AND batch.seen > 0 THEN 1 ELSE 0 END;
    changes := changes + batch.changes;
    replaced := replaced + batch.replaced;
    moved_keys := moved_keys || ARRAY(SELECT DISTINCT m FROM unnest(batch.moved_keys) AS m
                                       WHERE m <> ALL (keys || moved_keys));
    IF batch.seen < rest THEN
      number := number + 1;
      at := NULL;
      id := NULL;
    ELSE
      at := batch.at;
      id := batch.id;
    END IF;
    -- A key without recorded changes takes time too.
    rest := rest - greatest(batch.seen, 1);
  END LOOP;
  IF number <= cardinality(keys) THEN
    next := jsonb_build_object('key', keys[number], 'captured_at', at, 'id', id);
  END IF;
  PERFORM threadline_internal.add_to_action(action_id,
    jsonb_build_object('rows', rows, 'changes', changes, 'values', replaced));
  IF next IS NULL THEN
    UPDATE threadline.audit_actions AS a SET meta = a.meta || '{"finished": true}' WHERE a.id = action_id;
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline.redact_step(regclass, text[], text[], text[], jsonb, jsonb, text, integer, jsonb,
  uuid) IS
  'Removes values from the changes of the named rows, one batch at a time, as the action threadline.redaction; returns '
  'where the next batch begins, or NULL.';

-- Returns the key of the row to hold. Rejects a key without recorded changes, because such a hold would protect
-- nothing.
CREATE FUNCTION threadline_internal.held_key(audited threadline.audited_tables, row_key text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  given record := threadline_internal.given_keys(audited, row_key);
  keys text[];
BEGIN
  IF given.keys = '{}' THEN
    PERFORM threadline_internal.raise_no_key(audited, row_key, given.reason);
  END IF;
  keys := ARRAY(SELECT k FROM unnest(given.keys) AS k
                 WHERE EXISTS (SELECT FROM threadline_internal.redactable_changes(audited.id, k, NULL, NULL, 1)));
  IF keys = '{}' THEN
    PERFORM threadline_internal.raise_retention_error(format('no recorded change of %s has the key %L',
      audited.relation, row_key), 'A hold keeps what is recorded: look at row_key in threadline.changes.');
  ELSIF row_key <> ALL (keys) AND cardinality(keys) > 1 THEN
    PERFORM threadline_internal.raise_retention_error(format('%s has changes under several spellings of the key %L: %s',
      audited.relation, row_key, array_to_string(keys, ', ')), 'Hold each spelling.');
  END IF;
  RETURN CASE WHEN row_key = ANY (keys) THEN row_key ELSE keys[1] END;
END
$function$;
COMMENT ON FUNCTION threadline_internal.held_key(threadline.audited_tables, text) IS
  'The key of a row to hold, as audit_changes stores it.';

-- Placing and releasing holds is also recorded in the audit log, so it needs an actor.
CREATE FUNCTION threadline.place_hold(reason text, relation regclass DEFAULT NULL, row_key text DEFAULT NULL,
  actor_ref jsonb DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  held integer;
  audited threadline.audited_tables;
  key text := place_hold.row_key;
  actor jsonb := threadline_internal.read_actor(place_hold.actor_ref::text);
  placed bigint;
BEGIN
  IF threadline_internal.is_blank(place_hold.reason) THEN
    PERFORM threadline_internal.raise_retention_error('a hold needs a reason',
      'Say why: whoever asks later reads it in threadline.legal_holds.');
  ELSIF num_nonnulls(relation, place_hold.actor_ref) <> 1 OR relation IS NULL AND place_hold.row_key IS NOT NULL THEN
    PERFORM threadline_internal.raise_retention_error('a hold is of one table, row or actor',
      'Name a table, a table and a key, or an actor.');
  ELSIF relation IS NULL AND actor IS NULL THEN
    PERFORM threadline_internal.raise_retention_error(format('this is no actor: %s', left(place_hold.actor_ref::text,
      1000)), 'Write it like {"type": "user", "id": "123"}.');
  END IF;
  PERFORM threadline_internal.lock_retention();
  IF relation IS NOT NULL THEN
    held := threadline_internal.retained_table(relation);
    IF place_hold.row_key IS NOT NULL THEN
      SELECT * INTO audited FROM threadline.audited_tables AS a WHERE a.id = held;
      key := threadline_internal.held_key(audited, place_hold.row_key);
    END IF;
  END IF;
  INSERT INTO threadline.legal_holds AS h (table_id, row_key, actor_ref, reason, placed_at, placed_by)
  VALUES (held, key, actor, place_hold.reason, now(), current_user) RETURNING h.id INTO placed;
  PERFORM threadline_internal.insert_action('threadline.hold_placed', reason => place_hold.reason,
    meta => jsonb_strip_nulls(jsonb_build_object(
    'hold', placed, 'table', relation::text, 'row_key', key, 'actor_ref', actor)));
  RETURN placed;
END
$function$;
COMMENT ON FUNCTION threadline.place_hold(text, regclass, text, jsonb) IS
  'Protects the changes of a table, of one of its rows, or by and for an actor, from being removed or redacted. '
  'Records an action, and returns the id of the hold.';

CREATE FUNCTION threadline.release_hold(id bigint, reason text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  released threadline.legal_holds;
BEGIN
  IF threadline_internal.is_blank(release_hold.reason) THEN
    PERFORM threadline_internal.raise_retention_error('releasing a hold needs a reason', 'Say why: it is recorded.');
  END IF;
  PERFORM threadline_internal.lock_retention();
  DELETE FROM threadline.legal_holds AS h WHERE h.id = release_hold.id RETURNING * INTO released;
  IF NOT FOUND THEN
    PERFORM threadline_internal.raise_retention_error(format('there is no hold %s', release_hold.id),
      'They stand in threadline.legal_holds.');
  END IF;
  PERFORM threadline_internal.insert_action('threadline.hold_released', reason => release_hold.reason,
    meta => jsonb_strip_nulls(jsonb_build_object(
    'hold', released.id, 'table', (SELECT a.relation::text FROM threadline.audited_tables AS a
      WHERE a.id = released.table_id),
    'row_key', released.row_key, 'actor_ref', released.actor_ref, 'placed_at', released.placed_at, 'placed_for',
      released.reason)));
END
$function$;
COMMENT ON FUNCTION threadline.release_hold(bigint, text) IS 'Releases a hold, and records an action.';

-- For redactions. Holds on the row or its table are checked for all keys at once; holds on an actor are checked for the
-- keys whose changes are next.
CREATE FUNCTION threadline_internal.require_not_held(audited threadline.audited_tables, row_keys text[],
  next_keys text[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  hold threadline.legal_holds;
BEGIN
  SELECT h.* INTO hold FROM threadline.legal_holds AS h
   WHERE h.table_id = audited.id AND (h.row_key IS NULL OR h.row_key = ANY (row_keys)) ORDER BY h.id LIMIT 1;
  IF NOT FOUND AND EXISTS (SELECT FROM threadline.legal_holds AS h WHERE h.actor_ref IS NOT NULL) THEN
    SELECT h.* INTO hold
      FROM unnest(next_keys) AS k (key)
     CROSS JOIN LATERAL threadline_internal.redactable_changes(audited.id, k.key) AS c
      LEFT JOIN threadline.audit_transactions AS t ON t.id = c.transaction_id
     CROSS JOIN LATERAL threadline_internal.context_of(c.context, t) AS x
      JOIN threadline.legal_holds AS h ON h.actor_ref IN (x.actor_ref, x.on_behalf_of)
     ORDER BY h.id LIMIT 1;
  END IF;
  IF hold.id IS NOT NULL THEN
    PERFORM threadline_internal.raise_retention_error(format('what is recorded of these rows of %s is held: %s',
      audited.relation, hold.reason),
      format('It is legal hold %s of %s; while it lasts, nothing of it is redacted.', hold.id, hold.placed_at));
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.require_not_held(threadline.audited_tables, text[], text[]) IS
  'Raises an error if a legal hold keeps rows from being redacted.';

-- Returns the ids of the tables with changes in a partition, found by one index look-up per table.
CREATE FUNCTION threadline_internal.tables_in_partition(partition text) RETURNS SETOF integer
LANGUAGE plpgsql STABLE ROWS 10 SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
  found integer := -2147483648;
BEGIN
  LOOP
    EXECUTE format('SELECT c.table_id FROM threadline.%I AS c WHERE c.table_id > $1 ORDER BY c.table_id LIMIT 1',
      partition) INTO found USING found;
    EXIT WHEN found IS NULL;
    RETURN NEXT found;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.tables_in_partition(text) IS
  'The tables with changes in a partition of the audit log.';

-- There is no row for a table that has no policy, is kept forever, or is held as a whole.
CREATE FUNCTION threadline_internal.retention_cutoffs() RETURNS TABLE (table_id integer, retention_cutoff timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC'
AS $function$
  SELECT a.id, CASE WHEN p.whole_months THEN date_trunc('month', k.retention_cutoff) ELSE k.retention_cutoff END
    FROM threadline.audited_tables AS a
   CROSS JOIN LATERAL threadline_internal.retention_policy(a.id) AS p
   CROSS JOIN LATERAL (SELECT least(now() - p.keep, now() - interval '1 day') AS retention_cutoff) AS k
   WHERE p.keep IS NOT NULL AND NOT EXISTS (SELECT FROM threadline.legal_holds AS h WHERE h.table_id = a.id
     AND h.row_key IS NULL)
$function$;
COMMENT ON FUNCTION threadline_internal.retention_cutoffs() IS
  'The time before which changes of each table may be purged.';

-- Returns the condition under which a change c of a partition, with its transaction t, is purged with the others of its
-- table.
CREATE FUNCTION threadline_internal.retention_condition() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'c.table_id = $1 AND c.captured_at < $2
     AND NOT EXISTS (SELECT FROM threadline.legal_holds AS h
                      WHERE h.table_id = c.table_id AND h.row_key = threadline_internal.key_of(c))'
    || CASE WHEN EXISTS (SELECT FROM threadline.legal_holds AS h WHERE h.actor_ref IS NOT NULL) THEN '
     AND NOT EXISTS (SELECT FROM threadline.legal_holds AS h
                       LEFT JOIN threadline.audit_transactions AS t ON t.id = c.transaction_id
                      CROSS JOIN LATERAL threadline_internal.context_of(c.context, t) AS x
                      WHERE h.actor_ref IN (x.actor_ref, x.on_behalf_of))' ELSE '' END
$function$;
COMMENT ON FUNCTION threadline_internal.retention_condition() IS
  'SQL for the changes of a table ($1) before its retention cutoff ($2) that are under no hold.';

-- A partition is dropped as a whole if the policies of all tables with changes in it allow it and nothing in it is
-- held. Held rows are found as in the timeline. For held actors the whole partition is read, because a change may be
-- older than its transaction if a clock was set back.
CREATE FUNCTION threadline_internal.partition_is_droppable(partition text, lower_bound timestamptz,
  upper_bound timestamptz) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
  SELECT isfinite(lower_bound) AND upper_bound <= (SELECT max(h.retention_cutoff)
    FROM threadline_internal.retention_cutoffs() AS h)
     AND NOT EXISTS (SELECT FROM threadline_internal.tables_in_partition(partition) AS t (id) LEFT
       JOIN threadline_internal.retention_cutoffs() AS h ON h.table_id = t.id
                      WHERE h.retention_cutoff IS NULL OR h.retention_cutoff < upper_bound)
     AND NOT EXISTS (
       SELECT FROM threadline.legal_holds AS h
        CROSS JOIN LATERAL threadline_internal.timeline_page(threadline_internal.row_filter(h.table_id, h.row_key)
          || jsonb_build_object('since', lower_bound, 'until', upper_bound - interval '1 microsecond'), NULL, NULL, 1)
        WHERE h.row_key IS NOT NULL)
     AND CASE WHEN EXISTS (SELECT FROM threadline.legal_holds AS h WHERE h.actor_ref IS NOT NULL) THEN NOT EXISTS (
           SELECT FROM threadline.audit_changes AS c
             LEFT JOIN threadline.audit_transactions AS t ON t.id = c.transaction_id
            CROSS JOIN LATERAL threadline_internal.context_of(c.context, t) AS x
             JOIN threadline.legal_holds AS h ON h.actor_ref IN (x.actor_ref, x.on_behalf_of)
            WHERE c.captured_at >= lower_bound AND c.captured_at < upper_bound)
         ELSE true END
$function$;
COMMENT ON FUNCTION threadline_internal.partition_is_droppable(text, timestamptz, timestamptz) IS
  'Whether a partition of the audit log may be dropped.';

-- SECURITY DEFINER, because a role that may read the audit log may not read its partitions, which come and go.
CREATE FUNCTION threadline_internal.retention_plan()
RETURNS TABLE (partition text, table_schema text, table_name text, retention_cutoff timestamptz, is_dropped boolean,
  changes bigint, kept bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  part record;
  aged record;
BEGIN
  FOR part IN SELECT p.name, p.upper_bound, threadline_internal.partition_is_droppable(p.name, p.lower_bound,
    p.upper_bound) AS agreed
                FROM threadline_internal.partitions() AS p
               WHERE p.lower_bound < (SELECT max(h.retention_cutoff) FROM threadline_internal.retention_cutoffs() AS h)
                 ORDER BY p.name COLLATE "C" LOOP
    partition := part.name;
    is_dropped := part.agreed;
    FOR aged IN SELECT h.*, n.table_schema, n.table_name
                  FROM threadline_internal.tables_in_partition(part.name) AS t (id)
                  JOIN threadline_internal.retention_cutoffs() AS h ON h.table_id = t.id
                  JOIN threadline_internal.audited_table_names AS n ON (n.audited).id = t.id
                 ORDER BY n.table_schema, n.table_name LOOP
      table_schema := aged.table_schema;
      table_name := aged.table_name;
      retention_cutoff := aged.retention_cutoff;
      EXECUTE format('SELECT count(*) FILTER (WHERE %s), count(*) FROM threadline.%I AS c WHERE c.table_id = $1',
        CASE WHEN is_dropped THEN 'true' ELSE threadline_internal.retention_condition() END, part.name) INTO changes,
          kept USING aged.table_id, aged.retention_cutoff;
      kept := kept - changes;
      IF changes > 0 THEN
        RETURN NEXT;
      END IF;
    END LOOP;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.retention_plan() IS
  'What a purge would remove now: for each partition and table, the number of changes to remove, the number that '
  'stays, and whether the partition is dropped. It reads the changes to count them.';

-- Retention: how long changes are kept, and which changes are always kept. Nothing is removed without a policy.

-- Every change of a policy or hold takes this lock, and every step of a purge takes it in shared mode: once a hold is
-- placed, none of the held data is removed.
CREATE FUNCTION threadline_internal.lock_retention() RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.take_lock('retention')
$function$;
COMMENT ON FUNCTION threadline_internal.lock_retention() IS
  'Waits for the running step of a purge, and prevents the next one from starting.';

CREATE FUNCTION threadline_internal.raise_retention_error(message text, hint text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RAISE EXCEPTION '%', message USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_refused',
    HINT = hint;
END
$function$;
COMMENT ON FUNCTION threadline_internal.raise_retention_error(text, text) IS
  'Raises the error for an invalid policy, hold or purge.';

-- A statement that waited for a lock must see what was committed meanwhile.
CREATE FUNCTION threadline_internal.require_read_committed() RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
    PERFORM threadline_internal.raise_retention_error(
      format('at the isolation level %s, a hold that is placed meanwhile would not be seen',
             current_setting('transaction_isolation')),
      'Work on the audit log at READ COMMITTED: SET default_transaction_isolation = ''read committed''.');
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.require_read_committed() IS
  'Raises an error unless each statement of the transaction has its own snapshot.';

CREATE FUNCTION threadline_internal.retained_table(relation regclass) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  id integer := (SELECT a.id FROM threadline_internal.audited_table(retained_table.relation) AS a);
BEGIN
  IF id IS NULL THEN
    PERFORM threadline_internal.raise_retention_error(format('%s is not audited', relation),
      'Only what is or was audited has a record to keep.');
  END IF;
  RETURN id;
END
$function$;
COMMENT ON FUNCTION threadline_internal.retained_table(regclass) IS
  'The audited_tables row of a table that is or was audited.';

CREATE FUNCTION threadline.set_retention(keep interval, relation regclass DEFAULT NULL,
  whole_months boolean DEFAULT true) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  -- To PostgreSQL, a month minus 29 days is one day, and such an interval can reach into the future.
  IF set_retention.keep < '1 day' OR now() - set_retention.keep > now() - interval '1 day' THEN
    PERFORM threadline_internal.raise_retention_error(format('changes cannot be kept for %s only', set_retention.keep),
      'A day is the least.');
  END IF;
  PERFORM threadline_internal.lock_retention();
  INSERT INTO threadline.retention_policies (table_id, keep, whole_months, set_at, set_by, actor_ref)
  VALUES (CASE WHEN relation IS NULL THEN 0 ELSE threadline_internal.retained_table(relation) END, set_retention.keep,
    set_retention.whole_months,
    now(), current_user, threadline_internal.read_actor(nullif(current_setting('threadline.actor_ref', true), '')))
  ON CONFLICT (table_id) DO UPDATE
    SET keep = excluded.keep, whole_months = excluded.whole_months, set_at = excluded.set_at, set_by = excluded.set_by,
      actor_ref = excluded.actor_ref;
END
$function$;
COMMENT ON FUNCTION threadline.set_retention(interval, regclass, boolean) IS
  'Sets how long changes of a table, or of all tables without their own policy, are kept; NULL keeps them forever. '
  'With whole months (UTC), partitions can be dropped and changes are kept for up to a month longer; otherwise changes '
  'expire to the day. Nothing is removed before a purge runs.';

CREATE FUNCTION threadline.unset_retention(relation regclass DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  PERFORM threadline_internal.lock_retention();
  DELETE FROM threadline.retention_policies AS p
   WHERE p.table_id = CASE WHEN relation IS NULL THEN 0 ELSE threadline_internal.retained_table(relation) END;
  RETURN FOUND;
END
$function$;
COMMENT ON FUNCTION threadline.unset_retention(regclass) IS
  'Removes a policy; returns false if there was none. A table without a policy uses the policy for all tables. If that '
  'is missing too, its changes are kept forever.';

-- The policy of the table takes precedence over the policy for all tables.
CREATE FUNCTION threadline_internal.retention_policy(table_id integer) RETURNS SETOF threadline.retention_policies
LANGUAGE sql STABLE ROWS 1 SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT p.* FROM threadline.retention_policies AS p WHERE p.table_id IN (retention_policy.table_id, 0)
    ORDER BY p.table_id DESC LIMIT 1
$function$;
COMMENT ON FUNCTION threadline_internal.retention_policy(integer) IS
  'The policy that applies to a table, if there is one.';

-- A transaction that straddles the cutoff loses its part before it, so nothing can be read as of a time before it was
-- complete. This function runs after the changes are removed, in the same transaction: it sees everything committed
-- until then.
CREATE FUNCTION threadline_internal.advance_purged_before(table_ids integer[], retention_cutoff timestamptz)
  RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
  moved timestamptz := greatest(retention_cutoff, (
    SELECT max(c.captured_at) FROM threadline.audit_changes AS c
     WHERE c.transaction_id = ANY (threadline_internal.straddling_transactions(retention_cutoff))));
BEGIN
  UPDATE threadline.audited_tables AS a SET purged_before = moved
   WHERE a.id = ANY (table_ids) AND coalesce(a.purged_before < moved, true);
END
$function$;
COMMENT ON FUNCTION threadline_internal.advance_purged_before(integer[], timestamptz) IS
  'Records for tables that their changes before a time were removed.';

-- Uses look-ups only: checking a few thousand transactions must not read the whole audit log.
CREATE FUNCTION threadline_internal.purge_transactions(ids uuid[]) RETURNS bigint
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $function$
  WITH gone AS (
    DELETE FROM threadline.audit_transactions AS t
     WHERE t.id = ANY (ids)
       -- One hour of tolerance for clocks that were set back.
       AND NOT EXISTS (SELECT FROM threadline.audit_changes AS c
                        WHERE c.transaction_id = t.id AND c.captured_at > t.occurred_at - interval '1 hour')
       AND NOT EXISTS (SELECT FROM threadline.audit_actions AS x WHERE x.transaction_id = t.id)
       AND NOT EXISTS (SELECT FROM threadline.legal_holds AS h WHERE h.actor_ref IN (t.actor_ref, t.on_behalf_of))
    RETURNING t.id, t.occurred_at
  ), contexts AS (
    DELETE FROM threadline_internal.transaction_contexts AS x USING gone AS g WHERE x.transaction_id = g.id
  ), noted AS (
    DELETE FROM threadline_internal.long_transactions AS l
     USING generate_series(1, (SELECT max(n.duration_class) FROM threadline_internal.long_transactions AS n))
       AS d (class), gone AS g
     WHERE l.duration_class = d.class AND l.occurred_at = g.occurred_at AND l.transaction_id = g.id
  )
  SELECT count(*) FROM gone
$function$;
COMMENT ON FUNCTION threadline_internal.purge_transactions(uuid[]) IS
  'Removes those of the given transactions that have no changes, no actions and no held actor; returns how many.';

-- Nobody writes to a month that is long past, so its changes can be counted while it is locked against changes. After
-- that, readers and writers of the audit log have to give way for a moment.
CREATE FUNCTION threadline_internal.purge_partition(partition text, lower_bound timestamptz, upper_bound timestamptz,
  until timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  counts jsonb;
BEGIN
  IF NOT threadline_internal.lock_or_give_up(format('LOCK TABLE threadline.%I IN SHARE MODE', partition), until) THEN
    RETURN NULL;
  END IF;
  -- Checked again, because a running transaction may have added a change that must be kept.
  IF NOT threadline_internal.partition_is_droppable(partition, lower_bound, upper_bound) THEN
    RETURN NULL;
  END IF;
  EXECUTE format('SELECT coalesce(jsonb_object_agg(n.table_id, n.count), jsonb_build_object())
                    FROM (SELECT c.table_id, count(*) FROM threadline.%I AS c GROUP BY c.table_id) AS n', partition)
                      INTO counts;
  IF NOT threadline_internal.lock_or_give_up(format('SELECT threadline_internal.drop_partition(%L, %L)', partition,
    counts), until) THEN
    RETURN NULL;
  END IF;
  RETURN counts;
END
$function$;
COMMENT ON FUNCTION threadline_internal.purge_partition(text, timestamptz, timestamptz, timestamptz) IS
  'Drops a partition of the audit log if that is allowed; returns the number of changes by table, or NULL if it was in '
  'use for too long.';

-- Drops a partition. A dependent object (such as a view) does not keep its changes: in that case the partition stays,
-- empty and detached from the audit log, until someone drops it with its dependents.
CREATE FUNCTION threadline_internal.drop_partition(partition text, counts jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  -- The rows whose purged_before will change are locked first, in the same order as a baseline locks them, and not
  -- while everyone waits for the audit log.
  PERFORM FROM threadline.audited_tables AS a WHERE counts ? a.id::text ORDER BY a.id FOR NO KEY UPDATE;
  LOCK TABLE ONLY threadline.audit_changes IN ACCESS EXCLUSIVE MODE;
  BEGIN
    EXECUTE format('DROP TABLE threadline.%I', partition);
  EXCEPTION WHEN dependent_objects_still_exist THEN
    EXECUTE format('ALTER TABLE threadline.audit_changes DETACH PARTITION threadline.%I', partition);
    EXECUTE format('TRUNCATE threadline.%I', partition);
    EXECUTE format('ALTER TABLE threadline.%I RENAME TO %I', partition,
      format('purged_%s_%s', partition, format('threadline.%I', partition)::regclass::oid));
  END;
END
$function$;
COMMENT ON FUNCTION threadline_internal.drop_partition(text, jsonb) IS
  'Drops a partition that contains changes of the given tables; waits for all locks that it needs.';

-- Only one purge runs at a time, and none while a policy or a hold is being changed. A purge that was killed may still
-- be running its last step.
CREATE FUNCTION threadline_internal.begin_purge(batch_size integer, until timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  PERFORM threadline_internal.require_read_committed();
  IF coalesce(batch_size, 0) < 1 THEN
    PERFORM threadline_internal.raise_retention_error('a batch has at least one row', 'Give a number above 0.');
  END IF;
  IF NOT threadline_internal.lock_or_give_up($sql$
      SELECT threadline_internal.take_lock('purge'), threadline_internal.take_lock('retention', shared => true)$sql$,
      until, 0.05) THEN
    PERFORM threadline_internal.raise_retention_error(
      'another purge or redaction is running, or a policy or a hold is being changed', 'Try again later.');
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.begin_purge(integer, timestamptz) IS
  'Waits until a step of a purge may run; raises an error if that takes too long.';

-- A batch ends where the next batch of its table starts, so that nothing is read twice.
CREATE FUNCTION threadline_internal.purge_batch(purge threadline_internal.purge_state, lower_bound timestamptz,
  batch_size integer)
RETURNS threadline_internal.purge_state
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  aged record;
  changes bigint;
  last timestamptz;
  ids uuid[];
BEGIN
  FOR aged IN SELECT h.* FROM threadline_internal.retention_cutoffs() AS h
               WHERE h.retention_cutoff > purge_batch.lower_bound AND h.table_id >= coalesce(purge.table_id, 0)
               ORDER BY h.table_id LOOP
    EXECUTE threadline_internal.render('
      WITH gone AS (
        DELETE FROM threadline.{partition} WHERE ctid = ANY (ARRAY(
          SELECT c.ctid FROM threadline.{partition} AS c
           WHERE {condition} AND c.captured_at >= $3 ORDER BY c.captured_at, c.id LIMIT $4))
        RETURNING transaction_id, captured_at)
      SELECT count(*), max(g.captured_at), array_agg(DISTINCT g.transaction_id) FROM gone AS g', jsonb_build_object(
        'partition', quote_ident(purge.partition), 'condition', threadline_internal.retention_condition()))
      INTO changes, last, ids
      USING aged.table_id, aged.retention_cutoff,
        CASE WHEN aged.table_id = purge.table_id THEN purge.after ELSE '-infinity' END, batch_size;
    IF changes > 0 THEN
      purge.step := 'deleted';
      purge.table_id := aged.table_id;
      purge.after := last;
      purge.counts := jsonb_build_object(aged.table_id, changes);
      purge.transactions := threadline_internal.purge_transactions(ids);
      PERFORM threadline_internal.advance_purged_before(ARRAY[aged.table_id], aged.retention_cutoff);
      EXIT;
    END IF;
  END LOOP;
  RETURN purge;
END
$function$;
COMMENT ON FUNCTION threadline_internal.purge_batch(threadline_internal.purge_state, timestamptz, integer) IS
  'Removes a batch of changes of one table from a partition, and the transactions that become empty.';

-- Processes one partition after the other, and in each of them one table after the other.
CREATE FUNCTION threadline_internal.purge_next_partition(purge threadline_internal.purge_state, batch_size integer,
  until timestamptz)
RETURNS threadline_internal.purge_state
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  part record;
BEGIN
  FOR part IN SELECT p.* FROM threadline_internal.partitions() AS p
               WHERE p.name >= coalesce(purge.partition, '') COLLATE "C"
                 AND p.lower_bound < (SELECT max(h.retention_cutoff) FROM threadline_internal.retention_cutoffs() AS h)
               ORDER BY p.name COLLATE "C" LOOP
    IF purge.partition IS DISTINCT FROM part.name THEN
      purge.partition := part.name;
      purge.table_id := NULL;
      purge.after := NULL;
    END IF;
    -- Not checked again between batches: until the deleted rows are vacuumed, they slow down the look-ups.
    IF purge.table_id IS NOT NULL
      OR NOT threadline_internal.partition_is_droppable(part.name, part.lower_bound, part.upper_bound) THEN
      purge := threadline_internal.purge_batch(purge, part.lower_bound, batch_size);
    ELSIF part.name = ANY (purge.postponed) THEN
      CONTINUE;
    ELSE
      purge.counts := threadline_internal.purge_partition(part.name, part.lower_bound, part.upper_bound, until);
      IF purge.counts IS NULL THEN
        purge.step := 'postponed';
        purge.postponed := purge.postponed || part.name;
      ELSE
        purge.step := 'dropped';
        PERFORM threadline_internal.advance_purged_before(ARRAY(SELECT jsonb_object_keys(purge.counts)::integer),
          part.upper_bound);
        INSERT INTO threadline_internal.purged_months AS m (lower_bound, upper_bound, after_id)
        VALUES (part.lower_bound, part.upper_bound, threadline.first_id_after(part.lower_bound - interval '1 day'))
        ON CONFLICT (lower_bound) DO UPDATE SET after_id = excluded.after_id;
      END IF;
    END IF;
    EXIT WHEN purge.step <> 'done';
  END LOOP;
  RETURN purge;
END
$function$;
COMMENT ON FUNCTION threadline_internal.purge_next_partition(threadline_internal.purge_state, integer, timestamptz) IS
  'Drops the next partition that may be dropped, or removes the next batch of changes from a partition that stays.';

CREATE FUNCTION threadline_internal.sweep_transactions(purge threadline_internal.purge_state, batch_size integer)
RETURNS threadline_internal.purge_state
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  month threadline_internal.purged_months;
  ids uuid[];
BEGIN
  purge.is_sweeping := true;
  SELECT * INTO month FROM threadline_internal.purged_months AS m ORDER BY m.lower_bound LIMIT 1;
  IF NOT FOUND THEN
    RETURN purge;
  END IF;
  purge.step := 'swept';
  ids := ARRAY(SELECT t.id FROM threadline.audit_transactions AS t
                WHERE t.id > month.after_id AND t.id < threadline.first_id_after(month.upper_bound)
                  ORDER BY t.id LIMIT batch_size);
  purge.transactions := threadline_internal.purge_transactions(ids);
  IF cardinality(ids) = batch_size THEN
    UPDATE threadline_internal.purged_months AS m SET after_id = ids[batch_size]
      WHERE m.lower_bound = month.lower_bound;
  ELSE
    -- A transaction that began more than a day before the month is a long one: a change a day later is recorded under
    -- duration_class 20.
    purge.transactions := purge.transactions + threadline_internal.purge_transactions(ARRAY(
      SELECT DISTINCT l.transaction_id FROM threadline_internal.long_transactions AS l
       WHERE l.duration_class >= 20 AND l.occurred_at < month.lower_bound));
    DELETE FROM threadline_internal.purged_months AS m WHERE m.lower_bound = month.lower_bound;
  END IF;
  RETURN purge;
END
$function$;
COMMENT ON FUNCTION threadline_internal.sweep_transactions(threadline_internal.purge_state, integer) IS
  'Removes a batch of the transactions that are empty because their partitions were dropped.';

CREATE FUNCTION threadline_internal.record_purge_progress(purge threadline_internal.purge_state, actor_ref jsonb,
  reason text,
  changes bigint) RETURNS uuid
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF purge.action_id IS NULL THEN
    PERFORM set_config('threadline.actor_ref', coalesce(record_purge_progress.actor_ref::text, ''), true);
    SELECT a.id INTO purge.action_id FROM threadline_internal.insert_action('threadline.purge',
      reason => record_purge_progress.reason) AS a;
  END IF;
  PERFORM threadline_internal.add_to_action(purge.action_id,
    (SELECT coalesce(jsonb_object_agg(t.name, t.changes), '{}')
       FROM (SELECT n.table_schema || '.' || n.table_name AS name, sum(k.value::bigint) AS changes
               FROM jsonb_each_text(purge.counts) AS k
               JOIN threadline_internal.audited_table_names AS n ON (n.audited).id = k.key::integer
              GROUP BY 1) AS t)
    || jsonb_build_object('changes', record_purge_progress.changes, 'transactions', purge.transactions,
                          'partitions', CASE purge.step WHEN 'dropped' THEN 1 ELSE 0 END));
  RETURN purge.action_id;
END
$function$;
COMMENT ON FUNCTION threadline_internal.record_purge_progress(threadline_internal.purge_state, jsonb, text, bigint) IS
  'Adds what a step removed to the action of its purge, which the first step that removes something records; returns '
  'the action.';

-- `state` is a threadline_internal.purge_state. It is not trusted where it matters.
CREATE FUNCTION threadline.purge_step(INOUT state jsonb, actor_ref jsonb, reason text, batch_size integer DEFAULT 5000,
  patience interval DEFAULT '10 s', OUT step text, OUT partition text, OUT changes bigint, OUT transactions bigint)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  until timestamptz := clock_timestamp() + patience;
  purge threadline_internal.purge_state := jsonb_populate_record(NULL::threadline_internal.purge_state, coalesce(state,
    '{}'));
BEGIN
  PERFORM threadline_internal.begin_purge(batch_size, until);
  purge.step := 'done';
  purge.counts := '{}';
  purge.transactions := 0;
  IF purge.is_sweeping IS NOT TRUE THEN
    purge := threadline_internal.purge_next_partition(purge, batch_size, until);
    partition := CASE WHEN purge.step <> 'done' THEN purge.partition END;
  END IF;
  IF purge.step = 'done' THEN
    purge := threadline_internal.sweep_transactions(purge, batch_size);
  END IF;
  changes := (SELECT coalesce(sum(n.value::bigint), 0) FROM jsonb_each_text(purge.counts) AS n);
  IF changes > 0 OR purge.transactions > 0 OR purge.step = 'dropped' THEN
    purge.action_id := threadline_internal.record_purge_progress(purge, actor_ref, reason, changes);
  END IF;
  step := purge.step;
  transactions := purge.transactions;
  state := jsonb_strip_nulls(to_jsonb(purge)) - '{step,counts,transactions}'::text[];
END
$function$;
COMMENT ON FUNCTION threadline.purge_step(jsonb, jsonb, text, integer, interval) IS
  'Performs one step of a purge. Call it with the state that the previous call returned, until the step is done, and '
  'commit each call separately. A step drops a partition, or removes a batch of changes or of empty transactions, '
  'updates purged_before and adds the result to one action.';

-- Returns the row of a table. A table with the name of a dropped one, recreated or restored, continues its history. One
-- with another primary key is a different table.
CREATE FUNCTION threadline_internal.find_audited(relation regclass) RETURNS threadline.audited_tables
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  found_table threadline.audited_tables;
BEGIN
  SELECT t.* INTO found_table FROM threadline_internal.audited_table(find_audited.relation) AS t;
  IF NOT FOUND THEN
    WITH namesake AS MATERIALIZED (
      SELECT t.*
        FROM threadline.audited_tables AS t
        JOIN pg_class AS c ON c.relname = t.table_name
        JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = t.table_schema
       WHERE c.oid = find_audited.relation
    )
    SELECT t.* INTO found_table
      FROM namesake AS t
     CROSS JOIN threadline_internal.primary_key(find_audited.relation) AS k
     WHERE t.key_columns = k.columns AND t.key_type IS NOT DISTINCT FROM k.key_type
       AND NOT EXISTS (SELECT FROM pg_class WHERE oid = t.relation)
     ORDER BY t.capture_ended_at IS NOT NULL, t.id DESC LIMIT 1;
  END IF;
  RETURN found_table;
END
$function$;
COMMENT ON FUNCTION threadline_internal.find_audited(regclass) IS
  'The audited_tables row that a table has or continues; NULL for a table that was never audited.';

-- Separates the rows of dropped tables from other tables: pg_dump writes the OID of a dropped table, which may belong
-- to any other table where the dump is restored. These rows get OIDs from the end of the range, which no table has.
CREATE FUNCTION threadline_internal.forget_dropped_tables() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  candidate threadline.audited_tables;
BEGIN
  FOR candidate IN
    SELECT t.* FROM threadline.audited_tables AS t
     WHERE t.relation::oid <> (4294967295 - t.id)::oid
       -- This condition settles nearly all rows, and is the only one evaluated for them: every call evaluates it for
       -- each table.
       AND NOT EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                        WHERE c.oid = t.relation AND (n.nspname, c.relname) = (t.table_schema, t.table_name)) LOOP
    CONTINUE WHEN threadline_internal.is_table_of(candidate);
    UPDATE threadline.audited_tables AS t SET relation = (4294967295 - t.id)::oid WHERE t.id = candidate.id;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.forget_dropped_tables() IS
  'Gives dropped tables OIDs that no other table has, in this database or where it is restored.';

-- Ends the rows from the audit log of another database for tables that this one audits too: a dump was loaded into an
-- audit log in use. Their changes are kept under the names of the tables.
CREATE FUNCTION threadline_internal.end_foreign_tables() RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  UPDATE threadline.audited_tables AS t
     SET relation = (4294967295 - t.id)::oid, capture_ended_at = coalesce(t.capture_ended_at, clock_timestamp())
   WHERE threadline_internal.is_audited_twice(t)
$function$;
COMMENT ON FUNCTION threadline_internal.end_foreign_tables() IS
  'Ends the rows from the audit log of another database for tables that this one audits.';

-- Returns the id for a table that was never audited, even if the sequence is behind. Call it while holding the
-- definitions lock.
CREATE FUNCTION threadline_internal.next_table_id() RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  sequence regclass := pg_get_serial_sequence('threadline.audited_tables', 'id');
  next_id integer := nextval(sequence);
BEGIN
  IF EXISTS (SELECT FROM threadline.audited_tables AS t WHERE t.id = next_id) THEN
    PERFORM setval(sequence, (SELECT max(t.id) FROM threadline.audited_tables AS t));
    next_id := nextval(sequence);
  END IF;
  RETURN next_id;
END
$function$;
COMMENT ON FUNCTION threadline_internal.next_table_id() IS 'An id for a table that was never audited.';

-- Stores the description of the capture of a table.
CREATE FUNCTION threadline_internal.store_audited(audited threadline.audited_tables) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  INSERT INTO threadline.audited_tables OVERRIDING SYSTEM VALUE SELECT audited.*
  ON CONFLICT (id) DO UPDATE
     SET relation = EXCLUDED.relation, table_schema = EXCLUDED.table_schema, table_name = EXCLUDED.table_name,
         key_columns = EXCLUDED.key_columns, key_type = EXCLUDED.key_type,
         excluded_columns = EXCLUDED.excluded_columns, masked_columns = EXCLUDED.masked_columns,
         hashed_columns = EXCLUDED.hashed_columns,
         granularity = EXCLUDED.granularity, requested_granularity = EXCLUDED.requested_granularity,
         definition_version = EXCLUDED.definition_version, definition = EXCLUDED.definition,
         definition_id = EXCLUDED.definition_id, first_definition_id = EXCLUDED.first_definition_id,
         older_definitions = EXCLUDED.older_definitions, capture_since = EXCLUDED.capture_since, gap = EXCLUDED.gap,
         catalog_versions = EXCLUDED.catalog_versions, capture_ended_at = NULL
$function$;
COMMENT ON FUNCTION threadline_internal.store_audited(threadline.audited_tables) IS
  'Adds a row to audited_tables, or updates it.';

-- Starts capture of a table. Writers wait while the table is locked, so slow work comes before: the functions are
-- created first, for a definition that must be the same once the lock is held. Nobody else sees them until everything
-- is done. More than 60 lines: it is one course of steps.
CREATE FUNCTION threadline.audit_table(relation regclass, mask text[] DEFAULT '{}', exclude text[] DEFAULT '{}',
  granularity text DEFAULT NULL, unredact text[] DEFAULT '{}', hash_key text[] DEFAULT '{}') RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
SET standard_conforming_strings = on SET jit = off
AS $function$
DECLARE
  before threadline.audited_tables;
  described record;
  audited threadline.audited_tables;
  defined threadline.audited_tables;
  gap text;  -- why changes may have gone unrecorded since the last refresh
  new_definition_id integer;
  unredacted text[];
  attempts integer := 0;
BEGIN
  -- Also when there is nothing else to do: an application that installs on every start never runs out of partitions.
  PERFORM threadline_internal.create_partitions();
  -- One installer at a time, which also prevents two processes that start together from replacing the same function.
  PERFORM threadline_internal.take_lock('definitions');
  mask := coalesce((SELECT array_agg(DISTINCT m ORDER BY m) FROM unnest(mask) AS m), '{}');
  exclude := coalesce((SELECT array_agg(DISTINCT e ORDER BY e) FROM unnest(exclude) AS e), '{}');
  hash_key := coalesce((SELECT array_agg(DISTINCT h ORDER BY h) FROM unnest(hash_key) AS h), '{}');
  PERFORM threadline_internal.end_foreign_tables();
  PERFORM threadline_internal.forget_dropped_tables();
  PERFORM threadline_internal.drop_abandoned_functions();
  before := threadline_internal.find_audited(relation);
  gap := threadline_internal.capture_gap(relation, before);

  LOOP
    attempts := attempts + 1;
    IF attempts > 9 THEN
      PERFORM threadline_internal.raise_audit_error(relation,
        'it was altered again and again while its capture was defined',
        'Call this again when nobody alters it.');
    END IF;
    PERFORM threadline_internal.check_auditable(relation, mask, exclude, granularity, hash_key);
    -- Columns found to be redacted stay redacted: the code below registers a restored table, and discards its earlier
    -- state.
    described := threadline_internal.describe_capture(relation, mask || coalesce(defined.masked_columns, '{}'),
      exclude || coalesce(defined.excluded_columns, '{}'), granularity, coalesce(unredact, '{}'), before,
      hash_key || coalesce(defined.hashed_columns, '{}'));
    audited := described.audited;
    unredacted := coalesce(unredacted, described.unredacted);
    gap := coalesce(gap, threadline_internal.hash_gap(audited, before), threadline_internal.trigger_gap(before));
    IF gap IS NOT NULL OR audited.definition_id IS NULL
      OR EXISTS (SELECT FROM threadline_internal.rewritten_columns(before)) THEN
      new_definition_id := coalesce(new_definition_id, threadline_internal.next_definition_id());
      audited.definition_id := new_definition_id;
    END IF;
    IF gap IS NOT NULL THEN
      audited.first_definition_id := audited.definition_id;
      audited.gap := nullif(gap, '');
    END IF;
    PERFORM threadline_internal.renumber_definitions(audited);
    audited.older_definitions := threadline_internal.read_older(audited, before);
    IF gap IS NULL THEN
      gap := threadline_internal.key_gap(audited, before);
      CONTINUE WHEN gap IS NOT NULL;
    END IF;
    -- Having nothing to do is the common case, and takes no lock on the table.
    IF defined IS NULL AND audited IS NOT DISTINCT FROM before THEN
      RETURN before.id;
    END IF;
    audited.id := coalesce(before.id, defined.id, threadline_internal.next_table_id());
    EXIT WHEN audited IS NOT DISTINCT FROM defined;
    IF audited.hashed_columns <> '{}' THEN
      PERFORM threadline_internal.create_key_secret(audited.id);
    END IF;
    PERFORM threadline_internal.add_key_type(audited.key_type);
    PERFORM threadline_internal.define_capture_functions(audited);
    PERFORM threadline_internal.define_reading_functions(audited);
    PERFORM threadline_internal.lock_table(relation, 'SHARE ROW EXCLUSIVE');
    defined := audited;
  END LOOP;

  -- The lock is held: every later write fires the triggers.
  IF gap IS NOT NULL THEN
    audited.capture_since := clock_timestamp();
  END IF;
  PERFORM threadline_internal.store_audited(audited);
  PERFORM threadline_internal.store_definition(audited);
  PERFORM threadline_internal.record_unredaction(audited, unredacted);
  IF before.id IS NOT NULL AND (threadline_internal.key_changed(before, audited)
      OR threadline_internal.hash_gap(audited, before) IS NOT NULL) THEN
    PERFORM threadline_internal.change_key(audited, before);
  END IF;
  UPDATE threadline.audited_tables AS t SET capture_ended_at = clock_timestamp()
   WHERE (t.table_schema, t.table_name) = (audited.table_schema, audited.table_name) AND t.id <> audited.id
     AND t.capture_ended_at IS NULL AND NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.relation);
  PERFORM threadline_internal.define_triggers(audited);
  PERFORM threadline_internal.store_catalog_versions(audited);
  RETURN audited.id;
END
$function$;
COMMENT ON FUNCTION threadline.audit_table(regclass, text[], text[], text, text[], text[]) IS
  'Starts auditing a table, or updates its capture to match the table and the arguments; returns its id in '
  'audited_tables. Masked columns are recorded as [REDACTED], excluded columns are not recorded, and key columns in '
  'hash_key are recorded as a keyed hash. A column that was ever redacted stays redacted until unredact names it. '
  'granularity is row or statement, or chosen if NULL.';

-- Raises an error. Every such error has the constraint name threadline_audit_table, by which a client can distinguish
-- it from other errors.
CREATE FUNCTION threadline_internal.raise_audit_error(relation regclass, reason text, hint text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RAISE EXCEPTION 'cannot audit %: %', relation, reason
    USING ERRCODE = 'invalid_parameter_value', HINT = hint, CONSTRAINT = 'threadline_audit_table',
      TABLE = relation::text;
END
$function$;
COMMENT ON FUNCTION threadline_internal.raise_audit_error(regclass, text, text) IS
  'Raises the error for a table that cannot be audited as requested.';

-- Rejects relations that cannot be audited.
CREATE FUNCTION threadline_internal.check_table(relation regclass) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  class pg_class;
  log_owner regrole := threadline_internal.log_owner();
  exempt text := (SELECT e.reason FROM threadline.exempt_tables AS e WHERE e.relation = check_table.relation
    AND threadline_internal.is_said_of(e.relation, e.table_schema, e.table_name, e.database));
  reason text;
  hint text;
BEGIN
  SELECT * INTO class FROM pg_class WHERE oid = relation;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'cannot audit a table that does not exist'
      USING ERRCODE = 'undefined_table', CONSTRAINT = 'threadline_audit_table',
        HINT = $$The first argument of threadline.audit_table is the table, as in 'users'::regclass.$$;
  END IF;
  IF class.relnamespace IN ('pg_catalog'::regnamespace, 'pg_toast'::regnamespace)
    OR class.relnamespace = to_regnamespace('information_schema') THEN
    reason := 'it is a system table';
    hint := 'Triggers do not fire on system tables.';
  ELSIF class.relnamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace) THEN
    reason := 'it belongs to Threadline';
    hint := 'The audit log cannot record itself.';
  ELSIF class.relkind IN ('v', 'm') THEN
    reason := 'it is a view';
    hint := 'Audit the tables that the view reads.';
  ELSIF class.relkind = 'f' THEN
    reason := 'it is a foreign table';
    hint := 'Audit the table on the server that holds it.';
  ELSIF class.relkind NOT IN ('r', 'p') THEN
    reason := 'it is not a table';
    hint := 'Name an ordinary or a partitioned table.';
  ELSIF class.relpersistence = 't' THEN
    reason := 'it is a temporary table';
    hint := 'Only what outlives the session can be audited.';
  ELSIF class.relispartition THEN
    reason := 'it is a partition';
    hint := format('Audit the partitioned table %s; its partitions are captured with it.%s',
      pg_partition_root(relation),
      (SELECT format(' End the capture of this one: SELECT threadline.unaudit_table(%L);', check_table.relation)
         FROM threadline.audited_tables AS t
        WHERE t.relation = check_table.relation AND t.capture_ended_at IS NULL));
  ELSIF EXISTS (SELECT FROM threadline_internal.partition_tree(relation) AS p JOIN pg_class AS c ON c.oid = p.relid
                 WHERE c.relkind = 'f') THEN
    reason := 'one of its partitions is a foreign table';
    hint := 'Detach the foreign partition: rows on another server cannot be captured from here.';
  ELSIF exempt IS NOT NULL THEN
    reason := format('it is exempt: %s', exempt);
    hint := format('If that is no longer so: SELECT threadline.unexempt_table(%L);', relation);
  ELSIF NOT has_table_privilege(log_owner, relation, 'SELECT') THEN
    reason := format('%s, the owner of the audit log, may not read it', log_owner);
    hint := format('GRANT SELECT ON %s TO %s; it is needed to record what TRUNCATE removes.', relation, log_owner);
  END IF;
  IF reason IS NOT NULL THEN
    PERFORM threadline_internal.raise_audit_error(relation, reason, hint);
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.check_table(regclass) IS
  'Raises an error with a hint if a relation cannot be audited.';

-- Rejects a granularity that would miss writes, and warns about one that would record them out of order.
CREATE FUNCTION threadline_internal.check_granularity(relation regclass, granularity text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF granularity NOT IN ('row', 'statement') THEN
    PERFORM threadline_internal.raise_audit_error(relation, format('granularity %L is unknown', granularity),
      $$It is 'row' or 'statement', or left out.$$);
  ELSIF granularity = 'statement' AND (threadline_internal.is_partitioned(relation)
      OR EXISTS (SELECT FROM pg_inherits WHERE relation IN (inhrelid, inhparent))) THEN
    PERFORM threadline_internal.raise_audit_error(relation,
      $$granularity 'statement' would miss writes aimed straight at a partition or child table$$,
      $$Leave the granularity out, or ask for 'row'.$$);
  ELSIF granularity = 'statement' AND threadline_internal.granularity_for(relation) = 'row' THEN
    RAISE WARNING 'changes that row triggers of % make to it will be recorded before the change that fired them',
      relation USING HINT = $$Leave the granularity out, or ask for 'row'.$$;
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.check_granularity(regclass, text) IS
  'Raises an error with a hint if a table cannot be captured at a granularity.';

-- Rejects columns that cannot be masked or excluded.
CREATE FUNCTION threadline_internal.check_redaction(relation regclass, mask text[], exclude text[], hash_key text[])
RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  redacted text;
  attribute record;
  reason text;
  reasons text[] := '{}';
  hint text;
  hints text[] := '{}';
BEGIN
  FOREACH redacted IN ARRAY mask || exclude LOOP
    reason := NULL;
    SELECT c.type, c.typmod INTO attribute
      FROM threadline_internal.columns_of(relation) AS c WHERE c.name = redacted;
    IF NOT FOUND THEN
      reason := format('it has no column %I', redacted);
      hint := format('Its columns are: %s.', (SELECT string_agg(quote_ident(c.name), ', ' ORDER BY c.number)
                                                FROM threadline_internal.columns_of(relation) AS c));
    ELSIF redacted = ANY (mask) AND redacted = ANY (exclude) THEN
      reason := format('column %I is both masked and excluded', redacted);
      hint := 'A masked column is recorded as a placeholder, an excluded one not at all: choose one.';
    ELSIF redacted = ANY (mask) AND NOT threadline_internal.holds_placeholder(attribute.type, attribute.typmod) THEN
      reason := format('column %I of type %s cannot hold the placeholder [REDACTED]', redacted,
        format_type(attribute.type, attribute.typmod));
      hint := 'Mask only columns of text, and exclude the others.';
    END IF;
    IF reason IS NOT NULL AND reason <> ALL (reasons) THEN
      reasons := reasons || reason;
      hints := hints || array_remove(ARRAY[hint], hints[cardinality(hints)]);
    END IF;
  END LOOP;
  IF reasons <> '{}' THEN
    PERFORM threadline_internal.raise_audit_error(relation, array_to_string(reasons, '; '),
      array_to_string(hints, ' '));
  END IF;
  -- A stored generated column would reveal its redacted source column in the audit log.
  SELECT format('column %I is generated from column %I, which is redacted', g.generated, g.source) INTO reason
    FROM threadline_internal.generated_from(relation, mask || exclude || hash_key) AS g WHERE g.generated IS NOT NULL;
  IF FOUND THEN
    PERFORM threadline_internal.raise_audit_error(relation, reason, 'Mask or exclude the generated column as well.');
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.check_redaction(regclass, text[], text[], text[]) IS
  'Raises an error with a hint if columns of a table cannot be masked or excluded.';

-- Rejects columns that cannot be recorded as hashes. A column that was hashed before stays hashed when the key changes.
CREATE FUNCTION threadline_internal.check_hash_key(relation regclass, hash_key text[], redacted text[],
  hashed_before text[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  hashed text;
  attribute record;
  key_columns text[] := (SELECT k.columns FROM threadline_internal.primary_key(relation) AS k);
BEGIN
  FOREACH hashed IN ARRAY hash_key LOOP
    SELECT c.type, c.typmod INTO attribute
      FROM threadline_internal.columns_of(relation) AS c WHERE c.name = hashed;
    IF NOT FOUND THEN
      PERFORM threadline_internal.raise_audit_error(relation, format('it has no column %I', hashed),
        format('Its primary key is (%s).', array_to_string(key_columns, ', ')));
    ELSIF hashed = ANY (redacted) THEN
      PERFORM threadline_internal.raise_audit_error(relation,
        format('column %I is both hashed and masked or excluded', hashed),
        'A column of the primary key is recorded as a hash; mask or exclude the others.');
    ELSIF hashed <> ALL (key_columns || hashed_before) THEN
      PERFORM threadline_internal.raise_audit_error(relation,
        format('column %I is not part of its primary key', hashed),
        'Mask or exclude it: only what tells rows apart is recorded as a hash.');
    ELSIF threadline_internal.hash_kinds(relation, ARRAY[hashed]) = '{}' THEN
      PERFORM threadline_internal.raise_audit_error(relation,
        format('column %I of type %s cannot be recorded as a hash', hashed,
          format_type(attribute.type, attribute.typmod)),
        'Make it text, bytea, uuid, or varchar of 69 characters or more, without a CHECK in a domain and without a '
          'collation that takes different texts for equal; or exempt the table: threadline.exempt_table.');
    END IF;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.check_hash_key(regclass, text[], text[], text[]) IS
  'Raises an error with a hint if columns of a table cannot be recorded as hashes.';

-- Rejects a table whose changes could not be distinguished without a redacted column.
CREATE FUNCTION threadline_internal.check_key(audited threadline.audited_tables, hashed_before text[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  redacted text;
BEGIN
  SELECT k INTO redacted FROM unnest(audited.key_columns) AS k
   WHERE k = ANY (audited.hashed_columns || hashed_before)
     AND threadline_internal.hash_kinds(audited.relation, ARRAY[k]) = '{}';
  IF FOUND THEN
    PERFORM threadline_internal.raise_audit_error(audited.relation,
      format('column %I is part of its primary key and recorded as a hash, which its type cannot hold', redacted),
      'Make it text, bytea, uuid, or varchar of 69 characters or more.');
  END IF;
  SELECT k INTO redacted FROM unnest(audited.key_columns) AS k
   WHERE k = ANY (audited.masked_columns || audited.excluded_columns);
  IF FOUND THEN
    PERFORM threadline_internal.raise_audit_error(audited.relation,
      format('column %I is part of its primary key', redacted),
      'The key says whose history a change belongs to, so it can be neither masked nor excluded. A secret can be '
        'recorded as a keyed hash: hash_key.');
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.check_key(threadline.audited_tables, text[]) IS
  'Raises an error with a hint if a column of the primary key of a table is redacted.';

-- Rejects whatever cannot be audited as requested.
CREATE FUNCTION threadline_internal.check_auditable(relation regclass, mask text[], exclude text[], granularity text,
  hash_key text[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  PERFORM threadline_internal.check_table(relation);
  PERFORM threadline_internal.check_granularity(relation, granularity);
  PERFORM threadline_internal.check_redaction(relation, mask, exclude, hash_key);
  IF hash_key <> '{}' THEN
    PERFORM threadline_internal.check_hash_key(relation, hash_key, mask || exclude, coalesce((
      SELECT t.hashed_columns FROM threadline_internal.find_audited(relation) AS t), '{}'));
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.check_auditable(regclass, text[], text[], text, text[]) IS
  'Raises an error with a hint if a table cannot be audited as requested.';

-- Declares how the last migration of a column that left a gap converted its values: an expression of the old column,
-- such as price / 100.0. It must convert the last recorded values of the rows to their present values.
CREATE FUNCTION threadline.declare_conversion(relation regclass, column_name text, expression text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET jit = off
AS $function$
#variable_conflict use_column
DECLARE
  audited threadline.audited_tables;
  conversion threadline.column_conversions;
  comparison record;
BEGIN
  PERFORM threadline_internal.take_lock('definitions');
  SELECT t.* INTO audited FROM threadline_internal.audited_table(declare_conversion.relation) AS t
   WHERE t.capture_ended_at IS NULL;
  SELECT v.* INTO conversion
    FROM threadline.column_conversions AS v
    JOIN threadline_internal.columns_of(relation) AS c
      ON c.number = v.column_number AND c.name = declare_conversion.column_name
   WHERE v.table_id = audited.id ORDER BY v.gap IS NULL, v.definition_id DESC LIMIT 1;
  IF NOT FOUND THEN
    PERFORM threadline_internal.raise_audit_error(relation,
      format('no migration has converted column %I', declare_conversion.column_name),
      'SELECT * FROM threadline.column_conversions; lists the columns that were converted. A refresh finds them.');
  END IF;
  IF NOT conversion.can_be_declared THEN
    PERFORM threadline_internal.raise_audit_error(relation,
      format('changes may have been recorded between the migration of column %I and the refresh',
        declare_conversion.column_name),
      'Which of them the migration has converted is not known. Refresh in the transaction of a migration, before it '
        'writes the table.');
  END IF;
  conversion.expression := declare_conversion.expression;
  PERFORM threadline_internal.define_conversion(conversion);
  UPDATE threadline.column_conversions AS c SET expression = declare_conversion.expression, gap = NULL
   WHERE (c.table_id, c.column_number, c.definition_id)
       = (conversion.table_id, conversion.column_number, conversion.definition_id);
  audited.older_definitions := threadline_internal.older_definitions(audited,
    (threadline_internal.describe_definition(audited)).columns);
  comparison := threadline_internal.compare_conversion(audited, conversion.column_number, 'v.value',
    conversion.definition_id - 1, false);
  IF comparison.differing > 0 THEN
    PERFORM threadline_internal.raise_audit_error(relation,
      format('%s of %s values of column %I are not what %s makes of them', comparison.differing,
             greatest(comparison.compared, comparison.differing),
             declare_conversion.column_name, declare_conversion.expression),
      format('One of them becomes %s.', comparison.example));
  END IF;
  PERFORM threadline_internal.store_audited(audited);
  PERFORM threadline_internal.define_reading_functions(audited);
END
$function$;
COMMENT ON FUNCTION threadline.declare_conversion(regclass, text, text) IS
  'Declares how the last migration of a column converted its values, so that older values are read the same way.';

-- Creates the function of a declared conversion. It takes a JSON value, in the former type of the column if that is a
-- built-in type, otherwise as text. It runs with the rights of the reader.
CREATE FUNCTION threadline_internal.define_conversion(conversion threadline.column_conversions) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.define_reading_function(
    format('threadline_internal.%I(jsonb)', threadline_internal.conversion_function(conversion)),
    format('RETURNS jsonb LANGUAGE sql STABLE %s AS %L',
      threadline_internal.settings_clause(threadline_internal.canonical_settings()),
      threadline_internal.render('SELECT {json} FROM (SELECT ({expression}) AS value
          FROM (SELECT ($1 #>> ARRAY[]::text[])::{old_type} AS {name}) AS v) AS v', jsonb_build_object(
        'json', CASE WHEN threadline_internal.is_built_in(conversion.to_type)
            THEN format('to_jsonb(v.value::%s)', conversion.to_type)
          WHEN right(conversion.to_type, 2) = '[]' THEN 'to_jsonb(v.value::text[])' ELSE 'to_jsonb(v.value::text)' END,
        'expression', conversion.expression, 'name', quote_ident(conversion.column_name),
        'old_type', CASE WHEN threadline_internal.is_built_in(conversion.from_type) THEN conversion.from_type
          ELSE 'text' END))),
    format('What the migration of column %I made of its values.', conversion.column_name))
$function$;
COMMENT ON FUNCTION threadline_internal.define_conversion(threadline.column_conversions) IS
  'Creates the function of a declared conversion.';

-- Stores the definition under which changes of a table are made from now on.
CREATE FUNCTION threadline_internal.store_definition(audited threadline.audited_tables) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  present threadline.table_definitions := threadline_internal.describe_definition(audited);
BEGIN
  present.id := audited.definition_id;
  INSERT INTO threadline.table_definitions OVERRIDING SYSTEM VALUE SELECT present.* ON CONFLICT (id) DO NOTHING;
END
$function$;
COMMENT ON FUNCTION threadline_internal.store_definition(threadline.audited_tables) IS
  'Stores the present definition of a table.';

-- Returns the present numbers of the columns of definitions from another database, or from before the table was
-- recreated. Only the names connect the last definition before with the first one after. A column that has no name in
-- the present table gets a number that no column has, and keeps it.
CREATE FUNCTION threadline_internal.present_numbers(older threadline.table_definitions, present_columns jsonb)
RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH old AS (
    SELECT DISTINCT (c.value ->> 'number')::integer AS number, (d.relation, d.database) = (older.relation,
             older.database) AS is_meant
      FROM threadline.table_definitions AS d CROSS JOIN LATERAL jsonb_each(d.columns) AS c
     WHERE d.table_id = older.table_id
  ), lowest AS (
    SELECT least(min(o.number), 0) AS number FROM old AS o
  )
  SELECT coalesce(jsonb_object_agg(o.number, CASE
           WHEN k.key IS NOT NULL THEN present_columns #> ARRAY[k.key, 'number']
           WHEN o.number < 0 THEN to_jsonb(o.number)
           ELSE to_jsonb(l.number - o.number) END), '{}')
    FROM old AS o
   CROSS JOIN lowest AS l
    LEFT JOIN jsonb_each(older.columns) AS k
      ON (k.value ->> 'number')::integer = o.number AND present_columns ? k.key
   WHERE o.is_meant
$function$;
COMMENT ON FUNCTION threadline_internal.present_numbers(threadline.table_definitions, jsonb) IS
  'The numbers of the columns of older definitions in a table that was restored or recreated.';

-- Returns the present numbers of the types of those definitions, and of the labels of their enums. Only the names
-- connect the last definition before with the first one after. A type or label without a present name gets a number
-- that nothing has, and keeps it. It therefore stays distinct, whatever name it gets later.
CREATE FUNCTION threadline_internal.present_label_numbers(older threadline.table_definitions, present_columns jsonb)
RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH defined AS (
    SELECT d.id, c.value AS col, (d.relation, d.database) = (older.relation, older.database) AS is_meant
      FROM threadline.table_definitions AS d CROSS JOIN LATERAL jsonb_each(d.columns) AS c
     WHERE d.table_id = older.table_id
  ), lowest AS (
    SELECT least(min((l.value #>> '{}')::bigint), min((d.col ->> 'type_oid')::bigint), 0) AS number
      FROM defined AS d LEFT JOIN LATERAL jsonb_each(d.col -> 'labels') AS l ON true
  ), type AS (
    SELECT DISTINCT ON (o.value -> 'type_oid') o.value -> 'type_oid' AS number, p.value -> 'type_oid' AS present,
           -- The definition of a redacted column has no labels.
           coalesce(p.value -> 'labels', threadline_internal.labels((p.value ->> 'type_oid')::oid, -1)) AS labels
      FROM jsonb_each(older.columns) AS o JOIN jsonb_each(present_columns) AS p USING (key)
     WHERE o.value -> 'type' = p.value -> 'type'
     ORDER BY o.value -> 'type_oid', p.value -> 'labels' IS NULL, o.key
  ), label AS (
    SELECT DISTINCT ON (l.value) l.value AS number, l.key AS name
      FROM defined AS d CROSS JOIN LATERAL jsonb_each(d.col -> 'labels') AS l
     WHERE d.is_meant ORDER BY l.value, d.id DESC
  ), present_label AS (
    SELECT l.number, max((t.labels ->> l.name)::bigint) AS present
      FROM label AS l
      JOIN defined AS d ON d.is_meant AND d.col -> 'labels' @> jsonb_build_object(l.name, l.number)
      JOIN type AS t ON t.number = d.col -> 'type_oid'
     GROUP BY l.number
  ), numbered AS (
    SELECT 'types' AS kind, d.number, t.present
      FROM (SELECT DISTINCT d.col -> 'type_oid' AS number FROM defined AS d
             WHERE d.is_meant AND d.col ? 'type_oid') AS d
      LEFT JOIN type AS t USING (number)
    UNION ALL
    SELECT 'labels', l.number, to_jsonb(p.present::text) FROM label AS l LEFT JOIN present_label AS p USING (number)
  )
  SELECT coalesce(jsonb_object_agg(k.kind, k.numbers), '{}')
    FROM (SELECT n.kind, jsonb_object_agg(n.number #>> '{}', coalesce(n.present, CASE
                   WHEN (n.number #>> '{}')::bigint < 0 THEN n.number
                   ELSE to_jsonb((l.number - (n.number #>> '{}')::bigint)::text) END)) AS numbers
            FROM numbered AS n CROSS JOIN lowest AS l GROUP BY n.kind) AS k
$function$;
COMMENT ON FUNCTION threadline_internal.present_label_numbers(threadline.table_definitions, jsonb) IS
  'The numbers of types and labels of older definitions in the database into which a table was restored.';

-- Returns a column of such a definition with the present numbers of the column, its type and its labels. In the same
-- database, types and labels keep their numbers.
CREATE FUNCTION threadline_internal.renumbered_column(old_column jsonb, numbers jsonb, label_numbers jsonb)
RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT (old_column - CASE WHEN label_numbers IS NULL THEN '' ELSE 'attributes' END)
    || jsonb_build_object('number', numbers -> (old_column ->> 'number'))
    || CASE WHEN label_numbers IS NULL THEN '{}' ELSE jsonb_strip_nulls(jsonb_build_object(
         'type_oid', label_numbers -> 'types' -> (old_column ->> 'type_oid'),
         'labels', (SELECT jsonb_object_agg(l.key, label_numbers -> 'labels' -> (l.value #>> '{}'))
                      FROM jsonb_each(old_column -> 'labels') AS l))) END
$function$;
COMMENT ON FUNCTION threadline_internal.renumbered_column(jsonb, jsonb, jsonb) IS
  'A column of an older definition with its present numbers.';

-- Gives the conversions of a table the present numbers of their columns.
CREATE FUNCTION threadline_internal.renumber_conversions(older threadline.table_definitions, numbers jsonb)
RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  conversions threadline.column_conversions[];
  conversion threadline.column_conversions;
BEGIN
  SELECT array_agg(c) INTO conversions
    FROM threadline.column_conversions AS c JOIN threadline.table_definitions AS d ON d.id = c.definition_id
   WHERE c.table_id = older.table_id AND (d.relation, d.database) = (older.relation, older.database);
  -- All rows are deleted first, because one may have the number that another gets.
  DELETE FROM threadline.column_conversions AS c USING unnest(conversions) AS m
   WHERE (c.table_id, c.column_number, c.definition_id) = (m.table_id, m.column_number, m.definition_id);
  FOREACH conversion IN ARRAY coalesce(conversions, '{}') LOOP
    conversion.column_number := coalesce((numbers ->> conversion.column_number::text)::smallint,
      conversion.column_number);
    INSERT INTO threadline.column_conversions SELECT conversion.*;
    IF conversion.expression IS NOT NULL THEN
      PERFORM threadline_internal.define_conversion(conversion);
    END IF;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.renumber_conversions(threadline.table_definitions, jsonb) IS
  'Gives the conversions of a table that was restored or recreated the present numbers of their columns.';

-- Updates the column numbers in older definitions to match a table that was restored or recreated.
CREATE FUNCTION threadline_internal.renumber_definitions(audited threadline.audited_tables) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  present_columns jsonb;
  numbers jsonb;
  label_numbers jsonb;
  older threadline.table_definitions;
BEGIN
  SELECT d.columns INTO present_columns FROM threadline.table_definitions AS d
   WHERE d.table_id = audited.id
     AND (d.relation, d.database) = (audited.relation, audited.definition ->> 'database') ORDER BY d.id LIMIT 1;
  present_columns := coalesce(present_columns, (threadline_internal.describe_definition(audited)).columns);
  FOR older IN
    SELECT DISTINCT ON (d.relation, d.database) d.*
      FROM threadline.table_definitions AS d
     WHERE d.table_id = audited.id
       AND (d.relation, d.database) <> (audited.relation, audited.definition ->> 'database')
     ORDER BY d.relation, d.database, d.id DESC LOOP
    numbers := threadline_internal.present_numbers(older, present_columns);
    label_numbers := CASE WHEN older.database <> audited.definition ->> 'database'
      THEN threadline_internal.present_label_numbers(older, present_columns) END;
    PERFORM threadline_internal.renumber_conversions(older, numbers);
    UPDATE threadline.table_definitions AS d
       SET relation = audited.relation, database = audited.definition ->> 'database',
           columns = (SELECT coalesce(jsonb_object_agg(c.key,
                               threadline_internal.renumbered_column(c.value, numbers, label_numbers)), '{}')
                        FROM jsonb_each(d.columns) AS c)
     WHERE d.table_id = audited.id AND (d.relation, d.database) = (older.relation, older.database);
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.renumber_definitions(threadline.audited_tables) IS
  'Gives the columns of older definitions their numbers in a table that was restored.';

-- Determines how older images of a table are read under its present definition.
CREATE FUNCTION threadline_internal.read_older(audited threadline.audited_tables, before threadline.audited_tables)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  present threadline.table_definitions := threadline_internal.describe_definition(audited);
BEGIN
  IF audited.definition_id <> before.definition_id THEN
    audited.older_definitions := threadline_internal.older_definitions(audited, present.columns,
      audited.definition_id);
    PERFORM threadline_internal.find_conversions(audited, before, present);
    PERFORM threadline_internal.find_exchanged_attributes(audited, present);
    PERFORM threadline_internal.find_renamed_labels(audited, before, present);
  END IF;
  RETURN threadline_internal.older_definitions(audited, present.columns);
END
$function$;
COMMENT ON FUNCTION threadline_internal.read_older(threadline.audited_tables, threadline.audited_tables) IS
  'How images of other definitions of a table are read, once its present definition is known.';

-- Returns the columns to mask, to exclude and to hash: all that ever were, and those requested now, except those whose
-- redaction ends. If several apply to a column, the strictest one wins: exclude before mask, mask before hash. A table
-- that takes the name of an audited one inherits its redaction. More than 60 lines: it is one rule for three ways of
-- redaction.
CREATE FUNCTION threadline_internal.next_redaction(relation regclass, mask text[], exclude text[], unredact text[],
  before threadline.audited_tables, hash_key text[], OUT masked text[], OUT excluded text[], OUT hashed text[],
  OUT unredacted text[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  known threadline.audited_tables;
  found_masked text[] := '{}';
  found_excluded text[] := '{}';
  found_hashed text[] := '{}';
  was_excluded text[] := '{}';
BEGIN
  FOR known IN
    SELECT (before).* WHERE before.id IS NOT NULL
    UNION ALL
    SELECT t.* FROM threadline.audited_tables AS t
      JOIN pg_class AS c ON c.oid = next_redaction.relation JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE before.id IS NULL AND ((t.table_schema, t.table_name) = (n.nspname, c.relname)
                                  OR t.definition -> 'names' ? format('%I.%I', n.nspname, c.relname)) LOOP
    CONTINUE WHEN NOT threadline_internal.is_redacted(known);
    known.relation := relation;
    was_excluded := was_excluded || known.excluded_columns;
    SELECT found_masked || known.masked_columns || coalesce(array_agg(r.name) FILTER (WHERE r.is_masked), '{}'),
           found_excluded || coalesce(array_agg(r.name) FILTER (WHERE NOT r.is_masked AND NOT r.is_hashed), '{}'),
           found_hashed || known.hashed_columns || coalesce(array_agg(r.name) FILTER (WHERE r.is_hashed), '{}')
      INTO found_masked, found_excluded, found_hashed FROM threadline_internal.redacted_columns(known) AS r;
  END LOOP;
  WITH kept AS (
    SELECT unnest(found_excluded || was_excluded) AS name, 1 AS way
    UNION ALL SELECT unnest(found_masked), 2
    UNION ALL SELECT unnest(found_hashed), 3
  ), asked AS (
    SELECT unnest(exclude) AS name, 1 AS way UNION ALL SELECT unnest(mask), 2 UNION ALL SELECT unnest(hash_key), 3
  ), redacted AS (
    SELECT w.name, min(w.way) AS way
      FROM (SELECT k.* FROM kept AS k WHERE k.name <> ALL (unredact) UNION ALL SELECT a.* FROM asked AS a) AS w
     GROUP BY w.name
  )
  SELECT coalesce(array_agg(r.name ORDER BY r.name) FILTER (WHERE r.way = 2), '{}'),
         coalesce(array_agg(r.name ORDER BY r.name) FILTER (WHERE r.way = 1), '{}'),
         coalesce(array_agg(r.name ORDER BY r.name) FILTER (WHERE r.way = 3), '{}'),
         ARRAY(SELECT DISTINCT k.name FROM kept AS k
                WHERE k.name = ANY (unredact)
                  AND CASE WHEN k.name = ANY (was_excluded) THEN 1
                        WHEN k.name = ANY (found_hashed) AND k.name <> ALL (found_masked) THEN 3 ELSE 2 END
                    < coalesce((SELECT min(a.way) FROM asked AS a WHERE a.name = k.name), 4))
    INTO masked, excluded, hashed, unredacted
    FROM redacted AS r;
END
$function$;
COMMENT ON FUNCTION
  threadline_internal.next_redaction(regclass, text[], text[], text[], threadline.audited_tables, text[]) IS
  'The columns of a table to mask, to exclude and to hash, and those whose redaction is weakened.';

-- Returns the previous definition if it still describes the table, so that new changes continue to use it; otherwise
-- NULL.
CREATE FUNCTION threadline_internal.kept_definition(audited threadline.audited_tables,
  before threadline.audited_tables) RETURNS integer
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT d.id
    FROM threadline.table_definitions AS d
   CROSS JOIN threadline_internal.describe_definition(audited) AS p
   WHERE d.id = before.definition_id
     AND (d.columns, d.key_columns, d.layout, d.relation, d.database)
       = (p.columns, p.key_columns, p.layout, p.relation, p.database)
     -- If a later definition exists, changes since were recorded under that one.
     AND NOT EXISTS (SELECT FROM threadline.table_definitions AS l WHERE l.table_id = d.table_id AND l.id > d.id)
$function$;
COMMENT ON FUNCTION threadline_internal.kept_definition(threadline.audited_tables, threadline.audited_tables) IS
  'The previous definition of a table, if it describes the present table.';

-- Describes the requested capture of a table, carried over from its previous capture.
CREATE FUNCTION threadline_internal.describe_capture(relation regclass, mask text[], exclude text[], granularity text,
  unredact text[], before threadline.audited_tables, hash_key text[], OUT audited threadline.audited_tables,
  OUT unredacted text[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  SELECT n.nspname, c.relname, k.columns, k.key_type
    INTO audited.table_schema, audited.table_name, audited.key_columns, audited.key_type
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
   CROSS JOIN threadline_internal.primary_key(relation) AS k
   WHERE c.oid = relation;
  audited.id := before.id;
  audited.relation := relation;
  SELECT r.masked, r.excluded, r.hashed, r.unredacted
    INTO audited.masked_columns, audited.excluded_columns, audited.hashed_columns, unredacted
    FROM threadline_internal.next_redaction(relation, mask, exclude, unredact, before, hash_key) AS r;
  audited.requested_granularity := granularity;
  audited.granularity := coalesce(granularity, threadline_internal.granularity_for(relation));
  audited.definition_version := threadline_internal.definition_version();
  audited.definition := threadline_internal.describe_table(relation, before.definition,
    threadline_internal.redacted_names(audited));
  -- A table that takes a former name of this one inherits its redaction.
  IF (before.table_schema, before.table_name) <> (audited.table_schema, audited.table_name) THEN
    audited.definition := jsonb_set(audited.definition, '{names}',
      audited.definition -> 'names' || to_jsonb(format('%I.%I', before.table_schema, before.table_name)));
  END IF;
  -- Counts how often the redaction of a column was weakened: more than once means that two definitions of the table
  -- disagree.
  audited.definition := jsonb_set(audited.definition, '{unredacted}', audited.definition -> 'unredacted' || (
    SELECT coalesce(jsonb_object_agg(u, coalesce((audited.definition #>> ARRAY['unredacted', u])::integer, 0) + 1),
                    '{}')
      FROM unnest(unredacted) AS u));
  audited.definition_id := threadline_internal.kept_definition(audited, before);
  audited.first_definition_id := before.first_definition_id;
  audited.older_definitions := before.older_definitions;
  audited.capture_since := before.capture_since;
  audited.gap := before.gap;
  audited.catalog_versions := before.catalog_versions;
  audited.purged_before := before.purged_before;
  PERFORM threadline_internal.check_key(audited, before.hashed_columns);
END
$function$;
COMMENT ON FUNCTION
  threadline_internal.describe_capture(regclass, text[], text[], text, text[], threadline.audited_tables, text[]) IS
  'The new audited_tables row of a table, and the columns whose redaction is weakened.';

-- Records that the redaction of columns was weakened.
CREATE FUNCTION threadline_internal.record_unredaction(audited threadline.audited_tables, unredacted text[])
RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF unredacted <> '{}' THEN
    PERFORM threadline_internal.insert_action('threadline.redaction_weakened',
      meta => jsonb_build_object('table', format('%I.%I', audited.table_schema, audited.table_name),
                                 'columns', unredacted),
      actor_ref => CASE WHEN threadline_internal.read_actor(current_setting('threadline.actor_ref', true)) IS NULL
        THEN jsonb_build_object('type', 'system', 'id', session_user) END);
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.record_unredaction(threadline.audited_tables, text[]) IS
  'Records the action threadline.redaction_weakened, unless no column is named.';

-- A gap is a time in which changes of a table may not have been recorded. If a refresh finds one, the history of the
-- table begins again, and audited_tables says why: nothing is ever read across it.

-- Returns why changes may not have been recorded since the capture of a table was last defined; '' for a table that was
-- never audited, and NULL if there is no gap. It does not cover what writers can change before they are locked out: see
-- threadline_internal.trigger_gap.
CREATE FUNCTION threadline_internal.capture_gap(relation regclass, before threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN before.id IS NULL THEN ''
    WHEN before.relation <> capture_gap.relation THEN 'the table was made anew'
    WHEN before.capture_ended_at IS NOT NULL THEN format('its capture had ended at %s', before.capture_ended_at)
    ELSE (SELECT string_agg(h.message, '; ' ORDER BY h.message)
            FROM (SELECT h.message FROM threadline_internal.health_functions(before) AS h
                  UNION ALL
                  SELECT 'a clock was ahead' WHERE threadline_internal.future_change(before) IS NOT NULL) AS h) END
$function$;
COMMENT ON FUNCTION threadline_internal.capture_gap(regclass, threadline.audited_tables) IS
  'Why changes of a table may not have been recorded since its capture was last defined.';

-- Returns what happened to the capture triggers of a table, or bypassed them, so that not all of its changes were
-- recorded.
CREATE FUNCTION threadline_internal.trigger_gap(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(h.message, '; ' ORDER BY h.message)
    FROM (SELECT t.message FROM threadline_internal.health_triggers(audited) AS t
          UNION ALL
          SELECT r.message FROM threadline_internal.health_rows(audited) AS r) AS h
$function$;
COMMENT ON FUNCTION threadline_internal.trigger_gap(threadline.audited_tables) IS
  'Why the capture triggers of a table may not have recorded all changes of its rows.';

-- Returns the latest future time at which a change of a table was recorded, caused by a clock that was ahead. One
-- second is allowed for differences between clocks. The time is read once: a condition on a value that changes from row
-- to row cannot use an index, and every read of the past would scan all changes of the table.
CREATE FUNCTION threadline_internal.future_change(audited threadline.audited_tables) RETURNS timestamptz
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
AS $function$
#variable_conflict use_column
DECLARE
  to_come timestamptz := clock_timestamp() + interval '1 second';
BEGIN
  RETURN (SELECT max(c.captured_at) FROM threadline.audit_changes AS c
     WHERE c.table_id = audited.id AND c.captured_at > to_come
       AND c.definition_id >= audited.first_definition_id);
END
$function$;
COMMENT ON FUNCTION threadline_internal.future_change(threadline.audited_tables) IS
  'The latest future time at which a change of a table is recorded; NULL if there is none.';

-- Returns whether the rows of a restored table may have been recorded when they were loaded: its triggers existed
-- before the audit log did, and something was recorded here that no refresh has followed. pg_restore creates triggers
-- last, unless it restores only the schema.
CREATE FUNCTION threadline_internal.loading_was_recorded(audited threadline.audited_tables) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  IF NOT EXISTS (SELECT FROM threadline.table_definitions AS d
                  WHERE d.table_id = audited.id AND d.database <> audited.definition ->> 'database')
    OR audited.definition ->> 'database' = threadline_internal.database_identity() THEN
    RETURN false;
  END IF;
  RETURN EXISTS (SELECT FROM threadline.table_definitions AS d
                  WHERE d.table_id = audited.id AND d.database = threadline_internal.database_identity())
     AND EXISTS (SELECT FROM threadline.table_definitions AS d, pg_trigger AS g
                  WHERE d.table_id = audited.id AND d.database = audited.definition ->> 'database'
                    AND g.tgname = ANY (threadline_internal.trigger_names(audited))
                    AND (g.tgrelid = audited.relation OR g.tgrelid IN (
                           SELECT p.relid FROM threadline_internal.partition_tree(audited.relation) AS p))
                    AND age(g.xmin) > age(d.xmin));
END
$function$;
COMMENT ON FUNCTION threadline_internal.loading_was_recorded(threadline.audited_tables) IS
  'Whether the rows of a restored table may have been recorded when they were loaded.';

-- Returns the versions of the capture triggers of a table and its partitions. ALTER TABLE ... DISABLE TRIGGER and
-- ENABLE TRIGGER leave a trigger unchanged except for its version.
CREATE FUNCTION threadline_internal.present_trigger_versions(audited threadline.audited_tables)
RETURNS TABLE (relation oid, versions jsonb)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
DECLARE
  names text[] := threadline_internal.trigger_names(audited);
BEGIN
  RETURN QUERY
  SELECT t.tgrelid, jsonb_object_agg(t.oid, ARRAY[t.xmin::text, t.tgenabled::text])
    FROM pg_trigger AS t
   WHERE t.tgname = ANY (names)
     AND t.tgrelid IN (SELECT audited.relation::oid
                       UNION SELECT p.relid FROM threadline_internal.partition_tree(audited.relation) AS p)
   GROUP BY t.tgrelid;
END
$function$;
COMMENT ON FUNCTION threadline_internal.present_trigger_versions(threadline.audited_tables) IS
  'The versions of the capture triggers of a table and its partitions.';

-- Returns the table or partitions whose capture triggers have other versions than at the last refresh, unless they were
-- only enabled ALWAYS. In a restored database all versions differ.
CREATE FUNCTION threadline_internal.switched_triggers(audited threadline.audited_tables) RETURNS SETOF regclass
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN QUERY
  SELECT DISTINCT p.relation::regclass
    FROM threadline_internal.present_trigger_versions(audited) AS p
   CROSS JOIN LATERAL (SELECT audited.catalog_versions #> ARRAY['triggers', p.relation::text]) AS k (versions)
   CROSS JOIN LATERAL jsonb_each(p.versions) AS v
   WHERE audited.catalog_versions ->> 'database' = threadline_internal.database_identity()
     AND k.versions IS NOT NULL
     AND (NOT k.versions ? v.key
          OR k.versions #> ARRAY[v.key, '0'] <> v.value -> 0
             AND NOT (v.value ->> 1 = 'A' AND k.versions #>> ARRAY[v.key, '1'] = 'O'));
END
$function$;
COMMENT ON FUNCTION threadline_internal.switched_triggers(threadline.audited_tables) IS
  'The table or partitions whose capture triggers were altered since they were last known to capture.';

-- Returns whether the catalog still shows a non-partitioned table as the last refresh left it: its columns and its
-- file, enabled capture triggers, and no type whose attributes could have changed. If so, the more expensive checks
-- cannot find anything. False proves nothing: TRUNCATE and VACUUM FULL also give a table another file.
CREATE FUNCTION threadline_internal.is_as_refreshed(audited threadline.audited_tables) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
DECLARE
  names text[] := threadline_internal.trigger_names(audited);
BEGIN
  RETURN coalesce((
    SELECT c.relkind = 'r' AND c.relfilenode = pg_relation_filenode(c.oid)
           AND ((audited.catalog_versions #>> ARRAY['files', c.oid::text])::oid = c.relfilenode
                OR NOT EXISTS (SELECT FROM threadline_internal.rewritten_columns(audited)))
           AND NOT audited.definition @? '$.columns.*.attributes'
           AND (SELECT count(*) = 4 AND bool_and(t.tgenabled IN ('A', 'O'))
                       AND jsonb_object_agg(t.oid, ARRAY[t.xmin::text, t.tgenabled::text])
                         = audited.catalog_versions #> ARRAY['triggers', c.oid::text]
                  FROM pg_trigger AS t WHERE t.tgrelid = c.oid AND t.tgname = ANY (names))
           AND NOT EXISTS (SELECT FROM threadline.table_definitions AS d
                            WHERE d.table_id = audited.id AND d.database <> audited.definition ->> 'database')
      FROM pg_class AS c WHERE c.oid = audited.relation), false);
END
$function$;
COMMENT ON FUNCTION threadline_internal.is_as_refreshed(threadline.audited_tables) IS
  'Whether the columns and the capture triggers of a table are as its last refresh left them; false proves nothing.';

-- Stores the versions of the objects that a refresh has updated.
CREATE FUNCTION threadline_internal.store_catalog_versions(audited threadline.audited_tables) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  UPDATE threadline.audited_tables AS t
     SET catalog_versions = jsonb_build_object(
           'columns', threadline_internal.present_column_versions(audited.relation),
           'files', threadline_internal.present_files(audited.relation),
           'database', threadline_internal.database_identity(),
           'members', threadline_internal.present_members(audited),
           'functions', threadline_internal.present_function_versions(audited),
           'triggers', (SELECT coalesce(jsonb_object_agg(v.relation, v.versions), '{}')
                          FROM threadline_internal.present_trigger_versions(audited) AS v))
   WHERE t.id = audited.id;
  DELETE FROM threadline_internal.young_partitions AS y WHERE y.table_id = audited.id
$function$;
COMMENT ON FUNCTION threadline_internal.store_catalog_versions(threadline.audited_tables) IS
  'Stores the present versions of the capture triggers, columns and files of a table.';

-- Returns whether the keys of older changes no longer match the present primary key.
CREATE FUNCTION threadline_internal.key_changed(before threadline.audited_tables, after threadline.audited_tables)
RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT after.key_type IS NOT NULL AND (
       after.key_type IS DISTINCT FROM before.key_type
    OR NOT threadline_internal.same_key(after, before)
    OR EXISTS (SELECT FROM threadline.audit_changes AS c
                WHERE c.table_id = after.id AND c.key_text IS NOT NULL AND after.key_type <> 'text'
                  AND c.definition_id >= after.first_definition_id)
    -- The text form of the values of its columns changed.
    OR EXISTS (SELECT FROM jsonb_each(after.older_definitions) AS o, unnest(after.key_columns) AS k
                WHERE before.older_definitions -> o.key IS DISTINCT FROM o.value
                  AND (o.value -> 'labels' ? k OR o.value -> 'convert' ? k))
    -- Key columns exchanged names with others, and changes recorded since took their keys from the wrong columns.
    OR EXISTS (SELECT FROM threadline.table_definitions AS d
                WHERE d.table_id = after.id AND d.id > before.definition_id AND d.id < after.definition_id
                  AND (SELECT array_agg(d.columns #> ARRAY[k.name, 'number'] ORDER BY k.place)
                         FROM unnest(before.key_columns) WITH ORDINALITY AS k (name, place))
                    <> threadline_internal.key_numbers(before)))
$function$;
COMMENT ON FUNCTION threadline_internal.key_changed(threadline.audited_tables, threadline.audited_tables) IS
  'Whether the keys of older changes no longer match the present primary key of a table.';

-- Returns the numbers of the key columns, which do not change when a column is renamed.
CREATE FUNCTION threadline_internal.key_numbers(audited threadline.audited_tables) RETURNS jsonb[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT array_agg(audited.definition #> ARRAY['columns', name, 'number'] ORDER BY position)
    FROM unnest(audited.key_columns) WITH ORDINALITY AS k (name, position)
$function$;
COMMENT ON FUNCTION threadline_internal.key_numbers(threadline.audited_tables) IS
  'The numbers of the columns of a primary key.';

-- Returns the statement that rewrites the keys of a table's changes, each from its image. The image is an expression of
-- full_image, which has the present names.
CREATE FUNCTION threadline_internal.rewrite_statement(audited threadline.audited_tables, image text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$
    UPDATE threadline.audit_changes AS c
       SET {typed_keys}, key_text = CASE WHEN typed_key IS NULL THEN key #>> '{}' END
      FROM (SELECT k.*, {typed_key} AS typed_key
              FROM (SELECT transaction_id, captured_at, id, {key} AS key
                      FROM (SELECT *, {image} AS image
                              FROM (SELECT *, {full_image} AS full_image FROM threadline.audit_changes
                                     WHERE table_id = {table_id} OFFSET 0) AS f
                            OFFSET 0) AS i
                    OFFSET 0) AS k OFFSET 0) AS k
     WHERE c.transaction_id = k.transaction_id AND c.captured_at = k.captured_at AND c.id = k.id$sql$,
    jsonb_build_object(
    'typed_keys', (SELECT string_agg(format('key_%s = %s', t, CASE t WHEN audited.key_type THEN 'typed_key'
                                                                ELSE 'NULL' END), ', ')
                     FROM unnest('{bigint, integer, uuid}'::text[]) AS t),
    'typed_key', threadline_internal.typed_key(audited.key_type, 'key'),
    'key', threadline_internal.key_expression(audited, 'image'),
    'image', image,
    'full_image', threadline_internal.renamed_expression(audited, 'coalesce(data_after, changed_from)',
      true, 'definition_id'),
    'table_id', audited.id))
$function$;
COMMENT ON FUNCTION threadline_internal.rewrite_statement(threadline.audited_tables, text) IS
  'SQL that rewrites the keys of a table''s changes.';

-- Rewrites the keys of the older changes from their images after the primary key changed, so that the history of a row
-- stays in one piece. It never changes the images themselves. The old keys are converted to the new type if that is a
-- built-in one (no code of any other type runs). If one key cannot be converted, all stay unchanged.
CREATE FUNCTION threadline_internal.rewrite_keys(audited threadline.audited_tables) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS $function$
DECLARE
  declarations text := (
    SELECT string_agg(format('%I %s', c.name, coalesce(threadline_internal.built_in_type(c.type, c.typmod), 'jsonb')),
                      ', ' ORDER BY c.number)
      FROM threadline_internal.columns_of(audited.relation) AS c WHERE c.name = ANY (audited.key_columns));
BEGIN
  EXECUTE threadline_internal.rewrite_statement(audited, threadline_internal.render($sql$
    (SELECT to_jsonb(r.*) FROM jsonb_to_record((
      SELECT jsonb_object_agg(p.key, CASE jsonb_typeof(p.value)
                                       WHEN 'number' THEN to_jsonb(trim_scale(p.value::numeric)) ELSE p.value END)
        FROM jsonb_each(full_image) AS p WHERE p.key = ANY ({key_columns}))) AS r ({declarations}))$sql$,
    jsonb_build_object('declarations', declarations, 'key_columns', quote_literal(audited.key_columns))));
EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
  EXECUTE threadline_internal.rewrite_statement(audited, 'full_image');
END
$function$;
COMMENT ON FUNCTION threadline_internal.rewrite_keys(threadline.audited_tables) IS
  'Rewrites the keys of a table''s older changes after its primary key changed.';

-- Returns why the new primary key cannot identify the rows of a table in older changes; NULL if it can, or if only the
-- type of the key changed. It can if all images contain the columns of the new key, no update changed one of them, and
-- no two rows ever had the same new key at the same time.
CREATE FUNCTION threadline_internal.key_gap(audited threadline.audited_tables, before threadline.audited_tables)
RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  gap text;
  key_columns text := array_to_string(audited.key_columns, ', ');
BEGIN
  IF before.id IS NULL OR audited.key_type IS NULL THEN
    RETURN NULL;
  ELSIF threadline_internal.same_key(audited, before) THEN
    SELECT c.gap INTO gap
      FROM threadline.column_conversions AS c
      JOIN threadline_internal.columns_of(audited.relation) AS a ON a.number = c.column_number
     WHERE c.table_id = audited.id AND c.definition_id = audited.definition_id AND c.gap IS NOT NULL
       AND c.definition_id > audited.first_definition_id
       AND a.name = ANY (audited.key_columns)
     LIMIT 1;
    RETURN gap;
  END IF;
  EXECUTE threadline_internal.render($sql$
    SELECT CASE WHEN bool_or(key IS NULL OR key = 'null' OR key @> '[null]')
                  THEN 'changes of before have no such key'
                WHEN bool_or(op = 'update' AND changed ?| {key_columns}) THEN 'updates of before had changed it'
                WHEN bool_or(previous_row <> old_row AND previous_op NOT IN ('delete', 'truncate'))
                  THEN 'two rows had the same such key at a time' END
      FROM (SELECT k.*, lag(op) OVER w AS previous_op, lag(old_row) OVER w AS previous_row
              FROM (SELECT i.*, {key} AS key
                      FROM (SELECT i.*, jsonb_build_array({old_key}) AS old_row
                              FROM (SELECT c.op, c.captured_at, c.id, {full_image} AS image, {changed} AS changed
                                      FROM threadline.audit_changes AS c
                                     WHERE c.table_id = {table_id} AND c.definition_id >= {first_definition_id}
                                    OFFSET 0) AS i OFFSET 0) AS i
                    OFFSET 0) AS k
            WINDOW w AS (PARTITION BY key ORDER BY captured_at, id)) AS k$sql$, jsonb_build_object(
    'key_columns', quote_literal(audited.key_columns) || '::text[]',
    'key', threadline_internal.key_expression(audited, 'image'),
    'old_key', (SELECT string_agg(format('i.image -> %L', coalesce(c.name, k.name)), ', ' ORDER BY k.place)
                  FROM unnest(before.key_columns) WITH ORDINALITY AS k (name, place)
                  LEFT JOIN threadline_internal.columns_of(audited.relation) AS c
                    ON c.number = (before.definition #>> ARRAY['columns', k.name, 'number'])::smallint
                   AND threadline_internal.is_described(audited.relation, before.definition)),
    'full_image', threadline_internal.renamed_expression(audited, 'coalesce(c.data_after, c.changed_from)'),
    'changed', threadline_internal.renamed_expression(audited, 'c.changed_from'),
    'table_id', audited.id, 'first_definition_id', audited.first_definition_id)) INTO gap;
  RETURN format('its primary key became (%s), and ', key_columns) || coalesce(gap,
    threadline_internal.live_key_gap(audited));
END
$function$;
COMMENT ON FUNCTION threadline_internal.key_gap(threadline.audited_tables, threadline.audited_tables) IS
  'Why the new primary key of a table cannot identify its rows in older changes.';

-- Returns that a row which is deleted according to the audit log exists under the new primary key. If so, it had the
-- key of another row, for which nothing was recorded.
CREATE FUNCTION threadline_internal.live_key_gap(audited threadline.audited_tables) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS $function$
DECLARE
  same_key text := coalesce(threadline_internal.image_has_key(audited),
    threadline_internal.image_has_recorded_key(audited));
  is_there boolean;
BEGIN
  PERFORM threadline_internal.check_foreign_code(audited.relation);
  EXECUTE threadline_internal.render($sql$
    SELECT EXISTS (SELECT FROM (SELECT DISTINCT ON (key) op, image
              FROM (SELECT i.*, {key} AS key
                      FROM (SELECT c.op, c.captured_at, c.id, {full_image} AS image
                              FROM threadline.audit_changes AS c
                             WHERE c.table_id = {table_id} AND c.definition_id >= {first_definition_id} OFFSET 0) AS i)
                AS k
             ORDER BY key, captured_at DESC, id DESC) AS c
      JOIN {live_rows} AS t ON {same_key}
     WHERE c.op IN ('delete', 'truncate'))$sql$, jsonb_build_object(
    'key', threadline_internal.key_expression(audited, 'image'),
    'full_image', threadline_internal.renamed_expression(audited, 'coalesce(c.data_after, c.changed_from)'),
    'table_id', audited.id, 'first_definition_id', audited.first_definition_id,
    'live_rows', threadline_internal.live_rows(audited.relation), 'same_key', same_key))
    INTO is_there;
  RETURN CASE WHEN is_there THEN 'rows that were deleted had the key of others' END;
EXCEPTION WHEN data_exception OR insufficient_privilege THEN
  -- PostgreSQL's message may contain a recorded value, and no redaction would reach a value stored here.
  RETURN format('PostgreSQL cannot compare them with the rows that are there: SQLSTATE %s', SQLSTATE);
END
$function$;
COMMENT ON FUNCTION threadline_internal.live_key_gap(threadline.audited_tables) IS
  'Why the new primary key of a table cannot distinguish existing rows from deleted ones.';

-- Returns whether a primary key has the same columns as before, whatever their names.
CREATE FUNCTION threadline_internal.same_key(audited threadline.audited_tables, before threadline.audited_tables)
RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN threadline_internal.is_described(audited.relation, before.definition)
    THEN threadline_internal.key_numbers(audited) IS NOT DISTINCT FROM threadline_internal.key_numbers(before)
    ELSE audited.key_columns = before.key_columns END
$function$;
COMMENT ON FUNCTION threadline_internal.same_key(threadline.audited_tables, threadline.audited_tables) IS
  'Whether the primary key of a table has the same columns as before.';

-- Applies a change of the primary key. A hold on a row uses its key, and must not lose its row. If the history begins
-- again, the older keys are stored with the names of their columns, a form that no present key has.
CREATE FUNCTION threadline_internal.change_key(audited threadline.audited_tables, before threadline.audited_tables)
RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF EXISTS (SELECT FROM threadline.legal_holds AS h WHERE h.table_id = audited.id AND h.row_key IS NOT NULL) THEN
    PERFORM threadline_internal.raise_audit_error(audited.relation,
      'rows of it are under legal hold by the primary key that it had',
      'Hold the whole table, release its rows, call this again, hold the rows by their new key, and release the '
        'table.');
  END IF;
  IF audited.first_definition_id = before.first_definition_id THEN
    PERFORM threadline_internal.rewrite_keys(audited);
  ELSIF before.key_type IS NOT NULL AND NOT threadline_internal.same_key(audited, before) THEN
    UPDATE threadline.audit_changes AS c
       SET key_text = CASE cardinality(before.key_columns)
             WHEN 1 THEN jsonb_build_object(before.key_columns[1], threadline_internal.key_of(c))
             ELSE (SELECT jsonb_object_agg(before.key_columns[e.place], e.value)
                     FROM jsonb_array_elements(c.key_text::jsonb) WITH ORDINALITY AS e (value, place)) END::text,
           key_integer = NULL, key_bigint = NULL, key_uuid = NULL
     WHERE c.table_id = audited.id AND c.definition_id >= before.first_definition_id
       AND c.definition_id < audited.definition_id AND threadline_internal.key_of(c) IS NOT NULL;
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.change_key(threadline.audited_tables, threadline.audited_tables) IS
  'Updates the audit log of a table to match its new primary key.';

-- Attaching or detaching a partition changes the rows of a partitioned table without firing a trigger. A refresh stores
-- the partitions, and determines whether any has added or removed rows.

-- Returns a table and its partitions, by OID; in a restored database their names identify them.
CREATE FUNCTION threadline_internal.present_members(audited threadline.audited_tables) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(jsonb_object_agg(p.relid::oid, p.relid::text), '{}')
    FROM threadline_internal.partition_tree(audited.relation) AS p WHERE p.relid <> audited.relation
$function$;
COMMENT ON FUNCTION threadline_internal.present_members(threadline.audited_tables) IS
  'The partitions of a table, each with its name.';

-- Returns whether a relation exists and has had no row since it was created or truncated.
CREATE FUNCTION threadline_internal.is_blank_table(relation oid) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT EXISTS (SELECT FROM pg_class AS c
                  WHERE c.oid = is_blank_table.relation AND c.relkind = 'r' AND pg_relation_size(c.oid) = 0)
$function$;
COMMENT ON FUNCTION threadline_internal.is_blank_table(oid) IS 'Whether a table exists and takes no space.';

-- Returns whether a partition was empty when it was detached. DETACH alters its columns and its indexes, and a later
-- TRUNCATE makes the indexes newer than the columns; without indexes, the table.
CREATE FUNCTION threadline_internal.was_left_blank(relation oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.is_blank_table(was_left_blank.relation) AND NOT EXISTS (
    SELECT FROM pg_class AS c
     WHERE (c.oid IN (SELECT i.indexrelid FROM pg_index AS i WHERE i.indrelid = was_left_blank.relation)
            OR c.oid = was_left_blank.relation AND NOT c.relhasindex)
       AND age(c.xmin) < (SELECT min(age(a.xmin)) FROM pg_attribute AS a
                           WHERE a.attrelid = was_left_blank.relation AND a.attnum > 0))
$function$;
COMMENT ON FUNCTION threadline_internal.was_left_blank(oid) IS 'Whether a partition was empty when it was detached.';

-- Returns the partitions that no longer exist. A branch has no rows of its own. An empty one had to be emptied by an
-- earlier TRUNCATE, which is recorded.
CREATE FUNCTION threadline_internal.lost_members(audited threadline.audited_tables) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH present AS (
    SELECT p.relid::oid AS oid, p.relid::text AS name FROM threadline_internal.partition_tree(audited.relation) AS p
  ), here AS (
    SELECT audited.catalog_versions ->> 'database' = threadline_internal.database_identity() AS same
  )
  SELECT m.value
    FROM here, jsonb_each_text(audited.catalog_versions -> 'members') AS m
   WHERE here.same AND NOT EXISTS (SELECT FROM present AS p WHERE p.oid = m.key::oid)
     AND (SELECT c.relkind FROM pg_class AS c WHERE c.oid = m.key::oid) IS DISTINCT FROM 'p'
     AND NOT threadline_internal.was_left_blank(m.key::oid)
  UNION ALL
  SELECT m.value
    FROM here, jsonb_each_text(audited.catalog_versions -> 'members') AS m
   WHERE NOT here.same AND NOT EXISTS (SELECT FROM present AS p WHERE p.name = m.value)
     AND NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = to_regclass(m.value) AND c.relkind = 'p')
     AND NOT coalesce(threadline_internal.is_blank_table(to_regclass(m.value)), false)
  UNION
  SELECT y.relation::regclass::text
    FROM here, threadline_internal.young_partitions AS y
   WHERE y.table_id = audited.id AND y.database = threadline_internal.database_identity()
     AND NOT EXISTS (SELECT FROM present AS p WHERE p.oid = y.relation)
   GROUP BY y.relation
  HAVING NOT (bool_or(y.file IS NULL) AND threadline_internal.was_left_blank(y.relation))
$function$;
COMMENT ON FUNCTION threadline_internal.lost_members(threadline.audited_tables) IS
  'The partitions that removed rows from a table since its last refresh.';

-- Returns the partitions added since the last refresh, each with the transactions and commands that attached it or one
-- of its branches.
CREATE FUNCTION threadline_internal.new_members(audited threadline.audited_tables)
RETURNS TABLE (relation regclass, attached_by xid, at_command cid)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH RECURSIVE above AS (
    SELECT p.relid::oid AS leaf, p.relid::oid AS child
      FROM threadline_internal.partition_tree(audited.relation) AS p
     WHERE p.isleaf AND p.relid <> audited.relation
    UNION ALL
    SELECT a.leaf, i.inhparent
      FROM above AS a JOIN pg_inherits AS i ON i.inhrelid = a.child
     WHERE i.inhparent <> audited.relation
  )
  SELECT a.leaf::regclass, i.xmin, i.cmin
    FROM above AS a JOIN pg_inherits AS i ON i.inhrelid = a.child
   WHERE audited.catalog_versions ->> 'database' = threadline_internal.database_identity()
     AND NOT audited.catalog_versions -> 'members' ? a.child::text
$function$;
COMMENT ON FUNCTION threadline_internal.new_members(threadline.audited_tables) IS
  'The partitions added since the last refresh of a table.';

-- Returns the transactions that attached a partition and each of its branches. After it is detached and attached again,
-- they differ.
CREATE FUNCTION threadline_internal.partition_links(relation oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH RECURSIVE link AS (
    SELECT 1 AS height, i.inhparent, i.xmin AS attached_by FROM pg_inherits AS i
     WHERE i.inhrelid = partition_links.relation
    UNION ALL
    SELECT l.height + 1, i.inhparent, i.xmin FROM link AS l JOIN pg_inherits AS i ON i.inhrelid = l.inhparent
  )
  SELECT string_agg(l.attached_by::text, ' ' ORDER BY l.height) FROM link AS l
$function$;
COMMENT ON FUNCTION threadline_internal.partition_links(oid) IS
  'The transactions that attached a partition and its branches.';

-- Returns whether a table was truncated past its capture since a transaction: its file is not the one that it was
-- created with, and its row of pg_class is younger. A migration that rewrites the table alters a column, too.
CREATE FUNCTION threadline_internal.was_truncated(relation oid, since xid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT EXISTS (SELECT FROM pg_class AS c
                  WHERE c.oid = was_truncated.relation AND pg_relation_filenode(c.oid) <> c.oid
                    AND age(c.xmin) < age(since)
                    AND NOT EXISTS (SELECT FROM pg_attribute AS a
                                     WHERE a.attrelid = c.oid AND age(a.xmin) < age(since)))
$function$;
COMMENT ON FUNCTION threadline_internal.was_truncated(oid, xid) IS
  'Whether a table may have been truncated since a transaction.';

-- Returns whether a partition, at its first write, has rows that the running statement did not write. `version` and
-- `command` name the statement. It has not changed any of the other rows yet: see threadline_internal.note_partition.
-- A transaction that keeps its snapshot may not see them. If the audit log cannot read the partition, the write goes on
-- all the same.
CREATE FUNCTION threadline_internal.has_other_rows(audited threadline.audited_tables, written oid, version xid,
  command cid) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET row_security = off SET enable_seqscan = on
SET jit = off
AS $function$
DECLARE
  own boolean := has_table_privilege(written, 'SELECT');
  is_filled boolean;
BEGIN
  PERFORM threadline_internal.check_foreign_code(written::regclass);
  -- Any other writer since then has left a note, in the same transaction.
  EXECUTE format('SELECT EXISTS (SELECT FROM %s AS r
                                  WHERE %s AND (r.xmin = $2 AND r.cmin = $3) IS NOT TRUE)
                     AND NOT EXISTS (SELECT FROM threadline_internal.young_partitions AS y
                                      WHERE y.table_id = $4 AND y.relation = $1 AND y.is_filled IS NOT NULL)',
      CASE WHEN own THEN written ELSE audited.relation::oid END::regclass,
      CASE WHEN own THEN 'true' ELSE 'r.tableoid = $1' END)
    INTO is_filled USING written, version, command, audited.id;
  IF NOT is_filled AND current_setting('transaction_isolation') IN ('repeatable read', 'serializable')
    AND NOT EXISTS (SELECT FROM threadline_internal.partition_tree(audited.relation) AS p WHERE p.relid = written) THEN
    RETURN NULL;
  END IF;
  RETURN is_filled;
EXCEPTION WHEN OTHERS THEN
  RETURN NULL;
END
$function$;
COMMENT ON FUNCTION threadline_internal.has_other_rows(threadline.audited_tables, oid, xid, cid) IS
  'Whether a partition has rows that the running statement has not written; NULL if that cannot be determined.';

-- Returns, at the first write of a partition, whether it was attached with rows that no refresh knows. If that write is
-- not an INSERT, the partition was attached with rows, and the write may have changed all of them.
CREATE FUNCTION threadline_internal.is_filled_partition(audited threadline.audited_tables, written oid,
  operation text, version xid, command cid) RETURNS boolean
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN (audited.catalog_versions ->> 'database' = threadline_internal.database_identity()
                AND NOT audited.catalog_versions -> 'members' ? written::text) IS NOT TRUE THEN false
    WHEN operation IN ('UPDATE', 'DELETE') THEN true
    WHEN (SELECT bool_and(threadline_internal.was_truncated(n.relation, n.attached_by))
            FROM threadline_internal.new_members(audited) AS n WHERE n.relation = written::regclass) THEN true
    ELSE threadline_internal.has_other_rows(audited, written, version, command) END
$function$;
COMMENT ON FUNCTION
  threadline_internal.is_filled_partition(threadline.audited_tables, oid, text, xid, cid) IS
  'Whether a partition unknown to every refresh had rows when it was attached; NULL if that cannot be determined.';

-- Records a write to a partition that no refresh knows. Two concurrent writers both record it, and neither waits for
-- the other. `version`, `command` and `place` are xmin, cmin and ctid of the old row, or of the new row of an INSERT. A
-- statement can insert rows first and then write rows that came with the partition, as INSERT ... ON CONFLICT does. The
-- transaction of the first note therefore looks at each older row: a row that came with the partition has the xmin of
-- another transaction, or a position before the first row that was written.
CREATE FUNCTION threadline_internal.note_partition(table_id integer, written oid, operation text, version xid,
  command cid, place tid) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
DECLARE
  here text := threadline_internal.database_identity();
  running xid8 := pg_current_xact_id();
  noted record;
  is_filled boolean := true;
BEGIN
  SELECT count(*) > 0 AS is_there, bool_and(y.noted_by = running AND y.is_filled IS NOT TRUE) AS may_be_filled,
         (array_agg(y.first_row ORDER BY y.first_row))[1] AS first_row
    INTO noted FROM threadline_internal.young_partitions AS y
   WHERE y.table_id = note_partition.table_id AND y.relation = written
     AND (y.is_filled IS NOT NULL OR y.noted_by = running);
  IF noted.is_there AND (operation = 'INSERT' OR NOT noted.may_be_filled OR (place < noted.first_row) IS NOT TRUE
      AND pg_xact_status((running::text::bigint - age(version))::text::xid8) = 'in progress') THEN
    RETURN;
  END IF;
  INSERT INTO threadline_internal.young_partitions
  SELECT t.id, written, here, running, f.is_filled, place, threadline_internal.partition_links(written),
         pg_relation_filenode(written)
    FROM threadline.audited_tables AS t
   CROSS JOIN threadline_internal.is_filled_partition(t, written, operation, version, command) AS f (is_filled)
   WHERE t.id = note_partition.table_id;
END
$function$;
COMMENT ON FUNCTION threadline_internal.note_partition(integer, oid, text, xid, cid, tid) IS
  'Records a write to a partition that no refresh knows.';

-- Records the partitions that no refresh knows and that a recorded TRUNCATE is about to empty.
CREATE FUNCTION threadline_internal.note_truncation(table_id integer, truncated oid) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  INSERT INTO threadline_internal.young_partitions
  SELECT t.id, p.relid, threadline_internal.database_identity(), pg_current_xact_id(),
         CASE WHEN NOT EXISTS (SELECT FROM threadline_internal.young_partitions AS y
                                WHERE y.table_id = t.id AND y.relation = p.relid AND y.is_filled IS NOT NULL)
           THEN threadline_internal.is_filled_partition(t, p.relid, 'TRUNCATE', NULL, NULL) ELSE false END,
         NULL, threadline_internal.partition_links(p.relid), NULL
    FROM threadline.audited_tables AS t CROSS JOIN pg_partition_tree(note_truncation.truncated) AS p
   WHERE t.id = note_truncation.table_id AND p.isleaf
     AND t.catalog_versions ->> 'database' = threadline_internal.database_identity()
     AND NOT t.catalog_versions -> 'members' ? p.relid::oid::text
$function$;
COMMENT ON FUNCTION threadline_internal.note_truncation(integer, oid) IS
  'Records the partitions that no refresh knows and that are about to be truncated.';

-- Returns the partitions that were attached with rows. The first writer of a partition recorded whether it had any. In
-- a partition that nobody has written, every row came with it. Where the writer could not determine it, the
-- transactions of the rows do: such rows are older than their partition.
CREATE FUNCTION threadline_internal.filled_members(audited threadline.audited_tables) RETURNS SETOF text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  here text := threadline_internal.database_identity();
  member record;
  own boolean;
  brought boolean;
BEGIN
  IF NOT threadline_internal.is_partitioned(audited.relation) THEN
    RETURN;
  END IF;
  FOR member IN
    SELECT n.*, EXISTS (SELECT FROM threadline_internal.young_partitions AS y
                         WHERE y.table_id = audited.id AND y.relation = n.relation AND y.database = here) AS is_noted
      FROM threadline_internal.new_members(audited) AS n
     WHERE pg_relation_size(n.relation) > 0
       AND NOT EXISTS (SELECT FROM threadline_internal.young_partitions AS y
                        WHERE y.table_id = audited.id AND y.relation = n.relation AND y.database = here
                          AND y.is_filled IS NOT NULL) LOOP
    -- A role that may not read the table cannot determine it. The refresh can.
    CONTINUE WHEN NOT has_table_privilege(audited.relation, 'SELECT');
    PERFORM threadline_internal.check_foreign_code(audited.relation);
    own := has_table_privilege(member.relation, 'SELECT');
    -- Looks for rows at the beginning of the partition, through the table: that costs next to nothing.
    EXECUTE format('SELECT EXISTS (SELECT FROM %s AS r WHERE %s
                      AND (NOT $5 OR age(r.xmin) > age($3)
                           OR r.xmin = $3 AND r.cmin::text::bigint < $4::text::bigint))',
                   CASE WHEN own THEN member.relation ELSE audited.relation END,
                   CASE WHEN own THEN 'true' ELSE 'r.tableoid = $1 AND r.ctid = ANY ($2)' END)
      INTO brought
      USING member.relation, ARRAY(SELECT format('(%s,%s)', b, i)::tid
                                     FROM generate_series(0, 7) AS b, generate_series(1, 40) AS i),
        member.attached_by, member.at_command, member.is_noted;
    IF brought THEN
      RETURN NEXT member.relation::text;
    END IF;
  END LOOP;
  RETURN QUERY
    SELECT y.relation::regclass::text
      FROM threadline_internal.young_partitions AS y
     WHERE y.table_id = audited.id AND y.database = here
       AND (y.is_filled OR y.links <> threadline_internal.partition_links(y.relation));
  RETURN QUERY
    SELECT p.relid::text
      FROM threadline_internal.partition_tree(audited.relation) AS p
     WHERE audited.catalog_versions ->> 'database' <> threadline_internal.database_identity()
       AND p.isleaf AND p.relid <> audited.relation
       AND NOT EXISTS (SELECT FROM jsonb_each_text(audited.catalog_versions -> 'members') AS m
                        WHERE m.value = p.relid::text)
       AND NOT threadline_internal.is_blank_table(p.relid);
END
$function$;
COMMENT ON FUNCTION threadline_internal.filled_members(threadline.audited_tables) IS
  'The partitions that added rows to a table since its last refresh, or may have before it was restored.';

-- Returns the partitions that may have been truncated directly before a refresh knew them: they have no trigger yet
-- that fires for it.
CREATE FUNCTION threadline_internal.truncated_members(audited threadline.audited_tables) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT n.relation::text
    FROM threadline_internal.new_members(audited) AS n
   WHERE NOT EXISTS (SELECT FROM threadline_internal.young_partitions AS y
                      WHERE y.table_id = audited.id AND y.relation = n.relation)
   GROUP BY n.relation
  HAVING bool_and(threadline_internal.was_truncated(n.relation, n.attached_by))
  UNION ALL
  SELECT y.relation::regclass::text
    FROM threadline_internal.young_partitions AS y
   WHERE y.table_id = audited.id AND y.database = threadline_internal.database_identity()
   GROUP BY y.relation
  HAVING bool_and(y.file IS NOT NULL AND y.file <> pg_relation_filenode(y.relation)
                  AND NOT EXISTS (SELECT FROM pg_attribute AS a
                                   WHERE a.attrelid = y.relation AND age(a.xmin) < age(y.xmin)))
$function$;
COMMENT ON FUNCTION threadline_internal.truncated_members(threadline.audited_tables) IS
  'The partitions that may have been truncated without being captured since the last refresh of a table.';

-- Returns which partitions added or removed rows; NULL if none did.
CREATE FUNCTION threadline_internal.member_gap(audited threadline.audited_tables) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF audited.catalog_versions -> 'members' IS NULL OR NOT threadline_internal.is_partitioned(audited.relation) THEN
    RETURN NULL;
  END IF;
  RETURN nullif(concat_ws('; ',
    (SELECT format('partition %s was detached or dropped with its rows', string_agg(DISTINCT m, ', ' ORDER BY m))
       FROM threadline_internal.lost_members(audited) AS m HAVING count(*) > 0),
    (SELECT format('partition %s was attached with rows in it', string_agg(DISTINCT m, ', ' ORDER BY m))
       FROM threadline_internal.filled_members(audited) AS m HAVING count(*) > 0),
    (SELECT format('partition %s was truncated before a refresh knew it', string_agg(DISTINCT m, ', ' ORDER BY m))
       FROM threadline_internal.truncated_members(audited) AS m HAVING count(*) > 0)), '');
END
$function$;
COMMENT ON FUNCTION threadline_internal.member_gap(threadline.audited_tables) IS
  'The partitions that changed the rows of a table when they were attached or detached since its last refresh.';

-- Updates the generated code of one table, in the transaction of the caller. Until then, the code of an older version
-- works with newer internals.
CREATE FUNCTION threadline.refresh_table(relation regclass) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  audited threadline.audited_tables;
BEGIN
  SELECT t.* INTO audited FROM threadline_internal.audited_table(refresh_table.relation) AS t
   WHERE t.capture_ended_at IS NULL;
  IF NOT FOUND THEN
    RAISE EXCEPTION '% is not audited', relation
      USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_refused',
        HINT = 'SELECT * FROM threadline.coverage; lists the tables that are.';
  END IF;
  PERFORM threadline.audit_table(relation, granularity => audited.requested_granularity);
END
$function$;
COMMENT ON FUNCTION threadline.refresh_table(regclass) IS
  'Updates the capture of an audited table to match its present columns and the installed version of Threadline.';

-- Returns whether half of the server's lock slots are taken. All transactions share them, and a transaction that finds
-- none left fails. A refresh that changes a table holds a lock on it and on each new function.
CREATE FUNCTION threadline_internal.locks_run_short() RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN (SELECT count(*) FROM pg_locks AS l WHERE NOT l.fastpath)
    > current_setting('max_locks_per_transaction')::bigint
      * (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint) / 2;
END
$function$;
COMMENT ON FUNCTION threadline_internal.locks_run_short() IS
  'Whether the locks of all transactions take more than half of the server''s lock slots.';

-- Updates the capture of every audited table to match its present columns. A table that cannot be refreshed does not
-- prevent the refresh of the others. It is one transaction, so writers of a table that it changed wait until the end.
-- So after changing one table it tries each of the others only for a moment, and it ends before the locks run out.
-- threadline refresh uses one transaction per table.
CREATE FUNCTION threadline.refresh_audited_tables() RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  lock_timeout text := current_setting('lock_timeout');
  audited threadline.audited_tables;
  refusal text;
  refreshed integer := 0;
  left_over integer;
BEGIN
  FOR audited IN SELECT t.* FROM threadline.audited_tables AS t
                  WHERE t.capture_ended_at IS NULL AND threadline_internal.is_table_of(t)
                    AND NOT threadline_internal.is_audited_twice(t)
                  ORDER BY t.id LOOP
    BEGIN
      PERFORM threadline.refresh_table(audited.relation);
      refreshed := refreshed + 1;
      IF NOT EXISTS (SELECT FROM threadline.audited_tables AS t
                      WHERE t.id = audited.id AND t IS NOT DISTINCT FROM audited) THEN
        PERFORM set_config('lock_timeout', '200 ms', true);
        SELECT count(*) INTO left_over FROM threadline.audited_tables AS t JOIN pg_class AS c ON c.oid = t.relation
         WHERE t.capture_ended_at IS NULL AND t.id > audited.id;
        IF left_over > 0 AND threadline_internal.locks_run_short() THEN
          RAISE WARNING 'tables that were not refreshed: %; one transaction cannot lock so many', left_over
            USING HINT = 'Their capture goes on as it was defined before. Run threadline refresh, which has a '
              'transaction for each table, or call this again when this transaction has ended.';
          EXIT;
        END IF;
      END IF;
    EXCEPTION WHEN OTHERS THEN
      GET STACKED DIAGNOSTICS refusal = MESSAGE_TEXT;
      RAISE WARNING '%: %; its capture goes on as it was defined before', audited.relation, refusal;
    END;
  END LOOP;
  PERFORM set_config('lock_timeout', lock_timeout, true);
  RETURN refreshed;
END
$function$;
COMMENT ON FUNCTION threadline.refresh_audited_tables() IS
  'Updates the capture of every audited table to match its present columns; returns the number of tables. Warns about '
  'tables that could not be refreshed.';

-- Sets what happens to a write with a value that an image cannot contain.
CREATE FUNCTION threadline.require_values(relation regclass, required boolean DEFAULT true) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  PERFORM threadline_internal.take_lock('definitions');
  UPDATE threadline.audited_tables AS t
     SET definition = t.definition || jsonb_build_object('strict', coalesce(required, true)), definition_version = 0
   WHERE t.relation = require_values.relation AND t.capture_ended_at IS NULL;
  IF NOT FOUND THEN
    PERFORM threadline_internal.raise_audit_error(relation, 'it is not under capture',
      'Call threadline.audit_table first.');
  END IF;
  PERFORM threadline.refresh_table(relation);
END
$function$;
COMMENT ON FUNCTION threadline.require_values(regclass, boolean) IS
  'Makes writes to a table fail if a value cannot be recorded, instead of recording its length and hash.';

-- Ends the capture of a table. Only its owner can drop its triggers; for other callers they stay, and record nothing.
CREATE FUNCTION threadline.unaudit_table(relation regclass) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
DECLARE
  audited threadline.audited_tables;
  event text;
  capture_function text;
  is_owner boolean;
BEGIN
  PERFORM threadline_internal.take_lock('definitions');
  PERFORM threadline_internal.drop_abandoned_functions();
  SELECT t.* INTO audited FROM threadline_internal.audited_table(unaudit_table.relation) AS t
   WHERE t.capture_ended_at IS NULL;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  SELECT pg_has_role(c.relowner, 'USAGE') INTO is_owner FROM pg_class AS c WHERE c.oid = unaudit_table.relation;
  IF FOUND THEN
    -- Under the lock no writer is left, so the time is exact.
    PERFORM threadline_internal.lock_table(relation,
      CASE WHEN is_owner THEN 'ACCESS EXCLUSIVE' ELSE 'SHARE ROW EXCLUSIVE' END);
  END IF;
  UPDATE threadline.audited_tables AS t SET capture_ended_at = clock_timestamp() WHERE t.id = audited.id;
  IF is_owner THEN
    PERFORM threadline_internal.drop_triggers(audited, false);
  ELSIF FOUND AND is_owner IS NOT NULL THEN
    RAISE NOTICE 'the capture triggers of % stay, and record nothing: only its owner can drop them', relation;
  END IF;
  FOREACH event IN ARRAY '{insert, update, delete, truncate}'::text[] LOOP
    capture_function := format('threadline_internal.capture_%s_%s()', audited.id, event);
    -- A remaining trigger, or an object of a user, may depend on it.
    BEGIN
      EXECUTE format('DROP FUNCTION IF EXISTS %s', capture_function);
    EXCEPTION WHEN dependent_objects_still_exist THEN
      PERFORM threadline_internal.define_function(capture_function,
        format('RETURNS trigger LANGUAGE plpgsql AS %L', 'BEGIN RETURN NULL; END'),
        format('Captures nothing, since the capture of %s was ended.', relation));
    END;
  END LOOP;
  RETURN true;
END
$function$;
COMMENT ON FUNCTION threadline.unaudit_table(regclass) IS
  'Ends the capture of a table and keeps its history and its reading functions; returns false if it was not audited.';

-- Only the name of a dropped table is left. Any other name is resolved as the caller would resolve it, so search_path
-- is not pinned.
CREATE FUNCTION threadline.unaudit_table(table_name text) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $function$
DECLARE
  relation pg_catalog.regclass := pg_catalog.to_regclass(table_name);
BEGIN
  RETURN threadline.unaudit_table(coalesce(relation, threadline_internal.dropped_table(table_name),
    table_name::pg_catalog.regclass));  -- which raises the error
END
$function$;
COMMENT ON FUNCTION threadline.unaudit_table(text) IS
  'Ends the capture of a table, which may have been dropped, by its name; returns false if it was not audited.';

-- Returns a table that was dropped while it was audited. Without a schema, the name must match exactly one table.
CREATE FUNCTION threadline_internal.dropped_table(table_name text) RETURNS regclass
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT max(t.relation::oid)::regclass
    FROM threadline.audited_tables AS t
   CROSS JOIN parse_ident(dropped_table.table_name) AS path
   WHERE t.capture_ended_at IS NULL AND NOT threadline_internal.is_table_of(t)
     AND path IN (ARRAY[t.table_schema, t.table_name], ARRAY[t.table_name])
  HAVING count(*) = 1
$function$;
COMMENT ON FUNCTION threadline_internal.dropped_table(text) IS 'The dropped audited table with a given name.';

-- If a release changes relations, its migration first locks all of them, or none: otherwise a reader of a view could
-- wait for a table that the migration has locked, while the migration waits for the view. An attempt ends less than a
-- second after its first lock, before PostgreSQL checks for such deadlocks. A view is locked before the relations that
-- it reads, which were created earlier, so that its readers can finish. LOCK would also lock what a view reads,
-- including the catalog, so instead the view is assigned its present owner.
CREATE FUNCTION threadline_internal.lock_relations(until timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET lock_timeout = '800 ms'
AS $function$
DECLARE
  attempt_ends timestamptz;
  locked regclass;
  statement text;
BEGIN
  LOOP
    BEGIN
      attempt_ends := NULL;
      FOR locked, statement IN
        SELECT c.oid, CASE c.relkind
                 WHEN 'v' THEN format('ALTER VIEW %s OWNER TO %s', c.oid::regclass, c.relowner::regrole)
                 ELSE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', c.oid::regclass) END
          FROM pg_class AS c
         WHERE c.relnamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace)
           AND c.relkind IN ('p', 'r', 'v') AND NOT c.relispartition
         ORDER BY c.relkind DESC, CASE c.relkind WHEN 'v' THEN -c.oid::bigint END, c.relname LOOP
        PERFORM set_config('lock_timeout', format('%s ms', coalesce(greatest(1, floor(1000 * extract(epoch
          FROM attempt_ends - clock_timestamp()))), 800)), true);
        EXECUTE statement;
        attempt_ends := coalesce(attempt_ends, clock_timestamp() + interval '800 ms');
      END LOOP;
      RETURN;
    EXCEPTION WHEN lock_not_available THEN
      IF clock_timestamp() >= until THEN
        RAISE EXCEPTION 'the audit log is in use: % could not be locked', locked
          USING ERRCODE = 'lock_not_available', CONSTRAINT = 'threadline_refused',
            HINT = 'A transaction that has written or read it is open. Run the migration again when it has ended; '
              'lock_timeout says how long to try.';
      END IF;
      PERFORM pg_sleep(0.2);
    END;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.lock_relations(timestamptz) IS
  'Locks the tables and views of the audit log until the end of the transaction, trying until a time.';

-- Every migration after the first begins with this function.
CREATE FUNCTION threadline_internal.begin_migration(changes_relations boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  PERFORM threadline_internal.take_lock('definitions');
  PERFORM threadline_internal.drop_kept_functions();
  IF changes_relations THEN
    PERFORM threadline_internal.lock_relations(clock_timestamp() + threadline_internal.patience());
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.begin_migration(boolean) IS
  'Blocks changes of capture definitions and, if the migration changes tables or views, readers and writers, until the '
  'migration ends.';

-- A migration renames a function whose result or arguments it changes, and keeps one that it removes: a user's view may
-- depend on it, a query may be running, and generated code of an older version may call it. A later migration drops it
-- when nothing depends on it and no function names it.
CREATE FUNCTION threadline_internal.drop_kept_functions() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  kept regprocedure;
BEGIN
  FOR kept IN
    SELECT p.oid
      FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
     WHERE n.nspname IN ('threadline', 'threadline_internal')
       AND starts_with(obj_description(p.oid, 'pg_proc'), 'Kept from release ')
       AND NOT EXISTS (SELECT FROM pg_proc AS c
                        WHERE c.oid <> p.oid AND strpos(c.prosrc, format('%s.%s(', n.nspname, p.proname)) > 0) LOOP
    BEGIN
      EXECUTE format('DROP FUNCTION %s', kept);
    EXCEPTION WHEN dependent_objects_still_exist THEN
      NULL;
    END;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.drop_kept_functions() IS
  'Drops the functions that earlier migrations kept, except those that something depends on or calls.';

-- Refreshes the next table, so that repeated calls use one transaction per table. A table that cannot be refreshed is
-- reported, and does not prevent the next one.
CREATE FUNCTION threadline.refresh_step(after_id integer DEFAULT 0, relation regclass DEFAULT NULL,
  OUT table_id integer, OUT table_name text, OUT refusal text, OUT hint text, OUT tables_done bigint,
  OUT tables bigint)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  audited threadline.audited_tables;
BEGIN
  SELECT count(*), count(*) FILTER (WHERE t.id <= after_id) INTO tables, tables_done
    FROM threadline.audited_tables AS t
   WHERE t.capture_ended_at IS NULL AND threadline_internal.is_table_of(t)
     AND NOT threadline_internal.is_audited_twice(t) AND coalesce(t.relation = refresh_step.relation, true);
  IF tables = 0 AND relation IS NOT NULL THEN
    PERFORM threadline.refresh_table(relation);
  END IF;
  SELECT t.* INTO audited
    FROM threadline.audited_tables AS t
   WHERE t.capture_ended_at IS NULL AND threadline_internal.is_table_of(t)
     AND NOT threadline_internal.is_audited_twice(t) AND coalesce(t.relation = refresh_step.relation, true)
     AND t.id > after_id
   ORDER BY t.id LIMIT 1;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  table_id := audited.id;
  table_name := format('%s.%s', audited.table_schema, audited.table_name);
  tables_done := tables_done + 1;
  BEGIN
    PERFORM threadline.refresh_table(audited.relation);
  EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS refusal = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
  END;
END
$function$;
COMMENT ON FUNCTION threadline.refresh_step(integer, regclass) IS
  'Refreshes the audited table after the one with the given id, or says why it could not; table_id is NULL when there '
  'is none left. Call it with the table_id that it returned, each time in its own transaction.';

-- Returns the roles that may record actions, except the owner. A migration that changes record_action keeps the old
-- function under a name that begins with its name.
CREATE FUNCTION threadline_internal.recorders() RETURNS SETOF regrole
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT DISTINCT acl.grantee::regrole
    FROM pg_proc AS p, aclexplode(p.proacl) AS acl
   WHERE p.pronamespace = 'threadline'::regnamespace AND starts_with(p.proname, 'record_action')
     AND acl.grantee NOT IN (0, p.proowner)
$function$;
COMMENT ON FUNCTION threadline_internal.recorders() IS 'The roles that may record actions, except the owner.';

-- Returns the rights that readers and recorders lack, although they should have them by the rules of
-- threadline.grant_reader and grant_recorder.
CREATE FUNCTION threadline_internal.missing_rights() RETURNS TABLE (role regrole, kind text, rights text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT r.role, 'reader', format('SELECT ON %s', c.relation)
    FROM threadline_internal.readers() AS r (role), threadline_internal.reader_relations() AS c (relation)
   WHERE NOT has_table_privilege(r.role, c.relation, 'SELECT')
  UNION ALL
  SELECT r.role, 'reader', format('EXECUTE ON FUNCTION %s', f.function)
    FROM threadline_internal.readers() AS r (role), threadline_internal.reader_functions() AS f (function)
   WHERE NOT has_function_privilege(r.role, f.function, 'EXECUTE')
  UNION ALL
  SELECT r.role, 'reader', 'USAGE ON SCHEMA threadline'
    FROM threadline_internal.readers() AS r (role) WHERE NOT has_schema_privilege(r.role, 'threadline', 'USAGE')
  UNION ALL
  SELECT r.role, 'recorder', 'USAGE ON SCHEMA threadline'
    FROM threadline_internal.recorders() AS r (role) WHERE NOT has_schema_privilege(r.role, 'threadline', 'USAGE')
  UNION ALL
  SELECT r.role, 'recorder', format('EXECUTE ON FUNCTION %s', p.oid::regprocedure)
    FROM threadline_internal.recorders() AS r (role), pg_proc AS p
   WHERE p.pronamespace = 'threadline'::regnamespace AND p.proname = 'record_action'
     AND NOT has_function_privilege(r.role, p.oid, 'EXECUTE')
$function$;
COMMENT ON FUNCTION threadline_internal.missing_rights() IS
  'The rights that readers and recorders of the audit log should have but lack.';

-- Every migration ends with this function. PostgreSQL lets everyone call a new function and use the row type of a
-- table. A table with a column of that type would prevent the audit log from being altered, and a partition from being
-- dropped. New objects are granted to the roles that had the old ones.
CREATE FUNCTION threadline_internal.restore_rights() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  type regtype;
  missing record;
BEGIN
  REVOKE ALL ON ALL FUNCTIONS IN SCHEMA threadline, threadline_internal FROM PUBLIC;
  FOR type IN SELECT y.oid FROM pg_type AS y
               WHERE y.typnamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace)
                 AND y.typtype = 'c' LOOP
    EXECUTE format('REVOKE USAGE ON TYPE %s FROM PUBLIC', type);
  END LOOP;
  FOR missing IN SELECT * FROM threadline_internal.missing_rights() LOOP
    EXECUTE format('GRANT %s TO %s', missing.rights, missing.role);
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.restore_rights() IS
  'Revokes what PostgreSQL grants to PUBLIC, and grants readers and recorders what they lack.';

-- Performs one batch of the long-running work of releases, oldest first. It can be killed at any time: its work and its
-- position commit together. It never runs during a purge or a redaction, which change the same rows.
CREATE FUNCTION threadline.upgrade_step(batch_size integer DEFAULT 1000, OUT step text, OUT rows_done bigint,
  OUT row_estimate bigint, OUT steps_left bigint)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  work threadline_internal.upgrade_steps;
  next_position jsonb;
  batch_rows bigint;
BEGIN
  PERFORM threadline_internal.take_lock('purge');
  SELECT s.* INTO work FROM threadline_internal.upgrade_steps AS s
   WHERE s.ended_at IS NULL ORDER BY s.noted_at, s.name LIMIT 1;
  IF FOUND THEN
    EXECUTE format('SELECT next_position, batch_rows FROM threadline_internal.%I($1, $2)', work.name)
      INTO next_position, batch_rows USING work.position, greatest(batch_size, 1);
    UPDATE threadline_internal.upgrade_steps AS s
       SET position = coalesce(next_position, s.position), rows_done = s.rows_done + batch_rows,
           ended_at = CASE WHEN next_position IS NULL THEN clock_timestamp() END
     WHERE s.name = work.name
    RETURNING s.name, s.rows_done, s.row_estimate INTO step, rows_done, row_estimate;
  END IF;
  SELECT count(*) INTO steps_left FROM threadline_internal.upgrade_steps AS s WHERE s.ended_at IS NULL;
END
$function$;
COMMENT ON FUNCTION threadline.upgrade_step(integer) IS
  'Performs a batch of the long-running work of an upgrade; returns what was done, its progress, and how many steps '
  'are left. Call it until none is left, each time in its own transaction.';

CREATE VIEW threadline_internal.audited_table_names AS
SELECT coalesce(n.nspname, a.table_schema) AS table_schema,
       coalesce(c.relname, a.table_name) AS table_name,
       a AS audited
  FROM threadline.audited_tables AS a
  LEFT JOIN pg_catalog.pg_class AS c ON c.oid = a.relation
   -- Another table may have the OID of a dropped table.
   AND (c.relname::pg_catalog.text OPERATOR(pg_catalog.=) a.table_name OR threadline_internal.is_table_of(a))
  LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace;
COMMENT ON VIEW threadline_internal.audited_table_names IS
  'The present name of each table that is or was audited, or its name when it was dropped.';
COMMENT ON COLUMN threadline_internal.audited_table_names.table_schema IS 'Schema of the table.';
COMMENT ON COLUMN threadline_internal.audited_table_names.table_name IS 'Name of the table.';
COMMENT ON COLUMN threadline_internal.audited_table_names.audited IS 'The audited_tables row of the table.';

CREATE VIEW threadline.capture_activity (table_schema, table_name, capture_since, capture_ended_at, first_captured_at,
  last_captured_at) AS
SELECT n.table_schema::text, n.table_name::text, (n.audited).capture_since, (n.audited).capture_ended_at,
       (SELECT c.captured_at FROM threadline.audit_changes AS c
         WHERE c.table_id = (n.audited).id ORDER BY c.captured_at LIMIT 1),
       (SELECT c.captured_at FROM threadline.audit_changes AS c
         WHERE c.table_id = (n.audited).id ORDER BY c.captured_at DESC LIMIT 1)
  FROM threadline_internal.audited_table_names AS n
 ORDER BY 1, 2;
COMMENT ON VIEW threadline.capture_activity IS
  'Each table that is or was audited, with the times of its first and its last recorded change.';
COMMENT ON COLUMN threadline.capture_activity.table_schema IS 'Schema of the table.';
COMMENT ON COLUMN threadline.capture_activity.table_name IS 'Name of the table.';
COMMENT ON COLUMN threadline.capture_activity.capture_since IS 'Every change from this time on is recorded.';
COMMENT ON COLUMN threadline.capture_activity.capture_ended_at IS 'When capture ended; NULL while capture is active.';
COMMENT ON COLUMN threadline.capture_activity.first_captured_at IS
  'When the oldest change of the table in the audit log was captured; NULL if there is none.';
COMMENT ON COLUMN threadline.capture_activity.last_captured_at IS
  'When the latest change of the table in the audit log was captured.';

-- For interactive use in psql. A change has its own context only if that differs from the context of its transaction.
CREATE VIEW threadline.changes AS
SELECT c.id,
       n.table_schema,
       n.table_name,
       coalesce(c.key_integer::text, c.key_bigint::text, c.key_uuid::text, c.key_text) AS row_key,
       c.moved_key,
       c.op,
       ARRAY(SELECT jsonb_object_keys(coalesce(c.changed_from, c.data_after) - '')) AS changed_fields,
       CASE WHEN c.context IS NULL THEN t.actor_ref ELSE c.context -> 'actor_ref' END AS actor_ref,
       CASE WHEN c.context IS NULL THEN t.on_behalf_of ELSE c.context -> 'on_behalf_of' END AS on_behalf_of,
       c.captured_at,
       t.occurred_at,
       c.transaction_id,
       CASE WHEN c.context IS NULL THEN t.source ELSE c.context ->> 'source' END AS source,
       CASE WHEN c.context IS NULL THEN t.correlation_id ELSE c.context ->> 'correlation_id' END AS correlation_id,
       CASE WHEN c.context IS NULL THEN t.request_id ELSE c.context ->> 'request_id' END AS request_id,
       CASE WHEN c.context IS NULL THEN t.job_id ELSE c.context ->> 'job_id' END AS job_id,
       CASE WHEN c.context IS NULL THEN t.remote_ip ELSE (c.context ->> 'remote_ip')::inet END AS remote_ip,
       CASE WHEN c.context IS NULL THEN t.meta ELSE c.context -> 'meta' END AS meta,
       t.database_role,
       t.application_name,
       c.data_after,
       c.changed_from,
       c.table_id
  FROM threadline.audit_changes c
  LEFT JOIN threadline.audit_transactions t ON t.id = c.transaction_id
  LEFT JOIN threadline_internal.audited_table_names n ON (n.audited).id = c.table_id;
COMMENT ON VIEW threadline.changes IS
  'Every recorded change with its table, key, changed fields, actor and context; for interactive queries.';
COMMENT ON COLUMN threadline.changes.id IS 'Order of the changes.';
COMMENT ON COLUMN threadline.changes.table_schema IS 'Present schema of the changed table.';
COMMENT ON COLUMN threadline.changes.table_name IS 'Present name of the changed table.';
COMMENT ON COLUMN threadline.changes.row_key IS
  'Primary key of the row as text. A composite key is a JSON array. NULL if the table has no primary key.';
COMMENT ON COLUMN threadline.changes.moved_key IS
  'If an update changed the primary key: the new key (on the delete) or the old key (on the insert).';
COMMENT ON COLUMN threadline.changes.op IS 'Operation on the row: delete, insert, snapshot, truncate or update.';
COMMENT ON COLUMN threadline.changes.changed_fields IS
  'Columns that changed; all columns for an insert, delete or truncate.';
COMMENT ON COLUMN threadline.changes.actor_ref IS 'Who acted.';
COMMENT ON COLUMN threadline.changes.on_behalf_of IS 'For whom the actor acted.';
COMMENT ON COLUMN threadline.changes.captured_at IS 'Clock time of the write.';
COMMENT ON COLUMN threadline.changes.occurred_at IS 'When the transaction began.';
COMMENT ON COLUMN threadline.changes.transaction_id IS 'The transaction that made the change.';
COMMENT ON COLUMN threadline.changes.source IS 'Origin of the work.';
COMMENT ON COLUMN threadline.changes.correlation_id IS 'Links the transactions of one business process.';
COMMENT ON COLUMN threadline.changes.request_id IS 'The request that caused the change.';
COMMENT ON COLUMN threadline.changes.job_id IS 'The background job that caused the change.';
COMMENT ON COLUMN threadline.changes.remote_ip IS 'Address of the client that requested the work.';
COMMENT ON COLUMN threadline.changes.meta IS 'Additional JSON data from the application.';
COMMENT ON COLUMN threadline.changes.database_role IS 'The role that wrote.';
COMMENT ON COLUMN threadline.changes.application_name IS 'application_name of the session that wrote.';
COMMENT ON COLUMN threadline.changes.data_after IS 'The row after an insert or update.';
COMMENT ON COLUMN threadline.changes.changed_from IS
  'Old values of the columns that an update changed; the whole row for a delete or truncate.';
COMMENT ON COLUMN threadline.changes.table_id IS 'The audited_tables row of the changed table.';

CREATE VIEW threadline.continuity AS
SELECT r.table_schema, r.table_name, r.state, r.capture_since, r.readable_since, r.row_estimate, r.baseline,
       r.baseline_rows, r.ready, r.message, r.hint
  FROM threadline_internal.continuity() AS r;
COMMENT ON VIEW threadline.continuity IS
  'Each table that is, was or could be audited: the time since which its past is known, and whether its earlier rows '
  'are recorded.';
COMMENT ON COLUMN threadline.continuity.table_schema IS 'Schema of the table.';
COMMENT ON COLUMN threadline.continuity.table_name IS 'Name of the table.';
COMMENT ON COLUMN threadline.continuity.state IS 'audited, ended or uncovered.';
COMMENT ON COLUMN threadline.continuity.capture_since IS
  'Every change from this time on was recorded; NULL if the table was never audited.';
COMMENT ON COLUMN threadline.continuity.readable_since IS
  'The earliest time as of which the table can be read; NULL unless the table is audited.';
COMMENT ON COLUMN threadline.continuity.row_estimate IS 'Estimated present number of rows, including partitions.';
COMMENT ON COLUMN threadline.continuity.baseline IS
  'Whether the rows that existed at readable_since are recorded: complete, none or partial; NULL unless the table is '
  'audited.';
COMMENT ON COLUMN threadline.continuity.baseline_rows IS
  'How many of those rows are recorded as snapshots; NULL without a baseline.';
COMMENT ON COLUMN threadline.continuity.ready IS
  'Whether the history of each row, the past of the table, and a baseline are available or possible.';
COMMENT ON COLUMN threadline.continuity.message IS 'What is known and what is not, in words.';
COMMENT ON COLUMN threadline.continuity.hint IS 'What to do about it.';

-- Excludes partitions, and the tables of the server, Threadline, Diesel and extensions.
CREATE VIEW threadline.coverage (table_schema, table_name, state, reason, granularity, capture_since) AS
SELECT n.nspname::text, c.relname::text,
       CASE WHEN a.id IS NOT NULL THEN 'audited' WHEN e.relation IS NOT NULL THEN 'exempt' ELSE 'uncovered' END,
       CASE WHEN a.id IS NULL THEN e.reason END, a.granularity, a.capture_since
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  LEFT JOIN threadline.audited_tables AS a ON a.relation = c.oid AND a.capture_ended_at IS NULL
    AND (c.relname = a.table_name OR threadline_internal.is_table_of(a))
  LEFT JOIN threadline.exempt_tables AS e ON e.relation = c.oid
    AND (c.relname = e.table_name OR threadline_internal.is_said_of(c.oid, e.table_schema, e.table_name, e.database))
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
   AND n.nspname NOT IN ('information_schema', 'threadline', 'threadline_internal')
   AND NOT starts_with(n.nspname::text, 'pg_')
   AND c.relname <> '__diesel_schema_migrations'
   AND NOT EXISTS (SELECT FROM pg_depend AS d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY n.nspname, c.relname;
COMMENT ON VIEW threadline.coverage IS
  'Every table of the database, and whether it is audited, exempt (with the reason) or uncovered.';
COMMENT ON COLUMN threadline.coverage.table_schema IS 'Schema of the table.';
COMMENT ON COLUMN threadline.coverage.table_name IS 'Name of the table.';
COMMENT ON COLUMN threadline.coverage.state IS 'audited, exempt or uncovered.';
COMMENT ON COLUMN threadline.coverage.reason IS 'Why the table need not be audited; NULL unless the table is exempt.';
COMMENT ON COLUMN threadline.coverage.granularity IS
  'Whether capture runs once per row or once per statement; NULL unless the table is audited.';
COMMENT ON COLUMN threadline.coverage.capture_since IS
  'Every change from this time on is recorded; NULL unless the table is audited.';

CREATE VIEW threadline.health AS
SELECT r."check", r.severity, r.table_schema, r.table_name, r.message, r.hint
  FROM threadline_internal.health() AS r;
COMMENT ON VIEW threadline.health IS
  'Problems of the audit log and of capture, errors first, each with advice; empty if there are none.';
COMMENT ON COLUMN threadline.health."check" IS
  'Name of the check that found the problem, for programs, such as trigger_missing.';
COMMENT ON COLUMN threadline.health.severity IS 'error or warning.';
COMMENT ON COLUMN threadline.health.table_schema IS 'Schema of the affected table, if the problem concerns a table.';
COMMENT ON COLUMN threadline.health.table_name IS 'Name of the affected table.';
COMMENT ON COLUMN threadline.health.message IS 'Description of the problem.';
COMMENT ON COLUMN threadline.health.hint IS 'How to fix the problem.';

CREATE VIEW threadline.retention_plan AS
SELECT r.partition, r.table_schema, r.table_name, r.retention_cutoff, r.is_dropped, r.changes, r.kept
  FROM threadline_internal.retention_plan() AS r;
COMMENT ON VIEW threadline.retention_plan IS
  'What a purge would remove now, by partition and table. It reads the changes to count them.';
COMMENT ON COLUMN threadline.retention_plan.partition IS 'The partition, without its schema.';
COMMENT ON COLUMN threadline.retention_plan.table_schema IS 'Schema of the table.';
COMMENT ON COLUMN threadline.retention_plan.table_name IS 'Name of the table.';
COMMENT ON COLUMN threadline.retention_plan.retention_cutoff IS 'A purge removes changes from before this time.';
COMMENT ON COLUMN threadline.retention_plan.is_dropped IS
  'Whether the partition is dropped as a whole, instead of deleting its changes in batches.';
COMMENT ON COLUMN threadline.retention_plan.changes IS 'Number of changes that a purge removes.';
COMMENT ON COLUMN threadline.retention_plan.kept IS
  'Number of changes of the table that stay in this partition: newer ones, and those under a legal hold.';

CREATE VIEW threadline.storage_usage (table_name, changes_from, changes_before, row_estimate, total_bytes) AS
SELECT c.relname::text, CASE WHEN isfinite(p.lower_bound) THEN p.lower_bound END,
       CASE WHEN isfinite(p.upper_bound) THEN p.upper_bound END,
       threadline_internal.row_estimate(c.oid), pg_total_relation_size(c.oid)
  FROM pg_class AS c
  LEFT JOIN threadline_internal.partitions() AS p ON p.name = c.relname
 WHERE c.relnamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace) AND c.relkind = 'r'
 ORDER BY 2 NULLS FIRST, 1;
COMMENT ON VIEW threadline.storage_usage IS
  'Each table and partition of the audit log, with the time range of its changes, its estimated number of rows, and '
  'its size in bytes including indexes.';
COMMENT ON COLUMN threadline.storage_usage.table_name IS 'Name of the table or partition.';
COMMENT ON COLUMN threadline.storage_usage.changes_from IS
  'Start of the month whose changes the partition contains; NULL if it is not a monthly partition.';
COMMENT ON COLUMN threadline.storage_usage.changes_before IS 'End of that month.';
COMMENT ON COLUMN threadline.storage_usage.row_estimate IS 'Estimated number of rows.';
COMMENT ON COLUMN threadline.storage_usage.total_bytes IS 'Size on disk in bytes, including indexes.';

-- A reader may call functions that only read, and functions that restore rows, for which the rights on the table
-- decide. threadline.settled_at is VOLATILE because it reads several times, each time with current data.
CREATE FUNCTION threadline_internal.reader_functions() RETURNS SETOF regprocedure
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT p.oid::regprocedure
    FROM pg_proc AS p
   WHERE p.pronamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace)
     AND (p.provolatile <> 'v' OR p.oid = 'threadline.settled_at()'::regprocedure
          OR p.proname ~ '^restore(_[0-9]+)?$')
$function$;
COMMENT ON FUNCTION threadline_internal.reader_functions() IS 'The functions that a reader of the audit log may call.';

-- Partitions are read through audit_changes; threadline.health also reads the default partition. Readers cannot read
-- the secrets of hashed keys, with which they could test guesses on their own machine.
CREATE FUNCTION threadline_internal.reader_relations() RETURNS SETOF regclass
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT c.oid::regclass
    FROM pg_class AS c
   WHERE c.relnamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace)
     AND c.relkind IN ('p', 'r', 'S', 'v')
     AND (NOT c.relispartition OR c.oid = 'threadline.audit_changes_default'::regclass)
     AND c.oid <> 'threadline_internal.key_secrets'::regclass
$function$;
COMMENT ON FUNCTION threadline_internal.reader_relations() IS
  'The tables, views and sequences that a reader of the audit log may read.';

CREATE FUNCTION threadline.grant_reader(reader regrole) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  reading_function regprocedure;
  relation regclass;
BEGIN
  EXECUTE format('GRANT USAGE ON SCHEMA threadline, threadline_internal TO %s', reader);
  FOR relation IN SELECT threadline_internal.reader_relations() LOOP
    EXECUTE format('GRANT SELECT ON %s TO %s', relation, reader);
  END LOOP;
  -- Diesel's table shows which migrations of Threadline the database has.
  FOR relation IN SELECT c.oid::regclass FROM pg_class AS c
                   WHERE c.relname = '__diesel_schema_migrations' AND c.relkind = 'r' AND pg_has_role(c.relowner,
                     'USAGE') LOOP
    EXECUTE format('GRANT SELECT ON %s TO %s', relation, reader);
  END LOOP;
  FOR reading_function IN SELECT threadline_internal.reader_functions() LOOP
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', reading_function, reader);
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline.grant_reader(regrole) IS
  'Lets a role read the whole audit log, including the rows of every audited table, now and for tables audited later.';

CREATE FUNCTION threadline.grant_recorder(recorder regrole) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  EXECUTE format('GRANT USAGE ON SCHEMA threadline TO %s', recorder);
  EXECUTE format('GRANT EXECUTE ON FUNCTION threadline.record_action(text, text, text, text, jsonb, jsonb, jsonb) '
    'TO %s', recorder);
END
$function$;
COMMENT ON FUNCTION threadline.grant_recorder(regrole) IS
  'Lets a role record actions; the role still can neither read nor change what is recorded.';

SELECT threadline_internal.create_partitions();

SELECT threadline_internal.restore_rights();
