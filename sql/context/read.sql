-- What the generated capture functions call while a write runs. They are called by SECURITY DEFINER functions,
-- so they need no right of the writer; every caller pins search_path and the settings that shape text.

-- A setting is only text, and anyone may set it: nothing in it may make the write fail, nor pass for an actor. What an
-- index is to hold must not be too long for it, so an id has 1000 bytes at most.
CREATE FUNCTION threadline_internal.read_actor(value text) RETURNS jsonb
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
COMMENT ON FUNCTION threadline_internal.read_actor(text) IS
  'The actor in a setting, or NULL if it holds no valid one; never fails.';

CREATE FUNCTION threadline_internal.is_blank(value text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(value, '') !~ '[^[:space:]]'
$function$;
COMMENT ON FUNCTION threadline_internal.is_blank(text) IS 'Whether a text is NULL, or nothing but space.';

-- Every transaction calls it once, and PL/pgSQL sets up each expression anew for every transaction. So what nearly all
-- of them say takes few of them, and what is wrong with the others is told apart only then.
CREATE FUNCTION threadline_internal.read_context(actor text, context text) RETURNS jsonb
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
    said_by := threadline_internal.read_actor(actor);
    claims := context::jsonb;
    -- Checked here, where a failure can be caught, and not when the column is written.
    address := claims ->> 'remote_ip';
    readable := num_nulls(said_by, actor) <> 1 AND (claims IS NULL OR jsonb_typeof(claims) = 'object')
      AND coalesce(octet_length(claims ->> 'correlation_id') <= 1000, true)
        AND coalesce(claims -> 'on_behalf_of' = 'null', true);
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
      behalf := threadline_internal.read_actor((claims -> 'on_behalf_of')::text);
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
      'actor_ref', said_by, 'on_behalf_of', behalf, 'source', claims ->> 'source', 'correlation_id',
        claims ->> 'correlation_id',
      'request_id', claims ->> 'request_id', 'job_id', claims ->> 'job_id', 'remote_ip', claims ->> 'remote_ip'))
    || CASE WHEN claims -> 'meta' <> 'null' THEN jsonb_build_object('meta', claims -> 'meta') ELSE '{}' END;
END
$function$;
COMMENT ON FUNCTION threadline_internal.read_context(text, text) IS
  'Actor and context out of the settings threadline.actor_ref and threadline.context; never fails.';

-- A nested audited transaction keeps what it replaces in threadline.outer_context, a chain of
-- {"began": …, "actor_ref": …, "context": …, "outer": …}; the last link that says anything is the outermost context. A
-- chain that began with another transaction was set for the session, by an earlier user of a pooled connection.
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
  'Settings of the outermost audited transaction while a nested one is open, else NULL; never fails.';

-- Without a SET clause, which would keep the planner from inlining it.
CREATE FUNCTION threadline_internal.change_context() RETURNS jsonb
LANGUAGE sql STABLE
AS $function$
  SELECT CASE WHEN pg_catalog.current_setting('threadline.entered_with', true) OPERATOR(pg_catalog.=) pg_catalog.concat(
                     nullif(pg_catalog.current_setting('threadline.actor_ref', true), ''), pg_catalog.chr(31),
                     nullif(pg_catalog.current_setting('threadline.context', true), ''))
           THEN NULL
           ELSE threadline_internal.read_context(nullif(pg_catalog.current_setting('threadline.actor_ref', true), ''),
                                        nullif(pg_catalog.current_setting('threadline.context', true), '')) END
$function$;
COMMENT ON FUNCTION threadline_internal.change_context() IS
  'Actor and context of a change where they are not those its transaction was entered with, else NULL.';
