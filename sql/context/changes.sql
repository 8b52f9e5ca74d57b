-- The context and key of a change, for queries. The planner inlines both functions, because they have no SET clause and
-- qualify every name with its schema. The view threadline.changes repeats both expressions: someone who reads it
-- through their own view has no right to execute functions.

-- A change has its own context only if that differs from the context of its transaction. The parameter is the context
-- instead of the whole change, because the planner can look inside a whole row only within one query.
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
  'Actor and context of a change: its own context, or that of its transaction.';

CREATE FUNCTION threadline_internal.key_of(change threadline.audit_changes) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $function$
  SELECT coalesce($1.key_integer::pg_catalog.text, $1.key_bigint::pg_catalog.text, $1.key_uuid::pg_catalog.text,
    $1.key_text)
$function$;
COMMENT ON FUNCTION threadline_internal.key_of(threadline.audit_changes) IS 'The key of a changed row as text.';
