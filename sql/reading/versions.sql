-- The functions that give the changes of a table: versions(NULL::t) for all of them, versions(NULL::t, key…) for one row's.
-- Plain SQL without SECURITY DEFINER or SET, so that the planner inlines them and conditions reach the indexes;
-- so a reader needs SELECT on the audit log, and every name and operator is written with its schema.
CREATE FUNCTION threadline_internal.history_functions(audited threadline.audited_tables)
RETURNS TABLE (signature text, definition text, description text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  row_type text := audited.relation::text;
  key record;
  with_key text;
  row_after text := threadline_internal.row_expression(audited, 'coalesce(c.data_after, c.changed_from)');
  row_before text := threadline_internal.row_expression(audited,
    'coalesce(c.data_after OPERATOR(pg_catalog.||) c.changed_from, c.changed_from)');
  diff text := threadline_internal.diff_expression(audited);
  key_condition text;
BEGIN
  SELECT * INTO key FROM threadline_internal.primary_key(audited.relation);
  with_key := array_to_string(row_type || key.types, ', ');
  key_condition := threadline_internal.recorded_key(audited, threadline_internal.key_arguments(audited, 2));

  IF audited.key_type = 'text' THEN
    signature := format('threadline_internal.row_key(%s)', with_key);
    definition := format($sql$RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS %L$sql$,
      (SELECT format('SELECT (%s) #>> ''{}'' FROM (SELECT jsonb_build_object(%s) AS image) AS i',
                threadline_internal.key_expression(audited, 'image'),
                string_agg(format('%L, $%s', name, position + 1), ', ' ORDER BY position))
         FROM unnest(key.columns) WITH ORDINALITY AS k (name, position)));
    description := format('A key of %s as audit_changes.key_text holds it.', row_type);
    RETURN NEXT;
  END IF;

  FOREACH signature IN ARRAY array_remove(ARRAY[row_type, CASE WHEN audited.key_type IS NOT NULL THEN with_key END], NULL) LOOP
    description := CASE WHEN signature = row_type THEN format('Every recorded change of %s.', row_type)
      ELSE format('Every recorded change of one row of %s, by its primary key.', row_type) END;
    definition := format($sql$RETURNS TABLE (
  id bigint, transaction_id uuid, op text, captured_at timestamptz, row_key text, moved_key text, changed_fields text[],
  diff jsonb, "row" jsonb, row_before jsonb, data_after jsonb, changed_from jsonb,
  actor_ref jsonb, on_behalf_of jsonb, source text, correlation_id text, request_id text, job_id text, remote_ip inet, meta jsonb,
  occurred_at timestamptz, database_role text, application_name text, typed_row %1$s)
LANGUAGE sql STABLE PARALLEL SAFE AS %2$L$sql$, row_type, format($sql$
SELECT c.id, c.transaction_id, c.op, c.captured_at,
       coalesce(c.key_integer::pg_catalog.text, c.key_bigint::pg_catalog.text, c.key_uuid::pg_catalog.text, c.key_text),
       c.moved_key,
       ARRAY(SELECT pg_catalog.jsonb_object_keys(coalesce(c.changed_from, c.data_after))),
       %6$s,
       %1$s,
       CASE WHEN c.changed_from IS NOT NULL THEN %2$s END,
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
       pg_catalog.jsonb_populate_record(NULL::%3$s, %1$s)
  FROM threadline.audit_changes AS c
  LEFT JOIN threadline.audit_transactions AS t ON t.id OPERATOR(pg_catalog.=) c.transaction_id
 WHERE c.table_id OPERATOR(pg_catalog.=) %4$s%5$s$sql$, row_after, row_before, row_type, audited.id,
      CASE WHEN signature <> row_type THEN ' AND ' || key_condition ELSE '' END, diff));
    signature := format('threadline.versions(%s)', signature);
    RETURN NEXT;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.history_functions(threadline.audited_tables) IS
  'Definitions of threadline.versions for a table.';
