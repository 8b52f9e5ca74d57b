-- Returns what makes the history of a table that is, was or could be audited incomplete.
CREATE FUNCTION threadline_internal.continuity_obstacle(relation regclass, audited threadline.audited_tables,
  OUT obstacle text, OUT hint text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
DECLARE
  refused_by text;
BEGIN
  IF audited.id IS NULL THEN
    PERFORM threadline_internal.check_auditable(relation, '{}', '{}', NULL, '{}');
    SELECT o.reason, o.advice INTO obstacle, hint FROM threadline_internal.why_unreadable(relation) AS o;
    IF obstacle IS NULL AND (SELECT k.key_type FROM threadline_internal.primary_key(relation) AS k) IS NULL THEN
      obstacle := 'it has no primary key';
      hint := 'Its changes would be recorded, but not told by row.';
    END IF;
    obstacle := 'it can be audited, but not all of its history be told: ' || obstacle;
  ELSIF audited.capture_ended_at IS NULL THEN
    PERFORM threadline_internal.readable_since(audited.id, threadline_internal.table_shape(audited.relation));
    SELECT 'not all of its history can be told: ' || o.reason, o.advice INTO obstacle, hint
      FROM threadline_internal.why_no_baseline(audited) AS o;
  ELSE
    obstacle := format('its capture ended at %s: changes since %s until then can be read, and nothing else',
      audited.capture_ended_at, audited.capture_since);
    hint := format('If it is to go on, its history begins anew: SELECT threadline.audit_table(%L);', relation);
  END IF;
EXCEPTION
  WHEN invalid_parameter_value OR object_not_in_prerequisite_state THEN
    GET STACKED DIAGNOSTICS obstacle = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT, refused_by = CONSTRAINT_NAME;
    IF refused_by NOT IN ('threadline_audit_table', 'threadline_past') THEN
      obstacle := format('it could not be checked: %s', obstacle);
    END IF;
  WHEN OTHERS THEN
    obstacle := format('it could not be checked: %s', SQLERRM);
    hint := 'Mend what the message names, and look again.';
END
$function$;
COMMENT ON FUNCTION threadline_internal.continuity_obstacle(regclass, threadline.audited_tables) IS
  'Why the history of a table is incomplete, and what to do about it; NULL if it is complete.';

-- Returns every table that is, was or could be audited. A table is `ready` if nothing makes its history incomplete.
CREATE FUNCTION threadline_internal.continuity()
RETURNS TABLE (table_schema text, table_name text, state text, capture_since timestamptz, readable_since timestamptz,
  row_estimate bigint, baseline text, baseline_rows bigint, ready boolean, message text, hint text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
#variable_conflict use_column
DECLARE
  candidate regclass;
  audited threadline.audited_tables;
  done threadline.baselines;
BEGIN
  FOR candidate, table_schema, table_name IN
    SELECT r.oid, c.table_schema, c.table_name
      FROM threadline.coverage AS c
      JOIN pg_namespace AS n ON n.nspname = c.table_schema
      JOIN pg_class AS r ON r.relnamespace = n.oid AND r.relname = c.table_name
     WHERE c.state <> 'exempt' OR EXISTS (SELECT FROM threadline_internal.audited_table(r.oid))
     ORDER BY c.table_schema, c.table_name
  LOOP
    SELECT t.* INTO audited FROM threadline_internal.audited_table(candidate) AS t;
    state := CASE WHEN audited.id IS NULL THEN 'uncovered' WHEN audited.capture_ended_at IS NULL THEN 'audited'
      ELSE 'ended' END;
    capture_since := audited.capture_since;
    readable_since := CASE state WHEN 'audited' THEN greatest(audited.capture_since, audited.purged_before) END;
    row_estimate := threadline_internal.row_estimate(candidate);
    SELECT b.* INTO done FROM threadline.baselines AS b WHERE b.table_id = audited.id AND b.as_of = readable_since;
    baseline := CASE WHEN readable_since IS NOT NULL THEN
      CASE WHEN done.finished_at IS NOT NULL THEN 'complete' WHEN done.table_id IS NOT NULL THEN 'partial'
        ELSE 'none' END END;
    baseline_rows := done.recorded;
    SELECT o.obstacle, o.hint INTO message, hint FROM threadline_internal.continuity_obstacle(candidate, audited) AS o;
    ready := message IS NULL;
    IF ready AND state = 'uncovered' THEN
      message := 'it can be audited; what its rows are like before that will not be known';
      hint := format('SELECT threadline.audit_table(%L);', candidate);
    ELSIF ready THEN
      message := format('all of it is known since %s; ', readable_since) || CASE baseline
        WHEN 'complete' THEN 'every row that was there then has a change or a snapshot in its history'
        WHEN 'partial' THEN format('a baseline has gone past %s of about %s rows', done.passed,
          greatest(row_estimate, done.passed))
        ELSE 'the history of a row that was there then begins with its first change after it' END;
      hint := CASE baseline
        WHEN 'none' THEN format('If it is to begin with the row as it was: threadline baseline %L', candidate::text)
        WHEN 'partial' THEN format('It goes on where it ended: threadline baseline %L', candidate::text) END;
    END IF;
    RETURN NEXT;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.continuity() IS
  'Each table that is, was or could be audited: the time since which its past is known, whether its earlier rows are '
  'recorded as well, and what makes its history incomplete.';
