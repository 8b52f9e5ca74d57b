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
