-- Functions that the generated capture functions call during a write. The callers are SECURITY DEFINER functions, so
-- the writer needs no rights. Every caller pins search_path and the settings that affect text output.

-- A setting is only text, and anyone may set it: its value must neither fail the write nor pass for an actor. Indexed
-- values must not be too long for the index, so an id has at most 1000 bytes.
CREATE FUNCTION threadline_internal.read_actor(value text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  actor jsonb;
BEGIN
  actor := value::jsonb;  -- not in DECLARE, where the handler below would miss its error
  RETURN CASE
    WHEN actor ->> 'type' = 'anonymous' THEN jsonb_build_object('type', 'anonymous')
    WHEN actor ->> 'type' IN ('user', 'admin', 'service_account', 'job', 'system')
     AND jsonb_typeof(actor -> 'id') = 'string' AND octet_length(actor ->> 'id') BETWEEN 1 AND 1000
      THEN jsonb_build_object('type', actor -> 'type', 'id', actor -> 'id') END;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
  RETURN NULL;
END
$function$;
COMMENT ON FUNCTION threadline_internal.read_actor(text) IS
  'Returns the actor in a setting, or NULL if it contains no valid one; never fails.';

CREATE FUNCTION threadline_internal.is_blank(value text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(value, '') !~ '[^[:space:]]'
$function$;
COMMENT ON FUNCTION threadline_internal.is_blank(text) IS 'Whether a text is NULL or contains only whitespace.';

CREATE FUNCTION threadline_internal.first_bytes(value text, bytes integer) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  kept text := left(value, bytes);
BEGIN
  -- A character has at most 4 bytes, so this never removes more than necessary.
  WHILE octet_length(kept) > bytes LOOP
    kept := left(kept, length(kept) - (octet_length(kept) - bytes + 3) / 4);
  END LOOP;
  RETURN kept;
END
$function$;
COMMENT ON FUNCTION threadline_internal.first_bytes(text, integer) IS
  'The beginning of a text, in whole characters, of at most the given number of bytes.';

CREATE FUNCTION threadline_internal.add_to_meta(claims jsonb, evidence jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(claims, '{}') || jsonb_build_object('meta', CASE coalesce(jsonb_typeof(claims -> 'meta'), 'null')
    WHEN 'object' THEN claims -> 'meta' WHEN 'null' THEN '{}' ELSE jsonb_build_object('meta', claims -> 'meta') END
      || evidence)
$function$;
COMMENT ON FUNCTION threadline_internal.add_to_meta(jsonb, jsonb) IS
  'A context with more keys in its meta. If meta is not an object, it becomes the key meta of one.';

-- Shortens values that are too long (threadline_internal.read_context has the same limits), and keeps unreadable values
-- as text up to a maximum length: they are evidence, even if not an actor. One context is copied into every change of a
-- nested transaction, so every part of it has a size limit.
CREATE FUNCTION threadline_internal.kept_context(claims jsonb, context text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  said text;
  key text;
  shortened text[] := '{}';
  evidence jsonb := '{}';
  behalf jsonb;
BEGIN
  IF jsonb_typeof(claims) <> 'object' THEN
    RAISE data_exception;
  END IF;
  FOREACH key IN ARRAY '{source,correlation_id,request_id,job_id}'::text[] LOOP
    said := claims ->> key;
    IF octet_length(said) > 1000 THEN
      claims := claims || jsonb_build_object(key, threadline_internal.first_bytes(said, 1000));
      shortened := shortened || key;
    END IF;
  END LOOP;
  said := claims ->> 'meta';
  IF octet_length(said) > 16384 THEN
    claims := claims - 'meta';
    evidence := jsonb_build_object('text', threadline_internal.first_bytes(said, 10000));
    shortened := shortened || 'meta'::text;
  END IF;
  IF shortened <> '{}' THEN
    evidence := evidence || jsonb_build_object('shortened', shortened);
  END IF;
  IF claims -> 'on_behalf_of' <> 'null' THEN
    said := (claims -> 'on_behalf_of')::text;
    behalf := threadline_internal.read_actor(said);
    IF behalf IS NULL THEN
      evidence := evidence || jsonb_build_object('unreadable_on_behalf_of', CASE WHEN octet_length(said) > 4000
        THEN to_jsonb(threadline_internal.first_bytes(said, 4000)) ELSE claims -> 'on_behalf_of' END);
    END IF;
    claims := claims || jsonb_build_object('on_behalf_of', behalf);
  END IF;
  RETURN CASE WHEN evidence = '{}' THEN claims ELSE threadline_internal.add_to_meta(claims, evidence) END;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
  RETURN threadline_internal.add_to_meta('{}',
    jsonb_build_object('unreadable_context', threadline_internal.first_bytes(context, 4000)));
END
$function$;
COMMENT ON FUNCTION threadline_internal.kept_context(jsonb, text) IS
  'What is kept of a context that is too long or unreadable, with a note in its meta; never fails.';

-- Every transaction calls this function once, and PL/pgSQL sets up each expression again in every transaction. A valid
-- context therefore takes few expressions, and only an invalid one is examined in detail.
CREATE FUNCTION threadline_internal.read_context(actor text, context text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  said_by jsonb;
  claims jsonb;
  address inet;
  readable boolean;
BEGIN
  BEGIN
    said_by := threadline_internal.read_actor(actor);
    claims := context::jsonb;
    -- Cast here, where a failure can be caught, instead of when the column is written.
    address := claims ->> 'remote_ip';
    -- Checks all four together, because one expression costs less than four.
    readable := num_nulls(said_by, actor) <> 1 AND (claims IS NULL OR jsonb_typeof(claims) = 'object'
      AND octet_length(concat(claims ->> 'correlation_id', claims ->> 'request_id', claims ->> 'job_id',
                              claims ->> 'source')) <= 1000
      AND coalesce(octet_length(claims ->> 'meta') <= 16384, true)
      AND coalesce(claims -> 'on_behalf_of' = 'null', true));
  EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    claims := '[]';
    address := NULL;
  END;
  IF readable IS NOT TRUE THEN
    claims := threadline_internal.kept_context(claims, context);
    IF num_nulls(said_by, actor) = 1 THEN
      claims := threadline_internal.add_to_meta(claims,
        jsonb_build_object('unreadable_actor_ref', threadline_internal.first_bytes(actor, 4000)));
    END IF;
  END IF;
  -- Stores the address as PostgreSQL writes it: the original text may have any number of leading zeros.
  RETURN jsonb_strip_nulls(jsonb_build_object(
      'actor_ref', said_by, 'on_behalf_of', claims -> 'on_behalf_of', 'source', claims ->> 'source', 'correlation_id',
        claims ->> 'correlation_id',
      'request_id', claims ->> 'request_id', 'job_id', claims ->> 'job_id', 'remote_ip', address))
    || CASE WHEN claims -> 'meta' <> 'null' THEN jsonb_build_object('meta', claims -> 'meta') ELSE '{}' END;
END
$function$;
COMMENT ON FUNCTION threadline_internal.read_context(text, text) IS
  'Reads actor and context from the settings threadline.actor_ref and threadline.context; never fails. An id or source '
  'has at most 1000 bytes, and meta at most 16 KiB. Longer values are shortened, and the key shortened of meta names '
  'them.';

-- A nested audited transaction saves what it replaces in threadline.outer_context, a chain of {"began": ...,
-- "actor_ref": ..., "context": ..., "outer": ...}. The last link with any value is the outermost context. A chain that
-- began with another transaction was set for the session by an earlier user of a pooled connection.
CREATE FUNCTION threadline_internal.outermost_context() RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  link jsonb;
  outermost jsonb;
BEGIN
  link := nullif(current_setting('threadline.outer_context', true), '')::jsonb;
  IF link ->> 'began' IS DISTINCT FROM (date_part('epoch', transaction_timestamp()) * 1000000)::bigint::text THEN
    RETURN NULL;
  END IF;
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
COMMENT ON FUNCTION threadline_internal.outermost_context() IS
  'Settings of the outermost audited transaction while a nested one is open, otherwise NULL; never fails.';

-- Records a context by which the running transaction can be found, in addition to that of its row.
CREATE FUNCTION threadline_internal.note_context(transaction_id uuid, context jsonb) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  INSERT INTO threadline_internal.transaction_contexts (transaction_id, digest, actor_ref, on_behalf_of, correlation_id)
  SELECT transaction_id, sha256(convert_to(jsonb_build_array(context -> 'actor_ref', context -> 'on_behalf_of',
           context -> 'correlation_id')::text, 'UTF8')), context -> 'actor_ref', context -> 'on_behalf_of',
         context ->> 'correlation_id'
   WHERE context ?| '{actor_ref,on_behalf_of,correlation_id}'
  ON CONFLICT DO NOTHING
$function$;
COMMENT ON FUNCTION threadline_internal.note_context(uuid, jsonb) IS
  'Adds a context to transaction_contexts, unless it is already there.';

CREATE FUNCTION threadline_internal.nested_context() RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  context jsonb := threadline_internal.read_context(nullif(current_setting('threadline.actor_ref', true), ''),
    nullif(current_setting('threadline.context', true), ''));
BEGIN
  PERFORM threadline_internal.note_context(threadline_internal.transaction_id(
    (date_part('epoch', transaction_timestamp()) * 1000000)::bigint), context);
  RETURN context;
END
$function$;
COMMENT ON FUNCTION threadline_internal.nested_context() IS
  'The current actor and context settings, recorded so that the running transaction can be found by them.';

-- Has no SET clause, because that would prevent the planner from inlining it. VOLATILE, because the functions that it
-- calls are. Applies to the transaction that was entered last, which is the running one once it has its row.
CREATE FUNCTION threadline_internal.change_context() RETURNS jsonb
LANGUAGE sql VOLATILE
AS $function$
  SELECT CASE WHEN pg_catalog.current_setting('threadline.entered_with', true) OPERATOR(pg_catalog.=) pg_catalog.concat(
                     pg_catalog."left"(pg_catalog.current_setting('threadline.entered', true), 36), pg_catalog.chr(31),
                     pg_catalog.current_setting('threadline.actor_ref', true), pg_catalog.chr(31),
                     pg_catalog.current_setting('threadline.context', true))
           THEN NULL ELSE threadline_internal.nested_context() END
$function$;
COMMENT ON FUNCTION threadline_internal.change_context() IS
  'Actor and context of a change if they differ from those with which its transaction was entered, otherwise NULL.';
