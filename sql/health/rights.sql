-- Trusted are superusers and the owner of the audit log, who may do everything anyhow.
CREATE FUNCTION threadline_internal.health_rights() RETURNS TABLE ("check" text, severity text, table_schema text,
  table_name text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH trusted AS (
    SELECT nspowner AS oid FROM pg_namespace WHERE nspname IN ('threadline', 'threadline_internal')
    UNION SELECT relowner FROM pg_class WHERE oid = 'threadline.audit_changes'::regclass
    UNION SELECT oid FROM pg_roles WHERE rolsuper
  ), object AS (
    SELECT 'SCHEMA' AS kind, 'SCHEMA ' || quote_ident(nspname) AS name, NULL AS table_name, NULL AS columns, nspowner
      AS owner, coalesce(nspacl, acldefault('n', nspowner)) AS acl
      FROM pg_namespace WHERE nspname IN ('threadline', 'threadline_internal')
    UNION ALL
    SELECT 'TABLE', CASE relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || oid::regclass, relname::text, NULL,
      relowner,
           coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))
      FROM pg_class WHERE relnamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace)
        AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    UNION ALL
    SELECT 'COLUMN', 'TABLE ' || c.oid::regclass, c.relname::text, format(' (%I)', a.attname), c.relowner, a.attacl
      FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
        WHERE c.relnamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace)
          AND a.attacl IS NOT NULL
    UNION ALL
    SELECT 'FUNCTION', 'FUNCTION ' || oid::regprocedure, NULL, NULL, proowner, coalesce(proacl, acldefault('f',
      proowner))
      FROM pg_proc WHERE pronamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace)
  ), granted AS (
    SELECT o.kind, o.name, o.table_name, CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END
      AS grantee,
           string_agg(g.privilege_type || coalesce(o.columns, ''), ', ' ORDER BY g.privilege_type) AS privileges
      FROM object AS o CROSS JOIN LATERAL aclexplode(o.acl) AS g
     WHERE CASE WHEN g.grantee = 0 THEN o.kind <> 'FUNCTION' ELSE g.grantee <> o.owner AND g.grantee NOT IN (SELECT oid
       FROM trusted) AND CASE o.kind
             WHEN 'SCHEMA' THEN g.privilege_type = 'CREATE'
             WHEN 'FUNCTION' THEN false
             ELSE g.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'USAGE') END END
     GROUP BY o.kind, o.name, o.table_name, o.columns, g.grantee
  )
  SELECT CASE WHEN grantee = 'PUBLIC' THEN 'granted_to_public' WHEN kind = 'SCHEMA' THEN 'functions_replaceable'
    ELSE 'audit_log_writable' END,
         'error', CASE WHEN table_name IS NOT NULL THEN 'threadline' END, table_name,
         format('%s has %s on %s', grantee, privileges, name), format('REVOKE %s ON %s FROM %s;', privileges, name,
           grantee)
    FROM granted
  UNION ALL
  SELECT 'granted_to_public', 'warning', NULL, NULL, format('PUBLIC has EXECUTE on %s functions', count(*)),
         'REVOKE ALL ON ALL FUNCTIONS IN SCHEMA threadline, threadline_internal FROM PUBLIC;'
    FROM object AS o CROSS JOIN LATERAL aclexplode(o.acl) AS g WHERE g.grantee = 0
      AND o.kind = 'FUNCTION' HAVING count(*) > 0
  UNION ALL
  SELECT CASE kind WHEN 'TABLE' THEN 'audit_log_writable' ELSE 'functions_replaceable' END, 'error', CASE
    WHEN table_name IS NOT NULL THEN 'threadline' END,
         table_name, format('%s belongs to %s, who does not own the audit log', name, owner::regrole),
         format('ALTER %s OWNER TO %s;', name, (SELECT relowner::regrole FROM pg_class
           WHERE oid = 'threadline.audit_changes'::regclass))
    FROM object WHERE kind IN ('FUNCTION', 'TABLE') AND owner NOT IN (SELECT oid FROM trusted)
  UNION ALL
  SELECT 'audit_log_writable', 'error', NULL, NULL, format('%s is a member of pg_write_all_data', m.member::regrole),
    format('REVOKE pg_write_all_data FROM %s;', m.member::regrole)
    FROM pg_auth_members AS m JOIN pg_roles AS r ON r.oid = m.roleid
   WHERE r.rolname = 'pg_write_all_data' AND m.member NOT IN (SELECT oid FROM trusted)
  UNION ALL
  -- In such sessions only those triggers fire that are enabled for replication, or always.
  SELECT 'triggers_bypassed', 'error', NULL, NULL, format('session_replication_role is replica for %s', whose),
    format('ALTER %s RESET session_replication_role;', whose)
    FROM pg_db_role_setting AS s
   CROSS JOIN LATERAL (SELECT concat_ws(' IN ', CASE WHEN s.setrole <> 0 THEN 'ROLE ' || s.setrole::regrole END,
                              CASE WHEN s.setdatabase <> 0 THEN 'DATABASE ' || quote_ident(current_database()) END))
                                AS w (whose)
   WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
     AND 'session_replication_role=replica' = ANY (s.setconfig)
   ORDER BY 1, 4, 5
$function$;
COMMENT ON FUNCTION threadline_internal.health_rights() IS
  'Rights that let someone other than the owner of the audit log write it or change what writes it, and rights of '
  'PUBLIC.';
