-- What the generated capture functions call while a write runs. They are called by SECURITY DEFINER functions,
-- so they need no right of the writer; every caller pins search_path and the settings that shape text.

-- PostgreSQL has uuidv7() from 18 on. 48 bits of milliseconds, then 12 bits of the fraction of the millisecond
-- (RFC 9562, method 3), so that ids made by one session are in order.
CREATE FUNCTION threadline.uuid_v7() RETURNS uuid
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT encode(overlay(uuid_send(gen_random_uuid()) PLACING int8send(
           (us / 1000) << 16 | 28672 | (us % 1000) * 4096 / 1000) FROM 1 FOR 8), 'hex')::uuid
    FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS us) AS clock
$function$;
COMMENT ON FUNCTION threadline.uuid_v7() IS 'A UUID of version 7 for now.';

-- A setting is only text, and anyone may set it: nothing in it may make the write fail, nor pass for an actor.
CREATE FUNCTION threadline.read_actor(value text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  actor jsonb;
BEGIN
  actor := value::jsonb;  -- here and not in DECLARE, where the handler below would not see it fail
  IF actor ->> 'type' = 'anonymous' THEN
    RETURN jsonb_build_object('type', 'anonymous');
  ELSIF actor ->> 'type' IN ('user', 'admin', 'service_account', 'job', 'system')
    AND jsonb_typeof(actor -> 'id') = 'string' AND actor ->> 'id' <> '' THEN
    RETURN jsonb_build_object('type', actor -> 'type', 'id', actor -> 'id');
  END IF;
  RETURN NULL;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
  RETURN NULL;
END
$function$;
COMMENT ON FUNCTION threadline.read_actor(text) IS 'The actor in a setting, or NULL if it holds no valid one; never fails.';

CREATE FUNCTION threadline.read_context(actor text, context text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  result jsonb := '{}';
  claims jsonb := '{}';
  unread jsonb := '{}';
BEGIN
  IF actor IS NOT NULL THEN
    result := jsonb_strip_nulls(jsonb_build_object('actor_ref', threadline.read_actor(actor)));
    IF result = '{}' THEN
      unread := jsonb_build_object('unreadable_actor_ref', actor);
    END IF;
  END IF;
  IF context IS NOT NULL THEN
    BEGIN
      claims := context::jsonb;
      -- Checked here, where a failure can be caught, and not when the column is written.
      PERFORM (claims ->> 'remote_ip')::inet;
    EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
      claims := '{}';
      unread := unread || jsonb_build_object('unreadable_context', context);
    END;
    IF jsonb_typeof(claims) <> 'object' THEN
      unread := unread || jsonb_build_object('unreadable_context', context);
      claims := '{}';
    END IF;
  END IF;
  -- What could not be read is kept as it was said: evidence, if not an actor.
  IF unread <> '{}' THEN
    claims := claims || jsonb_build_object('meta', CASE jsonb_typeof(claims -> 'meta')
      WHEN 'object' THEN claims -> 'meta' ELSE '{}' END || unread);
  END IF;
  RETURN jsonb_strip_nulls(jsonb_build_object(
    'source', claims ->> 'source', 'correlation_id', claims ->> 'correlation_id',
    'request_id', claims ->> 'request_id', 'job_id', claims ->> 'job_id',
    'remote_ip', claims ->> 'remote_ip')) || result
    || CASE WHEN jsonb_typeof(claims -> 'meta') IN ('object', 'array', 'string', 'number', 'boolean')
         THEN jsonb_build_object('meta', claims -> 'meta') ELSE '{}' END;
END
$function$;
COMMENT ON FUNCTION threadline.read_context(text, text) IS
  'Actor and context out of the settings threadline.actor_ref and threadline.context; never fails.';

-- A nested audited transaction keeps what it replaces in threadline.outer_context, a chain of
-- {"actor_ref": …, "context": …, "outer": …}; the last link that says anything is the outermost context.
CREATE FUNCTION threadline.outermost_context() RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  link jsonb;
  outermost jsonb;
BEGIN
  link := nullif(current_setting('threadline.outer_context', true), '')::jsonb;
  WHILE jsonb_typeof(link) = 'object' LOOP
    IF concat(link ->> 'actor_ref', link ->> 'context') <> '' THEN
      outermost := link;
    END IF;
    link := link -> 'outer';
  END LOOP;
  RETURN outermost;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
  RETURN NULL;
END
$function$;
COMMENT ON FUNCTION threadline.outermost_context() IS
  'Settings of the outermost audited transaction while a nested one is open, else NULL; never fails.';

-- The row of the running transaction, made by the first change. It is looked up by the transaction id and
-- not remembered in a setting, because a setting can be forged: a session that names the group of another
-- transaction, or an older one of its own, must not be believed. The look-up costs four microseconds a statement.
CREATE FUNCTION threadline.enter_transaction() RETURNS uuid
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  entered uuid;
  outermost jsonb;
  actor text := nullif(current_setting('threadline.actor_ref', true), '');
  claims text := nullif(current_setting('threadline.context', true), '');
  said jsonb;
BEGIN
  SELECT t.id INTO entered
    FROM threadline.audit_transactions AS t
   WHERE t.txid = pg_current_xact_id() AND t.occurred_at = transaction_timestamp();
  IF FOUND THEN
    RETURN entered;
  END IF;

  -- When the first change comes from a nested audited transaction, the group still belongs to the outermost one.
  outermost := threadline.outermost_context();
  IF outermost IS NOT NULL THEN
    actor := nullif(outermost ->> 'actor_ref', '');
    claims := nullif(outermost ->> 'context', '');
  END IF;
  said := threadline.read_context(actor, claims);
  INSERT INTO threadline.audit_transactions (id, txid, occurred_at, actor_ref, source, correlation_id, request_id,
      job_id, remote_ip, meta, database_role, application_name)
  VALUES (threadline.uuid_v7(), pg_current_xact_id(), transaction_timestamp(), said -> 'actor_ref',
      said ->> 'source', said ->> 'correlation_id', said ->> 'request_id', said ->> 'job_id',
      (said ->> 'remote_ip')::inet, said -> 'meta',
      -- Inside SECURITY DEFINER current_user is the owner; the role setting still says what SET ROLE chose.
      CASE current_setting('role') WHEN 'none' THEN session_user ELSE current_setting('role') END,
      nullif(current_setting('application_name'), ''))
  RETURNING id INTO entered;
  -- Both are told to the session and decide no group: a forged value changes what the session reads or claims
  -- of itself.
  PERFORM set_config('threadline.transaction_id', entered::text, true),
          set_config('threadline.entered_with', concat(actor, chr(31), claims), true);
  RETURN entered;
END
$function$;
COMMENT ON FUNCTION threadline.enter_transaction() IS
  'The audit_transactions row of the running transaction, made if this is its first change.';

-- Without a SET clause, which would keep the planner from inlining it: five microseconds a statement.
CREATE FUNCTION threadline.change_context() RETURNS jsonb
LANGUAGE sql STABLE
AS $function$
  SELECT CASE WHEN pg_catalog.current_setting('threadline.entered_with', true) OPERATOR(pg_catalog.=) pg_catalog.concat(
                     nullif(pg_catalog.current_setting('threadline.actor_ref', true), ''), pg_catalog.chr(31),
                     nullif(pg_catalog.current_setting('threadline.context', true), ''))
           THEN NULL
           ELSE threadline.read_context(nullif(pg_catalog.current_setting('threadline.actor_ref', true), ''),
                                        nullif(pg_catalog.current_setting('threadline.context', true), '')) END
$function$;
COMMENT ON FUNCTION threadline.change_context() IS
  'Actor and context of a change where they are not those its transaction was entered with, else NULL.';

-- Columns are redacted by number, not by name: renaming a column must not let its values into the record
-- before the next refresh. After a restore the numbers may differ, and the names are right.
CREATE FUNCTION threadline.redaction(table_id integer, OUT excluded text[], OUT mask jsonb)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(array_agg(a.attname::text) FILTER (WHERE c.excluded), '{}'),
         coalesce(jsonb_object_agg(a.attname, '[REDACTED]') FILTER (WHERE NOT c.excluded), '{}')
    FROM threadline.audited_tables AS t
   CROSS JOIN LATERAL (SELECT name, true AS excluded FROM unnest(t.excluded_columns) AS name
                       UNION ALL SELECT name, false FROM unnest(t.masked_columns) AS name) AS c
    JOIN pg_attribute AS a
      ON a.attrelid = t.relation AND a.attnum > 0 AND NOT a.attisdropped
     AND CASE WHEN t.relation::oid = (t.definition ->> 'oid')::oid
           THEN a.attnum = (t.definition #>> ARRAY['columns', c.name, 'number'])::smallint
           ELSE a.attname = c.name END
   WHERE t.id = redaction.table_id
$function$;
COMMENT ON FUNCTION threadline.redaction(integer) IS
  'What of a table must not be recorded: the columns to leave out, and the placeholders of the masked ones, under their present names.';

-- Only reached between the renaming of a key column and the next refresh.
CREATE FUNCTION threadline.current_column(table_id integer, column_name text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT a.attname::text
    FROM threadline.audited_tables AS t
    JOIN pg_attribute AS a
      ON a.attrelid = t.relation AND NOT a.attisdropped AND t.relation::oid = (t.definition ->> 'oid')::oid
     AND a.attnum = (t.definition #>> ARRAY['columns', current_column.column_name, 'number'])::smallint
   WHERE t.id = current_column.table_id
$function$;
COMMENT ON FUNCTION threadline.current_column(integer, text) IS
  'What a column known to the capture functions of a table is called now.';

-- An image that has the new name is younger than the renaming, whatever else it holds under the old one.
CREATE FUNCTION threadline.rename_key(image jsonb, old_name text, new_name text) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN image ? old_name AND NOT image ? new_name
    THEN (image - old_name) || jsonb_build_object(new_name, image -> old_name) ELSE image END
$function$;
COMMENT ON FUNCTION threadline.rename_key(jsonb, text, text) IS 'An older image under the present name of a renamed column.';

-- An UPDATE that moves a row to another partition fires the row triggers of a DELETE and an INSERT, one after the
-- other, and no statement trigger of INSERT. So an insert that follows a delete of the same statement, while no
-- INSERT (or MERGE with one) is under way, is the other half of a move.
CREATE FUNCTION threadline.note_insert() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  PERFORM set_config('threadline.inserting',
    CASE TG_WHEN WHEN 'BEFORE' THEN statement_timestamp()::text ELSE '' END, true);
  RETURN NULL;
END
$function$;
COMMENT ON FUNCTION threadline.note_insert() IS 'Trigger function: notes on partitioned tables that an INSERT is under way.';

CREATE FUNCTION threadline.begin_move(table_id integer, change_id bigint, captured_at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF current_setting('threadline.inserting', true) IS DISTINCT FROM statement_timestamp()::text THEN
    PERFORM set_config('threadline.moving',
      concat_ws('|', table_id, statement_timestamp(), change_id, captured_at), true);
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline.begin_move(integer, bigint, timestamptz) IS
  'Remembers a recorded delete, which may turn out to be the first half of a move between partitions.';

CREATE FUNCTION threadline.pending_move(table_id integer, OUT change_id bigint, OUT captured_at timestamptz)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  moving text[] := string_to_array(current_setting('threadline.moving', true), '|');
BEGIN
  IF moving[1] = pending_move.table_id::text AND moving[2] = statement_timestamp()::text
    AND current_setting('threadline.inserting', true) IS DISTINCT FROM statement_timestamp()::text THEN
    PERFORM set_config('threadline.moving', '', true);
    change_id := moving[3];
    captured_at := moving[4];
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline.pending_move(integer) IS 'Takes the delete that the insert now being recorded belongs to, if any.';

CREATE FUNCTION threadline.link_move(table_id integer, new_key jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  old_key text;
BEGIN
  UPDATE threadline.audit_changes AS c SET moved_key = link_move.new_key #>> '{}'
    FROM threadline.pending_move(link_move.table_id) AS p
   WHERE c.transaction_id = threadline.enter_transaction() AND c.captured_at = p.captured_at AND c.id = p.change_id
     AND c.table_id = link_move.table_id AND c.op = 'delete'
  RETURNING coalesce(c.key_integer::text, c.key_bigint::text, c.key_uuid::text, c.key_text) INTO old_key;
  RETURN to_jsonb(old_key);
END
$function$;
COMMENT ON FUNCTION threadline.link_move(integer, jsonb) IS
  'Links an insert to the delete it follows when both are one move between partitions; returns the key the row came from.';

-- A row without a key cannot be linked; there the two halves become the update that they are.
CREATE FUNCTION threadline.merge_move(table_id integer, image jsonb) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  UPDATE threadline.audit_changes AS c SET op = 'update', data_after = merge_move.image, changed_from = (
           SELECT coalesce(jsonb_object_agg(o.key, o.value), '{}') FROM jsonb_each(c.changed_from) AS o
            WHERE o.value IS DISTINCT FROM merge_move.image -> o.key)
    FROM threadline.pending_move(merge_move.table_id) AS p
   WHERE c.transaction_id = threadline.enter_transaction() AND c.captured_at = p.captured_at AND c.id = p.change_id
     AND c.table_id = merge_move.table_id AND c.op = 'delete';
  RETURN FOUND;
END
$function$;
COMMENT ON FUNCTION threadline.merge_move(integer, jsonb) IS
  'Makes one update of a recorded delete and the insert that follows it when both are one move between partitions.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA threadline FROM PUBLIC;
