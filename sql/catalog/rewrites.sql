-- What shows that a migration has rewritten a table, and which of its columns.

-- Lists the files of a table and its partitions, by OID: PostgreSQL rewrites a table into another file.
CREATE FUNCTION threadline_internal.present_files(relation regclass) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(jsonb_object_agg(f.relid::oid, pg_relation_filenode(f.relid))
                    FILTER (WHERE pg_relation_filenode(f.relid) IS NOT NULL), '{}')
    FROM (SELECT relation AS relid
          UNION SELECT p.relid FROM threadline_internal.partition_tree(relation) AS p) AS f
$function$;
COMMENT ON FUNCTION threadline_internal.present_files(regclass) IS 'The files of a table and its partitions.';

-- Lists what shows that a column was altered: the version of the row of pg_attribute, which two commands of a
-- transaction give it two of, a hash of what else it says, and what newer minor releases of PostgreSQL note there when
-- the type of a column is altered. Among the rest is whether rows from before ADD COLUMN lack the column: when another
-- column is rewritten, they get it, which is a version as well.
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
  'The versions that the columns of a table have.';

-- Finds columns that were perhaps rewritten with their type unchanged since their versions were kept. ALTER COLUMN ...
-- TYPE ... USING changes the file and the version of the column, and nothing else of it: then it is `certain`. A
-- default, NOT NULL or a right changes the version as well, but something else with it. Where PostgreSQL notes such an
-- ALTER, it does so for the column and all that stand behind it: the first of them is certain. Every reading of the
-- past asks, so the columns are looked at only where a file is another.
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
  'The columns of a table that were perhaps rewritten since its last refresh, though they have the same type.';

-- Lists the columns that were converted since the last refresh: those that have another type, and those that were
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
