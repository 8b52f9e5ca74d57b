CREATE TABLE threadline_internal.young_partitions (
  table_id  integer NOT NULL,
  relation  oid     NOT NULL,
  database  text    NOT NULL,
  is_filled boolean NOT NULL
);
COMMENT ON TABLE threadline_internal.young_partitions IS
  'Partitions that were written before a refresh knew them, until it does: one that is dropped by then is missed.';
COMMENT ON COLUMN threadline_internal.young_partitions.table_id IS 'The audited_tables row of the table.';
COMMENT ON COLUMN threadline_internal.young_partitions.relation IS 'The OID of the partition.';
COMMENT ON COLUMN threadline_internal.young_partitions.database IS 'The identity of the database that it was in.';
COMMENT ON COLUMN threadline_internal.young_partitions.is_filled IS
  'Whether it had rows that nobody had inserted through the table when it was first written.';
