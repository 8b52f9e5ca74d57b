-- What is wrong: tables that nobody audits, and capture that is not, or soon will not be, what it should be. All of it only
-- reads, with the rights of whoever asks.

CREATE TABLE threadline.exempt_tables (
  relation    regclass    PRIMARY KEY,
  reason      text        NOT NULL CHECK (reason ~ '[^[:space:]]'),
  exempted_at timestamptz NOT NULL,
  exempted_by text        NOT NULL,
  actor_ref   jsonb
);
COMMENT ON TABLE threadline.exempt_tables IS
  'The tables that need not be audited, with the reason; written by threadline.exempt_table and threadline.unexempt_table.';
COMMENT ON COLUMN threadline.exempt_tables.relation IS 'The table itself, wherever it is called today.';
COMMENT ON COLUMN threadline.exempt_tables.reason IS 'Why it need not be audited.';
COMMENT ON COLUMN threadline.exempt_tables.exempted_at IS 'When that was said.';
COMMENT ON COLUMN threadline.exempt_tables.exempted_by IS 'The database role that said so (SET ROLE included).';
COMMENT ON COLUMN threadline.exempt_tables.actor_ref IS 'Who said so, as {"type": "user", "id": "123"}; NULL when the transaction had no actor.';

-- Not what a table is made of (partitions), nor what others keep for themselves: the server, Threadline, Diesel, extensions.
CREATE FUNCTION threadline.coverage() RETURNS TABLE (table_schema text, table_name text, state text, reason text, granularity text,
  capture_since timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT n.nspname::text, c.relname::text,
         CASE WHEN a.id IS NOT NULL THEN 'audited' WHEN e.relation IS NOT NULL THEN 'exempt' ELSE 'uncovered' END,
         CASE WHEN a.id IS NULL THEN e.reason END, a.granularity, a.capture_since
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN threadline.audited_tables AS a ON a.relation = c.oid AND a.capture_ended_at IS NULL
    LEFT JOIN threadline.exempt_tables AS e ON e.relation = c.oid
   WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
     AND n.nspname NOT IN ('information_schema', 'threadline') AND NOT starts_with(n.nspname::text, 'pg_')
     AND c.relname <> '__diesel_schema_migrations'
     AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
   ORDER BY n.nspname, c.relname
$function$;
COMMENT ON FUNCTION threadline.coverage() IS
  'Every table, and whether it is audited, exempt (with the reason) or uncovered.';

CREATE FUNCTION threadline.exempt_table(relation regclass, reason text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  refusal text;
  hint text;
BEGIN
  -- As audit_table does, so that a table is never put under capture and exempt by two at a time.
  PERFORM pg_advisory_xact_lock(hashtextextended('threadline', 0));
  IF coalesce(exempt_table.reason, '') !~ '[^[:space:]]' THEN
    refusal := 'there is no reason';
    hint := 'Say why it need not be audited: whoever asks later reads it in threadline.coverage().';
  ELSIF EXISTS (SELECT FROM threadline.audited_tables AS a WHERE a.relation = exempt_table.relation AND a.capture_ended_at IS NULL) THEN
    refusal := 'it is audited';
    hint := format('End its capture first: SELECT threadline.unaudit_table(%L);', relation);
  ELSIF NOT EXISTS (SELECT FROM threadline.coverage() AS c JOIN pg_namespace AS n ON n.nspname = c.table_schema
                      JOIN pg_class AS r ON r.relnamespace = n.oid AND r.relname = c.table_name
                     WHERE r.oid = exempt_table.relation) THEN
    refusal := 'nobody asks for it to be audited';
    hint := 'Only the tables of threadline.coverage() can be exempt: not views, partitions and temporary tables, nor those of the server and of extensions.';
  END IF;
  IF refusal IS NOT NULL THEN
    RAISE EXCEPTION 'cannot exempt %: %', coalesce(relation::text, 'NULL'), refusal
      USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_exempt_table', HINT = hint;
  END IF;
  -- Of tables that are gone nothing needs to be known: one that is created anew is another one.
  DELETE FROM threadline.exempt_tables AS e WHERE e.relation = exempt_table.relation OR NOT EXISTS (SELECT FROM pg_class WHERE oid = e.relation);
  INSERT INTO threadline.exempt_tables (relation, reason, exempted_at, exempted_by, actor_ref)
  VALUES (exempt_table.relation, exempt_table.reason, now(), current_user,
    threadline.read_actor(nullif(current_setting('threadline.actor_ref', true), '')));
END
$function$;
COMMENT ON FUNCTION threadline.exempt_table(regclass, text) IS
  'Says that a table need not be audited, and why. A table that is audited is refused, and audit_table refuses one that is exempt: neither decision overturns the other unseen.';

CREATE FUNCTION threadline.unexempt_table(relation regclass) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  DELETE FROM threadline.exempt_tables AS e WHERE e.relation = unexempt_table.relation;
  RETURN FOUND;
END
$function$;
COMMENT ON FUNCTION threadline.unexempt_table(regclass) IS
  'Takes back that a table need not be audited; returns false if nobody had said so.';

-- The triggers that threadline.define_triggers makes. A partition that was attached since has clones of the row triggers, and
-- gets the others at the next refresh: that is told by the definition.
CREATE FUNCTION threadline.health_triggers(audited threadline.audited_tables)
RETURNS TABLE (relation regclass, name text, function text, type integer, old_table text, new_table text, condition text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH member AS (
    SELECT audited.relation::oid AS oid, true AS is_root, true AS is_known
    UNION ALL
    SELECT p.relid, false, EXISTS (SELECT FROM pg_partition_tree(p.relid) AS l WHERE audited.definition -> 'partitions' @> to_jsonb(l.relid::oid::bigint))
      FROM pg_partition_tree(audited.relation) AS p WHERE p.relid <> audited.relation
  )
  SELECT m.oid::regclass, '!threadline_' || e.event, coalesce(e.function, format('capture_%s_%s', audited.id, e.event)),
         -- bits of tgtype: 1 for each row, 2 before, 4 insert, 8 delete, 16 update, 32 truncate
         e.type + CASE WHEN e.captures_rows AND audited.granularity = 'row' THEN 1 ELSE 0 END,
         CASE WHEN e.captures_rows AND audited.granularity = 'statement' AND e.event <> 'insert' THEN 'old_rows' END,
         CASE WHEN e.captures_rows AND audited.granularity = 'statement' AND e.event <> 'delete' THEN 'new_rows' END,
         CASE WHEN e.event = 'update' AND audited.granularity = 'row' THEN
           CASE WHEN m.is_root THEN '(NOT (old.* *= new.*))' ELSE format('(NOT ((old.*)::%1$s *= (new.*)::%1$s))', audited.relation) END END
    FROM member AS m
   CROSS JOIN (VALUES ('insert', 4, true, NULL), ('update', 16, true, NULL), ('delete', 8, true, NULL), ('truncate', 34, false, NULL),
                      ('inserting', 6, false, 'note_insert'), ('inserted', 4, false, 'note_insert')) AS e (event, type, captures_rows, function)
   WHERE (m.is_root OR m.is_known OR e.captures_rows)
     AND (e.function IS NULL OR EXISTS (SELECT FROM pg_class WHERE oid = audited.relation AND relkind = 'p'))
$function$;
COMMENT ON FUNCTION threadline.health_triggers(threadline.audited_tables) IS 'The triggers that a table under capture must have.';

-- Where capture is not what it was defined to be, and so may have missed changes. What only is not up to date is told apart.
-- PL/pgSQL keeps its plans, which here take longer to make than to run; and audit_table asks at every start of an application.
CREATE FUNCTION threadline.health_capture(audited threadline.audited_tables) RETURNS TABLE ("check" text, relation regclass, message text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT CASE WHEN t.oid IS NULL THEN 'trigger_missing' WHEN t.tgenabled NOT IN ('A', 'O') THEN 'trigger_disabled' ELSE 'trigger_replaced' END,
         h.relation,
         format('trigger %I%s %s', h.name, CASE WHEN h.relation <> audited.relation THEN format(' of partition %s', h.relation) END, CASE WHEN t.oid IS NULL THEN 'is missing' WHEN t.tgenabled = 'R' THEN 'is enabled for replication only'
           WHEN t.tgenabled = 'D' THEN 'is disabled' ELSE 'is another one than Threadline made' END)
    FROM threadline.health_triggers(audited) AS h
    LEFT JOIN pg_trigger AS t ON t.tgrelid = h.relation AND t.tgname = h.name
   WHERE t.oid IS NULL OR t.tgenabled NOT IN ('A', 'O') OR t.tgfoid IS DISTINCT FROM to_regproc(format('threadline.%I', h.function)) OR t.tgtype <> h.type
      OR t.tgoldtable IS DISTINCT FROM h.old_table OR t.tgnewtable IS DISTINCT FROM h.new_table
      OR t.tgattr::text <> '' OR t.tgnargs <> 0 OR t.tgconstraint <> 0
      OR substring(pg_get_triggerdef(t.oid) FROM ' WHEN \((.*)\) EXECUTE FUNCTION ') IS DISTINCT FROM h.condition
  UNION ALL
  SELECT 'function_replaced', audited.relation, format('function threadline.capture_%s_%s() is another one than Threadline made', audited.id, s.event)
    FROM threadline.trigger_sources(audited) AS s
    JOIN pg_proc AS p ON p.oid = to_regprocedure(format('threadline.capture_%s_%s()', audited.id, s.event))
   -- An older generator wrote another one, and of a key that was renamed or retyped since the generator knows no more.
   WHERE audited.definition_version = threadline.definition_version()
     AND NOT EXISTS (SELECT FROM unnest(audited.key_columns) AS k (name)
                       LEFT JOIN pg_attribute AS a ON a.attrelid = audited.relation AND a.attname = k.name AND NOT a.attisdropped
                      WHERE threadline.type_shape(a.atttypid, a.atttypmod) IS DISTINCT FROM audited.definition #>> ARRAY['columns', k.name, 'type'])
     AND (p.prosrc <> s.source OR NOT p.prosecdef OR p.proconfig IS DISTINCT FROM threadline.pinned_settings(s.event)
          OR p.prolang <> (SELECT oid FROM pg_language WHERE lanname = 'plpgsql'));
END
$function$;
COMMENT ON FUNCTION threadline.health_capture(threadline.audited_tables) IS
  'Triggers and capture functions of a table that are missing, disabled, or not what was generated.';

-- In words, and at least one where audit_table would define the capture anew.
CREATE FUNCTION threadline.health_definition(audited threadline.audited_tables) RETURNS SETOF text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH described AS (
    SELECT threadline.describe_table(audited.relation, audited.definition) AS present, audited.definition AS defined
  ), renamed AS (
    SELECT n.key AS old_name, n.value AS new_name
      FROM described, jsonb_array_elements(present -> 'renames') WITH ORDINALITY AS s (step, position), jsonb_each_text(step -> 'names') AS n
     WHERE position > jsonb_array_length(defined -> 'renames')
  ), changes AS (
    SELECT 1 AS part, format('column %I is now %I', old_name, new_name) AS change FROM renamed
    UNION ALL
    SELECT 2, format('column %I %s', name, CASE WHEN d.value IS NULL THEN 'is new' WHEN p.value IS NULL THEN 'is gone'
             WHEN p.value -> 'type' <> d.value -> 'type' THEN format('is now of type %s', p.value ->> 'type') ELSE 'is defined anew' END)
      FROM described
     CROSS JOIN LATERAL (SELECT * FROM jsonb_each(present -> 'columns')) AS p (name, value)
      FULL JOIN (SELECT c.* FROM described, jsonb_each(defined -> 'columns') AS c) AS d (name, value) USING (name)
     WHERE p.value IS DISTINCT FROM d.value AND name NOT IN (SELECT old_name FROM renamed UNION ALL SELECT new_name FROM renamed)
    UNION ALL
    SELECT 3, format('partition %s is new: a TRUNCATE of it alone is not recorded', p::oid::regclass)
      FROM described, jsonb_array_elements_text(present -> 'partitions') AS p WHERE NOT defined -> 'partitions' @> to_jsonb(p::bigint)
    UNION ALL
    SELECT 4, format('the primary key is now (%s)', array_to_string(k.columns, ', '))
      FROM threadline.primary_key(audited.relation) AS k WHERE (k.columns, k.key_type) IS DISTINCT FROM (audited.key_columns, audited.key_type)
    UNION ALL
    SELECT 5, format('capture by %s would be exact', threadline.granularity_for(audited.relation))
     WHERE audited.granularity <> coalesce(audited.requested_granularity, threadline.granularity_for(audited.relation))
    UNION ALL
    SELECT 6, format('it was %I.%I', audited.schema_name, audited.table_name)
      FROM pg_class AS c WHERE c.oid = audited.relation
       AND (c.relnamespace::regnamespace::text, c.relname) IS DISTINCT FROM (quote_ident(audited.schema_name), audited.table_name)
  )
  -- In a restored database numbers and partitions are others, and nothing else needs to be.
  SELECT c.change
    FROM described
   CROSS JOIN LATERAL (SELECT part, change FROM changes WHERE part > 3 OR present -> 'oid' = defined -> 'oid'
                       UNION ALL SELECT 7, 'it was restored, or created anew' WHERE present -> 'oid' <> defined -> 'oid'
                       UNION ALL SELECT 7, 'a partition is gone' WHERE present IS DISTINCT FROM defined AND present -> 'oid' = defined -> 'oid'
                                                                   AND NOT EXISTS (SELECT FROM changes WHERE part < 4)) AS c
   ORDER BY c.part, c.change;
END
$function$;
COMMENT ON FUNCTION threadline.health_definition(threadline.audited_tables) IS
  'What has changed of a table since its capture was defined.';

CREATE FUNCTION threadline.health_tables() RETURNS TABLE ("check" text, severity text, table_schema text, table_name text, message text, hint text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
DECLARE
  audited threadline.audited_tables;
  schema_name text;
  redacted record;
  refusal text;
  refusal_hint text;
  refused_by text;
  refresh text := 'SELECT threadline.refresh_audited_tables();';
BEGIN
  FOR audited IN SELECT t.* FROM threadline.audited_tables AS t WHERE t.capture_ended_at IS NULL ORDER BY t.schema_name, t.table_name LOOP
    SELECT n.nspname, c.relname INTO schema_name, table_name
      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = audited.relation;
    IF NOT FOUND THEN
      RETURN QUERY SELECT 'table_missing', 'warning', audited.schema_name, audited.table_name, 'the table is gone',
        CASE WHEN to_regclass(format('%I.%I', audited.schema_name, audited.table_name)) IS NULL
          THEN format('If it is not to come back: SELECT threadline.unaudit_table(%L); its record stays.', audited.relation::oid)
          ELSE format('There is another one of its name, which goes on with its record once it is audited: SELECT threadline.audit_table(%L);',
                      format('%I.%I', audited.schema_name, audited.table_name)) END;
      CONTINUE;
    END IF;
    table_schema := schema_name;
    severity := 'error';
    hint := refresh || ' what was written since may be missing, so the past begins anew.';
    FOR "check", message IN SELECT h."check", h.message FROM threadline.health_capture(audited) AS h ORDER BY h.message LOOP
      RETURN NEXT;
    END LOOP;

    -- As a refresh would do it.
    SELECT r.excluded, ARRAY(SELECT jsonb_object_keys(r.mask)) AS masked INTO redacted FROM threadline.redaction(audited.id) AS r;
    BEGIN
      -- Where the granularity is not refused, but warned of, see below.
      PERFORM threadline.check_auditable(audited.relation, redacted.masked, redacted.excluded,
        CASE WHEN EXISTS (SELECT FROM pg_inherits WHERE audited.relation IN (inhrelid, inhparent)) THEN audited.requested_granularity END);
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

    -- As PostgreSQL decides it for the owner of the record, who reads what TRUNCATE removes.
    "check" := 'row_security';
    FOR message, hint IN
      SELECT format('row level security of the table applies to %s, the owner of the record, so that a TRUNCATE of it fails', o.oid::regrole),
             format('ALTER ROLE %s BYPASSRLS;', o.oid::regrole)
        FROM pg_class AS c, pg_class AS l JOIN pg_roles AS o ON o.oid = l.relowner
       WHERE c.oid = audited.relation AND c.relrowsecurity AND l.oid = 'threadline.audit_changes'::regclass
         AND NOT o.rolsuper AND NOT o.rolbypassrls AND (c.relforcerowsecurity OR NOT pg_has_role(o.oid, c.relowner, 'USAGE')) LOOP
      RETURN NEXT;
    END LOOP;

    severity := 'warning';
    IF audited.requested_granularity = 'statement' AND threadline.granularity_for(audited.relation) = 'row' THEN
      "check" := 'granularity';
      message := 'changes that its row triggers or foreign keys make to it are recorded in another order than they are made';
      hint := 'Leave the granularity out, or ask for ''row''.';
      RETURN NEXT;
    END IF;
    "check" := 'redacted_column_missing';
    FOR message, hint IN
      SELECT format('column %I is %s, and gone', r.name, r.how), format('%s and take it out of the model''s #[audited(…)], or of the migration.', refresh)
        FROM (SELECT unnest(audited.masked_columns) AS name, 'masked' AS how UNION ALL SELECT unnest(audited.excluded_columns), 'excluded') AS r
       WHERE NOT EXISTS (SELECT FROM pg_attribute AS a
                          WHERE a.attrelid = audited.relation AND a.attnum > 0 AND NOT a.attisdropped
                            AND (a.attname = r.name OR audited.relation::oid = (audited.definition ->> 'oid')::oid
                                   AND a.attnum = (audited.definition #>> ARRAY['columns', r.name, 'number'])::smallint))
       ORDER BY r.name LOOP
      RETURN NEXT;
    END LOOP;
    hint := refresh;
    IF audited.definition_version <> threadline.definition_version() THEN
      "check" := 'generator_outdated';
      message := format('its capture is of version %s of the generator, which is at %s', audited.definition_version, threadline.definition_version());
      RETURN NEXT;
    END IF;
    "check" := 'definition_stale';
    message := (SELECT string_agg(h, '; ') FROM threadline.health_definition(audited) AS h);
    IF message IS NOT NULL THEN
      RETURN NEXT;
    END IF;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline.health_tables() IS 'What is wrong with the capture of the audited tables.';

CREATE FUNCTION threadline.health_partitions() RETURNS TABLE ("check" text, severity text, table_schema text, table_name text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC'
AS $function$
  SELECT 'partition_missing', 'warning', 'threadline', 'audit_changes',
         format('there is no partition for the changes of %s', to_char(m, 'YYYY-MM')),
         CASE WHEN to_regclass(name) IS NULL THEN 'SELECT threadline.maintain(); and let it be called every day.'
           ELSE format('ALTER TABLE threadline.audit_changes ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L);', name, m, m + interval '1 month') END
    FROM generate_series(date_trunc('month', now()), date_trunc('month', now()) + interval '1 month', interval '1 month') AS m
   CROSS JOIN LATERAL (SELECT 'threadline.audit_changes_' || to_char(m, 'YYYY_MM')) AS p (name)
   WHERE NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = 'threadline.audit_changes'::regclass AND inhrelid = to_regclass(name))
  UNION ALL
  SELECT 'default_partition', 'warning', 'threadline', 'audit_changes_default',
         format('%s changes, the latest of %s, stand in the default partition', d.count, d.latest),
         format('SELECT threadline.maintain(%s); and let it be called every day.', greatest(3,
           (extract(year FROM d.latest) - extract(year FROM now())) * 12 + extract(month FROM d.latest) - extract(month FROM now())))
    FROM (SELECT count(*), max(c.captured_at) AS latest FROM threadline.audit_changes_default AS c) AS d
   WHERE d.count > 0
$function$;
COMMENT ON FUNCTION threadline.health_partitions() IS 'What is wrong with the partitions of the record.';

-- Trusted are superusers and the owner of the record, who may do everything anyhow.
CREATE FUNCTION threadline.health_rights() RETURNS TABLE ("check" text, severity text, table_schema text, table_name text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH trusted AS (
    SELECT nspowner AS oid FROM pg_namespace WHERE nspname = 'threadline'
    UNION SELECT relowner FROM pg_class WHERE oid = 'threadline.audit_changes'::regclass
    UNION SELECT oid FROM pg_roles WHERE rolsuper
  ), object AS (
    SELECT 'SCHEMA' AS kind, 'SCHEMA threadline' AS name, NULL AS table_name, NULL AS columns, nspowner AS owner, coalesce(nspacl, acldefault('n', nspowner)) AS acl
      FROM pg_namespace WHERE nspname = 'threadline'
    UNION ALL
    SELECT 'TABLE', CASE relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || oid::regclass, relname::text, NULL, relowner,
           coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))
      FROM pg_class WHERE relnamespace = 'threadline'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    UNION ALL
    SELECT 'COLUMN', 'TABLE ' || c.oid::regclass, c.relname::text, format(' (%I)', a.attname), c.relowner, a.attacl
      FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid WHERE c.relnamespace = 'threadline'::regnamespace AND a.attacl IS NOT NULL
    UNION ALL
    SELECT 'FUNCTION', 'FUNCTION ' || oid::regprocedure, NULL, NULL, proowner, coalesce(proacl, acldefault('f', proowner))
      FROM pg_proc WHERE pronamespace = 'threadline'::regnamespace
  ), granted AS (
    SELECT o.kind, o.name, o.table_name, CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END AS grantee,
           string_agg(g.privilege_type || coalesce(o.columns, ''), ', ' ORDER BY g.privilege_type) AS privileges
      FROM object AS o CROSS JOIN LATERAL aclexplode(o.acl) AS g
     WHERE CASE WHEN g.grantee = 0 THEN o.kind <> 'FUNCTION' ELSE g.grantee <> o.owner AND g.grantee NOT IN (SELECT oid FROM trusted) AND CASE o.kind
             WHEN 'SCHEMA' THEN g.privilege_type = 'CREATE'
             WHEN 'FUNCTION' THEN false
             ELSE g.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'USAGE') END END
     GROUP BY o.kind, o.name, o.table_name, o.columns, g.grantee
  )
  SELECT CASE WHEN grantee = 'PUBLIC' THEN 'granted_to_public' WHEN kind = 'SCHEMA' THEN 'functions_replaceable' ELSE 'record_writable' END,
         'error', CASE WHEN table_name IS NOT NULL THEN 'threadline' END, table_name,
         format('%s has %s on %s', grantee, privileges, name), format('REVOKE %s ON %s FROM %s;', privileges, name, grantee)
    FROM granted
  UNION ALL
  SELECT 'granted_to_public', 'warning', NULL, NULL, format('PUBLIC has EXECUTE on %s functions', count(*)),
         'REVOKE ALL ON ALL FUNCTIONS IN SCHEMA threadline FROM PUBLIC;'
    FROM object AS o CROSS JOIN LATERAL aclexplode(o.acl) AS g WHERE g.grantee = 0 AND o.kind = 'FUNCTION' HAVING count(*) > 0
  UNION ALL
  SELECT CASE kind WHEN 'TABLE' THEN 'record_writable' ELSE 'functions_replaceable' END, 'error', CASE WHEN table_name IS NOT NULL THEN 'threadline' END,
         table_name, format('%s belongs to %s, who does not own the record', name, owner::regrole),
         format('ALTER %s OWNER TO %s;', name, (SELECT relowner::regrole FROM pg_class WHERE oid = 'threadline.audit_changes'::regclass))
    FROM object WHERE kind IN ('FUNCTION', 'TABLE') AND owner NOT IN (SELECT oid FROM trusted)
  UNION ALL
  SELECT 'record_writable', 'error', NULL, NULL, format('%s is a member of pg_write_all_data', m.member::regrole), format('REVOKE pg_write_all_data FROM %s;', m.member::regrole)
    FROM pg_auth_members AS m JOIN pg_roles AS r ON r.oid = m.roleid
   WHERE r.rolname = 'pg_write_all_data' AND m.member NOT IN (SELECT oid FROM trusted)
  UNION ALL
  -- In such sessions only those triggers fire that are enabled for replication, or always.
  SELECT 'triggers_bypassed', 'error', NULL, NULL, format('session_replication_role is replica for %s', whose), format('ALTER %s RESET session_replication_role;', whose)
    FROM pg_db_role_setting AS s
   CROSS JOIN LATERAL (SELECT concat_ws(' IN ', CASE WHEN s.setrole <> 0 THEN 'ROLE ' || s.setrole::regrole END,
                              CASE WHEN s.setdatabase <> 0 THEN 'DATABASE ' || quote_ident(current_database()) END)) AS w (whose)
   WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
     AND 'session_replication_role=replica' = ANY (s.setconfig)
   ORDER BY 1, 4, 5
$function$;
COMMENT ON FUNCTION threadline.health_rights() IS
  'Rights that let someone other than the owner of the record write it or change what writes it, and rights of PUBLIC.';

CREATE FUNCTION threadline.health() RETURNS TABLE ("check" text, severity text, table_schema text, table_name text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT h.* FROM (SELECT * FROM threadline.health_tables()
                   UNION ALL SELECT * FROM threadline.health_partitions()
                   UNION ALL SELECT * FROM threadline.health_rights()) AS h
   ORDER BY h.severity, h.table_schema NULLS LAST, h.table_name, h."check", h.message
$function$;
COMMENT ON FUNCTION threadline.health() IS
  'What is wrong with the record and its capture, errors first, each with what to do about it; nothing when all is well.';

CREATE FUNCTION threadline.row_estimate(relation regclass) RETURNS bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  -- The one is counted at the last VACUUM or ANALYZE, the other since the server crashed last.
  SELECT coalesce(sum(greatest(c.reltuples, pg_stat_get_live_tuples(c.oid), 0)), 0)::bigint
    FROM pg_class AS c
   WHERE c.relkind = 'r' AND c.oid IN (SELECT relation UNION ALL SELECT p.relid FROM pg_partition_tree(relation) AS p)
$function$;
COMMENT ON FUNCTION threadline.row_estimate(regclass) IS 'About how many rows a table has, its partitions included.';

CREATE FUNCTION threadline.health_storage()
RETURNS TABLE (table_name text, changes_from timestamptz, changes_before timestamptz, row_estimate bigint, total_bytes bigint)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT c.relname::text, CASE WHEN isfinite(p.lower_bound) THEN p.lower_bound END, CASE WHEN isfinite(p.upper_bound) THEN p.upper_bound END,
         threadline.row_estimate(c.oid), pg_total_relation_size(c.oid)
    FROM pg_class AS c
    LEFT JOIN threadline.partitions() AS p ON p.name = c.relname
   WHERE c.relnamespace = 'threadline'::regnamespace AND c.relkind = 'r'
   ORDER BY 2 NULLS FIRST, 1
$function$;
COMMENT ON FUNCTION threadline.health_storage() IS
  'Each table and partition of the record, with the times of the changes it holds, about how many rows, and the bytes it takes, indexes included.';

CREATE FUNCTION threadline.health_captures()
RETURNS TABLE (table_schema text, table_name text, capture_since timestamptz, capture_ended_at timestamptz,
  first_captured_at timestamptz, last_captured_at timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(n.nspname, a.schema_name), coalesce(c.relname, a.table_name), a.capture_since, a.capture_ended_at,
         (SELECT x.captured_at FROM threadline.audit_changes AS x WHERE x.table_id = a.id ORDER BY x.captured_at LIMIT 1),
         (SELECT x.captured_at FROM threadline.audit_changes AS x WHERE x.table_id = a.id ORDER BY x.captured_at DESC LIMIT 1)
    FROM threadline.audited_tables AS a
    LEFT JOIN pg_class AS c ON c.oid = a.relation
    LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace
   ORDER BY 1, 2
$function$;
COMMENT ON FUNCTION threadline.health_captures() IS
  'Each table that is or was under capture, with the times of its oldest and its latest recorded change.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA threadline FROM PUBLIC;
