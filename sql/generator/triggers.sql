-- Returns the prefix of the trigger names of a table. It contains the id of the table, because the triggers of a
-- partitioned table are cloned to its partitions, and a partition can have its own from before it was attached.
CREATE FUNCTION threadline_internal.trigger_prefix(audited threadline.audited_tables) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN concat('!threadline_', CASE WHEN threadline_internal.is_partitioned(audited.relation)
           THEN audited.id || '_' END);
END
$function$;
COMMENT ON FUNCTION threadline_internal.trigger_prefix(threadline.audited_tables) IS
  'The prefix of the names of the capture triggers of a table.';

-- Returns the names of the four triggers of a table.
CREATE FUNCTION threadline_internal.trigger_names(audited threadline.audited_tables) RETURNS text[]
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  prefix text := threadline_internal.trigger_prefix(audited);
BEGIN
  RETURN ARRAY[prefix || 'delete', prefix || 'insert', prefix || 'truncate', prefix || 'update'];
END
$function$;
COMMENT ON FUNCTION threadline_internal.trigger_names(threadline.audited_tables) IS
  'The names of the capture triggers of a table.';

-- Returns the triggers that an audited table must have, on the table itself and on its partitions. "!" sorts before the
-- triggers of the application and of foreign keys ("RI_..."), so that their writes are recorded after the change that
-- caused them. PostgreSQL clones row triggers to partitions (is_clone), but not statement triggers: a statement on a
-- partition itself needs a trigger there. A partition attached since the last refresh has the clones. It gets the other
-- triggers at the next refresh, when the definition contains the partition and they are due (is_due).
CREATE FUNCTION threadline_internal.capture_triggers(audited threadline.audited_tables)
RETURNS TABLE (relation regclass, name text, function text, fires text, type integer, old_table text, new_table text,
  condition text, is_clone boolean, is_due boolean)
LANGUAGE sql STABLE ROWS 8 SET search_path = pg_catalog, pg_temp
AS $function$
  WITH member AS (
    SELECT audited.relation::oid AS oid, true AS is_root, true AS is_known
    UNION ALL
    SELECT p.relid, false, EXISTS (SELECT FROM threadline_internal.partition_tree(p.relid) AS l
                                    WHERE audited.definition -> 'partitions' @> to_jsonb(l.relid::oid::bigint))
      FROM threadline_internal.partition_tree(audited.relation) AS p WHERE p.relid <> audited.relation
  )
  SELECT m.oid::regclass, g.prefix || e.event, format('capture_%s_%s', audited.id, e.event),
         e.fires, e.type + CASE WHEN e.captures_rows AND g.per_row THEN 1 ELSE 0 END,
         CASE WHEN e.captures_rows AND NOT g.per_row AND e.event <> 'insert' THEN 'old_rows' END,
         CASE WHEN e.captures_rows AND NOT g.per_row AND e.event <> 'delete' THEN 'new_rows' END,
         -- By image instead of IS DISTINCT FROM, because json and point have no equality operator.
         CASE WHEN e.event = 'update' AND g.per_row THEN
           CASE WHEN m.is_root THEN '(NOT (old.* *= new.*))'
             ELSE format('(NOT ((old.*)::%1$s *= (new.*)::%1$s))', audited.relation) END END,
         e.captures_rows AND NOT m.is_root, m.is_root OR m.is_known OR e.captures_rows
    FROM member AS m
   CROSS JOIN (SELECT audited.granularity = 'row' AS per_row,
                      threadline_internal.trigger_prefix(audited) AS prefix) AS g
         -- Bits of tgtype: 1 is FOR EACH ROW, 2 BEFORE, 4 INSERT, 8 DELETE, 16 UPDATE, 32 TRUNCATE.
   CROSS JOIN (VALUES ('insert', 'AFTER INSERT', 4, true),
                      ('update', 'AFTER UPDATE', 16, true),
                      ('delete', 'AFTER DELETE', 8, true),
                      ('truncate', 'BEFORE TRUNCATE', 34, false)
                    ) AS e (event, fires, type, captures_rows)
$function$;
COMMENT ON FUNCTION threadline_internal.capture_triggers(threadline.audited_tables) IS
  'The triggers that an audited table must have.';

-- Returns the triggers of a table that are not as they must be. A role that may lock the table must not block readers
-- of this function, and pg_get_triggerdef waits for locks.
CREATE FUNCTION threadline_internal.wrong_triggers(audited threadline.audited_tables)
RETURNS TABLE (relation regclass, name text, is_clone boolean, "check" text, fault text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off SET lock_timeout = '1 s'
AS $function$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  SELECT h.relation, h.name, h.is_clone, CASE WHEN t.oid IS NULL THEN 'trigger_missing'
           WHEN t.tgenabled NOT IN ('A', 'O') THEN 'trigger_disabled' ELSE 'trigger_replaced' END,
         CASE WHEN t.oid IS NULL THEN 'is missing' WHEN t.tgenabled = 'R' THEN 'is enabled for replication only'
           WHEN t.tgenabled = 'D' THEN 'is disabled' ELSE 'is another one than Threadline made' END
    FROM threadline_internal.capture_triggers(audited) AS h
    LEFT JOIN pg_trigger AS t ON t.tgrelid = h.relation AND t.tgname = h.name
   WHERE h.is_due
     AND (t.oid IS NULL OR t.tgenabled NOT IN ('A', 'O')
          OR t.tgfoid IS DISTINCT FROM to_regproc(format('threadline_internal.%I', h.function)) OR t.tgtype <> h.type
          OR t.tgoldtable IS DISTINCT FROM h.old_table OR t.tgnewtable IS DISTINCT FROM h.new_table
          OR t.tgattr::text <> '' OR t.tgnargs <> 0 OR t.tgconstraint <> 0
          OR substring(pg_get_triggerdef(t.oid) FROM ' WHEN [(](.*)[)] EXECUTE FUNCTION ')
            IS DISTINCT FROM h.condition);
END
$function$;
COMMENT ON FUNCTION threadline_internal.wrong_triggers(threadline.audited_tables) IS
  'Capture triggers of a table that are missing, disabled, or changed.';

-- Drops the triggers of a table, or only those that it must not have: a detached partition keeps some. A clone on a
-- partition (tgparentid) is dropped with its parent. Only the owner of a table can drop its triggers. If the caller is
-- not the owner, they stay but record nothing, because their functions check the table.
CREATE FUNCTION threadline_internal.drop_triggers(audited threadline.audited_tables, keep_due boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  trigger record;
BEGIN
  FOR trigger IN
    SELECT t.tgname, t.tgrelid::regclass AS relation
      FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
     WHERE t.tgparentid = 0 AND pg_has_role(c.relowner, 'USAGE')
       -- By index, because there may be thousands of audited tables: pg_depend has an index for the triggers of a
       -- function.
       AND t.oid IN (SELECT m.oid FROM pg_trigger AS m
                      WHERE m.tgname = ANY (threadline_internal.trigger_names(audited))
                        AND m.tgrelid IN (SELECT audited.relation::oid
                                          UNION
                                          SELECT p.relid FROM threadline_internal.partition_tree(audited.relation) AS p)
                     UNION
                     SELECT d.objid FROM pg_depend AS d
                      WHERE d.classid = 'pg_trigger'::regclass AND d.refclassid = 'pg_proc'::regclass AND d.refobjid
                        = to_regproc(format('threadline_internal.capture_%s_truncate', audited.id)))
       AND NOT (keep_due AND (t.tgrelid, t.tgname::text) IN (
             SELECT h.relation, h.name FROM threadline_internal.capture_triggers(audited) AS h)) LOOP
    EXECUTE format('DROP TRIGGER %I ON %s', trigger.tgname, trigger.relation);
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.drop_triggers(threadline.audited_tables, boolean) IS
  'Drops the capture triggers of a table and its partitions: all of them, or those that are not due.';

-- Creates the triggers on a table and its partitions. Correct triggers stay, so that a refresh by a role that does not
-- own the table needs only the TRIGGER right. A faulty clone is recreated with its parent. Before version 14,
-- PostgreSQL cannot replace a trigger, and only the owner of the table can drop it.
CREATE FUNCTION threadline_internal.define_triggers(audited threadline.audited_tables) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET lock_timeout = '1 s'
AS $function$
DECLARE
  trigger record;
  can_replace boolean := current_setting('server_version_num')::integer >= 140000;
BEGIN
  PERFORM threadline_internal.drop_triggers(audited, true);
  FOR trigger IN
    SELECT h.*, EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = h.relation AND t.tgname = h.name) AS is_there
      FROM threadline_internal.capture_triggers(audited) AS h
     WHERE NOT h.is_clone AND EXISTS (
             SELECT FROM threadline_internal.wrong_triggers(audited) AS w
              WHERE w.name = h.name AND (w.relation = h.relation OR w.is_clone AND h.relation = audited.relation)) LOOP
    IF trigger.is_there AND NOT can_replace THEN
      EXECUTE format('DROP TRIGGER %I ON %s', trigger.name, trigger.relation);
    END IF;
    EXECUTE threadline_internal.render($sql$
      CREATE {or_replace} TRIGGER {name} {fires} ON {relation} {transition_tables} FOR EACH {level} {condition}
        EXECUTE FUNCTION threadline_internal.{function}()$sql$, jsonb_build_object(
      'or_replace', CASE WHEN can_replace THEN 'OR REPLACE' END,
      'name', quote_ident(trigger.name), 'fires', trigger.fires, 'relation', trigger.relation,
      'transition_tables', 'REFERENCING' || nullif(concat(' OLD TABLE AS ' || trigger.old_table,
        ' NEW TABLE AS ' || trigger.new_table), ''),
      'level', CASE WHEN trigger.type & 1 = 1 THEN 'ROW' ELSE 'STATEMENT' END,
      'condition', 'WHEN (' || trigger.condition || ')', 'function', quote_ident(trigger.function)));
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.define_triggers(threadline.audited_tables) IS
  'Creates the capture triggers on a table and its partitions.';
