-- Actions: what someone did, in business terms, recorded next to the changes of the same transaction.

CREATE FUNCTION threadline.require_reason(action_name text, required boolean DEFAULT true) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF required IS NULL THEN
    RAISE EXCEPTION 'a reason is required or is not' USING ERRCODE = 'null_value_not_allowed',
      CONSTRAINT = 'threadline_action';
  ELSIF required THEN
    INSERT INTO threadline.action_rules (name, reason_required) VALUES (action_name, true)
    ON CONFLICT (name) DO UPDATE SET reason_required = true;
  ELSE
    DELETE FROM threadline.action_rules AS r WHERE r.name = action_name;
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline.require_reason(text, boolean) IS
  'Sets whether actions with a name are rejected without a reason. The rule applies to every caller, including '
  'Threadline itself.';

-- Called by Threadline's own operations, and by threadline.record_action for all other callers. The action belongs to
-- the transaction that records it, and creates the row of that transaction if no change did so before. Its actor is
-- that of the transaction, or of the open nested one, unless the caller names another. If the caller does, on_behalf_of
-- is not inherited either. The ids are inherited key by key: a key of `context` takes precedence, even if it is null.
CREATE FUNCTION threadline_internal.insert_action(name text, status text DEFAULT 'ok', reason text DEFAULT NULL,
  comment text DEFAULT NULL,
  meta jsonb DEFAULT NULL, actor_ref jsonb DEFAULT NULL, context jsonb DEFAULT NULL,
  OUT id uuid, OUT transaction_id uuid, OUT occurred_at timestamptz)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  said jsonb := threadline_internal.read_context(nullif(current_setting('threadline.actor_ref', true), ''),
                                        nullif(current_setting('threadline.context', true), ''));
  given jsonb := threadline_internal.read_context(insert_action.actor_ref::text, insert_action.context::text);
  us bigint;
BEGIN
  IF insert_action.actor_ref IS NOT NULL AND NOT given ? 'actor_ref' THEN
    RAISE EXCEPTION 'this is no actor: %', left(insert_action.actor_ref::text, 1000)
      USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_action',
        HINT = 'Write it like {"type": "user", "id": "123"}, with at most 1000 bytes an id.';
  ELSIF given #> '{meta,unreadable_context}' IS NOT NULL OR given #> '{meta,unreadable_on_behalf_of}' IS NOT NULL
    OR EXISTS (SELECT FROM unnest(ARRAY['correlation_id', 'request_id', 'job_id']) AS k
                WHERE jsonb_typeof(insert_action.context -> k) NOT IN ('null', 'string')
                  OR octet_length(given ->> k) > 256) THEN
    RAISE EXCEPTION 'this is no context: %', left(insert_action.context::text, 1000)
      USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_action',
        HINT = 'Write it like {"correlation_id": "order-77"}, with at most 256 bytes an id.';
  ELSIF NOT (said || given) ? 'actor_ref' THEN
    RAISE EXCEPTION 'nobody is known who does %', insert_action.name
      USING ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_missing_actor',
        HINT = 'Set threadline.actor_ref in the transaction, or name the actor.';
  ELSIF threadline_internal.is_blank(insert_action.reason)
    AND EXISTS (SELECT FROM threadline.action_rules AS r WHERE r.name = insert_action.name AND r.reason_required) THEN
    RAISE EXCEPTION '% needs a reason', insert_action.name
      USING ERRCODE = 'check_violation', CONSTRAINT = 'threadline_reason_required', DETAIL = insert_action.name,
        HINT = 'threadline.require_reason asked for it.';
  END IF;
  IF given ? 'actor_ref' THEN
    said := said - 'on_behalf_of';
  END IF;
  said := said - ARRAY(SELECT k FROM unnest(ARRAY['on_behalf_of', 'correlation_id', 'request_id', 'job_id']) AS k
                        WHERE insert_action.context ? k) || given;

  -- Not the time of a change, because none is written.
  transaction_id := threadline_internal.enter_transaction(transaction_timestamp(), NULL);
  occurred_at := clock_timestamp();
  us := extract(epoch FROM occurred_at) * 1000000;
  id := threadline_internal.uuid_v7(us, substring(uuid_send(gen_random_uuid()) FROM 9));
  INSERT INTO threadline.audit_actions AS a (id, name, occurred_at, actor_ref, on_behalf_of, status, reason, comment,
      correlation_id, request_id, job_id, meta, transaction_id)
  VALUES (insert_action.id, insert_action.name, insert_action.occurred_at, said -> 'actor_ref', said -> 'on_behalf_of',
      insert_action.status, insert_action.reason, insert_action.comment, said ->> 'correlation_id',
        said ->> 'request_id',
      said ->> 'job_id', insert_action.meta, insert_action.transaction_id);
END
$function$;
COMMENT ON FUNCTION threadline_internal.insert_action(text, text, text, text, jsonb, jsonb, jsonb) IS
  'Records an action in the running transaction, including actions of Threadline itself; granted to no role.';

-- An application calls this function without any right on the tables. Actions that describe what was done to the audit
-- log itself are recorded only by roles that may do it.
CREATE FUNCTION threadline.record_action(name text, status text DEFAULT 'ok', reason text DEFAULT NULL,
  comment text DEFAULT NULL,
  meta jsonb DEFAULT NULL, actor_ref jsonb DEFAULT NULL, context jsonb DEFAULT NULL,
  OUT id uuid, OUT transaction_id uuid, OUT occurred_at timestamptz)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  problem text;
BEGIN
  IF coalesce(record_action.name, '') !~ '^[a-z0-9_]+([.][a-z0-9_]+)+$' OR length(record_action.name) > 256 THEN
    RAISE EXCEPTION 'this is no name of an action: %', coalesce(quote_literal(left(record_action.name, 1000)), 'NULL')
      USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_action',
        HINT = 'Write category.verb, in a-z, 0-9 and _, with at most 256 characters.';
  ELSIF starts_with(record_action.name, 'threadline.') THEN
    RAISE EXCEPTION 'only Threadline itself records %', record_action.name
      USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_action',
        HINT = 'Names that begin with threadline. say what was done to the audit log: use another category.';
  ELSIF record_action.status IS NULL OR record_action.status NOT IN ('error', 'ok') THEN
    RAISE EXCEPTION 'the status of an action is error or ok' USING ERRCODE = 'invalid_parameter_value',
      CONSTRAINT = 'threadline_action';
  END IF;
  problem := CASE
    WHEN length(record_action.reason) > 10000 THEN 'the reason of an action has at most 10000 characters'
    WHEN length(record_action.comment) > 10000 THEN 'the comment of an action has at most 10000 characters'
    WHEN octet_length(record_action.meta::text) > 65536
      THEN 'the meta of an action has at most 65536 bytes of text' END;
  IF problem IS NOT NULL THEN
    RAISE EXCEPTION '%', problem USING ERRCODE = 'string_data_right_truncation', CONSTRAINT = 'threadline_action',
      HINT = 'Keep the whole somewhere else, and record where it is.';
  END IF;
  SELECT * INTO id, transaction_id, occurred_at
    FROM threadline_internal.insert_action(record_action.name, record_action.status, record_action.reason,
      record_action.comment, record_action.meta, record_action.actor_ref, record_action.context);
END
$function$;
COMMENT ON FUNCTION threadline.record_action(text, text, text, text, jsonb, jsonb, jsonb) IS
  'Records an action in the running transaction. context contains on_behalf_of, correlation_id, request_id and job_id '
  'if they differ from those of the transaction. Limits: 256 characters for the name, 10000 for reason and comment, 64 '
  'KiB of text for meta. Names that begin with threadline. are reserved for Threadline itself.';

-- Work that spans many transactions is one action. The first transaction records it and each one adds its progress, so
-- the audit log shows what was done even if the work is killed.
CREATE FUNCTION threadline_internal.add_to_action(id uuid, counts jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  UPDATE threadline.audit_actions AS a
     SET meta = coalesce(a.meta, '{}') || (SELECT jsonb_object_agg(c.key, coalesce((a.meta ->> c.key)::bigint,
       0) + c.value::bigint) FROM jsonb_each_text(counts) AS c)
   WHERE a.id = add_to_action.id;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no action %', coalesce(add_to_action.id::text, 'NULL') USING ERRCODE = 'no_data_found',
      CONSTRAINT = 'threadline_action';
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.add_to_action(uuid, jsonb) IS
  'Adds numbers to those in the meta of an action, as {"changes": 5000}, for long work that is recorded as one action.';
