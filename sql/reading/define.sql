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

-- Lists who may read the audit log, apart from its owner: those whom threadline.grant_reader let. A role that was given
-- nothing but a table by hand gets no further rights.
CREATE FUNCTION threadline_internal.readers() RETURNS SETOF regrole
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT DISTINCT acl.grantee::regrole
    FROM pg_class AS c, aclexplode(c.relacl) AS acl
   WHERE c.oid = 'threadline.audit_changes'::regclass AND acl.privilege_type = 'SELECT'
     AND acl.grantee NOT IN (0, c.relowner)
     AND EXISTS (SELECT FROM pg_namespace AS n, aclexplode(n.nspacl) AS u
                  WHERE n.nspname = 'threadline_internal' AND u.grantee = acl.grantee AND u.privilege_type = 'USAGE')
$function$;
COMMENT ON FUNCTION threadline_internal.readers() IS 'The roles that may read the audit log, but for its owner.';

-- Drops a function, or, where a view of somebody depends on it, leaves one that only raises an error.
CREATE FUNCTION threadline_internal.retire_function(outdated regprocedure) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  EXECUTE format('DROP FUNCTION %s', outdated);
EXCEPTION WHEN dependent_objects_still_exist THEN
  EXECUTE threadline_internal.render($sql$
    CREATE OR REPLACE FUNCTION {name}({arguments}) RETURNS {result} LANGUAGE plpgsql STABLE AS {body}$sql$,
    jsonb_build_object('name', outdated::oid::regproc, 'arguments', pg_get_function_arguments(outdated),
      'result', pg_get_function_result(outdated), 'body', quote_literal(format(
        'BEGIN RAISE EXCEPTION %L USING ERRCODE = %L, CONSTRAINT = %L, HINT = %L; END',
        replace(format('%s is of an earlier primary key of its table', outdated), '%', '%%'), 'undefined_function',
        'threadline_past',
        'Read through the function that takes the present key, and drop what depends on this one.'))));
END
$function$;
COMMENT ON FUNCTION threadline_internal.retire_function(regprocedure) IS
  'Drops a generated function, or replaces it by one that raises an error where something depends on it.';

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
    PERFORM threadline_internal.retire_function(outdated);
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
