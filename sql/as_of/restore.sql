-- Returns restore_N(NULL::t, transaction, time, change, losing), which restores a row to its state after a change, with
-- the rights of the caller. The write is captured like any other. Redacted columns are not in the audit log and stay
-- unchanged, as do columns added since. Later changes are read from the audit log after the live row is locked.
-- More than 60 lines, because it reads like the function that it writes.
CREATE FUNCTION threadline_internal.restore_body(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$
#variable_conflict use_column
DECLARE
  is_its_row boolean := {check_row_type};
  since timestamptz := threadline_internal.readable_since({table_id}, {shape});
  change record;
  target {table};
  live {table};
  gone boolean;
  later bigint;
  newest bigint;
  done bigint;
BEGIN
  SELECT c.op, c.id, c.captured_at, ({renamed_image}) - {redacted}::text[] AS image INTO change
    FROM threadline.audit_changes AS c WHERE {given_change} AND c.table_id = {table_id};
  skipped_columns := {redacted} || threadline_internal.columns_not_recorded(change.image);
  change.image := change.image - skipped_columns - '';
  IF NOT FOUND THEN
    RAISE EXCEPTION '% has no change % to restore', {table_name}, $4 USING {no_change},
      HINT = 'It may have been removed from the audit log, or belong to another table.';
  END IF;
  target := threadline_internal.row_or_error(NULL::{table}, change.image, change.id);
  SELECT t.* INTO live FROM {live_rows} AS t WHERE {live_row} FOR UPDATE;
  gone := NOT FOUND;
{without_hashes}  SELECT count(*), max(c.id) INTO later, newest FROM threadline.audit_changes AS c
   WHERE c.table_id = {table_id} AND {same_key} AND c.op <> 'snapshot'
     -- What a snapshot tells was so since before every change of now, be its id what it may.
     AND CASE change.op WHEN 'snapshot' THEN {later_than_snapshot} ELSE c.id > greatest(change.id, $5) END;
  -- Of what was not captured, nobody knows how much would be lost.
  IF later > 0 OR change.captured_at < since AND $5 < 9223372036854775807 THEN
    RAISE EXCEPTION 'later changes of this row of % would be lost: %', {table_name}, {lost}
      USING {later_changes}, DETAIL = coalesce(newest, change.id),
        HINT = 'Look at them, and say that they may be lost.';
  END IF;
  IF change.op IN ('delete', 'truncate') THEN
    IF gone THEN
      RETURN NEXT;
      RETURN;
    END IF;
    DELETE FROM {live_rows} AS t WHERE {live_row};
    op := 'delete';
  ELSIF gone THEN
{not_insertable}    -- Only what the image has, so that the rest takes its default.
    EXECUTE format('{insert}', {table_name},
      (SELECT string_agg(quote_ident(k), ', ') FROM {restored_columns})) USING change.image;
    op := 'insert';
  ELSE
    target := threadline_internal.populate(live, change.image);
    IF live *= target THEN
      RETURN NEXT;
      RETURN;
    END IF;
    UPDATE {live_rows} AS t SET {assignments} WHERE {live_row};
    op := 'update';
  END IF;
  GET DIAGNOSTICS done = ROW_COUNT;
  IF done <> 1 THEN
    RAISE EXCEPTION 'the % that would restore a row of % was prevented', op, {table_name} USING {prevented},
      CONSTRAINT = 'threadline_restore', HINT = 'Look at the triggers and policies of the table.';
  END IF;
  RETURN NEXT;
END
$sql$, jsonb_build_object(
    'table', audited.relation, 'table_id', audited.id, 'table_name', quote_literal(audited.relation),
    'check_row_type', threadline_internal.check_row_type_condition(audited),
    'shape', quote_literal(threadline_internal.table_shape(audited.relation)),
    'renamed_image', threadline_internal.renamed_expression(audited, 'coalesce(c.data_after, c.changed_from)'),
    'redacted', quote_literal(ARRAY(
      SELECT r FROM unnest(audited.masked_columns || audited.excluded_columns) AS r ORDER BY r)),
    'without_hashes', CASE WHEN audited.hashed_columns <> '{}' THEN threadline_internal.render(
      E'  change.image := change.image - {hashed};\n  skipped_columns := skipped_columns || {hashed};\n',
      jsonb_build_object('hashed', format('%L::text[]', audited.hashed_columns))) END,
    'not_insertable', CASE WHEN audited.key_columns && audited.hashed_columns THEN threadline_internal.render($sql$
    RAISE EXCEPTION 'a deleted row of % cannot be restored: its key is recorded as a hash', {table_name}
      USING ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_restore',
        HINT = 'Insert it with a key of your own: threadline.versions has the other columns.';
$sql$, jsonb_build_object('table_name', quote_literal(audited.relation))) END,
    'given_change', 'c.transaction_id = $2 AND c.captured_at = $3 AND c.id = $4',
    'later_than_snapshot', 'c.captured_at >= since AND c.id > $5',
    'no_change', $sql$ERRCODE = 'no_data_found', CONSTRAINT = 'threadline_restore'$sql$,
    'later_changes', $sql$ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_later_changes'$sql$,
    'prevented', $sql$ERRCODE = 'triggered_action_exception'$sql$,
    'lost', $sql$CASE WHEN later > 0 THEN later::text ELSE 'those before ' || since END$sql$,
    'live_rows', threadline_internal.live_rows(audited.relation),
    'live_row', threadline_internal.live_key(audited, key), 'same_key', threadline_internal.recorded_key(audited, key),
    'insert', 'INSERT INTO %1$s (%2$s) OVERRIDING SYSTEM VALUE '
      'SELECT %2$s FROM threadline_internal.populate(NULL::%1$s, $1)',
    'restored_columns', format('jsonb_object_keys(change.image) AS k WHERE k = ANY (%L)', ARRAY(
      SELECT c.name FROM threadline_internal.columns_of(audited.relation) AS c
       WHERE c.generated = '' ORDER BY c.number)),
    'assignments', threadline_internal.restored_columns(audited)))
    FROM (SELECT array_agg(format('target.%I', name) ORDER BY n)
            FROM unnest(audited.key_columns) WITH ORDINALITY AS k (name, n)) AS k (key)
$function$;
COMMENT ON FUNCTION threadline_internal.restore_body(threadline.audited_tables) IS
  'PL/pgSQL that restores a row to its state after a change.';

-- Returns the SET clause of the UPDATE that restores a row. If there is nothing else to set, it sets the key to its own
-- value.
CREATE FUNCTION threadline_internal.restored_columns(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(string_agg(format('%I = target.%I', c.name, c.name), ', ' ORDER BY c.number),
           format('%I = target.%I', audited.key_columns[1], audited.key_columns[1]))
    FROM threadline_internal.columns_of(audited.relation) AS c
   WHERE c.generated = '' AND c.identity <> 'a'
     AND c.name <> ALL (audited.key_columns || threadline_internal.redacted_names(audited))
$function$;
COMMENT ON FUNCTION threadline_internal.restored_columns(threadline.audited_tables) IS
  'SQL for the columns that an UPDATE restores.';
