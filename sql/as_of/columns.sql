-- The select list of a row of the past, of the live row t or of an image, with one function for each kind of column.
-- Masked and excluded columns are the same in both, so that one reading never mixes real and redacted values. A column
-- that must not be NULL never is: to Diesel a row with an unexpected NULL is no row, where it may be none. An error
-- only comes if somebody reads the column.

-- Writes the error that stands where a column has no value. `row_id` makes it depend on the row.
CREATE FUNCTION threadline_internal.no_value(type text, message text, row_id text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('threadline_internal.raise_no_value(NULL::%s, %L, %s)', type, message, row_id)
$function$;
COMMENT ON FUNCTION threadline_internal.no_value(text, text, text) IS
  'SQL for the error of a value that the past does not have.';

-- Lists the columns of a table that the past has. `constant` is what every row may have of one that is excluded.
CREATE FUNCTION threadline_internal.columns_of_past(relation regclass)
RETURNS TABLE (number smallint, name text, type text, not_null boolean, generated "char", constant text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
  SELECT c.number, c.name, threadline_internal.type_name(c.type, c.typmod), c.not_null, c.generated,
         coalesce(CASE WHEN y.typcategory NOT IN ('A', 'C')
                    THEN quote_literal(threadline_internal.added_default(relation, c.number) #>> '{}') END,
                  CASE WHEN threadline_internal.holds_placeholder(c.type, c.typmod)
                    THEN quote_literal('[REDACTED]') END)
    FROM threadline_internal.columns_of(relation) AS c JOIN pg_type AS y ON y.oid = c.type
$function$;
COMMENT ON FUNCTION threadline_internal.columns_of_past(regclass) IS 'The columns of a row of the past.';

-- Writes an excluded column: NULL, or a value that every row may have.
CREATE FUNCTION threadline_internal.excluded_column(relation regclass, name text, type text, not_null boolean,
  constant text, row_id text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN NOT not_null THEN format('NULL::%s', type)
      WHEN constant IS NOT NULL THEN format('%s::%s', constant, type)
      ELSE threadline_internal.no_value(type, replace(format(
        'column %I of %s has no value in the past: it is excluded from the audit log', name, relation), '%', '%%'),
        row_id) END
$function$;
COMMENT ON FUNCTION threadline_internal.excluded_column(regclass, text, text, boolean, text, text) IS
  'SQL for an excluded column of a row of the past.';

-- Writes a virtual generated column. No image has it: threadline_internal.row_of_image computes it, unless what it is
-- computed from may be redacted.
CREATE FUNCTION threadline_internal.virtual_column(audited threadline.audited_tables, name text, type text,
  live boolean, row_id text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE
      WHEN audited.masked_columns || audited.excluded_columns <> '{}' THEN
        threadline_internal.no_value(type, replace(format(
          'column %I of %s has no value in the past: it is computed, and may be so from redacted columns',
          name, audited.relation), '%', '%%'), row_id)
      WHEN live THEN format('t.%I', name)
      ELSE 'NULL::' || type END
$function$;
COMMENT ON FUNCTION threadline_internal.virtual_column(threadline.audited_tables, text, text, boolean, text) IS
  'SQL for a virtual generated column of a row of the past.';

-- Writes any other column.
CREATE FUNCTION threadline_internal.stored_column(relation regclass, name text, type text, not_null boolean,
  live boolean) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN live THEN format('t.%I', name)
      WHEN NOT not_null THEN format('(p.record).%I', name)
      ELSE format('coalesce(%s, %s)',
        CASE WHEN type IN ('pg_catalog.json', 'pg_catalog.jsonb')  -- a JSON null is a value
          THEN format('(p.image OPERATOR(pg_catalog.->) %L)::%s', name, type) ELSE format('(p.record).%I', name) END,
        threadline_internal.no_value(type, 'change %s of '
          || replace(format('%s recorded no value for column %I, which is NOT NULL now', relation, name), '%', '%%'),
          '$3')) END
$function$;
COMMENT ON FUNCTION threadline_internal.stored_column(regclass, text, text, boolean, boolean) IS
  'SQL for a column of a row of the past that images have.';

-- Lists the columns whose conversion by a migration is not known, each with the time of the last one.
CREATE FUNCTION threadline_internal.column_gaps(audited threadline.audited_tables)
RETURNS TABLE (number smallint, converted_at timestamptz, message text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
  SELECT DISTINCT ON (c.column_number) c.column_number, c.converted_at,
         format('column %I of %s has no value before %s: %s', a.name, audited.relation, c.converted_at, c.gap)
    FROM threadline.column_conversions AS c
    JOIN threadline_internal.columns_of(audited.relation) AS a ON a.number = c.column_number
   WHERE c.table_id = audited.id AND c.gap IS NOT NULL AND c.definition_id > audited.first_definition_id
   ORDER BY c.column_number, c.definition_id DESC
$function$;
COMMENT ON FUNCTION threadline_internal.column_gaps(threadline.audited_tables) IS
  'The columns of a table that cannot be read as of a time before a migration, and why.';

-- Writes a column with a gap: an error for a time before it, or of an image that lacks it.
CREATE FUNCTION threadline_internal.column_with_gap(value text, name text, type text, converted_at timestamptz,
  message text, live boolean, row_id text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN converted_at IS NULL THEN value ELSE threadline_internal.render(
    'CASE WHEN {is_known} THEN {value} ELSE {no_value} END', jsonb_build_object(
      'is_known', CASE WHEN live THEN format('$2 OPERATOR(pg_catalog.>=) %L::pg_catalog.timestamptz', converted_at)
        ELSE format('p.image OPERATOR(pg_catalog.?) %L', name) END,
      'value', value,
      'no_value', threadline_internal.no_value(type, replace(message, '%', '%%'), row_id))) END
$function$;
COMMENT ON FUNCTION threadline_internal.column_with_gap(text, text, text, timestamptz, text, boolean, text) IS
  'SQL for a column of a row of the past that has a gap, or has none.';

-- Writes the select list. `has_time` says that $2 is the time; else it is one at which no column has a gap.
CREATE FUNCTION threadline_internal.past_columns(audited threadline.audited_tables, live boolean,
  has_time boolean DEFAULT true) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
  SELECT string_agg(format('%s AS %I', CASE
      WHEN c.name = ANY (audited.masked_columns) THEN format('%L::%s', '[REDACTED]', c.type)
      WHEN c.name = ANY (audited.excluded_columns) THEN
        threadline_internal.excluded_column(audited.relation, c.name, c.type, c.not_null, c.constant, row_id)
      WHEN c.generated = 'v' THEN threadline_internal.virtual_column(audited, c.name, c.type, live, row_id)
      ELSE threadline_internal.column_with_gap(
        threadline_internal.stored_column(audited.relation, c.name, c.type, c.not_null, live), c.name, c.type,
        g.converted_at, g.message, live, row_id) END, c.name),
    E',\n       ' ORDER BY c.number)
    FROM threadline_internal.columns_of_past(audited.relation) AS c
    LEFT JOIN threadline_internal.column_gaps(audited) AS g ON g.number = c.number AND has_time
   CROSS JOIN
         (SELECT CASE WHEN live THEN 't.tableoid::pg_catalog.int8' ELSE '$3' END) AS r (row_id)
$function$;
COMMENT ON FUNCTION threadline_internal.past_columns(threadline.audited_tables, boolean, boolean) IS
  'SQL for the columns of a row of the past, out of the live row or an image.';
