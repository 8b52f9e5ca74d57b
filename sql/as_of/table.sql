-- Returns the condition that a change belongs to the present history of a table; NULL if all changes do.
CREATE FUNCTION threadline_internal.of_this_history(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('c.definition_id OPERATOR(pg_catalog.>=) %s', audited.first_definition_id)
   WHERE EXISTS (SELECT FROM threadline.table_definitions AS d
                  WHERE d.table_id = audited.id AND d.id < audited.first_definition_id)
$function$;
COMMENT ON FUNCTION threadline_internal.of_this_history(threadline.audited_tables) IS
  'SQL condition that a change was recorded since the history of its table began.';

-- Returns two lists of changes that take effect after $2. In the first, captured_at adds nothing to the condition on
-- the ids: it excludes older partitions, and bounds the search in the key indexes. The hour is for clocks that were set
-- back, so that such a transaction does not count only in part. The bound is in a subselect, so that the planner does
-- not compare it with statistics that end before it: it would then expect no changes, and join row by row.
-- A snapshot is not an event: nothing happened to the row when it was recorded.
CREATE FUNCTION threadline_internal.later_changes(audited threadline.audited_tables, columns text, condition text)
RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT ARRAY[
      threadline_internal.render($sql$SELECT {columns}FROM threadline.audit_changes AS c
         WHERE c.table_id OPERATOR(pg_catalog.=) {table_id} AND {began_since}
           AND c.captured_at OPERATOR(pg_catalog.>) (SELECT $2 OPERATOR(pg_catalog.-) '1 hour'::pg_catalog.interval)
           AND {is_event}{of_history}{condition}$sql$, names),
      threadline_internal.render('SELECT {columns}FROM threadline_internal.straddling_changes({table_id}, $2) AS c '
        'WHERE {is_event}{of_history}{condition}', names)]
    FROM jsonb_build_object('columns', columns || ' ', 'table_id', audited.id, 'condition', ' AND ' || condition,
      'of_history', ' AND ' || threadline_internal.of_this_history(audited),
      'began_since', 'c.transaction_id OPERATOR(pg_catalog.>=) threadline.first_id_after($2)',
      'is_event', $sql$c.op OPERATOR(pg_catalog.<>) 'snapshot'$sql$) AS names
$function$;
COMMENT ON FUNCTION threadline_internal.later_changes(threadline.audited_tables, text, text) IS
  'SQL for the changes of a table that take effect after $2: those of transactions that began since, and of straddling '
  'ones.';

-- Returns as_of_N(NULL::t, time), which gives the rows of a table with a key. Conditions on a column can use the index
-- of the live table, and conditions on key columns also that of the audit log. If equal keys can have different texts,
-- changes belong to the same row if their keys are equal. The check that rejects an unreadable past is in a subselect,
-- so that it is called once, and not for each half.
CREATE FUNCTION threadline_internal.as_of_by_key(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$SELECT u.*
  FROM (SELECT {live_columns}
          FROM {live_rows} AS t
         WHERE NOT EXISTS ({later})
           AND NOT EXISTS ({straddling})
        UNION ALL
        SELECT {columns}
          FROM (SELECT DISTINCT ON ({key}) c.{key_column}, c.captured_at, c.id, c.definition_id, c.op, c.data_after,
                       c.changed_from
                  FROM ({later_images}
                 UNION ALL
                 {straddling_images}) AS c
                 ORDER BY {key}, c.captured_at, c.id) AS c
         CROSS JOIN LATERAL threadline_internal.row_of_{table_id}(NULL::{table}, {row_before}, c.id) AS r
         WHERE c.op OPERATOR(pg_catalog.<>) 'insert') AS u
 WHERE (SELECT {check_past})$sql$, jsonb_build_object(
    'table', audited.relation, 'table_id', audited.id,
    'live_columns', threadline_internal.past_columns(audited, true),
    'live_rows', threadline_internal.live_rows(audited.relation),
    'check_past', threadline_internal.check_past_condition(audited),
    'later', written[1], 'straddling', written[2],
    'columns', threadline_internal.as_of_key_columns(audited),
    'key', CASE WHEN k.exact THEN 'c.' || key_column ELSE k.typed_key END,
    'key_column', key_column,
    'later_images', images[1], 'straddling_images', images[2],
    'row_before', threadline_internal.row_before_expression(audited)))
    FROM (SELECT bool_and(k.exact) AS exact, string_agg(coalesce(
                   format('(%s COLLATE ', k.recorded) || k.text_collation || ')', k.recorded), ', ') AS typed_key,
                 string_agg(concat(k.recorded, ' ', k.equals, ' ', coalesce(
                   format('(%s COLLATE ', v.live) || k.text_collation || ')', v.live)), ' AND ') AS equality
            FROM threadline_internal.recorded_key_columns(audited) AS k
           CROSS JOIN LATERAL threadline_internal.recorded_value(audited, k.name, format('t.%I', k.name)) AS v (live)
         ) AS k
   CROSS JOIN concat('key_', audited.key_type) AS key_column
   CROSS JOIN LATERAL threadline_internal.later_changes(audited, NULL, k.equality) AS written
   CROSS JOIN LATERAL threadline_internal.later_changes(audited,
                format('c.%s, c.captured_at, c.id, c.definition_id, c.op, c.data_after, c.changed_from', key_column),
                format('c.%s IS NOT NULL', key_column)) AS images
$function$;
COMMENT ON FUNCTION threadline_internal.as_of_by_key(threadline.audited_tables) IS
  'SQL for the rows that a table with a primary key had at a time.';

-- Returns the columns of a row r of the past, with its key columns taken from the change c, so that conditions on them
-- can use the index. A numeric key has lost its trailing zeros.
CREATE FUNCTION threadline_internal.as_of_key_columns(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(format('%s AS %I', CASE WHEN k.exact AND y.typoutput <> 'numeric_out'::regproc THEN k.recorded
                      ELSE threadline_internal.column_with_gap(format('r.%I', c.name),
                        threadline_internal.type_name(c.type, c.typmod), g.converted_at, g.message, 'c.id') END,
                      c.name), ', ' ORDER BY c.number)
    FROM threadline_internal.columns_of(audited.relation) AS c
    JOIN pg_type AS y ON y.oid = c.type
    LEFT JOIN threadline_internal.recorded_key_columns(audited) AS k ON k.name = c.name
    LEFT JOIN threadline_internal.column_gaps(audited) AS g ON g.number = c.number
$function$;
COMMENT ON FUNCTION threadline_internal.as_of_key_columns(threadline.audited_tables) IS
  'SQL for the columns of a row of the past, with its key taken from the change.';

-- Returns the value that decides whether two rows of a table without a key are equal: their JSON, with types that have
-- a cast to json as text, as in images.
CREATE FUNCTION threadline_internal.compared_value(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN threadline_internal.has_text_columns(audited)
      THEN string_agg(format(CASE WHEN audited.definition -> 'text_columns' ? c.name
        THEN $$pg_catalog.format('%%L', (u.record).%I)$$ ELSE 'pg_catalog.to_jsonb((u.record).%I)' END, c.name), ', '
        ORDER BY c.number)
      ELSE 'pg_catalog.to_jsonb(u.record)' END
    FROM threadline_internal.columns_of(audited.relation) AS c
$function$;
COMMENT ON FUNCTION threadline_internal.compared_value(threadline.audited_tables) IS
  'SQL for the value by which rows of a table without a primary key are compared.';

-- Returns as_of_N(NULL::t, time) for a table without a key. Its rows have no identity, but the number of equal rows is
-- correct: the live ones, plus those that later changes removed, minus those that later changes added. This converts
-- every live row to JSON.
CREATE FUNCTION threadline_internal.as_of_by_count(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$SELECT {past_columns}
  FROM (SELECT pg_catalog.sum(u.n) AS n, {records} AS records
          FROM (SELECT ROW({columns_of_live})::{table} AS record, 1 AS n
                  FROM (SELECT {live_columns} FROM {live_rows} AS t WHERE {check_past}) AS l
                UNION ALL
                SELECT ROW({columns})::{table}, 1
                  FROM ({later_images}
         UNION ALL
         {straddling_images}) AS c
                 CROSS JOIN LATERAL threadline_internal.row_of_{table_id}(NULL::{table}, {row_before}, c.id) AS r
                 WHERE c.op OPERATOR(pg_catalog.<>) 'insert'
                UNION ALL
                SELECT ROW({columns})::{table}, -1
                  FROM ({later_images}
         UNION ALL
         {straddling_images}) AS c
                 CROSS JOIN LATERAL threadline_internal.row_of_{table_id}(NULL::{table}, {row_after}, c.id) AS r
                 WHERE c.data_after IS NOT NULL) AS u
         GROUP BY {compared}
        HAVING pg_catalog.sum(u.n) OPERATOR(pg_catalog.<>) 0) AS g
 CROSS JOIN LATERAL pg_catalog.unnest({records_or_error}) AS r$sql$, jsonb_build_object(
    'table', audited.relation, 'table_id', audited.id,
    'records', 'pg_catalog.array_agg(u.record) FILTER (WHERE u.n OPERATOR(pg_catalog.>) 0)',
    'past_columns', threadline_internal.columns_of_compared(audited, 'g.n::pg_catalog.int8'),
    'compared', threadline_internal.compared_value(audited),
    'columns_of_live', threadline_internal.compared_row(audited, 'l'),
    'columns', threadline_internal.compared_row(audited, 'r'),
    'live_columns', threadline_internal.past_columns(audited, true),
    'live_rows', threadline_internal.live_rows(audited.relation),
    'check_past', threadline_internal.check_past_condition(audited),
    'later_images', images[1], 'straddling_images', images[2],
    'row_before', threadline_internal.row_before_expression(audited),
    'row_after', threadline_internal.row_expression(audited, 'c.data_after'),
    'records_or_error', format('CASE WHEN g.n OPERATOR(pg_catalog.>) 0 THEN g.records[1:g.n::pg_catalog.int4]
   ELSE %s END', threadline_internal.no_value(audited.relation || '[]',
      replace(format('the audit log of %s took in rows that the table does not have', audited.relation), '%', '%%')
        || ' (%s)', 'g.n::pg_catalog.int8'))))
    FROM threadline_internal.later_changes(audited,
           'c.captured_at, c.id, c.definition_id, c.op, c.data_after, c.changed_from', NULL) AS images
$function$;
COMMENT ON FUNCTION threadline_internal.as_of_by_count(threadline.audited_tables) IS
  'SQL for the rows that a table without a primary key had at a time.';
