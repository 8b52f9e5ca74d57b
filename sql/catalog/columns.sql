-- Whether a table is partitioned.
CREATE FUNCTION threadline_internal.is_partitioned(relation regclass) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN (SELECT c.relkind = 'p' FROM pg_class AS c WHERE c.oid = is_partitioned.relation);
END
$function$;
COMMENT ON FUNCTION threadline_internal.is_partitioned(regclass) IS 'Whether a table is partitioned.';

-- Lists the columns of a table. The planner inlines it, so it has no pinned search_path.
CREATE FUNCTION threadline_internal.columns_of(relation regclass)
RETURNS TABLE (number smallint, name text, type oid, typmod integer, not_null boolean, generated "char",
  identity "char")
LANGUAGE sql STABLE PARALLEL SAFE
AS $function$
  SELECT a.attnum, a.attname::pg_catalog.text, a.atttypid, a.atttypmod, a.attnotnull, a.attgenerated, a.attidentity
    FROM pg_catalog.pg_attribute AS a
   WHERE a.attrelid OPERATOR(pg_catalog.=) relation AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
$function$;
COMMENT ON FUNCTION threadline_internal.columns_of(regclass) IS
  'The columns of a table, without those that were dropped.';

-- Writes the columns of a row, in the order of its table.
CREATE FUNCTION threadline_internal.columns_of_row(relation regclass, row_name text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(format('%s.%I', row_name, c.name), ', ' ORDER BY c.number)
    FROM threadline_internal.columns_of(relation) AS c
$function$;
COMMENT ON FUNCTION threadline_internal.columns_of_row(regclass, text) IS 'SQL for the list of the columns of a row.';

-- Only reached between the renaming of a key column and the next refresh.
CREATE FUNCTION threadline_internal.current_column(table_id integer, column_name text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT a.attname::text
    FROM threadline.audited_tables AS t
    JOIN pg_attribute AS a
      ON a.attrelid = t.relation AND NOT a.attisdropped AND t.relation::oid = (t.definition ->> 'oid')::oid
     AND a.attnum = (t.definition #>> ARRAY['columns', current_column.column_name, 'number'])::smallint
   WHERE t.id = current_column.table_id
$function$;
COMMENT ON FUNCTION threadline_internal.current_column(integer, text) IS
  'What a column known to the capture functions of a table is called now.';
