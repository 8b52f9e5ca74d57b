-- Returns the ids of the tables with changes in a partition, found by one index look-up per table.
CREATE FUNCTION threadline_internal.tables_in_partition(partition text) RETURNS SETOF integer
LANGUAGE plpgsql STABLE ROWS 10 SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
  found integer := -2147483648;
BEGIN
  LOOP
    EXECUTE format('SELECT c.table_id FROM threadline.%I AS c WHERE c.table_id > $1 ORDER BY c.table_id LIMIT 1',
      partition) INTO found USING found;
    EXIT WHEN found IS NULL;
    RETURN NEXT found;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.tables_in_partition(text) IS
  'The tables with changes in a partition of the audit log.';

-- There is no row for a table that has no policy, is kept forever, or is held as a whole.
CREATE FUNCTION threadline_internal.retention_cutoffs() RETURNS TABLE (table_id integer, retention_cutoff timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC'
AS $function$
  SELECT a.id, CASE WHEN p.whole_months THEN date_trunc('month', k.retention_cutoff) ELSE k.retention_cutoff END
    FROM threadline.audited_tables AS a
   CROSS JOIN LATERAL threadline_internal.retention_policy(a.id) AS p
   CROSS JOIN LATERAL (SELECT least(now() - p.keep, now() - interval '1 day') AS retention_cutoff) AS k
   WHERE p.keep IS NOT NULL AND NOT EXISTS (SELECT FROM threadline.legal_holds AS h WHERE h.table_id = a.id
     AND h.row_key IS NULL)
$function$;
COMMENT ON FUNCTION threadline_internal.retention_cutoffs() IS
  'The time before which changes of each table may be purged.';

-- Returns the condition under which a change c of a partition, with its transaction t, is purged with the others of its
-- table.
CREATE FUNCTION threadline_internal.retention_condition() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'c.table_id = $1 AND c.captured_at < $2
     AND NOT EXISTS (SELECT FROM threadline.legal_holds AS h
                      WHERE h.table_id = c.table_id AND h.row_key = threadline_internal.key_of(c))'
    || CASE WHEN EXISTS (SELECT FROM threadline.legal_holds AS h WHERE h.actor_ref IS NOT NULL) THEN '
     AND NOT EXISTS (SELECT FROM threadline.legal_holds AS h
                       LEFT JOIN threadline.audit_transactions AS t ON t.id = c.transaction_id
                      CROSS JOIN LATERAL threadline_internal.context_of(c.context, t) AS x
                      WHERE h.actor_ref IN (x.actor_ref, x.on_behalf_of))' ELSE '' END
$function$;
COMMENT ON FUNCTION threadline_internal.retention_condition() IS
  'SQL for the changes of a table ($1) before its retention cutoff ($2) that are under no hold.';

-- A partition is dropped as a whole if the policies of all tables with changes in it allow it and nothing in it is
-- held. Held rows are found as in the timeline. For held actors the whole partition is read, because a change may be
-- older than its transaction if a clock was set back.
CREATE FUNCTION threadline_internal.partition_is_droppable(partition text, lower_bound timestamptz,
  upper_bound timestamptz) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
  SELECT isfinite(lower_bound) AND upper_bound <= (SELECT max(h.retention_cutoff)
    FROM threadline_internal.retention_cutoffs() AS h)
     AND NOT EXISTS (SELECT FROM threadline_internal.tables_in_partition(partition) AS t (id) LEFT
       JOIN threadline_internal.retention_cutoffs() AS h ON h.table_id = t.id
                      WHERE h.retention_cutoff IS NULL OR h.retention_cutoff < upper_bound)
     AND NOT EXISTS (
       SELECT FROM threadline.legal_holds AS h
        CROSS JOIN LATERAL threadline_internal.timeline_page(threadline_internal.row_filter(h.table_id, h.row_key)
          || jsonb_build_object('since', lower_bound, 'until', upper_bound - interval '1 microsecond'), NULL, NULL, 1)
        WHERE h.row_key IS NOT NULL)
     AND CASE WHEN EXISTS (SELECT FROM threadline.legal_holds AS h WHERE h.actor_ref IS NOT NULL) THEN NOT EXISTS (
           SELECT FROM threadline.audit_changes AS c
             LEFT JOIN threadline.audit_transactions AS t ON t.id = c.transaction_id
            CROSS JOIN LATERAL threadline_internal.context_of(c.context, t) AS x
             JOIN threadline.legal_holds AS h ON h.actor_ref IN (x.actor_ref, x.on_behalf_of)
            WHERE c.captured_at >= lower_bound AND c.captured_at < upper_bound)
         ELSE true END
$function$;
COMMENT ON FUNCTION threadline_internal.partition_is_droppable(text, timestamptz, timestamptz) IS
  'Whether a partition of the audit log may be dropped.';

-- SECURITY DEFINER, because a role that may read the audit log may not read its partitions, which come and go.
CREATE FUNCTION threadline_internal.retention_plan()
RETURNS TABLE (partition text, table_schema text, table_name text, retention_cutoff timestamptz, is_dropped boolean,
  changes bigint, kept bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  part record;
  aged record;
BEGIN
  FOR part IN SELECT p.name, p.upper_bound, threadline_internal.partition_is_droppable(p.name, p.lower_bound,
    p.upper_bound) AS agreed
                FROM threadline_internal.partitions() AS p
               WHERE p.lower_bound < (SELECT max(h.retention_cutoff) FROM threadline_internal.retention_cutoffs() AS h)
                 ORDER BY p.name COLLATE "C" LOOP
    partition := part.name;
    is_dropped := part.agreed;
    FOR aged IN SELECT h.*, n.table_schema, n.table_name
                  FROM threadline_internal.tables_in_partition(part.name) AS t (id)
                  JOIN threadline_internal.retention_cutoffs() AS h ON h.table_id = t.id
                  JOIN threadline_internal.audited_table_names AS n ON (n.audited).id = t.id
                 ORDER BY n.table_schema, n.table_name LOOP
      table_schema := aged.table_schema;
      table_name := aged.table_name;
      retention_cutoff := aged.retention_cutoff;
      EXECUTE format('SELECT count(*) FILTER (WHERE %s), count(*) FROM threadline.%I AS c WHERE c.table_id = $1',
        CASE WHEN is_dropped THEN 'true' ELSE threadline_internal.retention_condition() END, part.name) INTO changes,
          kept USING aged.table_id, aged.retention_cutoff;
      kept := kept - changes;
      IF changes > 0 THEN
        RETURN NEXT;
      END IF;
    END LOOP;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.retention_plan() IS
  'What a purge would remove now: for each partition and table, the number of changes to remove, the number that '
  'stays, and whether the partition is dropped. It reads the changes to count them.';
