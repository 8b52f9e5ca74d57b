-- A reader may call functions that only read, and functions that restore rows, for which the rights on the table
-- decide. threadline.settled_at is VOLATILE because it reads several times, each time with current data.
CREATE FUNCTION threadline_internal.reader_functions() RETURNS SETOF regprocedure
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT p.oid::regprocedure
    FROM pg_proc AS p
   WHERE p.pronamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace)
     AND (p.provolatile <> 'v' OR p.oid = 'threadline.settled_at()'::regprocedure
          OR p.proname ~ '^restore(_[0-9]+)?$')
$function$;
COMMENT ON FUNCTION threadline_internal.reader_functions() IS 'The functions that a reader of the audit log may call.';

-- Partitions are read through audit_changes; threadline.health also reads the default partition. Readers cannot read
-- the secrets of hashed keys, with which they could test guesses on their own machine.
CREATE FUNCTION threadline_internal.reader_relations() RETURNS SETOF regclass
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT c.oid::regclass
    FROM pg_class AS c
   WHERE c.relnamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace)
     AND c.relkind IN ('p', 'r', 'S', 'v')
     AND (NOT c.relispartition OR c.oid = 'threadline.audit_changes_default'::regclass)
     AND c.oid <> 'threadline_internal.key_secrets'::regclass
$function$;
COMMENT ON FUNCTION threadline_internal.reader_relations() IS
  'The tables, views and sequences that a reader of the audit log may read.';

CREATE FUNCTION threadline.grant_reader(reader regrole) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  reading_function regprocedure;
  relation regclass;
BEGIN
  EXECUTE format('GRANT USAGE ON SCHEMA threadline, threadline_internal TO %s', reader);
  FOR relation IN SELECT threadline_internal.reader_relations() LOOP
    EXECUTE format('GRANT SELECT ON %s TO %s', relation, reader);
  END LOOP;
  -- Diesel's table shows which migrations of Threadline the database has.
  FOR relation IN SELECT c.oid::regclass FROM pg_class AS c
                   WHERE c.relname = '__diesel_schema_migrations' AND c.relkind = 'r' AND pg_has_role(c.relowner,
                     'USAGE') LOOP
    EXECUTE format('GRANT SELECT ON %s TO %s', relation, reader);
  END LOOP;
  FOR reading_function IN SELECT threadline_internal.reader_functions() LOOP
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', reading_function, reader);
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline.grant_reader(regrole) IS
  'Lets a role read the whole audit log, including the rows of every audited table, now and for tables audited later.';

CREATE FUNCTION threadline.grant_recorder(recorder regrole) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  EXECUTE format('GRANT USAGE ON SCHEMA threadline TO %s', recorder);
  EXECUTE format('GRANT EXECUTE ON FUNCTION threadline.record_action(text, text, text, text, jsonb, jsonb, jsonb) '
    'TO %s', recorder);
END
$function$;
COMMENT ON FUNCTION threadline.grant_recorder(regrole) IS
  'Lets a role record actions; the role still can neither read nor change what is recorded.';
