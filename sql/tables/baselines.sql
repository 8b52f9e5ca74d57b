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
  'Progress of recording snapshots of the rows that existed before capture of their table began; written by '
  'threadline.baseline_step.';
COMMENT ON COLUMN threadline.baselines.table_id IS 'The audited_tables row of the table.';
COMMENT ON COLUMN threadline.baselines.as_of IS
  'The moment that the snapshots describe: when capture began, or the time before which changes were removed from the '
  'audit log. A later moment needs another baseline.';
COMMENT ON COLUMN threadline.baselines.key_order IS
  'The key columns, in the order in which the table is scanned. If the order changes, the scan starts again.';
COMMENT ON COLUMN threadline.baselines.position IS 'The last key that was scanned, as JSON; NULL at the start.';
COMMENT ON COLUMN threadline.baselines.passed IS 'Number of rows scanned.';
COMMENT ON COLUMN threadline.baselines.recorded IS
  'Number of scanned rows for which a snapshot was recorded, which are the rows without a change.';
COMMENT ON COLUMN threadline.baselines.started_at IS 'When the first batch was recorded.';
COMMENT ON COLUMN threadline.baselines.finished_at IS 'When the last row was scanned; NULL until then.';
COMMENT ON COLUMN threadline.baselines.action_id IS 'The audit_actions row of the last run, with its actor and reason.';
