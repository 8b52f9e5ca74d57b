CREATE TABLE threadline.audit_actions (
  id             uuid        PRIMARY KEY,
  name           text        NOT NULL CHECK (name ~ '^[a-z0-9_]+([.][a-z0-9_]+)+$'),
  occurred_at    timestamptz NOT NULL,
  actor_ref      jsonb       NOT NULL,
  on_behalf_of   jsonb,
  status         text        NOT NULL CHECK (status IN ('error', 'ok')),
  reason         text,
  comment        text,
  correlation_id text,
  request_id     text,
  job_id         text,
  meta           jsonb,
  transaction_id uuid        NOT NULL
);
CREATE INDEX audit_actions_transaction_id_idx ON threadline.audit_actions (transaction_id);
COMMENT ON INDEX threadline.audit_actions_transaction_id_idx IS 'The actions of a transaction.';
COMMENT ON TABLE threadline.audit_actions IS
  'Actions that someone performed, in business terms. A transaction may record several.';
COMMENT ON COLUMN threadline.audit_actions.id IS 'Identity of the action (UUID version 7).';
COMMENT ON COLUMN threadline.audit_actions.name IS 'Name of the action, as category.verb.';
COMMENT ON COLUMN threadline.audit_actions.occurred_at IS 'When the action was recorded.';
COMMENT ON COLUMN threadline.audit_actions.actor_ref IS 'Who performed the action, as {"type": "user", "id": "123"}.';
COMMENT ON COLUMN threadline.audit_actions.on_behalf_of IS
  'For whom the actor acted, in the same form; NULL if the actor acted for nobody else.';
COMMENT ON COLUMN threadline.audit_actions.status IS 'Outcome of the action: ok or error.';
COMMENT ON COLUMN threadline.audit_actions.reason IS 'Why the action was performed.';
COMMENT ON COLUMN threadline.audit_actions.comment IS 'A comment for human readers.';
COMMENT ON COLUMN threadline.audit_actions.correlation_id IS 'Links the actions of one business process.';
COMMENT ON COLUMN threadline.audit_actions.request_id IS 'The request that caused the action.';
COMMENT ON COLUMN threadline.audit_actions.job_id IS 'The background job that caused the action.';
COMMENT ON COLUMN threadline.audit_actions.meta IS 'Additional JSON data from the application.';
COMMENT ON COLUMN threadline.audit_actions.transaction_id IS
  'The audit_transactions row of the transaction that recorded the action. That transaction may contain no changes.';
CREATE INDEX audit_actions_correlation_id_idx ON threadline.audit_actions (correlation_id, transaction_id)
  WHERE correlation_id IS NOT NULL;
COMMENT ON INDEX threadline.audit_actions_correlation_id_idx IS
  'The actions of a business process, by the start time of their transactions.';
CREATE INDEX audit_actions_name_idx ON threadline.audit_actions (name, transaction_id);
COMMENT ON INDEX threadline.audit_actions_name_idx IS
  'The actions with a name, by the start time of their transactions.';
CREATE INDEX audit_actions_actor_ref_idx ON threadline.audit_actions (actor_ref, transaction_id);
COMMENT ON INDEX threadline.audit_actions_actor_ref_idx IS
  'The actions of an actor, by the start time of their transactions.';
CREATE INDEX audit_actions_on_behalf_of_idx ON threadline.audit_actions (on_behalf_of, transaction_id)
  WHERE on_behalf_of IS NOT NULL;
COMMENT ON INDEX threadline.audit_actions_on_behalf_of_idx IS
  'The actions on behalf of someone, by the start time of their transactions.';
CREATE INDEX audit_actions_name_id_idx ON threadline.audit_actions (name, id);
COMMENT ON INDEX threadline.audit_actions_name_id_idx IS 'The actions with a name, by the time they were recorded.';
CREATE INDEX audit_actions_actor_ref_id_idx ON threadline.audit_actions (actor_ref, id);
COMMENT ON INDEX threadline.audit_actions_actor_ref_id_idx IS
  'The actions of an actor, by the time they were recorded.';
CREATE INDEX audit_actions_correlation_id_id_idx ON threadline.audit_actions (correlation_id, id)
  WHERE correlation_id IS NOT NULL;
COMMENT ON INDEX threadline.audit_actions_correlation_id_id_idx IS
  'The actions of a business process, by the time they were recorded.';
