-- Empties the default partition of the changes of a month: PostgreSQL rejects a new partition if the default partition
-- contains rows for it.
CREATE FUNCTION threadline_internal.empty_default_partition(month timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC'
AS $function$
BEGIN
  EXECUTE threadline_internal.render($sql$
    WITH moved AS (DELETE FROM threadline.audit_changes_default
                    WHERE captured_at >= {from} AND captured_at < {before} RETURNING *)
    INSERT INTO threadline.{partition} SELECT * FROM moved$sql$, jsonb_build_object(
    'partition', quote_ident(threadline_internal.partition_of(month)), 'from', quote_literal(month),
    'before', quote_literal(month + interval '1 month')));
END
$function$;
COMMENT ON FUNCTION threadline_internal.empty_default_partition(timestamptz) IS
  'Moves the changes of a month from the default partition to its own.';

-- All slow work happens before anyone has to wait: indexes are built, and rows are moved and checked.
CREATE FUNCTION threadline_internal.prepare_partitions(months_ahead integer) RETURNS timestamptz[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC'
AS $function$
DECLARE
  months timestamptz[] := '{}';
  month timestamptz;
BEGIN
  FOR month IN SELECT generate_series(
                 date_trunc('month', least(now(), (SELECT min(captured_at) FROM threadline.audit_changes_default))),
                 date_trunc('month', now()) + make_interval(months => months_ahead), interval '1 month') LOOP
    CONTINUE WHEN to_regclass(format('threadline.%I', threadline_internal.partition_of(month))) IS NOT NULL;
    EXECUTE threadline_internal.render($sql$
      CREATE TABLE threadline.{partition} (
        LIKE threadline.audit_changes INCLUDING COMMENTS INCLUDING CONSTRAINTS INCLUDING INDEXES,
        CONSTRAINT of_month CHECK (captured_at >= {from} AND captured_at < {before}))$sql$, jsonb_build_object(
      'partition', quote_ident(threadline_internal.partition_of(month)), 'from', quote_literal(month),
      'before', quote_literal(month + interval '1 month')));
    PERFORM threadline_internal.create_key_indexes_of(threadline_internal.partition_of(month));
    -- Prevents others from using its row type in a way that would keep it from being dropped.
    EXECUTE format('REVOKE USAGE ON TYPE threadline.%I FROM PUBLIC', threadline_internal.partition_of(month));
    PERFORM threadline_internal.empty_default_partition(month);
    months := months || month;
  END LOOP;
  RETURN months;
END
$function$;
COMMENT ON FUNCTION threadline_internal.prepare_partitions(integer) IS
  'Creates the tables for the months without a partition, from the oldest month in the default partition, or the '
  'current month, to the given number of months ahead.';

-- Capture may be writing to the default partition, and PostgreSQL raises an error for a row on its way there if another
-- partition takes over its month. So it is kept from starting to, by a lock on the table that it names; other months
-- are not affected.
CREATE FUNCTION threadline_internal.attach_partitions(months timestamptz[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC'
AS $function$
DECLARE
  month timestamptz;
BEGIN
  IF months[1] <= clock_timestamp() + interval '1 hour' THEN
    LOCK TABLE ONLY threadline.audit_changes IN SHARE ROW EXCLUSIVE MODE;
  END IF;
  LOCK TABLE threadline.audit_changes_default IN ACCESS EXCLUSIVE MODE;
  FOREACH month IN ARRAY months LOOP
    IF month <= clock_timestamp() + interval '1 hour' THEN
      PERFORM threadline_internal.empty_default_partition(month);
    END IF;
    EXECUTE format('ALTER TABLE threadline.audit_changes ATTACH PARTITION threadline.%I FOR VALUES FROM (%L) TO (%L)',
      threadline_internal.partition_of(month), month, month + interval '1 month');
    EXECUTE format('ALTER TABLE threadline.%I DROP CONSTRAINT of_month', threadline_internal.partition_of(month));
    EXECUTE format('COMMENT ON TABLE threadline.%I IS %L', threadline_internal.partition_of(month),
      'Changes captured in ' || to_char(month, 'YYYY-MM') || ' (UTC).');
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.attach_partitions(timestamptz[]) IS
  'Makes partitions of the tables that threadline_internal.prepare_partitions created.';

-- Creates the missing partitions, and waits for locks only for moments. What it cannot attach in time is left to the
-- next call: until then, the default partition receives the changes.
CREATE FUNCTION threadline_internal.create_partitions(months_ahead integer DEFAULT 3, patience interval DEFAULT '1 s',
  OUT created integer, OUT postponed integer)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
DECLARE
  until timestamptz := clock_timestamp() + patience;
  months timestamptz[] := '{}';
BEGIN
  created := 0;
  postponed := 0;
  IF NOT threadline_internal.lock_or_give_up(
      $sql$SELECT threadline_internal.take_lock('definitions')$sql$, until, 0) THEN
    RAISE lock_not_available;
  END IF;
  months := threadline_internal.prepare_partitions(months_ahead);
  IF months <> '{}' AND NOT threadline_internal.lock_or_give_up(
      format('SELECT threadline_internal.attach_partitions(%L)', months), until) THEN
    RAISE lock_not_available;
  END IF;
  created := cardinality(months);
EXCEPTION WHEN lock_not_available THEN
  postponed := greatest(cardinality(months), 1);
END
$function$;
COMMENT ON FUNCTION threadline_internal.create_partitions(integer, interval) IS
  'Creates the missing monthly partitions of audit_changes, from the oldest month in the default partition, or the '
  'current month, to the given number of months ahead. Returns how many it created, and how many it postponed because '
  'it could not get a lock. threadline.audit_table calls it.';
