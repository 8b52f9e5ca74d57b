-- Describes the changes in words. There is at least one if audit_table would redefine the capture. More than 60 lines,
-- one query for everything that can change.
CREATE FUNCTION threadline_internal.health_definition(audited threadline.audited_tables) RETURNS SETOF text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  RETURN QUERY
  WITH described AS (
    SELECT threadline_internal.describe_table(audited.relation, audited.definition,
             threadline_internal.redacted_names(audited)) AS present, audited.definition AS defined
  ), renamed AS (
    SELECT d.key AS old_name, p.key AS new_name
      FROM described, jsonb_each(defined -> 'columns') AS d, jsonb_each(present -> 'columns') AS p
     WHERE present -> 'oid' = defined -> 'oid' AND present -> 'database' = defined -> 'database'
       AND d.value -> 'number' = p.value -> 'number' AND d.key <> p.key
  ), changes AS (
    SELECT 1 AS part, format('column %I is now %I', old_name, new_name) AS change FROM renamed
    UNION ALL
    SELECT 2, format('column %I %s', name, CASE WHEN d.value IS NULL THEN 'is new' WHEN p.value IS NULL THEN 'is gone'
             WHEN p.value -> 'type' <> d.value -> 'type' THEN format('is now of type %s', p.value ->> 'type')
               ELSE 'is defined anew' END)
      FROM described
     CROSS JOIN LATERAL (SELECT * FROM jsonb_each(present -> 'columns')) AS p (name, value)
      FULL JOIN (SELECT c.* FROM described, jsonb_each(defined -> 'columns') AS c) AS d (name, value) USING (name)
     WHERE p.value IS DISTINCT FROM d.value AND name NOT IN (SELECT old_name FROM renamed UNION ALL SELECT new_name
       FROM renamed)
    UNION ALL
    SELECT 3, format('partition %s is new: a TRUNCATE of it alone is not recorded', p::oid::regclass)
      FROM described, jsonb_array_elements_text(present -> 'partitions') AS p
        WHERE NOT defined -> 'partitions' @> to_jsonb(p::bigint)
    UNION ALL
    SELECT 4, format('the primary key is now (%s)', array_to_string(k.columns, ', '))
      FROM threadline_internal.primary_key(audited.relation) AS k WHERE (k.columns, k.key_type) IS DISTINCT
        FROM (audited.key_columns, audited.key_type)
    UNION ALL
    SELECT 5, format('capture by %s would be exact', threadline_internal.granularity_for(audited.relation))
     WHERE audited.granularity <> coalesce(audited.requested_granularity,
       threadline_internal.granularity_for(audited.relation))
    UNION ALL
    SELECT 6, format('it was %I.%I', audited.table_schema, audited.table_name)
      FROM pg_class AS c WHERE c.oid = audited.relation
       AND (c.relnamespace::regnamespace::text, c.relname) IS DISTINCT FROM (quote_ident(audited.table_schema),
         audited.table_name)
    UNION ALL
    SELECT 8, format('column %I was rewritten, or stands behind one that was', c.name)
      FROM threadline_internal.rewritten_columns(audited) AS r
      JOIN threadline_internal.columns_of(audited.relation) AS c
        USING (number)
     WHERE r.certain
    UNION ALL
    SELECT 8, format('labels of column %I have other names', p.key)
      FROM threadline.table_definitions AS d
     CROSS JOIN jsonb_each((threadline_internal.describe_definition(audited)).columns) AS p
      JOIN jsonb_each(d.columns) AS o ON o.value -> 'number' = p.value -> 'number'
     WHERE d.id = audited.definition_id
       AND threadline_internal.renamed_labels(o.value -> 'labels', p.value -> 'labels') <> '{}'
    UNION ALL
    SELECT 8, 'changes were recorded under definitions that no refresh has followed'
      FROM threadline.table_definitions AS d
     WHERE d.table_id = audited.id AND d.id > audited.definition_id
    HAVING count(*) > 0
    UNION ALL
    SELECT 8, 'it, or a type of it, has another owner' FROM described
     WHERE (present -> 'owner', present -> 'trusted') IS DISTINCT FROM (defined -> 'owner', defined -> 'trusted')
  )
  -- In a restored database the column numbers and partitions differ, while everything else may be the same.
  SELECT c.change
    FROM described
   CROSS JOIN LATERAL (SELECT part, change FROM changes WHERE part > 3 OR present -> 'oid' = defined -> 'oid'
                       UNION ALL SELECT 7, 'it was restored, or created anew' WHERE present -> 'oid' <> defined -> 'oid'
                       UNION ALL SELECT 7, CASE WHEN present -> 'database' <> defined -> 'database'
                           THEN 'it was restored, or created anew'
                           WHEN present -> 'partitions' <> defined -> 'partitions' THEN 'a partition is gone'
                           ELSE 'it is laid out anew' END
                          WHERE present IS DISTINCT FROM defined AND present -> 'oid' = defined -> 'oid'
                            AND NOT EXISTS (SELECT FROM changes WHERE part < 4 OR part = 8)) AS c
   ORDER BY c.part, c.change;
END
$function$;
COMMENT ON FUNCTION threadline_internal.health_definition(threadline.audited_tables) IS
  'Changes of a table since its capture was defined.';
