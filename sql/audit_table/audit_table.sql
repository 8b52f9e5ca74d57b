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

-- Describes the capture of a table as it is asked for now, following on what it was before.
CREATE FUNCTION threadline_internal.describe_capture(relation regclass, mask text[], exclude text[], granularity text,
  before threadline.audited_tables) RETURNS threadline.audited_tables
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  audited threadline.audited_tables;
BEGIN
  SELECT n.nspname, c.relname, k.columns, k.key_type
    INTO audited.table_schema, audited.table_name, audited.key_columns, audited.key_type
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
   CROSS JOIN threadline_internal.primary_key(relation) AS k
   WHERE c.oid = relation;
  audited.id := before.id;
  audited.relation := relation;
  audited.excluded_columns := exclude;
  audited.masked_columns := mask;
  audited.requested_granularity := granularity;
  audited.granularity := coalesce(granularity, threadline_internal.granularity_for(relation));
  audited.definition_version := threadline_internal.definition_version();
  audited.definition := threadline_internal.describe_table(relation, before.definition);
  audited.capture_since := before.capture_since;
  audited.purged_before := before.purged_before;
  RETURN audited;
END
$function$;
COMMENT ON FUNCTION
  threadline_internal.describe_capture(regclass, text[], text[], text, threadline.audited_tables) IS
  'The row of audited_tables that a table is to have.';

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

-- Puts a table under capture.
CREATE FUNCTION threadline.audit_table(relation regclass, mask text[] DEFAULT '{}', exclude text[] DEFAULT '{}',
  granularity text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  before threadline.audited_tables;
  audited threadline.audited_tables;
  locked boolean;
  captured boolean;  -- without a gap since capture_since
BEGIN
  -- One installer at a time; it also keeps two processes that start together from replacing the same function.
  PERFORM pg_advisory_xact_lock(hashtextextended('threadline', 0));
  -- Also when there is nothing else to do: an application that installs at every start never runs out of partitions.
  PERFORM threadline_internal.create_partitions();
  mask := coalesce((SELECT array_agg(DISTINCT m ORDER BY m) FROM unnest(mask) AS m), '{}');
  exclude := coalesce((SELECT array_agg(DISTINCT e ORDER BY e) FROM unnest(exclude) AS e), '{}');
  before := threadline_internal.find_audited(relation);

  FOREACH locked IN ARRAY '{false, true}'::boolean[] LOOP
    -- What was read without the lock may be another definition by the time the lock is there.
    IF locked THEN
      EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', relation);
    END IF;
    PERFORM threadline_internal.check_auditable(relation, mask, exclude, granularity);
    audited := threadline_internal.describe_capture(relation, mask, exclude, granularity, before);
    captured := CASE WHEN before.relation = relation AND before.capture_ended_at IS NULL
      THEN NOT EXISTS (SELECT FROM threadline_internal.health_capture(before)) ELSE false END;
    -- Nothing to do is the common case, and takes no lock on the table.
    IF captured AND NOT locked AND audited IS NOT DISTINCT FROM before THEN
      RETURN before.id;
    END IF;
  END LOOP;

  IF captured IS NOT TRUE THEN
    -- Behind the lock: whoever writes from now on fires the triggers.
    audited.capture_since := clock_timestamp();
  END IF;
  IF before.id IS NULL THEN
    audited.id := nextval(pg_get_serial_sequence('threadline.audited_tables', 'id'));
  END IF;
  PERFORM threadline_internal.store_audited(audited);
  IF before.id IS NOT NULL AND threadline_internal.key_changed(before, audited) THEN
    PERFORM threadline_internal.change_key(audited);
  END IF;
  PERFORM threadline_internal.define_capture_functions(audited);
  PERFORM threadline_internal.define_triggers(audited);
  PERFORM threadline_internal.define_reading_functions(audited);
  RETURN audited.id;
END
$function$;
COMMENT ON FUNCTION threadline.audit_table(regclass, text[], text[], text) IS
  'Puts a table under capture, or brings its capture in line with the table and the arguments; returns its id in '
  'audited_tables. Masked columns are recorded as [REDACTED], excluded ones not at all; granularity is row, statement, '
  'or chosen when NULL.';
