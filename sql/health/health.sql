CREATE FUNCTION threadline_internal.health_partitions() RETURNS TABLE ("check" text, severity text, table_schema text,
  table_name text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC'
AS $function$
  SELECT 'partition_missing', 'warning', 'threadline', 'audit_changes',
         format('there is no partition for the changes of %s', to_char(m, 'YYYY-MM')),
         CASE WHEN to_regclass(name) IS NULL THEN 'SELECT threadline.maintain(); and let it be called every day.'
           ELSE format('ALTER TABLE threadline.audit_changes ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L);', name,
             m, m + interval '1 month') END
    FROM generate_series(date_trunc('month', now()), date_trunc('month', now()) + interval '1 month',
      interval '1 month') AS m
   CROSS JOIN LATERAL (SELECT 'threadline.audit_changes_' || to_char(m, 'YYYY_MM')) AS p (name)
   WHERE NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = 'threadline.audit_changes'::regclass
     AND inhrelid = to_regclass(name))
  UNION ALL
  SELECT 'default_partition', 'warning', 'threadline', 'audit_changes_default',
         format('%s changes, the latest of %s, stand in the default partition', d.count, d.latest),
         format('SELECT threadline.maintain(%s); and let it be called every day.', greatest(3,
           (extract(year FROM d.latest) - extract(year FROM now())) * 12 + extract(month FROM d.latest) - extract(month
             FROM now())))
    FROM (SELECT count(*), max(c.captured_at) AS latest FROM threadline.audit_changes_default AS c) AS d
   WHERE d.count > 0
  UNION ALL
  SELECT 'key_index_missing', 'warning', 'threadline', m.partition,
         'reading the history of a row reads all changes of its table in that month',
         m.concurrent_statement || '; or threadline maintain.'
    FROM threadline_internal.missing_key_indexes() AS m
  UNION ALL
  SELECT 'partition_kept', 'warning', 'threadline', c.relname,
         'its changes were purged; it is empty, and something depends on it',
         format('DROP TABLE %s CASCADE; which drops what depends on it, too.', c.oid::regclass)
    FROM pg_class AS c
   WHERE c.relnamespace = 'threadline'::regnamespace AND c.relname LIKE 'purged#_audit#_changes#_%' ESCAPE '#'
$function$;
COMMENT ON FUNCTION threadline_internal.health_partitions() IS 'Problems of the partitions of the audit log.';

-- Returns all problems. It only reads, with the rights of the caller.
CREATE FUNCTION threadline_internal.health()
RETURNS TABLE ("check" text, severity text, table_schema text, table_name text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT h.* FROM (SELECT * FROM threadline_internal.health_tables()
                   UNION ALL SELECT * FROM threadline_internal.health_partitions()
                   UNION ALL SELECT * FROM threadline_internal.health_sequences()
                   UNION ALL SELECT * FROM threadline_internal.health_foreign()
                   UNION ALL SELECT * FROM threadline_internal.health_uncovered()
                   UNION ALL SELECT * FROM threadline_internal.health_rights()
                   UNION ALL SELECT * FROM threadline_internal.health_upgrades()) AS h
   ORDER BY h.severity, h.table_schema NULLS LAST, h.table_name, h."check", h.message
$function$;
COMMENT ON FUNCTION threadline_internal.health() IS
  'Problems of the audit log and its capture, errors first, each with advice; empty if there are none.';
