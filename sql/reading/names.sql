-- What a table is called in the names of functions: with its schema, and without it. A longer name than all of them can
-- take is replaced by a number, which src/sql/past_table.rs computes as well. Two tables of one name, or number, share
-- its functions.
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
  'What a table is called in the names of functions, with its schema and without it.';

-- Lists what a table is called, and what it was called before.
CREATE FUNCTION threadline_internal.names_of_table(audited threadline.audited_tables) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.name_in_functions(audited.table_schema, audited.table_name)
  UNION
  SELECT threadline_internal.name_in_functions(t.table_schema, t.table_name)
    FROM threadline.audited_tables AS t WHERE t.id = audited.id
$function$;
COMMENT ON FUNCTION threadline_internal.names_of_table(threadline.audited_tables) IS
  'What a table is and was called in the names of functions.';

-- Lists the tables that a name stands for. One of them may not be stored yet, or is stored under its earlier name.
CREATE FUNCTION threadline_internal.tables_of_name(name text, audited threadline.audited_tables) RETURNS SETOF integer
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT t.id
    FROM (SELECT audited.id, audited.table_schema, audited.table_name WHERE audited.id IS NOT NULL
          UNION ALL
          SELECT t.id, t.table_schema, t.table_name FROM threadline.audited_tables AS t
           WHERE t.id IS DISTINCT FROM audited.id AND EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.relation)) AS t
   WHERE tables_of_name.name IN (SELECT threadline_internal.name_in_functions(t.table_schema, t.table_name))
$function$;
COMMENT ON FUNCTION threadline_internal.tables_of_name(text, threadline.audited_tables) IS
  'The audited tables that have a name in the names of functions.';

-- Lists the functions of a name. They call those of the table that has the name. Where several have it, the type of the
-- row decides, and conditions do not reach the indexes.
CREATE FUNCTION threadline_internal.functions_of_name(name text, audited threadline.audited_tables)
RETURNS TABLE (signature text, definition text, description text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
  WITH tables AS (
    SELECT t.id, count(*) OVER () > 1 AS is_shared FROM threadline_internal.tables_of_name(name, audited) AS t (id)
  )
  SELECT DISTINCT
         format('threadline_internal.%I(%s)', concat(f.name, ' ', functions_of_name.name),
           pg_get_function_identity_arguments(p.oid)),
         format(E'RETURNS %s\nLANGUAGE sql STABLE %s AS %L', pg_get_function_result(p.oid),
           CASE p.proparallel WHEN 's' THEN 'PARALLEL SAFE' END,
           format('SELECT * FROM %s(%s)', CASE WHEN t.is_shared THEN format('threadline.%I', f.name)
               ELSE format('threadline_internal.%I', p.proname) END,
             (SELECT string_agg('$' || n, ', ' ORDER BY n) FROM generate_series(1, p.pronargs) AS n))),
         format('threadline.%s for %s, inlined.', f.name, functions_of_name.name)
    FROM tables AS t
   CROSS JOIN unnest('{as_of,row_as_of,row_of,versions}'::text[]) AS f (name)
    JOIN pg_proc AS p
      ON p.proname = format('%s_%s', f.name, t.id) AND p.pronamespace = 'threadline_internal'::regnamespace
$function$;
COMMENT ON FUNCTION threadline_internal.functions_of_name(text, threadline.audited_tables) IS
  'Definitions of the functions that are named like a table.';

-- Writes the functions of a name, and drops those that it has no more.
CREATE FUNCTION threadline_internal.define_name(name text, audited threadline.audited_tables) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.drop_reading_function(o.outdated)
    FROM (SELECT p.oid::regprocedure
            FROM unnest('{as_of,row_as_of,row_of,versions}'::text[]) AS f (name)
            JOIN pg_proc AS p ON p.proname = concat(f.name, ' ', define_name.name)
           WHERE p.pronamespace = 'threadline_internal'::regnamespace
          EXCEPT
          SELECT to_regprocedure(f.signature)
            FROM threadline_internal.functions_of_name(define_name.name, audited) AS f) AS o (outdated);
  SELECT threadline_internal.define_reading_function(f.signature, f.definition, f.description)
    FROM threadline_internal.functions_of_name(define_name.name, audited) AS f
$function$;
COMMENT ON FUNCTION threadline_internal.define_name(text, threadline.audited_tables) IS
  'Brings the functions that are named like a table in line with the tables of that name.';
