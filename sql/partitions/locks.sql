-- Whoever waits for a lock makes all wait that come after. So this waits for moments only, and tries again.
CREATE FUNCTION threadline_internal.lock_or_give_up(statement text, until timestamptz,
  pause double precision DEFAULT 0.2)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET lock_timeout = '50 ms'
AS $function$
BEGIN
  LOOP
    BEGIN
      EXECUTE statement;
      RETURN true;
    EXCEPTION WHEN lock_not_available THEN
      IF clock_timestamp() >= until THEN
        RETURN false;
      END IF;
      PERFORM pg_sleep(pause);
    END;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.lock_or_give_up(text, timestamptz, double precision) IS
  'Runs a statement that takes locks, again until it got them or the time is up; returns whether it got them.';
