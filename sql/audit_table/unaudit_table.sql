-- Ends the capture of a table.
CREATE FUNCTION threadline.unaudit_table(relation regclass) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  ended integer;
  event text;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('threadline', 0));
  UPDATE threadline.audited_tables AS t SET capture_ended_at = clock_timestamp()
   WHERE t.relation = unaudit_table.relation AND t.capture_ended_at IS NULL RETURNING t.id INTO ended;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM threadline_internal.drop_triggers(relation);
  FOREACH event IN ARRAY ARRAY['insert', 'update', 'delete', 'truncate'] LOOP
    EXECUTE format('DROP FUNCTION threadline_internal.%I()', format('capture_%s_%s', ended, event));
  END LOOP;
  -- Now that no writer is left (dropping a trigger waits for them), the time is right.
  UPDATE threadline.audited_tables SET capture_ended_at = clock_timestamp() WHERE id = ended;
  RETURN true;
END
$function$;
COMMENT ON FUNCTION threadline.unaudit_table(regclass) IS
  'Ends the capture of a table and keeps its history and its reading functions; returns false if it was not under '
  'capture.';
