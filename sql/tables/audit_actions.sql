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
  'What someone did, in the words of the business; several per transaction are fine.';
COMMENT ON COLUMN threadline.audit_actions.id IS 'Identity of the action (UUID version 7).';
COMMENT ON COLUMN threadline.audit_actions.name IS 'What was done, as category.verb.';
COMMENT ON COLUMN threadline.audit_actions.occurred_at IS 'When it was recorded.';
COMMENT ON COLUMN threadline.audit_actions.actor_ref IS 'Who did it, as {"type": "user", "id": "123"}.';
COMMENT ON COLUMN threadline.audit_actions.on_behalf_of IS
  'For whom the actor acted, in the same form; NULL when for nobody else.';
COMMENT ON COLUMN threadline.audit_actions.status IS 'How it ended: ok or error.';
COMMENT ON COLUMN threadline.audit_actions.reason IS 'Why it was done.';
COMMENT ON COLUMN threadline.audit_actions.comment IS 'A remark for people.';
COMMENT ON COLUMN threadline.audit_actions.correlation_id IS 'Ties together the actions of one business process.';
COMMENT ON COLUMN threadline.audit_actions.request_id IS 'The request that caused it.';
COMMENT ON COLUMN threadline.audit_actions.job_id IS 'The background job that caused it.';
COMMENT ON COLUMN threadline.audit_actions.meta IS 'Whatever else the application said, as JSON.';
COMMENT ON COLUMN threadline.audit_actions.transaction_id IS
  'The audit_transactions row of the transaction it was recorded in, which may hold nothing else.';
CREATE INDEX audit_actions_correlation_id_idx ON threadline.audit_actions (correlation_id, transaction_id)
  WHERE correlation_id IS NOT NULL;
COMMENT ON INDEX threadline.audit_actions_correlation_id_idx IS
  'The actions of a business process, by the time their transactions began.';
CREATE INDEX audit_actions_name_idx ON threadline.audit_actions (name, transaction_id);
COMMENT ON INDEX threadline.audit_actions_name_idx IS 'The actions of a name, by the time their transactions began.';
CREATE INDEX audit_actions_actor_ref_idx ON threadline.audit_actions (actor_ref, transaction_id);
COMMENT ON INDEX threadline.audit_actions_actor_ref_idx IS
  'The actions of an actor, by the time their transactions began.';
CREATE INDEX audit_actions_on_behalf_of_idx ON threadline.audit_actions (on_behalf_of, transaction_id)
  WHERE on_behalf_of IS NOT NULL;
COMMENT ON INDEX threadline.audit_actions_on_behalf_of_idx IS
  'The actions that were for someone, by the time their transactions began.';
CREATE INDEX audit_actions_name_id_idx ON threadline.audit_actions (name, id);
COMMENT ON INDEX threadline.audit_actions_name_id_idx IS 'The actions of a name, by the time they were recorded.';
CREATE INDEX audit_actions_actor_ref_id_idx ON threadline.audit_actions (actor_ref, id);
COMMENT ON INDEX threadline.audit_actions_actor_ref_id_idx IS
  'The actions of an actor, by the time they were recorded.';
CREATE INDEX audit_actions_correlation_id_id_idx ON threadline.audit_actions (correlation_id, id)
  WHERE correlation_id IS NOT NULL;
COMMENT ON INDEX threadline.audit_actions_correlation_id_id_idx IS
  'The actions of a business process, by the time they were recorded.';
