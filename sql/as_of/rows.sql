-- Raises an error where a column would be. The last argument only makes the call depend on the row: the planner may
-- call a function of constants by itself.
CREATE FUNCTION threadline_internal.raise_no_value(sample anyelement, message text, change_id bigint) RETURNS anyelement
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RAISE EXCEPTION '%', format(message, change_id) USING ERRCODE = 'data_exception', CONSTRAINT = 'threadline_value',
    HINT = 'Read other columns, through the function that is named like the table, or the images in '
      'threadline.versions.';
END
$function$;
COMMENT ON FUNCTION threadline_internal.raise_no_value(anyelement, text, bigint) IS
  'Raises the error of a value that the past does not have; stands where a column would be.';

-- Tells whether a value made of an image lacks attributes that the image has.
CREATE FUNCTION threadline_internal.lacks_attributes(made jsonb, image jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE
    WHEN jsonb_typeof(image) = 'object' AND jsonb_typeof(made) = 'object' THEN EXISTS (
      SELECT FROM jsonb_each(image) AS i
       WHERE NOT made ? i.key OR threadline_internal.lacks_attributes(made -> i.key, i.value))
    WHEN jsonb_typeof(image) = 'array' AND jsonb_typeof(made) = 'array' THEN EXISTS (
      SELECT FROM jsonb_array_elements(image) WITH ORDINALITY AS i (value, place)
       WHERE threadline_internal.lacks_attributes(made -> (i.place - 1)::integer, i.value))
    ELSE false END
$function$;
COMMENT ON FUNCTION threadline_internal.lacks_attributes(jsonb, jsonb) IS
  'Whether attributes of a composite value in an image are lost in the row made of it.';

-- Makes a row of an image, for tables where an older value may be none of the present type.
CREATE FUNCTION threadline_internal.row_or_error(sample anyelement, image jsonb, change_id bigint) RETURNS anyelement
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  made jsonb;
  field text;
  blamed text;
  reason text;
BEGIN
  BEGIN
    sample := jsonb_populate_record(sample, image);
    made := to_jsonb(sample);
    -- Attributes of a composite type are told by name, like columns; but nobody kept what became of them.
    SELECT i.key INTO blamed FROM jsonb_each(image) AS i
     WHERE made ? i.key AND threadline_internal.lacks_attributes(made -> i.key, i.value) LIMIT 1;
    IF NOT FOUND THEN
      RETURN sample;
    END IF;
    reason := 'its type has lost or renamed attributes';
  EXCEPTION WHEN OTHERS THEN
    reason := SQLERRM;
    -- The column without which all is well.
    FOR field IN SELECT jsonb_object_keys(image) LOOP
      BEGIN
        PERFORM jsonb_populate_record(sample, image - field);
        blamed := field;
      EXCEPTION WHEN OTHERS THEN
        NULL;
      END;
    END LOOP;
  END;
  RAISE EXCEPTION 'the value of % that change % of % recorded cannot be read in its present type: %',
    coalesce('column ' || quote_ident(blamed), 'a column'), change_id, pg_typeof(sample), reason
    USING ERRCODE = 'data_exception', CONSTRAINT = 'threadline_value', COLUMN = coalesce(blamed, ''),
      HINT = 'Read the images in threadline.versions, or convert the column back.';
END
$function$;
COMMENT ON FUNCTION threadline_internal.row_or_error(anyelement, jsonb, bigint) IS
  'The row of an image; an error names the column whose value cannot be converted.';

-- Writes the conversion of an image i into a row. What depends on user-defined types or on a type the column had once
-- is converted with care; plain conversion is faster.
CREATE FUNCTION threadline_internal.record_of_image(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format(CASE WHEN EXISTS (
        SELECT FROM jsonb_each(audited.definition -> 'columns') AS d (name, value)
          JOIN threadline_internal.columns_of(audited.relation) AS c USING (name)
          JOIN pg_type AS y ON y.oid = c.type
         WHERE c.name <> ALL (audited.excluded_columns || audited.masked_columns)
           AND (d.value ? 'retyped' OR y.typnamespace <> 'pg_catalog'::regnamespace))
      THEN 'threadline_internal.row_or_error(NULL::%s, i.image, $3)'
      ELSE 'pg_catalog.jsonb_populate_record(NULL::%s, i.image)' END, audited.relation)
$function$;
COMMENT ON FUNCTION threadline_internal.record_of_image(threadline.audited_tables) IS
  'SQL for a record that is made of an image.';

-- Writes a row that is made of an image: $2 is the image and $3 the change it is of. OFFSET 0 keeps the planner from
-- converting once per column, and lets it not convert at all for a count. A virtual generated column is not in the
-- image, and follows from the columns that are.
CREATE FUNCTION threadline_internal.row_of_image(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
  SELECT threadline_internal.render(CASE WHEN computed IS NULL THEN '{stored}' ELSE 'SELECT {computed}
  FROM ({stored}) AS r
 CROSS JOIN LATERAL threadline_internal.computed_columns_{table_id}(ROW({columns})::{table}) AS v ({types})' END,
    jsonb_build_object(
    'stored', threadline_internal.render('SELECT {past_columns}
  FROM (SELECT i.image, {record} AS record
          FROM (SELECT $2 AS image OFFSET 0) AS i OFFSET 0) AS p', jsonb_build_object(
      'past_columns', threadline_internal.past_columns(audited, false),
      'record', threadline_internal.record_of_image(audited))),
    'computed', computed, 'types', types, 'table_id', audited.id,
    'columns', threadline_internal.columns_of_row(audited.relation, 'r'),
    'table', audited.relation))
    FROM (SELECT CASE WHEN bool_or(c.generated = 'v') AND audited.masked_columns || audited.excluded_columns = '{}' THEN
                   string_agg(format('%s.%I AS %I', CASE c.generated WHEN 'v' THEN 'v' ELSE 'r' END, c.name, c.name),
                              ', ' ORDER BY c.number) END,
                 string_agg(format('%I %s', c.name, threadline_internal.type_name(c.type, c.typmod)), ', '
                              ORDER BY c.number) FILTER (WHERE c.generated = 'v')
            FROM threadline_internal.columns_of(audited.relation) AS c) AS c (computed, types)
$function$;
COMMENT ON FUNCTION threadline_internal.row_of_image(threadline.audited_tables) IS
  'SQL for a row of the past out of an image.';
