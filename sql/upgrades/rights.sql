-- Lists who may record actions, apart from the owner. A migration that changes the function keeps the old one by a name
-- that begins with this.
CREATE FUNCTION threadline_internal.recorders() RETURNS SETOF regrole
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT DISTINCT acl.grantee::regrole
    FROM pg_proc AS p, aclexplode(p.proacl) AS acl
   WHERE p.pronamespace = 'threadline'::regnamespace AND starts_with(p.proname, 'record_action')
     AND acl.grantee NOT IN (0, p.proowner)
$function$;
COMMENT ON FUNCTION threadline_internal.recorders() IS 'The roles that may record actions, but for the owner.';

-- Lists the rights that readers and recorders should have by the rules of threadline.grant_reader and grant_recorder,
-- and lack.
CREATE FUNCTION threadline_internal.missing_rights() RETURNS TABLE (role regrole, kind text, rights text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT r.role, 'reader', format('SELECT ON %s', c.relation)
    FROM threadline_internal.readers() AS r (role), threadline_internal.reader_relations() AS c (relation)
   WHERE NOT has_table_privilege(r.role, c.relation, 'SELECT')
  UNION ALL
  SELECT r.role, 'reader', format('EXECUTE ON FUNCTION %s', f.function)
    FROM threadline_internal.readers() AS r (role), threadline_internal.reader_functions() AS f (function)
   WHERE NOT has_function_privilege(r.role, f.function, 'EXECUTE')
  UNION ALL
  SELECT r.role, 'reader', 'USAGE ON SCHEMA threadline'
    FROM threadline_internal.readers() AS r (role) WHERE NOT has_schema_privilege(r.role, 'threadline', 'USAGE')
  UNION ALL
  SELECT r.role, 'recorder', 'USAGE ON SCHEMA threadline'
    FROM threadline_internal.recorders() AS r (role) WHERE NOT has_schema_privilege(r.role, 'threadline', 'USAGE')
  UNION ALL
  SELECT r.role, 'recorder', format('EXECUTE ON FUNCTION %s', p.oid::regprocedure)
    FROM threadline_internal.recorders() AS r (role), pg_proc AS p
   WHERE p.pronamespace = 'threadline'::regnamespace AND p.proname = 'record_action'
     AND NOT has_function_privilege(r.role, p.oid, 'EXECUTE')
$function$;
COMMENT ON FUNCTION threadline_internal.missing_rights() IS
  'The rights that readers and recorders of the audit log should have, and lack.';

-- What every migration ends with. PostgreSQL lets everybody call a new function, and use the row type of a table; a
-- table with a column of that type would keep the audit log from being altered, and a partition from being dropped.
-- What was made anew is granted to those who had it.
CREATE FUNCTION threadline_internal.restore_rights() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  type regtype;
  missing record;
BEGIN
  REVOKE ALL ON ALL FUNCTIONS IN SCHEMA threadline, threadline_internal FROM PUBLIC;
  FOR type IN SELECT y.oid FROM pg_type AS y
               WHERE y.typnamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace)
                 AND y.typtype = 'c' LOOP
    EXECUTE format('REVOKE USAGE ON TYPE %s FROM PUBLIC', type);
  END LOOP;
  FOR missing IN SELECT * FROM threadline_internal.missing_rights() LOOP
    EXECUTE format('GRANT %s TO %s', missing.rights, missing.role);
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.restore_rights() IS
  'Takes from PUBLIC what PostgreSQL gives it, and gives readers and recorders what they lack.';
