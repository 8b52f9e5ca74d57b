-- Long-running work of a release, such as filling a new column. A migration is one transaction, so it only registers
-- the work here. threadline.upgrade_step performs it in small transactions.
CREATE TABLE threadline_internal.upgrade_steps (
  name         text        PRIMARY KEY,
  noted_at     timestamptz NOT NULL DEFAULT now(),
  position     jsonb       NOT NULL DEFAULT '{}',
  rows_done    bigint      NOT NULL DEFAULT 0,
  row_estimate bigint      NOT NULL,
  ended_at     timestamptz
);
COMMENT ON TABLE threadline_internal.upgrade_steps IS
  'Long-running work of upgrades, with its progress; see threadline.upgrade_step.';
COMMENT ON COLUMN threadline_internal.upgrade_steps.name IS
  'The function of this schema that processes one batch, such as upgrade_0_2_origin.';
COMMENT ON COLUMN threadline_internal.upgrade_steps.noted_at IS 'When the migration ran. Steps run in this order.';
COMMENT ON COLUMN threadline_internal.upgrade_steps.position IS
  'Where the next batch begins, in the format of the function.';
COMMENT ON COLUMN threadline_internal.upgrade_steps.rows_done IS 'Number of rows that the batches have processed.';
COMMENT ON COLUMN threadline_internal.upgrade_steps.row_estimate IS
  'Estimated number of rows when the step was registered.';
COMMENT ON COLUMN threadline_internal.upgrade_steps.ended_at IS 'When the last batch was done; NULL until then.';
