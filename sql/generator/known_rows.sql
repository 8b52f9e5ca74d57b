-- Captures the rows of a statement whose columns are known; see known_columns.sql.

-- Returns the statement that adds rows to audit_changes. Its subselects run once per statement, and only if there is a
-- row to record.
CREATE FUNCTION threadline_internal.record_known_rows(audited threadline.audited_tables, op text, key text,
  moved_key text, data_after text, changed_from text, rows text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$INSERT INTO threadline.audit_changes (transaction_id, table_id,
        definition_id, op, captured_at, {key_column}, moved_key, data_after, changed_from, context)
      SELECT (SELECT coalesce(threadline_internal.enter_first(written_at, {table_id}),
                              threadline_internal.enter_transaction(written_at, {table_id}))),
        {table_id}, {definition_id}, {op}, written_at, {key}, {moved_key},
        {data_after},
        {changed_from},
        (SELECT threadline_internal.change_context())
        FROM {rows}$sql$, jsonb_build_object(
    'key_column', threadline_internal.key_column(audited), 'table_id', audited.id,
    'definition_id', audited.definition_id, 'op', op, 'key', key, 'moved_key', moved_key, 'data_after', data_after,
    'changed_from', changed_from, 'rows', rows))
$function$;
COMMENT ON FUNCTION
  threadline_internal.record_known_rows(threadline.audited_tables, text, text, text, text, text, text) IS
  'SQL that adds rows to audit_changes.';

-- Returns SQL for the rows of an update, old and new side by side: the columns of the old version are o1, o2, ...,
-- those of the new version n1, n2, ..., next to its image. See threadline_internal.update_rows for how the versions are
-- paired.
CREATE FUNCTION threadline_internal.known_update_rows(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$(SELECT p.*, {key_changed} AS key_changed,
        {changes} AS changed
        FROM (SELECT *
                FROM (SELECT row_number() OVER () AS place{old_columns} FROM old_rows AS r) AS o
                FULL JOIN (SELECT row_number() OVER () AS place{new_columns},
                                  {image} AS image FROM new_rows AS r) AS n USING (place)) AS p OFFSET 0) AS u
       WHERE u.changed <> ''$sql$, jsonb_build_object(
    'key_changed', threadline_internal.known_key_changed(audited, 'o%2$s', 'n%2$s'),
    'changes', threadline_internal.known_changes(audited, 'o%2$s', 'n%2$s'),
    'old_columns', string_agg(format(', r.%I AS o%s', k.name, k.number), '' ORDER BY k.number),
    'new_columns', string_agg(format(', r.%I AS n%s', k.name, k.number), '' ORDER BY k.number),
    'image', threadline_internal.known_image(audited, 'r.*', 'r.%I')))
    FROM threadline_internal.known_columns(audited, '%I') AS k
$function$;
COMMENT ON FUNCTION threadline_internal.known_update_rows(threadline.audited_tables) IS
  'SQL for the rows that an update changed, old and new side by side.';

-- Returns PL/pgSQL that captures all rows of a statement. If the key of a row changed, the old row ends, and the new
-- one begins after all old keys have ended: in id = id + 1, the new key of one row is the old key of another.
CREATE FUNCTION threadline_internal.capture_all_known_rows(audited threadline.audited_tables, event text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE event
    WHEN 'insert' THEN threadline_internal.record_known_rows(audited, $$'insert'$$,
      threadline_internal.known_key(audited, 'r.%I'), 'NULL',
      threadline_internal.known_image(audited, 'r.*', 'r.%I'), 'NULL', 'new_rows AS r') || ';'
    WHEN 'delete' THEN threadline_internal.record_known_rows(audited, $$'delete'$$,
      threadline_internal.known_key(audited, 'r.%I'), 'NULL', 'NULL',
      threadline_internal.known_image(audited, 'r.*', 'r.%I'), 'old_rows AS r') || ';'
    ELSE threadline_internal.render($sql$WITH recorded AS (
      {record_updates}
      RETURNING op = 'delete' AS ended
    )
    SELECT coalesce(bool_or(ended), false) INTO key_changed FROM recorded;
    IF key_changed THEN
      {record_inserts} AND u.key_changed;
    END IF;$sql$, jsonb_build_object(
      'record_updates', threadline_internal.record_known_rows(audited,
        $$CASE WHEN u.key_changed THEN 'delete' ELSE 'update' END$$,
        threadline_internal.known_key(audited, 'o%2$s'),
        format('CASE WHEN u.key_changed THEN (%s)::text END', threadline_internal.known_key(audited, 'n%2$s')),
        'CASE WHEN NOT u.key_changed THEN u.image END',
        format($$CASE WHEN u.key_changed THEN %s ELSE concat('{', u.changed, '}')::jsonb END$$,
          threadline_internal.known_image(audited, NULL, 'o%2$s')),
        threadline_internal.known_update_rows(audited)),
      'record_inserts', threadline_internal.record_known_rows(audited, $$'insert'$$,
        threadline_internal.known_key(audited, 'n%2$s'),
        format('(%s)::text', threadline_internal.known_key(audited, 'o%2$s')),
        'u.image', 'NULL', threadline_internal.known_update_rows(audited)))) END
$function$;
COMMENT ON FUNCTION threadline_internal.capture_all_known_rows(threadline.audited_tables, text) IS
  'PL/pgSQL that records the rows of a statement.';

-- Returns the condition that all rows of a transition table fit into JSON.
CREATE FUNCTION threadline_internal.all_known_to_fit(audited threadline.audited_tables, rows text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format(' AND NOT EXISTS (SELECT FROM %I AS r WHERE NOT (%s))', rows, f.fit)
    FROM threadline_internal.known_to_fit(audited, 'r.%I') AS f (fit) WHERE f.fit IS NOT NULL
$function$;
COMMENT ON FUNCTION threadline_internal.all_known_to_fit(threadline.audited_tables, text) IS
  'SQL condition that all written rows fit into JSON; NULL if every row does.';

-- Returns PL/pgSQL that captures the rows of a statement, and returns. Most statements write one row, which is recorded
-- in the same way as with capture per row. The code falls through if a row does not fit into JSON, or if the key of the
-- only row changed. A query has at most 1664 columns, and the query for an update contains those of the table twice.
CREATE FUNCTION threadline_internal.capture_known_rows(audited threadline.audited_tables, event text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$  IF {known} THEN
    SELECT {key}, {image}{changes}, EXISTS (SELECT FROM {transition} OFFSET 1)
      INTO known_key, known_image{change_variables}, many FROM {rows} LIMIT 1;
    IF NOT many AND known_image IS NOT NULL{is_update} THEN
{record}      RETURN NULL;
    ELSIF many IS NULL{is_no_update} THEN
      RETURN NULL;
    ELSIF many{fit} THEN
      {record_all}
      RETURN NULL;
    END IF;
  END IF;
$sql$, jsonb_build_object(
    'known', threadline_internal.columns_are_known(audited),
    'key', threadline_internal.known_key(audited, row || '.%I'),
    'image', format(CASE WHEN fit IS NULL THEN '%2$s' ELSE 'CASE WHEN %1$s THEN %2$s END' END, fit,
      threadline_internal.known_image(audited, row || '.*', row || '.%I')),
    'transition', CASE event WHEN 'delete' THEN 'old_rows' ELSE 'new_rows' END,
    'rows', CASE event WHEN 'insert' THEN 'new_rows AS n' WHEN 'delete' THEN 'old_rows AS o'
      ELSE 'old_rows AS o, new_rows AS n' END,
    'changes', CASE event WHEN 'update' THEN format(E',\n      %s, %s',
        format(CASE WHEN fit IS NULL THEN '%2$s' ELSE 'CASE WHEN %1$s THEN %2$s END' END, fit,
          threadline_internal.known_changes(audited, 'o.%I', 'n.%I')),
        threadline_internal.known_key_changed(audited, 'o.%I', 'n.%I')) END,
    'change_variables', CASE event WHEN 'update' THEN ', known_changes, key_changed' END,
    'is_update', CASE event WHEN 'update' THEN $$ AND known_changes <> '' AND NOT key_changed$$ END,
    'is_no_update', CASE event WHEN 'update' THEN $$ OR NOT many AND known_changes = ''$$ END,
    'record', threadline_internal.record_known_row(audited, event, 'known_key',
      CASE WHEN event <> 'delete' THEN 'known_image' END,
      CASE event WHEN 'delete' THEN 'known_image' WHEN 'update' THEN $$concat('{', known_changes, '}')::jsonb$$ END),
    'fit', concat(CASE WHEN event <> 'insert' THEN threadline_internal.all_known_to_fit(audited, 'old_rows') END,
      CASE WHEN event <> 'delete' THEN threadline_internal.all_known_to_fit(audited, 'new_rows') END,
      CASE WHEN cardinality(threadline_internal.compared_columns(audited)) > 800 THEN ' AND false' END),
    'record_all', threadline_internal.capture_all_known_rows(audited, event)))
    FROM (SELECT CASE event WHEN 'delete' THEN 'o' ELSE 'n' END AS row) AS r
   CROSS JOIN LATERAL (SELECT nullif(concat_ws(' AND ',
       CASE WHEN event <> 'insert' THEN threadline_internal.known_to_fit(audited, 'o.%I') END,
       CASE WHEN event <> 'delete' THEN threadline_internal.known_to_fit(audited, 'n.%I') END), '')) AS f (fit)
$function$;
COMMENT ON FUNCTION threadline_internal.capture_known_rows(threadline.audited_tables, text) IS
  'PL/pgSQL that records the rows of a statement whose columns are known.';
