-- A gap is a time in which changes of a table may have gone unrecorded. Where a refresh finds one, the history of the
-- table begins anew, and audited_tables says why: nothing is ever read across it.

-- Says why changes may have gone unrecorded since the capture of a table was last defined; '' for a table that never was
-- audited, and NULL where there is no gap. Says nothing of what writers can change before they are locked out: see
-- threadline_internal.trigger_gap.
CREATE FUNCTION threadline_internal.capture_gap(relation regclass, before threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN before.id IS NULL THEN ''
    WHEN before.relation <> capture_gap.relation THEN 'the table was made anew'
    WHEN before.capture_ended_at IS NOT NULL THEN format('its capture had ended at %s', before.capture_ended_at)
    ELSE (SELECT string_agg(h.message, '; ' ORDER BY h.message)
            FROM (SELECT h.message FROM threadline_internal.health_functions(before) AS h
                  UNION ALL
                  SELECT 'a clock was ahead' WHERE threadline_internal.future_change(before) IS NOT NULL) AS h) END
$function$;
COMMENT ON FUNCTION threadline_internal.capture_gap(regclass, threadline.audited_tables) IS
  'Why changes of a table may have gone unrecorded since its capture was last defined.';

-- Says what became of the capture triggers of a table that may have kept them from recording.
CREATE FUNCTION threadline_internal.trigger_gap(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(h.message, '; ' ORDER BY h.message)
    FROM threadline_internal.health_triggers(audited) AS h
$function$;
COMMENT ON FUNCTION threadline_internal.trigger_gap(threadline.audited_tables) IS
  'Why the capture triggers of a table may not have recorded all changes.';

-- Tells the latest time to come that a change of a table was recorded at, which a clock that was ahead has given. A
-- second is left for clocks that tick differently.
CREATE FUNCTION threadline_internal.future_change(audited threadline.audited_tables) RETURNS timestamptz
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN (SELECT max(c.captured_at) FROM threadline.audit_changes AS c
     WHERE c.table_id = audited.id AND c.captured_at > clock_timestamp() + interval '1 second'
       AND c.definition_id >= audited.first_definition_id);
END
$function$;
COMMENT ON FUNCTION threadline_internal.future_change(threadline.audited_tables) IS
  'The latest time to come at which a change of a table is recorded; NULL where there is none.';

-- Lists the versions of the capture triggers of a table and its partitions. ALTER TABLE ... DISABLE TRIGGER and ENABLE
-- TRIGGER leave a trigger as it was, but for its version.
CREATE FUNCTION threadline_internal.present_trigger_versions(audited threadline.audited_tables)
RETURNS TABLE (relation oid, versions text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT t.tgrelid, string_agg(concat(t.oid, ':', t.xmin), ' ' ORDER BY t.tgname)
    FROM pg_trigger AS t
   WHERE t.tgname IN ('!threadline_delete', '!threadline_insert', '!threadline_truncate', '!threadline_update')
     AND t.tgrelid IN (SELECT audited.relation::oid
                       UNION SELECT p.relid FROM threadline_internal.partition_tree(audited.relation) AS p)
   GROUP BY t.tgrelid;
END
$function$;
COMMENT ON FUNCTION threadline_internal.present_trigger_versions(threadline.audited_tables) IS
  'The versions of the capture triggers of a table and its partitions.';

-- Finds the table or partitions whose capture triggers are not of the versions that they were left in. In a restored
-- database all are others.
CREATE FUNCTION threadline_internal.switched_triggers(audited threadline.audited_tables) RETURNS SETOF regclass
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT p.relation::regclass
    FROM threadline_internal.present_trigger_versions(audited) AS p
   WHERE audited.catalog_versions ->> 'database' = threadline_internal.database_identity()
     AND audited.catalog_versions #>> ARRAY['triggers', p.relation::text] <> p.versions
$function$;
COMMENT ON FUNCTION threadline_internal.switched_triggers(threadline.audited_tables) IS
  'The table or partitions whose capture triggers were altered since they were last known to capture.';

-- Keeps the versions of what a refresh has brought in line.
CREATE FUNCTION threadline_internal.store_catalog_versions(audited threadline.audited_tables) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  UPDATE threadline.audited_tables AS t
     SET catalog_versions = threadline_internal.present_column_versions(audited.relation) || jsonb_build_object(
           'database', threadline_internal.database_identity(),
           'functions', threadline_internal.present_function_versions(audited),
           'triggers', (SELECT coalesce(jsonb_object_agg(v.relation, v.versions), '{}')
                          FROM threadline_internal.present_trigger_versions(audited) AS v))
   WHERE t.id = audited.id
$function$;
COMMENT ON FUNCTION threadline_internal.store_catalog_versions(threadline.audited_tables) IS
  'Keeps the versions that the capture triggers, columns and files of a table have.';
