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
-- bits that are, instead of chance, the number of the transaction, which no other one has that began at the same time.
-- Without a SET clause, which would keep the planner from inlining it. Those who call it compute the time in the same
-- way, to the bit: double precision tells microseconds apart until 2106.
CREATE FUNCTION threadline_internal.transaction_id(began_us bigint) RETURNS uuid
LANGUAGE sql STABLE
AS $function$
  SELECT pg_catalog.encode(
    pg_catalog.int8send((began_us OPERATOR(pg_catalog./) 1000) OPERATOR(pg_catalog.<<) 16 OPERATOR(pg_catalog.|) 28672
                        OPERATOR(pg_catalog.|) (began_us OPERATOR(pg_catalog.%) 1000 OPERATOR(pg_catalog.*) 4096
                          OPERATOR(pg_catalog./) 1000))
    OPERATOR(pg_catalog.||)
    pg_catalog.set_byte(pg_catalog.xid8send(pg_catalog.pg_current_xact_id()), 0, 128), 'hex')::pg_catalog.uuid
$function$;
COMMENT ON FUNCTION threadline_internal.transaction_id(bigint) IS
  'The id of the running transaction, given when it began in microseconds since 1970.';

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
