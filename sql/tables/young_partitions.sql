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
  'Partitions that were written before a refresh recognized them, kept until a refresh does. A partition dropped '
  'before then is missed.';
COMMENT ON COLUMN threadline_internal.young_partitions.table_id IS 'The audited_tables row of the table.';
COMMENT ON COLUMN threadline_internal.young_partitions.relation IS 'The OID of the partition.';
COMMENT ON COLUMN threadline_internal.young_partitions.database IS
  'Identity of the database that contained the partition.';
COMMENT ON COLUMN threadline_internal.young_partitions.noted_by IS 'The transaction that wrote the partition.';
COMMENT ON COLUMN threadline_internal.young_partitions.is_filled IS
  'Whether the partition, when it was first written, had rows that were not inserted through the table; NULL if the '
  'writer could not see them.';
COMMENT ON COLUMN threadline_internal.young_partitions.first_row IS
  'The position (ctid) of the row that was written first.';
COMMENT ON COLUMN threadline_internal.young_partitions.links IS
  'The transactions that attached the partition, and the branches that it belongs to.';
COMMENT ON COLUMN threadline_internal.young_partitions.file IS
  'The file of the partition; NULL if a truncation was recorded, because a truncation changes the file.';
