-- Retention: how long changes are kept, and which of them whatever happens. Nothing is removed unless a policy says so.

-- Held by whoever changes a policy or a hold, and shared by each step of a purge: once a hold is placed, nothing of it
-- goes.
CREATE FUNCTION threadline_internal.lock_retention() RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.take_lock('retention')
$function$;
COMMENT ON FUNCTION threadline_internal.lock_retention() IS
  'Waits for the step of a purge that is under way, and keeps the next from beginning.';

CREATE FUNCTION threadline_internal.raise_retention_error(message text, hint text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RAISE EXCEPTION '%', message USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_refused',
    HINT = hint;
END
$function$;
COMMENT ON FUNCTION threadline_internal.raise_retention_error(text, text) IS
  'Raises the error of a policy, a hold or a purge that cannot be.';

-- What waited for a lock must see what was done meanwhile.
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
  'Raises an error unless each statement of the transaction has a snapshot of its own.';

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
  -- A month less 29 days is a day to PostgreSQL, and can be in the future.
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
  'Says how long changes are kept, of one table or of all that have no policy of their own; NULL keeps them for '
  'ever. By whole months (UTC), partitions can be dropped and changes are kept for up to a month longer; else they '
  'go to the day. Nothing is removed before a purge runs.';

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
  'Takes a policy back: that of a table, which then has that of all, or that of all, which then are kept for ever; '
  'returns false if there was none.';

-- Its own goes before that of all.
CREATE FUNCTION threadline_internal.retention_policy(table_id integer) RETURNS SETOF threadline.retention_policies
LANGUAGE sql STABLE ROWS 1 SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT p.* FROM threadline.retention_policies AS p WHERE p.table_id IN (retention_policy.table_id, 0)
    ORDER BY p.table_id DESC LIMIT 1
$function$;
COMMENT ON FUNCTION threadline_internal.retention_policy(integer) IS
  'The policy that counts for a table, if there is one.';
