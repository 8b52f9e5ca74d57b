CREATE FUNCTION threadline.actions(filter jsonb DEFAULT '{}', before_id uuid DEFAULT NULL, max_rows integer DEFAULT 50)
RETURNS SETOF threadline.audit_actions
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
BEGIN
  PERFORM threadline_internal.raise_unknown_filter(filter, ARRAY['action_id', 'actor_ref', 'correlation_id', 'since', 'name', 'until']);
  RETURN QUERY EXECUTE concat('SELECT x.* FROM threadline.audit_actions AS x WHERE true', threadline_internal.id_condition('x.id', filter, before_id),
    CASE WHEN filter ? 'action_id' THEN format(' AND x.id = %L::uuid', filter ->> 'action_id') END,
    CASE WHEN filter ? 'actor_ref' THEN format(' AND x.actor_ref = %L::jsonb', filter -> 'actor_ref') END,
    CASE WHEN filter ? 'correlation_id' THEN format(' AND x.correlation_id = %L', filter ->> 'correlation_id') END,
    CASE WHEN filter ? 'name' THEN format(' AND x.name = %L', filter ->> 'name') END,
    CASE WHEN filter ? 'since' THEN format(' AND x.occurred_at >= %L::timestamptz', filter ->> 'since') END,
    CASE WHEN filter ? 'until' THEN format(' AND x.occurred_at <= %L::timestamptz', filter ->> 'until') END,
    ' ORDER BY x.id DESC LIMIT $1') USING max_rows;
END
$function$;
COMMENT ON FUNCTION threadline.actions(jsonb, uuid, integer) IS
  'A page of the recorded actions that a filter lets through, newest first; older than a position.';
