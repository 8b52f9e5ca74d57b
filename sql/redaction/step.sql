-- One batch. It returns where it ended, for the next call to go on from with the action of the first, and NULL when all
-- is done. The live rows are none of its business: what is still there is recorded again by their next change.
CREATE FUNCTION threadline.redact_step(relation regclass, row_keys text[], mask text[] DEFAULT '{}',
  remove text[] DEFAULT '{}',
  substitutes jsonb DEFAULT '{}', actor_ref jsonb DEFAULT NULL, reason text DEFAULT NULL,
    batch_size integer DEFAULT 1000, after jsonb DEFAULT NULL, INOUT action_id uuid DEFAULT NULL,
  OUT rows bigint, OUT changes bigint, OUT replaced bigint, OUT next jsonb, OUT moved_keys text[])
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
  SET plan_cache_mode = force_generic_plan
AS $function$
DECLARE
  audited threadline.audited_tables;
  keys text[] := threadline_internal.redaction_keys(row_keys);
  number integer := coalesce((after ->> 'key')::integer, 1);
  at timestamptz := after ->> 'captured_at';
  id bigint := after ->> 'id';
  rest integer := batch_size;
  seen integer;
  change threadline.audit_changes;
  redacted record;
  replacements jsonb;
  names jsonb;
  told jsonb;
BEGIN
  -- One at a time: of two that redact one change, the second must see what the first made of it.
  -- Nor beside a purge, which takes changes in another order.
  PERFORM threadline_internal.require_read_committed();
  PERFORM pg_advisory_xact_lock(hashtextextended('threadline purge', 0));
  audited := threadline_internal.redactable_table(relation);
  IF batch_size IS NULL OR batch_size < 1 THEN
    PERFORM threadline_internal.raise_redaction_error(relation::text, 'a batch has one change or more',
      'Say so in batch_size.');
  END IF;
  told := jsonb_build_object('table', format('%I.%I', audited.table_schema, audited.table_name),
    'columns', (SELECT jsonb_object_agg(m.name, m.mode) FROM threadline_internal.redaction_modes(mask, remove,
      substitutes) AS m WHERE m.name IS NOT NULL));
  -- Looked at in every batch, since the table may be another by then.
  replacements := threadline_internal.redaction_replacements(audited, keys, mask, remove, substitutes);
  names := threadline_internal.redactable_names(audited, ARRAY(SELECT jsonb_object_keys(replacements)));
  -- A hold that is placed meanwhile waits for this batch, and the next is refused.
  PERFORM pg_advisory_xact_lock_shared(hashtextextended('threadline retention', 0));
  PERFORM threadline_internal.require_not_held(audited, keys, keys[number:number + batch_size - 1]);
  IF action_id IS NULL THEN
    IF threadline_internal.is_blank(reason) THEN
      RAISE EXCEPTION 'threadline.redaction needs a reason'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'threadline_reason_required', DETAIL = 'threadline.redaction',
          HINT = 'Say who asked for it, or what obliges you.';
    ELSIF coalesce(current_setting('threadline.actor_ref', true), '') = '' AND actor_ref IS NOT NULL THEN
      PERFORM set_config('threadline.actor_ref', actor_ref::text, true);
    END IF;
    told := told || jsonb_build_object('row_keys', keys[1:100], 'rows', 0, 'changes', 0, 'values', 0, 'finished',
      false);
    SELECT a.id INTO action_id FROM threadline.record_action('threadline.redaction', reason => reason, meta => told,
      actor_ref => actor_ref) AS a;
  ELSIF NOT EXISTS (SELECT FROM threadline.audit_actions AS a WHERE a.id = action_id
    AND a.name = 'threadline.redaction' AND a.meta @> told) THEN
    PERFORM threadline_internal.raise_redaction_error(relation::text, format('%s is not the action of this redaction',
      action_id),
      'Leave it out at the first batch, which returns it.');
  END IF;

  rows := 0;
  changes := 0;
  replaced := 0;
  moved_keys := '{}';
  WHILE rest > 0 AND number <= cardinality(keys) LOOP
    seen := 0;
    FOR change IN SELECT * FROM threadline_internal.redactable_changes(audited.id, keys[number], at, id, rest) LOOP
      rows := rows + CASE WHEN at IS NULL THEN 1 ELSE 0 END;
      seen := seen + 1;
      at := change.captured_at;
      id := change.id;
      IF change.moved_key IS NOT NULL AND change.moved_key <> ALL (keys || moved_keys) THEN
        moved_keys := moved_keys || change.moved_key;
      END IF;
      SELECT * INTO redacted FROM threadline_internal.redacted_change(change, audited.definition -> 'renames', names,
        replacements);
      CONTINUE WHEN redacted.replaced = '{}';
      UPDATE threadline.audit_changes AS c SET data_after = redacted.data_after, changed_from = redacted.changed_from
       WHERE c.transaction_id = change.transaction_id AND c.captured_at = change.captured_at AND c.id = change.id;
      IF NOT FOUND THEN
        RAISE EXCEPTION 'change % was moved or removed at the same time', change.id
          USING ERRCODE = 'serialization_failure', HINT = 'Try again.';
      END IF;
      changes := changes + 1;
      replaced := replaced + cardinality(redacted.replaced);
    END LOOP;
    IF seen < rest THEN
      number := number + 1;
      at := NULL;
      id := NULL;
    END IF;
    -- A key that nothing is recorded of takes its time, too.
    rest := rest - greatest(seen, 1);
  END LOOP;
  IF number <= cardinality(keys) THEN
    next := jsonb_build_object('key', number, 'captured_at', at, 'id', id);
  END IF;
  PERFORM threadline_internal.add_to_action(action_id, jsonb_build_object('rows', rows, 'changes', changes, 'values',
    replaced));
  IF next IS NULL THEN
    UPDATE threadline.audit_actions AS a SET meta = a.meta || '{"finished": true}' WHERE a.id = action_id;
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline.redact_step(regclass, text[], text[], text[], jsonb, jsonb, text, integer, jsonb,
  uuid) IS
  'Takes values out of the changes of the named rows, a batch at a time, as the action threadline.redaction; '
  'returns where the next batch begins, or NULL.';
