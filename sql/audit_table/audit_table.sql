-- The public face of capture: audit_table, unaudit_table, refresh_audited_tables, grant_reader.

CREATE FUNCTION threadline.audit_table(relation regclass, mask text[] DEFAULT '{}', exclude text[] DEFAULT '{}',
  granularity text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  before threadline.audited_tables;
  audited threadline.audited_tables;
  key record;
  locked boolean;
  captured boolean;  -- without a gap since capture_since
BEGIN
  -- One installer at a time; it also keeps two processes that start together from replacing the same function.
  PERFORM pg_advisory_xact_lock(hashtextextended('threadline', 0));
  -- Also when there is nothing else to do: an application that installs at every start never runs out of partitions.
  PERFORM threadline_internal.create_partitions();
  mask := coalesce((SELECT array_agg(DISTINCT m ORDER BY m) FROM unnest(mask) AS m), '{}');
  exclude := coalesce((SELECT array_agg(DISTINCT e ORDER BY e) FROM unnest(exclude) AS e), '{}');
  SELECT * INTO before FROM threadline.audited_tables AS t WHERE t.relation = audit_table.relation;
  IF NOT FOUND THEN
    -- A table of the same name that was dropped and created again, or restored, continues its history.
    SELECT t.* INTO before FROM threadline.audited_tables AS t JOIN pg_class AS c ON c.oid = audit_table.relation
      JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE t.table_schema = n.nspname AND t.table_name = c.relname
       AND NOT EXISTS (SELECT FROM pg_class WHERE oid = t.relation);
  END IF;

  FOREACH locked IN ARRAY '{false, true}'::boolean[] LOOP
    -- What was read without the lock may be another definition by the time the lock is there.
    IF locked THEN
      EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', relation);
    END IF;
    PERFORM threadline_internal.check_auditable(relation, mask, exclude, granularity);
    SELECT * INTO key FROM threadline_internal.primary_key(relation);
    SELECT relation, n.nspname, c.relname INTO audited.relation, audited.table_schema, audited.table_name
      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = relation;
    audited.id := before.id;
    audited.key_columns := key.columns;
    audited.key_type := key.key_type;
    audited.excluded_columns := exclude;
    audited.masked_columns := mask;
    audited.requested_granularity := granularity;
    audited.granularity := coalesce(granularity, threadline_internal.granularity_for(relation));
    audited.definition_version := threadline_internal.definition_version();
    audited.definition := threadline_internal.describe_table(relation, before.definition);
    captured := CASE WHEN before.relation = relation AND before.capture_ended_at IS NULL
      THEN NOT EXISTS (SELECT FROM threadline_internal.health_capture(before)) ELSE false END;
    audited.capture_since := before.capture_since;
    audited.purged_before := before.purged_before;
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
    INSERT INTO threadline.audited_tables OVERRIDING SYSTEM VALUE SELECT audited.*;
  ELSE
    UPDATE threadline.audited_tables AS t
       SET relation = audited.relation, table_schema = audited.table_schema, table_name = audited.table_name,
           key_columns = audited.key_columns, key_type = audited.key_type,
           excluded_columns = audited.excluded_columns, masked_columns = audited.masked_columns,
           granularity = audited.granularity, requested_granularity = audited.requested_granularity,
           definition_version = audited.definition_version, definition = audited.definition,
           capture_since = audited.capture_since, capture_ended_at = NULL
     WHERE t.id = audited.id;
    IF audited.key_type IS NOT NULL AND (audited.key_type IS DISTINCT FROM before.key_type
      OR (SELECT array_agg(audited.definition #> ARRAY['columns', c, 'number'] ORDER BY p) FROM unnest(audited.key_columns) WITH ORDINALITY AS k (c, p))
        IS DISTINCT FROM (SELECT array_agg(before.definition #> ARRAY['columns', c, 'number'] ORDER BY p) FROM unnest(before.key_columns) WITH ORDINALITY AS k (c, p))
      OR EXISTS (SELECT FROM threadline.audit_changes AS c WHERE c.table_id = audited.id AND c.key_text IS NOT NULL
                    AND audited.key_type <> 'text')
      -- Key columns exchanged names with others: until now their keys were taken from the wrong one.
      OR EXISTS (SELECT FROM jsonb_array_elements(audited.definition -> 'renames') WITH ORDINALITY AS s (step, position)
                  WHERE position > jsonb_array_length(before.definition -> 'renames')
                    AND (SELECT count(*) FROM jsonb_object_keys(step -> 'names')) > 1
                    AND step -> 'names' ?| before.key_columns)) THEN
      -- A hold of a row goes by its key, and must not come to be of none.
      IF EXISTS (SELECT FROM threadline.legal_holds AS h WHERE h.table_id = audited.id AND h.row_key IS NOT NULL) THEN
        PERFORM threadline_internal.raise_audit_error(relation, 'rows of it are under legal hold by the primary key that it had',
          'Hold the whole table, release its rows, call this again, hold the rows by their new key, and release the table.');
      END IF;
      PERFORM threadline_internal.rewrite_keys(audited);
      -- Changes that have no key of the new kind cannot be told to be of one row, so the past before now is unknown.
      IF EXISTS (SELECT FROM threadline.audit_changes AS c
                  WHERE c.table_id = audited.id AND c.captured_at >= audited.capture_since
                    AND CASE WHEN audited.key_type <> 'text' THEN num_nonnulls(c.key_integer, c.key_bigint, c.key_uuid) = 0
                             WHEN cardinality(audited.key_columns) > 1 THEN c.key_text IS NULL OR c.key_text::jsonb @> '[null]'
                             ELSE c.key_text IS NULL END) THEN
        UPDATE threadline.audited_tables AS t SET capture_since = clock_timestamp() WHERE t.id = audited.id;
      END IF;
    END IF;
  END IF;
  PERFORM threadline_internal.define_capture_functions(audited);
  PERFORM threadline_internal.define_triggers(audited);
  PERFORM threadline_internal.define_reading_functions(audited);
  RETURN audited.id;
END
$function$;
COMMENT ON FUNCTION threadline.audit_table(regclass, text[], text[], text) IS
  'Puts a table under capture, or brings its capture in line with the table and the arguments; returns its id in audited_tables. Masked columns are recorded as [REDACTED], excluded ones not at all; granularity is row, statement, or chosen when NULL.';
