-- What all capture functions share. SECURITY DEFINER lets them write the audit log for writers that have no right on
-- it; the pinned settings keep names, keys and images independent of the writing session. Those that look up their transaction
-- keep the plan: see threadline_internal.enter_transaction. A truncation reads its table, from end to end.
CREATE FUNCTION threadline_internal.pinned_settings(event text) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT ARRAY['search_path=pg_catalog, pg_temp', 'TimeZone=UTC', 'DateStyle=ISO', 'IntervalStyle=postgres',
    'extra_float_digits=1', 'bytea_output=hex', 'lc_monetary=C']
    || CASE event WHEN 'truncate' THEN 'row_security=off' ELSE 'enable_seqscan=off' END
$function$;
COMMENT ON FUNCTION threadline_internal.pinned_settings(text) IS 'The settings that the capture function of an event runs under, as pg_proc has them.';

CREATE FUNCTION threadline_internal.trigger_source(audited threadline.audited_tables, event text, body text, declarations text DEFAULT '') RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  redacted boolean := audited.excluded_columns || audited.masked_columns <> '{}';
BEGIN
  RETURN concat(
    -- A column of the table may have the name of a variable.
    E'\n#variable_conflict use_variable\n', E'DECLARE\n',
    -- A transaction that has written has an id, by which threadline.settled_at knows of it; only a truncation is captured
    -- before anything is written.
    CASE event WHEN 'truncate' THEN E'  txid xid8 := pg_current_xact_id();\n' END,
    E'  written_at timestamptz := clock_timestamp();\n',
    CASE WHEN redacted THEN E'  excluded text[];\n  mask jsonb;\n' END,
    declarations, E'BEGIN\n',
    CASE WHEN redacted THEN format(E'  SELECT r.excluded, r.mask INTO excluded, mask FROM threadline_internal.redaction(%s) AS r;\n', audited.id) END,
    body, E'\n  RETURN NULL;\nEND\n');
END
$function$;
COMMENT ON FUNCTION threadline_internal.trigger_source(threadline.audited_tables, text, text, text) IS
  'PL/pgSQL of one capture function, with the declarations they all share.';

-- Where capture is by statement, its first row is read before anything else: most statements write no other, and are recorded as
-- where capture is by row.
CREATE FUNCTION threadline_internal.trigger_sources(audited threadline.audited_tables) RETURNS TABLE (event text, source text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT e.event, threadline_internal.trigger_source(audited, e.event,
      concat(CASE WHEN g.per_row THEN e.images ELSE format($sql$  %s LIMIT 1;
  IF many IS NOT FALSE THEN
    IF many THEN
    %s
    END IF;
    RETURN NULL;
  END IF;
$sql$, e.first_row, s.source) END, r.source),
      concat(E'  running uuid;\n  row_key jsonb;\n  row_image jsonb;\n',
        CASE WHEN audited.key_type <> 'text' THEN format(E'  typed_row_key %s;\n', audited.key_type) END,
        CASE e.event WHEN 'update' THEN E'  old_row_key jsonb;\n  old_row_image jsonb;\n  row_changed jsonb;\n'
          WHEN 'delete' THEN CASE WHEN g.per_row THEN E'  recorded record;\n' END END,
        CASE WHEN NOT g.per_row THEN E'  many boolean;\n' || CASE e.event WHEN 'update' THEN E'  key_changed boolean;\n' ELSE '' END END))
    FROM (SELECT audited.granularity = 'row' AS per_row, threadline_internal.image_expression(audited, 'OLD') AS old_row,
                 threadline_internal.image_expression(audited, 'NEW') AS new_row) AS g
   CROSS JOIN LATERAL (VALUES
      ('insert', format(E'  row_image := %s;\n', new_row),
       format('SELECT %s, EXISTS (SELECT FROM new_rows OFFSET 1) INTO row_image, many FROM new_rows AS n', threadline_internal.image_expression(audited, 'n.*'))),
      ('delete', format(E'  row_image := %s;\n', old_row),
       format('SELECT %s, EXISTS (SELECT FROM old_rows OFFSET 1) INTO row_image, many FROM old_rows AS o', threadline_internal.image_expression(audited, 'o.*'))),
      ('update', format(E'  old_row_image := %s;\n  row_image := %s;\n', old_row, new_row),
       format('SELECT %s, %s, EXISTS (SELECT FROM new_rows OFFSET 1) INTO old_row_image, row_image, many FROM old_rows AS o, new_rows AS n',
         threadline_internal.image_expression(audited, 'o.*'), threadline_internal.image_expression(audited, 'n.*')))) AS e (event, images, first_row)
    JOIN threadline_internal.row_sources(audited) AS r USING (event)
    JOIN threadline_internal.statement_sources(audited) AS s USING (event)
  UNION ALL
  SELECT 'truncate', threadline_internal.trigger_source(audited, 'truncate', threadline_internal.truncate_source(audited))
$function$;
COMMENT ON FUNCTION threadline_internal.trigger_sources(threadline.audited_tables) IS
  'PL/pgSQL of the functions that capture inserts, updates, deletes and truncation of a table.';

CREATE FUNCTION threadline_internal.define_capture_functions(audited threadline.audited_tables) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  written record;
  name text;
BEGIN
  FOR written IN SELECT s.event, s.source FROM threadline_internal.trigger_sources(audited) AS s LOOP
    name := format('capture_%s_%s', audited.id, written.event);
    EXECUTE format('CREATE OR REPLACE FUNCTION threadline_internal.%I() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER %s AS %L', name,
      (SELECT string_agg(format('SET %s = %s', p[1], CASE p[1] WHEN 'search_path' THEN p[2] ELSE quote_literal(p[2]) END), ' ')
         FROM unnest(threadline_internal.pinned_settings(written.event)) AS s, string_to_array(s, '=') AS p), written.source);
    EXECUTE format('COMMENT ON FUNCTION threadline_internal.%I() IS %L', name,
      format('Captures the %s of rows of %I.%I.', written.event, audited.table_schema, audited.table_name));
    EXECUTE format('REVOKE ALL ON FUNCTION threadline_internal.%I() FROM PUBLIC', name);
    -- They run with the rights of the audit log's owner, and never with those of whoever happened to call audit_table.
    EXECUTE format('ALTER FUNCTION threadline_internal.%I() OWNER TO %s', name,
      (SELECT relowner::regrole FROM pg_class WHERE oid = 'threadline.audit_changes'::regclass));
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.define_capture_functions(threadline.audited_tables) IS
  'Writes the functions that capture inserts, updates, deletes and truncation of a table.';
