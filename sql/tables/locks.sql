CREATE TABLE threadline_internal.locks (
  name text PRIMARY KEY
);
COMMENT ON TABLE threadline_internal.locks IS
  'Tasks that only one transaction at a time may perform; see threadline_internal.take_lock.';
COMMENT ON COLUMN threadline_internal.locks.name IS
  'definitions: capture is being defined. purge: changes are being removed or redacted. retention: a policy or a hold '
  'is being changed (exclusive), or a step of a purge or redaction is reading them (shared).';
INSERT INTO threadline_internal.locks (name) VALUES ('definitions'), ('purge'), ('retention');
