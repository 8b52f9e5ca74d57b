-- Stores the definition under which changes of a table are made from now on.
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

-- Returns the present numbers of the columns of definitions from another database, or from before the table was
-- recreated. Only the names connect the last definition before with the first one after. A column that has no name in
-- the present table gets a number that no column has, and keeps it.
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
  'The numbers of the columns of older definitions in a table that was restored or recreated.';

-- Returns the present numbers of the types of those definitions, and of the labels of their enums. Only the names
-- connect the last definition before with the first one after. A type or label without a present name gets a number
-- that nothing has, and keeps it. It therefore stays distinct, whatever name it gets later.
CREATE FUNCTION threadline_internal.present_label_numbers(older threadline.table_definitions, present_columns jsonb)
RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH defined AS (
    SELECT d.id, c.value AS col, (d.relation, d.database) = (older.relation, older.database) AS is_meant
      FROM threadline.table_definitions AS d CROSS JOIN LATERAL jsonb_each(d.columns) AS c
     WHERE d.table_id = older.table_id
  ), lowest AS (
    SELECT least(min((l.value #>> '{}')::bigint), min((d.col ->> 'type_oid')::bigint), 0) AS number
      FROM defined AS d LEFT JOIN LATERAL jsonb_each(d.col -> 'labels') AS l ON true
  ), type AS (
    SELECT DISTINCT ON (o.value -> 'type_oid') o.value -> 'type_oid' AS number, p.value -> 'type_oid' AS present,
           -- The definition of a redacted column has no labels.
           coalesce(p.value -> 'labels', threadline_internal.labels((p.value ->> 'type_oid')::oid, -1)) AS labels
      FROM jsonb_each(older.columns) AS o JOIN jsonb_each(present_columns) AS p USING (key)
     WHERE o.value -> 'type' = p.value -> 'type'
     ORDER BY o.value -> 'type_oid', p.value -> 'labels' IS NULL, o.key
  ), label AS (
    SELECT DISTINCT ON (l.value) l.value AS number, l.key AS name
      FROM defined AS d CROSS JOIN LATERAL jsonb_each(d.col -> 'labels') AS l
     WHERE d.is_meant ORDER BY l.value, d.id DESC
  ), present_label AS (
    SELECT l.number, max((t.labels ->> l.name)::bigint) AS present
      FROM label AS l
      JOIN defined AS d ON d.is_meant AND d.col -> 'labels' @> jsonb_build_object(l.name, l.number)
      JOIN type AS t ON t.number = d.col -> 'type_oid'
     GROUP BY l.number
  ), numbered AS (
    SELECT 'types' AS kind, d.number, t.present
      FROM (SELECT DISTINCT d.col -> 'type_oid' AS number FROM defined AS d
             WHERE d.is_meant AND d.col ? 'type_oid') AS d
      LEFT JOIN type AS t USING (number)
    UNION ALL
    SELECT 'labels', l.number, to_jsonb(p.present::text) FROM label AS l LEFT JOIN present_label AS p USING (number)
  )
  SELECT coalesce(jsonb_object_agg(k.kind, k.numbers), '{}')
    FROM (SELECT n.kind, jsonb_object_agg(n.number #>> '{}', coalesce(n.present, CASE
                   WHEN (n.number #>> '{}')::bigint < 0 THEN n.number
                   ELSE to_jsonb((l.number - (n.number #>> '{}')::bigint)::text) END)) AS numbers
            FROM numbered AS n CROSS JOIN lowest AS l GROUP BY n.kind) AS k
$function$;
COMMENT ON FUNCTION threadline_internal.present_label_numbers(threadline.table_definitions, jsonb) IS
  'The numbers of types and labels of older definitions in the database into which a table was restored.';

-- Returns a column of such a definition with the present numbers of the column, its type and its labels. In the same
-- database, types and labels keep their numbers.
CREATE FUNCTION threadline_internal.renumbered_column(old_column jsonb, numbers jsonb, label_numbers jsonb)
RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT (old_column - CASE WHEN label_numbers IS NULL THEN '' ELSE 'attributes' END)
    || jsonb_build_object('number', numbers -> (old_column ->> 'number'))
    || CASE WHEN label_numbers IS NULL THEN '{}' ELSE jsonb_strip_nulls(jsonb_build_object(
         'type_oid', label_numbers -> 'types' -> (old_column ->> 'type_oid'),
         'labels', (SELECT jsonb_object_agg(l.key, label_numbers -> 'labels' -> (l.value #>> '{}'))
                      FROM jsonb_each(old_column -> 'labels') AS l))) END
$function$;
COMMENT ON FUNCTION threadline_internal.renumbered_column(jsonb, jsonb, jsonb) IS
  'A column of an older definition with its present numbers.';

-- Gives the conversions of a table the present numbers of their columns.
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
  -- All rows are deleted first, because one may have the number that another gets.
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
  'Gives the conversions of a table that was restored or recreated the present numbers of their columns.';

-- Updates the column numbers in older definitions to match a table that was restored or recreated.
CREATE FUNCTION threadline_internal.renumber_definitions(audited threadline.audited_tables) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  present_columns jsonb;
  numbers jsonb;
  label_numbers jsonb;
  older threadline.table_definitions;
BEGIN
  SELECT d.columns INTO present_columns FROM threadline.table_definitions AS d
   WHERE d.table_id = audited.id
     AND (d.relation, d.database) = (audited.relation, audited.definition ->> 'database') ORDER BY d.id LIMIT 1;
  present_columns := coalesce(present_columns, (threadline_internal.describe_definition(audited)).columns);
  FOR older IN
    SELECT DISTINCT ON (d.relation, d.database) d.*
      FROM threadline.table_definitions AS d
     WHERE d.table_id = audited.id
       AND (d.relation, d.database) <> (audited.relation, audited.definition ->> 'database')
     ORDER BY d.relation, d.database, d.id DESC LOOP
    numbers := threadline_internal.present_numbers(older, present_columns);
    label_numbers := CASE WHEN older.database <> audited.definition ->> 'database'
      THEN threadline_internal.present_label_numbers(older, present_columns) END;
    PERFORM threadline_internal.renumber_conversions(older, numbers);
    UPDATE threadline.table_definitions AS d
       SET relation = audited.relation, database = audited.definition ->> 'database',
           columns = (SELECT coalesce(jsonb_object_agg(c.key,
                               threadline_internal.renumbered_column(c.value, numbers, label_numbers)), '{}')
                        FROM jsonb_each(d.columns) AS c)
     WHERE d.table_id = audited.id AND (d.relation, d.database) = (older.relation, older.database);
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.renumber_definitions(threadline.audited_tables) IS
  'Gives the columns of older definitions their numbers in a table that was restored.';

-- Determines how older images of a table are read under its present definition.
CREATE FUNCTION threadline_internal.read_older(audited threadline.audited_tables, before threadline.audited_tables)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  present threadline.table_definitions := threadline_internal.describe_definition(audited);
BEGIN
  IF audited.definition_id <> before.definition_id THEN
    audited.older_definitions := threadline_internal.older_definitions(audited, present.columns,
      audited.definition_id);
    PERFORM threadline_internal.find_conversions(audited, before, present);
    PERFORM threadline_internal.find_exchanged_attributes(audited, present);
    PERFORM threadline_internal.find_renamed_labels(audited, before, present);
  END IF;
  RETURN threadline_internal.older_definitions(audited, present.columns);
END
$function$;
COMMENT ON FUNCTION threadline_internal.read_older(threadline.audited_tables, threadline.audited_tables) IS
  'How images of other definitions of a table are read, once its present definition is known.';
