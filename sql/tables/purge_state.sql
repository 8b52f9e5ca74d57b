-- What the steps of a purge hand on from one to the next, as JSON between the calls of threadline.purge_step.
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
COMMENT ON TYPE threadline_internal.purge_state IS 'How far a purge has come, and what its last step did.';
COMMENT ON COLUMN threadline_internal.purge_state.partition IS 'The partition that is being purged.';
COMMENT ON COLUMN threadline_internal.purge_state.table_id IS
  'The table whose changes are being removed from the partition; NULL before the first batch.';
COMMENT ON COLUMN threadline_internal.purge_state.after IS
  'The time of the last change of that table that was removed.';
COMMENT ON COLUMN threadline_internal.purge_state.postponed IS
  'The partitions that were in use for too long to be dropped: this purge does not try them again.';
COMMENT ON COLUMN threadline_internal.purge_state.is_sweeping IS
  'Whether all partitions are done, and empty transactions are being removed.';
COMMENT ON COLUMN threadline_internal.purge_state.action_id IS
  'The action that the purge is recorded as; NULL before it has removed anything.';
COMMENT ON COLUMN threadline_internal.purge_state.step IS
  'What the step did: dropped, postponed, deleted, swept or done. Not handed on, nor is what follows.';
COMMENT ON COLUMN threadline_internal.purge_state.counts IS 'How many changes the step removed, by table.';
COMMENT ON COLUMN threadline_internal.purge_state.transactions IS 'How many transactions the step removed.';
