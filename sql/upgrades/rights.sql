-- Returns the roles that may record actions, except the owner. A migration that changes record_action keeps the old
-- function under a name that begins with its name.
CREATE FUNCTION threadline_internal.recorders() RETURNS SETOF regrole
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT DISTINCT acl.grantee::regrole
    FROM pg_proc AS p, aclexplode(p.proacl) AS acl
   WHERE p.pronamespace = 'threadline'::regnamespace AND starts_with(p.proname, 'record_action')
     AND acl.grantee NOT IN (0, p.proowner)
$function$;
COMMENT ON FUNCTION threadline_internal.recorders() IS 'The roles that may record actions, except the owner.';

-- Returns the rights that readers and recorders lack, although they should have them by the rules of
-- threadline.grant_reader and grant_recorder.
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
  'The rights that readers and recorders of the audit log should have but lack.';

-- Every migration ends with this function. PostgreSQL lets everyone call a new function and use the row type of a
-- table. A table with a column of that type would prevent the audit log from being altered, and a partition from being
-- dropped. New objects are granted to the roles that had the old ones.
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
  'Revokes what PostgreSQL grants to PUBLIC, and grants readers and recorders what they lack.';
