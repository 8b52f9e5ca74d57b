-- The state that each step of a purge passes to the next. It is JSON between the calls of threadline.purge_step.
CREATE TYPE threadline_internal.purge_state AS (
  partition    text,
  table_id     integer,
  after        timestamptz,
  postponed    text[],
  is_sweeping  boolean,
  action_id    uuid,
  step         text,
  counts       jsonb,
  transactions bigint
);
COMMENT ON TYPE threadline_internal.purge_state IS 'The progress of a purge, and the result of its last step.';
COMMENT ON COLUMN threadline_internal.purge_state.partition IS 'The partition that is being purged.';
COMMENT ON COLUMN threadline_internal.purge_state.table_id IS
  'The table whose changes are being removed from the partition; NULL before the first batch.';
COMMENT ON COLUMN threadline_internal.purge_state.after IS 'The time of the last removed change of that table.';
COMMENT ON COLUMN threadline_internal.purge_state.postponed IS
  'The partitions that were in use for too long to be dropped. This purge does not try them again.';
COMMENT ON COLUMN threadline_internal.purge_state.is_sweeping IS
  'Whether all partitions are done and empty transactions are being removed.';
COMMENT ON COLUMN threadline_internal.purge_state.action_id IS
  'The action that records the purge; NULL until the purge has removed something.';
COMMENT ON COLUMN threadline_internal.purge_state.step IS
  'What the step did: dropped, postponed, deleted, swept or done. This field and the ones below are not passed to the '
  'next step.';
COMMENT ON COLUMN threadline_internal.purge_state.counts IS 'Number of changes that the step removed, by table.';
COMMENT ON COLUMN threadline_internal.purge_state.transactions IS 'Number of transactions that the step removed.';
