CREATE TABLE threadline_internal.key_secrets (
  table_id   integer     PRIMARY KEY,
  inner_pad  bytea       NOT NULL,
  outer_pad  bytea       NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE threadline_internal.key_secrets IS
  'The secrets of tables whose keys are recorded as keyed hashes. Only the owner of the audit log may read them: '
  'whoever has one can test guesses offline. They are part of a dump, so that a restored database goes on with the '
  'same hashes.';
COMMENT ON COLUMN threadline_internal.key_secrets.table_id IS 'The table, by its id in audited_tables.';
COMMENT ON COLUMN threadline_internal.key_secrets.inner_pad IS 'What HMAC-SHA256 hashes before a value.';
COMMENT ON COLUMN threadline_internal.key_secrets.outer_pad IS 'What HMAC-SHA256 hashes before the inner hash.';
COMMENT ON COLUMN threadline_internal.key_secrets.created_at IS 'When the secret was made.';
