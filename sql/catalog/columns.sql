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

-- Lists the stored generated columns, each with the columns that it is computed from. Before version 15 PostgreSQL
-- notes them at the generated column, and since then at its expression.
CREATE FUNCTION threadline_internal.generated_columns(relation regclass)
RETURNS TABLE (generated text, number smallint, source_number smallint)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT DISTINCT g.attname::text, g.attnum, p.refobjsubid::smallint
    FROM pg_depend AS p
    LEFT JOIN pg_attrdef AS d ON p.classid = 'pg_attrdef'::regclass AND d.oid = p.objid
    JOIN pg_attribute AS g ON g.attrelid = relation AND g.attgenerated = 's' AND NOT g.attisdropped
     AND g.attnum = CASE WHEN d.oid IS NULL THEN p.objsubid ELSE d.adnum END
   WHERE p.refclassid = 'pg_class'::regclass AND p.refobjid = relation AND p.refobjsubid > 0
     AND p.refobjsubid <> g.attnum
     AND (d.adrelid = relation OR p.classid = 'pg_class'::regclass AND p.objid = relation AND p.objsubid > 0)
$function$;
COMMENT ON FUNCTION threadline_internal.generated_columns(regclass) IS
  'The stored generated columns of a table, each with the number of each column that it is computed from.';

-- Finds a stored generated column that tells what is in columns that are to be redacted.
CREATE FUNCTION threadline_internal.generated_from(relation regclass, columns text[],
  OUT generated text, OUT source text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT g.generated, c.name
    FROM threadline_internal.generated_columns(relation) AS g
    JOIN threadline_internal.columns_of(relation) AS c ON c.number = g.source_number AND c.name = ANY (columns)
   WHERE g.generated <> ALL (columns)
   ORDER BY g.number, c.number LIMIT 1
$function$;
COMMENT ON FUNCTION threadline_internal.generated_from(regclass, text[]) IS
  'A stored generated column that tells what is in one of these columns, and is none of them.';

-- The same for capture functions, as a condition that they may go on. Like threadline_internal.present_layout it is not
-- immutable, and says so all the same: a session computes it once, and again when the table was altered, as it is when
-- the expression of a generated column is.
CREATE FUNCTION threadline_internal.generates_nothing_from(relation regclass, columns text[]) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN NOT EXISTS (SELECT FROM threadline_internal.generated_from(relation, columns) AS g
                      WHERE g.generated IS NOT NULL);
END
$function$;
COMMENT ON FUNCTION threadline_internal.generates_nothing_from(regclass, text[]) IS
  'Whether no stored generated column tells what is in columns that are redacted, as a session knows it.';

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
