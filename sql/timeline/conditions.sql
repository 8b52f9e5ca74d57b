-- The timeline: every change that matches a filter, newest first, one page at a time.

CREATE FUNCTION threadline_internal.raise_unknown_filter(filter jsonb, known text[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  unknown text;
BEGIN
  SELECT k INTO unknown FROM jsonb_object_keys(filter) AS k WHERE k <> ALL (known) ORDER BY k LIMIT 1;
  IF unknown IS NOT NULL THEN
    RAISE EXCEPTION 'a timeline has no filter %', quote_literal(unknown)
      USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_filter',
        HINT = 'There are: ' || array_to_string(known, ', ');
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.raise_unknown_filter(jsonb, text[]) IS
  'Raises the error for an unknown filter.';

CREATE FUNCTION threadline_internal.filter_value(filter jsonb, key text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
  SELECT CASE
    WHEN key IN ('action_id', 'transaction_id') THEN format('%L::uuid', filter ->> key)
    WHEN key IN ('actor_ref', 'on_behalf_of') THEN format('%L::jsonb', filter -> key)
    WHEN key IN ('since', 'until') THEN format('%L::timestamptz', filter ->> key)
    WHEN key = 'row_keys' THEN (
      SELECT format('(%s)', coalesce(string_agg(format('threadline_internal.key_of(c) = %L', r.key)
               || CASE WHEN jsonb_array_length(filter -> key) > 1 THEN
                    format(' AND c.table_id = ANY (%L::integer[])', ARRAY(SELECT jsonb_array_elements_text(r.tables)))
                  ELSE '' END, ' OR '), 'false'))
        FROM jsonb_to_recordset(filter -> key) AS r (key text, tables jsonb))
    WHEN key = 'ops' THEN format('%L::text[]', ARRAY(SELECT jsonb_array_elements_text(filter -> key)))
    WHEN key = 'tables' THEN format('%L::integer[]', ARRAY(SELECT jsonb_array_elements_text(filter -> key)))
    ELSE format('%L', filter ->> key) END
$function$;
COMMENT ON FUNCTION threadline_internal.filter_value(jsonb, text) IS 'SQL for the value of one part of a filter.';

-- This condition alone decides whether a change matches a filter, for every caller, and it includes the position. How
-- changes are found is a separate question, and must not affect the result.
CREATE FUNCTION threadline_internal.timeline_condition(filter jsonb, before_at timestamptz DEFAULT NULL,
  before_id bigint DEFAULT NULL) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
DECLARE
  known text[] := '{action,action_id,actor_ref,correlation_id,column,since,on_behalf_of,ops,row_keys,tables,until,'
    'transaction_id}';
  -- As in threadline_internal.context_of, which takes longer to inline than a page takes to plan.
  own text := 'CASE WHEN c.context IS NULL THEN t.%1$s ELSE c.context %2$s %1$L END';
BEGIN
  RETURN concat_ws(E'\n   AND ', 'true',
    (SELECT string_agg(threadline_internal.render(CASE f.key
         WHEN 'action' THEN 'EXISTS (SELECT FROM threadline.audit_actions AS x
                                      WHERE x.transaction_id = c.transaction_id AND x.name = {value})'
         WHEN 'action_id' THEN 'c.transaction_id = (SELECT x.transaction_id FROM threadline.audit_actions AS x
                                                     WHERE x.id = {value})'
         WHEN 'actor_ref' THEN '{own} = {value}'
         WHEN 'column' THEN 'coalesce(c.changed_from, c.data_after) ? {value}'
         WHEN 'correlation_id' THEN '({own} = {value} OR EXISTS (
           SELECT FROM threadline.audit_actions AS x
            WHERE x.transaction_id = c.transaction_id AND x.correlation_id = {value}))'
         WHEN 'on_behalf_of' THEN '{own} = {value}'
         WHEN 'ops' THEN 'c.op = ANY ({value})'
         WHEN 'row_keys' THEN '{value}'
         WHEN 'since' THEN 'c.captured_at >= {value}'
         WHEN 'tables' THEN 'c.table_id = ANY ({value})'
         WHEN 'transaction_id' THEN 'c.transaction_id = {value}'
         WHEN 'until' THEN 'c.captured_at <= {value}'
       END, jsonb_build_object('value', threadline_internal.filter_value(filter, f.key),
              'own', format(own, f.key, CASE f.key WHEN 'correlation_id' THEN '->>' ELSE '->' END))), E'\n   AND '
                ORDER BY f.number)
       FROM unnest(known) WITH ORDINALITY AS f (key, number) WHERE filter ? f.key),
    CASE WHEN before_at IS NOT NULL THEN
      format('c.captured_at <= %1$L::timestamptz AND (c.captured_at, c.id) < (%1$L::timestamptz, %2$L::bigint)',
             before_at, before_id) END);
END
$function$;
COMMENT ON FUNCTION threadline_internal.timeline_condition(jsonb, timestamptz, bigint) IS
  'SQL for the changes that match a timeline filter, older than a position.';

-- Returns those of the changes under `found` that match the condition.
CREATE FUNCTION threadline_internal.changes_where(found text, condition text, max_rows integer DEFAULT NULL)
  RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render('SELECT c.*
      FROM threadline.audit_changes AS c
      LEFT JOIN threadline.audit_transactions AS t ON t.id = c.transaction_id
     WHERE {found} AND {condition}{newest}',
    jsonb_build_object('found', found, 'condition', condition,
      'newest', coalesce(' ORDER BY c.captured_at DESC, c.id DESC LIMIT ' || max_rows, '')))
   WHERE found IS NOT NULL
$function$;
COMMENT ON FUNCTION threadline_internal.changes_where(text, text, integer) IS
  'SQL for the changes that match two conditions: all of them, or the newest; NULL if the first condition is.';
