-- Stores the definition that changes of a table are made under from now on.
CREATE FUNCTION threadline_internal.store_definition(audited threadline.audited_tables) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  present threadline.table_definitions := threadline_internal.describe_definition(audited);
BEGIN
  present.id := audited.definition_id;
  INSERT INTO threadline.table_definitions OVERRIDING SYSTEM VALUE SELECT present.* ON CONFLICT (id) DO NOTHING;
END
$function$;
COMMENT ON FUNCTION threadline_internal.store_definition(threadline.audited_tables) IS
  'Stores the present definition of a table.';

-- Tells which numbers the columns of definitions that were made in another database, or for a table before it was made
-- anew, have in this one: only their names go from the last definition before to the first one since. A column that is
-- not known by name is given a number that no column has, and that it keeps.
CREATE FUNCTION threadline_internal.present_numbers(older threadline.table_definitions, present_columns jsonb)
RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH old AS (
    SELECT DISTINCT (c.value ->> 'number')::integer AS number, (d.relation, d.database) = (older.relation,
             older.database) AS is_meant
      FROM threadline.table_definitions AS d CROSS JOIN LATERAL jsonb_each(d.columns) AS c
     WHERE d.table_id = older.table_id
  ), lowest AS (
    SELECT least(min(o.number), 0) AS number FROM old AS o
  )
  SELECT coalesce(jsonb_object_agg(o.number, CASE
           WHEN k.key IS NOT NULL THEN present_columns #> ARRAY[k.key, 'number']
           WHEN o.number < 0 THEN to_jsonb(o.number)
           ELSE to_jsonb(l.number - o.number) END), '{}')
    FROM old AS o
   CROSS JOIN lowest AS l
    LEFT JOIN jsonb_each(older.columns) AS k
      ON (k.value ->> 'number')::integer = o.number AND present_columns ? k.key
   WHERE o.is_meant
$function$;
COMMENT ON FUNCTION threadline_internal.present_numbers(threadline.table_definitions, jsonb) IS
  'The numbers that columns of older definitions have in a table that was restored or made anew.';

-- Gives the conversions of a table the numbers that their columns have now.
CREATE FUNCTION threadline_internal.renumber_conversions(older threadline.table_definitions, numbers jsonb)
RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  conversions threadline.column_conversions[];
  conversion threadline.column_conversions;
BEGIN
  SELECT array_agg(c) INTO conversions
    FROM threadline.column_conversions AS c JOIN threadline.table_definitions AS d ON d.id = c.definition_id
   WHERE c.table_id = older.table_id AND (d.relation, d.database) = (older.relation, older.database);
  -- First they all go: one can have the number that another is to have.
  DELETE FROM threadline.column_conversions AS c USING unnest(conversions) AS m
   WHERE (c.table_id, c.column_number, c.definition_id) = (m.table_id, m.column_number, m.definition_id);
  FOREACH conversion IN ARRAY coalesce(conversions, '{}') LOOP
    conversion.column_number := coalesce((numbers ->> conversion.column_number::text)::smallint,
      conversion.column_number);
    INSERT INTO threadline.column_conversions SELECT conversion.*;
    IF conversion.expression IS NOT NULL THEN
      PERFORM threadline_internal.define_conversion(conversion);
    END IF;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.renumber_conversions(threadline.table_definitions, jsonb) IS
  'Gives the conversions of a table that was restored or made anew the present numbers of their columns.';

-- Brings the numbers of columns in older definitions in line with a table that was restored, or made anew.
CREATE FUNCTION threadline_internal.renumber_definitions(audited threadline.audited_tables) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  present_columns jsonb := audited.definition -> 'columns';
  numbers jsonb;
  older threadline.table_definitions;
BEGIN
  SELECT d.columns INTO present_columns FROM threadline.table_definitions AS d
   WHERE d.table_id = audited.id
     AND (d.relation, d.database) = (audited.relation, audited.definition ->> 'database') ORDER BY d.id LIMIT 1;
  present_columns := coalesce(present_columns, audited.definition -> 'columns');
  FOR older IN
    SELECT DISTINCT ON (d.relation, d.database) d.*
      FROM threadline.table_definitions AS d
     WHERE d.table_id = audited.id
       AND (d.relation, d.database) <> (audited.relation, audited.definition ->> 'database')
     ORDER BY d.relation, d.database, d.id DESC LOOP
    numbers := threadline_internal.present_numbers(older, present_columns);
    PERFORM threadline_internal.renumber_conversions(older, numbers);
    UPDATE threadline.table_definitions AS d
       SET relation = audited.relation, database = audited.definition ->> 'database',
           columns = (SELECT coalesce(jsonb_object_agg(c.key, c.value - '{attributes, labels, type_oid}'::text[]
                               || jsonb_build_object('number', numbers -> (c.value ->> 'number'))), '{}')
                        FROM jsonb_each(d.columns) AS c)
     WHERE d.table_id = audited.id AND (d.relation, d.database) = (older.relation, older.database);
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.renumber_definitions(threadline.audited_tables) IS
  'Gives the columns of older definitions the numbers that they have in a table that was restored.';

-- Finds out how older images of a table are read under its present definition.
CREATE FUNCTION threadline_internal.read_older(audited threadline.audited_tables, before threadline.audited_tables)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  columns jsonb := (threadline_internal.describe_definition(audited)).columns;
BEGIN
  IF audited.definition_id <> before.definition_id THEN
    audited.older_definitions := threadline_internal.older_definitions(audited, columns, audited.definition_id);
    PERFORM threadline_internal.find_conversions(audited, before);
    PERFORM threadline_internal.find_exchanged_attributes(audited);
  END IF;
  RETURN threadline_internal.older_definitions(audited, columns);
END
$function$;
COMMENT ON FUNCTION threadline_internal.read_older(threadline.audited_tables, threadline.audited_tables) IS
  'How images of other definitions of a table are read, once its present definition is known.';
