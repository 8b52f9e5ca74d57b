CREATE FUNCTION threadline_internal.partition_of(month timestamptz) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC'
AS $function$
  SELECT 'audit_changes_' || to_char(month, 'YYYY_MM')
$function$;
COMMENT ON FUNCTION threadline_internal.partition_of(timestamptz) IS 'The name of the partition of a month.';

CREATE FUNCTION threadline_internal.partitions() RETURNS TABLE (name text, lower_bound timestamptz,
  upper_bound timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
  SELECT c.relname::text, coalesce(substring(bounds FROM 'FROM [(]''([^'']+)''[)]')::timestamptz, '-infinity'),
         coalesce(substring(bounds FROM 'TO [(]''([^'']+)''[)]')::timestamptz, 'infinity')
    FROM pg_inherits AS i
    JOIN pg_class AS c ON c.oid = i.inhrelid
   CROSS JOIN LATERAL pg_get_expr(c.relpartbound, c.oid) AS bounds
   WHERE i.inhparent = 'threadline.audit_changes'::regclass
$function$;
COMMENT ON FUNCTION threadline_internal.partitions() IS
  'The partitions of the audit log, with the time range that each can hold.';
