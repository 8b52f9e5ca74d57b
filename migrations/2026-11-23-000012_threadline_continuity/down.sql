DROP FUNCTION threadline.continuity();
DROP FUNCTION threadline.baseline_step(regclass, jsonb, text, integer);
DROP FUNCTION threadline.baseline_obstacle(threadline.audited_tables);
DROP FUNCTION threadline.baseline_statement(threadline.audited_tables, boolean);
DROP FUNCTION threadline.baseline_key(regclass);
DROP TABLE threadline.baselines;
