-- What stored generated columns are computed from.

-- Lists the stored generated columns, each with the columns that it is computed from. Before version 15 PostgreSQL
-- notes them at the generated column, and since then at its expression. Since version 16 a partition may compute a
-- column otherwise than its table does.
CREATE FUNCTION threadline_internal.generated_columns(relation regclass)
RETURNS TABLE (generated text, number smallint, source_number smallint)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH member AS (
    SELECT relation::oid AS oid
     UNION SELECT p.relid::oid FROM threadline_internal.partition_tree(relation) AS p
  ), computed AS (
    SELECT g.attname AS name, s.attname AS source
      FROM member AS m
      JOIN pg_depend AS p ON p.refclassid = 'pg_class'::regclass AND p.refobjid = m.oid AND p.refobjsubid > 0
      LEFT JOIN pg_attrdef AS d ON p.classid = 'pg_attrdef'::regclass AND d.oid = p.objid
      JOIN pg_attribute AS g ON g.attrelid = m.oid AND g.attgenerated = 's' AND NOT g.attisdropped
       AND g.attnum = CASE WHEN d.oid IS NULL THEN p.objsubid ELSE d.adnum END
      JOIN pg_attribute AS s ON s.attrelid = m.oid AND s.attnum = p.refobjsubid
     WHERE p.refobjsubid <> g.attnum
       AND (d.adrelid = m.oid OR p.classid = 'pg_class'::regclass AND p.objid = m.oid AND p.objsubid > 0)
  )
  SELECT DISTINCT g.attname::text, g.attnum, s.attnum
    FROM computed AS c
    JOIN pg_attribute AS g ON g.attrelid = relation AND g.attname = c.name AND g.attnum > 0
    JOIN pg_attribute AS s ON s.attrelid = relation AND s.attname = c.source AND s.attnum > 0
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
