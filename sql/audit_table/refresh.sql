-- Brings the capture of every audited table in line with its present columns.
CREATE FUNCTION threadline.refresh_audited_tables() RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  audited threadline.audited_tables;
  redacted record;
  refusal text;
  refused_by text;
  refreshed integer := 0;
BEGIN
  FOR audited IN SELECT t.* FROM threadline.audited_tables AS t JOIN pg_class AS c ON c.oid = t.relation
                  WHERE t.capture_ended_at IS NULL ORDER BY t.id LOOP
    -- Under the names the columns have now; what was dropped needs no redaction.
    SELECT r.excluded, ARRAY(SELECT jsonb_object_keys(r.mask)) AS masked INTO redacted
      FROM threadline_internal.redaction(audited.id) AS r;
    BEGIN
      PERFORM threadline.audit_table(audited.relation, redacted.masked, redacted.excluded,
        audited.requested_granularity);
      refreshed := refreshed + 1;
    EXCEPTION WHEN invalid_parameter_value THEN
      -- One table that can no longer be audited as it was must not keep all others, or an upgrade, from it.
      GET STACKED DIAGNOSTICS refusal = MESSAGE_TEXT, refused_by = CONSTRAINT_NAME;
      IF refused_by <> 'threadline_audit_table' THEN
        RAISE;
      END IF;
      RAISE WARNING '%; its capture goes on as it was defined before', refusal;
    END;
  END LOOP;
  RETURN refreshed;
END
$function$;
COMMENT ON FUNCTION threadline.refresh_audited_tables() IS
  'Brings the capture of every audited table in line with its present columns; returns for how many. '
  'Warns of those that can no longer be audited as they were.';
