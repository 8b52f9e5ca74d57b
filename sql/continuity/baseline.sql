-- Continuity: what is known of tables that had rows before their capture began, and baselines, which record those rows.
--  A row without a recorded change since capture began stands as it did then. So whatever ordinary reading finds of it
-- is what it was at that moment, to the value, without a lock and beside writers: a transaction in flight that changes
-- it has committed neither the row nor the change. Its captured_at is the time it was recorded nevertheless, for
-- nothing in the audit log is back-dated.

-- The key in the order of its index. Where the table was gone through to is kept as JSON, and read back as the types of
-- the key; jsonb alone is taken out as it is, for there JSON null is a value.
CREATE FUNCTION threadline_internal.baseline_key(relation regclass)
RETURNS TABLE (number bigint, name text, declaration text, kept text, equals text, reaches text, follows text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT k.number, a.attname, d.declaration,
         CASE WHEN coalesce(nullif(y.typbasetype, 0), y.oid) = 'jsonb'::regtype THEN format('($1 -> %L)::%s',
           a.attname, d.type)
           ELSE format('(SELECT p.%I FROM jsonb_to_record($1) AS p (%s))', a.attname, d.declaration) END,
         o.operators[3], o.operators[4], o.operators[5]
    FROM pg_index AS i
   CROSS JOIN LATERAL unnest(i.indkey::smallint[], i.indclass::oid[]) WITH ORDINALITY AS k (attnum, opclass, number)
    JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    JOIN pg_type AS y ON y.oid = a.atttypid
    LEFT JOIN pg_collation AS l ON l.oid = a.attcollation
    JOIN pg_opclass AS c ON c.oid = k.opclass
    JOIN pg_am AS m ON m.oid = c.opcmethod AND m.amname = 'btree'
   CROSS JOIN LATERAL (SELECT array_agg(format('OPERATOR(%I.%s)', n.nspname, e.oprname) ORDER BY s.amopstrategy)
     AS operators
                         FROM pg_amop AS s
                         JOIN pg_operator AS e ON e.oid = s.amopopr
                         JOIN pg_namespace AS n ON n.oid = e.oprnamespace
                        WHERE s.amopfamily = c.opcfamily AND s.amoplefttype = c.opcintype
                          AND s.amoprighttype = c.opcintype
                          AND s.amoppurpose = 's') AS o
   CROSS JOIN LATERAL (SELECT t.type, concat(quote_ident(a.attname), ' ', t.type,
     ' COLLATE ' || quote_ident(l.collnamespace::regnamespace::text) || '.' || quote_ident(l.collname)) AS declaration
                         FROM (SELECT threadline_internal.type_name(a.atttypid, a.atttypmod) AS type) AS t) AS d
   WHERE i.indrelid = baseline_key.relation AND i.indisprimary AND k.number <= i.indnkeyatts
   ORDER BY k.number
$function$;
COMMENT ON FUNCTION threadline_internal.baseline_key(regclass) IS
  'SQL for the columns of a primary key: as they are declared, as they are taken out of a position, and how they '
  'are compared. Empty for a key without an order.';

-- The statement of one batch: $1 is the position to go on behind, $2 how many rows to go past, $3 the moment, $4 the
-- time now, $5 and $6 the redaction. The rows are looked up in the audit log one by one, by OFFSET 0: joined as a
-- whole, a batch would read all of it. To statistics that know of no change of the table yet, its index by time looks
-- as good as that of its key, and would be gone through whole for each row. So they are neither shown which table it
-- is, by SELECT, nor given a time to look for, by IS TRUE.
CREATE FUNCTION threadline_internal.baseline_statement(audited threadline.audited_tables, begun boolean) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format($sql$WITH batch AS MATERIALIZED (
    SELECT t.* FROM %s AS t%s ORDER BY %s LIMIT $2
  ), recorded AS (
    %s
    RETURNING 1
  )
  SELECT count(*), (SELECT count(*) FROM recorded),
         (SELECT jsonb_build_object(%s) FROM batch AS t ORDER BY %s LIMIT 1) FROM batch$sql$,
    concat(CASE WHEN (SELECT relkind FROM pg_class WHERE oid = audited.relation) <> 'p' THEN 'ONLY ' END,
      audited.relation),
    CASE WHEN begun THEN ' WHERE ' || k.behind END, k.ascending,
    threadline_internal.record_rows(audited, '''snapshot''', 'key', 'NULL::jsonb', 'image', 'NULL',
      format('SELECT r.* FROM (%s) AS r WHERE NOT EXISTS (SELECT FROM threadline.audit_changes AS c WHERE c.table_id = (SELECT %s) AND %s AND (c.captured_at >= $3) IS TRUE OFFSET 0)',
        threadline_internal.image_rows(audited, 'r.*', ' FROM batch AS r', '$5', '$6'), audited.id,
        CASE audited.key_type WHEN 'text'
          THEN $sql$c.key_text = (r.key #>> '{}') AND left(c.key_text, 500) = left(r.key #>> '{}', 500)$sql$
          ELSE format('c.key_%s = %s', audited.key_type, threadline_internal.typed_key(audited.key_type,
            'r.key')) END), '$4'),
    k.position, k.descending)
    FROM (SELECT string_agg(format('t.%I', name), ', ' ORDER BY number) AS ascending,
                 string_agg(format('t.%I DESC', name), ', ' ORDER BY number) AS descending,
                 string_agg(format('%1$L, t.%1$I', name), ', ' ORDER BY number) AS position,
                 -- A comparison of rows reaches all columns of the index, but has one operator for all. Where the types
                 -- have operators of different schemas, the first column reaches it alone.
                 CASE WHEN count(DISTINCT follows) = 1
                   THEN format('ROW(%s) %s ROW(%s)', string_agg(format('t.%I', name), ', ' ORDER BY number),
                     min(follows), string_agg(kept, ', ' ORDER BY number))
                   ELSE format('%s AND (%s)', min(format('t.%I %s %s', name, reaches, kept)) FILTER (WHERE number = 1),
                     string_agg(
                     (SELECT string_agg(format('t.%I %s %s', e.name, CASE e.number WHEN b.number THEN e.follows
                       ELSE e.equals END, e.kept), ' AND ' ORDER BY e.number)
                        FROM threadline_internal.baseline_key(audited.relation) AS e WHERE e.number <= b.number),
                          ' OR ')) END AS behind
            FROM threadline_internal.baseline_key(audited.relation) AS b) AS k
$function$;
COMMENT ON FUNCTION threadline_internal.baseline_statement(threadline.audited_tables, boolean) IS
  'SQL that records a batch of rows as snapshots, from the beginning of the table or from where it begun to.';

-- What readable_since does not ask: there it is the reading functions that must be of the present table.
CREATE FUNCTION threadline_internal.why_no_baseline(audited threadline.audited_tables, OUT reason text, OUT advice text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF audited.key_type IS NULL THEN
    reason := 'it has no primary key';
    advice := 'Its changes are recorded, but not told by row: add a primary key, and call threadline.refresh_audited_tables().';
  ELSIF threadline_internal.describe_table(audited.relation, audited.definition) <> audited.definition
    OR (SELECT k.columns FROM threadline_internal.primary_key(audited.relation) AS k) <> audited.key_columns THEN
    reason := 'its columns, its key or its partitions are not those that its capture was defined for';
    advice := 'Call threadline.refresh_audited_tables(), best in the migration that changes them.';
  ELSIF NOT EXISTS (SELECT FROM threadline_internal.baseline_key(audited.relation)) THEN
    reason := 'its primary key has no order';
    advice := 'Only a key with a btree index can be gone through in batches.';
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.why_no_baseline(threadline.audited_tables) IS
  'Why the rows of an audited table cannot be recorded as snapshots, and what to do about it; NULL where nothing is '
  'in the way.';

-- Runs under the settings of capture, and with the rights of the caller: that is the owner of the audit log. Writers
-- are not blocked, nor waited for; whoever defines the capture of the table anew waits for a batch, and so does another
-- baseline of it.
CREATE FUNCTION threadline.baseline_step(relation regclass, actor_ref jsonb, reason text,
  batch_size integer DEFAULT 1000,
  OUT as_of timestamptz, OUT passed bigint, OUT recorded bigint, OUT total_passed bigint, OUT total_recorded bigint,
  OUT row_estimate bigint, OUT finished boolean, OUT action_id uuid)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
  SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C' SET row_security = off
  SET enable_seqscan = off
AS $function$
#variable_conflict use_column
DECLARE
  audited threadline.audited_tables;
  done threadline.baselines;
  order_now text;
  redacted record;
  said text := coalesce(current_setting('threadline.actor_ref', true), '');
  actor jsonb := threadline_internal.read_actor(coalesce(baseline_step.actor_ref::text, nullif(said, '')));
  refusal text;
  hint text;
BEGIN
  IF actor IS NULL THEN
    RAISE EXCEPTION 'nobody is known who does threadline.baseline'
      USING ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_missing_actor',
        HINT = 'Name the actor, like {"type": "user", "id": "123"}, or set threadline.actor_ref in the transaction.';
  ELSIF threadline_internal.is_blank(baseline_step.reason) THEN
    RAISE EXCEPTION 'threadline.baseline needs a reason'
      USING ERRCODE = 'check_violation', CONSTRAINT = 'threadline_reason_required', DETAIL = 'threadline.baseline',
        HINT = 'Say why: whoever finds the snapshots in the audit log reads it.';
  END IF;
  -- Neither may the definition change meanwhile, nor another baseline go through the same rows.
  SELECT t.* INTO audited FROM threadline.audited_tables AS t
    WHERE t.relation = baseline_step.relation FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    refusal := 'it is not audited';
    hint := 'Put it under capture with threadline.audit_table: what it holds then is what a baseline records.';
  ELSIF coalesce(batch_size, 0) < 1 THEN
    refusal := 'a batch has at least one row';
    hint := 'Leave batch_size out, or name a number from 1 on.';
  ELSE
    -- Whatever keeps the past from being read keeps it from being recorded.
    PERFORM threadline_internal.readable_since(audited.id, threadline_internal.table_shape(audited.relation));
    SELECT o.reason, o.advice INTO refusal, hint FROM threadline_internal.why_no_baseline(audited) AS o;
  END IF;
  IF refusal IS NOT NULL THEN
    RAISE EXCEPTION 'cannot record a baseline of %: %', coalesce(relation::text, 'NULL'), refusal
      USING ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_refused', HINT = hint;
  END IF;

  as_of := greatest(audited.capture_since, audited.purged_before);
  row_estimate := threadline_internal.row_estimate(audited.relation);
  SELECT string_agg(k.declaration, ', ' ORDER BY k.number) INTO order_now
    FROM threadline_internal.baseline_key(audited.relation) AS k;
  SELECT b.* INTO done FROM threadline.baselines AS b WHERE b.table_id = audited.id AND b.as_of = baseline_step.as_of;
  IF done.finished_at IS NULL AND done.key_order <> order_now THEN
    done.position := NULL;
    done.passed := 0;
  END IF;
  passed := 0;
  recorded := 0;
  action_id := done.action_id;
  IF done.finished_at IS NULL THEN
    IF baseline_step.actor_ref IS NOT NULL THEN
      PERFORM set_config('threadline.actor_ref', actor::text, true);
    END IF;
    SELECT r.excluded, r.mask INTO redacted FROM threadline_internal.redaction(audited.id) AS r;
    EXECUTE threadline_internal.baseline_statement(audited, done.position IS NOT NULL) INTO passed, recorded,
      done.position
      USING done.position, batch_size, as_of, clock_timestamp(), redacted.excluded, redacted.mask;
    -- Who goes on with what another began, or for another reason, is told by an action of their own.
    IF EXISTS (SELECT FROM threadline.audit_actions AS a WHERE a.id = done.action_id AND a.actor_ref = actor
      AND a.reason = baseline_step.reason) THEN
      IF recorded > 0 THEN
        PERFORM threadline_internal.add_to_action(action_id, jsonb_build_object('changes', recorded));
      END IF;
    ELSE
      SELECT a.id INTO action_id FROM threadline.record_action('threadline.baseline', reason => baseline_step.reason,
        meta => jsonb_build_object('table', audited.relation::text, 'as_of', as_of, 'changes', recorded)) AS a;
    END IF;
    PERFORM set_config('threadline.actor_ref', said, true);
  END IF;
  finished := done.finished_at IS NOT NULL OR passed < batch_size;
  total_passed := coalesce(done.passed, 0) + passed;
  total_recorded := coalesce(done.recorded, 0) + recorded;
  IF done.finished_at IS NULL THEN
    INSERT INTO threadline.baselines AS b (table_id, as_of, key_order, position, passed, recorded, started_at,
      finished_at, action_id)
    VALUES (audited.id, baseline_step.as_of, order_now, done.position, total_passed, total_recorded, clock_timestamp(),
      CASE WHEN finished THEN clock_timestamp() END, baseline_step.action_id)
    ON CONFLICT (table_id, as_of) DO UPDATE
      -- The last batch may be empty, and the position stays what it was.
      SET key_order = excluded.key_order, position = coalesce(excluded.position, b.position), passed = excluded.passed,
          recorded = excluded.recorded, finished_at = excluded.finished_at, action_id = excluded.action_id;
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline.baseline_step(regclass, jsonb, text, integer) IS
  'Goes past so many rows of a table in the order of its key, and records those without a change as snapshots; to '
  'be called, each time in a transaction of its own, until it is finished. It goes on where it, or a call before '
  'it, ended.';
