-- Raises an error. Every such error has the constraint name threadline_audit_table, by which a client can distinguish
-- it from other errors.
CREATE FUNCTION threadline_internal.raise_audit_error(relation regclass, reason text, hint text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RAISE EXCEPTION 'cannot audit %: %', relation, reason
    USING ERRCODE = 'invalid_parameter_value', HINT = hint, CONSTRAINT = 'threadline_audit_table',
      TABLE = relation::text;
END
$function$;
COMMENT ON FUNCTION threadline_internal.raise_audit_error(regclass, text, text) IS
  'Raises the error for a table that cannot be audited as requested.';

-- Rejects relations that cannot be audited.
CREATE FUNCTION threadline_internal.check_table(relation regclass) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  class pg_class;
  log_owner regrole := threadline_internal.log_owner();
  exempt text := (SELECT e.reason FROM threadline.exempt_tables AS e WHERE e.relation = check_table.relation
    AND threadline_internal.is_said_of(e.relation, e.table_schema, e.table_name, e.database));
  reason text;
  hint text;
BEGIN
  SELECT * INTO class FROM pg_class WHERE oid = relation;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'cannot audit a table that does not exist'
      USING ERRCODE = 'undefined_table', CONSTRAINT = 'threadline_audit_table',
        HINT = $$The first argument of threadline.audit_table is the table, as in 'users'::regclass.$$;
  END IF;
  IF class.relnamespace IN ('pg_catalog'::regnamespace, 'pg_toast'::regnamespace)
    OR class.relnamespace = to_regnamespace('information_schema') THEN
    reason := 'it is a system table';
    hint := 'Triggers do not fire on system tables.';
  ELSIF class.relnamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace) THEN
    reason := 'it belongs to Threadline';
    hint := 'The audit log cannot record itself.';
  ELSIF class.relkind IN ('v', 'm') THEN
    reason := 'it is a view';
    hint := 'Audit the tables that the view reads.';
  ELSIF class.relkind = 'f' THEN
    reason := 'it is a foreign table';
    hint := 'Audit the table on the server that holds it.';
  ELSIF class.relkind NOT IN ('r', 'p') THEN
    reason := 'it is not a table';
    hint := 'Name an ordinary or a partitioned table.';
  ELSIF class.relpersistence = 't' THEN
    reason := 'it is a temporary table';
    hint := 'Only what outlives the session can be audited.';
  ELSIF class.relispartition THEN
    reason := 'it is a partition';
    hint := format('Audit the partitioned table %s; its partitions are captured with it.%s',
      pg_partition_root(relation),
      (SELECT format(' End the capture of this one: SELECT threadline.unaudit_table(%L);', check_table.relation)
         FROM threadline.audited_tables AS t
        WHERE t.relation = check_table.relation AND t.capture_ended_at IS NULL));
  ELSIF EXISTS (SELECT FROM threadline_internal.partition_tree(relation) AS p JOIN pg_class AS c ON c.oid = p.relid
                 WHERE c.relkind = 'f') THEN
    reason := 'one of its partitions is a foreign table';
    hint := 'Detach the foreign partition: rows on another server cannot be captured from here.';
  ELSIF exempt IS NOT NULL THEN
    reason := format('it is exempt: %s', exempt);
    hint := format('If that is no longer so: SELECT threadline.unexempt_table(%L);', relation);
  ELSIF NOT has_table_privilege(log_owner, relation, 'SELECT') THEN
    reason := format('%s, the owner of the audit log, may not read it', log_owner);
    hint := format('GRANT SELECT ON %s TO %s; it is needed to record what TRUNCATE removes.', relation, log_owner);
  END IF;
  IF reason IS NOT NULL THEN
    PERFORM threadline_internal.raise_audit_error(relation, reason, hint);
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.check_table(regclass) IS
  'Raises an error with a hint if a relation cannot be audited.';

-- Rejects a granularity that would miss writes, and warns about one that would record them out of order.
CREATE FUNCTION threadline_internal.check_granularity(relation regclass, granularity text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF granularity NOT IN ('row', 'statement') THEN
    PERFORM threadline_internal.raise_audit_error(relation, format('granularity %L is unknown', granularity),
      $$It is 'row' or 'statement', or left out.$$);
  ELSIF granularity = 'statement' AND (threadline_internal.is_partitioned(relation)
      OR EXISTS (SELECT FROM pg_inherits WHERE relation IN (inhrelid, inhparent))) THEN
    PERFORM threadline_internal.raise_audit_error(relation,
      $$granularity 'statement' would miss writes aimed straight at a partition or child table$$,
      $$Leave the granularity out, or ask for 'row'.$$);
  ELSIF granularity = 'statement' AND threadline_internal.granularity_for(relation) = 'row' THEN
    RAISE WARNING 'changes that row triggers of % make to it will be recorded before the change that fired them',
      relation USING HINT = $$Leave the granularity out, or ask for 'row'.$$;
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.check_granularity(regclass, text) IS
  'Raises an error with a hint if a table cannot be captured at a granularity.';

-- Rejects columns that cannot be masked or excluded.
CREATE FUNCTION threadline_internal.check_redaction(relation regclass, mask text[], exclude text[], hash_key text[])
RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  redacted text;
  attribute record;
  reason text;
  reasons text[] := '{}';
  hint text;
  hints text[] := '{}';
BEGIN
  FOREACH redacted IN ARRAY mask || exclude LOOP
    reason := NULL;
    SELECT c.type, c.typmod INTO attribute
      FROM threadline_internal.columns_of(relation) AS c WHERE c.name = redacted;
    IF NOT FOUND THEN
      reason := format('it has no column %I', redacted);
      hint := format('Its columns are: %s.', (SELECT string_agg(quote_ident(c.name), ', ' ORDER BY c.number)
                                                FROM threadline_internal.columns_of(relation) AS c));
    ELSIF redacted = ANY (mask) AND redacted = ANY (exclude) THEN
      reason := format('column %I is both masked and excluded', redacted);
      hint := 'A masked column is recorded as a placeholder, an excluded one not at all: choose one.';
    ELSIF redacted = ANY (mask) AND NOT threadline_internal.holds_placeholder(attribute.type, attribute.typmod) THEN
      reason := format('column %I of type %s cannot hold the placeholder [REDACTED]', redacted,
        format_type(attribute.type, attribute.typmod));
      hint := 'Mask only columns of text, and exclude the others.';
    END IF;
    IF reason IS NOT NULL AND reason <> ALL (reasons) THEN
      reasons := reasons || reason;
      hints := hints || array_remove(ARRAY[hint], hints[cardinality(hints)]);
    END IF;
  END LOOP;
  IF reasons <> '{}' THEN
    PERFORM threadline_internal.raise_audit_error(relation, array_to_string(reasons, '; '),
      array_to_string(hints, ' '));
  END IF;
  -- A stored generated column would reveal its redacted source column in the audit log.
  SELECT format('column %I is generated from column %I, which is redacted', g.generated, g.source) INTO reason
    FROM threadline_internal.generated_from(relation, mask || exclude || hash_key) AS g WHERE g.generated IS NOT NULL;
  IF FOUND THEN
    PERFORM threadline_internal.raise_audit_error(relation, reason, 'Mask or exclude the generated column as well.');
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.check_redaction(regclass, text[], text[], text[]) IS
  'Raises an error with a hint if columns of a table cannot be masked or excluded.';

-- Rejects columns that cannot be recorded as hashes. A column that was hashed before stays hashed when the key changes.
CREATE FUNCTION threadline_internal.check_hash_key(relation regclass, hash_key text[], redacted text[],
  hashed_before text[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  hashed text;
  attribute record;
  key_columns text[] := (SELECT k.columns FROM threadline_internal.primary_key(relation) AS k);
BEGIN
  FOREACH hashed IN ARRAY hash_key LOOP
    SELECT c.type, c.typmod INTO attribute
      FROM threadline_internal.columns_of(relation) AS c WHERE c.name = hashed;
    IF NOT FOUND THEN
      PERFORM threadline_internal.raise_audit_error(relation, format('it has no column %I', hashed),
        format('Its primary key is (%s).', array_to_string(key_columns, ', ')));
    ELSIF hashed = ANY (redacted) THEN
      PERFORM threadline_internal.raise_audit_error(relation,
        format('column %I is both hashed and masked or excluded', hashed),
        'A column of the primary key is recorded as a hash; mask or exclude the others.');
    ELSIF hashed <> ALL (key_columns || hashed_before) THEN
      PERFORM threadline_internal.raise_audit_error(relation,
        format('column %I is not part of its primary key', hashed),
        'Mask or exclude it: only what tells rows apart is recorded as a hash.');
    ELSIF threadline_internal.hash_kinds(relation, ARRAY[hashed]) = '{}' THEN
      PERFORM threadline_internal.raise_audit_error(relation,
        format('column %I of type %s cannot be recorded as a hash', hashed,
          format_type(attribute.type, attribute.typmod)),
        'Make it text, bytea, uuid, or varchar of 69 characters or more, without a CHECK in a domain and without a '
          'collation that takes different texts for equal; or exempt the table: threadline.exempt_table.');
    END IF;
  END LOOP;
END
$function$;
COMMENT ON FUNCTION threadline_internal.check_hash_key(regclass, text[], text[], text[]) IS
  'Raises an error with a hint if columns of a table cannot be recorded as hashes.';

-- Rejects a table whose changes could not be distinguished without a redacted column.
CREATE FUNCTION threadline_internal.check_key(audited threadline.audited_tables, hashed_before text[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  redacted text;
BEGIN
  SELECT k INTO redacted FROM unnest(audited.key_columns) AS k
   WHERE k = ANY (audited.hashed_columns || hashed_before)
     AND threadline_internal.hash_kinds(audited.relation, ARRAY[k]) = '{}';
  IF FOUND THEN
    PERFORM threadline_internal.raise_audit_error(audited.relation,
      format('column %I is part of its primary key and recorded as a hash, which its type cannot hold', redacted),
      'Make it text, bytea, uuid, or varchar of 69 characters or more.');
  END IF;
  SELECT k INTO redacted FROM unnest(audited.key_columns) AS k
   WHERE k = ANY (audited.masked_columns || audited.excluded_columns);
  IF FOUND THEN
    PERFORM threadline_internal.raise_audit_error(audited.relation,
      format('column %I is part of its primary key', redacted),
      'The key says whose history a change belongs to, so it can be neither masked nor excluded. A secret can be '
        'recorded as a keyed hash: hash_key.');
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.check_key(threadline.audited_tables, text[]) IS
  'Raises an error with a hint if a column of the primary key of a table is redacted.';

-- Rejects whatever cannot be audited as requested.
CREATE FUNCTION threadline_internal.check_auditable(relation regclass, mask text[], exclude text[], granularity text,
  hash_key text[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  PERFORM threadline_internal.check_table(relation);
  PERFORM threadline_internal.check_granularity(relation, granularity);
  PERFORM threadline_internal.check_redaction(relation, mask, exclude, hash_key);
  IF hash_key <> '{}' THEN
    PERFORM threadline_internal.check_hash_key(relation, hash_key, mask || exclude, coalesce((
      SELECT t.hashed_columns FROM threadline_internal.find_audited(relation) AS t), '{}'));
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.check_auditable(regclass, text[], text[], text, text[]) IS
  'Raises an error with a hint if a table cannot be audited as requested.';
