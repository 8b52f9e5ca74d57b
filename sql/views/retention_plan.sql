CREATE VIEW threadline.retention_plan AS
SELECT r.partition, r.table_schema, r.table_name, r.retention_cutoff, r.is_dropped, r.changes, r.kept
  FROM threadline_internal.retention_plan() AS r;
COMMENT ON VIEW threadline.retention_plan IS
  'What a purge would remove now, by partition and table. It reads the changes to count them.';
COMMENT ON COLUMN threadline.retention_plan.partition IS 'The partition, without its schema.';
COMMENT ON COLUMN threadline.retention_plan.table_schema IS 'Schema of the table.';
COMMENT ON COLUMN threadline.retention_plan.table_name IS 'Name of the table.';
COMMENT ON COLUMN threadline.retention_plan.retention_cutoff IS 'A purge removes changes from before this time.';
COMMENT ON COLUMN threadline.retention_plan.is_dropped IS
  'Whether the partition is dropped as a whole, instead of deleting its changes in batches.';
COMMENT ON COLUMN threadline.retention_plan.changes IS 'Number of changes that a purge removes.';
COMMENT ON COLUMN threadline.retention_plan.kept IS
  'Number of changes of the table that stay in this partition: newer ones, and those under a legal hold.';
