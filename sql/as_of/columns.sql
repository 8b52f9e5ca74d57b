-- The select list of a row of the past, from the live row t or an image, with one function for each kind of column.
-- Masked, excluded and hashed columns are the same in both, so that one read never mixes real and redacted values. A
-- NOT NULL column is never NULL: Diesel may read a row with an unexpected NULL as no row. No column becomes NULL, or
-- any other value, because its value was not recorded. An error is raised only if a query reads the column.

-- Returns SQL for the error in place of a column without a value. `row_id` makes it depend on the row.
CREATE FUNCTION threadline_internal.no_value(type text, message text, row_id text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('threadline_internal.raise_no_value(NULL::%s, %L, %s)', type, message, row_id)
$function$;
COMMENT ON FUNCTION threadline_internal.no_value(text, text, text) IS
  'SQL for the error in place of a value that the past does not have.';

-- Returns SQL for an excluded column. No value, NULL or other, could stand for it without being mistaken for the
-- original value.
CREATE FUNCTION threadline_internal.excluded_column(relation regclass, name text, type text, row_id text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('threadline_internal.excluded_value(NULL::%s, %L, %s)', type, format(
    'column %I of %s has no value in the past: it is excluded from the audit log', name, relation), row_id)
$function$;
COMMENT ON FUNCTION threadline_internal.excluded_column(regclass, text, text, text) IS
  'SQL for an excluded column of a row of the past.';

-- Returns SQL for a virtual generated column. Images do not contain it: threadline_internal.row_of_image computes it,
-- unless its inputs may be redacted.
CREATE FUNCTION threadline_internal.virtual_column(audited threadline.audited_tables, name text, type text,
  live boolean, row_id text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE
      WHEN threadline_internal.is_redacted(audited) THEN
        threadline_internal.no_value(type, replace(format(
          'column %I of %s has no value in the past: it is computed, and may be so from redacted columns',
          name, audited.relation), '%', '%%'), row_id)
      WHEN live THEN format('t.%I', name)
      ELSE 'NULL::' || type END
$function$;
COMMENT ON FUNCTION threadline_internal.virtual_column(threadline.audited_tables, text, text, boolean, text) IS
  'SQL for a virtual generated column of a row of the past.';

-- Returns SQL for any other column. If an image could not be converted to a whole row, each column is converted by
-- itself, and only a column that cannot be converted raises an error.
CREATE FUNCTION threadline_internal.stored_column(audited threadline.audited_tables, name text, type text,
  not_null boolean, live boolean) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render(CASE WHEN live THEN '{live}' WHEN not_null
        THEN 'coalesce({value}, CASE WHEN p.image IS NOT NULL THEN {no_value} END)'
      ELSE '{value}' END, jsonb_build_object(
    'live', threadline_internal.recorded_value(audited, name, format('t.%I', name)),
    'value', threadline_internal.render($sql$CASE WHEN p.record IS DISTINCT FROM NULL THEN {of_record}
         ELSE {of_column} END$sql$, jsonb_build_object(
      'of_record', CASE WHEN is_json THEN of_json ELSE format('(p.record).%I', name) END,
      'of_column', CASE WHEN is_json THEN format('coalesce(%s, %s)', of_column, of_json) ELSE of_column END)),
    'no_value', threadline_internal.no_value(type, 'change %s of ' || replace(
      format('%s recorded no value for column %I, which is NOT NULL now', audited.relation, name), '%', '%%'), '$3')))
    FROM (SELECT not_null AND type IN ('pg_catalog.json', 'pg_catalog.jsonb') AS is_json,  -- a JSON null is a value
                 format('(p.image OPERATOR(pg_catalog.->) %L)::%s', name, type) AS of_json,
                 threadline_internal.value_expression(audited.relation, name, type, 'p.image', '$3')
                   AS of_column) AS v
$function$;
COMMENT ON FUNCTION
  threadline_internal.stored_column(threadline.audited_tables, text, text, boolean, boolean) IS
  'SQL for a column of a row of the past that images contain.';

-- Returns the columns whose conversion by a migration is unknown, each with the time of the last such conversion.
CREATE FUNCTION threadline_internal.column_gaps(audited threadline.audited_tables)
RETURNS TABLE (number smallint, converted_at timestamptz, message text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
  SELECT DISTINCT ON (c.column_number) c.column_number, c.converted_at,
         format('column %I of %s has no value before %s: %s', a.name, audited.relation, c.converted_at, c.gap)
    FROM threadline.column_conversions AS c
    JOIN threadline_internal.columns_of(audited.relation) AS a ON a.number = c.column_number
   WHERE c.table_id = audited.id AND c.gap IS NOT NULL AND c.definition_id > audited.first_definition_id
     AND a.name <> ALL (audited.masked_columns || audited.excluded_columns)
   ORDER BY c.column_number, c.definition_id DESC
$function$;
COMMENT ON FUNCTION threadline_internal.column_gaps(threadline.audited_tables) IS
  'The columns of a table that cannot be read as of a time before a migration, and why.';

-- Returns SQL for a column with a gap: an error for a time before the gap.
CREATE FUNCTION threadline_internal.column_with_gap(value text, type text, converted_at timestamptz, message text,
  row_id text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN converted_at IS NULL THEN value ELSE threadline_internal.render(
    'CASE WHEN {is_known} THEN {value} ELSE {no_value} END', jsonb_build_object(
      'is_known', format('$2 OPERATOR(pg_catalog.>=) %L::pg_catalog.timestamptz', converted_at),
      'value', value,
      'no_value', threadline_internal.no_value(type, replace(message, '%', '%%'), row_id))) END
$function$;
COMMENT ON FUNCTION threadline_internal.column_with_gap(text, text, timestamptz, text, text) IS
  'SQL for a column of a row of the past that may have a gap.';

-- Returns the select list. `has_time` says that $2 is the time; otherwise the time is one at which no column has a gap.
CREATE FUNCTION threadline_internal.past_columns(audited threadline.audited_tables, live boolean,
  has_time boolean DEFAULT true) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
  SELECT string_agg(format('%s AS %I', CASE
      WHEN c.name = ANY (audited.masked_columns) THEN format('%L::%s', '[REDACTED]', t.type)
      WHEN c.name = ANY (audited.excluded_columns) THEN
        threadline_internal.excluded_column(audited.relation, c.name, t.type, row_id)
      WHEN c.generated = 'v' THEN threadline_internal.virtual_column(audited, c.name, t.type, live, row_id)
      ELSE threadline_internal.column_with_gap(
        threadline_internal.stored_column(audited, c.name, t.type, c.not_null, live), t.type,
        g.converted_at, g.message, row_id) END, c.name),
    E',\n       ' ORDER BY c.number)
    FROM threadline_internal.columns_of(audited.relation) AS c
   CROSS JOIN LATERAL threadline_internal.type_name(c.type, c.typmod) AS t (type)
    LEFT JOIN threadline_internal.column_gaps(audited) AS g ON g.number = c.number AND live AND has_time
   CROSS JOIN
         (SELECT CASE WHEN live THEN 't.tableoid::pg_catalog.int8' ELSE '$3' END) AS r (row_id)
$function$;
COMMENT ON FUNCTION threadline_internal.past_columns(threadline.audited_tables, boolean, boolean) IS
  'SQL for the columns of a row of the past, from the live row or an image.';

-- Returns the columns for which no row of the past has a value.
CREATE FUNCTION threadline_internal.columns_without_past(audited threadline.audited_tables) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(array_agg(c.name ORDER BY c.number), '{}') FROM threadline_internal.columns_of(audited.relation) AS c
   WHERE c.name = ANY (audited.excluded_columns)
      OR c.generated = 'v' AND threadline_internal.is_redacted(audited)
$function$;
COMMENT ON FUNCTION threadline_internal.columns_without_past(threadline.audited_tables) IS
  'The columns of a table that raise an error if they are read as of the past.';

-- Returns SQL for the columns by which rows are compared, with no value where the past has none.
CREATE FUNCTION threadline_internal.compared_row(audited threadline.audited_tables, row_name text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT string_agg(CASE WHEN c.name = ANY (w.columns) THEN format('(NULL::%s).%I', audited.relation, c.name)
                      ELSE format('%s.%I', row_name, c.name) END, ', ' ORDER BY c.number)
    FROM threadline_internal.columns_of(audited.relation) AS c,
         threadline_internal.columns_without_past(audited) AS w (columns)
$function$;
COMMENT ON FUNCTION threadline_internal.compared_row(threadline.audited_tables, text) IS
  'SQL for the columns by which rows of a table without a key are compared.';

-- Returns SQL for the columns of a compared row r, as a reader gets them.
CREATE FUNCTION threadline_internal.columns_of_compared(audited threadline.audited_tables, row_id text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
  SELECT string_agg(CASE WHEN c.name = ANY (audited.excluded_columns)
        THEN threadline_internal.excluded_column(audited.relation, c.name, t.type, row_id)
      WHEN c.name = ANY (w.columns) THEN threadline_internal.virtual_column(audited, c.name, t.type, false, row_id)
      ELSE format('r.%I', c.name) END, ', ' ORDER BY c.number)
    FROM threadline_internal.columns_of(audited.relation) AS c,
         threadline_internal.type_name(c.type, c.typmod) AS t (type),
         threadline_internal.columns_without_past(audited) AS w (columns)
$function$;
COMMENT ON FUNCTION threadline_internal.columns_of_compared(threadline.audited_tables, text) IS
  'SQL for the columns of a row of a table without a key.';
