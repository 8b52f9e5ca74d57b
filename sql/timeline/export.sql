-- A page of the timeline for exports. The images contain only what was recorded, under the present names and with the
-- present redaction. JSON is returned as text, as exact as in the database. The function is inlined, and sorts before
-- it creates the text, so that rows are sent while others are read.
CREATE FUNCTION threadline.timeline_export(filter jsonb DEFAULT '{}', tables regclass[] DEFAULT NULL,
  before_at timestamptz DEFAULT NULL,
  before_id bigint DEFAULT NULL, max_rows integer DEFAULT 1000)
RETURNS TABLE (id bigint, captured_at timestamptz, transaction_id uuid, table_schema text, table_name text, op text,
  table_pk text,
  row_key text, moved_key text, data_after text, changed_from text, occurred_at timestamptz, actor_ref text,
    on_behalf_of text, source text,
  correlation_id text, request_id text, job_id text, remote_ip text, meta text, database_role text,
    application_name text, actions text)
LANGUAGE sql STABLE
AS $function$
  SELECT c.id, c.captured_at, c.transaction_id, c.table_schema, c.table_name, c.op,
         CASE WHEN pg_catalog.cardinality(c.key_columns) OPERATOR(pg_catalog.=) 0 THEN '{}'
           WHEN pg_catalog.cardinality(c.key_columns) OPERATOR(pg_catalog.=) 1
             THEN pg_catalog.jsonb_build_object(c.key_columns[1], coalesce(c.redacted_after, c.redacted_before)
               OPERATOR(pg_catalog.->) c.key_columns[1])
           ELSE (SELECT pg_catalog.jsonb_object_agg(k, coalesce(c.redacted_after, c.redacted_before)
             OPERATOR(pg_catalog.->) k)
                   FROM pg_catalog.unnest(c.key_columns) AS k) END::pg_catalog.text,
         c.row_key, c.moved_key, c.redacted_after::pg_catalog.text, c.redacted_before::pg_catalog.text, c.occurred_at,
         c.actor_ref::pg_catalog.text, c.on_behalf_of::pg_catalog.text, c.source, c.correlation_id, c.request_id,
           c.job_id,
         pg_catalog.host(c.remote_ip), c.meta::pg_catalog.text, c.database_role, c.application_name,
           x.actions::pg_catalog.text
    FROM (SELECT c.*,
                 CASE WHEN c.is_redacted THEN (c.after OPERATOR(pg_catalog.-) c.excluded_columns)
                   OPERATOR(pg_catalog.||) coalesce((
                     SELECT pg_catalog.jsonb_object_agg(m, '[REDACTED]') FROM pg_catalog.unnest(c.masked_columns) AS m
                       WHERE c.after OPERATOR(pg_catalog.?) m), '{}')
                   ELSE c.after END AS redacted_after,
                 CASE WHEN c.is_redacted THEN (c.before OPERATOR(pg_catalog.-) c.excluded_columns)
                   OPERATOR(pg_catalog.||) coalesce((
                     SELECT pg_catalog.jsonb_object_agg(m, '[REDACTED]') FROM pg_catalog.unnest(c.masked_columns) AS m
                       WHERE c.before OPERATOR(pg_catalog.?) m), '{}')
                   ELSE c.before END AS redacted_before
            FROM (SELECT c.*, c.excluded_columns OPERATOR(pg_catalog.<>) '{}' OR c.masked_columns
              OPERATOR(pg_catalog.<>) '{}' AS is_redacted
                    FROM threadline_internal.timeline_rows(timeline_export.filter, timeline_export.tables,
                      timeline_export.before_at, timeline_export.before_id,
                                                  timeline_export.max_rows) AS c) AS c
           ORDER BY c.captured_at DESC, c.id DESC) AS c
   CROSS JOIN LATERAL threadline_internal.transaction_actions(c.transaction_id) AS x (actions)
$function$;
COMMENT ON FUNCTION threadline.timeline_export(jsonb, regclass[], timestamptz, bigint, integer) IS
  'A page of the changes that match a filter, newest first, in the format of exports; older than a position.';
