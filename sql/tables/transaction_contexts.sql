-- Most transactions are found by the indexes of audit_transactions. The others are found here as well, so that what few
-- of them need is paid for by few: they have changes of nested audited transactions, or were made on behalf of someone.
CREATE TABLE threadline_internal.transaction_contexts (
  transaction_id uuid  NOT NULL,
  digest         bytea NOT NULL,
  actor_ref      jsonb,
  on_behalf_of   jsonb,
  correlation_id text,
  PRIMARY KEY (transaction_id, digest)
);
CREATE INDEX transaction_contexts_actor_ref_idx ON threadline_internal.transaction_contexts (actor_ref, transaction_id)
  WHERE actor_ref IS NOT NULL;
CREATE INDEX transaction_contexts_on_behalf_of_idx ON threadline_internal.transaction_contexts (on_behalf_of,
  transaction_id) WHERE on_behalf_of IS NOT NULL;
CREATE INDEX transaction_contexts_correlation_id_idx ON threadline_internal.transaction_contexts (correlation_id,
  transaction_id) WHERE correlation_id IS NOT NULL;
COMMENT ON INDEX threadline_internal.transaction_contexts_actor_ref_idx IS
  'The transactions in which an actor made a nested one, by the time they began.';
COMMENT ON INDEX threadline_internal.transaction_contexts_on_behalf_of_idx IS
  'The transactions that were for someone, or have a nested one that was, by the time they began.';
COMMENT ON INDEX threadline_internal.transaction_contexts_correlation_id_idx IS
  'The transactions in which a business process had a nested one, by the time they began.';
COMMENT ON TABLE threadline_internal.transaction_contexts IS
  'Contexts that transactions are found by, beside the columns of audit_transactions: those of nested audited '
  'transactions, and those on behalf of someone.';
COMMENT ON COLUMN threadline_internal.transaction_contexts.transaction_id IS
  'The audit_transactions row of the transaction.';
COMMENT ON COLUMN threadline_internal.transaction_contexts.digest IS
  'SHA-256 of the other columns, so that a context stands here once a transaction.';
COMMENT ON COLUMN threadline_internal.transaction_contexts.actor_ref IS 'Who acted.';
COMMENT ON COLUMN threadline_internal.transaction_contexts.on_behalf_of IS 'For whom the actor acted.';
COMMENT ON COLUMN threadline_internal.transaction_contexts.correlation_id IS 'The business process it belongs to.';
