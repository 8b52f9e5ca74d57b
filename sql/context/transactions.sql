-- See threadline_internal.long_transactions. A change is noted with the very time it is captured at: were the clock
-- read again, a process that is held up in between could write a late change unnoticed.
CREATE FUNCTION threadline_internal.note_long_transaction(transaction_id uuid, written_at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
  -- In whole units of 125 ms, so that the duration_class is exact: it is how many binary digits the number has.
  units bigint := floor(extract(epoch FROM written_at - transaction_timestamp()) * 8);
  reached smallint := length(ltrim(units::bit(64)::text, '0'));
BEGIN
  INSERT INTO threadline_internal.long_transactions AS l (duration_class, occurred_at, transaction_id)
  VALUES (reached, transaction_timestamp(), note_long_transaction.transaction_id) ON CONFLICT DO NOTHING;
  -- Spares the next change of this duration_class the call. Not in a serializable transaction: see
  -- threadline_internal.enter_transaction.
  IF current_setting('transaction_isolation') <> 'serializable' THEN
    UPDATE threadline.audit_transactions AS t SET duration_class = reached
      WHERE t.id = note_long_transaction.transaction_id;
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.note_long_transaction(uuid, timestamptz) IS
  'Notes that the running transaction has a change 125 ms or more after it began.';

-- For whatever asks seldom; capture spells it out, to spare each statement the call.
CREATE FUNCTION threadline_internal.long_after() RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $function$
  SELECT '125 ms'::pg_catalog.interval
$function$;
COMMENT ON FUNCTION threadline_internal.long_after() IS
  'How long after a transaction began its changes make it a long one, which long_transactions has.';

CREATE FUNCTION threadline_internal.long_transactions_around(began_by timestamptz, at timestamptz)
RETURNS SETOF threadline_internal.long_transactions
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 10 SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
BEGIN
  RETURN QUERY
    SELECT l.*
      FROM generate_series(1, (SELECT max(n.duration_class) FROM threadline_internal.long_transactions AS n))
        AS d (class)
      JOIN threadline_internal.long_transactions AS l
        ON l.duration_class = d.class AND l.occurred_at <= began_by
       AND l.occurred_at > at - threadline_internal.long_after() * power(2, d.class);
END
$function$;
COMMENT ON FUNCTION threadline_internal.long_transactions_around(timestamptz, timestamptz) IS
  'The long transactions that began by one time and may have a change after another.';

-- UUIDs of version 7 (RFC 9562, method 3): 48 bits of milliseconds, and 12 of their fraction; the tail is the variant
-- and 62 bits. The planner inlines it: it has no SET clause.
CREATE FUNCTION threadline_internal.uuid_v7(us bigint, tail bytea) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $function$
  SELECT pg_catalog.encode(
    pg_catalog.int8send(($1 OPERATOR(pg_catalog./) 1000) OPERATOR(pg_catalog.<<) 16 OPERATOR(pg_catalog.|) 28672
                        OPERATOR(pg_catalog.|) ($1 OPERATOR(pg_catalog.%) 1000 OPERATOR(pg_catalog.*) 4096
                          OPERATOR(pg_catalog./) 1000))
    OPERATOR(pg_catalog.||) $2, 'hex')::pg_catalog.uuid
$function$;
COMMENT ON FUNCTION threadline_internal.uuid_v7(bigint, bytea) IS
  'A UUID of version 7, given the time in microseconds since 1970 and its last 8 bytes.';

-- The id of the running transaction. It follows from what the server knows of it, and is not remembered in a setting,
-- because a setting can be forged: a session that names the group of another transaction must not be believed. It is a
-- UUID of version 7 (RFC 9562, method 3): 48 bits of milliseconds and 12 of their fraction; then the variant and 62
-- bits that are, instead of chance, a hash of what tells this transaction from all others. Without a SET clause, which
-- would keep the planner from inlining it. Those who call it compute the time in the same way, to the bit: double
-- precision tells microseconds apart until 2106.
CREATE FUNCTION threadline_internal.transaction_id(began_us bigint) RETURNS uuid
LANGUAGE sql STABLE
AS $function$
  SELECT pg_catalog.encode(
    pg_catalog.int8send((began_us OPERATOR(pg_catalog./) 1000) OPERATOR(pg_catalog.<<) 16 OPERATOR(pg_catalog.|) 28672
                        OPERATOR(pg_catalog.|) (began_us OPERATOR(pg_catalog.%) 1000 OPERATOR(pg_catalog.*) 4096
                          OPERATOR(pg_catalog./) 1000))
    OPERATOR(pg_catalog.||)
    pg_catalog.int8send(pg_catalog.hashtextextended(pg_catalog.pg_current_xact_id()::pg_catalog.text, began_us)
                        OPERATOR(pg_catalog.&) 4611686018427387903 OPERATOR(pg_catalog.|) (-9223372036854775808)),
                          'hex')::pg_catalog.uuid
$function$;
COMMENT ON FUNCTION threadline_internal.transaction_id(bigint) IS
  'The id of the running transaction, given when it began in microseconds since 1970.';

-- The row of the running transaction, made by the first change.
-- enable_seqscan: the plan is kept for the life of a session, and one made while the table was small would read all
-- of it for ever.
CREATE FUNCTION threadline_internal.enter_transaction(written_at timestamptz, table_id integer) RETURNS uuid
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
  entered uuid := threadline_internal.transaction_id((date_part('epoch', transaction_timestamp()) * 1000000)::bigint);
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
    SELECT t.duration_class INTO noted FROM threadline.audit_transactions AS t WHERE t.id = entered;
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
      correlation_id,
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
    PERFORM threadline_internal.note_long_transaction(entered, written_at);
  END IF;
  RETURN entered;
END
$function$;
COMMENT ON FUNCTION threadline_internal.enter_transaction(timestamptz, integer) IS
  'The audit_transactions row of the running transaction, made if it has none yet; told when the change was '
  'written, and of which table it is.';

-- The ids are UUIDs of version 7 that threadline.transaction_id makes out of the time the transaction began, so this
-- bound turns the primary key of audit_changes into an index by time. IMMUTABLE, so that the planner has its value.
CREATE FUNCTION threadline.first_id_after(at timestamptz) RETURNS uuid
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  -- What is before or beyond all ids, the infinities included, is as good as these years.
  bounded timestamptz := least(greatest(at, '1970-01-01 00:00:00+00'), '5000-01-01 00:00:00+00');
  us bigint := extract(epoch FROM bounded - '1970-01-01 00:00:00+00'::timestamptz) * 1000000 + 1;
BEGIN
  RETURN threadline_internal.uuid_v7(us, int8send(-9223372036854775808));
END
$function$;
COMMENT ON FUNCTION threadline.first_id_after(timestamptz) IS
  'The lowest id that a transaction can have which began after this time.';
