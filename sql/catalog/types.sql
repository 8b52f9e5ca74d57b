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

-- Names the type in which a constant of a column may be evaluated without running anybody's code: a built-in one. A
-- domain is looked through, and the labels of an enum are text.
CREATE FUNCTION threadline_internal.built_in_type(type oid, typmod integer) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  kind record;
BEGIN
  LOOP
    SELECT y.typtype, y.typcategory, y.typnamespace, y.typbasetype, y.typtypmod, e.typtype AS element_type INTO kind
      FROM pg_type AS y LEFT JOIN pg_type AS e ON e.oid = y.typelem AND y.typcategory = 'A' WHERE y.oid = type;
    EXIT WHEN kind.typtype IS DISTINCT FROM 'd';
    type := kind.typbasetype;
    typmod := greatest(typmod, kind.typtypmod);
  END LOOP;
  RETURN CASE WHEN kind.typnamespace = 'pg_catalog'::regnamespace THEN threadline_internal.type_name(type, typmod)
    WHEN kind.typtype = 'e' OR kind.typtype = 'b' AND kind.typcategory = 'S' THEN 'pg_catalog.text'
    WHEN kind.element_type = 'e' THEN 'pg_catalog.text[]' END;
END
$function$;
COMMENT ON FUNCTION threadline_internal.built_in_type(oid, integer) IS
  'The built-in type that values of a type are converted like; NULL where only code of the type itself can convert.';

-- Converts a value as its type does, by built-in types alone.
CREATE FUNCTION threadline_internal.built_in_value(type oid, typmod integer, value jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS $function$
DECLARE
  converted jsonb;
BEGIN
  EXECUTE format('SELECT to_jsonb(r.value) FROM jsonb_to_record(jsonb_build_object(%L, $1)) AS r (value %s)', 'value',
    threadline_internal.built_in_type(type, typmod)) INTO converted USING value;
  RETURN converted;
END
$function$;
COMMENT ON FUNCTION threadline_internal.built_in_value(oid, integer, jsonb) IS
  'A value as JSON, as a column of a type would have it; raises an error if the built-in type cannot hold it.';

-- Tells why a value is none of a type, as far as the catalog tells without running code of the type. The CHECK of a
-- domain may belong to anybody, so it is not asked: whoever reads the past of the table asks it, and gets an error.
CREATE FUNCTION threadline_internal.why_not_value(type oid, typmod integer, value jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  is_null boolean := coalesce(value, 'null') = 'null';
  kind record;
BEGIN
  IF NOT is_null THEN
    IF threadline_internal.built_in_type(type, typmod) IS NULL THEN
      RETURN 'only code of the type itself could tell';
    END IF;
    PERFORM threadline_internal.built_in_value(type, typmod, value);
  END IF;
  LOOP
    SELECT y.typtype, y.typbasetype, y.typnotnull INTO kind FROM pg_type AS y WHERE y.oid = type;
    EXIT WHEN kind.typtype <> 'd';
    IF kind.typnotnull AND is_null THEN
      RETURN format('its domain %s is NOT NULL', type::regtype);
    END IF;
    type := kind.typbasetype;
  END LOOP;
  IF kind.typtype = 'e' AND NOT is_null AND NOT EXISTS (
      SELECT FROM pg_enum AS e WHERE e.enumtypid = type AND e.enumlabel = value #>> '{}') THEN
    RETURN format('%s has no such label', type::regtype);
  END IF;
  RETURN NULL;
EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
  RETURN SQLERRM;
END
$function$;
COMMENT ON FUNCTION threadline_internal.why_not_value(oid, integer, jsonb) IS
  'Why a value cannot be one of a type; NULL where it can.';
