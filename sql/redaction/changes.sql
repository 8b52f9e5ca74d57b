-- Redaction removes values from the audit log that must no longer be in it, one batch of changes at a time. Only the
-- owner of the audit log may redact, and the audit log records who did it, why, and how much.

-- Returns the table with its present column names: a column that was renamed since the last refresh has its former name
-- in everything recorded before.
CREATE FUNCTION threadline_internal.redactable_table(relation regclass) RETURNS threadline.audited_tables
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  audited threadline.audited_tables;
BEGIN
  SELECT t.* INTO audited FROM threadline_internal.audited_table(redactable_table.relation) AS t;
  IF NOT FOUND THEN
    PERFORM threadline_internal.raise_redaction_error(coalesce(relation::text, 'NULL'), 'nothing of it is recorded',
      'See threadline.audited_tables; a table that is gone is named by the number that stands there for it.');
  ELSIF EXISTS (SELECT FROM pg_class AS c WHERE c.oid = relation) THEN
    audited.definition := threadline_internal.describe_table(relation, audited.definition,
      threadline_internal.redacted_names(audited));
    audited.definition_id := NULL;
    audited.older_definitions := threadline_internal.older_definitions(audited, audited.definition -> 'columns');
    audited.key_columns := coalesce((SELECT nullif(k.columns, '{}') FROM threadline_internal.primary_key(relation)
      AS k), audited.key_columns);
  END IF;
  -- If values identify the rows of the past, a redacted row could not be distinguished from another one.
  IF audited.key_type IS NULL OR EXISTS (SELECT FROM threadline_internal.recorded_key_columns(audited) AS k
    WHERE k.recorded IS NULL) THEN
    PERFORM threadline_internal.raise_redaction_error(relation::text,
      'its rows have no primary key by which the past knows them',
      'Give the table a primary key, not of one jsonb column, and refresh its capture.');
  END IF;
  RETURN audited;
END
$function$;
COMMENT ON FUNCTION threadline_internal.redactable_table(regclass) IS
  'A table whose changes are to be redacted, with the present names of its columns; raises an error if it cannot be '
  'redacted.';

-- Finds the changes as the timeline does, through the key indexes. The text decides, as for holds: 007 is not a key,
-- although the index of integers finds it. Without a batch size, LIMIT is NULL.
CREATE FUNCTION threadline_internal.redactable_changes(table_id integer, row_key text,
  after_at timestamptz DEFAULT NULL,
  after_id bigint DEFAULT NULL, batch_size integer DEFAULT NULL) RETURNS SETOF threadline.audit_changes
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
SET enable_seqscan = off SET jit = off
AS $function$
DECLARE
  names jsonb := jsonb_build_object('row_key', quote_nullable(row_key), 'limit', quote_nullable(batch_size),
    'position', CASE WHEN after_at IS NULL THEN '' ELSE
      format(' AND c.captured_at >= %1$L::timestamptz AND (c.captured_at, c.id) > (%1$L::timestamptz, %2$s)', after_at,
        after_id) END);
  changes text := (
    SELECT string_agg(threadline_internal.render('(SELECT c.* FROM {tables} CROSS JOIN LATERAL (
          SELECT c.* FROM threadline.audit_changes AS c
           WHERE {condition}{position}
           ORDER BY c.captured_at, c.id LIMIT {limit}) AS c)',
        names || jsonb_build_object('tables', s.tables, 'condition', s.condition)), ' UNION ALL ')
      FROM threadline_internal.timeline_sources(threadline_internal.row_filter(table_id, row_key), 1) AS s);
BEGIN
  RETURN QUERY EXECUTE threadline_internal.render(
    'SELECT * FROM ({changes}) AS c ORDER BY c.captured_at, c.id LIMIT {limit}',
    names || jsonb_build_object('changes', changes));
END
$function$;
COMMENT ON FUNCTION threadline_internal.redactable_changes(integer, text, timestamptz, bigint, integer) IS
  'Changes of one row, oldest first, after a position.';

-- Returns the recorded columns of a change: the present name of each and the name under which it was recorded. A
-- dropped column keeps its name here, even if another column has it today: a redaction of that name covers both.
CREATE FUNCTION threadline_internal.recorded_names(change threadline.audit_changes, older jsonb)
RETURNS TABLE (name text, recorded text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(older #>> ARRAY[change.definition_id::text, 'names', k], k), k
    FROM jsonb_object_keys(coalesce(change.data_after, '{}') || coalesce(change.changed_from, '{}')) AS k
$function$;
COMMENT ON FUNCTION threadline_internal.recorded_names(threadline.audit_changes, jsonb) IS
  'The columns that a change recorded: their present names, and those under which they were recorded.';

-- Never adds a column key to an image and never removes one: the fact that a column changed stays known, and a missing
-- column that was added later would be read as its default. The new values belong to the given definition. Each image
-- stores that if values of a column were converted since: of any column, if no refresh has followed that definition.
CREATE FUNCTION threadline_internal.redacted_change(change threadline.audit_changes, older jsonb, replacements jsonb,
  definition_id integer DEFAULT NULL, is_stale boolean DEFAULT false, OUT data_after jsonb, OUT changed_from jsonb,
  OUT replaced text[])
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN m.marks = '{}' THEN x.data_after
           ELSE threadline_internal.image_redacted_under(x.data_after, m.marks) END,
         CASE WHEN m.marks = '{}' THEN x.changed_from
           ELSE threadline_internal.image_redacted_under(x.changed_from, m.marks) END, x.replaced
    FROM (
      SELECT change.data_after || coalesce(jsonb_object_agg(r.recorded, r.value) FILTER (WHERE r.is_after), '{}')
               AS data_after,
             change.changed_from || coalesce(jsonb_object_agg(r.recorded, r.value) FILTER (WHERE r.is_from), '{}')
               AS changed_from,
             coalesce(array_agg(r.name) FILTER (WHERE r.is_after), '{}')
               || coalesce(array_agg(r.name) FILTER (WHERE r.is_from), '{}') AS replaced,
             coalesce(jsonb_object_agg(r.recorded, definition_id) FILTER (
               WHERE (r.is_after OR r.is_from) AND (r.is_converted OR is_stale)), '{}') AS marks
        FROM (SELECT n.name, n.recorded, v.value, v.is_converted,
                     coalesce(change.data_after -> n.recorded <> v.value OR change.data_after ? n.recorded
                       AND v.is_converted, false) AS is_after,
                     coalesce(change.changed_from -> n.recorded <> v.value OR change.changed_from ? n.recorded
                       AND v.is_converted, false) AS is_from
                FROM threadline_internal.recorded_names(change, older) AS n
               CROSS JOIN threadline_internal.redacted_under(
                 coalesce(change.data_after, '{}') || coalesce(change.changed_from, '{}')) AS u (redacted)
               CROSS JOIN LATERAL (
                 SELECT replacements -> n.name AS value, threadline_internal.is_converted(
                          older -> coalesce(u.redacted ->> n.recorded, change.definition_id::text), n.name)
                          AS is_converted) AS v
               WHERE replacements ? n.name) AS r) AS x
   CROSS JOIN LATERAL (SELECT CASE WHEN x.marks = '{}' THEN '{}' ELSE threadline_internal.redacted_under(
     coalesce(change.data_after, '{}') || coalesce(change.changed_from, '{}')) || x.marks END AS marks) AS m
$function$;
COMMENT ON FUNCTION
  threadline_internal.redacted_change(threadline.audit_changes, jsonb, jsonb, integer, boolean) IS
  'The images of a change with replaced values, and the column of each replaced value.';

-- Returns the present definition of the table, and whether no refresh has followed it.
CREATE FUNCTION threadline_internal.definition_of_redaction(audited threadline.audited_tables,
  OUT definition_id integer, OUT is_stale boolean)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  SELECT t.definition_id,
         CASE WHEN EXISTS (SELECT FROM pg_class AS c WHERE c.oid = audited.relation)
           THEN d.layout IS DISTINCT FROM threadline_internal.column_layout(audited.relation) ELSE false END
    INTO definition_id, is_stale
    FROM threadline.audited_tables AS t LEFT JOIN threadline.table_definitions AS d ON d.id = t.definition_id
   WHERE t.id = audited.id;
  IF is_stale THEN
    definition_id := (threadline_internal.enter_definition(audited.id, audited.relation)).definition_id;
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.definition_of_redaction(threadline.audited_tables) IS
  'The definition under which the values of a redaction are written.';
