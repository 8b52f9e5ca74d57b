-- Long work that a release brings, such as filling a new column. The migration only notes it here, for a migration is
-- one transaction; threadline.upgrade_step does it in small ones.
CREATE TABLE threadline_internal.upgrade_steps (
  name         text        PRIMARY KEY,
  noted_at     timestamptz NOT NULL DEFAULT now(),
  position     jsonb       NOT NULL DEFAULT '{}',
  rows_done    bigint      NOT NULL DEFAULT 0,
  row_estimate bigint      NOT NULL,
  ended_at     timestamptz
);
COMMENT ON TABLE threadline_internal.upgrade_steps IS
  'The long work of upgrades, and how far it has come; see threadline.upgrade_step.';
COMMENT ON COLUMN threadline_internal.upgrade_steps.name IS
  'The function of this schema that does a batch of it, such as upgrade_0_2_origin.';
COMMENT ON COLUMN threadline_internal.upgrade_steps.noted_at IS
  'When its migration ran. What was noted first is done first.';
COMMENT ON COLUMN threadline_internal.upgrade_steps.position IS 'Where the next batch begins, as its function says.';
COMMENT ON COLUMN threadline_internal.upgrade_steps.rows_done IS 'How many rows its batches have gone past.';
COMMENT ON COLUMN threadline_internal.upgrade_steps.row_estimate IS 'About how many there were when it was noted.';
COMMENT ON COLUMN threadline_internal.upgrade_steps.ended_at IS 'When its last batch was done; NULL before that.';
