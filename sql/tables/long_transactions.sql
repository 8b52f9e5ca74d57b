-- The law of time asks which transactions straddle a moment: begun by then, with a change after it. Nearly all end soon
-- after they began, and are found among those that began just before. The others are noted here while they go on.
CREATE TABLE threadline_internal.long_transactions (
  duration_class         smallint    NOT NULL,
  occurred_at    timestamptz NOT NULL,
  transaction_id uuid        NOT NULL,
  PRIMARY KEY (duration_class, occurred_at, transaction_id)
);
COMMENT ON TABLE threadline_internal.long_transactions IS
  'Transactions with a change 125 ms or more after they began; once more each time the time since then has doubled.';
COMMENT ON COLUMN threadline_internal.long_transactions.duration_class IS
  'A change was captured less than 2^duration_class * 125 ms after the transaction began, and no less than half of '
  'that.';
COMMENT ON COLUMN threadline_internal.long_transactions.occurred_at IS 'When the transaction began.';
COMMENT ON COLUMN threadline_internal.long_transactions.transaction_id IS
  'The audit_transactions row of the transaction.';
