-- Attaching or detaching a partition changes the rows of a partitioned table without firing a trigger. A refresh stores
-- the partitions, and determines whether any has added or removed rows.

-- Returns a table and its partitions, by OID; in a restored database their names identify them.
CREATE FUNCTION threadline_internal.present_members(audited threadline.audited_tables) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(jsonb_object_agg(p.relid::oid, p.relid::text), '{}')
    FROM threadline_internal.partition_tree(audited.relation) AS p WHERE p.relid <> audited.relation
$function$;
COMMENT ON FUNCTION threadline_internal.present_members(threadline.audited_tables) IS
  'The partitions of a table, each with its name.';

-- Returns whether a relation exists and has had no row since it was created or truncated.
CREATE FUNCTION threadline_internal.is_blank_table(relation oid) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT EXISTS (SELECT FROM pg_class AS c
                  WHERE c.oid = is_blank_table.relation AND c.relkind = 'r' AND pg_relation_size(c.oid) = 0)
$function$;
COMMENT ON FUNCTION threadline_internal.is_blank_table(oid) IS 'Whether a table exists and takes no space.';

-- Returns whether a partition was empty when it was detached. DETACH alters its columns and its indexes, and a later
-- TRUNCATE makes the indexes newer than the columns; without indexes, the table.
CREATE FUNCTION threadline_internal.was_left_blank(relation oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.is_blank_table(was_left_blank.relation) AND NOT EXISTS (
    SELECT FROM pg_class AS c
     WHERE (c.oid IN (SELECT i.indexrelid FROM pg_index AS i WHERE i.indrelid = was_left_blank.relation)
            OR c.oid = was_left_blank.relation AND NOT c.relhasindex)
       AND age(c.xmin) < (SELECT min(age(a.xmin)) FROM pg_attribute AS a
                           WHERE a.attrelid = was_left_blank.relation AND a.attnum > 0))
$function$;
COMMENT ON FUNCTION threadline_internal.was_left_blank(oid) IS 'Whether a partition was empty when it was detached.';

-- Returns the partitions that no longer exist. A branch has no rows of its own. An empty one had to be emptied by an
-- earlier TRUNCATE, which is recorded.
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
     AND NOT threadline_internal.was_left_blank(m.key::oid)
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
   GROUP BY y.relation
  HAVING NOT (bool_or(y.file IS NULL) AND threadline_internal.was_left_blank(y.relation))
$function$;
COMMENT ON FUNCTION threadline_internal.lost_members(threadline.audited_tables) IS
  'The partitions that removed rows from a table since its last refresh.';

-- Returns the partitions added since the last refresh, each with the transactions and commands that attached it or one
-- of its branches.
CREATE FUNCTION threadline_internal.new_members(audited threadline.audited_tables)
RETURNS TABLE (relation regclass, attached_by xid, at_command cid)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH RECURSIVE above AS (
    SELECT p.relid::oid AS leaf, p.relid::oid AS child
      FROM threadline_internal.partition_tree(audited.relation) AS p
     WHERE p.isleaf AND p.relid <> audited.relation
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
  'The partitions added since the last refresh of a table.';

-- Returns the transactions that attached a partition and each of its branches. After it is detached and attached again,
-- they differ.
CREATE FUNCTION threadline_internal.partition_links(relation oid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH RECURSIVE link AS (
    SELECT 1 AS height, i.inhparent, i.xmin AS attached_by FROM pg_inherits AS i
     WHERE i.inhrelid = partition_links.relation
    UNION ALL
    SELECT l.height + 1, i.inhparent, i.xmin FROM link AS l JOIN pg_inherits AS i ON i.inhrelid = l.inhparent
  )
  SELECT string_agg(l.attached_by::text, ' ' ORDER BY l.height) FROM link AS l
$function$;
COMMENT ON FUNCTION threadline_internal.partition_links(oid) IS
  'The transactions that attached a partition and its branches.';

-- Returns whether a table was truncated past its capture since a transaction: its file is not the one that it was
-- created with, and its row of pg_class is younger. A migration that rewrites the table alters a column, too.
CREATE FUNCTION threadline_internal.was_truncated(relation oid, since xid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT EXISTS (SELECT FROM pg_class AS c
                  WHERE c.oid = was_truncated.relation AND pg_relation_filenode(c.oid) <> c.oid
                    AND age(c.xmin) < age(since)
                    AND NOT EXISTS (SELECT FROM pg_attribute AS a
                                     WHERE a.attrelid = c.oid AND age(a.xmin) < age(since)))
$function$;
COMMENT ON FUNCTION threadline_internal.was_truncated(oid, xid) IS
  'Whether a table may have been truncated since a transaction.';

-- Returns whether a partition, at its first write, has rows that the running statement did not write. `version` and
-- `command` name the statement. It has not changed any of the other rows yet: see threadline_internal.note_partition.
-- A transaction that keeps its snapshot may not see them. If the audit log cannot read the partition, the write goes on
-- all the same.
CREATE FUNCTION threadline_internal.has_other_rows(audited threadline.audited_tables, written oid, version xid,
  command cid) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET row_security = off SET enable_seqscan = on
SET jit = off
AS $function$
DECLARE
  own boolean := has_table_privilege(written, 'SELECT');
  is_filled boolean;
BEGIN
  PERFORM threadline_internal.check_foreign_code(written::regclass);
  -- Any other writer since then has left a note, in the same transaction.
  EXECUTE format('SELECT EXISTS (SELECT FROM %s AS r
                                  WHERE %s AND (r.xmin = $2 AND r.cmin = $3) IS NOT TRUE)
                     AND NOT EXISTS (SELECT FROM threadline_internal.young_partitions AS y
                                      WHERE y.table_id = $4 AND y.relation = $1 AND y.is_filled IS NOT NULL)',
      CASE WHEN own THEN written ELSE audited.relation::oid END::regclass,
      CASE WHEN own THEN 'true' ELSE 'r.tableoid = $1' END)
    INTO is_filled USING written, version, command, audited.id;
  IF NOT is_filled AND current_setting('transaction_isolation') IN ('repeatable read', 'serializable')
    AND NOT EXISTS (SELECT FROM threadline_internal.partition_tree(audited.relation) AS p WHERE p.relid = written) THEN
    RETURN NULL;
  END IF;
  RETURN is_filled;
EXCEPTION WHEN OTHERS THEN
  RETURN NULL;
END
$function$;
COMMENT ON FUNCTION threadline_internal.has_other_rows(threadline.audited_tables, oid, xid, cid) IS
  'Whether a partition has rows that the running statement has not written; NULL if that cannot be determined.';

-- Returns, at the first write of a partition, whether it was attached with rows that no refresh knows. If that write is
-- not an INSERT, the partition was attached with rows, and the write may have changed all of them.
CREATE FUNCTION threadline_internal.is_filled_partition(audited threadline.audited_tables, written oid,
  operation text, version xid, command cid) RETURNS boolean
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN (audited.catalog_versions ->> 'database' = threadline_internal.database_identity()
                AND NOT audited.catalog_versions -> 'members' ? written::text) IS NOT TRUE THEN false
    WHEN operation IN ('UPDATE', 'DELETE') THEN true
    WHEN (SELECT bool_and(threadline_internal.was_truncated(n.relation, n.attached_by))
            FROM threadline_internal.new_members(audited) AS n WHERE n.relation = written::regclass) THEN true
    ELSE threadline_internal.has_other_rows(audited, written, version, command) END
$function$;
COMMENT ON FUNCTION
  threadline_internal.is_filled_partition(threadline.audited_tables, oid, text, xid, cid) IS
  'Whether a partition unknown to every refresh had rows when it was attached; NULL if that cannot be determined.';

-- Records a write to a partition that no refresh knows. Two concurrent writers both record it, and neither waits for
-- the other. `version`, `command` and `place` are xmin, cmin and ctid of the old row, or of the new row of an INSERT. A
-- statement can insert rows first and then write rows that came with the partition, as INSERT ... ON CONFLICT does. The
-- transaction of the first note therefore looks at each older row: a row that came with the partition has the xmin of
-- another transaction, or a position before the first row that was written.
CREATE FUNCTION threadline_internal.note_partition(table_id integer, written oid, operation text, version xid,
  command cid, place tid) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
DECLARE
  here text := threadline_internal.database_identity();
  running xid8 := pg_current_xact_id();
  noted record;
  is_filled boolean := true;
BEGIN
  SELECT count(*) > 0 AS is_there, bool_and(y.noted_by = running AND y.is_filled IS NOT TRUE) AS may_be_filled,
         (array_agg(y.first_row ORDER BY y.first_row))[1] AS first_row
    INTO noted FROM threadline_internal.young_partitions AS y
   WHERE y.table_id = note_partition.table_id AND y.relation = written
     AND (y.is_filled IS NOT NULL OR y.noted_by = running);
  IF noted.is_there AND (operation = 'INSERT' OR NOT noted.may_be_filled OR (place < noted.first_row) IS NOT TRUE
      AND pg_xact_status((running::text::bigint - age(version))::text::xid8) = 'in progress') THEN
    RETURN;
  END IF;
  INSERT INTO threadline_internal.young_partitions
  SELECT t.id, written, here, running, f.is_filled, place, threadline_internal.partition_links(written),
         pg_relation_filenode(written)
    FROM threadline.audited_tables AS t
   CROSS JOIN threadline_internal.is_filled_partition(t, written, operation, version, command) AS f (is_filled)
   WHERE t.id = note_partition.table_id;
END
$function$;
COMMENT ON FUNCTION threadline_internal.note_partition(integer, oid, text, xid, cid, tid) IS
  'Records a write to a partition that no refresh knows.';

-- Records the partitions that no refresh knows and that a recorded TRUNCATE is about to empty.
CREATE FUNCTION threadline_internal.note_truncation(table_id integer, truncated oid) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  INSERT INTO threadline_internal.young_partitions
  SELECT t.id, p.relid, threadline_internal.database_identity(), pg_current_xact_id(),
         CASE WHEN NOT EXISTS (SELECT FROM threadline_internal.young_partitions AS y
                                WHERE y.table_id = t.id AND y.relation = p.relid AND y.is_filled IS NOT NULL)
           THEN threadline_internal.is_filled_partition(t, p.relid, 'TRUNCATE', NULL, NULL) ELSE false END,
         NULL, threadline_internal.partition_links(p.relid), NULL
    FROM threadline.audited_tables AS t CROSS JOIN pg_partition_tree(note_truncation.truncated) AS p
   WHERE t.id = note_truncation.table_id AND p.isleaf
     AND t.catalog_versions ->> 'database' = threadline_internal.database_identity()
     AND NOT t.catalog_versions -> 'members' ? p.relid::oid::text
$function$;
COMMENT ON FUNCTION threadline_internal.note_truncation(integer, oid) IS
  'Records the partitions that no refresh knows and that are about to be truncated.';

-- Returns the partitions that were attached with rows. The first writer of a partition recorded whether it had any. In
-- a partition that nobody has written, every row came with it. Where the writer could not determine it, the
-- transactions of the rows do: such rows are older than their partition.
CREATE FUNCTION threadline_internal.filled_members(audited threadline.audited_tables) RETURNS SETOF text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  here text := threadline_internal.database_identity();
  member record;
  own boolean;
  brought boolean;
BEGIN
  IF NOT threadline_internal.is_partitioned(audited.relation) THEN
    RETURN;
  END IF;
  FOR member IN
    SELECT n.*, EXISTS (SELECT FROM threadline_internal.young_partitions AS y
                         WHERE y.table_id = audited.id AND y.relation = n.relation AND y.database = here) AS is_noted
      FROM threadline_internal.new_members(audited) AS n
     WHERE pg_relation_size(n.relation) > 0
       AND NOT EXISTS (SELECT FROM threadline_internal.young_partitions AS y
                        WHERE y.table_id = audited.id AND y.relation = n.relation AND y.database = here
                          AND y.is_filled IS NOT NULL) LOOP
    -- A role that may not read the table cannot determine it. The refresh can.
    CONTINUE WHEN NOT has_table_privilege(audited.relation, 'SELECT');
    PERFORM threadline_internal.check_foreign_code(audited.relation);
    own := has_table_privilege(member.relation, 'SELECT');
    -- Looks for rows at the beginning of the partition, through the table: that costs next to nothing.
    EXECUTE format('SELECT EXISTS (SELECT FROM %s AS r WHERE %s
                      AND (NOT $5 OR age(r.xmin) > age($3)
                           OR r.xmin = $3 AND r.cmin::text::bigint < $4::text::bigint))',
                   CASE WHEN own THEN member.relation ELSE audited.relation END,
                   CASE WHEN own THEN 'true' ELSE 'r.tableoid = $1 AND r.ctid = ANY ($2)' END)
      INTO brought
      USING member.relation, ARRAY(SELECT format('(%s,%s)', b, i)::tid
                                     FROM generate_series(0, 7) AS b, generate_series(1, 40) AS i),
        member.attached_by, member.at_command, member.is_noted;
    IF brought THEN
      RETURN NEXT member.relation::text;
    END IF;
  END LOOP;
  RETURN QUERY
    SELECT y.relation::regclass::text
      FROM threadline_internal.young_partitions AS y
     WHERE y.table_id = audited.id AND y.database = here
       AND (y.is_filled OR y.links <> threadline_internal.partition_links(y.relation));
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
  'The partitions that added rows to a table since its last refresh, or may have before it was restored.';

-- Returns the partitions that may have been truncated directly before a refresh knew them: they have no trigger yet
-- that fires for it.
CREATE FUNCTION threadline_internal.truncated_members(audited threadline.audited_tables) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT n.relation::text
    FROM threadline_internal.new_members(audited) AS n
   WHERE NOT EXISTS (SELECT FROM threadline_internal.young_partitions AS y
                      WHERE y.table_id = audited.id AND y.relation = n.relation)
   GROUP BY n.relation
  HAVING bool_and(threadline_internal.was_truncated(n.relation, n.attached_by))
  UNION ALL
  SELECT y.relation::regclass::text
    FROM threadline_internal.young_partitions AS y
   WHERE y.table_id = audited.id AND y.database = threadline_internal.database_identity()
   GROUP BY y.relation
  HAVING bool_and(y.file IS NOT NULL AND y.file <> pg_relation_filenode(y.relation)
                  AND NOT EXISTS (SELECT FROM pg_attribute AS a
                                   WHERE a.attrelid = y.relation AND age(a.xmin) < age(y.xmin)))
$function$;
COMMENT ON FUNCTION threadline_internal.truncated_members(threadline.audited_tables) IS
  'The partitions that may have been truncated without being captured since the last refresh of a table.';

-- Returns which partitions added or removed rows; NULL if none did.
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
       FROM threadline_internal.filled_members(audited) AS m HAVING count(*) > 0),
    (SELECT format('partition %s was truncated before a refresh knew it', string_agg(DISTINCT m, ', ' ORDER BY m))
       FROM threadline_internal.truncated_members(audited) AS m HAVING count(*) > 0)), '');
END
$function$;
COMMENT ON FUNCTION threadline_internal.member_gap(threadline.audited_tables) IS
  'The partitions that changed the rows of a table when they were attached or detached since its last refresh.';
