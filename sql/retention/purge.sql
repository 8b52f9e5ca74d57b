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
