-- Time travel. A transaction takes effect as a whole, at the time of its last captured change: as of T, a change is
-- in effect exactly when its transaction has no change captured later than T. Row locks make that order agree with the
-- order of conflicting commits, so what is read is a state the database could have been in.
--
-- The rows of the past are the live rows without those written by a transaction that takes effect later, and the old
-- image of the first such change of each key. Later transactions are told by their ids alone: those that began after T
-- have ids above a bound, and the few that began before and went on beyond T are found by threadline.straddling_changes.

-- The ids are UUIDs of version 7 that threadline.transaction_id makes out of the time the transaction began, so this
-- bound turns the primary key of audit_changes into an index by time. IMMUTABLE, so that the planner has its value.
CREATE FUNCTION threadline.first_id_after(at timestamptz) RETURNS uuid
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  -- What is before or beyond all ids, the infinities included, is as good as these years.
  bounded timestamptz := least(greatest(at, '1970-01-01 00:00:00+00'), '5000-01-01 00:00:00+00');
  us bigint := extract(epoch FROM bounded - '1970-01-01 00:00:00+00'::timestamptz) * 1000000 + 1;
BEGIN
  RETURN encode(int8send((us / 1000) << 16 | 28672 | (us % 1000) * 4096 / 1000) || int8send(-9223372036854775808), 'hex')::uuid;
END
$function$;
COMMENT ON FUNCTION threadline.first_id_after(timestamptz) IS
  'The lowest id that a transaction can have which began after this time.';

-- A transaction without a row in long_transactions made its last change less than 125 ms after it began, so if it
-- straddles T it began in the 125 ms before T; one noted for an octave, in as much time as the octave stands for.
CREATE FUNCTION threadline.straddling_transactions(at timestamptz) RETURNS uuid[]
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
AS $function$
BEGIN
  IF NOT isfinite(at) THEN
    RETURN '{}';
  END IF;
  RETURN ARRAY(
    SELECT t.id FROM threadline.audit_transactions AS t
     WHERE t.id >= threadline.first_id_after(at - interval '125 ms') AND t.id < threadline.first_id_after(at)
    UNION
    SELECT l.transaction_id
      FROM generate_series(1, (SELECT max(n.octave) FROM threadline.long_transactions AS n)) AS o (octave)
      JOIN threadline.long_transactions AS l
        ON l.octave = o.octave AND l.occurred_at <= at AND l.occurred_at > at - interval '125 ms' * power(2, o.octave));
END
$function$;
COMMENT ON FUNCTION threadline.straddling_transactions(timestamptz) IS
  'The transactions that began at or before a time and may have changed something after it; all that did are among them.';

-- There is seldom one, so looking for it is kept from the plans of those who ask.
CREATE FUNCTION threadline.straddling_changes(table_id integer, at timestamptz) RETURNS SETOF threadline.audit_changes
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 10 SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
AS $function$
#variable_conflict use_column
DECLARE
  began_by timestamptz := straddling_changes.at;
  candidates uuid[] := threadline.straddling_transactions(straddling_changes.at);
BEGIN
  IF candidates <> '{}' THEN
    RETURN QUERY SELECT c.* FROM threadline.audit_changes AS c
                  WHERE c.table_id = straddling_changes.table_id AND c.transaction_id = ANY (candidates)
                    AND EXISTS (SELECT FROM threadline.audit_changes AS l WHERE l.transaction_id = c.transaction_id AND l.captured_at > began_by);
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline.straddling_changes(integer, timestamptz) IS
  'Changes of a table by transactions that began at or before a time and changed something, in any table, after it.';

-- What keeps the past of a table from being read, whether it is audited or not. Asked with the rights of the reader, since
-- whether row level security applies depends on who reads.
CREATE FUNCTION threadline.past_obstacle(relation regclass, OUT reason text, OUT advice text)
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF row_security_active(relation) THEN
    reason := format('row level security hides rows of it from %s', current_user);
    advice := 'The record knows no policies; read as a role with BYPASSRLS, or as the owner of the table.';
  ELSIF EXISTS (SELECT FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhparent
                 WHERE i.inhparent = past_obstacle.relation AND c.relkind = 'r') THEN
    reason := 'other tables inherit from it';
    advice := 'Read each of the tables through threadline.versions.';
  ELSIF EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = past_obstacle.relation AND i.indisprimary AND NOT i.indimmediate) THEN
    reason := 'its primary key is deferrable, so a transaction can write a key before the one that gives it up has ended';
    advice := 'Make the key NOT DEFERRABLE, or read the changes in threadline.versions.';
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline.past_obstacle(regclass) IS
  'Why a table cannot be read as of the past, and what to do about it; NULL where nothing is in the way.';

-- What a reading function was built for, in a form that survives a dump: it names the table and its columns.
CREATE FUNCTION threadline.table_shape(relation regclass) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
BEGIN
  RETURN format('%s (%s)', relation,
    -- Asked at every reading, so the types that have no attributes are spared the call.
    (SELECT string_agg(concat(quote_ident(a.attname), ' ', CASE WHEN y.typtype IN ('c', 'd') OR e.typtype IN ('c', 'd')
                                THEN threadline.type_shape(a.atttypid, a.atttypmod) ELSE format_type(a.atttypid, a.atttypmod) END,
                              CASE WHEN a.attnotnull THEN ' NOT NULL' END), ', ' ORDER BY a.attnum)
       FROM pg_attribute AS a
       JOIN pg_type AS y ON y.oid = a.atttypid
       LEFT JOIN pg_type AS e ON e.oid = y.typelem AND y.typcategory = 'A'
      WHERE a.attrelid = table_shape.relation AND a.attnum > 0 AND NOT a.attisdropped));
END
$function$;
COMMENT ON FUNCTION threadline.table_shape(regclass) IS 'A table with its columns and their types, as text.';

-- Refuses whatever would make the past a guess.
CREATE FUNCTION threadline.history_since(table_id integer, shape text) RETURNS timestamptz
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  audited threadline.audited_tables;
  reason text;
  advice text;
BEGIN
  -- From here on no partition can be dropped. One that was since this snapshot was taken is missing, although the snapshot
  -- shows no horizon behind it; it shows the partition, but there is none.
  PERFORM FROM threadline.audit_changes WHERE false;
  IF EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhparent = 'threadline.audit_changes'::regclass AND pg_table_is_visible(i.inhrelid) IS NULL) THEN
    RAISE EXCEPTION 'the record was purged while it was read'
      USING ERRCODE = 'serialization_failure', CONSTRAINT = 'threadline_past', HINT = 'Read it again, in a new transaction.';
  END IF;
  SELECT * INTO STRICT audited FROM threadline.audited_tables AS t WHERE t.id = history_since.table_id;
  IF audited.capture_ended_at IS NOT NULL THEN
    reason := format('its capture ended at %s, and what became of it since is not recorded', audited.capture_ended_at);
    advice := 'Its recorded changes can still be read: threadline.versions.';
  ELSIF threadline.table_shape(audited.relation) IS DISTINCT FROM history_since.shape THEN
    reason := 'its name or columns are not those that its capture was defined for';
    advice := 'Call threadline.refresh_audited_tables(), best in the migration that changes them.';
  ELSIF EXISTS (SELECT FROM (SELECT audited.relation AS relid UNION ALL SELECT p.relid FROM pg_partition_tree(audited.relation) AS p WHERE p.isleaf) AS p
                 WHERE (SELECT count(*) FROM pg_trigger AS t WHERE t.tgrelid = p.relid AND t.tgenabled IN ('A', 'O')
                   AND t.tgname IN ('!threadline_delete', '!threadline_insert', '!threadline_truncate', '!threadline_update')) < 4) THEN
    reason := 'capture triggers of it or of a partition are missing or disabled, so changes may go unrecorded';
    advice := 'Call threadline.refresh_audited_tables(); where a gap is found, the history of the table begins anew.';
  ELSE
    SELECT o.reason, o.advice INTO reason, advice FROM threadline.past_obstacle(audited.relation) AS o;
  END IF;
  IF reason IS NOT NULL THEN
    RAISE EXCEPTION 'cannot read % as of the past: %', audited.relation, reason
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = advice, CONSTRAINT = 'threadline_past', TABLE = audited.relation::text;
  END IF;
  RETURN greatest(audited.capture_since, audited.purged_before);
END
$function$;
COMMENT ON FUNCTION threadline.history_since(integer, text) IS
  'Since when a table can be read as of the past; raises an error if it cannot be.';

CREATE FUNCTION threadline.check_past(table_id integer, shape text, at timestamptz) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
DECLARE
  since timestamptz := threadline.history_since(table_id, shape);
BEGIN
  IF at IS NULL THEN
    RAISE EXCEPTION 'cannot read the past as of NULL' USING ERRCODE = 'null_value_not_allowed', CONSTRAINT = 'threadline_past',
      HINT = 'Give the time to read as of.';
  ELSIF at < since THEN
    RAISE EXCEPTION 'cannot read % as of %: its history begins at %',
      (SELECT t.relation FROM threadline.audited_tables AS t WHERE t.id = table_id), at, since
      USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_before_history', DETAIL = since::text,
        HINT = 'What was there before its capture began is not known, nor what retention has removed.';
  END IF;
  RETURN true;
END
$function$;
COMMENT ON FUNCTION threadline.check_past(integer, text, timestamptz) IS
  'Raises an error unless a table can be read as of a time.';

-- The last argument only makes the call depend on the row: the planner may call a function of constants by itself.
CREATE FUNCTION threadline.no_value(sample anyelement, message text, change_id bigint) RETURNS anyelement
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RAISE EXCEPTION '%', format(message, change_id) USING ERRCODE = 'data_exception', CONSTRAINT = 'threadline_value',
    HINT = 'Read other columns, or the images in threadline.versions.';
END
$function$;
COMMENT ON FUNCTION threadline.no_value(anyelement, text, bigint) IS
  'Raises the error of a value that the past does not have; stands where a column would be.';

-- Whether a value made of an image lacks attributes that the image has.
CREATE FUNCTION threadline.lacks_attributes(made jsonb, image jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE
    WHEN jsonb_typeof(image) = 'object' AND jsonb_typeof(made) = 'object' THEN EXISTS (
      SELECT FROM jsonb_each(image) AS i WHERE NOT made ? i.key OR threadline.lacks_attributes(made -> i.key, i.value))
    WHEN jsonb_typeof(image) = 'array' AND jsonb_typeof(made) = 'array' THEN EXISTS (
      SELECT FROM jsonb_array_elements(image) WITH ORDINALITY AS i (value, place) WHERE threadline.lacks_attributes(made -> (i.place - 1)::integer, i.value))
    ELSE false END
$function$;
COMMENT ON FUNCTION threadline.lacks_attributes(jsonb, jsonb) IS
  'Whether attributes of a composite value in an image are lost in the row made of it.';

-- For tables where an older value may be none of the present type.
CREATE FUNCTION threadline.checked_row(sample anyelement, image jsonb, change_id bigint) RETURNS anyelement
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  made jsonb;
  field text;
  blamed text;
  reason text;
BEGIN
  BEGIN
    sample := jsonb_populate_record(sample, image);
    made := to_jsonb(sample);
    -- Attributes of a composite type are told by name, like columns; but nobody kept what became of them.
    SELECT i.key INTO blamed FROM jsonb_each(image) AS i WHERE made ? i.key AND threadline.lacks_attributes(made -> i.key, i.value) LIMIT 1;
    IF NOT FOUND THEN
      RETURN sample;
    END IF;
    reason := 'its type has lost or renamed attributes';
  EXCEPTION WHEN OTHERS THEN
    reason := SQLERRM;
    -- The column without which all is well.
    FOR field IN SELECT jsonb_object_keys(image) LOOP
      BEGIN
        PERFORM jsonb_populate_record(sample, image - field);
        blamed := field;
      EXCEPTION WHEN OTHERS THEN
        NULL;
      END;
    END LOOP;
  END;
  RAISE EXCEPTION 'the value of % that change % of % recorded cannot be read in its present type: %',
    coalesce('column ' || quote_ident(blamed), 'a column'), change_id, pg_typeof(sample), reason
    USING ERRCODE = 'data_exception', CONSTRAINT = 'threadline_value', COLUMN = coalesce(blamed, ''),
      HINT = 'Read the images in threadline.versions, or convert the column back.';
END
$function$;
COMMENT ON FUNCTION threadline.checked_row(anyelement, jsonb, bigint) IS
  'The row of an image; an error names the column whose value cannot be converted.';

-- The select list of a row of the past, of the live row t or of an image. Masked and excluded columns are the same in
-- both, so that one reading never mixes real and redacted values. A column that must not be NULL never is: to Diesel a
-- row with an unexpected NULL is no row, where it may be none. An error only comes if the column is read.
CREATE FUNCTION threadline.past_columns(audited threadline.audited_tables, live boolean) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
  SELECT string_agg(CASE
      WHEN c.name = ANY (audited.masked_columns) THEN format('''[REDACTED]''::%s', c.type)
      WHEN c.name = ANY (audited.excluded_columns) THEN CASE
        WHEN NOT c.not_null THEN format('NULL::%s', c.type)
        WHEN c.constant IS NOT NULL THEN format('%s::%s', c.constant, c.type)
        ELSE format('threadline.no_value(NULL::%s, %L, %s)', c.type,
               format('column %I of %s has no value in the past: it is excluded from the record',
                 replace(c.name, '%', '%%'), replace(audited.relation::text, '%', '%%')),
               CASE WHEN live THEN 't.tableoid::pg_catalog.int8' ELSE '$3' END) END
      WHEN c.generated = 'v' AND audited.masked_columns || audited.excluded_columns <> '{}' THEN
        format('threadline.no_value(NULL::%s, %L, %s)', c.type,
          format('column %I of %s has no value in the past: it is computed, and may be so from redacted columns',
            replace(c.name, '%', '%%'), replace(audited.relation::text, '%', '%%')),
          CASE WHEN live THEN 't.tableoid::pg_catalog.int8' ELSE '$3' END)
      WHEN live THEN format('t.%I', c.name)
      WHEN c.generated = 'v' THEN 'NULL::' || c.type
      ELSE format(CASE WHEN c.not_null THEN 'coalesce(%1$s, threadline.no_value(NULL::%2$s, %3$L, $3))' ELSE '%1$s' END,
             CASE WHEN c.not_null AND c.type IN ('pg_catalog.json', 'pg_catalog.jsonb')  -- a JSON null is a value
                 THEN format('(p.image OPERATOR(pg_catalog.->) %L)::%s', c.name, c.type)
               ELSE format('(p.record).%I', c.name) END,
             c.type, format('change %%s of %s recorded no value for column %I, which is NOT NULL now',
               replace(audited.relation::text, '%', '%%'), replace(c.name, '%', '%%'))) END
      || format(' AS %I', c.name), E',\n       ' ORDER BY c.number)
    FROM (SELECT a.attname::text AS name, a.attnum AS number, threadline.type_name(a.atttypid, a.atttypmod) AS type,
                 a.attnotnull AS not_null, a.attgenerated AS generated,
                 coalesce(CASE WHEN y.typcategory NOT IN ('A', 'C')
                            THEN quote_literal(threadline.added_default(a.attrelid, a.attnum) #>> '{}') END,
                          CASE WHEN y.typcategory = 'S' AND a.atttypmod NOT BETWEEN 4 AND 13 THEN '''[REDACTED]''' END) AS constant
            FROM pg_attribute AS a JOIN pg_type AS y ON y.oid = a.atttypid
           WHERE a.attrelid = audited.relation AND a.attnum > 0 AND NOT a.attisdropped) AS c
$function$;
COMMENT ON FUNCTION threadline.past_columns(threadline.audited_tables, boolean) IS
  'SQL for the columns of a row of the past, out of the live row or an image.';

-- The columns of a row that is made of an image: $2 is the image and $3 the change it is of. What depends on
-- user-defined types or on a type the column had once is converted with care; plain conversion is faster.
-- OFFSET 0 keeps the planner from converting once per column, and lets it not convert at all for a count.
CREATE FUNCTION threadline.row_of_image(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
  SELECT CASE WHEN computed IS NULL THEN made
           ELSE format(E'SELECT %s\n  FROM (%s) AS r\n CROSS JOIN LATERAL threadline.computed_columns(ROW(%s)::%s) AS v', computed, made, listed, audited.relation) END
    FROM (SELECT format('SELECT %s
  FROM (SELECT i.image, %s AS record
          FROM (SELECT $2 AS image OFFSET 0) AS i OFFSET 0) AS p', threadline.past_columns(audited, false),
                   CASE WHEN EXISTS (SELECT FROM jsonb_each(audited.definition -> 'columns') AS c (name, value)
                                       JOIN pg_attribute AS a ON a.attrelid = audited.relation AND a.attname = c.name
                                       JOIN pg_type AS y ON y.oid = a.atttypid
                                      WHERE c.name <> ALL (audited.excluded_columns || audited.masked_columns)
                                        AND (c.value ? 'retyped' OR y.typnamespace <> 'pg_catalog'::regnamespace))
                     THEN format('threadline.checked_row(NULL::%s, i.image, $3)', audited.relation)
                     ELSE format('pg_catalog.jsonb_populate_record(NULL::%s, i.image)', audited.relation) END) AS made,
                 -- A virtual generated column is not in the image, and follows from the columns that are.
                 (SELECT string_agg(format(CASE WHEN a.attgenerated = 'v' THEN 'v.%1$I AS %1$I' ELSE 'r.%1$I AS %1$I' END, a.attname), ', ' ORDER BY a.attnum)
                    FROM pg_attribute AS a WHERE a.attrelid = audited.relation AND a.attnum > 0 AND NOT a.attisdropped
                  HAVING bool_or(a.attgenerated = 'v') AND audited.masked_columns || audited.excluded_columns = '{}') AS computed,
                 (SELECT string_agg(format('r.%I', a.attname), ', ' ORDER BY a.attnum)
                    FROM pg_attribute AS a WHERE a.attrelid = audited.relation AND a.attnum > 0 AND NOT a.attisdropped) AS listed) AS m
$function$;
COMMENT ON FUNCTION threadline.row_of_image(threadline.audited_tables) IS
  'SQL for a row of the past out of an image.';

-- Two lists of changes that take effect after $2. In the first, captured_at adds nothing to what the ids say; it leaves
-- out older partitions, and bounds the search in the key indexes. The hour is for clocks that were set back: what such a
-- transaction wrote must not count by half. It stands in a sub-select, so that it is not held against statistics that
-- end before it: those would tell the planner of no changes, and make it join row by row.
-- A snapshot is no event: nothing happened to the row when it was recorded.
CREATE FUNCTION threadline.later_changes(audited threadline.audited_tables, columns text, condition text) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT ARRAY[
    format('SELECT %sFROM threadline.audit_changes AS c
         WHERE c.table_id OPERATOR(pg_catalog.=) %s AND c.transaction_id OPERATOR(pg_catalog.>=) threadline.first_id_after($2)
           AND c.captured_at OPERATOR(pg_catalog.>) (SELECT $2 OPERATOR(pg_catalog.-) ''1 hour''::pg_catalog.interval)
           AND c.op OPERATOR(pg_catalog.<>) ''snapshot''%s', columns || ' ', audited.id, ' AND ' || condition),
    format('SELECT %sFROM threadline.straddling_changes(%s, $2) AS c WHERE c.op OPERATOR(pg_catalog.<>) ''snapshot''%s', columns || ' ', audited.id, ' AND ' || condition)]
$function$;
COMMENT ON FUNCTION threadline.later_changes(threadline.audited_tables, text, text) IS
  'SQL for the changes of a table that take effect after $2: those of transactions that began since, and straddling ones.';

-- as_of(NULL::t, time): the rows of a table with a key. Which values of a column are asked for reaches the index of the
-- live table, and for the columns of the key that of the record as well. Where equal keys can be different texts, changes
-- are of one row if their keys are equal.
CREATE FUNCTION threadline.as_of_by_key(audited threadline.audited_tables, live_rows text, before text, check_past text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('SELECT %1$s
  FROM %2$s AS t
 WHERE %3$s
   AND NOT EXISTS (%4$s)
   AND NOT EXISTS (%5$s)
UNION ALL
SELECT %6$s
  FROM (SELECT DISTINCT ON (%7$s) c.%12$s, c.id, c.op, c.data_after, c.changed_from
          FROM (%8$s
         UNION ALL
         %9$s) AS c
         ORDER BY %7$s, c.id) AS c
 CROSS JOIN LATERAL threadline.row_of(NULL::%10$s, %11$s, c.id) AS r
 WHERE c.op OPERATOR(pg_catalog.<>) ''insert'' AND %3$s',
      threadline.past_columns(audited, true), live_rows, check_past, written[1], written[2],
      -- Of a numeric, the key has lost the trailing zeros.
      (SELECT string_agg(CASE WHEN k.exact AND y.typoutput <> 'numeric_out'::regproc THEN k.recorded ELSE format('r.%I', a.attname) END
                         || format(' AS %I', a.attname), ', ' ORDER BY a.attnum)
         FROM pg_attribute AS a
         JOIN pg_type AS y ON y.oid = a.atttypid
         LEFT JOIN threadline.recorded_key_columns(audited) AS k ON k.name = a.attname
        WHERE a.attrelid = audited.relation AND a.attnum > 0 AND NOT a.attisdropped),
      CASE WHEN exact THEN 'c.' || key_column ELSE typed_key END, images[1], images[2], audited.relation, before, key_column)
    FROM (SELECT 'key_' || audited.key_type AS key_column, bool_and(k.exact) AS exact,
                 string_agg(format(CASE WHEN k.text_collation IS NULL THEN '%s' ELSE '(%s COLLATE %s)' END, k.recorded, k.text_collation), ', ') AS typed_key,
                 string_agg(format(CASE WHEN k.text_collation IS NULL THEN '%1$s %2$s t.%3$I' ELSE '%1$s %2$s (t.%3$I COLLATE %4$s)' END,
                                   k.recorded, k.equals, k.name, k.text_collation), ' AND ') AS equality
            FROM threadline.recorded_key_columns(audited) AS k) AS k
   CROSS JOIN LATERAL threadline.later_changes(audited, NULL, equality) AS written
   CROSS JOIN LATERAL threadline.later_changes(audited, format('c.%s, c.id, c.op, c.data_after, c.changed_from', key_column),
                                               format('c.%s IS NOT NULL', key_column)) AS images
$function$;
COMMENT ON FUNCTION threadline.as_of_by_key(threadline.audited_tables, text, text, text) IS
  'SQL for the rows that a table with a primary key had at a time.';

-- Without a key, rows have no identity, but there are as many of each as there must be: the live ones, and what
-- later changes took away, less what they brought. Every live row is turned into JSON for it.
CREATE FUNCTION threadline.as_of_by_count(audited threadline.audited_tables, live_rows text, before text, after text, check_past text)
RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('SELECT r.*
  FROM (SELECT pg_catalog.sum(u.n) AS n, pg_catalog.array_agg(u.record) FILTER (WHERE u.n OPERATOR(pg_catalog.>) 0) AS records
          FROM (SELECT ROW(%1$s)::%2$s AS record, 1 AS n
                  FROM (SELECT %10$s FROM %3$s AS t WHERE %4$s) AS l
                UNION ALL
                SELECT ROW(%11$s)::%2$s, 1
                  FROM (%5$s
         UNION ALL
         %6$s) AS c
                 CROSS JOIN LATERAL threadline.row_of(NULL::%2$s, %7$s, c.id) AS r
                 WHERE c.op OPERATOR(pg_catalog.<>) ''insert''
                UNION ALL
                SELECT ROW(%11$s)::%2$s, -1
                  FROM (%5$s
         UNION ALL
         %6$s) AS c
                 CROSS JOIN LATERAL threadline.row_of(NULL::%2$s, %8$s, c.id) AS r
                 WHERE c.data_after IS NOT NULL) AS u
         GROUP BY pg_catalog.to_jsonb(u.record)
        HAVING pg_catalog.sum(u.n) OPERATOR(pg_catalog.<>) 0) AS g
 CROSS JOIN LATERAL pg_catalog.unnest(CASE WHEN g.n OPERATOR(pg_catalog.>) 0 THEN g.records[1:g.n::pg_catalog.int4]
   ELSE threadline.no_value(NULL::%2$s[], %9$L, g.n::pg_catalog.int8) END) AS r',
      (SELECT string_agg(format('l.%I', a.attname), ', ' ORDER BY a.attnum)
         FROM pg_attribute AS a WHERE a.attrelid = audited.relation AND a.attnum > 0 AND NOT a.attisdropped),
      audited.relation, live_rows, check_past, images[1], images[2], before, after,
      format('the record of %s took in rows that the table does not have (%%s)', replace(audited.relation::text, '%', '%%')),
      threadline.past_columns(audited, true),
      (SELECT string_agg(format('r.%I', a.attname), ', ' ORDER BY a.attnum)
         FROM pg_attribute AS a WHERE a.attrelid = audited.relation AND a.attnum > 0 AND NOT a.attisdropped))
    FROM threadline.later_changes(audited, 'c.id, c.op, c.data_after, c.changed_from', NULL) AS images
$function$;
COMMENT ON FUNCTION threadline.as_of_by_count(threadline.audited_tables, text, text, text, text) IS
  'SQL for the rows that a table without a primary key had at a time.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA threadline FROM PUBLIC;
