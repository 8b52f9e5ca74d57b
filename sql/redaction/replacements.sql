CREATE FUNCTION threadline_internal.raise_redaction_error(table_name text, reason text, hint text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RAISE EXCEPTION 'cannot redact %: %', table_name, reason
    USING ERRCODE = 'invalid_parameter_value', HINT = hint, CONSTRAINT = 'threadline_refused', TABLE = table_name;
END
$function$;
COMMENT ON FUNCTION threadline_internal.raise_redaction_error(text, text, text) IS
  'Raises the error for a redaction that cannot be done as requested.';

-- Returns the replacement for the values of a column, in the form in which the audit log stores it and every read of
-- the past accepts it. A single value that is invalid for the column type would break the past of the whole table. Only
-- built-in types convert a value, because code of any other type would run with the rights of the owner of the audit
-- log.
CREATE FUNCTION threadline_internal.redacted_value(audited threadline.audited_tables, column_name text, mode text,
  substitute jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS $function$
DECLARE
  table_name text := audited.relation::text;
  attribute record;
  can_mask boolean;
  value jsonb := CASE mode WHEN 'mask' THEN to_jsonb('[REDACTED]'::text) WHEN 'remove' THEN 'null' ELSE substitute END;
  reason text;
BEGIN
  SELECT c.*, format('column %I of type %s cannot hold ', c.name, format_type(c.type, c.typmod)) AS cannot_hold
    INTO attribute FROM threadline_internal.columns_of(audited.relation) AS c WHERE c.name = column_name;
  IF NOT FOUND THEN
    RETURN value;  -- Nobody reads a dropped column.
  END IF;
  can_mask := threadline_internal.holds_placeholder(attribute.type, attribute.typmod);
  IF mode = 'mask' AND NOT can_mask THEN
    PERFORM threadline_internal.raise_redaction_error(table_name, attribute.cannot_hold || 'the placeholder [REDACTED]',
      CASE WHEN attribute.not_null THEN 'Substitute a value of its type.'
        ELSE 'Remove its values, or substitute one of its type.' END);
  ELSIF mode <> 'mask' AND NOT (value = 'null' AND attribute.not_null) THEN
    reason := threadline_internal.why_not_value(attribute.type, attribute.typmod, value);
    IF reason IS NOT NULL THEN
      PERFORM threadline_internal.raise_redaction_error(table_name,
        concat(attribute.cannot_hold, left(value::text, 1000), ': ', reason), 'Substitute a value of its type.');
    END IF;
    IF value <> 'null' THEN
      value := coalesce(threadline_internal.built_in_value(attribute.type, attribute.typmod, value), 'null');
    END IF;
  END IF;
  IF value = 'null' AND attribute.not_null THEN
    PERFORM threadline_internal.raise_redaction_error(table_name,
      format('column %I is NOT NULL, so its values cannot be removed', column_name),
      CASE WHEN can_mask THEN 'Mask it, or substitute a value of its type.'
        ELSE 'Substitute a value of its type.' END);
  END IF;
  RETURN value;
END
$function$;
COMMENT ON FUNCTION threadline_internal.redacted_value(threadline.audited_tables, text, text, jsonb) IS
  'The replacement for the redacted values of a column; raises an error if the column could not contain it.';

CREATE FUNCTION threadline_internal.redaction_modes(mask text[], remove text[], substitutes jsonb)
  RETURNS TABLE (name text, mode text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT unnest(mask), 'mask' UNION SELECT unnest(remove), 'remove'
  UNION SELECT jsonb_object_keys(CASE jsonb_typeof(substitutes) WHEN 'object' THEN substitutes ELSE '{}' END),
    'substitute' ORDER BY 1, 2
$function$;
COMMENT ON FUNCTION threadline_internal.redaction_modes(text[], text[], jsonb) IS
  'The columns that a redaction names, and what to do with each.';

CREATE FUNCTION threadline_internal.redaction_keys(audited threadline.audited_tables, row_keys text[]) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  keys text[] := '{}';
  given record;
  row_key text;
BEGIN
  FOR row_key IN SELECT DISTINCT k FROM unnest(row_keys) AS k WHERE k IS NOT NULL LOOP
    SELECT * INTO given FROM threadline_internal.given_keys(audited, row_key);
    IF given.keys = '{}' THEN
      PERFORM threadline_internal.raise_no_key(audited, row_key, given.reason);
    END IF;
    keys := keys || given.keys;
  END LOOP;
  RETURN ARRAY(SELECT DISTINCT k COLLATE "C" FROM unnest(keys) AS k ORDER BY 1);
END
$function$;
COMMENT ON FUNCTION threadline_internal.redaction_keys(threadline.audited_tables, text[]) IS
  'Each key once, as audit_changes stores it, in the order in which rows are redacted.';

-- The audit log must not contain a completed redaction that replaced nothing.
CREATE FUNCTION threadline_internal.require_values(audited threadline.audited_tables, keys text[],
  replacements jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  redacted boolean;
  is_recorded boolean := false;
BEGIN
  FOR redacted IN
    SELECT r.replaced <> '{}'
      FROM unnest(keys) AS k (key)
     CROSS JOIN LATERAL threadline_internal.redactable_changes(audited.id, k.key) AS c
     CROSS JOIN LATERAL threadline_internal.redacted_change(c, audited.older_definitions, replacements)
       AS r LOOP
    IF redacted THEN
      RETURN;
    END IF;
    is_recorded := true;
  END LOOP;
  IF is_recorded THEN
    PERFORM threadline_internal.raise_redaction_error(audited.relation::text,
      'the recorded changes of these rows have no such values any more', 'There is nothing left to do.');
  END IF;
  PERFORM threadline_internal.raise_redaction_error(audited.relation::text,
    'nothing is recorded of ' || left(array_to_string(keys, ' '), 1000),
    'Look the keys up in row_key of threadline.changes.');
END
$function$;
COMMENT ON FUNCTION threadline_internal.require_values(threadline.audited_tables, text[], jsonb) IS
  'Raises an error if a redaction would replace no value.';

-- Returns {"column": value}, or raises an error that says which part is invalid.
CREATE FUNCTION threadline_internal.redaction_replacements(audited threadline.audited_tables, row_keys text[],
  mask text[], remove text[], substitutes jsonb)
RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  table_name text := audited.relation::text;
  replacements jsonb := '{}';
  named record;
  present text[] := ARRAY(SELECT a.attname::text FROM pg_attribute AS a
                           WHERE a.attrelid = audited.relation AND a.attnum > 0 AND NOT a.attisdropped
                             ORDER BY a.attnum);
BEGIN
  IF row_keys = '{}' THEN
    PERFORM threadline_internal.raise_redaction_error(table_name, 'no row is named',
      'Name the rows by their keys, as threadline.changes has them in row_key.');
  ELSIF substitutes IS NOT NULL AND jsonb_typeof(substitutes) <> 'object' THEN
    PERFORM threadline_internal.raise_redaction_error(table_name, 'the substitutes are no object',
      'Write them like {"column": "value"}.');
  END IF;
  FOR named IN SELECT * FROM threadline_internal.redaction_modes(mask, remove, substitutes) LOOP
    IF named.name IS NULL OR replacements ? named.name THEN
      PERFORM threadline_internal.raise_redaction_error(table_name, format('column %s is named twice, or is NULL',
        coalesce(quote_ident(named.name), 'NULL')),
        'Mask it, remove it or substitute it: choose one.');
    ELSIF named.name = ANY (audited.key_columns) THEN
      PERFORM threadline_internal.raise_redaction_error(table_name, format('column %I is part of its primary key',
        named.name),
        'The key says whose history a change belongs to. Where it is personal itself, use a surrogate key, or let '
          'retention remove the changes.');
    ELSIF named.name <> ALL (present) AND NOT EXISTS (
        SELECT FROM unnest(row_keys) AS k CROSS JOIN LATERAL threadline_internal.redactable_changes(audited.id, k) AS c
         CROSS JOIN LATERAL threadline_internal.recorded_names(c, audited.older_definitions) AS r
         WHERE r.name = named.name) THEN
      PERFORM threadline_internal.raise_redaction_error(table_name,
        format('it has no column %I, and the audit log of these rows has none', named.name),
        format('Its columns are: %s.', (SELECT string_agg(quote_ident(p), ', ' ORDER BY n)
          FROM unnest(present) WITH ORDINALITY AS c (p, n))));
    END IF;
    replacements := replacements || jsonb_build_object(named.name, threadline_internal.redacted_value(audited,
      named.name, named.mode, substitutes -> named.name));
  END LOOP;
  IF replacements = '{}' THEN
    PERFORM threadline_internal.raise_redaction_error(table_name, 'no column is named',
      'Name the columns to mask, to remove or to substitute.');
  END IF;
  SELECT * INTO named FROM threadline_internal.generated_from(audited.relation,
    ARRAY(SELECT jsonb_object_keys(replacements))) AS g (name, mode);
  IF named.name IS NOT NULL THEN
    PERFORM threadline_internal.raise_redaction_error(table_name, format('column %I is generated from column %I',
      named.name, named.mode),
      'Name the generated column as well.');
  END IF;
  RETURN replacements;
END
$function$;
COMMENT ON FUNCTION threadline_internal.redaction_replacements(threadline.audited_tables, text[], text[], text[],
  jsonb) IS
  'The replacement for the values of each column that a redaction names; raises an error if it cannot be done as '
  'requested.';
