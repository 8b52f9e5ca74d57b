-- The timeline: every change that a filter lets through, newest first, a page at a time.

CREATE INDEX audit_changes_table_id_idx ON threadline.audit_changes (table_id, captured_at, id);
COMMENT ON INDEX threadline.audit_changes_table_id_idx IS 'The changes of a table in the order of the timeline.';
-- The few changes with a context of their own.
CREATE INDEX audit_changes_actor_ref_idx ON threadline.audit_changes ((context -> 'actor_ref'), captured_at, id) WHERE context IS NOT NULL;
COMMENT ON INDEX threadline.audit_changes_actor_ref_idx IS 'The changes that an actor made in a nested audited transaction.';
CREATE INDEX audit_changes_on_behalf_of_idx ON threadline.audit_changes ((context -> 'on_behalf_of'), captured_at, id) WHERE context IS NOT NULL;
COMMENT ON INDEX threadline.audit_changes_on_behalf_of_idx IS 'The changes that were made for someone in a nested audited transaction.';
CREATE INDEX audit_changes_correlation_id_idx ON threadline.audit_changes ((context ->> 'correlation_id'), captured_at, id) WHERE context IS NOT NULL;
COMMENT ON INDEX threadline.audit_changes_correlation_id_idx IS 'The changes of a business process in a nested audited transaction.';
CREATE INDEX audit_transactions_actor_ref_idx ON threadline.audit_transactions (actor_ref, id) WHERE actor_ref IS NOT NULL;
COMMENT ON INDEX threadline.audit_transactions_actor_ref_idx IS 'The transactions of an actor, by the time they began.';
CREATE INDEX audit_transactions_on_behalf_of_idx ON threadline.audit_transactions (on_behalf_of, id) WHERE on_behalf_of IS NOT NULL;
COMMENT ON INDEX threadline.audit_transactions_on_behalf_of_idx IS 'The transactions that were for someone, by the time they began.';
CREATE INDEX audit_transactions_correlation_id_idx ON threadline.audit_transactions (correlation_id, id) WHERE correlation_id IS NOT NULL;
COMMENT ON INDEX threadline.audit_transactions_correlation_id_idx IS 'The transactions of a business process, by the time they began.';
CREATE INDEX audit_actions_correlation_id_idx ON threadline.audit_actions (correlation_id, transaction_id) WHERE correlation_id IS NOT NULL;
COMMENT ON INDEX threadline.audit_actions_correlation_id_idx IS 'The actions of a business process, by the time their transactions began.';
CREATE INDEX audit_actions_name_idx ON threadline.audit_actions (name, transaction_id);
COMMENT ON INDEX threadline.audit_actions_name_idx IS 'The actions of a name, by the time their transactions began.';

CREATE FUNCTION threadline.timeline_refuse_unknown(filter jsonb, known text[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  unknown text;
BEGIN
  SELECT k INTO unknown FROM jsonb_object_keys(filter) AS k WHERE k <> ALL (known) ORDER BY k LIMIT 1;
  IF unknown IS NOT NULL THEN
    RAISE EXCEPTION 'a timeline has no filter %', quote_literal(unknown)
      USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_filter', HINT = 'There are: ' || array_to_string(known, ', ');
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline.timeline_refuse_unknown(jsonb, text[]) IS 'Raises the error of a filter that there is not.';

-- What a change c, its transaction t and its table a have to be, as SQL: all that decides whether a filter lets a change
-- through, whoever asks. How the changes are found is another matter, and must not decide.
CREATE FUNCTION threadline.timeline_condition(filter jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
DECLARE
  own text := 'CASE WHEN c.context IS NULL THEN t.%1$s ELSE c.context -> %1$L END = %2$L::jsonb';
  conditions text[] := '{}';
BEGIN
  PERFORM threadline.timeline_refuse_unknown(filter, ARRAY['action', 'action_id', 'actor_ref', 'correlation_id', 'field', 'from', 'on_behalf_of', 'ops',
    'row_key', 'tables', 'to', 'transaction_id']);
  IF filter ? 'tables' THEN
    conditions := conditions || format('c.table_id = ANY (%L::integer[])', ARRAY(SELECT jsonb_array_elements_text(filter -> 'tables')));
  END IF;
  IF filter ? 'actor_ref' THEN
    conditions := conditions || format(own, 'actor_ref', filter -> 'actor_ref');
  END IF;
  IF filter ? 'on_behalf_of' THEN
    conditions := conditions || format(own, 'on_behalf_of', filter -> 'on_behalf_of');
  END IF;
  IF filter ? 'correlation_id' THEN
    conditions := conditions || format('(CASE WHEN c.context IS NULL THEN t.correlation_id ELSE c.context ->> ''correlation_id'' END = %1$L
        OR EXISTS (SELECT FROM threadline.audit_actions AS x WHERE x.transaction_id = c.transaction_id AND x.correlation_id = %1$L))',
      filter ->> 'correlation_id');
  END IF;
  IF filter ? 'action' THEN
    conditions := conditions || format('EXISTS (SELECT FROM threadline.audit_actions AS x WHERE x.transaction_id = c.transaction_id AND x.name = %L)',
      filter ->> 'action');
  END IF;
  IF filter ? 'action_id' THEN
    conditions := conditions || format('c.transaction_id = (SELECT x.transaction_id FROM threadline.audit_actions AS x WHERE x.id = %L::uuid)',
      filter ->> 'action_id');
  END IF;
  IF filter ? 'transaction_id' THEN
    conditions := conditions || format('c.transaction_id = %L::uuid', filter ->> 'transaction_id');
  END IF;
  IF filter ? 'ops' THEN
    conditions := conditions || format('c.op = ANY (%L::text[])', ARRAY(SELECT jsonb_array_elements_text(filter -> 'ops')));
  END IF;
  IF filter ? 'field' THEN
    conditions := conditions || format('coalesce(c.changed_from, c.data_after) ? %L', filter ->> 'field');
  END IF;
  IF filter ? 'row_key' THEN
    conditions := conditions || format('coalesce(c.key_integer::text, c.key_bigint::text, c.key_uuid::text, c.key_text) = %L', filter ->> 'row_key');
  END IF;
  IF filter ? 'from' THEN
    conditions := conditions || format('c.captured_at >= %L::timestamptz', filter ->> 'from');
  END IF;
  IF filter ? 'to' THEN
    conditions := conditions || format('c.captured_at <= %L::timestamptz', filter ->> 'to');
  END IF;
  RETURN coalesce(nullif(array_to_string(conditions, E'\n   AND '), ''), 'true');
END
$function$;
COMMENT ON FUNCTION threadline.timeline_condition(jsonb) IS 'SQL for the changes that a filter of the timeline lets through.';

-- The transactions that a filter names by one of its parts, the most telling one, as SQL: all of them, or the newest that
-- began before the one given. NULL when it names none.
CREATE FUNCTION threadline.timeline_transactions(filter jsonb, older_than uuid DEFAULT NULL, max_rows integer DEFAULT NULL) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE
      WHEN filter ? 'transaction_id' THEN
        format('SELECT t.id FROM threadline.audit_transactions AS t WHERE t.id = %L::uuid%s', filter ->> 'transaction_id', of_transaction || newest)
      WHEN filter ? 'action_id' THEN
        format('SELECT x.transaction_id AS id FROM threadline.audit_actions AS x WHERE x.id = %L::uuid%s', filter ->> 'action_id', of_action || newest)
      WHEN filter ? 'action' THEN
        format('SELECT DISTINCT x.transaction_id AS id FROM threadline.audit_actions AS x WHERE x.name = %L%s', filter ->> 'action', of_action || newest)
      WHEN filter ? 'correlation_id' THEN
        format('(SELECT t.id FROM threadline.audit_transactions AS t WHERE t.correlation_id = %1$L%2$s) UNION
                (SELECT DISTINCT x.transaction_id AS id FROM threadline.audit_actions AS x WHERE x.correlation_id = %1$L%3$s)%4$s',
          filter ->> 'correlation_id', of_transaction || newest, of_action || newest, newest)
      WHEN filter ? 'on_behalf_of' THEN
        format('SELECT t.id FROM threadline.audit_transactions AS t WHERE t.on_behalf_of = %L::jsonb%s', filter -> 'on_behalf_of', of_transaction || newest)
      WHEN filter ? 'actor_ref' THEN
        format('SELECT t.id FROM threadline.audit_transactions AS t WHERE t.actor_ref = %L::jsonb%s', filter -> 'actor_ref', of_transaction || newest)
    END
    FROM (SELECT CASE WHEN older_than IS NULL THEN '' ELSE format(' AND t.id < %L::uuid', older_than) END AS of_transaction,
                 CASE WHEN older_than IS NULL THEN '' ELSE format(' AND x.transaction_id < %L::uuid', older_than) END AS of_action,
                 CASE WHEN max_rows IS NULL THEN '' ELSE ' ORDER BY id DESC LIMIT ' || max_rows END AS newest) AS p
$function$;
COMMENT ON FUNCTION threadline.timeline_transactions(jsonb, uuid, integer) IS 'SQL for the transactions that a filter of the timeline names.';

-- The changes of transactions, which are said by what an id has to be, and those that carry what a filter names in a context
-- of their own, as SQL conditions that an index serves. No change is in both.
CREATE FUNCTION threadline.timeline_parts(filter jsonb, transactions text) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE
      WHEN filter ?| ARRAY['transaction_id', 'action_id', 'action'] THEN ARRAY['c.transaction_id ' || transactions]
      WHEN filter ? 'correlation_id' THEN ARRAY['c.transaction_id ' || transactions,
        format('c.context IS NOT NULL AND (c.context ->> ''correlation_id'') = %L AND NOT (c.transaction_id %s)', filter ->> 'correlation_id', transactions)]
      WHEN filter ? 'on_behalf_of' THEN ARRAY['c.context IS NULL AND c.transaction_id ' || transactions,
        format('c.context IS NOT NULL AND (c.context -> ''on_behalf_of'') = %L::jsonb', filter -> 'on_behalf_of')]
      WHEN filter ? 'actor_ref' THEN ARRAY['c.context IS NULL AND c.transaction_id ' || transactions,
        format('c.context IS NOT NULL AND (c.context -> ''actor_ref'') = %L::jsonb', filter -> 'actor_ref')]
      ELSE ARRAY['true'] END
$function$;
COMMENT ON FUNCTION threadline.timeline_parts(jsonb, text) IS 'SQL for where the changes are that a filter of the timeline lets through.';

-- The part of a filter by which transactions are found: that which names the fewest, as far as 1000 tell. The others are conditions.
CREATE FUNCTION threadline.timeline_telling(filter jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET max_parallel_workers_per_gather = 0 SET jit = off
AS $function$
DECLARE
  keys text[] := ARRAY(SELECT k FROM unnest('{transaction_id,action_id,action,correlation_id,on_behalf_of,actor_ref}'::text[]) WITH ORDINALITY AS k (k, n)
                        WHERE filter ? k ORDER BY n);
  key text;
  fewest bigint;
  found bigint;
  telling text := keys[1];
BEGIN
  IF cardinality(keys) > 1 AND telling NOT IN ('transaction_id', 'action_id') THEN
    FOREACH key IN ARRAY keys LOOP
      EXECUTE format('SELECT count(*) FROM (%s) AS f',
        threadline.timeline_transactions(jsonb_build_object(key, filter -> key), 'ffffffff-ffff-ffff-ffff-ffffffffffff', 1000)) INTO found;
      IF fewest IS NULL OR found < fewest THEN
        fewest := found;
        telling := key;
      END IF;
    END LOOP;
  END IF;
  RETURN CASE WHEN telling IS NULL THEN '{}' ELSE jsonb_build_object(telling, filter -> telling) END;
END
$function$;
COMMENT ON FUNCTION threadline.timeline_telling(jsonb) IS 'The part of a filter of the timeline that names the fewest transactions.';

-- Conditions decide, and that of the position is one of them.
CREATE FUNCTION threadline.timeline_condition(filter jsonb, before_at timestamptz, before_id bigint) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
  SELECT threadline.timeline_condition(filter) || CASE WHEN before_at IS NULL THEN '' ELSE
    format(E'\n   AND c.captured_at <= %1$L::timestamptz AND (c.captured_at, c.id) < (%1$L::timestamptz, %2$L::bigint)', before_at, before_id) END
$function$;
COMMENT ON FUNCTION threadline.timeline_condition(jsonb, timestamptz, bigint) IS
  'SQL for the changes that a filter of the timeline lets through, older than a position.';

-- Where the newest changes of transactions are that a filter names. These are gone through from the newest, by when they
-- began. One that began earlier than all of them can have no newer change than those found, but for 125 ms, or if it was
-- noted as a long one: see threadline.long_transactions. No transaction has a change from before it began, so older
-- partitions are not looked into, nor planned for. A transaction gives no more than are wanted, however many changes it has.
CREATE FUNCTION threadline.timeline_positions(filter jsonb, telling jsonb, condition text, before_at timestamptz, max_rows integer)
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
  own text := (threadline.timeline_parts(telling, '= ANY (''{}'')'))[2];
  older_than uuid := threadline.first_id_after(least(before_at, (filter ->> 'to')::timestamptz, 'infinity'));
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
      threadline.timeline_transactions(telling, older_than, step)) INTO found, begins, began;
    EXIT WHEN found IS NULL;
    EXECUTE of_found INTO transactions, times, ids, oldest USING transactions, times, ids, began, found, begins;
    EXIT WHEN cardinality(found) < step;
    oldest := greatest(oldest, (filter ->> 'from')::timestamptz);
    IF oldest >= began + interval '125 ms' THEN
      SELECT array_agg(l.transaction_id), array_agg(l.occurred_at) INTO found, begins
        FROM generate_series(1, (SELECT max(octave) FROM threadline.long_transactions)) AS o (octave)
        JOIN threadline.long_transactions AS l
          ON l.octave = o.octave AND l.occurred_at <= began AND l.occurred_at > oldest - interval '125 ms' * power(2, o.octave);
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
COMMENT ON FUNCTION threadline.timeline_positions(jsonb, jsonb, text, timestamptz, integer) IS
  'Where the newest changes of the transactions are that a filter of the timeline names, older than a position.';

-- Whether it is by their transactions that changes are found, or by their row or table: what there is less of. Few
-- transactions are found at once, and most rows have few changes.
CREATE FUNCTION threadline.timeline_by_transaction(filter jsonb, telling jsonb) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
AS $function$
DECLARE
  named text := threadline.timeline_transactions(telling, 'ffffffff-ffff-ffff-ffff-ffffffffffff', 1000);
  found bigint;
BEGIN
  IF named IS NULL OR NOT filter ?| '{row_key,tables}' THEN
    RETURN named IS NOT NULL;
  END IF;
  EXECUTE format('SELECT count(*) FROM (%s) AS f', named) INTO found;
  IF found < 1000 OR filter ? 'row_key' THEN
    RETURN found < 1000;
  END IF;
  EXECUTE format('SELECT count(*) FROM (SELECT FROM threadline.audit_changes AS c WHERE c.table_id IN (SELECT a.id FROM threadline.timeline_tables(%L) AS a) LIMIT 10000) AS f',
    filter) INTO found;
  RETURN found = 10000;
END
$function$;
COMMENT ON FUNCTION threadline.timeline_by_transaction(jsonb, jsonb) IS 'Whether changes that a filter of the timeline lets through are found by their transactions.';

CREATE FUNCTION threadline.timeline_tables(filter jsonb) RETURNS SETOF threadline.audited_tables
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT a.* FROM threadline.audited_tables AS a
   WHERE NOT filter ? 'tables' OR a.id IN (SELECT id::integer FROM jsonb_array_elements_text(filter -> 'tables') AS id)
$function$;
COMMENT ON FUNCTION threadline.timeline_tables(jsonb) IS 'The tables that a filter of the timeline names, or all.';

-- Where the changes of tables are, or of a row: SQL for the newest of each, in a span of time. One plan for several tables
-- reads too many rows, as many as are wanted of each; a plan that merges them takes longer to make than a page to read.
CREATE FUNCTION threadline.timeline_sources(filter jsonb, changes text, max_rows integer) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE cardinality(s.tables) WHEN 1 THEN '(' || format(changes, format(s.condition, s.tables[1])) || ')'
      ELSE format('(SELECT c.* FROM unnest(%L::integer[]) AS a (id) CROSS JOIN LATERAL (%s) AS c)', s.tables, format(changes, format(s.condition, 'a.id'))) END
    FROM (
      SELECT array_agg(a.id) AS tables,
             -- Quoted for the format that it goes through.
             format('c.table_id = %%s AND c.key_%1$s = %2$s' || CASE k.type WHEN 'text' THEN ' AND left(c.key_text, 500) = left(%2$s, 500)' ELSE '' END,
                    k.type, replace(quote_nullable(filter ->> 'row_key'), '%', '%%')) AS condition
        FROM threadline.timeline_tables(filter) AS a
        -- A key is kept as text until its table is known to have one of another type, and as it was when a table lost its key.
        JOIN unnest('{bigint,integer,text,uuid}'::text[]) AS k (type) ON k.type IN ('text', a.key_type) OR a.key_type IS NULL
       WHERE CASE k.type WHEN 'text' THEN filter ? 'row_key'
               WHEN 'uuid' THEN filter ->> 'row_key' ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
               ELSE filter ->> 'row_key' ~ '^-?[0-9]{1,19}$' AND (filter ->> 'row_key')::numeric BETWEEN
                 CASE k.type WHEN 'integer' THEN -2147483648 ELSE -9223372036854775808 END AND
                 CASE k.type WHEN 'integer' THEN 2147483647 ELSE 9223372036854775807 END END
       GROUP BY k.type
      UNION ALL
      SELECT array_agg(a.id), 'c.table_id = %s'
        FROM threadline.timeline_tables(filter) AS a WHERE NOT filter ? 'row_key'
       GROUP BY CASE WHEN max_rows > 100 THEN a.id END) AS s
$function$;
COMMENT ON FUNCTION threadline.timeline_sources(jsonb, text, integer) IS 'SQL for the changes of tables or of a row that a filter of the timeline names.';

-- The month at hand first: for most pages it is enough, and a plan for one partition is made in no time.
CREATE FUNCTION threadline.timeline_page(filter jsonb, before_at timestamptz, before_id bigint, max_rows integer) RETURNS SETOF threadline.audit_changes
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET enable_seqscan = off SET max_parallel_workers_per_gather = 0 SET jit = off
AS $function$
DECLARE
  month timestamptz := date_trunc('month', least(before_at, (filter ->> 'to')::timestamptz, now()));
  condition text := threadline.timeline_condition(filter, before_at, before_id);
  telling jsonb;
  changes text;
  found integer;
  wanted integer := max_rows;
BEGIN
  IF max_rows <= 0 THEN
    RETURN;
  END IF;
  telling := threadline.timeline_telling(filter);
  IF threadline.timeline_by_transaction(filter, telling) THEN
    RETURN QUERY
      SELECT c.* FROM threadline.timeline_positions(filter, telling, condition, before_at, max_rows) AS p
        JOIN threadline.audit_changes AS c ON c.transaction_id = p.transaction_id AND c.captured_at = p.captured_at AND c.id = p.id
       ORDER BY c.captured_at DESC, c.id DESC;
    RETURN;
  END IF;
  -- Quoted for each format that it goes through.
  condition := replace(condition, '%', '%%');
  FOREACH changes IN ARRAY ARRAY[format('c.captured_at >= %L', month), format('c.captured_at < %L', month)] LOOP
    changes := format('SELECT c.* FROM threadline.audit_changes AS c LEFT JOIN threadline.audit_transactions AS t ON t.id = c.transaction_id
      WHERE %%s AND %s::timestamptz AND %s ORDER BY c.captured_at DESC, c.id DESC LIMIT %s', changes, condition, wanted);
    changes := (SELECT string_agg(s, ' UNION ALL ') FROM threadline.timeline_sources(filter, changes, wanted) AS s);
    EXIT WHEN changes IS NULL;
    RETURN QUERY EXECUTE format('SELECT * FROM (%s) AS c ORDER BY c.captured_at DESC, c.id DESC LIMIT %s', changes, wanted);
    GET DIAGNOSTICS found = ROW_COUNT;
    wanted := wanted - found;
    EXIT WHEN wanted = 0;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline.timeline_page(jsonb, timestamptz, bigint, integer) IS
  'The newest changes that a filter of the timeline lets through, older than a position.';

-- Tables as the caller names them become the ids by which the record knows them.
CREATE FUNCTION threadline.timeline_filter(filter jsonb, tables regclass[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  unaudited regclass;
BEGIN
  IF tables IS NULL THEN
    RETURN filter;
  END IF;
  SELECT r INTO unaudited FROM unnest(tables) AS r WHERE r NOT IN (SELECT a.relation FROM threadline.audited_tables AS a) LIMIT 1;
  IF unaudited IS NOT NULL THEN
    RAISE EXCEPTION '% has no history: it is not audited', unaudited
      USING ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_filter', TABLE = unaudited::text,
        HINT = 'Put it under capture with threadline.audit_table.';
  END IF;
  RETURN filter || jsonb_build_object('tables', ARRAY(SELECT a.id FROM threadline.audited_tables AS a WHERE a.relation = ANY (tables) ORDER BY a.id));
END
$function$;
COMMENT ON FUNCTION threadline.timeline_filter(jsonb, regclass[]) IS 'A filter of the timeline with the tables in it.';

-- Plain SQL, and named with their schemas, for the planner to inline. One that gives rows it inlines whatever stands in it.
CREATE FUNCTION threadline.timeline_action(action threadline.audit_actions) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE
AS $function$
  SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('id', $1.id, 'transaction_id', $1.transaction_id, 'name', $1.name,
           'occurred_at', $1.occurred_at, 'actor_ref', $1.actor_ref, 'on_behalf_of', $1.on_behalf_of, 'status', $1.status,
           'reason', $1.reason, 'comment', $1.comment, 'correlation_id', $1.correlation_id, 'request_id', $1.request_id, 'job_id', $1.job_id))
         OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('meta', $1.meta)
$function$;
COMMENT ON FUNCTION threadline.timeline_action(threadline.audit_actions) IS 'An action as JSON.';

CREATE FUNCTION threadline.timeline_actions(transaction_id uuid) RETURNS SETOF jsonb
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
AS $function$
  SELECT coalesce(pg_catalog.jsonb_agg(threadline.timeline_action(x) ORDER BY x.occurred_at, x.id), '[]')
    FROM threadline.audit_actions AS x WHERE x.transaction_id OPERATOR(pg_catalog.=) $1
$function$;
COMMENT ON FUNCTION threadline.timeline_actions(uuid) IS 'The actions of a transaction, in order: one JSON array.';

CREATE FUNCTION threadline.timeline_table(sample anyelement) RETURNS TABLE (schema_name text, table_name text)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1 SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
   WHERE c.oid = (SELECT y.typrelid FROM pg_type AS y WHERE y.oid = pg_typeof(sample))
$function$;
COMMENT ON FUNCTION threadline.timeline_table(anyelement) IS 'What a table is called, given a row of it.';

-- An image under the names that its columns have now, where the expressions of threadline.renamed_expression would be one a table.
CREATE FUNCTION threadline.timeline_renamed(image jsonb, change_id bigint, renames jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  step jsonb;
BEGIN
  FOR step IN SELECT value FROM jsonb_array_elements(renames) LOOP
    image := threadline.rename_columns(image, change_id, (step ->> 'until')::bigint, step -> 'names');
  END LOOP;
  RETURN image;
END
$function$;
COMMENT ON FUNCTION threadline.timeline_renamed(jsonb, bigint, jsonb) IS 'An image under the names that its columns have now.';

-- A page with all that is needed to tell it: names, transaction, what the context of each change says, images under the names
-- of today, and what is to be done to them. Inlined; OFFSET 0 keeps what is computed here from being computed once for each
-- place it is used in.
CREATE FUNCTION threadline.timeline_rows(filter jsonb, tables regclass[], before_at timestamptz, before_id bigint, max_rows integer)
RETURNS TABLE (id bigint, captured_at timestamptz, transaction_id uuid, op text, row_key text, moved_key text, data_after jsonb, changed_from jsonb,
  after jsonb, before jsonb, whole_before jsonb, schema_name text, table_name text, key_columns text[], excluded_columns text[], masked_columns text[], defaults jsonb,
  masks jsonb, occurred_at timestamptz, actor_ref jsonb, on_behalf_of jsonb, source text, correlation_id text, request_id text, job_id text,
  remote_ip inet, meta jsonb, database_role text, application_name text)
LANGUAGE sql STABLE
AS $function$
  SELECT c.id, c.captured_at, c.transaction_id, c.op,
         coalesce(c.key_integer::pg_catalog.text, c.key_bigint::pg_catalog.text, c.key_uuid::pg_catalog.text, c.key_text), c.moved_key,
         c.data_after, c.changed_from,
         CASE WHEN a.renames IS NULL THEN c.data_after ELSE threadline.timeline_renamed(c.data_after, c.id, a.renames) END,
         CASE WHEN a.renames IS NULL THEN c.changed_from ELSE threadline.timeline_renamed(c.changed_from, c.id, a.renames) END,
         -- Put together first: which names an image has decides whether it is renamed.
         CASE WHEN a.renames IS NULL THEN coalesce(c.data_after OPERATOR(pg_catalog.||) c.changed_from, c.changed_from)
           ELSE threadline.timeline_renamed(coalesce(c.data_after OPERATOR(pg_catalog.||) c.changed_from, c.changed_from), c.id, a.renames) END,
         a.schema_name, a.table_name, a.key_columns, a.excluded_columns, a.masked_columns, a.defaults, a.masks, t.occurred_at,
         CASE WHEN c.context IS NULL THEN t.actor_ref ELSE c.context OPERATOR(pg_catalog.->) 'actor_ref' END,
         CASE WHEN c.context IS NULL THEN t.on_behalf_of ELSE c.context OPERATOR(pg_catalog.->) 'on_behalf_of' END,
         CASE WHEN c.context IS NULL THEN t.source ELSE c.context OPERATOR(pg_catalog.->>) 'source' END,
         CASE WHEN c.context IS NULL THEN t.correlation_id ELSE c.context OPERATOR(pg_catalog.->>) 'correlation_id' END,
         CASE WHEN c.context IS NULL THEN t.request_id ELSE c.context OPERATOR(pg_catalog.->>) 'request_id' END,
         CASE WHEN c.context IS NULL THEN t.job_id ELSE c.context OPERATOR(pg_catalog.->>) 'job_id' END,
         CASE WHEN c.context IS NULL THEN t.remote_ip ELSE (c.context OPERATOR(pg_catalog.->>) 'remote_ip')::pg_catalog.inet END,
         CASE WHEN c.context IS NULL THEN t.meta ELSE c.context OPERATOR(pg_catalog.->) 'meta' END,
         t.database_role, t.application_name
    FROM threadline.timeline_page(threadline.timeline_filter(coalesce(timeline_rows.filter, '{}'), timeline_rows.tables), timeline_rows.before_at,
                                  timeline_rows.before_id, timeline_rows.max_rows) AS c
    JOIN (SELECT a.id, coalesce(n.nspname, a.schema_name) AS schema_name, coalesce(r.relname, a.table_name) AS table_name,
                 a.key_columns, a.masked_columns,
                 CASE WHEN a.masked_columns OPERATOR(pg_catalog.=) '{}' AND a.excluded_columns OPERATOR(pg_catalog.=) '{}' THEN '{}'
                   ELSE a.excluded_columns OPERATOR(pg_catalog.||) threadline.former_names(a, a.excluded_columns OPERATOR(pg_catalog.||) a.masked_columns) END AS excluded_columns,
                 CASE WHEN (a.definition OPERATOR(pg_catalog.->) 'renames') OPERATOR(pg_catalog.<>) '[]' THEN a.definition OPERATOR(pg_catalog.->) 'renames' END AS renames,
                 CASE WHEN a.definition OPERATOR(pg_catalog.@?) '$.columns.*.default' THEN (
                   SELECT pg_catalog.jsonb_object_agg(name, value OPERATOR(pg_catalog.->) 'default')
                     FROM pg_catalog.jsonb_each(a.definition OPERATOR(pg_catalog.->) 'columns') AS d (name, value)
                    WHERE value OPERATOR(pg_catalog.?) 'default') ELSE '{}' END AS defaults,
                 CASE WHEN a.masked_columns OPERATOR(pg_catalog.<>) '{}' THEN (
                   SELECT pg_catalog.jsonb_object_agg(m, '[REDACTED]') FROM pg_catalog.unnest(a.masked_columns) AS m) ELSE '{}' END AS masks
            FROM threadline.audited_tables AS a
            LEFT JOIN pg_catalog.pg_class AS r ON r.oid OPERATOR(pg_catalog.=) a.relation
            LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) r.relnamespace OFFSET 0) AS a
      ON a.id OPERATOR(pg_catalog.=) c.table_id
    LEFT JOIN threadline.audit_transactions AS t ON t.id OPERATOR(pg_catalog.=) c.transaction_id
  OFFSET 0
$function$;
COMMENT ON FUNCTION threadline.timeline_rows(jsonb, regclass[], timestamptz, bigint, integer) IS
  'A page of the changes that a filter lets through, with all that is needed to tell it.';

-- Records and diffs are those of threadline.record_expression and threadline.diff_expression, which are generated for one table.
CREATE FUNCTION threadline.timeline(filter jsonb DEFAULT '{}', tables regclass[] DEFAULT NULL, before_at timestamptz DEFAULT NULL,
  before_id bigint DEFAULT NULL, max_rows integer DEFAULT 50)
RETURNS TABLE (schema_name text, table_name text, actions jsonb, id bigint, transaction_id uuid, op text, captured_at timestamptz,
  row_key text, moved_key text, changed_fields text[], diff jsonb, record jsonb, record_before jsonb, actor_ref jsonb, on_behalf_of jsonb,
  source text, correlation_id text, request_id text, job_id text, remote_ip inet, meta jsonb, occurred_at timestamptz, database_role text,
  application_name text)
LANGUAGE sql STABLE
AS $function$
  SELECT c.schema_name, c.table_name, x.actions, c.id, c.transaction_id, c.op, c.captured_at, c.row_key, c.moved_key,
         ARRAY(SELECT pg_catalog.jsonb_object_keys(coalesce(c.changed_from, c.data_after))),
         (SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('field', k)
                   OPERATOR(pg_catalog.||) CASE WHEN c.record_before OPERATOR(pg_catalog.?) k
                     THEN pg_catalog.jsonb_build_object('before', c.record_before OPERATOR(pg_catalog.->) k) ELSE '{}' END
                   OPERATOR(pg_catalog.||) CASE WHEN c.record_after OPERATOR(pg_catalog.?) k
                     THEN pg_catalog.jsonb_build_object('after', c.record_after OPERATOR(pg_catalog.->) k) ELSE '{}' END
                   OPERATOR(pg_catalog.||) CASE WHEN c.masks OPERATOR(pg_catalog.?) k THEN '{"masked": true}'::pg_catalog.jsonb ELSE '{}' END
                   ORDER BY k COLLATE pg_catalog."C"), '[]')
            FROM pg_catalog.jsonb_object_keys(CASE WHEN c.after IS NULL OR c.before IS NULL THEN coalesce(c.record_after, c.record_before) ELSE c.before END) AS k
           WHERE c.record_before OPERATOR(pg_catalog.?) k OR c.record_after OPERATOR(pg_catalog.?) k),
         coalesce(c.record_after, c.record_before), c.record_before,
         c.actor_ref, c.on_behalf_of, c.source, c.correlation_id, c.request_id, c.job_id, c.remote_ip, c.meta, c.occurred_at, c.database_role,
         c.application_name
    FROM (SELECT c.*, ((c.defaults OPERATOR(pg_catalog.||) c.after) OPERATOR(pg_catalog.-) c.excluded_columns) OPERATOR(pg_catalog.||) c.masks AS record_after,
                 ((c.defaults OPERATOR(pg_catalog.||) c.whole_before) OPERATOR(pg_catalog.-) c.excluded_columns) OPERATOR(pg_catalog.||) c.masks AS record_before
            FROM threadline.timeline_rows(timeline.filter, timeline.tables, timeline.before_at, timeline.before_id, timeline.max_rows) AS c
           ORDER BY c.captured_at DESC, c.id DESC) AS c
   CROSS JOIN LATERAL threadline.timeline_actions(c.transaction_id) AS x (actions)
   ORDER BY c.captured_at DESC, c.id DESC
$function$;
COMMENT ON FUNCTION threadline.timeline(jsonb, regclass[], timestamptz, bigint, integer) IS
  'A page of the changes that a filter lets through, newest first, each with its transaction and the actions of that; older than a position.';

CREATE FUNCTION threadline.timeline_count(filter jsonb DEFAULT '{}', tables regclass[] DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
DECLARE
  resolved jsonb := threadline.timeline_filter(coalesce(filter, '{}'), tables);
  telling jsonb := threadline.timeline_telling(resolved);
  -- Quoted for the format that it goes through.
  changes text := 'SELECT c.id FROM threadline.audit_changes AS c LEFT JOIN threadline.audit_transactions AS t ON t.id = c.transaction_id
    WHERE %s AND ' || replace(threadline.timeline_condition(resolved), '%', '%%');
  parts text;
  total bigint;
BEGIN
  IF resolved ? 'row_key' AND NOT threadline.timeline_by_transaction(resolved, telling) THEN
    parts := (SELECT string_agg(s, ' UNION ALL ') FROM threadline.timeline_sources(resolved, changes, 1) AS s);
  ELSE
    parts := (SELECT string_agg(format(changes, part), ' UNION ALL ')
                FROM unnest(threadline.timeline_parts(telling, format('IN (%s)', threadline.timeline_transactions(telling)))) AS part);
  END IF;
  EXECUTE format('SELECT count(*) FROM (%s) AS c', coalesce(parts, 'SELECT WHERE false')) INTO total;
  RETURN total;
END
$function$;
COMMENT ON FUNCTION threadline.timeline_count(jsonb, regclass[]) IS 'How many changes a filter of the timeline lets through.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA threadline FROM PUBLIC;
