-- The public face of capture: audit_table, unaudit_table, refresh_audited_tables, grant_reader.

CREATE FUNCTION threadline.drop_triggers(relation regclass) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  trigger record;
BEGIN
  -- A clone on a partition (tgparentid) goes with its parent. A partition that was detached kept the others.
  FOR trigger IN SELECT t.tgname, t.tgrelid::regclass AS relation FROM pg_trigger AS t
                  WHERE starts_with(t.tgname::text, '!threadline_') AND t.tgparentid = 0
                    AND t.tgrelid IN (SELECT drop_triggers.relation UNION ALL
                                      SELECT p.relid FROM pg_partition_tree(drop_triggers.relation) AS p UNION ALL
                                      SELECT d.tgrelid FROM pg_trigger AS d
                                        JOIN threadline.audited_tables AS a ON a.relation = drop_triggers.relation
                                       WHERE d.tgfoid = to_regproc(format('threadline.capture_%s_truncate', a.id))) LOOP
    EXECUTE format('DROP TRIGGER %I ON %s', trigger.tgname, trigger.relation);
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline.drop_triggers(regclass) IS 'Drops the capture triggers of a table and its partitions.';

-- "!" sorts before the triggers of the application and of foreign keys ("RI_…"): what those write in turn is
-- recorded after the change that caused it.
CREATE FUNCTION threadline.define_triggers(audited threadline.audited_tables) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  member regclass;
  partitioned boolean := (SELECT relkind = 'p' FROM pg_class WHERE oid = audited.relation);
BEGIN
  PERFORM threadline.drop_triggers(audited.relation);
  IF audited.granularity = 'statement' THEN
    EXECUTE format('CREATE TRIGGER "!threadline_insert" AFTER INSERT ON %s REFERENCING NEW TABLE AS new_rows
      FOR EACH STATEMENT EXECUTE FUNCTION threadline.capture_%s_insert()', audited.relation, audited.id);
    EXECUTE format('CREATE TRIGGER "!threadline_update" AFTER UPDATE ON %s REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
      FOR EACH STATEMENT EXECUTE FUNCTION threadline.capture_%s_update()', audited.relation, audited.id);
    EXECUTE format('CREATE TRIGGER "!threadline_delete" AFTER DELETE ON %s REFERENCING OLD TABLE AS old_rows
      FOR EACH STATEMENT EXECUTE FUNCTION threadline.capture_%s_delete()', audited.relation, audited.id);
  ELSE
    EXECUTE format('CREATE TRIGGER "!threadline_insert" AFTER INSERT ON %s
      FOR EACH ROW EXECUTE FUNCTION threadline.capture_%s_insert()', audited.relation, audited.id);
    -- By image and not IS DISTINCT FROM: json and point have no equality operator.
    EXECUTE format('CREATE TRIGGER "!threadline_update" AFTER UPDATE ON %s
      FOR EACH ROW WHEN (NOT (OLD.* OPERATOR(pg_catalog.*=) NEW.*)) EXECUTE FUNCTION threadline.capture_%s_update()',
      audited.relation, audited.id);
    EXECUTE format('CREATE TRIGGER "!threadline_delete" AFTER DELETE ON %s
      FOR EACH ROW EXECUTE FUNCTION threadline.capture_%s_delete()', audited.relation, audited.id);
  END IF;
  -- Statement triggers are not cloned to partitions: what is aimed straight at one needs a trigger there.
  FOR member IN SELECT audited.relation UNION SELECT p.relid FROM pg_partition_tree(audited.relation) AS p LOOP
    EXECUTE format('CREATE TRIGGER "!threadline_truncate" BEFORE TRUNCATE ON %s
      FOR EACH STATEMENT EXECUTE FUNCTION threadline.capture_%s_truncate()', member, audited.id);
    IF partitioned THEN
      EXECUTE format('CREATE TRIGGER "!threadline_inserting" BEFORE INSERT ON %s
        FOR EACH STATEMENT EXECUTE FUNCTION threadline.note_insert()', member);
      EXECUTE format('CREATE TRIGGER "!threadline_inserted" AFTER INSERT ON %s
        FOR EACH STATEMENT EXECUTE FUNCTION threadline.note_insert()', member);
    END IF;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline.define_triggers(threadline.audited_tables) IS 'Puts the capture triggers on a table and its partitions.';

-- Every refusal carries the constraint name threadline_audit_table, by which a client can tell it from other errors.
CREATE FUNCTION threadline.refuse(relation regclass, reason text, hint text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RAISE EXCEPTION 'cannot audit %: %', relation, reason
    USING ERRCODE = 'invalid_parameter_value', HINT = hint, CONSTRAINT = 'threadline_audit_table', TABLE = relation::text;
END
$function$;
COMMENT ON FUNCTION threadline.refuse(regclass, text, text) IS 'Raises the error of a table that cannot be audited as asked.';

CREATE FUNCTION threadline.check_auditable(relation regclass, mask text[], exclude text[], granularity text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  class pg_class;
  log_owner oid := (SELECT relowner FROM pg_class WHERE oid = 'threadline.audit_changes'::regclass);
  name text;
  column_type text;
BEGIN
  SELECT * INTO class FROM pg_class WHERE oid = relation;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'cannot audit a table that does not exist' USING ERRCODE = 'undefined_table', CONSTRAINT = 'threadline_audit_table',
      HINT = 'The first argument of threadline.audit_table is the table, as in ''users''::regclass.';
  END IF;
  IF class.relnamespace IN ('pg_catalog'::regnamespace, 'pg_toast'::regnamespace)
    OR class.relnamespace = to_regnamespace('information_schema') THEN
    PERFORM threadline.refuse(relation, 'it is a system table', 'Triggers do not fire on system tables.');
  ELSIF class.relnamespace = 'threadline'::regnamespace THEN
    PERFORM threadline.refuse(relation, 'it belongs to Threadline', 'The record cannot record itself.');
  ELSIF class.relkind IN ('v', 'm') THEN
    PERFORM threadline.refuse(relation, 'it is a view', 'Audit the tables that the view reads.');
  ELSIF class.relkind = 'f' THEN
    PERFORM threadline.refuse(relation, 'it is a foreign table', 'Audit the table on the server that holds it.');
  ELSIF class.relkind NOT IN ('r', 'p') THEN
    PERFORM threadline.refuse(relation, 'it is not a table', 'Name an ordinary or a partitioned table.');
  ELSIF class.relpersistence = 't' THEN
    PERFORM threadline.refuse(relation, 'it is a temporary table', 'Only what outlives the session can be audited.');
  ELSIF class.relispartition THEN
    PERFORM threadline.refuse(relation, 'it is a partition',
      format('Audit the partitioned table %s; its partitions are captured with it.', pg_partition_root(relation)));
  ELSIF EXISTS (SELECT FROM pg_partition_tree(relation) AS p JOIN pg_class AS c ON c.oid = p.relid WHERE c.relkind = 'f') THEN
    PERFORM threadline.refuse(relation, 'one of its partitions is a foreign table',
      'Detach the foreign partition: rows on another server cannot be captured from here.');
  ELSIF EXISTS (SELECT FROM threadline.exempt_tables AS e WHERE e.relation = check_auditable.relation) THEN
    PERFORM threadline.refuse(relation,
      format('it is exempt: %s', (SELECT e.reason FROM threadline.exempt_tables AS e WHERE e.relation = check_auditable.relation)),
      format('If that is no longer so: SELECT threadline.unexempt_table(%L);', relation));
  ELSIF NOT has_table_privilege(log_owner, relation, 'SELECT') THEN
    PERFORM threadline.refuse(relation, format('%s, the owner of the record, may not read it', log_owner::regrole),
      format('GRANT SELECT ON %s TO %s; it is needed to record what TRUNCATE removes.', relation, log_owner::regrole));
  END IF;

  IF granularity NOT IN ('row', 'statement') THEN
    PERFORM threadline.refuse(relation, format('granularity %L is unknown', granularity), 'It is ''row'' or ''statement'', or left out.');
  ELSIF granularity = 'statement' AND (class.relkind = 'p'
      OR EXISTS (SELECT FROM pg_inherits WHERE relation IN (inhrelid, inhparent))) THEN
    PERFORM threadline.refuse(relation, 'granularity ''statement'' would miss writes aimed straight at a partition or child table',
      'Leave the granularity out, or ask for ''row''.');
  ELSIF granularity = 'statement' AND threadline.granularity_for(relation) = 'row' THEN
    RAISE WARNING 'changes that row triggers of % make to it will be recorded before the change that fired them', relation
      USING HINT = 'Leave the granularity out, or ask for ''row''.';
  END IF;

  FOREACH name IN ARRAY mask || exclude LOOP
    SELECT format_type(a.atttypid, a.atttypmod) INTO column_type
      FROM pg_attribute AS a WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attname = name;
    IF NOT FOUND THEN
      PERFORM threadline.refuse(relation, format('it has no column %I', name),
        format('Its columns are: %s.', (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute AS a
                                         WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped)));
    ELSIF name = ANY (mask) AND name = ANY (exclude) THEN
      PERFORM threadline.refuse(relation, format('column %I is both masked and excluded', name),
        'A masked column is recorded as a placeholder, an excluded one not at all: choose one.');
    ELSIF name = ANY ((SELECT columns FROM threadline.primary_key(relation))::text[]) THEN
      PERFORM threadline.refuse(relation, format('column %I is part of its primary key', name),
        'The key says whose history a change belongs to, so it can be neither masked nor excluded.');
    ELSIF name = ANY (mask) AND NOT threadline.holds_placeholder(relation, name) THEN
      PERFORM threadline.refuse(relation, format('column %I of type %s cannot hold the placeholder [REDACTED]', name, column_type),
        'Mask only columns of text, and exclude the others.');
    END IF;
  END LOOP;
  -- A stored generated column would put into the record what its redacted source keeps out of it.
  SELECT g.generated, g.source INTO name, column_type FROM threadline.generated_from(relation, mask || exclude) AS g;
  IF name IS NOT NULL THEN
    PERFORM threadline.refuse(relation, format('column %I is generated from column %I, which is redacted', name, column_type),
      'Mask or exclude the generated column as well.');
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline.check_auditable(regclass, text[], text[], text) IS
  'Raises an error with a hint if a table cannot be audited as asked.';

-- When the primary key became another one, the keys of the older changes are written anew out of their images, so
-- that the history of a row stays in one piece. The images themselves are never touched.
CREATE FUNCTION threadline.rewrite_keys(audited threadline.audited_tables) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS $function$
DECLARE
  image text := threadline.renamed_expression(audited, 'coalesce(data_after, changed_from)', 'id');
  statement text;
BEGIN
  statement := format('UPDATE threadline.audit_changes AS c
       SET %skey_text = CASE WHEN typed_key IS NULL THEN key #>> ''{}'' END
      FROM (SELECT k.*, %s AS typed_key
              FROM (SELECT transaction_id, captured_at, id, %s AS key
                      FROM (SELECT *, %s AS image
                              FROM (SELECT *, %s AS full_image FROM threadline.audit_changes WHERE table_id = %s OFFSET 0) AS f
                            OFFSET 0) AS i
                    OFFSET 0) AS k OFFSET 0) AS k
     WHERE c.transaction_id = k.transaction_id AND c.captured_at = k.captured_at AND c.id = k.id',
    (SELECT string_agg(format('key_%s = %s, ', t, CASE WHEN t = audited.key_type THEN 'typed_key' ELSE 'NULL' END), '')
       FROM unnest('{bigint,integer,uuid}'::text[]) AS t),
    threadline.typed_key(audited.key_type, 'key'), threadline.key_expression(audited, 'image'), E'\x01', image, audited.id);
  -- The old keys in the new type; where one cannot be converted, all stay what they were.
  BEGIN
    EXECUTE replace(statement, E'\x01', format('to_jsonb(jsonb_populate_record(NULL::%s, (
        SELECT jsonb_object_agg(p.key, CASE jsonb_typeof(p.value) WHEN ''number'' THEN to_jsonb(trim_scale(p.value::numeric)) ELSE p.value END)
          FROM jsonb_each(full_image) AS p WHERE p.key = ANY (%L))))', audited.relation, audited.key_columns));
  EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
    EXECUTE replace(statement, E'\x01', 'full_image');
  END;
END
$function$;
COMMENT ON FUNCTION threadline.rewrite_keys(threadline.audited_tables) IS
  'Writes the keys of a table''s older changes anew after its primary key became another one.';

CREATE FUNCTION threadline.audit_table(relation regclass, mask text[] DEFAULT '{}', exclude text[] DEFAULT '{}',
  granularity text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  before threadline.audited_tables;
  audited threadline.audited_tables;
  key record;
  locked boolean;
  captured boolean;  -- without a gap since capture_since
BEGIN
  -- One installer at a time; it also keeps two processes that start together from replacing the same function.
  PERFORM pg_advisory_xact_lock(hashtextextended('threadline', 0));
  -- Also when there is nothing else to do: an application that installs at every start never runs out of partitions.
  PERFORM threadline.create_partitions();
  mask := coalesce((SELECT array_agg(DISTINCT m ORDER BY m) FROM unnest(mask) AS m), '{}');
  exclude := coalesce((SELECT array_agg(DISTINCT e ORDER BY e) FROM unnest(exclude) AS e), '{}');
  SELECT * INTO before FROM threadline.audited_tables AS t WHERE t.relation = audit_table.relation;
  IF NOT FOUND THEN
    -- A table of the same name that was dropped and created again, or restored, goes on with its record.
    SELECT t.* INTO before FROM threadline.audited_tables AS t JOIN pg_class AS c ON c.oid = audit_table.relation
      JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE t.schema_name = n.nspname AND t.table_name = c.relname
       AND NOT EXISTS (SELECT FROM pg_class WHERE oid = t.relation);
  END IF;

  FOREACH locked IN ARRAY '{false, true}'::boolean[] LOOP
    -- What was read without the lock may be another definition by the time the lock is there.
    IF locked THEN
      EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', relation);
    END IF;
    PERFORM threadline.check_auditable(relation, mask, exclude, granularity);
    SELECT * INTO key FROM threadline.primary_key(relation);
    SELECT relation, n.nspname, c.relname INTO audited.relation, audited.schema_name, audited.table_name
      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = relation;
    audited.id := before.id;
    audited.key_columns := key.columns;
    audited.key_type := key.key_type;
    audited.excluded_columns := exclude;
    audited.masked_columns := mask;
    audited.requested_granularity := granularity;
    audited.granularity := coalesce(granularity, threadline.granularity_for(relation));
    audited.definition_version := threadline.definition_version();
    audited.definition := threadline.describe_table(relation, before.definition);
    captured := CASE WHEN before.relation = relation AND before.capture_ended_at IS NULL
      THEN NOT EXISTS (SELECT FROM threadline.health_capture(before)) ELSE false END;
    audited.capture_since := before.capture_since;
    audited.purged_before := before.purged_before;
    -- Nothing to do is the common case, and takes no lock on the table.
    IF captured AND NOT locked AND audited IS NOT DISTINCT FROM before THEN
      RETURN before.id;
    END IF;
  END LOOP;
  IF captured IS NOT TRUE THEN
    -- Behind the lock: whoever writes from now on fires the triggers.
    audited.capture_since := clock_timestamp();
  END IF;
  IF before.id IS NULL THEN
    audited.id := nextval(pg_get_serial_sequence('threadline.audited_tables', 'id'));
    INSERT INTO threadline.audited_tables OVERRIDING SYSTEM VALUE SELECT audited.*;
  ELSE
    UPDATE threadline.audited_tables AS t
       SET relation = audited.relation, schema_name = audited.schema_name, table_name = audited.table_name,
           key_columns = audited.key_columns, key_type = audited.key_type,
           excluded_columns = audited.excluded_columns, masked_columns = audited.masked_columns,
           granularity = audited.granularity, requested_granularity = audited.requested_granularity,
           definition_version = audited.definition_version, definition = audited.definition,
           capture_since = audited.capture_since, capture_ended_at = NULL
     WHERE t.id = audited.id;
    IF audited.key_type IS NOT NULL AND (audited.key_type IS DISTINCT FROM before.key_type
      OR (SELECT array_agg(audited.definition #> ARRAY['columns', c, 'number'] ORDER BY p) FROM unnest(audited.key_columns) WITH ORDINALITY AS k (c, p))
        IS DISTINCT FROM (SELECT array_agg(before.definition #> ARRAY['columns', c, 'number'] ORDER BY p) FROM unnest(before.key_columns) WITH ORDINALITY AS k (c, p))
      OR EXISTS (SELECT FROM threadline.audit_changes AS c WHERE c.table_id = audited.id AND c.key_text IS NOT NULL
                    AND audited.key_type <> 'text')
      -- Key columns exchanged names with others: until now their keys were taken from the wrong one.
      OR EXISTS (SELECT FROM jsonb_array_elements(audited.definition -> 'renames') WITH ORDINALITY AS s (step, position)
                  WHERE position > jsonb_array_length(before.definition -> 'renames')
                    AND (SELECT count(*) FROM jsonb_object_keys(step -> 'names')) > 1
                    AND step -> 'names' ?| before.key_columns)) THEN
      -- A hold of a row goes by its key, and must not come to be of none.
      IF EXISTS (SELECT FROM threadline.legal_holds AS h WHERE h.table_id = audited.id AND h.row_key IS NOT NULL) THEN
        PERFORM threadline.refuse(relation, 'rows of it are under legal hold by the primary key that it had',
          'Hold the whole table, release its rows, call this again, hold the rows by their new key, and release the table.');
      END IF;
      PERFORM threadline.rewrite_keys(audited);
      -- Changes that have no key of the new kind cannot be told to be of one row, so the past before now is unknown.
      IF EXISTS (SELECT FROM threadline.audit_changes AS c
                  WHERE c.table_id = audited.id AND c.captured_at >= audited.capture_since
                    AND CASE WHEN audited.key_type <> 'text' THEN num_nonnulls(c.key_integer, c.key_bigint, c.key_uuid) = 0
                             WHEN cardinality(audited.key_columns) > 1 THEN c.key_text IS NULL OR c.key_text::jsonb @> '[null]'
                             ELSE c.key_text IS NULL END) THEN
        UPDATE threadline.audited_tables AS t SET capture_since = clock_timestamp() WHERE t.id = audited.id;
      END IF;
    END IF;
  END IF;
  PERFORM threadline.define_capture_functions(audited);
  PERFORM threadline.define_triggers(audited);
  PERFORM threadline.define_reading_functions(audited);
  RETURN audited.id;
END
$function$;
COMMENT ON FUNCTION threadline.audit_table(regclass, text[], text[], text) IS
  'Puts a table under capture, or brings its capture in line with the table and the arguments; returns its id in audited_tables. Masked columns are recorded as [REDACTED], excluded ones not at all; granularity is row, statement, or chosen when NULL.';

CREATE FUNCTION threadline.unaudit_table(relation regclass) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  ended integer;
  event text;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('threadline', 0));
  UPDATE threadline.audited_tables AS t SET capture_ended_at = clock_timestamp()
   WHERE t.relation = unaudit_table.relation AND t.capture_ended_at IS NULL RETURNING t.id INTO ended;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM threadline.drop_triggers(relation);
  FOREACH event IN ARRAY ARRAY['insert', 'update', 'delete', 'truncate'] LOOP
    EXECUTE format('DROP FUNCTION threadline.%I()', format('capture_%s_%s', ended, event));
  END LOOP;
  -- Now that no writer is left (dropping a trigger waits for them), the time is right.
  UPDATE threadline.audited_tables SET capture_ended_at = clock_timestamp() WHERE id = ended;
  RETURN true;
END
$function$;
COMMENT ON FUNCTION threadline.unaudit_table(regclass) IS
  'Ends the capture of a table and keeps its record and its reading functions; returns false if it was not under capture.';

CREATE FUNCTION threadline.refresh_audited_tables() RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  audited threadline.audited_tables;
  redacted record;
  refusal text;
  refused_by text;
  refreshed integer := 0;
BEGIN
  FOR audited IN SELECT t.* FROM threadline.audited_tables AS t JOIN pg_class AS c ON c.oid = t.relation
                  WHERE t.capture_ended_at IS NULL ORDER BY t.id LOOP
    -- Under the names the columns have now; what was dropped needs no redaction.
    SELECT r.excluded, ARRAY(SELECT jsonb_object_keys(r.mask)) AS masked INTO redacted FROM threadline.redaction(audited.id) AS r;
    BEGIN
      PERFORM threadline.audit_table(audited.relation, redacted.masked, redacted.excluded, audited.requested_granularity);
      refreshed := refreshed + 1;
    EXCEPTION WHEN invalid_parameter_value THEN
      -- One table that can no longer be audited as it was must not keep all others, or an upgrade, from it.
      GET STACKED DIAGNOSTICS refusal = MESSAGE_TEXT, refused_by = CONSTRAINT_NAME;
      IF refused_by <> 'threadline_audit_table' THEN
        RAISE;
      END IF;
      RAISE WARNING '%; its capture goes on as it was defined before', refusal;
    END;
  END LOOP;
  RETURN refreshed;
END
$function$;
COMMENT ON FUNCTION threadline.refresh_audited_tables() IS
  'Brings the capture of every audited table in line with its present columns; returns for how many. Warns of those that can no longer be audited as they were.';

CREATE FUNCTION threadline.grant_reader(reader regrole) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  reading_function regprocedure;
  migrations regclass;
BEGIN
  EXECUTE format('GRANT USAGE ON SCHEMA threadline TO %s', reader);
  -- The last two for threadline.health: what is in the default partition, and up to which change a column had its old name.
  EXECUTE format('GRANT SELECT ON threadline.audited_tables, threadline.audit_transactions, threadline.audit_changes,
    threadline.audit_actions, threadline.action_rules, threadline.long_transactions, threadline.changes, threadline.exempt_tables, threadline.baselines,
    threadline.retention_policies, threadline.legal_holds, threadline.audit_changes_default, threadline.audit_changes_id_seq TO %s', reader);
  -- Diesel's, from which can be told which migrations of Threadline the database has.
  FOR migrations IN SELECT c.oid::regclass FROM pg_class AS c
                     WHERE c.relname = '__diesel_schema_migrations' AND c.relkind = 'r' AND pg_has_role(c.relowner, 'USAGE') LOOP
    EXECUTE format('GRANT SELECT ON %s TO %s', migrations, reader);
  END LOOP;
  FOR reading_function IN SELECT f.oid FROM threadline.reading_functions() AS f LOOP
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', reading_function, reader);
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline.grant_reader(regrole) IS
  'Lets a role read the whole record, the rows of every audited table included, now and for tables audited later.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA threadline FROM PUBLIC;

-- Nothing is audited yet on a first installation. Every later migration of Threadline ends with this call, too.
SELECT threadline.refresh_audited_tables();
