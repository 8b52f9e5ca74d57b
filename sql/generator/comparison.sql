-- In the order of the table. Excluded columns are in no image, virtual generated ones neither.
CREATE FUNCTION threadline_internal.compared_columns(audited threadline.audited_tables) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(array_agg(name ORDER BY (value ->> 'number')::integer), '{}')
    FROM jsonb_each(audited.definition -> 'columns') AS c (name, value)
   WHERE name <> ALL (audited.excluded_columns) AND value ->> 'generated' IS DISTINCT FROM 'v'
$function$;
COMMENT ON FUNCTION threadline_internal.compared_columns(threadline.audited_tables) IS 'The columns of a table that its images have.';

-- What may have changed, with its old values: columns that are equal are taken out of the old image, by name. Columns that the list
-- does not know (added since) are all left in, and threadline_internal.changed_values compares them one by one: slower, as right.
CREATE FUNCTION threadline_internal.possibly_changed(audited threadline.audited_tables, old_image text, new_image text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format(E'%s - ARRAY[\n      %s]::text[]', old_image,
      string_agg(format('CASE WHEN %2$s -> %1$L = %3$s -> %1$L THEN %1$L END', name, old_image, new_image), E',\n      ' ORDER BY number))
    FROM unnest(threadline_internal.compared_columns(audited)) WITH ORDINALITY AS c (name, number)
$function$;
COMMENT ON FUNCTION threadline_internal.possibly_changed(threadline.audited_tables, text, text) IS
  'SQL for the old image of a row without the columns known to be equal in the new one.';

CREATE FUNCTION threadline_internal.changed_values(candidates text, new_image text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format($sql$(SELECT coalesce(jsonb_object_agg(c.key, c.value), '{}') FROM jsonb_each(%1$s) AS c
      WHERE c.value IS DISTINCT FROM %2$s -> c.key)$sql$, candidates, new_image)
$function$;
COMMENT ON FUNCTION threadline_internal.changed_values(text, text) IS
  'SQL for the old values of what an update changed, out of what may have changed.';

CREATE FUNCTION threadline_internal.masked_values(audited threadline.audited_tables, changed text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN audited.masked_columns = '{}' THEN changed ELSE format(
      '%1$s || (SELECT coalesce(jsonb_object_agg(m.key, m.value), ''{}'') FROM jsonb_each(mask) AS m WHERE %1$s ? m.key)', changed) END
$function$;
COMMENT ON FUNCTION threadline_internal.masked_values(threadline.audited_tables, text) IS
  'SQL for changed values as they are stored: those of masked columns replaced by the placeholder.';

-- Rows of an update: both keys, both images, and the old values of what changed.
CREATE FUNCTION threadline_internal.update_rows(audited threadline.audited_tables, pairs text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format($sql$SELECT %1$s AS old_key, %2$s AS new_key,
             %3$s AS old_image, %4$s AS new_image,
             %5$s AS changed
        FROM (SELECT old_image, new_image, CASE WHEN candidates - %6$L::text[] = '{}' THEN candidates ELSE %7$s END AS changed
                FROM (SELECT old_image, new_image, %8$s AS candidates
                        FROM (%9$s OFFSET 0) AS p OFFSET 0) AS d OFFSET 0) AS u
       WHERE changed <> '{}' OFFSET 0$sql$,
    threadline_internal.key_expression(audited, 'old_image'), threadline_internal.key_expression(audited, 'new_image'),
    threadline_internal.masked_expression(audited, 'old_image'), threadline_internal.masked_expression(audited, 'new_image'),
    threadline_internal.masked_values(audited, 'changed'), threadline_internal.compared_columns(audited),
    threadline_internal.changed_values('candidates', 'new_image'), threadline_internal.possibly_changed(audited, 'old_image', 'new_image'), pairs)
$function$;
COMMENT ON FUNCTION threadline_internal.update_rows(threadline.audited_tables, text) IS
  'SQL for keys, images and changed values of the rows of an update that changed anything.';
