-- Locks the definition of a table during a step of its baseline, so that the definition does not change and no other
-- baseline scans the same rows.
CREATE FUNCTION threadline_internal.lock_for_baseline(relation regclass, batch_size integer)
RETURNS threadline.audited_tables
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  audited threadline.audited_tables;
  refusal text;
  hint text;
BEGIN
  -- Checked first, because a session that locks the table must not also make this function lock its definition, for
  -- which a refresh of all tables waits.
  IF EXISTS (SELECT FROM threadline.audited_tables AS t JOIN pg_class AS c ON c.oid = t.relation
              WHERE t.relation = lock_for_baseline.relation) THEN
    PERFORM threadline_internal.lock_table(relation, 'ACCESS SHARE');
  END IF;
  SELECT t.* INTO audited FROM threadline.audited_tables AS t
   WHERE t.id = (SELECT a.id FROM threadline_internal.audited_table(lock_for_baseline.relation) AS a)
     FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    refusal := 'it is not audited';
    hint := 'Put it under capture with threadline.audit_table: what it holds then is what a baseline records.';
  ELSIF coalesce(batch_size, 0) < 1 THEN
    refusal := 'a batch has at least one row';
    hint := 'Leave batch_size out, or name a number from 1 on.';
  ELSE
    -- Whatever prevents reading the past also prevents recording it.
    PERFORM threadline_internal.readable_since(audited.id, threadline_internal.table_shape(audited.relation));
    SELECT o.reason, o.advice INTO refusal, hint FROM threadline_internal.why_no_baseline(audited) AS o;
    PERFORM threadline_internal.check_foreign_code(audited.relation);
  END IF;
  IF refusal IS NOT NULL THEN
    RAISE EXCEPTION 'cannot record a baseline of %: %', coalesce(relation::text, 'NULL'), refusal
      USING ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_refused', HINT = hint;
  END IF;
  RETURN audited;
END
$function$;
COMMENT ON FUNCTION threadline_internal.lock_for_baseline(regclass, integer) IS
  'The definition of a table, locked; raises an error if no baseline of the table can be recorded.';

-- Adds a batch to the action of its baseline. If another actor resumes the baseline, or it is resumed for another
-- reason, that run gets its own action.
CREATE FUNCTION threadline_internal.baseline_action(audited threadline.audited_tables, as_of timestamptz, actor jsonb,
  reason text, recorded bigint, begun uuid) RETURNS uuid
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF EXISTS (SELECT FROM threadline.audit_actions AS a
              WHERE a.id = begun AND a.actor_ref = actor AND a.reason = baseline_action.reason) THEN
    IF recorded > 0 THEN
      PERFORM threadline_internal.add_to_action(begun, jsonb_build_object('changes', recorded));
    END IF;
    RETURN begun;
  END IF;
  RETURN (SELECT a.id FROM threadline_internal.insert_action('threadline.baseline', reason => baseline_action.reason,
    meta => jsonb_build_object('table', audited.relation::text, 'as_of', as_of, 'changes', recorded)) AS a);
END
$function$;
COMMENT ON FUNCTION threadline_internal.baseline_action(threadline.audited_tables, timestamptz, jsonb, text, bigint,
  uuid) IS
  'The action that a batch of a baseline belongs to.';

-- Returns the actor who records a baseline, and checks that a reason is given.
CREATE FUNCTION threadline_internal.baseline_actor(actor_ref jsonb, reason text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  actor jsonb := threadline_internal.read_actor(
    coalesce(actor_ref::text, nullif(current_setting('threadline.actor_ref', true), '')));
BEGIN
  IF actor IS NULL THEN
    RAISE EXCEPTION 'nobody is known who does threadline.baseline'
      USING ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_missing_actor',
        HINT = 'Name the actor, like {"type": "user", "id": "123"}, or set threadline.actor_ref in the transaction.';
  ELSIF threadline_internal.is_blank(reason) THEN
    RAISE EXCEPTION 'threadline.baseline needs a reason'
      USING ERRCODE = 'check_violation', CONSTRAINT = 'threadline_reason_required', DETAIL = 'threadline.baseline',
        HINT = 'Say why: whoever finds the snapshots in the audit log reads it.';
  END IF;
  RETURN actor;
END
$function$;
COMMENT ON FUNCTION threadline_internal.baseline_actor(jsonb, text) IS
  'The actor of a baseline; raises an error without an actor or a reason.';

-- Records one batch, under the settings of capture and with the rights of the caller, who is the owner of the audit
-- log. It neither blocks writers nor waits for them. A redefinition of the capture of the table waits for a batch, as
-- does another baseline of the table. More than 60 lines, a third of them its arguments, results and settings.
CREATE FUNCTION threadline.baseline_step(relation regclass, actor_ref jsonb, reason text,
  batch_size integer DEFAULT 1000,
  OUT as_of timestamptz, OUT passed bigint, OUT recorded bigint, OUT total_passed bigint, OUT total_recorded bigint,
  OUT row_estimate bigint, OUT finished boolean, OUT action_id uuid)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
SET IntervalStyle = 'postgres' SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
SET row_security = off SET enable_seqscan = off
AS $function$
#variable_conflict use_column
DECLARE
  audited threadline.audited_tables;
  done threadline.baselines;
  order_now text;
  redacted record;
  careful boolean;
  set_before text := coalesce(current_setting('threadline.actor_ref', true), '');
  actor jsonb := threadline_internal.baseline_actor(baseline_step.actor_ref, baseline_step.reason);
BEGIN
  audited := threadline_internal.lock_for_baseline(baseline_step.relation, batch_size);
  as_of := greatest(audited.capture_since, audited.purged_before);
  row_estimate := threadline_internal.row_estimate(audited.relation);
  SELECT string_agg(k.declaration, ', ' ORDER BY k.number) INTO order_now
    FROM threadline_internal.baseline_key(audited.relation) AS k;
  SELECT b.* INTO done FROM threadline.baselines AS b WHERE b.table_id = audited.id AND b.as_of = baseline_step.as_of;
  IF done.finished_at IS NULL AND done.key_order <> order_now THEN
    done.position := NULL;
    done.passed := 0;
  END IF;
  passed := 0;
  recorded := 0;
  action_id := done.action_id;
  IF done.finished_at IS NULL THEN
    IF baseline_step.actor_ref IS NOT NULL THEN
      PERFORM set_config('threadline.actor_ref', actor::text, true);
    END IF;
    careful := threadline_internal.text_columns(audited.relation) <> '{}';
    SELECT r.* INTO redacted FROM threadline_internal.redaction(audited) AS r;
    EXECUTE threadline_internal.baseline_statement(
      CASE WHEN audited.definition ->> 'layout' = threadline_internal.column_layout(audited.relation)
          AND careful = threadline_internal.has_text_columns(audited)
        THEN threadline_internal.list_images(audited) ELSE audited END,
      done.position IS NOT NULL)
      INTO passed, recorded, done.position
      USING done.position, batch_size, as_of, clock_timestamp(), redacted.excluded, redacted.mask,
            audited.relation, careful, redacted.hashed;
    action_id := threadline_internal.baseline_action(audited, as_of, actor, baseline_step.reason, recorded, action_id);
    PERFORM set_config('threadline.actor_ref', set_before, true);
  END IF;
  -- A table with hashed columns is scanned in a single batch.
  finished := done.finished_at IS NOT NULL OR passed < batch_size OR audited.hashed_columns <> '{}';
  total_passed := coalesce(done.passed, 0) + passed;
  total_recorded := coalesce(done.recorded, 0) + recorded;
  IF done.finished_at IS NULL THEN
    INSERT INTO threadline.baselines AS b (table_id, as_of, key_order, position, passed, recorded, started_at,
      finished_at, action_id)
    VALUES (audited.id, baseline_step.as_of, order_now, done.position, total_passed, total_recorded, clock_timestamp(),
      CASE WHEN finished THEN clock_timestamp() END, baseline_step.action_id)
    ON CONFLICT (table_id, as_of) DO UPDATE
      -- The last batch may be empty; the position then stays unchanged.
      SET key_order = excluded.key_order, position = coalesce(excluded.position, b.position), passed = excluded.passed,
          recorded = excluded.recorded, finished_at = excluded.finished_at, action_id = excluded.action_id;
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline.baseline_step(regclass, jsonb, text, integer) IS
  'Scans a batch of rows of a table in key order, and records those without a change as snapshots. Call it until it is '
  'finished, each time in its own transaction. Each call continues where the previous one ended.';
