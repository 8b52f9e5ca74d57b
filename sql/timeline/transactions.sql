-- The audit transactions and the actions as such, newest first. Their ids are UUIDs of version 7, so the order of the
-- ids is that of time, and the position of a page is an id.

-- In every place where an index has such an id.
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
  'SQL for the ids between the times of a filter, and before the position of a page.';

-- What a transaction t has to be, but for the part of the filter that is seen to already. It is an actor's who began
-- it, who changed something in it in a nested audited transaction, or who recorded an action in it; so is a correlation
-- id. OFFSET 0: each is looked up, where otherwise everything of a busy actor might be collected first.
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
        OR EXISTS (SELECT FROM threadline.audit_changes AS c
                    WHERE c.transaction_id = t.id AND c.captured_at >= t.occurred_at AND {nested} OFFSET 0))' END,
      jsonb_build_object('key', k, 'value', threadline_internal.filter_value(filter, k),
        'nested', threadline_internal.nested_condition(filter, k))), E'\n   AND ' ORDER BY k), 'true')
    FROM jsonb_object_keys(filter) AS k WHERE k IS DISTINCT FROM seen_to
$function$;
COMMENT ON FUNCTION threadline_internal.transaction_condition(jsonb, text) IS
  'SQL for the transactions that a filter lets through, but for one part of it.';

-- Of the transactions with changes that carry such a context, the newest. The changes are gone through from the newest,
-- in the order of their index. One not met by then has none that is newer, so it began no later than the oldest of
-- them, and those met that began after that are the newest. The changes of transactions that began by `until` are
-- younger than that by a moment at most, or of a long one: see threadline_internal.long_transactions.
CREATE FUNCTION threadline_internal.nested_transactions(nested text, condition text, since timestamptz,
  until timestamptz,
  max_rows integer) RETURNS uuid[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  at timestamptz := until + threadline_internal.long_after();
  id bigint := 9223372036854775807;
  step integer := max_rows + 50;
  long uuid[] := ARRAY(SELECT l.transaction_id FROM threadline_internal.long_transactions_around(until, at) AS l
                        WHERE isfinite(until));
  candidates uuid[] := '{}';
  found uuid[];
  met bigint;
  enough boolean;
BEGIN
  IF long <> '{}' THEN
    EXECUTE 'SELECT array_agg(DISTINCT c.transaction_id) FROM threadline.audit_changes AS c
              WHERE c.transaction_id = ANY ($1) AND c.captured_at > $2 AND ' || nested
      INTO candidates USING long, at;
  END IF;
  LOOP
    EXECUTE format('SELECT array_agg(DISTINCT n.transaction_id), count(*), min(n.captured_at),
                           (array_agg(n.id ORDER BY n.captured_at, n.id))[1]
        FROM (SELECT c.transaction_id, c.captured_at, c.id FROM threadline.audit_changes AS c
               WHERE %s AND c.captured_at >= $1 AND c.captured_at <= $2 AND (c.captured_at, c.id) < ($2, $3)
               ORDER BY c.captured_at DESC, c.id DESC LIMIT $4) AS n', nested)
      INTO found, met, at, id USING since, at, id, step;
    EXIT WHEN found IS NULL;
    candidates := ARRAY(SELECT unnest(candidates) UNION SELECT unnest(found));
    EXIT WHEN met < step;
    EXECUTE format('SELECT count(*) >= $3
        FROM (SELECT FROM threadline.audit_transactions AS t
               WHERE t.id = ANY ($1) AND t.occurred_at > $2 AND %s LIMIT $3) AS n', condition)
      INTO enough USING candidates, at, max_rows;
    EXIT WHEN enough;
    step := least(step * 2, 10000);
  END LOOP;
  EXECUTE format('SELECT array_agg(n.id)
      FROM (SELECT t.id FROM threadline.audit_transactions AS t
             WHERE t.id = ANY ($1) AND %s ORDER BY t.id DESC LIMIT $2) AS n', condition)
    INTO found USING candidates, max_rows;
  RETURN coalesce(found, '{}');
END
$function$;
COMMENT ON FUNCTION threadline_internal.nested_transactions(text, text, timestamptz, timestamptz, integer) IS
  'The newest transactions that have a change with a context of its own.';

-- One part of the filter, the most telling one, says where to look, in the order of an index in each place; the newest
-- of all.
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
  newest uuid[];
BEGIN
  PERFORM threadline_internal.raise_unknown_filter(filter,
    '{action,actor_ref,correlation_id,since,on_behalf_of,until,transaction_id}');
  condition := threadline_internal.transaction_condition(filter, key)
            || threadline_internal.id_condition('t.id', filter, before_id);
  EXECUTE format('SELECT array_agg(n.id) FROM (SELECT f.id FROM (%s) AS f ORDER BY f.id DESC LIMIT $1) AS n', concat_ws(
      ' UNION ',
      CASE WHEN key IS DISTINCT FROM 'action' THEN threadline_internal.render(
        '(SELECT t.id FROM threadline.audit_transactions AS t
           WHERE {began} AND {condition} ORDER BY t.id DESC LIMIT $1)', jsonb_build_object('condition', condition,
          'began', CASE WHEN key IS NULL THEN 'true'
            ELSE format('t.%s = %s', CASE key WHEN 'transaction_id' THEN 'id' ELSE key END, value) END)) END,
      CASE WHEN key <> 'transaction_id' THEN threadline_internal.render(
        '(SELECT DISTINCT t.id
            FROM threadline.audit_actions AS x JOIN threadline.audit_transactions AS t ON t.id = x.transaction_id
           WHERE x.{column} = {value}{older} AND {condition} ORDER BY t.id DESC LIMIT $1)', jsonb_build_object(
          'column', CASE key WHEN 'action' THEN 'name' ELSE key END, 'value', value, 'condition', condition,
          'older', threadline_internal.id_condition('x.transaction_id', filter, before_id))) END))
    INTO newest USING max_rows;
  IF key IN ('correlation_id', 'on_behalf_of', 'actor_ref') THEN
    newest := newest || threadline_internal.nested_transactions(threadline_internal.nested_condition(filter, key),
      condition,
      -- What began before all that are wanted is not.
      greatest('-infinity', (filter ->> 'since')::timestamptz,
               (SELECT t.occurred_at FROM threadline.audit_transactions AS t WHERE t.id = newest[max_rows])),
      -- To the millisecond that its id is of.
      least('infinity', (filter ->> 'until')::timestamptz,
            to_timestamp((('x' || left(replace(before_id::text, '-', ''), 12))::bit(48)::bigint + 1) / 1000.0)),
              max_rows);
  END IF;
  RETURN QUERY
    SELECT t.id, t.occurred_at, t.actor_ref, t.on_behalf_of, t.source, t.correlation_id, t.request_id, t.job_id,
      t.remote_ip,
           t.meta, t.database_role, t.application_name,
           (SELECT x.actions FROM threadline_internal.transaction_actions(t.id) AS x (actions))
      FROM threadline.audit_transactions AS t WHERE t.id = ANY (newest) ORDER BY t.id DESC LIMIT max_rows;
END
$function$;
COMMENT ON FUNCTION threadline.transactions(jsonb, uuid, integer) IS
  'A page of the audit transactions that a filter lets through, newest first, each with its actions; older than a '
  'position.';
