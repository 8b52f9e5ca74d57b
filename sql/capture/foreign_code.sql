-- Capture functions run with the rights of the owner of the audit log, whoever writes. So they must not run anyone
-- else's code, including that of the table owner, who chooses the types of the columns and the expressions that
-- PostgreSQL evaluates when it plans a read.

-- Returns whether a trigger fired for a table that it may record: the table in audited_tables or a partition of it. If
-- that table no longer exists, it may record the table with the same name, because that was restored with its triggers.
CREATE FUNCTION threadline_internal.captures(table_id integer, written oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT EXISTS (
    SELECT FROM threadline.audited_tables AS t
     WHERE t.id = captures.table_id AND t.capture_ended_at IS NULL
       AND (t.relation = captures.written
            OR t.relation IN (SELECT pg_partition_ancestors(captures.written))
            OR NOT threadline_internal.is_table_of(t)
               AND to_regclass(format('%I.%I', t.table_schema, t.table_name))
                   IN (SELECT captures.written UNION ALL SELECT pg_partition_ancestors(captures.written))))
$function$;
COMMENT ON FUNCTION threadline_internal.captures(integer, oid) IS
  'Whether the capture functions of a table record writes to a relation.';

-- Returns whether the code of a role may run with the rights of another: if it is the same role, or has all rights
-- anyway.
CREATE FUNCTION threadline_internal.is_trusted(role oid, runner oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT role = runner OR EXISTS (SELECT FROM pg_roles AS r WHERE r.oid = role AND r.rolsuper)
$function$;
COMMENT ON FUNCTION threadline_internal.is_trusted(oid, oid) IS
  'Whether code of a role may run with the rights of another: it is the same role or a superuser.';

-- Returns the current user.
CREATE FUNCTION threadline_internal.runner() RETURNS oid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT r.oid FROM pg_roles AS r WHERE r.rolname = current_user
$function$;
COMMENT ON FUNCTION threadline_internal.runner() IS 'The current user.';

-- Returns the owner of the audit log, with whose rights capture runs.
CREATE FUNCTION threadline_internal.log_owner() RETURNS oid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT c.relowner FROM pg_class AS c WHERE c.oid = 'threadline.audit_changes'::regclass
$function$;
COMMENT ON FUNCTION threadline_internal.log_owner() IS 'The owner of the audit log.';

-- Returns the types that values of a table contain.
CREATE FUNCTION threadline_internal.types_of_table(relation regclass) RETURNS SETOF oid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH RECURSIVE types AS (
    SELECT c.type FROM threadline_internal.columns_of(relation) AS c
    UNION
    SELECT part.type
      FROM types AS t JOIN pg_type AS y ON y.oid = t.type
     CROSS JOIN LATERAL (
       SELECT y.typbasetype AS type WHERE y.typtype = 'd'
       UNION ALL SELECT y.typelem WHERE y.typelem <> 0
       UNION ALL SELECT c.type FROM threadline_internal.columns_of(y.typrelid) AS c WHERE y.typrelid <> 0
       UNION ALL SELECT r.rngsubtype FROM pg_range AS r WHERE r.rngtypid = y.oid) AS part
  )
  SELECT t.type FROM types AS t;
END
$function$;
COMMENT ON FUNCTION threadline_internal.types_of_table(regclass) IS
  'The types of the columns of a table, and all types that those contain.';

-- Returns whether only the owner of the audit log or a superuser can give a table a type with code.
CREATE FUNCTION threadline_internal.is_trusted_table(relation regclass) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN (SELECT bool_and(threadline_internal.is_trusted(o.owner, threadline_internal.log_owner()))
      FROM (SELECT c.relowner AS owner FROM pg_class AS c WHERE c.oid = relation
            UNION SELECT y.typowner FROM threadline_internal.types_of_table(relation) AS t (type)
                    JOIN pg_type AS y ON y.oid = t.type) AS o);
END
$function$;
COMMENT ON FUNCTION threadline_internal.is_trusted_table(regclass) IS
  'Whether a table and its types belong to the owner of the audit log or to superusers.';

CREATE FUNCTION threadline_internal.raise_foreign_code(relation regclass, code text, hint text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RAISE EXCEPTION 'reading % would run %, with the rights of %', relation, code, current_user
    USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'threadline_foreign_code', TABLE = relation::text,
      HINT = hint;
END
$function$;
COMMENT ON FUNCTION threadline_internal.raise_foreign_code(regclass, text, text) IS
  'Raises the error for a table that cannot be read without running someone else''s code.';

-- Raises an error if reading a table could run code of its owner. To plan a query of a table, PostgreSQL evaluates
-- constants in the expressions of its indexes, constraints and statistics. So every function that these depend on, even
-- through an operator, a domain or an operator class, must belong to a trusted role.
CREATE FUNCTION threadline_internal.check_foreign_code(relation regclass) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
AS $function$
DECLARE
  function regprocedure;
BEGIN
  WITH RECURSIVE member AS (
    SELECT relation::oid AS oid UNION SELECT p.relid FROM threadline_internal.partition_tree(relation) AS p
  ), used AS (
    SELECT 'pg_class'::regclass::oid AS class, i.indexrelid AS oid
      FROM member AS m JOIN pg_index AS i ON i.indrelid = m.oid
    UNION
    SELECT 'pg_constraint'::regclass, c.oid FROM member AS m JOIN pg_constraint AS c ON c.conrelid = m.oid
    UNION
    SELECT 'pg_statistic_ext'::regclass, s.oid FROM member AS m JOIN pg_statistic_ext AS s ON s.stxrelid = m.oid
    UNION
    SELECT 'pg_attrdef'::regclass, d.oid
      FROM member AS m JOIN pg_attrdef AS d ON d.adrelid = m.oid
      JOIN pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum AND a.attgenerated = 'v'
    UNION
    SELECT n.class, n.oid
      FROM used AS u
     CROSS JOIN LATERAL (
       SELECT d.refclassid, d.refobjid FROM pg_depend AS d
        WHERE d.classid = u.class AND d.objid = u.oid
          AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_type'::regclass,
            'pg_opclass'::regclass, 'pg_opfamily'::regclass)
       UNION ALL
       SELECT 'pg_constraint'::regclass, c.oid FROM pg_constraint AS c
        WHERE u.class = 'pg_type'::regclass AND c.contypid = u.oid
       UNION ALL
       SELECT 'pg_proc'::regclass, a.amproc FROM pg_amproc AS a
        WHERE u.class = 'pg_opfamily'::regclass AND a.amprocfamily = u.oid) AS n (class, oid)
  )
  SELECT p.oid INTO function
    FROM used AS u JOIN pg_proc AS p ON p.oid = u.oid
   WHERE u.class = 'pg_proc'::regclass AND NOT threadline_internal.is_trusted(p.proowner, threadline_internal.runner())
   LIMIT 1;
  IF FOUND THEN
    PERFORM threadline_internal.raise_foreign_code(relation,
      format('%s, which an index or a constraint uses', function),
      format('Let the owner of the audit log own it: ALTER FUNCTION %s OWNER TO %s; or drop what uses it.', function,
             current_user));
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.check_foreign_code(regclass) IS
  'Raises an error if reading a table could run someone else''s code.';
