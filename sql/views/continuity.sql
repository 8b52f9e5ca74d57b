CREATE VIEW threadline.continuity AS
SELECT r.table_schema, r.table_name, r.state, r.capture_since, r.readable_since, r.row_estimate, r.baseline,
       r.baseline_rows, r.ready, r.message, r.hint
  FROM threadline_internal.continuity() AS r;
COMMENT ON VIEW threadline.continuity IS
  'Each table that is, was or could be audited: the time since which its past is known, and whether its earlier rows '
  'are recorded.';
COMMENT ON COLUMN threadline.continuity.table_schema IS 'Schema of the table.';
COMMENT ON COLUMN threadline.continuity.table_name IS 'Name of the table.';
COMMENT ON COLUMN threadline.continuity.state IS 'audited, ended or uncovered.';
COMMENT ON COLUMN threadline.continuity.capture_since IS
  'Every change from this time on was recorded; NULL if the table was never audited.';
COMMENT ON COLUMN threadline.continuity.readable_since IS
  'The earliest time as of which the table can be read; NULL unless the table is audited.';
COMMENT ON COLUMN threadline.continuity.row_estimate IS 'Estimated present number of rows, including partitions.';
COMMENT ON COLUMN threadline.continuity.baseline IS
  'Whether the rows that existed at readable_since are recorded: complete, none or partial; NULL unless the table is '
  'audited.';
COMMENT ON COLUMN threadline.continuity.baseline_rows IS
  'How many of those rows are recorded as snapshots; NULL without a baseline.';
COMMENT ON COLUMN threadline.continuity.ready IS
  'Whether the history of each row, the past of the table, and a baseline are available or possible.';
COMMENT ON COLUMN threadline.continuity.message IS 'What is known and what is not, in words.';
COMMENT ON COLUMN threadline.continuity.hint IS 'What to do about it.';
