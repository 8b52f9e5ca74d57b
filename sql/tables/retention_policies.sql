CREATE TABLE threadline.retention_policies (
  table_id     integer     PRIMARY KEY,
  keep         interval    CHECK (keep >= '1 day'),
  whole_months boolean     NOT NULL,
  set_at       timestamptz NOT NULL,
  set_by       text        NOT NULL,
  actor_ref    jsonb
);
COMMENT ON TABLE threadline.retention_policies IS
  'How long changes are kept at least; written by threadline.set_retention and threadline.unset_retention.';
COMMENT ON COLUMN threadline.retention_policies.table_id IS
  'The audited_tables row of the table; 0 for all that have no policy of their own.';
COMMENT ON COLUMN threadline.retention_policies.keep IS 'How long; NULL for ever.';
COMMENT ON COLUMN threadline.retention_policies.whole_months IS
  'Whether changes go by months (UTC), once all of a month is old enough; else as soon as they are.';
COMMENT ON COLUMN threadline.retention_policies.set_at IS 'When that was said.';
COMMENT ON COLUMN threadline.retention_policies.set_by IS 'The database role that said so (SET ROLE included).';
COMMENT ON COLUMN threadline.retention_policies.actor_ref IS
  'Who said so, as {"type": "user", "id": "123"}; NULL when the transaction had no actor.';
