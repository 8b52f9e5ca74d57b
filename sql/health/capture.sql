-- Finds where capture differs from its definition, and so may have missed changes. Capture that is merely out of date
-- is reported separately. PL/pgSQL caches its plans, which here take longer to create than to run, and audit_table runs
-- these checks on every start of an application.

-- Returns the problems of the triggers of a table.
CREATE FUNCTION threadline_internal.health_triggers(audited threadline.audited_tables) RETURNS TABLE ("check" text,
  relation regclass, message text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH wrong AS MATERIALIZED (SELECT w.* FROM threadline_internal.wrong_triggers(audited) AS w)
  SELECT w."check", w.relation, format('trigger %I%s %s', w.name,
           CASE WHEN w.relation <> audited.relation THEN format(' of partition %s', w.relation) END, w.fault)
    FROM wrong AS w
  UNION ALL
  SELECT 'trigger_switched', s.relation, format('the capture triggers of %s were switched off and on, or made anew',
           s.relation)
    FROM threadline_internal.switched_triggers(audited) AS s (relation)
   WHERE s.relation NOT IN (SELECT w.relation FROM wrong AS w);
END
$function$;
COMMENT ON FUNCTION threadline_internal.health_triggers(threadline.audited_tables) IS
  'Triggers of a table that are missing, disabled, or changed.';

-- Returns the capture functions of a table, and what they were generated from. PostgreSQL gives a function another row
-- version and place when it is altered in any way, so an unchanged result means unaltered functions.
CREATE FUNCTION threadline_internal.present_function_versions(audited threadline.audited_tables) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN md5(concat_ws(' ', audited.id, audited.relation::oid, audited.table_schema, audited.table_name,
      audited.key_columns, audited.key_type, audited.excluded_columns, audited.masked_columns, audited.hashed_columns,
      audited.granularity, audited.definition_version, audited.definition, audited.definition_id))
    || (SELECT string_agg(concat(' ', p.oid, ':', p.xmin, ':', p.ctid), '' ORDER BY e.event)
          FROM unnest('{delete, insert, truncate, update}'::text[]) AS e (event)
          JOIN pg_proc AS p
            ON p.oid = to_regprocedure(format('threadline_internal.capture_%s_%s()', audited.id, e.event)));
END
$function$;
COMMENT ON FUNCTION threadline_internal.present_function_versions(threadline.audited_tables) IS
  'The row versions of the capture functions of a table, with a hash of what they were generated from.';

-- Returns the capture functions that differ from the generated ones. Generating them again is slow, and is skipped if
-- their versions have not changed.
CREATE FUNCTION threadline_internal.health_functions(audited threadline.audited_tables) RETURNS TABLE ("check" text,
  relation regclass, message text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
SET standard_conforming_strings = on
AS $function$
#variable_conflict use_column
BEGIN
  -- An older generator wrote a different function, and the generator no longer knows a key that was renamed or retyped
  -- since.
  IF audited.definition_version <> threadline_internal.definition_version()
    OR audited.catalog_versions ->> 'database' = threadline_internal.database_identity()
      AND audited.catalog_versions ->> 'functions' = threadline_internal.present_function_versions(audited)
    OR EXISTS (SELECT FROM unnest(audited.key_columns) AS k (name)
                 LEFT JOIN pg_attribute AS a ON a.attrelid = audited.relation AND a.attname = k.name
                   AND NOT a.attisdropped
                WHERE threadline_internal.type_shape(a.atttypid, a.atttypmod) IS DISTINCT
                  FROM audited.definition #>> ARRAY['columns', k.name, 'type']) THEN
    RETURN;
  END IF;
  RETURN QUERY
  SELECT 'function_replaced', audited.relation,
    format('function threadline_internal.capture_%s_%s() is another one than Threadline made', audited.id, s.event)
    FROM threadline_internal.trigger_sources(audited) AS s
    JOIN pg_proc AS p ON p.oid = to_regprocedure(format('threadline_internal.capture_%s_%s()', audited.id, s.event))
   WHERE p.prosrc <> s.source OR NOT p.prosecdef OR p.proconfig IS DISTINCT
     FROM threadline_internal.pinned_settings(s.event)
      OR p.prolang <> (SELECT oid FROM pg_language WHERE lanname = 'plpgsql');
END
$function$;
COMMENT ON FUNCTION threadline_internal.health_functions(threadline.audited_tables) IS
  'Capture functions of a table that differ from the generated ones.';

-- Returns rows that were added or removed without firing the triggers, and changes that were recorded although nobody
-- made them.
CREATE FUNCTION threadline_internal.health_rows(audited threadline.audited_tables) RETURNS TABLE ("check" text,
  relation regclass, message text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT 'loading_recorded', audited.relation,
    'its rows were loaded while its capture triggers were there, so that changes were recorded which nobody made'
   WHERE threadline_internal.loading_was_recorded(audited)
  UNION ALL
  SELECT 'partition_moved', audited.relation, m.gap FROM threadline_internal.member_gap(audited) AS m (gap)
   WHERE m.gap IS NOT NULL;
END
$function$;
COMMENT ON FUNCTION threadline_internal.health_rows(threadline.audited_tables) IS
  'Rows of a table that were loaded, or added or removed with a partition, without being captured.';

CREATE FUNCTION threadline_internal.health_capture(audited threadline.audited_tables) RETURNS TABLE ("check" text,
  relation regclass, message text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT * FROM threadline_internal.health_triggers(audited)
  UNION ALL
  SELECT * FROM threadline_internal.health_functions(audited)
  UNION ALL
  SELECT * FROM threadline_internal.health_rows(audited);
END
$function$;
COMMENT ON FUNCTION threadline_internal.health_capture(threadline.audited_tables) IS
  'Problems of the capture of a table: triggers, capture functions, and rows and partitions that bypassed capture.';
