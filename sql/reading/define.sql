-- Their first argument is a row of the table.
CREATE FUNCTION threadline_internal.functions_of_table(relation regclass) RETURNS SETOF regprocedure
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT p.oid::regprocedure
    FROM pg_proc AS p
    JOIN pg_class AS c ON c.reltype = p.proargtypes[0]
   WHERE c.oid = relation AND p.pronamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace)
$function$;
COMMENT ON FUNCTION threadline_internal.functions_of_table(regclass) IS
  'The generated functions that read the history and the past of a table.';

CREATE FUNCTION threadline_internal.define_reading_functions(audited threadline.audited_tables) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  defined record;
  outdated regprocedure;
  reader regrole;
BEGIN
  -- What can stay is replaced: views of the application may stand on it.
  FOR outdated IN SELECT threadline_internal.functions_of_table(audited.relation)
                  EXCEPT SELECT to_regprocedure(d.signature) FROM threadline_internal.history_functions(audited) AS d
                  EXCEPT SELECT to_regprocedure(d.signature) FROM threadline_internal.past_functions(audited) AS d LOOP
    EXECUTE format('DROP FUNCTION %s', outdated);
  END LOOP;
  FOR defined IN SELECT * FROM threadline_internal.history_functions(audited) UNION ALL SELECT * FROM threadline_internal.past_functions(audited) LOOP
    EXECUTE format('CREATE OR REPLACE FUNCTION %s %s', defined.signature, defined.definition);
    EXECUTE format('COMMENT ON FUNCTION %s IS %L', defined.signature, defined.description);
    -- Readers of the audit log may call them; nobody else could use them.
    EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', defined.signature);
    EXECUTE format('ALTER FUNCTION %s OWNER TO %s', defined.signature,
      (SELECT relowner::regrole FROM pg_class WHERE oid = 'threadline.audit_changes'::regclass));
    FOR reader IN SELECT DISTINCT acl.grantee FROM pg_class AS c, aclexplode(c.relacl) AS acl
                   WHERE c.oid = 'threadline.audit_changes'::regclass AND acl.privilege_type = 'SELECT'
                     AND acl.grantee NOT IN (0, c.relowner) LOOP
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', defined.signature, reader);
    END LOOP;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.define_reading_functions(threadline.audited_tables) IS
  'Writes the functions that read the history and the past of a table.';
