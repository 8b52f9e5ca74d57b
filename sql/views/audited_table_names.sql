CREATE VIEW threadline_internal.audited_table_names AS
SELECT coalesce(n.nspname, a.table_schema) AS table_schema,
       coalesce(c.relname, a.table_name) AS table_name,
       a AS audited
  FROM threadline.audited_tables AS a
  LEFT JOIN pg_catalog.pg_class AS c ON c.oid = a.relation
   -- Another table may have the OID of a dropped table.
   AND (c.relname::pg_catalog.text OPERATOR(pg_catalog.=) a.table_name OR threadline_internal.is_table_of(a))
  LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace;
COMMENT ON VIEW threadline_internal.audited_table_names IS
  'The present name of each table that is or was audited, or its name when it was dropped.';
COMMENT ON COLUMN threadline_internal.audited_table_names.table_schema IS 'Schema of the table.';
COMMENT ON COLUMN threadline_internal.audited_table_names.table_name IS 'Name of the table.';
COMMENT ON COLUMN threadline_internal.audited_table_names.audited IS 'The audited_tables row of the table.';
