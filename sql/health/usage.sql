CREATE FUNCTION threadline_internal.row_estimate(relation regclass) RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  -- reltuples is from the last VACUUM or ANALYZE, the live tuples are counted since the last crash of the server.
  SELECT coalesce(sum(greatest(c.reltuples, pg_stat_get_live_tuples(c.oid), 0)), 0)::bigint
    FROM pg_class AS c
   WHERE c.relkind = 'r' AND c.oid IN (SELECT relation
                                       UNION ALL SELECT p.relid FROM threadline_internal.partition_tree(relation) AS p)
$function$;
COMMENT ON FUNCTION threadline_internal.row_estimate(regclass) IS
  'Estimated number of rows of a table, including its partitions.';
