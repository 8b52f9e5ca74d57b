-- A migration can convert the values of a column with ALTER TABLE ... ALTER COLUMN ... TYPE ... USING. PostgreSQL does
-- not store the expression. Threadline therefore assumes the plain conversion between the types only if it turns the
-- last recorded values of the rows into their present values, or if someone declares it. Otherwise the column has a
-- gap.

-- Returns whether the time zone of the session affects how PostgreSQL converts one type to the other.
CREATE FUNCTION threadline_internal.converts_by_zone(old_type text, type text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT (old_type ~ 'with time zone') <> (type ~ 'with time zone')
$function$;
COMMENT ON FUNCTION threadline_internal.converts_by_zone(text, text) IS
  'Whether a conversion between two types depends on the time zone of the session.';

-- Returns why the migration did not apply the plain conversion to the present type of a column; NULL if it did.
-- `last_definition_id` is the last definition that the conversion or gap applies to, whatever the type.
CREATE FUNCTION threadline_internal.why_not_plain(audited threadline.audited_tables, converted record,
  before threadline.audited_tables, OUT gap text, OUT last_definition_id integer)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  comparison record;
  is_hashed boolean := converted.name = ANY (audited.hashed_columns);
  was_another boolean;
  changed text := CASE WHEN converted.old_type = converted.type THEN format('column %I was rewritten', converted.name)
    ELSE format('column %I was converted from %s to %s', converted.name, converted.old_type, converted.type) END;
BEGIN
  last_definition_id := before.definition_id;
  IF converted.name = ANY (audited.masked_columns || audited.excluded_columns) THEN
    gap := format('%s while it was redacted', changed);  -- the gap matters once the redaction ends
    RETURN;
  ELSIF is_hashed AND converted.old_type <> converted.type
    AND NOT threadline_internal.holds_all_values(converted.old_type, converted.type) THEN
    gap := format('%s, and a hash cannot be converted', changed);
    RETURN;
  ELSIF NOT EXISTS (SELECT FROM threadline.audit_changes AS c
                     WHERE c.table_id = audited.id AND c.definition_id < audited.definition_id) THEN
    RETURN;  -- No recorded value needs a conversion.
  END IF;
  -- A history that begins again with this refresh has nothing to compare.
  audited.first_definition_id := before.first_definition_id;
  comparison := threadline_internal.compare_conversion(audited, converted.number,
    threadline_internal.plain_conversion(audited, converted.number), before.definition_id,
    converted.old_type = converted.type);
  was_another := comparison.later_compared = 0 AND threadline_internal.had_another_type(audited, converted, before);
  IF comparison.later_differing > 0 OR was_another THEN
    last_definition_id := audited.definition_id - 1;
  END IF;
  gap := CASE
    WHEN was_another THEN format('%s, and was of another type in between', changed)
    WHEN comparison.differing > 0 THEN format('%s, and its values are others than before', changed)
    WHEN comparison.is_complete IS NULL THEN format('%s, and there is no primary key to compare rows by', changed)
    WHEN converted.is_certain AND comparison.is_complete IS NOT TRUE THEN changed
    WHEN comparison.compared = 0 AND NOT (comparison.is_trivial AND (comparison.is_whole OR converted.is_behind))
      THEN format('%s, and nothing shows how', changed)
    WHEN threadline_internal.converts_by_zone(converted.old_type, converted.type) AND NOT comparison.is_trivial
      AND NOT (threadline_internal.is_converted_here(audited, converted.number)
               AND current_setting('TimeZone') IN ('Etc/UTC', 'GMT', 'UTC'))
      THEN format('%s, in a time zone that is not known', changed) END;
EXCEPTION WHEN data_exception OR insufficient_privilege OR integrity_constraint_violation OR undefined_function THEN
  -- PostgreSQL's message contains a recorded value, and no redaction would reach a value stored here.
  gap := format('%s, and PostgreSQL cannot convert a recorded value: SQLSTATE %s', changed, SQLSTATE);
END
$function$;
COMMENT ON FUNCTION threadline_internal.why_not_plain(threadline.audited_tables, record, threadline.audited_tables) IS
  'Why the plain conversion of a column to its present type is not known to be what the migration did; NULL if it is.';

-- Returns whether values of a column were recorded while it had a type other than its previous and its present one.
CREATE FUNCTION threadline_internal.had_another_type(audited threadline.audited_tables, converted record,
  before threadline.audited_tables) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN EXISTS (
    SELECT FROM threadline.table_definitions AS d CROSS JOIN LATERAL jsonb_each(d.columns) AS c
     WHERE d.table_id = audited.id AND d.id > before.definition_id AND d.id < audited.definition_id
       AND (c.value ->> 'number')::smallint = converted.number
       AND c.value ->> 'type' NOT IN (converted.old_type, converted.type));
END
$function$;
COMMENT ON FUNCTION threadline_internal.had_another_type(threadline.audited_tables, record, threadline.audited_tables)
  IS
  'Whether a column had a third type between two refreshes.';

-- Returns SQL for the plain conversion of a JSON value v.value to the present type of a column.
CREATE FUNCTION threadline_internal.plain_conversion(audited threadline.audited_tables, number smallint) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE
      WHEN c.name = ANY (audited.hashed_columns) THEN 'v.value'
      WHEN threadline_internal.built_in_type(c.type, c.typmod) IS NOT NULL
        THEN format('threadline_internal.value_as(%L, v.value)', threadline_internal.built_in_type(c.type, c.typmod))
      WHEN c.name = ANY (threadline_internal.text_columns(audited.relation)) THEN $$to_jsonb(v.value #>> '{}')$$
      ELSE 'v.value' END
    FROM threadline_internal.columns_of(audited.relation) AS c WHERE c.number = plain_conversion.number
$function$;
COMMENT ON FUNCTION threadline_internal.plain_conversion(threadline.audited_tables, smallint) IS
  'SQL for PostgreSQL''s conversion of a value in an image to the present type of its column.';

-- Returns whether the running transaction altered a column before it wrote the table. If so, all recorded changes of
-- the table precede the conversion.
CREATE FUNCTION threadline_internal.is_converted_here(audited threadline.audited_tables, number smallint)
RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT EXISTS (SELECT FROM pg_attribute AS a
                  WHERE a.attrelid = audited.relation AND a.attnum = is_converted_here.number
                    -- The row version is visible, and from a transaction in progress: this one, or a savepoint in it.
                    AND CASE WHEN age(a.xmin) <= 0 THEN pg_xact_status(
                          (pg_current_xact_id()::text::bigint - age(a.xmin))::text::xid8) = 'in progress' END)
         AND NOT EXISTS (SELECT FROM threadline.audit_changes AS c
                           JOIN threadline.audit_transactions AS t ON t.id = c.transaction_id
                          WHERE c.table_id = audited.id AND c.captured_at >= transaction_timestamp()
                            AND t.txid = pg_current_xact_id())
$function$;
COMMENT ON FUNCTION threadline_internal.is_converted_here(threadline.audited_tables, smallint) IS
  'Whether the running transaction altered a column and has not written the table.';

-- Returns whether each value of one type is the same value of another, or no value of it. Nobody converts between such
-- types in another way, except to change the values.
CREATE FUNCTION threadline_internal.holds_all_values(old_type text, type text) RETURNS boolean
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT old_type ~ whole AND type ~ (whole || '|^numeric$') OR (old_type, type) IN (('real', 'double precision'))
         OR old_type ~ '^(text|character varying|character)([(][0-9]+[)])?$'
            AND type ~ '^(text|character varying)([(][0-9]+[)])?$'
    FROM (SELECT '^(smallint|integer|bigint)$'::text AS whole) AS w
$function$;
COMMENT ON FUNCTION threadline_internal.holds_all_values(text, text) IS
  'Whether values of one built-in type are values of another.';

-- Records the conversions that a refresh finds.
CREATE FUNCTION threadline_internal.find_conversions(audited threadline.audited_tables,
  before threadline.audited_tables, present threadline.table_definitions) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  converted record;
  plain record;
  is_rewritten boolean := EXISTS (
    SELECT FROM jsonb_each(threadline_internal.present_files(audited.relation)) AS f
     WHERE before.catalog_versions -> 'files' -> f.key IS DISTINCT FROM f.value);
BEGIN
  FOR converted IN SELECT * FROM threadline_internal.converted_columns(audited, before, present) LOOP
    IF is_rewritten OR converted.is_certain THEN
      plain := threadline_internal.why_not_plain(audited, converted, before);
    ELSE
      SELECT NULL::text AS gap, before.definition_id AS last_definition_id INTO plain;
    END IF;
    -- Also records a column that may have been rewritten: the comparison may have missed it, and someone may declare
    -- it.
    IF NOT is_rewritten AND converted.old_type = converted.type THEN
      DELETE FROM threadline.column_conversions AS c
       WHERE (c.table_id, c.column_number, c.definition_id) = (audited.id, converted.number, audited.definition_id);
    ELSE
      INSERT INTO threadline.column_conversions VALUES (audited.id, converted.number, audited.definition_id,
        plain.last_definition_id, converted.old_name, converted.old_type, converted.type, clock_timestamp(), NULL,
        plain.gap, plain.last_definition_id = before.definition_id AND (converted.old_type <> converted.type
          OR threadline_internal.is_converted_here(audited, converted.number)))
      ON CONFLICT (table_id, column_number, definition_id) DO UPDATE
        SET gap = EXCLUDED.gap, last_definition_id = EXCLUDED.last_definition_id;
    END IF;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.find_conversions(threadline.audited_tables, threadline.audited_tables,
  threadline.table_definitions) IS
  'Records how columns of a table were converted since its last refresh.';

-- Records that a column cannot be read as of a time before this refresh, whichever migration was the reason, and that
-- nobody can declare its conversion.
CREATE FUNCTION threadline_internal.keep_gap(audited threadline.audited_tables, old_name text, "column" jsonb, gap text)
RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  INSERT INTO threadline.column_conversions VALUES (audited.id, ("column" ->> 'number')::smallint,
    audited.definition_id, audited.definition_id - 1, old_name, "column" ->> 'type', "column" ->> 'type',
    clock_timestamp(), NULL, gap, false)
  ON CONFLICT (table_id, column_number, definition_id) DO UPDATE SET gap = EXCLUDED.gap, from_type = EXCLUDED.from_type,
    last_definition_id = EXCLUDED.last_definition_id, can_be_declared = false;
END
$function$;
COMMENT ON FUNCTION threadline_internal.keep_gap(threadline.audited_tables, text, jsonb, text) IS
  'Records that a column has no value as of a time before a refresh, and why.';
