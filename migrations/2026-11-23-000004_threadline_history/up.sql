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

-- An image that has both names of a renaming is taken to be younger than it; it is older where a column has taken the name of
-- one that was dropped. Then what is redacted today is there under the name that it had.
CREATE FUNCTION threadline.former_names(audited threadline.audited_tables, columns text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH RECURSIVE names (name) AS (
    SELECT unnest(columns)
    UNION
    SELECT n.key FROM jsonb_array_elements(audited.definition -> 'renames') AS s (step) CROSS JOIN jsonb_each_text(step -> 'names') AS n
      JOIN names ON names.name = n.value)
  SELECT coalesce(array_agg(name ORDER BY name), '{}') FROM names WHERE NOT audited.definition -> 'columns' ? name AND name <> ALL (columns)
$function$;
COMMENT ON FUNCTION threadline.former_names(threadline.audited_tables, text[]) IS
  'What columns were called before they were renamed, but for names that columns have today.';

-- A whole row of the past: under the present names, with the defaults of columns added since. One reading never mixes
-- what was recorded before a column was redacted and after; data_after has it all.
CREATE FUNCTION threadline.record_expression(audited threadline.audited_tables, image text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  defaults jsonb;
  excluded text[] := audited.excluded_columns || threadline.former_names(audited, audited.excluded_columns || audited.masked_columns);
BEGIN
  image := threadline.renamed_expression(audited, image, 'c.id');
  SELECT jsonb_object_agg(name, value -> 'default') INTO defaults
    FROM jsonb_each(audited.definition -> 'columns') AS c (name, value) WHERE value ? 'default';
  IF defaults IS NOT NULL THEN
    image := format('(%L::pg_catalog.jsonb OPERATOR(pg_catalog.||) %s)', defaults, image);
  END IF;
  IF excluded <> '{}' THEN
    image := format('(%s OPERATOR(pg_catalog.-) %L::pg_catalog.text[])', image, excluded);
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

-- What a change c did to each column, under the present names: [{"field": …, "before": …, "after": …}], without the side
-- that there was not. A masked column that changed is there, with the placeholder on both sides.
CREATE FUNCTION threadline.diff_expression(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format($sql$(SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('field', k)
               OPERATOR(pg_catalog.||) CASE WHEN i.before OPERATOR(pg_catalog.?) k THEN pg_catalog.jsonb_build_object('before', i.before OPERATOR(pg_catalog.->) k) ELSE '{}' END
               OPERATOR(pg_catalog.||) CASE WHEN i.after OPERATOR(pg_catalog.?) k THEN pg_catalog.jsonb_build_object('after', i.after OPERATOR(pg_catalog.->) k) ELSE '{}' END%s
               ORDER BY k COLLATE pg_catalog."C"), '[]')
          FROM (SELECT CASE WHEN c.changed_from IS NOT NULL THEN %s END AS before,
                       CASE WHEN c.data_after IS NOT NULL THEN %s END AS after) AS i
         CROSS JOIN LATERAL pg_catalog.jsonb_object_keys(CASE WHEN i.before IS NOT NULL AND i.after IS NOT NULL THEN %s ELSE coalesce(i.after, i.before) END) AS k
         WHERE i.before OPERATOR(pg_catalog.?) k OR i.after OPERATOR(pg_catalog.?) k)$sql$,
    CASE WHEN audited.masked_columns <> '{}' THEN format($sql$
               OPERATOR(pg_catalog.||) CASE WHEN k OPERATOR(pg_catalog.=) ANY (%L::pg_catalog.text[]) THEN pg_catalog.jsonb_build_object('masked', true) ELSE '{}' END$sql$,
      audited.masked_columns) END,
    threadline.record_expression(audited, 'coalesce(c.data_after OPERATOR(pg_catalog.||) c.changed_from, c.changed_from)'),
    threadline.record_expression(audited, 'c.data_after'),
    threadline.renamed_expression(audited, 'c.changed_from', 'c.id'))
$function$;
COMMENT ON FUNCTION threadline.diff_expression(threadline.audited_tables) IS
  'SQL for what a change did, column by column.';

-- A type as it is written where the search_path is not pinned. Those that have a keyword need no schema.
CREATE FUNCTION threadline.type_name(type oid, typmod integer) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
  SELECT CASE WHEN y.typnamespace = 'pg_catalog'::regnamespace AND replace(f.name, '[]', '') = quote_ident(coalesce(e.typname, y.typname))
           THEN 'pg_catalog.' || f.name ELSE f.name END
    FROM pg_type AS y
    LEFT JOIN pg_type AS e ON y.typcategory = 'A' AND e.oid = y.typelem
   CROSS JOIN LATERAL (SELECT format_type(y.oid, typmod) AS name) AS f
   WHERE y.oid = type_name.type
$function$;
COMMENT ON FUNCTION threadline.type_name(oid, integer) IS 'The name of a type, whatever the search_path.';

-- The columns of a primary key: as the record has them, in their own type, and the equality of that type, which the index
-- of the key tells. NULL for a single jsonb column, which cannot be read back from text. `exact` says that keys are equal
-- exactly when the record has the same text for them; 'Ada' and 'ADA' are one to citext, and two texts.
CREATE FUNCTION threadline.recorded_key_columns(audited threadline.audited_tables)
RETURNS TABLE (number bigint, name text, recorded text, equals text, exact boolean, text_collation text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT k.number, a.attname, r.recorded, format('OPERATOR(%I.=)', n.nspname),
         coalesce(l.collisdeterministic, true) AND (b.typtype = 'e' OR b.oid = ANY ('{bigint,bit,bool,bpchar,bytea,"char",cidr,date,float4,float8,inet,int,macaddr,
           money,name,numeric,oid,smallint,text,time,timestamp,timestamptz,uuid,varbit,varchar}'::regtype[]::oid[])),
         CASE WHEN l.collisdeterministic THEN 'pg_catalog."C"' ELSE l.oid::regcollation::text END
    FROM pg_index AS i
   CROSS JOIN LATERAL unnest(i.indkey::smallint[], i.indclass::oid[]) WITH ORDINALITY AS k (attnum, opclass, number)
    JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    JOIN pg_type AS y ON y.oid = a.atttypid
    JOIN pg_type AS b ON b.oid = coalesce(nullif(y.typbasetype, 0), y.oid)
    LEFT JOIN pg_collation AS l ON l.oid = a.attcollation
    JOIN pg_opclass AS c ON c.oid = k.opclass
    JOIN pg_amop AS o ON o.amopfamily = c.opcfamily AND o.amopstrategy = 3 AND o.amoplefttype = c.opcintype AND o.amoprighttype = c.opcintype
    JOIN pg_operator AS e ON e.oid = o.amopopr
    JOIN pg_namespace AS n ON n.oid = e.oprnamespace
   CROSS JOIN LATERAL (SELECT threadline.type_name(a.atttypid, a.atttypmod) AS type,
                              CASE WHEN i.indnkeyatts > 1 THEN format('(c.key_text::pg_catalog.jsonb OPERATOR(pg_catalog.->) %s)', k.number - 1)
                                ELSE 'c.key_text::pg_catalog.jsonb' END AS json) AS t
   CROSS JOIN LATERAL (SELECT CASE
             WHEN audited.key_type <> 'text' AND format_type(a.atttypid, NULL) = audited.key_type THEN 'c.key_' || audited.key_type
             WHEN audited.key_type <> 'text' THEN format('c.key_%s::%s', audited.key_type, t.type)
             WHEN b.typcategory IN ('A', 'C') THEN
               format('(pg_catalog.jsonb_populate_record(NULL::%s, pg_catalog.jsonb_build_object(%L, %s))).%I', audited.relation, a.attname, t.json, a.attname)
             WHEN i.indnkeyatts > 1 AND b.oid = 'jsonb'::regtype THEN format('%s::%s', t.json, t.type)
             WHEN i.indnkeyatts > 1 THEN format('(c.key_text::pg_catalog.jsonb OPERATOR(pg_catalog.->>) %s)::%s', k.number - 1, t.type)
             WHEN b.oid <> 'jsonb'::regtype THEN format('c.key_text::%s', t.type)
           END AS recorded) AS r
   WHERE i.indrelid = audited.relation AND i.indisprimary AND k.number <= i.indnkeyatts
   ORDER BY k.number
$function$;
COMMENT ON FUNCTION threadline.recorded_key_columns(threadline.audited_tables) IS
  'SQL for the columns of a primary key out of a change, and how they are compared.';

-- SQL that a change c is of the row with a key, given as one expression a column. Where equal keys can be different
-- texts, every change of the table is looked at: slow, but the history of one row stays in one piece.
CREATE FUNCTION threadline.recorded_key(audited threadline.audited_tables, key text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN audited.key_type <> 'text' THEN format('c.key_%s OPERATOR(pg_catalog.=) %s', audited.key_type, key[1])
      WHEN bool_and(k.exact OR k.recorded IS NULL) THEN
        -- Once for all changes; the index has the beginning of a key.
        format('c.key_text OPERATOR(pg_catalog.=) (SELECT threadline.row_key(NULL::%1$s, %2$s))
   AND pg_catalog.left(c.key_text, 500) OPERATOR(pg_catalog.=) pg_catalog.left((SELECT threadline.row_key(NULL::%1$s, %2$s)), 500)',
          audited.relation, array_to_string(key, ', '))
      ELSE string_agg(format(CASE WHEN k.text_collation IS NULL THEN '%1$s %2$s %3$s' ELSE '(%1$s COLLATE %4$s) %2$s %3$s' END,
                             k.recorded, k.equals, key[k.number], k.text_collation), ' AND ') END
    FROM threadline.recorded_key_columns(audited) AS k
$function$;
COMMENT ON FUNCTION threadline.recorded_key(threadline.audited_tables, text[]) IS 'SQL for the changes of one row, by its key.';

-- SQL that the live row t is the one with a key.
CREATE FUNCTION threadline.live_key(audited threadline.audited_tables, key text[]) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(format('t.%I %s %s', k.name, k.equals, key[k.number]), ' AND ')
      || CASE WHEN bool_or(k.recorded IS NULL) THEN format(' AND threadline.row_key(NULL::%1$s, %2$s) OPERATOR(pg_catalog.=) threadline.row_key(NULL::%1$s, %3$s)',
           audited.relation, string_agg(format('t.%I', k.name), ', '), array_to_string(key, ', ')) ELSE '' END
    FROM threadline.recorded_key_columns(audited) AS k
$function$;
COMMENT ON FUNCTION threadline.live_key(threadline.audited_tables, text[]) IS 'SQL for the live row with a key.';

-- The arguments of a function that takes a key from the given one on.
CREATE FUNCTION threadline.key_arguments(audited threadline.audited_tables, first integer) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT array_agg('$' || n ORDER BY n) FROM generate_series(first, first + cardinality(audited.key_columns) - 1) AS n
$function$;
COMMENT ON FUNCTION threadline.key_arguments(threadline.audited_tables, integer) IS 'The placeholders of a key.';

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
  diff text := threadline.diff_expression(audited);
  key_condition text;
BEGIN
  SELECT * INTO key FROM threadline.primary_key(audited.relation);
  with_key := array_to_string(row_type || key.types, ', ');
  key_condition := threadline.recorded_key(audited, threadline.key_arguments(audited, 2));

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
  diff jsonb, record jsonb, record_before jsonb, data_after jsonb, changed_from jsonb,
  actor_ref jsonb, on_behalf_of jsonb, source text, correlation_id text, request_id text, job_id text, remote_ip inet, meta jsonb,
  occurred_at timestamptz, database_role text, application_name text, "row" %1$s)
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
 WHERE c.table_id OPERATOR(pg_catalog.=) %4$s%5$s$sql$, record_after, record_before, row_type, audited.id,
      CASE WHEN signature <> row_type THEN ' AND ' || key_condition ELSE '' END, diff));
    signature := format('versions(%s)', signature);
    RETURN NEXT;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline.history_functions(threadline.audited_tables) IS
  'Definitions of threadline.versions for a table.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA threadline FROM PUBLIC;
