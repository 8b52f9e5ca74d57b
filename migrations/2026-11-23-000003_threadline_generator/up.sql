-- The generator: reads a table's definition from the catalog and writes its capture functions, triggers and
-- reading functions. Everything it writes names columns only as keys of JSON images, so that a later change of
-- the table's columns can make it stale but never make a write fail.

CREATE FUNCTION threadline.definition_version() RETURNS integer
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS 'SELECT 1';
COMMENT ON FUNCTION threadline.definition_version() IS
  'Version of the generator; tables whose definition_version is older are rebuilt by threadline.refresh_audited_tables().';

-- Value that rows written before the column was added have in it, as JSON; NULL when it is not a constant.
CREATE FUNCTION threadline.added_default(relation regclass, number smallint) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS $function$
DECLARE
  expression text;
  type text;
  result jsonb;
BEGIN
  SELECT coalesce(
           CASE WHEN a.atthasmissing THEN quote_literal((a.attmissingval::text::text[])[1]) END,
           -- After a rewrite the catalog forgets the value; a constant default still says it.
           (SELECT e FROM pg_get_expr(d.adbin, d.adrelid) AS e
             WHERE e ~ '^(''([^'']|'''')*''|[(]?-?[0-9.]+[)]?|true|false)(::[]a-z "[0-9(),_.]+)?$')),
         format_type(a.atttypid, a.atttypmod)
    INTO expression, type
    FROM pg_attribute AS a
    LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.attgenerated = ''
   WHERE a.attrelid = added_default.relation AND a.attnum = added_default.number;
  IF expression IS NOT NULL THEN
    EXECUTE format('SELECT to_jsonb(CAST(%s AS %s))', expression, type) INTO result;
  END IF;
  RETURN result;
END
$function$;
COMMENT ON FUNCTION threadline.added_default(regclass, smallint) IS
  'The value an added column has in the rows that were there before it, if it is a constant.';

-- Renames since the previous description, in the order in which an older image must take them: where b took the name
-- of a, which became c, a goes first. Columns that exchanged their names go together, and there the names of an image
-- do not say how old it is: the transaction that renamed them does.
CREATE FUNCTION threadline.describe_renames(relation regclass, previous jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  steps jsonb := '[]';
  names jsonb;
  step jsonb;
  until bigint;
  renamed_by bigint;
BEGIN
  SELECT coalesce(jsonb_object_agg(old.key, a.attname), '{}'),
         max(pg_current_xact_id()::text::bigint - age(a.xmin)) INTO names, renamed_by
    FROM jsonb_each(previous -> 'columns') AS old
    JOIN pg_attribute AS a ON a.attrelid = relation AND a.attnum = (old.value ->> 'number')::smallint AND NOT a.attisdropped
   WHERE (previous ->> 'oid')::oid = relation AND a.attname <> old.key;
  WHILE names <> '{}' LOOP
    SELECT jsonb_build_object(n.key, n.value) INTO step FROM jsonb_each_text(names) AS n WHERE NOT names ? n.value LIMIT 1;
    IF FOUND THEN
      until := coalesce(pg_sequence_last_value('threadline.audit_changes_id_seq'), 0);
    ELSE
      step := names;
      until := coalesce((SELECT max(c.id)
                           FROM threadline.audited_tables AS a
                           JOIN threadline.audit_changes AS c ON c.table_id = a.id
                           JOIN threadline.audit_transactions AS t ON t.id = c.transaction_id
                          WHERE a.relation = describe_renames.relation AND t.txid < renamed_by::text::xid8), 0);
    END IF;
    steps := steps || jsonb_build_object('names', step, 'until', until);
    names := names - ARRAY(SELECT jsonb_object_keys(step));
  END LOOP;
  RETURN steps;
END
$function$;
COMMENT ON FUNCTION threadline.describe_renames(regclass, jsonb) IS
  'Steps that bring images recorded so far under the present names of columns renamed since a previous description.';

-- A type by name, with the attributes it consists of: as JSON a row has them by name, like columns. A type that holds an array
-- of itself is followed no deeper than it makes sense.
CREATE FUNCTION threadline.type_shape(type oid, typmod integer, depth integer DEFAULT 0) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
BEGIN
  RETURN format_type(type, typmod) || coalesce(
    (SELECT format('(%s)', string_agg(quote_ident(a.attname) || ' ' || threadline.type_shape(a.atttypid, a.atttypmod, depth + 1), ', ' ORDER BY a.attnum))
       FROM pg_type AS y
       LEFT JOIN pg_type AS e ON e.oid = CASE WHEN y.typtype = 'd' THEN y.typbasetype WHEN y.typcategory = 'A' THEN y.typelem END
       JOIN pg_attribute AS a ON a.attrelid = coalesce(nullif(y.typrelid, 0), e.typrelid) AND a.attnum > 0 AND NOT a.attisdropped
      WHERE y.oid = type_shape.type AND depth < 8 HAVING count(*) > 0), '');
END
$function$;
COMMENT ON FUNCTION threadline.type_shape(oid, integer, integer) IS 'A type with the attributes that its values have in an image.';

-- What the generated functions are built from. Compared with the stored definition it says whether anything
-- has to be rebuilt; `previous` hands on what the catalog forgets: renames, and the defaults of added columns.
-- quote_all_identifiers would put even the names of types in quotes.
CREATE FUNCTION threadline.describe_table(relation regclass, previous jsonb) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
  WITH old AS (
    SELECT name, (value ->> 'number')::smallint AS number, value -> 'default' AS value, value ->> 'type' AS type,
           value ? 'retyped' AS retyped
      FROM jsonb_each(previous -> 'columns') AS c (name, value)
  ), present AS (
    SELECT a.attname::text AS name, a.attnum AS number, threadline.type_shape(a.atttypid, a.atttypmod) AS type,
           nullif(a.attgenerated, '') AS generated, nullif(a.attnotnull, false) AS not_null,
           -- For good: a value recorded before may be none of the present type.
           nullif(old.retyped OR old.type <> threadline.type_shape(a.atttypid, a.atttypmod), false) AS retyped,
           CASE WHEN old.number IS NOT NULL THEN old.value
                WHEN EXISTS (SELECT FROM old) THEN threadline.added_default(relation, a.attnum) END AS added_default
      FROM pg_attribute AS a
      -- In a restored or newly created table the numbers say nothing, and the names do.
      LEFT JOIN old ON CASE WHEN (previous ->> 'oid')::oid = relation THEN old.number = a.attnum ELSE old.name = a.attname END
     WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
  )
  SELECT jsonb_build_object(
    'oid', relation::oid::bigint,
    'columns', (SELECT coalesce(jsonb_object_agg(name, jsonb_strip_nulls(jsonb_build_object('number', number, 'type', type,
                   'generated', generated, 'not_null', not_null, 'retyped', retyped)) ||
                   CASE WHEN added_default IS NULL THEN '{}' ELSE jsonb_build_object('default', added_default) END), '{}')
                  FROM present),
    'renames', coalesce(previous -> 'renames', '[]') || threadline.describe_renames(relation, previous),
    'partitions', (SELECT coalesce(jsonb_agg(relid::oid::bigint ORDER BY relid), '[]')
                     FROM pg_partition_tree(relation) WHERE isleaf AND relid <> relation))
$function$;
COMMENT ON FUNCTION threadline.describe_table(regclass, jsonb) IS
  'Columns, renames and partitions of a table as its capture needs to know them, following on a previous description.';

-- Row triggers are cloned to partitions and see every row of an inheritance tree once; statement triggers are
-- not and do not. And where a row trigger of the application writes to the table again, its inner changes would be
-- recorded before the outer one that caused them, unless capture runs at the row, first. The actions of two foreign
-- keys can write a row twice in one statement, as those of one that points to the table itself can.
CREATE FUNCTION threadline.granularity_for(relation regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN EXISTS (SELECT FROM pg_class WHERE oid = relation AND relkind = 'p')
                OR EXISTS (SELECT FROM pg_inherits AS i JOIN pg_class AS p ON p.oid = i.inhparent AND p.relkind <> 'p'
                            WHERE relation IN (i.inhrelid, i.inhparent))
                OR EXISTS (SELECT FROM pg_trigger WHERE tgrelid = relation AND NOT tgisinternal
                              -- bits of tgtype: 1 for each row, 2 before, 64 instead of
                              AND tgtype & 1 = 1 AND tgtype & 66 = 0 AND NOT starts_with(tgname::text, '!threadline_'))
                OR (SELECT count(*) > 1 OR bool_or(confrelid = relation) FROM pg_constraint
                     WHERE conrelid = relation AND contype = 'f'
                       AND (confupdtype IN ('c', 'd', 'n') OR confdeltype IN ('c', 'd', 'n')))
           THEN 'row' ELSE 'statement' END
$function$;
COMMENT ON FUNCTION threadline.granularity_for(regclass) IS 'The granularity that records this table exactly.';

-- One column of a key, out of an image, as JSON. What is equal as a key must be the same text: numerics
-- lose trailing zeros, char(n) its padding. The types are told by their output function, which domains share.
CREATE FUNCTION threadline.key_part(table_id integer, image text, column_name text, output text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE
      WHEN output = 'numeric_out' THEN
        format('CASE WHEN jsonb_typeof(%1$s) = ''number'' THEN to_jsonb(trim_scale((%1$s)::numeric)) ELSE %1$s END', value)
      WHEN output = 'bpcharout' THEN format('to_jsonb(rtrim(%s #>> ''{}'', '' ''))', value)
      ELSE value END
    FROM (SELECT format('coalesce(%1$s -> %2$L, %1$s -> threadline.current_column(%3$s, %2$L))',
                        image, column_name, table_id)) AS part (value)
$function$;
COMMENT ON FUNCTION threadline.key_part(integer, text, text, text) IS
  'SQL for one column of a key out of an image, which survives a rename of the column.';

-- SQL for a whole key as JSON: the value itself, or an array of the columns of a composite key.
CREATE FUNCTION threadline.key_expression(audited threadline.audited_tables, image text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE count(*) WHEN 0 THEN 'NULL::jsonb' WHEN 1 THEN min(part)
      ELSE format('jsonb_build_array(%s)', string_agg(part, ', ' ORDER BY position)) END
    FROM unnest(audited.key_columns) WITH ORDINALITY AS k (name, position)
    JOIN pg_attribute AS a ON a.attrelid = audited.relation AND a.attname = k.name
    JOIN pg_type AS t ON t.oid = a.atttypid
   CROSS JOIN LATERAL threadline.key_part(audited.id, image, k.name, t.typoutput::text) AS part
$function$;
COMMENT ON FUNCTION threadline.key_expression(threadline.audited_tables, text) IS 'SQL for the key of an image, as JSON.';

-- A key that is not of its type (the column was retyped, the definition not yet refreshed) must not fail the write:
-- it is NULL here and goes to key_text.
CREATE FUNCTION threadline.typed_key(key_type text, key text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE
    WHEN key_type IN ('bigint', 'integer') THEN
      format('CASE WHEN jsonb_typeof(%1$s) = ''number'' THEN
        CASE WHEN scale((%1$s)::numeric) = 0 AND (%1$s)::numeric >= %2$L AND (%1$s)::numeric <= %3$L THEN (%1$s)::%4$s END END', key,
        CASE key_type WHEN 'integer' THEN '-2147483648' ELSE '-9223372036854775808' END,
        CASE key_type WHEN 'integer' THEN '2147483647' ELSE '9223372036854775807' END, key_type)
    WHEN key_type = 'uuid' THEN
      format('CASE WHEN %1$s #>> ''{}'' ~ ''^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'' THEN (%1$s #>> ''{}'')::uuid END', key)
    ELSE 'NULL::text' END
$function$;
COMMENT ON FUNCTION threadline.typed_key(text, text) IS 'SQL for a key, given as JSON, in the type of its key column.';

-- A row as JSON, without what is excluded, which stands in a variable of the function. `row_name` is r.* and not r
-- where a column could be called r, too. A virtual generated column is NULL in a trigger and follows from the others.
CREATE FUNCTION threadline.image_expression(audited threadline.audited_tables, row_name text, excluded text DEFAULT 'excluded')
RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('to_jsonb(%s)', row_name)
      || coalesce((SELECT format(' - %L::text[]', array_agg(name ORDER BY name COLLATE "C"))
                     FROM jsonb_each(audited.definition -> 'columns') AS c (name, value)
                    WHERE value ->> 'generated' = 'v' HAVING count(*) > 0), '')
      || CASE WHEN audited.excluded_columns = '{}' THEN ''
           ELSE ' - ' || excluded END
$function$;
COMMENT ON FUNCTION threadline.image_expression(threadline.audited_tables, text, text) IS
  'SQL for the image of a row as it is compared: excluded columns left out, masked ones still in clear.';

CREATE FUNCTION threadline.masked_expression(audited threadline.audited_tables, image text, mask text DEFAULT 'mask') RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN audited.masked_columns = '{}' THEN image ELSE format('%s || %s', image, mask) END
$function$;
COMMENT ON FUNCTION threadline.masked_expression(threadline.audited_tables, text, text) IS
  'SQL for an image as it is stored: masked columns replaced by the placeholder.';

-- Rows of an event that has one image a row. OFFSET 0 keeps the planner from computing an image once per mention.
CREATE FUNCTION threadline.image_rows(audited threadline.audited_tables, row_name text, from_clause text,
  excluded text DEFAULT 'excluded', mask text DEFAULT 'mask') RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('SELECT %s AS key, %s AS image
                    FROM (SELECT %s AS image%s OFFSET 0) AS i OFFSET 0',
    threadline.key_expression(audited, 'image'), threadline.masked_expression(audited, 'image', mask),
    threadline.image_expression(audited, row_name, excluded), from_clause)
$function$;
COMMENT ON FUNCTION threadline.image_rows(threadline.audited_tables, text, text, text, text) IS
  'SQL for key and image of the rows of an insert, delete or truncation.';

-- In the order of the table. Excluded columns are in no image, virtual generated ones neither.
CREATE FUNCTION threadline.compared_columns(audited threadline.audited_tables) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(array_agg(name ORDER BY (value ->> 'number')::integer), '{}')
    FROM jsonb_each(audited.definition -> 'columns') AS c (name, value)
   WHERE name <> ALL (audited.excluded_columns) AND value ->> 'generated' IS DISTINCT FROM 'v'
$function$;
COMMENT ON FUNCTION threadline.compared_columns(threadline.audited_tables) IS 'The columns of a table that its images have.';

-- What may have changed, with its old values: columns that are equal are taken out of the old image, by name. Columns that the list
-- does not know (added since) are all left in, and threadline.changed_values compares them one by one: slower, as right.
CREATE FUNCTION threadline.candidates(audited threadline.audited_tables, old_image text, new_image text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format(E'%s - ARRAY[\n      %s]::text[]', old_image,
      string_agg(format('CASE WHEN %2$s -> %1$L = %3$s -> %1$L THEN %1$L END', name, old_image, new_image), E',\n      ' ORDER BY number))
    FROM unnest(threadline.compared_columns(audited)) WITH ORDINALITY AS c (name, number)
$function$;
COMMENT ON FUNCTION threadline.candidates(threadline.audited_tables, text, text) IS
  'SQL for the old image of a row without the columns known to be equal in the new one.';

CREATE FUNCTION threadline.changed_values(candidates text, new_image text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format($sql$(SELECT coalesce(jsonb_object_agg(c.key, c.value), '{}') FROM jsonb_each(%1$s) AS c
      WHERE c.value IS DISTINCT FROM %2$s -> c.key)$sql$, candidates, new_image)
$function$;
COMMENT ON FUNCTION threadline.changed_values(text, text) IS
  'SQL for the old values of what an update changed, out of what may have changed.';

CREATE FUNCTION threadline.masked_values(audited threadline.audited_tables, changed text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN audited.masked_columns = '{}' THEN changed ELSE format(
      '%1$s || (SELECT coalesce(jsonb_object_agg(m.key, m.value), ''{}'') FROM jsonb_each(mask) AS m WHERE %1$s ? m.key)', changed) END
$function$;
COMMENT ON FUNCTION threadline.masked_values(threadline.audited_tables, text) IS
  'SQL for changed values as they are stored: those of masked columns replaced by the placeholder.';

-- Rows of an update: both keys, both images, and the old values of what changed.
CREATE FUNCTION threadline.update_rows(audited threadline.audited_tables, pairs text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format($sql$SELECT %1$s AS old_key, %2$s AS new_key,
             %3$s AS old_image, %4$s AS new_image,
             %5$s AS changed
        FROM (SELECT old_image, new_image, CASE WHEN candidates - %6$L::text[] = '{}' THEN candidates ELSE %7$s END AS changed
                FROM (SELECT old_image, new_image, %8$s AS candidates
                        FROM (%9$s OFFSET 0) AS p OFFSET 0) AS d OFFSET 0) AS u
       WHERE changed <> '{}' OFFSET 0$sql$,
    threadline.key_expression(audited, 'old_image'), threadline.key_expression(audited, 'new_image'),
    threadline.masked_expression(audited, 'old_image'), threadline.masked_expression(audited, 'new_image'),
    threadline.masked_values(audited, 'changed'), threadline.compared_columns(audited),
    threadline.changed_values('candidates', 'new_image'), threadline.candidates(audited, 'old_image', 'new_image'), pairs)
$function$;
COMMENT ON FUNCTION threadline.update_rows(threadline.audited_tables, text) IS
  'SQL for keys, images and changed values of the rows of an update that changed anything.';

-- The statement that records rows. The sub-selects run once a statement, and only when there is a row to record:
-- an update that changes nothing leaves no transaction behind.
CREATE FUNCTION threadline.record_statement(audited threadline.audited_tables, op text, key text, moved_key text,
  data_after text, changed_from text, rows text, written_at text DEFAULT 'written_at') RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format($sql$INSERT INTO threadline.audit_changes (transaction_id, table_id, op, captured_at,
      %1$skey_text, moved_key, data_after, changed_from, context)
    SELECT (SELECT threadline.enter_transaction(%11$s, %2$s)), %2$s, %3$s, %11$s,
      %4$sCASE WHEN typed_key IS NULL THEN %5$s #>> '{}' END,
      (%6$s) #>> '{}',
      %7$s,
      %8$s,
      (SELECT threadline.change_context())
    FROM (SELECT s.*, %9$s AS typed_key
            FROM (%10$s) AS s OFFSET 0) AS s$sql$,
    CASE WHEN typed THEN format('key_%s, ', audited.key_type) ELSE '' END, audited.id, op,
    CASE WHEN typed THEN 'typed_key, ' ELSE '' END, key, moved_key, data_after, changed_from,
    threadline.typed_key(audited.key_type, key), rows, written_at)
    FROM (SELECT coalesce(audited.key_type <> 'text', false) AS typed) AS k
$function$;
COMMENT ON FUNCTION threadline.record_statement(threadline.audited_tables, text, text, text, text, text, text, text) IS
  'SQL that adds rows to audit_changes.';

-- The same for one row, whose images are in variables: most statements write one row, and an expression in a variable costs
-- a fraction of one in a plan, which is set up for every statement. Whether the running transaction has its row is
-- asked for right here for the same reason, where threadline.enter_transaction would find it.
CREATE FUNCTION threadline.record_row(audited threadline.audited_tables, op text, key text, moved_key text,
  data_after text, changed_from text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format($sql$%1$s  running := CASE WHEN strpos(current_setting('threadline.changed_tables', true), ',%2$s,') > 0
      AND current_setting('transaction_isolation') <> 'serializable'
    THEN threadline.transaction_id((date_part('epoch', transaction_timestamp()) * 1000000)::bigint) END;
  INSERT INTO threadline.audit_changes (transaction_id, table_id, op, captured_at, %3$skey_text, moved_key, data_after, changed_from, context)
  VALUES (coalesce((SELECT t.id FROM threadline.audit_transactions AS t
                     WHERE t.id = running AND written_at < t.occurred_at + interval '125 ms' * power(2, t.octave)),
                   threadline.enter_transaction(written_at, %2$s)),
    %2$s, %4$s, written_at, %5$s%6$s #>> '{}'%7$s, %8$s, %9$s, %10$s, threadline.change_context())$sql$,
    CASE WHEN typed THEN format(E'  typed_row_key := %s;\n', threadline.typed_key(audited.key_type, key)) END,
    audited.id, CASE WHEN typed THEN format('key_%s, ', audited.key_type) END, op,
    CASE WHEN typed THEN 'typed_row_key, CASE WHEN typed_row_key IS NULL THEN ' END, key, CASE WHEN typed THEN ' END' END,
    moved_key, data_after, changed_from)
    FROM (SELECT coalesce(audited.key_type <> 'text', false) AS typed) AS k
$function$;
COMMENT ON FUNCTION threadline.record_row(threadline.audited_tables, text, text, text, text, text) IS
  'PL/pgSQL that adds one row to audit_changes.';

-- What all capture functions share. SECURITY DEFINER lets them write the record for writers that have no right on
-- it; the pinned settings keep names, keys and images independent of the writing session. Those that look up their transaction
-- keep the plan: see threadline.enter_transaction. A truncation reads its table, from end to end.
CREATE FUNCTION threadline.pinned_settings(event text) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT ARRAY['search_path=pg_catalog, pg_temp', 'TimeZone=UTC', 'DateStyle=ISO', 'IntervalStyle=postgres',
    'extra_float_digits=1', 'bytea_output=hex', 'lc_monetary=C']
    || CASE event WHEN 'truncate' THEN 'row_security=off' ELSE 'enable_seqscan=off' END
$function$;
COMMENT ON FUNCTION threadline.pinned_settings(text) IS 'The settings that the capture function of an event runs under, as pg_proc has them.';

CREATE FUNCTION threadline.trigger_source(audited threadline.audited_tables, event text, body text, declarations text DEFAULT '') RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  redacted boolean := audited.excluded_columns || audited.masked_columns <> '{}';
BEGIN
  RETURN concat(
    -- A column of the table may have the name of a variable.
    E'\n#variable_conflict use_variable\n', E'DECLARE\n',
    -- A transaction that has written has an id, by which threadline.settled_at knows of it; only a truncation is captured
    -- before anything is written.
    CASE event WHEN 'truncate' THEN E'  txid xid8 := pg_current_xact_id();\n' END,
    E'  written_at timestamptz := clock_timestamp();\n',
    CASE WHEN redacted THEN E'  excluded text[];\n  mask jsonb;\n' END,
    declarations, E'BEGIN\n',
    CASE WHEN redacted THEN format(E'  SELECT r.excluded, r.mask INTO excluded, mask FROM threadline.redaction(%s) AS r;\n', audited.id) END,
    body, E'\n  RETURN NULL;\nEND\n');
END
$function$;
COMMENT ON FUNCTION threadline.trigger_source(threadline.audited_tables, text, text, text) IS
  'PL/pgSQL of one capture function, with the declarations they all share.';

-- PL/pgSQL for one row, whose images are in variables. Their names are none that the columns of the statements for many rows have.
CREATE FUNCTION threadline.row_sources(audited threadline.audited_tables) RETURNS TABLE (event text, source text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  partitioned boolean := (SELECT relkind = 'p' FROM pg_class WHERE oid = audited.relation);
  key text := format(E'  row_key := %s;\n', threadline.key_expression(audited, 'row_image'));
  image text := threadline.masked_expression(audited, 'row_image');
  old_image text := threadline.masked_expression(audited, 'old_row_image');
BEGIN
  event := 'insert';
  source := concat(key,
    CASE WHEN partitioned AND audited.key_type IS NULL
      THEN format(E'  IF threadline.merge_move(%s, %s) THEN\n    RETURN NULL;\n  END IF;\n', audited.id, image) END,
    threadline.record_row(audited, '''insert''', 'row_key', CASE WHEN partitioned AND audited.key_type IS NOT NULL
      THEN format('threadline.link_move(%s, row_key) #>> ''{}''', audited.id) ELSE 'NULL' END, image, 'NULL'), ';');
  RETURN NEXT;

  event := 'delete';
  source := concat(key, threadline.record_row(audited, '''delete''', 'row_key', 'NULL', 'NULL', image),
    CASE WHEN partitioned THEN format($sql$
  RETURNING id, captured_at INTO recorded;
  PERFORM threadline.begin_move(%s, recorded.id, recorded.captured_at)$sql$, audited.id) END, ';');
  RETURN NEXT;

  event := 'update';
  source := concat(format($sql$  row_changed := %s;
  IF row_changed - %L::text[] <> '{}' THEN
    row_changed := %s;
  END IF;
  IF row_changed = '{}' THEN
    RETURN NULL;
  END IF;
$sql$, threadline.candidates(audited, 'old_row_image', 'row_image'), threadline.compared_columns(audited),
      threadline.changed_values('row_changed', 'row_image')), key, format($sql$  old_row_key := %s;
  IF old_row_key <> row_key THEN
  %s;
  %s;
    RETURN NULL;
  END IF;
%s;$sql$, threadline.key_expression(audited, 'old_row_image'),
      threadline.record_row(audited, '''delete''', 'old_row_key', 'row_key #>> ''{}''', 'NULL', old_image),
      threadline.record_row(audited, '''insert''', 'row_key', 'old_row_key #>> ''{}''', image, 'NULL'),
      threadline.record_row(audited, '''update''', 'old_row_key', 'NULL', image, threadline.masked_values(audited, 'row_changed'))));
  RETURN NEXT;
END
$function$;
COMMENT ON FUNCTION threadline.row_sources(threadline.audited_tables) IS
  'PL/pgSQL that records one row of an insert, update or delete.';

CREATE FUNCTION threadline.statement_sources(audited threadline.audited_tables) RETURNS TABLE (event text, source text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  image text := threadline.image_expression(audited, 'r.*');
  -- An update puts the old and the new version of a row at the same place of the two transition tables. Paired
  -- by place, and not by key, a row keeps its identity when its key changes, and a table needs no key.
  -- FULL, though every place is in both: the plan is kept, and one made for a few rows would join by nested loop,
  -- which takes hours for the bulk update that comes next. A full join cannot.
  updated_rows text := threadline.update_rows(audited, format('SELECT old_image, new_image
                          FROM (SELECT row_number() OVER () AS place, %1$s AS old_image FROM old_rows AS r) AS o
                          FULL JOIN (SELECT row_number() OVER () AS place, %1$s AS new_image FROM new_rows AS r) AS n USING (place)', image));
BEGIN
  event := 'insert';
  source := threadline.record_statement(audited, '''insert''', 'key', 'NULL::jsonb', 'image', 'NULL',
    threadline.image_rows(audited, 'r.*', ' FROM new_rows AS r')) || ';';
  RETURN NEXT;

  event := 'delete';
  source := threadline.record_statement(audited, '''delete''', 'key', 'NULL::jsonb', 'NULL', 'image',
    threadline.image_rows(audited, 'r.*', ' FROM old_rows AS r')) || ';';
  RETURN NEXT;

  event := 'update';
  source := format($sql$WITH recorded AS (
    %s
    RETURNING op = 'delete' AS ended
  )
  SELECT coalesce(bool_or(ended), false) INTO key_changed FROM recorded;
  IF key_changed THEN
    -- Begun when all old keys are ended: in id = id + 1 the new key of one row is the old key of another.
    %s WHERE old_key <> new_key;
  END IF;$sql$,
    threadline.record_statement(audited, 'CASE WHEN old_key <> new_key THEN ''delete'' ELSE ''update'' END', 'old_key',
      'CASE WHEN old_key <> new_key THEN new_key END', 'CASE WHEN old_key <> new_key THEN NULL ELSE new_image END',
      'CASE WHEN old_key <> new_key THEN old_image ELSE changed END', updated_rows),
    threadline.record_statement(audited, '''insert''', 'new_key', 'old_key', 'new_image', 'NULL', updated_rows));
  RETURN NEXT;
END
$function$;
COMMENT ON FUNCTION threadline.statement_sources(threadline.audited_tables) IS
  'PL/pgSQL that records the many rows of an insert, update or delete.';

-- The table is named at run time, for it may have been renamed. Truncating a partitioned table fires the triggers
-- of its partitions too, but those younger than the last refresh have none: the nearest one above reads them.
CREATE FUNCTION threadline.truncate_source(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format($sql$  EXECUTE concat('WITH truncated AS (SELECT * FROM ', %s, %L) USING written_at%s;$sql$,
    CASE WHEN (SELECT relkind FROM pg_class WHERE oid = audited.relation) = 'p' THEN $sql$TG_RELID::regclass, ' AS r
     WHERE r.tableoid IN (SELECT p.relid FROM pg_partition_tree(', TG_RELID, ') AS p WHERE ', TG_RELID, ' =
             (SELECT t.tgrelid FROM pg_partition_ancestors(p.relid) WITH ORDINALITY AS a (relid, height)
                JOIN pg_trigger AS t ON t.tgrelid = a.relid AND t.tgname = ''!threadline_truncate'' ORDER BY a.height LIMIT 1))'$sql$
      ELSE $sql$'ONLY ', TG_RELID::regclass$sql$ END,
    E')\n    ' || threadline.record_statement(audited, '''truncate''', 'key', 'NULL::jsonb', 'NULL', 'image',
      threadline.image_rows(audited, 'r.*', ' FROM truncated AS r', '$2', '$3'), '$1'),
    CASE WHEN audited.excluded_columns || audited.masked_columns <> '{}' THEN ', excluded, mask' ELSE '' END)
$function$;
COMMENT ON FUNCTION threadline.truncate_source(threadline.audited_tables) IS 'PL/pgSQL that records the rows of a truncation.';

-- Where capture is by statement, its first row is read before anything else: most statements write no other, and are recorded as
-- where capture is by row.
CREATE FUNCTION threadline.trigger_sources(audited threadline.audited_tables) RETURNS TABLE (event text, source text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT e.event, threadline.trigger_source(audited, e.event,
      concat(CASE WHEN g.per_row THEN e.images ELSE format($sql$  %s LIMIT 1;
  IF many IS NOT FALSE THEN
    IF many THEN
    %s
    END IF;
    RETURN NULL;
  END IF;
$sql$, e.first_row, s.source) END, r.source),
      concat(E'  running uuid;\n  row_key jsonb;\n  row_image jsonb;\n',
        CASE WHEN audited.key_type <> 'text' THEN format(E'  typed_row_key %s;\n', audited.key_type) END,
        CASE e.event WHEN 'update' THEN E'  old_row_key jsonb;\n  old_row_image jsonb;\n  row_changed jsonb;\n'
          WHEN 'delete' THEN CASE WHEN g.per_row THEN E'  recorded record;\n' END END,
        CASE WHEN NOT g.per_row THEN E'  many boolean;\n' || CASE e.event WHEN 'update' THEN E'  key_changed boolean;\n' ELSE '' END END))
    FROM (SELECT audited.granularity = 'row' AS per_row, threadline.image_expression(audited, 'OLD') AS old_row,
                 threadline.image_expression(audited, 'NEW') AS new_row) AS g
   CROSS JOIN LATERAL (VALUES
      ('insert', format(E'  row_image := %s;\n', new_row),
       format('SELECT %s, EXISTS (SELECT FROM new_rows OFFSET 1) INTO row_image, many FROM new_rows AS n', threadline.image_expression(audited, 'n.*'))),
      ('delete', format(E'  row_image := %s;\n', old_row),
       format('SELECT %s, EXISTS (SELECT FROM old_rows OFFSET 1) INTO row_image, many FROM old_rows AS o', threadline.image_expression(audited, 'o.*'))),
      ('update', format(E'  old_row_image := %s;\n  row_image := %s;\n', old_row, new_row),
       format('SELECT %s, %s, EXISTS (SELECT FROM new_rows OFFSET 1) INTO old_row_image, row_image, many FROM old_rows AS o, new_rows AS n',
         threadline.image_expression(audited, 'o.*'), threadline.image_expression(audited, 'n.*')))) AS e (event, images, first_row)
    JOIN threadline.row_sources(audited) AS r USING (event)
    JOIN threadline.statement_sources(audited) AS s USING (event)
  UNION ALL
  SELECT 'truncate', threadline.trigger_source(audited, 'truncate', threadline.truncate_source(audited))
$function$;
COMMENT ON FUNCTION threadline.trigger_sources(threadline.audited_tables) IS
  'PL/pgSQL of the functions that capture inserts, updates, deletes and truncation of a table.';

CREATE FUNCTION threadline.define_capture_functions(audited threadline.audited_tables) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  written record;
  name text;
BEGIN
  FOR written IN SELECT s.event, s.source FROM threadline.trigger_sources(audited) AS s LOOP
    name := format('capture_%s_%s', audited.id, written.event);
    EXECUTE format('CREATE OR REPLACE FUNCTION threadline.%I() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER %s AS %L', name,
      (SELECT string_agg(format('SET %s = %s', p[1], CASE p[1] WHEN 'search_path' THEN p[2] ELSE quote_literal(p[2]) END), ' ')
         FROM unnest(threadline.pinned_settings(written.event)) AS s, string_to_array(s, '=') AS p), written.source);
    EXECUTE format('COMMENT ON FUNCTION threadline.%I() IS %L', name,
      format('Captures the %s of rows of %I.%I.', written.event, audited.schema_name, audited.table_name));
    EXECUTE format('REVOKE ALL ON FUNCTION threadline.%I() FROM PUBLIC', name);
    -- They run with the rights of the record's owner, and never with those of whoever happened to call audit_table.
    EXECUTE format('ALTER FUNCTION threadline.%I() OWNER TO %s', name,
      (SELECT relowner::regrole FROM pg_class WHERE oid = 'threadline.audit_changes'::regclass));
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline.define_capture_functions(threadline.audited_tables) IS
  'Writes the functions that capture inserts, updates, deletes and truncation of a table.';
