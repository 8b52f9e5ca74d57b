CREATE FUNCTION threadline.actions(filter jsonb DEFAULT '{}', before_id uuid DEFAULT NULL, max_rows integer DEFAULT 50)
RETURNS SETOF threadline.audit_actions
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
DECLARE
  known text[] := '{action_id,actor_ref,correlation_id,since,name,until}';
BEGIN
  PERFORM threadline_internal.raise_unknown_filter(filter, known);
  RETURN QUERY EXECUTE concat(
    'SELECT x.* FROM threadline.audit_actions AS x WHERE true', threadline_internal.id_condition('x.id', filter,
      before_id),
    (SELECT string_agg(format(' AND x.%s %s', CASE f.key
         WHEN 'action_id' THEN 'id ='
         WHEN 'since' THEN 'occurred_at >='
         WHEN 'until' THEN 'occurred_at <='
         ELSE f.key || ' =' END, threadline_internal.filter_value(filter, f.key)), '' ORDER BY f.number)
       FROM unnest(known) WITH ORDINALITY AS f (key, number) WHERE filter ? f.key),
    ' ORDER BY x.id DESC LIMIT $1') USING max_rows;
END
$function$;
COMMENT ON FUNCTION threadline.actions(jsonb, uuid, integer) IS
  'A page of the recorded actions that match a filter, newest first; older than a position.';
