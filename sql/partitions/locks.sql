-- A statement that waits for a lock blocks all statements that come after it. So this function waits only for moments,
-- and retries.
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
  'Runs a statement that takes locks, and retries until it gets them or the time is up; returns whether it got them.';

-- Takes a lock until the end of the transaction. Only the owner of the audit log can lock a row of this table; anyone
-- can take an advisory lock.
CREATE FUNCTION threadline_internal.take_lock(name text, shared boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF shared THEN
    PERFORM FROM threadline_internal.locks AS l WHERE l.name = take_lock.name FOR SHARE;
  ELSE
    PERFORM FROM threadline_internal.locks AS l WHERE l.name = take_lock.name FOR UPDATE;
  END IF;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'threadline_internal.locks has no row %', take_lock.name
      USING ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_refused',
        HINT = format('INSERT INTO threadline_internal.locks VALUES (%L);', take_lock.name);
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.take_lock(text, boolean) IS
  'Waits for a lock, and holds it until the end of the transaction.';

-- Locks a table against writes, trying for moments at a time: a statement that waits for a lock blocks all statements
-- that come after it.
CREATE FUNCTION threadline_internal.lock_table(relation regclass, mode text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF NOT threadline_internal.lock_or_give_up(format('LOCK TABLE %s IN %s MODE', relation, mode),
    clock_timestamp() + threadline_internal.patience()) THEN
    RAISE EXCEPTION 'could not lock % within %', relation, threadline_internal.patience()
      USING ERRCODE = 'lock_not_available', CONSTRAINT = 'threadline_audit_table', TABLE = relation::text,
        HINT = 'A transaction that has written or locked it is open. Call this again when it has ended; lock_timeout '
          'says how long to try.';
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.lock_table(regclass, text) IS
  'Locks a table, trying for moments at a time; raises an error when patience() is exceeded.';

-- Returns how long to try to lock a table: as long as the session would wait for any lock.
CREATE FUNCTION threadline_internal.patience() RETURNS interval
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(nullif(current_setting('lock_timeout')::interval, '0'), '10 s')
$function$;
COMMENT ON FUNCTION threadline_internal.patience() IS 'lock_timeout of the session, or 10 s if it is not set.';
