CREATE TABLE threadline_internal.key_secrets (
  table_id   integer     PRIMARY KEY,
  inner_pad  bytea       NOT NULL,
  outer_pad  bytea       NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE threadline_internal.key_secrets IS
  'The secrets of tables whose keys are recorded as keyed hashes. Only the owner of the audit log may read them: '
  'anyone who has a secret can test guesses offline. A dump includes them, so that a restored database computes the '
  'same hashes.';
COMMENT ON COLUMN threadline_internal.key_secrets.table_id IS 'The audited_tables row of the table.';
COMMENT ON COLUMN threadline_internal.key_secrets.inner_pad IS 'Input that HMAC-SHA256 hashes before a value.';
COMMENT ON COLUMN threadline_internal.key_secrets.outer_pad IS 'Input that HMAC-SHA256 hashes before the inner hash.';
COMMENT ON COLUMN threadline_internal.key_secrets.created_at IS 'When the secret was created.';
