-- Where capture is not what it was defined to be, and so may have missed changes. What only is not up to date is told
-- apart. PL/pgSQL keeps its plans, which here take longer to make than to run; and audit_table asks at every start of
-- an application.
CREATE FUNCTION threadline_internal.health_capture(audited threadline.audited_tables) RETURNS TABLE ("check" text,
  relation regclass, message text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
SET standard_conforming_strings = on
AS $function$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT w."check", w.relation, format('trigger %I%s %s', w.name,
           CASE WHEN w.relation <> audited.relation THEN format(' of partition %s', w.relation) END, w.fault)
    FROM threadline_internal.wrong_triggers(audited) AS w
  UNION ALL
  SELECT 'trigger_switched', s.relation, format('the capture triggers of %s were switched off and on, or made anew',
           s.relation)
    FROM threadline_internal.switched_triggers(audited) AS s (relation)
   WHERE s.relation NOT IN (SELECT w.relation FROM threadline_internal.wrong_triggers(audited) AS w)
  UNION ALL
  SELECT 'loading_recorded', audited.relation,
    'its rows were loaded while its capture triggers were there, so that changes were recorded which nobody made'
   WHERE threadline_internal.loading_was_recorded(audited)
  UNION ALL
  SELECT 'partition_moved', audited.relation, m.gap FROM threadline_internal.member_gap(audited) AS m (gap)
   WHERE m.gap IS NOT NULL
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
