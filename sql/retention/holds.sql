-- Returns the key of the row to hold. Rejects a key without recorded changes, because such a hold would protect
-- nothing.
CREATE FUNCTION threadline_internal.held_key(audited threadline.audited_tables, row_key text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  given record := threadline_internal.given_keys(audited, row_key);
  keys text[];
BEGIN
  IF given.keys = '{}' THEN
    PERFORM threadline_internal.raise_no_key(audited, row_key, given.reason);
  END IF;
  keys := ARRAY(SELECT k FROM unnest(given.keys) AS k
                 WHERE EXISTS (SELECT FROM threadline_internal.redactable_changes(audited.id, k, NULL, NULL, 1)));
  IF keys = '{}' THEN
    PERFORM threadline_internal.raise_retention_error(format('no recorded change of %s has the key %L',
      audited.relation, row_key), 'A hold keeps what is recorded: look at row_key in threadline.changes.');
  ELSIF row_key <> ALL (keys) AND cardinality(keys) > 1 THEN
    PERFORM threadline_internal.raise_retention_error(format('%s has changes under several spellings of the key %L: %s',
      audited.relation, row_key, array_to_string(keys, ', ')), 'Hold each spelling.');
  END IF;
  RETURN CASE WHEN row_key = ANY (keys) THEN row_key ELSE keys[1] END;
END
$function$;
COMMENT ON FUNCTION threadline_internal.held_key(threadline.audited_tables, text) IS
  'The key of a row to hold, as audit_changes stores it.';

-- Placing and releasing holds is also recorded in the audit log, so it needs an actor.
CREATE FUNCTION threadline.place_hold(reason text, relation regclass DEFAULT NULL, row_key text DEFAULT NULL,
  actor_ref jsonb DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  held integer;
  audited threadline.audited_tables;
  key text := place_hold.row_key;
  actor jsonb := threadline_internal.read_actor(place_hold.actor_ref::text);
  placed bigint;
BEGIN
  IF threadline_internal.is_blank(place_hold.reason) THEN
    PERFORM threadline_internal.raise_retention_error('a hold needs a reason',
      'Say why: whoever asks later reads it in threadline.legal_holds.');
  ELSIF num_nonnulls(relation, place_hold.actor_ref) <> 1 OR relation IS NULL AND place_hold.row_key IS NOT NULL THEN
    PERFORM threadline_internal.raise_retention_error('a hold is of one table, row or actor',
      'Name a table, a table and a key, or an actor.');
  ELSIF relation IS NULL AND actor IS NULL THEN
    PERFORM threadline_internal.raise_retention_error(format('this is no actor: %s', left(place_hold.actor_ref::text,
      1000)), 'Write it like {"type": "user", "id": "123"}.');
  END IF;
  PERFORM threadline_internal.lock_retention();
  IF relation IS NOT NULL THEN
    held := threadline_internal.retained_table(relation);
    IF place_hold.row_key IS NOT NULL THEN
      SELECT * INTO audited FROM threadline.audited_tables AS a WHERE a.id = held;
      key := threadline_internal.held_key(audited, place_hold.row_key);
    END IF;
  END IF;
  INSERT INTO threadline.legal_holds AS h (table_id, row_key, actor_ref, reason, placed_at, placed_by)
  VALUES (held, key, actor, place_hold.reason, now(), current_user) RETURNING h.id INTO placed;
  PERFORM threadline_internal.insert_action('threadline.hold_placed', reason => place_hold.reason,
    meta => jsonb_strip_nulls(jsonb_build_object(
    'hold', placed, 'table', relation::text, 'row_key', key, 'actor_ref', actor)));
  RETURN placed;
END
$function$;
COMMENT ON FUNCTION threadline.place_hold(text, regclass, text, jsonb) IS
  'Protects the changes of a table, of one of its rows, or by and for an actor, from being removed or redacted. '
  'Records an action, and returns the id of the hold.';

CREATE FUNCTION threadline.release_hold(id bigint, reason text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  released threadline.legal_holds;
BEGIN
  IF threadline_internal.is_blank(release_hold.reason) THEN
    PERFORM threadline_internal.raise_retention_error('releasing a hold needs a reason', 'Say why: it is recorded.');
  END IF;
  PERFORM threadline_internal.lock_retention();
  DELETE FROM threadline.legal_holds AS h WHERE h.id = release_hold.id RETURNING * INTO released;
  IF NOT FOUND THEN
    PERFORM threadline_internal.raise_retention_error(format('there is no hold %s', release_hold.id),
      'They stand in threadline.legal_holds.');
  END IF;
  PERFORM threadline_internal.insert_action('threadline.hold_released', reason => release_hold.reason,
    meta => jsonb_strip_nulls(jsonb_build_object(
    'hold', released.id, 'table', (SELECT a.relation::text FROM threadline.audited_tables AS a
      WHERE a.id = released.table_id),
    'row_key', released.row_key, 'actor_ref', released.actor_ref, 'placed_at', released.placed_at, 'placed_for',
      released.reason)));
END
$function$;
COMMENT ON FUNCTION threadline.release_hold(bigint, text) IS 'Releases a hold, and records an action.';

-- For redactions. Holds on the row or its table are checked for all keys at once; holds on an actor are checked for the
-- keys whose changes are next.
CREATE FUNCTION threadline_internal.require_not_held(audited threadline.audited_tables, row_keys text[],
  next_keys text[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  hold threadline.legal_holds;
BEGIN
  SELECT h.* INTO hold FROM threadline.legal_holds AS h
   WHERE h.table_id = audited.id AND (h.row_key IS NULL OR h.row_key = ANY (row_keys)) ORDER BY h.id LIMIT 1;
  IF NOT FOUND AND EXISTS (SELECT FROM threadline.legal_holds AS h WHERE h.actor_ref IS NOT NULL) THEN
    SELECT h.* INTO hold
      FROM unnest(next_keys) AS k (key)
     CROSS JOIN LATERAL threadline_internal.redactable_changes(audited.id, k.key) AS c
      LEFT JOIN threadline.audit_transactions AS t ON t.id = c.transaction_id
     CROSS JOIN LATERAL threadline_internal.context_of(c.context, t) AS x
      JOIN threadline.legal_holds AS h ON h.actor_ref IN (x.actor_ref, x.on_behalf_of)
     ORDER BY h.id LIMIT 1;
  END IF;
  IF hold.id IS NOT NULL THEN
    PERFORM threadline_internal.raise_retention_error(format('what is recorded of these rows of %s is held: %s',
      audited.relation, hold.reason),
      format('It is legal hold %s of %s; while it lasts, nothing of it is redacted.', hold.id, hold.placed_at));
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.require_not_held(threadline.audited_tables, text[], text[]) IS
  'Raises an error if a legal hold keeps rows from being redacted.';
