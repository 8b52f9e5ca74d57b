-- The statement that records rows. The sub-selects run once a statement, and only when there is a row to record:
-- an update that changes nothing leaves no transaction behind.
CREATE FUNCTION threadline_internal.record_rows(audited threadline.audited_tables, op text, key text, moved_key text,
  data_after text, changed_from text, rows text, written_at text DEFAULT 'written_at') RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format($sql$INSERT INTO threadline.audit_changes (transaction_id, table_id, op, captured_at,
      %1$skey_text, moved_key, data_after, changed_from, context)
    SELECT (SELECT threadline_internal.enter_transaction(%11$s, %2$s)), %2$s, %3$s, %11$s,
      %4$sCASE WHEN typed_key IS NULL THEN %5$s #>> '{}' END,
      (%6$s) #>> '{}',
      %7$s,
      %8$s,
      (SELECT threadline_internal.change_context())
    FROM (SELECT s.*, %9$s AS typed_key
            FROM (%10$s) AS s OFFSET 0) AS s$sql$,
    CASE WHEN typed THEN format('key_%s, ', audited.key_type) ELSE '' END, audited.id, op,
    CASE WHEN typed THEN 'typed_key, ' ELSE '' END, key, moved_key, data_after, changed_from,
    threadline_internal.typed_key(audited.key_type, key), rows, written_at)
    FROM (SELECT coalesce(audited.key_type <> 'text', false) AS typed) AS k
$function$;
COMMENT ON FUNCTION threadline_internal.record_rows(threadline.audited_tables, text, text, text, text, text, text, text) IS
  'SQL that adds rows to audit_changes.';

-- The same for one row, whose images are in variables: most statements write one row, and an expression in a variable costs
-- a fraction of one in a plan, which is set up for every statement. Whether the running transaction has its row is
-- asked for right here for the same reason, where threadline_internal.enter_transaction would find it.
CREATE FUNCTION threadline_internal.record_row(audited threadline.audited_tables, op text, key text, moved_key text,
  data_after text, changed_from text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format($sql$%1$s  running := CASE WHEN strpos(current_setting('threadline.changed_tables', true), ',%2$s,') > 0
      AND current_setting('transaction_isolation') <> 'serializable'
    THEN threadline_internal.transaction_id((date_part('epoch', transaction_timestamp()) * 1000000)::bigint) END;
  INSERT INTO threadline.audit_changes (transaction_id, table_id, op, captured_at, %3$skey_text, moved_key, data_after, changed_from, context)
  VALUES (coalesce((SELECT t.id FROM threadline.audit_transactions AS t
                     WHERE t.id = running AND written_at < t.occurred_at + interval '125 ms' * power(2, t.duration_class)),
                   threadline_internal.enter_transaction(written_at, %2$s)),
    %2$s, %4$s, written_at, %5$s%6$s #>> '{}'%7$s, %8$s, %9$s, %10$s, threadline_internal.change_context())$sql$,
    CASE WHEN typed THEN format(E'  typed_row_key := %s;\n', threadline_internal.typed_key(audited.key_type, key)) END,
    audited.id, CASE WHEN typed THEN format('key_%s, ', audited.key_type) END, op,
    CASE WHEN typed THEN 'typed_row_key, CASE WHEN typed_row_key IS NULL THEN ' END, key, CASE WHEN typed THEN ' END' END,
    moved_key, data_after, changed_from)
    FROM (SELECT coalesce(audited.key_type <> 'text', false) AS typed) AS k
$function$;
COMMENT ON FUNCTION threadline_internal.record_row(threadline.audited_tables, text, text, text, text, text) IS
  'PL/pgSQL that adds one row to audit_changes.';
