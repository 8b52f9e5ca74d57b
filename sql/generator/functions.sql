-- Returns the settings that affect the text of a value. Keys and images are written and read under these, whatever the
-- session uses. (A function that needs them repeats them, because CREATE FUNCTION accepts no list.)
CREATE FUNCTION threadline_internal.canonical_settings() RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT ARRAY['search_path=pg_catalog, pg_temp', 'TimeZone=UTC', 'DateStyle=ISO', 'IntervalStyle=postgres',
    'extra_float_digits=1', 'bytea_output=hex', 'lc_monetary=C']
$function$;
COMMENT ON FUNCTION threadline_internal.canonical_settings() IS
  'The settings under which keys and images are written and read, in the format of pg_proc.';

-- Returns the settings that all capture functions of an event share. They make names, keys and images independent of
-- the writing session. Functions that look up their transaction cache the plan: see
-- threadline_internal.enter_transaction. A truncation reads its whole table.
CREATE FUNCTION threadline_internal.pinned_settings(event text) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.canonical_settings()
    || CASE event WHEN 'truncate' THEN 'row_security=off' ELSE 'enable_seqscan=off' END
$function$;
COMMENT ON FUNCTION threadline_internal.pinned_settings(text) IS
  'The settings of the capture function of an event, in the format of pg_proc.';

-- Returns settings in the syntax of CREATE FUNCTION.
CREATE FUNCTION threadline_internal.settings_clause(settings text[]) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(format('SET %s = %s', s[1], CASE s[1] WHEN 'search_path' THEN s[2] ELSE quote_literal(s[2]) END),
                    ' ' ORDER BY number)
    FROM unnest(settings) WITH ORDINALITY AS u (setting, number), string_to_array(setting, '=') AS s
$function$;
COMMENT ON FUNCTION threadline_internal.settings_clause(text[]) IS 'SQL for the settings of a function.';

-- Returns the variables that a capture function always needs, including where the columns are known.
CREATE FUNCTION threadline_internal.known_variables(audited threadline.audited_tables, event text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(format(E'  %s;\n', v.variable), '' ORDER BY v.number)
    FROM (SELECT event <> 'truncate' AS of_rows, event <> 'truncate' AND audited.granularity <> 'row' AS by_statement)
      AS t
   CROSS JOIN LATERAL (VALUES
      -- A transaction that has written has an id, which makes it known to threadline.settled_at. Only a truncation is
      -- captured before anything is written.
      (1, 'txid xid8 := pg_current_xact_id()', event = 'truncate'),
      (2, 'written_at timestamptz := clock_timestamp()', true),
      (3, 'running uuid', of_rows),
      (4, 'known_context jsonb', of_rows),
      (5, 'known_changes text', event = 'update'),
      (6, 'known_key ' || coalesce(audited.key_type, 'text'), by_statement),
      (7, 'known_image jsonb', by_statement),
      (8, 'many boolean', by_statement),
      (9, 'key_changed boolean', by_statement AND event = 'update')) AS v (number, variable, needed)
   WHERE v.needed
$function$;
COMMENT ON FUNCTION threadline_internal.known_variables(threadline.audited_tables, text) IS
  'The declarations of the capture function of an event.';

-- Returns the additional variables for code that handles any columns.
CREATE FUNCTION threadline_internal.capture_variables(audited threadline.audited_tables, event text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(format(E'  %s;\n', v.variable), '' ORDER BY v.number)
    FROM (SELECT threadline_internal.is_redacted(audited) AS redacted, event <> 'truncate' AS of_rows) AS t
   CROSS JOIN LATERAL (VALUES
      (3, format('is_current boolean := threadline_internal.present_layout(%L) = %L', audited.definition ->> 'oid',
         threadline_internal.layout_in(audited.definition ->> 'layout', audited.definition ->> 'database')), true),
      (4, format('definition_id integer := %s', audited.definition_id), true),
      (5, format('excluded text[] := %L', audited.excluded_columns), redacted),
      (15, format('mask jsonb := %L', (SELECT coalesce(jsonb_object_agg(m, '[REDACTED]'), '{}')
         FROM unnest(audited.masked_columns) AS m WHERE m = ANY (threadline_internal.compared_columns(audited)))),
         redacted),
      (16, 'careful boolean := false', true),
      (17, CASE WHEN audited.hashed_columns <> '{}' THEN format('hashed jsonb := %L',
         threadline_internal.hash_kinds(audited.relation, audited.hashed_columns)) END, audited.hashed_columns <> '{}'),
      (7, 'row_key jsonb', of_rows),
      (8, 'row_image jsonb', of_rows),
      (9, 'typed_row_key ' || audited.key_type, of_rows AND audited.key_type <> 'text'),
      (10, 'old_row_key jsonb', event = 'update'),
      (11, 'old_row_image jsonb', event = 'update'),
      (12, 'row_changed jsonb', event = 'update')) AS v (number, variable, needed)
   WHERE v.needed
$function$;
COMMENT ON FUNCTION threadline_internal.capture_variables(threadline.audited_tables, text) IS
  'The declarations for the part of a capture function that handles any columns.';

-- Returns PL/pgSQL that assigns the images of the written row to variables, for capture per row.
CREATE FUNCTION threadline_internal.written_row(audited threadline.audited_tables, event text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render(CASE event
      WHEN 'insert' THEN E'  row_image := {new_image};\n'
      WHEN 'delete' THEN E'  row_image := {old_image};\n'
      WHEN 'update' THEN E'  old_row_image := {old_image};\n  row_image := {new_image};\n' END, jsonb_build_object(
    'old_image', threadline_internal.image_expression(audited, 'OLD'),
    'new_image', threadline_internal.image_expression(audited, 'NEW')))
$function$;
COMMENT ON FUNCTION threadline_internal.written_row(threadline.audited_tables, text) IS
  'PL/pgSQL for the images of the row for which a row trigger was called.';

-- Returns PL/pgSQL that reads the first row of a statement, and captures all rows if there are more. Most statements
-- write only one row, and are recorded in the same way as with capture per row.
CREATE FUNCTION threadline_internal.first_of_rows(audited threadline.audited_tables, event text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$  SELECT {images}, {more} INTO {variables}, many FROM {written} LIMIT 1;
  IF many IS NOT FALSE THEN
    IF many THEN
    {capture_rows}
    END IF;
    RETURN NULL;
  END IF;
$sql$, CASE event
      WHEN 'insert' THEN jsonb_build_object('images', new_image, 'variables', 'row_image', 'written', 'new_rows AS n',
        'more', 'EXISTS (SELECT FROM new_rows OFFSET 1)',
        'capture_rows', threadline_internal.capture_inserted_rows(audited))
      WHEN 'delete' THEN jsonb_build_object('images', old_image, 'variables', 'row_image', 'written', 'old_rows AS o',
        'more', 'EXISTS (SELECT FROM old_rows OFFSET 1)',
        'capture_rows', threadline_internal.capture_deleted_rows(audited))
      WHEN 'update' THEN jsonb_build_object('images', format('%s, %s', old_image, new_image),
        'variables', 'old_row_image, row_image', 'written', 'old_rows AS o, new_rows AS n',
        'more', 'EXISTS (SELECT FROM new_rows OFFSET 1)',
        'capture_rows', threadline_internal.capture_updated_rows(audited)) END)
    FROM threadline_internal.image_expression(audited, 'o.*') AS old_image,
         threadline_internal.image_expression(audited, 'n.*') AS new_image
$function$;
COMMENT ON FUNCTION threadline_internal.first_of_rows(threadline.audited_tables, text) IS
  'PL/pgSQL for the images of the only row of a statement; if the statement has more rows, it records them.';

-- Returns PL/pgSQL that reads and records the written rows.
CREATE FUNCTION threadline_internal.capture_body(audited threadline.audited_tables, event text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT concat(CASE WHEN event = 'truncate' THEN NULL
      WHEN audited.granularity = 'row' THEN threadline_internal.written_row(audited, event)
      ELSE threadline_internal.first_of_rows(audited, event) END,
    CASE event
      WHEN 'insert' THEN threadline_internal.capture_inserted_row(audited)
      WHEN 'delete' THEN threadline_internal.capture_deleted_row(audited)
      WHEN 'update' THEN threadline_internal.capture_updated_row(audited)
      WHEN 'truncate' THEN threadline_internal.capture_truncated_rows(audited) END)
$function$;
COMMENT ON FUNCTION threadline_internal.capture_body(threadline.audited_tables, text) IS
  'PL/pgSQL that captures the rows written to a table.';

-- Returns the condition that a trigger fired for a table other than its own, or for a partition that is not known yet.
-- The cheap comparisons nearly always decide; see threadline_internal.captures for the rest.
CREATE FUNCTION threadline_internal.unknown_table(audited threadline.audited_tables) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN p.oids = '[]' THEN format('TG_RELID <> %s OR TG_TABLE_NAME <> %L', audited.definition ->> 'oid',
             audited.table_name)
           ELSE format('TG_RELID <> ALL (%L)', ARRAY(
             SELECT o::oid FROM jsonb_array_elements_text(p.oids || (audited.definition -> 'oid')) AS o)) END
    FROM (SELECT audited.definition -> 'partitions' AS oids) AS p
$function$;
COMMENT ON FUNCTION threadline_internal.unknown_table(threadline.audited_tables) IS
  'SQL condition that a trigger fired for a table that its definition does not know.';

-- Returns PL/pgSQL that checks whether images need special handling that the definition does not include: the columns
-- no longer match the definition, or an untrusted role has since created a cast to json.
CREATE FUNCTION threadline_internal.check_casts(audited threadline.audited_tables) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$  IF is_current IS NOT TRUE{casts} THEN
    careful := threadline_internal.needs_care(TG_RELID, {text_columns}, {json}, {long});
  END IF;
$sql$, jsonb_build_object(
    'casts', CASE WHEN NOT (audited.definition ->> 'trusted')::boolean THEN $sql$ OR EXISTS (
      SELECT FROM pg_cast AS c WHERE c.oid >= 16384 AND c.casttarget = 'json'::regtype)$sql$ END,
    'text_columns', quote_literal(ARRAY(SELECT jsonb_array_elements_text(audited.definition -> 'text_columns'))),
    'json', threadline_internal.has_json(audited),
    'long', EXISTS (SELECT FROM unnest(threadline_internal.compared_columns(audited)) AS c (name)
                     WHERE audited.definition #> ARRAY['columns', name] ? 'long')))
$function$;
COMMENT ON FUNCTION threadline_internal.check_casts(threadline.audited_tables) IS
  'PL/pgSQL that checks whether images need special handling that they do not need according to the definition.';

-- Returns PL/pgSQL that finds the definition under which a change is made. Checking that the columns match the
-- definition costs almost nothing: threadline_internal.present_layout is computed when the session plans the
-- expression, and again after PostgreSQL reports to the session that the table was altered.
CREATE FUNCTION threadline_internal.find_definition(audited threadline.audited_tables, event text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$  IF {unknown_table} THEN
    IF NOT threadline_internal.captures({table_id}, TG_RELID) THEN
      RETURN NULL;
    END IF;
{young}    is_current := is_current AND {oid} IN (SELECT TG_RELID UNION ALL SELECT pg_partition_ancestors(TG_RELID));
  END IF;
{truncated}{generated}  IF is_current IS NOT TRUE THEN
    SELECT {values} INTO {variables} FROM threadline_internal.enter_definition({table_id}, TG_RELID) AS d;
    IF definition_id IS NULL THEN
      RETURN NULL;
    END IF;
  END IF;
$sql$, jsonb_build_object(
    'unknown_table', threadline_internal.unknown_table(audited),
    'table_id', audited.id, 'oid', audited.definition ->> 'oid',
    'young', CASE WHEN event <> 'truncate' AND threadline_internal.is_partitioned(audited.relation)
      THEN threadline_internal.render(
      E'    PERFORM threadline_internal.note_partition({table_id}, TG_RELID, TG_OP, '
        '{row}.xmin, {row}.cmin, {row}.ctid);\n',
      jsonb_build_object('table_id', audited.id, 'row', CASE event WHEN 'insert' THEN 'NEW' ELSE 'OLD' END)) END,
    'truncated', CASE WHEN event = 'truncate' AND threadline_internal.is_partitioned(audited.relation)
      THEN threadline_internal.render(E'  PERFORM threadline_internal.note_truncation({table_id}, TG_RELID);\n',
      jsonb_build_object('table_id', audited.id)) END,
    -- The expression of a generated column can be altered without altering a column.
    'generated', CASE WHEN redacted AND audited.definition @? '$.columns.*.generated ? (@ == "s")'
      THEN threadline_internal.render($sql$  is_current := is_current AND NOT EXISTS (
    SELECT FROM threadline_internal.generated_from({oid}, {columns}) AS g WHERE g.generated IS NOT NULL);
$sql$, jsonb_build_object('oid', audited.definition ->> 'oid',
        'columns', quote_literal(audited.excluded_columns || audited.masked_columns || audited.hashed_columns))) END,
    'values', concat('d.definition_id', CASE WHEN redacted THEN ', d.excluded, d.mask' END,
      CASE WHEN audited.hashed_columns <> '{}' THEN ', d.hashed' END),
    'variables', concat('definition_id', CASE WHEN redacted THEN ', excluded, mask' END,
      CASE WHEN audited.hashed_columns <> '{}' THEN ', hashed' END)))
    FROM threadline_internal.is_redacted(audited) AS redacted
$function$;
COMMENT ON FUNCTION threadline_internal.find_definition(threadline.audited_tables, text) IS
  'PL/pgSQL that finds the definition of its table under which a change is made, and what must not be recorded of it.';

-- Returns PL/pgSQL that captures rows by their images, whatever the present columns of their table.
CREATE FUNCTION threadline_internal.careful_source(audited threadline.audited_tables, event text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render('{find_definition}{check_code}{body}', jsonb_build_object(
    'find_definition', threadline_internal.find_definition(audited, event),
    'check_code', concat(
      CASE event WHEN 'truncate' THEN E'  PERFORM threadline_internal.check_foreign_code(TG_RELID);\n' END,
      threadline_internal.check_casts(audited)),
    'body', CASE WHEN audited.excluded_columns = '{}' AND NOT threadline_internal.has_text_columns(audited)
        THEN threadline_internal.capture_body(audited, event)
      ELSE threadline_internal.render($sql$  IF is_current AND NOT careful THEN
{listing_body}
  ELSE
{body}
  END IF;$sql$, jsonb_build_object('body', threadline_internal.capture_body(audited, event),
        'listing_body', threadline_internal.capture_body(threadline_internal.list_images(audited), event))) END))
$function$;
COMMENT ON FUNCTION threadline_internal.careful_source(threadline.audited_tables, text) IS
  'PL/pgSQL that captures the rows written to a table, whatever its columns.';

-- Returns the capture functions of a table. A column of the table may have the name of a variable. The variables of the
-- careful path are declared where it begins, because initializing each one takes time.
CREATE FUNCTION threadline_internal.trigger_sources(audited threadline.audited_tables)
RETURNS TABLE (event text, source text)
LANGUAGE sql STABLE ROWS 4 SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT e.event, threadline_internal.render($sql$
#variable_conflict use_variable
DECLARE
{known_variables}BEGIN
{known}  DECLARE
{variables}  BEGIN
{careful}
  END;
  RETURN NULL;
END
$sql$, jsonb_build_object(
    'known_variables', threadline_internal.known_variables(audited, e.event),
    -- A key that is recorded as a hash is hashed once per row, for its image.
    'known', CASE WHEN e.event <> 'truncate' AND audited.hashed_columns = '{}' THEN CASE audited.granularity
        WHEN 'row' THEN threadline_internal.capture_known_row(audited, e.event)
        ELSE threadline_internal.capture_known_rows(audited, e.event) END END,
    'variables', threadline_internal.capture_variables(audited, e.event),
    'careful', threadline_internal.careful_source(audited, e.event)))
    FROM unnest('{insert, delete, update, truncate}'::text[]) AS e (event)
$function$;
COMMENT ON FUNCTION threadline_internal.trigger_sources(threadline.audited_tables) IS
  'PL/pgSQL of the functions that capture inserts, updates, deletes and truncations of a table.';

-- Creates or replaces a generated function. It belongs to the owner of the audit log, never to the caller of
-- audit_table.
CREATE FUNCTION threadline_internal.define_function(signature text, definition text, description text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  defined pg_proc;
BEGIN
  EXECUTE format('CREATE OR REPLACE FUNCTION %s %s', signature, definition);
  SELECT p.* INTO STRICT defined FROM pg_proc AS p WHERE p.oid = to_regprocedure(signature);
  -- Each of these commands locks the function until the end of the transaction, so they run only if something changes.
  IF obj_description(defined.oid, 'pg_proc') IS DISTINCT FROM description THEN
    EXECUTE format('COMMENT ON FUNCTION %s IS %L', signature, description);
  END IF;
  IF EXISTS (SELECT FROM aclexplode(coalesce(defined.proacl, acldefault('f', defined.proowner))) AS a
              WHERE a.grantee = 0) THEN
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', signature);
  END IF;
  IF defined.proowner <> threadline_internal.log_owner() THEN
    EXECUTE format('ALTER FUNCTION %s OWNER TO %s', signature, threadline_internal.log_owner()::regrole);
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.define_function(text, text, text) IS
  'Creates or replaces a generated function of the owner of the audit log.';

-- Returns whether a right on a function was granted to the role itself, and not to a role of which it is a member.
CREATE FUNCTION threadline_internal.has_execute(signature text, role regrole) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN EXISTS (SELECT FROM pg_proc AS p, aclexplode(p.proacl) AS a
                  WHERE p.oid = to_regprocedure(signature) AND a.grantee = role AND a.privilege_type = 'EXECUTE');
END
$function$;
COMMENT ON FUNCTION threadline_internal.has_execute(text, regrole) IS
  'Whether a role has its own right to call a function.';

-- SECURITY DEFINER lets the capture functions write the audit log for writers who have no right on it. The owner of the
-- table may execute them: PostgreSQL requires that right when the owner adds a partition, which gets the triggers of
-- the table. The functions record nothing for any other table.
CREATE FUNCTION threadline_internal.define_capture_functions(audited threadline.audited_tables) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  capture record;
  signature text;
BEGIN
  FOR capture IN SELECT * FROM threadline_internal.trigger_sources(audited) LOOP
    signature := format('threadline_internal.capture_%s_%s()', audited.id, capture.event);
    PERFORM threadline_internal.define_function(signature,
      format('RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER %s AS %L',
             threadline_internal.settings_clause(threadline_internal.pinned_settings(capture.event)), capture.source),
      format('Captures the %s of rows of %I.%I.', capture.event, audited.table_schema, audited.table_name));
    IF NOT threadline_internal.has_execute(signature, (audited.definition ->> 'owner')::regrole) THEN
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', signature, audited.definition ->> 'owner');
    END IF;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.define_capture_functions(threadline.audited_tables) IS
  'Creates the functions that capture inserts, updates, deletes and truncations of a table.';
