-- If a release changes relations, its migration first locks all of them, or none: otherwise a reader of a view could
-- wait for a table that the migration has locked, while the migration waits for the view. An attempt ends less than a
-- second after its first lock, before PostgreSQL checks for such deadlocks. A view is locked before the relations that
-- it reads, which were created earlier, so that its readers can finish. LOCK would also lock what a view reads,
-- including the catalog, so instead the view is assigned its present owner.
CREATE FUNCTION threadline_internal.lock_relations(until timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET lock_timeout = '800 ms'
AS $function$
DECLARE
  attempt_ends timestamptz;
  locked regclass;
  statement text;
BEGIN
  LOOP
    BEGIN
      attempt_ends := NULL;
      FOR locked, statement IN
        SELECT c.oid, CASE c.relkind
                 WHEN 'v' THEN format('ALTER VIEW %s OWNER TO %s', c.oid::regclass, c.relowner::regrole)
                 ELSE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', c.oid::regclass) END
          FROM pg_class AS c
         WHERE c.relnamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace)
           AND c.relkind IN ('p', 'r', 'v') AND NOT c.relispartition
         ORDER BY c.relkind DESC, CASE c.relkind WHEN 'v' THEN -c.oid::bigint END, c.relname LOOP
        PERFORM set_config('lock_timeout', format('%s ms', coalesce(greatest(1, floor(1000 * extract(epoch
          FROM attempt_ends - clock_timestamp()))), 800)), true);
        EXECUTE statement;
        attempt_ends := coalesce(attempt_ends, clock_timestamp() + interval '800 ms');
      END LOOP;
      RETURN;
    EXCEPTION WHEN lock_not_available THEN
      IF clock_timestamp() >= until THEN
        RAISE EXCEPTION 'the audit log is in use: % could not be locked', locked
          USING ERRCODE = 'lock_not_available', CONSTRAINT = 'threadline_refused',
            HINT = 'A transaction that has written or read it is open. Run the migration again when it has ended; '
              'lock_timeout says how long to try.';
      END IF;
      PERFORM pg_sleep(0.2);
    END;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.lock_relations(timestamptz) IS
  'Locks the tables and views of the audit log until the end of the transaction, trying until a time.';

-- Every migration after the first begins with this function.
CREATE FUNCTION threadline_internal.begin_migration(changes_relations boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  PERFORM threadline_internal.take_lock('definitions');
  PERFORM threadline_internal.drop_kept_functions();
  IF changes_relations THEN
    PERFORM threadline_internal.lock_relations(clock_timestamp() + threadline_internal.patience());
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.begin_migration(boolean) IS
  'Blocks changes of capture definitions and, if the migration changes tables or views, readers and writers, until the '
  'migration ends.';

-- A migration renames a function whose result or arguments it changes, and keeps one that it removes: a user's view may
-- depend on it, a query may be running, and generated code of an older version may call it. A later migration drops it
-- when nothing depends on it and no function names it.
CREATE FUNCTION threadline_internal.drop_kept_functions() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  kept regprocedure;
BEGIN
  FOR kept IN
    SELECT p.oid
      FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
     WHERE n.nspname IN ('threadline', 'threadline_internal')
       AND starts_with(obj_description(p.oid, 'pg_proc'), 'Kept from release ')
       AND NOT EXISTS (SELECT FROM pg_proc AS c
                        WHERE c.oid <> p.oid AND strpos(c.prosrc, format('%s.%s(', n.nspname, p.proname)) > 0) LOOP
    BEGIN
      EXECUTE format('DROP FUNCTION %s', kept);
    EXCEPTION WHEN dependent_objects_still_exist THEN
      NULL;
    END;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.drop_kept_functions() IS
  'Drops the functions that earlier migrations kept, except those that something depends on or calls.';
