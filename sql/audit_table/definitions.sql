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

-- Brings the numbers of columns in older definitions in line with a table that was restored, or made anew: there the
-- columns have other numbers, and only their names go from the last definition before to the first one since. A column
-- that is not known by name is given a number that no column has.
CREATE FUNCTION threadline_internal.renumber_definitions(audited threadline.audited_tables) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  present_columns jsonb := audited.definition -> 'columns';
  numbers jsonb;
  older record;
BEGIN
  SELECT d.columns INTO present_columns FROM threadline.table_definitions AS d
   WHERE d.table_id = audited.id
     AND (d.relation, d.database) = (audited.relation, audited.definition ->> 'database') ORDER BY d.id LIMIT 1;
  present_columns := coalesce(present_columns, audited.definition -> 'columns');
  FOR older IN
    SELECT DISTINCT ON (d.relation, d.database) d.relation, d.database, d.columns
      FROM threadline.table_definitions AS d
     WHERE d.table_id = audited.id
       AND (d.relation, d.database) <> (audited.relation, audited.definition ->> 'database')
     ORDER BY d.relation, d.database, d.id DESC LOOP
    SELECT jsonb_object_agg(c.value ->> 'number', present_columns #> ARRAY[c.key, 'number']) INTO numbers
      FROM jsonb_each(older.columns) AS c WHERE present_columns ? c.key;
    UPDATE threadline.table_definitions AS d
       SET relation = audited.relation, database = audited.definition ->> 'database',
           columns = (SELECT coalesce(jsonb_object_agg(c.key, c.value - 'labels' - 'type_oid' || jsonb_build_object(
                               'number', coalesce(numbers -> (c.value ->> 'number'),
                                 to_jsonb(-(c.value ->> 'number')::integer)))), '{}')
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
    -- What was found in an earlier attempt behind a lock must not change what is found now.
    DELETE FROM threadline.column_conversions AS c
     WHERE (c.table_id, c.definition_id) = (audited.id, audited.definition_id) AND c.expression IS NULL;
    audited.older_definitions := threadline_internal.older_definitions(audited, columns);
    PERFORM threadline_internal.find_conversions(audited, before);
  END IF;
  RETURN threadline_internal.older_definitions(audited, columns);
END
$function$;
COMMENT ON FUNCTION threadline_internal.read_older(threadline.audited_tables, threadline.audited_tables) IS
  'How images of other definitions of a table are read, once its present definition is known.';
