-- Continuity: what is known about tables that had rows before their capture began, and baselines, which record those
-- rows.
-- A row without a recorded change since capture began is unchanged since then. An ordinary read of it therefore returns
-- its exact values at that moment, without a lock and without blocking writers: a running transaction that changes it
-- has committed neither the row nor the change. Its captured_at is nevertheless the time at which it was recorded,
-- because nothing in the audit log is backdated.

-- Returns the key in the order of its index. The position of the scan is stored as JSON, and converted back to the
-- types of the key. Only a jsonb key is used unconverted, because JSON null is a value there.
CREATE FUNCTION threadline_internal.baseline_key(relation regclass)
RETURNS TABLE (number bigint, name text, declaration text, kept text, equals text, reaches text, follows text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT k.number, a.attname, d.declaration,
         CASE WHEN coalesce(nullif(y.typbasetype, 0), y.oid) = 'jsonb'::regtype THEN format('($1 -> %L)::%s',
           a.attname, d.type)
           ELSE format('(SELECT p.%I FROM jsonb_to_record($1) AS p (%s))', a.attname, d.declaration) END,
         o.operators[3], o.operators[4], o.operators[5]
    FROM pg_index AS i
   CROSS JOIN LATERAL unnest(i.indkey::smallint[], i.indclass::oid[]) WITH ORDINALITY AS k (attnum, opclass, number)
    JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    JOIN pg_type AS y ON y.oid = a.atttypid
    LEFT JOIN pg_collation AS l ON l.oid = a.attcollation
    JOIN pg_opclass AS c ON c.oid = k.opclass
    JOIN pg_am AS m ON m.oid = c.opcmethod AND m.amname = 'btree'
   CROSS JOIN LATERAL (SELECT array_agg(format('OPERATOR(%I.%s)', n.nspname, e.oprname) ORDER BY s.amopstrategy)
     AS operators
                         FROM pg_amop AS s
                         JOIN pg_operator AS e ON e.oid = s.amopopr
                         JOIN pg_namespace AS n ON n.oid = e.oprnamespace
                        WHERE s.amopfamily = c.opcfamily AND s.amoplefttype = c.opcintype
                          AND s.amoprighttype = c.opcintype
                          AND s.amoppurpose = 's') AS o
   CROSS JOIN LATERAL (SELECT t.type, concat(quote_ident(a.attname), ' ', t.type,
     ' COLLATE ' || quote_ident(l.collnamespace::regnamespace::text) || '.' || quote_ident(l.collname)) AS declaration
                         FROM (SELECT threadline_internal.type_name(a.atttypid, a.atttypmod) AS type) AS t) AS d
   WHERE i.indrelid = baseline_key.relation AND i.indisprimary AND k.number <= i.indnkeyatts
   ORDER BY k.number
$function$;
COMMENT ON FUNCTION threadline_internal.baseline_key(regclass) IS
  'SQL for the columns of a primary key: their declarations, their values from a position, and how they are compared. '
  'Empty for a key without an order.';

-- Returns the statement of one batch: $1 is the position after which to continue, $2 the number of rows to scan, $3 the
-- moment, $4 the current time, $5 and $6 the redaction, $7 the table, $8 whether its images need special handling, and
-- $9 its hashed columns. A position would disclose the values of a hashed column, so a table with one is scanned in a
-- single batch, and has no position. OFFSET 0 makes the rows be looked up in the audit log one by one: joined as a
-- whole, a batch would read all of it. If the statistics know no change of the table yet, its index by time looks as
-- good as that of its key, and would be scanned in full for each row. So SELECT hides the table from the planner, and
-- IS TRUE hides the time.
CREATE FUNCTION threadline_internal.baseline_statement(audited threadline.audited_tables, begun boolean) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$WITH batch AS MATERIALIZED (
    SELECT t.* FROM {rows}{behind} ORDER BY {ascending} LIMIT {limit}
  ), recorded AS (
    {record_rows}
    RETURNING 1
  )
  SELECT count(*), (SELECT count(*) FROM recorded),
         {last_position} FROM batch$sql$,
    jsonb_build_object(
      'rows', threadline_internal.live_rows(audited.relation) || ' AS t',
      'behind', CASE WHEN begun THEN ' WHERE ' || threadline_internal.baseline_behind(audited.relation) END,
      'ascending', k.ascending, 'limit', CASE WHEN audited.hashed_columns = '{}' THEN '$2' ELSE 'ALL' END,
      'last_position', CASE WHEN audited.hashed_columns = '{}' THEN format(
        '(SELECT jsonb_build_object(%s) FROM batch AS t ORDER BY %s LIMIT 1)', k.position, k.descending)
        ELSE 'NULL::jsonb' END,
      'record_rows', threadline_internal.record_rows(audited, quote_literal('snapshot'), 'key', 'NULL::jsonb', 'image',
        'NULL', threadline_internal.render($sql$SELECT r.* FROM ({images}) AS r WHERE NOT EXISTS (
          SELECT FROM threadline.audit_changes AS c
           WHERE c.table_id = (SELECT {table_id}) AND {same_key} AND (c.captured_at >= $3) IS TRUE OFFSET 0)$sql$,
          jsonb_build_object(
            'images', threadline_internal.image_rows(audited, 'r.*', ' FROM batch AS r', '$5', '$6', '$7', '$8', '$9'),
            'table_id', audited.id,
            'same_key', CASE audited.key_type WHEN 'text'
              THEN $sql$c.key_text = (r.key #>> '{}') AND left(c.key_text, 500) = left(r.key #>> '{}', 500)$sql$
              ELSE format('c.key_%s = %s', audited.key_type,
                          threadline_internal.typed_key(audited.key_type, 'r.key')) END)), '$4',
        audited.definition_id::text)))
    FROM (SELECT string_agg(format('t.%I', name), ', ' ORDER BY number) AS ascending,
                 string_agg(format('t.%I DESC', name), ', ' ORDER BY number) AS descending,
                 string_agg(format('%L, t.%I', name, name), ', ' ORDER BY number) AS position
            FROM threadline_internal.baseline_key(audited.relation)) AS k
$function$;
COMMENT ON FUNCTION threadline_internal.baseline_statement(threadline.audited_tables, boolean) IS
  'SQL that records a batch of rows as snapshots, from the start of the table or after a position.';

-- Returns the condition that a row comes after the position in $1. A row comparison can use all columns of the index,
-- but has one operator for all of them. If the types have operators in different schemas, only the first column uses
-- the index.
CREATE FUNCTION threadline_internal.baseline_behind(relation regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN count(DISTINCT b.follows) = 1
           THEN format('ROW(%s) %s ROW(%s)', string_agg(format('t.%I', b.name), ', ' ORDER BY b.number),
                       min(b.follows), string_agg(b.kept, ', ' ORDER BY b.number))
           ELSE format('%s AND (%s)', min(format('t.%I %s %s', b.name, b.reaches, b.kept)) FILTER (WHERE b.number = 1),
                       string_agg(e.follows, ' OR ')) END
    FROM threadline_internal.baseline_key(relation) AS b
   CROSS JOIN LATERAL (
     SELECT string_agg(format('t.%I %s %s', e.name, CASE e.number WHEN b.number THEN e.follows ELSE e.equals END,
                              e.kept), ' AND ' ORDER BY e.number)
       FROM threadline_internal.baseline_key(relation) AS e WHERE e.number <= b.number) AS e (follows)
$function$;
COMMENT ON FUNCTION threadline_internal.baseline_behind(regclass) IS
  'SQL condition that a row comes after a position, in the order of the primary key.';

-- Makes the checks that readable_since does not: there, the reading functions must match the present table.
CREATE FUNCTION threadline_internal.why_no_baseline(audited threadline.audited_tables, OUT reason text, OUT advice text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF audited.key_type IS NULL THEN
    reason := 'it has no primary key';
    advice := 'Its changes are recorded, but not told by row: add a primary key, and call '
      'threadline.refresh_audited_tables().';
  ELSIF threadline_internal.describe_table(audited.relation, audited.definition,
      threadline_internal.redacted_names(audited)) <> audited.definition
    OR (SELECT k.columns FROM threadline_internal.primary_key(audited.relation) AS k) <> audited.key_columns THEN
    reason := 'its columns, its key or its partitions are not those that its capture was defined for';
    advice := 'Call threadline.refresh_audited_tables(), best in the migration that changes them.';
  ELSIF NOT EXISTS (SELECT FROM threadline_internal.baseline_key(audited.relation)) THEN
    reason := 'its primary key has no order';
    advice := 'Only a key with a btree index can be gone through in batches.';
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.why_no_baseline(threadline.audited_tables) IS
  'Why the rows of an audited table cannot be recorded as snapshots, and what to do about it; NULL if nothing prevents '
  'it.';
