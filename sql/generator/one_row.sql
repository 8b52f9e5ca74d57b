-- Captures one row by its images, whatever the columns of the table.

-- Returns PL/pgSQL that adds one row, whose images are in variables, to audit_changes. Most statements write one row,
-- and an expression in a variable costs a fraction of one in a plan, which is set up for every statement.
CREATE FUNCTION threadline_internal.record_row(audited threadline.audited_tables, op text, key text, moved_key text,
  data_after text, changed_from text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql${set_typed_key}  INSERT INTO threadline.audit_changes ({columns})
  VALUES (threadline_internal.enter_transaction(written_at, {table_id}),
    {table_id}, definition_id, {op}, written_at, {key}, {moved_key}, {data_after}, {changed_from},
    {context})$sql$, jsonb_build_object(
    'set_typed_key', CASE WHEN typed
      THEN format(E'  typed_row_key := %s;\n', threadline_internal.typed_key(audited.key_type, record_row.key)) END,
    'columns', concat('transaction_id, table_id, definition_id, op, captured_at, ',
      CASE WHEN typed THEN 'key_' || audited.key_type || ', ' END,
      'key_text, moved_key, data_after, changed_from, context'),
    'table_id', audited.id, 'op', op,
    'key', format(CASE WHEN typed THEN $sql$typed_row_key, CASE WHEN typed_row_key IS NULL THEN %s #>> '{}' END$sql$
                    ELSE $sql$%s #>> '{}'$sql$ END, record_row.key),
    'moved_key', moved_key, 'data_after', data_after, 'changed_from', changed_from,
    'context', 'threadline_internal.change_context()'))
    FROM (SELECT coalesce(audited.key_type <> 'text', false) AS typed) AS k
$function$;
COMMENT ON FUNCTION threadline_internal.record_row(threadline.audited_tables, text, text, text, text, text) IS
  'PL/pgSQL that adds one row to audit_changes.';

-- Returns PL/pgSQL that captures one inserted row.
CREATE FUNCTION threadline_internal.capture_inserted_row(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$  row_key := {row_key};
{record_insert};$sql$, jsonb_build_object(
    'row_key', threadline_internal.key_expression(audited, 'row_image'),
    'record_insert', threadline_internal.record_row(audited, quote_literal('insert'), 'row_key', 'NULL',
      threadline_internal.masked_expression(audited, 'row_image'), 'NULL')))
$function$;
COMMENT ON FUNCTION threadline_internal.capture_inserted_row(threadline.audited_tables) IS
  'PL/pgSQL that records one inserted row.';

-- Returns PL/pgSQL that captures one deleted row. PostgreSQL moves a row to another partition by a delete and an
-- insert, which are recorded as such.
CREATE FUNCTION threadline_internal.capture_deleted_row(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$  row_key := {row_key};
{record_delete};$sql$, jsonb_build_object(
    'row_key', threadline_internal.key_expression(audited, 'row_image'),
    'record_delete', threadline_internal.record_row(audited, quote_literal('delete'), 'row_key', 'NULL', 'NULL',
      threadline_internal.masked_expression(audited, 'row_image'))))
$function$;
COMMENT ON FUNCTION threadline_internal.capture_deleted_row(threadline.audited_tables) IS
  'PL/pgSQL that records one deleted row.';

-- Returns PL/pgSQL that captures one updated row. An update of the key ends one row and begins another.
CREATE FUNCTION threadline_internal.capture_updated_row(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$  row_changed := {possibly_changed};
  IF row_changed - {compared_columns}::text[] <> '{}' THEN
    row_changed := {changed_values};
  END IF;
  IF row_changed = '{}' THEN
    RETURN NULL;
  END IF;
  row_key := {row_key};
  old_row_key := {old_row_key};
  IF old_row_key <> row_key THEN
  {record_delete};
  {record_insert};
    RETURN NULL;
  END IF;
{record_update};$sql$, jsonb_build_object(
    'possibly_changed', threadline_internal.possibly_changed(audited, 'old_row_image', 'row_image'),
    'compared_columns', quote_literal(threadline_internal.compared_columns(audited)),
    'changed_values', threadline_internal.changed_values('row_changed', 'row_image'),
    'row_key', threadline_internal.key_expression(audited, 'row_image'),
    'old_row_key', threadline_internal.key_expression(audited, 'old_row_image'),
    'record_delete', threadline_internal.record_row(audited, quote_literal('delete'), 'old_row_key',
      $sql$row_key #>> '{}'$sql$, 'NULL', threadline_internal.masked_expression(audited, 'old_row_image')),
    'record_insert', threadline_internal.record_row(audited, quote_literal('insert'), 'row_key',
      $sql$old_row_key #>> '{}'$sql$, image, 'NULL'),
    'record_update', threadline_internal.record_row(audited, quote_literal('update'), 'old_row_key', 'NULL', image,
      threadline_internal.masked_values(audited, 'row_changed'))))
    FROM threadline_internal.masked_expression(audited, 'row_image') AS image
$function$;
COMMENT ON FUNCTION threadline_internal.capture_updated_row(threadline.audited_tables) IS
  'PL/pgSQL that records one updated row.';
