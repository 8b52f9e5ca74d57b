CREATE VIEW threadline.health AS
SELECT r."check", r.severity, r.table_schema, r.table_name, r.message, r.hint
  FROM threadline_internal.health() AS r;
COMMENT ON VIEW threadline.health IS
  'What is wrong with the audit log and with capture, errors first, each with what to do about it; empty when all is '
  'well.';
COMMENT ON COLUMN threadline.health."check" IS 'Which check found it: a word for programs, such as trigger_missing.';
COMMENT ON COLUMN threadline.health.severity IS 'error or warning.';
COMMENT ON COLUMN threadline.health.table_schema IS 'The schema of the table that it is about, if it is about one.';
COMMENT ON COLUMN threadline.health.table_name IS 'The table that it is about.';
COMMENT ON COLUMN threadline.health.message IS 'What is wrong.';
COMMENT ON COLUMN threadline.health.hint IS 'What to do about it.';
