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
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
#variable_conflict use_column
BEGIN
  RETURN (SELECT CASE WHEN y.typnamespace = 'pg_catalog'::regnamespace
                  -- Newer versions quote json, which is a keyword there. A type has one name on all of them.
                  AND replace(f.name, '[]', '') IN (quote_ident(coalesce(e.typname, y.typname)), 'json')
             THEN 'pg_catalog.' || f.name ELSE f.name END
      FROM pg_type AS y
      LEFT JOIN pg_type AS e ON y.typcategory = 'A' AND e.oid = y.typelem
     CROSS JOIN LATERAL (SELECT format_type(y.oid, typmod) AS name) AS f
     WHERE y.oid = type_name.type);
END
$function$;
COMMENT ON FUNCTION threadline_internal.type_name(oid, integer) IS 'The name of a type, whatever the search_path.';

-- Looks through domains, down to the type that values have. It says whether there is a CHECK, and never runs it: it may
-- belong to anybody.
CREATE FUNCTION threadline_internal.base_type(INOUT type oid, INOUT typmod integer, OUT kind "char",
  OUT category "char", OUT is_built_in boolean, OUT has_check boolean, OUT not_null_domain oid)
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  found_type record;
BEGIN
  has_check := false;
  LOOP
    SELECT y.typtype, y.typcategory, y.typnamespace, y.typbasetype, y.typtypmod, y.typnotnull INTO found_type
      FROM pg_type AS y WHERE y.oid = type;
    EXIT WHEN found_type.typtype IS DISTINCT FROM 'd';
    has_check := has_check OR EXISTS (SELECT FROM pg_constraint AS c WHERE c.contypid = type AND c.contype = 'c');
    not_null_domain := coalesce(not_null_domain, CASE WHEN found_type.typnotnull THEN type END);
    type := found_type.typbasetype;
    typmod := greatest(typmod, found_type.typtypmod);
  END LOOP;
  kind := found_type.typtype;
  category := found_type.typcategory;
  is_built_in := found_type.typnamespace = 'pg_catalog'::regnamespace;
END
$function$;
COMMENT ON FUNCTION threadline_internal.base_type(oid, integer) IS
  'The type that a domain is of, and what its domains demand; any other type as it is.';

-- Names the type in which a constant of a column may be evaluated without running anybody's code: a built-in one. A
-- domain is looked through, and the labels of an enum are text.
CREATE FUNCTION threadline_internal.built_in_type(type oid, typmod integer) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN b.is_built_in THEN threadline_internal.type_name(b.type, b.typmod)
           WHEN b.kind = 'e' OR b.kind = 'b' AND b.category = 'S' THEN 'pg_catalog.text'
           WHEN e.typtype = 'e' THEN 'pg_catalog.text[]' END
    FROM threadline_internal.base_type(type, typmod) AS b
    JOIN pg_type AS y ON y.oid = b.type
    LEFT JOIN pg_type AS e ON e.oid = y.typelem AND b.category = 'A'
$function$;
COMMENT ON FUNCTION threadline_internal.built_in_type(oid, integer) IS
  'The built-in type that values of a type are converted like; NULL where only code of the type itself can convert.';

-- Converts a value as a built-in type does. An integer type reads no number with a scale.
CREATE FUNCTION threadline_internal.value_as(type text, value jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF type ~ '(smallint|integer|bigint)$' AND jsonb_typeof(value) = 'number' THEN
    value := to_jsonb(trim_scale(value::numeric));
  END IF;
  EXECUTE format('SELECT to_jsonb(r.value) FROM jsonb_to_record(jsonb_build_object(%L, $1)) AS r (value %s)', 'value',
    type) INTO value USING value;
  RETURN value;
END
$function$;
COMMENT ON FUNCTION threadline_internal.value_as(text, jsonb) IS
  'A value as JSON, as a column of a built-in type would have it under the settings of the session.';

-- Converts a value as its type does, by built-in types alone.
CREATE FUNCTION threadline_internal.built_in_value(type oid, typmod integer, value jsonb) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS $function$
  SELECT threadline_internal.value_as(threadline_internal.built_in_type(type, typmod), value)
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
  base record := threadline_internal.base_type(type, typmod);
BEGIN
  IF is_null THEN
    RETURN 'its domain ' || base.not_null_domain::regtype || ' is NOT NULL';  -- NULL where there is none
  ELSIF threadline_internal.built_in_type(type, typmod) IS NULL THEN
    RETURN 'only code of the type itself could tell';
  END IF;
  PERFORM threadline_internal.built_in_value(type, typmod, value);
  IF base.kind = 'e' AND NOT EXISTS (
      SELECT FROM pg_enum AS e WHERE e.enumtypid = base.type AND e.enumlabel = value #>> '{}') THEN
    RETURN format('%s has no such label', base.type::regtype);
  END IF;
  RETURN NULL;
EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
  RETURN SQLERRM;
END
$function$;
COMMENT ON FUNCTION threadline_internal.why_not_value(oid, integer, jsonb) IS
  'Why a value cannot be one of a type; NULL where it can.';

-- Whether a type can hold the placeholder [REDACTED], by catalog: no value is ever converted. A domain with a CHECK
-- might refuse the placeholder, and only running the CHECK could tell.
CREATE FUNCTION threadline_internal.holds_placeholder(type oid, typmod integer) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  base record := threadline_internal.base_type(type, typmod);
BEGIN
  -- typmod of varchar(n) and char(n) is n + 4; "char" is a single byte.
  RETURN NOT base.has_check AND base.kind = 'b' AND base.category = 'S' AND base.type <> '"char"'::regtype
    AND base.typmod NOT BETWEEN 4 AND 13;
END
$function$;
COMMENT ON FUNCTION threadline_internal.holds_placeholder(oid, integer) IS
  'Whether a value of a type can be the placeholder [REDACTED].';

-- Lists the types that the values of a type consist of, down to those that JSON has as one value.
CREATE FUNCTION threadline_internal.types_of_type(type oid) RETURNS SETOF oid
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH RECURSIVE types AS (
    SELECT types_of_type.type
    UNION
    SELECT part.type
      FROM types AS t JOIN pg_type AS y ON y.oid = t.type
     CROSS JOIN LATERAL (
       SELECT y.typbasetype AS type WHERE y.typtype = 'd'
       UNION ALL SELECT y.typelem WHERE y.typelem <> 0 AND y.typcategory = 'A'
       UNION ALL SELECT c.type FROM threadline_internal.columns_of(y.typrelid) AS c WHERE y.typrelid <> 0) AS part
  )
  SELECT t.type FROM types AS t
$function$;
COMMENT ON FUNCTION threadline_internal.types_of_type(oid) IS
  'A type, and the types that JSON has inside of its values.';

-- Lists the columns that to_jsonb would make JSON of by a cast, which can be the code of anybody, can fail, and can
-- lose what the text of the value says. Images have the text. to_jsonb asks for a cast to json, and not to jsonb, of no
-- type of PostgreSQL itself, and looks for it inside of arrays, domains and composite types.
CREATE FUNCTION threadline_internal.text_columns(relation regclass) RETURNS text[]
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(array_agg(c.name ORDER BY c.name COLLATE "C"), '{}')
    FROM threadline_internal.columns_of(relation) AS c
   WHERE c.type >= 16384
     AND EXISTS (SELECT FROM threadline_internal.types_of_type(c.type) AS t (type)
                   JOIN pg_cast AS k ON k.castsource = t.type AND k.casttarget = 'json'::regtype
                  WHERE t.type >= 16384 AND k.castfunc <> 0)
$function$;
COMMENT ON FUNCTION threadline_internal.text_columns(regclass) IS
  'The columns of a table that images have as text: those whose type has, or consists of one that has, a cast to json.';

-- Lists the columns that may not become JSON, be they ever so small: json stores what jsonb refuses, like \u0000.
CREATE FUNCTION threadline_internal.json_columns(relation regclass) RETURNS text[]
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(array_agg(c.name ORDER BY c.name COLLATE "C"), '{}')
    FROM threadline_internal.columns_of(relation) AS c
   WHERE c.type = 'json'::regtype OR c.type = 'json[]'::regtype
      OR c.type >= 16384 AND EXISTS (
        SELECT FROM threadline_internal.types_of_type(c.type) AS t (type) WHERE t.type = 'json'::regtype)
$function$;
COMMENT ON FUNCTION threadline_internal.json_columns(regclass) IS
  'The columns of a table whose values are of the type json, or consist of such.';

-- Whether values of a type are always short: no row of them exceeds what JSON can hold.
CREATE FUNCTION threadline_internal.is_short(type oid, typmod integer) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT y.typlen > 0 OR b.type = ANY ('{numeric, inet, cidr}'::regtype[]::oid[])
         OR b.type = ANY ('{varchar, bpchar, bit, varbit}'::regtype[]::oid[]) AND b.typmod BETWEEN 0 AND 1000
    FROM threadline_internal.base_type(type, typmod) AS b JOIN pg_type AS y ON y.oid = b.type
$function$;
COMMENT ON FUNCTION threadline_internal.is_short(oid, integer) IS 'Whether values of a type are always short.';

-- Tells how two values of a type are compared: as what they are, as text byte by byte, or as JSON, which is slower.
-- Values of the first two are equal just where their JSON is. A collation might say otherwise, and can be altered
-- without a trace in the definition. In JSON a NULL is a JSON null.
CREATE FUNCTION threadline_internal.compared_as(type oid, typmod integer) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN b.kind = 'e' OR b.type = ANY ('{bool, int2, int4, int8, float4, float8, numeric, date, time,
             timestamp, timestamptz, uuid, bytea}'::regtype[]) THEN 'value'
           WHEN b.type = ANY ('{text, varchar}'::regtype[]) THEN 'text'
           WHEN b.type = 'jsonb'::regtype THEN 'jsonb' ELSE 'json' END
    FROM threadline_internal.base_type(type, typmod) AS b
$function$;
COMMENT ON FUNCTION threadline_internal.compared_as(oid, integer) IS
  'How values of a type are compared: as value, text, jsonb, or what JSON they make.';
