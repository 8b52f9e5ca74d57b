-- Retention: how long changes are kept, and which changes are always kept. Nothing is removed without a policy.

-- Every change of a policy or hold takes this lock, and every step of a purge takes it in shared mode: once a hold is
-- placed, none of the held data is removed.
CREATE FUNCTION threadline_internal.lock_retention() RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.take_lock('retention')
$function$;
COMMENT ON FUNCTION threadline_internal.lock_retention() IS
  'Waits for the running step of a purge, and prevents the next one from starting.';

CREATE FUNCTION threadline_internal.raise_retention_error(message text, hint text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RAISE EXCEPTION '%', message USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_refused',
    HINT = hint;
END
$function$;
COMMENT ON FUNCTION threadline_internal.raise_retention_error(text, text) IS
  'Raises the error for an invalid policy, hold or purge.';

-- A statement that waited for a lock must see what was committed meanwhile.
CREATE FUNCTION threadline_internal.require_read_committed() RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
    PERFORM threadline_internal.raise_retention_error(
      format('at the isolation level %s, a hold that is placed meanwhile would not be seen',
             current_setting('transaction_isolation')),
      'Work on the audit log at READ COMMITTED: SET default_transaction_isolation = ''read committed''.');
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.require_read_committed() IS
  'Raises an error unless each statement of the transaction has its own snapshot.';

CREATE FUNCTION threadline_internal.retained_table(relation regclass) RETURNS integer
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  id integer := (SELECT a.id FROM threadline_internal.audited_table(retained_table.relation) AS a);
BEGIN
  IF id IS NULL THEN
    PERFORM threadline_internal.raise_retention_error(format('%s is not audited', relation),
      'Only what is or was audited has a record to keep.');
  END IF;
  RETURN id;
END
$function$;
COMMENT ON FUNCTION threadline_internal.retained_table(regclass) IS
  'The audited_tables row of a table that is or was audited.';

CREATE FUNCTION threadline.set_retention(keep interval, relation regclass DEFAULT NULL,
  whole_months boolean DEFAULT true) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  -- To PostgreSQL, a month minus 29 days is one day, and such an interval can reach into the future.
  IF set_retention.keep < '1 day' OR now() - set_retention.keep > now() - interval '1 day' THEN
    PERFORM threadline_internal.raise_retention_error(format('changes cannot be kept for %s only', set_retention.keep),
      'A day is the least.');
  END IF;
  PERFORM threadline_internal.lock_retention();
  INSERT INTO threadline.retention_policies (table_id, keep, whole_months, set_at, set_by, actor_ref)
  VALUES (CASE WHEN relation IS NULL THEN 0 ELSE threadline_internal.retained_table(relation) END, set_retention.keep,
    set_retention.whole_months,
    now(), current_user, threadline_internal.read_actor(nullif(current_setting('threadline.actor_ref', true), '')))
  ON CONFLICT (table_id) DO UPDATE
    SET keep = excluded.keep, whole_months = excluded.whole_months, set_at = excluded.set_at, set_by = excluded.set_by,
      actor_ref = excluded.actor_ref;
END
$function$;
COMMENT ON FUNCTION threadline.set_retention(interval, regclass, boolean) IS
  'Sets how long changes of a table, or of all tables without their own policy, are kept; NULL keeps them forever. '
  'With whole months (UTC), partitions can be dropped and changes are kept for up to a month longer; otherwise changes '
  'expire to the day. Nothing is removed before a purge runs.';

CREATE FUNCTION threadline.unset_retention(relation regclass DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  PERFORM threadline_internal.lock_retention();
  DELETE FROM threadline.retention_policies AS p
   WHERE p.table_id = CASE WHEN relation IS NULL THEN 0 ELSE threadline_internal.retained_table(relation) END;
  RETURN FOUND;
END
$function$;
COMMENT ON FUNCTION threadline.unset_retention(regclass) IS
  'Removes a policy; returns false if there was none. A table without a policy uses the policy for all tables. If that '
  'is missing too, its changes are kept forever.';

-- The policy of the table takes precedence over the policy for all tables.
CREATE FUNCTION threadline_internal.retention_policy(table_id integer) RETURNS SETOF threadline.retention_policies
LANGUAGE sql STABLE ROWS 1 SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT p.* FROM threadline.retention_policies AS p WHERE p.table_id IN (retention_policy.table_id, 0)
    ORDER BY p.table_id DESC LIMIT 1
$function$;
COMMENT ON FUNCTION threadline_internal.retention_policy(integer) IS
  'The policy that applies to a table, if there is one.';
