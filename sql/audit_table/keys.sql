-- When the primary key became another one, the keys of the older changes are written anew out of their images, so
-- that the history of a row stays in one piece. The images themselves are never touched.
CREATE FUNCTION threadline_internal.rewrite_keys(audited threadline.audited_tables) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS $function$
DECLARE
  image text := threadline_internal.renamed_expression(audited, 'coalesce(data_after, changed_from)', 'id');
  statement text;
BEGIN
  statement := format('UPDATE threadline.audit_changes AS c
       SET %skey_text = CASE WHEN typed_key IS NULL THEN key #>> ''{}'' END
      FROM (SELECT k.*, %s AS typed_key
              FROM (SELECT transaction_id, captured_at, id, %s AS key
                      FROM (SELECT *, %s AS image
                              FROM (SELECT *, %s AS full_image FROM threadline.audit_changes WHERE table_id = %s OFFSET 0) AS f
                            OFFSET 0) AS i
                    OFFSET 0) AS k OFFSET 0) AS k
     WHERE c.transaction_id = k.transaction_id AND c.captured_at = k.captured_at AND c.id = k.id',
    (SELECT string_agg(format('key_%s = %s, ', t, CASE WHEN t = audited.key_type THEN 'typed_key' ELSE 'NULL' END), '')
       FROM unnest('{bigint,integer,uuid}'::text[]) AS t),
    threadline_internal.typed_key(audited.key_type, 'key'), threadline_internal.key_expression(audited, 'image'), E'\x01', image, audited.id);
  -- The old keys in the new type; where one cannot be converted, all stay what they were.
  BEGIN
    EXECUTE replace(statement, E'\x01', format('to_jsonb(jsonb_populate_record(NULL::%s, (
        SELECT jsonb_object_agg(p.key, CASE jsonb_typeof(p.value) WHEN ''number'' THEN to_jsonb(trim_scale(p.value::numeric)) ELSE p.value END)
          FROM jsonb_each(full_image) AS p WHERE p.key = ANY (%L))))', audited.relation, audited.key_columns));
  EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
    EXECUTE replace(statement, E'\x01', 'full_image');
  END;
END
$function$;
COMMENT ON FUNCTION threadline_internal.rewrite_keys(threadline.audited_tables) IS
  'Writes the keys of a table''s older changes anew after its primary key became another one.';
