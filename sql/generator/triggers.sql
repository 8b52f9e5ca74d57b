CREATE FUNCTION threadline_internal.drop_triggers(relation regclass) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  trigger record;
BEGIN
  -- A clone on a partition (tgparentid) goes with its parent. A partition that was detached kept the others.
  FOR trigger IN SELECT t.tgname, t.tgrelid::regclass AS relation FROM pg_trigger AS t
                  WHERE starts_with(t.tgname::text, '!threadline_') AND t.tgparentid = 0
                    AND t.tgrelid IN (SELECT drop_triggers.relation UNION ALL
                                      SELECT p.relid FROM pg_partition_tree(drop_triggers.relation) AS p UNION ALL
                                      SELECT d.tgrelid FROM pg_trigger AS d
                                        JOIN threadline.audited_tables AS a ON a.relation = drop_triggers.relation
                                       WHERE d.tgfoid = to_regproc(format('threadline_internal.capture_%s_truncate', a.id))) LOOP
    EXECUTE format('DROP TRIGGER %I ON %s', trigger.tgname, trigger.relation);
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.drop_triggers(regclass) IS 'Drops the capture triggers of a table and its partitions.';

-- "!" sorts before the triggers of the application and of foreign keys ("RI_…"): what those write in turn is
-- recorded after the change that caused it.
CREATE FUNCTION threadline_internal.define_triggers(audited threadline.audited_tables) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  member regclass;
  partitioned boolean := (SELECT relkind = 'p' FROM pg_class WHERE oid = audited.relation);
BEGIN
  PERFORM threadline_internal.drop_triggers(audited.relation);
  IF audited.granularity = 'statement' THEN
    EXECUTE format('CREATE TRIGGER "!threadline_insert" AFTER INSERT ON %s REFERENCING NEW TABLE AS new_rows
      FOR EACH STATEMENT EXECUTE FUNCTION threadline_internal.capture_%s_insert()', audited.relation, audited.id);
    EXECUTE format('CREATE TRIGGER "!threadline_update" AFTER UPDATE ON %s REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
      FOR EACH STATEMENT EXECUTE FUNCTION threadline_internal.capture_%s_update()', audited.relation, audited.id);
    EXECUTE format('CREATE TRIGGER "!threadline_delete" AFTER DELETE ON %s REFERENCING OLD TABLE AS old_rows
      FOR EACH STATEMENT EXECUTE FUNCTION threadline_internal.capture_%s_delete()', audited.relation, audited.id);
  ELSE
    EXECUTE format('CREATE TRIGGER "!threadline_insert" AFTER INSERT ON %s
      FOR EACH ROW EXECUTE FUNCTION threadline_internal.capture_%s_insert()', audited.relation, audited.id);
    -- By image and not IS DISTINCT FROM: json and point have no equality operator.
    EXECUTE format('CREATE TRIGGER "!threadline_update" AFTER UPDATE ON %s
      FOR EACH ROW WHEN (NOT (OLD.* OPERATOR(pg_catalog.*=) NEW.*)) EXECUTE FUNCTION threadline_internal.capture_%s_update()',
      audited.relation, audited.id);
    EXECUTE format('CREATE TRIGGER "!threadline_delete" AFTER DELETE ON %s
      FOR EACH ROW EXECUTE FUNCTION threadline_internal.capture_%s_delete()', audited.relation, audited.id);
  END IF;
  -- Statement triggers are not cloned to partitions: what is aimed straight at one needs a trigger there.
  FOR member IN SELECT audited.relation UNION SELECT p.relid FROM pg_partition_tree(audited.relation) AS p LOOP
    EXECUTE format('CREATE TRIGGER "!threadline_truncate" BEFORE TRUNCATE ON %s
      FOR EACH STATEMENT EXECUTE FUNCTION threadline_internal.capture_%s_truncate()', member, audited.id);
    IF partitioned THEN
      EXECUTE format('CREATE TRIGGER "!threadline_inserting" BEFORE INSERT ON %s
        FOR EACH STATEMENT EXECUTE FUNCTION threadline_internal.track_insert()', member);
      EXECUTE format('CREATE TRIGGER "!threadline_inserted" AFTER INSERT ON %s
        FOR EACH STATEMENT EXECUTE FUNCTION threadline_internal.track_insert()', member);
    END IF;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.define_triggers(threadline.audited_tables) IS 'Puts the capture triggers on a table and its partitions.';
