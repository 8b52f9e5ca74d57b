-- The timeline: every change that a filter lets through, newest first, a page at a time.

CREATE FUNCTION threadline_internal.raise_unknown_filter(filter jsonb, known text[]) RETURNS void
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
COMMENT ON FUNCTION threadline_internal.raise_unknown_filter(jsonb, text[]) IS 'Raises the error of a filter that there is not.';

-- What a change c, its transaction t and its table a have to be, as SQL: all that decides whether a filter lets a change
-- through, whoever asks. How the changes are found is another matter, and must not decide.
CREATE FUNCTION threadline_internal.timeline_condition(filter jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
DECLARE
  own text := 'CASE WHEN c.context IS NULL THEN t.%1$s ELSE c.context -> %1$L END = %2$L::jsonb';
  conditions text[] := '{}';
BEGIN
  PERFORM threadline_internal.raise_unknown_filter(filter, ARRAY['action', 'action_id', 'actor_ref', 'correlation_id', 'column', 'since', 'on_behalf_of', 'ops',
    'row_key', 'tables', 'until', 'transaction_id']);
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
  IF filter ? 'column' THEN
    conditions := conditions || format('coalesce(c.changed_from, c.data_after) ? %L', filter ->> 'column');
  END IF;
  IF filter ? 'row_key' THEN
    conditions := conditions || format('coalesce(c.key_integer::text, c.key_bigint::text, c.key_uuid::text, c.key_text) = %L', filter ->> 'row_key');
  END IF;
  IF filter ? 'since' THEN
    conditions := conditions || format('c.captured_at >= %L::timestamptz', filter ->> 'since');
  END IF;
  IF filter ? 'until' THEN
    conditions := conditions || format('c.captured_at <= %L::timestamptz', filter ->> 'until');
  END IF;
  RETURN coalesce(nullif(array_to_string(conditions, E'\n   AND '), ''), 'true');
END
$function$;
COMMENT ON FUNCTION threadline_internal.timeline_condition(jsonb) IS 'SQL for the changes that a filter of the timeline lets through.';
-- Conditions decide, and that of the position is one of them.
CREATE FUNCTION threadline_internal.timeline_condition(filter jsonb, before_at timestamptz, before_id bigint) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
  SELECT threadline_internal.timeline_condition(filter) || CASE WHEN before_at IS NULL THEN '' ELSE
    format(E'\n   AND c.captured_at <= %1$L::timestamptz AND (c.captured_at, c.id) < (%1$L::timestamptz, %2$L::bigint)', before_at, before_id) END
$function$;
COMMENT ON FUNCTION threadline_internal.timeline_condition(jsonb, timestamptz, bigint) IS
  'SQL for the changes that a filter of the timeline lets through, older than a position.';
