-- The functions that a reader calls: those of a table, built from the parts of the two migrations before, and the times
-- that the record knows of.

-- row_as_of(NULL::t, time, key…): what became of one row, by single look-ups. `image` is NULL where the live row is
-- meant, and the columns of a change are those of the one that deleted the row.
-- At most one transaction can straddle the time and have written the row before it: the next to write it had to wait.
-- Snapshots are no events, and are left out: one may be written while an update with an earlier time is still in flight.
CREATE FUNCTION threadline.row_as_of_body(audited threadline.audited_tables, live_rows text, before text, shape text,
  change_columns text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('
DECLARE
  newest record;
  later record;
BEGIN
  since := threadline.history_since(%1$s, %2$L);
  IF $2 IS NULL THEN
    PERFORM threadline.check_past(%1$s, %2$L, $2);
  ELSIF $2 < since THEN
    state := ''before_history'';
    RETURN NEXT;
    RETURN;
  END IF;
  SELECT c.id, c.transaction_id, c.op, c.captured_at INTO newest FROM threadline.audit_changes AS c
   WHERE c.table_id = %1$s AND %3$s AND c.captured_at <= $2 AND c.op <> ''snapshot'' ORDER BY c.captured_at DESC, c.id DESC LIMIT 1;
  IF EXISTS (SELECT FROM threadline.audit_changes AS c WHERE c.transaction_id = newest.transaction_id AND c.captured_at > $2) THEN
    SELECT c.id, c.op, c.captured_at, %4$s AS image INTO later FROM threadline.audit_changes AS c
     WHERE c.transaction_id = newest.transaction_id AND c.table_id = %1$s AND %3$s AND c.op <> ''snapshot'' ORDER BY c.id LIMIT 1;
    SELECT c.id, c.op, c.captured_at INTO newest FROM threadline.audit_changes AS c
     WHERE c.table_id = %1$s AND %3$s AND c.captured_at <= later.captured_at AND c.id < later.id AND c.op <> ''snapshot''
     ORDER BY c.captured_at DESC, c.id DESC LIMIT 1;
  ELSE
    SELECT c.id, c.op, %4$s AS image INTO later FROM threadline.audit_changes AS c
     WHERE c.table_id = %1$s AND %3$s AND c.captured_at > $2 AND c.op <> ''snapshot'' ORDER BY c.id LIMIT 1;
  END IF;
  IF later.op <> ''insert'' THEN
    state := ''found'';
    image := later.image;
    image_of := later.id;
  ELSIF later.op IS NULL AND EXISTS (SELECT FROM %5$s AS t WHERE %6$s) THEN
    state := ''found'';
  ELSIF newest.op IN (''delete'', ''truncate'') THEN
    state := ''deleted'';
    SELECT %7$s INTO %8$s FROM threadline.versions($1, %9$s) AS v WHERE v.id = newest.id AND v.captured_at = newest.captured_at;
  ELSE
    state := ''not_yet'';
  END IF;
  RETURN NEXT;
END
', audited.id, shape, threadline.recorded_key(audited, key), before, live_rows, threadline.live_key(audited, key),
    (SELECT string_agg('v.' || c, ', ') FROM unnest(change_columns) AS c), array_to_string(change_columns, ', '), array_to_string(key, ', '))
    FROM (SELECT threadline.key_arguments(audited, 3) AS key) AS k
$function$;
COMMENT ON FUNCTION threadline.row_as_of_body(threadline.audited_tables, text, text, text, text[]) IS
  'PL/pgSQL for what became of one row.';

-- restore(NULL::t, transaction, time, change, losing): brings a row back to what a change left, with the rights of whoever
-- calls and captured like any other write. Whatever is redacted is not in the record, and is left as it is; so is what
-- was added since. Later changes are told by the record, once the live row is locked.
CREATE FUNCTION threadline.restore_body(audited threadline.audited_tables, live_rows text, shape text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('
#variable_conflict use_column
DECLARE
  since timestamptz := threadline.history_since(%2$s, %3$L);
  change record;
  target %1$s;
  live %1$s;
  gone boolean;
  later bigint;
  newest bigint;
  done bigint;
BEGIN
  SELECT c.op, c.id, c.captured_at, (%4$s) - %5$L::text[] AS image INTO change
    FROM threadline.audit_changes AS c WHERE c.transaction_id = $2 AND c.captured_at = $3 AND c.id = $4 AND c.table_id = %2$s;
  IF NOT FOUND THEN
    RAISE EXCEPTION ''%% has no change %% to restore'', %11$L, $4 USING ERRCODE = ''no_data_found'', CONSTRAINT = ''threadline_restore'',
      HINT = ''It may have been removed from the record, or belong to another table.'';
  END IF;
  target := threadline.checked_row(NULL::%1$s, change.image, change.id);
  SELECT t.* INTO live FROM %6$s AS t WHERE %7$s FOR UPDATE;
  gone := NOT FOUND;
  SELECT count(*), max(c.id) INTO later, newest FROM threadline.audit_changes AS c
   WHERE c.table_id = %2$s AND %8$s AND c.op <> ''snapshot''
     -- What a snapshot tells was so since before every change of now, be its id what it may.
     AND CASE change.op WHEN ''snapshot'' THEN c.captured_at >= since AND c.id > $5 ELSE c.id > greatest(change.id, $5) END;
  -- Of what was not captured, nobody knows how much would be lost.
  IF later > 0 OR change.captured_at < since AND $5 < 9223372036854775807 THEN
    RAISE EXCEPTION ''later changes of this row of %% would be lost: %%'', %11$L, CASE WHEN later > 0 THEN later::text ELSE ''those before '' || since END
      USING ERRCODE = ''object_not_in_prerequisite_state'', CONSTRAINT = ''threadline_later_changes'', DETAIL = coalesce(newest, change.id),
        HINT = ''Look at them, and say that they may be lost.'';
  END IF;
  left_out := %5$L;
  IF change.op IN (''delete'', ''truncate'') THEN
    IF gone THEN
      RETURN NEXT;
      RETURN;
    END IF;
    DELETE FROM %6$s AS t WHERE %7$s;
    op := ''delete'';
  ELSIF gone THEN
    -- Only what the image has, so that the rest takes its default.
    EXECUTE format(''INSERT INTO %%1$s (%%2$s) OVERRIDING SYSTEM VALUE SELECT %%2$s FROM jsonb_populate_record(NULL::%%1$s, $1)'', %11$L,
      (SELECT string_agg(quote_ident(k), '', '') FROM jsonb_object_keys(change.image) AS k WHERE k = ANY (%9$L))) USING change.image;
    op := ''insert'';
  ELSE
    target := jsonb_populate_record(live, change.image);
    IF live *= target THEN
      RETURN NEXT;
      RETURN;
    END IF;
    UPDATE %6$s AS t SET %10$s WHERE %7$s;
    op := ''update'';
  END IF;
  GET DIAGNOSTICS done = ROW_COUNT;
  IF done <> 1 THEN
    RAISE EXCEPTION ''the %% that would restore a row of %% was prevented'', op, %11$L USING ERRCODE = ''triggered_action_exception'',
      CONSTRAINT = ''threadline_restore'', HINT = ''Look at the triggers and policies of the table.'';
  END IF;
  RETURN NEXT;
END
', audited.relation, audited.id, shape,
    threadline.renamed_expression(audited, 'coalesce(c.data_after, c.changed_from)', 'c.id'),
    ARRAY(SELECT r FROM unnest(audited.masked_columns || audited.excluded_columns) AS r ORDER BY r), live_rows,
    threadline.live_key(audited, key), threadline.recorded_key(audited, key),
    ARRAY(SELECT a.attname FROM pg_attribute AS a WHERE a.attrelid = audited.relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''),
    coalesce((SELECT string_agg(format('%1$I = target.%1$I', a.attname), ', ' ORDER BY a.attnum)
       FROM pg_attribute AS a
      WHERE a.attrelid = audited.relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity <> 'a'
        AND a.attname <> ALL (audited.key_columns || audited.masked_columns || audited.excluded_columns)),
      format('%1$I = target.%1$I', audited.key_columns[1])), audited.relation::text)
    FROM (SELECT ARRAY(SELECT format('target.%I', name) FROM unnest(audited.key_columns) WITH ORDINALITY AS k (name, n) ORDER BY n) AS key) AS k
$function$;
COMMENT ON FUNCTION threadline.restore_body(threadline.audited_tables, text, text) IS
  'PL/pgSQL that brings a row back to what a change left.';

-- The functions that give the past of a table. Those that the planner must inline are plain SQL, as versions is.
CREATE FUNCTION threadline.past_functions(audited threadline.audited_tables)
RETURNS TABLE (signature text, definition text, description text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  row_type text := audited.relation::text;
  shape text := threadline.table_shape(audited.relation);
  check_past text := format('threadline.check_past(%s, %L, $2)', audited.id, shape);
  live_rows text := concat(CASE WHEN (SELECT relkind FROM pg_class WHERE oid = audited.relation) <> 'p' THEN 'ONLY ' END, row_type);
  before text := threadline.record_expression(audited, 'coalesce(c.data_after OPERATOR(pg_catalog.||) c.changed_from, c.changed_from)');
  after text := threadline.record_expression(audited, 'c.data_after');
  inlined text := E'RETURNS SETOF %s\nLANGUAGE sql STABLE AS %L';
  key_types text := array_to_string((SELECT types FROM threadline.primary_key(audited.relation)), ', ');
BEGIN
  -- First, because the others call it. Computed where the search_path is pinned, since what the expressions call is not
  -- written with its schema.
  RETURN QUERY SELECT format('computed_columns(%s)', row_type),
      format(E'RETURNS TABLE (%s)\nLANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp\nAS %L',
        string_agg(format('%I %s', a.attname, threadline.type_name(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum),
        format('SELECT %s FROM (SELECT $1.*) AS r', string_agg(format('(%s)', pg_get_expr(d.adbin, d.adrelid)), ', ' ORDER BY a.attnum))),
      format('The virtual generated columns of a row of %s.', row_type)
    FROM pg_attribute AS a JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
   WHERE a.attrelid = audited.relation AND a.attgenerated = 'v' AND NOT a.attisdropped HAVING count(*) > 0;
  RETURN QUERY VALUES
    (format('row_of(%s, jsonb, bigint)', row_type), format(inlined, row_type, threadline.row_of_image(audited)),
     format('The row of %s that an image is of, as it is read today.', row_type)),
    (format('as_of(%s, timestamptz)', row_type),
     format(inlined, row_type, CASE WHEN audited.key_type IS NOT NULL
         AND NOT EXISTS (SELECT FROM threadline.recorded_key_columns(audited) AS k WHERE k.recorded IS NULL)
       THEN threadline.as_of_by_key(audited, live_rows, before, check_past)
       ELSE threadline.as_of_by_count(audited, live_rows, before, after, check_past) END),
     format('The rows of %s as of a time.', row_type));
  IF audited.key_type IS NULL THEN
    RETURN;
  END IF;
  RETURN QUERY VALUES
    (format('row_of(%s, jsonb, bigint, %s)', row_type, key_types),
     format(inlined, row_type, format(E'SELECT %s\n  FROM %s AS t\n WHERE $2 IS NULL AND %s\nUNION ALL\nSELECT r.* FROM threadline.row_of($1, $2, $3) AS r WHERE $2 IS NOT NULL',
       threadline.past_columns(audited, true), live_rows,
       threadline.live_key(audited, threadline.key_arguments(audited, 4)))),
     format('The row of %s that threadline.row_as_of found.', row_type)),
    (format('row_as_of(%s, timestamptz, %s)', row_type, key_types),
     format(E'RETURNS TABLE (state text, since timestamptz, image jsonb, image_of bigint,\n'
       '  id bigint, transaction_id uuid, op text, captured_at timestamptz, row_key text, moved_key text, changed_fields text[], diff jsonb,\n'
       '  actor_ref jsonb, on_behalf_of jsonb, source text, correlation_id text, request_id text, job_id text, remote_ip inet, meta jsonb,\n'
       '  occurred_at timestamptz, database_role text, application_name text)\n'
       'LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_generic_plan\nAS %L',
       threadline.row_as_of_body(audited, live_rows, before, shape, '{id,transaction_id,op,captured_at,row_key,moved_key,changed_fields,diff,actor_ref,on_behalf_of,source,correlation_id,request_id,job_id,remote_ip,meta,occurred_at,database_role,application_name}')),
     format('What one row of %s was as of a time: found, deleted, not_yet or before_history.', row_type)),
    (format('restore(%s, uuid, timestamptz, bigint, bigint)', row_type),
     format(E'RETURNS TABLE (op text, left_out text[])\nLANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp\nAS %L',
       threadline.restore_body(audited, live_rows, shape)),
     format('Brings a row of %s back to what a change left, unless later changes would be lost.', row_type));
END
$function$;
COMMENT ON FUNCTION threadline.past_functions(threadline.audited_tables) IS
  'Definitions of threadline.as_of and its like for a table.';

-- What a reader calls: the functions whose first argument is a row of an audited table, and what those call in turn.
CREATE FUNCTION threadline.reading_functions() RETURNS TABLE (oid regprocedure, relation regclass)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT p.oid, a.relation
    FROM pg_proc AS p
    LEFT JOIN pg_class AS c ON c.reltype = p.proargtypes[0] AND c.reltype <> 0
    LEFT JOIN threadline.audited_tables AS a ON a.relation = c.oid
   WHERE p.pronamespace = 'threadline'::regnamespace
     AND (a.id IS NOT NULL OR p.proname IN ('after_transaction', 'as_of', 'before_transaction', 'check_past', 'checked_row',
       'current_column', 'diff_expression', 'first_id_after', 'former_names', 'lacks_attributes', 'history_since', 'no_value', 'past_obstacle', 'record_expression',
       'refuse_unaudited', 'rename_columns', 'renamed_expression', 'settled_at', 'straddling_changes', 'straddling_transactions', 'table_shape', 'type_shape')
       -- To tell what the generator would write, for threadline.health.
       OR p.proname IN ('added_default', 'candidates', 'changed_values', 'check_auditable', 'compared_columns', 'definition_version', 'describe_renames', 'describe_table', 'generated_from', 'granularity_for',
         'holds_placeholder', 'image_expression', 'image_rows', 'key_expression', 'key_part', 'masked_expression', 'masked_values', 'pinned_settings', 'primary_key', 'record_row',
         'record_statement', 'redaction', 'refuse', 'row_sources', 'statement_sources', 'trigger_source', 'trigger_sources', 'truncate_source', 'typed_key', 'update_rows')
       -- For threadline.continuity.
       OR p.proname IN ('baseline_key', 'baseline_obstacle', 'continuity', 'row_estimate', 'type_name')
       OR p.proname IN ('coverage', 'partitions', 'retention_horizons', 'retention_plan', 'retention_policy') OR starts_with(p.proname::text, 'health')
       OR starts_with(p.proname::text, 'timeline'))
$function$;
COMMENT ON FUNCTION threadline.reading_functions() IS
  'The functions that a reader of the record calls, with the table they are for if they are for one.';

CREATE FUNCTION threadline.define_reading_functions(audited threadline.audited_tables) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  defined record;
  outdated regprocedure;
  reader regrole;
BEGIN
  -- What can stay is replaced: views of the application may stand on it.
  FOR outdated IN SELECT f.oid FROM threadline.reading_functions() AS f WHERE f.relation = audited.relation
                  EXCEPT SELECT to_regprocedure('threadline.' || d.signature) FROM threadline.history_functions(audited) AS d
                  EXCEPT SELECT to_regprocedure('threadline.' || d.signature) FROM threadline.past_functions(audited) AS d LOOP
    EXECUTE format('DROP FUNCTION %s', outdated);
  END LOOP;
  FOR defined IN SELECT * FROM threadline.history_functions(audited) UNION ALL SELECT * FROM threadline.past_functions(audited) LOOP
    EXECUTE format('CREATE OR REPLACE FUNCTION threadline.%s %s', defined.signature, defined.definition);
    EXECUTE format('COMMENT ON FUNCTION threadline.%s IS %L', defined.signature, defined.description);
    -- Who may read the record may call them; nobody else could use them.
    EXECUTE format('REVOKE ALL ON FUNCTION threadline.%s FROM PUBLIC', defined.signature);
    EXECUTE format('ALTER FUNCTION threadline.%s OWNER TO %s', defined.signature,
      (SELECT relowner::regrole FROM pg_class WHERE oid = 'threadline.audit_changes'::regclass));
    FOR reader IN SELECT DISTINCT acl.grantee FROM pg_class AS c, aclexplode(c.relacl) AS acl
                   WHERE c.oid = 'threadline.audit_changes'::regclass AND acl.privilege_type = 'SELECT'
                     AND acl.grantee NOT IN (0, c.relowner) LOOP
      EXECUTE format('GRANT EXECUTE ON FUNCTION threadline.%s TO %s', defined.signature, reader);
    END LOOP;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline.define_reading_functions(threadline.audited_tables) IS
  'Writes the functions that read the record of a table.';

-- Tables without a function of their own come here, while the query is planned: an unaudited table is refused even
-- where it is empty or would not be read.
CREATE FUNCTION threadline.refuse_unaudited(sample anyelement) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  -- NULL::"path" is of the built-in type, even where a table has that name.
  IF (SELECT y.typtype FROM pg_type AS y WHERE y.oid = pg_typeof(sample)) <> 'c' THEN
    RAISE EXCEPTION 'cannot read % as of the past: this is a type, and no table', pg_typeof(sample)
      USING ERRCODE = 'wrong_object_type', CONSTRAINT = 'threadline_past', HINT = 'Write the table with its schema.';
  END IF;
  RAISE EXCEPTION 'cannot read % as of the past: it is not audited', pg_typeof(sample)
    USING ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_past', TABLE = pg_typeof(sample)::text,
      HINT = 'Put it under capture with threadline.audit_table, or name it as live in the query.';
END
$function$;
COMMENT ON FUNCTION threadline.refuse_unaudited(anyelement) IS 'Raises the error of a table that has no past.';

CREATE FUNCTION threadline.as_of(unaudited anyelement, at timestamptz) RETURNS SETOF anyelement
LANGUAGE sql STABLE AS 'SELECT $1 WHERE threadline.refuse_unaudited($1)';
COMMENT ON FUNCTION threadline.as_of(anyelement, timestamptz) IS
  'The rows of a table as of a time; this one refuses the tables that are not audited.';

-- When a transaction took effect, to read as of it or as of just before.
CREATE FUNCTION threadline.after_transaction(id uuid) RETURNS timestamptz
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
  took_effect timestamptz := coalesce(
    (SELECT max(c.captured_at) FROM threadline.audit_changes AS c WHERE c.transaction_id = after_transaction.id),
    (SELECT t.occurred_at FROM threadline.audit_transactions AS t WHERE t.id = after_transaction.id));
BEGIN
  IF took_effect IS NULL THEN
    RAISE EXCEPTION 'there is no audit transaction %', coalesce(after_transaction.id::text, 'NULL')
      USING ERRCODE = 'no_data_found', CONSTRAINT = 'threadline_past', HINT = 'Its id stands in threadline.audit_transactions.';
  END IF;
  RETURN took_effect;
END
$function$;
COMMENT ON FUNCTION threadline.after_transaction(uuid) IS 'When a transaction took effect: the time of its last change.';

CREATE FUNCTION threadline.before_transaction(id uuid) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline.after_transaction(before_transaction.id) - interval '1 microsecond'
$function$;
COMMENT ON FUNCTION threadline.before_transaction(uuid) IS 'The last moment before a transaction took effect.';

-- A transaction in flight may still commit, and then takes effect at the time of its last change, which may be past by
-- then; but it is later than its start. What has no transaction id yet has not written. Of a prepared transaction, of one
-- whose session the owner of this function may not look at or that does not track its activity, and of all that a snapshot or a standby does not see yet, the
-- start is not told; but it got its id when every transaction with a lower one had begun.
CREATE FUNCTION threadline.settled_at() RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
  settled timestamptz := clock_timestamp();  -- before anybody is looked at
  started timestamptz;
  hidden boolean;
  frozen boolean := pg_is_in_recovery() OR current_setting('transaction_isolation') IN ('repeatable read', 'serializable');
  snapshot pg_snapshot;
  unseen xid8;
BEGIN
  PERFORM pg_stat_clear_snapshot();
  SELECT min(a.xact_start) FILTER (WHERE a.backend_xid IS NOT NULL), coalesce(bool_or(a.query = '<insufficient privilege>' OR a.backend_xid IS NOT NULL AND a.xact_start IS NULL), false)
    INTO started, hidden FROM pg_stat_activity AS a WHERE a.datname = current_database();
  -- Sessions first: what was in one may be prepared by now, but not the other way round.
  snapshot := pg_current_snapshot();
  SELECT u.txid INTO unseen FROM (
    SELECT pg_snapshot_xmin(snapshot) AS txid WHERE frozen
    UNION ALL
    SELECT coalesce((SELECT x FROM pg_snapshot_xip(snapshot) AS x WHERE x::xid = p.transaction), pg_snapshot_xmax(snapshot))
      FROM pg_prepared_xacts AS p WHERE p.database = current_database()
    UNION ALL
    SELECT x FROM pg_snapshot_xip(snapshot) AS x WHERE hidden AND NOT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.backend_xid = x::xid AND a.xact_start IS NOT NULL)
    UNION ALL
    SELECT pg_snapshot_xmax(snapshot) WHERE hidden) AS u ORDER BY u.txid LIMIT 1;
  IF unseen IS NOT NULL THEN
    settled := least(settled, coalesce(
      (SELECT t.occurred_at FROM threadline.audit_transactions AS t WHERE t.txid < unseen ORDER BY t.id DESC LIMIT 1),
      (SELECT min(a.capture_since) FROM threadline.audited_tables AS a)));  -- before it, nothing can be read anyway
  END IF;
  RETURN least(settled, started) - interval '1 microsecond';
END
$function$;
COMMENT ON FUNCTION threadline.settled_at() IS
  'Up to when the past is final: no transaction that is still in flight can take effect at or before this time.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA threadline FROM PUBLIC;
