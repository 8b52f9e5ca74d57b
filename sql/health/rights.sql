-- Superusers and the owner of the audit log are trusted, because they have all rights anyway.
CREATE FUNCTION threadline_internal.trusted_roles() RETURNS SETOF oid
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT nspowner FROM pg_namespace WHERE nspname IN ('threadline', 'threadline_internal')
  UNION SELECT threadline_internal.log_owner()
  UNION SELECT oid FROM pg_roles WHERE rolsuper
$function$;
COMMENT ON FUNCTION threadline_internal.trusted_roles() IS
  'The roles with all rights on the audit log: its owners and superusers.';

-- Returns what Threadline owns, with the privileges on it.
CREATE FUNCTION threadline_internal.owned_objects()
RETURNS TABLE (kind text, name text, table_name text, columns text, owner oid, acl aclitem[])
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH own AS (SELECT oid, nspname, nspowner, nspacl FROM pg_namespace
                WHERE nspname IN ('threadline', 'threadline_internal'))
  SELECT 'SCHEMA', 'SCHEMA ' || quote_ident(nspname), NULL, NULL, nspowner, coalesce(nspacl, acldefault('n', nspowner))
    FROM own
  UNION ALL
  SELECT 'TABLE', CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || c.oid::regclass, c.relname, NULL,
         c.relowner, coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))
    FROM pg_class AS c JOIN own ON own.oid = c.relnamespace
   WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
  UNION ALL
  SELECT 'COLUMN', 'TABLE ' || c.oid::regclass, c.relname, format(' (%I)', a.attname), c.relowner, a.attacl
    FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid JOIN own ON own.oid = c.relnamespace
   WHERE a.attacl IS NOT NULL
  UNION ALL
  SELECT 'FUNCTION', 'FUNCTION ' || p.oid::regprocedure, NULL, NULL, p.proowner,
         coalesce(p.proacl, acldefault('f', p.proowner))
    FROM pg_proc AS p JOIN own ON own.oid = p.pronamespace
$function$;
COMMENT ON FUNCTION threadline_internal.owned_objects() IS
  'The schemas, relations, columns with their own privileges, and functions of Threadline.';

-- Returns privileges to write the audit log, or to replace what writes it.
CREATE FUNCTION threadline_internal.health_grants()
RETURNS TABLE ("check" text, severity text, table_schema text, table_name text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH granted AS (
    SELECT o.kind, o.name, o.table_name,
           CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END AS grantee,
           string_agg(g.privilege_type || coalesce(o.columns, ''), ', ' ORDER BY g.privilege_type) AS privileges
      FROM threadline_internal.owned_objects() AS o CROSS JOIN LATERAL aclexplode(o.acl) AS g
     WHERE CASE WHEN g.grantee = 0 THEN o.kind <> 'FUNCTION'
             WHEN g.grantee = o.owner OR g.grantee IN (SELECT threadline_internal.trusted_roles()) THEN false
             WHEN o.kind = 'SCHEMA' THEN g.privilege_type = 'CREATE'
             WHEN o.kind = 'FUNCTION' THEN false
             ELSE g.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'USAGE') END
     GROUP BY o.kind, o.name, o.table_name, o.columns, g.grantee
  )
  SELECT CASE WHEN grantee = 'PUBLIC' THEN 'granted_to_public' WHEN kind = 'SCHEMA' THEN 'functions_replaceable'
           ELSE 'audit_log_writable' END,
         'error', CASE WHEN table_name IS NOT NULL THEN 'threadline' END, table_name,
         format('%s has %s on %s', grantee, privileges, name),
         format('REVOKE %s ON %s FROM %s;', privileges, name, grantee)
    FROM granted
  UNION ALL
  SELECT 'granted_to_public', 'warning', NULL, NULL, format('PUBLIC has EXECUTE on %s functions', count(*)),
         'REVOKE ALL ON ALL FUNCTIONS IN SCHEMA threadline, threadline_internal FROM PUBLIC;'
    FROM threadline_internal.owned_objects() AS o CROSS JOIN LATERAL aclexplode(o.acl) AS g
   WHERE g.grantee = 0 AND o.kind = 'FUNCTION' HAVING count(*) > 0
  UNION ALL
  SELECT 'audit_log_writable', 'error', NULL, NULL, format('%s is a member of pg_write_all_data', m.member::regrole),
         format('REVOKE pg_write_all_data FROM %s;', m.member::regrole)
    FROM pg_auth_members AS m JOIN pg_roles AS r ON r.oid = m.roleid
   WHERE r.rolname = 'pg_write_all_data' AND m.member NOT IN (SELECT threadline_internal.trusted_roles())
$function$;
COMMENT ON FUNCTION threadline_internal.health_grants() IS
  'Findings for privileges on the audit log of roles other than its owner, and for those of PUBLIC.';

-- Returns parts of Threadline that belong to another role.
CREATE FUNCTION threadline_internal.health_owners()
RETURNS TABLE ("check" text, severity text, table_schema text, table_name text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE o.kind WHEN 'TABLE' THEN 'audit_log_writable' ELSE 'functions_replaceable' END, 'error',
         CASE WHEN o.table_name IS NOT NULL THEN 'threadline' END, o.table_name,
         format('%s belongs to %s, who does not own the audit log', o.name, o.owner::regrole),
         format('ALTER %s OWNER TO %s;', o.name, threadline_internal.log_owner()::regrole)
    FROM threadline_internal.owned_objects() AS o
   WHERE o.kind IN ('FUNCTION', 'TABLE')
     AND o.owner NOT IN (SELECT threadline_internal.trusted_roles())
$function$;
COMMENT ON FUNCTION threadline_internal.health_owners() IS
  'Findings for parts of Threadline that do not belong to the owner of the audit log.';

-- Returns roles and databases whose sessions are not captured: with session_replication_role = replica, only triggers
-- enabled as REPLICA or ALWAYS fire.
CREATE FUNCTION threadline_internal.health_replica_role()
RETURNS TABLE ("check" text, severity text, table_schema text, table_name text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'triggers_bypassed', 'error', NULL, NULL, format('session_replication_role is replica for %s', w.whose),
         format('ALTER %s RESET session_replication_role;', w.whose)
    FROM pg_db_role_setting AS s
   CROSS JOIN LATERAL (
     SELECT concat_ws(' IN ', CASE WHEN s.setrole <> 0 THEN 'ROLE ' || s.setrole::regrole END,
              CASE WHEN s.setdatabase <> 0 THEN 'DATABASE ' || quote_ident(current_database()) END)) AS w (whose)
   WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
     AND 'session_replication_role=replica' = ANY (s.setconfig)
$function$;
COMMENT ON FUNCTION threadline_internal.health_replica_role() IS
  'Findings for roles and databases whose sessions do not fire the capture triggers.';

-- Returns a finding if the owner of the audit log may not inspect other sessions.
CREATE FUNCTION threadline_internal.health_settled_at()
RETURNS TABLE ("check" text, severity text, table_schema text, table_name text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'settled_at_inexact', 'warning', NULL, NULL,
         format('%s, the owner of the audit log, may not look at other sessions, so threadline.settled_at() stays '
                'before the newest transaction', o.owner::regrole),
         format('GRANT pg_read_all_stats TO %s;', o.owner::regrole)
    FROM (SELECT threadline_internal.log_owner() AS owner) AS o
   WHERE NOT pg_has_role(o.owner, 'pg_read_all_stats', 'USAGE')
$function$;
COMMENT ON FUNCTION threadline_internal.health_settled_at() IS
  'A finding if the owner of the audit log cannot see which transactions are running.';

-- Returns everything that lets a role other than the owner of the audit log write it or bypass capture.
CREATE FUNCTION threadline_internal.health_rights()
RETURNS TABLE ("check" text, severity text, table_schema text, table_name text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT * FROM threadline_internal.health_grants()
  UNION ALL SELECT * FROM threadline_internal.health_owners()
  UNION ALL SELECT * FROM threadline_internal.health_replica_role()
  UNION ALL SELECT * FROM threadline_internal.health_settled_at()
   ORDER BY 1, 4, 5
$function$;
COMMENT ON FUNCTION threadline_internal.health_rights() IS
  'Privileges that let a role other than the owner of the audit log write it or change what writes it, privileges of '
  'PUBLIC, and privileges that the owner lacks.';
