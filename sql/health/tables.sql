-- A finding consists of a check, a severity, a table, a message and a hint. The functions in this file that check one
-- audited table omit the table, which health_tables adds.

CREATE FUNCTION threadline_internal.health_missing(audited threadline.audited_tables)
RETURNS TABLE ("check" text, severity text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'table_missing', CASE WHEN to_regclass(n.name) IS NULL THEN 'warning' ELSE 'error' END, 'the table is gone',
         CASE WHEN to_regclass(n.name) IS NULL
           THEN format('If it is not to come back: SELECT threadline.unaudit_table(%L); its history stays.', n.name)
           ELSE format('There is another one of its name, which continues its history once it is audited: '
                       'SELECT threadline.audit_table(%L);', n.name) END
    FROM (SELECT format('%I.%I', audited.table_schema, audited.table_name) AS name) AS n
   WHERE NOT threadline_internal.is_table_of(audited)
$function$;
COMMENT ON FUNCTION threadline_internal.health_missing(threadline.audited_tables) IS
  'A finding if an audited table does not exist.';

-- Returns why a refresh could not define the requested capture of a table.
CREATE FUNCTION threadline_internal.health_auditable(audited threadline.audited_tables)
RETURNS TABLE ("check" text, severity text, message text, hint text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  refused_by text;
BEGIN
  -- A granularity that causes only a warning has its own finding: see health_granularity.
  PERFORM threadline_internal.check_auditable(audited.relation, '{}', '{}',
    CASE WHEN EXISTS (SELECT FROM pg_inherits WHERE audited.relation IN (inhrelid, inhparent))
      THEN audited.requested_granularity END, '{}');
  PERFORM threadline_internal.describe_capture(audited.relation, '{}', '{}', audited.requested_granularity, '{}',
    audited, '{}');
EXCEPTION WHEN invalid_parameter_value THEN
  GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT, refused_by = CONSTRAINT_NAME;
  IF refused_by <> 'threadline_audit_table' THEN
    RAISE;
  END IF;
  "check" := 'not_auditable';
  severity := 'error';
  RETURN NEXT;
END
$function$;
COMMENT ON FUNCTION threadline_internal.health_auditable(threadline.audited_tables) IS
  'A finding if the capture of a table could not be redefined.';

-- Returns row level security that PostgreSQL applies to the owner of the audit log, who reads the rows that TRUNCATE
-- removes.
CREATE FUNCTION threadline_internal.health_row_security(audited threadline.audited_tables)
RETURNS TABLE ("check" text, severity text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'row_security', 'error',
         format('row level security of the table applies to %s, the owner of the audit log, so that a TRUNCATE of it '
                'fails', o.oid::regrole),
         format('ALTER ROLE %s BYPASSRLS;', o.oid::regrole)
    FROM pg_class AS c JOIN pg_roles AS o ON o.oid = threadline_internal.log_owner()
   WHERE c.oid = audited.relation AND c.relrowsecurity AND NOT o.rolsuper AND NOT o.rolbypassrls
     AND (c.relforcerowsecurity OR NOT pg_has_role(o.oid, c.relowner, 'USAGE'))
$function$;
COMMENT ON FUNCTION threadline_internal.health_row_security(threadline.audited_tables) IS
  'A finding if row level security prevents the owner of the audit log from reading a table.';

-- Returns what prevents every reader from reading the past of a table.
CREATE FUNCTION threadline_internal.health_unreadable(audited threadline.audited_tables)
RETURNS TABLE ("check" text, severity text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'unreadable', 'warning', format('its past cannot be read: %s', o.reason), o.advice
    FROM threadline_internal.why_unreadable(audited.relation) AS o
   WHERE (SELECT c.relpersistence = 'u' FROM pg_class AS c WHERE c.oid = audited.relation)
      OR threadline_internal.is_replicated_to(audited.relation)
$function$;
COMMENT ON FUNCTION threadline_internal.health_unreadable(threadline.audited_tables) IS
  'A finding if the past of a table cannot be read.';

-- Returns columns that cannot be read as of a time before a migration.
CREATE FUNCTION threadline_internal.health_conversions(audited threadline.audited_tables)
RETURNS TABLE ("check" text, severity text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'conversion_unknown', 'warning', g.message,
         format('If the migration is known: SELECT threadline.declare_conversion(%L, %L, %L);', audited.relation,
                c.name,
                'the expression after USING')
    FROM threadline_internal.column_gaps(audited) AS g
    JOIN threadline_internal.columns_of(audited.relation) AS c USING (number)
$function$;
COMMENT ON FUNCTION threadline_internal.health_conversions(threadline.audited_tables) IS
  'A finding for each column whose conversion by a migration is unknown.';

-- Returns changes that were recorded while the clock was ahead.
CREATE FUNCTION threadline_internal.health_clock(audited threadline.audited_tables)
RETURNS TABLE ("check" text, severity text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
  SELECT 'clock_was_ahead', 'error', format('changes of it were recorded at times up to %s, which is to come', f.at),
         'Set the clock right, and then: SELECT threadline.refresh_audited_tables(); its history begins anew.'
    FROM threadline_internal.future_change(audited) AS f (at) WHERE f.at IS NOT NULL
$function$;
COMMENT ON FUNCTION threadline_internal.health_clock(threadline.audited_tables) IS
  'A finding if changes of a table were recorded with times in the future.';

-- Returns a granularity that does not record a table exactly.
CREATE FUNCTION threadline_internal.health_granularity(audited threadline.audited_tables)
RETURNS TABLE ("check" text, severity text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'granularity', 'warning',
         'changes that its row triggers or foreign keys make to it are recorded in another order than they are made',
         'Leave the granularity out, or ask for ''row''.'
   WHERE audited.requested_granularity = 'statement'
     AND threadline_internal.granularity_for(audited.relation) = 'row'
$function$;
COMMENT ON FUNCTION threadline_internal.health_granularity(threadline.audited_tables) IS
  'A finding if a table is captured per statement but should be captured per row.';

-- Returns columns about whose redaction two definitions of the table disagree: one ends what the other requests. Also
-- returns keys that can no longer be hashed as before.
CREATE FUNCTION threadline_internal.health_redaction(audited threadline.audited_tables)
RETURNS TABLE ("check" text, severity text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'redaction_alternates', 'warning',
         format('the redaction of column %I was weakened %s times, and asked for again', u.key, u.value),
         'Two models, services or migrations define the table in different ways: let one of them say so.'
    FROM jsonb_each_text(audited.definition -> 'unredacted') AS u
   WHERE u.value::integer > 1
  UNION ALL
  SELECT 'key_secret_missing', 'error', 'the secret of its hashed keys is gone, so the keys of its changes are lost',
         format('Restore threadline_internal.key_secrets, or begin anew: SELECT threadline.refresh_table(%L);',
           audited.relation)
   WHERE audited.hashed_columns <> '{}' AND NOT threadline_internal.has_key_secret(audited.id)
   ORDER BY 3
$function$;
COMMENT ON FUNCTION threadline_internal.health_redaction(threadline.audited_tables) IS
  'A finding for each column whose redaction was weakened more than once, and for a lost secret.';

-- Returns a definition of capture that a refresh would update.
CREATE FUNCTION threadline_internal.health_stale(audited threadline.audited_tables)
RETURNS TABLE ("check" text, severity text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT s."check", 'warning', s.message, CASE s."check"
           WHEN 'generator_outdated' THEN format('threadline refresh, or SELECT threadline.refresh_table(%L);',
             audited.relation)
           ELSE 'SELECT threadline.refresh_audited_tables();' END
    FROM (SELECT 'generator_outdated' AS "check",
                 format('its capture is of version %s of the generator, which is at %s', audited.definition_version,
                        threadline_internal.definition_version()) AS message
           WHERE audited.definition_version <> threadline_internal.definition_version()
          UNION ALL
          SELECT 'definition_stale', string_agg(h, '; ') FROM threadline_internal.health_definition(audited) AS h) AS s
   WHERE s.message IS NOT NULL
$function$;
COMMENT ON FUNCTION threadline_internal.health_stale(threadline.audited_tables) IS
  'Findings if the capture of a table is out of date.';

-- Returns the problems of one existing table. It does not wait long for sessions that lock the table.
CREATE FUNCTION threadline_internal.health_of_table(audited threadline.audited_tables)
RETURNS TABLE ("check" text, severity text, message text, hint text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET lock_timeout = '1 s' SET jit = off
AS $function$
BEGIN
  RETURN QUERY SELECT h."check", 'error', h.message, 'SELECT threadline.refresh_audited_tables(); what was written '
    'since may be missing, so the past begins anew.' FROM threadline_internal.health_capture(audited) AS h
    ORDER BY h.message;
  RETURN QUERY SELECT * FROM threadline_internal.health_auditable(audited);
  RETURN QUERY SELECT * FROM threadline_internal.health_row_security(audited);
  RETURN QUERY SELECT * FROM threadline_internal.health_unreadable(audited);
  RETURN QUERY SELECT * FROM threadline_internal.health_conversions(audited);
  RETURN QUERY SELECT * FROM threadline_internal.health_clock(audited);
  RETURN QUERY SELECT * FROM threadline_internal.health_granularity(audited);
  RETURN QUERY SELECT * FROM threadline_internal.health_redaction(audited);
  RETURN QUERY SELECT * FROM threadline_internal.health_stale(audited);
  RETURN QUERY SELECT * FROM threadline_internal.health_secrets(audited);
END
$function$;
COMMENT ON FUNCTION threadline_internal.health_of_table(threadline.audited_tables) IS
  'Problems of the capture of one table.';

-- Returns the problems of the audited tables, each under its present name.
CREATE FUNCTION threadline_internal.health_tables()
RETURNS TABLE ("check" text, severity text, table_schema text, table_name text, message text, hint text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
DECLARE
  audited threadline.audited_tables;
BEGIN
  FOR audited IN SELECT t.* FROM threadline.audited_tables AS t WHERE t.capture_ended_at IS NULL
                  ORDER BY t.table_schema, t.table_name LOOP
    SELECT n.nspname, c.relname INTO table_schema, table_name
      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.oid = audited.relation AND threadline_internal.is_table_of(audited);
    BEGIN
      IF FOUND THEN
        RETURN QUERY SELECT h."check", h.severity, health_tables.table_schema, health_tables.table_name, h.message,
          h.hint FROM threadline_internal.health_of_table(audited) AS h;
      ELSE
        RETURN QUERY SELECT h."check", h.severity, audited.table_schema, audited.table_name, h.message, h.hint
          FROM threadline_internal.health_missing(audited) AS h;
      END IF;
    -- A problem of one table does not hide the problems of the others.
    EXCEPTION WHEN lock_not_available THEN
      RETURN QUERY SELECT 'check_failed', 'error', audited.table_schema, audited.table_name,
        'the table could not be checked: somebody keeps it or a partition of it locked',
        'Look for the transaction in pg_locks, and check again when it has ended.';
    WHEN OTHERS THEN
      RETURN QUERY SELECT 'check_failed', 'error', audited.table_schema, audited.table_name,
        format('the table could not be checked: %s', SQLERRM), 'Mend what the message names, and check again.';
    END;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.health_tables() IS 'Problems of the capture of the audited tables.';
