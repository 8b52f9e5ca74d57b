-- Returns the row of a table. A table with the name of a dropped one, recreated or restored, continues its history. One
-- with another primary key is a different table.
CREATE FUNCTION threadline_internal.find_audited(relation regclass) RETURNS threadline.audited_tables
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  found_table threadline.audited_tables;
BEGIN
  SELECT t.* INTO found_table FROM threadline_internal.audited_table(find_audited.relation) AS t;
  IF NOT FOUND THEN
    WITH namesake AS MATERIALIZED (
      SELECT t.*
        FROM threadline.audited_tables AS t
        JOIN pg_class AS c ON c.relname = t.table_name
        JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = t.table_schema
       WHERE c.oid = find_audited.relation
    )
    SELECT t.* INTO found_table
      FROM namesake AS t
     CROSS JOIN threadline_internal.primary_key(find_audited.relation) AS k
     WHERE t.key_columns = k.columns AND t.key_type IS NOT DISTINCT FROM k.key_type
       AND NOT EXISTS (SELECT FROM pg_class WHERE oid = t.relation)
     ORDER BY t.capture_ended_at IS NOT NULL, t.id DESC LIMIT 1;
  END IF;
  RETURN found_table;
END
$function$;
COMMENT ON FUNCTION threadline_internal.find_audited(regclass) IS
  'The audited_tables row that a table has or continues; NULL for a table that was never audited.';

-- Separates the rows of dropped tables from other tables: pg_dump writes the OID of a dropped table, which may belong
-- to any other table where the dump is restored. These rows get OIDs from the end of the range, which no table has.
CREATE FUNCTION threadline_internal.forget_dropped_tables() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  candidate threadline.audited_tables;
BEGIN
  FOR candidate IN
    SELECT t.* FROM threadline.audited_tables AS t
     WHERE t.relation::oid <> (4294967295 - t.id)::oid
       -- This condition settles nearly all rows, and is the only one evaluated for them: every call evaluates it for
       -- each table.
       AND NOT EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                        WHERE c.oid = t.relation AND (n.nspname, c.relname) = (t.table_schema, t.table_name)) LOOP
    CONTINUE WHEN threadline_internal.is_table_of(candidate);
    UPDATE threadline.audited_tables AS t SET relation = (4294967295 - t.id)::oid WHERE t.id = candidate.id;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.forget_dropped_tables() IS
  'Gives dropped tables OIDs that no other table has, in this database or where it is restored.';

-- Ends the rows from the audit log of another database for tables that this one audits too: a dump was loaded into an
-- audit log in use. Their changes are kept under the names of the tables.
CREATE FUNCTION threadline_internal.end_foreign_tables() RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  UPDATE threadline.audited_tables AS t
     SET relation = (4294967295 - t.id)::oid, capture_ended_at = coalesce(t.capture_ended_at, clock_timestamp())
   WHERE threadline_internal.is_audited_twice(t)
$function$;
COMMENT ON FUNCTION threadline_internal.end_foreign_tables() IS
  'Ends the rows from the audit log of another database for tables that this one audits.';

-- Returns the id for a table that was never audited, even if the sequence is behind. Call it while holding the
-- definitions lock.
CREATE FUNCTION threadline_internal.next_table_id() RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  sequence regclass := pg_get_serial_sequence('threadline.audited_tables', 'id');
  next_id integer := nextval(sequence);
BEGIN
  IF EXISTS (SELECT FROM threadline.audited_tables AS t WHERE t.id = next_id) THEN
    PERFORM setval(sequence, (SELECT max(t.id) FROM threadline.audited_tables AS t));
    next_id := nextval(sequence);
  END IF;
  RETURN next_id;
END
$function$;
COMMENT ON FUNCTION threadline_internal.next_table_id() IS 'An id for a table that was never audited.';

-- Stores the description of the capture of a table.
CREATE FUNCTION threadline_internal.store_audited(audited threadline.audited_tables) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  INSERT INTO threadline.audited_tables OVERRIDING SYSTEM VALUE SELECT audited.*
  ON CONFLICT (id) DO UPDATE
     SET relation = EXCLUDED.relation, table_schema = EXCLUDED.table_schema, table_name = EXCLUDED.table_name,
         key_columns = EXCLUDED.key_columns, key_type = EXCLUDED.key_type,
         excluded_columns = EXCLUDED.excluded_columns, masked_columns = EXCLUDED.masked_columns,
         hashed_columns = EXCLUDED.hashed_columns,
         granularity = EXCLUDED.granularity, requested_granularity = EXCLUDED.requested_granularity,
         definition_version = EXCLUDED.definition_version, definition = EXCLUDED.definition,
         definition_id = EXCLUDED.definition_id, first_definition_id = EXCLUDED.first_definition_id,
         older_definitions = EXCLUDED.older_definitions, capture_since = EXCLUDED.capture_since, gap = EXCLUDED.gap,
         catalog_versions = EXCLUDED.catalog_versions, capture_ended_at = NULL
$function$;
COMMENT ON FUNCTION threadline_internal.store_audited(threadline.audited_tables) IS
  'Adds a row to audited_tables, or updates it.';

-- Starts capture of a table. Writers wait while the table is locked, so slow work comes before: the functions are
-- created first, for a definition that must be the same once the lock is held. Nobody else sees them until everything
-- is done. More than 60 lines: it is one course of steps.
CREATE FUNCTION threadline.audit_table(relation regclass, mask text[] DEFAULT '{}', exclude text[] DEFAULT '{}',
  granularity text DEFAULT NULL, unredact text[] DEFAULT '{}', hash_key text[] DEFAULT '{}') RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
SET standard_conforming_strings = on SET jit = off
AS $function$
DECLARE
  before threadline.audited_tables;
  described record;
  audited threadline.audited_tables;
  defined threadline.audited_tables;
  gap text;  -- why changes may have gone unrecorded since the last refresh
  new_definition_id integer;
  unredacted text[];
  attempts integer := 0;
BEGIN
  -- Also when there is nothing else to do: an application that installs on every start never runs out of partitions.
  PERFORM threadline_internal.create_partitions();
  -- One installer at a time, which also prevents two processes that start together from replacing the same function.
  PERFORM threadline_internal.take_lock('definitions');
  mask := coalesce((SELECT array_agg(DISTINCT m ORDER BY m) FROM unnest(mask) AS m), '{}');
  exclude := coalesce((SELECT array_agg(DISTINCT e ORDER BY e) FROM unnest(exclude) AS e), '{}');
  hash_key := coalesce((SELECT array_agg(DISTINCT h ORDER BY h) FROM unnest(hash_key) AS h), '{}');
  PERFORM threadline_internal.end_foreign_tables();
  PERFORM threadline_internal.forget_dropped_tables();
  PERFORM threadline_internal.drop_abandoned_functions();
  before := threadline_internal.find_audited(relation);
  gap := threadline_internal.capture_gap(relation, before);

  LOOP
    attempts := attempts + 1;
    IF attempts > 9 THEN
      PERFORM threadline_internal.raise_audit_error(relation,
        'it was altered again and again while its capture was defined',
        'Call this again when nobody alters it.');
    END IF;
    PERFORM threadline_internal.check_auditable(relation, mask, exclude, granularity, hash_key);
    -- Columns found to be redacted stay redacted: the code below registers a restored table, and discards its earlier
    -- state.
    described := threadline_internal.describe_capture(relation, mask || coalesce(defined.masked_columns, '{}'),
      exclude || coalesce(defined.excluded_columns, '{}'), granularity, coalesce(unredact, '{}'), before,
      hash_key || coalesce(defined.hashed_columns, '{}'));
    audited := described.audited;
    unredacted := coalesce(unredacted, described.unredacted);
    gap := coalesce(gap, threadline_internal.hash_gap(audited, before), threadline_internal.trigger_gap(before));
    IF gap IS NOT NULL OR audited.definition_id IS NULL
      OR EXISTS (SELECT FROM threadline_internal.rewritten_columns(before)) THEN
      new_definition_id := coalesce(new_definition_id, threadline_internal.next_definition_id());
      audited.definition_id := new_definition_id;
    END IF;
    IF gap IS NOT NULL THEN
      audited.first_definition_id := audited.definition_id;
      audited.gap := nullif(gap, '');
    END IF;
    PERFORM threadline_internal.renumber_definitions(audited);
    audited.older_definitions := threadline_internal.read_older(audited, before);
    IF gap IS NULL THEN
      gap := threadline_internal.key_gap(audited, before);
      CONTINUE WHEN gap IS NOT NULL;
    END IF;
    -- Having nothing to do is the common case, and takes no lock on the table.
    IF defined IS NULL AND audited IS NOT DISTINCT FROM before THEN
      RETURN before.id;
    END IF;
    audited.id := coalesce(before.id, defined.id, threadline_internal.next_table_id());
    EXIT WHEN audited IS NOT DISTINCT FROM defined;
    IF audited.hashed_columns <> '{}' THEN
      PERFORM threadline_internal.create_key_secret(audited.id);
    END IF;
    PERFORM threadline_internal.add_key_type(audited.key_type);
    PERFORM threadline_internal.define_capture_functions(audited);
    PERFORM threadline_internal.define_reading_functions(audited);
    PERFORM threadline_internal.lock_table(relation, 'SHARE ROW EXCLUSIVE');
    defined := audited;
  END LOOP;

  -- The lock is held: every later write fires the triggers.
  IF gap IS NOT NULL THEN
    audited.capture_since := clock_timestamp();
  END IF;
  PERFORM threadline_internal.store_audited(audited);
  PERFORM threadline_internal.store_definition(audited);
  PERFORM threadline_internal.record_unredaction(audited, unredacted);
  IF before.id IS NOT NULL AND (threadline_internal.key_changed(before, audited)
      OR threadline_internal.hash_gap(audited, before) IS NOT NULL) THEN
    PERFORM threadline_internal.change_key(audited, before);
  END IF;
  UPDATE threadline.audited_tables AS t SET capture_ended_at = clock_timestamp()
   WHERE (t.table_schema, t.table_name) = (audited.table_schema, audited.table_name) AND t.id <> audited.id
     AND t.capture_ended_at IS NULL AND NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.relation);
  PERFORM threadline_internal.define_triggers(audited);
  PERFORM threadline_internal.store_catalog_versions(audited);
  RETURN audited.id;
END
$function$;
COMMENT ON FUNCTION threadline.audit_table(regclass, text[], text[], text, text[], text[]) IS
  'Starts auditing a table, or updates its capture to match the table and the arguments; returns its id in '
  'audited_tables. Masked columns are recorded as [REDACTED], excluded columns are not recorded, and key columns in '
  'hash_key are recorded as a keyed hash. A column that was ever redacted stays redacted until unredact names it. '
  'granularity is row or statement, or chosen if NULL.';
