CREATE TABLE threadline.retention_policies (
  table_id     integer     PRIMARY KEY,
  keep         interval    CHECK (keep >= '1 day'),
  whole_months boolean     NOT NULL,
  set_at       timestamptz NOT NULL,
  set_by       text        NOT NULL,
  actor_ref    jsonb
);
COMMENT ON TABLE threadline.retention_policies IS
  'Minimum time for which changes are kept; written by threadline.set_retention and threadline.unset_retention.';
COMMENT ON COLUMN threadline.retention_policies.table_id IS
  'The audited_tables row of the table; 0 for the policy of all tables without their own.';
COMMENT ON COLUMN threadline.retention_policies.keep IS 'How long changes are kept; NULL to keep them forever.';
COMMENT ON COLUMN threadline.retention_policies.whole_months IS
  'Whether changes are purged by whole months (UTC), when the whole month is old enough, instead of as soon as they '
  'are old enough.';
COMMENT ON COLUMN threadline.retention_policies.set_at IS 'When the policy was set.';
COMMENT ON COLUMN threadline.retention_policies.set_by IS 'The database role that set the policy (including SET ROLE).';
COMMENT ON COLUMN threadline.retention_policies.actor_ref IS
  'Who set the policy, as {"type": "user", "id": "123"}; NULL if the transaction had no actor.';
