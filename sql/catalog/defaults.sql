-- An image from before a column was added has no value for it. Its row had the default with which the column was added,
-- as do rows that were not written since. A default that was set later is another one. No catalog records which default
-- was which, but PostgreSQL stores the first one with the column until it rewrites the table.

-- Returns the value of an added column in rows written before it was added, as JSON; NULL if it is NULL, or if it
-- differs by row in a column that is NOT NULL. If the value is unknown, `gap` says why, and the value cannot be read.
CREATE FUNCTION threadline_internal.added_default(relation regclass, number smallint, OUT value jsonb, OUT gap text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C' SET quote_all_identifiers = off
AS $function$
DECLARE
  audited threadline.audited_tables;
  attribute record;
  literals text[];
  literal text;
BEGIN
  SELECT t.* INTO audited FROM threadline_internal.audited_table(relation) AS t;
  SELECT a.attname::text AS name, a.attgenerated <> '' AS is_generated, d.adbin IS NOT NULL AS has_default,
         (regexp_match(pg_get_expr(d.adbin, d.adrelid),
           '^(''(?:[^'']|'''')*''|[(]?-?[0-9.]+[)]?|true|false)(?:::[]a-z "[0-9(),_.]+)?$'))[1] AS literal,
         threadline_internal.built_in_type(a.atttypid, a.atttypmod) AS type
    INTO attribute
    FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
   WHERE a.attrelid = added_default.relation AND a.attnum = added_default.number;
  -- A recreated table never had this column added: images of the earlier table have no such value.
  IF attribute.is_generated OR audited.id IS NULL THEN
    RETURN;
  END IF;
  literals := threadline_internal.missing_values(audited, relation, attribute.name);
  -- After a rewrite, the catalog no longer has the value. A constant default may still have it, and the rows show
  -- whether it does.
  literal := CASE WHEN cardinality(literals) = 1 THEN literals[1] ELSE coalesce(attribute.literal, 'NULL') END;
  IF literal <> 'NULL' AND attribute.type IS NOT NULL THEN
    EXECUTE format('SELECT to_jsonb(CAST(%s AS %s))', literal, attribute.type) INTO value;
  END IF;
  IF literal <> 'NULL' AND value IS NULL THEN
    gap := format('column %I was added with a default that only code of its type could tell', attribute.name);
  ELSIF cardinality(literals) IS DISTINCT FROM 1 AND NOT threadline_internal.is_borne_out(audited, attribute.name,
      coalesce(value, 'null'), attribute.has_default) THEN
    value := NULL;
    gap := format('column %I was added, and the table was rewritten: its rows do not show with which default',
      attribute.name);
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.added_default(regclass, smallint) IS
  'The value of an added column in the rows that existed before it, or why the value is unknown.';

-- Returns SQL for the values of an added column in rows of files that existed at the last refresh: the value that
-- PostgreSQL stores for them, or NULL if it stores none and the file is the same.
CREATE FUNCTION threadline_internal.missing_values(audited threadline.audited_tables, relation regclass, name text)
RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN (SELECT array_agg(DISTINCT CASE WHEN a.atthasmissing THEN quote_literal((a.attmissingval::text::text[])[1])
                             ELSE 'NULL' END)
            FROM jsonb_each(threadline_internal.present_files(missing_values.relation)) AS f
            JOIN pg_attribute AS a ON a.attrelid = f.key::oid AND a.attname = missing_values.name
           WHERE a.atthasmissing
              OR audited.catalog_versions ->> 'database' = threadline_internal.database_identity()
                 AND audited.catalog_versions -> 'files' -> f.key = f.value);
END
$function$;
COMMENT ON FUNCTION threadline_internal.missing_values(threadline.audited_tables, regclass, text) IS
  'SQL for the values that PostgreSQL gives an added column in rows that existed before it; empty if they cannot be '
  'determined.';

-- Returns whether all rows that were not written since the last refresh have a given value in a column. If there are no
-- rows, a column without a default is assumed to be NULL.
CREATE FUNCTION threadline_internal.is_borne_out(audited threadline.audited_tables, name text, value jsonb,
  has_default boolean) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C' SET jit = off
AS $function$
DECLARE
  same_key text;
  is_so boolean;
BEGIN
  IF audited.id IS NULL THEN
    RETURN false;
  ELSIF EXISTS (SELECT FROM threadline.audit_changes AS c
                 WHERE c.table_id = audited.id AND c.definition_id > audited.definition_id) THEN
    same_key := coalesce(threadline_internal.image_has_key(audited),
      threadline_internal.image_has_recorded_key(audited), 'true');
  END IF;
  PERFORM threadline_internal.check_foreign_code(audited.relation);
  EXECUTE threadline_internal.render($sql$
    SELECT coalesce(bool_and(coalesce(to_jsonb({column}), 'null') = $1),
                    NOT {has_default} AND NOT EXISTS (SELECT FROM {live_rows}))
      FROM {live_rows} AS t
     WHERE NOT EXISTS (
             SELECT FROM (SELECT w.data_after AS image FROM threadline.audit_changes AS w
                           WHERE w.table_id = {table_id} AND w.definition_id > {definition_id}
                             AND w.data_after IS NOT NULL) AS c
              WHERE {same_key})$sql$, jsonb_build_object(
    'column', threadline_internal.column_image(format('t.%I', name),
      name = ANY (threadline_internal.text_columns(audited.relation))),
    'has_default', has_default, 'live_rows', threadline_internal.live_rows(audited.relation), 'table_id', audited.id,
    'definition_id', audited.definition_id, 'same_key', coalesce(same_key, 'false'))) INTO is_so USING value;
  RETURN is_so;
EXCEPTION WHEN data_exception OR insufficient_privilege OR integrity_constraint_violation OR undefined_function
    OR undefined_column THEN
  RETURN false;
END
$function$;
COMMENT ON FUNCTION threadline_internal.is_borne_out(threadline.audited_tables, text, jsonb, boolean) IS
  'Whether the rows that were not written since the last refresh have a given value in a column.';
