-- The generator: reads a table's definition from the catalog and writes its capture functions, triggers and
-- reading functions. Everything it writes names columns only as keys of JSON images, so that a later change of
-- the table's columns can make it stale but never make a write fail.

-- One column of a key, out of an image, as JSON. What is equal as a key must be the same text: numerics
-- lose trailing zeros, char(n) its padding. The types are told by their output function, which domains share.
CREATE FUNCTION threadline_internal.key_part(table_id integer, image text, column_name text, output text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE
      WHEN output = 'numeric_out' THEN
        format('CASE WHEN jsonb_typeof(%1$s) = ''number'' THEN to_jsonb(trim_scale((%1$s)::numeric)) ELSE %1$s END', value)
      WHEN output = 'bpcharout' THEN format('to_jsonb(rtrim(%s #>> ''{}'', '' ''))', value)
      ELSE value END
    FROM (SELECT format('coalesce(%1$s -> %2$L, %1$s -> threadline_internal.current_column(%3$s, %2$L))',
                        image, column_name, table_id)) AS part (value)
$function$;
COMMENT ON FUNCTION threadline_internal.key_part(integer, text, text, text) IS
  'SQL for one column of a key out of an image, which survives a rename of the column.';

-- SQL for a whole key as JSON: the value itself, or an array of the columns of a composite key.
CREATE FUNCTION threadline_internal.key_expression(audited threadline.audited_tables, image text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE count(*) WHEN 0 THEN 'NULL::jsonb' WHEN 1 THEN min(part)
      ELSE format('jsonb_build_array(%s)', string_agg(part, ', ' ORDER BY position)) END
    FROM unnest(audited.key_columns) WITH ORDINALITY AS k (name, position)
    JOIN pg_attribute AS a ON a.attrelid = audited.relation AND a.attname = k.name
    JOIN pg_type AS t ON t.oid = a.atttypid
   CROSS JOIN LATERAL threadline_internal.key_part(audited.id, image, k.name, t.typoutput::text) AS part
$function$;
COMMENT ON FUNCTION threadline_internal.key_expression(threadline.audited_tables, text) IS 'SQL for the key of an image, as JSON.';

-- A key that is not of its type (the column was retyped, the definition not yet refreshed) must not fail the write:
-- it is NULL here and goes to key_text.
CREATE FUNCTION threadline_internal.typed_key(key_type text, key text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE
    WHEN key_type IN ('bigint', 'integer') THEN
      format('CASE WHEN jsonb_typeof(%1$s) = ''number'' THEN
        CASE WHEN scale((%1$s)::numeric) = 0 AND (%1$s)::numeric >= %2$L AND (%1$s)::numeric <= %3$L THEN (%1$s)::%4$s END END', key,
        CASE key_type WHEN 'integer' THEN '-2147483648' ELSE '-9223372036854775808' END,
        CASE key_type WHEN 'integer' THEN '2147483647' ELSE '9223372036854775807' END, key_type)
    WHEN key_type = 'uuid' THEN
      format('CASE WHEN %1$s #>> ''{}'' ~ ''^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'' THEN (%1$s #>> ''{}'')::uuid END', key)
    ELSE 'NULL::text' END
$function$;
COMMENT ON FUNCTION threadline_internal.typed_key(text, text) IS 'SQL for a key, given as JSON, in the type of its key column.';
