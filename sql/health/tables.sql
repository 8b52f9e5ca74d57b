CREATE FUNCTION threadline_internal.health_tables() RETURNS TABLE ("check" text, severity text, table_schema text,
  table_name text, message text, hint text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
DECLARE
  audited threadline.audited_tables;
  schema_now text;
  redacted record;
  refusal text;
  refusal_hint text;
  refused_by text;
  refresh text := 'SELECT threadline.refresh_audited_tables();';
BEGIN
  FOR audited IN SELECT t.* FROM threadline.audited_tables AS t WHERE t.capture_ended_at IS NULL
    ORDER BY t.table_schema, t.table_name LOOP
    SELECT n.nspname, c.relname INTO schema_now, table_name
      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = audited.relation;
    IF NOT FOUND THEN
      RETURN QUERY SELECT 'table_missing', 'warning', audited.table_schema, audited.table_name, 'the table is gone',
        CASE WHEN to_regclass(format('%I.%I', audited.table_schema, audited.table_name)) IS NULL
          THEN format('If it is not to come back: SELECT threadline.unaudit_table(%L); its history stays.',
            audited.relation::oid)
          ELSE format('There is another one of its name, which continues its history once it is audited: SELECT threadline.audit_table(%L);',
                      format('%I.%I', audited.table_schema, audited.table_name)) END;
      CONTINUE;
    END IF;
    table_schema := schema_now;
    severity := 'error';
    hint := refresh || ' what was written since may be missing, so the past begins anew.';
    FOR "check", message IN SELECT h."check", h.message FROM threadline_internal.health_capture(audited) AS h
      ORDER BY h.message LOOP
      RETURN NEXT;
    END LOOP;

    -- As a refresh would do it.
    SELECT r.excluded, ARRAY(SELECT jsonb_object_keys(r.mask)) AS masked INTO redacted
      FROM threadline_internal.redaction(audited.id) AS r;
    BEGIN
      -- Where the granularity is not refused, but warned of, see below.
      PERFORM threadline_internal.check_auditable(audited.relation, redacted.masked, redacted.excluded,
        CASE WHEN EXISTS (SELECT FROM pg_inherits WHERE audited.relation IN (inhrelid, inhparent))
          THEN audited.requested_granularity END);
    EXCEPTION WHEN invalid_parameter_value THEN
      GET STACKED DIAGNOSTICS refusal = MESSAGE_TEXT, refusal_hint = PG_EXCEPTION_HINT, refused_by = CONSTRAINT_NAME;
      IF refused_by <> 'threadline_audit_table' THEN
        RAISE;
      END IF;
      "check" := 'not_auditable';
      message := refusal;
      hint := refusal_hint;
      RETURN NEXT;
    END;

    -- As PostgreSQL decides it for the owner of the audit log, who reads what TRUNCATE removes.
    "check" := 'row_security';
    FOR message, hint IN
      SELECT format('row level security of the table applies to %s, the owner of the audit log, so that a TRUNCATE of it fails', o.oid::regrole),
             format('ALTER ROLE %s BYPASSRLS;', o.oid::regrole)
        FROM pg_class AS c, pg_class AS l JOIN pg_roles AS o ON o.oid = l.relowner
       WHERE c.oid = audited.relation AND c.relrowsecurity AND l.oid = 'threadline.audit_changes'::regclass
         AND NOT o.rolsuper AND NOT o.rolbypassrls AND (c.relforcerowsecurity OR NOT pg_has_role(o.oid, c.relowner,
           'USAGE')) LOOP
      RETURN NEXT;
    END LOOP;

    severity := 'warning';
    IF audited.requested_granularity = 'statement'
      AND threadline_internal.granularity_for(audited.relation) = 'row' THEN
      "check" := 'granularity';
      message := 'changes that its row triggers or foreign keys make to it are recorded in another order than they are made';
      hint := 'Leave the granularity out, or ask for ''row''.';
      RETURN NEXT;
    END IF;
    "check" := 'redacted_column_missing';
    FOR message, hint IN
      SELECT format('column %I is %s, and gone', r.name, r.how),
        format('%s and take it out of the model''s #[audited(…)], or of the migration.', refresh)
        FROM (SELECT unnest(audited.masked_columns) AS name, 'masked'
          AS how UNION ALL SELECT unnest(audited.excluded_columns), 'excluded') AS r
       WHERE NOT EXISTS (SELECT FROM pg_attribute AS a
                          WHERE a.attrelid = audited.relation AND a.attnum > 0 AND NOT a.attisdropped
                            AND (a.attname = r.name OR audited.relation::oid = (audited.definition ->> 'oid')::oid
                                   AND a.attnum = (audited.definition #>> ARRAY['columns', r.name,
                                     'number'])::smallint))
       ORDER BY r.name LOOP
      RETURN NEXT;
    END LOOP;
    hint := refresh;
    IF audited.definition_version <> threadline_internal.definition_version() THEN
      "check" := 'generator_outdated';
      message := format('its capture is of version %s of the generator, which is at %s', audited.definition_version,
        threadline_internal.definition_version());
      RETURN NEXT;
    END IF;
    "check" := 'definition_stale';
    message := (SELECT string_agg(h, '; ') FROM threadline_internal.health_definition(audited) AS h);
    IF message IS NOT NULL THEN
      RETURN NEXT;
    END IF;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.health_tables() IS 'What is wrong with the capture of the audited tables.';
