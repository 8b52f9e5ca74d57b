-- Reading the record of a table: the key it goes by, images under the present names, and threadline.versions.

-- Key columns, whether the key is the table's own, and the type of key column they go to.
-- quote_all_identifiers: see threadline.describe_table.
CREATE FUNCTION threadline.primary_key(relation regclass, OUT columns text[], OUT types text[], OUT key_type text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
  SELECT coalesce(array_agg(a.attname::text ORDER BY k.position), '{}'),
         -- integer serves smallint, and versions(NULL::t, 3) needs no cast.
         coalesce(array_agg(CASE a.atttypid WHEN 'smallint'::regtype THEN 'integer' ELSE format_type(a.atttypid, NULL) END
                            ORDER BY k.position), '{}'),
         CASE count(*) WHEN 0 THEN NULL WHEN 1 THEN
           CASE min(coalesce(nullif(t.typbasetype, 0), t.oid)::oid::regtype::text)
             WHEN 'smallint' THEN 'integer' WHEN 'integer' THEN 'integer' WHEN 'bigint' THEN 'bigint'
             WHEN 'uuid' THEN 'uuid' ELSE 'text' END
         ELSE 'text' END
    FROM pg_index AS i
   CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (number, position)
    JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number
    JOIN pg_type AS t ON t.oid = a.atttypid
   WHERE i.indrelid = relation AND i.indisprimary AND k.position <= i.indnkeyatts
$function$;
COMMENT ON FUNCTION threadline.primary_key(regclass) IS
  'Columns and types of a table''s primary key, and the key type that audit_changes keeps it as.';

-- An older image under the names that its columns have now.
CREATE FUNCTION threadline.renamed_expression(audited threadline.audited_tables, image text, change_id text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  step jsonb;
BEGIN
  FOR step IN SELECT value FROM jsonb_array_elements(audited.definition -> 'renames') LOOP
    image := format('threadline.rename_columns(%s, %s, %s, %L)', image, change_id, step ->> 'until', step ->> 'names');
  END LOOP;
  RETURN image;
END
$function$;
COMMENT ON FUNCTION threadline.renamed_expression(threadline.audited_tables, text, text) IS
  'SQL for an image under the present names of its columns.';

-- A whole row of the past: under the present names, with the defaults of columns added since. One reading never mixes
-- what was recorded before a column was redacted and after; data_after has it all.
CREATE FUNCTION threadline.record_expression(audited threadline.audited_tables, image text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  defaults jsonb;
BEGIN
  image := threadline.renamed_expression(audited, image, 'c.id');
  SELECT jsonb_object_agg(name, value -> 'default') INTO defaults
    FROM jsonb_each(audited.definition -> 'columns') AS c (name, value) WHERE value ? 'default';
  IF defaults IS NOT NULL THEN
    image := format('(%L::pg_catalog.jsonb OPERATOR(pg_catalog.||) %s)', defaults, image);
  END IF;
  IF audited.excluded_columns <> '{}' THEN
    image := format('(%s OPERATOR(pg_catalog.-) %L::pg_catalog.text[])', image, audited.excluded_columns);
  END IF;
  IF audited.masked_columns <> '{}' THEN
    image := format('(%s OPERATOR(pg_catalog.||) %L::pg_catalog.jsonb)', image,
      (SELECT jsonb_object_agg(m, '[REDACTED]') FROM unnest(audited.masked_columns) AS m));
  END IF;
  RETURN image;
END
$function$;
COMMENT ON FUNCTION threadline.record_expression(threadline.audited_tables, text) IS
  'SQL for a whole row of the past, out of an image, as it is read today.';

-- That a change is one of the row whose key a function takes as its arguments from the given one on.
CREATE FUNCTION threadline.recorded_key(audited threadline.audited_tables, argument integer) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN audited.key_type = 'text' THEN
      format('c.key_text OPERATOR(pg_catalog.=) threadline.row_key($1, %s)',
        (SELECT string_agg(concat('$', argument + n), ', ' ORDER BY n) FROM generate_series(0, cardinality(audited.key_columns) - 1) AS n))
    ELSE format('c.key_%s OPERATOR(pg_catalog.=) $%s', audited.key_type, argument) END
$function$;
COMMENT ON FUNCTION threadline.recorded_key(threadline.audited_tables, integer) IS
  'SQL for the changes of one row, by the key that a reading function is given.';

-- The functions that give the changes of a table: versions(NULL::t) for all of them, versions(NULL::t, key…) for one row's.
-- Plain SQL without SECURITY DEFINER or SET, so that the planner inlines them and conditions reach the indexes;
-- so a reader needs SELECT on the record, and every name and operator is written with its schema.
CREATE FUNCTION threadline.history_functions(audited threadline.audited_tables)
RETURNS TABLE (signature text, definition text, description text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  row_type text := audited.relation::text;
  key record;
  with_key text;
  record_after text := threadline.record_expression(audited, 'coalesce(c.data_after, c.changed_from)');
  record_before text := threadline.record_expression(audited,
    'coalesce(c.data_after OPERATOR(pg_catalog.||) c.changed_from, c.changed_from)');
  key_condition text;
BEGIN
  SELECT * INTO key FROM threadline.primary_key(audited.relation);
  with_key := array_to_string(row_type || key.types, ', ');
  key_condition := threadline.recorded_key(audited, 2);

  IF audited.key_type = 'text' THEN
    signature := format('row_key(%s)', with_key);
    definition := format($sql$RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS %L$sql$,
      (SELECT format('SELECT (%s) #>> ''{}'' FROM (SELECT jsonb_build_object(%s) AS image) AS i',
                threadline.key_expression(audited, 'image'),
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
  record jsonb, record_before jsonb, data_after jsonb, changed_from jsonb,
  actor_ref jsonb, source text, correlation_id text, request_id text, job_id text, remote_ip inet, meta jsonb,
  occurred_at timestamptz, database_role text, application_name text, "row" %1$s)
LANGUAGE sql STABLE PARALLEL SAFE AS %2$L$sql$, row_type, format($sql$
SELECT c.id, c.transaction_id, c.op, c.captured_at,
       coalesce(c.key_integer::pg_catalog.text, c.key_bigint::pg_catalog.text, c.key_uuid::pg_catalog.text, c.key_text),
       c.moved_key,
       ARRAY(SELECT pg_catalog.jsonb_object_keys(coalesce(c.changed_from, c.data_after))),
       %1$s,
       CASE WHEN c.changed_from IS NOT NULL THEN %2$s END,
       c.data_after, c.changed_from,
       CASE WHEN c.context IS NULL THEN t.actor_ref ELSE c.context OPERATOR(pg_catalog.->) 'actor_ref' END,
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
 WHERE c.table_id OPERATOR(pg_catalog.=) %4$s%5$s$sql$, record_after, record_before, row_type, audited.id,
      CASE WHEN signature <> row_type THEN ' AND ' || key_condition ELSE '' END));
    signature := format('versions(%s)', signature);
    RETURN NEXT;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline.history_functions(threadline.audited_tables) IS
  'Definitions of threadline.versions for a table.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA threadline FROM PUBLIC;
