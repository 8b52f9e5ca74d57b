-- For a scheduler: pg_cron, or the command line. It waits for locks only for moments, until its patience is exceeded.
-- Then it leaves nothing behind, and the next call starts again. Autovacuum analyzes partitions, but never their parent
-- table. ANALYZE runs before the locks, which last until the end; if it cannot get its lock, the statistics stay as
-- they are.
CREATE FUNCTION threadline.maintain(months_ahead integer DEFAULT 3, patience interval DEFAULT '10 s',
  OUT created integer, OUT postponed integer)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  until timestamptz := clock_timestamp() + patience;
BEGIN
  PERFORM threadline_internal.lock_or_give_up('ANALYZE threadline.audit_changes', until);
  -- Slow work comes first, and work that blocks writers comes last.
  PERFORM threadline_internal.create_key_indexes(past_months => true);
  SELECT p.created, p.postponed INTO created, postponed
    FROM threadline_internal.create_partitions(months_ahead, until - clock_timestamp()) AS p;
  PERFORM threadline_internal.create_key_indexes();
END
$function$;
COMMENT ON FUNCTION threadline.maintain(integer, interval) IS
  'Runs threadline_internal.create_partitions, and analyzes the audit log. Returns how many partitions it created, and '
  'how many it postponed because it could not get a lock for so long. Call it daily.';
