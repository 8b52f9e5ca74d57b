-- restore(NULL::t, transaction, time, change, losing): brings a row back to what a change left, with the rights of whoever
-- calls and captured like any other write. Whatever is redacted is not in the audit log, and is left as it is; so is what
-- was added since. Later changes are told by the audit log, once the live row is locked.
CREATE FUNCTION threadline_internal.restore_body(audited threadline.audited_tables, live_rows text, shape text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT format('
#variable_conflict use_column
DECLARE
  since timestamptz := threadline_internal.readable_since(%2$s, %3$L);
  change record;
  target %1$s;
  live %1$s;
  gone boolean;
  later bigint;
  newest bigint;
  done bigint;
BEGIN
  SELECT c.op, c.id, c.captured_at, (%4$s) - %5$L::text[] AS image INTO change
    FROM threadline.audit_changes AS c WHERE c.transaction_id = $2 AND c.captured_at = $3 AND c.id = $4 AND c.table_id = %2$s;
  IF NOT FOUND THEN
    RAISE EXCEPTION ''%% has no change %% to restore'', %11$L, $4 USING ERRCODE = ''no_data_found'', CONSTRAINT = ''threadline_restore'',
      HINT = ''It may have been removed from the audit log, or belong to another table.'';
  END IF;
  target := threadline_internal.row_or_error(NULL::%1$s, change.image, change.id);
  SELECT t.* INTO live FROM %6$s AS t WHERE %7$s FOR UPDATE;
  gone := NOT FOUND;
  SELECT count(*), max(c.id) INTO later, newest FROM threadline.audit_changes AS c
   WHERE c.table_id = %2$s AND %8$s AND c.op <> ''snapshot''
     -- What a snapshot tells was so since before every change of now, be its id what it may.
     AND CASE change.op WHEN ''snapshot'' THEN c.captured_at >= since AND c.id > $5 ELSE c.id > greatest(change.id, $5) END;
  -- Of what was not captured, nobody knows how much would be lost.
  IF later > 0 OR change.captured_at < since AND $5 < 9223372036854775807 THEN
    RAISE EXCEPTION ''later changes of this row of %% would be lost: %%'', %11$L, CASE WHEN later > 0 THEN later::text ELSE ''those before '' || since END
      USING ERRCODE = ''object_not_in_prerequisite_state'', CONSTRAINT = ''threadline_later_changes'', DETAIL = coalesce(newest, change.id),
        HINT = ''Look at them, and say that they may be lost.'';
  END IF;
  skipped_columns := %5$L;
  IF change.op IN (''delete'', ''truncate'') THEN
    IF gone THEN
      RETURN NEXT;
      RETURN;
    END IF;
    DELETE FROM %6$s AS t WHERE %7$s;
    op := ''delete'';
  ELSIF gone THEN
    -- Only what the image has, so that the rest takes its default.
    EXECUTE format(''INSERT INTO %%1$s (%%2$s) OVERRIDING SYSTEM VALUE SELECT %%2$s FROM jsonb_populate_record(NULL::%%1$s, $1)'', %11$L,
      (SELECT string_agg(quote_ident(k), '', '') FROM jsonb_object_keys(change.image) AS k WHERE k = ANY (%9$L))) USING change.image;
    op := ''insert'';
  ELSE
    target := jsonb_populate_record(live, change.image);
    IF live *= target THEN
      RETURN NEXT;
      RETURN;
    END IF;
    UPDATE %6$s AS t SET %10$s WHERE %7$s;
    op := ''update'';
  END IF;
  GET DIAGNOSTICS done = ROW_COUNT;
  IF done <> 1 THEN
    RAISE EXCEPTION ''the %% that would restore a row of %% was prevented'', op, %11$L USING ERRCODE = ''triggered_action_exception'',
      CONSTRAINT = ''threadline_restore'', HINT = ''Look at the triggers and policies of the table.'';
  END IF;
  RETURN NEXT;
END
', audited.relation, audited.id, shape,
    threadline_internal.renamed_expression(audited, 'coalesce(c.data_after, c.changed_from)', 'c.id'),
    ARRAY(SELECT r FROM unnest(audited.masked_columns || audited.excluded_columns) AS r ORDER BY r), live_rows,
    threadline_internal.live_key(audited, key), threadline_internal.recorded_key(audited, key),
    ARRAY(SELECT a.attname FROM pg_attribute AS a WHERE a.attrelid = audited.relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''),
    coalesce((SELECT string_agg(format('%1$I = target.%1$I', a.attname), ', ' ORDER BY a.attnum)
       FROM pg_attribute AS a
      WHERE a.attrelid = audited.relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity <> 'a'
        AND a.attname <> ALL (audited.key_columns || audited.masked_columns || audited.excluded_columns)),
      format('%1$I = target.%1$I', audited.key_columns[1])), audited.relation::text)
    FROM (SELECT ARRAY(SELECT format('target.%I', name) FROM unnest(audited.key_columns) WITH ORDINALITY AS k (name, n) ORDER BY n) AS key) AS k
$function$;
COMMENT ON FUNCTION threadline_internal.restore_body(threadline.audited_tables, text, text) IS
  'PL/pgSQL that brings a row back to what a change left.';
