-- Lists the generated functions that read a table. Their first argument is a row of it.
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

-- Lists who may read the audit log, apart from its owner.
CREATE FUNCTION threadline_internal.readers() RETURNS SETOF regrole
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT DISTINCT acl.grantee::regrole
    FROM pg_class AS c, aclexplode(c.relacl) AS acl
   WHERE c.oid = 'threadline.audit_changes'::regclass AND acl.privilege_type = 'SELECT'
     AND acl.grantee NOT IN (0, c.relowner)
$function$;
COMMENT ON FUNCTION threadline_internal.readers() IS 'The roles that may read the audit log, but for its owner.';

-- Writes the functions that read a table. Those that can stay are replaced: views of the application may stand on them.
-- Readers of the audit log may call them; nobody else could use them.
CREATE FUNCTION threadline_internal.define_reading_functions(audited threadline.audited_tables) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  defined record;
  outdated regprocedure;
  reader regrole;
BEGIN
  FOR outdated IN SELECT threadline_internal.functions_of_table(audited.relation)
                  EXCEPT SELECT to_regprocedure(d.signature) FROM threadline_internal.history_functions(audited) AS d
                  EXCEPT SELECT to_regprocedure(d.signature) FROM threadline_internal.past_functions(audited) AS d LOOP
    EXECUTE format('DROP FUNCTION %s', outdated);
  END LOOP;
  FOR defined IN SELECT * FROM threadline_internal.history_functions(audited)
                 UNION ALL SELECT * FROM threadline_internal.past_functions(audited) LOOP
    PERFORM threadline_internal.define_function(defined.signature, defined.definition, defined.description);
    FOR reader IN SELECT threadline_internal.readers() LOOP
      EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', defined.signature, reader);
    END LOOP;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.define_reading_functions(threadline.audited_tables) IS
  'Writes the functions that read the history and the past of a table.';
