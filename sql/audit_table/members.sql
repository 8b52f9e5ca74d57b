-- What is attached to a partitioned table or detached from it changes the rows of the table, and no trigger fires. A
-- refresh knows the partitions that there were, and finds out whether any has brought rows or taken them away.

-- Lists a table and its partitions, by OID: what a restored database knows them by is their name.
CREATE FUNCTION threadline_internal.present_members(audited threadline.audited_tables) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(jsonb_object_agg(p.relid::oid, p.relid::text), '{}')
    FROM threadline_internal.partition_tree(audited.relation) AS p WHERE p.relid <> audited.relation
$function$;
COMMENT ON FUNCTION threadline_internal.present_members(threadline.audited_tables) IS
  'The partitions of a table, each with its name.';

-- Notes that a partition is written that no refresh knows. Two at once note it twice, and none waits for the other. One
-- whose first write is no INSERT was attached with rows, of which that write can leave none as it was.
CREATE FUNCTION threadline_internal.note_partition(table_id integer, written oid, operation text) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  INSERT INTO threadline_internal.young_partitions (table_id, relation, database, is_filled)
  SELECT note_partition.table_id, note_partition.written, d.identity,
         t.catalog_versions ->> 'database' = d.identity
           AND NOT t.catalog_versions -> 'members' ? note_partition.written::text
           AND CASE operation WHEN 'INSERT' THEN false
                 WHEN 'TRUNCATE' THEN NOT threadline_internal.is_blank_table(note_partition.written) ELSE true END
    FROM threadline.audited_tables AS t
   CROSS JOIN threadline_internal.database_identity() AS d (identity)
   WHERE t.id = note_partition.table_id
     AND NOT EXISTS (SELECT FROM threadline_internal.young_partitions AS y
                      WHERE y.table_id = note_partition.table_id AND y.relation = note_partition.written)
$function$;
COMMENT ON FUNCTION threadline_internal.note_partition(integer, oid, text) IS
  'Notes that a partition is written that no refresh knows.';

-- Whether a relation is there and has never had a row since it was made or truncated.
CREATE FUNCTION threadline_internal.is_blank_table(relation oid) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT EXISTS (SELECT FROM pg_class AS c
                  WHERE c.oid = is_blank_table.relation AND c.relkind = 'r' AND pg_relation_size(c.oid) = 0)
$function$;
COMMENT ON FUNCTION threadline_internal.is_blank_table(oid) IS 'Whether a table is there and takes no space.';

-- Lists the partitions that are gone. A branch has no rows of its own. One that is empty had to be emptied by a
-- TRUNCATE, which is recorded.
CREATE FUNCTION threadline_internal.lost_members(audited threadline.audited_tables) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH present AS (
    SELECT p.relid::oid AS oid, p.relid::text AS name FROM threadline_internal.partition_tree(audited.relation) AS p
  ), here AS (
    SELECT audited.catalog_versions ->> 'database' = threadline_internal.database_identity() AS same
  )
  SELECT m.value
    FROM here, jsonb_each_text(audited.catalog_versions -> 'members') AS m
   WHERE here.same AND NOT EXISTS (SELECT FROM present AS p WHERE p.oid = m.key::oid)
     AND (SELECT c.relkind FROM pg_class AS c WHERE c.oid = m.key::oid) IS DISTINCT FROM 'p'
     AND NOT threadline_internal.is_blank_table(m.key::oid)
  UNION ALL
  SELECT m.value
    FROM here, jsonb_each_text(audited.catalog_versions -> 'members') AS m
   WHERE NOT here.same AND NOT EXISTS (SELECT FROM present AS p WHERE p.name = m.value)
     AND NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = to_regclass(m.value) AND c.relkind = 'p')
     AND NOT coalesce(threadline_internal.is_blank_table(to_regclass(m.value)), false)
  UNION
  SELECT y.relation::regclass::text
    FROM here, threadline_internal.young_partitions AS y
   WHERE y.table_id = audited.id AND y.database = threadline_internal.database_identity()
     AND NOT EXISTS (SELECT FROM present AS p WHERE p.oid = y.relation)
     AND NOT threadline_internal.is_blank_table(y.relation)
$function$;
COMMENT ON FUNCTION threadline_internal.lost_members(threadline.audited_tables) IS
  'The partitions that took rows out of a table since its last refresh.';

-- Lists the partitions that came since the last refresh and may have had rows then, each with the transactions and
-- commands that attached it or a branch that it is on.
CREATE FUNCTION threadline_internal.new_members(audited threadline.audited_tables)
RETURNS TABLE (relation regclass, attached_by xid, at_command cid)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH RECURSIVE above AS (
    SELECT p.relid::oid AS leaf, p.relid::oid AS child
      FROM threadline_internal.partition_tree(audited.relation) AS p
     WHERE p.isleaf AND p.relid <> audited.relation AND pg_relation_size(p.relid) > 0
    UNION ALL
    SELECT a.leaf, i.inhparent
      FROM above AS a JOIN pg_inherits AS i ON i.inhrelid = a.child
     WHERE i.inhparent <> audited.relation
  )
  SELECT a.leaf::regclass, i.xmin, i.cmin
    FROM above AS a JOIN pg_inherits AS i ON i.inhrelid = a.child
   WHERE audited.catalog_versions ->> 'database' = threadline_internal.database_identity()
     AND NOT audited.catalog_versions -> 'members' ? a.child::text
$function$;
COMMENT ON FUNCTION threadline_internal.new_members(threadline.audited_tables) IS
  'The partitions with rows that came since the last refresh of a table.';

-- Lists the partitions that brought rows along. Their rows are older than their place in the table. Rows are looked for
-- where a partition begins, which costs next to nothing.
CREATE FUNCTION threadline_internal.filled_members(audited threadline.audited_tables) RETURNS SETOF text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  member record;
  brought boolean;
BEGIN
  IF NOT threadline_internal.is_partitioned(audited.relation) THEN
    RETURN;
  END IF;
  FOR member IN SELECT * FROM threadline_internal.new_members(audited) LOOP
    -- Whoever may not read the table cannot tell; the refresh, which can, finds it.
    CONTINUE WHEN NOT has_table_privilege(audited.relation, 'SELECT');
    PERFORM threadline_internal.check_foreign_code(audited.relation);
    EXECUTE format('SELECT EXISTS (SELECT FROM %s AS r WHERE r.tableoid = $1 AND r.ctid = ANY ($2)
                      AND (age(r.xmin) > age($3) OR r.xmin = $3 AND r.cmin::text::bigint < $4::text::bigint))',
                   audited.relation)
      INTO brought
      USING member.relation, ARRAY(SELECT format('(%s,%s)', b, i)::tid
                                     FROM generate_series(0, 7) AS b, generate_series(1, 40) AS i),
        member.attached_by, member.at_command;
    IF brought THEN
      RETURN NEXT member.relation::text;
    END IF;
  END LOOP;
  RETURN QUERY
    SELECT p.relid::text
      FROM threadline_internal.partition_tree(audited.relation) AS p
      JOIN threadline_internal.young_partitions AS y ON y.relation = p.relid
     WHERE y.table_id = audited.id AND y.database = threadline_internal.database_identity() AND y.is_filled;
  RETURN QUERY
    SELECT p.relid::text
      FROM threadline_internal.partition_tree(audited.relation) AS p
     WHERE audited.catalog_versions ->> 'database' <> threadline_internal.database_identity()
       AND p.isleaf AND p.relid <> audited.relation
       AND NOT EXISTS (SELECT FROM jsonb_each_text(audited.catalog_versions -> 'members') AS m
                        WHERE m.value = p.relid::text)
       AND NOT threadline_internal.is_blank_table(p.relid);
END
$function$;
COMMENT ON FUNCTION threadline_internal.filled_members(threadline.audited_tables) IS
  'The partitions that brought rows into a table since its last refresh, or may have before it was restored.';

-- Says which partitions brought rows or took them away; NULL where none did.
CREATE FUNCTION threadline_internal.member_gap(audited threadline.audited_tables) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF audited.catalog_versions -> 'members' IS NULL OR NOT threadline_internal.is_partitioned(audited.relation) THEN
    RETURN NULL;
  END IF;
  RETURN nullif(concat_ws('; ',
    (SELECT format('partition %s was detached or dropped with its rows', string_agg(DISTINCT m, ', ' ORDER BY m))
       FROM threadline_internal.lost_members(audited) AS m HAVING count(*) > 0),
    (SELECT format('partition %s was attached with rows in it', string_agg(DISTINCT m, ', ' ORDER BY m))
       FROM threadline_internal.filled_members(audited) AS m HAVING count(*) > 0)), '');
END
$function$;
COMMENT ON FUNCTION threadline_internal.member_gap(threadline.audited_tables) IS
  'Which partitions changed the rows of a table when they came or went since its last refresh.';
