CREATE VIEW threadline.continuity AS
SELECT r.table_schema, r.table_name, r.state, r.capture_since, r.readable_since, r.row_estimate, r.baseline,
       r.baseline_rows, r.ready, r.message, r.hint
  FROM threadline_internal.continuity() AS r;
COMMENT ON VIEW threadline.continuity IS
  'Each table that is, was or could be audited: since when its past is known, and whether its earlier rows are '
  'recorded.';
COMMENT ON COLUMN threadline.continuity.table_schema IS 'Its schema.';
COMMENT ON COLUMN threadline.continuity.table_name IS 'Its name.';
COMMENT ON COLUMN threadline.continuity.state IS 'audited, ended or uncovered.';
COMMENT ON COLUMN threadline.continuity.capture_since IS
  'Every change from this time on was recorded; NULL unless it is or was audited.';
COMMENT ON COLUMN threadline.continuity.readable_since IS
  'The earliest time as of which it can be read; NULL unless it is audited.';
COMMENT ON COLUMN threadline.continuity.row_estimate IS 'About how many rows it has now, partitions included.';
COMMENT ON COLUMN threadline.continuity.baseline IS
  'Whether the rows that were there at readable_since are recorded: complete, none or partial; NULL unless it is '
  'audited.';
COMMENT ON COLUMN threadline.continuity.baseline_rows IS
  'How many of them are recorded as snapshots; NULL without a baseline.';
COMMENT ON COLUMN threadline.continuity.ready IS
  'Whether the history of each row, the past of the table and a baseline are known or possible.';
COMMENT ON COLUMN threadline.continuity.message IS 'What is known and what is not, in words.';
COMMENT ON COLUMN threadline.continuity.hint IS 'What to do about it.';
