CREATE TABLE threadline.action_rules (
  name            text    PRIMARY KEY CHECK (name ~ '^[a-z0-9_]+([.][a-z0-9_]+)+$'),
  reason_required boolean NOT NULL
);
COMMENT ON TABLE threadline.action_rules IS 'Rules for actions, by action name; written by threadline.require_reason.';
COMMENT ON COLUMN threadline.action_rules.name IS 'Name of the action, as category.verb.';
COMMENT ON COLUMN threadline.action_rules.reason_required IS
  'Whether an action with this name is rejected without a reason.';
