-- Where the newest changes of transactions are that a filter names. These are gone through from the newest, by when they
-- began. One that began earlier than all of them can have no newer change than those found, but for 125 ms, or if it was
-- noted as a long one: see threadline_internal.long_transactions. No transaction has a change from before it began, so older
-- partitions are not looked into, nor planned for. A transaction gives no more than are wanted, however many changes it has.
CREATE FUNCTION threadline_internal.timeline_positions(filter jsonb, telling jsonb, condition text, before_at timestamptz, max_rows integer)
RETURNS TABLE (transaction_id uuid, captured_at timestamptz, id bigint)
LANGUAGE plpgsql STABLE ROWS 100 SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET max_parallel_workers_per_gather = 0 SET jit = off
AS $function$
DECLARE
  changes text := 'SELECT c.* FROM threadline.audit_changes AS c LEFT JOIN threadline.audit_transactions AS t ON t.id = c.transaction_id
     WHERE c.captured_at >= $4 AND %s AND %s ORDER BY c.captured_at DESC, c.id DESC LIMIT %s';
  -- Those that are kept already, and others.
  newest text := 'SELECT array_agg(n.transaction_id), array_agg(n.captured_at), array_agg(n.id), (array_agg(n.captured_at))[%1$s]
      FROM (SELECT p.* FROM (SELECT * FROM unnest($1, $2, $3) AS kept (transaction_id, captured_at, id) UNION
                             SELECT c.transaction_id, c.captured_at, c.id FROM %2$s) AS p
             ORDER BY p.captured_at DESC, p.id DESC LIMIT %1$s) AS n';
  of_found text := format(newest, max_rows, 'unnest($5, $6) AS b (id, began) CROSS JOIN LATERAL ('
    || format(changes, 'c.transaction_id = b.id AND c.captured_at >= b.began', condition, max_rows) || ') AS c');
  own text := (threadline_internal.change_conditions(telling, '= ANY (''{}'')'))[2];
  older_than uuid := threadline.first_id_after(least(before_at, (filter ->> 'until')::timestamptz, 'infinity'));
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
    EXECUTE format('SELECT array_agg(t.id), array_agg(t.occurred_at), min(t.occurred_at) FROM (%s) AS f JOIN threadline.audit_transactions AS t USING (id)',
      threadline_internal.filtered_transactions(telling, older_than, step)) INTO found, begins, began;
    EXIT WHEN found IS NULL;
    EXECUTE of_found INTO transactions, times, ids, oldest USING transactions, times, ids, began, found, begins;
    EXIT WHEN cardinality(found) < step;
    oldest := greatest(oldest, (filter ->> 'since')::timestamptz);
    IF oldest >= began + interval '125 ms' THEN
      SELECT array_agg(l.transaction_id), array_agg(l.occurred_at) INTO found, begins
        FROM generate_series(1, (SELECT max(duration_class) FROM threadline_internal.long_transactions)) AS o (duration_class)
        JOIN threadline_internal.long_transactions AS l
          ON l.duration_class = o.duration_class AND l.occurred_at <= began AND l.occurred_at > oldest - interval '125 ms' * power(2, o.duration_class);
      EXECUTE of_found INTO transactions, times, ids, oldest USING transactions, times, ids, oldest, found, begins;
      EXIT;
    END IF;
    older_than := (SELECT u FROM unnest(found) AS u ORDER BY u LIMIT 1);
    step := least(step * 2, 10000);
  END LOOP;
  IF own IS NOT NULL THEN
    EXECUTE format(newest, max_rows, '(' || format(changes, own, condition, max_rows) || ') AS c')
      INTO transactions, times, ids, oldest USING transactions, times, ids, coalesce(oldest, '-infinity');
  END IF;
  RETURN QUERY SELECT * FROM unnest(transactions, times, ids);
END
$function$;
COMMENT ON FUNCTION threadline_internal.timeline_positions(jsonb, jsonb, text, timestamptz, integer) IS
  'Where the newest changes of the transactions are that a filter of the timeline names, older than a position.';

-- Whether it is by their transactions that changes are found, or by their row or table: what there is less of. Few
-- transactions are found at once, and most rows have few changes.
CREATE FUNCTION threadline_internal.timeline_by_transaction(filter jsonb, telling jsonb) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
AS $function$
DECLARE
  named text := threadline_internal.filtered_transactions(telling, 'ffffffff-ffff-ffff-ffff-ffffffffffff', 1000);
  found bigint;
BEGIN
  IF named IS NULL OR NOT filter ?| '{row_key,tables}' THEN
    RETURN named IS NOT NULL;
  END IF;
  EXECUTE format('SELECT count(*) FROM (%s) AS f', named) INTO found;
  IF found < 1000 OR filter ? 'row_key' THEN
    RETURN found < 1000;
  END IF;
  EXECUTE format('SELECT count(*) FROM (SELECT FROM threadline.audit_changes AS c WHERE c.table_id IN (SELECT a.id FROM threadline_internal.filtered_tables(%L) AS a) LIMIT 10000) AS f',
    filter) INTO found;
  RETURN found = 10000;
END
$function$;
COMMENT ON FUNCTION threadline_internal.timeline_by_transaction(jsonb, jsonb) IS 'Whether changes that a filter of the timeline lets through are found by their transactions.';

-- The month at hand first: for most pages it is enough, and a plan for one partition is made in no time.
CREATE FUNCTION threadline_internal.timeline_page(filter jsonb, before_at timestamptz, before_id bigint, max_rows integer) RETURNS SETOF threadline.audit_changes
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET enable_seqscan = off SET max_parallel_workers_per_gather = 0 SET jit = off
AS $function$
DECLARE
  month timestamptz := date_trunc('month', least(before_at, (filter ->> 'until')::timestamptz, now()));
  condition text := threadline_internal.timeline_condition(filter, before_at, before_id);
  telling jsonb;
  changes text;
  found integer;
  wanted integer := max_rows;
BEGIN
  IF max_rows <= 0 THEN
    RETURN;
  END IF;
  telling := threadline_internal.most_selective_filter(filter);
  IF threadline_internal.timeline_by_transaction(filter, telling) THEN
    RETURN QUERY
      SELECT c.* FROM threadline_internal.timeline_positions(filter, telling, condition, before_at, max_rows) AS p
        JOIN threadline.audit_changes AS c ON c.transaction_id = p.transaction_id AND c.captured_at = p.captured_at AND c.id = p.id
       ORDER BY c.captured_at DESC, c.id DESC;
    RETURN;
  END IF;
  -- Quoted for each format that it goes through.
  condition := replace(condition, '%', '%%');
  FOREACH changes IN ARRAY ARRAY[format('c.captured_at >= %L', month), format('c.captured_at < %L', month)] LOOP
    changes := format('SELECT c.* FROM threadline.audit_changes AS c LEFT JOIN threadline.audit_transactions AS t ON t.id = c.transaction_id
      WHERE %%s AND %s::timestamptz AND %s ORDER BY c.captured_at DESC, c.id DESC LIMIT %s', changes, condition, wanted);
    changes := (SELECT string_agg(s, ' UNION ALL ') FROM threadline_internal.timeline_sources(filter, changes, wanted) AS s);
    EXIT WHEN changes IS NULL;
    RETURN QUERY EXECUTE format('SELECT * FROM (%s) AS c ORDER BY c.captured_at DESC, c.id DESC LIMIT %s', changes, wanted);
    GET DIAGNOSTICS found = ROW_COUNT;
    wanted := wanted - found;
    EXIT WHEN wanted = 0;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.timeline_page(jsonb, timestamptz, bigint, integer) IS
  'The newest changes that a filter of the timeline lets through, older than a position.';
