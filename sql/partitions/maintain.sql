-- For a timer: pg_cron, or the command line. It waits for locks for moments only, until its patience is at an end. Then
-- it leaves nothing, and the next call begins anew.
CREATE FUNCTION threadline.maintain(months_ahead integer DEFAULT 3, patience interval DEFAULT '10 s',
  OUT created integer, OUT postponed integer)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
  SET lock_timeout = '50 ms'
AS $function$
DECLARE
  until timestamptz := clock_timestamp() + patience;
  months timestamptz[] := '{}';
BEGIN
  created := 0;
  postponed := 0;
  -- Autovacuum analyzes partitions, and never the table they are of. Before the locks, which last until the end.
  -- Without the lock it needs, the statistics stay as they are until the next call.
  PERFORM threadline_internal.lock_or_give_up('ANALYZE threadline.audit_changes', until);
  BEGIN
    IF NOT threadline_internal.lock_or_give_up(
      $sql$SELECT pg_advisory_xact_lock(hashtextextended('threadline', 0))$sql$, until, 0) THEN
      RAISE lock_not_available;
    END IF;
    months := threadline_internal.prepare_partitions(months_ahead);
    IF months <> '{}' AND NOT threadline_internal.lock_or_give_up(
        format('SELECT threadline_internal.attach_partitions(%L)', months), until) THEN
      RAISE lock_not_available;
    END IF;
    created := cardinality(months);
  EXCEPTION WHEN lock_not_available THEN
    postponed := greatest(cardinality(months), 1);
  END;
END
$function$;
COMMENT ON FUNCTION threadline.maintain(integer, interval) IS
  'Does as threadline_internal.create_partitions without keeping anybody waiting, and analyses the audit log: '
  'returns how many partitions it created, or put off since a lock was not to be had for so long. To be called '
  'daily.';
