-- What a change says of itself, for queries to use. The planner inlines both functions: they have no SET clause, and
-- name everything with its schema. The view threadline.changes spells both out: whoever reads it through a view of
-- their own has no right to execute functions.

-- A change has a context of its own only where it differs from that of its transaction. The context alone is passed,
-- and not the change, since the planner sees through a whole row only within one query.
CREATE FUNCTION threadline_internal.context_of(context jsonb, transaction threadline.audit_transactions)
RETURNS TABLE (actor_ref jsonb, on_behalf_of jsonb, source text, correlation_id text, request_id text, job_id text,
  remote_ip inet, meta jsonb)
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 1
AS $function$
  SELECT CASE WHEN $1 IS NULL THEN $2.actor_ref ELSE $1 OPERATOR(pg_catalog.->) 'actor_ref' END,
         CASE WHEN $1 IS NULL THEN $2.on_behalf_of ELSE $1 OPERATOR(pg_catalog.->) 'on_behalf_of' END,
         CASE WHEN $1 IS NULL THEN $2.source ELSE $1 OPERATOR(pg_catalog.->>) 'source' END,
         CASE WHEN $1 IS NULL THEN $2.correlation_id ELSE $1 OPERATOR(pg_catalog.->>) 'correlation_id' END,
         CASE WHEN $1 IS NULL THEN $2.request_id ELSE $1 OPERATOR(pg_catalog.->>) 'request_id' END,
         CASE WHEN $1 IS NULL THEN $2.job_id ELSE $1 OPERATOR(pg_catalog.->>) 'job_id' END,
         CASE WHEN $1 IS NULL THEN $2.remote_ip ELSE ($1 OPERATOR(pg_catalog.->>) 'remote_ip')::pg_catalog.inet END,
         CASE WHEN $1 IS NULL THEN $2.meta ELSE $1 OPERATOR(pg_catalog.->) 'meta' END
$function$;
COMMENT ON FUNCTION threadline_internal.context_of(jsonb, threadline.audit_transactions) IS
  'Actor and context of a change: its own, or that of its transaction.';

CREATE FUNCTION threadline_internal.key_of(change threadline.audit_changes) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $function$
  SELECT coalesce($1.key_integer::pg_catalog.text, $1.key_bigint::pg_catalog.text, $1.key_uuid::pg_catalog.text,
    $1.key_text)
$function$;
COMMENT ON FUNCTION threadline_internal.key_of(threadline.audit_changes) IS 'The key of a changed row as text.';
