-- Rows and diffs equal those of threadline_internal.row_expression and threadline_internal.diff_expression, which are
-- generated for one table.
CREATE FUNCTION threadline.timeline(filter jsonb DEFAULT '{}', tables regclass[] DEFAULT NULL,
  before_at timestamptz DEFAULT NULL,
  before_id bigint DEFAULT NULL, max_rows integer DEFAULT 50)
RETURNS TABLE (table_schema text, table_name text, actions jsonb, id bigint, transaction_id uuid, op text,
  captured_at timestamptz,
  row_key text, moved_key text, changed_fields text[], diff jsonb, "row" jsonb, row_before jsonb, actor_ref jsonb,
    on_behalf_of jsonb,
  source text, correlation_id text, request_id text, job_id text, remote_ip inet, meta jsonb, occurred_at timestamptz,
    database_role text,
  application_name text)
LANGUAGE sql STABLE
AS $function$
  SELECT c.table_schema, c.table_name, x.actions, c.id, c.transaction_id, c.op, c.captured_at, c.row_key, c.moved_key,
         ARRAY(SELECT pg_catalog.jsonb_object_keys(coalesce(c.changed_from, c.data_after)
           OPERATOR(pg_catalog.-) ''::pg_catalog.text)),
         (SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('column', k)
                   OPERATOR(pg_catalog.||) CASE WHEN c.row_before OPERATOR(pg_catalog.?) k
                     THEN pg_catalog.jsonb_build_object('before', c.row_before OPERATOR(pg_catalog.->) k) ELSE '{}' END
                   OPERATOR(pg_catalog.||) CASE WHEN c.row_after OPERATOR(pg_catalog.?) k
                     THEN pg_catalog.jsonb_build_object('after', c.row_after OPERATOR(pg_catalog.->) k) ELSE '{}' END
                   OPERATOR(pg_catalog.||) CASE WHEN c.masks OPERATOR(pg_catalog.?) k
                     THEN '{"masked": true}'::pg_catalog.jsonb ELSE '{}' END
                   ORDER BY k COLLATE pg_catalog."C"), '[]')
            FROM pg_catalog.jsonb_object_keys((CASE WHEN c.after IS NULL OR c.before IS NULL THEN
              coalesce(c.row_after, c.row_before) ELSE c.before END) OPERATOR(pg_catalog.-) ''::pg_catalog.text) AS k
           WHERE c.row_before OPERATOR(pg_catalog.?) k OR c.row_after OPERATOR(pg_catalog.?) k),
         coalesce(c.row_after, c.row_before), c.row_before,
         c.actor_ref, c.on_behalf_of, c.source, c.correlation_id, c.request_id, c.job_id, c.remote_ip, c.meta,
           c.occurred_at, c.database_role,
         c.application_name
    FROM (SELECT c.*, ((c.defaults OPERATOR(pg_catalog.||) c.after) OPERATOR(pg_catalog.-) c.excluded_columns)
      OPERATOR(pg_catalog.||) c.masks AS row_after,
                 ((c.defaults OPERATOR(pg_catalog.||) c.whole_before) OPERATOR(pg_catalog.-) c.excluded_columns)
                   OPERATOR(pg_catalog.||) c.masks AS row_before
            FROM threadline_internal.timeline_rows(timeline.filter, timeline.tables, timeline.before_at,
              timeline.before_id, timeline.max_rows) AS c
           ORDER BY c.captured_at DESC, c.id DESC) AS c
   CROSS JOIN LATERAL threadline_internal.transaction_actions(c.transaction_id) AS x (actions)
   ORDER BY c.captured_at DESC, c.id DESC
$function$;
COMMENT ON FUNCTION threadline.timeline(jsonb, regclass[], timestamptz, bigint, integer) IS
  'A page of the changes that match a filter, newest first, each with its transaction and the actions of that '
  'transaction; older than a position.';

CREATE FUNCTION threadline.timeline_count(filter jsonb DEFAULT '{}', tables regclass[] DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
DECLARE
  resolved jsonb := threadline_internal.timeline_filter(coalesce(filter, '{}'), tables);
  key text := threadline_internal.most_selective_key(resolved);
  allowed text := threadline_internal.timeline_condition(resolved);
  parts text;
  total bigint;
BEGIN
  IF resolved ? 'row_keys' AND NOT threadline_internal.finds_by_transaction(resolved, key) THEN
    SELECT string_agg(format('SELECT c.id FROM %s CROSS JOIN LATERAL (%s) AS c', s.tables,
             threadline_internal.changes_where(s.condition, allowed)), ' UNION ALL ')
      INTO parts FROM threadline_internal.timeline_sources(resolved, 1) AS s;
  ELSE
    parts := threadline_internal.changes_where(coalesce(
      'c.transaction_id IN (' || threadline_internal.filtered_transactions(resolved, key) || ')', 'true'), allowed);
  END IF;
  EXECUTE format('SELECT count(*) FROM (%s) AS c', coalesce(parts, 'SELECT WHERE false')) INTO total;
  RETURN total;
END
$function$;
COMMENT ON FUNCTION threadline.timeline_count(jsonb, regclass[]) IS 'Number of changes that match a timeline filter.';
