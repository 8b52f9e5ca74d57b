CREATE VIEW threadline.storage_usage (table_name, changes_from, changes_before, row_estimate, total_bytes) AS
SELECT c.relname::text, CASE WHEN isfinite(p.lower_bound) THEN p.lower_bound END,
       CASE WHEN isfinite(p.upper_bound) THEN p.upper_bound END,
       threadline_internal.row_estimate(c.oid), pg_total_relation_size(c.oid)
  FROM pg_class AS c
  LEFT JOIN threadline_internal.partitions() AS p ON p.name = c.relname
 WHERE c.relnamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace) AND c.relkind = 'r'
 ORDER BY 2 NULLS FIRST, 1;
COMMENT ON VIEW threadline.storage_usage IS
  'Each table and partition of the audit log, with the time range of its changes, its estimated number of rows, and '
  'its size in bytes including indexes.';
COMMENT ON COLUMN threadline.storage_usage.table_name IS 'Name of the table or partition.';
COMMENT ON COLUMN threadline.storage_usage.changes_from IS
  'Start of the month whose changes the partition contains; NULL if it is not a monthly partition.';
COMMENT ON COLUMN threadline.storage_usage.changes_before IS 'End of that month.';
COMMENT ON COLUMN threadline.storage_usage.row_estimate IS 'Estimated number of rows.';
COMMENT ON COLUMN threadline.storage_usage.total_bytes IS 'Size on disk in bytes, including indexes.';
