-- Records the action of a redaction that begins, or checks that the given action belongs to it.
CREATE FUNCTION threadline_internal.redaction_action(relation regclass, meta jsonb, row_keys text[], actor_ref jsonb,
  reason text, given uuid) RETURNS uuid
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF given IS NULL THEN
    IF threadline_internal.is_blank(reason) THEN
      RAISE EXCEPTION 'threadline.redaction needs a reason'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'threadline_reason_required', DETAIL = 'threadline.redaction',
          HINT = 'Say who asked for it, or what obliges you.';
    ELSIF coalesce(current_setting('threadline.actor_ref', true), '') = '' AND actor_ref IS NOT NULL THEN
      PERFORM set_config('threadline.actor_ref', actor_ref::text, true);
    END IF;
    SELECT a.id INTO given
      FROM threadline_internal.insert_action('threadline.redaction', reason => reason, actor_ref => actor_ref,
        meta => meta || jsonb_build_object('row_keys', row_keys[1:100], 'rows', 0, 'changes', 0, 'values', 0,
          'finished', false)) AS a;
  ELSIF NOT EXISTS (SELECT FROM threadline.audit_actions AS a
                     WHERE a.id = given AND a.name = 'threadline.redaction' AND a.meta @> redaction_action.meta) THEN
    PERFORM threadline_internal.raise_redaction_error(relation::text,
      format('%s is not the action of this redaction', given),
      'Leave it out at the first batch, which returns it.');
  END IF;
  RETURN given;
END
$function$;
COMMENT ON FUNCTION threadline_internal.redaction_action(regclass, jsonb, text[], jsonb, text, uuid) IS
  'The action of a redaction: a new one for the first batch, that of the first batch for the others.';

-- Redacts up to a given number of changes of one row, and returns the position where it ended.
CREATE FUNCTION threadline_internal.redact_row(audited threadline.audited_tables, row_key text,
  replacements jsonb, definition_id integer, is_stale boolean, batch_size integer, INOUT at timestamptz,
  INOUT id bigint,
  OUT seen integer, OUT changes bigint, OUT replaced bigint, OUT moved_keys text[])
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
  SET plan_cache_mode = force_generic_plan
AS $function$
DECLARE
  change threadline.audit_changes;
  redacted record;
BEGIN
  seen := 0;
  changes := 0;
  replaced := 0;
  moved_keys := '{}';
  FOR change IN SELECT * FROM threadline_internal.redactable_changes(audited.id, row_key, at, id, batch_size) LOOP
    seen := seen + 1;
    at := change.captured_at;
    id := change.id;
    IF change.moved_key IS NOT NULL THEN
      moved_keys := moved_keys || change.moved_key;
    END IF;
    SELECT * INTO redacted
      FROM threadline_internal.redacted_change(change, audited.older_definitions, replacements, definition_id,
        is_stale);
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
END
$function$;
COMMENT ON FUNCTION threadline_internal.redact_row(threadline.audited_tables, text, jsonb, integer, boolean, integer,
  timestamptz, bigint) IS
  'Redacts the changes of one row after a position; returns how many it read, and the position of the last one.';

-- Redacts one batch. It returns the position from which the next call continues, with the action of the first call, or
-- NULL when everything is done. It does not change live rows: the next change of a live row records its values again.
-- More than 60 lines, half of them its arguments and results.
CREATE FUNCTION threadline.redact_step(relation regclass, row_keys text[], mask text[] DEFAULT '{}',
  remove text[] DEFAULT '{}', substitutes jsonb DEFAULT '{}', actor_ref jsonb DEFAULT NULL, reason text DEFAULT NULL,
  batch_size integer DEFAULT 1000, after jsonb DEFAULT NULL, INOUT action_id uuid DEFAULT NULL,
  OUT rows bigint, OUT changes bigint, OUT replaced bigint, OUT next jsonb, OUT moved_keys text[])
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
DECLARE
  audited threadline.audited_tables;
  keys text[];
  number integer;
  at timestamptz := after ->> 'captured_at';
  id bigint := after ->> 'id';
  rest integer := batch_size;
  replacements jsonb;
  written record;
  batch record;
BEGIN
  -- Only one redaction at a time: if two redact the same change, the second must see the result of the first. None runs
  -- during a purge, which processes changes in another order.
  PERFORM threadline_internal.require_read_committed();
  PERFORM threadline_internal.take_lock('purge');
  audited := threadline_internal.redactable_table(relation);
  keys := threadline_internal.redaction_keys(audited, row_keys);
  -- By the key instead of its number, because the list may differ from that of the previous batch.
  number := 1 + (SELECT count(*) FROM unnest(keys) AS k WHERE k COLLATE "C" < after ->> 'key');
  IF keys[number] IS DISTINCT FROM after ->> 'key' THEN
    at := NULL;
    id := NULL;
  END IF;
  IF batch_size IS NULL OR batch_size < 1 THEN
    PERFORM threadline_internal.raise_redaction_error(relation::text, 'a batch has one change or more',
      'Say so in batch_size.');
  END IF;
  -- Checked in every batch, because the table may have changed since the previous one.
  replacements := threadline_internal.redaction_replacements(audited, keys, mask, remove, substitutes);
  -- A hold placed meanwhile waits for this batch, and the next batch is rejected.
  PERFORM threadline_internal.take_lock('retention', shared => true);
  PERFORM threadline_internal.require_not_held(audited, keys, keys[number:number + batch_size - 1]);
  IF action_id IS NULL THEN
    PERFORM threadline_internal.require_values(audited, keys, replacements);
  END IF;
  action_id := threadline_internal.redaction_action(relation, jsonb_build_object(
      'table', format('%I.%I', audited.table_schema, audited.table_name),
      'columns', (SELECT jsonb_object_agg(m.name, m.mode)
                    FROM threadline_internal.redaction_modes(mask, remove, substitutes) AS m
                   WHERE m.name IS NOT NULL)), keys, actor_ref, reason, action_id);

  written := threadline_internal.definition_of_redaction(audited);
  rows := 0;
  changes := 0;
  replaced := 0;
  moved_keys := '{}';
  WHILE rest > 0 AND number <= cardinality(keys) LOOP
    SELECT * INTO batch
      FROM threadline_internal.redact_row(audited, keys[number], replacements, written.definition_id,
        written.is_stale, rest, at, id);
    rows := rows + CASE WHEN at IS NULL AND batch.seen > 0 THEN 1 ELSE 0 END;
    changes := changes + batch.changes;
    replaced := replaced + batch.replaced;
    moved_keys := moved_keys || ARRAY(SELECT DISTINCT m FROM unnest(batch.moved_keys) AS m
                                       WHERE m <> ALL (keys || moved_keys));
    IF batch.seen < rest THEN
      number := number + 1;
      at := NULL;
      id := NULL;
    ELSE
      at := batch.at;
      id := batch.id;
    END IF;
    -- A key without recorded changes takes time too.
    rest := rest - greatest(batch.seen, 1);
  END LOOP;
  IF number <= cardinality(keys) THEN
    next := jsonb_build_object('key', keys[number], 'captured_at', at, 'id', id);
  END IF;
  PERFORM threadline_internal.add_to_action(action_id,
    jsonb_build_object('rows', rows, 'changes', changes, 'values', replaced));
  IF next IS NULL THEN
    UPDATE threadline.audit_actions AS a SET meta = a.meta || '{"finished": true}' WHERE a.id = action_id;
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline.redact_step(regclass, text[], text[], text[], jsonb, jsonb, text, integer, jsonb,
  uuid) IS
  'Removes values from the changes of the named rows, one batch at a time, as the action threadline.redaction; returns '
  'where the next batch begins, or NULL.';
