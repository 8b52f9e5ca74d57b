-- Writes a row as JSON, without what is excluded. `row_name` is r.* and not r where a column could be called r, too. A
-- virtual generated column is NULL in a trigger, and follows from the others. An excluded column is not touched where
-- the columns are those of the definition (see list_images): it can have any size, and costs nothing. Elsewhere what is
-- excluded, which stands in a variable of the function, is taken out of the whole row.
CREATE FUNCTION threadline_internal.image_expression(audited threadline.audited_tables, row_name text,
  excluded text DEFAULT 'excluded') RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN audited.definition ? 'lists_images' THEN threadline_internal.listed_image(audited, row_name)
      ELSE concat(format('to_jsonb(%s)', row_name),
        (SELECT format(' - %L::text[]', array_agg(name ORDER BY name COLLATE "C"))
           FROM jsonb_each(audited.definition -> 'columns') AS c (name, value)
          WHERE value ->> 'generated' = 'v' HAVING count(*) > 0),
        CASE WHEN threadline_internal.is_redacted(audited) THEN ' - ' || excluded END) END
$function$;
COMMENT ON FUNCTION threadline_internal.image_expression(threadline.audited_tables, text, text) IS
  'SQL for the image of a row as it is compared: excluded columns left out, masked ones still in clear.';

-- Writes a row as JSON, column by column. A call takes 100 arguments.
CREATE FUNCTION threadline_internal.listed_image(audited threadline.audited_tables, row_name text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(string_agg(format('jsonb_build_object(%s)', p.pairs), ' || ' ORDER BY p.part), $$'{}'::jsonb$$)
    FROM (SELECT (number - 1) / 50 AS part,
                 string_agg(format('%L, %s.%I', name, rtrim(row_name, '.*'), name), ', ' ORDER BY number) AS pairs
            FROM unnest(threadline_internal.compared_columns(audited)) WITH ORDINALITY AS c (name, number)
           GROUP BY 1) AS p
$function$;
COMMENT ON FUNCTION threadline_internal.listed_image(threadline.audited_tables, text) IS
  'SQL for the image of a row, out of the columns of the definition that are not excluded.';

-- Asks for images that list their columns: only where the columns are those of the definition.
CREATE FUNCTION threadline_internal.list_images(audited threadline.audited_tables) RETURNS threadline.audited_tables
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  audited.definition := audited.definition || '{"lists_images": true}';
  RETURN audited;
END
$function$;
COMMENT ON FUNCTION threadline_internal.list_images(threadline.audited_tables) IS
  'A definition whose images are written column by column.';

-- Whether capture of a table has to ask what must not be recorded.
CREATE FUNCTION threadline_internal.is_redacted(audited threadline.audited_tables) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT audited.excluded_columns || audited.masked_columns <> '{}'
$function$;
COMMENT ON FUNCTION threadline_internal.is_redacted(threadline.audited_tables) IS
  'Whether a column of a table is, or was, masked or excluded.';

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
