-- Tells a type by name, with the attributes it consists of: as JSON a row has them by name, like columns. It follows a
-- type that holds an array of itself no deeper than makes sense.
CREATE FUNCTION threadline_internal.type_shape(type oid, typmod integer, depth integer DEFAULT 0) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
BEGIN
  RETURN format_type(type, typmod) || coalesce(
    (SELECT format('(%s)', string_agg(format('%I %s', c.name,
              threadline_internal.type_shape(c.type, c.typmod, depth + 1)), ', ' ORDER BY c.number))
       FROM pg_type AS y
       LEFT JOIN pg_type AS e
         ON e.oid = CASE WHEN y.typtype = 'd' THEN y.typbasetype WHEN y.typcategory = 'A' THEN y.typelem END
      CROSS JOIN LATERAL threadline_internal.columns_of(coalesce(nullif(y.typrelid, 0), e.typrelid)) AS c
      WHERE y.oid = type_shape.type AND depth < 8 HAVING count(*) > 0), '');
END
$function$;
COMMENT ON FUNCTION threadline_internal.type_shape(oid, integer, integer) IS
  'A type with the attributes that its values have in an image.';

-- A type as it is written where the search_path is not pinned. Those that have a keyword need no schema.
CREATE FUNCTION threadline_internal.type_name(type oid, typmod integer) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
  SELECT CASE WHEN y.typnamespace = 'pg_catalog'::regnamespace
                AND replace(f.name, '[]', '') = quote_ident(coalesce(e.typname, y.typname))
           THEN 'pg_catalog.' || f.name ELSE f.name END
    FROM pg_type AS y
    LEFT JOIN pg_type AS e ON y.typcategory = 'A' AND e.oid = y.typelem
   CROSS JOIN LATERAL (SELECT format_type(y.oid, typmod) AS name) AS f
   WHERE y.oid = type_name.type
$function$;
COMMENT ON FUNCTION threadline_internal.type_name(oid, integer) IS 'The name of a type, whatever the search_path.';
