-- The timeline: every change that a filter lets through, newest first, a page at a time.

CREATE INDEX audit_changes_table_id_idx ON threadline.audit_changes (table_id, captured_at, id);
COMMENT ON INDEX threadline.audit_changes_table_id_idx IS 'The changes of a table in the order of the timeline.';
-- The few changes with a context of their own.
CREATE INDEX audit_changes_actor_ref_idx ON threadline.audit_changes ((context -> 'actor_ref'), captured_at, id) WHERE context IS NOT NULL;
COMMENT ON INDEX threadline.audit_changes_actor_ref_idx IS 'The changes that an actor made in a nested audited transaction.';
CREATE INDEX audit_changes_on_behalf_of_idx ON threadline.audit_changes ((context -> 'on_behalf_of'), captured_at, id) WHERE context IS NOT NULL;
COMMENT ON INDEX threadline.audit_changes_on_behalf_of_idx IS 'The changes that were made for someone in a nested audited transaction.';
CREATE INDEX audit_changes_correlation_id_idx ON threadline.audit_changes ((context ->> 'correlation_id'), captured_at, id) WHERE context IS NOT NULL;
COMMENT ON INDEX threadline.audit_changes_correlation_id_idx IS 'The changes of a business process in a nested audited transaction.';
CREATE INDEX audit_transactions_actor_ref_idx ON threadline.audit_transactions (actor_ref, id) WHERE actor_ref IS NOT NULL;
COMMENT ON INDEX threadline.audit_transactions_actor_ref_idx IS 'The transactions of an actor, by the time they began.';
CREATE INDEX audit_transactions_on_behalf_of_idx ON threadline.audit_transactions (on_behalf_of, id) WHERE on_behalf_of IS NOT NULL;
COMMENT ON INDEX threadline.audit_transactions_on_behalf_of_idx IS 'The transactions that were for someone, by the time they began.';
CREATE INDEX audit_transactions_correlation_id_idx ON threadline.audit_transactions (correlation_id, id) WHERE correlation_id IS NOT NULL;
COMMENT ON INDEX threadline.audit_transactions_correlation_id_idx IS 'The transactions of a business process, by the time they began.';
CREATE INDEX audit_actions_correlation_id_idx ON threadline.audit_actions (correlation_id, transaction_id) WHERE correlation_id IS NOT NULL;
COMMENT ON INDEX threadline.audit_actions_correlation_id_idx IS 'The actions of a business process, by the time their transactions began.';
CREATE INDEX audit_actions_name_idx ON threadline.audit_actions (name, transaction_id);
COMMENT ON INDEX threadline.audit_actions_name_idx IS 'The actions of a name, by the time their transactions began.';

CREATE FUNCTION threadline.timeline_refuse_unknown(filter jsonb, known text[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  unknown text;
BEGIN
  SELECT k INTO unknown FROM jsonb_object_keys(filter) AS k WHERE k <> ALL (known) ORDER BY k LIMIT 1;
  IF unknown IS NOT NULL THEN
    RAISE EXCEPTION 'a timeline has no filter %', quote_literal(unknown)
      USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_filter', HINT = 'There are: ' || array_to_string(known, ', ');
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline.timeline_refuse_unknown(jsonb, text[]) IS 'Raises the error of a filter that there is not.';

-- What a change c, its transaction t and its table a have to be, as SQL: all that decides whether a filter lets a change
-- through, whoever asks. How the changes are found is another matter, and must not decide.
CREATE FUNCTION threadline.timeline_condition(filter jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
DECLARE
  own text := 'CASE WHEN c.context IS NULL THEN t.%1$s ELSE c.context -> %1$L END = %2$L::jsonb';
  conditions text[] := '{}';
BEGIN
  PERFORM threadline.timeline_refuse_unknown(filter, ARRAY['action', 'action_id', 'actor_ref', 'correlation_id', 'field', 'from', 'on_behalf_of', 'ops',
    'row_key', 'tables', 'to', 'transaction_id']);
  IF filter ? 'tables' THEN
    conditions := conditions || format('c.table_id = ANY (%L::integer[])', ARRAY(SELECT jsonb_array_elements_text(filter -> 'tables')));
  END IF;
  IF filter ? 'actor_ref' THEN
    conditions := conditions || format(own, 'actor_ref', filter -> 'actor_ref');
  END IF;
  IF filter ? 'on_behalf_of' THEN
    conditions := conditions || format(own, 'on_behalf_of', filter -> 'on_behalf_of');
  END IF;
  IF filter ? 'correlation_id' THEN
    conditions := conditions || format('(CASE WHEN c.context IS NULL THEN t.correlation_id ELSE c.context ->> ''correlation_id'' END = %1$L
        OR EXISTS (SELECT FROM threadline.audit_actions AS x WHERE x.transaction_id = c.transaction_id AND x.correlation_id = %1$L))',
      filter ->> 'correlation_id');
  END IF;
  IF filter ? 'action' THEN
    conditions := conditions || format('EXISTS (SELECT FROM threadline.audit_actions AS x WHERE x.transaction_id = c.transaction_id AND x.name = %L)',
      filter ->> 'action');
  END IF;
  IF filter ? 'action_id' THEN
    conditions := conditions || format('c.transaction_id = (SELECT x.transaction_id FROM threadline.audit_actions AS x WHERE x.id = %L::uuid)',
      filter ->> 'action_id');
  END IF;
  IF filter ? 'transaction_id' THEN
    conditions := conditions || format('c.transaction_id = %L::uuid', filter ->> 'transaction_id');
  END IF;
  IF filter ? 'ops' THEN
    conditions := conditions || format('c.op = ANY (%L::text[])', ARRAY(SELECT jsonb_array_elements_text(filter -> 'ops')));
  END IF;
  IF filter ? 'field' THEN
    conditions := conditions || format('coalesce(c.changed_from, c.data_after) ? %L', filter ->> 'field');
  END IF;
  IF filter ? 'row_key' THEN
    conditions := conditions || format('coalesce(c.key_integer::text, c.key_bigint::text, c.key_uuid::text, c.key_text) = %L', filter ->> 'row_key');
  END IF;
  IF filter ? 'from' THEN
    conditions := conditions || format('c.captured_at >= %L::timestamptz', filter ->> 'from');
  END IF;
  IF filter ? 'to' THEN
    conditions := conditions || format('c.captured_at <= %L::timestamptz', filter ->> 'to');
  END IF;
  RETURN coalesce(nullif(array_to_string(conditions, E'\n   AND '), ''), 'true');
END
$function$;
COMMENT ON FUNCTION threadline.timeline_condition(jsonb) IS 'SQL for the changes that a filter of the timeline lets through.';

-- The transactions that a filter names by one of its parts, the most telling one, as SQL: all of them, or the newest that
-- began before the one given. NULL when it names none.
CREATE FUNCTION threadline.timeline_transactions(filter jsonb, older_than uuid DEFAULT NULL, max_rows integer DEFAULT NULL) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE
      WHEN filter ? 'transaction_id' THEN
        format('SELECT t.id FROM threadline.audit_transactions AS t WHERE t.id = %L::uuid%s', filter ->> 'transaction_id', of_transaction || newest)
      WHEN filter ? 'action_id' THEN
        format('SELECT x.transaction_id AS id FROM threadline.audit_actions AS x WHERE x.id = %L::uuid%s', filter ->> 'action_id', of_action || newest)
      WHEN filter ? 'action' THEN
        format('SELECT DISTINCT x.transaction_id AS id FROM threadline.audit_actions AS x WHERE x.name = %L%s', filter ->> 'action', of_action || newest)
      WHEN filter ? 'correlation_id' THEN
        format('(SELECT t.id FROM threadline.audit_transactions AS t WHERE t.correlation_id = %1$L%2$s) UNION
                (SELECT DISTINCT x.transaction_id AS id FROM threadline.audit_actions AS x WHERE x.correlation_id = %1$L%3$s)%4$s',
          filter ->> 'correlation_id', of_transaction || newest, of_action || newest, newest)
      WHEN filter ? 'on_behalf_of' THEN
        format('SELECT t.id FROM threadline.audit_transactions AS t WHERE t.on_behalf_of = %L::jsonb%s', filter -> 'on_behalf_of', of_transaction || newest)
      WHEN filter ? 'actor_ref' THEN
        format('SELECT t.id FROM threadline.audit_transactions AS t WHERE t.actor_ref = %L::jsonb%s', filter -> 'actor_ref', of_transaction || newest)
    END
    FROM (SELECT CASE WHEN older_than IS NULL THEN '' ELSE format(' AND t.id < %L::uuid', older_than) END AS of_transaction,
                 CASE WHEN older_than IS NULL THEN '' ELSE format(' AND x.transaction_id < %L::uuid', older_than) END AS of_action,
                 CASE WHEN max_rows IS NULL THEN '' ELSE ' ORDER BY id DESC LIMIT ' || max_rows END AS newest) AS p
$function$;
COMMENT ON FUNCTION threadline.timeline_transactions(jsonb, uuid, integer) IS 'SQL for the transactions that a filter of the timeline names.';

-- The changes of transactions, which are said by what an id has to be, and those that carry what a filter names in a context
-- of their own, as SQL conditions that an index serves. No change is in both.
CREATE FUNCTION threadline.timeline_parts(filter jsonb, transactions text) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE
      WHEN filter ?| ARRAY['transaction_id', 'action_id', 'action'] THEN ARRAY['c.transaction_id ' || transactions]
      WHEN filter ? 'correlation_id' THEN ARRAY['c.transaction_id ' || transactions,
        format('c.context IS NOT NULL AND (c.context ->> ''correlation_id'') = %L AND NOT (c.transaction_id %s)', filter ->> 'correlation_id', transactions)]
      WHEN filter ? 'on_behalf_of' THEN ARRAY['c.context IS NULL AND c.transaction_id ' || transactions,
        format('c.context IS NOT NULL AND (c.context -> ''on_behalf_of'') = %L::jsonb', filter -> 'on_behalf_of')]
      WHEN filter ? 'actor_ref' THEN ARRAY['c.context IS NULL AND c.transaction_id ' || transactions,
        format('c.context IS NOT NULL AND (c.context -> ''actor_ref'') = %L::jsonb', filter -> 'actor_ref')]
      ELSE ARRAY['true'] END
$function$;
COMMENT ON FUNCTION threadline.timeline_parts(jsonb, text) IS 'SQL for where the changes are that a filter of the timeline lets through.';

-- Ids of transactions that suffice for the newest changes a filter lets through. Transactions are gone through from the newest, by
-- when they began. One that began earlier than all of these can have no newer change than those found, but for 125 ms, or if
-- it was noted as a long one: see threadline.long_transactions.
CREATE FUNCTION threadline.timeline_candidates(filter jsonb, condition text, before_at timestamptz, max_rows integer) RETURNS uuid[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  older_than uuid := threadline.first_id_after(coalesce(before_at, 'infinity'));
  step integer := max_rows + 50;
  found uuid[];
  candidates uuid[] := '{}';
  began timestamptz;
  times timestamptz[] := '{}';
  oldest timestamptz;
BEGIN
  LOOP
    EXECUTE format('SELECT array_agg(f.id), min(t.occurred_at) FROM (%s) AS f JOIN threadline.audit_transactions AS t USING (id)',
      threadline.timeline_transactions(filter, older_than, step)) INTO found, began;
    EXIT WHEN found IS NULL;
    candidates := candidates || found;
    EXIT WHEN cardinality(found) < step;
    EXECUTE format('SELECT coalesce(array_agg(captured_at), ''{}'') FROM (
        SELECT c.captured_at FROM threadline.audit_changes AS c LEFT JOIN threadline.audit_transactions AS t ON t.id = c.transaction_id
         WHERE c.transaction_id = ANY ($1) AND c.captured_at >= $2 AND %s ORDER BY c.captured_at DESC LIMIT $3) AS n', condition)
      INTO times USING candidates, began, max_rows;
    oldest := times[max_rows];
    IF oldest >= began + interval '125 ms' THEN
      RETURN candidates || ARRAY(
        SELECT l.transaction_id FROM generate_series(1, (SELECT max(octave) FROM threadline.long_transactions)) AS o (octave)
          JOIN threadline.long_transactions AS l
            ON l.octave = o.octave AND l.occurred_at <= began AND l.occurred_at > oldest - interval '125 ms' * power(2, o.octave)
         WHERE l.transaction_id <> ALL (candidates));
    END IF;
    older_than := (SELECT u FROM unnest(found) AS u ORDER BY u LIMIT 1);
    step := least(step * 2, 10000);
  END LOOP;
  RETURN candidates;
END
$function$;
COMMENT ON FUNCTION threadline.timeline_candidates(jsonb, text, timestamptz, integer) IS
  'Transactions that have the newest changes a filter of the timeline lets through.';

-- Each part in the order of its index, as many rows as are wanted; then the newest of them all.
CREATE FUNCTION threadline.timeline_page(filter jsonb, before_at timestamptz, before_id bigint, max_rows integer) RETURNS SETOF threadline.audit_changes
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
DECLARE
  condition text := threadline.timeline_condition(filter) || CASE WHEN before_at IS NULL THEN '' ELSE
    format(E'\n   AND c.captured_at <= %1$L::timestamptz AND (c.captured_at, c.id) < (%1$L::timestamptz, %2$L::bigint)', before_at, before_id) END;
  candidates uuid[];
  parts text[];
BEGIN
  IF threadline.timeline_transactions(filter) IS NOT NULL THEN
    candidates := threadline.timeline_candidates(filter, condition, before_at, max_rows);
    parts := threadline.timeline_parts(filter, format('= ANY (%L::uuid[])', candidates));
    -- No transaction has a change from before it began, so older partitions need not be looked into.
    parts[1] := parts[1] || format(' AND c.captured_at >= %L::timestamptz',
      (SELECT min(t.occurred_at) FROM threadline.audit_transactions AS t WHERE t.id = ANY (candidates)));
  ELSIF filter ? 'row_key' THEN
    parts := ARRAY(SELECT format('c.table_id = %s AND c.key_text = %L', a.id, filter ->> 'row_key') FROM threadline.timeline_tables(filter) AS a
                    WHERE a.key_type IS NOT NULL
                   UNION ALL
                   SELECT format('c.table_id = %s AND c.key_%s = %L', a.id, a.key_type, filter ->> 'row_key') FROM threadline.timeline_tables(filter) AS a
                    WHERE CASE a.key_type WHEN 'uuid' THEN filter ->> 'row_key' ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                            WHEN 'text' THEN false
                            ELSE filter ->> 'row_key' ~ '^-?[0-9]{1,19}$' AND (filter ->> 'row_key')::numeric BETWEEN
                              CASE a.key_type WHEN 'integer' THEN -2147483648 ELSE -9223372036854775808 END AND
                              CASE a.key_type WHEN 'integer' THEN 2147483647 ELSE 9223372036854775807 END END);
  ELSE
    parts := ARRAY(SELECT format('c.table_id = %s', a.id) FROM threadline.timeline_tables(filter) AS a);
  END IF;
  IF cardinality(parts) > 0 THEN
    RETURN QUERY EXECUTE (
      SELECT format('SELECT * FROM (%s) AS c ORDER BY c.captured_at DESC, c.id DESC LIMIT %s', string_agg(format(
               '(SELECT c.* FROM threadline.audit_changes AS c LEFT JOIN threadline.audit_transactions AS t ON t.id = c.transaction_id
                  WHERE %s AND %s ORDER BY c.captured_at DESC, c.id DESC LIMIT %s)', part, condition, max_rows), ' UNION ALL '), max_rows)
        FROM unnest(parts) AS part);
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline.timeline_page(jsonb, timestamptz, bigint, integer) IS
  'The newest changes that a filter of the timeline lets through, older than a position.';

CREATE FUNCTION threadline.timeline_tables(filter jsonb) RETURNS SETOF threadline.audited_tables
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT a.* FROM threadline.audited_tables AS a
   WHERE NOT filter ? 'tables' OR a.id IN (SELECT id::integer FROM jsonb_array_elements_text(filter -> 'tables') AS id)
$function$;
COMMENT ON FUNCTION threadline.timeline_tables(jsonb) IS 'The tables that a filter of the timeline names, or all.';

-- Tables as the caller names them become the ids by which the record knows them.
CREATE FUNCTION threadline.timeline_filter(filter jsonb, tables regclass[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  unaudited regclass;
BEGIN
  IF tables IS NULL THEN
    RETURN filter;
  END IF;
  SELECT r INTO unaudited FROM unnest(tables) AS r WHERE r NOT IN (SELECT a.relation FROM threadline.audited_tables AS a) LIMIT 1;
  IF unaudited IS NOT NULL THEN
    RAISE EXCEPTION '% has no history: it is not audited', unaudited
      USING ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_filter', TABLE = unaudited::text,
        HINT = 'Put it under capture with threadline.audit_table.';
  END IF;
  RETURN filter || jsonb_build_object('tables', ARRAY(SELECT a.id FROM threadline.audited_tables AS a WHERE a.relation = ANY (tables) ORDER BY a.id));
END
$function$;
COMMENT ON FUNCTION threadline.timeline_filter(jsonb, regclass[]) IS 'A filter of the timeline with the tables in it.';

-- Plain SQL, and named with their schemas, for the planner to inline. One that gives rows it inlines whatever stands in it.
CREATE FUNCTION threadline.timeline_action(action threadline.audit_actions) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE
AS $function$
  SELECT pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('id', $1.id, 'transaction_id', $1.transaction_id, 'name', $1.name,
           'occurred_at', $1.occurred_at, 'actor_ref', $1.actor_ref, 'on_behalf_of', $1.on_behalf_of, 'status', $1.status,
           'reason', $1.reason, 'comment', $1.comment, 'correlation_id', $1.correlation_id, 'request_id', $1.request_id, 'job_id', $1.job_id))
         OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object('meta', $1.meta)
$function$;
COMMENT ON FUNCTION threadline.timeline_action(threadline.audit_actions) IS 'An action as JSON.';

CREATE FUNCTION threadline.timeline_actions(transaction_id uuid) RETURNS SETOF jsonb
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
AS $function$
  SELECT coalesce(pg_catalog.jsonb_agg(threadline.timeline_action(x) ORDER BY x.occurred_at, x.id), '[]')
    FROM threadline.audit_actions AS x WHERE x.transaction_id OPERATOR(pg_catalog.=) $1
$function$;
COMMENT ON FUNCTION threadline.timeline_actions(uuid) IS 'The actions of a transaction, in order: one JSON array.';

CREATE FUNCTION threadline.timeline_table(sample anyelement) RETURNS TABLE (schema_name text, table_name text)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1 SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
   WHERE c.oid = (SELECT y.typrelid FROM pg_type AS y WHERE y.oid = pg_typeof(sample))
$function$;
COMMENT ON FUNCTION threadline.timeline_table(anyelement) IS 'What a table is called, given a row of it.';

CREATE FUNCTION threadline.timeline(filter jsonb DEFAULT '{}', tables regclass[] DEFAULT NULL, before_at timestamptz DEFAULT NULL,
  before_id bigint DEFAULT NULL, max_rows integer DEFAULT 50)
RETURNS TABLE (schema_name text, table_name text, actions jsonb, id bigint, transaction_id uuid, op text, captured_at timestamptz,
  row_key text, moved_key text, changed_fields text[], diff jsonb, record jsonb, record_before jsonb, actor_ref jsonb, on_behalf_of jsonb,
  source text, correlation_id text, request_id text, job_id text, remote_ip inet, meta jsonb, occurred_at timestamptz, database_role text,
  application_name text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  page threadline.audit_changes[] := ARRAY(
    SELECT c FROM threadline.timeline_page(threadline.timeline_filter(timeline.filter, timeline.tables), timeline.before_at, timeline.before_id,
                                           timeline.max_rows) AS c);
  -- What a table's columns are called, and which are redacted, is known to expressions that are generated for it.
  selects text := (
    SELECT string_agg(format('SELECT c.*, %s AS diff, %s AS record, CASE WHEN c.changed_from IS NOT NULL THEN %s END AS record_before, %L, %L
                                FROM unnest($1) AS c WHERE c.table_id = %s', threadline.diff_expression(a),
             threadline.record_expression(a, 'coalesce(c.data_after, c.changed_from)'),
             threadline.record_expression(a, 'coalesce(c.data_after OPERATOR(pg_catalog.||) c.changed_from, c.changed_from)'),
             coalesce(n.nspname, a.schema_name), coalesce(r.relname, a.table_name), a.id), ' UNION ALL ')
      FROM threadline.audited_tables AS a
      LEFT JOIN pg_class AS r ON r.oid = a.relation
      LEFT JOIN pg_namespace AS n ON n.oid = r.relnamespace
     WHERE a.id IN (SELECT p.table_id FROM unnest(page) AS p));
BEGIN
  IF selects IS NULL THEN
    RETURN;
  END IF;
  RETURN QUERY EXECUTE format($sql$
    SELECT c.schema_name, c.table_name,
           (SELECT x.actions FROM threadline.timeline_actions(c.transaction_id) AS x (actions)),
           c.id, c.transaction_id, c.op, c.captured_at,
           coalesce(c.key_integer::text, c.key_bigint::text, c.key_uuid::text, c.key_text), c.moved_key,
           ARRAY(SELECT jsonb_object_keys(coalesce(c.changed_from, c.data_after))), c.diff, c.record, c.record_before,
           CASE WHEN c.context IS NULL THEN t.actor_ref ELSE c.context -> 'actor_ref' END,
           CASE WHEN c.context IS NULL THEN t.on_behalf_of ELSE c.context -> 'on_behalf_of' END,
           CASE WHEN c.context IS NULL THEN t.source ELSE c.context ->> 'source' END,
           CASE WHEN c.context IS NULL THEN t.correlation_id ELSE c.context ->> 'correlation_id' END,
           CASE WHEN c.context IS NULL THEN t.request_id ELSE c.context ->> 'request_id' END,
           CASE WHEN c.context IS NULL THEN t.job_id ELSE c.context ->> 'job_id' END,
           CASE WHEN c.context IS NULL THEN t.remote_ip ELSE (c.context ->> 'remote_ip')::inet END,
           CASE WHEN c.context IS NULL THEN t.meta ELSE c.context -> 'meta' END,
           t.occurred_at, t.database_role, t.application_name
      FROM (%s) AS c (id, transaction_id, table_id, op, captured_at, key_integer, key_bigint, key_uuid, key_text, moved_key, data_after,
                      changed_from, context, diff, record, record_before, schema_name, table_name)
      LEFT JOIN threadline.audit_transactions AS t ON t.id = c.transaction_id
     ORDER BY c.captured_at DESC, c.id DESC$sql$, selects) USING page;
END
$function$;
COMMENT ON FUNCTION threadline.timeline(jsonb, regclass[], timestamptz, bigint, integer) IS
  'A page of the changes that a filter lets through, newest first, each with its transaction and the actions of that; older than a position.';

CREATE FUNCTION threadline.timeline_count(filter jsonb DEFAULT '{}', tables regclass[] DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
DECLARE
  resolved jsonb := threadline.timeline_filter(filter, tables);
  total bigint;
BEGIN
  EXECUTE (SELECT format('SELECT count(*) FROM (%s) AS c', string_agg(format(
             'SELECT FROM threadline.audit_changes AS c LEFT JOIN threadline.audit_transactions AS t ON t.id = c.transaction_id
               WHERE %s AND %s', part, threadline.timeline_condition(resolved)), ' UNION ALL '))
             FROM unnest(threadline.timeline_parts(resolved, format('IN (%s)', threadline.timeline_transactions(resolved)))) AS part) INTO total;
  RETURN total;
END
$function$;
COMMENT ON FUNCTION threadline.timeline_count(jsonb, regclass[]) IS 'How many changes a filter of the timeline lets through.';

-- The audit transactions and the actions as such, newest first. Their ids are UUIDs of version 7, so the order of the ids is
-- that of time, and the position of a page is an id.

CREATE INDEX audit_actions_actor_ref_idx ON threadline.audit_actions (actor_ref, transaction_id);
COMMENT ON INDEX threadline.audit_actions_actor_ref_idx IS 'The actions of an actor, by the time their transactions began.';
CREATE INDEX audit_actions_on_behalf_of_idx ON threadline.audit_actions (on_behalf_of, transaction_id) WHERE on_behalf_of IS NOT NULL;
COMMENT ON INDEX threadline.audit_actions_on_behalf_of_idx IS 'The actions that were for someone, by the time their transactions began.';
CREATE INDEX audit_actions_name_id_idx ON threadline.audit_actions (name, id);
COMMENT ON INDEX threadline.audit_actions_name_id_idx IS 'The actions of a name, by the time they were recorded.';
CREATE INDEX audit_actions_actor_ref_id_idx ON threadline.audit_actions (actor_ref, id);
COMMENT ON INDEX threadline.audit_actions_actor_ref_id_idx IS 'The actions of an actor, by the time they were recorded.';
CREATE INDEX audit_actions_correlation_id_id_idx ON threadline.audit_actions (correlation_id, id) WHERE correlation_id IS NOT NULL;
COMMENT ON INDEX threadline.audit_actions_correlation_id_id_idx IS 'The actions of a business process, by the time they were recorded.';

-- What the filters `from` and `to`, and the position of a page, say of a column of ids: in every place where an index has one.
CREATE FUNCTION threadline.timeline_ids(id_column text, filter jsonb, before_id uuid) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
  SELECT concat(
    CASE WHEN filter ? 'from' THEN format(' AND %s >= %L::uuid', id_column, threadline.first_id_after((filter ->> 'from')::timestamptz - interval '1 us')) END,
    CASE WHEN filter ? 'to' THEN format(' AND %s < %L::uuid', id_column, threadline.first_id_after((filter ->> 'to')::timestamptz)) END,
    CASE WHEN before_id IS NOT NULL THEN format(' AND %s < %L::uuid', id_column, before_id) END)
$function$;
COMMENT ON FUNCTION threadline.timeline_ids(text, jsonb, uuid) IS 'SQL for the ids between two times and before a position.';

CREATE FUNCTION threadline.timeline_value(filter jsonb, key text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT CASE key WHEN 'correlation_id' THEN format('%L', filter ->> key) ELSE format('%L::jsonb', filter -> key) END
$function$;
COMMENT ON FUNCTION threadline.timeline_value(jsonb, text) IS 'SQL for what a filter asks for.';

CREATE FUNCTION threadline.timeline_nested(filter jsonb, key text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('c.context IS NOT NULL AND (c.context %s %L) = %s', CASE key WHEN 'correlation_id' THEN '->>' ELSE '->' END, key,
    threadline.timeline_value(filter, key))
$function$;
COMMENT ON FUNCTION threadline.timeline_nested(jsonb, text) IS 'SQL for the changes that a filter names by a context of their own.';

-- What a transaction t has to be, but for the part of the filter that is seen to already. It is an actor's who began it, who
-- changed something in it in a nested audited transaction, or who recorded an action in it; so is a correlation id.
-- OFFSET 0: each is looked up, where otherwise everything of a busy actor might be collected first.
CREATE FUNCTION threadline.timeline_transaction_condition(filter jsonb, seen_to text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(string_agg(CASE k
      WHEN 'action' THEN format('EXISTS (SELECT FROM threadline.audit_actions AS x WHERE x.transaction_id = t.id AND x.name = %L OFFSET 0)', filter ->> k)
      WHEN 'from' THEN format('t.occurred_at >= %L::timestamptz', filter ->> k)
      WHEN 'to' THEN format('t.occurred_at <= %L::timestamptz', filter ->> k)
      WHEN 'transaction_id' THEN format('t.id = %L::uuid', filter ->> k)
      ELSE format('(t.%1$s = %2$s OR EXISTS (SELECT FROM threadline.audit_actions AS x WHERE x.transaction_id = t.id AND x.%1$s = %2$s OFFSET 0)
        OR EXISTS (SELECT FROM threadline.audit_changes AS c WHERE c.transaction_id = t.id AND c.captured_at >= t.occurred_at AND %3$s OFFSET 0))',
        k, threadline.timeline_value(filter, k), threadline.timeline_nested(filter, k)) END, E'\n   AND ' ORDER BY k), 'true')
    FROM jsonb_object_keys(filter) AS k WHERE k IS DISTINCT FROM seen_to
$function$;
COMMENT ON FUNCTION threadline.timeline_transaction_condition(jsonb, text) IS
  'SQL for the transactions that a filter lets through, but for one part of it.';

-- Of the transactions with changes that carry such a context, the newest. The changes are gone through from the newest, in the
-- order of their index. One not met by then has none that is newer, so it began no later than the oldest of them, and those
-- met that began after that are the newest. The changes of transactions that began by `until` are
-- younger than that by 125 ms at most, or it was noted as a long one: see threadline.long_transactions.
CREATE FUNCTION threadline.timeline_nested_transactions(nested text, condition text, since timestamptz, until timestamptz, max_rows integer)
RETURNS uuid[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  at timestamptz := until + interval '125 ms';
  id bigint := 9223372036854775807;
  step integer := max_rows + 50;
  long uuid[] := ARRAY(
    SELECT l.transaction_id FROM generate_series(1, (SELECT max(octave) FROM threadline.long_transactions)) AS o (octave)
      JOIN threadline.long_transactions AS l ON l.octave = o.octave AND l.occurred_at <= until AND l.occurred_at > at - interval '125 ms' * power(2, o.octave)
     WHERE isfinite(until));
  candidates uuid[] := '{}';
  found uuid[];
  met bigint;
  enough boolean;
BEGIN
  IF long <> '{}' THEN
    EXECUTE format('SELECT array_agg(DISTINCT c.transaction_id) FROM threadline.audit_changes AS c WHERE c.transaction_id = ANY ($1) AND c.captured_at > $2 AND %s', nested)
      INTO candidates USING long, at;
  END IF;
  LOOP
    EXECUTE format('SELECT array_agg(DISTINCT n.transaction_id), count(*), min(n.captured_at), (array_agg(n.id ORDER BY n.captured_at, n.id))[1] FROM (
        SELECT c.transaction_id, c.captured_at, c.id FROM threadline.audit_changes AS c
         WHERE %s AND c.captured_at >= $1 AND c.captured_at <= $2 AND (c.captured_at, c.id) < ($2, $3)
         ORDER BY c.captured_at DESC, c.id DESC LIMIT $4) AS n', nested)
      INTO found, met, at, id USING since, at, id, step;
    EXIT WHEN found IS NULL;
    candidates := ARRAY(SELECT unnest(candidates) UNION SELECT unnest(found));
    EXIT WHEN met < step;
    EXECUTE format('SELECT count(*) >= $3 FROM (SELECT FROM threadline.audit_transactions AS t WHERE t.id = ANY ($1) AND t.occurred_at > $2 AND %s LIMIT $3) AS n',
      condition) INTO enough USING candidates, at, max_rows;
    EXIT WHEN enough;
    step := least(step * 2, 10000);
  END LOOP;
  EXECUTE format('SELECT array_agg(n.id) FROM (SELECT t.id FROM threadline.audit_transactions AS t WHERE t.id = ANY ($1) AND %s ORDER BY t.id DESC LIMIT $2) AS n',
    condition) INTO found USING candidates, max_rows;
  RETURN coalesce(found, '{}');
END
$function$;
COMMENT ON FUNCTION threadline.timeline_nested_transactions(text, text, timestamptz, timestamptz, integer) IS
  'The newest transactions that have a change with a context of its own.';

-- One part of the filter, the most telling one, says where to look, in the order of an index in each place; the newest of all.
CREATE FUNCTION threadline.timeline_of_transactions(filter jsonb DEFAULT '{}', before_id uuid DEFAULT NULL, max_rows integer DEFAULT 50)
RETURNS TABLE (id uuid, occurred_at timestamptz, actor_ref jsonb, on_behalf_of jsonb, source text, correlation_id text, request_id text,
  job_id text, remote_ip inet, meta jsonb, database_role text, application_name text, actions jsonb)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
#variable_conflict use_column
DECLARE
  telling text := (SELECT k FROM unnest(ARRAY['transaction_id', 'action', 'correlation_id', 'on_behalf_of', 'actor_ref']) WITH ORDINALITY AS k (k, n)
                    WHERE filter ? k ORDER BY n LIMIT 1);
  condition text;
  began text := CASE WHEN telling IS NULL THEN 'true' WHEN telling = 'transaction_id' THEN format('t.id = %L::uuid', filter ->> telling)
    ELSE format('t.%s = %s', telling, threadline.timeline_value(filter, telling)) END;
  recorded text := CASE WHEN telling = 'action' THEN format('x.name = %L', filter ->> telling)
    ELSE format('x.%s = %s', telling, threadline.timeline_value(filter, telling)) END;
  newest uuid[];
BEGIN
  PERFORM threadline.timeline_refuse_unknown(filter, ARRAY['action', 'actor_ref', 'correlation_id', 'from', 'on_behalf_of', 'to', 'transaction_id']);
  condition := threadline.timeline_transaction_condition(filter, telling) || threadline.timeline_ids('t.id', filter, before_id);
  EXECUTE format('SELECT array_agg(n.id) FROM (SELECT f.id FROM (%s) AS f ORDER BY f.id DESC LIMIT $1) AS n', concat_ws(' UNION ',
      CASE WHEN telling IS DISTINCT FROM 'action' THEN
        format('(SELECT t.id FROM threadline.audit_transactions AS t WHERE %s AND %s ORDER BY t.id DESC LIMIT $1)', began, condition) END,
      CASE WHEN telling <> 'transaction_id' THEN
        format('(SELECT DISTINCT t.id FROM threadline.audit_actions AS x JOIN threadline.audit_transactions AS t ON t.id = x.transaction_id
                  WHERE %s%s AND %s ORDER BY t.id DESC LIMIT $1)', recorded, threadline.timeline_ids('x.transaction_id', filter, before_id), condition) END))
    INTO newest USING max_rows;
  IF telling IN ('correlation_id', 'on_behalf_of', 'actor_ref') THEN
    newest := newest || threadline.timeline_nested_transactions(threadline.timeline_nested(filter, telling), condition,
      -- What began before all that are wanted is not.
      greatest('-infinity', (filter ->> 'from')::timestamptz,
               (SELECT t.occurred_at FROM threadline.audit_transactions AS t WHERE t.id = newest[max_rows])),
      -- To the millisecond that its id is of.
      least('infinity', (filter ->> 'to')::timestamptz,
            to_timestamp((('x' || left(replace(before_id::text, '-', ''), 12))::bit(48)::bigint + 1) / 1000.0)), max_rows);
  END IF;
  RETURN QUERY
    SELECT t.id, t.occurred_at, t.actor_ref, t.on_behalf_of, t.source, t.correlation_id, t.request_id, t.job_id, t.remote_ip, t.meta, t.database_role,
           t.application_name, (SELECT x.actions FROM threadline.timeline_actions(t.id) AS x (actions))
      FROM threadline.audit_transactions AS t WHERE t.id = ANY (newest) ORDER BY t.id DESC LIMIT max_rows;
END
$function$;
COMMENT ON FUNCTION threadline.timeline_of_transactions(jsonb, uuid, integer) IS
  'A page of the audit transactions that a filter lets through, newest first, each with its actions; older than a position.';

CREATE FUNCTION threadline.timeline_of_actions(filter jsonb DEFAULT '{}', before_id uuid DEFAULT NULL, max_rows integer DEFAULT 50)
RETURNS SETOF threadline.audit_actions
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
BEGIN
  PERFORM threadline.timeline_refuse_unknown(filter, ARRAY['action_id', 'actor_ref', 'correlation_id', 'from', 'name', 'to']);
  RETURN QUERY EXECUTE concat('SELECT x.* FROM threadline.audit_actions AS x WHERE true', threadline.timeline_ids('x.id', filter, before_id),
    CASE WHEN filter ? 'action_id' THEN format(' AND x.id = %L::uuid', filter ->> 'action_id') END,
    CASE WHEN filter ? 'actor_ref' THEN format(' AND x.actor_ref = %L::jsonb', filter -> 'actor_ref') END,
    CASE WHEN filter ? 'correlation_id' THEN format(' AND x.correlation_id = %L', filter ->> 'correlation_id') END,
    CASE WHEN filter ? 'name' THEN format(' AND x.name = %L', filter ->> 'name') END,
    CASE WHEN filter ? 'from' THEN format(' AND x.occurred_at >= %L::timestamptz', filter ->> 'from') END,
    CASE WHEN filter ? 'to' THEN format(' AND x.occurred_at <= %L::timestamptz', filter ->> 'to') END,
    ' ORDER BY x.id DESC LIMIT $1') USING max_rows;
END
$function$;
COMMENT ON FUNCTION threadline.timeline_of_actions(jsonb, uuid, integer) IS
  'A page of the recorded actions that a filter lets through, newest first; older than a position.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA threadline FROM PUBLIC;
