-- How values recorded under older definitions of a table are read today. A column is identified by its number, and an
-- enum label by its own number, whatever their names were then.

-- Returns, for each other definition of a table, how to turn its images into images of the given columns: {"names":
-- ...} for the present names of columns, with NULL for a dropped column whose name another column has now; {"labels":
-- ...} for the present names of enum labels; {"convert": ...} for how values were converted, step by step; and {"gaps":
-- ...} for the columns whose conversion is unknown. Conversions from before_definition_id on are left out. {"defaults":
-- ...} has the original defaults of columns that were added later, if they were converted since or are unknown, or all
-- of them for a caller that checks whether they were. More than 60 lines: it is one statement.
CREATE FUNCTION threadline_internal.older_definitions(audited threadline.audited_tables, columns jsonb,
  before_definition_id integer DEFAULT 2147483647) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH known AS (
    SELECT d.id, o.key AS old_name, o.value AS old, p.key AS name, p.value AS new,
           threadline_internal.renamed_labels(o.value -> 'labels', CASE
             WHEN o.value -> 'type_oid' = p.value -> 'type_oid' THEN p.value -> 'labels'
             ELSE threadline_internal.last_labels(d, o.value) END) AS renamed_labels,
           NULL::jsonb AS added
      FROM threadline.table_definitions AS d
     CROSS JOIN LATERAL jsonb_each(d.columns) AS o
      LEFT JOIN jsonb_each(older_definitions.columns) AS p ON p.value -> 'number' = o.value -> 'number'
     WHERE d.table_id = audited.id AND d.id IS DISTINCT FROM audited.definition_id
    UNION ALL
    SELECT d.id, a.name, a.first_value, a.name, a.new, a.renamed_labels, a.added
      FROM threadline.table_definitions AS d, threadline_internal.added_columns(audited, older_definitions.columns) AS a
     WHERE d.table_id = audited.id AND d.id IS DISTINCT FROM audited.definition_id
       AND NOT EXISTS (SELECT FROM jsonb_each(d.columns) AS o WHERE o.value -> 'number' = a.new -> 'number')
  ), gone AS (
    SELECT DISTINCT ON (k.old -> 'number') k.old -> 'number' AS number, k.old_name AS name
      FROM known AS k WHERE k.name IS NULL ORDER BY k.old -> 'number', k.id DESC
  ), read AS (
    SELECT k.id,
           -- A dropped column keeps its last name.
           jsonb_object_agg(k.old_name, coalesce(k.name,
             CASE WHEN NOT older_definitions.columns ? g.name THEN g.name END))
             FILTER (WHERE coalesce(k.name, g.name) <> k.old_name
               OR k.name IS NULL AND older_definitions.columns ? k.old_name) AS names,
           jsonb_object_agg(k.name, k.renamed_labels) FILTER (WHERE k.name IS NOT NULL AND k.renamed_labels <> '{}')
             AS labels,
           jsonb_object_agg(k.name, s.steps) FILTER (WHERE s.steps IS NOT NULL AND b.gap IS NULL) AS convert,
           jsonb_object_agg(k.name, b.gap) FILTER (WHERE b.gap IS NOT NULL) AS gaps,
           jsonb_object_agg(k.name, coalesce(k.added -> 'default', 'null')) FILTER (WHERE k.added IS NOT NULL
               AND (k.renamed_labels <> '{}' OR s.steps IS NOT NULL OR b.gap IS NOT NULL
                    OR before_definition_id < 2147483647)) AS defaults
      FROM known AS k
      LEFT JOIN gone AS g ON g.number = k.old -> 'number' AND k.name IS NULL
      LEFT JOIN LATERAL (
        SELECT jsonb_agg(CASE WHEN c.expression IS NULL THEN to_jsonb(c.to_type)
                           ELSE jsonb_build_array(threadline_internal.conversion_function(c)) END
                           ORDER BY c.definition_id)
                 FILTER (WHERE c.expression IS NOT NULL
                   OR c.from_type <> c.to_type AND threadline_internal.is_built_in(c.to_type)) AS steps,
               string_agg(c.gap, '; ' ORDER BY c.definition_id) AS gap
          FROM threadline.column_conversions AS c
         WHERE c.table_id = audited.id AND c.column_number = (k.new ->> 'number')::smallint AND c.definition_id > k.id
           AND c.definition_id < before_definition_id
           -- A redacted column is not converted while its redaction lasts.
           AND k.name <> ALL (audited.masked_columns || audited.excluded_columns)
           -- Values written between the migration and the refresh are already converted.
           AND (k.id <= c.last_definition_id OR c.from_type = c.to_type OR k.added IS NOT NULL
                OR k.old ->> 'type' <> c.to_type)) AS s
        ON k.name IS NOT NULL
     CROSS JOIN LATERAL (SELECT coalesce(k.added ->> 'default_gap', s.gap) AS gap) AS b
     GROUP BY k.id
  )
  SELECT coalesce(jsonb_object_agg(r.id, (
             SELECT jsonb_object_agg(p.key, p.value)
               FROM (VALUES ('names', r.names), ('labels', r.labels), ('convert', r.convert), ('gaps', r.gaps),
                      ('defaults', r.defaults)) AS p (key, value)
              WHERE p.value IS NOT NULL))
           FILTER (WHERE num_nonnulls(r.names, r.labels, r.convert, r.gaps, r.defaults) > 0), '{}')
    FROM read AS r
$function$;
COMMENT ON FUNCTION threadline_internal.older_definitions(threadline.audited_tables, jsonb, integer) IS
  'How to read images of other definitions of a table with the given columns.';

-- Returns the columns whose values in earlier rows are given by a default, or are unknown and must not be read as NULL:
-- their present description, and that of the first definition that has them.
CREATE FUNCTION threadline_internal.added_columns(audited threadline.audited_tables, columns jsonb)
RETURNS TABLE (name text, new jsonb, added jsonb, first_value jsonb, renamed_labels jsonb)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT p.key, p.value, a.value, f.value,
         threadline_internal.renamed_labels(f.value -> 'labels', CASE
           WHEN f.value -> 'type_oid' = p.value -> 'type_oid' THEN p.value -> 'labels'
           ELSE threadline_internal.last_labels(f.definition, f.value) END)
    FROM jsonb_each(columns) AS p
    JOIN jsonb_each(audited.definition -> 'columns') AS a ON a.value -> 'number' = p.value -> 'number'
    LEFT JOIN LATERAL (
      SELECT d AS definition, o.value
        FROM threadline.table_definitions AS d CROSS JOIN LATERAL jsonb_each(d.columns) AS o
       WHERE d.table_id = audited.id AND o.value -> 'number' = p.value -> 'number' ORDER BY d.id LIMIT 1) AS f ON true
   WHERE a.value ? 'default' OR a.value ? 'default_gap' AND NOT a.value ? 'not_null'
$function$;
COMMENT ON FUNCTION threadline_internal.added_columns(threadline.audited_tables, jsonb) IS
  'The columns that were added to a table while it was audited, with the values that stand for their earlier values.';

-- Returns the last names of the enum labels of a column before the column got another type.
CREATE FUNCTION threadline_internal.last_labels(old threadline.table_definitions, old_column jsonb) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT c.value -> 'labels'
    FROM threadline.table_definitions AS d CROSS JOIN LATERAL jsonb_each(d.columns) AS c
   WHERE old_column ? 'labels' AND d.table_id = old.table_id AND d.id >= old.id
     AND c.value -> 'number' = old_column -> 'number' AND c.value -> 'type_oid' = old_column -> 'type_oid'
   ORDER BY d.id DESC LIMIT 1
$function$;
COMMENT ON FUNCTION threadline_internal.last_labels(threadline.table_definitions, jsonb) IS
  'The last enum labels of a column before the column got another type.';

-- Returns the labels of an enum that were renamed since, each with its present name.
CREATE FUNCTION threadline_internal.renamed_labels(old_labels jsonb, new_labels jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(jsonb_object_agg(o.key, n.key), '{}')
    FROM jsonb_each(old_labels) AS o JOIN jsonb_each(new_labels) AS n ON n.value = o.value
   WHERE n.key <> o.key
$function$;
COMMENT ON FUNCTION threadline_internal.renamed_labels(jsonb, jsonb) IS
  'The labels of an enum that were renamed between two definitions, with their new names.';

-- Returns the labels of a type with their numbers, if it is an enum, an array of an enum, or a domain over one.
CREATE FUNCTION threadline_internal.labels(type oid, typmod integer) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT jsonb_object_agg(e.enumlabel, e.oid)
    FROM threadline_internal.base_type(type, typmod) AS b
    JOIN pg_type AS y ON y.oid = b.type
    JOIN pg_enum AS e ON e.enumtypid = CASE WHEN y.typcategory = 'A' THEN y.typelem ELSE y.oid END
$function$;
COMMENT ON FUNCTION threadline_internal.labels(oid, integer) IS 'The labels of an enum with their numbers.';

-- Returns an image with the present names of its columns.
CREATE FUNCTION threadline_internal.rename_image(image jsonb, older jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN older -> 'names' IS NULL THEN image
    ELSE (image - ARRAY(SELECT jsonb_object_keys(older -> 'names')))
      || (SELECT coalesce(jsonb_object_agg(n.value, image -> n.key), '{}')
            FROM jsonb_each_text(older -> 'names') AS n WHERE n.value IS NOT NULL AND image ? n.key) END
$function$;
COMMENT ON FUNCTION threadline_internal.rename_image(jsonb, jsonb) IS
  'An image of an older definition of its table with the present names of its columns.';

-- Marks columns in an image as having an unknown conversion, in the same way as values that are not recorded: see
-- threadline_internal.columns_not_recorded.
CREATE FUNCTION threadline_internal.image_with_gaps(image jsonb, gaps jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(image || jsonb_object_agg(g.key, jsonb_build_object('threadline', 'not recorded', 'gap', g.value))
                    || jsonb_build_object('', coalesce(image -> '', '[]') || jsonb_agg(g.key)), image)
    FROM jsonb_each(gaps) AS g WHERE image ? g.key
$function$;
COMMENT ON FUNCTION threadline_internal.image_with_gaps(jsonb, jsonb) IS
  'An image without the values of columns whose conversion by a migration is unknown.';

-- Returns an image with the present names and values of its columns. A column whose conversion is unknown has no value.
CREATE FUNCTION threadline_internal.present_image(image jsonb, older jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS $function$
DECLARE
  converted record;
  step jsonb;
BEGIN
  IF older IS NULL OR image IS NULL THEN
    RETURN image;
  END IF;
  image := threadline_internal.image_with_gaps(
    coalesce(older -> 'defaults', '{}') || threadline_internal.rename_image(image, older), older -> 'gaps');
  FOR converted IN SELECT l.key AS name, image -> l.key AS value, l.value AS labels
                     FROM jsonb_each(older -> 'labels') AS l WHERE image ? l.key LOOP
    image := image || jsonb_build_object(converted.name, CASE jsonb_typeof(converted.value)
      WHEN 'string' THEN coalesce(converted.labels -> (converted.value #>> '{}'), converted.value)
      WHEN 'array' THEN (SELECT coalesce(jsonb_agg(coalesce(converted.labels -> (e.value #>> '{}'), e.value)
                                  ORDER BY e.place), '[]')
                           FROM jsonb_array_elements(converted.value) WITH ORDINALITY AS e (value, place))
      ELSE converted.value END);
  END LOOP;
  FOR converted IN SELECT c.key AS name, image -> c.key AS value, c.value AS steps
                     FROM jsonb_each(older -> 'convert') AS c
                    WHERE image ? c.key AND NOT coalesce(image -> '' ? c.key, false) LOOP
    FOR step IN SELECT value FROM jsonb_array_elements(converted.steps) LOOP
      converted.value := CASE jsonb_typeof(step)
        WHEN 'array' THEN threadline_internal.convert_value(step ->> 0, converted.value)
        ELSE threadline_internal.plain_value(step #>> '{}', converted.value) END;
    END LOOP;
    image := image || jsonb_build_object(converted.name, converted.value);
  END LOOP;
  RETURN image;
END
$function$;
COMMENT ON FUNCTION threadline_internal.present_image(jsonb, jsonb) IS
  'An image of an older definition of its table as it would be under the present one.';

-- Applies a declared conversion to a value.
CREATE FUNCTION threadline_internal.convert_value(conversion text, value jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  converted jsonb;
BEGIN
  EXECUTE format('SELECT threadline_internal.%I($1)', conversion) INTO converted USING value;
  RETURN coalesce(converted, 'null');
END
$function$;
COMMENT ON FUNCTION threadline_internal.convert_value(text, jsonb) IS 'A value after a declared conversion.';

-- Converts a value to a built-in type, as PostgreSQL does. A value of any other type stays unchanged, because reading
-- it converts it.
CREATE FUNCTION threadline_internal.plain_value(type text, value jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN CASE WHEN threadline_internal.is_built_in(type)
    THEN coalesce(threadline_internal.value_as(type, value), 'null') ELSE value END;
EXCEPTION WHEN data_exception THEN
  RETURN value;  -- A reader of the column gets the error, with the column and the change.
END
$function$;
COMMENT ON FUNCTION threadline_internal.plain_value(text, jsonb) IS
  'A value after PostgreSQL''s conversion to a built-in type.';

-- Returns whether a type name is that of a built-in type of PostgreSQL.
CREATE FUNCTION threadline_internal.is_built_in(type text) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  -- The name of a composite type contains its attributes, so it is not an actual type name.
  SELECT type !~ '[(][^0-9]' AND EXISTS (
    SELECT FROM pg_type AS y
     WHERE y.oid = to_regtype(CASE WHEN type !~ '[(][^0-9]' THEN type END)
       AND y.typnamespace = 'pg_catalog'::regnamespace)
$function$;
COMMENT ON FUNCTION threadline_internal.is_built_in(text) IS 'Whether a type is a built-in type of PostgreSQL.';

-- Returns the name of the function of a declared conversion.
CREATE FUNCTION threadline_internal.conversion_function(conversion threadline.column_conversions) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('convert_%s_%s_%s', conversion.table_id, conversion.definition_id, conversion.column_number)
$function$;
COMMENT ON FUNCTION threadline_internal.conversion_function(threadline.column_conversions) IS
  'The name of the function of a declared conversion.';
