-- Sets what happens to a write with a value that an image cannot contain.
CREATE FUNCTION threadline.require_values(relation regclass, required boolean DEFAULT true) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  PERFORM threadline_internal.take_lock('definitions');
  UPDATE threadline.audited_tables AS t
     SET definition = t.definition || jsonb_build_object('strict', coalesce(required, true)), definition_version = 0
   WHERE t.relation = require_values.relation AND t.capture_ended_at IS NULL;
  IF NOT FOUND THEN
    PERFORM threadline_internal.raise_audit_error(relation, 'it is not under capture',
      'Call threadline.audit_table first.');
  END IF;
  PERFORM threadline.refresh_table(relation);
END
$function$;
COMMENT ON FUNCTION threadline.require_values(regclass, boolean) IS
  'Makes writes to a table fail if a value cannot be recorded, instead of recording its length and hash.';
