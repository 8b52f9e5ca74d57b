-- Returns the name of a table in the names of functions: with its schema, and without it. A name that is too long for
-- all of them is replaced by a number, which src/sql/past_table.rs computes as well. Two tables with the same name, or
-- number, share its functions.
CREATE FUNCTION threadline_internal.name_in_functions(table_schema text, table_name text) RETURNS SETOF text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  name text;
  bytes bytea;
  number bigint;
BEGIN
  FOREACH name IN ARRAY ARRAY[concat(table_schema, '.', table_name), table_name] LOOP
    bytes := convert_to(name, 'UTF8');
    IF length(bytes) > 53 THEN  -- 63 less 'row_as_of '
      number := 0;
      FOR i IN 0 .. length(bytes) - 1 LOOP
        number := (number * 257 + get_byte(bytes, i)) % 9007199254740881;
      END LOOP;
      name := '#' || number;
    END IF;
    RETURN NEXT name;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.name_in_functions(text, text) IS
  'The name of a table in the names of functions, with its schema and without it.';

-- Returns the present and former names of a table.
CREATE FUNCTION threadline_internal.names_of_table(audited threadline.audited_tables) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.name_in_functions(audited.table_schema, audited.table_name)
  UNION
  SELECT threadline_internal.name_in_functions(t.table_schema, t.table_name)
    FROM threadline.audited_tables AS t WHERE t.id = audited.id
$function$;
COMMENT ON FUNCTION threadline_internal.names_of_table(threadline.audited_tables) IS
  'The present and former names of a table in the names of functions.';

-- Returns the tables with a name. One of them may not be stored yet, or may be stored under its former name.
CREATE FUNCTION threadline_internal.tables_of_name(name text, audited threadline.audited_tables) RETURNS SETOF integer
LANGUAGE sql STABLE ROWS 4 SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT t.id
    FROM (SELECT audited.id, audited.table_schema, audited.table_name WHERE audited.id IS NOT NULL
          UNION ALL
          SELECT t.id, t.table_schema, t.table_name FROM threadline.audited_tables AS t
           WHERE t.id IS DISTINCT FROM audited.id AND EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.relation)) AS t
   -- Computing a number is slow, and only a long name has one.
   WHERE (tables_of_name.name IN (t.table_name, concat(t.table_schema, '.', t.table_name))
          OR starts_with(tables_of_name.name, '#'))
     AND tables_of_name.name IN (SELECT threadline_internal.name_in_functions(t.table_schema, t.table_name))
$function$;
COMMENT ON FUNCTION threadline_internal.tables_of_name(text, threadline.audited_tables) IS
  'The audited tables that have a name in the names of functions.';

-- Returns the functions of a name. They call those of the table with that name. If several tables have it, the type of
-- the row decides, and conditions cannot use the indexes.
CREATE FUNCTION threadline_internal.functions_of_name(name text, audited threadline.audited_tables)
RETURNS TABLE (signature text, definition text, description text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
  WITH tables AS (
    SELECT t.id, count(*) OVER () > 1 AS is_shared FROM threadline_internal.tables_of_name(name, audited) AS t (id)
  ), called AS (
    -- Thousands of tables may have a name, one in each schema, but there are few kinds of keys.
    SELECT DISTINCT ON (f.name, p.proargtypes, p.proallargtypes, p.proargnames, p.prorettype, p.proparallel)
           f.name, p.oid, p.pronargs, p.proparallel,
           CASE WHEN t.is_shared THEN format('threadline.%I', f.name)
             ELSE format('threadline_internal.%I', p.proname) END AS function
      FROM tables AS t
     CROSS JOIN unnest('{as_of,row_as_of,row_of,versions}'::text[]) AS f (name)
      JOIN pg_proc AS p
        ON p.proname = format('%s_%s', f.name, t.id) AND p.pronamespace = 'threadline_internal'::regnamespace
  )
  SELECT DISTINCT
         format('threadline_internal.%I(%s)', concat(c.name, ' ', functions_of_name.name),
           pg_get_function_identity_arguments(c.oid)),
         format(E'RETURNS %s\nLANGUAGE sql STABLE %s AS %L', pg_get_function_result(c.oid),
           CASE c.proparallel WHEN 's' THEN 'PARALLEL SAFE' END,
           format('SELECT * FROM %s(%s)', c.function,
             (SELECT string_agg('$' || n, ', ' ORDER BY n) FROM generate_series(1, c.pronargs) AS n))),
         format('threadline.%s for %s, inlined.', c.name, functions_of_name.name)
    FROM called AS c
$function$;
COMMENT ON FUNCTION threadline_internal.functions_of_name(text, threadline.audited_tables) IS
  'Definitions of the functions named after a table.';

-- Creates the functions of a name, and drops those that it no longer has.
CREATE FUNCTION threadline_internal.define_name(name text, audited threadline.audited_tables) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  named record;
  kept oid[] := '{}';
BEGIN
  FOR named IN SELECT f.* FROM threadline_internal.functions_of_name(define_name.name, audited) AS f LOOP
    PERFORM threadline_internal.define_reading_function(named.signature, named.definition, named.description);
    kept := kept || to_regprocedure(named.signature)::oid;
  END LOOP;
  PERFORM threadline_internal.drop_reading_function(p.oid)
     FROM unnest('{as_of,row_as_of,row_of,versions}'::text[]) AS f (name)
     JOIN pg_proc AS p ON p.proname = concat(f.name, ' ', define_name.name)
    WHERE p.pronamespace = 'threadline_internal'::regnamespace AND p.oid <> ALL (kept);
END
$function$;
COMMENT ON FUNCTION threadline_internal.define_name(text, threadline.audited_tables) IS
  'Updates the functions named after a table to match the tables with that name.';
