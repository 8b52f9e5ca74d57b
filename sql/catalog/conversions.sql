-- A migration can convert what is in a column: ALTER TABLE ... ALTER COLUMN ... TYPE ... USING. PostgreSQL keeps no
-- trace of the expression. So a conversion is taken to be the plain one of the types only where what was recorded last
-- of the rows, converted so, is what they have now; or somebody declares it. Else the column has a gap.

-- Lists the files of a table and its partitions, by OID: PostgreSQL rewrites a table into another file.
CREATE FUNCTION threadline_internal.present_files(relation regclass) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(jsonb_object_agg(f.relid::oid, pg_relation_filenode(f.relid))
                    FILTER (WHERE pg_relation_filenode(f.relid) IS NOT NULL), '{}')
    FROM (SELECT relation AS relid
          UNION SELECT p.relid FROM threadline_internal.partition_tree(relation) AS p) AS f
$function$;
COMMENT ON FUNCTION threadline_internal.present_files(regclass) IS 'The files of a table and its partitions.';

-- Lists what shows that a column was altered: the version of the row of pg_attribute, which two commands of a
-- transaction give it two of, a hash of what else it says, and
-- what newer minor releases of PostgreSQL note there when the type of a column is altered.
CREATE FUNCTION threadline_internal.present_column_versions(relation regclass) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN (SELECT coalesce(jsonb_object_agg(a.attnum, jsonb_build_object('version', concat(a.xmin, '.', a.cmin),
           'says', md5(concat_ws(' ', a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.atthasdef, d.oid,
             a.attstattarget, a.attstorage, o.options, a.attacl, a.attinhcount, a.attislocal, a.attidentity,
             a.attgenerated, a.attcollation, a.attndims)),
           'altered', o.altered)), '{}')
    FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
   CROSS JOIN LATERAL (
     SELECT array_agg(u.option) FILTER (WHERE NOT starts_with(u.option, 'pg_attver=')) AS options,
            max(u.option) FILTER (WHERE starts_with(u.option, 'pg_attver=')) AS altered
       FROM unnest(a.attoptions) AS u (option)) AS o
   WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped);
END
$function$;
COMMENT ON FUNCTION threadline_internal.present_column_versions(regclass) IS
  'The versions that the columns of a table have.';

-- Finds columns that were perhaps rewritten with their type unchanged since their versions were kept. ALTER COLUMN ...
-- TYPE ... USING changes the file and the version of the column, and nothing else of it: then it is `certain`. A
-- default, NOT NULL or a right changes the version as well, but something else with it. Where PostgreSQL notes such an
-- ALTER, it does so for the column and all that stand behind it: the first of them is certain. Every reading of the
-- past asks, so the columns are looked at only where a file is another.
CREATE FUNCTION threadline_internal.rewritten_columns(audited threadline.audited_tables)
RETURNS TABLE (number smallint, certain boolean, is_behind boolean)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH altered AS (
    SELECT p.key::smallint AS number, p.value -> 'says' = k.value -> 'says' AS is_alone,
           p.value ->> 'altered' AS altered
      FROM jsonb_each(threadline_internal.present_column_versions(audited.relation)) AS p
      JOIN jsonb_each(audited.catalog_versions -> 'columns') AS k USING (key)
     WHERE audited.catalog_versions ->> 'database' = threadline_internal.database_identity()
       AND threadline_internal.is_described(audited.relation, audited.definition)
       AND p.value -> 'version' <> k.value -> 'version'
       AND (p.value ->> 'altered' IS NULL OR p.value -> 'altered' <> k.value -> 'altered')
       AND EXISTS (SELECT FROM jsonb_each(threadline_internal.present_files(audited.relation)) AS f
                    WHERE audited.catalog_versions -> 'files' -> f.key <> f.value)
  )
  SELECT a.number, a.is_alone AND NOT a.is_behind, a.is_alone AND a.is_behind
    FROM (SELECT a.number, a.is_alone, a.altered IS NOT NULL AND a.number > min(a.number) OVER (PARTITION BY a.altered)
            FROM altered AS a) AS a (number, is_alone, is_behind);
END
$function$;
COMMENT ON FUNCTION threadline_internal.rewritten_columns(threadline.audited_tables) IS
  'The columns of a table that were perhaps rewritten since its last refresh, though they have the same type.';

-- Lists the columns that were converted since the last refresh: those that have another type, and those that were
-- rewritten.
CREATE FUNCTION threadline_internal.converted_columns(audited threadline.audited_tables,
  before threadline.audited_tables)
RETURNS TABLE (number smallint, name text, old_name text, old_type text, type text, is_certain boolean,
  is_behind boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT c.number, c.name, o.key, o.value ->> 'type', p.value ->> 'type', coalesce(r.certain, false),
         coalesce(r.is_behind, false)
    FROM threadline.table_definitions AS d
   CROSS JOIN LATERAL jsonb_each(d.columns) AS o
    JOIN threadline_internal.columns_of(audited.relation) AS c ON c.number = (o.value ->> 'number')::smallint
    JOIN jsonb_each((threadline_internal.describe_definition(audited)).columns) AS p ON p.key = c.name
    LEFT JOIN threadline_internal.rewritten_columns(before) AS r ON r.number = c.number
   WHERE d.id = before.definition_id AND c.generated <> 'v'
     AND (r.number IS NOT NULL OR o.value -> 'type' <> p.value -> 'type'
          OR threadline_internal.is_described(audited.relation, before.definition)
             AND o.value -> 'type_oid' <> p.value -> 'type_oid')
$function$;
COMMENT ON FUNCTION threadline_internal.converted_columns(threadline.audited_tables, threadline.audited_tables) IS
  'The columns of a table that were converted since its last refresh.';

-- Writes the condition that an image c.image has the key of a live row t as capture would write it, whatever its type.
CREATE FUNCTION threadline_internal.image_has_recorded_key(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(format('c.image -> %L = to_jsonb(%s)', k.name, threadline_internal.column_image(
           threadline_internal.recorded_value(audited, k.name, format('t.%I', k.name)), k.name = ANY (x.columns))),
           ' AND ')
    FROM unnest(audited.key_columns) AS k (name)
   CROSS JOIN threadline_internal.text_columns(audited.relation) AS x (columns)
$function$;
COMMENT ON FUNCTION threadline_internal.image_has_recorded_key(threadline.audited_tables) IS
  'SQL for the condition that an image has the primary key of a live row, in the words of the image.';

-- Writes what an image says of a column: NULL where it has no value of it, or where that was not recorded.
CREATE FUNCTION threadline_internal.said_value(image text, name text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('CASE WHEN %1$s ? %2$L AND NOT (%1$s ? %3$L AND %2$L = ANY '
    '(threadline_internal.columns_not_recorded(%1$s))) THEN %1$s -> %2$L END', image, name, '')
$function$;
COMMENT ON FUNCTION threadline_internal.said_value(text, text) IS
  'SQL for the value that an image has of a column; NULL where it has none.';

-- Compares what was recorded last of the rows before a migration, converted, with what they had after it: what the next
-- change found, or what they have now. It looks at the 10,000 newest changes; `is_whole` says that these are all, and
-- `is_complete` that they have all rows of the table. `convert` is SQL for the conversion of a JSON value `v.value`.
-- NULL, 0 and what is empty stay what they are in many conversions, and do not count as compared; `is_trivial` says
-- that nothing else was seen. A value that was not recorded, or that is lost in an older gap, says nothing, and is not
-- trivial where the type became another one; nor does what was recorded before the history began: rows may have come or
-- gone since that nobody recorded.
-- What was written between the migration and the refresh has a later definition, and is converted already, or plainly
-- converted once more; unless the type is the same: then it has the old one, so `within` has the changes of that
-- compared with each other.
-- More than 60 lines: it is one statement.
CREATE FUNCTION threadline_internal.compare_conversion(audited threadline.audited_tables, number smallint,
  convert text, last_definition_id integer, within boolean, OUT compared bigint, OUT differing bigint,
  OUT later_compared bigint, OUT later_differing bigint, OUT example text, OUT is_complete boolean,
  OUT is_trivial boolean, OUT is_whole boolean)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C' SET enable_nestloop = off
AS $function$
DECLARE
  typed_key text := threadline_internal.image_has_key(audited);
  same_key text := coalesce(typed_key, threadline_internal.image_has_recorded_key(audited));
BEGIN
  IF same_key IS NULL THEN
    compared := 0;  -- and is_complete is NULL
    RETURN;
  END IF;
  PERFORM threadline_internal.check_foreign_code(audited.relation);
  EXECUTE threadline_internal.render($sql$
    WITH change AS MATERIALIZED (
      SELECT c.*, lead(c.definition_id) OVER w AS next_definition_id, lead(c.found) OVER w AS next_found
        FROM (SELECT c.op, c.captured_at, c.id, c.definition_id,
                     threadline_internal.present_image(c.data_after, {older}) AS image,
                     threadline_internal.present_image(coalesce(c.data_after || c.changed_from, c.changed_from),
                       {older}) AS found
                FROM threadline.audit_changes AS c
               WHERE c.table_id = {table_id} AND c.definition_id >= {first_definition_id}
               ORDER BY c.captured_at DESC, c.id DESC LIMIT 10000) AS c
      WINDOW w AS (PARTITION BY {key} ORDER BY c.captured_at, c.id)
    ), said AS MATERIALIZED (
      SELECT c.*, {said} AS value, {next_said} AS after FROM change AS c
    ), pair AS (
      SELECT c.value, c.after, c.definition_id > {last_definition_id} AS is_later,
             c.next_definition_id > greatest({last_definition_id}, c.definition_id) AS is_across
        FROM said AS c
       WHERE (c.next_definition_id > {last_definition_id} OR {within} AND c.definition_id = {last_definition_id})
         AND c.value IS NOT NULL AND c.after IS NOT NULL
      UNION ALL
      SELECT c.value, coalesce({live_value}, 'null'), c.definition_id > {last_definition_id}, true
        FROM said AS c {join} {live_rows} AS t ON {same_key}
       WHERE c.next_definition_id IS NULL AND c.value IS NOT NULL
    ), converted AS MATERIALIZED (
      SELECT p.value, p.is_later, p.is_across,
             coalesce((SELECT {convert} FROM (SELECT p.value) AS v), 'null') AS converted,
             coalesce((SELECT {convert} FROM (SELECT p.after AS value) AS v), 'null') AS after
        FROM pair AS p
    )
    SELECT count(*) FILTER (WHERE p.is_across AND NOT p.is_later AND p.value <> ALL ({trivial})),
           count(*) FILTER (WHERE p.converted <> p.after),
           count(*) FILTER (WHERE p.is_across AND p.is_later AND p.value <> ALL ({trivial})),
           count(*) FILTER (WHERE p.converted <> p.after AND p.is_later),
           min(format('%s, which is %s', p.converted, p.after)) FILTER (WHERE p.converted <> p.after),
           CASE WHEN (SELECT count(*) >= 10000 FROM change) THEN false
             ELSE NOT EXISTS (SELECT FROM {live_rows} AS t WHERE NOT EXISTS (
                                SELECT FROM (SELECT coalesce(c.image, c.found) AS image FROM change AS c OFFSET 0) AS c
                                 WHERE {same_key})) END,
           (SELECT coalesce(bool_and(
                     coalesce(c.value = ANY ({trivial}), {within} OR NOT c.image ? {name}, true)
                     AND coalesce({found_said} = ANY ({trivial}), {within} OR NOT c.found ? {name}, true))
                       FILTER (WHERE c.definition_id <= {last_definition_id}), true) FROM said AS c),
           (SELECT count(*) < 10000 FROM change)
      FROM converted AS p$sql$, jsonb_build_object(
    'table_id', audited.id, 'first_definition_id', audited.first_definition_id,
    -- Not the recorded keys: those from before the refresh can be of another type.
    'key', (SELECT string_agg(CASE WHEN typed_key IS NULL THEN format('coalesce(c.image, c.found) -> %L', k.name)
                       ELSE threadline_internal.image_value('coalesce(c.image, c.found)', k.name, k.type, k.typmod) END,
                     ', ')
              FROM threadline_internal.columns_of(audited.relation) AS k WHERE k.name = ANY (audited.key_columns)),
    'older', format('%L::jsonb, c.definition_id::text', audited.older_definitions),
    'name', quote_literal(c.name), 'said', threadline_internal.said_value('c.image', c.name),
    'found_said', threadline_internal.said_value('c.found', c.name),
    'next_said', threadline_internal.said_value('c.next_found', c.name),
    'trivial', $$ARRAY['null', '0', '""', '[]', '{}']::jsonb[]$$,
    'last_definition_id', last_definition_id, 'within', within,
    'live_value', format('to_jsonb(%s)', threadline_internal.column_image(
      threadline_internal.recorded_value(audited, c.name, format('t.%I', c.name)),
      c.name = ANY (threadline_internal.text_columns(audited.relation)))),
    -- A key that was converted otherwise finds no row.
    'join', CASE WHEN c.name = ANY (audited.key_columns) THEN 'LEFT JOIN' ELSE 'JOIN' END,
    'live_rows', threadline_internal.live_rows(audited.relation), 'same_key', same_key, 'convert', convert))
    FROM threadline_internal.columns_of(audited.relation) AS c WHERE c.number = compare_conversion.number
    INTO compared, differing, later_compared, later_differing, example, is_complete, is_trivial, is_whole;
END
$function$;
COMMENT ON FUNCTION threadline_internal.compare_conversion(threadline.audited_tables, smallint, text, integer, boolean)
  IS
  'How many of the values recorded last of a column, converted, are and are not what their rows had after a migration.';

-- Writes a value of an image in the type of its column, or as text where that is not one of PostgreSQL's own. A numeric
-- that became an integer has a scale.
CREATE FUNCTION threadline_internal.image_value(image text, name text, type oid, typmod integer) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format(CASE WHEN b.type IN ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype)
           THEN '(%s ->> %L)::numeric::%s' ELSE '(%s ->> %L)::%s' END, image, name,
           threadline_internal.built_in_type(type, typmod))
    FROM threadline_internal.base_type(type, typmod) AS b
$function$;
COMMENT ON FUNCTION threadline_internal.image_value(text, text, oid, integer) IS
  'SQL for a value of an image in its own type, or as text.';

-- Writes the condition that an image c.image has the key of a live row t; NULL where only code of a type could tell, or
-- where it is JSON of several values.
CREATE FUNCTION threadline_internal.image_has_key(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(format(CASE WHEN b.is_built_in THEN '%s = %s' ELSE '%s = %s::text' END,
           threadline_internal.image_value('c.image', c.name, c.type, c.typmod),
           threadline_internal.recorded_value(audited, c.name, format('t.%I', c.name))), ' AND ')
    FROM threadline_internal.columns_of(audited.relation) AS c
   CROSS JOIN threadline_internal.base_type(c.type, c.typmod) AS b
   WHERE c.name = ANY (audited.key_columns)
  HAVING bool_and(threadline_internal.built_in_type(c.type, c.typmod) IS NOT NULL AND b.category <> 'A')
$function$;
COMMENT ON FUNCTION threadline_internal.image_has_key(threadline.audited_tables) IS
  'SQL for the condition that an image has the primary key of a live row.';

-- Whether PostgreSQL converts values of one type to the other by the time zone of the session.
CREATE FUNCTION threadline_internal.converts_by_zone(old_type text, type text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT (old_type ~ 'with time zone') <> (type ~ 'with time zone')
$function$;
COMMENT ON FUNCTION threadline_internal.converts_by_zone(text, text) IS
  'Whether a conversion between two types depends on the time zone of the session.';

-- Says why the plain conversion of a column to its present type is not what a migration did with it; NULL where it is.
-- `last_definition_id` is the last definition that the conversion, or the gap, is about whatever the type.
CREATE FUNCTION threadline_internal.why_not_plain(audited threadline.audited_tables, converted record,
  before threadline.audited_tables, OUT gap text, OUT last_definition_id integer)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  comparison record;
  is_hashed boolean := converted.name = ANY (audited.hashed_columns);
  was_another boolean;
  changed text := CASE WHEN converted.old_type = converted.type THEN format('column %I was rewritten', converted.name)
    ELSE format('column %I was converted from %s to %s', converted.name, converted.old_type, converted.type) END;
BEGIN
  last_definition_id := before.definition_id;
  IF converted.name = ANY (audited.masked_columns || audited.excluded_columns) THEN
    gap := format('%s while it was redacted', changed);  -- which is read once it is not any more
    RETURN;
  ELSIF is_hashed AND converted.old_type <> converted.type
    AND NOT threadline_internal.holds_all_values(converted.old_type, converted.type) THEN
    gap := format('%s, and a hash cannot be converted', changed);
    RETURN;
  ELSIF NOT EXISTS (SELECT FROM threadline.audit_changes AS c
                     WHERE c.table_id = audited.id AND c.definition_id < audited.definition_id) THEN
    RETURN;  -- Nothing was recorded that would have to be converted.
  END IF;
  -- A history that begins anew with this refresh has nothing to compare.
  audited.first_definition_id := before.first_definition_id;
  comparison := threadline_internal.compare_conversion(audited, converted.number,
    threadline_internal.plain_conversion(audited, converted.number), before.definition_id,
    converted.old_type = converted.type);
  was_another := comparison.later_compared = 0 AND threadline_internal.had_another_type(audited, converted, before);
  IF comparison.later_differing > 0 OR was_another THEN
    last_definition_id := audited.definition_id - 1;
  END IF;
  gap := CASE
    WHEN was_another THEN format('%s, and was of another type in between', changed)
    WHEN comparison.differing > 0 THEN format('%s, and its values are others than before', changed)
    WHEN comparison.is_complete IS NULL THEN format('%s, and there is no primary key to compare rows by', changed)
    WHEN converted.is_certain AND comparison.is_complete IS NOT TRUE THEN changed
    WHEN comparison.compared = 0 AND NOT (comparison.is_trivial AND (comparison.is_whole OR converted.is_behind))
      THEN format('%s, and nothing shows how', changed)
    WHEN threadline_internal.converts_by_zone(converted.old_type, converted.type) AND NOT comparison.is_trivial
      AND NOT (threadline_internal.is_converted_here(audited, converted.number)
               AND current_setting('TimeZone') IN ('Etc/UTC', 'GMT', 'UTC'))
      THEN format('%s, in a time zone that is not known', changed) END;
EXCEPTION WHEN data_exception OR insufficient_privilege OR integrity_constraint_violation OR undefined_function THEN
  -- The message of PostgreSQL has a recorded value in it, and what is kept here no redaction would reach.
  gap := format('%s, and PostgreSQL cannot convert a recorded value: SQLSTATE %s', changed, SQLSTATE);
END
$function$;
COMMENT ON FUNCTION threadline_internal.why_not_plain(threadline.audited_tables, record, threadline.audited_tables) IS
  'Why the plain conversion of a column to its present type is not known to be what was done; NULL where it is.';

-- Whether something was recorded of a column while it was of a type that it had neither before nor has now.
CREATE FUNCTION threadline_internal.had_another_type(audited threadline.audited_tables, converted record,
  before threadline.audited_tables) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN EXISTS (
    SELECT FROM threadline.table_definitions AS d CROSS JOIN LATERAL jsonb_each(d.columns) AS c
     WHERE d.table_id = audited.id AND d.id > before.definition_id AND d.id < audited.definition_id
       AND (c.value ->> 'number')::smallint = converted.number
       AND c.value ->> 'type' NOT IN (converted.old_type, converted.type));
END
$function$;
COMMENT ON FUNCTION threadline_internal.had_another_type(threadline.audited_tables, record, threadline.audited_tables)
  IS 'Whether a column had a third type between two refreshes.';

-- Writes the plain conversion of a JSON value v.value to the present type of a column.
CREATE FUNCTION threadline_internal.plain_conversion(audited threadline.audited_tables, number smallint) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE
      WHEN c.name = ANY (audited.hashed_columns) THEN 'v.value'
      WHEN threadline_internal.built_in_type(c.type, c.typmod) IS NOT NULL
        THEN format('threadline_internal.value_as(%L, v.value)', threadline_internal.built_in_type(c.type, c.typmod))
      WHEN c.name = ANY (threadline_internal.text_columns(audited.relation)) THEN $$to_jsonb(v.value #>> '{}')$$
      ELSE 'v.value' END
    FROM threadline_internal.columns_of(audited.relation) AS c WHERE c.number = plain_conversion.number
$function$;
COMMENT ON FUNCTION threadline_internal.plain_conversion(threadline.audited_tables, smallint) IS
  'SQL for the conversion of a value in an image to the present type of its column, as PostgreSQL does it.';

-- Whether a column was altered by the running transaction, before it wrote the table: then all that is recorded of the
-- table was recorded before.
CREATE FUNCTION threadline_internal.is_converted_here(audited threadline.audited_tables, number smallint)
RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT EXISTS (SELECT FROM pg_attribute AS a
                  WHERE a.attrelid = audited.relation AND a.attnum = is_converted_here.number
                    -- Visible, and of a transaction in progress: of this one, or of a savepoint in it.
                    AND CASE WHEN age(a.xmin) <= 0 THEN pg_xact_status(
                          (pg_current_xact_id()::text::bigint - age(a.xmin))::text::xid8) = 'in progress' END)
         AND NOT EXISTS (SELECT FROM threadline.audit_changes AS c
                           JOIN threadline.audit_transactions AS t ON t.id = c.transaction_id
                          WHERE c.table_id = audited.id AND c.captured_at >= transaction_timestamp()
                            AND t.txid = pg_current_xact_id())
$function$;
COMMENT ON FUNCTION threadline_internal.is_converted_here(threadline.audited_tables, smallint) IS
  'Whether the running transaction has altered a column, and not written the table.';

-- Whether a value of one type is the same value of another, or no value of it. Nobody converts such types in any other
-- way, unless he means to change the values.
CREATE FUNCTION threadline_internal.holds_all_values(old_type text, type text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT old_type ~ whole AND type ~ (whole || '|^numeric$') OR (old_type, type) IN (('real', 'double precision'))
         OR old_type ~ '^(text|character varying|character)([(][0-9]+[)])?$'
            AND type ~ '^(text|character varying)([(][0-9]+[)])?$'
    FROM (SELECT '^(smallint|integer|bigint)$'::text AS whole) AS w
$function$;
COMMENT ON FUNCTION threadline_internal.holds_all_values(text, text) IS
  'Whether values of one built-in type are values of another.';

-- Keeps the conversions that a refresh finds.
CREATE FUNCTION threadline_internal.find_conversions(audited threadline.audited_tables,
  before threadline.audited_tables) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  converted record;
  plain record;
  is_rewritten boolean := EXISTS (
    SELECT FROM jsonb_each(threadline_internal.present_files(audited.relation)) AS f
     WHERE before.catalog_versions -> 'files' -> f.key IS DISTINCT FROM f.value);
BEGIN
  FOR converted IN SELECT * FROM threadline_internal.converted_columns(audited, before) LOOP
    IF is_rewritten OR converted.is_certain THEN
      plain := threadline_internal.why_not_plain(audited, converted, before);
    ELSE
      SELECT NULL::text AS gap, before.definition_id AS last_definition_id INTO plain;
    END IF;
    -- What was perhaps rewritten is kept as well: the comparison may have missed it, and somebody declare it.
    IF NOT is_rewritten AND converted.old_type = converted.type THEN
      DELETE FROM threadline.column_conversions AS c
       WHERE (c.table_id, c.column_number, c.definition_id) = (audited.id, converted.number, audited.definition_id);
    ELSE
      INSERT INTO threadline.column_conversions VALUES (audited.id, converted.number, audited.definition_id,
        plain.last_definition_id, converted.old_name, converted.old_type, converted.type, clock_timestamp(), NULL,
        plain.gap, plain.last_definition_id = before.definition_id AND (converted.old_type <> converted.type
          OR threadline_internal.is_converted_here(audited, converted.number)))
      ON CONFLICT (table_id, column_number, definition_id) DO UPDATE
        SET gap = EXCLUDED.gap, last_definition_id = EXCLUDED.last_definition_id;
    END IF;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.find_conversions(threadline.audited_tables, threadline.audited_tables) IS
  'Keeps how columns of a table were converted since its last refresh.';
