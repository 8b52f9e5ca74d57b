-- Replaces the table names of the caller by the ids in the audit log, and a key by its recorded form.
CREATE FUNCTION threadline_internal.timeline_filter(filter jsonb, tables regclass[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  unaudited regclass;
BEGIN
  PERFORM threadline_internal.raise_unknown_filter(filter, '{action,action_id,actor_ref,correlation_id,column,since,'
    'on_behalf_of,ops,row_key,tables,until,transaction_id}');
  SELECT r INTO unaudited FROM unnest(tables) AS r WHERE NOT EXISTS (
      SELECT FROM threadline_internal.audited_table(r)) LIMIT 1;
  IF unaudited IS NOT NULL THEN
    RAISE EXCEPTION '% has no history: it is not audited', unaudited
      USING ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_filter', TABLE = unaudited::text,
        HINT = 'Put it under capture with threadline.audit_table.';
  END IF;
  IF tables IS NOT NULL THEN
    filter := filter || jsonb_build_object('tables', ARRAY(
      SELECT a.id FROM unnest(tables) AS r CROSS JOIN LATERAL threadline_internal.audited_table(r) AS a ORDER BY a.id));
  END IF;
  RETURN CASE WHEN filter ->> 'row_key' IS NULL THEN filter - 'row_key'
    ELSE threadline_internal.filtered_rows(filter) END;
END
$function$;
COMMENT ON FUNCTION threadline_internal.timeline_filter(jsonb, regclass[]) IS
  'A timeline filter that includes the tables and the row.';

-- Plain SQL with schema-qualified names, so that the planner can inline it. A function that returns rows is inlined
-- whatever it contains.
CREATE FUNCTION threadline_internal.action_json(action threadline.audit_actions) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE
AS $function$
  SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('id', $1.id, 'transaction_id', $1.transaction_id,
    'name', $1.name,
           'occurred_at', $1.occurred_at, 'actor_ref', $1.actor_ref, 'on_behalf_of', $1.on_behalf_of, 'status',
             $1.status,
           'reason', $1.reason, 'comment', $1.comment, 'correlation_id', $1.correlation_id, 'request_id',
             $1.request_id, 'job_id', $1.job_id))
         OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('meta', $1.meta)
$function$;
COMMENT ON FUNCTION threadline_internal.action_json(threadline.audit_actions) IS 'An action as JSON.';

CREATE FUNCTION threadline_internal.transaction_actions(transaction_id uuid) RETURNS SETOF jsonb
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
AS $function$
  SELECT coalesce(pg_catalog.jsonb_agg(threadline_internal.action_json(x) ORDER BY x.occurred_at, x.id), '[]')
    FROM threadline.audit_actions AS x WHERE x.transaction_id OPERATOR(pg_catalog.=) $1
$function$;
COMMENT ON FUNCTION threadline_internal.transaction_actions(uuid) IS
  'The actions of a transaction, in order: one JSON array.';

CREATE FUNCTION threadline_internal.timeline_table(sample anyelement) RETURNS TABLE (table_schema text, table_name text)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1 SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
   WHERE c.oid = (SELECT y.typrelid FROM pg_type AS y WHERE y.oid = pg_typeof(sample))
$function$;
COMMENT ON FUNCTION threadline_internal.timeline_table(anyelement) IS 'The name of a table, given a row of it.';

-- Returns the audited tables, with the processing that their images need. Inlined; OFFSET 0 prevents the planner from
-- computing it once per change.
CREATE FUNCTION threadline_internal.timeline_tables() RETURNS TABLE (id integer, table_schema text, table_name text,
  key_columns text[], excluded_columns text[], masked_columns text[], older jsonb, defaults jsonb, masks jsonb)
LANGUAGE sql STABLE
AS $function$
  SELECT (n.audited).id, n.table_schema, n.table_name, (n.audited).key_columns,
         (n.audited).excluded_columns,
         (n.audited).masked_columns,
         CASE WHEN (n.audited).older_definitions OPERATOR(pg_catalog.<>) '{}' THEN (n.audited).older_definitions END,
         CASE WHEN (n.audited).definition OPERATOR(pg_catalog.@?) '$.columns.*.default' THEN (
             SELECT pg_catalog.jsonb_object_agg(name, value OPERATOR(pg_catalog.->) 'default')
               FROM pg_catalog.jsonb_each((n.audited).definition OPERATOR(pg_catalog.->) 'columns') AS d (name, value)
              WHERE value OPERATOR(pg_catalog.?) 'default') ELSE '{}' END,
         CASE WHEN (n.audited).masked_columns OPERATOR(pg_catalog.<>) '{}' THEN (
             SELECT pg_catalog.jsonb_object_agg(m, '[REDACTED]') FROM pg_catalog.unnest((n.audited).masked_columns)
               AS m)
           ELSE '{}' END
    FROM threadline_internal.audited_table_names AS n
  OFFSET 0
$function$;
COMMENT ON FUNCTION threadline_internal.timeline_tables() IS
  'The audited tables, with the processing that their images need to be read as of today.';

-- Returns a page with everything needed to present it: names, transaction, the context of each change, images under the
-- present names, and the processing that these need. Inlined; OFFSET 0 prevents the planner from computing it once per
-- reference.
CREATE FUNCTION threadline_internal.timeline_rows(filter jsonb, tables regclass[], before_at timestamptz,
  before_id bigint, max_rows integer)
RETURNS TABLE (id bigint, captured_at timestamptz, transaction_id uuid, op text, row_key text, moved_key text,
  data_after jsonb, changed_from jsonb,
  after jsonb, before jsonb, whole_before jsonb, table_schema text, table_name text, key_columns text[],
    excluded_columns text[], masked_columns text[], defaults jsonb,
  masks jsonb, occurred_at timestamptz, actor_ref jsonb, on_behalf_of jsonb, source text, correlation_id text,
    request_id text, job_id text,
  remote_ip inet, meta jsonb, database_role text, application_name text)
LANGUAGE sql STABLE
AS $function$
  SELECT c.id, c.captured_at, c.transaction_id, c.op, threadline_internal.key_of(c), c.moved_key, c.data_after,
    c.changed_from,
         CASE WHEN o.older IS NULL THEN c.data_after
           ELSE threadline_internal.rename_image(c.data_after, o.older) END,
         CASE WHEN o.older IS NULL THEN c.changed_from
           ELSE threadline_internal.rename_image(c.changed_from, o.older) END,
         CASE WHEN o.older IS NULL THEN coalesce(c.data_after OPERATOR(pg_catalog.||) c.changed_from, c.changed_from)
           ELSE threadline_internal.rename_image(
             coalesce(c.data_after OPERATOR(pg_catalog.||) c.changed_from, c.changed_from), o.older) END,
         a.table_schema, a.table_name, a.key_columns, a.excluded_columns, a.masked_columns, a.defaults, a.masks,
           t.occurred_at,
         k.actor_ref, k.on_behalf_of, k.source, k.correlation_id, k.request_id, k.job_id, k.remote_ip, k.meta,
         t.database_role, t.application_name
    FROM threadline_internal.timeline_page(
           threadline_internal.timeline_filter(coalesce(timeline_rows.filter, '{}'), timeline_rows.tables),
           timeline_rows.before_at, timeline_rows.before_id, timeline_rows.max_rows) AS c
    JOIN threadline_internal.timeline_tables() AS a ON a.id OPERATOR(pg_catalog.=) c.table_id
   CROSS JOIN LATERAL (SELECT a.older OPERATOR(pg_catalog.->) c.definition_id::pg_catalog.text AS older) AS o
    LEFT JOIN threadline.audit_transactions AS t ON t.id OPERATOR(pg_catalog.=) c.transaction_id
   CROSS JOIN LATERAL threadline_internal.context_of(c.context, t) AS k
  OFFSET 0
$function$;
COMMENT ON FUNCTION threadline_internal.timeline_rows(jsonb, regclass[], timestamptz, bigint, integer) IS
  'A page of the changes that match a filter, with everything needed to present them.';
