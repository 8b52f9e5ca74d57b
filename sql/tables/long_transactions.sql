-- Reads as of a moment need the transactions that straddle it, which began by then and made a change after it. Most
-- transactions end soon after they began, and are found among those that began just before the moment. This table
-- records the others while they run.
CREATE TABLE threadline_internal.long_transactions (
  duration_class         smallint    NOT NULL,
  occurred_at    timestamptz NOT NULL,
  transaction_id uuid        NOT NULL,
  PRIMARY KEY (duration_class, occurred_at, transaction_id)
);
COMMENT ON TABLE threadline_internal.long_transactions IS
  'Transactions with a change 125 ms or more after they began. A transaction gets one more row each time that duration '
  'doubles.';
COMMENT ON COLUMN threadline_internal.long_transactions.duration_class IS
  'A change was captured less than 2^duration_class * 125 ms after the transaction began, and at least half of that.';
COMMENT ON COLUMN threadline_internal.long_transactions.occurred_at IS 'When the transaction began.';
COMMENT ON COLUMN threadline_internal.long_transactions.transaction_id IS
  'The audit_transactions row of the transaction.';
