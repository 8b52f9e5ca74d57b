-- The functions that read a table are named by its id: versions_12(NULL::t). They take and give rows of any type, and
-- name the table and its types only in their text. So PostgreSQL notes no dependency, and nothing keeps the application
-- from dropping or altering them. Two kinds of functions call them. Those of threadline are for people, and find the
-- table by the type of the row. Those that are named like the table are for programs: the planner inlines them, so that
-- conditions reach the indexes.

-- Lists the functions that read a table.
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

-- Lists who may read the audit log, apart from its owner: those whom threadline.grant_reader let. A role that was given
-- nothing but a table by hand gets no further rights.
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
COMMENT ON FUNCTION threadline_internal.readers() IS 'The roles that may read the audit log, but for its owner.';

-- Writes a function that readers of the audit log may call; nobody else could use it.
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

-- Drops a function, unless something depends on it. What is left checks what it reads, like any other.
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

-- Writes the functions that read a table, also those that are as they were: a prepared statement that calls one is
-- parsed again, and would otherwise go by the columns that the table had.
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
  'Writes the functions that read the history and the past of a table.';

-- Lists the functions that read a table, by its id.
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

-- Drops the functions of tables that are gone. Whoever drops a table drops nothing of Threadline.
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
  'Drops the reading functions of tables that do not exist any more.';
