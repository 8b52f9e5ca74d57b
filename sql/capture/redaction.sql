-- Tells what of a table must not be recorded. It goes by the number of a column, not by name: renaming a column must
-- not let its values into the audit log before the next refresh. A column that was added since under the name of a
-- redacted one is taken for its successor. After a restore the numbers may differ, and the names are right. What was
-- retyped so that it cannot hold the placeholder is left out.
CREATE FUNCTION threadline_internal.redaction(table_id integer, OUT excluded text[], OUT mask jsonb)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  SELECT coalesce(array_agg(a.attname::text) FILTER (WHERE c.excluded OR NOT fits), '{}'),
         coalesce(jsonb_object_agg(a.attname, '[REDACTED]') FILTER (WHERE NOT c.excluded AND fits), '{}')
    INTO excluded, mask
    FROM threadline.audited_tables AS t
   CROSS JOIN LATERAL (SELECT name, true AS excluded FROM unnest(t.excluded_columns) AS name
                       UNION ALL SELECT name, false FROM unnest(t.masked_columns) AS name) AS c
    JOIN pg_attribute AS a
      ON a.attrelid = t.relation AND a.attnum > 0 AND NOT a.attisdropped
     AND CASE WHEN t.relation::oid = (t.definition ->> 'oid')::oid
           THEN a.attnum = (t.definition #>> ARRAY['columns', c.name, 'number'])::smallint
             OR a.attname = c.name AND NOT EXISTS (
                  SELECT FROM jsonb_each(t.definition -> 'columns') AS known
                   WHERE (known.value ->> 'number')::smallint = a.attnum)
           ELSE a.attname = c.name END
    JOIN pg_type AS y ON y.oid = a.atttypid
   -- atttypmod of varchar(n) and char(n) is n + 4
   CROSS JOIN LATERAL (SELECT y.typcategory = 'S' AND a.atttypmod NOT BETWEEN 4 AND 13 AS fits) AS f
   WHERE t.id = redaction.table_id;
END
$function$;
COMMENT ON FUNCTION threadline_internal.redaction(integer) IS
  'What of a table must not be recorded: the columns to leave out, and the placeholders of the masked ones, under '
  'their present names.';
