-- The functions that give the past of a table. Those that the planner must inline are plain SQL, as versions is.
CREATE FUNCTION threadline_internal.past_functions(audited threadline.audited_tables)
RETURNS TABLE (signature text, definition text, description text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  row_type text := audited.relation::text;
  shape text := threadline_internal.table_shape(audited.relation);
  check_past text := format('threadline_internal.check_past(%s, %L, $2)', audited.id, shape);
  live_rows text := concat(CASE WHEN (SELECT relkind FROM pg_class WHERE oid = audited.relation) <> 'p' THEN 'ONLY ' END, row_type);
  before text := threadline_internal.row_expression(audited, 'coalesce(c.data_after OPERATOR(pg_catalog.||) c.changed_from, c.changed_from)');
  after text := threadline_internal.row_expression(audited, 'c.data_after');
  inlined text := E'RETURNS SETOF %s\nLANGUAGE sql STABLE AS %L';
  key_types text := array_to_string((SELECT types FROM threadline_internal.primary_key(audited.relation)), ', ');
BEGIN
  -- First, because the others call it. Computed where the search_path is pinned, since what the expressions call is not
  -- written with its schema.
  RETURN QUERY SELECT format('threadline_internal.computed_columns(%s)', row_type),
      format(E'RETURNS TABLE (%s)\nLANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp\nAS %L',
        string_agg(format('%I %s', a.attname, threadline_internal.type_name(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum),
        format('SELECT %s FROM (SELECT $1.*) AS r', string_agg(format('(%s)', pg_get_expr(d.adbin, d.adrelid)), ', ' ORDER BY a.attnum))),
      format('The virtual generated columns of a row of %s.', row_type)
    FROM pg_attribute AS a JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
   WHERE a.attrelid = audited.relation AND a.attgenerated = 'v' AND NOT a.attisdropped HAVING count(*) > 0;
  RETURN QUERY VALUES
    (format('threadline.row_of(%s, jsonb, bigint)', row_type), format(inlined, row_type, threadline_internal.row_of_image(audited)),
     format('The row of %s that an image is of, as it is read today.', row_type)),
    (format('threadline.as_of(%s, timestamptz)', row_type),
     format(inlined, row_type, CASE WHEN audited.key_type IS NOT NULL
         AND NOT EXISTS (SELECT FROM threadline_internal.recorded_key_columns(audited) AS k WHERE k.recorded IS NULL)
       THEN threadline_internal.as_of_by_key(audited, live_rows, before, check_past)
       ELSE threadline_internal.as_of_by_count(audited, live_rows, before, after, check_past) END),
     format('The rows of %s as of a time.', row_type));
  IF audited.key_type IS NULL THEN
    RETURN;
  END IF;
  RETURN QUERY VALUES
    (format('threadline.row_of(%s, jsonb, bigint, %s)', row_type, key_types),
     format(inlined, row_type, format(E'SELECT %s\n  FROM %s AS t\n WHERE $2 IS NULL AND %s\nUNION ALL\nSELECT r.* FROM threadline.row_of($1, $2, $3) AS r WHERE $2 IS NOT NULL',
       threadline_internal.past_columns(audited, true), live_rows,
       threadline_internal.live_key(audited, threadline_internal.key_arguments(audited, 4)))),
     format('The row of %s that threadline.row_as_of found.', row_type)),
    (format('threadline.row_as_of(%s, timestamptz, %s)', row_type, key_types),
     format(E'RETURNS TABLE (state text, since timestamptz, image jsonb, image_of bigint,\n'
       '  id bigint, transaction_id uuid, op text, captured_at timestamptz, row_key text, moved_key text, changed_fields text[], diff jsonb,\n'
       '  actor_ref jsonb, on_behalf_of jsonb, source text, correlation_id text, request_id text, job_id text, remote_ip inet, meta jsonb,\n'
       '  occurred_at timestamptz, database_role text, application_name text)\n'
       'LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_generic_plan\nAS %L',
       threadline_internal.row_as_of_body(audited, live_rows, before, shape, '{id,transaction_id,op,captured_at,row_key,moved_key,changed_fields,diff,actor_ref,on_behalf_of,source,correlation_id,request_id,job_id,remote_ip,meta,occurred_at,database_role,application_name}')),
     format('What one row of %s was as of a time: found, deleted, not_yet or before_history.', row_type)),
    (format('threadline.restore(%s, uuid, timestamptz, bigint, bigint)', row_type),
     format(E'RETURNS TABLE (op text, skipped_columns text[])\nLANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp\nAS %L',
       threadline_internal.restore_body(audited, live_rows, shape)),
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
COMMENT ON FUNCTION threadline_internal.raise_not_audited(anyelement) IS 'Raises the error of a table that has no past.';

CREATE FUNCTION threadline.as_of(unaudited anyelement, at timestamptz) RETURNS SETOF anyelement
LANGUAGE sql STABLE AS 'SELECT $1 WHERE threadline_internal.raise_not_audited($1)';
COMMENT ON FUNCTION threadline.as_of(anyelement, timestamptz) IS
  'The rows of a table as of a time; this one refuses the tables that are not audited.';
