-- Images that handle difficult values: a value that to_jsonb cannot convert must not fail the write, and a value that
-- to_jsonb would convert with a user-defined cast is recorded as text. These functions use the columns that the table
-- has at that moment.
-- A value that an image cannot contain is replaced by its length in bytes and its hash. The image then lists such
-- columns under the key "", which cannot be a column name: an application value that looks like a replacement is not
-- one if that list is missing.

-- Returns the maximum size of an image: JSON can have 256 MB, and a reader may request the row before and after a
-- change in one value.
CREATE FUNCTION threadline_internal.image_limit() RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS 'SELECT 128000000';
COMMENT ON FUNCTION threadline_internal.image_limit() IS 'Maximum number of bytes of an image.';

-- Returns the replacement of a value that is not recorded. A value whose text exceeds what PostgreSQL can store has no
-- hash.
CREATE FUNCTION threadline_internal.not_recorded(value anyelement) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  bytes bytea;
BEGIN
  BEGIN
    IF pg_typeof(value) = 'bytea'::regtype THEN
      bytes := value;
    ELSE
      bytes := convert_to(format('%s', value), getdatabaseencoding());
    END IF;
  EXCEPTION WHEN OTHERS THEN
    NULL;
  END;
  RETURN jsonb_build_object('threadline', 'not recorded', 'length', octet_length(bytes),
    'sha256', encode(sha256(bytes), 'hex'));
END
$function$;
COMMENT ON FUNCTION threadline_internal.not_recorded(anyelement) IS
  'The replacement in an image for a value that cannot be recorded: its length in bytes and its SHA-256.';

-- Returns SQL for the image of a row $1, column by column. format runs the output function of a type, and no
-- user-defined cast.
CREATE FUNCTION threadline_internal.column_images(relation regclass, excluded text[])
RETURNS TABLE (name text, value text, image text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT c.name, v.value, threadline_internal.column_image(v.value, c.name = ANY (t.columns))
    FROM threadline_internal.present_columns(relation) AS c
   CROSS JOIN threadline_internal.text_columns(relation) AS t (columns)
   CROSS JOIN LATERAL (SELECT format('($1).%I', c.name)) AS v (value)
   WHERE c.name <> ALL (excluded)
     AND NOT EXISTS (SELECT FROM threadline_internal.columns_of(relation) AS g
                      WHERE g.number = c.number AND g.generated = 'v')
$function$;
COMMENT ON FUNCTION threadline_internal.column_images(regclass, text[]) IS
  'SQL for the columns of a row that its image contains, and for the JSON of each.';

-- Returns SQL for one column of an image.
CREATE FUNCTION threadline_internal.column_image(value text, as_text boolean) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN as_text
      THEN format($sql$CASE WHEN %s IS DISTINCT FROM NULL THEN format('%%s', %s) END$sql$, value, value)
      ELSE value END
$function$;
COMMENT ON FUNCTION threadline_internal.column_image(text, boolean) IS
  'SQL for a column as an image contains it: as its text, or as PostgreSQL converts it to JSON.';

-- Returns the image of a row of a table, in one step if possible, otherwise column by column.
CREATE FUNCTION threadline_internal.typed_image(sample anyelement, row_of record, relation regclass, excluded text[],
  strict boolean) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  part record;
  value jsonb;
  image jsonb := '{}';
  missing text[] := '{}';
BEGIN
  sample := row_of;
  BEGIN
    EXECUTE (SELECT 'SELECT ' || coalesce(string_agg(format('jsonb_build_object(%s)', p.pairs), ' || '),
                                          $$'{}'::jsonb$$)
               FROM (SELECT string_agg(format('%L, %s', c.name, c.image), ', ') AS pairs
                       FROM (SELECT c.*, row_number() OVER () AS number
                               FROM threadline_internal.column_images(relation, excluded) AS c) AS c
                      GROUP BY c.number / 50) AS p) INTO image USING sample;
    IF strict OR pg_column_size(image) <= threadline_internal.image_limit() THEN
      RETURN image;
    END IF;
  EXCEPTION WHEN OTHERS THEN
    IF strict THEN
      RAISE;
    END IF;
  END;
  image := '{}';
  FOR part IN SELECT * FROM threadline_internal.column_images(relation, excluded) LOOP
    BEGIN
      EXECUTE format('SELECT coalesce(to_jsonb(%s), %L)', part.image, 'null') INTO value USING sample;
      IF pg_column_size(value) + pg_column_size(image) > threadline_internal.image_limit() THEN
        value := NULL;
      END IF;
    EXCEPTION WHEN OTHERS THEN
      value := NULL;
    END;
    IF value IS NULL THEN
      EXECUTE format('SELECT threadline_internal.not_recorded(%s)', part.value) INTO value USING sample;
      missing := missing || part.name;
    END IF;
    image := image || jsonb_build_object(part.name, value);
  END LOOP;
  RETURN image || CASE WHEN missing = '{}' THEN '{}' ELSE jsonb_build_object('', missing) END;
END
$function$;
COMMENT ON FUNCTION threadline_internal.typed_image(anyelement, record, regclass, text[], boolean) IS
  'The image of a row of a table, given the type of its rows.';

-- Returns the image of a row, whatever its columns and values.
CREATE FUNCTION threadline_internal.careful_image(row_of record, relation regclass, excluded text[], strict boolean)
RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  image jsonb;
BEGIN
  EXECUTE format('SELECT threadline_internal.typed_image(NULL::%s, $1, $2, $3, $4)', relation) INTO image
    USING row_of, relation, coalesce(excluded, '{}'), strict;
  RETURN image;
END
$function$;
COMMENT ON FUNCTION threadline_internal.careful_image(record, regclass, text[], boolean) IS
  'The image of a row with the present columns of its table; a value that cannot be JSON is replaced by its hash.';

-- Returns the image of a row for which to_jsonb nearly always succeeds.
CREATE FUNCTION threadline_internal.guarded_image(row_of record, relation regclass, excluded text[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN to_jsonb(row_of) - excluded;
EXCEPTION WHEN OTHERS THEN
  RETURN threadline_internal.careful_image(row_of, relation, excluded, false);
END
$function$;
COMMENT ON FUNCTION threadline_internal.guarded_image(record, regclass, text[]) IS
  'The image of a row that may have a value which cannot be JSON.';

-- Returns whether a value can be converted to JSON.
CREATE FUNCTION threadline_internal.can_be_json(value anyelement) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  PERFORM to_jsonb(value);
  RETURN true;
EXCEPTION WHEN OTHERS THEN
  RETURN false;
END
$function$;
COMMENT ON FUNCTION threadline_internal.can_be_json(anyelement) IS
  'Whether a value of type json can be converted to jsonb.';

-- Returns whether images of a table with its present columns need special handling that its definition does not
-- include.
CREATE FUNCTION threadline_internal.needs_care(relation regclass, known_text text[], knows_json boolean,
  knows_long boolean) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.text_columns(relation) <> known_text
      OR NOT knows_json AND threadline_internal.json_columns(relation) <> '{}'
      OR NOT knows_long AND EXISTS (SELECT FROM threadline_internal.columns_of(relation) AS c
                                     WHERE NOT threadline_internal.is_short(c.type, c.typmod))
$function$;
COMMENT ON FUNCTION threadline_internal.needs_care(regclass, text[], boolean, boolean) IS
  'Whether a table now has columns that need special handling in images, unlike those of its definition.';
