-- Redaction after the fact: values that must no longer be in the record are taken out of it, a batch of changes at a time.
-- Only the owner of the record may do it, and it stands in the record who did, why, and how much.

-- As threadline.redaction judges it at every write, and the constraints of a domain.
CREATE FUNCTION threadline.holds_placeholder(relation regclass, column_name text) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  column_type text;
  fits boolean;
BEGIN
  SELECT threadline.type_name(a.atttypid, a.atttypmod), t.typcategory = 'S' INTO column_type, fits
    FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
   WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attname = column_name;
  IF fits THEN
    EXECUTE format('SELECT CAST(%L AS %s)::text = %1$L', '[REDACTED]', column_type) INTO fits;
  END IF;
  RETURN coalesce(fits, false);
EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
  RETURN false;
END
$function$;
COMMENT ON FUNCTION threadline.holds_placeholder(regclass, text) IS 'Whether a column can hold the placeholder [REDACTED].';

CREATE FUNCTION threadline.generated_from(relation regclass, columns text[], OUT generated text, OUT source text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT g.attname, a.attname
    FROM pg_attribute AS g
    JOIN pg_attrdef AS d ON d.adrelid = g.attrelid AND d.adnum = g.attnum
    JOIN pg_depend AS p ON p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid AND p.refobjid = relation
    JOIN pg_attribute AS a ON a.attrelid = relation AND a.attnum = p.refobjsubid AND a.attname = ANY (columns)
   WHERE g.attrelid = relation AND g.attgenerated = 's' AND g.attname <> ALL (columns)
   ORDER BY g.attnum, a.attnum LIMIT 1
$function$;
COMMENT ON FUNCTION threadline.generated_from(regclass, text[]) IS
  'A stored generated column that tells what is in one of these columns, and is none of them.';

CREATE FUNCTION threadline.refuse_redaction(table_name text, reason text, hint text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RAISE EXCEPTION 'cannot redact %: %', table_name, reason
    USING ERRCODE = 'invalid_parameter_value', HINT = hint, CONSTRAINT = 'threadline_refused', TABLE = table_name;
END
$function$;
COMMENT ON FUNCTION threadline.refuse_redaction(text, text, text) IS 'Raises the error of a redaction that cannot be done as asked.';

-- The table with what its columns are called at this moment: a column that was renamed since the last refresh stands under
-- its former name in all that was recorded before.
CREATE FUNCTION threadline.redactable_table(relation regclass) RETURNS threadline.audited_tables
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  audited threadline.audited_tables;
BEGIN
  SELECT * INTO audited FROM threadline.audited_tables AS t WHERE t.relation = redactable_table.relation;
  IF NOT FOUND THEN
    PERFORM threadline.refuse_redaction(coalesce(relation::text, 'NULL'), 'nothing of it is recorded',
      'See threadline.audited_tables; a table that is gone is named by the number that stands there for it.');
  ELSIF EXISTS (SELECT FROM pg_class AS c WHERE c.oid = relation) THEN
    audited.definition := threadline.describe_table(relation, audited.definition);
    audited.key_columns := coalesce((SELECT nullif(k.columns, '{}') FROM threadline.primary_key(relation) AS k), audited.key_columns);
  END IF;
  -- Where rows of the past are told by what is in them, one that is redacted could not be told from one that never was.
  IF audited.key_type IS NULL OR EXISTS (SELECT FROM threadline.recorded_key_columns(audited) AS k WHERE k.recorded IS NULL) THEN
    PERFORM threadline.refuse_redaction(relation::text, 'its rows have no primary key by which the past knows them',
      'Give the table a primary key, not of one jsonb column, and refresh its capture.');
  END IF;
  RETURN audited;
END
$function$;
COMMENT ON FUNCTION threadline.redactable_table(regclass) IS
  'A table whose record is to be redacted, with the present names of its columns; raises an error if it cannot be.';

-- The changes of one record, from a position on. Found as the timeline finds them, through the indexes of the keys.
CREATE FUNCTION threadline.redactable_changes(table_id integer, row_key text, after_at timestamptz DEFAULT NULL, after_id bigint DEFAULT NULL,
  max_rows integer DEFAULT NULL) RETURNS SETOF threadline.audit_changes
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET enable_seqscan = off SET jit = off
AS $function$
DECLARE
  position text := CASE WHEN after_at IS NOT NULL THEN
    format(' AND c.captured_at >= %1$L::timestamptz AND (c.captured_at, c.id) > (%1$L::timestamptz, %2$s)', after_at, after_id) END;
  -- Without a limit, LIMIT NULL.
  -- The text decides, as for holds: 007 is no key, although it is found by the index of integers.
  changes text := format('SELECT c.* FROM threadline.audit_changes AS c WHERE %%s AND coalesce(c.key_integer::text, c.key_bigint::text, c.key_uuid::text, c.key_text) = %s%s ORDER BY c.captured_at, c.id LIMIT %s',
    replace(quote_nullable(row_key), '%', '%%'), position, quote_nullable(max_rows));
BEGIN
  RETURN QUERY EXECUTE (SELECT format('SELECT * FROM (%s) AS c ORDER BY c.captured_at, c.id LIMIT %s', string_agg(s, ' UNION ALL '), quote_nullable(max_rows))
    FROM threadline.timeline_sources(jsonb_build_object('tables', ARRAY[table_id], 'row_key', row_key), changes, 1) AS s);
END
$function$;
COMMENT ON FUNCTION threadline.redactable_changes(integer, text, timestamptz, bigint, integer) IS 'Changes of one record, oldest first, after a position.';

-- What an image has under the present names: each of them with the name it was recorded under.
CREATE FUNCTION threadline.recorded_names(change threadline.audit_changes, renames jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  -- Of both images, since which names there are decides how old they are.
  SELECT threadline.timeline_renamed(coalesce(jsonb_object_agg(k, k), '{}'), change.id, renames)
    FROM jsonb_object_keys(coalesce(change.data_after, '{}') || coalesce(change.changed_from, '{}')) AS k
$function$;
COMMENT ON FUNCTION threadline.recorded_names(threadline.audit_changes, jsonb) IS
  'The present names of what a change has recorded, each with the name it was recorded under.';

-- `names` says which of the present names are to be redacted: each with the column that it is, or was. A key is never added
-- to an image, and none is taken away: that a field changed stays known, and a column that was added later would be read as its default.
CREATE FUNCTION threadline.redacted_change(change threadline.audit_changes, renames jsonb, names jsonb, replacements jsonb,
  OUT data_after jsonb, OUT changed_from jsonb, OUT replaced text[])
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT change.data_after || coalesce(jsonb_object_agg(r.recorded, r.value) FILTER (WHERE r.is_after), '{}'),
         change.changed_from || coalesce(jsonb_object_agg(r.recorded, r.value) FILTER (WHERE r.is_from), '{}'),
         coalesce(array_agg(r.name) FILTER (WHERE r.is_after), '{}') || coalesce(array_agg(r.name) FILTER (WHERE r.is_from), '{}')
    FROM (SELECT n.recorded, names ->> n.name AS name, v.value,
                 coalesce(change.data_after -> n.recorded <> v.value, false) AS is_after,
                 coalesce(change.changed_from -> n.recorded <> v.value, false) AS is_from
            FROM (SELECT n.key, n.value FROM jsonb_each_text(threadline.recorded_names(change, renames)) AS n
                  UNION
                  -- Of an image that has both names of a renaming it is not known how old it is: see threadline.former_names. The
                  -- older name may be that of another column today; here it is redacted with the one that it was.
                  SELECT o.value, o.key
                    FROM jsonb_array_elements(renames) AS s (step)
                   CROSS JOIN jsonb_each_text(s.step -> 'names') AS o
                   CROSS JOIN LATERAL (SELECT coalesce(change.data_after, '{}') || coalesce(change.changed_from, '{}') AS image,
                                              ARRAY(SELECT jsonb_object_keys(s.step -> 'names')) AS old_names,
                                              ARRAY(SELECT value FROM jsonb_each_text(s.step -> 'names')) AS new_names) AS i
                   WHERE change.id <= (s.step ->> 'until')::bigint AND i.image ? o.key AND i.image ?| i.new_names AND NOT i.new_names <@ i.old_names
                 ) AS n (name, recorded)
           CROSS JOIN LATERAL (SELECT replacements -> (names ->> n.name) AS value) AS v
           WHERE names ? n.name) AS r
$function$;
COMMENT ON FUNCTION threadline.redacted_change(threadline.audit_changes, jsonb, jsonb, jsonb) IS
  'The images of a change with values replaced, and the column of each value that was.';

-- What columns are called in older images, see threadline.former_names, with the column that each is now.
CREATE FUNCTION threadline.redactable_names(audited threadline.audited_tables, columns text[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce((SELECT jsonb_object_agg(f, c) FROM unnest(columns) AS c CROSS JOIN LATERAL unnest(threadline.former_names(audited, ARRAY[c])) AS f), '{}')
         || (SELECT jsonb_object_agg(c, c) FROM unnest(columns) AS c)
$function$;
COMMENT ON FUNCTION threadline.redactable_names(threadline.audited_tables, text[]) IS
  'The names that columns have in images under the present names, and what each of them is called now.';

-- What is to stand in place of the values of a column: as the record would have it, and as every reading of the past takes it. One
-- value that is none of the column's type would break the past of the whole table.
CREATE FUNCTION threadline.redacted_value(audited threadline.audited_tables, column_name text, mode text, substitute jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C'
AS $function$
DECLARE
  table_name text := audited.relation::text;
  attribute pg_attribute;
  column_type text;
  value jsonb := CASE mode WHEN 'mask' THEN to_jsonb('[REDACTED]'::text) WHEN 'remove' THEN 'null' ELSE substitute END;
BEGIN
  SELECT * INTO attribute FROM pg_attribute AS a
   WHERE a.attrelid = audited.relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attname = column_name;
  IF NOT FOUND THEN
    RETURN value;  -- A dropped column is read by nobody.
  END IF;
  column_type := threadline.type_name(attribute.atttypid, attribute.atttypmod);
  IF mode = 'mask' THEN
    IF NOT threadline.holds_placeholder(audited.relation, column_name) THEN
      PERFORM threadline.refuse_redaction(table_name, format('column %I of type %s cannot hold the placeholder [REDACTED]', column_name,
          format_type(attribute.atttypid, attribute.atttypmod)),
        CASE WHEN attribute.attnotnull THEN 'Substitute a value of its type.' ELSE 'Remove its values, or substitute one of its type.' END);
    END IF;
    RETURN value;
  END IF;
  BEGIN
    EXECUTE format('SELECT to_jsonb(r.value) FROM jsonb_to_record(jsonb_build_object(''value'', $1)) AS r (value %s)', column_type) INTO value USING value;
  EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
    PERFORM threadline.refuse_redaction(table_name, format('column %I of type %s cannot hold %s: %s', column_name,
      format_type(attribute.atttypid, attribute.atttypmod), left(value::text, 1000), SQLERRM), 'Substitute a value of its type.');
  END;
  value := coalesce(value, 'null');
  IF value = 'null' AND attribute.attnotnull THEN
    PERFORM threadline.refuse_redaction(table_name, format('column %I is NOT NULL, so its values cannot be removed', column_name),
      CASE WHEN threadline.holds_placeholder(audited.relation, column_name) THEN 'Mask it, or substitute a value of its type.'
        ELSE 'Substitute a value of its type.' END);
  END IF;
  RETURN value;
END
$function$;
COMMENT ON FUNCTION threadline.redacted_value(threadline.audited_tables, text, text, jsonb) IS
  'What stands in place of the redacted values of a column; raises an error if the column could not have it.';

CREATE FUNCTION threadline.redaction_modes(mask text[], remove text[], substitutes jsonb) RETURNS TABLE (name text, mode text)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT unnest(mask), 'mask' UNION SELECT unnest(remove), 'remove'
  UNION SELECT jsonb_object_keys(CASE jsonb_typeof(substitutes) WHEN 'object' THEN substitutes ELSE '{}' END), 'substitute' ORDER BY 1, 2
$function$;
COMMENT ON FUNCTION threadline.redaction_modes(text[], text[], jsonb) IS 'The columns that a redaction names, and what is to be done with each.';

CREATE FUNCTION threadline.redaction_keys(row_keys text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(array_agg(DISTINCT k COLLATE "C"), '{}') FROM unnest(row_keys) AS k WHERE k IS NOT NULL
$function$;
COMMENT ON FUNCTION threadline.redaction_keys(text[]) IS 'Each key once, in the order in which records are redacted.';

-- {"column": value}, or an error that says what of it cannot be.
CREATE FUNCTION threadline.redaction_replacements(audited threadline.audited_tables, row_keys text[], mask text[], remove text[], substitutes jsonb)
RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  table_name text := audited.relation::text;
  replacements jsonb := '{}';
  named record;
  present text[] := ARRAY(SELECT a.attname::text FROM pg_attribute AS a
                           WHERE a.attrelid = audited.relation AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum);
BEGIN
  IF row_keys = '{}' THEN
    PERFORM threadline.refuse_redaction(table_name, 'no record is named', 'Name the records by their keys, as threadline.changes has them in row_key.');
  ELSIF substitutes IS NOT NULL AND jsonb_typeof(substitutes) <> 'object' THEN
    PERFORM threadline.refuse_redaction(table_name, 'the substitutes are no object', 'Write them like {"column": "value"}.');
  END IF;
  FOR named IN SELECT * FROM threadline.redaction_modes(mask, remove, substitutes) LOOP
    IF named.name IS NULL OR replacements ? named.name THEN
      PERFORM threadline.refuse_redaction(table_name, format('column %s is named twice, or is NULL', coalesce(quote_ident(named.name), 'NULL')),
        'Mask it, remove it or substitute it: choose one.');
    ELSIF named.name = ANY (audited.key_columns) THEN
      PERFORM threadline.refuse_redaction(table_name, format('column %I is part of its primary key', named.name),
        'The key says whose history a change belongs to. Where it is personal itself, use a surrogate key, or let retention remove the changes.');
    ELSIF named.name <> ALL (present) AND NOT EXISTS (
        SELECT FROM unnest(row_keys) AS k CROSS JOIN LATERAL threadline.redactable_changes(audited.id, k) AS c
         WHERE threadline.recorded_names(c, audited.definition -> 'renames') ? named.name) THEN
      PERFORM threadline.refuse_redaction(table_name, format('it has no column %I, and the record of these rows has none', named.name),
        format('Its columns are: %s.', (SELECT string_agg(quote_ident(p), ', ' ORDER BY n) FROM unnest(present) WITH ORDINALITY AS c (p, n))));
    END IF;
    replacements := replacements || jsonb_build_object(named.name, threadline.redacted_value(audited, named.name, named.mode, substitutes -> named.name));
  END LOOP;
  IF replacements = '{}' THEN
    PERFORM threadline.refuse_redaction(table_name, 'no column is named', 'Name the columns to mask, to remove or to substitute.');
  END IF;
  SELECT * INTO named FROM threadline.generated_from(audited.relation, ARRAY(SELECT jsonb_object_keys(replacements))) AS g (name, mode);
  IF named.name IS NOT NULL THEN
    PERFORM threadline.refuse_redaction(table_name, format('column %I is generated from column %I', named.name, named.mode),
      'Name the generated column as well.');
  END IF;
  RETURN replacements;
END
$function$;
COMMENT ON FUNCTION threadline.redaction_replacements(threadline.audited_tables, text[], text[], text[], jsonb) IS
  'What stands in place of the values of each column that a redaction names; raises an error if it cannot be done as asked.';

CREATE FUNCTION threadline.redaction_plan(relation regclass, row_keys text[], mask text[] DEFAULT '{}', remove text[] DEFAULT '{}',
  substitutes jsonb DEFAULT '{}',
  OUT records bigint, OUT changes bigint, OUT replaced jsonb, OUT unknown_keys text[], OUT moved_keys text[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  audited threadline.audited_tables := threadline.redactable_table(relation);
  keys text[] := threadline.redaction_keys(row_keys);
  replacements jsonb := threadline.redaction_replacements(audited, keys, mask, remove, substitutes);
  names jsonb := threadline.redactable_names(audited, ARRAY(SELECT jsonb_object_keys(replacements)));
BEGIN
  PERFORM threadline.refuse_held(audited, keys, keys);
  WITH found AS (
    SELECT k.key, c.moved_key, r.replaced
      FROM unnest(keys) AS k (key)
     CROSS JOIN LATERAL threadline.redactable_changes(audited.id, k.key) AS c
     CROSS JOIN LATERAL threadline.redacted_change(c, audited.definition -> 'renames', names, replacements) AS r
  )
  SELECT count(DISTINCT f.key), count(*) FILTER (WHERE f.replaced <> '{}'),
         (SELECT jsonb_object_agg(c, (SELECT count(*) FROM found CROSS JOIN LATERAL unnest(found.replaced) AS v WHERE v = c))
            FROM jsonb_object_keys(replacements) AS c),
         ARRAY(SELECT k FROM unnest(keys) AS k EXCEPT SELECT found.key FROM found ORDER BY 1),
         ARRAY(SELECT DISTINCT found.moved_key FROM found WHERE found.moved_key <> ALL (keys) ORDER BY 1)
    INTO records, changes, replaced, unknown_keys, moved_keys FROM found AS f;
END
$function$;
COMMENT ON FUNCTION threadline.redaction_plan(regclass, text[], text[], text[], jsonb) IS
  'What threadline.redact_step would do in all: records found, changes and values of each column to be replaced, keys that nothing is recorded of, and other keys that the records had.';

-- One batch. It returns where it ended, for the next call to go on from with the action of the first, and NULL when all is
-- done. The live rows are none of its business: what is still there is recorded again by their next change.
CREATE FUNCTION threadline.redact_step(relation regclass, row_keys text[], mask text[] DEFAULT '{}', remove text[] DEFAULT '{}',
  substitutes jsonb DEFAULT '{}', actor_ref jsonb DEFAULT NULL, reason text DEFAULT NULL, max_rows integer DEFAULT 1000, after jsonb DEFAULT NULL, INOUT action_id uuid DEFAULT NULL,
  OUT records bigint, OUT changes bigint, OUT replaced bigint, OUT next jsonb, OUT moved_keys text[])
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET plan_cache_mode = force_generic_plan
AS $function$
DECLARE
  audited threadline.audited_tables;
  keys text[] := threadline.redaction_keys(row_keys);
  number integer := coalesce((after ->> 'key')::integer, 1);
  at timestamptz := after ->> 'captured_at';
  id bigint := after ->> 'id';
  rest integer := max_rows;
  seen integer;
  change threadline.audit_changes;
  redacted record;
  replacements jsonb;
  names jsonb;
  told jsonb;
BEGIN
  -- One at a time: of two that redact one change, the second must see what the first made of it.
  -- Nor beside a purge, which takes changes in another order.
  PERFORM threadline.refuse_isolation();
  PERFORM pg_advisory_xact_lock(hashtextextended('threadline purge', 0));
  audited := threadline.redactable_table(relation);
  IF max_rows IS NULL OR max_rows < 1 THEN
    PERFORM threadline.refuse_redaction(relation::text, 'a batch has one change or more', 'Say so in max_rows.');
  END IF;
  told := jsonb_build_object('table', format('%I.%I', audited.schema_name, audited.table_name),
    'columns', (SELECT jsonb_object_agg(m.name, m.mode) FROM threadline.redaction_modes(mask, remove, substitutes) AS m WHERE m.name IS NOT NULL));
  -- Looked at in every batch, since the table may be another by then.
  replacements := threadline.redaction_replacements(audited, keys, mask, remove, substitutes);
  names := threadline.redactable_names(audited, ARRAY(SELECT jsonb_object_keys(replacements)));
  -- A hold that is placed meanwhile waits for this batch, and the next is refused.
  PERFORM pg_advisory_xact_lock_shared(hashtextextended('threadline retention', 0));
  PERFORM threadline.refuse_held(audited, keys, keys[number:number + max_rows - 1]);
  IF action_id IS NULL THEN
    IF coalesce(reason, '') !~ '[^[:space:]]' THEN
      RAISE EXCEPTION 'threadline.redaction needs a reason'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'threadline_reason_required', DETAIL = 'threadline.redaction',
          HINT = 'Say who asked for it, or what obliges you.';
    ELSIF coalesce(current_setting('threadline.actor_ref', true), '') = '' AND actor_ref IS NOT NULL THEN
      PERFORM set_config('threadline.actor_ref', actor_ref::text, true);
    END IF;
    told := told || jsonb_build_object('row_keys', keys[1:100], 'records', 0, 'changes', 0, 'values', 0, 'finished', false);
    SELECT a.id INTO action_id FROM threadline.record_action('threadline.redaction', reason => reason, meta => told, actor_ref => actor_ref) AS a;
  ELSIF NOT EXISTS (SELECT FROM threadline.audit_actions AS a WHERE a.id = action_id AND a.name = 'threadline.redaction' AND a.meta @> told) THEN
    PERFORM threadline.refuse_redaction(relation::text, format('%s is not the action of this redaction', action_id),
      'Leave it out at the first batch, which returns it.');
  END IF;

  records := 0;
  changes := 0;
  replaced := 0;
  moved_keys := '{}';
  WHILE rest > 0 AND number <= cardinality(keys) LOOP
    seen := 0;
    FOR change IN SELECT * FROM threadline.redactable_changes(audited.id, keys[number], at, id, rest) LOOP
      records := records + CASE WHEN at IS NULL THEN 1 ELSE 0 END;
      seen := seen + 1;
      at := change.captured_at;
      id := change.id;
      IF change.moved_key IS NOT NULL AND change.moved_key <> ALL (keys || moved_keys) THEN
        moved_keys := moved_keys || change.moved_key;
      END IF;
      SELECT * INTO redacted FROM threadline.redacted_change(change, audited.definition -> 'renames', names, replacements);
      CONTINUE WHEN redacted.replaced = '{}';
      UPDATE threadline.audit_changes AS c SET data_after = redacted.data_after, changed_from = redacted.changed_from
       WHERE c.transaction_id = change.transaction_id AND c.captured_at = change.captured_at AND c.id = change.id;
      IF NOT FOUND THEN
        RAISE EXCEPTION 'change % was moved or removed at the same time', change.id USING ERRCODE = 'serialization_failure', HINT = 'Try again.';
      END IF;
      changes := changes + 1;
      replaced := replaced + cardinality(redacted.replaced);
    END LOOP;
    IF seen < rest THEN
      number := number + 1;
      at := NULL;
      id := NULL;
    END IF;
    -- A key that nothing is recorded of takes its time, too.
    rest := rest - greatest(seen, 1);
  END LOOP;
  IF number <= cardinality(keys) THEN
    next := jsonb_build_object('key', number, 'captured_at', at, 'id', id);
  END IF;
  PERFORM threadline.add_to_action(action_id, jsonb_build_object('records', records, 'changes', changes, 'values', replaced));
  IF next IS NULL THEN
    UPDATE threadline.audit_actions AS a SET meta = a.meta || '{"finished": true}' WHERE a.id = action_id;
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline.redact_step(regclass, text[], text[], text[], jsonb, jsonb, text, integer, jsonb, uuid) IS
  'Takes values out of the changes of the named records, a batch at a time, as the action threadline.redaction; returns where the next batch begins, or NULL.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA threadline FROM PUBLIC;
