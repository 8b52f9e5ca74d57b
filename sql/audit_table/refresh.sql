-- Brings the capture of every audited table in line with its present columns. Whatever keeps it from refreshing one
-- table does not keep it from the others. Once it holds the lock of a table, it gives up on others that are in use
-- rather than keep writers waiting: they are refreshed by the next call.
CREATE FUNCTION threadline.refresh_audited_tables() RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  audited threadline.audited_tables;
  refusal text;
  refreshed integer := 0;
BEGIN
  FOR audited IN SELECT t.* FROM threadline.audited_tables AS t JOIN pg_class AS c ON c.oid = t.relation
                  WHERE t.capture_ended_at IS NULL ORDER BY t.id LOOP
    BEGIN
      PERFORM threadline.audit_table(audited.relation, granularity => audited.requested_granularity);
      refreshed := refreshed + 1;
    EXCEPTION WHEN OTHERS THEN
      GET STACKED DIAGNOSTICS refusal = MESSAGE_TEXT;
      RAISE WARNING '%: %; its capture goes on as it was defined before', audited.relation, refusal;
    END;
  END LOOP;
  RETURN refreshed;
END
$function$;
COMMENT ON FUNCTION threadline.refresh_audited_tables() IS
  'Brings the capture of every audited table in line with its present columns; returns for how many. '
  'Warns of those that could not be refreshed.';
