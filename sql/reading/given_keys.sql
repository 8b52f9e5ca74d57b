-- Keys that a user or program passes as text, in any spelling that the types of the key accept. No user code runs:
-- built-in types convert the values, and the catalog describes enums, domains and citext.

-- Parses a key into JSON, with one part for each column of the primary key, without converting the parts yet; NULL if
-- it does not have the form of a key.
CREATE FUNCTION threadline_internal.key_parts(row_key text, columns integer, type oid, typmod integer) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  base record := threadline_internal.base_type(type, typmod);
  parsed jsonb;
BEGIN
  IF columns > 1 OR base.type = 'jsonb'::regtype OR base.category = 'A' THEN
    BEGIN
      parsed := row_key::jsonb;
    EXCEPTION WHEN data_exception OR statement_too_complex THEN
      NULL;
    END;
  END IF;
  IF columns > 1 THEN
    -- Objects and scalar values have no length.
    RETURN CASE WHEN jsonb_typeof(parsed) = 'array' THEN
      CASE WHEN jsonb_array_length(parsed) = columns THEN parsed END END;
  ELSIF base.type = 'jsonb'::regtype THEN
    RETURN jsonb_build_array(parsed) - CASE WHEN parsed IS NULL THEN 0 ELSE 1 END;
  END IF;
  -- An array can be passed as JSON, as in the audit log, or in SQL syntax.
  RETURN jsonb_build_array(CASE WHEN jsonb_typeof(parsed) = 'array' THEN parsed ELSE to_jsonb(row_key) END);
END
$function$;
COMMENT ON FUNCTION threadline_internal.key_parts(text, integer, oid, integer) IS
  'The columns of a key passed as text, as a JSON array; NULL or empty if the text does not have that form.';

-- Converts a key as the types of the primary key do: `image` has each column, and `key` is the key as audit_changes
-- stores it. Otherwise `reason` says why it is not a key. `is_opaque` says that only code of a type of the key could
-- decide.
CREATE FUNCTION threadline_internal.read_key(audited threadline.audited_tables, row_key text,
  OUT key text, OUT image jsonb, OUT is_opaque boolean, OUT reason text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS $function$
DECLARE
  found_column record;
  parts jsonb;
  part jsonb;
  hashed jsonb;
BEGIN
  is_opaque := false;
  hashed := CASE WHEN audited.hashed_columns = '{}' THEN '{}'
    ELSE (SELECT r.hashed FROM threadline_internal.redaction(audited) AS r) END;
  -- The present names, which differ from those of the definition between a rename and the refresh.
  audited.key_columns := (SELECT k.columns FROM threadline_internal.primary_key(audited.relation) AS k);
  IF audited.key_columns = '{}' THEN
    reason := 'nothing recorded has it, and there is no primary key';
    RETURN;
  END IF;
  image := '{}';
  FOR found_column IN
    SELECT c.name, c.type, c.typmod, k.number::integer AS number
      FROM unnest(audited.key_columns) WITH ORDINALITY AS k (name, number)
      JOIN threadline_internal.columns_of(audited.relation) AS c USING (name) ORDER BY k.number LOOP
    parts := coalesce(parts, threadline_internal.key_parts(row_key, cardinality(audited.key_columns),
      found_column.type, found_column.typmod), '[]');
    part := parts -> found_column.number - 1;
    reason := CASE WHEN parts = '[]' AND cardinality(audited.key_columns) > 1
        THEN format('it is no JSON array of %s values', cardinality(audited.key_columns))
      WHEN parts = '[]' THEN 'it is no JSON'
      WHEN part = 'null' THEN format('column %I is NOT NULL', found_column.name)
      WHEN threadline_internal.built_in_type(found_column.type, found_column.typmod) IS NOT NULL
        THEN threadline_internal.why_not_value(found_column.type, found_column.typmod, part) END;
    IF reason IS NOT NULL THEN
      image := NULL;
      RETURN;
    ELSIF threadline_internal.built_in_type(found_column.type, found_column.typmod) IS NULL THEN
      is_opaque := true;
    ELSE
      part := threadline_internal.built_in_value(found_column.type, found_column.typmod, part);
    END IF;
    image := image || jsonb_build_object(found_column.name, part);
  END LOOP;
  image := threadline_internal.hashed_image(image, audited.id, hashed, true);
  EXECUTE format('SELECT (%s) #>> ''{}'' FROM (SELECT $1 AS image) AS i',
    threadline_internal.key_expression(audited, 'image')) INTO key USING image;
END
$function$;
COMMENT ON FUNCTION threadline_internal.read_key(threadline.audited_tables, text) IS
  'A key passed as text, as audit_changes stores it, or the reason why it is not a key of the table.';

-- Returns the condition that a column of the key of a change c equals a value. Equal texts are equal in every type.
-- Different texts may also be equal in citext and under collations, and different spellings in types such as interval.
CREATE FUNCTION threadline_internal.equal_key_part(type oid, typmod integer, exact boolean, equals text,
  text_collation text, recorded text, value jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  base record := threadline_internal.base_type(type, typmod);
  converted text := '(SELECT r.value FROM jsonb_to_record(jsonb_build_object(''value'', {json})) AS r (value {type}))';
BEGIN
  RETURN threadline_internal.render(CASE
      WHEN exact THEN '{recorded} = {value}'
      WHEN EXISTS (SELECT FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid
                    WHERE d.classid = 'pg_type'::regclass AND d.objid = base.type AND d.deptype = 'e'
                      AND d.refclassid = 'pg_extension'::regclass AND e.extname = 'citext') THEN
        'lower({recorded} #>> ''{}'' COLLATE "default") = lower({value} #>> ''{}'' COLLATE "default")'
      WHEN base.is_built_in AND equals = 'OPERATOR(pg_catalog.=)' THEN
        '{converted_recorded}{collate} = {converted_value}'
      ELSE '{recorded} = {value}' END, jsonb_build_object(
    'recorded', recorded, 'value', format('%L::jsonb', value), 'collate', ' COLLATE ' || text_collation,
    'converted_recorded', threadline_internal.render(converted, jsonb_build_object('json', recorded,
      'type', threadline_internal.built_in_type(type, typmod))),
    'converted_value', threadline_internal.render(converted, jsonb_build_object('json', format('%L::jsonb', value),
      'type', threadline_internal.built_in_type(type, typmod)))));
END
$function$;
COMMENT ON FUNCTION threadline_internal.equal_key_part(oid, integer, boolean, text, text, text, jsonb) IS
  'SQL for the changes whose key has a value in one column, using only built-in types.';

-- Returns the other spellings of a key in the audit log, if keys with different texts can be equal. Reads every change
-- of the table.
CREATE FUNCTION threadline_internal.equal_keys(audited threadline.audited_tables, image jsonb) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS $function$
DECLARE
  condition text;
  found text[];
BEGIN
  IF audited.key_type <> 'text' THEN
    RETURN '{}';
  END IF;
  SELECT string_agg(threadline_internal.equal_key_part(c.type, c.typmod, k.exact, k.equals, k.text_collation, CASE
             WHEN k.columns > 1 THEN format('(c.key_text::jsonb -> %s)', k.number - 1)
             WHEN b.category = 'A' OR b.type = 'jsonb'::regtype THEN 'c.key_text::jsonb'
             ELSE 'to_jsonb(c.key_text)' END, image -> k.name), ' AND ')
    INTO condition
    FROM (SELECT k.*, count(*) OVER () AS columns, bool_and(k.exact) OVER () AS all_exact
            FROM threadline_internal.recorded_key_columns(audited) AS k) AS k
    JOIN threadline_internal.columns_of(audited.relation) AS c ON c.name = k.name
   CROSS JOIN LATERAL threadline_internal.base_type(c.type, c.typmod) AS b
   WHERE NOT k.all_exact;
  IF condition IS NULL THEN
    RETURN '{}';
  END IF;
  EXECUTE format('SELECT array_agg(DISTINCT c.key_text) FROM threadline.audit_changes AS c
                   WHERE c.table_id = $1 AND c.key_text IS NOT NULL AND %s', condition) INTO found USING audited.id;
  RETURN coalesce(found, '{}');
EXCEPTION WHEN data_exception THEN
  RETURN '{}';  -- a key from before the column got its present type
END
$function$;
COMMENT ON FUNCTION threadline_internal.equal_keys(threadline.audited_tables, jsonb) IS
  'The keys in the audit log that are equal to a key, if equal keys can have different texts.';

-- Most keys have one column, and are spelled as in the audit log. This function recognizes them cheaply, because
-- PL/pgSQL caches its plan. Finding out more takes longer than reading a page.
CREATE FUNCTION threadline_internal.is_plain_key(audited threadline.audited_tables, row_key text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN audited.hashed_columns = '{}' AND EXISTS (
    SELECT FROM pg_index AS i
      JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
      LEFT JOIN pg_collation AS l ON l.oid = a.attcollation
     WHERE i.indrelid = audited.relation AND i.indisprimary AND i.indnkeyatts = 1
       AND CASE a.atttypid
         WHEN 'smallint'::regtype THEN row_key ~ '^(0|-?[1-9][0-9]{0,3})$'
         WHEN 'integer'::regtype THEN row_key ~ '^(0|-?[1-9][0-9]{0,8})$'
         WHEN 'bigint'::regtype THEN row_key ~ '^(0|-?[1-9][0-9]{0,17})$'
         WHEN 'uuid'::regtype THEN row_key ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
         WHEN 'text'::regtype THEN l.collisdeterministic
         ELSE false END);
END
$function$;
COMMENT ON FUNCTION threadline_internal.is_plain_key(threadline.audited_tables, text) IS
  'Whether a text is a key of a table exactly as audit_changes stores it; false if that takes more than a look-up.';

-- Returns the key as audit_changes stores it: as its types convert it, and as it is spelled, if that spelling is
-- recorded. The spelling serves dropped tables, and keys that the present types would not accept.
CREATE FUNCTION threadline_internal.given_keys(audited threadline.audited_tables, row_key text,
  OUT keys text[], OUT reason text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  read record;
  is_recorded boolean;
BEGIN
  keys := '{}';
  IF threadline_internal.is_plain_key(audited, row_key) THEN
    keys := ARRAY[row_key];
    RETURN;
  ELSIF EXISTS (SELECT FROM pg_class AS c WHERE c.oid = audited.relation) THEN
    SELECT * INTO read FROM threadline_internal.read_key(audited, row_key);
  ELSE
    SELECT NULL AS key, NULL::jsonb AS image, false AS is_opaque,
           'nothing recorded has it, and the table is gone' AS reason INTO read;
  END IF;
  reason := read.reason;
  IF read.key IS NOT NULL AND NOT read.is_opaque THEN
    keys := ARRAY[read.key] || threadline_internal.equal_keys(audited, read.image);
  END IF;
  is_recorded := row_key <> ALL (keys) AND EXISTS (
    SELECT FROM threadline_internal.redactable_changes(audited.id, row_key, NULL, NULL, 1));
  IF is_recorded THEN
    keys := keys || row_key;
  ELSIF read.is_opaque THEN
    IF EXISTS (SELECT FROM threadline_internal.redactable_changes(audited.id, read.key, NULL, NULL, 1)) THEN
      keys := keys || read.key;
    ELSE
      reason := 'nothing recorded has it, and only code of its type could tell whether it is written otherwise';
    END IF;
  END IF;
  keys := ARRAY(SELECT DISTINCT k COLLATE "C" FROM unnest(keys) AS k ORDER BY 1);
  IF keys <> '{}' THEN
    reason := NULL;
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.given_keys(threadline.audited_tables, text) IS
  'A key passed as text, as audit_changes stores it: usually one row; none, with the reason, if it is not a key.';

CREATE FUNCTION threadline_internal.raise_no_key(audited threadline.audited_tables, row_key text, reason text)
RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
DECLARE
  columns text[] := ARRAY(
    SELECT format('%I %s', c.name, format_type(c.type, c.typmod))
      FROM threadline_internal.primary_key(audited.relation) AS p
     CROSS JOIN unnest(p.columns) WITH ORDINALITY AS k (name, number)
      JOIN threadline_internal.columns_of(audited.relation) AS c ON c.name = k.name ORDER BY k.number);
BEGIN
  RAISE EXCEPTION '% is no key of %.%: %', quote_literal(left(row_key, 200)), quote_ident(audited.table_schema),
      quote_ident(audited.table_name), reason
    USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_refused', TABLE = audited.relation::text,
      HINT = CASE cardinality(columns)
        WHEN 0 THEN 'Write it as threadline.changes shows it in row_key.'
        WHEN 1 THEN format('The primary key is %s.', columns[1])
        ELSE format('The primary key is (%1$s). Write it as a JSON array of %2$s values.',
          array_to_string(columns, ', '), cardinality(columns)) END;
END
$function$;
COMMENT ON FUNCTION threadline_internal.raise_no_key(threadline.audited_tables, text, text) IS
  'Raises the error for a text that is not a key of a table.';

CREATE FUNCTION threadline_internal.row_filter(table_id integer, row_key text) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT jsonb_build_object('tables', ARRAY[table_id],
    'row_keys', jsonb_build_array(jsonb_build_object('key', row_key, 'tables', ARRAY[table_id])))
$function$;
COMMENT ON FUNCTION threadline_internal.row_filter(integer, text) IS
  'The timeline filter for one row, by its key as audit_changes stores it.';

-- Returns the tables of which a text is a key, with that key. If there are several tables, or all, it need not be a key
-- of each.
CREATE FUNCTION threadline_internal.filtered_rows(filter jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  audited threadline.audited_tables;
  given record;
  failed threadline.audited_tables;
  reason text;
  rows jsonb := '{}';
  key text;
BEGIN
  FOR audited IN SELECT * FROM threadline_internal.filtered_tables(filter - 'row_key') AS a ORDER BY a.id LOOP
    SELECT * INTO given FROM threadline_internal.given_keys(audited, filter ->> 'row_key');
    IF given.keys = '{}' AND reason IS NULL THEN
      failed := audited;
      reason := given.reason;
    END IF;
    FOREACH key IN ARRAY given.keys LOOP
      rows := jsonb_set(rows, ARRAY[key], coalesce(rows -> key, '[]') || to_jsonb(audited.id));
    END LOOP;
  END LOOP;
  IF rows = '{}' AND reason IS NOT NULL THEN
    PERFORM threadline_internal.raise_no_key(failed, filter ->> 'row_key', reason);
  END IF;
  RETURN (filter - 'row_key') || jsonb_build_object(
    'tables', (SELECT coalesce(jsonb_agg(DISTINCT t ORDER BY t), '[]')
                 FROM jsonb_each(rows) AS r CROSS JOIN jsonb_array_elements(r.value) AS t),
    'row_keys', (SELECT coalesce(jsonb_agg(jsonb_build_object('key', r.key, 'tables', r.value) ORDER BY r.key), '[]')
                   FROM jsonb_each(rows) AS r));
END
$function$;
COMMENT ON FUNCTION threadline_internal.filtered_rows(jsonb) IS
  'A timeline filter in which the key is stored for each table as audit_changes stores it.';
