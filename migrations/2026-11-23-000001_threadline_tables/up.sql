-- The tables of the record. Nothing here is granted to PUBLIC: applications are captured without any
-- right in this schema, and who may read the record is for its owner to grant (threadline.grant_reader).
CREATE SCHEMA threadline;
COMMENT ON SCHEMA threadline IS
  'Threadline: who changed what, when and why, and what everything looked like then.';

CREATE TABLE threadline.audited_tables (
  id                    integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  -- regclass and not text: it follows a rename, and pg_dump writes it by name.
  relation              regclass    NOT NULL UNIQUE,
  schema_name           text        NOT NULL,
  table_name            text        NOT NULL,
  key_columns           text[]      NOT NULL,
  key_type              text        CHECK (key_type IN ('bigint', 'integer', 'text', 'uuid')),
  excluded_columns      text[]      NOT NULL,
  masked_columns        text[]      NOT NULL,
  granularity           text        NOT NULL CHECK (granularity IN ('row', 'statement')),
  requested_granularity text        CHECK (requested_granularity IN ('row', 'statement')),
  definition_version    integer     NOT NULL,
  definition            jsonb       NOT NULL,
  capture_since         timestamptz NOT NULL,
  capture_ended_at      timestamptz,
  purged_before         timestamptz
);
COMMENT ON TABLE threadline.audited_tables IS
  'The tables under capture, one row each; written by threadline.audit_table and threadline.unaudit_table only.';
COMMENT ON COLUMN threadline.audited_tables.id IS 'Identity of the table in the record; survives renaming the table.';
COMMENT ON COLUMN threadline.audited_tables.relation IS 'The table itself, wherever it is called today.';
COMMENT ON COLUMN threadline.audited_tables.schema_name IS 'Schema of the table when its capture was last defined.';
COMMENT ON COLUMN threadline.audited_tables.table_name IS 'Name of the table when its capture was last defined.';
COMMENT ON COLUMN threadline.audited_tables.key_columns IS 'Columns of the primary key, in key order; empty without one.';
COMMENT ON COLUMN threadline.audited_tables.key_type IS
  'Which key column of audit_changes holds the keys of this table: key_bigint, key_integer, key_text or key_uuid; NULL without a primary key.';
COMMENT ON COLUMN threadline.audited_tables.excluded_columns IS 'Columns that are never recorded.';
COMMENT ON COLUMN threadline.audited_tables.masked_columns IS 'Columns recorded as the placeholder [REDACTED].';
COMMENT ON COLUMN threadline.audited_tables.granularity IS 'Whether capture runs once per statement or once per row.';
COMMENT ON COLUMN threadline.audited_tables.requested_granularity IS
  'The granularity asked for; NULL leaves the choice to threadline.audit_table.';
COMMENT ON COLUMN threadline.audited_tables.definition_version IS
  'Version of the generator that built the capture functions of this table.';
COMMENT ON COLUMN threadline.audited_tables.definition IS
  'What the generator read from the catalog: columns with their numbers and types, renames seen, defaults of columns added since, partitions. Differs from the catalog when the definition is stale.';
COMMENT ON COLUMN threadline.audited_tables.capture_since IS 'Every change from this time on is recorded.';
COMMENT ON COLUMN threadline.audited_tables.capture_ended_at IS 'When capture was ended; NULL while it goes on.';
COMMENT ON COLUMN threadline.audited_tables.purged_before IS
  'Changes from before this time were removed from the record, so that nothing can be read as of it; NULL while none were.';

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
  octave           smallint    NOT NULL DEFAULT 0
);
COMMENT ON TABLE threadline.audit_transactions IS
  'The database transactions that changed audited rows or recorded an action, with who acted and why.';
COMMENT ON COLUMN threadline.audit_transactions.id IS 'Identity of the transaction (UUID version 7).';
COMMENT ON COLUMN threadline.audit_transactions.txid IS
  'Transaction id given by the server; unique only together with occurred_at, since ids start again in a restored cluster.';
COMMENT ON COLUMN threadline.audit_transactions.occurred_at IS 'When the transaction began (transaction_timestamp).';
COMMENT ON COLUMN threadline.audit_transactions.actor_ref IS 'Who acted, as {"type": "user", "id": "123"}; NULL when nobody said so.';
COMMENT ON COLUMN threadline.audit_transactions.on_behalf_of IS 'For whom the actor acted, in the same form; NULL when for nobody else.';
COMMENT ON COLUMN threadline.audit_transactions.source IS 'Where the work came from: the name of an application, route or command.';
COMMENT ON COLUMN threadline.audit_transactions.correlation_id IS 'Ties together the transactions of one business process.';
COMMENT ON COLUMN threadline.audit_transactions.request_id IS 'The request that caused the transaction.';
COMMENT ON COLUMN threadline.audit_transactions.job_id IS 'The background job that caused the transaction.';
COMMENT ON COLUMN threadline.audit_transactions.remote_ip IS 'Address of the client that asked for the work.';
COMMENT ON COLUMN threadline.audit_transactions.meta IS 'Whatever else the application said, as JSON.';
COMMENT ON COLUMN threadline.audit_transactions.database_role IS
  'The role that wrote (SET ROLE included), so that a change by hand is not nameless.';
COMMENT ON COLUMN threadline.audit_transactions.application_name IS 'application_name of the session that wrote.';
COMMENT ON COLUMN threadline.audit_transactions.octave IS
  'The last octave it was noted for in long_transactions, while that is known; 0 for none.';

CREATE TABLE threadline.audit_changes (
  id             bigint      GENERATED ALWAYS AS IDENTITY,
  transaction_id uuid        NOT NULL,
  table_id       integer     NOT NULL,
  -- Without a CHECK, which PostgreSQL reads anew for every statement: a sixth of what capture costs a statement. Nobody but the
  -- functions of this schema can write here.
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
  -- In this order the key serves "all changes of a transaction" and "did it change anything after T", and
  -- needs no index of its own for id. No foreign keys: they would check for every row what the triggers guarantee.
  PRIMARY KEY (transaction_id, captured_at, id)
) PARTITION BY RANGE (captured_at);
-- One index a key type, each row in one of them at most: integers and uuids compare fast and stay small,
-- and a condition on the key reaches the index without a cast.
CREATE INDEX audit_changes_key_integer_idx ON threadline.audit_changes (table_id, key_integer, captured_at, id)
  WHERE key_integer IS NOT NULL;
CREATE INDEX audit_changes_key_bigint_idx ON threadline.audit_changes (table_id, key_bigint, captured_at, id)
  WHERE key_bigint IS NOT NULL;
CREATE INDEX audit_changes_key_uuid_idx ON threadline.audit_changes (table_id, key_uuid, captured_at, id)
  WHERE key_uuid IS NOT NULL;
-- The beginning of it: a key that fits into the index of its own table may not fit into this one, as JSON above all.
CREATE INDEX audit_changes_key_text_idx ON threadline.audit_changes (table_id, left(key_text, 500), captured_at, id)
  WHERE key_text IS NOT NULL;
COMMENT ON INDEX threadline.audit_changes_key_integer_idx IS 'History of a row by an integer or smallint key.';
COMMENT ON INDEX threadline.audit_changes_key_bigint_idx IS 'History of a row by a bigint key.';
COMMENT ON INDEX threadline.audit_changes_key_uuid_idx IS 'History of a row by a uuid key.';
COMMENT ON INDEX threadline.audit_changes_key_text_idx IS 'History of a row by any other key, composite ones included.';
COMMENT ON TABLE threadline.audit_changes IS
  'One row''s insert, update, delete or truncation. data_after || changed_from is the row before an update, changed_from alone the row before a delete or truncate.';
COMMENT ON COLUMN threadline.audit_changes.id IS 'Order of the changes: of two changes of one row the later has the greater id.';
COMMENT ON COLUMN threadline.audit_changes.transaction_id IS 'The audit_transactions row of the transaction that made the change.';
COMMENT ON COLUMN threadline.audit_changes.table_id IS 'The audited_tables row of the changed table.';
COMMENT ON COLUMN threadline.audit_changes.op IS 'What happened to the row: delete, insert, truncate or update; or snapshot, which records a row that was there before capture began.';
COMMENT ON COLUMN threadline.audit_changes.captured_at IS
  'Clock time of the write, taken after the row was locked: one time for all rows of a statement, where capture is by statement.';
COMMENT ON COLUMN threadline.audit_changes.key_integer IS 'Primary key, when it is one integer or smallint column.';
COMMENT ON COLUMN threadline.audit_changes.key_bigint IS 'Primary key, when it is one bigint column.';
COMMENT ON COLUMN threadline.audit_changes.key_uuid IS 'Primary key, when it is one uuid column.';
COMMENT ON COLUMN threadline.audit_changes.key_text IS
  'Primary key of any other type as text; a composite key as a JSON array of its columns in key order.';
COMMENT ON COLUMN threadline.audit_changes.moved_key IS
  'Set when an UPDATE changed the primary key, which is recorded as the delete of the old key and the insert of the new one: on the delete the key the row went to, on the insert the key it came from.';
COMMENT ON COLUMN threadline.audit_changes.data_after IS 'The row after an insert or update, or as a snapshot found it.';
COMMENT ON COLUMN threadline.audit_changes.changed_from IS
  'Old values of what an update changed, its keys being the changed columns; the whole row on a delete or truncate.';
COMMENT ON COLUMN threadline.audit_changes.context IS
  'Actor and context of this change where they differ from those of its transaction (a nested audited transaction); else NULL.';

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
COMMENT ON TABLE threadline.audit_actions IS 'What someone did, in the words of the business; several per transaction are fine.';
COMMENT ON COLUMN threadline.audit_actions.id IS 'Identity of the action (UUID version 7).';
COMMENT ON COLUMN threadline.audit_actions.name IS 'What was done, as category.verb.';
COMMENT ON COLUMN threadline.audit_actions.occurred_at IS 'When it was recorded.';
COMMENT ON COLUMN threadline.audit_actions.actor_ref IS 'Who did it, as {"type": "user", "id": "123"}.';
COMMENT ON COLUMN threadline.audit_actions.on_behalf_of IS 'For whom the actor acted, in the same form; NULL when for nobody else.';
COMMENT ON COLUMN threadline.audit_actions.status IS 'How it ended: ok or error.';
COMMENT ON COLUMN threadline.audit_actions.reason IS 'Why it was done.';
COMMENT ON COLUMN threadline.audit_actions.comment IS 'A remark for people.';
COMMENT ON COLUMN threadline.audit_actions.correlation_id IS 'Ties together the actions of one business process.';
COMMENT ON COLUMN threadline.audit_actions.request_id IS 'The request that caused it.';
COMMENT ON COLUMN threadline.audit_actions.job_id IS 'The background job that caused it.';
COMMENT ON COLUMN threadline.audit_actions.meta IS 'Whatever else the application said, as JSON.';
COMMENT ON COLUMN threadline.audit_actions.transaction_id IS
  'The audit_transactions row of the transaction it was recorded in, which may hold nothing else.';

CREATE TABLE threadline.action_rules (
  name            text    PRIMARY KEY CHECK (name ~ '^[a-z0-9_]+([.][a-z0-9_]+)+$'),
  reason_required boolean NOT NULL
);
COMMENT ON TABLE threadline.action_rules IS 'What is asked of actions by name; written by threadline.require_reason.';
COMMENT ON COLUMN threadline.action_rules.name IS 'Name of the actions, as category.verb.';
COMMENT ON COLUMN threadline.action_rules.reason_required IS 'Whether they are refused without a reason.';

-- The law of time asks which transactions straddle a moment: begun by then, with a change after it. Nearly all end soon
-- after they began, and are found among those that began just before. The others are noted here while they go on.
CREATE TABLE threadline.long_transactions (
  octave         smallint    NOT NULL,
  occurred_at    timestamptz NOT NULL,
  transaction_id uuid        NOT NULL,
  PRIMARY KEY (octave, occurred_at, transaction_id)
);
COMMENT ON TABLE threadline.long_transactions IS
  'Transactions with a change 125 ms or more after they began; once more each time the time since then has doubled.';
COMMENT ON COLUMN threadline.long_transactions.octave IS
  'A change was captured less than 2^octave × 125 ms after the transaction began, and no less than half of that.';
COMMENT ON COLUMN threadline.long_transactions.occurred_at IS 'When the transaction began.';
COMMENT ON COLUMN threadline.long_transactions.transaction_id IS 'The audit_transactions row of the transaction.';

-- For people with psql. A change carries a context of its own only where it differs from its transaction's.
CREATE VIEW threadline.changes AS
SELECT c.id,
       coalesce(n.nspname, a.schema_name) AS schema_name,
       coalesce(r.relname, a.table_name) AS table_name,
       coalesce(c.key_integer::text, c.key_bigint::text, c.key_uuid::text, c.key_text) AS row_key,
       c.moved_key,
       c.op,
       ARRAY(SELECT jsonb_object_keys(coalesce(c.changed_from, c.data_after))) AS changed_fields,
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
  LEFT JOIN threadline.audited_tables a ON a.id = c.table_id
  LEFT JOIN pg_catalog.pg_class r ON r.oid = a.relation
  LEFT JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace;
COMMENT ON VIEW threadline.changes IS
  'Every recorded change with its table, key, changed fields, actor and context; for reading by hand.';
COMMENT ON COLUMN threadline.changes.id IS 'Order of the changes.';
COMMENT ON COLUMN threadline.changes.schema_name IS 'Schema of the changed table, as it is called now.';
COMMENT ON COLUMN threadline.changes.table_name IS 'The changed table, as it is called now.';
COMMENT ON COLUMN threadline.changes.row_key IS 'Primary key of the row as text, a composite one as a JSON array; NULL without a primary key.';
COMMENT ON COLUMN threadline.changes.moved_key IS 'When an update changed the primary key: the key the row went to (on the delete) or came from (on the insert).';
COMMENT ON COLUMN threadline.changes.op IS 'What happened to the row: delete, insert, snapshot, truncate or update.';
COMMENT ON COLUMN threadline.changes.changed_fields IS 'Columns that changed; all of them on an insert, delete or truncate.';
COMMENT ON COLUMN threadline.changes.actor_ref IS 'Who acted.';
COMMENT ON COLUMN threadline.changes.on_behalf_of IS 'For whom the actor acted.';
COMMENT ON COLUMN threadline.changes.captured_at IS 'Clock time of the write.';
COMMENT ON COLUMN threadline.changes.occurred_at IS 'When the transaction began.';
COMMENT ON COLUMN threadline.changes.transaction_id IS 'The transaction that made the change.';
COMMENT ON COLUMN threadline.changes.source IS 'Where the work came from.';
COMMENT ON COLUMN threadline.changes.correlation_id IS 'What ties together the transactions of one business process.';
COMMENT ON COLUMN threadline.changes.request_id IS 'The request that caused the change.';
COMMENT ON COLUMN threadline.changes.job_id IS 'The background job that caused the change.';
COMMENT ON COLUMN threadline.changes.remote_ip IS 'Address of the client that asked for the work.';
COMMENT ON COLUMN threadline.changes.meta IS 'Whatever else the application said.';
COMMENT ON COLUMN threadline.changes.database_role IS 'The role that wrote.';
COMMENT ON COLUMN threadline.changes.application_name IS 'application_name of the session that wrote.';
COMMENT ON COLUMN threadline.changes.data_after IS 'The row after an insert or update.';
COMMENT ON COLUMN threadline.changes.changed_from IS 'Old values of what an update changed; the whole row on a delete or truncate.';
COMMENT ON COLUMN threadline.changes.table_id IS 'The audited_tables row of the changed table.';

CREATE TABLE threadline.audit_changes_default PARTITION OF threadline.audit_changes DEFAULT;
COMMENT ON TABLE threadline.audit_changes_default IS
  'Takes the changes of months without a partition, so that a missing partition never fails a write.';

CREATE FUNCTION threadline.partition_of(month timestamptz) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC'
AS $function$
  SELECT 'audit_changes_' || to_char(month, 'YYYY_MM')
$function$;
COMMENT ON FUNCTION threadline.partition_of(timestamptz) IS 'What the partition of a month is called.';

CREATE FUNCTION threadline.partitions() RETURNS TABLE (name text, lower_bound timestamptz, upper_bound timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
  SELECT c.relname::text, coalesce(substring(bounds FROM 'FROM [(]''([^'']+)''[)]')::timestamptz, '-infinity'),
         coalesce(substring(bounds FROM 'TO [(]''([^'']+)''[)]')::timestamptz, 'infinity')
    FROM pg_inherits AS i
    JOIN pg_class AS c ON c.oid = i.inhrelid
   CROSS JOIN LATERAL pg_get_expr(c.relpartbound, c.oid) AS bounds
   WHERE i.inhparent = 'threadline.audit_changes'::regclass
$function$;
COMMENT ON FUNCTION threadline.partitions() IS 'The partitions of the record, and the times of what each can hold.';

-- The changes of a month that fell into the default partition: PostgreSQL refuses a partition whose rows stand there.
CREATE FUNCTION threadline.move_month(month timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC'
AS $function$
BEGIN
  EXECUTE format('WITH moved AS (DELETE FROM threadline.audit_changes_default WHERE captured_at >= %2$L AND captured_at < %3$L RETURNING *)
    INSERT INTO threadline.%1$I SELECT * FROM moved', threadline.partition_of(month), month, month + interval '1 month');
END
$function$;
COMMENT ON FUNCTION threadline.move_month(timestamptz) IS 'Moves the changes of a month from the default partition to its own.';

-- All that takes long comes before anybody is kept waiting: indexes are built, and rows are moved and checked.
CREATE FUNCTION threadline.prepare_partitions(months_ahead integer) RETURNS timestamptz[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC'
AS $function$
DECLARE
  months timestamptz[] := '{}';
  month timestamptz;
BEGIN
  FOR month IN SELECT generate_series(
                 date_trunc('month', least(now(), (SELECT min(captured_at) FROM threadline.audit_changes_default))),
                 date_trunc('month', now()) + make_interval(months => months_ahead), interval '1 month') LOOP
    CONTINUE WHEN to_regclass(format('threadline.%I', threadline.partition_of(month))) IS NOT NULL;
    EXECUTE format('CREATE TABLE threadline.%I (LIKE threadline.audit_changes INCLUDING COMMENTS INCLUDING CONSTRAINTS INCLUDING INDEXES,
      CONSTRAINT of_month CHECK (captured_at >= %L AND captured_at < %L))', threadline.partition_of(month), month, month + interval '1 month');
    PERFORM threadline.move_month(month);
    months := months || month;
  END LOOP;
  RETURN months;
END
$function$;
COMMENT ON FUNCTION threadline.prepare_partitions(integer) IS
  'Creates the tables for the months that have no partition: from the oldest one in the default partition or this one to the given number of months ahead.';

-- Capture may be writing to the default partition, and a row that is on its way there when another partition takes its month
-- would be an error of PostgreSQL. So it is kept from beginning to, on the table that it names; no other month is concerned.
CREATE FUNCTION threadline.attach_partitions(months timestamptz[]) RETURNS void
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
      PERFORM threadline.move_month(month);
    END IF;
    EXECUTE format('ALTER TABLE threadline.audit_changes ATTACH PARTITION threadline.%I FOR VALUES FROM (%L) TO (%L)',
      threadline.partition_of(month), month, month + interval '1 month');
    EXECUTE format('ALTER TABLE threadline.%I DROP CONSTRAINT of_month', threadline.partition_of(month));
    EXECUTE format('COMMENT ON TABLE threadline.%I IS %L', threadline.partition_of(month), 'Changes captured in ' || to_char(month, 'YYYY-MM') || ' (UTC).');
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline.attach_partitions(timestamptz[]) IS 'Makes partitions of the tables that threadline.prepare_partitions created.';

CREATE FUNCTION threadline.create_partitions(months_ahead integer DEFAULT 3) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  months timestamptz[];
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('threadline', 0));
  months := threadline.prepare_partitions(months_ahead);
  IF months <> '{}' THEN
    PERFORM threadline.attach_partitions(months);
  END IF;
  RETURN cardinality(months);
END
$function$;
COMMENT ON FUNCTION threadline.create_partitions(integer) IS
  'Creates the monthly partitions of audit_changes that are missing, from the oldest month in the default partition or this one to the given number of months ahead; returns how many it created. threadline.audit_table calls it.';

-- For a timer: pg_cron, or the command line. Whoever waits for a lock makes all wait that come after, so it waits for moments
-- only, and tries again until its patience is at an end. Then it leaves nothing, and the next call begins anew.
CREATE FUNCTION threadline.maintain(months_ahead integer DEFAULT 3, patience interval DEFAULT '10 s', OUT created integer, OUT postponed integer)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '50 ms'
AS $function$
DECLARE
  until timestamptz := clock_timestamp() + patience;
  months timestamptz[] := '{}';
BEGIN
  created := 0;
  postponed := 0;
  -- Autovacuum analyses partitions, and never the table they are of. Before the locks, which last until the end.
  ANALYZE threadline.audit_changes;
  BEGIN
    LOOP
      BEGIN
        PERFORM pg_advisory_xact_lock(hashtextextended('threadline', 0));
        EXIT;
      EXCEPTION WHEN lock_not_available THEN
        IF clock_timestamp() >= until THEN
          RAISE;
        END IF;
      END;
    END LOOP;
    months := threadline.prepare_partitions(months_ahead);
    WHILE months <> '{}' AND created = 0 LOOP
      BEGIN
        PERFORM threadline.attach_partitions(months);
        created := cardinality(months);
      EXCEPTION WHEN lock_not_available THEN
        IF clock_timestamp() >= until THEN
          RAISE;
        END IF;
        PERFORM pg_sleep(0.2);
      END;
    END LOOP;
  EXCEPTION WHEN lock_not_available THEN
    postponed := greatest(cardinality(months), 1);
  END;
END
$function$;
COMMENT ON FUNCTION threadline.maintain(integer, interval) IS
  'Does as threadline.create_partitions without keeping anybody waiting, and analyses the record: returns how many partitions it created, or put off since a lock was not to be had for so long. To be called daily.';
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA threadline FROM PUBLIC;
SELECT threadline.create_partitions();
