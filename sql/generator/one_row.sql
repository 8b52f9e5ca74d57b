-- PL/pgSQL for one row, whose images are in variables. Their names are none that the columns of the statements for many rows have.
CREATE FUNCTION threadline_internal.row_sources(audited threadline.audited_tables) RETURNS TABLE (event text, source text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  partitioned boolean := (SELECT relkind = 'p' FROM pg_class WHERE oid = audited.relation);
  key text := format(E'  row_key := %s;\n', threadline_internal.key_expression(audited, 'row_image'));
  image text := threadline_internal.masked_expression(audited, 'row_image');
  old_image text := threadline_internal.masked_expression(audited, 'old_row_image');
BEGIN
  event := 'insert';
  source := concat(key,
    CASE WHEN partitioned AND audited.key_type IS NULL
      THEN format(E'  IF threadline_internal.merge_move(%s, %s) THEN\n    RETURN NULL;\n  END IF;\n', audited.id, image) END,
    threadline_internal.record_row(audited, '''insert''', 'row_key', CASE WHEN partitioned AND audited.key_type IS NOT NULL
      THEN format('threadline_internal.link_move(%s, row_key) #>> ''{}''', audited.id) ELSE 'NULL' END, image, 'NULL'), ';');
  RETURN NEXT;

  event := 'delete';
  source := concat(key, threadline_internal.record_row(audited, '''delete''', 'row_key', 'NULL', 'NULL', image),
    CASE WHEN partitioned THEN format($sql$
  RETURNING id, captured_at INTO recorded;
  PERFORM threadline_internal.begin_move(%s, recorded.id, recorded.captured_at)$sql$, audited.id) END, ';');
  RETURN NEXT;

  event := 'update';
  source := concat(format($sql$  row_changed := %s;
  IF row_changed - %L::text[] <> '{}' THEN
    row_changed := %s;
  END IF;
  IF row_changed = '{}' THEN
    RETURN NULL;
  END IF;
$sql$, threadline_internal.possibly_changed(audited, 'old_row_image', 'row_image'), threadline_internal.compared_columns(audited),
      threadline_internal.changed_values('row_changed', 'row_image')), key, format($sql$  old_row_key := %s;
  IF old_row_key <> row_key THEN
  %s;
  %s;
    RETURN NULL;
  END IF;
%s;$sql$, threadline_internal.key_expression(audited, 'old_row_image'),
      threadline_internal.record_row(audited, '''delete''', 'old_row_key', 'row_key #>> ''{}''', 'NULL', old_image),
      threadline_internal.record_row(audited, '''insert''', 'row_key', 'old_row_key #>> ''{}''', image, 'NULL'),
      threadline_internal.record_row(audited, '''update''', 'old_row_key', 'NULL', image, threadline_internal.masked_values(audited, 'row_changed'))));
  RETURN NEXT;
END
$function$;
COMMENT ON FUNCTION threadline_internal.row_sources(threadline.audited_tables) IS
  'PL/pgSQL that records one row of an insert, update or delete.';
