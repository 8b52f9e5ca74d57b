-- How the running transaction gets its row in audit_transactions: by its first change, or its first action.
--
-- What a session is told of it stands in two settings. threadline.entered is the id of the transaction and the ids of
-- the tables that it changed, each with a comma behind it; threadline.entered_with is the id, the actor and the context
-- that it was entered with, with chr(31) between them. Both are told and never believed: a forged value changes what
-- the session reads or claims of itself. That the id stands in both makes them worthless in the next transaction, when
-- somebody has set them for the whole session.

-- Enters the running transaction by a change that is all but surely its first, with a context that is plain: what
-- threadline_internal.read_context would keep of it is what was said. NULL where it is not so; then
-- threadline_internal.enter_transaction does it. Nearly every transaction calls it, and PL/pgSQL sets up each
-- expression anew for every transaction: so there are few of them. Without a SET clause, which would cost a transaction
-- of one row two percent; so everything is named with its schema.
CREATE FUNCTION threadline_internal.enter_first(written_at timestamptz, table_id integer) RETURNS uuid
LANGUAGE plpgsql VOLATILE
AS $function$
DECLARE
  actor_text text := pg_catalog.current_setting('threadline.actor_ref', true);
  context_text text := pg_catalog.current_setting('threadline.context', true);
  actor pg_catalog.jsonb;
  claims pg_catalog.jsonb;
  address pg_catalog.inet;
  entered pg_catalog.uuid;
  told text;
BEGIN
  BEGIN
    actor := CASE WHEN actor_text OPERATOR(pg_catalog.<>) '' THEN actor_text END;
    claims := CASE WHEN context_text OPERATOR(pg_catalog.<>) '' THEN context_text END;
    address := claims OPERATOR(pg_catalog.->>) 'remote_ip';
  EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN NULL;
  END;
  INSERT INTO threadline.audit_transactions (id, txid, occurred_at, actor_ref, source, correlation_id, request_id,
      job_id, remote_ip, meta, database_role, application_name)
  SELECT threadline_internal.transaction_id((pg_catalog.date_part('epoch', pg_catalog.transaction_timestamp())
           OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8),
         pg_catalog.pg_current_xact_id(), pg_catalog.transaction_timestamp(), actor,
         claims OPERATOR(pg_catalog.->>) 'source', claims OPERATOR(pg_catalog.->>) 'correlation_id',
         claims OPERATOR(pg_catalog.->>) 'request_id', claims OPERATOR(pg_catalog.->>) 'job_id', address,
         CASE WHEN (claims OPERATOR(pg_catalog.->) 'meta') OPERATOR(pg_catalog.<>) 'null'
           THEN claims OPERATOR(pg_catalog.->) 'meta' END,
         CASE WHEN pg_catalog.current_setting('role') OPERATOR(pg_catalog.=) 'none' THEN session_user
           ELSE pg_catalog.current_setting('role') END,
         CASE WHEN pg_catalog.current_setting('application_name') OPERATOR(pg_catalog.<>) ''
           THEN pg_catalog.current_setting('application_name') END
   WHERE (pg_catalog.current_setting('threadline.entered', true) OPERATOR(pg_catalog.<>) '') IS NOT TRUE
     AND (pg_catalog.current_setting('threadline.outer_context', true) OPERATOR(pg_catalog.<>) '') IS NOT TRUE
     AND written_at OPERATOR(pg_catalog.<)
           (pg_catalog.transaction_timestamp() OPERATOR(pg_catalog.+) '125 ms'::pg_catalog.interval)
     AND pg_catalog.octet_length(pg_catalog.concat(actor_text, context_text)) OPERATOR(pg_catalog.<=) 1000
     AND (claims IS NULL OR pg_catalog.jsonb_typeof(claims) OPERATOR(pg_catalog.=) 'object'
          AND NOT (claims OPERATOR(pg_catalog.?) 'on_behalf_of'))
     -- An object with fewer than three keys: JSON objects are ordered by how many they have.
     AND (actor IS NULL OR actor OPERATOR(pg_catalog.=) '{"type": "anonymous"}'
          OR actor OPERATOR(pg_catalog.<) '{"": 0, "1": 0, "2": 0}'
             AND (actor OPERATOR(pg_catalog.->>) 'type') OPERATOR(pg_catalog.=)
                   ANY ('{user, admin, service_account, job, system}')
             AND (actor OPERATOR(pg_catalog.->>) 'id') OPERATOR(pg_catalog.<>) ''
             AND pg_catalog.jsonb_typeof(actor OPERATOR(pg_catalog.->) 'id') OPERATOR(pg_catalog.=) 'string')
  ON CONFLICT (id) DO NOTHING
  RETURNING id, pg_catalog.concat(
      pg_catalog.set_config('threadline.entered', pg_catalog.concat(id, ',', table_id, ','), true),
      pg_catalog.set_config('threadline.entered_with', pg_catalog.concat(id, pg_catalog.chr(31), actor_text,
        pg_catalog.chr(31), context_text), true))
    INTO entered, told;
  RETURN entered;
END
$function$;
COMMENT ON FUNCTION threadline_internal.enter_first(timestamptz, integer) IS
  'Makes the audit_transactions row of the running transaction by its first change; NULL where that takes more care.';

-- Tells the session that the running transaction changed a table, for its metrics; a savepoint that is rolled back
-- takes it back. Without a SET clause, which would keep the planner from inlining it.
CREATE FUNCTION threadline_internal.tell_table(table_id integer) RETURNS text
LANGUAGE sql VOLATILE
AS $function$
  SELECT CASE WHEN pg_catalog.strpos(pg_catalog.current_setting('threadline.entered', true),
                     pg_catalog.concat(',', table_id, ',')) OPERATOR(pg_catalog.>) 0
                OR pg_catalog.length(pg_catalog.current_setting('threadline.entered', true)) OPERATOR(pg_catalog.>)
                     100000 THEN ''
           ELSE pg_catalog.set_config('threadline.entered', pg_catalog.concat(
                  pg_catalog.current_setting('threadline.entered', true), table_id, ','), true) END
$function$;
COMMENT ON FUNCTION threadline_internal.tell_table(integer) IS
  'Notes in threadline.entered that the running transaction changed a table; never NULL.';

-- The row of the running transaction, made if it has none yet.
-- enable_seqscan: the plan is kept for the life of a session, and one made while the table was small would read all
-- of it for ever.
CREATE FUNCTION threadline_internal.enter_transaction(written_at timestamptz, table_id integer) RETURNS uuid
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
  entered uuid := threadline_internal.transaction_id((date_part('epoch', transaction_timestamp()) * 1000000)::bigint);
  told text := current_setting('threadline.entered', true);
  noted smallint;
  outermost jsonb;
  actor text := nullif(current_setting('threadline.actor_ref', true), '');
  claims text := nullif(current_setting('threadline.context', true), '');
  said jsonb;
BEGIN
  -- Reading the index would make a serializable transaction depend on those that enter beside it, and fail for
  -- nothing. There, and where this seems to be the first change, the insert below finds out; it takes no such note.
  IF told <> '' AND current_setting('transaction_isolation') <> 'serializable' THEN
    SELECT t.duration_class INTO noted FROM threadline.audit_transactions AS t WHERE t.id = entered;
  END IF;
  -- Assigned and not performed, since a query costs more than the settings.
  IF starts_with(told, concat(entered, ',')) IS NOT TRUE THEN
    told := set_config('threadline.entered', concat(entered, ','), true);
  END IF;
  IF noted IS NULL THEN
    -- When the first change comes from a nested audited transaction, the group still belongs to the outermost one.
    IF current_setting('threadline.outer_context', true) <> '' THEN
      outermost := threadline_internal.outermost_context();
      IF outermost IS NOT NULL THEN
        actor := nullif(outermost ->> 'actor_ref', '');
        claims := nullif(outermost ->> 'context', '');
      END IF;
    END IF;
    said := threadline_internal.read_context(actor, claims);
    INSERT INTO threadline.audit_transactions AS t (id, txid, occurred_at, actor_ref, on_behalf_of, source,
      correlation_id, request_id, job_id, remote_ip, meta, database_role, application_name)
    VALUES (entered, pg_current_xact_id(), transaction_timestamp(), said -> 'actor_ref', said -> 'on_behalf_of',
        said ->> 'source', said ->> 'correlation_id', said ->> 'request_id', said ->> 'job_id',
        (said ->> 'remote_ip')::inet, said -> 'meta',
        -- Inside SECURITY DEFINER current_user is the owner; the role setting still says what SET ROLE chose.
        CASE current_setting('role') WHEN 'none' THEN session_user ELSE current_setting('role') END,
        nullif(current_setting('application_name'), ''))
    ON CONFLICT (id) DO NOTHING;
    IF FOUND THEN
      told := set_config('threadline.entered_with', concat(entered, chr(31), actor, chr(31), claims), true);
      IF said ? 'on_behalf_of' THEN
        PERFORM threadline_internal.note_context(entered, said);
      END IF;
    END IF;
    noted := 0;
  END IF;
  IF table_id IS NOT NULL THEN
    told := threadline_internal.tell_table(table_id);
  END IF;
  IF written_at >= transaction_timestamp() + interval '125 ms' * power(2, noted) THEN
    PERFORM threadline_internal.note_long_transaction(entered, written_at);
  END IF;
  RETURN entered;
END
$function$;
COMMENT ON FUNCTION threadline_internal.enter_transaction(timestamptz, integer) IS
  'The audit_transactions row of the running transaction, made if it has none yet; told when the change was '
  'written, and of which table it is.';
