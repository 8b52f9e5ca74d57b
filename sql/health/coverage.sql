CREATE FUNCTION threadline.exempt_table(relation regclass, reason text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  refusal text;
  hint text;
BEGIN
  -- The same lock as audit_table, so that two sessions cannot audit and exempt a table at the same time.
  PERFORM threadline_internal.take_lock('definitions');
  IF threadline_internal.is_blank(exempt_table.reason) THEN
    refusal := 'there is no reason';
    hint := 'Say why it need not be audited: whoever asks later reads it in threadline.coverage.';
  ELSIF EXISTS (SELECT FROM threadline_internal.audited_table(exempt_table.relation) AS a
                 WHERE a.capture_ended_at IS NULL) THEN
    refusal := 'it is audited';
    hint := format('End its capture first: SELECT threadline.unaudit_table(%L);', relation);
  ELSIF NOT EXISTS (SELECT FROM threadline.coverage AS c JOIN pg_namespace AS n ON n.nspname = c.table_schema
                      JOIN pg_class AS r ON r.relnamespace = n.oid AND r.relname = c.table_name
                     WHERE r.oid = exempt_table.relation) THEN
    refusal := 'nobody asks for it to be audited';
    hint := 'Only the tables of threadline.coverage can be exempt: not views, partitions and temporary tables, nor '
      'those of the server and of extensions.';
  END IF;
  IF refusal IS NOT NULL THEN
    RAISE EXCEPTION 'cannot exempt %: %', coalesce(relation::text, 'NULL'), refusal
      USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_exempt_table', HINT = hint;
  END IF;
  -- Rows for dropped tables are not needed: a recreated table is a different table.
  DELETE FROM threadline.exempt_tables AS e
   WHERE e.relation = exempt_table.relation
      OR NOT threadline_internal.is_said_of(e.relation, e.table_schema, e.table_name, e.database);
  INSERT INTO threadline.exempt_tables (relation, reason, exempted_at, exempted_by, actor_ref, table_schema,
    table_name, database)
  SELECT exempt_table.relation, exempt_table.reason, now(), current_user,
         threadline_internal.read_actor(nullif(current_setting('threadline.actor_ref', true), '')),
         n.nspname, c.relname, threadline_internal.database_identity()
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = exempt_table.relation;
END
$function$;
COMMENT ON FUNCTION threadline.exempt_table(regclass, text) IS
  'Exempts a table from auditing, with a reason. An audited table is rejected, and audit_table rejects an exempt '
  'table, so that neither decision silently overrides the other.';

CREATE FUNCTION threadline.unexempt_table(relation regclass) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  DELETE FROM threadline.exempt_tables AS e WHERE e.relation = unexempt_table.relation;
  RETURN FOUND;
END
$function$;
COMMENT ON FUNCTION threadline.unexempt_table(regclass) IS
  'Removes the exemption of a table from auditing; returns false if there was none.';

-- Returns the tables without a decision, including tables that replaced an audited one.
CREATE FUNCTION threadline_internal.health_uncovered() RETURNS TABLE ("check" text, severity text, table_schema text,
  table_name text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'uncovered', 'warning', c.table_schema, c.table_name, 'the table is neither audited nor exempt',
         format('SELECT threadline.audit_table(%1$L); or SELECT threadline.exempt_table(%1$L, ''why'');',
           format('%I.%I', c.table_schema, c.table_name))
    FROM threadline.coverage AS c WHERE c.state = 'uncovered'
$function$;
COMMENT ON FUNCTION threadline_internal.health_uncovered() IS
  'A finding for each table that is neither audited nor exempt.';
