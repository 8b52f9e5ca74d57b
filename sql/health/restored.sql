-- Problems that a restore or a copy can cause in the audit log itself.

-- Returns identity sequences that are behind the ids in their tables. Logical replication does not copy sequences.
CREATE FUNCTION threadline_internal.health_sequences()
RETURNS TABLE ("check" text, severity text, table_schema text, table_name text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'sequence_behind', 'error', 'threadline', i.name,
         format('the sequence of its ids is at %s, and the greatest id is %s', n.next_id, i.greatest),
         -- The sequence never goes back, even if the hint is old.
         format('SELECT setval(%1$L, greatest(%2$s, nextval(%1$L)));', q.sequence, i.greatest)
    FROM (SELECT 'audit_changes' AS name, (
             -- The newest changes have the greatest ids; reading all of them would take long.
             SELECT max(c.id) FROM (SELECT l.id FROM threadline.audit_changes AS l
                                     ORDER BY l.transaction_id DESC LIMIT 10000) AS c) AS greatest
          UNION ALL SELECT 'audited_tables', max(t.id) FROM threadline.audited_tables AS t
          UNION ALL SELECT 'table_definitions', max(d.id) FROM threadline.table_definitions AS d) AS i
   CROSS JOIN LATERAL (SELECT pg_get_serial_sequence('threadline.' || i.name, 'id') AS sequence) AS q
   CROSS JOIN LATERAL (SELECT CASE WHEN has_sequence_privilege(q.sequence, 'SELECT')
           THEN coalesce(pg_sequence_last_value(q.sequence::regclass), 0) END AS next_id) AS n
   WHERE i.greatest > n.next_id
$function$;
COMMENT ON FUNCTION threadline_internal.health_sequences() IS
  'A finding for each sequence of ids that is behind the ids of its table.';

-- Returns the rows that the audit log of another database left in this one.
CREATE FUNCTION threadline_internal.health_foreign()
RETURNS TABLE ("check" text, severity text, table_schema text, table_name text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'audited_twice', 'error', t.table_schema, t.table_name,
         'the audit log of another database was loaded into this one, which audits the table, too',
         'SELECT threadline.refresh_audited_tables(); what the other database recorded stays under the name of the '
         'table, as that of a table that is gone.'
    FROM threadline.audited_tables AS t WHERE threadline_internal.is_audited_twice(t)
  UNION ALL
  SELECT 'changes_unknown', 'error', 'threadline', 'audit_changes',
         format('there are changes of table %s, which audited_tables does not know', u.table_id),
         'A part of the audit log of another database was loaded into this one. See the guide to restores.'
    FROM threadline_internal.recorded_table_ids() AS u (table_id)
   WHERE NOT EXISTS (SELECT FROM threadline.audited_tables AS t WHERE t.id = u.table_id)
$function$;
COMMENT ON FUNCTION threadline_internal.health_foreign() IS
  'Findings where rows of the audit log of another database were loaded into this one.';

-- Returns the ids of the tables with recorded changes, using an index in that order.
CREATE FUNCTION threadline_internal.recorded_table_ids() RETURNS SETOF integer
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $function$
DECLARE
  found_id integer := 0;
BEGIN
  LOOP
    found_id := (SELECT min(c.table_id) FROM threadline.audit_changes AS c WHERE c.table_id > found_id);
    EXIT WHEN found_id IS NULL;
    RETURN NEXT found_id;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.recorded_table_ids() IS 'The ids of the tables with recorded changes.';
