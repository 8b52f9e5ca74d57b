-- Writes the function that gives a key, a row of its columns, as audit_changes.key_text holds it. Keys of another kind
-- need none.
CREATE FUNCTION threadline_internal.row_key_function(audited threadline.audited_tables)
RETURNS TABLE (signature text, definition text, description text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('threadline_internal.row_key_%s(anyelement)', audited.id),
         format('RETURNS text LANGUAGE plpgsql STABLE PARALLEL SAFE %s AS %L',
           threadline_internal.settings_clause(threadline_internal.canonical_settings()),
           threadline_internal.render($sql$
BEGIN
  RETURN (SELECT ({key}) #>> '{}' FROM (SELECT {image} AS image FROM to_jsonb($1) AS k) AS i);
END
$sql$,
             jsonb_build_object('image', format(CASE WHEN audited.hashed_columns = '{}' THEN 'jsonb_build_object(%s)'
                 ELSE 'threadline_internal.hashed_image(jsonb_build_object(%s), %s, %L, true)' END, v.list, audited.id,
                 threadline_internal.hash_kinds(audited.relation, audited.hashed_columns)),
               'key', threadline_internal.key_expression(audited, 'image')))),
         format('A key of %s as audit_changes.key_text holds it.', audited.relation)
    FROM (SELECT string_agg(format('%L, k -> %L', name, 'f' || position), ', ' ORDER BY position)
            FROM unnest(audited.key_columns) WITH ORDINALITY AS k (name, position)) AS v (list)
   WHERE audited.key_type = 'text'
$function$;
COMMENT ON FUNCTION threadline_internal.row_key_function(threadline.audited_tables) IS
  'Definition of the function that gives a key of a table as text.';

-- What threadline.versions gives, but for the row in its own type.
CREATE FUNCTION threadline_internal.versions_columns() RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'id bigint, transaction_id uuid, op text, captured_at timestamptz, row_key text, moved_key text, '
    'changed_fields text[], diff jsonb, "row" jsonb, row_before jsonb, data_after jsonb, changed_from jsonb, '
    'actor_ref jsonb, on_behalf_of jsonb, source text, correlation_id text, request_id text, job_id text, '
    'remote_ip inet, meta jsonb, occurred_at timestamptz, database_role text, application_name text'
$function$;
COMMENT ON FUNCTION threadline_internal.versions_columns() IS
  'SQL for the columns of threadline.versions but typed_row, with their types.';

-- Lists their names alone.
CREATE FUNCTION threadline_internal.versions_names() RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(split_part(c.name, ' ', 1), ', ' ORDER BY c.place)
    FROM unnest(string_to_array(threadline_internal.versions_columns(), ', ')) WITH ORDINALITY AS c (name, place)
$function$;
COMMENT ON FUNCTION threadline_internal.versions_names() IS 'The names of the columns of threadline.versions.';

-- Writes a function that gives the changes of a table which meet a condition: versions_N(NULL::t) for all of them, and
-- versions_N(NULL::t, key...) for those of one row. It is plain SQL without SECURITY DEFINER or SET, so that the
-- planner inlines it and conditions reach the indexes. So a reader needs SELECT on the audit log, and every name and
-- operator has its schema.
CREATE FUNCTION threadline_internal.versions_definition(audited threadline.audited_tables, condition text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format(E'RETURNS TABLE (%s, typed_row anyelement)\nLANGUAGE sql STABLE PARALLEL SAFE AS %L',
    threadline_internal.versions_columns(),
    threadline_internal.render($sql$
SELECT c.id, c.transaction_id, c.op, c.captured_at,
       coalesce(c.key_integer::pg_catalog.text, c.key_bigint::pg_catalog.text, c.key_uuid::pg_catalog.text, c.key_text),
       c.moved_key,
       ARRAY(SELECT pg_catalog.jsonb_object_keys(coalesce(c.changed_from, c.data_after)
         OPERATOR(pg_catalog.-) ''::pg_catalog.text)),
       {diff},
       {row},
       CASE WHEN c.changed_from IS NOT NULL THEN {row_before} END,
       c.data_after, c.changed_from,
       CASE WHEN c.context IS NULL THEN t.actor_ref ELSE c.context OPERATOR(pg_catalog.->) 'actor_ref' END,
       CASE WHEN c.context IS NULL THEN t.on_behalf_of ELSE c.context OPERATOR(pg_catalog.->) 'on_behalf_of' END,
       CASE WHEN c.context IS NULL THEN t.source ELSE c.context OPERATOR(pg_catalog.->>) 'source' END,
       CASE WHEN c.context IS NULL THEN t.correlation_id ELSE c.context OPERATOR(pg_catalog.->>) 'correlation_id' END,
       CASE WHEN c.context IS NULL THEN t.request_id ELSE c.context OPERATOR(pg_catalog.->>) 'request_id' END,
       CASE WHEN c.context IS NULL THEN t.job_id ELSE c.context OPERATOR(pg_catalog.->>) 'job_id' END,
       CASE WHEN c.context IS NULL THEN t.remote_ip
            ELSE (c.context OPERATOR(pg_catalog.->>) 'remote_ip')::pg_catalog.inet END,
       CASE WHEN c.context IS NULL THEN t.meta ELSE c.context OPERATOR(pg_catalog.->) 'meta' END,
       t.occurred_at, t.database_role, t.application_name,
       {typed_row}
  FROM threadline.audit_changes AS c
  LEFT JOIN threadline.audit_transactions AS t ON t.id OPERATOR(pg_catalog.=) c.transaction_id
 WHERE {check_row_type} AND c.table_id OPERATOR(pg_catalog.=) {table_id}{condition}$sql$, jsonb_build_object(
      'table', audited.relation, 'table_id', audited.id, 'condition', ' AND ' || condition,
      'check_row_type', threadline_internal.check_row_type_condition(audited),
      'row', whole_row,
      'typed_row', format(CASE WHEN threadline_internal.reads_with_care(audited)
            OR threadline_internal.may_have_json_nulls(audited.relation)
          THEN 'threadline_internal.row_or_error(NULL::%s, %s, c.id)'
          ELSE 'pg_catalog.jsonb_populate_record(NULL::%s, %s)' END, audited.relation, whole_row),
      'row_before', threadline_internal.row_before_expression(audited),
      'diff', threadline_internal.diff_expression(audited))))
    FROM threadline_internal.row_expression(audited, 'coalesce(c.data_after, c.changed_from)') AS whole_row
$function$;
COMMENT ON FUNCTION threadline_internal.versions_definition(threadline.audited_tables, text) IS
  'Definition of the function that gives those changes of a table that meet a condition, or all.';

-- Lists the functions that read the history of a table.
CREATE FUNCTION threadline_internal.history_functions(audited threadline.audited_tables)
RETURNS TABLE (signature text, definition text, description text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT * FROM threadline_internal.row_key_function(audited)
  UNION ALL
  SELECT format('threadline_internal.versions_%s(anyelement)', audited.id),
         threadline_internal.versions_definition(audited, NULL),
         format('Every recorded change of %s.', audited.relation)
  UNION ALL
  SELECT format('threadline_internal.versions_%s(anyelement, %s)', audited.id, key.types),
         threadline_internal.versions_definition(audited,
           threadline_internal.recorded_key(audited, threadline_internal.key_arguments(key.casts, 2))),
         format('Every recorded change of one row of %s, by its primary key.', audited.relation)
    FROM threadline_internal.key_signatures(audited) AS key
$function$;
COMMENT ON FUNCTION threadline_internal.history_functions(threadline.audited_tables) IS
  'Definitions of the functions that give the changes of a table.';
