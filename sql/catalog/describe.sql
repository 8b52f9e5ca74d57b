-- Identifies the generator that wrote the functions of a table. An older version requires a refresh.
CREATE FUNCTION threadline_internal.definition_version() RETURNS integer
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS 'SELECT 1';
COMMENT ON FUNCTION threadline_internal.definition_version() IS
  'Version of the generator; threadline.refresh_audited_tables() rebuilds tables whose definition_version is older.';

-- Returns whether a description belongs to this very table, so that its column numbers are those of the table. A
-- restored table may have the same OID by chance.
CREATE FUNCTION threadline_internal.is_described(relation regclass, description jsonb) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce((description ->> 'oid')::oid = relation
                  AND description ->> 'database' = threadline_internal.database_identity(), false)
$function$;
COMMENT ON FUNCTION threadline_internal.is_described(regclass, jsonb) IS
  'Whether a description belongs to a table in this database, and not to one that was restored or recreated.';

-- Returns whether the table of a row of audited_tables exists. For a dropped table pg_dump writes the OID, which may
-- belong to any other table where the dump is restored.
CREATE FUNCTION threadline_internal.is_table_of(audited threadline.audited_tables) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT EXISTS (
    SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.oid = audited.relation
       -- The name identifies nearly all tables, and comparing it costs least.
       AND ((n.nspname, c.relname) = (audited.table_schema, audited.table_name)
            OR threadline_internal.is_described(audited.relation, audited.definition)
            OR EXISTS (SELECT FROM pg_trigger AS g
                        WHERE g.tgrelid = audited.relation
                          AND g.tgfoid = to_regproc(format('threadline_internal.capture_%s_insert', audited.id)))))
$function$;
COMMENT ON FUNCTION threadline_internal.is_table_of(threadline.audited_tables) IS
  'Whether the table that a row of audited_tables names is the one that was audited, and not another one with its OID.';

-- Returns the row of a table, or of the OID of a dropped table.
CREATE FUNCTION threadline_internal.audited_table(relation regclass) RETURNS SETOF threadline.audited_tables
LANGUAGE sql STABLE ROWS 1 SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT t.* FROM threadline.audited_tables AS t
   WHERE t.relation = audited_table.relation
     AND (threadline_internal.is_table_of(t) OR NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.relation))
   ORDER BY threadline_internal.is_described(t.relation, t.definition) DESC, t.id LIMIT 1
$function$;
COMMENT ON FUNCTION threadline_internal.audited_table(regclass) IS 'The audited_tables row of a table, if it has one.';

-- Returns whether stored data about a table belongs to the table with its OID. In this database the OID decides; in a
-- restored database the name must match too.
CREATE FUNCTION threadline_internal.is_said_of(relation oid, table_schema text, table_name text, database text)
RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                  WHERE c.oid = is_said_of.relation
                    AND ((n.nspname, c.relname) = (is_said_of.table_schema, is_said_of.table_name)
                         OR is_said_of.database = threadline_internal.database_identity()))
$function$;
COMMENT ON FUNCTION threadline_internal.is_said_of(oid, text, text, text) IS
  'Whether a table is the one that was recorded, in this database or in the one that it was restored from.';

-- Returns whether a table has two rows in audited_tables, and this row is for a table of another database.
CREATE FUNCTION threadline_internal.is_audited_twice(audited threadline.audited_tables) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT NOT threadline_internal.is_described(audited.relation, audited.definition)
     AND EXISTS (SELECT FROM threadline.audited_tables AS t
                  WHERE t.relation = audited.relation AND t.id <> audited.id
                    AND threadline_internal.is_described(t.relation, t.definition))
$function$;
COMMENT ON FUNCTION threadline_internal.is_audited_twice(threadline.audited_tables) IS
  'Whether a row of audited_tables came from the audit log of another database, and this database audits the table '
  'too.';

-- Describes what the generated functions are built from. Comparing it with the stored definition shows whether anything
-- must be rebuilt. `previous` carries over what the catalog forgets: the defaults of added columns (except redacted
-- ones), columns whose redaction was ended, and former names of the table. quote_all_identifiers would quote even the
-- names of types.
CREATE FUNCTION threadline_internal.describe_table(relation regclass, previous jsonb, redacted text[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off SET lock_timeout = '1 s'
AS $function$
#variable_conflict use_column
BEGIN
  RETURN (WITH old AS (
      SELECT name, (value ->> 'number')::smallint AS number, value -> 'default' AS value,
             value ->> 'default_gap' AS gap, value ->> 'type' AS type, value ? 'retyped' AS retyped
        FROM jsonb_each(previous -> 'columns') AS c (name, value)
    ), present AS (
      SELECT c.name, c.number, s.shape AS type, threadline_internal.attribute_numbers(c.type) AS attributes,
             nullif(c.generated, '') AS generated,
             nullif(c.not_null, false) AS not_null,
             nullif(NOT threadline_internal.is_short(c.type, c.typmod), false) AS long,
             nullif(c.name = ANY (j.columns), false) AS json,
             nullif(threadline_internal.compared_as(c.type, c.typmod), 'value') AS compared_as,
             -- Permanent, because an older recorded value may not be valid for the present type.
             nullif(old.retyped OR old.type <> s.shape, false) AS retyped,
             CASE WHEN c.name <> ALL (redacted) THEN coalesce(old.value, a.value) END AS added_default,
             CASE WHEN c.name <> ALL (redacted) THEN coalesce(old.gap, a.gap) END AS default_gap
        FROM threadline_internal.columns_of(relation) AS c
       CROSS JOIN LATERAL threadline_internal.type_shape(c.type, c.typmod) AS s (shape)
       CROSS JOIN threadline_internal.json_columns(relation) AS j (columns)
        -- In a restored or recreated table the column numbers mean nothing, so the names decide.
        LEFT JOIN old
          ON CASE WHEN threadline_internal.is_described(relation, previous) THEN old.number = c.number
               ELSE old.name = c.name END
        LEFT JOIN LATERAL threadline_internal.added_default(relation, c.number) AS a
          ON old.number IS NULL AND c.name <> ALL (redacted) AND EXISTS (SELECT FROM old)
    )
    SELECT jsonb_build_object(
      'oid', relation::oid::bigint,
      'database', threadline_internal.database_identity(),
      'layout', threadline_internal.column_layout(relation),
      'owner', (SELECT c.relowner::regrole FROM pg_class AS c WHERE c.oid = relation),
      'trusted', threadline_internal.is_trusted_table(relation),
      'text_columns', threadline_internal.text_columns(relation),
      'strict', coalesce(previous -> 'strict', 'false'),
      'unredacted', coalesce(previous -> 'unredacted', '{}'),
      'names', coalesce(previous -> 'names', '[]'),
      'columns', (
        SELECT coalesce(jsonb_object_agg(name,
                 jsonb_strip_nulls(jsonb_build_object('number', number, 'type', type, 'generated', generated,
                   'not_null', not_null, 'long', long, 'json', json, 'compared_as', compared_as, 'retyped', retyped,
                   'default_gap', default_gap, 'attributes', attributes))
                 -- The default may be a JSON null.
                 || CASE WHEN added_default IS NULL THEN '{}' ELSE jsonb_build_object('default', added_default) END),
                 '{}')
          FROM present),
      'partitions', (SELECT coalesce(jsonb_agg(relid::oid::bigint ORDER BY relid), '[]')
                       FROM threadline_internal.partition_tree(relation) WHERE isleaf AND relid <> relation)));
END
$function$;
COMMENT ON FUNCTION threadline_internal.describe_table(regclass, jsonb, text[]) IS
  'Columns and partitions of a table as its capture needs them, carried over from a previous description.';

-- Row triggers are cloned to partitions, and see every row of an inheritance tree once. Statement triggers do neither.
-- And if a row trigger of the application writes to the table again, its inner changes would be recorded before the
-- outer change that caused them, unless capture runs per row, and first. The actions of two foreign keys, or of one
-- that references its own table, can write a row twice in one statement.
CREATE FUNCTION threadline_internal.granularity_for(relation regclass) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN (SELECT CASE WHEN EXISTS (SELECT FROM pg_class WHERE oid = relation AND relkind = 'p')
                  OR EXISTS (SELECT FROM pg_inherits AS i JOIN pg_class AS p ON p.oid = i.inhparent AND p.relkind <> 'p'
                              WHERE relation IN (i.inhrelid, i.inhparent))
                  OR EXISTS (SELECT FROM pg_trigger WHERE tgrelid = relation AND NOT tgisinternal
                                -- Bits of tgtype: 1 is FOR EACH ROW, 2 is BEFORE, 64 is INSTEAD OF.
                                AND tgtype & 1 = 1 AND tgtype & 66 = 0
                                AND NOT starts_with(tgname::text, '!threadline_'))
                  OR (SELECT count(*) > 1 OR bool_or(confrelid = relation) FROM pg_constraint
                       WHERE conrelid = relation AND contype = 'f'
                         AND (confupdtype IN ('c', 'd', 'n') OR confdeltype IN ('c', 'd', 'n')))
             THEN 'row' ELSE 'statement' END);
END
$function$;
COMMENT ON FUNCTION threadline_internal.granularity_for(regclass) IS 'The granularity that records this table exactly.';
