-- Two lists of changes that take effect after $2. In the first, captured_at adds nothing to what the ids say; it leaves
-- out older partitions, and bounds the search in the key indexes. The hour is for clocks that were set back: what such a
-- transaction wrote must not count by half. It stands in a sub-select, so that it is not held against statistics that
-- end before it: those would tell the planner of no changes, and make it join row by row.
-- A snapshot is no event: nothing happened to the row when it was recorded.
CREATE FUNCTION threadline_internal.later_changes(audited threadline.audited_tables, columns text, condition text) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT ARRAY[
    format('SELECT %sFROM threadline.audit_changes AS c
         WHERE c.table_id OPERATOR(pg_catalog.=) %s AND c.transaction_id OPERATOR(pg_catalog.>=) threadline.first_id_after($2)
           AND c.captured_at OPERATOR(pg_catalog.>) (SELECT $2 OPERATOR(pg_catalog.-) ''1 hour''::pg_catalog.interval)
           AND c.op OPERATOR(pg_catalog.<>) ''snapshot''%s', columns || ' ', audited.id, ' AND ' || condition),
    format('SELECT %sFROM threadline_internal.straddling_changes(%s, $2) AS c WHERE c.op OPERATOR(pg_catalog.<>) ''snapshot''%s', columns || ' ', audited.id, ' AND ' || condition)]
$function$;
COMMENT ON FUNCTION threadline_internal.later_changes(threadline.audited_tables, text, text) IS
  'SQL for the changes of a table that take effect after $2: those of transactions that began since, and straddling ones.';

-- as_of(NULL::t, time): the rows of a table with a key. Which values of a column are asked for reaches the index of the
-- live table, and for the columns of the key that of the audit log as well. Where equal keys can be different texts, changes
-- are of one row if their keys are equal.
CREATE FUNCTION threadline_internal.as_of_by_key(audited threadline.audited_tables, live_rows text, before text, check_past text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('SELECT %1$s
  FROM %2$s AS t
 WHERE %3$s
   AND NOT EXISTS (%4$s)
   AND NOT EXISTS (%5$s)
UNION ALL
SELECT %6$s
  FROM (SELECT DISTINCT ON (%7$s) c.%12$s, c.id, c.op, c.data_after, c.changed_from
          FROM (%8$s
         UNION ALL
         %9$s) AS c
         ORDER BY %7$s, c.id) AS c
 CROSS JOIN LATERAL threadline.row_of(NULL::%10$s, %11$s, c.id) AS r
 WHERE c.op OPERATOR(pg_catalog.<>) ''insert'' AND %3$s',
      threadline_internal.past_columns(audited, true), live_rows, check_past, written[1], written[2],
      -- Of a numeric, the key has lost the trailing zeros.
      (SELECT string_agg(CASE WHEN k.exact AND y.typoutput <> 'numeric_out'::regproc THEN k.recorded ELSE format('r.%I', a.attname) END
                         || format(' AS %I', a.attname), ', ' ORDER BY a.attnum)
         FROM pg_attribute AS a
         JOIN pg_type AS y ON y.oid = a.atttypid
         LEFT JOIN threadline_internal.recorded_key_columns(audited) AS k ON k.name = a.attname
        WHERE a.attrelid = audited.relation AND a.attnum > 0 AND NOT a.attisdropped),
      CASE WHEN exact THEN 'c.' || key_column ELSE typed_key END, images[1], images[2], audited.relation, before, key_column)
    FROM (SELECT 'key_' || audited.key_type AS key_column, bool_and(k.exact) AS exact,
                 string_agg(format(CASE WHEN k.text_collation IS NULL THEN '%s' ELSE '(%s COLLATE %s)' END, k.recorded, k.text_collation), ', ') AS typed_key,
                 string_agg(format(CASE WHEN k.text_collation IS NULL THEN '%1$s %2$s t.%3$I' ELSE '%1$s %2$s (t.%3$I COLLATE %4$s)' END,
                                   k.recorded, k.equals, k.name, k.text_collation), ' AND ') AS equality
            FROM threadline_internal.recorded_key_columns(audited) AS k) AS k
   CROSS JOIN LATERAL threadline_internal.later_changes(audited, NULL, equality) AS written
   CROSS JOIN LATERAL threadline_internal.later_changes(audited, format('c.%s, c.id, c.op, c.data_after, c.changed_from', key_column),
                                               format('c.%s IS NOT NULL', key_column)) AS images
$function$;
COMMENT ON FUNCTION threadline_internal.as_of_by_key(threadline.audited_tables, text, text, text) IS
  'SQL for the rows that a table with a primary key had at a time.';

-- Without a key, rows have no identity, but there are as many of each as there must be: the live ones, and what
-- later changes took away, less what they brought. Every live row is turned into JSON for it.
CREATE FUNCTION threadline_internal.as_of_by_count(audited threadline.audited_tables, live_rows text, before text, after text, check_past text)
RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('SELECT r.*
  FROM (SELECT pg_catalog.sum(u.n) AS n, pg_catalog.array_agg(u.record) FILTER (WHERE u.n OPERATOR(pg_catalog.>) 0) AS records
          FROM (SELECT ROW(%1$s)::%2$s AS record, 1 AS n
                  FROM (SELECT %10$s FROM %3$s AS t WHERE %4$s) AS l
                UNION ALL
                SELECT ROW(%11$s)::%2$s, 1
                  FROM (%5$s
         UNION ALL
         %6$s) AS c
                 CROSS JOIN LATERAL threadline.row_of(NULL::%2$s, %7$s, c.id) AS r
                 WHERE c.op OPERATOR(pg_catalog.<>) ''insert''
                UNION ALL
                SELECT ROW(%11$s)::%2$s, -1
                  FROM (%5$s
         UNION ALL
         %6$s) AS c
                 CROSS JOIN LATERAL threadline.row_of(NULL::%2$s, %8$s, c.id) AS r
                 WHERE c.data_after IS NOT NULL) AS u
         GROUP BY pg_catalog.to_jsonb(u.record)
        HAVING pg_catalog.sum(u.n) OPERATOR(pg_catalog.<>) 0) AS g
 CROSS JOIN LATERAL pg_catalog.unnest(CASE WHEN g.n OPERATOR(pg_catalog.>) 0 THEN g.records[1:g.n::pg_catalog.int4]
   ELSE threadline_internal.raise_no_value(NULL::%2$s[], %9$L, g.n::pg_catalog.int8) END) AS r',
      (SELECT string_agg(format('l.%I', a.attname), ', ' ORDER BY a.attnum)
         FROM pg_attribute AS a WHERE a.attrelid = audited.relation AND a.attnum > 0 AND NOT a.attisdropped),
      audited.relation, live_rows, check_past, images[1], images[2], before, after,
      format('the audit log of %s took in rows that the table does not have (%%s)', replace(audited.relation::text, '%', '%%')),
      threadline_internal.past_columns(audited, true),
      (SELECT string_agg(format('r.%I', a.attname), ', ' ORDER BY a.attnum)
         FROM pg_attribute AS a WHERE a.attrelid = audited.relation AND a.attnum > 0 AND NOT a.attisdropped))
    FROM threadline_internal.later_changes(audited, 'c.id, c.op, c.data_after, c.changed_from', NULL) AS images
$function$;
COMMENT ON FUNCTION threadline_internal.as_of_by_count(threadline.audited_tables, text, text, text, text) IS
  'SQL for the rows that a table without a primary key had at a time.';
