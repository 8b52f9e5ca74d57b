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

-- Stands where an excluded column would be: an error, or NULL in a function that makes whole rows and warns of it.
CREATE FUNCTION threadline_internal.excluded_value(sample anyelement, message text, change_id bigint)
RETURNS anyelement
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF current_setting('threadline.excluded', true) = 'null' THEN
    RETURN NULL;
  END IF;
  RETURN threadline_internal.raise_no_value(sample, replace(message, '%', '%%'), change_id);
END
$function$;
COMMENT ON FUNCTION threadline_internal.excluded_value(anyelement, text, bigint) IS
  'Raises the error of a column that is excluded from the audit log, unless NULL is to stand for it.';

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

-- Makes a row of an image under the settings that it was written under, which say what a text means.
CREATE FUNCTION threadline_internal.populate(sample anyelement, image jsonb) RETURNS anyelement
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
SET IntervalStyle = 'postgres' SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
SET xmloption = 'content' SET array_nulls = 'on'
AS $function$
BEGIN
  RETURN jsonb_populate_record(sample, image);
END
$function$;
COMMENT ON FUNCTION threadline_internal.populate(anyelement, jsonb) IS
  'The row of an image, whatever the settings of the session.';

-- Reads money out of the audit log, where it stands as the locale C writes it.
CREATE FUNCTION threadline_internal.money_of(value text) RETURNS money
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
SET IntervalStyle = 'postgres' SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS 'SELECT value::money';
COMMENT ON FUNCTION threadline_internal.money_of(text) IS 'An amount out of the audit log, whatever the locale.';

-- Lists the columns of an image whose values were not recorded: see threadline_internal.careful_image. A renaming
-- leaves the names in the list as they were, so the values tell.
CREATE FUNCTION threadline_internal.columns_not_recorded(image jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN image ? '' THEN ARRAY(
    SELECT i.key FROM jsonb_each(image) AS i
     WHERE CASE WHEN jsonb_typeof(i.value) = 'object' THEN i.value -> 'threadline' = '"not recorded"' END
     ORDER BY i.key) ELSE '{}' END
$function$;
COMMENT ON FUNCTION threadline_internal.columns_not_recorded(jsonb) IS
  'The columns of an image that have a hash instead of their value.';

-- Makes a row of an image; NULL where a value is none of its present type, or was not recorded. Attributes of a
-- composite type are told by name, like columns; but nobody kept what became of them.
CREATE FUNCTION threadline_internal.row_or_null(sample anyelement, image jsonb) RETURNS anyelement
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF image ? '' THEN
    RETURN NULL;
  END IF;
  sample := threadline_internal.populate(sample, image);
  RETURN CASE WHEN threadline_internal.lost_attributes(sample, image) IS NULL THEN sample END;
EXCEPTION WHEN OTHERS THEN
  RETURN NULL;
END
$function$;
COMMENT ON FUNCTION threadline_internal.row_or_null(anyelement, jsonb) IS
  'The row of an image; NULL where its columns have to be converted one by one.';

-- Finds a column whose value, a row or an array of rows, has lost attributes in the row that was made of an image.
CREATE FUNCTION threadline_internal.lost_attributes(sample anyelement, image jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  compound jsonb := (SELECT jsonb_object_agg(i.key, i.value) FROM jsonb_each(image) AS i
                      WHERE jsonb_typeof(i.value) IN ('object', 'array'));
  made jsonb;
BEGIN
  IF compound IS NULL THEN
    RETURN NULL;
  END IF;
  made := to_jsonb(threadline_internal.populate(sample, compound));
  RETURN (SELECT i.key FROM jsonb_each(compound) AS i
           WHERE made ? i.key AND threadline_internal.lacks_attributes(made -> i.key, i.value) LIMIT 1);
END
$function$;
COMMENT ON FUNCTION threadline_internal.lost_attributes(anyelement, jsonb) IS
  'A column of an image whose composite values have attributes that its type has no more; NULL if there is none.';

-- Reads one value of an image, as its column alone: the domain of another column may refuse a NULL.
CREATE FUNCTION threadline_internal.value_or_error(sample anyelement, type text, relation text, field text, image jsonb,
  change_id bigint) RETURNS anyelement
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
SET IntervalStyle = 'postgres' SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
SET xmloption = 'content' SET array_nulls = 'on'
AS $function$
DECLARE
  reason text;
BEGIN
  IF field = ANY (threadline_internal.columns_not_recorded(image)) THEN
    IF image -> field ? 'gap' THEN
      RAISE EXCEPTION 'column % of % has no value before a migration: %', quote_ident(field), relation,
          image -> field ->> 'gap'
        USING ERRCODE = 'data_exception', CONSTRAINT = 'threadline_value', COLUMN = field,
          HINT = 'Read other columns, or declare the migration: threadline.declare_conversion.';
    END IF;
    RAISE EXCEPTION 'change % of % did not record column %, whose value was none that JSON can hold', change_id,
      relation, quote_ident(field)
      USING ERRCODE = 'data_exception', CONSTRAINT = 'threadline_value', COLUMN = field,
        DETAIL = image -> field, HINT = 'Read other columns. The detail has its length in bytes and its SHA-256.';
  END IF;
  BEGIN
    IF image ? field THEN
      EXECUTE format('SELECT x.v FROM jsonb_to_record($1) AS x (v %s)', type) INTO sample
        USING jsonb_build_object('v', image -> field);
    END IF;
    IF jsonb_typeof(image -> field) IS DISTINCT FROM 'object' AND jsonb_typeof(image -> field) IS DISTINCT FROM 'array'
      OR NOT threadline_internal.lacks_attributes(to_jsonb(sample), image -> field) THEN
      RETURN sample;
    END IF;
    reason := 'its type has lost or renamed attributes';
  EXCEPTION WHEN OTHERS THEN
    reason := SQLERRM;
  END;
  RAISE EXCEPTION 'the value of column % that change % of % recorded cannot be read in its present type: %',
    quote_ident(field), change_id, relation, reason
    USING ERRCODE = 'data_exception', CONSTRAINT = 'threadline_value', COLUMN = field,
      HINT = 'Read other columns, or the images in threadline.versions, or convert the column back.';
END
$function$;
COMMENT ON FUNCTION threadline_internal.value_or_error(anyelement, text, text, text, jsonb, bigint) IS
  'One value of an image in its present type; an error names the column and the change.';

-- Writes the call.
CREATE FUNCTION threadline_internal.value_expression(relation regclass, name text, type text, image text, change text)
RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render('threadline_internal.value_or_error((NULL::{table}).{column}, {type}, {relation}, '
      '{name}, {image}, {change})', jsonb_build_object('table', relation, 'column', quote_ident(name),
    'type', quote_literal(type), 'relation', quote_literal(relation), 'name', quote_literal(name), 'image', image,
    'change', change))
$function$;
COMMENT ON FUNCTION threadline_internal.value_expression(regclass, text, text, text, text) IS
  'SQL for one value of an image in its present type.';

-- Whether a table has columns in which a JSON null is a value, as they are NOT NULL.
CREATE FUNCTION threadline_internal.may_have_json_nulls(relation regclass) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT EXISTS (SELECT FROM threadline_internal.columns_of(relation) AS c
                  WHERE c.not_null AND c.type IN ('json'::regtype, 'jsonb'::regtype))
$function$;
COMMENT ON FUNCTION threadline_internal.may_have_json_nulls(regclass) IS
  'Whether a table has columns of JSON that are NOT NULL.';

-- Puts a JSON null back into such columns of a row that was made of an image: PostgreSQL makes NULL of it.
CREATE FUNCTION threadline_internal.with_json_nulls(sample anyelement, image jsonb) RETURNS anyelement
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
DECLARE
  relation regclass := (SELECT y.typrelid FROM pg_type AS y WHERE y.oid = pg_typeof(sample));
  columns text;
BEGIN
  IF jsonb_path_exists(image, '$.* ? (@ == null)') THEN
    SELECT string_agg(CASE WHEN n.is_json_null THEN format('%L::%s', 'null', c.type::regtype)
                        ELSE format('($1).%I', c.name) END, ', ' ORDER BY c.number) INTO columns
      FROM threadline_internal.columns_of(relation) AS c
     CROSS JOIN LATERAL (
       SELECT c.not_null AND c.type IN ('json'::regtype, 'jsonb'::regtype) AND coalesce(image -> c.name = 'null', false)
     ) AS n (is_json_null)
    HAVING bool_or(n.is_json_null);
  END IF;
  IF columns IS NOT NULL THEN
    EXECUTE format('SELECT (ROW(%s)::%s).*', columns, relation) INTO sample USING sample;
  END IF;
  RETURN sample;
END
$function$;
COMMENT ON FUNCTION threadline_internal.with_json_nulls(anyelement, jsonb) IS
  'The row of an image with the JSON nulls that its columns may hold.';

-- Makes a row of an image, with an error for a column that cannot be read.
CREATE FUNCTION threadline_internal.row_or_error(sample anyelement, image jsonb, change_id bigint) RETURNS anyelement
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
DECLARE
  relation regclass := (SELECT y.typrelid FROM pg_type AS y WHERE y.oid = pg_typeof(sample));
  part record;
BEGIN
  BEGIN
    IF NOT image ? '' THEN
      sample := threadline_internal.populate(sample, image);
      IF threadline_internal.lost_attributes(sample, image) IS NULL THEN
        RETURN threadline_internal.with_json_nulls(sample, image);
      END IF;
    END IF;
  EXCEPTION WHEN OTHERS THEN
    NULL;
  END;
  FOR part IN SELECT c.name, threadline_internal.type_name(c.type, c.typmod) AS type
                FROM threadline_internal.columns_of(relation) AS c WHERE image ? c.name ORDER BY c.number LOOP
    EXECUTE 'SELECT ' || threadline_internal.value_expression(relation, part.name, part.type, '$1', '$2')
      USING image, change_id;
  END LOOP;
  RETURN threadline_internal.with_json_nulls(threadline_internal.populate(sample, image), image);
END
$function$;
COMMENT ON FUNCTION threadline_internal.row_or_error(anyelement, jsonb, bigint) IS
  'The row of an image; an error names the column whose value cannot be read.';

-- Whether values of an image may be none of the present types, or are read by a setting.
CREATE FUNCTION threadline_internal.reads_with_care(audited threadline.audited_tables) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT EXISTS (
    SELECT FROM jsonb_each(audited.definition -> 'columns') AS d (name, value)
      JOIN threadline_internal.columns_of(audited.relation) AS c USING (name)
     WHERE c.name <> ALL (audited.excluded_columns || audited.masked_columns)
       AND (d.value ?| '{default_gap, retyped}' OR c.type >= 16384
            OR c.type = ANY ('{money, money[], xml, xml[]}'::regtype[]::oid[])))
$function$;
COMMENT ON FUNCTION threadline_internal.reads_with_care(threadline.audited_tables) IS
  'Whether a row out of an image takes more than what PostgreSQL makes of JSON.';

-- Writes the conversion of an image i into a row; NULL where its columns have to be converted one by one. What depends
-- on user-defined types, on settings or on a type the column had once is converted with care; plain conversion is
-- faster.
CREATE FUNCTION threadline_internal.record_of_image(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render(CASE WHEN threadline_internal.reads_with_care(audited)
      THEN 'threadline_internal.row_or_null(NULL::{table}, i.image)'
      ELSE $$CASE WHEN i.image OPERATOR(pg_catalog.?) '' THEN NULL
            ELSE pg_catalog.jsonb_populate_record(NULL::{table}, i.image) END$$ END,
    jsonb_build_object('table', audited.relation))
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
    FROM (SELECT CASE WHEN bool_or(c.generated = 'v') AND NOT threadline_internal.is_redacted(audited) THEN
                   string_agg(format('%s.%I AS %I', CASE c.generated WHEN 'v' THEN 'v' ELSE 'r' END, c.name, c.name),
                              ', ' ORDER BY c.number) END,
                 string_agg(format('%I %s', c.name, threadline_internal.type_name(c.type, c.typmod)), ', '
                              ORDER BY c.number) FILTER (WHERE c.generated = 'v')
            FROM threadline_internal.columns_of(audited.relation) AS c) AS c (computed, types)
$function$;
COMMENT ON FUNCTION threadline_internal.row_of_image(threadline.audited_tables) IS
  'SQL for a row of the past out of an image.';
