-- Where a table has the very columns of its definition, which capture knows before it touches them, its functions name
-- the columns and read them in their own types. That costs a part of what images cost that are compared as JSON.

-- Lists the columns that images have, with SQL for each: its value as images have it, as JSON, and whether two rows
-- differ in it. `row_format` is how a column of a row is written, from its name and its number. The generator asks
-- often, so the definition has all that it takes.
CREATE FUNCTION threadline_internal.known_columns(audited threadline.audited_tables, row_format text,
  old_row_format text DEFAULT NULL)
RETURNS TABLE (number bigint, name text, value text, as_json text, differs text, is_long boolean, is_json boolean,
  is_masked boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT k.number, k.name, CASE WHEN t.is_masked THEN $$'[REDACTED]'::text$$ ELSE i.image END,
         format('to_jsonb(%s)', i.image),
         CASE CASE WHEN t.as_text THEN 'json' ELSE d.described ->> 'compared_as' END
           WHEN 'text' THEN format('%s COLLATE "C" IS DISTINCT FROM %s', r.old_value, r.value)
           WHEN 'jsonb' THEN format($$coalesce((%s)::jsonb, 'null') <> coalesce((%s)::jsonb, 'null')$$, r.old_value,
             r.value)
           WHEN 'json' THEN format($$coalesce(to_jsonb(%s), 'null') <> coalesce(to_jsonb(%s), 'null')$$,
             threadline_internal.column_image(r.old_value, t.as_text),
             threadline_internal.column_image(r.value, t.as_text))
           ELSE format('%s IS DISTINCT FROM %s', r.old_value, r.value) END,
         d.described ? 'long', d.described ? 'json', t.is_masked
    FROM unnest(threadline_internal.compared_columns(audited)) WITH ORDINALITY AS k (name, number)
   CROSS JOIN LATERAL (SELECT audited.definition #> ARRAY['columns', k.name] AS described) AS d
   CROSS JOIN LATERAL (SELECT format(row_format, k.name, k.number) AS value,
                              format(old_row_format, k.name, k.number) AS old_value) AS r
   CROSS JOIN LATERAL (SELECT audited.definition -> 'text_columns' ? k.name AS as_text,
                              k.name = ANY (audited.masked_columns) AS is_masked) AS t
   CROSS JOIN LATERAL threadline_internal.column_image(r.value, t.as_text) AS i (image)
$function$;
COMMENT ON FUNCTION threadline_internal.known_columns(threadline.audited_tables, text, text) IS
  'The columns that images of a table have, with SQL for the value of each and for whether it differs.';

-- Writes the image of a row. PostgreSQL makes it of the whole row where it has all columns in clear; else the columns
-- are named, so that a column that is left out is not touched: it can have any size, and costs nothing. A virtual
-- generated column is NULL in a trigger, and follows from the others. A call takes 100 arguments.
CREATE FUNCTION threadline_internal.known_image(audited threadline.audited_tables, row_name text, row_format text)
RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN row_name IS NOT NULL AND audited.excluded_columns = '{}'
              AND NOT threadline_internal.has_text_columns(audited)
      THEN concat(format('to_jsonb(%s)', row_name), ' - ' || (
             SELECT format('%L::text[]', array_agg(name ORDER BY name COLLATE "C"))
               FROM jsonb_each(audited.definition -> 'columns') AS c (name, value)
              WHERE value ->> 'generated' = 'v' HAVING count(*) > 0), ' || ' || (
             SELECT quote_literal(jsonb_object_agg(k.name, '[REDACTED]')) || '::jsonb'
               FROM threadline_internal.known_columns(audited, row_format) AS k WHERE k.is_masked HAVING count(*) > 0))
      ELSE (SELECT coalesce(string_agg(format('jsonb_build_object(%s)', p.pairs), ' || ' ORDER BY p.part),
                            $$'{}'::jsonb$$)
              FROM (SELECT (k.number - 1) / 50 AS part,
                           string_agg(format('%L, %s', k.name, k.value), ', ' ORDER BY k.number) AS pairs
                      FROM threadline_internal.known_columns(audited, row_format) AS k GROUP BY 1) AS p) END
$function$;
COMMENT ON FUNCTION threadline_internal.known_image(threadline.audited_tables, text, text) IS
  'SQL for the image of a row as it is stored.';

-- Writes what an update changed, with the old values: the text of JSON without its braces, empty where nothing was.
CREATE FUNCTION threadline_internal.known_changes(audited threadline.audited_tables, old_format text, new_format text)
RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format(E'array_to_string(ARRAY[\n      %s]::text[], '','')', string_agg(
           format('CASE WHEN %s THEN %s END', d.differs, CASE WHEN k.is_masked
             THEN quote_literal(format('%s:"[REDACTED]"', to_json(k.name)))
             ELSE format($$%L || coalesce(to_json(%s)::text, 'null')$$, to_json(k.name) || ':', k.value) END),
           E',\n      ' ORDER BY k.number))
    FROM threadline_internal.known_columns(audited, old_format) AS k
    JOIN threadline_internal.known_columns(audited, new_format, old_format) AS d USING (number)
$function$;
COMMENT ON FUNCTION threadline_internal.known_changes(threadline.audited_tables, text, text) IS
  'SQL for the text of the old values of what an update changed.';

-- Writes the condition that a row fits into JSON; NULL where every row does. It asks for the size that a value has
-- where it is stored, which does not read it: even compressed, 16 kB come to no more than JSON can hold. It names the
-- columns.
CREATE FUNCTION threadline_internal.known_to_fit(audited threadline.audited_tables, row_format text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN NOT threadline_internal.is_strict(audited) THEN nullif(concat_ws(' AND ',
           string_agg(format('coalesce(pg_column_size(%s), 0)', format(row_format, k.name, k.number)), ' + '
             ORDER BY k.number) FILTER (WHERE k.is_long) || ' <= 16384',
           string_agg(format('threadline_internal.can_be_json(%s)', format(row_format, k.name, k.number)), ' AND '
             ORDER BY k.number) FILTER (WHERE k.is_json)), '') END
    FROM threadline_internal.known_columns(audited, row_format) AS k
$function$;
COMMENT ON FUNCTION threadline_internal.known_to_fit(threadline.audited_tables, text) IS
  'SQL for the condition that the image of a row is no more than JSON can hold.';

-- Whether the size of a whole row tells as much: then a trigger for each row needs no condition that names columns,
-- which PL/pgSQL can only ask once it knows that they are there.
CREATE FUNCTION threadline_internal.fits_by_size(audited threadline.audited_tables) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT audited.excluded_columns = '{}' AND NOT threadline_internal.has_json(audited)
$function$;
COMMENT ON FUNCTION threadline_internal.fits_by_size(threadline.audited_tables) IS
  'Whether the size of a row tells whether its image is no more than JSON can hold.';

-- Names the column of audit_changes that keys of a table are in.
CREATE FUNCTION threadline_internal.key_column(audited threadline.audited_tables) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'key_' || coalesce(audited.key_type, 'text')
$function$;
COMMENT ON FUNCTION threadline_internal.key_column(threadline.audited_tables) IS
  'The column of audit_changes that keys of a table are in.';

-- Writes the key of a row as the column of audit_changes has it that keys of its table are in.
CREATE FUNCTION threadline_internal.known_key(audited threadline.audited_tables, row_format text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN threadline_internal.key_column(audited) <> 'key_text'
      THEN (SELECT format(row_format, k.name, k.number)
              FROM threadline_internal.known_columns(audited, row_format) AS k WHERE k.name = audited.key_columns[1])
      ELSE format($$(%s) #>> '{}'$$, threadline_internal.key_of_columns(audited, (
        SELECT jsonb_object_agg(k.name, k.as_json)
          FROM threadline_internal.known_columns(audited, row_format) AS k
         WHERE k.name = ANY (audited.key_columns)))) END
$function$;
COMMENT ON FUNCTION threadline_internal.known_key(threadline.audited_tables, text) IS
  'SQL for the key of a row, for the column of audit_changes that keys of its table are in.';

-- Writes the condition that an update may have changed the key of a row: a key that is written otherwise can still be
-- the same.
CREATE FUNCTION threadline_internal.known_key_changed(audited threadline.audited_tables, old_format text,
  new_format text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(string_agg(k.differs, ' OR ' ORDER BY k.number), 'false')
    FROM threadline_internal.known_columns(audited, new_format, old_format) AS k
   WHERE k.name = ANY (audited.key_columns)
$function$;
COMMENT ON FUNCTION threadline_internal.known_key_changed(threadline.audited_tables, text, text) IS
  'SQL for the condition that the key columns of two rows differ.';
