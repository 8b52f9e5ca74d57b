-- Returns whether the keys of older changes no longer match the present primary key.
CREATE FUNCTION threadline_internal.key_changed(before threadline.audited_tables, after threadline.audited_tables)
RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT after.key_type IS NOT NULL AND (
       after.key_type IS DISTINCT FROM before.key_type
    OR NOT threadline_internal.same_key(after, before)
    OR EXISTS (SELECT FROM threadline.audit_changes AS c
                WHERE c.table_id = after.id AND c.key_text IS NOT NULL AND after.key_type <> 'text'
                  AND c.definition_id >= after.first_definition_id)
    -- The text form of the values of its columns changed.
    OR EXISTS (SELECT FROM jsonb_each(after.older_definitions) AS o, unnest(after.key_columns) AS k
                WHERE before.older_definitions -> o.key IS DISTINCT FROM o.value
                  AND (o.value -> 'labels' ? k OR o.value -> 'convert' ? k))
    -- Key columns exchanged names with others, and changes recorded since took their keys from the wrong columns.
    OR EXISTS (SELECT FROM threadline.table_definitions AS d
                WHERE d.table_id = after.id AND d.id > before.definition_id AND d.id < after.definition_id
                  AND (SELECT array_agg(d.columns #> ARRAY[k.name, 'number'] ORDER BY k.place)
                         FROM unnest(before.key_columns) WITH ORDINALITY AS k (name, place))
                    <> threadline_internal.key_numbers(before)))
$function$;
COMMENT ON FUNCTION threadline_internal.key_changed(threadline.audited_tables, threadline.audited_tables) IS
  'Whether the keys of older changes no longer match the present primary key of a table.';

-- Returns the numbers of the key columns, which do not change when a column is renamed.
CREATE FUNCTION threadline_internal.key_numbers(audited threadline.audited_tables) RETURNS jsonb[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT array_agg(audited.definition #> ARRAY['columns', name, 'number'] ORDER BY position)
    FROM unnest(audited.key_columns) WITH ORDINALITY AS k (name, position)
$function$;
COMMENT ON FUNCTION threadline_internal.key_numbers(threadline.audited_tables) IS
  'The numbers of the columns of a primary key.';

-- Returns the statement that rewrites the keys of a table's changes, each from its image. The image is an expression of
-- full_image, which has the present names.
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
    'full_image', threadline_internal.renamed_expression(audited, 'coalesce(data_after, changed_from)',
      true, 'definition_id'),
    'table_id', audited.id))
$function$;
COMMENT ON FUNCTION threadline_internal.rewrite_statement(threadline.audited_tables, text) IS
  'SQL that rewrites the keys of a table''s changes.';

-- Rewrites the keys of the older changes from their images after the primary key changed, so that the history of a row
-- stays in one piece. It never changes the images themselves. The old keys are converted to the new type if that is a
-- built-in one (no code of any other type runs). If one key cannot be converted, all stay unchanged.
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
  'Rewrites the keys of a table''s older changes after its primary key changed.';

-- Returns why the new primary key cannot identify the rows of a table in older changes; NULL if it can, or if only the
-- type of the key changed. It can if all images contain the columns of the new key, no update changed one of them, and
-- no two rows ever had the same new key at the same time.
CREATE FUNCTION threadline_internal.key_gap(audited threadline.audited_tables, before threadline.audited_tables)
RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  gap text;
  key_columns text := array_to_string(audited.key_columns, ', ');
BEGIN
  IF before.id IS NULL OR audited.key_type IS NULL THEN
    RETURN NULL;
  ELSIF threadline_internal.same_key(audited, before) THEN
    SELECT c.gap INTO gap
      FROM threadline.column_conversions AS c
      JOIN threadline_internal.columns_of(audited.relation) AS a ON a.number = c.column_number
     WHERE c.table_id = audited.id AND c.definition_id = audited.definition_id AND c.gap IS NOT NULL
       AND c.definition_id > audited.first_definition_id
       AND a.name = ANY (audited.key_columns)
     LIMIT 1;
    RETURN gap;
  END IF;
  EXECUTE threadline_internal.render($sql$
    SELECT CASE WHEN bool_or(key IS NULL OR key = 'null' OR key @> '[null]')
                  THEN 'changes of before have no such key'
                WHEN bool_or(op = 'update' AND changed ?| {key_columns}) THEN 'updates of before had changed it'
                WHEN bool_or(previous_row <> old_row AND previous_op NOT IN ('delete', 'truncate'))
                  THEN 'two rows had the same such key at a time' END
      FROM (SELECT k.*, lag(op) OVER w AS previous_op, lag(old_row) OVER w AS previous_row
              FROM (SELECT i.*, {key} AS key
                      FROM (SELECT i.*, jsonb_build_array({old_key}) AS old_row
                              FROM (SELECT c.op, c.captured_at, c.id, {full_image} AS image, {changed} AS changed
                                      FROM threadline.audit_changes AS c
                                     WHERE c.table_id = {table_id} AND c.definition_id >= {first_definition_id}
                                    OFFSET 0) AS i OFFSET 0) AS i
                    OFFSET 0) AS k
            WINDOW w AS (PARTITION BY key ORDER BY captured_at, id)) AS k$sql$, jsonb_build_object(
    'key_columns', quote_literal(audited.key_columns) || '::text[]',
    'key', threadline_internal.key_expression(audited, 'image'),
    'old_key', (SELECT string_agg(format('i.image -> %L', coalesce(c.name, k.name)), ', ' ORDER BY k.place)
                  FROM unnest(before.key_columns) WITH ORDINALITY AS k (name, place)
                  LEFT JOIN threadline_internal.columns_of(audited.relation) AS c
                    ON c.number = (before.definition #>> ARRAY['columns', k.name, 'number'])::smallint
                   AND threadline_internal.is_described(audited.relation, before.definition)),
    'full_image', threadline_internal.renamed_expression(audited, 'coalesce(c.data_after, c.changed_from)'),
    'changed', threadline_internal.renamed_expression(audited, 'c.changed_from'),
    'table_id', audited.id, 'first_definition_id', audited.first_definition_id)) INTO gap;
  RETURN format('its primary key became (%s), and ', key_columns) || coalesce(gap,
    threadline_internal.live_key_gap(audited));
END
$function$;
COMMENT ON FUNCTION threadline_internal.key_gap(threadline.audited_tables, threadline.audited_tables) IS
  'Why the new primary key of a table cannot identify its rows in older changes.';

-- Returns that a row which is deleted according to the audit log exists under the new primary key. If so, it had the
-- key of another row, for which nothing was recorded.
CREATE FUNCTION threadline_internal.live_key_gap(audited threadline.audited_tables) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS $function$
DECLARE
  same_key text := coalesce(threadline_internal.image_has_key(audited),
    threadline_internal.image_has_recorded_key(audited));
  is_there boolean;
BEGIN
  PERFORM threadline_internal.check_foreign_code(audited.relation);
  EXECUTE threadline_internal.render($sql$
    SELECT EXISTS (SELECT FROM (SELECT DISTINCT ON (key) op, image
              FROM (SELECT i.*, {key} AS key
                      FROM (SELECT c.op, c.captured_at, c.id, {full_image} AS image
                              FROM threadline.audit_changes AS c
                             WHERE c.table_id = {table_id} AND c.definition_id >= {first_definition_id} OFFSET 0) AS i)
                AS k
             ORDER BY key, captured_at DESC, id DESC) AS c
      JOIN {live_rows} AS t ON {same_key}
     WHERE c.op IN ('delete', 'truncate'))$sql$, jsonb_build_object(
    'key', threadline_internal.key_expression(audited, 'image'),
    'full_image', threadline_internal.renamed_expression(audited, 'coalesce(c.data_after, c.changed_from)'),
    'table_id', audited.id, 'first_definition_id', audited.first_definition_id,
    'live_rows', threadline_internal.live_rows(audited.relation), 'same_key', same_key))
    INTO is_there;
  RETURN CASE WHEN is_there THEN 'rows that were deleted had the key of others' END;
EXCEPTION WHEN data_exception OR insufficient_privilege THEN
  -- PostgreSQL's message may contain a recorded value, and no redaction would reach a value stored here.
  RETURN format('PostgreSQL cannot compare them with the rows that are there: SQLSTATE %s', SQLSTATE);
END
$function$;
COMMENT ON FUNCTION threadline_internal.live_key_gap(threadline.audited_tables) IS
  'Why the new primary key of a table cannot distinguish existing rows from deleted ones.';

-- Returns whether a primary key has the same columns as before, whatever their names.
CREATE FUNCTION threadline_internal.same_key(audited threadline.audited_tables, before threadline.audited_tables)
RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN threadline_internal.is_described(audited.relation, before.definition)
    THEN threadline_internal.key_numbers(audited) IS NOT DISTINCT FROM threadline_internal.key_numbers(before)
    ELSE audited.key_columns = before.key_columns END
$function$;
COMMENT ON FUNCTION threadline_internal.same_key(threadline.audited_tables, threadline.audited_tables) IS
  'Whether the primary key of a table has the same columns as before.';

-- Applies a change of the primary key. A hold on a row uses its key, and must not lose its row. If the history begins
-- again, the older keys are stored with the names of their columns, a form that no present key has.
CREATE FUNCTION threadline_internal.change_key(audited threadline.audited_tables, before threadline.audited_tables)
RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF EXISTS (SELECT FROM threadline.legal_holds AS h WHERE h.table_id = audited.id AND h.row_key IS NOT NULL) THEN
    PERFORM threadline_internal.raise_audit_error(audited.relation,
      'rows of it are under legal hold by the primary key that it had',
      'Hold the whole table, release its rows, call this again, hold the rows by their new key, and release the '
        'table.');
  END IF;
  IF audited.first_definition_id = before.first_definition_id THEN
    PERFORM threadline_internal.rewrite_keys(audited);
  ELSIF before.key_type IS NOT NULL AND NOT threadline_internal.same_key(audited, before) THEN
    UPDATE threadline.audit_changes AS c
       SET key_text = CASE cardinality(before.key_columns)
             WHEN 1 THEN jsonb_build_object(before.key_columns[1], threadline_internal.key_of(c))
             ELSE (SELECT jsonb_object_agg(before.key_columns[e.place], e.value)
                     FROM jsonb_array_elements(c.key_text::jsonb) WITH ORDINALITY AS e (value, place)) END::text,
           key_integer = NULL, key_bigint = NULL, key_uuid = NULL
     WHERE c.table_id = audited.id AND c.definition_id >= before.first_definition_id
       AND c.definition_id < audited.definition_id AND threadline_internal.key_of(c) IS NOT NULL;
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.change_key(threadline.audited_tables, threadline.audited_tables) IS
  'Updates the audit log of a table to match its new primary key.';
