CREATE TABLE threadline.audit_changes (
  id             bigint      GENERATED ALWAYS AS IDENTITY,
  transaction_id uuid        NOT NULL,
  table_id       integer     NOT NULL,
  definition_id  integer     NOT NULL DEFAULT 0,
  -- Without a CHECK, which PostgreSQL reads anew for every statement: a sixth of what capture costs a statement. Nobody
  -- but the functions of this schema can write here.
  op             text        NOT NULL,
  captured_at    timestamptz NOT NULL,
  key_integer    integer,
  key_bigint     bigint,
  key_uuid       uuid,
  key_text       text        COLLATE "C",
  moved_key      text        COLLATE "C",
  data_after     jsonb,
  changed_from   jsonb,
  context        jsonb,
  -- In this order the key serves "all changes of a transaction" and "did it change anything after T", and
  -- needs no index of its own for id. No foreign keys: they would check for every row what the triggers guarantee.
  PRIMARY KEY (transaction_id, captured_at, id)
) PARTITION BY RANGE (captured_at);
-- Keys of other types have indexes where a table has such keys: see threadline_internal.key_types. This one has the
-- beginning of a key: one that fits into the index of its own table may not fit into this one, as JSON above all.
CREATE INDEX audit_changes_key_text_idx ON threadline.audit_changes (table_id, left(key_text, 500), captured_at, id)
  WHERE key_text IS NOT NULL;
COMMENT ON INDEX threadline.audit_changes_key_text_idx IS
  'History of a row by a key that is neither an integer nor a uuid, composite ones included.';
COMMENT ON TABLE threadline.audit_changes IS
  'One row''s insert, update, delete or truncation. data_after || changed_from is the row before an update, '
  'changed_from alone the row before a delete or truncate.';
COMMENT ON COLUMN threadline.audit_changes.id IS
  'Order of the changes: of two changes of one row the later has the greater id.';
COMMENT ON COLUMN threadline.audit_changes.transaction_id IS
  'The audit_transactions row of the transaction that made the change.';
COMMENT ON COLUMN threadline.audit_changes.table_id IS 'The audited_tables row of the changed table.';
COMMENT ON COLUMN threadline.audit_changes.definition_id IS
  'The table_definitions row of the table when the change was made: what its columns were; 0 where '
  'that is not known, and its images are read as they are.';
COMMENT ON COLUMN threadline.audit_changes.op IS
  'What happened to the row: delete, insert, truncate or update; or snapshot, which records a row that was there '
  'before capture began.';
COMMENT ON COLUMN threadline.audit_changes.captured_at IS
  'Clock time of the write, taken after the row was locked: one time for all rows of a statement, where capture is '
  'by statement.';
COMMENT ON COLUMN threadline.audit_changes.key_integer IS 'Primary key, when it is one integer or smallint column.';
COMMENT ON COLUMN threadline.audit_changes.key_bigint IS 'Primary key, when it is one bigint column.';
COMMENT ON COLUMN threadline.audit_changes.key_uuid IS 'Primary key, when it is one uuid column.';
COMMENT ON COLUMN threadline.audit_changes.key_text IS
  'Primary key of any other type as text; a composite key as a JSON array of its columns in key order.';
COMMENT ON COLUMN threadline.audit_changes.moved_key IS
  'Set when an UPDATE changed the primary key, which is recorded as the delete of the old key and the insert of the '
  'new one: on the delete the key the row went to, on the insert the key it came from.';
COMMENT ON COLUMN threadline.audit_changes.data_after IS
  'The row after an insert or update, or as a snapshot found it.';
COMMENT ON COLUMN threadline.audit_changes.changed_from IS
  'Old values of what an update changed, its keys being the changed columns; the whole row on a delete or truncate.';
COMMENT ON COLUMN threadline.audit_changes.context IS
  'Actor and context of this change where they differ from those of its transaction (a nested audited transaction); '
  'else NULL.';
CREATE TABLE threadline.audit_changes_default PARTITION OF threadline.audit_changes DEFAULT;
COMMENT ON TABLE threadline.audit_changes_default IS
  'Takes the changes of months without a partition, so that a missing partition never fails a write.';
CREATE INDEX audit_changes_table_id_idx ON threadline.audit_changes (table_id, captured_at, id);
COMMENT ON INDEX threadline.audit_changes_table_id_idx IS 'The changes of a table in the order of the timeline.';
