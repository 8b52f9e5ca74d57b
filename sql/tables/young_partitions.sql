CREATE TABLE threadline_internal.young_partitions (
  table_id  integer NOT NULL,
  relation  oid     NOT NULL,
  database  text    NOT NULL,
  noted_by  xid8    NOT NULL,
  is_filled boolean,
  first_row tid,
  links     text,
  file      oid
);
COMMENT ON TABLE threadline_internal.young_partitions IS
  'Partitions that were written before a refresh knew them, until it does: one that is dropped by then is missed.';
COMMENT ON COLUMN threadline_internal.young_partitions.table_id IS 'The audited_tables row of the table.';
COMMENT ON COLUMN threadline_internal.young_partitions.relation IS 'The OID of the partition.';
COMMENT ON COLUMN threadline_internal.young_partitions.database IS 'The identity of the database that it was in.';
COMMENT ON COLUMN threadline_internal.young_partitions.noted_by IS 'The transaction that wrote it.';
COMMENT ON COLUMN threadline_internal.young_partitions.is_filled IS
  'Whether it had rows that nobody had inserted through the table when it was first written; NULL where the writer '
  'could not see them.';
COMMENT ON COLUMN threadline_internal.young_partitions.first_row IS 'The place of the row that was written first.';
COMMENT ON COLUMN threadline_internal.young_partitions.links IS
  'The transactions that attached it and the branches that it is on.';
COMMENT ON COLUMN threadline_internal.young_partitions.file IS
  'The file that it had; NULL where a truncation was recorded, which gives it another one.';
