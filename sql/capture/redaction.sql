-- Redaction is permanent: a column that was ever masked, excluded or hashed is never recorded in clear, whatever
-- happens to its table, until a call of threadline.audit_table names it in `unredact`. So audited_tables keeps the name
-- of every column that was ever redacted, and the functions below find those columns again after any change of the
-- table.

-- Distinguishes a database from all others. A restored dump is another database, even on a server that assigns the same
-- OIDs.
CREATE FUNCTION threadline_internal.database_identity() RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN (SELECT c.system_identifier || '/' || d.oid FROM pg_control_system() AS c, pg_database AS d
     WHERE d.datname = current_database());
END
$function$;
COMMENT ON FUNCTION threadline_internal.database_identity() IS
  'The identity of the database and its server, which a restored dump does not share.';

-- Returns the present columns of a table that must not be recorded. In the database in which a definition was made, a
-- name and a number identify a redacted column. If the two disagree (columns exchanged names, or a new column took the
-- name of an old one), both columns are redacted. In a restored database or a recreated table, numbers mean nothing, so
-- names decide. There, the order of the known columns shows whether two of them exchanged names before the dump. An
-- unknown column may be a renamed redacted one if a redacted one is missing, or if its position is not after that of a
-- redacted one: columns added since then come after the remaining ones. A primary key column can only be a hashed one,
-- because no other redacted column can be in the key. Changes written before the dump also show the names that the
-- columns had then.
-- Stored generated columns that are computed from a redacted column are excluded.
-- More than 60 lines: each part of the query is one way to identify a column again.
CREATE FUNCTION threadline_internal.redacted_columns(audited threadline.audited_tables)
RETURNS TABLE (name text, is_masked boolean, is_hashed boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH same AS (
    SELECT threadline_internal.is_described(audited.relation, audited.definition) AS table
  ), defined AS (
    SELECT d.key AS name, (d.value ->> 'number')::smallint AS number,
           row_number() OVER (ORDER BY (d.value ->> 'number')::smallint) AS rank
      FROM jsonb_each(audited.definition -> 'columns') AS d
  ), last_known AS (
    SELECT c.key AS name, (c.value ->> 'number')::smallint AS number
      FROM (SELECT d.columns FROM threadline.table_definitions AS d
             WHERE d.table_id = audited.id AND d.relation = (audited.definition ->> 'oid')::oid
               AND d.database = audited.definition ->> 'database'
             ORDER BY d.id DESC LIMIT 1) AS d, jsonb_each(d.columns) AS c
  ), listed AS (
    SELECT l.name, l.is_masked, l.is_hashed, d.number, d.rank
      FROM (SELECT unnest(audited.excluded_columns) AS name, false AS is_masked, false AS is_hashed
            UNION ALL SELECT unnest(audited.masked_columns), true, false
            UNION ALL SELECT unnest(audited.hashed_columns), false, true) AS l
      LEFT JOIN defined AS d USING (name)
  ), present AS (
    SELECT c.name, c.number, c.type, c.typmod, d.number AS defined_number, d.rank AS defined_rank,
           row_number() OVER (ORDER BY c.number) AS rank,
           c.name = ANY (audited.key_columns) AND c.name = ANY (k.columns) AS is_key,
           row_number() OVER (PARTITION BY d.number IS NULL ORDER BY c.number) AS place,
           row_number() OVER (PARTITION BY d.number IS NULL ORDER BY d.number) AS defined_place
      FROM threadline_internal.columns_of(audited.relation) AS c LEFT JOIN defined AS d USING (name)
     CROSS JOIN threadline_internal.primary_key(audited.relation) AS k
  ), renamed AS (
    SELECT EXISTS (SELECT FROM present AS p WHERE p.place <> p.defined_place AND p.defined_number IS NOT NULL)
           OR EXISTS (SELECT FROM present AS p, present AS n
                       WHERE p.defined_number IS NULL AND n.defined_number IS NOT NULL AND p.rank < n.rank) AS any
  ), matching AS (
    SELECT p.*, l.is_masked, l.is_hashed
      FROM present AS p JOIN listed AS l ON p.name = l.name
    UNION ALL
    SELECT p.*, l.is_masked, l.is_hashed
      FROM same AS s, present AS p JOIN listed AS l ON p.number = l.number WHERE s.table
    UNION ALL
    SELECT p.*, l.is_masked, l.is_hashed
      FROM same AS s, listed AS l JOIN present AS n ON n.name = l.name
      JOIN present AS p ON p.place = n.defined_place AND p.defined_number IS NOT NULL
     WHERE NOT s.table AND n.defined_number IS NOT NULL AND (l.is_hashed OR NOT p.is_key)
    UNION ALL
    SELECT p.*, l.is_masked, l.is_hashed
      FROM same AS s, listed AS l
      JOIN present AS p ON CASE WHEN p.defined_number IS NULL
          THEN p.rank <= l.rank OR NOT EXISTS (SELECT FROM present AS n WHERE n.name = l.name)
          -- If columns were renamed, and others dropped and perhaps added again, positions are weaker evidence.
          ELSE (p.place <> p.defined_place OR p.rank <> p.defined_rank) AND p.rank <= l.rank
            AND (SELECT r.any FROM renamed AS r) END
     WHERE NOT s.table AND l.number IS NOT NULL AND (l.is_hashed OR NOT p.is_key)
    UNION ALL
    SELECT p.*, l.is_masked, l.is_hashed
      FROM same AS s, present AS p JOIN last_known AS k ON k.name = p.name JOIN listed AS l ON l.number = k.number
     WHERE NOT s.table
  )
  -- A column identified as redacted in two ways gets the stricter one: exclude before mask, mask before hash.
  SELECT m.name, bool_or(m.is_masked)
           AND bool_and(m.is_hashed OR m.is_masked AND threadline_internal.holds_placeholder(m.type, m.typmod)),
         bool_and(m.is_hashed) AND threadline_internal.hash_kinds(audited.relation, ARRAY[m.name]) <> '{}'
    FROM matching AS m GROUP BY m.name
  UNION ALL
  SELECT DISTINCT g.generated, false, false
    FROM matching AS m
    JOIN threadline_internal.generated_columns(audited.relation) AS g ON g.source_number = m.number
   WHERE NOT EXISTS (SELECT FROM matching AS n WHERE n.name = g.generated)
$function$;
COMMENT ON FUNCTION threadline_internal.redacted_columns(threadline.audited_tables) IS
  'The present columns of a table that must not be recorded, and whether each is masked or hashed; otherwise it is '
  'excluded.';
