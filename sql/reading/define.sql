-- The names of the functions that read a table contain its id: versions_12(NULL::t). They take and return rows of any
-- type, and name the table and its types only in their text. PostgreSQL therefore records no dependency, and nothing
-- prevents the application from dropping or altering the table and its types. Two kinds of functions call them. The
-- functions in schema threadline are for interactive use, and find the table by the type of the row. The functions
-- named after the table are for programs: the planner inlines them, so that conditions can use the indexes.

CREATE FUNCTION threadline_internal.functions_of_table(table_id integer) RETURNS SETOF regprocedure
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT p.oid::regprocedure
    FROM unnest('{as_of,computed_columns,restore,row_as_of,row_key,row_of,versions}'::text[]) AS f (name)
    JOIN pg_proc AS p ON p.proname = format('%s_%s', f.name, table_id)
   WHERE p.pronamespace = 'threadline_internal'::regnamespace
$function$;
COMMENT ON FUNCTION threadline_internal.functions_of_table(integer) IS
  'The generated functions that read the history and the past of a table.';

-- Returns the roles that may read the audit log, except its owner: the roles passed to threadline.grant_reader. A role
-- that was only granted a table by hand gets no further rights.
CREATE FUNCTION threadline_internal.readers() RETURNS SETOF regrole
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT DISTINCT acl.grantee::regrole
    FROM pg_class AS c, aclexplode(c.relacl) AS acl
   WHERE c.oid = 'threadline.audit_changes'::regclass AND acl.privilege_type = 'SELECT'
     AND acl.grantee NOT IN (0, c.relowner)
     AND EXISTS (SELECT FROM pg_namespace AS n, aclexplode(n.nspacl) AS u
                  WHERE n.nspname = 'threadline_internal' AND u.grantee = acl.grantee AND u.privilege_type = 'USAGE');
END
$function$;
COMMENT ON FUNCTION threadline_internal.readers() IS 'The roles that may read the audit log, except its owner.';

-- Creates a function that readers of the audit log may call; nobody else could use it.
CREATE FUNCTION threadline_internal.define_reading_function(signature text, definition text, description text)
RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  reader regrole;
BEGIN
  PERFORM threadline_internal.define_function(signature, definition, description);
  FOR reader IN SELECT r FROM threadline_internal.readers() AS r
                 WHERE NOT threadline_internal.has_execute(signature, r) LOOP
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', signature, reader);
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.define_reading_function(text, text, text) IS
  'Creates or replaces a generated function that readers may call.';

-- Drops a function, unless something depends on it. A function that remains checks what it reads, like any other.
CREATE FUNCTION threadline_internal.drop_reading_function(outdated regprocedure) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  EXECUTE format('DROP FUNCTION %s', outdated);
EXCEPTION WHEN dependent_objects_still_exist THEN
  NULL;
END
$function$;
COMMENT ON FUNCTION threadline_internal.drop_reading_function(regprocedure) IS
  'Drops a generated function that nothing depends on.';

-- Creates the functions that read a table, including unchanged ones: this makes PostgreSQL parse a prepared statement
-- that calls one again, which would otherwise use the old columns of the table.
CREATE FUNCTION threadline_internal.define_reading_functions(audited threadline.audited_tables) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.drop_reading_function(outdated)
    FROM (SELECT threadline_internal.functions_of_table(audited.id)
          EXCEPT
          SELECT to_regprocedure(f.signature) FROM threadline_internal.reading_functions(audited) AS f) AS o (outdated);
  SELECT threadline_internal.define_reading_function(f.signature, f.definition, f.description)
    FROM threadline_internal.reading_functions(audited) AS f;
  SELECT threadline_internal.define_reading_function(f.signature, f.definition, f.description)
    FROM threadline_internal.dispatchers(audited) AS f;
  SELECT threadline_internal.define_name(n.name, audited) FROM threadline_internal.names_of_table(audited) AS n (name)
$function$;
COMMENT ON FUNCTION threadline_internal.define_reading_functions(threadline.audited_tables) IS
  'Creates the functions that read the history and the past of a table.';

CREATE FUNCTION threadline_internal.reading_functions(audited threadline.audited_tables)
RETURNS TABLE (signature text, definition text, description text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT * FROM threadline_internal.history_functions(audited)
  UNION ALL
  SELECT * FROM threadline_internal.past_functions(audited)
  UNION ALL
  SELECT * FROM threadline_internal.past_functions_by_key(audited)
$function$;
COMMENT ON FUNCTION threadline_internal.reading_functions(threadline.audited_tables) IS
  'Definitions of the functions that read the history and the past of a table.';

-- Drops the functions of dropped tables. Dropping a table drops nothing of Threadline.
CREATE FUNCTION threadline_internal.drop_abandoned_functions() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  gone threadline.audited_tables;
BEGIN
  FOR gone IN SELECT t.* FROM threadline.audited_tables AS t
               WHERE NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.relation) LOOP
    CONTINUE WHEN to_regprocedure(format('threadline_internal.as_of_%s(anyelement, timestamptz)', gone.id)) IS NULL;
    PERFORM threadline_internal.drop_reading_function(f)
       FROM threadline_internal.functions_of_table(gone.id) AS f;
    PERFORM threadline_internal.define_name(n, NULL)
       FROM threadline_internal.name_in_functions(gone.table_schema, gone.table_name) AS n;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.drop_abandoned_functions() IS
  'Drops the reading functions of tables that no longer exist.';
