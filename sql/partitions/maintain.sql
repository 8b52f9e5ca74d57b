-- For a timer: pg_cron, or the command line. It waits for locks for moments only, until its patience is at an end. Then
-- it leaves nothing, and the next call begins anew. Autovacuum analyzes partitions, and never the table they are of. It
-- comes before the locks, which last until the end; without the lock it needs, the statistics stay as they are.
CREATE FUNCTION threadline.maintain(months_ahead integer DEFAULT 3, patience interval DEFAULT '10 s',
  OUT created integer, OUT postponed integer)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  until timestamptz := clock_timestamp() + patience;
BEGIN
  PERFORM threadline_internal.lock_or_give_up('ANALYZE threadline.audit_changes', until);
  -- What takes long comes first, and what keeps writers waiting last.
  PERFORM threadline_internal.create_key_indexes(past_months => true);
  SELECT p.created, p.postponed INTO created, postponed
    FROM threadline_internal.create_partitions(months_ahead, until - clock_timestamp()) AS p;
  PERFORM threadline_internal.create_key_indexes();
END
$function$;
COMMENT ON FUNCTION threadline.maintain(integer, interval) IS
  'Does as threadline_internal.create_partitions, and analyses the audit log: returns how many partitions it created, '
  'or put off since a lock was not to be had for so long. To be called daily.';
