-- Returns the columns that images contain, in table order. No image contains excluded columns or virtual generated
-- columns.
CREATE FUNCTION threadline_internal.compared_columns(audited threadline.audited_tables) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(array_agg(name ORDER BY (value ->> 'number')::integer), '{}')
    FROM jsonb_each(audited.definition -> 'columns') AS c (name, value)
   WHERE name <> ALL (audited.excluded_columns) AND value ->> 'generated' IS DISTINCT FROM 'v'
$function$;
COMMENT ON FUNCTION threadline_internal.compared_columns(threadline.audited_tables) IS
  'The columns of a table that its images contain.';

-- Returns SQL for the columns that may have changed, with their old values: it removes equal columns from the old
-- image, by name. Columns added since the definition all stay in, and threadline_internal.changed_values compares them
-- one by one, which is slower but equally correct.
CREATE FUNCTION threadline_internal.possibly_changed(audited threadline.audited_tables, old_image text, new_image text)
RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format(E'%s - ARRAY[\n      %s]::text[]', old_image, string_agg(threadline_internal.render(
      'CASE WHEN {old_image} -> {column} = {new_image} -> {column} THEN {column} END', jsonb_build_object(
        'old_image', old_image, 'new_image', new_image, 'column', quote_literal(name))), E',\n      ' ORDER BY number))
    FROM unnest(threadline_internal.compared_columns(audited)) WITH ORDINALITY AS c (name, number)
$function$;
COMMENT ON FUNCTION threadline_internal.possibly_changed(threadline.audited_tables, text, text) IS
  'SQL for the old image of a row without the columns known to be equal in the new one.';

-- Returns SQL for the columns that did change, among those that may have changed.
CREATE FUNCTION threadline_internal.changed_values(candidates text, new_image text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format($sql$(SELECT coalesce(jsonb_object_agg(c.key, c.value), '{}') FROM jsonb_each(%s) AS c
      WHERE c.value IS DISTINCT FROM %s -> c.key)$sql$, candidates, new_image)
$function$;
COMMENT ON FUNCTION threadline_internal.changed_values(text, text) IS
  'SQL for the old values of the columns that an update changed, among those that may have changed.';

-- Returns SQL for changed values as the audit log stores them.
CREATE FUNCTION threadline_internal.masked_values(audited threadline.audited_tables, changed text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN audited.masked_columns = '{}' THEN changed ELSE threadline_internal.render(
    $sql${changed} || ({placeholders} WHERE {changed} ? m.key)$sql$, jsonb_build_object('placeholders',
      $sql$SELECT coalesce(jsonb_object_agg(m.key, m.value), '{}') FROM jsonb_each(mask) AS m$sql$,
      'changed', changed)) END
$function$;
COMMENT ON FUNCTION threadline_internal.masked_values(threadline.audited_tables, text) IS
  'SQL for changed values as they are stored, with the placeholder in place of values of masked columns.';
