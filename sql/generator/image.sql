-- Writes a row as JSON, without what is excluded, which stands in a variable of the function. `row_name` is r.* and
-- not r where a column could be called r, too. A virtual generated column is NULL in a trigger, and follows from the
-- others.
CREATE FUNCTION threadline_internal.image_expression(audited threadline.audited_tables, row_name text,
  excluded text DEFAULT 'excluded') RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('to_jsonb(%s)', row_name)
      || coalesce((SELECT format(' - %L::text[]', array_agg(name ORDER BY name COLLATE "C"))
                     FROM jsonb_each(audited.definition -> 'columns') AS c (name, value)
                    WHERE value ->> 'generated' = 'v' HAVING count(*) > 0), '')
      || CASE WHEN audited.excluded_columns = '{}' THEN '' ELSE ' - ' || excluded END
$function$;
COMMENT ON FUNCTION threadline_internal.image_expression(threadline.audited_tables, text, text) IS
  'SQL for the image of a row as it is compared: excluded columns left out, masked ones still in clear.';

-- Writes an image as the audit log keeps it.
CREATE FUNCTION threadline_internal.masked_expression(audited threadline.audited_tables, image text,
  mask text DEFAULT 'mask') RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN audited.masked_columns = '{}' THEN image ELSE format('%s || %s', image, mask) END
$function$;
COMMENT ON FUNCTION threadline_internal.masked_expression(threadline.audited_tables, text, text) IS
  'SQL for an image as it is stored: masked columns replaced by the placeholder.';

-- Writes the rows of an event that has one image a row. OFFSET 0 keeps the planner from computing an image once per
-- mention.
CREATE FUNCTION threadline_internal.image_rows(audited threadline.audited_tables, row_name text, from_clause text,
  excluded text DEFAULT 'excluded', mask text DEFAULT 'mask') RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render('SELECT {key} AS key, {masked} AS image
                    FROM (SELECT {image} AS image{from_clause} OFFSET 0) AS i OFFSET 0', jsonb_build_object(
    'key', threadline_internal.key_expression(audited, 'image'),
    'masked', threadline_internal.masked_expression(audited, 'image', mask),
    'image', threadline_internal.image_expression(audited, row_name, excluded),
    'from_clause', from_clause))
$function$;
COMMENT ON FUNCTION threadline_internal.image_rows(threadline.audited_tables, text, text, text, text) IS
  'SQL for key and image of the rows of an insert, delete or truncation.';
