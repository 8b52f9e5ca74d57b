-- Integers and uuids compare fast and stay small, and a condition on them can use an index without a cast. But every
-- statement pays for each index, whatever it writes. A key type therefore has its indexes only if a table has or had
-- such keys. Text keys always have their index, because any table may have some until it is refreshed.
CREATE TABLE threadline_internal.key_types (
  key_type text PRIMARY KEY CHECK (key_type IN ('bigint', 'integer', 'uuid'))
);
COMMENT ON TABLE threadline_internal.key_types IS
  'Types of the keys that audited tables have or had, except text. Each has an index on every partition of '
  'audit_changes.';
COMMENT ON COLUMN threadline_internal.key_types.key_type IS 'The key type, as in audited_tables.';
