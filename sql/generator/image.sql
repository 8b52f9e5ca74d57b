-- Returns SQL for a row as JSON without the excluded columns. `row_name` is r.* instead of r if a column could also be
-- called r. A virtual generated column is NULL in a trigger, and follows from the others. If the columns are those of
-- the definition (see list_images), an excluded column is not read: it can have any size, and costs nothing. Otherwise
-- the excluded columns, which a variable of the function names, are removed from the whole row. Hashed columns already
-- contain their hashes, so keys and comparisons use the hashes.
CREATE FUNCTION threadline_internal.image_expression(audited threadline.audited_tables, row_name text,
  excluded text DEFAULT 'excluded', relation text DEFAULT 'TG_RELID', careful text DEFAULT 'careful',
  hashed text DEFAULT 'hashed') RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format(CASE WHEN audited.hashed_columns = '{}' THEN '%s'
      ELSE 'threadline_internal.hashed_image(%s, %s, %s)' END, threadline_internal.render(CASE
      WHEN NOT listed AND threadline_internal.has_text_columns(audited) THEN '{careful_image}'
      WHEN NOT listed AND guard AND threadline_internal.has_json(audited) THEN
        CASE WHEN is_careful IS NULL THEN '{guarded_image}'
          ELSE 'CASE WHEN {careful} THEN {careful_image} ELSE {guarded_image} END' END
      WHEN careful_when IS NULL THEN '{image}'
      ELSE 'CASE WHEN {careful_when} THEN {careful_image} ELSE {image} END' END, jsonb_build_object(
    'image', CASE WHEN listed THEN threadline_internal.listed_image(audited, row_name)
      ELSE format('to_jsonb(%s)', row_name) || coalesce(' - ' || left_out, '') END,
    'careful', is_careful, 'careful_when', careful_when,
    'guarded_image', format('threadline_internal.guarded_image(%s, %s, %s)', row_name, relation,
      coalesce(left_out, $$'{}'$$)),
    'careful_image', threadline_internal.careful_image_expression(audited, row_name, relation, excluded))),
      audited.id, hashed)
    FROM (SELECT coalesce(audited.definition ? 'lists_images', false) AS listed,
                 NOT threadline_internal.is_strict(audited) AS guard,
                 CASE WHEN NOT audited.definition ? 'lists_images' THEN careful END AS is_careful,
                 nullif(concat_ws(' || ', CASE WHEN threadline_internal.is_redacted(audited) THEN excluded END,
                   (SELECT format('%L::text[]', array_agg(name ORDER BY name COLLATE "C"))
                      FROM jsonb_each(audited.definition -> 'columns') AS c (name, value)
                     WHERE value ->> 'generated' = 'v' HAVING count(*) > 0)), '') AS left_out) AS i
   CROSS JOIN LATERAL (SELECT nullif(concat_ws(' OR ', is_careful,
     CASE WHEN guard THEN threadline_internal.may_not_fit(audited, row_name) END), '')) AS c (careful_when)
$function$;
COMMENT ON FUNCTION threadline_internal.image_expression(threadline.audited_tables, text, text, text, text, text) IS
  'SQL for the image of a row as it is compared: without excluded columns, with masked columns still in clear.';

-- Returns SQL for the image of a row that needs special handling.
CREATE FUNCTION threadline_internal.careful_image_expression(audited threadline.audited_tables, row_name text,
  relation text, excluded text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render('threadline_internal.careful_image({row}, {relation}, {excluded}, {strict})',
    jsonb_build_object('row', row_name, 'relation', relation, 'strict', threadline_internal.is_strict(audited),
      'excluded', CASE WHEN threadline_internal.is_redacted(audited) THEN excluded ELSE $$'{}'$$ END))
$function$;
COMMENT ON FUNCTION threadline_internal.careful_image_expression(threadline.audited_tables, text, text, text) IS
  'SQL for the image of a row whose values may not fit into JSON.';

-- Returns the condition that a row may not fit into JSON; NULL if every row does. The condition uses the stored size of
-- a value, which does not read the value: even a compressed 16 kB expand to no more than JSON can hold.
CREATE FUNCTION threadline_internal.may_not_fit(audited threadline.audited_tables, row_name text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN audited.definition ? 'lists_images'
      THEN concat_ws(' OR ', string_agg(format('coalesce(pg_column_size(%s), 0)', v.value), ' + ' ORDER BY number)
             FILTER (WHERE d.described ? 'long') || ' > 16384',
           string_agg(format('NOT threadline_internal.can_be_json(%s)', v.value), ' OR ' ORDER BY number)
             FILTER (WHERE d.described ? 'json'))
      WHEN bool_or(d.described ? 'long') THEN format('pg_column_size(%s) > 16384', row_name) END
    FROM unnest(threadline_internal.compared_columns(audited)) WITH ORDINALITY AS c (name, number)
   CROSS JOIN LATERAL (SELECT audited.definition #> ARRAY['columns', name]) AS d (described)
   CROSS JOIN LATERAL (SELECT format('%s.%I', rtrim(row_name, '.*'), name)) AS v (value)
$function$;
COMMENT ON FUNCTION threadline_internal.may_not_fit(threadline.audited_tables, text) IS
  'SQL condition that the image of a row may be larger than JSON can hold.';

-- Returns SQL for a row as JSON, column by column. A function call takes at most 100 arguments.
CREATE FUNCTION threadline_internal.listed_image(audited threadline.audited_tables, row_name text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(string_agg(format('jsonb_build_object(%s)', p.pairs), ' || ' ORDER BY p.part), $$'{}'::jsonb$$)
    FROM (SELECT (number - 1) / 50 AS part,
                 string_agg(format('%L, %s', name, threadline_internal.column_image(
                   format('%s.%I', rtrim(row_name, '.*'), name), audited.definition -> 'text_columns' ? name)), ', '
                   ORDER BY number) AS pairs
            FROM unnest(threadline_internal.compared_columns(audited)) WITH ORDINALITY AS c (name, number)
           GROUP BY 1) AS p
$function$;
COMMENT ON FUNCTION threadline_internal.listed_image(threadline.audited_tables, text) IS
  'SQL for the image of a row from those columns of the definition that are not excluded.';

-- Returns whether images contain columns as text that to_jsonb would convert with a cast.
CREATE FUNCTION threadline_internal.has_text_columns(audited threadline.audited_tables) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT audited.definition -> 'text_columns' <> '[]'
$function$;
COMMENT ON FUNCTION threadline_internal.has_text_columns(threadline.audited_tables) IS
  'Whether images of a table contain columns as text, whatever casts to json exist.';

-- Returns whether an image contains a column of type json, even inside another type.
CREATE FUNCTION threadline_internal.has_json(audited threadline.audited_tables) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT EXISTS (SELECT FROM unnest(threadline_internal.compared_columns(audited)) AS c (name)
                  WHERE audited.definition #> ARRAY['columns', name] ? 'json')
$function$;
COMMENT ON FUNCTION threadline_internal.has_json(threadline.audited_tables) IS
  'Whether images of a table contain values of type json, which jsonb may not be able to hold.';

CREATE FUNCTION threadline_internal.is_strict(audited threadline.audited_tables) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce((audited.definition ->> 'strict')::boolean, false)
$function$;
COMMENT ON FUNCTION threadline_internal.is_strict(threadline.audited_tables) IS
  'Whether a value that cannot be recorded fails the write, instead of being replaced by its hash.';

-- Requests images that list their columns, which requires that the columns are those of the definition.
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

-- Returns whether capture of a table has to check what must not be recorded.
CREATE FUNCTION threadline_internal.is_redacted(audited threadline.audited_tables) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT audited.excluded_columns || audited.masked_columns || audited.hashed_columns <> '{}'
$function$;
COMMENT ON FUNCTION threadline_internal.is_redacted(threadline.audited_tables) IS
  'Whether a column of a table is, or was, masked, excluded or hashed.';

-- Returns SQL for an image as the audit log stores it.
CREATE FUNCTION threadline_internal.masked_expression(audited threadline.audited_tables, image text,
  mask text DEFAULT 'mask') RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN audited.masked_columns = '{}' THEN image ELSE format('%s || %s', image, mask) END
$function$;
COMMENT ON FUNCTION threadline_internal.masked_expression(threadline.audited_tables, text, text) IS
  'SQL for an image as it is stored, with the placeholder in place of masked columns.';

-- Returns SQL for the rows of an event with one image per row. OFFSET 0 prevents the planner from computing an image
-- once per reference.
CREATE FUNCTION threadline_internal.image_rows(audited threadline.audited_tables, row_name text, from_clause text,
  excluded text DEFAULT 'excluded', mask text DEFAULT 'mask', relation text DEFAULT 'TG_RELID',
  careful text DEFAULT 'careful', hashed text DEFAULT 'hashed') RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render('SELECT {key} AS key, {masked} AS image
                    FROM (SELECT {image} AS image{from_clause} OFFSET 0) AS i OFFSET 0', jsonb_build_object(
    'key', threadline_internal.key_expression(audited, 'image'),
    'masked', threadline_internal.masked_expression(audited, 'image', mask),
    'image', threadline_internal.image_expression(audited, row_name, excluded, relation, careful, hashed),
    'from_clause', from_clause))
$function$;
COMMENT ON FUNCTION
  threadline_internal.image_rows(threadline.audited_tables, text, text, text, text, text, text, text) IS
  'SQL for the key and image of the rows of an insert, delete or truncation.';
