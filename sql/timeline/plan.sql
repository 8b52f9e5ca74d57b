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
