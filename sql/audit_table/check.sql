-- Every refusal carries the constraint name threadline_audit_table, by which a client can tell it from other errors.
CREATE FUNCTION threadline_internal.raise_audit_error(relation regclass, reason text, hint text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RAISE EXCEPTION 'cannot audit %: %', relation, reason
    USING ERRCODE = 'invalid_parameter_value', HINT = hint, CONSTRAINT = 'threadline_audit_table', TABLE = relation::text;
END
$function$;
COMMENT ON FUNCTION threadline_internal.raise_audit_error(regclass, text, text) IS 'Raises the error of a table that cannot be audited as asked.';

CREATE FUNCTION threadline_internal.check_auditable(relation regclass, mask text[], exclude text[], granularity text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  class pg_class;
  log_owner oid := (SELECT relowner FROM pg_class WHERE oid = 'threadline.audit_changes'::regclass);
  name text;
  column_type text;
BEGIN
  SELECT * INTO class FROM pg_class WHERE oid = relation;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'cannot audit a table that does not exist' USING ERRCODE = 'undefined_table', CONSTRAINT = 'threadline_audit_table',
      HINT = 'The first argument of threadline.audit_table is the table, as in ''users''::regclass.';
  END IF;
  IF class.relnamespace IN ('pg_catalog'::regnamespace, 'pg_toast'::regnamespace)
    OR class.relnamespace = to_regnamespace('information_schema') THEN
    PERFORM threadline_internal.raise_audit_error(relation, 'it is a system table', 'Triggers do not fire on system tables.');
  ELSIF class.relnamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace) THEN
    PERFORM threadline_internal.raise_audit_error(relation, 'it belongs to Threadline', 'The audit log cannot record itself.');
  ELSIF class.relkind IN ('v', 'm') THEN
    PERFORM threadline_internal.raise_audit_error(relation, 'it is a view', 'Audit the tables that the view reads.');
  ELSIF class.relkind = 'f' THEN
    PERFORM threadline_internal.raise_audit_error(relation, 'it is a foreign table', 'Audit the table on the server that holds it.');
  ELSIF class.relkind NOT IN ('r', 'p') THEN
    PERFORM threadline_internal.raise_audit_error(relation, 'it is not a table', 'Name an ordinary or a partitioned table.');
  ELSIF class.relpersistence = 't' THEN
    PERFORM threadline_internal.raise_audit_error(relation, 'it is a temporary table', 'Only what outlives the session can be audited.');
  ELSIF class.relispartition THEN
    PERFORM threadline_internal.raise_audit_error(relation, 'it is a partition',
      format('Audit the partitioned table %s; its partitions are captured with it.', pg_partition_root(relation)));
  ELSIF EXISTS (SELECT FROM pg_partition_tree(relation) AS p JOIN pg_class AS c ON c.oid = p.relid WHERE c.relkind = 'f') THEN
    PERFORM threadline_internal.raise_audit_error(relation, 'one of its partitions is a foreign table',
      'Detach the foreign partition: rows on another server cannot be captured from here.');
  ELSIF EXISTS (SELECT FROM threadline.exempt_tables AS e WHERE e.relation = check_auditable.relation) THEN
    PERFORM threadline_internal.raise_audit_error(relation,
      format('it is exempt: %s', (SELECT e.reason FROM threadline.exempt_tables AS e WHERE e.relation = check_auditable.relation)),
      format('If that is no longer so: SELECT threadline.unexempt_table(%L);', relation));
  ELSIF NOT has_table_privilege(log_owner, relation, 'SELECT') THEN
    PERFORM threadline_internal.raise_audit_error(relation, format('%s, the owner of the audit log, may not read it', log_owner::regrole),
      format('GRANT SELECT ON %s TO %s; it is needed to record what TRUNCATE removes.', relation, log_owner::regrole));
  END IF;

  IF granularity NOT IN ('row', 'statement') THEN
    PERFORM threadline_internal.raise_audit_error(relation, format('granularity %L is unknown', granularity), 'It is ''row'' or ''statement'', or left out.');
  ELSIF granularity = 'statement' AND (class.relkind = 'p'
      OR EXISTS (SELECT FROM pg_inherits WHERE relation IN (inhrelid, inhparent))) THEN
    PERFORM threadline_internal.raise_audit_error(relation, 'granularity ''statement'' would miss writes aimed straight at a partition or child table',
      'Leave the granularity out, or ask for ''row''.');
  ELSIF granularity = 'statement' AND threadline_internal.granularity_for(relation) = 'row' THEN
    RAISE WARNING 'changes that row triggers of % make to it will be recorded before the change that fired them', relation
      USING HINT = 'Leave the granularity out, or ask for ''row''.';
  END IF;

  FOREACH name IN ARRAY mask || exclude LOOP
    SELECT format_type(a.atttypid, a.atttypmod) INTO column_type
      FROM pg_attribute AS a WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attname = name;
    IF NOT FOUND THEN
      PERFORM threadline_internal.raise_audit_error(relation, format('it has no column %I', name),
        format('Its columns are: %s.', (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute AS a
                                         WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped)));
    ELSIF name = ANY (mask) AND name = ANY (exclude) THEN
      PERFORM threadline_internal.raise_audit_error(relation, format('column %I is both masked and excluded', name),
        'A masked column is recorded as a placeholder, an excluded one not at all: choose one.');
    ELSIF name = ANY ((SELECT columns FROM threadline_internal.primary_key(relation))::text[]) THEN
      PERFORM threadline_internal.raise_audit_error(relation, format('column %I is part of its primary key', name),
        'The key says whose history a change belongs to, so it can be neither masked nor excluded.');
    ELSIF name = ANY (mask) AND NOT threadline_internal.holds_placeholder(relation, name) THEN
      PERFORM threadline_internal.raise_audit_error(relation, format('column %I of type %s cannot hold the placeholder [REDACTED]', name, column_type),
        'Mask only columns of text, and exclude the others.');
    END IF;
  END LOOP;
  -- A stored generated column would put into the audit log what its redacted source keeps out of it.
  SELECT g.generated, g.source INTO name, column_type FROM threadline_internal.generated_from(relation, mask || exclude) AS g;
  IF name IS NOT NULL THEN
    PERFORM threadline_internal.raise_audit_error(relation, format('column %I is generated from column %I, which is redacted', name, column_type),
      'Mask or exclude the generated column as well.');
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.check_auditable(regclass, text[], text[], text) IS
  'Raises an error with a hint if a table cannot be audited as asked.';
