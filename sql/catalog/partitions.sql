-- Returns a table and its partitions, as pg_partition_tree does; no rows if the table is neither partitioned nor a
-- partition. pg_partition_tree waits for a lock on each partition, so the owner of one could block everyone who checks
-- the health of all tables.
CREATE FUNCTION threadline_internal.partition_tree(relation regclass) RETURNS TABLE (relid regclass, isleaf boolean)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 10 SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH RECURSIVE tree AS (
    SELECT c.oid, c.relkind FROM pg_class AS c WHERE c.oid = relation AND (c.relkind = 'p' OR c.relispartition)
    UNION ALL
    SELECT c.oid, c.relkind
      FROM tree AS t JOIN pg_inherits AS i ON i.inhparent = t.oid JOIN pg_class AS c ON c.oid = i.inhrelid
           -- Since PostgreSQL 14, pg_inherits also contains a partition that is being detached concurrently.
     WHERE t.relkind = 'p' AND (to_jsonb(i) ->> 'inhdetachpending')::boolean IS NOT TRUE
  )
  SELECT t.oid::regclass, t.relkind <> 'p' FROM tree AS t;
END
$function$;
COMMENT ON FUNCTION threadline_internal.partition_tree(regclass) IS
  'A partitioned table or a partition, and all partitions below it; takes no locks.';
