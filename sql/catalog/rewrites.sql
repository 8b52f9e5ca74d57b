-- Evidence that a migration rewrote a table, and which of its columns.

-- Returns the files of a table and its partitions, by OID: when PostgreSQL rewrites a table, it gets another file.
CREATE FUNCTION threadline_internal.present_files(relation regclass) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(jsonb_object_agg(f.relid::oid, pg_relation_filenode(f.relid))
                    FILTER (WHERE pg_relation_filenode(f.relid) IS NOT NULL), '{}')
    FROM (SELECT relation AS relid
          UNION SELECT p.relid FROM threadline_internal.partition_tree(relation) AS p) AS f
$function$;
COMMENT ON FUNCTION threadline_internal.present_files(regclass) IS 'The files of a table and its partitions.';

-- Returns evidence that a column was altered: the version of its pg_attribute row, of which two commands in a
-- transaction create two; a hash of the rest of that row; and what newer minor releases of PostgreSQL record there when
-- the type of a column is altered. The rest of the row includes whether rows from before ADD COLUMN lack the column:
-- they get it when another column is rewritten, and that also creates a version.
CREATE FUNCTION threadline_internal.present_column_versions(relation regclass) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN (SELECT coalesce(jsonb_object_agg(a.attnum, jsonb_build_object('version', concat(a.xmin, '.', a.cmin),
           'says', md5(concat_ws(' ', a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.atthasdef, d.oid,
             a.attstattarget, a.attstorage, o.options, a.attacl, a.attinhcount, a.attislocal, a.attidentity,
             a.attgenerated, a.attcollation, a.attndims, a.atthasmissing)),
           'altered', o.altered)), '{}')
    FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
   CROSS JOIN LATERAL (
     SELECT array_agg(u.option) FILTER (WHERE NOT starts_with(u.option, 'pg_attver=')) AS options,
            max(u.option) FILTER (WHERE starts_with(u.option, 'pg_attver=')) AS altered
       FROM unnest(a.attoptions) AS u (option)) AS o
   WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped);
END
$function$;
COMMENT ON FUNCTION threadline_internal.present_column_versions(regclass) IS
  'The present versions of the columns of a table.';

-- Returns the columns that may have been rewritten with an unchanged type since their versions were stored. ALTER
-- COLUMN ... TYPE ... USING changes the file and the version of the column, and nothing else about it: then the rewrite
-- is `certain`. A default, NOT NULL or a privilege also changes the version, but something else with it. If PostgreSQL
-- records such an ALTER, it does so for the column and all columns after it: the first of them is certain. Every read
-- of the past calls this function, so it examines the columns only if a file changed.
CREATE FUNCTION threadline_internal.rewritten_columns(audited threadline.audited_tables)
RETURNS TABLE (number smallint, certain boolean, is_behind boolean)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH altered AS (
    SELECT p.key::smallint AS number, p.value -> 'says' = k.value -> 'says' AS is_alone,
           p.value ->> 'altered' AS altered
      FROM jsonb_each(threadline_internal.present_column_versions(audited.relation)) AS p
      JOIN jsonb_each(audited.catalog_versions -> 'columns') AS k USING (key)
     WHERE audited.catalog_versions ->> 'database' = threadline_internal.database_identity()
       AND threadline_internal.is_described(audited.relation, audited.definition)
       AND p.value -> 'version' <> k.value -> 'version'
       AND (p.value ->> 'altered' IS NULL OR p.value -> 'altered' <> k.value -> 'altered')
       AND EXISTS (SELECT FROM jsonb_each(threadline_internal.present_files(audited.relation)) AS f
                    WHERE audited.catalog_versions -> 'files' -> f.key <> f.value)
  )
  SELECT a.number, a.is_alone AND NOT a.is_behind, a.is_alone AND a.is_behind
    FROM (SELECT a.number, a.is_alone, a.altered IS NOT NULL AND a.number > min(a.number) OVER (PARTITION BY a.altered)
            FROM altered AS a) AS a (number, is_alone, is_behind);
END
$function$;
COMMENT ON FUNCTION threadline_internal.rewritten_columns(threadline.audited_tables) IS
  'The columns of a table that may have been rewritten since its last refresh, although their type is the same.';

-- Returns the columns that were converted since the last refresh: those with another type, and those that were
-- rewritten.
CREATE FUNCTION threadline_internal.converted_columns(audited threadline.audited_tables,
  before threadline.audited_tables, present threadline.table_definitions)
RETURNS TABLE (number smallint, name text, old_name text, old_type text, type text, is_certain boolean,
  is_behind boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT c.number, c.name, o.key, o.value ->> 'type', p.value ->> 'type', coalesce(r.certain, false),
         coalesce(r.is_behind, false)
    FROM threadline.table_definitions AS d
   CROSS JOIN LATERAL jsonb_each(d.columns) AS o
    JOIN threadline_internal.columns_of(audited.relation) AS c ON c.number = (o.value ->> 'number')::smallint
    JOIN jsonb_each(present.columns) AS p ON p.key = c.name
    LEFT JOIN threadline_internal.rewritten_columns(before) AS r ON r.number = c.number
   WHERE d.id = before.definition_id AND c.generated <> 'v'
     AND (r.number IS NOT NULL OR o.value -> 'type' <> p.value -> 'type'
          OR threadline_internal.is_described(audited.relation, before.definition)
             AND o.value -> 'type_oid' <> p.value -> 'type_oid')
$function$;
COMMENT ON FUNCTION threadline_internal.converted_columns(threadline.audited_tables, threadline.audited_tables,
  threadline.table_definitions) IS
  'The columns of a table that were converted since its last refresh.';
