CREATE FUNCTION threadline_internal.row_estimate(relation regclass) RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  -- The one is counted at the last VACUUM or ANALYZE, the other since the server crashed last.
  SELECT coalesce(sum(greatest(c.reltuples, pg_stat_get_live_tuples(c.oid), 0)), 0)::bigint
    FROM pg_class AS c
   WHERE c.relkind = 'r' AND c.oid IN (SELECT relation UNION ALL SELECT p.relid FROM pg_partition_tree(relation) AS p)
$function$;
COMMENT ON FUNCTION threadline_internal.row_estimate(regclass) IS 'About how many rows a table has, its partitions included.';

CREATE FUNCTION threadline.storage_usage()
RETURNS TABLE (table_name text, changes_from timestamptz, changes_before timestamptz, row_estimate bigint, total_bytes bigint)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT c.relname::text, CASE WHEN isfinite(p.lower_bound) THEN p.lower_bound END, CASE WHEN isfinite(p.upper_bound) THEN p.upper_bound END,
         threadline_internal.row_estimate(c.oid), pg_total_relation_size(c.oid)
    FROM pg_class AS c
    LEFT JOIN threadline_internal.partitions() AS p ON p.name = c.relname
   WHERE c.relnamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace) AND c.relkind = 'r'
   ORDER BY 2 NULLS FIRST, 1
$function$;
COMMENT ON FUNCTION threadline.storage_usage() IS
  'Each table and partition of the record, with the times of the changes it holds, about how many rows, and the bytes it takes, indexes included.';

CREATE FUNCTION threadline.capture_activity()
RETURNS TABLE (table_schema text, table_name text, capture_since timestamptz, capture_ended_at timestamptz,
  first_captured_at timestamptz, last_captured_at timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(n.nspname, a.table_schema), coalesce(c.relname, a.table_name), a.capture_since, a.capture_ended_at,
         (SELECT x.captured_at FROM threadline.audit_changes AS x WHERE x.table_id = a.id ORDER BY x.captured_at LIMIT 1),
         (SELECT x.captured_at FROM threadline.audit_changes AS x WHERE x.table_id = a.id ORDER BY x.captured_at DESC LIMIT 1)
    FROM threadline.audited_tables AS a
    LEFT JOIN pg_class AS c ON c.oid = a.relation
    LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace
   ORDER BY 1, 2
$function$;
COMMENT ON FUNCTION threadline.capture_activity() IS
  'Each table that is or was under capture, with the times of its oldest and its latest recorded change.';
