-- What every migration after the first begins with. A relation that the release changes is locked first, and all at once:
-- whoever reads a view would otherwise wait for a table that the migration has, while it waits for the view.
CREATE FUNCTION threadline_internal.begin_migration(changes_relations boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  relations text;
BEGIN
  PERFORM threadline_internal.take_lock('definitions');
  PERFORM threadline_internal.drop_kept_functions();
  IF NOT changes_relations THEN
    RETURN;
  END IF;
  SELECT string_agg(c.oid::regclass::text, ', ' ORDER BY c.relname) INTO relations
    FROM pg_class AS c
   WHERE c.relnamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace)
     AND c.relkind IN ('p', 'r', 'v') AND NOT c.relispartition;
  IF NOT threadline_internal.lock_or_give_up(format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', relations),
    clock_timestamp() + threadline_internal.patience()) THEN
    RAISE EXCEPTION 'the audit log was in use for longer than %', threadline_internal.patience()
      USING ERRCODE = 'lock_not_available', CONSTRAINT = 'threadline_refused',
        HINT = 'A transaction that has written or read it is open. Run the migration again when it has ended; '
          'lock_timeout says how long to try.';
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.begin_migration(boolean) IS
  'Keeps definitions of capture and, where the migration changes tables or views, readers and writers away until it ends.';

-- A migration renames a function whose result or arguments it changes, and leaves one that it removes: a view of somebody
-- may stand on it, a query may be running, and generated code of an older version may call it. A later migration drops it
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
  'Drops the functions that earlier migrations kept, but for those that something depends on or calls.';
