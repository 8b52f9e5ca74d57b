CREATE VIEW threadline.health AS
SELECT r."check", r.severity, r.table_schema, r.table_name, r.message, r.hint
  FROM threadline_internal.health() AS r;
COMMENT ON VIEW threadline.health IS
  'Problems of the audit log and of capture, errors first, each with advice; empty if there are none.';
COMMENT ON COLUMN threadline.health."check" IS
  'Name of the check that found the problem, for programs, such as trigger_missing.';
COMMENT ON COLUMN threadline.health.severity IS 'error or warning.';
COMMENT ON COLUMN threadline.health.table_schema IS 'Schema of the affected table, if the problem concerns a table.';
COMMENT ON COLUMN threadline.health.table_name IS 'Name of the affected table.';
COMMENT ON COLUMN threadline.health.message IS 'Description of the problem.';
COMMENT ON COLUMN threadline.health.hint IS 'How to fix the problem.';
