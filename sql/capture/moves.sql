-- Notes that an INSERT is under way. An UPDATE that moves a row to another partition fires the row triggers of a DELETE
-- and an INSERT, one after the other, and no statement trigger of INSERT. So an insert that follows a delete of the
-- same statement, while no INSERT (or MERGE with one) is under way, is the other half of a move. What is noted is noted
-- under the depth of the trigger, so that statements which triggers run in between do not mix with the one that fired
-- them. Functions that an INSERT calls may run others at its depth: there is a "|" for each that is under way. The time
-- is written as the capture functions write it, whose settings are pinned.
CREATE FUNCTION threadline_internal.track_insert() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
DECLARE
  name text := 'threadline.inserting_' || pg_trigger_depth();
  noted text := CASE WHEN threadline_internal.insert_in_progress() THEN current_setting(name)
    ELSE statement_timestamp()::text END;
BEGIN
  PERFORM set_config(name, CASE TG_WHEN WHEN 'BEFORE' THEN noted || '|' ELSE left(noted, -1) END, true);
  RETURN NULL;
END
$function$;
COMMENT ON FUNCTION threadline_internal.track_insert() IS
  'Trigger function: notes on partitioned tables that an INSERT is under way.';

-- Tells whether an INSERT is under way. The planner inlines it, so it has no pinned search_path.
CREATE FUNCTION threadline_internal.insert_in_progress() RETURNS boolean
LANGUAGE sql STABLE
AS $function$
  SELECT coalesce(pg_catalog.starts_with(
    pg_catalog.current_setting('threadline.inserting_' OPERATOR(pg_catalog.||) pg_catalog.pg_trigger_depth(), true),
    pg_catalog.statement_timestamp()::pg_catalog.text OPERATOR(pg_catalog.||) '|'), false)
$function$;
COMMENT ON FUNCTION threadline_internal.insert_in_progress() IS
  'Whether an INSERT into a partitioned table is under way.';

-- Remembers a recorded delete.
CREATE FUNCTION threadline_internal.begin_move(table_id integer, change_id bigint, captured_at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF NOT threadline_internal.insert_in_progress() THEN
    PERFORM set_config('threadline.moving_' || pg_trigger_depth(),
      concat_ws('|', table_id, statement_timestamp(), change_id, captured_at), true);
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.begin_move(integer, bigint, timestamptz) IS
  'Remembers a recorded delete, which may turn out to be the first half of a move between partitions.';

-- Takes the delete that was remembered.
CREATE FUNCTION threadline_internal.pending_move(table_id integer, OUT change_id bigint, OUT captured_at timestamptz)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  moving text[] := string_to_array(current_setting('threadline.moving_' || pg_trigger_depth(), true), '|');
BEGIN
  IF moving[1] = pending_move.table_id::text AND moving[2] = statement_timestamp()::text
    AND NOT threadline_internal.insert_in_progress() THEN
    PERFORM set_config('threadline.moving_' || pg_trigger_depth(), '', true);
    change_id := moving[3];
    captured_at := moving[4];
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.pending_move(integer) IS
  'Takes the delete that the insert now being recorded belongs to, if any.';

-- Links an insert to the delete it follows. Nearly every insert is no move, and must not read the audit log for it: see
-- enable_seqscan at threadline_internal.enter_transaction, and a serializable transaction would depend on its
-- neighbours.
CREATE FUNCTION threadline_internal.link_move(table_id integer, new_key jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
  move record;
  entered uuid;
  old_key text;
BEGIN
  SELECT * INTO move FROM threadline_internal.pending_move(link_move.table_id);
  IF move.change_id IS NULL THEN
    RETURN NULL;
  END IF;
  entered := threadline_internal.enter_transaction(transaction_timestamp(), table_id);
  UPDATE threadline.audit_changes AS c SET moved_key = link_move.new_key #>> '{}'
   WHERE c.transaction_id = entered AND c.captured_at = move.captured_at AND c.id = move.change_id
     AND c.table_id = link_move.table_id AND c.op = 'delete'
  RETURNING coalesce(c.key_integer::text, c.key_bigint::text, c.key_uuid::text, c.key_text) INTO old_key;
  RETURN to_jsonb(old_key);
END
$function$;
COMMENT ON FUNCTION threadline_internal.link_move(integer, jsonb) IS
  'Links an insert to the delete it follows when both are one move between partitions; returns the key the row '
  'came from.';

-- Makes one update of both halves of a move: a row without a key cannot be linked.
CREATE FUNCTION threadline_internal.merge_move(table_id integer, image jsonb) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
  move record;
  entered uuid;
BEGIN
  SELECT * INTO move FROM threadline_internal.pending_move(merge_move.table_id);
  IF move.change_id IS NULL THEN
    RETURN false;
  END IF;
  entered := threadline_internal.enter_transaction(transaction_timestamp(), table_id);
  UPDATE threadline.audit_changes AS c SET op = 'update', data_after = merge_move.image, changed_from = (
           SELECT coalesce(jsonb_object_agg(o.key, o.value), '{}') FROM jsonb_each(c.changed_from) AS o
            WHERE o.value IS DISTINCT FROM merge_move.image -> o.key)
   WHERE c.transaction_id = entered AND c.captured_at = move.captured_at AND c.id = move.change_id
     AND c.table_id = merge_move.table_id AND c.op = 'delete';
  RETURN FOUND;
END
$function$;
COMMENT ON FUNCTION threadline_internal.merge_move(integer, jsonb) IS
  'Makes one update of a recorded delete and the insert that follows it when both are one move between partitions.';
