-- Returns the statement that adds rows to audit_changes. Its subselects run once per statement, and only if there is a
-- row to record, so that an update that changes nothing leaves no transaction behind.
CREATE FUNCTION threadline_internal.record_rows(audited threadline.audited_tables, op text, key text, moved_key text,
  data_after text, changed_from text, rows text, written_at text DEFAULT 'written_at',
  definition_id text DEFAULT 'definition_id') RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render(
    $sql$INSERT INTO threadline.audit_changes (transaction_id, table_id, definition_id, op, captured_at,
      {key_column}key_text, moved_key, data_after, changed_from, context)
    SELECT (SELECT threadline_internal.enter_transaction({written_at}, {table_id})), {table_id}, {definition_id},
      {op}, {written_at},
      {key_value}CASE WHEN typed_key IS NULL THEN {key} #>> '{}' END,
      ({moved_key}) #>> '{}',
      {data_after},
      {changed_from},
      (SELECT threadline_internal.change_context())
    FROM (SELECT s.*, {typed_key} AS typed_key
            FROM ({rows}) AS s OFFSET 0) AS s$sql$, jsonb_build_object(
    'key_column', CASE WHEN audited.key_type <> 'text' THEN 'key_' || audited.key_type || ', ' END,
    'key_value', CASE WHEN audited.key_type <> 'text' THEN 'typed_key, ' END,
    'typed_key', threadline_internal.typed_key(audited.key_type, record_rows.key),
    'table_id', audited.id, 'definition_id', definition_id, 'op', op, 'written_at', written_at, 'key', key,
    'moved_key', moved_key,
    'data_after', data_after, 'changed_from', changed_from, 'rows', rows))
$function$;
COMMENT ON FUNCTION
  threadline_internal.record_rows(threadline.audited_tables, text, text, text, text, text, text, text, text) IS
  'SQL that adds rows to audit_changes.';

-- Returns SQL for the rows of an update: both keys, both images, and the old values of the changed columns. An update
-- puts the old and the new version of a row at the same position of the two transition tables. Pairing by position
-- instead of by key keeps the identity of a row when its key changes, and requires no key.
-- The join is FULL although both tables contain every position: the plan is cached, and a plan made for a few rows
-- would use a nested loop, which takes hours for the next bulk update. A full join cannot.
CREATE FUNCTION threadline_internal.update_rows(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$SELECT {old_key} AS old_key, {new_key} AS new_key,
             {old_image} AS old_image, {new_image} AS new_image,
             {stored_changed} AS changed
        FROM (SELECT old_image, new_image, {changed} AS changed
                FROM (SELECT old_image, new_image, {candidates} AS candidates
                        FROM (SELECT old_image, new_image
                          FROM ({old_images}) AS o
                          FULL JOIN ({new_images}) AS n USING (place) OFFSET 0) AS p OFFSET 0) AS d OFFSET 0) AS u
       WHERE changed <> '{}' OFFSET 0$sql$, jsonb_build_object(
    'old_key', threadline_internal.key_expression(audited, 'old_image'),
    'new_key', threadline_internal.key_expression(audited, 'new_image'),
    'old_image', threadline_internal.masked_expression(audited, 'old_image'),
    'new_image', threadline_internal.masked_expression(audited, 'new_image'),
    'stored_changed', threadline_internal.masked_values(audited, 'changed'),
    'changed', format($sql$CASE WHEN candidates - %L::text[] = '{}' THEN candidates ELSE %s END$sql$,
      threadline_internal.compared_columns(audited), threadline_internal.changed_values('candidates', 'new_image')),
    'candidates', threadline_internal.possibly_changed(audited, 'old_image', 'new_image'),
    'old_images', format('SELECT row_number() OVER () AS place, %s AS old_image FROM old_rows AS r', image),
    'new_images', format('SELECT row_number() OVER () AS place, %s AS new_image FROM new_rows AS r', image)))
    FROM threadline_internal.image_expression(audited, 'r.*') AS image
$function$;
COMMENT ON FUNCTION threadline_internal.update_rows(threadline.audited_tables) IS
  'SQL for the keys, images and changed values of the rows that an update really changed.';

-- Returns PL/pgSQL that captures the rows of an insert, which are in new_rows.
CREATE FUNCTION threadline_internal.capture_inserted_rows(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.record_rows(audited, quote_literal('insert'), 'key', 'NULL::jsonb', 'image', 'NULL',
    threadline_internal.image_rows(audited, 'r.*', ' FROM new_rows AS r')) || ';'
$function$;
COMMENT ON FUNCTION threadline_internal.capture_inserted_rows(threadline.audited_tables) IS
  'PL/pgSQL that records the rows of an insert.';

-- Returns PL/pgSQL that captures the rows of a delete, which are in old_rows.
CREATE FUNCTION threadline_internal.capture_deleted_rows(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.record_rows(audited, quote_literal('delete'), 'key', 'NULL::jsonb', 'NULL', 'image',
    threadline_internal.image_rows(audited, 'r.*', ' FROM old_rows AS r')) || ';'
$function$;
COMMENT ON FUNCTION threadline_internal.capture_deleted_rows(threadline.audited_tables) IS
  'PL/pgSQL that records the rows of a delete.';

-- Returns PL/pgSQL that captures the rows of an update. If the key of a row changed, the old row ends and another
-- begins.
CREATE FUNCTION threadline_internal.capture_updated_rows(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$WITH recorded AS (
    {record_updates}
    RETURNING op = 'delete' AS ended
  )
  SELECT coalesce(bool_or(ended), false) INTO key_changed FROM recorded;
  IF key_changed THEN
    -- Begun when all old keys are ended: in id = id + 1 the new key of one row is the old key of another.
    {record_inserts} WHERE old_key <> new_key;
  END IF;$sql$, jsonb_build_object(
    'record_updates', threadline_internal.record_rows(audited,
      $sql$CASE WHEN old_key <> new_key THEN 'delete' ELSE 'update' END$sql$, 'old_key',
      'CASE WHEN old_key <> new_key THEN new_key END', 'CASE WHEN old_key <> new_key THEN NULL ELSE new_image END',
      'CASE WHEN old_key <> new_key THEN old_image ELSE changed END', updated_rows),
    'record_inserts', threadline_internal.record_rows(audited, quote_literal('insert'), 'new_key', 'old_key',
      'new_image', 'NULL', updated_rows)))
    FROM threadline_internal.update_rows(audited) AS updated_rows
$function$;
COMMENT ON FUNCTION threadline_internal.capture_updated_rows(threadline.audited_tables) IS
  'PL/pgSQL that records the rows of an update.';

-- Returns PL/pgSQL for the rows that the truncation of a partitioned table removes, as arguments of concat. The
-- truncation also fires the triggers of its partitions, but partitions newer than the last refresh have none: their
-- nearest ancestor reads them.
CREATE FUNCTION threadline_internal.rows_of_partitions(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$TG_RELID::regclass, ' AS r
     WHERE r.tableoid IN (SELECT p.relid FROM pg_partition_tree(', TG_RELID, ') AS p WHERE ', TG_RELID, ' =
             (SELECT t.tgrelid FROM pg_partition_ancestors(p.relid) WITH ORDINALITY AS a (relid, height)
                JOIN pg_trigger AS t ON t.tgrelid = a.relid AND {is_capture} ORDER BY a.height LIMIT 1))'$sql$,
    jsonb_build_object('is_capture', concat('t.tgname = ''''',
      threadline_internal.trigger_prefix(audited), 'truncate''''')))
$function$;
COMMENT ON FUNCTION threadline_internal.rows_of_partitions(threadline.audited_tables) IS
  'PL/pgSQL for the rows that a truncation of a partitioned table removes.';

-- Returns PL/pgSQL that captures the rows of a truncation. It looks up the name of the table at run time, because the
-- table may have been renamed.
CREATE FUNCTION threadline_internal.capture_truncated_rows(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render(
    $sql$  EXECUTE concat('WITH truncated AS (SELECT * FROM ', {truncated}, {statement}) USING {values};$sql$,
    jsonb_build_object(
      'truncated', CASE WHEN threadline_internal.is_partitioned(audited.relation)
        THEN threadline_internal.rows_of_partitions(audited) ELSE $sql$'ONLY ', TG_RELID::regclass$sql$ END,
      'statement', quote_literal(E')\n    ' || threadline_internal.record_rows(audited, quote_literal('truncate'),
        'key', 'NULL::jsonb', 'NULL', 'image',
        threadline_internal.image_rows(audited, 'r.*', ' FROM truncated AS r', '$3', '$4', '$5', '$6', '$7'), '$1',
        '$2')),
      'values', concat('written_at, definition_id, ', CASE WHEN threadline_internal.is_redacted(audited)
        THEN 'excluded, mask' ELSE 'NULL::text[], NULL::jsonb' END, ', TG_RELID, careful',
        CASE WHEN audited.hashed_columns <> '{}' THEN ', hashed' END)))
$function$;
COMMENT ON FUNCTION threadline_internal.capture_truncated_rows(threadline.audited_tables) IS
  'PL/pgSQL that records the rows of a truncation.';
