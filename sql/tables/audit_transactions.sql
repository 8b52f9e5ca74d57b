CREATE TABLE threadline.audit_transactions (
  id               uuid        PRIMARY KEY,
  txid             xid8        NOT NULL,
  occurred_at      timestamptz NOT NULL,
  actor_ref        jsonb,
  on_behalf_of     jsonb,
  source           text,
  correlation_id   text,
  request_id       text,
  job_id           text,
  remote_ip        inet,
  meta             jsonb,
  database_role    text        NOT NULL,
  application_name text,
  duration_class           smallint    NOT NULL DEFAULT 0
);
COMMENT ON TABLE threadline.audit_transactions IS
  'The database transactions that changed audited rows or recorded an action, with actor and context.';
COMMENT ON COLUMN threadline.audit_transactions.id IS 'Identity of the transaction (UUID version 7).';
COMMENT ON COLUMN threadline.audit_transactions.txid IS
  'Transaction id assigned by the server. Unique only together with occurred_at, because ids start again in a restored '
  'cluster.';
COMMENT ON COLUMN threadline.audit_transactions.occurred_at IS 'When the transaction began (transaction_timestamp).';
COMMENT ON COLUMN threadline.audit_transactions.actor_ref IS
  'Who acted, as {"type": "user", "id": "123"}; NULL if no actor was set.';
COMMENT ON COLUMN threadline.audit_transactions.on_behalf_of IS
  'For whom the actor acted, in the same form; NULL if the actor acted for nobody else.';
COMMENT ON COLUMN threadline.audit_transactions.source IS
  'Origin of the work: the name of an application, route or command.';
COMMENT ON COLUMN threadline.audit_transactions.correlation_id IS 'Links the transactions of one business process.';
COMMENT ON COLUMN threadline.audit_transactions.request_id IS 'The request that caused the transaction.';
COMMENT ON COLUMN threadline.audit_transactions.job_id IS 'The background job that caused the transaction.';
COMMENT ON COLUMN threadline.audit_transactions.remote_ip IS 'Address of the client that requested the work.';
COMMENT ON COLUMN threadline.audit_transactions.meta IS 'Additional JSON data from the application.';
COMMENT ON COLUMN threadline.audit_transactions.database_role IS
  'The role that wrote (including SET ROLE), so that a manual change can also be attributed.';
COMMENT ON COLUMN threadline.audit_transactions.application_name IS 'application_name of the session that wrote.';
COMMENT ON COLUMN threadline.audit_transactions.duration_class IS
  'The highest duration class of this transaction in long_transactions, if recorded; 0 if there is none.';
CREATE INDEX audit_transactions_actor_ref_idx ON threadline.audit_transactions (actor_ref, id)
  WHERE actor_ref IS NOT NULL;
COMMENT ON INDEX threadline.audit_transactions_actor_ref_idx IS 'The transactions of an actor, by the time they began.';
CREATE INDEX audit_transactions_correlation_id_idx ON threadline.audit_transactions (correlation_id, id)
  WHERE correlation_id IS NOT NULL;
COMMENT ON INDEX threadline.audit_transactions_correlation_id_idx IS
  'The transactions of a business process, by the time they began.';
