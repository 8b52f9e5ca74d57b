-- The indexes of audit_transactions find most transactions. The others, which contain changes of nested audited
-- transactions or were made on behalf of someone, also have rows here, so that only these few transactions pay for what
-- few of them need.
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
  'The transactions in which an actor ran a nested transaction, by the time they began.';
COMMENT ON INDEX threadline_internal.transaction_contexts_on_behalf_of_idx IS
  'The transactions on behalf of someone, or with a nested one on behalf of someone, by the time they began.';
COMMENT ON INDEX threadline_internal.transaction_contexts_correlation_id_idx IS
  'The transactions in which a business process ran a nested transaction, by the time they began.';
COMMENT ON TABLE threadline_internal.transaction_contexts IS
  'Contexts by which transactions are found, in addition to the columns of audit_transactions: contexts of nested '
  'audited transactions, and contexts on behalf of someone.';
COMMENT ON COLUMN threadline_internal.transaction_contexts.transaction_id IS
  'The audit_transactions row of the transaction.';
COMMENT ON COLUMN threadline_internal.transaction_contexts.digest IS
  'SHA-256 of the other columns, so that each context has one row per transaction.';
COMMENT ON COLUMN threadline_internal.transaction_contexts.actor_ref IS 'Who acted.';
COMMENT ON COLUMN threadline_internal.transaction_contexts.on_behalf_of IS 'For whom the actor acted.';
COMMENT ON COLUMN threadline_internal.transaction_contexts.correlation_id IS
  'The business process that the context belongs to.';
