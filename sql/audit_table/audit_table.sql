-- Finds what is known of a table. A table of the same name that was dropped and created again, or restored, continues
-- its history.
CREATE FUNCTION threadline_internal.find_audited(relation regclass) RETURNS threadline.audited_tables
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  found_table threadline.audited_tables;
BEGIN
  SELECT * INTO found_table FROM threadline.audited_tables AS t WHERE t.relation = find_audited.relation;
  IF NOT FOUND THEN
    SELECT t.* INTO found_table
      FROM threadline.audited_tables AS t
      JOIN pg_class AS c ON c.oid = find_audited.relation
      JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE t.table_schema = n.nspname AND t.table_name = c.relname
       AND NOT EXISTS (SELECT FROM pg_class WHERE oid = t.relation);
  END IF;
  RETURN found_table;
END
$function$;
COMMENT ON FUNCTION threadline_internal.find_audited(regclass) IS
  'The row of audited_tables that a table has or continues; NULL for a table that was never audited.';

-- Keeps rows of audited_tables whose table is gone apart from other tables: pg_dump writes its OID, which is that of
-- any other table where the dump is restored. No table has the OIDs from the end, so many are there.
CREATE FUNCTION threadline_internal.forget_dropped_tables() RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  UPDATE threadline.audited_tables AS t SET relation = (4294967295 - t.id)::oid
   WHERE t.relation::oid <> (4294967295 - t.id)::oid
     -- Nearly all go by this, which costs least.
     AND NOT EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                      WHERE c.oid = t.relation AND (n.nspname, c.relname) = (t.table_schema, t.table_name))
     AND (NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.relation)
          OR NOT threadline_internal.is_described(t.relation, t.definition)
             AND NOT EXISTS (SELECT FROM pg_trigger AS g
                              WHERE g.tgrelid = t.relation
                                AND g.tgfoid = to_regproc(format('threadline_internal.capture_%s_insert', t.id))))
$function$;
COMMENT ON FUNCTION threadline_internal.forget_dropped_tables() IS
  'Gives tables that are gone OIDs that no other table has, in this database or where it is restored.';

-- Works out which columns are masked and which excluded: all that ever were, and those asked for now, but for those
-- whose redaction is to end. A table that takes the name of an audited one takes over its redaction.
CREATE FUNCTION threadline_internal.next_redaction(relation regclass, mask text[], exclude text[], unredact text[],
  before threadline.audited_tables, OUT masked text[], OUT excluded text[], OUT unredacted text[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  known threadline.audited_tables;
  found_masked text[] := '{}';
  found_excluded text[] := '{}';
  was_excluded text[] := '{}';
BEGIN
  FOR known IN
    SELECT (before).* WHERE before.id IS NOT NULL
    UNION ALL
    SELECT t.* FROM threadline.audited_tables AS t
      JOIN pg_class AS c ON c.oid = next_redaction.relation JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE before.id IS NULL AND ((t.table_schema, t.table_name) = (n.nspname, c.relname)
                                  OR t.definition -> 'names' ? format('%I.%I', n.nspname, c.relname)) LOOP
    known.relation := relation;
    was_excluded := was_excluded || known.excluded_columns;
    SELECT found_masked || known.masked_columns || coalesce(array_agg(r.name) FILTER (WHERE r.is_masked), '{}'),
           found_excluded || coalesce(array_agg(r.name) FILTER (WHERE NOT r.is_masked), '{}')
      INTO found_masked, found_excluded FROM threadline_internal.redacted_columns(known) AS r;
  END LOOP;
  WITH kept AS (
    SELECT unnest(found_excluded || was_excluded) AS name, false AS is_masked
    UNION ALL SELECT unnest(found_masked), true
  ), wanted AS (
    SELECT k.name, k.is_masked FROM kept AS k WHERE k.name <> ALL (unredact)
    UNION ALL SELECT unnest(exclude), false
    UNION ALL SELECT unnest(mask), true
  ), redacted AS (
    SELECT w.name, bool_and(w.is_masked) AS is_masked FROM wanted AS w GROUP BY w.name
  )
  SELECT coalesce(array_agg(r.name ORDER BY r.name) FILTER (WHERE r.is_masked), '{}'),
         coalesce(array_agg(r.name ORDER BY r.name) FILTER (WHERE NOT r.is_masked), '{}'),
         ARRAY(SELECT DISTINCT k.name FROM kept AS k
                WHERE k.name = ANY (unredact) AND k.name <> ALL (exclude)
                  AND NOT (k.name = ANY (mask) AND k.name <> ALL (was_excluded)))
    INTO masked, excluded, unredacted
    FROM redacted AS r;
END
$function$;
COMMENT ON FUNCTION
  threadline_internal.next_redaction(regclass, text[], text[], text[], threadline.audited_tables) IS
  'The columns of a table to mask and to exclude, and those whose redaction is weakened.';

-- Describes the capture of a table as it is asked for now, following on what it was before.
CREATE FUNCTION threadline_internal.describe_capture(relation regclass, mask text[], exclude text[], granularity text,
  unredact text[], before threadline.audited_tables, OUT audited threadline.audited_tables, OUT unredacted text[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  SELECT n.nspname, c.relname, k.columns, k.key_type
    INTO audited.table_schema, audited.table_name, audited.key_columns, audited.key_type
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
   CROSS JOIN threadline_internal.primary_key(relation) AS k
   WHERE c.oid = relation;
  audited.id := before.id;
  audited.relation := relation;
  SELECT r.masked, r.excluded, r.unredacted INTO audited.masked_columns, audited.excluded_columns, unredacted
    FROM threadline_internal.next_redaction(relation, mask, exclude, unredact, before) AS r;
  audited.requested_granularity := granularity;
  audited.granularity := coalesce(granularity, threadline_internal.granularity_for(relation));
  audited.definition_version := threadline_internal.definition_version();
  audited.definition := threadline_internal.describe_table(relation, before.definition,
    audited.masked_columns || audited.excluded_columns);
  -- A table that takes a name that this one had takes over its redaction.
  IF (before.table_schema, before.table_name) <> (audited.table_schema, audited.table_name) THEN
    audited.definition := jsonb_set(audited.definition, '{names}',
      audited.definition -> 'names' || to_jsonb(format('%I.%I', before.table_schema, before.table_name)));
  END IF;
  -- How often the redaction of a column was weakened: more than once, and two definitions of the table disagree.
  audited.definition := jsonb_set(audited.definition, '{unredacted}', audited.definition -> 'unredacted' || (
    SELECT coalesce(jsonb_object_agg(u, coalesce((audited.definition #>> ARRAY['unredacted', u])::integer, 0) + 1),
                    '{}')
      FROM unnest(unredacted) AS u));
  audited.capture_since := before.capture_since;
  audited.purged_before := before.purged_before;
  PERFORM threadline_internal.check_key(audited);
END
$function$;
COMMENT ON FUNCTION
  threadline_internal.describe_capture(regclass, text[], text[], text, text[], threadline.audited_tables) IS
  'The row of audited_tables that a table is to have, and the columns whose redaction is weakened.';

-- Records that the redaction of columns was weakened.
CREATE FUNCTION threadline_internal.record_unredaction(audited threadline.audited_tables, unredacted text[])
RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF unredacted <> '{}' THEN
    PERFORM threadline_internal.insert_action('threadline.redaction_weakened',
      meta => jsonb_build_object('table', format('%I.%I', audited.table_schema, audited.table_name),
                                 'columns', unredacted),
      actor_ref => CASE WHEN threadline_internal.read_actor(current_setting('threadline.actor_ref', true)) IS NULL
        THEN jsonb_build_object('type', 'system', 'id', session_user) END);
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.record_unredaction(threadline.audited_tables, text[]) IS
  'Records the action threadline.redaction_weakened, unless no column is named.';

-- Stores the description of the capture of a table.
CREATE FUNCTION threadline_internal.store_audited(audited threadline.audited_tables) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  INSERT INTO threadline.audited_tables OVERRIDING SYSTEM VALUE SELECT audited.*
  ON CONFLICT (id) DO UPDATE
     SET relation = EXCLUDED.relation, table_schema = EXCLUDED.table_schema, table_name = EXCLUDED.table_name,
         key_columns = EXCLUDED.key_columns, key_type = EXCLUDED.key_type,
         excluded_columns = EXCLUDED.excluded_columns, masked_columns = EXCLUDED.masked_columns,
         granularity = EXCLUDED.granularity, requested_granularity = EXCLUDED.requested_granularity,
         definition_version = EXCLUDED.definition_version, definition = EXCLUDED.definition,
         capture_since = EXCLUDED.capture_since, capture_ended_at = NULL
$function$;
COMMENT ON FUNCTION threadline_internal.store_audited(threadline.audited_tables) IS
  'Adds a row to audited_tables, or updates it.';

-- Locks a table so that nobody writes it, for moments at a time: whoever waits for a lock makes all wait that come
-- after.
CREATE FUNCTION threadline_internal.lock_table(relation regclass, mode text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF NOT threadline_internal.lock_or_give_up(format('LOCK TABLE %s IN %s MODE', relation, mode),
    clock_timestamp() + threadline_internal.patience()) THEN
    RAISE EXCEPTION 'could not lock % within %', relation, threadline_internal.patience()
      USING ERRCODE = 'lock_not_available', CONSTRAINT = 'threadline_audit_table', TABLE = relation::text,
        HINT = 'A transaction that has written or locked it is open. Call this again when it has ended; lock_timeout '
          'says how long to try.';
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.lock_table(regclass, text) IS
  'Locks a table, trying for moments at a time; raises an error when patience is at an end.';

-- Tells how long to try to lock a table: as long as the session would wait for any lock.
CREATE FUNCTION threadline_internal.patience() RETURNS interval
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(nullif(current_setting('lock_timeout')::interval, '0'), '10 s')
$function$;
COMMENT ON FUNCTION threadline_internal.patience() IS 'lock_timeout of the session, or 10 s where there is none.';

-- Puts a table under capture. Writers wait while the table is locked, so what takes long comes before: the functions
-- are written first, for a definition that has to be the same behind the lock. Nobody else sees them until all is done.
CREATE FUNCTION threadline.audit_table(relation regclass, mask text[] DEFAULT '{}', exclude text[] DEFAULT '{}',
  granularity text DEFAULT NULL, unredact text[] DEFAULT '{}') RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
SET standard_conforming_strings = on
AS $function$
DECLARE
  before threadline.audited_tables;
  described record;
  audited threadline.audited_tables;
  defined threadline.audited_tables;
  captured boolean;  -- without a gap since capture_since
BEGIN
  -- Also when there is nothing else to do: an application that installs at every start never runs out of partitions.
  PERFORM threadline_internal.create_partitions();
  -- One installer at a time; it also keeps two processes that start together from replacing the same function.
  PERFORM threadline_internal.take_lock('definitions');
  mask := coalesce((SELECT array_agg(DISTINCT m ORDER BY m) FROM unnest(mask) AS m), '{}');
  exclude := coalesce((SELECT array_agg(DISTINCT e ORDER BY e) FROM unnest(exclude) AS e), '{}');
  PERFORM threadline_internal.forget_dropped_tables();
  before := threadline_internal.find_audited(relation);
  captured := coalesce(before.relation = relation, false) AND before.capture_ended_at IS NULL
    AND NOT EXISTS (SELECT FROM threadline_internal.health_capture(before));

  LOOP
    PERFORM threadline_internal.check_auditable(relation, mask, exclude, granularity);
    described := threadline_internal.describe_capture(relation, mask, exclude, granularity, coalesce(unredact, '{}'),
      before);
    audited := described.audited;
    -- Nothing to do is the common case, and takes no lock on the table.
    IF captured AND defined IS NULL AND audited IS NOT DISTINCT FROM before THEN
      RETURN before.id;
    END IF;
    audited.id := coalesce(before.id, defined.id, nextval(pg_get_serial_sequence('threadline.audited_tables', 'id')));
    EXIT WHEN audited IS NOT DISTINCT FROM defined;
    PERFORM threadline_internal.define_capture_functions(audited);
    PERFORM threadline_internal.define_reading_functions(audited);
    PERFORM threadline_internal.lock_table(relation, 'SHARE ROW EXCLUSIVE');
    defined := audited;
  END LOOP;

  -- Behind the lock: whoever writes from now on fires the triggers.
  IF NOT captured OR EXISTS (SELECT FROM threadline_internal.wrong_triggers(before)) THEN
    audited.capture_since := clock_timestamp();
  END IF;
  PERFORM threadline_internal.store_audited(audited);
  PERFORM threadline_internal.record_unredaction(audited, described.unredacted);
  IF before.id IS NOT NULL AND threadline_internal.key_changed(before, audited) THEN
    PERFORM threadline_internal.change_key(audited);
  END IF;
  PERFORM threadline_internal.define_triggers(audited);
  RETURN audited.id;
END
$function$;
COMMENT ON FUNCTION threadline.audit_table(regclass, text[], text[], text, text[]) IS
  'Puts a table under capture, or brings its capture in line with the table and the arguments; returns its id in '
  'audited_tables. Masked columns are recorded as [REDACTED], excluded ones not at all; a column that was ever masked '
  'or excluded stays so until unredact names it. granularity is row, statement, or chosen when NULL.';
