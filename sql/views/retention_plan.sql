CREATE VIEW threadline.retention_plan AS
SELECT r.partition, r.table_schema, r.table_name, r.retention_cutoff, r.is_dropped, r.changes, r.kept
  FROM threadline_internal.retention_plan() AS r;
COMMENT ON VIEW threadline.retention_plan IS
  'What a purge would remove now, by partition and table. It counts the changes, so it reads them.';
COMMENT ON COLUMN threadline.retention_plan.partition IS 'The partition, without its schema.';
COMMENT ON COLUMN threadline.retention_plan.table_schema IS 'The schema of the table.';
COMMENT ON COLUMN threadline.retention_plan.table_name IS 'The table.';
COMMENT ON COLUMN threadline.retention_plan.retention_cutoff IS 'A purge removes changes from before this time.';
COMMENT ON COLUMN threadline.retention_plan.is_dropped IS
  'Whether the partition is dropped as a whole; else changes are deleted in batches.';
COMMENT ON COLUMN threadline.retention_plan.changes IS 'How many changes a purge removes.';
COMMENT ON COLUMN threadline.retention_plan.kept IS
  'How many changes of the table stay in this partition: younger ones, and those under a legal hold.';
