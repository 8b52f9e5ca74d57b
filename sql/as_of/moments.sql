-- Time travel. A transaction takes effect as a whole, at the time of its last captured change: as of T, a change is in
-- effect exactly if its transaction has no change captured later than T. Row locks make that order agree with the order
-- of conflicting commits, so every read shows a state that the database could have had.
-- The rows of the past are the live rows without those written by a transaction that takes effect later, and the old
-- image of the first such change of each key. The ids alone identify later transactions: those that began after T have
-- ids above a bound, and threadline_internal.straddling_changes finds the few that began before T and continued after
-- it.

-- Returns the transactions that may straddle T. A transaction without a row in long_transactions made its last change
-- less than 125 ms after it began, so if it straddles T, it began in the 125 ms before T. A transaction with a
-- duration_class began within the time that the class stands for.
CREATE FUNCTION threadline_internal.straddling_transactions(at timestamptz) RETURNS uuid[]
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
AS $function$
BEGIN
  IF NOT isfinite(at) THEN
    RETURN '{}';
  END IF;
  RETURN ARRAY(
    SELECT t.id FROM threadline.audit_transactions AS t
     WHERE t.id >= threadline.first_id_after(at - interval '125 ms') AND t.id < threadline.first_id_after(at)
    UNION
    SELECT l.transaction_id
      FROM generate_series(1, (SELECT max(n.duration_class) FROM threadline_internal.long_transactions AS n))
             AS o (duration_class)
      JOIN threadline_internal.long_transactions AS l
        ON l.duration_class = o.duration_class AND l.occurred_at <= at
       AND l.occurred_at > at - interval '125 ms' * power(2, o.duration_class));
END
$function$;
COMMENT ON FUNCTION threadline_internal.straddling_transactions(timestamptz) IS
  'The transactions that began at or before a time and may have changed something after it: all that did, and possibly '
  'others.';

-- Returns the changes of transactions that straddle T. Such transactions are rare, so the search for them is kept out
-- of the plans of the callers.
CREATE FUNCTION threadline_internal.straddling_changes(table_id integer, at timestamptz)
RETURNS SETOF threadline.audit_changes
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 10 SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
AS $function$
#variable_conflict use_column
DECLARE
  began_by timestamptz := straddling_changes.at;
  candidates uuid[] := threadline_internal.straddling_transactions(straddling_changes.at);
BEGIN
  IF candidates <> '{}' THEN
    RETURN QUERY SELECT c.* FROM threadline.audit_changes AS c
                  WHERE c.table_id = straddling_changes.table_id AND c.transaction_id = ANY (candidates)
                    AND EXISTS (SELECT FROM threadline.audit_changes AS l
                                 WHERE l.transaction_id = c.transaction_id AND l.captured_at > began_by);
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.straddling_changes(integer, timestamptz) IS
  'Changes of a table by transactions that began at or before a time and changed something, in any table, after it.';

-- Returns the time at which a transaction took effect, to read as of it or as of just before.
CREATE FUNCTION threadline.after_transaction(id uuid) RETURNS timestamptz
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
  took_effect timestamptz := coalesce(
    (SELECT max(c.captured_at) FROM threadline.audit_changes AS c WHERE c.transaction_id = after_transaction.id),
    (SELECT t.occurred_at FROM threadline.audit_transactions AS t WHERE t.id = after_transaction.id));
BEGIN
  IF took_effect IS NULL THEN
    RAISE EXCEPTION 'there is no audit transaction %', coalesce(after_transaction.id::text, 'NULL')
      USING ERRCODE = 'no_data_found', CONSTRAINT = 'threadline_past',
        HINT = 'Its id stands in threadline.audit_transactions.';
  END IF;
  RETURN took_effect;
END
$function$;
COMMENT ON FUNCTION threadline.after_transaction(uuid) IS
  'When a transaction took effect: the time of its last change.';

-- Returns the time to read as of just before a transaction.
CREATE FUNCTION threadline.before_transaction(id uuid) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline.after_transaction(before_transaction.id) - interval '1 microsecond'
$function$;
COMMENT ON FUNCTION threadline.before_transaction(uuid) IS 'The last moment before a transaction took effect.';

-- Returns the time up to which the past is final. A running transaction may still commit, and then takes effect at the
-- time of its last change. By then that time may have passed, but it is later than the start of the transaction. A
-- transaction without a transaction id has not written anything yet. The start is unknown for a prepared transaction,
-- for one whose session the owner of this function may not inspect or does not track its activity, and for all
-- transactions that a snapshot or a standby does not see yet. But each got its id after every transaction with a lower
-- id had begun.
CREATE FUNCTION threadline.settled_at() RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
  settled timestamptz := clock_timestamp();  -- before it looks at any transaction
  started timestamptz;
  hidden boolean;
  frozen boolean := pg_is_in_recovery()
    OR current_setting('transaction_isolation') IN ('repeatable read', 'serializable');
  snapshot pg_snapshot;
  unseen xid8;
BEGIN
  PERFORM pg_stat_clear_snapshot();
  SELECT min(a.xact_start) FILTER (WHERE a.backend_xid IS NOT NULL),
         coalesce(bool_or(a.query = '<insufficient privilege>' OR a.backend_xid IS NOT NULL AND a.xact_start IS NULL),
           false)
    INTO started, hidden FROM pg_stat_activity AS a WHERE a.datname = current_database();
  -- Sessions first: a transaction seen in a session may be prepared by now, but not the other way round.
  snapshot := pg_current_snapshot();
  SELECT u.txid INTO unseen FROM (
    SELECT pg_snapshot_xmin(snapshot) AS txid WHERE frozen
    UNION ALL
    SELECT coalesce((SELECT x FROM pg_snapshot_xip(snapshot) AS x WHERE x::xid = p.transaction),
             pg_snapshot_xmax(snapshot))
      FROM pg_prepared_xacts AS p WHERE p.database = current_database()
    UNION ALL
    SELECT x FROM pg_snapshot_xip(snapshot) AS x
     WHERE hidden AND NOT EXISTS (SELECT FROM pg_stat_activity AS a
                                   WHERE a.backend_xid = x::xid AND a.xact_start IS NOT NULL)
    UNION ALL
    SELECT pg_snapshot_xmax(snapshot) WHERE hidden) AS u ORDER BY u.txid LIMIT 1;
  IF unseen IS NOT NULL THEN
    settled := least(settled, coalesce(
      (SELECT t.occurred_at FROM threadline.audit_transactions AS t WHERE t.txid < unseen ORDER BY t.id DESC LIMIT 1),
      (SELECT min(a.capture_since) FROM threadline.audited_tables AS a)));  -- no earlier time can be read
  END IF;
  RETURN least(settled, started) - interval '1 microsecond';
END
$function$;
COMMENT ON FUNCTION threadline.settled_at() IS
  'The time up to which the past is final: no transaction that is still running can take effect at or before this '
  'time.';
