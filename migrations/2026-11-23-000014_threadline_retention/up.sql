-- Retention: how long changes are kept, and which of them whatever happens. Nothing is removed unless a policy says so.

CREATE TABLE threadline.retention_policies (
  table_id     integer     PRIMARY KEY,
  keep         interval    CHECK (keep >= '1 day'),
  whole_months boolean     NOT NULL,
  set_at       timestamptz NOT NULL,
  set_by       text        NOT NULL,
  actor_ref    jsonb
);
COMMENT ON TABLE threadline.retention_policies IS
  'How long changes are kept at least; written by threadline.set_retention and threadline.unset_retention.';
COMMENT ON COLUMN threadline.retention_policies.table_id IS 'The audited_tables row of the table; 0 for all that have no policy of their own.';
COMMENT ON COLUMN threadline.retention_policies.keep IS 'How long; NULL for ever.';
COMMENT ON COLUMN threadline.retention_policies.whole_months IS
  'Whether changes go by months (UTC), once all of a month is old enough; else as soon as they are.';
COMMENT ON COLUMN threadline.retention_policies.set_at IS 'When that was said.';
COMMENT ON COLUMN threadline.retention_policies.set_by IS 'The database role that said so (SET ROLE included).';
COMMENT ON COLUMN threadline.retention_policies.actor_ref IS 'Who said so, as {"type": "user", "id": "123"}; NULL when the transaction had no actor.';

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
  'What is neither removed nor redacted, whatever the policies; written by threadline.place_hold and threadline.release_hold.';
COMMENT ON COLUMN threadline.legal_holds.id IS 'Identity of the hold.';
COMMENT ON COLUMN threadline.legal_holds.table_id IS 'The audited_tables row of the table that is held, or of the table of the row.';
COMMENT ON COLUMN threadline.legal_holds.row_key IS 'Primary key of the row that is held; NULL for the whole table.';
COMMENT ON COLUMN threadline.legal_holds.actor_ref IS 'The actor of whom everything is held: what was done by them, and for them.';
COMMENT ON COLUMN threadline.legal_holds.reason IS 'Why.';
COMMENT ON COLUMN threadline.legal_holds.placed_at IS 'Since when.';
COMMENT ON COLUMN threadline.legal_holds.placed_by IS 'The database role that placed it (SET ROLE included).';

CREATE TABLE threadline.purged_months (
  lower_bound timestamptz PRIMARY KEY,
  upper_bound timestamptz NOT NULL,
  after_id    uuid        NOT NULL
);
COMMENT ON TABLE threadline.purged_months IS
  'Months whose partition was dropped, and whose transactions are still to be gone through for those that are empty now.';
COMMENT ON COLUMN threadline.purged_months.lower_bound IS 'Its beginning.';
COMMENT ON COLUMN threadline.purged_months.upper_bound IS 'Its end.';
COMMENT ON COLUMN threadline.purged_months.after_id IS 'The last transaction that was gone through.';

-- Held by whoever changes a policy or a hold, and shared by each step of a purge: once a hold is placed, nothing of it goes.
CREATE FUNCTION threadline.lock_retention() RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT pg_advisory_xact_lock(hashtextextended('threadline retention', 0))
$function$;
COMMENT ON FUNCTION threadline.lock_retention() IS 'Waits for the step of a purge that is under way, and keeps the next from beginning.';

CREATE FUNCTION threadline.retention_refuse(message text, hint text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RAISE EXCEPTION '%', message USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_refused', HINT = hint;
END
$function$;
COMMENT ON FUNCTION threadline.retention_refuse(text, text) IS 'Raises the error of a policy, a hold or a purge that cannot be.';

-- What waited for a lock must see what was done meanwhile.
CREATE FUNCTION threadline.refuse_isolation() RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
    PERFORM threadline.retention_refuse(format('at the isolation level %s, a hold that is placed meanwhile would not be seen', current_setting('transaction_isolation')),
      'Work on the record at READ COMMITTED: SET default_transaction_isolation = ''read committed''.');
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline.refuse_isolation() IS 'Raises an error unless each statement of the transaction has a snapshot of its own.';

CREATE FUNCTION threadline.retention_table(relation regclass) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  id integer := (SELECT a.id FROM threadline.audited_tables AS a WHERE a.relation = retention_table.relation);
BEGIN
  IF id IS NULL THEN
    PERFORM threadline.retention_refuse(format('%s is not audited', relation), 'Only what is or was audited has a record to keep.');
  END IF;
  RETURN id;
END
$function$;
COMMENT ON FUNCTION threadline.retention_table(regclass) IS 'The audited_tables row of a table that is or was audited.';

CREATE FUNCTION threadline.set_retention(keep interval, relation regclass DEFAULT NULL, whole_months boolean DEFAULT true) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  -- A month less 29 days is a day to PostgreSQL, and can be in the future.
  IF set_retention.keep < '1 day' OR now() - set_retention.keep > now() - interval '1 day' THEN
    PERFORM threadline.retention_refuse(format('changes cannot be kept for %s only', set_retention.keep), 'A day is the least.');
  END IF;
  PERFORM threadline.lock_retention();
  INSERT INTO threadline.retention_policies (table_id, keep, whole_months, set_at, set_by, actor_ref)
  VALUES (CASE WHEN relation IS NULL THEN 0 ELSE threadline.retention_table(relation) END, set_retention.keep, set_retention.whole_months,
    now(), current_user, threadline.read_actor(nullif(current_setting('threadline.actor_ref', true), '')))
  ON CONFLICT (table_id) DO UPDATE
    SET keep = excluded.keep, whole_months = excluded.whole_months, set_at = excluded.set_at, set_by = excluded.set_by, actor_ref = excluded.actor_ref;
END
$function$;
COMMENT ON FUNCTION threadline.set_retention(interval, regclass, boolean) IS
  'Says how long changes are kept, of one table or of all that have no policy of their own; NULL keeps them for ever. By whole months (UTC), partitions can be dropped and changes are kept for up to a month longer; else they go to the day. Nothing is removed before a purge runs.';

CREATE FUNCTION threadline.unset_retention(relation regclass DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  PERFORM threadline.lock_retention();
  DELETE FROM threadline.retention_policies AS p
   WHERE p.table_id = CASE WHEN relation IS NULL THEN 0 ELSE threadline.retention_table(relation) END;
  RETURN FOUND;
END
$function$;
COMMENT ON FUNCTION threadline.unset_retention(regclass) IS
  'Takes a policy back: that of a table, which then has that of all, or that of all, which then are kept for ever; returns false if there was none.';

-- What is said of holds goes into the record as well, so it needs an actor.
CREATE FUNCTION threadline.place_hold(reason text, relation regclass DEFAULT NULL, row_key text DEFAULT NULL, actor_ref jsonb DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  held integer;
  actor jsonb := threadline.read_actor(place_hold.actor_ref::text);
  placed bigint;
BEGIN
  IF coalesce(place_hold.reason, '') !~ '[^[:space:]]' THEN
    PERFORM threadline.retention_refuse('a hold needs a reason', 'Say why: whoever asks later reads it in threadline.legal_holds.');
  ELSIF num_nonnulls(relation, place_hold.actor_ref) <> 1 OR relation IS NULL AND place_hold.row_key IS NOT NULL THEN
    PERFORM threadline.retention_refuse('a hold is of one table, row or actor', 'Name a table, a table and a key, or an actor.');
  ELSIF relation IS NULL AND actor IS NULL THEN
    PERFORM threadline.retention_refuse(format('this is no actor: %s', left(place_hold.actor_ref::text, 1000)), 'Write it like {"type": "user", "id": "123"}.');
  END IF;
  PERFORM threadline.lock_retention();
  IF relation IS NOT NULL THEN
    held := threadline.retention_table(relation);
    -- One that is mistyped would hold nothing.
    IF place_hold.row_key IS NOT NULL AND NOT EXISTS (
      SELECT FROM threadline.timeline_page(jsonb_build_object('tables', ARRAY[held], 'row_key', place_hold.row_key), NULL, NULL, 1)) THEN
      PERFORM threadline.retention_refuse(format('no recorded change of %s has the key %L', relation, place_hold.row_key),
        'Write it as threadline.changes shows it in row_key: a key of several columns as a JSON array.');
    END IF;
  END IF;
  INSERT INTO threadline.legal_holds AS h (table_id, row_key, actor_ref, reason, placed_at, placed_by)
  VALUES (held, place_hold.row_key, actor, place_hold.reason, now(), current_user) RETURNING h.id INTO placed;
  PERFORM threadline.record_action('threadline.hold_placed', reason => place_hold.reason, meta => jsonb_strip_nulls(jsonb_build_object(
    'hold', placed, 'table', relation::text, 'row_key', place_hold.row_key, 'actor_ref', actor)));
  RETURN placed;
END
$function$;
COMMENT ON FUNCTION threadline.place_hold(text, regclass, text, jsonb) IS
  'Keeps the changes of a table, of one of its rows, or by and for an actor, from being removed or redacted, and records that as an action; returns the id of the hold.';

CREATE FUNCTION threadline.release_hold(id bigint, reason text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  released threadline.legal_holds;
BEGIN
  IF coalesce(release_hold.reason, '') !~ '[^[:space:]]' THEN
    PERFORM threadline.retention_refuse('releasing a hold needs a reason', 'Say why: it is recorded.');
  END IF;
  PERFORM threadline.lock_retention();
  DELETE FROM threadline.legal_holds AS h WHERE h.id = release_hold.id RETURNING * INTO released;
  IF NOT FOUND THEN
    PERFORM threadline.retention_refuse(format('there is no hold %s', release_hold.id), 'They stand in threadline.legal_holds.');
  END IF;
  PERFORM threadline.record_action('threadline.hold_released', reason => release_hold.reason, meta => jsonb_strip_nulls(jsonb_build_object(
    'hold', released.id, 'table', (SELECT a.relation::text FROM threadline.audited_tables AS a WHERE a.id = released.table_id),
    'row_key', released.row_key, 'actor_ref', released.actor_ref, 'placed_at', released.placed_at, 'placed_for', released.reason)));
END
$function$;
COMMENT ON FUNCTION threadline.release_hold(bigint, text) IS 'Ends a hold, and records that as an action.';

-- For redactions. That a row or its table is held is told of all keys at once; that an actor is, of those whose changes are next.
CREATE FUNCTION threadline.refuse_held(audited threadline.audited_tables, row_keys text[], next_keys text[]) RETURNS void
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
     CROSS JOIN LATERAL threadline.redactable_changes(audited.id, k.key) AS c
      LEFT JOIN threadline.audit_transactions AS t ON t.id = c.transaction_id
      JOIN threadline.legal_holds AS h ON h.actor_ref IN (CASE WHEN c.context IS NULL THEN t.actor_ref ELSE c.context -> 'actor_ref' END,
                                                          CASE WHEN c.context IS NULL THEN t.on_behalf_of ELSE c.context -> 'on_behalf_of' END)
     ORDER BY h.id LIMIT 1;
  END IF;
  IF hold.id IS NOT NULL THEN
    PERFORM threadline.retention_refuse(format('what is recorded of these rows of %s is held: %s', audited.relation, hold.reason),
      format('It is legal hold %s of %s; while it lasts, nothing of it is redacted.', hold.id, hold.placed_at));
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline.refuse_held(threadline.audited_tables, text[], text[]) IS 'Raises an error if a legal hold keeps rows from being redacted.';

-- Those that changes stand there of, told by a look-up for each.
CREATE FUNCTION threadline.retention_tables(partition text) RETURNS SETOF integer
LANGUAGE plpgsql STABLE ROWS 10 SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
  found integer := -2147483648;
BEGIN
  LOOP
    EXECUTE format('SELECT c.table_id FROM threadline.%I AS c WHERE c.table_id > $1 ORDER BY c.table_id LIMIT 1', partition) INTO found USING found;
    EXIT WHEN found IS NULL;
    RETURN NEXT found;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline.retention_tables(text) IS 'The tables that a partition of the record has changes of.';

-- Its own goes before that of all.
CREATE FUNCTION threadline.retention_policy(table_id integer) RETURNS SETOF threadline.retention_policies
LANGUAGE sql STABLE ROWS 1 SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT p.* FROM threadline.retention_policies AS p WHERE p.table_id IN (retention_policy.table_id, 0) ORDER BY p.table_id DESC LIMIT 1
$function$;
COMMENT ON FUNCTION threadline.retention_policy(integer) IS 'The policy that counts for a table, if there is one.';

-- For tables that have no policy, are to be kept for ever, or are held as a whole, there is no row.
CREATE FUNCTION threadline.retention_horizons() RETURNS TABLE (table_id integer, horizon timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC'
AS $function$
  SELECT a.id, CASE WHEN p.whole_months THEN date_trunc('month', k.horizon) ELSE k.horizon END
    FROM threadline.audited_tables AS a
   CROSS JOIN LATERAL threadline.retention_policy(a.id) AS p
   CROSS JOIN LATERAL (SELECT least(now() - p.keep, now() - interval '1 day') AS horizon) AS k
   WHERE p.keep IS NOT NULL AND NOT EXISTS (SELECT FROM threadline.legal_holds AS h WHERE h.table_id = a.id AND h.row_key IS NULL)
$function$;
COMMENT ON FUNCTION threadline.retention_horizons() IS 'Up to when the changes of each table may go.';

-- What a change c of a partition and its transaction t have to be, to go with the others of its table.
CREATE FUNCTION threadline.retention_condition() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'c.table_id = $1 AND c.captured_at < $2
     AND NOT EXISTS (SELECT FROM threadline.legal_holds AS h
                      WHERE h.table_id = c.table_id AND h.row_key = coalesce(c.key_integer::text, c.key_bigint::text, c.key_uuid::text, c.key_text))'
    || CASE WHEN EXISTS (SELECT FROM threadline.legal_holds AS h WHERE h.actor_ref IS NOT NULL) THEN '
     AND NOT EXISTS (SELECT FROM threadline.legal_holds AS h LEFT JOIN threadline.audit_transactions AS t ON t.id = c.transaction_id
                      WHERE h.actor_ref IN (CASE WHEN c.context IS NULL THEN t.actor_ref ELSE c.context -> ''actor_ref'' END,
                                            CASE WHEN c.context IS NULL THEN t.on_behalf_of ELSE c.context -> ''on_behalf_of'' END))' ELSE '' END
$function$;
COMMENT ON FUNCTION threadline.retention_condition() IS 'SQL for the changes of a table ($1) from before its horizon ($2) that no hold is of.';

-- A partition goes as a whole if all tables that it has changes of agree, and nothing in it is held. Rows are looked for as the
-- timeline looks; for actors all of it is read, since a change may be older than its transaction where a clock was set back.
CREATE FUNCTION threadline.retention_agrees(partition text, lower_bound timestamptz, upper_bound timestamptz) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
  SELECT isfinite(lower_bound) AND upper_bound <= (SELECT max(h.horizon) FROM threadline.retention_horizons() AS h)
     AND NOT EXISTS (SELECT FROM threadline.retention_tables(partition) AS t (id) LEFT JOIN threadline.retention_horizons() AS h ON h.table_id = t.id
                      WHERE h.horizon IS NULL OR h.horizon < upper_bound)
     AND NOT EXISTS (
       SELECT FROM threadline.legal_holds AS h
        CROSS JOIN LATERAL threadline.timeline_page(jsonb_build_object('tables', ARRAY[h.table_id], 'row_key', h.row_key,
          'from', lower_bound, 'to', upper_bound - interval '1 microsecond'), NULL, NULL, 1)
        WHERE h.row_key IS NOT NULL)
     AND CASE WHEN EXISTS (SELECT FROM threadline.legal_holds AS h WHERE h.actor_ref IS NOT NULL) THEN NOT EXISTS (
           SELECT FROM threadline.audit_changes AS c
             LEFT JOIN threadline.audit_transactions AS t ON t.id = c.transaction_id
             JOIN threadline.legal_holds AS h ON h.actor_ref IN (CASE WHEN c.context IS NULL THEN t.actor_ref ELSE c.context -> 'actor_ref' END,
                                                                 CASE WHEN c.context IS NULL THEN t.on_behalf_of ELSE c.context -> 'on_behalf_of' END)
            WHERE c.captured_at >= lower_bound AND c.captured_at < upper_bound)
         ELSE true END
$function$;
COMMENT ON FUNCTION threadline.retention_agrees(text, timestamptz, timestamptz) IS 'Whether a partition of the record may be dropped.';

-- SECURITY DEFINER, since who may read the record may not read its partitions, which come and go.
CREATE FUNCTION threadline.retention_plan()
RETURNS TABLE (partition text, table_schema text, table_name text, horizon timestamptz, is_dropped boolean, changes bigint, kept bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  part record;
  aged record;
BEGIN
  FOR part IN SELECT p.name, p.upper_bound, threadline.retention_agrees(p.name, p.lower_bound, p.upper_bound) AS agreed
                FROM threadline.partitions() AS p
               WHERE p.lower_bound < (SELECT max(h.horizon) FROM threadline.retention_horizons() AS h) ORDER BY p.name COLLATE "C" LOOP
    partition := part.name;
    is_dropped := part.agreed;
    FOR aged IN SELECT h.*, coalesce(n.nspname, a.schema_name) AS schema_name, coalesce(c.relname, a.table_name) AS table_name
                  FROM threadline.retention_tables(part.name) AS t (id)
                  JOIN threadline.retention_horizons() AS h ON h.table_id = t.id
                  JOIN threadline.audited_tables AS a ON a.id = t.id
                  LEFT JOIN pg_class AS c ON c.oid = a.relation LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace
                 ORDER BY 3, 4 LOOP
      table_schema := aged.schema_name;
      table_name := aged.table_name;
      horizon := aged.horizon;
      EXECUTE format('SELECT count(*) FILTER (WHERE %s), count(*) FROM threadline.%I AS c WHERE c.table_id = $1',
        CASE WHEN is_dropped THEN 'true' ELSE threadline.retention_condition() END, part.name) INTO changes, kept USING aged.table_id, aged.horizon;
      kept := kept - changes;
      IF changes > 0 THEN
        RETURN NEXT;
      END IF;
    END LOOP;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline.retention_plan() IS
  'What a purge would remove now: for each partition and table how many changes, how many stay there, and whether the partition is dropped. It counts them, so it reads them.';

-- What straddles the horizon loses the part before it, so that nothing can be read as of the time until it was complete.
-- Asked after the changes are gone, in the same transaction: what has committed until then is seen.
CREATE FUNCTION threadline.move_horizon(table_ids integer[], horizon timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
  moved timestamptz := greatest(horizon, (SELECT max(c.captured_at) FROM threadline.audit_changes AS c
                                           WHERE c.transaction_id = ANY (threadline.straddling_transactions(horizon))));
BEGIN
  UPDATE threadline.audited_tables AS a SET purged_before = moved
   WHERE a.id = ANY (table_ids) AND coalesce(a.purged_before < moved, true);
END
$function$;
COMMENT ON FUNCTION threadline.move_horizon(integer[], timestamptz) IS
  'Says of tables that their changes from before a time were removed.';

-- Look-ups only: what is asked of a few thousand transactions must not read the record.
CREATE FUNCTION threadline.purge_transactions(ids uuid[]) RETURNS bigint
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $function$
  WITH gone AS (
    DELETE FROM threadline.audit_transactions AS t
     WHERE t.id = ANY (ids)
       -- The hour is for clocks that were set back.
       AND NOT EXISTS (SELECT FROM threadline.audit_changes AS c WHERE c.transaction_id = t.id AND c.captured_at > t.occurred_at - interval '1 hour')
       AND NOT EXISTS (SELECT FROM threadline.audit_actions AS x WHERE x.transaction_id = t.id)
       AND NOT EXISTS (SELECT FROM threadline.legal_holds AS h WHERE h.actor_ref IN (t.actor_ref, t.on_behalf_of))
    RETURNING t.id, t.occurred_at
  ), noted AS (
    DELETE FROM threadline.long_transactions AS l USING generate_series(1, (SELECT max(n.octave) FROM threadline.long_transactions AS n)) AS o (octave), gone AS g
     WHERE l.octave = o.octave AND l.occurred_at = g.occurred_at AND l.transaction_id = g.id
  )
  SELECT count(*) FROM gone
$function$;
COMMENT ON FUNCTION threadline.purge_transactions(uuid[]) IS
  'Removes those of some transactions that have no changes and no actions, and are of nobody who is held; returns how many.';

-- Nobody writes to a month that is long past, so what it holds can be counted while it is kept as it is. Then whoever reads or
-- writes the record has to let go of it for a moment; so this waits for moments only, as threadline.maintain does.
CREATE FUNCTION threadline.purge_partition(partition text, lower_bound timestamptz, upper_bound timestamptz, until timestamptz) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET lock_timeout = '50 ms'
AS $function$
DECLARE
  counts jsonb;
BEGIN
  LOOP
    BEGIN
      EXECUTE format('LOCK TABLE threadline.%I IN SHARE MODE', partition);
      EXIT;
    EXCEPTION WHEN lock_not_available THEN
      IF clock_timestamp() >= until THEN
        RETURN NULL;
      END IF;
      PERFORM pg_sleep(0.2);
    END;
  END LOOP;
  -- Again, since a transaction that was under way may have brought something that is to stay.
  IF NOT threadline.retention_agrees(partition, lower_bound, upper_bound) THEN
    RETURN NULL;
  END IF;
  EXECUTE format('SELECT coalesce(jsonb_object_agg(n.table_id, n.count), ''{}'') FROM (SELECT c.table_id, count(*) FROM threadline.%I AS c GROUP BY c.table_id) AS n',
    partition) INTO counts;
  LOOP
    BEGIN
      -- The horizon will move: first, as a baseline does it, and not while all wait for the record.
      PERFORM FROM threadline.audited_tables AS a WHERE counts ? a.id::text ORDER BY a.id FOR NO KEY UPDATE;
      LOCK TABLE ONLY threadline.audit_changes IN ACCESS EXCLUSIVE MODE;
      EXECUTE format('DROP TABLE threadline.%I', partition);
      RETURN counts;
    EXCEPTION WHEN lock_not_available THEN
      IF clock_timestamp() >= until THEN
        RETURN NULL;
      END IF;
      PERFORM pg_sleep(0.2);
    END;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline.purge_partition(text, timestamptz, timestamptz, timestamptz) IS
  'Drops a partition of the record if it may be; returns the number of changes by table, or NULL if it was in use for too long.';

-- One at a time, partition by partition and table by table. `state` says where to go on, so that nothing is looked at twice;
-- what it says is not believed where it matters.
CREATE FUNCTION threadline.purge_step(INOUT state jsonb, actor_ref jsonb, reason text, max_rows integer DEFAULT 5000, patience interval DEFAULT '10 s',
  OUT step text, OUT partition text, OUT changes bigint, OUT transactions bigint)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  until timestamptz := clock_timestamp() + patience;
  part record;
  aged record;
  month threadline.purged_months;
  counts jsonb := '{}';
  ids uuid[];
  last timestamptz;
BEGIN
  step := 'done';
  changes := 0;
  transactions := 0;
  state := coalesce(state, '{}');
  PERFORM threadline.refuse_isolation();
  IF coalesce(max_rows, 0) < 1 THEN
    PERFORM threadline.retention_refuse('a batch has at least one row', 'Give a number above 0.');
  END IF;
  -- A purge that was killed may still be at its last step.
  WHILE NOT (pg_try_advisory_xact_lock(hashtextextended('threadline purge', 0)) AND pg_try_advisory_xact_lock_shared(hashtextextended('threadline retention', 0))) LOOP
    IF clock_timestamp() >= until THEN
      PERFORM threadline.retention_refuse('another purge or redaction is running, or a policy or a hold is being changed', 'Try again later.');
    END IF;
    PERFORM pg_sleep(0.05);
  END LOOP;

  FOR part IN SELECT p.* FROM threadline.partitions() AS p
               WHERE p.name >= coalesce(state ->> 'partition', '') COLLATE "C" AND p.lower_bound < (SELECT max(h.horizon) FROM threadline.retention_horizons() AS h)
               ORDER BY p.name COLLATE "C" LOOP
    partition := part.name;
    IF NOT state @> jsonb_build_object('partition', part.name) THEN
      state := state - 'table_id' - 'after' || jsonb_build_object('partition', part.name);
    END IF;
    -- Not asked again between batches: until they are vacuumed, what was deleted is in the way of the look-ups.
    IF NOT state ? 'table_id' AND threadline.retention_agrees(part.name, part.lower_bound, part.upper_bound) THEN
      CONTINUE WHEN state ? 'postponed' AND state -> 'postponed' ? part.name;
      counts := threadline.purge_partition(part.name, part.lower_bound, part.upper_bound, until);
      IF counts IS NULL THEN
        step := 'postponed';
        state := state || jsonb_build_object('postponed', coalesce(state -> 'postponed', '[]') || to_jsonb(part.name));
        RETURN;
      END IF;
      step := 'dropped';
      PERFORM threadline.move_horizon(ARRAY(SELECT jsonb_object_keys(counts)::integer), part.upper_bound);
      INSERT INTO threadline.purged_months AS m (lower_bound, upper_bound, after_id)
      VALUES (part.lower_bound, part.upper_bound, threadline.first_id_after(part.lower_bound - interval '1 day'))
      ON CONFLICT (lower_bound) DO UPDATE SET after_id = excluded.after_id;
    ELSE
      FOR aged IN SELECT h.* FROM threadline.retention_horizons() AS h
                   WHERE h.horizon > part.lower_bound AND h.table_id >= coalesce((state ->> 'table_id')::integer, 0) ORDER BY h.table_id LOOP
        EXECUTE format('WITH gone AS (
            DELETE FROM threadline.%1$I WHERE ctid = ANY (ARRAY(
              SELECT c.ctid FROM threadline.%1$I AS c WHERE %2$s AND c.captured_at >= $3 ORDER BY c.captured_at, c.id LIMIT $4))
            RETURNING transaction_id, captured_at)
          SELECT count(*), max(g.captured_at), array_agg(DISTINCT g.transaction_id) FROM gone AS g', part.name, threadline.retention_condition())
          INTO changes, last, ids
          USING aged.table_id, aged.horizon, CASE WHEN aged.table_id = (state ->> 'table_id')::integer THEN (state ->> 'after')::timestamptz ELSE '-infinity' END, max_rows;
        IF changes > 0 THEN
          step := 'deleted';
          state := state || jsonb_build_object('table_id', aged.table_id, 'after', last);
          counts := jsonb_build_object(aged.table_id, changes);
          transactions := threadline.purge_transactions(ids);
          PERFORM threadline.move_horizon(ARRAY[aged.table_id], aged.horizon);
          EXIT;
        END IF;
      END LOOP;
    END IF;
    EXIT WHEN step <> 'done';
  END LOOP;

  IF step = 'done' THEN
    partition := NULL;
    state := state - 'table_id' - 'after' || '{"partition": "~"}';
    SELECT * INTO month FROM threadline.purged_months AS m ORDER BY m.lower_bound LIMIT 1;
    IF FOUND THEN
      step := 'swept';
      ids := ARRAY(SELECT t.id FROM threadline.audit_transactions AS t
                    WHERE t.id > month.after_id AND t.id < threadline.first_id_after(month.upper_bound) ORDER BY t.id LIMIT max_rows);
      transactions := threadline.purge_transactions(ids);
      IF cardinality(ids) = max_rows THEN
        UPDATE threadline.purged_months AS m SET after_id = ids[max_rows] WHERE m.lower_bound = month.lower_bound;
      ELSE
        -- What began more than a day before the month is among the long ones: a change a day after that is noted under octave 20.
        transactions := transactions + threadline.purge_transactions(ARRAY(SELECT DISTINCT l.transaction_id FROM threadline.long_transactions AS l
          WHERE l.octave >= 20 AND l.occurred_at < month.lower_bound));
        DELETE FROM threadline.purged_months AS m WHERE m.lower_bound = month.lower_bound;
      END IF;
    END IF;
  END IF;

  changes := (SELECT coalesce(sum(n.value::bigint), 0) FROM jsonb_each_text(counts) AS n);
  IF changes > 0 OR transactions > 0 OR step = 'dropped' THEN
    IF NOT state ? 'action_id' THEN
      PERFORM set_config('threadline.actor_ref', coalesce(purge_step.actor_ref::text, ''), true);
      state := state || jsonb_build_object('action_id', (SELECT a.id FROM threadline.record_action('threadline.purge', reason => purge_step.reason) AS a));
    END IF;
    PERFORM threadline.add_to_action((state ->> 'action_id')::uuid,
      (SELECT coalesce(jsonb_object_agg(t.name, t.changes), '{}')
         FROM (SELECT coalesce(n.nspname || '.' || c.relname, a.schema_name || '.' || a.table_name) AS name, sum(k.value::bigint) AS changes
                 FROM jsonb_each_text(counts) AS k JOIN threadline.audited_tables AS a ON a.id = k.key::integer
                 LEFT JOIN pg_class AS c ON c.oid = a.relation LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace
                GROUP BY 1) AS t)
      || jsonb_build_object('changes', changes, 'transactions', transactions, 'partitions', CASE step WHEN 'dropped' THEN 1 ELSE 0 END));
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline.purge_step(jsonb, jsonb, text, integer, interval) IS
  'A step of a purge, to be called with the state that the one before returned until the step is done: drops a partition, removes a batch of changes or of empty transactions, moves the horizon and adds all that to one action. To be committed each by itself.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA threadline FROM PUBLIC;
