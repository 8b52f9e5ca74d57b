-- The functions that return the past of a table, each with its signature, definition and description. Those that the
-- planner must inline are plain SQL, like versions.

-- Returns SQL for the live rows of a table, without those of tables that inherit from it.
CREATE FUNCTION threadline_internal.live_rows(relation regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN threadline_internal.is_partitioned(relation) THEN relation::text ELSE 'ONLY ' || relation END
$function$;
COMMENT ON FUNCTION threadline_internal.live_rows(regclass) IS 'SQL for the live rows of a table in a query.';

-- Returns the condition that a table can be read as of $2.
CREATE FUNCTION threadline_internal.check_past_condition(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('threadline_internal.check_past(%s, %L, $2, pg_catalog.pg_typeof($1))', audited.id,
    threadline_internal.table_shape(audited.relation))
$function$;
COMMENT ON FUNCTION threadline_internal.check_past_condition(threadline.audited_tables) IS
  'SQL that raises an error unless a table can be read as of $2.';

-- Returns the function that computes virtual generated columns. It pins search_path, because the expressions call
-- functions without their schema. Tables without such columns need no such function.
CREATE FUNCTION threadline_internal.computed_columns_function(audited threadline.audited_tables)
RETURNS TABLE (signature text, definition text, description text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('threadline_internal.computed_columns_%s(anyelement)', audited.id),
         format(E'RETURNS SETOF record\nLANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp\nAS %L',
           format('SELECT %s FROM (SELECT ($1).*) AS r',
             string_agg(format('(%s)', pg_get_expr(d.adbin, d.adrelid)), ', ' ORDER BY c.number))),
         format('The virtual generated columns of a row of %s.', audited.relation)
    FROM threadline_internal.columns_of(audited.relation) AS c
    JOIN pg_attrdef AS d ON d.adrelid = audited.relation AND d.adnum = c.number
   WHERE c.generated = 'v' HAVING count(*) > 0
$function$;
COMMENT ON FUNCTION threadline_internal.computed_columns_function(threadline.audited_tables) IS
  'Definition of the function that computes the virtual generated columns of a table, if it has any.';

-- Returns as_of by key if the columns of the key can be read back, and by count otherwise.
CREATE FUNCTION threadline_internal.as_of_body(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN audited.key_type IS NOT NULL
         AND NOT EXISTS (SELECT FROM threadline_internal.recorded_key_columns(audited) AS k WHERE k.recorded IS NULL)
      THEN threadline_internal.as_of_by_key(audited) ELSE threadline_internal.as_of_by_count(audited) END
$function$;
COMMENT ON FUNCTION threadline_internal.as_of_body(threadline.audited_tables) IS
  'SQL for the rows that a table had at a time.';

-- Returns row_of_N(NULL::t, image, change, key...), which gives the row that row_as_of_N found: the live row or an
-- image.
CREATE FUNCTION threadline_internal.row_of_body(audited threadline.audited_tables, key text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render('SELECT {columns}
  FROM {live_rows} AS t
 WHERE $2 IS NULL AND {check_row_type} AND {live_row}
UNION ALL
SELECT r.* FROM threadline_internal.row_of_{table_id}($1, $2, $3) AS r WHERE $2 IS NOT NULL', jsonb_build_object(
    'columns', threadline_internal.past_columns(audited, true, false),
    'live_rows', threadline_internal.live_rows(audited.relation), 'table_id', audited.id,
    'check_row_type', threadline_internal.check_row_type_condition(audited),
    'live_row', threadline_internal.live_key(audited, key)))
$function$;
COMMENT ON FUNCTION threadline_internal.row_of_body(threadline.audited_tables, text[]) IS
  'SQL for the row that row_as_of found.';

-- Returns as_of_N(NULL::t, time, key...), which gives the row of the past with a key, found by the indexes. The indexes
-- of the live table contain no hashes.
CREATE FUNCTION threadline_internal.as_of_key_body(audited threadline.audited_tables, key text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN audited.hashed_columns = '{}'
      THEN format(E'LANGUAGE sql STABLE AS %L', format(
        'SELECT t.* FROM threadline_internal.as_of_%s($1, $2) AS t WHERE %s', audited.id,
        threadline_internal.live_key(audited, key)))
    ELSE format(E'LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS %L', threadline_internal.render($sql$
BEGIN
  PERFORM {check_past};
  RETURN QUERY SELECT r.* FROM threadline_internal.row_as_of_{table_id}($1, $2, {key}) AS a
    CROSS JOIN LATERAL threadline_internal.row_of_{table_id}($1, a.image, a.image_of, {key}) AS r
    WHERE a.state = 'found';
END
$sql$, jsonb_build_object('table_id', audited.id, 'check_past', threadline_internal.check_past_condition(audited),
      'key', (SELECT string_agg('$' || n + 2, ', ' ORDER BY n) FROM generate_subscripts(key, 1) AS n)))) END
$function$;
COMMENT ON FUNCTION threadline_internal.as_of_key_body(threadline.audited_tables, text[]) IS
  'Language and SQL for the row with a key that a table had at a time.';

-- Returns the result type of threadline.row_as_of.
CREATE FUNCTION threadline_internal.row_as_of_result() RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'RETURNS TABLE (state text, since timestamptz, image jsonb, image_of bigint,
  id bigint, transaction_id uuid, op text, captured_at timestamptz, row_key text, moved_key text,
  changed_fields text[], diff jsonb, actor_ref jsonb, on_behalf_of jsonb, source text, correlation_id text,
  request_id text, job_id text, remote_ip inet, meta jsonb, occurred_at timestamptz, database_role text,
  application_name text)'
$function$;
COMMENT ON FUNCTION threadline_internal.row_as_of_result() IS 'SQL for the result of threadline.row_as_of.';

-- Returns the functions that give the past of a table, callees first.
CREATE FUNCTION threadline_internal.past_functions(audited threadline.audited_tables)
RETURNS TABLE (signature text, definition text, description text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT * FROM threadline_internal.computed_columns_function(audited)
  UNION ALL
  SELECT format('threadline_internal.row_of_%s(anyelement, jsonb, bigint)', audited.id),
         format(E'RETURNS SETOF anyelement\nLANGUAGE sql STABLE AS %L', threadline_internal.row_of_image(audited)),
         format('The row of %s that an image is of, as it is read today.', audited.relation)
  UNION ALL
  SELECT format('threadline_internal.as_of_%s(anyelement, timestamptz)', audited.id),
         format(E'RETURNS SETOF anyelement\nLANGUAGE sql STABLE AS %L', threadline_internal.as_of_body(audited)),
         format('The rows of %s as of a time.', audited.relation)
$function$;
COMMENT ON FUNCTION threadline_internal.past_functions(threadline.audited_tables) IS
  'Definitions of the functions that return the past of a table.';

-- Returns the functions that take the key of a table, if it has one.
CREATE FUNCTION threadline_internal.past_functions_by_key(audited threadline.audited_tables)
RETURNS TABLE (signature text, definition text, description text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT f.*
    FROM threadline_internal.key_signatures(audited) AS key
   CROSS JOIN LATERAL (VALUES
     (format('threadline_internal.as_of_%s(anyelement, timestamptz, %s)', audited.id, key.types),
      E'RETURNS SETOF anyelement\n' || threadline_internal.as_of_key_body(audited,
        threadline_internal.key_arguments(key.casts, 3)),
      format('The row of %s with a key, as of a time.', audited.relation)),
     (format('threadline_internal.row_of_%s(anyelement, jsonb, bigint, %s)', audited.id, key.types),
      format(E'RETURNS SETOF anyelement\nLANGUAGE sql STABLE AS %L', threadline_internal.row_of_body(audited,
        threadline_internal.key_arguments(key.casts, 4))),
      format('The row of %s that threadline.row_as_of found.', audited.relation)),
     (format('threadline_internal.row_as_of_%s(anyelement, timestamptz, %s)', audited.id, key.types),
      format(E'%s\nLANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp\n'
        'SET enable_seqscan = off SET plan_cache_mode = force_generic_plan\nAS %L',
        threadline_internal.row_as_of_result(), threadline_internal.row_as_of_body(audited, key.casts)),
      format('What one row of %s was as of a time: found, deleted, not_yet or before_history.', audited.relation)))
     AS f (signature, definition, description)
  UNION ALL
  SELECT format('threadline_internal.restore_%s(anyelement, uuid, timestamptz, bigint, bigint)', audited.id),
         format(E'RETURNS TABLE (op text, skipped_columns text[])\n'
           'LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp\nAS %L',
           threadline_internal.restore_body(audited)),
         format('Brings a row of %s back to what a change left, unless later changes would be lost.', audited.relation)
   WHERE audited.key_type IS NOT NULL
$function$;
COMMENT ON FUNCTION threadline_internal.past_functions_by_key(threadline.audited_tables) IS
  'Definitions of the functions that return the past of a row of a table.';
