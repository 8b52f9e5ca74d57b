-- Reading the audit log of a table: the key it goes by, images under the present names, and threadline.versions.

-- Writes an older image under the names that its columns have now.
CREATE FUNCTION threadline_internal.renamed_expression(audited threadline.audited_tables, image text, change_id text)
RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  step jsonb;
BEGIN
  FOR step IN SELECT value FROM jsonb_array_elements(audited.definition -> 'renames') LOOP
    image := threadline_internal.render('threadline_internal.rename_columns({image}, {change_id}, {until}, {names})',
      jsonb_build_object('image', image, 'change_id', change_id, 'until', step ->> 'until',
        'names', quote_literal(step ->> 'names')));
  END LOOP;
  RETURN image;
END
$function$;
COMMENT ON FUNCTION threadline_internal.renamed_expression(threadline.audited_tables, text, text) IS
  'SQL for an image under the present names of its columns.';

-- Lists what columns were called. An image that has both names of a renaming is taken to be younger than it; it is
-- older where a column has taken the name of one that was dropped. Then what is redacted today is there under the name
-- that it had.
CREATE FUNCTION threadline_internal.former_names(audited threadline.audited_tables, columns text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH RECURSIVE names (name) AS (
    SELECT unnest(columns)
    UNION
    SELECT n.key
      FROM jsonb_array_elements(audited.definition -> 'renames') AS s (step)
     CROSS JOIN jsonb_each_text(step -> 'names') AS n
      JOIN names ON names.name = n.value)
  SELECT coalesce(array_agg(name ORDER BY name), '{}') FROM names
   WHERE NOT audited.definition -> 'columns' ? name AND name <> ALL (columns)
$function$;
COMMENT ON FUNCTION threadline_internal.former_names(threadline.audited_tables, text[]) IS
  'What columns were called before they were renamed, but for names that columns have today.';

-- Writes a whole row of the past: under the present names, with the defaults of columns added since. One reading never
-- mixes what was recorded before a column was redacted and after; data_after has it all.
CREATE FUNCTION threadline_internal.row_expression(audited threadline.audited_tables, image text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  defaults jsonb;
  excluded text[] := audited.excluded_columns
    || threadline_internal.former_names(audited, audited.excluded_columns || audited.masked_columns);
BEGIN
  image := threadline_internal.renamed_expression(audited, image, 'c.id');
  SELECT jsonb_object_agg(name, value -> 'default') INTO defaults
    FROM jsonb_each(audited.definition -> 'columns') AS c (name, value) WHERE value ? 'default';
  IF defaults IS NOT NULL THEN
    image := format('(%L::pg_catalog.jsonb OPERATOR(pg_catalog.||) %s)', defaults, image);
  END IF;
  IF excluded <> '{}' THEN
    image := format('(%s OPERATOR(pg_catalog.-) %L::pg_catalog.text[])', image, excluded);
  END IF;
  IF audited.masked_columns <> '{}' THEN
    image := format('(%s OPERATOR(pg_catalog.||) %L::pg_catalog.jsonb)', image,
      (SELECT jsonb_object_agg(m, '[REDACTED]') FROM unnest(audited.masked_columns) AS m));
  END IF;
  RETURN image;
END
$function$;
COMMENT ON FUNCTION threadline_internal.row_expression(threadline.audited_tables, text) IS
  'SQL for a whole row of the past, out of an image, as it is read today.';

-- Writes what a change c did to each column, under the present names: [{"column": ..., "before": ..., "after": ...}],
-- without the side that there was not. A masked column that changed is there, with the placeholder on both sides.
CREATE FUNCTION threadline_internal.diff_expression(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$(SELECT coalesce(pg_catalog.jsonb_agg({column}
               OPERATOR(pg_catalog.||) {value_before}
               OPERATOR(pg_catalog.||) {value_after}{masked}
               ORDER BY k COLLATE pg_catalog."C"), '[]')
          FROM (SELECT CASE WHEN c.changed_from IS NOT NULL THEN {before} END AS before,
                       CASE WHEN c.data_after IS NOT NULL THEN {after} END AS after) AS i
         CROSS JOIN LATERAL pg_catalog.jsonb_object_keys({changed} OPERATOR(pg_catalog.-) ''::pg_catalog.text) AS k
         WHERE i.before OPERATOR(pg_catalog.?) k OR i.after OPERATOR(pg_catalog.?) k)$sql$, jsonb_build_object(
    'column', $sql$pg_catalog.jsonb_build_object('column', k)$sql$,
    'value_before', threadline_internal.diff_side('before'),
    'value_after', threadline_internal.diff_side('after'),
    'masked', CASE WHEN audited.masked_columns <> '{}' THEN threadline_internal.render($sql$
               OPERATOR(pg_catalog.||) CASE WHEN {is_masked} THEN {masked} ELSE '{}' END$sql$, jsonb_build_object(
        'is_masked', format('k OPERATOR(pg_catalog.=) ANY (%L::pg_catalog.text[])', audited.masked_columns),
        'masked', $sql$pg_catalog.jsonb_build_object('masked', true)$sql$)) END,
    'before', threadline_internal.row_before_expression(audited),
    'after', threadline_internal.row_expression(audited, 'c.data_after'),
    'changed', format(
      '(CASE WHEN i.before IS NOT NULL AND i.after IS NOT NULL THEN %s ELSE coalesce(i.after, i.before) END)',
      threadline_internal.renamed_expression(audited, 'c.changed_from', 'c.id'))))
$function$;
COMMENT ON FUNCTION threadline_internal.diff_expression(threadline.audited_tables) IS
  'SQL for what a change did, column by column.';

-- Writes one side of the difference of column k, which is "before" or "after".
CREATE FUNCTION threadline_internal.diff_side(side text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render(
    $sql$CASE WHEN i.{side} OPERATOR(pg_catalog.?) k THEN {object} ELSE '{}' END$sql$, jsonb_build_object(
      'side', side,
      'object', format('pg_catalog.jsonb_build_object(%L, i.%s OPERATOR(pg_catalog.->) k)', side, side)))
$function$;
COMMENT ON FUNCTION threadline_internal.diff_side(text) IS 'SQL for the value of a column before or after a change.';

-- Writes the row that a change c found.
CREATE FUNCTION threadline_internal.row_before_expression(audited threadline.audited_tables) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.row_expression(audited,
    'coalesce(c.data_after OPERATOR(pg_catalog.||) c.changed_from, c.changed_from)')
$function$;
COMMENT ON FUNCTION threadline_internal.row_before_expression(threadline.audited_tables) IS
  'SQL for the whole row before a change, as it is read today.';
