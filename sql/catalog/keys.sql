-- Returns the columns of a primary key, their types, and the audit_changes column that stores the key.
-- quote_all_identifiers: see threadline_internal.describe_table.
CREATE FUNCTION threadline_internal.primary_key(relation regclass,
  OUT columns text[], OUT types text[], OUT key_type text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
  SELECT coalesce(array_agg(a.attname::text ORDER BY k.position), '{}'),
         -- integer also serves smallint, so that versions(NULL::t, 3) needs no cast.
         coalesce(array_agg(CASE a.atttypid WHEN 'smallint'::regtype THEN 'integer'
                              ELSE format_type(a.atttypid, NULL) END ORDER BY k.position), '{}'),
         CASE count(*) WHEN 0 THEN NULL WHEN 1 THEN
           CASE min(coalesce(nullif(t.typbasetype, 0), t.oid)::oid::regtype::text)
             WHEN 'smallint' THEN 'integer' WHEN 'integer' THEN 'integer' WHEN 'bigint' THEN 'bigint'
             WHEN 'uuid' THEN 'uuid' ELSE 'text' END
         ELSE 'text' END
    FROM pg_index AS i
   CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (number, position)
    JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number
    JOIN pg_type AS t ON t.oid = a.atttypid
   WHERE i.indrelid = relation AND i.indisprimary AND k.position <= i.indnkeyatts
$function$;
COMMENT ON FUNCTION threadline_internal.primary_key(regclass) IS
  'Columns and types of the primary key of a table, and the key type under which audit_changes stores it.';
