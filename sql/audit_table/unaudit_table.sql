-- Ends the capture of a table. Only its owner can drop its triggers; for other callers they stay, and record nothing.
CREATE FUNCTION threadline.unaudit_table(relation regclass) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
DECLARE
  audited threadline.audited_tables;
  event text;
  capture_function text;
  is_owner boolean;
BEGIN
  PERFORM threadline_internal.take_lock('definitions');
  PERFORM threadline_internal.drop_abandoned_functions();
  SELECT t.* INTO audited FROM threadline_internal.audited_table(unaudit_table.relation) AS t
   WHERE t.capture_ended_at IS NULL;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  SELECT pg_has_role(c.relowner, 'USAGE') INTO is_owner FROM pg_class AS c WHERE c.oid = unaudit_table.relation;
  IF FOUND THEN
    -- Under the lock no writer is left, so the time is exact.
    PERFORM threadline_internal.lock_table(relation,
      CASE WHEN is_owner THEN 'ACCESS EXCLUSIVE' ELSE 'SHARE ROW EXCLUSIVE' END);
  END IF;
  UPDATE threadline.audited_tables AS t SET capture_ended_at = clock_timestamp() WHERE t.id = audited.id;
  IF is_owner THEN
    PERFORM threadline_internal.drop_triggers(audited, false);
  ELSIF FOUND AND is_owner IS NOT NULL THEN
    RAISE NOTICE 'the capture triggers of % stay, and record nothing: only its owner can drop them', relation;
  END IF;
  FOREACH event IN ARRAY '{insert, update, delete, truncate}'::text[] LOOP
    capture_function := format('threadline_internal.capture_%s_%s()', audited.id, event);
    -- A remaining trigger, or an object of a user, may depend on it.
    BEGIN
      EXECUTE format('DROP FUNCTION IF EXISTS %s', capture_function);
    EXCEPTION WHEN dependent_objects_still_exist THEN
      PERFORM threadline_internal.define_function(capture_function,
        format('RETURNS trigger LANGUAGE plpgsql AS %L', 'BEGIN RETURN NULL; END'),
        format('Captures nothing, since the capture of %s was ended.', relation));
    END;
  END LOOP;
  RETURN true;
END
$function$;
COMMENT ON FUNCTION threadline.unaudit_table(regclass) IS
  'Ends the capture of a table and keeps its history and its reading functions; returns false if it was not audited.';

-- Only the name of a dropped table is left. Any other name is resolved as the caller would resolve it, so search_path
-- is not pinned.
CREATE FUNCTION threadline.unaudit_table(table_name text) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $function$
DECLARE
  relation pg_catalog.regclass := pg_catalog.to_regclass(table_name);
BEGIN
  RETURN threadline.unaudit_table(coalesce(relation, threadline_internal.dropped_table(table_name),
    table_name::pg_catalog.regclass));  -- which raises the error
END
$function$;
COMMENT ON FUNCTION threadline.unaudit_table(text) IS
  'Ends the capture of a table, which may have been dropped, by its name; returns false if it was not audited.';

-- Returns a table that was dropped while it was audited. Without a schema, the name must match exactly one table.
CREATE FUNCTION threadline_internal.dropped_table(table_name text) RETURNS regclass
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT max(t.relation::oid)::regclass
    FROM threadline.audited_tables AS t
   CROSS JOIN parse_ident(dropped_table.table_name) AS path
   WHERE t.capture_ended_at IS NULL AND NOT threadline_internal.is_table_of(t)
     AND path IN (ARRAY[t.table_schema, t.table_name], ARRAY[t.table_name])
  HAVING count(*) = 1
$function$;
COMMENT ON FUNCTION threadline_internal.dropped_table(text) IS 'The dropped audited table with a given name.';
