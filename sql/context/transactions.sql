-- See threadline_internal.long_transactions. The argument is the exact capture time of the change: if the function read
-- the clock again, a process delayed in between could write a late change unnoticed.
CREATE FUNCTION threadline_internal.note_long_transaction(transaction_id uuid, written_at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
  -- In whole units of 125 ms, so that duration_class is exact: it is the number of binary digits of this number.
  units bigint := floor(extract(epoch FROM written_at - transaction_timestamp()) * 8);
  reached smallint := length(ltrim(units::bit(64)::text, '0'));
BEGIN
  INSERT INTO threadline_internal.long_transactions AS l (duration_class, occurred_at, transaction_id)
  VALUES (reached, transaction_timestamp(), note_long_transaction.transaction_id) ON CONFLICT DO NOTHING;
  -- Saves the next change of this duration_class the call. Not in a serializable transaction: see
  -- threadline_internal.enter_transaction.
  IF current_setting('transaction_isolation') <> 'serializable' THEN
    UPDATE threadline.audit_transactions AS t SET duration_class = reached
      WHERE t.id = note_long_transaction.transaction_id;
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.note_long_transaction(uuid, timestamptz) IS
  'Records that the running transaction has a change 125 ms or more after it began.';

-- For callers that run rarely. Capture inlines the value by hand, to save each statement the call.
CREATE FUNCTION threadline_internal.long_after() RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $function$
  SELECT '125 ms'::pg_catalog.interval
$function$;
COMMENT ON FUNCTION threadline_internal.long_after() IS
  'The time after its start from which a change makes a transaction a long one, with a row in long_transactions.';

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

-- UUIDs of version 7 (RFC 9562, method 3): 48 bits of milliseconds and 12 bits of their fraction, followed by the tail:
-- the variant and 62 bits. The planner inlines this function, because it has no SET clause.
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
  'A version 7 UUID made from a time in microseconds since 1970 and its last 8 bytes.';

-- Returns the id of the running transaction. The id is computed from what the server knows about the transaction and
-- not stored in a setting, because a setting can be forged: a session that names the row of another transaction must
-- not be believed. It is a UUID of version 7 (RFC 9562, method 3): 48 bits of milliseconds and 12 bits of their
-- fraction, then the variant and 62 bits. Instead of random bits, these contain the transaction number, which no other
-- transaction that began at the same time has. There is no SET clause, because it would prevent the planner from
-- inlining the function. All callers compute the time in the same way, to the bit: double precision distinguishes
-- microseconds until 2106.
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
  'The id of the running transaction, from its start in microseconds since 1970.';

-- threadline_internal.transaction_id creates the ids as version 7 UUIDs from the start time of the transaction, so this
-- bound turns the primary key of audit_changes into an index by time. IMMUTABLE, so that the planner has its value.
CREATE FUNCTION threadline.first_id_after(at timestamptz) RETURNS uuid
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  -- Clamps all times outside these years, including the infinities, because no id is outside them.
  bounded timestamptz := least(greatest(at, '1970-01-01 00:00:00+00'), '5000-01-01 00:00:00+00');
  us bigint := extract(epoch FROM bounded - '1970-01-01 00:00:00+00'::timestamptz) * 1000000 + 1;
BEGIN
  RETURN threadline_internal.uuid_v7(us, int8send(-9223372036854775808));
END
$function$;
COMMENT ON FUNCTION threadline.first_id_after(timestamptz) IS
  'The lowest id of a transaction that began after the given time.';
