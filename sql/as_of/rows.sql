-- The last argument only makes the call depend on the row: the planner may call a function of constants by itself.
CREATE FUNCTION threadline_internal.raise_no_value(sample anyelement, message text, change_id bigint) RETURNS anyelement
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RAISE EXCEPTION '%', format(message, change_id) USING ERRCODE = 'data_exception', CONSTRAINT = 'threadline_value',
    HINT = 'Read other columns, or the images in threadline.versions.';
END
$function$;
COMMENT ON FUNCTION threadline_internal.raise_no_value(anyelement, text, bigint) IS
  'Raises the error of a value that the past does not have; stands where a column would be.';

-- Whether a value made of an image lacks attributes that the image has.
CREATE FUNCTION threadline_internal.lacks_attributes(made jsonb, image jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE
    WHEN jsonb_typeof(image) = 'object' AND jsonb_typeof(made) = 'object' THEN EXISTS (
      SELECT FROM jsonb_each(image) AS i WHERE NOT made ? i.key OR threadline_internal.lacks_attributes(made -> i.key, i.value))
    WHEN jsonb_typeof(image) = 'array' AND jsonb_typeof(made) = 'array' THEN EXISTS (
      SELECT FROM jsonb_array_elements(image) WITH ORDINALITY AS i (value, place) WHERE threadline_internal.lacks_attributes(made -> (i.place - 1)::integer, i.value))
    ELSE false END
$function$;
COMMENT ON FUNCTION threadline_internal.lacks_attributes(jsonb, jsonb) IS
  'Whether attributes of a composite value in an image are lost in the row made of it.';

-- For tables where an older value may be none of the present type.
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
    SELECT i.key INTO blamed FROM jsonb_each(image) AS i WHERE made ? i.key AND threadline_internal.lacks_attributes(made -> i.key, i.value) LIMIT 1;
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

-- The columns of a row that is made of an image: $2 is the image and $3 the change it is of. What depends on
-- user-defined types or on a type the column had once is converted with care; plain conversion is faster.
-- OFFSET 0 keeps the planner from converting once per column, and lets it not convert at all for a count.
CREATE FUNCTION threadline_internal.row_of_image(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
  SELECT CASE WHEN computed IS NULL THEN made
           ELSE format(E'SELECT %s\n  FROM (%s) AS r\n CROSS JOIN LATERAL threadline_internal.computed_columns(ROW(%s)::%s) AS v', computed, made, listed, audited.relation) END
    FROM (SELECT format('SELECT %s
  FROM (SELECT i.image, %s AS record
          FROM (SELECT $2 AS image OFFSET 0) AS i OFFSET 0) AS p', threadline_internal.past_columns(audited, false),
                   CASE WHEN EXISTS (SELECT FROM jsonb_each(audited.definition -> 'columns') AS c (name, value)
                                       JOIN pg_attribute AS a ON a.attrelid = audited.relation AND a.attname = c.name
                                       JOIN pg_type AS y ON y.oid = a.atttypid
                                      WHERE c.name <> ALL (audited.excluded_columns || audited.masked_columns)
                                        AND (c.value ? 'retyped' OR y.typnamespace <> 'pg_catalog'::regnamespace))
                     THEN format('threadline_internal.row_or_error(NULL::%s, i.image, $3)', audited.relation)
                     ELSE format('pg_catalog.jsonb_populate_record(NULL::%s, i.image)', audited.relation) END) AS made,
                 -- A virtual generated column is not in the image, and follows from the columns that are.
                 (SELECT string_agg(format(CASE WHEN a.attgenerated = 'v' THEN 'v.%1$I AS %1$I' ELSE 'r.%1$I AS %1$I' END, a.attname), ', ' ORDER BY a.attnum)
                    FROM pg_attribute AS a WHERE a.attrelid = audited.relation AND a.attnum > 0 AND NOT a.attisdropped
                  HAVING bool_or(a.attgenerated = 'v') AND audited.masked_columns || audited.excluded_columns = '{}') AS computed,
                 (SELECT string_agg(format('r.%I', a.attname), ', ' ORDER BY a.attnum)
                    FROM pg_attribute AS a WHERE a.attrelid = audited.relation AND a.attnum > 0 AND NOT a.attisdropped) AS listed) AS m
$function$;
COMMENT ON FUNCTION threadline_internal.row_of_image(threadline.audited_tables) IS
  'SQL for a row of the past out of an image.';
