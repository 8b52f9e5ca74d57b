-- How the running transaction gets its row in audit_transactions, through its first change or its first action.
-- Two settings report it to the session. threadline.entered contains the id of the transaction and the ids of the
-- tables that it changed, each followed by a comma. threadline.entered_with contains the id, and the actor and context
-- with which the transaction was entered, separated by chr(31). The code never trusts either setting: a forged value
-- changes only what the session reads or claims about itself. Both contain the id, so they are worthless in the next
-- transaction even if someone set them for the whole session.

-- Enters the running transaction for a change that is almost certainly its first, if its context is so plain that
-- threadline_internal.read_context would keep it unchanged. Otherwise returns NULL, and
-- threadline_internal.enter_transaction enters it. Nearly every transaction calls this function, and PL/pgSQL sets up
-- each expression again in every transaction, so it has few of them. It has no SET clause, which would cost a one-row
-- transaction two percent, so every name is qualified with its schema.
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
     -- An object with fewer than three keys: JSON objects sort by their number of keys.
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
  'Creates the audit_transactions row of the running transaction for its first change; NULL if enter_transaction has '
  'to do it.';

-- Reports to the session, for its metrics, that the running transaction changed a table. Rolling back a savepoint
-- undoes the report. It has no SET clause, because that would prevent the planner from inlining it.
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
  'Adds a table to threadline.entered, as changed by the running transaction; never returns NULL.';

-- Returns the row of the running transaction, and creates it if necessary. enable_seqscan is off because the plan is
-- kept for the life of the session, and a plan made while the table was small would always read the whole table.
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
  -- Reading the index would make a serializable transaction depend on others that enter at the same time, and fail
  -- needlessly. In such a transaction, and if this seems to be the first change, the insert below finds out without
  -- recording such a dependency.
  IF told <> '' AND current_setting('transaction_isolation') <> 'serializable' THEN
    SELECT t.duration_class INTO noted FROM threadline.audit_transactions AS t WHERE t.id = entered;
  END IF;
  -- Uses an assignment instead of PERFORM, because a query costs more than the settings.
  IF starts_with(told, concat(entered, ',')) IS NOT TRUE THEN
    told := set_config('threadline.entered', concat(entered, ','), true);
  END IF;
  IF noted IS NULL THEN
    -- If the first change comes from a nested audited transaction, the row still belongs to the outermost one.
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
        -- In a SECURITY DEFINER function, current_user is the owner. The role setting still contains the role of SET
        -- ROLE.
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
  'Returns the audit_transactions row of the running transaction, and creates it if necessary. Arguments: when the '
  'change was written, and in which table.';
