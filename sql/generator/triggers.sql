-- Lists the triggers that a table under capture must have, on the table itself and on its partitions.
-- "!" sorts before the triggers of the application and of foreign keys ("RI_…"): what those write in turn is recorded
-- after the change that caused it. PostgreSQL clones row triggers to partitions (is_clone), but not statement triggers:
-- what is aimed straight at a partition needs a trigger there. A partition that was attached since the last refresh has
-- the clones, and gets the others at the next refresh, when they are due (is_due): the definition tells that.
CREATE FUNCTION threadline_internal.capture_triggers(audited threadline.audited_tables)
RETURNS TABLE (relation regclass, name text, function text, fires text, type integer, old_table text, new_table text,
  condition text, is_clone boolean, is_due boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH member AS (
    SELECT audited.relation::oid AS oid, true AS is_root, true AS is_known
    UNION ALL
    SELECT p.relid, false, EXISTS (SELECT FROM pg_partition_tree(p.relid) AS l
                                    WHERE audited.definition -> 'partitions' @> to_jsonb(l.relid::oid::bigint))
      FROM pg_partition_tree(audited.relation) AS p WHERE p.relid <> audited.relation
  )
  SELECT m.oid::regclass, '!threadline_' || e.event, coalesce(e.function, format('capture_%s_%s', audited.id, e.event)),
         e.fires, e.type + CASE WHEN e.captures_rows AND g.per_row THEN 1 ELSE 0 END,
         CASE WHEN e.captures_rows AND NOT g.per_row AND e.event <> 'insert' THEN 'old_rows' END,
         CASE WHEN e.captures_rows AND NOT g.per_row AND e.event <> 'delete' THEN 'new_rows' END,
         -- By image and not IS DISTINCT FROM: json and point have no equality operator.
         CASE WHEN e.event = 'update' AND g.per_row THEN
           CASE WHEN m.is_root THEN '(NOT (old.* *= new.*))'
             ELSE format('(NOT ((old.*)::%1$s *= (new.*)::%1$s))', audited.relation) END END,
         e.captures_rows AND NOT m.is_root, m.is_root OR m.is_known OR e.captures_rows
    FROM member AS m
   CROSS JOIN (SELECT audited.granularity = 'row' AS per_row) AS g
         -- bits of tgtype: 1 for each row, 2 before, 4 insert, 8 delete, 16 update, 32 truncate
   CROSS JOIN (VALUES ('insert', 'AFTER INSERT', 4, true, NULL),
                      ('update', 'AFTER UPDATE', 16, true, NULL),
                      ('delete', 'AFTER DELETE', 8, true, NULL),
                      ('truncate', 'BEFORE TRUNCATE', 34, false, NULL),
                      ('inserting', 'BEFORE INSERT', 6, false, 'track_insert'),
                      ('inserted', 'AFTER INSERT', 4, false, 'track_insert')
                    ) AS e (event, fires, type, captures_rows, function)
   WHERE e.function IS NULL OR threadline_internal.is_partitioned(audited.relation)
$function$;
COMMENT ON FUNCTION threadline_internal.capture_triggers(threadline.audited_tables) IS
  'The triggers that a table under capture must have.';

-- Drops the triggers of a table. A clone on a partition (tgparentid) goes with its parent. A partition that was
-- detached kept the others.
CREATE FUNCTION threadline_internal.drop_triggers(relation regclass) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  trigger record;
BEGIN
  FOR trigger IN
    SELECT t.tgname, t.tgrelid::regclass AS relation FROM pg_trigger AS t
     WHERE starts_with(t.tgname::text, '!threadline_') AND t.tgparentid = 0
       AND t.tgrelid IN (
             SELECT drop_triggers.relation
             UNION ALL
             SELECT p.relid FROM pg_partition_tree(drop_triggers.relation) AS p
             UNION ALL
             SELECT d.tgrelid FROM pg_trigger AS d
               JOIN threadline.audited_tables AS a ON a.relation = drop_triggers.relation
              WHERE d.tgfoid = to_regproc(format('threadline_internal.capture_%s_truncate', a.id))) LOOP
    EXECUTE format('DROP TRIGGER %I ON %s', trigger.tgname, trigger.relation);
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.drop_triggers(regclass) IS
  'Drops the capture triggers of a table and its partitions.';

-- Puts the triggers on a table and its partitions, instead of those that are there.
CREATE FUNCTION threadline_internal.define_triggers(audited threadline.audited_tables) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  trigger record;
BEGIN
  PERFORM threadline_internal.drop_triggers(audited.relation);
  FOR trigger IN SELECT * FROM threadline_internal.capture_triggers(audited) AS t WHERE NOT t.is_clone LOOP
    EXECUTE threadline_internal.render($sql$
      CREATE TRIGGER {name} {fires} ON {relation} {transition_tables} FOR EACH {level} {condition}
        EXECUTE FUNCTION threadline_internal.{function}()$sql$, jsonb_build_object(
      'name', quote_ident(trigger.name), 'fires', trigger.fires, 'relation', trigger.relation,
      'transition_tables', 'REFERENCING' || nullif(concat(' OLD TABLE AS ' || trigger.old_table,
        ' NEW TABLE AS ' || trigger.new_table), ''),
      'level', CASE WHEN trigger.type & 1 = 1 THEN 'ROW' ELSE 'STATEMENT' END,
      'condition', 'WHEN (' || trigger.condition || ')', 'function', quote_ident(trigger.function)));
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.define_triggers(threadline.audited_tables) IS
  'Puts the capture triggers on a table and its partitions.';
