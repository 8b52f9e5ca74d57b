REVOKE ALL ON ALL FUNCTIONS IN SCHEMA threadline, threadline_internal FROM PUBLIC;

SELECT threadline_internal.create_partitions();

-- Everybody may use the row type of a table unless told not to, and a table with a column of it would keep the audit
-- log from being altered, and a partition from being dropped.
DO $do$
DECLARE
  type regtype;
BEGIN
  FOR type IN SELECT y.oid FROM pg_type AS y
               WHERE y.typnamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace)
                 AND y.typtype = 'c' LOOP
    EXECUTE format('REVOKE USAGE ON TYPE %s FROM PUBLIC', type);
  END LOOP;
END
$do$;
