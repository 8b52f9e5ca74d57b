CREATE TABLE threadline.action_rules (
  name            text    PRIMARY KEY CHECK (name ~ '^[a-z0-9_]+([.][a-z0-9_]+)+$'),
  reason_required boolean NOT NULL
);
COMMENT ON TABLE threadline.action_rules IS 'What is asked of actions by name; written by threadline.require_reason.';
COMMENT ON COLUMN threadline.action_rules.name IS 'Name of the actions, as category.verb.';
COMMENT ON COLUMN threadline.action_rules.reason_required IS 'Whether they are refused without a reason.';
