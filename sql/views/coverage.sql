-- Excludes partitions, and the tables of the server, Threadline, Diesel and extensions.
CREATE VIEW threadline.coverage (table_schema, table_name, state, reason, granularity, capture_since) AS
SELECT n.nspname::text, c.relname::text,
       CASE WHEN a.id IS NOT NULL THEN 'audited' WHEN e.relation IS NOT NULL THEN 'exempt' ELSE 'uncovered' END,
       CASE WHEN a.id IS NULL THEN e.reason END, a.granularity, a.capture_since
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  LEFT JOIN threadline.audited_tables AS a ON a.relation = c.oid AND a.capture_ended_at IS NULL
    AND (c.relname = a.table_name OR threadline_internal.is_table_of(a))
  LEFT JOIN threadline.exempt_tables AS e ON e.relation = c.oid
    AND (c.relname = e.table_name OR threadline_internal.is_said_of(c.oid, e.table_schema, e.table_name, e.database))
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
   AND n.nspname NOT IN ('information_schema', 'threadline', 'threadline_internal')
   AND NOT starts_with(n.nspname::text, 'pg_')
   AND c.relname <> '__diesel_schema_migrations'
   AND NOT EXISTS (SELECT FROM pg_depend AS d
                    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY n.nspname, c.relname;
COMMENT ON VIEW threadline.coverage IS
  'Every table of the database, and whether it is audited, exempt (with the reason) or uncovered.';
COMMENT ON COLUMN threadline.coverage.table_schema IS 'Schema of the table.';
COMMENT ON COLUMN threadline.coverage.table_name IS 'Name of the table.';
COMMENT ON COLUMN threadline.coverage.state IS 'audited, exempt or uncovered.';
COMMENT ON COLUMN threadline.coverage.reason IS 'Why the table need not be audited; NULL unless the table is exempt.';
COMMENT ON COLUMN threadline.coverage.granularity IS
  'Whether capture runs once per row or once per statement; NULL unless the table is audited.';
COMMENT ON COLUMN threadline.coverage.capture_since IS
  'Every change from this time on is recorded; NULL unless the table is audited.';
