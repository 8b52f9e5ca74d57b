-- Returns the audited table of a row. The functions of schema threadline call this function first, so that a table
-- without a past is rejected even if it is empty.
CREATE FUNCTION threadline_internal.audited_of(row_type regtype) RETURNS threadline.audited_tables
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  audited threadline.audited_tables;
  reason text := 'it is not audited';
  advice text := 'Put it under capture with threadline.audit_table, or name it as live in the query.';
BEGIN
  SELECT t.* INTO audited
    FROM pg_class AS c JOIN threadline.audited_tables AS t ON t.relation = c.oid
   WHERE c.oid = (SELECT y.typrelid FROM pg_type AS y WHERE y.oid = row_type)
   -- Decides as threadline_internal.audited_table does, which costs more. There are at most two rows, in a restored
   -- database.
   ORDER BY CASE WHEN count(*) OVER () > 1 THEN threadline_internal.is_table_of(t) END DESC,
            CASE WHEN count(*) OVER () > 1 THEN threadline_internal.is_described(t.relation, t.definition) END DESC
   LIMIT 1;
  IF FOUND THEN
    IF EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                WHERE c.oid = audited.relation AND (n.nspname, c.relname) = (audited.table_schema, audited.table_name))
        THEN
      RETURN audited;
    END IF;
    reason := 'its name or columns are not those that its capture was defined for';
    advice := 'Call threadline.refresh_audited_tables(), best in the migration that changes them.';
  -- NULL::"path" has the built-in type, even if a table has that name.
  ELSIF (SELECT y.typtype FROM pg_type AS y WHERE y.oid = row_type) <> 'c' THEN
    RAISE EXCEPTION 'cannot read % as of the past: this is a type, and no table', row_type
      USING ERRCODE = 'wrong_object_type', CONSTRAINT = 'threadline_past', HINT = 'Write the table with its schema.';
  END IF;
  RAISE EXCEPTION 'cannot read % as of the past: %', row_type, reason
    USING ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_past', TABLE = row_type::text,
      HINT = advice;
END
$function$;
COMMENT ON FUNCTION threadline_internal.audited_of(regtype) IS
  'The audited table of a row; raises an error for any other type.';

-- Rejects rows of a table other than the one that a function reads. Another table may have taken over its name, and the
-- two tables may even have the same columns.
CREATE FUNCTION threadline_internal.check_row_type(table_id integer, row_type regtype) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  audited threadline.audited_tables;
BEGIN
  SELECT t.* INTO audited FROM threadline.audited_tables AS t WHERE t.id = check_row_type.table_id;
  IF EXISTS (SELECT FROM pg_class AS c WHERE c.oid = audited.relation AND c.reltype = row_type) THEN
    RETURN true;
  END IF;
  RAISE EXCEPTION 'cannot read % by a function of %', row_type,
      format('%I.%I', audited.table_schema, audited.table_name)
    USING ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_past', TABLE = row_type::text,
      HINT = 'If the table was renamed or created anew, call threadline.refresh_audited_tables(), or audit it.';
END
$function$;
COMMENT ON FUNCTION threadline_internal.check_row_type(integer, regtype) IS
  'Raises an error unless a row belongs to the table that a function reads.';

-- Returns SQL for that check on the row passed to a function, once per query.
CREATE FUNCTION threadline_internal.check_row_type_condition(audited threadline.audited_tables) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('threadline_internal.check_row_type(%s, pg_catalog.pg_typeof($1))', audited.id)
$function$;
COMMENT ON FUNCTION threadline_internal.check_row_type_condition(threadline.audited_tables) IS
  'SQL that raises an error unless $1 is a row of the table.';

-- Returns whether a key part can be passed as one type where another is required. An untyped literal arrives as text.
CREATE FUNCTION threadline_internal.can_be_given_as(given oid, wanted oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT given IN (wanted, 'text'::regtype)
      OR (SELECT count(*) = 2 FROM pg_type AS y WHERE y.oid IN (given, wanted) AND y.typcategory = 'N')
      OR EXISTS (SELECT FROM pg_cast AS c
                  WHERE c.castsource = given AND c.casttarget = wanted AND c.castcontext = 'i')
$function$;
COMMENT ON FUNCTION threadline_internal.can_be_given_as(oid, oid) IS
  'Whether an argument of one type can stand for an argument of another.';

-- Returns the call of the function that reads the table of a row.
CREATE FUNCTION threadline_internal.call_for_table(function_name text, row_type regtype, given regtype[],
  columns text DEFAULT '*') RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  audited threadline.audited_tables := threadline_internal.audited_of(row_type);
  call text;
BEGIN
  SELECT concat('SELECT ', columns, ' FROM threadline_internal.', p.proname, '($1', a.arguments, ')') INTO call
    FROM pg_proc AS p
   CROSS JOIN LATERAL (
      SELECT coalesce(string_agg(format(', $%s::%s', a.n + 1, a.wanted::regtype), '' ORDER BY a.n), '') AS arguments,
             coalesce(bool_and(threadline_internal.can_be_given_as(a.given, a.wanted)), true) AS fits
        FROM ROWS FROM (unnest(given), unnest((p.proargtypes::oid[])[1:])) WITH ORDINALITY AS a (given, wanted, n))
         AS a
   WHERE p.proname = format('%s_%s', function_name, audited.id)
     AND p.pronamespace = 'threadline_internal'::regnamespace AND p.pronargs = 1 + cardinality(given) AND a.fits
   ORDER BY p.oid LIMIT 1;
  IF function_name IN ('as_of', 'row_of') AND audited.excluded_columns <> '{}' THEN
    RAISE WARNING 'columns of % are excluded from the audit log, and NULL here: %', row_type,
      array_to_string(audited.excluded_columns, ', ');
  END IF;
  IF call IS NULL THEN
    RAISE EXCEPTION 'threadline.% does not take a key of % as (%): the key is (%)', function_name, row_type,
        array_to_string(given, ', '), array_to_string(audited.key_columns, ', ')
      USING ERRCODE = 'undefined_function', CONSTRAINT = 'threadline_past', TABLE = row_type::text,
        HINT = 'Give each column of the primary key in its own type, or as a literal without a type.';
  END IF;
  RETURN call;
END
$function$;
COMMENT ON FUNCTION threadline_internal.call_for_table(text, regtype, regtype[], text) IS
  'SQL that calls the function of a table, which the type of a row identifies.';

-- Returns the types in which users pass a key of the table: those of its columns, integer for any number, and text for
-- an untyped literal. All tables with such a key share the functions.
CREATE FUNCTION threadline_internal.public_signatures(audited threadline.audited_tables) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT s.types FROM threadline_internal.key_signatures(audited) AS s
  UNION
  SELECT unnest(ARRAY[string_agg(k.given, ', ' ORDER BY k.number),
           string_agg(CASE k.category WHEN 'N' THEN 'integer' ELSE 'text' END, ', ' ORDER BY k.number),
           string_agg('text', ', ' ORDER BY k.number)])
    FROM threadline_internal.key_parameters(audited) AS k HAVING count(*) > 0
$function$;
COMMENT ON FUNCTION threadline_internal.public_signatures(threadline.audited_tables) IS
  'The types of the arguments in which users pass a key.';

-- Returns a function that calls the one of the table whose row it receives. It runs with the rights of the caller.
CREATE FUNCTION threadline_internal.dispatcher(function_name text, given text, result text)
RETURNS TABLE (signature text, definition text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('threadline.%I(anyelement, %s)', function_name, given),
         format(E'%s\nLANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS %L', result,
           threadline_internal.render($sql$
BEGIN
  PERFORM set_config('threadline.excluded', 'null', true);
  RETURN QUERY EXECUTE threadline_internal.call_for_table({function_name}, pg_typeof($1), {given}) USING {arguments};
  PERFORM set_config('threadline.excluded', '', true);
END
$sql$, jsonb_build_object(
             'function_name', quote_literal(function_name), 'given', quote_literal(format('{%s}', given)),
             'arguments', (SELECT string_agg('$' || n, ', ' ORDER BY n)
                             FROM generate_series(1, 1 + cardinality(string_to_array(given, ', '))) AS n))))
$function$;
COMMENT ON FUNCTION threadline_internal.dispatcher(text, text, text) IS
  'Definition of a function that calls the one of a table.';

-- Returns threadline.versions for a key. The function that reads the audit log omits the row in its own type. The
-- function that adds it is inlined, so that the row is built only if a query uses it: a recorded value may not be valid
-- for the present type.
CREATE FUNCTION threadline_internal.versions_dispatchers(given text) RETURNS TABLE (signature text, definition text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT f.*
    FROM threadline_internal.versions_columns() AS c (columns),
         threadline_internal.versions_names() AS n (names),
         concat('$1, ', (SELECT string_agg('$' || n + 1, ', ' ORDER BY n)
                           FROM generate_series(1, cardinality(string_to_array(given, ', '))) AS n)) AS a (arguments)
   CROSS JOIN LATERAL (VALUES
     (format('threadline_internal.versions_of(anyelement, %s)', given),
      threadline_internal.render($sql$RETURNS TABLE ({columns})
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS {body}$sql$, jsonb_build_object(
        'columns', c.columns, 'body', quote_literal(threadline_internal.render($sql$
BEGIN
  RETURN QUERY EXECUTE threadline_internal.call_for_table('versions', pg_typeof($1), {given}, {names})
    USING {arguments};
END
$sql$, jsonb_build_object('given', quote_literal(format('{%s}', given)), 'names', quote_literal(n.names),
          'arguments', a.arguments)))))),
     (format('threadline.versions(anyelement, %s)', given),
      format(E'RETURNS TABLE (%s, typed_row anyelement)\nLANGUAGE sql STABLE AS %L', c.columns,
        threadline_internal.render($sql$
SELECT v.*, threadline_internal.row_or_error(CASE WHEN false THEN $1 END, v."row", v.id)
  FROM threadline_internal.versions_of({arguments}) AS v$sql$, jsonb_build_object('arguments', a.arguments)))))
     AS f (signature, definition)
$function$;
COMMENT ON FUNCTION threadline_internal.versions_dispatchers(text) IS
  'Definitions of threadline.versions for a key of these types, and of the function that it calls.';

-- Returns the functions that take a key of the table.
CREATE FUNCTION threadline_internal.dispatchers(audited threadline.audited_tables)
RETURNS TABLE (signature text, definition text, description text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT d.signature, d.definition, 'Every recorded change of one row of an audited table, by its primary key.'
    FROM threadline_internal.public_signatures(audited) AS key (types)
   CROSS JOIN LATERAL threadline_internal.versions_dispatchers(key.types) AS d
  UNION ALL
  SELECT d.signature, d.definition, f.description
    FROM threadline_internal.public_signatures(audited) AS key (types)
   CROSS JOIN LATERAL (VALUES
     ('as_of', 'timestamptz, ', 'RETURNS SETOF anyelement',
      'The row of an audited table with a key, as of a time.'),
     ('row_as_of', 'timestamptz, ', threadline_internal.row_as_of_result(),
      'What one row of an audited table was as of a time: found, deleted, not_yet or before_history.'),
     ('row_of', 'jsonb, bigint, ', 'RETURNS SETOF anyelement',
      'The row of an audited table that threadline.row_as_of found.')) AS f (name, first, result, description)
   CROSS JOIN LATERAL threadline_internal.dispatcher(f.name, f.first || key.types, f.result) AS d
$function$;
COMMENT ON FUNCTION threadline_internal.dispatchers(threadline.audited_tables) IS
  'Definitions of the functions that take a key of an audited table.';

CREATE FUNCTION threadline_internal.versions_of(anyelement) RETURNS TABLE (
  id bigint, transaction_id uuid, op text, captured_at timestamptz, row_key text, moved_key text, changed_fields text[],
  diff jsonb, "row" jsonb, row_before jsonb, data_after jsonb, changed_from jsonb,
  actor_ref jsonb, on_behalf_of jsonb, source text, correlation_id text, request_id text, job_id text, remote_ip inet,
  meta jsonb, occurred_at timestamptz, database_role text, application_name text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN QUERY EXECUTE threadline_internal.call_for_table('versions', pg_typeof($1), '{}',
    threadline_internal.versions_names()) USING $1;
END
$function$;
COMMENT ON FUNCTION threadline_internal.versions_of(anyelement) IS
  'Every recorded change of an audited table, without the row in its own type.';

CREATE FUNCTION threadline.versions(anyelement) RETURNS TABLE (
  id bigint, transaction_id uuid, op text, captured_at timestamptz, row_key text, moved_key text, changed_fields text[],
  diff jsonb, "row" jsonb, row_before jsonb, data_after jsonb, changed_from jsonb,
  actor_ref jsonb, on_behalf_of jsonb, source text, correlation_id text, request_id text, job_id text, remote_ip inet,
  meta jsonb, occurred_at timestamptz, database_role text, application_name text, typed_row anyelement)
LANGUAGE sql STABLE
AS $function$
  SELECT v.*, threadline_internal.row_or_error(CASE WHEN false THEN $1 END, v."row", v.id)
    FROM threadline_internal.versions_of($1) AS v
$function$;
COMMENT ON FUNCTION threadline.versions(anyelement) IS 'Every recorded change of an audited table.';

-- Builds whole rows, whichever columns the query uses. So an excluded column is NULL here, with a warning. The function
-- named after the table builds only the columns that the query uses, and raises an error for an excluded one.
CREATE FUNCTION threadline.as_of(anyelement, timestamptz) RETURNS SETOF anyelement
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  PERFORM set_config('threadline.excluded', 'null', true);
  RETURN QUERY EXECUTE threadline_internal.call_for_table('as_of', pg_typeof($1), '{timestamptz}') USING $1, $2;
  PERFORM set_config('threadline.excluded', '', true);
END
$function$;
COMMENT ON FUNCTION threadline.as_of(anyelement, timestamptz) IS
  'The rows of an audited table as of a time. It computes all of them before it applies a condition.';

CREATE FUNCTION threadline.row_of(anyelement, jsonb, bigint) RETURNS SETOF anyelement
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  PERFORM set_config('threadline.excluded', 'null', true);
  RETURN QUERY EXECUTE threadline_internal.call_for_table('row_of', pg_typeof($1), '{jsonb, bigint}') USING $1, $2, $3;
  PERFORM set_config('threadline.excluded', '', true);
END
$function$;
COMMENT ON FUNCTION threadline.row_of(anyelement, jsonb, bigint) IS
  'The row of an audited table that an image describes, as it is read today.';

CREATE FUNCTION threadline.restore(anyelement, uuid, timestamptz, bigint, bigint)
RETURNS TABLE (op text, skipped_columns text[])
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN QUERY EXECUTE threadline_internal.call_for_table('restore', pg_typeof($1),
    '{uuid, timestamptz, bigint, bigint}') USING $1, $2, $3, $4, $5;
END
$function$;
COMMENT ON FUNCTION threadline.restore(anyelement, uuid, timestamptz, bigint, bigint) IS
  'Restores a row of an audited table to its state after a change, unless later changes would be lost.';

-- Rejects a table without a past in the query of a program. The name is resolved as in the query.
CREATE FUNCTION threadline_internal.is_audited_name(name text) RETURNS boolean
LANGUAGE sql STABLE
AS $function$
  -- If the table does not exist, the query itself raises the error.
  SELECT pg_catalog.to_regclass(name) IS NULL
      OR (threadline_internal.audited_of(pg_catalog.to_regtype(name))).id IS NOT NULL
$function$;
COMMENT ON FUNCTION threadline_internal.is_audited_name(text) IS
  'Raises an error unless a name is the name of an audited table.';

-- PostgreSQL converts an array literal while it parses a query, and checks the CHECK of the elements then. So
-- '{users}'::threadline_internal.audited_name[] reports that a table is not audited before the query could report only
-- that no function with its name exists.
CREATE DOMAIN threadline_internal.audited_name AS text CHECK (threadline_internal.is_audited_name(VALUE));
COMMENT ON DOMAIN threadline_internal.audited_name IS 'The name of an audited table.';
