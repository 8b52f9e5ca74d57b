CREATE TABLE threadline.baselines (
  table_id    integer     NOT NULL,
  as_of       timestamptz NOT NULL,
  key_order   text        NOT NULL,
  position    jsonb,
  passed      bigint      NOT NULL,
  recorded    bigint      NOT NULL,
  started_at  timestamptz NOT NULL,
  finished_at timestamptz,
  action_id   uuid        NOT NULL,
  PRIMARY KEY (table_id, as_of)
);
COMMENT ON TABLE threadline.baselines IS
  'How far the rows of a table that were there before its capture began are recorded as snapshots; written by '
  'threadline.baseline_step.';
COMMENT ON COLUMN threadline.baselines.table_id IS 'The audited_tables row of the table.';
COMMENT ON COLUMN threadline.baselines.as_of IS
  'What moment the snapshots are of: when capture began, or up to when older changes were removed from the audit '
  'log. A later one needs a baseline of its own.';
COMMENT ON COLUMN threadline.baselines.key_order IS
  'The key columns, in the order in which the table is gone through; under another one it is gone through again.';
COMMENT ON COLUMN threadline.baselines.position IS 'The last key that was gone past, as JSON; NULL at the beginning.';
COMMENT ON COLUMN threadline.baselines.passed IS 'How many rows were gone past.';
COMMENT ON COLUMN threadline.baselines.recorded IS
  'For how many of them a snapshot was recorded: for those without a change.';
COMMENT ON COLUMN threadline.baselines.started_at IS 'When the first batch was recorded.';
COMMENT ON COLUMN threadline.baselines.finished_at IS 'When the last row was gone past; NULL before.';
COMMENT ON COLUMN threadline.baselines.action_id IS 'The audit_actions row that tells who recorded it last, and why.';
