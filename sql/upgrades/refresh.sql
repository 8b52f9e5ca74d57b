-- Refreshes the next table, so that repeated calls use one transaction per table. A table that cannot be refreshed is
-- reported, and does not prevent the next one.
CREATE FUNCTION threadline.refresh_step(after_id integer DEFAULT 0, relation regclass DEFAULT NULL,
  OUT table_id integer, OUT table_name text, OUT refusal text, OUT hint text, OUT tables_done bigint,
  OUT tables bigint)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  audited threadline.audited_tables;
BEGIN
  SELECT count(*), count(*) FILTER (WHERE t.id <= after_id) INTO tables, tables_done
    FROM threadline.audited_tables AS t
   WHERE t.capture_ended_at IS NULL AND threadline_internal.is_table_of(t)
     AND NOT threadline_internal.is_audited_twice(t) AND coalesce(t.relation = refresh_step.relation, true);
  IF tables = 0 AND relation IS NOT NULL THEN
    PERFORM threadline.refresh_table(relation);
  END IF;
  SELECT t.* INTO audited
    FROM threadline.audited_tables AS t
   WHERE t.capture_ended_at IS NULL AND threadline_internal.is_table_of(t)
     AND NOT threadline_internal.is_audited_twice(t) AND coalesce(t.relation = refresh_step.relation, true)
     AND t.id > after_id
   ORDER BY t.id LIMIT 1;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  table_id := audited.id;
  table_name := format('%s.%s', audited.table_schema, audited.table_name);
  tables_done := tables_done + 1;
  BEGIN
    PERFORM threadline.refresh_table(audited.relation);
  EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS refusal = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
  END;
END
$function$;
COMMENT ON FUNCTION threadline.refresh_step(integer, regclass) IS
  'Refreshes the audited table after the one with the given id, or says why it could not; table_id is NULL when there '
  'is none left. Call it with the table_id that it returned, each time in its own transaction.';
