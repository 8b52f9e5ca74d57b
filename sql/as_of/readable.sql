-- Returns whether a subscription writes a table without firing its capture triggers: the workers of a subscription fire
-- only triggers that are enabled ALWAYS, and among these only row triggers.
CREATE FUNCTION threadline_internal.is_replicated_to(relation regclass) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_subscription_rel) THEN
    RETURN false;
  END IF;
  RETURN EXISTS (SELECT FROM pg_subscription_rel AS s
                  WHERE s.srrelid = is_replicated_to.relation
                     OR s.srrelid IN (SELECT p.relid FROM pg_partition_tree(is_replicated_to.relation) AS p))
     AND NOT EXISTS (
       SELECT FROM threadline.audited_tables AS a
        WHERE a.relation = is_replicated_to.relation AND NOT EXISTS (
                SELECT FROM (SELECT a.relation AS relid
                             UNION SELECT p.relid FROM pg_partition_tree(is_replicated_to.relation) AS p) AS m
                 WHERE (SELECT count(*) FROM pg_trigger AS t
                         WHERE t.tgrelid = m.relid AND t.tgname = ANY (threadline_internal.trigger_names(a))
                           AND t.tgenabled = 'A'
                           AND t.tgtype & 1 = CASE WHEN t.tgtype & 32 = 32 THEN 0 ELSE 1 END) < 4));
END
$function$;
COMMENT ON FUNCTION threadline_internal.is_replicated_to(regclass) IS
  'Whether a logical subscription writes a table without firing its capture triggers.';

-- Returns what prevents the past of a table from being read, whether it is audited or not. It runs with the rights of
-- the reader, because the reader determines whether row level security applies.
CREATE FUNCTION threadline_internal.why_unreadable(relation regclass, OUT reason text, OUT advice text)
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF (SELECT c.relpersistence = 'u' FROM pg_class AS c WHERE c.oid = why_unreadable.relation) THEN
    reason := 'it is unlogged, so a crash of the server empties it and leaves no trace';
    advice := format('ALTER TABLE %s SET LOGGED; or read the changes in threadline.versions.', relation);
  ELSIF (SELECT c.relispartition FROM pg_class AS c WHERE c.oid = why_unreadable.relation) THEN
    reason := format('it has become a partition of %s, through which it is written past its own capture',
      pg_partition_root(relation));
    advice := format('Audit and read %s, and end the capture of this one: SELECT threadline.unaudit_table(%L);',
      pg_partition_root(relation), relation);
  ELSIF threadline_internal.is_replicated_to(relation) THEN
    reason := 'a logical subscription writes it, and its capture triggers do not fire for that';
    advice := format('Read it on the publisher, or audit it by row and ALTER TABLE %s ENABLE ALWAYS TRIGGER its four '
      'capture triggers.', relation);
  ELSIF row_security_active(relation) THEN
    reason := format('row level security hides rows of it from %s', current_user);
    advice := 'The audit log knows no policies; read as a role with BYPASSRLS, or as the owner of the table.';
  ELSIF EXISTS (SELECT FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhparent
                 WHERE i.inhparent = why_unreadable.relation AND c.relkind = 'r') THEN
    reason := 'other tables inherit from it';
    advice := 'Read each of the tables through threadline.versions.';
  ELSIF EXISTS (SELECT FROM pg_index AS i
                 WHERE i.indrelid = why_unreadable.relation AND i.indisprimary AND NOT i.indimmediate) THEN
    reason := 'its primary key is deferrable, so a transaction can write a key before the one that gives it up has '
      'ended';
    advice := 'Make the key NOT DEFERRABLE, or read the changes in threadline.versions.';
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.why_unreadable(regclass) IS
  'Why a table cannot be read as of the past, and what to do about it; NULL if nothing prevents it.';

-- Returns what a reading function was built for, in a form that survives a dump: the names of the table and its
-- columns.
CREATE FUNCTION threadline_internal.table_shape(relation regclass) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $function$
BEGIN
  RETURN format('%s (%s)', relation,
    -- Every read calls this, so types without attributes skip the call.
    (SELECT string_agg(concat(quote_ident(c.name), ' ',
              CASE WHEN y.typtype IN ('c', 'd') OR e.typtype IN ('c', 'd')
                THEN threadline_internal.type_shape(c.type, c.typmod) ELSE format_type(c.type, c.typmod) END,
              CASE WHEN c.not_null THEN ' NOT NULL' END), ', ' ORDER BY c.number)
            || coalesce(' KEY ' || (
                 -- By name: a restored table has no dropped columns, so its column numbers differ.
                 SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY array_position(i.indkey::smallint[], a.attnum))
                   FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
                  WHERE i.indrelid = relation AND i.indisprimary), '')
       FROM threadline_internal.columns_of(relation) AS c
       JOIN pg_type AS y ON y.oid = c.type
       LEFT JOIN pg_type AS e ON e.oid = y.typelem AND y.typcategory = 'A'));
END
$function$;
COMMENT ON FUNCTION threadline_internal.table_shape(regclass) IS 'A table with its columns and their types, as text.';

-- Returns whether a table was rewritten, truncated or repartitioned since the snapshot of the query was taken.
-- PostgreSQL shows such a query the present rows, or none. The query sees the old state of pg_class, and catalog
-- functions see the present one. The query has locked the table by now, so that state does not change.
CREATE FUNCTION threadline_internal.is_of_another_snapshot(relation regclass) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  RETURN EXISTS (
    SELECT FROM pg_class AS c
     WHERE c.oid = relation AND c.relkind = 'r' AND c.relfilenode::oid IS DISTINCT FROM pg_relation_filenode(c.oid)
    UNION ALL
    SELECT FROM threadline_internal.partition_tree(relation) AS p JOIN pg_class AS c ON c.oid = p.relid
     WHERE p.relid <> relation
       AND (pg_partition_root(c.oid) IS DISTINCT FROM pg_partition_root(relation)
            OR c.relkind = 'r' AND c.relfilenode::oid IS DISTINCT FROM pg_relation_filenode(c.oid)));
END
$function$;
COMMENT ON FUNCTION threadline_internal.is_of_another_snapshot(regclass) IS
  'Whether a table was rewritten, truncated or repartitioned since the snapshot of the query was taken.';

-- Returns what in the catalog, apart from the name and columns, prevents reading the past of a table.
CREATE FUNCTION threadline_internal.why_not_known(audited threadline.audited_tables, OUT reason text, OUT advice text)
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF threadline_internal.has_exchanged_attributes(audited) THEN
    reason := 'its name or columns are not those that its capture was defined for';
    advice := 'Call threadline.refresh_audited_tables(), best in the migration that changes them.';
  ELSIF EXISTS (SELECT FROM (SELECT audited.relation AS relid
                             UNION ALL
                             SELECT l.relid FROM threadline_internal.partition_tree(audited.relation) AS l
                              WHERE l.isleaf AND (SELECT c.relkind = 'p' FROM pg_class AS c
                                                   WHERE c.oid = audited.relation)) AS p
                 WHERE (SELECT count(*) FROM pg_trigger AS t
                         WHERE t.tgrelid = p.relid AND t.tgenabled IN ('A', 'O')
                           AND t.tgname = ANY (threadline_internal.trigger_names(audited))) < 4) THEN
    reason := 'capture triggers of it or of a partition are missing or disabled, so changes may go unrecorded';
    advice := 'Call threadline.refresh_audited_tables(); where a gap is found, the history of the table begins anew.';
  ELSIF EXISTS (SELECT FROM threadline_internal.switched_triggers(audited)) THEN
    reason := 'its capture triggers were switched off and on, or made anew, so changes may have gone unrecorded';
    advice := 'Call threadline.refresh_audited_tables(): the history of the table begins anew.';
  ELSIF threadline_internal.loading_was_recorded(audited) THEN
    reason := 'its rows were loaded while its capture triggers were there, so that changes were recorded which nobody '
      'made';
    advice := 'Restore it with --disable-triggers; or call threadline.refresh_audited_tables(): its history begins '
      'anew.';
  ELSIF threadline_internal.member_gap(audited) IS NOT NULL THEN
    reason := threadline_internal.member_gap(audited);
    advice := 'Call threadline.refresh_audited_tables(): the history of the table begins anew.';
  ELSIF EXISTS (SELECT FROM threadline_internal.rewritten_columns(audited)) THEN
    reason := 'a migration has rewritten it since its capture was defined';
    advice := 'Call threadline.refresh_audited_tables(), best in the migration that changes them.';
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.why_not_known(threadline.audited_tables) IS
  'Why changes of a table may be missing or uninterpretable, and what to do about it; NULL if nothing indicates that.';

-- Returns the time since which the past can be read, and raises an error if the result would be a guess. Every query
-- calls this function, so it makes the expensive checks only for tables that changed since their last refresh.
CREATE FUNCTION threadline_internal.readable_since(table_id integer, shape text) RETURNS timestamptz
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
AS $function$
DECLARE
  audited threadline.audited_tables;
  is_as_refreshed boolean;
  reason text;
  advice text;
BEGIN
  -- From here on no partition can be dropped. A partition that was dropped since this snapshot was taken is missing,
  -- although the snapshot shows no cutoff after it. The snapshot shows the partition, but it no longer exists.
  PERFORM FROM threadline.audit_changes WHERE false;
  IF EXISTS (SELECT FROM pg_inherits AS i
              WHERE i.inhparent = 'threadline.audit_changes'::regclass AND pg_table_is_visible(i.inhrelid) IS NULL) THEN
    RAISE EXCEPTION 'the audit log was purged while it was read'
      USING ERRCODE = 'serialization_failure', CONSTRAINT = 'threadline_past',
        HINT = 'Read it again, in a new transaction.';
  END IF;
  SELECT * INTO STRICT audited FROM threadline.audited_tables AS t WHERE t.id = readable_since.table_id;
  is_as_refreshed := threadline_internal.is_as_refreshed(audited);
  IF NOT is_as_refreshed AND threadline_internal.is_of_another_snapshot(audited.relation) THEN
    RAISE EXCEPTION '% was rewritten or truncated while it was read', audited.relation
      USING ERRCODE = 'serialization_failure', CONSTRAINT = 'threadline_past', TABLE = audited.relation::text,
        HINT = 'Read it again, in a new transaction.';
  END IF;
  IF audited.capture_ended_at IS NOT NULL THEN
    reason := format('its capture ended at %s, and what became of it since is not recorded', audited.capture_ended_at);
    advice := 'Its recorded changes can still be read: threadline.versions.';
  ELSIF threadline_internal.table_shape(audited.relation) IS DISTINCT FROM readable_since.shape THEN
    reason := 'its name or columns are not those that its capture was defined for';
    advice := 'Call threadline.refresh_audited_tables(), best in the migration that changes them.';
  ELSIF NOT is_as_refreshed THEN
    SELECT o.reason, o.advice INTO reason, advice FROM threadline_internal.why_not_known(audited) AS o;
  END IF;
  IF reason IS NULL AND threadline_internal.future_change(audited) IS NOT NULL THEN
    reason := format('a clock was ahead: changes of it were recorded at times up to %s, which is to come',
      threadline_internal.future_change(audited));
    advice := 'Set the clock right, and call threadline.refresh_audited_tables(): its history begins anew.';
  ELSIF reason IS NULL THEN
    SELECT o.reason, o.advice INTO reason, advice FROM threadline_internal.why_unreadable(audited.relation) AS o;
  END IF;
  IF reason IS NOT NULL THEN
    RAISE EXCEPTION 'cannot read % as of the past: %', audited.relation, reason
      USING ERRCODE = 'object_not_in_prerequisite_state', HINT = advice, CONSTRAINT = 'threadline_past',
        TABLE = audited.relation::text;
  END IF;
  RETURN greatest(audited.capture_since, audited.purged_before);
END
$function$;
COMMENT ON FUNCTION threadline_internal.readable_since(integer, text) IS
  'The time since which a table can be read as of the past; raises an error if it cannot be read.';

-- Rejects a time before the history of a table begins.
CREATE FUNCTION threadline_internal.check_past(table_id integer, shape text, at timestamptz, row_type regtype)
RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC' SET DateStyle = 'ISO'
AS $function$
DECLARE
  is_its_row boolean := threadline_internal.check_row_type(table_id, row_type);
  since timestamptz := threadline_internal.readable_since(table_id, shape);
  relation regclass;
  gap text;
BEGIN
  IF at IS NULL THEN
    RAISE EXCEPTION 'cannot read the past as of NULL'
      USING ERRCODE = 'null_value_not_allowed', CONSTRAINT = 'threadline_past', HINT = 'Give the time to read as of.';
  ELSIF at < since THEN
    SELECT t.relation, t.gap INTO relation, gap FROM threadline.audited_tables AS t
     WHERE t.id = check_past.table_id;
    RAISE EXCEPTION 'cannot read % as of %: its history begins at %', relation, at, concat(since, ', since ' || gap)
      USING ERRCODE = 'invalid_parameter_value', CONSTRAINT = 'threadline_before_history', DETAIL = since::text,
        HINT = 'What was there before its capture began is not known, nor what retention has removed.';
  END IF;
  RETURN true;
END
$function$;
COMMENT ON FUNCTION threadline_internal.check_past(integer, text, timestamptz, regtype) IS
  'Raises an error unless a table can be read as of a time, into rows of a type.';
