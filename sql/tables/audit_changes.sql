CREATE TABLE threadline.audit_changes (
  id             bigint      GENERATED ALWAYS AS IDENTITY,
  transaction_id uuid        NOT NULL,
  table_id       integer     NOT NULL,
  definition_id  integer     NOT NULL DEFAULT 0,
  -- There is no CHECK, because PostgreSQL would parse it again for every statement, at a sixth of the cost of capture.
  -- Only the functions of this schema can write here.
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
  -- In this order, the primary key serves "all changes of a transaction" and "did it change anything after T", and id
  -- needs no index of its own. There are no foreign keys: they would check for every row what the triggers already
  -- guarantee.
  PRIMARY KEY (transaction_id, captured_at, id)
) PARTITION BY RANGE (captured_at);
-- Keys of other types have an index only if a table has such keys: see threadline_internal.key_types. This index
-- contains only the start of a key: a key that fits into the index of its own table may not fit into this one,
-- especially as JSON.
CREATE INDEX audit_changes_key_text_idx ON threadline.audit_changes (table_id, left(key_text, 500), captured_at, id)
  WHERE key_text IS NOT NULL;
COMMENT ON INDEX threadline.audit_changes_key_text_idx IS
  'History of a row by a key that is neither an integer nor a uuid. Includes composite keys.';
COMMENT ON TABLE threadline.audit_changes IS
  'The insert, update, delete or truncation of one row, or its snapshot. data_after || changed_from is the row before '
  'an update. changed_from alone is the row before a delete or truncate.';
COMMENT ON COLUMN threadline.audit_changes.id IS
  'Order of the changes: of two changes of one row, the later one has the greater id.';
COMMENT ON COLUMN threadline.audit_changes.transaction_id IS
  'The audit_transactions row of the transaction that made the change.';
COMMENT ON COLUMN threadline.audit_changes.table_id IS 'The audited_tables row of the changed table.';
COMMENT ON COLUMN threadline.audit_changes.definition_id IS
  'The table_definitions row that describes the columns of the table when the change was made; 0 if the definition is '
  'unknown, in which case the row images are read unchanged.';
COMMENT ON COLUMN threadline.audit_changes.op IS
  'Operation on the row: delete, insert, truncate or update; or snapshot, which records a row that existed before '
  'capture began.';
COMMENT ON COLUMN threadline.audit_changes.captured_at IS
  'Clock time of the write, taken after the row was locked. With capture by statement, all rows of a statement have '
  'the same time.';
COMMENT ON COLUMN threadline.audit_changes.key_integer IS 'Primary key, if it is a single integer or smallint column.';
COMMENT ON COLUMN threadline.audit_changes.key_bigint IS 'Primary key, if it is a single bigint column.';
COMMENT ON COLUMN threadline.audit_changes.key_uuid IS 'Primary key, if it is a single uuid column.';
COMMENT ON COLUMN threadline.audit_changes.key_text IS
  'Primary key of any other type, as text. A composite key is a JSON array of its columns in key order.';
COMMENT ON COLUMN threadline.audit_changes.moved_key IS
  'Set if an UPDATE changed the primary key. Such an update is recorded as a delete of the old key and an insert of '
  'the new key: the delete contains the new key here, the insert the old key.';
COMMENT ON COLUMN threadline.audit_changes.data_after IS
  'The row after an insert or update, or as a snapshot found it.';
COMMENT ON COLUMN threadline.audit_changes.changed_from IS
  'Old values of the columns that an update changed; the whole row for a delete or truncate.';
COMMENT ON COLUMN threadline.audit_changes.context IS
  'Actor and context of this change if they differ from those of its transaction (a nested audited transaction); '
  'otherwise NULL.';
CREATE TABLE threadline.audit_changes_default PARTITION OF threadline.audit_changes DEFAULT;
COMMENT ON TABLE threadline.audit_changes_default IS
  'Receives the changes of months without a partition, so that a missing partition never fails a write.';
CREATE INDEX audit_changes_table_id_idx ON threadline.audit_changes (table_id, captured_at, id);
COMMENT ON INDEX threadline.audit_changes_table_id_idx IS 'The changes of a table, in timeline order.';
