-- Brings the generated code of one table up to date, in the transaction of the caller. The code of an older version
-- works with newer internals until then.
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
  'Brings the capture of an audited table in line with its present columns and the installed version of Threadline.';

-- Brings the capture of every audited table in line with its present columns. Whatever keeps it from refreshing one
-- table does not keep it from the others. It is one transaction, so writers of a table that it changed wait until the
-- end. So once it has changed one it tries each of the others for a moment only; threadline refresh has a transaction
-- for each table.
CREATE FUNCTION threadline.refresh_audited_tables() RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  lock_timeout text := current_setting('lock_timeout');
  audited threadline.audited_tables;
  refusal text;
  refreshed integer := 0;
BEGIN
  FOR audited IN SELECT t.* FROM threadline.audited_tables AS t
                  WHERE t.capture_ended_at IS NULL AND threadline_internal.is_table_of(t)
                    AND NOT threadline_internal.is_audited_twice(t)
                  ORDER BY t.id LOOP
    BEGIN
      PERFORM threadline.refresh_table(audited.relation);
      refreshed := refreshed + 1;
      IF NOT EXISTS (SELECT FROM threadline.audited_tables AS t WHERE t IS NOT DISTINCT FROM audited) THEN
        PERFORM set_config('lock_timeout', '200 ms', true);
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
  'Brings the capture of every audited table in line with its present columns; returns for how many. '
  'Warns of those that could not be refreshed.';
