-- Redaction is a one-way door: a column that was once masked or excluded is never recorded in clear, whatever becomes
-- of its table, until threadline.audit_table is asked for it by name (`unredact`). So audited_tables keeps the name of
-- every column that was ever redacted, and what follows finds those columns again after any change of the table.

-- Names the columns of a table, their places and types, so that two states of it can be compared at the cost of a hash.
-- Types, since PL/pgSQL fails where a field of NEW has another one than in the plan that the session keeps.
CREATE FUNCTION threadline_internal.column_layout(relation regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT encode(sha256(convert_to(string_agg(format('%s %s %s %s', c.number, c.type, c.typmod, c.name), E'\n'
           ORDER BY c.number), 'UTF8')), 'hex')
    FROM threadline_internal.columns_of(relation) AS c
$function$;
COMMENT ON FUNCTION threadline_internal.column_layout(regclass) IS
  'A hash of the names, numbers and types of the columns of a table.';

-- Tells one database from all others: a dump that is restored, be it into a server that gives the same OIDs, is
-- another.
CREATE FUNCTION threadline_internal.database_identity() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT c.system_identifier || '/' || d.oid FROM pg_control_system() AS c, pg_database AS d
   WHERE d.datname = current_database()
$function$;
COMMENT ON FUNCTION threadline_internal.database_identity() IS
  'The identity of the database and of its server, which a restored dump does not have.';

-- Finds the columns that must not be recorded among those that a table has now. In the database that a definition was
-- made in, a redacted column is known by name and by number, and where the two disagree (columns exchanged names, a new
-- column took the name of an old one) both columns are redacted. In a restored database, or a table that was made anew,
-- numbers say nothing, and names do. There the order of the columns that are known by name tells that two exchanged
-- their names before the dump; and a column that is not known may be a redacted one that was renamed, where one is
-- missing, or where it stands no further back than a redacted one did: what was added since stands behind what is left.
-- A column of the primary key is none, since no redacted one could be.
-- Stored generated columns that are computed from a redacted column are excluded.
CREATE FUNCTION threadline_internal.redacted_columns(audited threadline.audited_tables)
RETURNS TABLE (name text, is_masked boolean)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  WITH same AS (
    SELECT threadline_internal.is_described(audited.relation, audited.definition) AS table
  ), defined AS (
    SELECT d.key AS name, (d.value ->> 'number')::smallint AS number,
           row_number() OVER (ORDER BY (d.value ->> 'number')::smallint) AS rank
      FROM jsonb_each(audited.definition -> 'columns') AS d
  ), listed AS (
    SELECT l.name, l.is_masked, d.number, d.rank
      FROM (SELECT unnest(audited.excluded_columns) AS name, false AS is_masked
            UNION ALL SELECT unnest(audited.masked_columns), true) AS l
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
    SELECT p.*, l.is_masked
      FROM present AS p JOIN listed AS l ON p.name = l.name
    UNION ALL
    SELECT p.*, l.is_masked
      FROM same AS s, present AS p JOIN listed AS l ON p.number = l.number WHERE s.table
    UNION ALL
    SELECT p.*, l.is_masked
      FROM same AS s, listed AS l JOIN present AS n ON n.name = l.name
      JOIN present AS p ON p.place = n.defined_place AND p.defined_number IS NOT NULL
     WHERE NOT s.table AND n.defined_number IS NOT NULL AND NOT p.is_key
    UNION ALL
    SELECT p.*, l.is_masked
      FROM same AS s, listed AS l
      JOIN present AS p ON CASE WHEN p.defined_number IS NULL
          THEN p.rank <= l.rank OR NOT EXISTS (SELECT FROM present AS n WHERE n.name = l.name)
          -- Where columns were renamed, and others dropped and perhaps added again, places tell less.
          ELSE (p.place <> p.defined_place OR p.rank <> p.defined_rank) AND p.rank <= l.rank
            AND (SELECT r.any FROM renamed AS r) END
     WHERE NOT s.table AND l.number IS NOT NULL AND NOT p.is_key
  )
  SELECT m.name, bool_and(m.is_masked AND threadline_internal.holds_placeholder(m.type, m.typmod))
    FROM matching AS m GROUP BY m.name
  UNION ALL
  SELECT DISTINCT g.generated, false
    FROM matching AS m
    JOIN threadline_internal.generated_columns(audited.relation) AS g ON g.source_number = m.number
   WHERE NOT EXISTS (SELECT FROM matching AS n WHERE n.name = g.generated)
$function$;
COMMENT ON FUNCTION threadline_internal.redacted_columns(threadline.audited_tables) IS
  'The present columns of a table that must not be recorded, and whether each can be masked; else it is left out.';

-- Tells what of a table must not be recorded, for every write to it. Where the columns are those of the definition, it
-- is what the definition says. `written` is the table, or partition, that fired: a table that was restored alone is not
-- the one in audited_tables.
CREATE FUNCTION threadline_internal.redaction(table_id integer, written oid, OUT excluded text[], OUT mask jsonb,
  OUT is_current boolean)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
DECLARE
  audited threadline.audited_tables;
BEGIN
  SELECT t.* INTO audited FROM threadline.audited_tables AS t WHERE t.id = redaction.table_id;
  -- The OID of a table that is gone can be that of any other table in a restored database.
  IF audited.relation <> written AND audited.relation NOT IN (SELECT pg_partition_ancestors(written)) THEN
    audited.relation := coalesce(pg_partition_root(written)::oid, written);
  END IF;
  SELECT audited.definition ->> 'layout' = threadline_internal.column_layout(audited.relation)
         AND NOT coalesce(bool_or(l.is_masked AND NOT f.fits), false)
         AND NOT (coalesce(bool_or(c.generated = 's' AND l.name IS NULL), false)
           AND EXISTS (SELECT FROM threadline_internal.generated_from(audited.relation,
             audited.excluded_columns || audited.masked_columns) AS g WHERE g.generated IS NOT NULL)),
         coalesce(array_agg(c.name) FILTER (WHERE NOT l.is_masked OR NOT f.fits), '{}'),
         coalesce(jsonb_object_agg(c.name, '[REDACTED]') FILTER (WHERE l.is_masked AND f.fits), '{}')
    INTO is_current, excluded, mask
    FROM threadline_internal.columns_of(audited.relation) AS c
    LEFT JOIN (SELECT unnest(audited.excluded_columns) AS name, false AS is_masked
               UNION ALL SELECT unnest(audited.masked_columns), true) AS l USING (name)
   CROSS JOIN LATERAL (SELECT CASE WHEN l.is_masked THEN
       threadline_internal.holds_placeholder(c.type, c.typmod) END) AS f (fits);
  IF is_current IS NOT TRUE THEN
    is_current := false;
    -- A redacted column that took the name of a key column would be the key, which is read before it is masked.
    SELECT coalesce(array_agg(r.name) FILTER (WHERE NOT k.masks), '{}'),
           coalesce(jsonb_object_agg(r.name, '[REDACTED]') FILTER (WHERE k.masks), '{}')
      INTO excluded, mask
      FROM threadline_internal.redacted_columns(audited) AS r
     CROSS JOIN LATERAL (SELECT r.is_masked AND r.name <> ALL (audited.key_columns) AS masks) AS k;
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.redaction(integer, oid) IS
  'What of a table must not be recorded: the columns to leave out, and the placeholders of the masked ones; and '
  'whether its columns are those of its definition.';
