-- Reads the audit log of a table: its key, images under the present column names, and threadline.versions.

-- Returns SQL for an image of a change c under the present names of its columns, with converted values unless the
-- recorded ones are requested.
CREATE FUNCTION threadline_internal.renamed_expression(audited threadline.audited_tables, image text,
  converted boolean DEFAULT true, definition_id text DEFAULT 'c.definition_id') RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN audited.older_definitions = '{}' THEN image ELSE threadline_internal.render(
    CASE WHEN converted THEN 'threadline_internal.present_image({image}, {older}::pg_catalog.jsonb,
      {definition_id}::pg_catalog.text)'
    ELSE 'threadline_internal.rename_image({image}, {older}::pg_catalog.jsonb OPERATOR(pg_catalog.->)
      {definition_id}::pg_catalog.text)' END, jsonb_build_object('image', image,
      'older', quote_literal(audited.older_definitions), 'definition_id', definition_id)) END
$function$;
COMMENT ON FUNCTION threadline_internal.renamed_expression(threadline.audited_tables, text, boolean, text) IS
  'SQL for an image under the present names of its columns.';

-- Returns SQL for a whole row of the past: under the present names, with the defaults of columns added since. One read
-- never mixes values recorded before a column was redacted with values recorded after; data_after contains all of them.
CREATE FUNCTION threadline_internal.row_expression(audited threadline.audited_tables, image text,
  converted boolean DEFAULT true) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  defaults jsonb;
  excluded text[] := audited.excluded_columns;
BEGIN
  image := threadline_internal.renamed_expression(audited, image, converted);
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
COMMENT ON FUNCTION threadline_internal.row_expression(threadline.audited_tables, text, boolean) IS
  'SQL for a whole row of the past from an image, as it is read today.';

-- Returns SQL for what a change c did to each column, under the present names: [{"column": ..., "before": ..., "after":
-- ...}], without a side that does not exist. A changed masked column is included, with the placeholder on both sides.
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
    'before', threadline_internal.row_before_expression(audited, false),
    'after', threadline_internal.row_expression(audited, 'c.data_after', false),
    'changed', format(
      '(CASE WHEN i.before IS NOT NULL AND i.after IS NOT NULL THEN %s ELSE coalesce(i.after, i.before) END)',
      threadline_internal.renamed_expression(audited, 'c.changed_from', false))))
$function$;
COMMENT ON FUNCTION threadline_internal.diff_expression(threadline.audited_tables) IS
  'SQL for what a change did, column by column.';

-- Returns SQL for one side of the difference of column k: "before" or "after".
CREATE FUNCTION threadline_internal.diff_side(side text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render(
    $sql$CASE WHEN i.{side} OPERATOR(pg_catalog.?) k THEN {object} ELSE '{}' END$sql$, jsonb_build_object(
      'side', side,
      'object', format('pg_catalog.jsonb_build_object(%L, i.%s OPERATOR(pg_catalog.->) k)', side, side)))
$function$;
COMMENT ON FUNCTION threadline_internal.diff_side(text) IS 'SQL for the value of a column before or after a change.';

-- Returns SQL for the row that a change c found.
CREATE FUNCTION threadline_internal.row_before_expression(audited threadline.audited_tables,
  converted boolean DEFAULT true) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.row_expression(audited,
    'coalesce(c.data_after OPERATOR(pg_catalog.||) c.changed_from, c.changed_from)', converted)
$function$;
COMMENT ON FUNCTION threadline_internal.row_before_expression(threadline.audited_tables, boolean) IS
  'SQL for the whole row before a change, as it is read today.';
