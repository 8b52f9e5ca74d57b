-- The transactions that a filter names by one of its parts, the most telling one, as SQL: all of them, or the newest that
-- began before the one given. NULL when it names none.
CREATE FUNCTION threadline_internal.filtered_transactions(filter jsonb, older_than uuid DEFAULT NULL, max_rows integer DEFAULT NULL) RETURNS text
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
COMMENT ON FUNCTION threadline_internal.filtered_transactions(jsonb, uuid, integer) IS 'SQL for the transactions that a filter of the timeline names.';

-- The changes of transactions, which are said by what an id has to be, and those that carry what a filter names in a context
-- of their own, as SQL conditions that an index serves. No change is in both.
CREATE FUNCTION threadline_internal.change_conditions(filter jsonb, transactions text) RETURNS text[]
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
COMMENT ON FUNCTION threadline_internal.change_conditions(jsonb, text) IS 'SQL for where the changes are that a filter of the timeline lets through.';

-- The part of a filter by which transactions are found: that which names the fewest, as far as 1000 tell. The others are conditions.
CREATE FUNCTION threadline_internal.most_selective_filter(filter jsonb) RETURNS jsonb
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
        threadline_internal.filtered_transactions(jsonb_build_object(key, filter -> key), 'ffffffff-ffff-ffff-ffff-ffffffffffff', 1000)) INTO found;
      IF fewest IS NULL OR found < fewest THEN
        fewest := found;
        telling := key;
      END IF;
    END LOOP;
  END IF;
  RETURN CASE WHEN telling IS NULL THEN '{}' ELSE jsonb_build_object(telling, filter -> telling) END;
END
$function$;
COMMENT ON FUNCTION threadline_internal.most_selective_filter(jsonb) IS 'The part of a filter of the timeline that names the fewest transactions.';

CREATE FUNCTION threadline_internal.filtered_tables(filter jsonb) RETURNS SETOF threadline.audited_tables
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT a.* FROM threadline.audited_tables AS a
   WHERE NOT filter ? 'tables' OR a.id IN (SELECT id::integer FROM jsonb_array_elements_text(filter -> 'tables') AS id)
$function$;
COMMENT ON FUNCTION threadline_internal.filtered_tables(jsonb) IS 'The tables that a filter of the timeline names, or all.';

-- Where the changes of tables are, or of a row: SQL for the newest of each, in a span of time. One plan for several tables
-- reads too many rows, as many as are wanted of each; a plan that merges them takes longer to make than a page to read.
CREATE FUNCTION threadline_internal.timeline_sources(filter jsonb, changes text, max_rows integer) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE cardinality(s.tables) WHEN 1 THEN '(' || format(changes, format(s.condition, s.tables[1])) || ')'
      ELSE format('(SELECT c.* FROM unnest(%L::integer[]) AS a (id) CROSS JOIN LATERAL (%s) AS c)', s.tables, format(changes, format(s.condition, 'a.id'))) END
    FROM (
      SELECT array_agg(a.id) AS tables,
             -- Quoted for the format that it goes through.
             format('c.table_id = %%s AND c.key_%1$s = %2$s' || CASE k.type WHEN 'text' THEN ' AND left(c.key_text, 500) = left(%2$s, 500)' ELSE '' END,
                    k.type, replace(quote_nullable(filter ->> 'row_key'), '%', '%%')) AS condition
        FROM threadline_internal.filtered_tables(filter) AS a
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
        FROM threadline_internal.filtered_tables(filter) AS a WHERE NOT filter ? 'row_key'
       GROUP BY CASE WHEN max_rows > 100 THEN a.id END) AS s
$function$;
COMMENT ON FUNCTION threadline_internal.timeline_sources(jsonb, text, integer) IS 'SQL for the changes of tables or of a row that a filter of the timeline names.';
