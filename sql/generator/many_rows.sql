CREATE FUNCTION threadline_internal.statement_sources(audited threadline.audited_tables) RETURNS TABLE (event text, source text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  image text := threadline_internal.image_expression(audited, 'r.*');
  -- An update puts the old and the new version of a row at the same place of the two transition tables. Paired
  -- by place, and not by key, a row keeps its identity when its key changes, and a table needs no key.
  -- FULL, though every place is in both: the plan is kept, and one made for a few rows would join by nested loop,
  -- which takes hours for the bulk update that comes next. A full join cannot.
  updated_rows text := threadline_internal.update_rows(audited, format('SELECT old_image, new_image
                          FROM (SELECT row_number() OVER () AS place, %1$s AS old_image FROM old_rows AS r) AS o
                          FULL JOIN (SELECT row_number() OVER () AS place, %1$s AS new_image FROM new_rows AS r) AS n USING (place)', image));
BEGIN
  event := 'insert';
  source := threadline_internal.record_rows(audited, '''insert''', 'key', 'NULL::jsonb', 'image', 'NULL',
    threadline_internal.image_rows(audited, 'r.*', ' FROM new_rows AS r')) || ';';
  RETURN NEXT;

  event := 'delete';
  source := threadline_internal.record_rows(audited, '''delete''', 'key', 'NULL::jsonb', 'NULL', 'image',
    threadline_internal.image_rows(audited, 'r.*', ' FROM old_rows AS r')) || ';';
  RETURN NEXT;

  event := 'update';
  source := format($sql$WITH recorded AS (
    %s
    RETURNING op = 'delete' AS ended
  )
  SELECT coalesce(bool_or(ended), false) INTO key_changed FROM recorded;
  IF key_changed THEN
    -- Begun when all old keys are ended: in id = id + 1 the new key of one row is the old key of another.
    %s WHERE old_key <> new_key;
  END IF;$sql$,
    threadline_internal.record_rows(audited, 'CASE WHEN old_key <> new_key THEN ''delete'' ELSE ''update'' END', 'old_key',
      'CASE WHEN old_key <> new_key THEN new_key END', 'CASE WHEN old_key <> new_key THEN NULL ELSE new_image END',
      'CASE WHEN old_key <> new_key THEN old_image ELSE changed END', updated_rows),
    threadline_internal.record_rows(audited, '''insert''', 'new_key', 'old_key', 'new_image', 'NULL', updated_rows));
  RETURN NEXT;
END
$function$;
COMMENT ON FUNCTION threadline_internal.statement_sources(threadline.audited_tables) IS
  'PL/pgSQL that records the many rows of an insert, update or delete.';

-- The table is named at run time, for it may have been renamed. Truncating a partitioned table fires the triggers
-- of its partitions too, but those younger than the last refresh have none: the nearest one above reads them.
CREATE FUNCTION threadline_internal.truncate_source(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format($sql$  EXECUTE concat('WITH truncated AS (SELECT * FROM ', %s, %L) USING written_at%s;$sql$,
    CASE WHEN (SELECT relkind FROM pg_class WHERE oid = audited.relation) = 'p' THEN $sql$TG_RELID::regclass, ' AS r
     WHERE r.tableoid IN (SELECT p.relid FROM pg_partition_tree(', TG_RELID, ') AS p WHERE ', TG_RELID, ' =
             (SELECT t.tgrelid FROM pg_partition_ancestors(p.relid) WITH ORDINALITY AS a (relid, height)
                JOIN pg_trigger AS t ON t.tgrelid = a.relid AND t.tgname = ''!threadline_truncate'' ORDER BY a.height LIMIT 1))'$sql$
      ELSE $sql$'ONLY ', TG_RELID::regclass$sql$ END,
    E')\n    ' || threadline_internal.record_rows(audited, '''truncate''', 'key', 'NULL::jsonb', 'NULL', 'image',
      threadline_internal.image_rows(audited, 'r.*', ' FROM truncated AS r', '$2', '$3'), '$1'),
    CASE WHEN audited.excluded_columns || audited.masked_columns <> '{}' THEN ', excluded, mask' ELSE '' END)
$function$;
COMMENT ON FUNCTION threadline_internal.truncate_source(threadline.audited_tables) IS 'PL/pgSQL that records the rows of a truncation.';
