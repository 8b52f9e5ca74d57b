DROP FUNCTION threadline.grant_recorder(regrole);
DROP FUNCTION threadline.add_to_action(uuid, jsonb);
DROP FUNCTION threadline.record_action(text, text, text, text, jsonb, jsonb, jsonb);
DROP FUNCTION threadline.require_reason(text, boolean);
