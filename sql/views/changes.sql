-- For interactive use in psql. A change has its own context only if that differs from the context of its transaction.
CREATE VIEW threadline.changes AS
SELECT c.id,
       n.table_schema,
       n.table_name,
       coalesce(c.key_integer::text, c.key_bigint::text, c.key_uuid::text, c.key_text) AS row_key,
       c.moved_key,
       c.op,
       ARRAY(SELECT jsonb_object_keys(coalesce(c.changed_from, c.data_after) - '')) AS changed_fields,
       CASE WHEN c.context IS NULL THEN t.actor_ref ELSE c.context -> 'actor_ref' END AS actor_ref,
       CASE WHEN c.context IS NULL THEN t.on_behalf_of ELSE c.context -> 'on_behalf_of' END AS on_behalf_of,
       c.captured_at,
       t.occurred_at,
       c.transaction_id,
       CASE WHEN c.context IS NULL THEN t.source ELSE c.context ->> 'source' END AS source,
       CASE WHEN c.context IS NULL THEN t.correlation_id ELSE c.context ->> 'correlation_id' END AS correlation_id,
       CASE WHEN c.context IS NULL THEN t.request_id ELSE c.context ->> 'request_id' END AS request_id,
       CASE WHEN c.context IS NULL THEN t.job_id ELSE c.context ->> 'job_id' END AS job_id,
       CASE WHEN c.context IS NULL THEN t.remote_ip ELSE (c.context ->> 'remote_ip')::inet END AS remote_ip,
       CASE WHEN c.context IS NULL THEN t.meta ELSE c.context -> 'meta' END AS meta,
       t.database_role,
       t.application_name,
       c.data_after,
       c.changed_from,
       c.table_id
  FROM threadline.audit_changes c
  LEFT JOIN threadline.audit_transactions t ON t.id = c.transaction_id
  LEFT JOIN threadline_internal.audited_table_names n ON (n.audited).id = c.table_id;
COMMENT ON VIEW threadline.changes IS
  'Every recorded change with its table, key, changed fields, actor and context; for interactive queries.';
COMMENT ON COLUMN threadline.changes.id IS 'Order of the changes.';
COMMENT ON COLUMN threadline.changes.table_schema IS 'Present schema of the changed table.';
COMMENT ON COLUMN threadline.changes.table_name IS 'Present name of the changed table.';
COMMENT ON COLUMN threadline.changes.row_key IS
  'Primary key of the row as text. A composite key is a JSON array. NULL if the table has no primary key.';
COMMENT ON COLUMN threadline.changes.moved_key IS
  'If an update changed the primary key: the new key (on the delete) or the old key (on the insert).';
COMMENT ON COLUMN threadline.changes.op IS 'Operation on the row: delete, insert, snapshot, truncate or update.';
COMMENT ON COLUMN threadline.changes.changed_fields IS
  'Columns that changed; all columns for an insert, delete or truncate.';
COMMENT ON COLUMN threadline.changes.actor_ref IS 'Who acted.';
COMMENT ON COLUMN threadline.changes.on_behalf_of IS 'For whom the actor acted.';
COMMENT ON COLUMN threadline.changes.captured_at IS 'Clock time of the write.';
COMMENT ON COLUMN threadline.changes.occurred_at IS 'When the transaction began.';
COMMENT ON COLUMN threadline.changes.transaction_id IS 'The transaction that made the change.';
COMMENT ON COLUMN threadline.changes.source IS 'Origin of the work.';
COMMENT ON COLUMN threadline.changes.correlation_id IS 'Links the transactions of one business process.';
COMMENT ON COLUMN threadline.changes.request_id IS 'The request that caused the change.';
COMMENT ON COLUMN threadline.changes.job_id IS 'The background job that caused the change.';
COMMENT ON COLUMN threadline.changes.remote_ip IS 'Address of the client that requested the work.';
COMMENT ON COLUMN threadline.changes.meta IS 'Additional JSON data from the application.';
COMMENT ON COLUMN threadline.changes.database_role IS 'The role that wrote.';
COMMENT ON COLUMN threadline.changes.application_name IS 'application_name of the session that wrote.';
COMMENT ON COLUMN threadline.changes.data_after IS 'The row after an insert or update.';
COMMENT ON COLUMN threadline.changes.changed_from IS
  'Old values of the columns that an update changed; the whole row for a delete or truncate.';
COMMENT ON COLUMN threadline.changes.table_id IS 'The audited_tables row of the changed table.';
