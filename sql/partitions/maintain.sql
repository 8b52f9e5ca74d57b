-- For a timer: pg_cron, or the command line. Whoever waits for a lock makes all wait that come after, so it waits for moments
-- only, and tries again until its patience is at an end. Then it leaves nothing, and the next call begins anew.
CREATE FUNCTION threadline.maintain(months_ahead integer DEFAULT 3, patience interval DEFAULT '10 s', OUT created integer, OUT postponed integer)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '50 ms'
AS $function$
DECLARE
  until timestamptz := clock_timestamp() + patience;
  months timestamptz[] := '{}';
BEGIN
  created := 0;
  postponed := 0;
  -- Autovacuum analyses partitions, and never the table they are of. Before the locks, which last until the end.
  ANALYZE threadline.audit_changes;
  BEGIN
    LOOP
      BEGIN
        PERFORM pg_advisory_xact_lock(hashtextextended('threadline', 0));
        EXIT;
      EXCEPTION WHEN lock_not_available THEN
        IF clock_timestamp() >= until THEN
          RAISE;
        END IF;
      END;
    END LOOP;
    months := threadline_internal.prepare_partitions(months_ahead);
    WHILE months <> '{}' AND created = 0 LOOP
      BEGIN
        PERFORM threadline_internal.attach_partitions(months);
        created := cardinality(months);
      EXCEPTION WHEN lock_not_available THEN
        IF clock_timestamp() >= until THEN
          RAISE;
        END IF;
        PERFORM pg_sleep(0.2);
      END;
    END LOOP;
  EXCEPTION WHEN lock_not_available THEN
    postponed := greatest(cardinality(months), 1);
  END;
END
$function$;
COMMENT ON FUNCTION threadline.maintain(integer, interval) IS
  'Does as threadline_internal.create_partitions without keeping anybody waiting, and analyses the record: returns how many partitions it created, or put off since a lock was not to be had for so long. To be called daily.';
