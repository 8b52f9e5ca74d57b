CREATE VIEW threadline.capture_activity (table_schema, table_name, capture_since, capture_ended_at, first_captured_at,
  last_captured_at) AS
SELECT n.table_schema::text, n.table_name::text, (n.audited).capture_since, (n.audited).capture_ended_at,
       (SELECT c.captured_at FROM threadline.audit_changes AS c
         WHERE c.table_id = (n.audited).id ORDER BY c.captured_at LIMIT 1),
       (SELECT c.captured_at FROM threadline.audit_changes AS c
         WHERE c.table_id = (n.audited).id ORDER BY c.captured_at DESC LIMIT 1)
  FROM threadline_internal.audited_table_names AS n
 ORDER BY 1, 2;
COMMENT ON VIEW threadline.capture_activity IS
  'Each table that is or was audited, with the times of its first and its last recorded change.';
COMMENT ON COLUMN threadline.capture_activity.table_schema IS 'Schema of the table.';
COMMENT ON COLUMN threadline.capture_activity.table_name IS 'Name of the table.';
COMMENT ON COLUMN threadline.capture_activity.capture_since IS 'Every change from this time on is recorded.';
COMMENT ON COLUMN threadline.capture_activity.capture_ended_at IS 'When capture ended; NULL while capture is active.';
COMMENT ON COLUMN threadline.capture_activity.first_captured_at IS
  'When the oldest change of the table in the audit log was captured; NULL if there is none.';
COMMENT ON COLUMN threadline.capture_activity.last_captured_at IS
  'When the latest change of the table in the audit log was captured.';
