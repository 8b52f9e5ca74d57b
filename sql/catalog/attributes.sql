-- An image contains the attributes of a composite value by name. Attribute numbers show whether a name still means the
-- same attribute, because PostgreSQL never reuses a number. The numbers are valid in one database only: restoring a
-- dump renumbers the attributes.

-- Returns the attribute numbers by name for each composite type that values of a type contain; NULL if there is none.
CREATE FUNCTION threadline_internal.attribute_numbers(type oid) RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN CASE WHEN type >= 16384 THEN (
    SELECT jsonb_object_agg(a.type, a.numbers)
      FROM (SELECT t.type, jsonb_object_agg(c.name, c.number) AS numbers
              FROM threadline_internal.types_of_type(attribute_numbers.type) AS t (type)
              JOIN pg_type AS y ON y.oid = t.type AND y.typrelid <> 0
             CROSS JOIN LATERAL threadline_internal.columns_of(y.typrelid) AS c
             GROUP BY t.type) AS a) END;
END
$function$;
COMMENT ON FUNCTION threadline_internal.attribute_numbers(oid) IS
  'The attribute numbers of the composite types that values of a type contain.';

-- Returns whether an attribute has a name that belonged to another attribute.
CREATE FUNCTION threadline_internal.are_exchanged(old_attributes jsonb, new_attributes jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT EXISTS (
    SELECT FROM jsonb_each(old_attributes) AS o
      JOIN jsonb_each(new_attributes) AS n USING (key)
     CROSS JOIN LATERAL jsonb_each(o.value) AS a
     WHERE n.value -> a.key <> a.value)
$function$;
COMMENT ON FUNCTION threadline_internal.are_exchanged(jsonb, jsonb) IS
  'Whether attributes of composite types exchanged names, or were dropped and added again.';

-- Returns whether attributes of a column were exchanged in this way since the last refresh.
CREATE FUNCTION threadline_internal.has_exchanged_attributes(audited threadline.audited_tables) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
BEGIN
  IF NOT audited.definition @? '$.columns.*.attributes' THEN
    RETURN false;
  END IF;
  RETURN threadline_internal.is_described(audited.relation, audited.definition)
     AND EXISTS (
       SELECT FROM jsonb_each(audited.definition -> 'columns') AS d
         JOIN threadline_internal.columns_of(audited.relation) AS c ON c.number = (d.value ->> 'number')::smallint
        WHERE d.value ? 'attributes'
          AND threadline_internal.are_exchanged(d.value -> 'attributes',
                threadline_internal.attribute_numbers(c.type)));
END
$function$;
COMMENT ON FUNCTION threadline_internal.has_exchanged_attributes(threadline.audited_tables) IS
  'Whether attributes in a column of a table exchanged names, or were added again, since its last refresh.';

-- Records a gap for each column whose attributes were exchanged since any of its definitions, unless a gap or a
-- conversion of the column was recorded after that.
CREATE FUNCTION threadline_internal.find_exchanged_attributes(audited threadline.audited_tables,
  present threadline.table_definitions) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.keep_gap(audited, o.name, p.value,
           format('attributes of column %I have exchanged names, or were dropped and added again', p.key))
    FROM jsonb_each(present.columns) AS p
   CROSS JOIN LATERAL (
     SELECT o.key AS name
       FROM threadline.table_definitions AS d CROSS JOIN LATERAL jsonb_each(d.columns) AS o
      WHERE d.table_id = audited.id AND d.id < audited.definition_id
        AND (d.relation, d.database) = (present.relation, present.database)
        AND o.value -> 'number' = p.value -> 'number'
        AND threadline_internal.are_exchanged(o.value -> 'attributes', p.value -> 'attributes')
        AND NOT EXISTS (SELECT FROM threadline.column_conversions AS c
                         WHERE c.table_id = audited.id AND c.column_number = (p.value ->> 'number')::smallint
                           AND c.definition_id > d.id AND c.definition_id < audited.definition_id
                           AND c.gap IS NOT NULL)
        AND EXISTS (SELECT FROM threadline.audit_changes AS c
                     WHERE c.table_id = audited.id AND c.definition_id <= d.id)
      ORDER BY d.id DESC LIMIT 1) AS o
   WHERE p.value ? 'attributes' AND p.key <> ALL (audited.masked_columns || audited.excluded_columns)
$function$;
COMMENT ON FUNCTION threadline_internal.find_exchanged_attributes(threadline.audited_tables,
  threadline.table_definitions) IS
  'Records that attributes in columns of a table can no longer be identified by their names.';

-- Records that enum labels were renamed and rows were written with them before a refresh, so that it is unknown whether
-- a change contains the old name or the new one. A change was written after the rename if its row is newer than that of
-- the label.
CREATE FUNCTION threadline_internal.find_renamed_labels(audited threadline.audited_tables,
  before threadline.audited_tables, present threadline.table_definitions) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.keep_gap(audited, o.key, p.value,
           format('labels of column %I were renamed, and rows written before the refresh', p.key))
    FROM threadline.table_definitions AS d
   CROSS JOIN LATERAL jsonb_each(d.columns) AS o
    JOIN jsonb_each(present.columns) AS p ON p.value -> 'number' = o.value -> 'number'
   WHERE d.id = before.definition_id AND p.value -> 'type_oid' = o.value -> 'type_oid'
     AND p.key <> ALL (audited.masked_columns || audited.excluded_columns)
     AND EXISTS (
       SELECT FROM jsonb_each_text(p.value -> 'labels') AS n
         JOIN jsonb_each_text(o.value -> 'labels') AS l ON l.value = n.value AND l.key <> n.key
         JOIN pg_enum AS e ON e.oid = n.value::oid
         JOIN threadline.audit_changes AS c ON c.table_id = audited.id AND c.definition_id >= before.definition_id
        WHERE age(c.xmin) < age(e.xmin)
           OR c.xmin = e.xmin AND c.cmin::text::bigint > e.cmin::text::bigint)
$function$;
COMMENT ON FUNCTION threadline_internal.find_renamed_labels(threadline.audited_tables, threadline.audited_tables,
  threadline.table_definitions) IS
  'Records that columns of a table were written between a rename of labels and the next refresh.';
