-- Returns the indexes that a partition should have, each with the statement that creates it.
CREATE FUNCTION threadline_internal.key_indexes(partition text) RETURNS TABLE (index_name text, statement text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT i.name, threadline_internal.render(
           'CREATE INDEX {name} ON threadline.{partition} (table_id, {key}, captured_at, id) WHERE {key} IS NOT NULL',
           jsonb_build_object('name', quote_ident(i.name), 'partition', quote_ident(partition), 'key', i.key))
    FROM (SELECT 'key_' || t.key_type AS key, concat(partition, '_key_', t.key_type, '_idx') AS name
            FROM threadline_internal.key_types AS t) AS i
$function$;
COMMENT ON FUNCTION threadline_internal.key_indexes(text) IS
  'The key indexes that a partition of audit_changes should have, for the key types that tables have.';

CREATE FUNCTION threadline_internal.create_key_indexes_of(partition text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  statement text;
BEGIN
  FOR statement IN SELECT k.statement FROM threadline_internal.key_indexes(partition) AS k LOOP
    EXECUTE statement;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.create_key_indexes_of(text) IS
  'Creates the key indexes of a partition that is not attached yet.';

-- Returns the missing indexes. An invalid index was left by CREATE INDEX CONCURRENTLY, or is being created.
CREATE FUNCTION threadline_internal.missing_key_indexes() RETURNS TABLE (partition text, upper_bound timestamptz,
  bytes bigint, is_invalid boolean, statement text, concurrent_statement text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT p.name, p.upper_bound, pg_relation_size(to_regclass(format('threadline.%I', p.name))),
         i.indexrelid IS NOT NULL, k.statement,
         CASE WHEN i.indexrelid IS NOT NULL THEN format('REINDEX INDEX CONCURRENTLY threadline.%I', k.index_name)
           ELSE replace(k.statement, 'CREATE INDEX', 'CREATE INDEX CONCURRENTLY') END
    FROM threadline_internal.partitions() AS p
   CROSS JOIN LATERAL threadline_internal.key_indexes(p.name) AS k
    LEFT JOIN pg_index AS i ON i.indexrelid = to_regclass(format('threadline.%I', k.index_name))
   WHERE i.indisvalid IS NOT TRUE
   ORDER BY p.upper_bound DESC, k.index_name
$function$;
COMMENT ON FUNCTION threadline_internal.missing_key_indexes() IS
  'The missing key indexes of partitions of audit_changes. The history of a row can be found without them, but only by '
  'reading all changes of its table in that month.';

-- Nobody can write to a partition while its index is built, or until the end of the transaction. So this function tries
-- each one for a moment, and leaves a large partition that is in use for writes to CREATE INDEX CONCURRENTLY:
-- threadline.health reports it, and the command line does it. 16 MB take about 20 ms.
CREATE FUNCTION threadline_internal.create_key_indexes(past_months boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  missing record;
BEGIN
  FOR missing IN
    SELECT * FROM threadline_internal.missing_key_indexes() AS m
     WHERE NOT m.is_invalid AND CASE WHEN past_months THEN m.upper_bound < now() ELSE m.bytes <= 16 * 1024 * 1024 END
  LOOP
    PERFORM threadline_internal.lock_or_give_up(missing.statement, clock_timestamp());
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.create_key_indexes(boolean) IS
  'Creates the missing key indexes, on partitions of up to 16 MB, or on those of past months.';

-- Registers a key type that a table is about to have.
CREATE FUNCTION threadline_internal.add_key_type(key_type text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF add_key_type.key_type <> 'text' THEN
    INSERT INTO threadline_internal.key_types (key_type) VALUES (add_key_type.key_type) ON CONFLICT DO NOTHING;
    IF FOUND THEN
      PERFORM threadline_internal.create_key_indexes();
    END IF;
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.add_key_type(text) IS
  'Creates the indexes for keys of a type, unless tables already have or had such keys.';
