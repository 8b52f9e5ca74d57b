-- Updates the generated code of one table, in the transaction of the caller. Until then, the code of an older version
-- works with newer internals.
CREATE FUNCTION threadline.refresh_table(relation regclass) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  audited threadline.audited_tables;
BEGIN
  SELECT t.* INTO audited FROM threadline_internal.audited_table(refresh_table.relation) AS t
   WHERE t.capture_ended_at IS NULL;
  IF NOT FOUND THEN
    RAISE EXCEPTION '% is not audited', relation
      USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_refused',
        HINT = 'SELECT * FROM threadline.coverage; lists the tables that are.';
  END IF;
  PERFORM threadline.audit_table(relation, granularity => audited.requested_granularity);
END
$function$;
COMMENT ON FUNCTION threadline.refresh_table(regclass) IS
  'Updates the capture of an audited table to match its present columns and the installed version of Threadline.';

-- Returns whether half of the server's lock slots are taken. All transactions share them, and a transaction that finds
-- none left fails. A refresh that changes a table holds a lock on it and on each new function.
CREATE FUNCTION threadline_internal.locks_run_short() RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN (SELECT count(*) FROM pg_locks AS l WHERE NOT l.fastpath)
    > current_setting('max_locks_per_transaction')::bigint
      * (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint) / 2;
END
$function$;
COMMENT ON FUNCTION threadline_internal.locks_run_short() IS
  'Whether the locks of all transactions take more than half of the server''s lock slots.';

-- Updates the capture of every audited table to match its present columns. A table that cannot be refreshed does not
-- prevent the refresh of the others. It is one transaction, so writers of a table that it changed wait until the end.
-- So after changing one table it tries each of the others only for a moment, and it ends before the locks run out.
-- threadline refresh uses one transaction per table.
CREATE FUNCTION threadline.refresh_audited_tables() RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  lock_timeout text := current_setting('lock_timeout');
  audited threadline.audited_tables;
  refusal text;
  refreshed integer := 0;
  left_over integer;
BEGIN
  FOR audited IN SELECT t.* FROM threadline.audited_tables AS t
                  WHERE t.capture_ended_at IS NULL AND threadline_internal.is_table_of(t)
                    AND NOT threadline_internal.is_audited_twice(t)
                  ORDER BY t.id LOOP
    BEGIN
      PERFORM threadline.refresh_table(audited.relation);
      refreshed := refreshed + 1;
      IF NOT EXISTS (SELECT FROM threadline.audited_tables AS t
                      WHERE t.id = audited.id AND t IS NOT DISTINCT FROM audited) THEN
        PERFORM set_config('lock_timeout', '200 ms', true);
        SELECT count(*) INTO left_over FROM threadline.audited_tables AS t JOIN pg_class AS c ON c.oid = t.relation
         WHERE t.capture_ended_at IS NULL AND t.id > audited.id;
        IF left_over > 0 AND threadline_internal.locks_run_short() THEN
          RAISE WARNING 'tables that were not refreshed: %; one transaction cannot lock so many', left_over
            USING HINT = 'Their capture goes on as it was defined before. Run threadline refresh, which has a '
              'transaction for each table, or call this again when this transaction has ended.';
          EXIT;
        END IF;
      END IF;
    EXCEPTION WHEN OTHERS THEN
      GET STACKED DIAGNOSTICS refusal = MESSAGE_TEXT;
      RAISE WARNING '%: %; its capture goes on as it was defined before', audited.relation, refusal;
    END;
  END LOOP;
  PERFORM set_config('lock_timeout', lock_timeout, true);
  RETURN refreshed;
END
$function$;
COMMENT ON FUNCTION threadline.refresh_audited_tables() IS
  'Updates the capture of every audited table to match its present columns; returns the number of tables. Warns about '
  'tables that could not be refreshed.';
