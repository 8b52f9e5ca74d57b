-- The triggers that threadline_internal.define_triggers makes. A partition that was attached since has clones of the
-- row triggers, and gets the others at the next refresh: that is told by the definition.
CREATE FUNCTION threadline_internal.capture_triggers(audited threadline.audited_tables)
RETURNS TABLE (relation regclass, name text, function text, type integer, old_table text, new_table text,
  condition text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH member AS (
    SELECT audited.relation::oid AS oid, true AS is_root, true AS is_known
    UNION ALL
    SELECT p.relid, false, EXISTS (SELECT FROM pg_partition_tree(p.relid) AS l
      WHERE audited.definition -> 'partitions' @> to_jsonb(l.relid::oid::bigint))
      FROM pg_partition_tree(audited.relation) AS p WHERE p.relid <> audited.relation
  )
  SELECT m.oid::regclass, '!threadline_' || e.event, coalesce(e.function, format('capture_%s_%s', audited.id, e.event)),
         -- bits of tgtype: 1 for each row, 2 before, 4 insert, 8 delete, 16 update, 32 truncate
         e.type + CASE WHEN e.captures_rows AND audited.granularity = 'row' THEN 1 ELSE 0 END,
         CASE WHEN e.captures_rows AND audited.granularity = 'statement' AND e.event <> 'insert' THEN 'old_rows' END,
         CASE WHEN e.captures_rows AND audited.granularity = 'statement' AND e.event <> 'delete' THEN 'new_rows' END,
         CASE WHEN e.event = 'update' AND audited.granularity = 'row' THEN
           CASE WHEN m.is_root THEN '(NOT (old.* *= new.*))' ELSE format('(NOT ((old.*)::%1$s *= (new.*)::%1$s))',
             audited.relation) END END
    FROM member AS m
   CROSS JOIN (VALUES ('insert', 4, true, NULL), ('update', 16, true, NULL), ('delete', 8, true, NULL), ('truncate',
     34, false, NULL),
                      ('inserting', 6, false, 'track_insert'), ('inserted', 4, false, 'track_insert')) AS e (event,
                        type, captures_rows, function)
   WHERE (m.is_root OR m.is_known OR e.captures_rows)
     AND (e.function IS NULL OR EXISTS (SELECT FROM pg_class WHERE oid = audited.relation AND relkind = 'p'))
$function$;
COMMENT ON FUNCTION threadline_internal.capture_triggers(threadline.audited_tables) IS
  'The triggers that a table under capture must have.';

-- Where capture is not what it was defined to be, and so may have missed changes. What only is not up to date is told
-- apart. PL/pgSQL keeps its plans, which here take longer to make than to run; and audit_table asks at every start of
-- an application.
CREATE FUNCTION threadline_internal.health_capture(audited threadline.audited_tables) RETURNS TABLE ("check" text,
  relation regclass, message text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT CASE WHEN t.oid IS NULL THEN 'trigger_missing' WHEN t.tgenabled NOT IN ('A', 'O') THEN 'trigger_disabled'
    ELSE 'trigger_replaced' END,
         h.relation,
         format('trigger %I%s %s', h.name, CASE WHEN h.relation <> audited.relation THEN format(' of partition %s',
           h.relation) END, CASE WHEN t.oid IS NULL THEN 'is missing' WHEN t.tgenabled = 'R'
             THEN 'is enabled for replication only'
           WHEN t.tgenabled = 'D' THEN 'is disabled' ELSE 'is another one than Threadline made' END)
    FROM threadline_internal.capture_triggers(audited) AS h
    LEFT JOIN pg_trigger AS t ON t.tgrelid = h.relation AND t.tgname = h.name
   WHERE t.oid IS NULL OR t.tgenabled NOT IN ('A', 'O') OR t.tgfoid IS DISTINCT
     FROM to_regproc(format('threadline_internal.%I', h.function)) OR t.tgtype <> h.type
      OR t.tgoldtable IS DISTINCT FROM h.old_table OR t.tgnewtable IS DISTINCT FROM h.new_table
      OR t.tgattr::text <> '' OR t.tgnargs <> 0 OR t.tgconstraint <> 0
      OR substring(pg_get_triggerdef(t.oid) FROM ' WHEN \((.*)\) EXECUTE FUNCTION ') IS DISTINCT FROM h.condition
  UNION ALL
  SELECT 'function_replaced', audited.relation,
    format('function threadline_internal.capture_%s_%s() is another one than Threadline made', audited.id, s.event)
    FROM threadline_internal.trigger_sources(audited) AS s
    JOIN pg_proc AS p ON p.oid = to_regprocedure(format('threadline_internal.capture_%s_%s()', audited.id, s.event))
   -- An older generator wrote another one, and of a key that was renamed or retyped since the generator knows no more.
   WHERE audited.definition_version = threadline_internal.definition_version()
     AND NOT EXISTS (SELECT FROM unnest(audited.key_columns) AS k (name)
                       LEFT JOIN pg_attribute AS a ON a.attrelid = audited.relation AND a.attname = k.name
                         AND NOT a.attisdropped
                      WHERE threadline_internal.type_shape(a.atttypid, a.atttypmod) IS DISTINCT
                        FROM audited.definition #>> ARRAY['columns', k.name, 'type'])
     AND (p.prosrc <> s.source OR NOT p.prosecdef OR p.proconfig IS DISTINCT
       FROM threadline_internal.pinned_settings(s.event)
          OR p.prolang <> (SELECT oid FROM pg_language WHERE lanname = 'plpgsql'));
END
$function$;
COMMENT ON FUNCTION threadline_internal.health_capture(threadline.audited_tables) IS
  'Triggers and capture functions of a table that are missing, disabled, or not what was generated.';
