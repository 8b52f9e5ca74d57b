-- A gap is a time in which changes of a table may not have been recorded. If a refresh finds one, the history of the
-- table begins again, and audited_tables says why: nothing is ever read across it.

-- Returns why changes may not have been recorded since the capture of a table was last defined; '' for a table that was
-- never audited, and NULL if there is no gap. It does not cover what writers can change before they are locked out: see
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
  'Why changes of a table may not have been recorded since its capture was last defined.';

-- Returns what happened to the capture triggers of a table, or bypassed them, so that not all of its changes were
-- recorded.
CREATE FUNCTION threadline_internal.trigger_gap(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(h.message, '; ' ORDER BY h.message)
    FROM (SELECT t.message FROM threadline_internal.health_triggers(audited) AS t
          UNION ALL
          SELECT r.message FROM threadline_internal.health_rows(audited) AS r) AS h
$function$;
COMMENT ON FUNCTION threadline_internal.trigger_gap(threadline.audited_tables) IS
  'Why the capture triggers of a table may not have recorded all changes of its rows.';

-- Returns the latest future time at which a change of a table was recorded, caused by a clock that was ahead. One
-- second is allowed for differences between clocks. The time is read once: a condition on a value that changes from row
-- to row cannot use an index, and every read of the past would scan all changes of the table.
CREATE FUNCTION threadline_internal.future_change(audited threadline.audited_tables) RETURNS timestamptz
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
AS $function$
#variable_conflict use_column
DECLARE
  to_come timestamptz := clock_timestamp() + interval '1 second';
BEGIN
  RETURN (SELECT max(c.captured_at) FROM threadline.audit_changes AS c
     WHERE c.table_id = audited.id AND c.captured_at > to_come
       AND c.definition_id >= audited.first_definition_id);
END
$function$;
COMMENT ON FUNCTION threadline_internal.future_change(threadline.audited_tables) IS
  'The latest future time at which a change of a table is recorded; NULL if there is none.';

-- Returns whether the rows of a restored table may have been recorded when they were loaded: its triggers existed
-- before the audit log did, and something was recorded here that no refresh has followed. pg_restore creates triggers
-- last, unless it restores only the schema.
CREATE FUNCTION threadline_internal.loading_was_recorded(audited threadline.audited_tables) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  IF NOT EXISTS (SELECT FROM threadline.table_definitions AS d
                  WHERE d.table_id = audited.id AND d.database <> audited.definition ->> 'database')
    OR audited.definition ->> 'database' = threadline_internal.database_identity() THEN
    RETURN false;
  END IF;
  RETURN EXISTS (SELECT FROM threadline.table_definitions AS d
                  WHERE d.table_id = audited.id AND d.database = threadline_internal.database_identity())
     AND EXISTS (SELECT FROM threadline.table_definitions AS d, pg_trigger AS g
                  WHERE d.table_id = audited.id AND d.database = audited.definition ->> 'database'
                    AND g.tgname = ANY (threadline_internal.trigger_names(audited))
                    AND (g.tgrelid = audited.relation OR g.tgrelid IN (
                           SELECT p.relid FROM threadline_internal.partition_tree(audited.relation) AS p))
                    AND age(g.xmin) > age(d.xmin));
END
$function$;
COMMENT ON FUNCTION threadline_internal.loading_was_recorded(threadline.audited_tables) IS
  'Whether the rows of a restored table may have been recorded when they were loaded.';

-- Returns the versions of the capture triggers of a table and its partitions. ALTER TABLE ... DISABLE TRIGGER and
-- ENABLE TRIGGER leave a trigger unchanged except for its version.
CREATE FUNCTION threadline_internal.present_trigger_versions(audited threadline.audited_tables)
RETURNS TABLE (relation oid, versions jsonb)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
DECLARE
  names text[] := threadline_internal.trigger_names(audited);
BEGIN
  RETURN QUERY
  SELECT t.tgrelid, jsonb_object_agg(t.oid, ARRAY[t.xmin::text, t.tgenabled::text])
    FROM pg_trigger AS t
   WHERE t.tgname = ANY (names)
     AND t.tgrelid IN (SELECT audited.relation::oid
                       UNION SELECT p.relid FROM threadline_internal.partition_tree(audited.relation) AS p)
   GROUP BY t.tgrelid;
END
$function$;
COMMENT ON FUNCTION threadline_internal.present_trigger_versions(threadline.audited_tables) IS
  'The versions of the capture triggers of a table and its partitions.';

-- Returns the table or partitions whose capture triggers have other versions than at the last refresh, unless they were
-- only enabled ALWAYS. In a restored database all versions differ.
CREATE FUNCTION threadline_internal.switched_triggers(audited threadline.audited_tables) RETURNS SETOF regclass
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN QUERY
  SELECT DISTINCT p.relation::regclass
    FROM threadline_internal.present_trigger_versions(audited) AS p
   CROSS JOIN LATERAL (SELECT audited.catalog_versions #> ARRAY['triggers', p.relation::text]) AS k (versions)
   CROSS JOIN LATERAL jsonb_each(p.versions) AS v
   WHERE audited.catalog_versions ->> 'database' = threadline_internal.database_identity()
     AND k.versions IS NOT NULL
     AND (NOT k.versions ? v.key
          OR k.versions #> ARRAY[v.key, '0'] <> v.value -> 0
             AND NOT (v.value ->> 1 = 'A' AND k.versions #>> ARRAY[v.key, '1'] = 'O'));
END
$function$;
COMMENT ON FUNCTION threadline_internal.switched_triggers(threadline.audited_tables) IS
  'The table or partitions whose capture triggers were altered since they were last known to capture.';

-- Returns whether the catalog still shows a non-partitioned table as the last refresh left it: its columns and its
-- file, enabled capture triggers, and no type whose attributes could have changed. If so, the more expensive checks
-- cannot find anything. False proves nothing: TRUNCATE and VACUUM FULL also give a table another file.
CREATE FUNCTION threadline_internal.is_as_refreshed(audited threadline.audited_tables) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
DECLARE
  names text[] := threadline_internal.trigger_names(audited);
BEGIN
  RETURN coalesce((
    SELECT c.relkind = 'r' AND c.relfilenode = pg_relation_filenode(c.oid)
           AND ((audited.catalog_versions #>> ARRAY['files', c.oid::text])::oid = c.relfilenode
                OR NOT EXISTS (SELECT FROM threadline_internal.rewritten_columns(audited)))
           AND NOT audited.definition @? '$.columns.*.attributes'
           AND (SELECT count(*) = 4 AND bool_and(t.tgenabled IN ('A', 'O'))
                       AND jsonb_object_agg(t.oid, ARRAY[t.xmin::text, t.tgenabled::text])
                         = audited.catalog_versions #> ARRAY['triggers', c.oid::text]
                  FROM pg_trigger AS t WHERE t.tgrelid = c.oid AND t.tgname = ANY (names))
           AND NOT EXISTS (SELECT FROM threadline.table_definitions AS d
                            WHERE d.table_id = audited.id AND d.database <> audited.definition ->> 'database')
      FROM pg_class AS c WHERE c.oid = audited.relation), false);
END
$function$;
COMMENT ON FUNCTION threadline_internal.is_as_refreshed(threadline.audited_tables) IS
  'Whether the columns and the capture triggers of a table are as its last refresh left them; false proves nothing.';

-- Stores the versions of the objects that a refresh has updated.
CREATE FUNCTION threadline_internal.store_catalog_versions(audited threadline.audited_tables) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  UPDATE threadline.audited_tables AS t
     SET catalog_versions = jsonb_build_object(
           'columns', threadline_internal.present_column_versions(audited.relation),
           'files', threadline_internal.present_files(audited.relation),
           'database', threadline_internal.database_identity(),
           'members', threadline_internal.present_members(audited),
           'functions', threadline_internal.present_function_versions(audited),
           'triggers', (SELECT coalesce(jsonb_object_agg(v.relation, v.versions), '{}')
                          FROM threadline_internal.present_trigger_versions(audited) AS v))
   WHERE t.id = audited.id;
  DELETE FROM threadline_internal.young_partitions AS y WHERE y.table_id = audited.id
$function$;
COMMENT ON FUNCTION threadline_internal.store_catalog_versions(threadline.audited_tables) IS
  'Stores the present versions of the capture triggers, columns and files of a table.';
