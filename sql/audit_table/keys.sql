-- Tells whether the keys of older changes are none of the present primary key.
CREATE FUNCTION threadline_internal.key_changed(before threadline.audited_tables, after threadline.audited_tables)
RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT after.key_type IS NOT NULL AND (
       after.key_type IS DISTINCT FROM before.key_type
    OR threadline_internal.key_numbers(after) IS DISTINCT FROM threadline_internal.key_numbers(before)
    OR EXISTS (SELECT FROM threadline.audit_changes AS c
                WHERE c.table_id = after.id AND c.key_text IS NOT NULL AND after.key_type <> 'text')
    -- Key columns exchanged names with others: until now their keys were taken from the wrong one.
    OR EXISTS (SELECT FROM jsonb_array_elements(after.definition -> 'renames') WITH ORDINALITY AS s (step, position)
                WHERE position > jsonb_array_length(before.definition -> 'renames')
                  AND (SELECT count(*) FROM jsonb_object_keys(step -> 'names')) > 1
                  AND step -> 'names' ?| before.key_columns))
$function$;
COMMENT ON FUNCTION threadline_internal.key_changed(threadline.audited_tables, threadline.audited_tables) IS
  'Whether the keys of older changes are none of the present primary key of a table.';

-- Lists the numbers of the key columns, which a renaming leaves as they are.
CREATE FUNCTION threadline_internal.key_numbers(audited threadline.audited_tables) RETURNS jsonb[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT array_agg(audited.definition #> ARRAY['columns', name, 'number'] ORDER BY position)
    FROM unnest(audited.key_columns) WITH ORDINALITY AS k (name, position)
$function$;
COMMENT ON FUNCTION threadline_internal.key_numbers(threadline.audited_tables) IS
  'The numbers of the columns of a primary key.';

-- Writes the statement that rewrites the keys of a table's changes, each out of its image. The image is an expression
-- of full_image, which has the present names.
CREATE FUNCTION threadline_internal.rewrite_statement(audited threadline.audited_tables, image text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$
    UPDATE threadline.audit_changes AS c
       SET {typed_keys}, key_text = CASE WHEN typed_key IS NULL THEN key #>> '{}' END
      FROM (SELECT k.*, {typed_key} AS typed_key
              FROM (SELECT transaction_id, captured_at, id, {key} AS key
                      FROM (SELECT *, {image} AS image
                              FROM (SELECT *, {full_image} AS full_image FROM threadline.audit_changes
                                     WHERE table_id = {table_id} OFFSET 0) AS f
                            OFFSET 0) AS i
                    OFFSET 0) AS k OFFSET 0) AS k
     WHERE c.transaction_id = k.transaction_id AND c.captured_at = k.captured_at AND c.id = k.id$sql$,
    jsonb_build_object(
    'typed_keys', (SELECT string_agg(format('key_%s = %s', t, CASE t WHEN audited.key_type THEN 'typed_key'
                                                                ELSE 'NULL' END), ', ')
                     FROM unnest('{bigint, integer, uuid}'::text[]) AS t),
    'typed_key', threadline_internal.typed_key(audited.key_type, 'key'),
    'key', threadline_internal.key_expression(audited, 'image'),
    'image', image,
    'full_image', threadline_internal.renamed_expression(audited, 'coalesce(data_after, changed_from)', 'id'),
    'table_id', audited.id))
$function$;
COMMENT ON FUNCTION threadline_internal.rewrite_statement(threadline.audited_tables, text) IS
  'SQL that writes the keys of a table''s changes anew.';

-- Writes the keys of the older changes anew out of their images when the primary key became another one, so that the
-- history of a row stays in one piece. It never touches the images themselves. The old keys go into the new type, as
-- far as it is a built-in one (no code of any other type is run); where one cannot be converted, all stay what they
-- were.
CREATE FUNCTION threadline_internal.rewrite_keys(audited threadline.audited_tables) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS $function$
DECLARE
  declarations text := (
    SELECT string_agg(format('%I %s', c.name, coalesce(threadline_internal.built_in_type(c.type, c.typmod), 'jsonb')),
                      ', ' ORDER BY c.number)
      FROM threadline_internal.columns_of(audited.relation) AS c WHERE c.name = ANY (audited.key_columns));
BEGIN
  EXECUTE threadline_internal.rewrite_statement(audited, threadline_internal.render($sql$
    (SELECT to_jsonb(r.*) FROM jsonb_to_record((
      SELECT jsonb_object_agg(p.key, CASE jsonb_typeof(p.value)
                                       WHEN 'number' THEN to_jsonb(trim_scale(p.value::numeric)) ELSE p.value END)
        FROM jsonb_each(full_image) AS p WHERE p.key = ANY ({key_columns}))) AS r ({declarations}))$sql$,
    jsonb_build_object('declarations', declarations, 'key_columns', quote_literal(audited.key_columns))));
EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
  EXECUTE threadline_internal.rewrite_statement(audited, 'full_image');
END
$function$;
COMMENT ON FUNCTION threadline_internal.rewrite_keys(threadline.audited_tables) IS
  'Writes the keys of a table''s older changes anew after its primary key became another one.';

-- Follows a change of the primary key. A hold of a row goes by its key, and must not come to be of none. Changes that
-- have no key of the new kind cannot be told to be of one row, so the past before now is unknown.
CREATE FUNCTION threadline_internal.change_key(audited threadline.audited_tables) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF EXISTS (SELECT FROM threadline.legal_holds AS h WHERE h.table_id = audited.id AND h.row_key IS NOT NULL) THEN
    PERFORM threadline_internal.raise_audit_error(audited.relation,
      'rows of it are under legal hold by the primary key that it had',
      'Hold the whole table, release its rows, call this again, hold the rows by their new key, and release the '
        'table.');
  END IF;
  PERFORM threadline_internal.rewrite_keys(audited);
  IF EXISTS (SELECT FROM threadline.audit_changes AS c
              WHERE c.table_id = audited.id AND c.captured_at >= audited.capture_since
                AND CASE WHEN audited.key_type <> 'text' THEN num_nonnulls(c.key_integer, c.key_bigint, c.key_uuid) = 0
                      WHEN cardinality(audited.key_columns) > 1
                        THEN c.key_text IS NULL OR c.key_text::jsonb @> '[null]'
                      ELSE c.key_text IS NULL END) THEN
    UPDATE threadline.audited_tables AS t SET capture_since = clock_timestamp() WHERE t.id = audited.id;
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.change_key(threadline.audited_tables) IS
  'Brings the audit log of a table in line with its new primary key.';
