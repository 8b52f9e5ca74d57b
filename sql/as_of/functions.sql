-- The functions that give the past of a table, each with its signature, definition and description. Those that the
-- planner must inline are plain SQL, as versions is.

-- Writes the live rows of a table: not those of tables that inherit from it.
CREATE FUNCTION threadline_internal.live_rows(relation regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN threadline_internal.is_partitioned(relation) THEN relation::text ELSE 'ONLY ' || relation END
$function$;
COMMENT ON FUNCTION threadline_internal.live_rows(regclass) IS 'SQL for the table of live rows, which a query reads.';

-- Writes the condition that a table can be read as of $2.
CREATE FUNCTION threadline_internal.check_past_condition(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('threadline_internal.check_past(%s, %L, $2)', audited.id,
    threadline_internal.table_shape(audited.relation))
$function$;
COMMENT ON FUNCTION threadline_internal.check_past_condition(threadline.audited_tables) IS
  'SQL that raises an error unless a table can be read as of $2.';

-- Writes the function that computes virtual generated columns, where the search_path is pinned, since what the
-- expressions call is not written with its schema. Tables without such columns need none.
CREATE FUNCTION threadline_internal.computed_columns_function(relation regclass)
RETURNS TABLE (signature text, definition text, description text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('threadline_internal.computed_columns(%s)', relation),
         format(E'RETURNS TABLE (%s)\nLANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp\nAS %L',
           string_agg(format('%I %s', c.name, threadline_internal.type_name(c.type, c.typmod)), ', ' ORDER BY c.number),
           format('SELECT %s FROM (SELECT $1.*) AS r',
             string_agg(format('(%s)', pg_get_expr(d.adbin, d.adrelid)), ', ' ORDER BY c.number))),
         format('The virtual generated columns of a row of %s.', relation)
    FROM threadline_internal.columns_of(relation) AS c
    JOIN pg_attrdef AS d ON d.adrelid = relation AND d.adnum = c.number
   WHERE c.generated = 'v' HAVING count(*) > 0
$function$;
COMMENT ON FUNCTION threadline_internal.computed_columns_function(regclass) IS
  'Definition of the function that computes the virtual generated columns of a table, if it has any.';

-- Writes as_of by key where the columns of the key can be read back, and by count otherwise.
CREATE FUNCTION threadline_internal.as_of_body(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE WHEN audited.key_type IS NOT NULL
         AND NOT EXISTS (SELECT FROM threadline_internal.recorded_key_columns(audited) AS k WHERE k.recorded IS NULL)
      THEN threadline_internal.as_of_by_key(audited) ELSE threadline_internal.as_of_by_count(audited) END
$function$;
COMMENT ON FUNCTION threadline_internal.as_of_body(threadline.audited_tables) IS
  'SQL for the rows that a table had at a time.';

-- Writes row_of(NULL::t, image, change, key...): what row_as_of found, the live row or an image.
CREATE FUNCTION threadline_internal.row_of_body(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render('SELECT {columns}
  FROM {live_rows} AS t
 WHERE $2 IS NULL AND {live_row}
UNION ALL
SELECT r.* FROM threadline.row_of($1, $2, $3) AS r WHERE $2 IS NOT NULL', jsonb_build_object(
    'columns', threadline_internal.past_columns(audited, true),
    'live_rows', threadline_internal.live_rows(audited.relation),
    'live_row', threadline_internal.live_key(audited, threadline_internal.key_arguments(audited, 4))))
$function$;
COMMENT ON FUNCTION threadline_internal.row_of_body(threadline.audited_tables) IS
  'SQL for the row that row_as_of found.';

-- Lists the functions that give the past of a table: first what the others call. Those that go by a key are for tables
-- that have one.
CREATE FUNCTION threadline_internal.past_functions(audited threadline.audited_tables)
RETURNS TABLE (signature text, definition text, description text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  row_type text := audited.relation::text;
  key_types text := array_to_string((SELECT types FROM threadline_internal.primary_key(audited.relation)), ', ');
  inlined text := format(E'RETURNS SETOF %s\nLANGUAGE sql STABLE AS ', row_type);
BEGIN
  RETURN QUERY SELECT * FROM threadline_internal.computed_columns_function(audited.relation);
  RETURN QUERY VALUES
    (format('threadline.row_of(%s, jsonb, bigint)', row_type),
     inlined || quote_literal(threadline_internal.row_of_image(audited)),
     format('The row of %s that an image is of, as it is read today.', row_type)),
    (format('threadline.as_of(%s, timestamptz)', row_type),
     inlined || quote_literal(threadline_internal.as_of_body(audited)),
     format('The rows of %s as of a time.', row_type));
  IF audited.key_type IS NULL THEN
    RETURN;
  END IF;
  RETURN QUERY VALUES
    (format('threadline.row_of(%s, jsonb, bigint, %s)', row_type, key_types),
     inlined || quote_literal(threadline_internal.row_of_body(audited)),
     format('The row of %s that threadline.row_as_of found.', row_type)),
    (format('threadline.row_as_of(%s, timestamptz, %s)', row_type, key_types),
     'RETURNS TABLE (state text, since timestamptz, image jsonb, image_of bigint,
        id bigint, transaction_id uuid, op text, captured_at timestamptz, row_key text, moved_key text,
        changed_fields text[], diff jsonb, actor_ref jsonb, on_behalf_of jsonb, source text, correlation_id text,
        request_id text, job_id text, remote_ip inet, meta jsonb, occurred_at timestamptz, database_role text,
        application_name text)
      LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
      SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
      AS ' || quote_literal(threadline_internal.row_as_of_body(audited)),
     format('What one row of %s was as of a time: found, deleted, not_yet or before_history.', row_type)),
    (format('threadline.restore(%s, uuid, timestamptz, bigint, bigint)', row_type),
     'RETURNS TABLE (op text, skipped_columns text[])
      LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
      AS ' || quote_literal(threadline_internal.restore_body(audited)),
     format('Brings a row of %s back to what a change left, unless later changes would be lost.', row_type));
END
$function$;
COMMENT ON FUNCTION threadline_internal.past_functions(threadline.audited_tables) IS
  'Definitions of threadline.as_of and its like for a table.';

-- Tables without a function of their own come here, while the query is planned: an unaudited table is refused even
-- where it is empty or would not be read.
CREATE FUNCTION threadline_internal.raise_not_audited(sample anyelement) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  -- NULL::"path" is of the built-in type, even where a table has that name.
  IF (SELECT y.typtype FROM pg_type AS y WHERE y.oid = pg_typeof(sample)) <> 'c' THEN
    RAISE EXCEPTION 'cannot read % as of the past: this is a type, and no table', pg_typeof(sample)
      USING ERRCODE = 'wrong_object_type', CONSTRAINT = 'threadline_past', HINT = 'Write the table with its schema.';
  END IF;
  RAISE EXCEPTION 'cannot read % as of the past: it is not audited', pg_typeof(sample)
    USING ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_past', TABLE = pg_typeof(sample)::text,
      HINT = 'Put it under capture with threadline.audit_table, or name it as live in the query.';
END
$function$;
COMMENT ON FUNCTION threadline_internal.raise_not_audited(anyelement) IS
  'Raises the error of a table that has no past.';

CREATE FUNCTION threadline.as_of(unaudited anyelement, at timestamptz) RETURNS SETOF anyelement
LANGUAGE sql STABLE AS 'SELECT $1 WHERE threadline_internal.raise_not_audited($1)';
COMMENT ON FUNCTION threadline.as_of(anyelement, timestamptz) IS
  'The rows of a table as of a time; this one refuses the tables that are not audited.';
