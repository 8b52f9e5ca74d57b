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
