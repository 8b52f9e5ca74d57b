-- What the generated capture functions call while a write runs. They are called by SECURITY DEFINER functions,
-- so they need no right of the writer; every caller pins search_path and the settings that shape text.

-- A setting is only text, and anyone may set it: nothing in it may make the write fail, nor pass for an actor. What an index
-- is to hold must not be too long for it, so an id has 1000 bytes at most.
CREATE FUNCTION threadline.read_actor(value text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  actor jsonb;
BEGIN
  actor := value::jsonb;  -- here and not in DECLARE, where the handler below would not see it fail
  RETURN CASE
    WHEN actor ->> 'type' = 'anonymous' THEN jsonb_build_object('type', 'anonymous')
    WHEN actor ->> 'type' IN ('user', 'admin', 'service_account', 'job', 'system')
     AND jsonb_typeof(actor -> 'id') = 'string' AND octet_length(actor ->> 'id') BETWEEN 1 AND 1000
      THEN jsonb_build_object('type', actor -> 'type', 'id', actor -> 'id') END;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
  RETURN NULL;
END
$function$;
COMMENT ON FUNCTION threadline.read_actor(text) IS 'The actor in a setting, or NULL if it holds no valid one; never fails.';

-- Every transaction calls it once, and PL/pgSQL sets up each expression anew for every transaction. So what nearly all of them say
-- takes few of them, and what is wrong with the others is told apart only then.
CREATE FUNCTION threadline.read_context(actor text, context text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  said_by jsonb;
  claims jsonb;
  address inet;
  readable boolean;
  behalf jsonb;
  -- What could not be read is kept as it was said, up to a length: evidence, if not an actor.
  unread jsonb;
BEGIN
  BEGIN
    said_by := threadline.read_actor(actor);
    claims := context::jsonb;
    -- Checked here, where a failure can be caught, and not when the column is written.
    address := claims ->> 'remote_ip';
    readable := num_nulls(said_by, actor) <> 1 AND (claims IS NULL OR jsonb_typeof(claims) = 'object')
      AND coalesce(octet_length(claims ->> 'correlation_id') <= 1000, true) AND coalesce(claims -> 'on_behalf_of' = 'null', true);
  EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    claims := '[]';
  END;
  IF readable IS NOT TRUE THEN
    unread := '{}';
    IF num_nulls(said_by, actor) = 1 THEN
      unread := jsonb_build_object('unreadable_actor_ref', left(actor, 10000));
    END IF;
    IF jsonb_typeof(claims) <> 'object' THEN
      unread := unread || jsonb_build_object('unreadable_context', left(context, 10000));
      claims := '{}';
    END IF;
    IF octet_length(claims ->> 'correlation_id') > 1000 THEN
      unread := unread || jsonb_build_object('unreadable_correlation_id', left(claims ->> 'correlation_id', 10000));
      claims := claims - 'correlation_id';
    END IF;
    IF claims -> 'on_behalf_of' <> 'null' THEN
      behalf := threadline.read_actor((claims -> 'on_behalf_of')::text);
      IF behalf IS NULL THEN
        unread := unread || jsonb_build_object('unreadable_on_behalf_of', claims -> 'on_behalf_of');
      END IF;
    END IF;
    IF unread <> '{}' THEN
      claims := coalesce(claims, '{}') || jsonb_build_object('meta', CASE jsonb_typeof(claims -> 'meta')
        WHEN 'object' THEN claims -> 'meta' ELSE '{}' END || unread);
    END IF;
  END IF;
  RETURN jsonb_strip_nulls(jsonb_build_object(
      'actor_ref', said_by, 'on_behalf_of', behalf, 'source', claims ->> 'source', 'correlation_id', claims ->> 'correlation_id',
      'request_id', claims ->> 'request_id', 'job_id', claims ->> 'job_id', 'remote_ip', claims ->> 'remote_ip'))
    || CASE WHEN claims -> 'meta' <> 'null' THEN jsonb_build_object('meta', claims -> 'meta') ELSE '{}' END;
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

-- See threadline.long_transactions. A change is noted with the very time it is captured at: were the clock read again,
-- a process that is held up in between could write a late change unnoticed.
CREATE FUNCTION threadline.note_long_transaction(transaction_id uuid, written_at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
  -- In whole units of 125 ms, so that the octave is exact: it is how many binary digits the number has.
  units bigint := floor(extract(epoch FROM written_at - transaction_timestamp()) * 8);
  reached smallint := length(ltrim(units::bit(64)::text, '0'));
BEGIN
  INSERT INTO threadline.long_transactions AS l (octave, occurred_at, transaction_id)
  VALUES (reached, transaction_timestamp(), note_long_transaction.transaction_id) ON CONFLICT DO NOTHING;
  -- Spares the next change of this octave the call. Not in a serializable transaction: see threadline.enter_transaction.
  IF current_setting('transaction_isolation') <> 'serializable' THEN
    UPDATE threadline.audit_transactions AS t SET octave = reached WHERE t.id = note_long_transaction.transaction_id;
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline.note_long_transaction(uuid, timestamptz) IS
  'Notes that the running transaction has a change 125 ms or more after it began.';

-- The id of the running transaction. It follows from what the server knows of it, and is not remembered in a setting, because a
-- setting can be forged: a session that names the group of another transaction must not be believed. It is a UUID of version 7
-- (RFC 9562, method 3): 48 bits of milliseconds and 12 of their fraction; then the variant and 62 bits that are, instead of
-- chance, a hash of what tells this transaction from all others. Without a SET clause, which would keep the planner from inlining it.
-- Those who call it compute the time in the same way, to the bit: double precision tells microseconds apart until 2106.
CREATE FUNCTION threadline.transaction_id(began_us bigint) RETURNS uuid
LANGUAGE sql STABLE
AS $function$
  SELECT pg_catalog.encode(
    pg_catalog.int8send((began_us OPERATOR(pg_catalog./) 1000) OPERATOR(pg_catalog.<<) 16 OPERATOR(pg_catalog.|) 28672
                        OPERATOR(pg_catalog.|) (began_us OPERATOR(pg_catalog.%) 1000 OPERATOR(pg_catalog.*) 4096 OPERATOR(pg_catalog./) 1000))
    OPERATOR(pg_catalog.||)
    pg_catalog.int8send(pg_catalog.hashtextextended(pg_catalog.pg_current_xact_id()::pg_catalog.text, began_us)
                        OPERATOR(pg_catalog.&) 4611686018427387903 OPERATOR(pg_catalog.|) (-9223372036854775808)), 'hex')::pg_catalog.uuid
$function$;
COMMENT ON FUNCTION threadline.transaction_id(bigint) IS
  'The id of the running transaction, given when it began in microseconds since 1970.';

-- The row of the running transaction, made by the first change.
-- enable_seqscan: the plan is kept for the life of a session, and one made while the table was small would read all
-- of it for ever.
CREATE FUNCTION threadline.enter_transaction(written_at timestamptz, table_id integer) RETURNS uuid
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
  entered uuid := threadline.transaction_id((date_part('epoch', transaction_timestamp()) * 1000000)::bigint);
  changed text := coalesce(nullif(current_setting('threadline.changed_tables', true), ''), ',');
  noted smallint;
  outermost jsonb;
  actor text := nullif(current_setting('threadline.actor_ref', true), '');
  claims text := nullif(current_setting('threadline.context', true), '');
  said jsonb;
  told text[];  -- assigned and not performed, since a query costs more than the settings
BEGIN
  -- Reading the index would make a serializable transaction depend on those that enter beside it, and fail for
  -- nothing. There, and where this seems to be the first change, the insert below finds out; it takes no such note.
  IF changed <> ',' AND current_setting('transaction_isolation') <> 'serializable' THEN
    SELECT t.octave INTO noted FROM threadline.audit_transactions AS t WHERE t.id = entered;
  END IF;
  IF noted IS NULL THEN
    -- When the first change comes from a nested audited transaction, the group still belongs to the outermost one.
    IF current_setting('threadline.outer_context', true) <> '' THEN
      outermost := threadline.outermost_context();
      IF outermost IS NOT NULL THEN
        actor := nullif(outermost ->> 'actor_ref', '');
        claims := nullif(outermost ->> 'context', '');
      END IF;
    END IF;
    said := threadline.read_context(actor, claims);
    INSERT INTO threadline.audit_transactions AS t (id, txid, occurred_at, actor_ref, on_behalf_of, source, correlation_id,
        request_id, job_id, remote_ip, meta, database_role, application_name)
    VALUES (entered, pg_current_xact_id(), transaction_timestamp(), said -> 'actor_ref', said -> 'on_behalf_of',
        said ->> 'source', said ->> 'correlation_id', said ->> 'request_id', said ->> 'job_id',
        (said ->> 'remote_ip')::inet, said -> 'meta',
        -- Inside SECURITY DEFINER current_user is the owner; the role setting still says what SET ROLE chose.
        CASE current_setting('role') WHEN 'none' THEN session_user ELSE current_setting('role') END,
        nullif(current_setting('application_name'), ''))
    ON CONFLICT (id) DO NOTHING;
    IF FOUND THEN
      -- Told to the session and not believed by it: a forged value changes what the session reads or claims of itself.
      told := ARRAY[set_config('threadline.transaction_id', entered::text, true),
                    set_config('threadline.entered_with', concat(actor, chr(31), claims), true)];
    END IF;
    noted := 0;
  END IF;
  -- Told to the session, for its metrics; a savepoint that is rolled back takes it back.
  IF table_id IS NOT NULL AND strpos(changed, concat(',', table_id, ',')) = 0 AND length(changed) < 100000 THEN
    told := ARRAY[set_config('threadline.changed_tables', concat(changed, table_id, ','), true)];
  END IF;
  IF written_at >= transaction_timestamp() + interval '125 ms' * power(2, noted) THEN
    PERFORM threadline.note_long_transaction(entered, written_at);
  END IF;
  RETURN entered;
END
$function$;
COMMENT ON FUNCTION threadline.enter_transaction(timestamptz, integer) IS
  'The audit_transactions row of the running transaction, made if it has none yet; told when the change was written, and of which table it is.';

-- Without a SET clause, which would keep the planner from inlining it.
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
-- before the next refresh. A column that was added since under the name of a redacted one is taken for its successor.
-- After a restore the numbers may differ, and the names are right. What was retyped so that it cannot hold the
-- placeholder is left out.
CREATE FUNCTION threadline.redaction(table_id integer, OUT excluded text[], OUT mask jsonb)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  SELECT coalesce(array_agg(a.attname::text) FILTER (WHERE c.excluded OR NOT fits), '{}'),
         coalesce(jsonb_object_agg(a.attname, '[REDACTED]') FILTER (WHERE NOT c.excluded AND fits), '{}')
    INTO excluded, mask
    FROM threadline.audited_tables AS t
   CROSS JOIN LATERAL (SELECT name, true AS excluded FROM unnest(t.excluded_columns) AS name
                       UNION ALL SELECT name, false FROM unnest(t.masked_columns) AS name) AS c
    JOIN pg_attribute AS a
      ON a.attrelid = t.relation AND a.attnum > 0 AND NOT a.attisdropped
     AND CASE WHEN t.relation::oid = (t.definition ->> 'oid')::oid
           THEN a.attnum = (t.definition #>> ARRAY['columns', c.name, 'number'])::smallint
             OR a.attname = c.name AND NOT EXISTS (
                  SELECT FROM jsonb_each(t.definition -> 'columns') AS known
                   WHERE (known.value ->> 'number')::smallint = a.attnum)
           ELSE a.attname = c.name END
    JOIN pg_type AS y ON y.oid = a.atttypid
   -- atttypmod of varchar(n) and char(n) is n + 4
   CROSS JOIN LATERAL (SELECT y.typcategory = 'S' AND a.atttypmod NOT BETWEEN 4 AND 13 AS fits) AS f
   WHERE t.id = redaction.table_id;
END
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

-- One step from the names of an older image to the present ones: {"old": "new"}, several of them where columns
-- exchanged their names. Only changes numbered up to `until` can be older than the step. Among them, an image that
-- has the new name is younger all the same: it was recorded after the renaming and before the next refresh.
CREATE FUNCTION threadline.rename_columns(image jsonb, change_id bigint, until bigint, names jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN change_id <= until AND image ?| old_names AND (new_names <@ old_names OR NOT image ?| new_names)
    THEN (image - old_names) || (SELECT jsonb_object_agg(n.value, image -> n.key)
                                   FROM jsonb_each_text(names) AS n WHERE image ? n.key)
    ELSE image END
    FROM (SELECT array_agg(n.key) AS old_names, array_agg(n.value) AS new_names FROM jsonb_each_text(names) AS n) AS n
$function$;
COMMENT ON FUNCTION threadline.rename_columns(jsonb, bigint, bigint, jsonb) IS
  'An image under the names that columns were given after it was recorded.';

-- An UPDATE that moves a row to another partition fires the row triggers of a DELETE and an INSERT, one after the
-- other, and no statement trigger of INSERT. So an insert that follows a delete of the same statement, while no
-- INSERT (or MERGE with one) is under way, is the other half of a move. What is noted is noted under the depth of the
-- trigger, so that statements which triggers run in between do not mix with the one that fired them. Functions that an
-- INSERT calls may run others at its depth: there is a "|" for each that is under way. The time is written as the
-- capture functions write it, whose settings are pinned.
CREATE FUNCTION threadline.note_insert() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
DECLARE
  name text := 'threadline.inserting_' || pg_trigger_depth();
  noted text := CASE WHEN threadline.inserting() THEN current_setting(name) ELSE statement_timestamp()::text END;
BEGIN
  PERFORM set_config(name, CASE TG_WHEN WHEN 'BEFORE' THEN noted || '|' ELSE left(noted, -1) END, true);
  RETURN NULL;
END
$function$;
COMMENT ON FUNCTION threadline.note_insert() IS 'Trigger function: notes on partitioned tables that an INSERT is under way.';

CREATE FUNCTION threadline.inserting() RETURNS boolean
LANGUAGE sql STABLE
AS $function$
  SELECT coalesce(pg_catalog.starts_with(
    pg_catalog.current_setting('threadline.inserting_' OPERATOR(pg_catalog.||) pg_catalog.pg_trigger_depth(), true),
    pg_catalog.statement_timestamp()::pg_catalog.text OPERATOR(pg_catalog.||) '|'), false)
$function$;
COMMENT ON FUNCTION threadline.inserting() IS 'Whether an INSERT into a partitioned table is under way.';

CREATE FUNCTION threadline.begin_move(table_id integer, change_id bigint, captured_at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF NOT threadline.inserting() THEN
    PERFORM set_config('threadline.moving_' || pg_trigger_depth(),
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
  moving text[] := string_to_array(current_setting('threadline.moving_' || pg_trigger_depth(), true), '|');
BEGIN
  IF moving[1] = pending_move.table_id::text AND moving[2] = statement_timestamp()::text AND NOT threadline.inserting() THEN
    PERFORM set_config('threadline.moving_' || pg_trigger_depth(), '', true);
    change_id := moving[3];
    captured_at := moving[4];
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline.pending_move(integer) IS 'Takes the delete that the insert now being recorded belongs to, if any.';

-- Nearly every insert is no move, and must not read the record for it: see enable_seqscan at
-- threadline.enter_transaction, and a serializable transaction would depend on its neighbours.
CREATE FUNCTION threadline.link_move(table_id integer, new_key jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
  move record;
  entered uuid;
  old_key text;
BEGIN
  SELECT * INTO move FROM threadline.pending_move(link_move.table_id);
  IF move.change_id IS NULL THEN
    RETURN NULL;
  END IF;
  entered := threadline.enter_transaction(transaction_timestamp(), table_id);
  UPDATE threadline.audit_changes AS c SET moved_key = link_move.new_key #>> '{}'
   WHERE c.transaction_id = entered AND c.captured_at = move.captured_at AND c.id = move.change_id
     AND c.table_id = link_move.table_id AND c.op = 'delete'
  RETURNING coalesce(c.key_integer::text, c.key_bigint::text, c.key_uuid::text, c.key_text) INTO old_key;
  RETURN to_jsonb(old_key);
END
$function$;
COMMENT ON FUNCTION threadline.link_move(integer, jsonb) IS
  'Links an insert to the delete it follows when both are one move between partitions; returns the key the row came from.';

-- A row without a key cannot be linked; there the two halves become the update that they are.
CREATE FUNCTION threadline.merge_move(table_id integer, image jsonb) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
  move record;
  entered uuid;
BEGIN
  SELECT * INTO move FROM threadline.pending_move(merge_move.table_id);
  IF move.change_id IS NULL THEN
    RETURN false;
  END IF;
  entered := threadline.enter_transaction(transaction_timestamp(), table_id);
  UPDATE threadline.audit_changes AS c SET op = 'update', data_after = merge_move.image, changed_from = (
           SELECT coalesce(jsonb_object_agg(o.key, o.value), '{}') FROM jsonb_each(c.changed_from) AS o
            WHERE o.value IS DISTINCT FROM merge_move.image -> o.key)
   WHERE c.transaction_id = entered AND c.captured_at = move.captured_at AND c.id = move.change_id
     AND c.table_id = merge_move.table_id AND c.op = 'delete';
  RETURN FOUND;
END
$function$;
COMMENT ON FUNCTION threadline.merge_move(integer, jsonb) IS
  'Makes one update of a recorded delete and the insert that follows it when both are one move between partitions.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA threadline FROM PUBLIC;
