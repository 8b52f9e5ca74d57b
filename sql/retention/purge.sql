-- What straddles the retention_cutoff loses the part before it, so that nothing can be read as of the time until it was complete.
-- Asked after the changes are gone, in the same transaction: what has committed until then is seen.
CREATE FUNCTION threadline_internal.advance_purged_before(table_ids integer[], retention_cutoff timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
  moved timestamptz := greatest(retention_cutoff, (SELECT max(c.captured_at) FROM threadline.audit_changes AS c
                                           WHERE c.transaction_id = ANY (threadline_internal.straddling_transactions(retention_cutoff))));
BEGIN
  UPDATE threadline.audited_tables AS a SET purged_before = moved
   WHERE a.id = ANY (table_ids) AND coalesce(a.purged_before < moved, true);
END
$function$;
COMMENT ON FUNCTION threadline_internal.advance_purged_before(integer[], timestamptz) IS
  'Says of tables that their changes from before a time were removed.';

-- Look-ups only: what is asked of a few thousand transactions must not read the record.
CREATE FUNCTION threadline_internal.purge_transactions(ids uuid[]) RETURNS bigint
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
    DELETE FROM threadline_internal.long_transactions AS l USING generate_series(1, (SELECT max(n.duration_class) FROM threadline_internal.long_transactions AS n)) AS o (duration_class), gone AS g
     WHERE l.duration_class = o.duration_class AND l.occurred_at = g.occurred_at AND l.transaction_id = g.id
  )
  SELECT count(*) FROM gone
$function$;
COMMENT ON FUNCTION threadline_internal.purge_transactions(uuid[]) IS
  'Removes those of some transactions that have no changes and no actions, and are of nobody who is held; returns how many.';

-- Nobody writes to a month that is long past, so what it holds can be counted while it is kept as it is. Then whoever reads or
-- writes the record has to let go of it for a moment; so this waits for moments only, as threadline.maintain does.
CREATE FUNCTION threadline_internal.purge_partition(partition text, lower_bound timestamptz, upper_bound timestamptz, until timestamptz) RETURNS jsonb
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
  IF NOT threadline_internal.partition_is_droppable(partition, lower_bound, upper_bound) THEN
    RETURN NULL;
  END IF;
  EXECUTE format('SELECT coalesce(jsonb_object_agg(n.table_id, n.count), ''{}'') FROM (SELECT c.table_id, count(*) FROM threadline.%I AS c GROUP BY c.table_id) AS n',
    partition) INTO counts;
  LOOP
    BEGIN
      -- The retention_cutoff will move: first, as a baseline does it, and not while all wait for the record.
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
COMMENT ON FUNCTION threadline_internal.purge_partition(text, timestamptz, timestamptz, timestamptz) IS
  'Drops a partition of the record if it may be; returns the number of changes by table, or NULL if it was in use for too long.';

-- One at a time, partition by partition and table by table. `state` says where to go on, so that nothing is looked at twice;
-- what it says is not believed where it matters.
CREATE FUNCTION threadline.purge_step(INOUT state jsonb, actor_ref jsonb, reason text, batch_size integer DEFAULT 5000, patience interval DEFAULT '10 s',
  OUT step text, OUT partition text, OUT changes bigint, OUT transactions bigint)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  until timestamptz := clock_timestamp() + patience;
  part record;
  aged record;
  month threadline_internal.purged_months;
  counts jsonb := '{}';
  ids uuid[];
  last timestamptz;
BEGIN
  step := 'done';
  changes := 0;
  transactions := 0;
  state := coalesce(state, '{}');
  PERFORM threadline_internal.require_read_committed();
  IF coalesce(batch_size, 0) < 1 THEN
    PERFORM threadline_internal.raise_retention_error('a batch has at least one row', 'Give a number above 0.');
  END IF;
  -- A purge that was killed may still be at its last step.
  WHILE NOT (pg_try_advisory_xact_lock(hashtextextended('threadline purge', 0)) AND pg_try_advisory_xact_lock_shared(hashtextextended('threadline retention', 0))) LOOP
    IF clock_timestamp() >= until THEN
      PERFORM threadline_internal.raise_retention_error('another purge or redaction is running, or a policy or a hold is being changed', 'Try again later.');
    END IF;
    PERFORM pg_sleep(0.05);
  END LOOP;

  FOR part IN SELECT p.* FROM threadline_internal.partitions() AS p
               WHERE p.name >= coalesce(state ->> 'partition', '') COLLATE "C" AND p.lower_bound < (SELECT max(h.retention_cutoff) FROM threadline_internal.retention_cutoffs() AS h)
               ORDER BY p.name COLLATE "C" LOOP
    partition := part.name;
    IF NOT state @> jsonb_build_object('partition', part.name) THEN
      state := state - 'table_id' - 'after' || jsonb_build_object('partition', part.name);
    END IF;
    -- Not asked again between batches: until they are vacuumed, what was deleted is in the way of the look-ups.
    IF NOT state ? 'table_id' AND threadline_internal.partition_is_droppable(part.name, part.lower_bound, part.upper_bound) THEN
      CONTINUE WHEN state ? 'postponed' AND state -> 'postponed' ? part.name;
      counts := threadline_internal.purge_partition(part.name, part.lower_bound, part.upper_bound, until);
      IF counts IS NULL THEN
        step := 'postponed';
        state := state || jsonb_build_object('postponed', coalesce(state -> 'postponed', '[]') || to_jsonb(part.name));
        RETURN;
      END IF;
      step := 'dropped';
      PERFORM threadline_internal.advance_purged_before(ARRAY(SELECT jsonb_object_keys(counts)::integer), part.upper_bound);
      INSERT INTO threadline_internal.purged_months AS m (lower_bound, upper_bound, after_id)
      VALUES (part.lower_bound, part.upper_bound, threadline.first_id_after(part.lower_bound - interval '1 day'))
      ON CONFLICT (lower_bound) DO UPDATE SET after_id = excluded.after_id;
    ELSE
      FOR aged IN SELECT h.* FROM threadline_internal.retention_cutoffs() AS h
                   WHERE h.retention_cutoff > part.lower_bound AND h.table_id >= coalesce((state ->> 'table_id')::integer, 0) ORDER BY h.table_id LOOP
        EXECUTE format('WITH gone AS (
            DELETE FROM threadline.%1$I WHERE ctid = ANY (ARRAY(
              SELECT c.ctid FROM threadline.%1$I AS c WHERE %2$s AND c.captured_at >= $3 ORDER BY c.captured_at, c.id LIMIT $4))
            RETURNING transaction_id, captured_at)
          SELECT count(*), max(g.captured_at), array_agg(DISTINCT g.transaction_id) FROM gone AS g', part.name, threadline_internal.retention_condition())
          INTO changes, last, ids
          USING aged.table_id, aged.retention_cutoff, CASE WHEN aged.table_id = (state ->> 'table_id')::integer THEN (state ->> 'after')::timestamptz ELSE '-infinity' END, batch_size;
        IF changes > 0 THEN
          step := 'deleted';
          state := state || jsonb_build_object('table_id', aged.table_id, 'after', last);
          counts := jsonb_build_object(aged.table_id, changes);
          transactions := threadline_internal.purge_transactions(ids);
          PERFORM threadline_internal.advance_purged_before(ARRAY[aged.table_id], aged.retention_cutoff);
          EXIT;
        END IF;
      END LOOP;
    END IF;
    EXIT WHEN step <> 'done';
  END LOOP;

  IF step = 'done' THEN
    partition := NULL;
    state := state - 'table_id' - 'after' || '{"partition": "~"}';
    SELECT * INTO month FROM threadline_internal.purged_months AS m ORDER BY m.lower_bound LIMIT 1;
    IF FOUND THEN
      step := 'swept';
      ids := ARRAY(SELECT t.id FROM threadline.audit_transactions AS t
                    WHERE t.id > month.after_id AND t.id < threadline.first_id_after(month.upper_bound) ORDER BY t.id LIMIT batch_size);
      transactions := threadline_internal.purge_transactions(ids);
      IF cardinality(ids) = batch_size THEN
        UPDATE threadline_internal.purged_months AS m SET after_id = ids[batch_size] WHERE m.lower_bound = month.lower_bound;
      ELSE
        -- What began more than a day before the month is among the long ones: a change a day after that is noted under duration_class 20.
        transactions := transactions + threadline_internal.purge_transactions(ARRAY(SELECT DISTINCT l.transaction_id FROM threadline_internal.long_transactions AS l
          WHERE l.duration_class >= 20 AND l.occurred_at < month.lower_bound));
        DELETE FROM threadline_internal.purged_months AS m WHERE m.lower_bound = month.lower_bound;
      END IF;
    END IF;
  END IF;

  changes := (SELECT coalesce(sum(n.value::bigint), 0) FROM jsonb_each_text(counts) AS n);
  IF changes > 0 OR transactions > 0 OR step = 'dropped' THEN
    IF NOT state ? 'action_id' THEN
      PERFORM set_config('threadline.actor_ref', coalesce(purge_step.actor_ref::text, ''), true);
      state := state || jsonb_build_object('action_id', (SELECT a.id FROM threadline.record_action('threadline.purge', reason => purge_step.reason) AS a));
    END IF;
    PERFORM threadline_internal.add_to_action((state ->> 'action_id')::uuid,
      (SELECT coalesce(jsonb_object_agg(t.name, t.changes), '{}')
         FROM (SELECT coalesce(n.nspname || '.' || c.relname, a.table_schema || '.' || a.table_name) AS name, sum(k.value::bigint) AS changes
                 FROM jsonb_each_text(counts) AS k JOIN threadline.audited_tables AS a ON a.id = k.key::integer
                 LEFT JOIN pg_class AS c ON c.oid = a.relation LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace
                GROUP BY 1) AS t)
      || jsonb_build_object('changes', changes, 'transactions', transactions, 'partitions', CASE step WHEN 'dropped' THEN 1 ELSE 0 END));
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline.purge_step(jsonb, jsonb, text, integer, interval) IS
  'A step of a purge, to be called with the state that the one before returned until the step is done: drops a partition, removes a batch of changes or of empty transactions, moves the retention_cutoff and adds all that to one action. To be committed each by itself.';
