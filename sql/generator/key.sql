-- The generator reads the definition of a table from the catalog, and writes its capture functions, triggers and
-- reading functions. A later change of the columns can make the generated code stale but never fail a write: a capture
-- function uses column names only as keys of JSON images, or after it has checked that the columns exist (see
-- known_columns.sql).

-- Returns SQL for one column of a key as JSON, given its value as JSON. Equal keys must have the same text: numerics
-- lose trailing zeros, char(n) its padding. The output function identifies the type, because domains share it.
CREATE FUNCTION threadline_internal.key_part(value text, output text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render(CASE output
      WHEN 'numeric_out' THEN
        $$CASE WHEN jsonb_typeof({value}) = 'number' THEN to_jsonb(trim_scale(({value})::numeric)) ELSE {value} END$$
      WHEN 'bpcharout' THEN $$to_jsonb(rtrim({value} #>> '{}', ' '))$$
      ELSE '{value}' END, jsonb_build_object('value', key_part.value))
$function$;
COMMENT ON FUNCTION threadline_internal.key_part(text, text) IS 'SQL for one column of a key, as JSON.';

-- Returns SQL for a whole key as JSON: the value itself, or an array of the columns of a composite key. The columns are
-- given as JSON, by name.
CREATE FUNCTION threadline_internal.key_of_columns(audited threadline.audited_tables, columns jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN (SELECT CASE count(*) WHEN 0 THEN 'NULL::jsonb' WHEN 1 THEN min(part)
              ELSE format('jsonb_build_array(%s)', string_agg(part, ', ' ORDER BY position)) END
            FROM unnest(audited.key_columns) WITH ORDINALITY AS k (name, position)
            JOIN threadline_internal.columns_of(audited.relation) AS c USING (name)
            JOIN pg_type AS t ON t.oid = c.type
           CROSS JOIN LATERAL threadline_internal.key_part(columns ->> name, t.typoutput::text) AS part);
END
$function$;
COMMENT ON FUNCTION threadline_internal.key_of_columns(threadline.audited_tables, jsonb) IS
  'SQL for the key of a row, as JSON, given SQL for each of its columns.';

-- Returns SQL for the key of an image, which survives a rename of its columns. PL/pgSQL caches the plan, which takes
-- longer to create than to run.
CREATE FUNCTION threadline_internal.key_expression(audited threadline.audited_tables, image text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN threadline_internal.key_of_columns(audited, (
    SELECT jsonb_object_agg(k.name, threadline_internal.render(
             'coalesce({image} -> {column}, {image} -> threadline_internal.current_column({table_id}, {column}))',
             jsonb_build_object('image', image, 'column', quote_literal(k.name), 'table_id', audited.id)))
      FROM unnest(audited.key_columns) AS k (name)));
END
$function$;
COMMENT ON FUNCTION threadline_internal.key_expression(threadline.audited_tables, text) IS
  'SQL for the key of an image, as JSON.';

-- Returns SQL for a key in the type of its key column. A key of another type (the column was retyped and the definition
-- not yet refreshed) must not fail the write: it is NULL here and goes to key_text.
CREATE FUNCTION threadline_internal.typed_key(key_type text, key text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render(CASE
      WHEN key_type IN ('bigint', 'integer') THEN $$CASE WHEN jsonb_typeof({key}) = 'number' THEN
        CASE WHEN scale({number}) = 0 AND {number} >= {min} AND {number} <= {max} THEN ({key})::{key_type} END END$$
      WHEN key_type = 'uuid' THEN $$CASE WHEN {key} #>> '{}' ~ {pattern} THEN ({key} #>> '{}')::uuid END$$
      ELSE 'NULL::text' END, jsonb_build_object(
    'key', key, 'key_type', key_type,
    'number', format('(%s)::numeric', key),
    'min', quote_literal(CASE key_type WHEN 'integer' THEN -2147483648 ELSE -9223372036854775808 END),
    'max', quote_literal(CASE key_type WHEN 'integer' THEN 2147483647 ELSE 9223372036854775807 END),
    'pattern', quote_literal('^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$')))
$function$;
COMMENT ON FUNCTION threadline_internal.typed_key(text, text) IS
  'SQL for a key, given as JSON, in the type of its key column.';
