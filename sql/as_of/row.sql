-- row_as_of(NULL::t, time, key…): what became of one row, by single look-ups. `image` is NULL where the live row is
-- meant, and the columns of a change are those of the one that deleted the row.
-- At most one transaction can straddle the time and have written the row before it: the next to write it had to wait.
-- Snapshots are no events, and are left out: one may be written while an update with an earlier time is still in flight.
CREATE FUNCTION threadline_internal.row_as_of_body(audited threadline.audited_tables, live_rows text, before text, shape text,
  change_columns text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('
DECLARE
  newest record;
  later record;
BEGIN
  since := threadline_internal.readable_since(%1$s, %2$L);
  IF $2 IS NULL THEN
    PERFORM threadline_internal.check_past(%1$s, %2$L, $2);
  ELSIF $2 < since THEN
    state := ''before_history'';
    RETURN NEXT;
    RETURN;
  END IF;
  SELECT c.id, c.transaction_id, c.op, c.captured_at INTO newest FROM threadline.audit_changes AS c
   WHERE c.table_id = %1$s AND %3$s AND c.captured_at <= $2 AND c.op <> ''snapshot'' ORDER BY c.captured_at DESC, c.id DESC LIMIT 1;
  IF EXISTS (SELECT FROM threadline.audit_changes AS c WHERE c.transaction_id = newest.transaction_id AND c.captured_at > $2) THEN
    SELECT c.id, c.op, c.captured_at, %4$s AS image INTO later FROM threadline.audit_changes AS c
     WHERE c.transaction_id = newest.transaction_id AND c.table_id = %1$s AND %3$s AND c.op <> ''snapshot'' ORDER BY c.id LIMIT 1;
    SELECT c.id, c.op, c.captured_at INTO newest FROM threadline.audit_changes AS c
     WHERE c.table_id = %1$s AND %3$s AND c.captured_at <= later.captured_at AND c.id < later.id AND c.op <> ''snapshot''
     ORDER BY c.captured_at DESC, c.id DESC LIMIT 1;
  ELSE
    SELECT c.id, c.op, %4$s AS image INTO later FROM threadline.audit_changes AS c
     WHERE c.table_id = %1$s AND %3$s AND c.captured_at > $2 AND c.op <> ''snapshot'' ORDER BY c.id LIMIT 1;
  END IF;
  IF later.op <> ''insert'' THEN
    state := ''found'';
    image := later.image;
    image_of := later.id;
  ELSIF later.op IS NULL AND EXISTS (SELECT FROM %5$s AS t WHERE %6$s) THEN
    state := ''found'';
  ELSIF newest.op IN (''delete'', ''truncate'') THEN
    state := ''deleted'';
    SELECT %7$s INTO %8$s FROM threadline.versions($1, %9$s) AS v WHERE v.id = newest.id AND v.captured_at = newest.captured_at;
  ELSE
    state := ''not_yet'';
  END IF;
  RETURN NEXT;
END
', audited.id, shape, threadline_internal.recorded_key(audited, key), before, live_rows, threadline_internal.live_key(audited, key),
    (SELECT string_agg('v.' || c, ', ') FROM unnest(change_columns) AS c), array_to_string(change_columns, ', '), array_to_string(key, ', '))
    FROM (SELECT threadline_internal.key_arguments(audited, 3) AS key) AS k
$function$;
COMMENT ON FUNCTION threadline_internal.row_as_of_body(threadline.audited_tables, text, text, text, text[]) IS
  'PL/pgSQL for what became of one row.';
