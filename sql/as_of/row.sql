-- Returns row_as_of_N(NULL::t, time, key...), which finds the state of one row by single look-ups. `image` is NULL if
-- the live row is the result; the columns of a change are those of the change that deleted the row.
-- At most one transaction can straddle the time and have written the row before it: the next one to write it had to
-- wait. Snapshots are not events, and are left out: one may be written while an update with an earlier time is still in
-- progress.
-- More than 60 lines, because it reads like the function that it writes.
CREATE FUNCTION threadline_internal.row_as_of_body(audited threadline.audited_tables, casts text[])
RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$
DECLARE
  newest record;
  later record;
BEGIN
  PERFORM {check_row_type};
  since := threadline_internal.readable_since({table_id}, {shape});
  IF $2 IS NULL THEN
    PERFORM {check_past};
  ELSIF $2 < since THEN
    state := 'before_history';
    RETURN NEXT;
    RETURN;
  END IF;
  SELECT c.id, c.transaction_id, c.op, c.captured_at INTO newest FROM threadline.audit_changes AS c
   WHERE {of_row} AND c.captured_at <= $2 AND c.op <> 'snapshot' {newest_first} LIMIT 1;
  IF EXISTS (SELECT FROM threadline.audit_changes AS c WHERE {of_transaction} AND c.captured_at > $2) THEN
    SELECT c.id, c.op, c.captured_at, {row_before} AS image INTO later FROM threadline.audit_changes AS c
     WHERE {of_transaction} AND {of_row} AND c.op <> 'snapshot'
     ORDER BY c.captured_at, c.id LIMIT 1;
    SELECT c.id, c.op, c.captured_at INTO newest FROM threadline.audit_changes AS c
     WHERE {of_row} AND (c.captured_at, c.id) < (later.captured_at, later.id) AND c.op <> 'snapshot'
     {newest_first} LIMIT 1;
  ELSE
    SELECT c.id, c.op, {row_before} AS image INTO later FROM threadline.audit_changes AS c
     WHERE {of_row} AND c.captured_at > $2 AND c.op <> 'snapshot'
     ORDER BY c.captured_at, c.id LIMIT 1;
  END IF;
  IF later.op <> 'insert' THEN
    state := 'found';
    image := later.image;
    image_of := later.id;
  ELSIF later.op IS NULL AND EXISTS (SELECT FROM {live_rows} AS t WHERE {live_row}) THEN
    state := 'found';
{row_before_gaps}  ELSIF newest.op IN ('delete', 'truncate') THEN
    state := 'deleted';
    SELECT {values} INTO {columns} FROM threadline_internal.versions_{table_id}($1, {key}) AS v {of_newest};
  ELSE
    state := 'not_yet';
  END IF;
{without_gaps}  RETURN NEXT;
END
$sql$, jsonb_build_object(
    'table_id', audited.id,
    'shape', quote_literal(threadline_internal.table_shape(audited.relation)),
    'check_row_type', threadline_internal.check_row_type_condition(audited),
    'check_past', threadline_internal.check_past_condition(audited),
    'of_row', concat(format('c.table_id = %s AND %s', audited.id, threadline_internal.recorded_key(audited, key)),
      ' AND ' || threadline_internal.of_this_history(audited)),
    'of_transaction', 'c.transaction_id = newest.transaction_id',
    'newest_first', 'ORDER BY c.captured_at DESC, c.id DESC',
    'row_before', threadline_internal.row_before_expression(audited),
    'live_rows', threadline_internal.live_rows(audited.relation),
    'live_row', threadline_internal.live_key(audited, key),
    'row_before_gaps', threadline_internal.row_before_gaps(audited, key),
    'without_gaps', threadline_internal.image_without_gaps(audited),
    'values', (SELECT string_agg('v.' || name, ', ') FROM unnest(columns) AS name),
    'columns', array_to_string(columns, ', '),
    'key', (SELECT string_agg('$' || n + 2, ', ' ORDER BY n) FROM generate_subscripts(casts, 1) AS n),
    'of_newest', 'WHERE v.id = newest.id AND v.captured_at = newest.captured_at'))
    FROM threadline_internal.key_arguments(casts, 3) AS key,
         CAST('{id, transaction_id, op, captured_at, row_key, moved_key, changed_fields, diff, actor_ref, on_behalf_of,
           source, correlation_id, request_id, job_id, remote_ip, meta, occurred_at, database_role, application_name}'
           AS text[]) AS columns
$function$;
COMMENT ON FUNCTION threadline_internal.row_as_of_body(threadline.audited_tables, text[]) IS
  'PL/pgSQL for the state of one row at a time.';

-- Returns PL/pgSQL that creates an image of a live row for a time at which one of its columns has a gap.
CREATE FUNCTION threadline_internal.row_before_gaps(audited threadline.audited_tables, key text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$    IF $2 < {gap_until}::timestamptz THEN
      SELECT {image}, 0 INTO image, image_of FROM {live_rows} AS t WHERE {live_row};
    END IF;
$sql$, jsonb_build_object('gap_until', quote_literal(max(g.converted_at)),
    'image', CASE WHEN audited.hashed_columns = '{}' THEN 'to_jsonb(t.*)'
      ELSE format('threadline_internal.hashed_image(to_jsonb(t.*), %s, %L)', audited.id,
        threadline_internal.hash_kinds(audited.relation, audited.hashed_columns)) END,
    'live_rows', threadline_internal.live_rows(audited.relation),
    'live_row', threadline_internal.live_key(audited, key)))
    FROM threadline_internal.column_gaps(audited) AS g
  HAVING count(*) > 0
$function$;
COMMENT ON FUNCTION threadline_internal.row_before_gaps(threadline.audited_tables, text[]) IS
  'PL/pgSQL for the image of a live row if one of its columns has a gap; NULL if none has.';

-- Returns PL/pgSQL that removes the columns with a gap from an image.
CREATE FUNCTION threadline_internal.image_without_gaps(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$  image := threadline_internal.image_with_gaps(image, (
    SELECT jsonb_object_agg(g.name, g.reason)
      FROM unnest({names}::text[], {times}::timestamptz[], {reasons}::text[]) AS g (name, converted_at, reason)
     WHERE $2 < g.converted_at));
$sql$, jsonb_build_object('names', quote_literal(array_agg(c.name)), 'times', quote_literal(array_agg(g.converted_at)),
    'reasons', quote_literal(array_agg(g.message))))
    FROM threadline_internal.column_gaps(audited) AS g
    JOIN threadline_internal.columns_of(audited.relation) AS c USING (number)
  HAVING count(*) > 0
$function$;
COMMENT ON FUNCTION threadline_internal.image_without_gaps(threadline.audited_tables) IS
  'PL/pgSQL that removes columns with a gap from an image; NULL if none has one.';
