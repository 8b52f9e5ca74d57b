-- Compares the values that a migration left with the values recorded before it.

-- Returns the condition that an image c.image has the key of a live row t as capture would write it, whatever its type.
CREATE FUNCTION threadline_internal.image_has_recorded_key(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(format('c.image -> %L = to_jsonb(%s)', k.name, threadline_internal.column_image(
           threadline_internal.recorded_value(audited, k.name, format('t.%I', k.name)), k.name = ANY (x.columns))),
           ' AND ')
    FROM unnest(audited.key_columns) AS k (name)
   CROSS JOIN threadline_internal.text_columns(audited.relation) AS x (columns)
$function$;
COMMENT ON FUNCTION threadline_internal.image_has_recorded_key(threadline.audited_tables) IS
  'SQL condition that an image has the primary key of a live row, in the text form of the image.';

-- Returns SQL for the value of a column in an image: NULL if the image has no value, or if the value was not recorded.
CREATE FUNCTION threadline_internal.said_value(image text, name text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('CASE WHEN %1$s ? %2$L AND NOT (%1$s ? %3$L AND %2$L = ANY '
    '(threadline_internal.columns_not_recorded(%1$s))) THEN %1$s -> %2$L END', image, name, '')
$function$;
COMMENT ON FUNCTION threadline_internal.said_value(text, text) IS
  'SQL for the value of a column in an image; NULL if the image has none.';

-- Compares the converted values that were last recorded before a migration with the values of the same rows after it:
-- those that the next change found, or the current ones. It reads the 10,000 newest changes. `is_whole` says that there
-- are no more, and `is_complete` that they cover all rows of the table. `convert` is SQL for the conversion of a JSON
-- value `v.value`.
-- NULL, 0 and empty values stay the same in many conversions, so they do not count as compared; `is_trivial` says that
-- there were no other values. A value that was not recorded, or is lost in an older gap, proves nothing, and is not
-- trivial if the type changed. Changes from before the history began prove nothing either: unrecorded rows may have
-- been inserted or deleted since.
-- A change written between the migration and the refresh has a later definition. Its values are already converted, or
-- the plain conversion is applied to them again. If the type stayed the same, it has the old definition, so `within`
-- compares the changes of that definition with each other.
-- More than 60 lines: it is one statement.
CREATE FUNCTION threadline_internal.compare_conversion(audited threadline.audited_tables, number smallint,
  convert text, last_definition_id integer, within boolean, OUT compared bigint, OUT differing bigint,
  OUT later_compared bigint, OUT later_differing bigint, OUT example text, OUT is_complete boolean,
  OUT is_trivial boolean, OUT is_whole boolean)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C' SET enable_nestloop = off
AS $function$
DECLARE
  typed_key text := threadline_internal.image_has_key(audited);
  same_key text := coalesce(typed_key, threadline_internal.image_has_recorded_key(audited));
BEGIN
  IF same_key IS NULL THEN
    compared := 0;  -- and is_complete is NULL
    RETURN;
  END IF;
  PERFORM threadline_internal.check_foreign_code(audited.relation);
  EXECUTE threadline_internal.render($sql$
    WITH change AS MATERIALIZED (
      SELECT c.*, lead(c.definition_id) OVER w AS next_definition_id, lead(c.found) OVER w AS next_found
        FROM (SELECT c.op, c.captured_at, c.id, c.definition_id,
                     threadline_internal.present_image(c.data_after, {older}) AS image,
                     threadline_internal.present_image(coalesce(c.data_after || c.changed_from, c.changed_from),
                       {older}) AS found
                FROM threadline.audit_changes AS c
               WHERE c.table_id = {table_id} AND c.definition_id >= {first_definition_id}
               ORDER BY c.captured_at DESC, c.id DESC LIMIT 10000) AS c
      WINDOW w AS (PARTITION BY {key} ORDER BY c.captured_at, c.id)
    ), said AS MATERIALIZED (
      SELECT c.*, {said} AS value, {next_said} AS after FROM change AS c
    ), pair AS (
      SELECT c.value, c.after, c.definition_id > {last_definition_id} AS is_later,
             c.next_definition_id > greatest({last_definition_id}, c.definition_id) AS is_across
        FROM said AS c
       WHERE (c.next_definition_id > {last_definition_id} OR {within} AND c.definition_id = {last_definition_id})
         AND c.value IS NOT NULL AND c.after IS NOT NULL
      UNION ALL
      SELECT c.value, coalesce({live_value}, 'null'), c.definition_id > {last_definition_id}, true
        FROM said AS c {join} {live_rows} AS t ON {same_key}
       WHERE c.next_definition_id IS NULL AND c.value IS NOT NULL
    ), converted AS MATERIALIZED (
      SELECT p.value, p.is_later, p.is_across,
             coalesce((SELECT {convert} FROM (SELECT p.value) AS v), 'null') AS converted,
             coalesce((SELECT {convert} FROM (SELECT p.after AS value) AS v), 'null') AS after
        FROM pair AS p
    )
    SELECT count(*) FILTER (WHERE p.is_across AND NOT p.is_later AND p.value <> ALL ({trivial})),
           count(*) FILTER (WHERE p.converted <> p.after),
           count(*) FILTER (WHERE p.is_across AND p.is_later AND p.value <> ALL ({trivial})),
           count(*) FILTER (WHERE p.converted <> p.after AND p.is_later),
           min(format('%s, which is %s', p.converted, p.after)) FILTER (WHERE p.converted <> p.after),
           CASE WHEN (SELECT count(*) >= 10000 FROM change) THEN false
             ELSE NOT EXISTS (SELECT FROM {live_rows} AS t WHERE NOT EXISTS (
                                SELECT FROM (SELECT coalesce(c.image, c.found) AS image FROM change AS c OFFSET 0) AS c
                                 WHERE {same_key})) END,
           (SELECT coalesce(bool_and(
                     coalesce(c.value = ANY ({trivial}), {within} OR NOT c.image ? {name}, true)
                     AND coalesce({found_said} = ANY ({trivial}), {within} OR NOT c.found ? {name}, true))
                       FILTER (WHERE c.definition_id <= {last_definition_id}), true) FROM said AS c),
           (SELECT count(*) < 10000 FROM change)
      FROM converted AS p$sql$, jsonb_build_object(
    'table_id', audited.id, 'first_definition_id', audited.first_definition_id,
    -- Not the recorded keys: keys recorded before the refresh may have another type.
    'key', (SELECT string_agg(CASE WHEN typed_key IS NULL THEN format('coalesce(c.image, c.found) -> %L', k.name)
                       ELSE threadline_internal.image_value('coalesce(c.image, c.found)', k.name, k.type, k.typmod) END,
                     ', ')
              FROM threadline_internal.columns_of(audited.relation) AS k WHERE k.name = ANY (audited.key_columns)),
    'older', format('%L::jsonb, c.definition_id::text', audited.older_definitions),
    'name', quote_literal(c.name), 'said', threadline_internal.said_value('c.image', c.name),
    'found_said', threadline_internal.said_value('c.found', c.name),
    'next_said', threadline_internal.said_value('c.next_found', c.name),
    'trivial', $$ARRAY['null', '0', '""', '[]', '{}']::jsonb[]$$,
    'last_definition_id', last_definition_id, 'within', within,
    'live_value', format('to_jsonb(%s)', threadline_internal.column_image(
      threadline_internal.recorded_value(audited, c.name, format('t.%I', c.name)),
      c.name = ANY (threadline_internal.text_columns(audited.relation)))),
    -- A key that was converted in another way finds no row.
    'join', CASE WHEN c.name = ANY (audited.key_columns) THEN 'LEFT JOIN' ELSE 'JOIN' END,
    'live_rows', threadline_internal.live_rows(audited.relation), 'same_key', same_key, 'convert', convert))
    FROM threadline_internal.columns_of(audited.relation) AS c WHERE c.number = compare_conversion.number
    INTO compared, differing, later_compared, later_differing, example, is_complete, is_trivial, is_whole;
END
$function$;
COMMENT ON FUNCTION threadline_internal.compare_conversion(threadline.audited_tables, smallint, text, integer, boolean)
  IS
  'Compares the last recorded values of a column, converted, with those of their rows after a migration, and counts '
  'how many are equal and how many are not.';

-- Returns SQL for a value of an image in the type of its column, or as text if that is not a built-in type. A numeric
-- that became an integer has a scale.
CREATE FUNCTION threadline_internal.image_value(image text, name text, type oid, typmod integer) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format(CASE WHEN b.type IN ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype)
           THEN '(%s ->> %L)::numeric::%s' ELSE '(%s ->> %L)::%s' END, image, name,
           threadline_internal.built_in_type(type, typmod))
    FROM threadline_internal.base_type(type, typmod) AS b
$function$;
COMMENT ON FUNCTION threadline_internal.image_value(text, text, oid, integer) IS
  'SQL for a value of an image in its own type, or as text.';

-- Returns the condition that an image c.image has the key of a live row t; NULL if only code of a type could decide it,
-- or if the key is JSON of several values.
CREATE FUNCTION threadline_internal.image_has_key(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(format(CASE WHEN b.is_built_in THEN '%s = %s' ELSE '%s = %s::text' END,
           threadline_internal.image_value('c.image', c.name, c.type, c.typmod),
           threadline_internal.recorded_value(audited, c.name, format('t.%I', c.name))), ' AND ')
    FROM threadline_internal.columns_of(audited.relation) AS c
   CROSS JOIN threadline_internal.base_type(c.type, c.typmod) AS b
   WHERE c.name = ANY (audited.key_columns)
  HAVING bool_and(threadline_internal.built_in_type(c.type, c.typmod) IS NOT NULL AND b.category <> 'A')
$function$;
COMMENT ON FUNCTION threadline_internal.image_has_key(threadline.audited_tables) IS
  'SQL condition that an image has the primary key of a live row.';
