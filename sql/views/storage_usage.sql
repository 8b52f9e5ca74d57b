CREATE VIEW threadline.storage_usage (table_name, changes_from, changes_before, row_estimate, total_bytes) AS
SELECT c.relname::text, CASE WHEN isfinite(p.lower_bound) THEN p.lower_bound END,
       CASE WHEN isfinite(p.upper_bound) THEN p.upper_bound END,
       threadline_internal.row_estimate(c.oid), pg_total_relation_size(c.oid)
  FROM pg_class AS c
  LEFT JOIN threadline_internal.partitions() AS p ON p.name = c.relname
 WHERE c.relnamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace) AND c.relkind = 'r'
 ORDER BY 2 NULLS FIRST, 1;
COMMENT ON VIEW threadline.storage_usage IS
  'Each table and partition of the audit log, with the times of the changes it holds, about how many rows, and the '
  'bytes it takes, indexes included.';
COMMENT ON COLUMN threadline.storage_usage.table_name IS 'Its name.';
COMMENT ON COLUMN threadline.storage_usage.changes_from IS
  'The start of the month whose changes it holds; NULL if it is not a monthly partition.';
COMMENT ON COLUMN threadline.storage_usage.changes_before IS 'The end of that month.';
COMMENT ON COLUMN threadline.storage_usage.row_estimate IS 'About how many rows it has.';
COMMENT ON COLUMN threadline.storage_usage.total_bytes IS 'Its size on disk in bytes, indexes included.';
