-- Integers and uuids compare fast and stay small, and a condition on them reaches an index without a cast. But each
-- index is paid for by every statement, whatever it writes. So a type of key has its indexes only where a table has
-- such keys, or had them. Keys as text always have theirs: any table may have a few, until it is refreshed.
CREATE TABLE threadline_internal.key_types (
  key_type text PRIMARY KEY CHECK (key_type IN ('bigint', 'integer', 'uuid'))
);
COMMENT ON TABLE threadline_internal.key_types IS
  'The types of keys that audited tables have or had, but for text: each has an index on every partition of '
  'audit_changes.';
COMMENT ON COLUMN threadline_internal.key_types.key_type IS 'As in audited_tables.';
