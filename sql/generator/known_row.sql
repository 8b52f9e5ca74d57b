-- Capture of one row whose columns are known; see known_columns.sql. Most statements write one row.

-- Writes the condition that a trigger fired for the table that a definition describes, or one of its partitions, with
-- the very columns of the definition, whose values nobody's code makes JSON of. What is computed of the catalog, a
-- session computes once, and again when the table was altered.
CREATE FUNCTION threadline_internal.columns_are_known(audited threadline.audited_tables) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render('NOT ({unknown_table}) AND threadline_internal.present_layout({oid}) = {layout}'
      '{generated}{casts}', jsonb_build_object(
    'unknown_table', threadline_internal.unknown_table(audited),
    'oid', quote_literal(audited.definition ->> 'oid'),
    'layout', quote_literal(threadline_internal.layout_in(audited.definition ->> 'layout',
                                                          audited.definition ->> 'database')),
    'generated', CASE WHEN threadline_internal.is_redacted(audited)
                       AND audited.definition @? '$.columns.*.generated ? (@ == "s")'
      -- What a session computed stays when a partition alone is altered.
      THEN format(CASE WHEN threadline_internal.is_partitioned(audited.relation) THEN $sql$
    AND NOT EXISTS (SELECT FROM threadline_internal.generated_from(%L, %L) AS g WHERE g.generated IS NOT NULL)$sql$
        ELSE $sql$
    AND threadline_internal.generates_nothing_from(%L, %L)$sql$ END, audited.definition ->> 'oid',
        threadline_internal.redacted_names(audited)) END,
    'casts', CASE WHEN NOT (audited.definition ->> 'trusted')::boolean THEN $sql$
    AND NOT EXISTS (SELECT FROM pg_cast AS c WHERE c.oid >= 16384 AND c.casttarget = 'json'::regtype)$sql$ END))
$function$;
COMMENT ON FUNCTION threadline_internal.columns_are_known(threadline.audited_tables) IS
  'SQL for the condition that capture may name the columns of its table.';

-- Writes PL/pgSQL that adds one row to audit_changes. The first change of a transaction makes its row. A later one
-- looks that up in the statement that it needs anyhow: an expression of its own costs more.
CREATE FUNCTION threadline_internal.record_known_row(audited threadline.audited_tables, op text, key text,
  data_after text, changed_from text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render($sql$    running := CASE WHEN current_setting('threadline.entered', true) <> ''
        AND current_setting('transaction_isolation') <> 'serializable'
      THEN threadline_internal.transaction_id((date_part('epoch', transaction_timestamp()) * 1000000)::bigint) END;
    IF running IS NULL THEN
      running := threadline_internal.enter_first(written_at, {table_id});
      IF running IS NULL THEN
        running := threadline_internal.enter_transaction(written_at, {table_id});
        known_context := threadline_internal.change_context();
      END IF;
      INSERT INTO threadline.audit_changes ({columns})
      VALUES (running, {values}, known_context);
    ELSE
      INSERT INTO threadline.audit_changes ({columns})
      VALUES (coalesce((SELECT t.id FROM threadline.audit_transactions AS t
                         WHERE t.id = running
                           AND written_at < t.occurred_at + interval '125 ms' * power(2, t.duration_class)
                           AND threadline_internal.tell_table({table_id}) IS NOT NULL),
                       threadline_internal.enter_transaction(written_at, {table_id})), {values},
        threadline_internal.change_context());
    END IF;
$sql$, jsonb_build_object(
    'columns', concat_ws(', ', 'transaction_id, table_id, definition_id, op, captured_at',
      threadline_internal.key_column(audited),
      CASE WHEN data_after IS NOT NULL THEN 'data_after' END,
      CASE WHEN changed_from IS NOT NULL THEN 'changed_from' END, 'context'),
    'values', concat_ws(', ', audited.id, audited.definition_id, quote_literal(op), 'written_at',
      key, data_after, changed_from),
    'table_id', audited.id))
$function$;
COMMENT ON FUNCTION threadline_internal.record_known_row(threadline.audited_tables, text, text, text, text) IS
  'PL/pgSQL that adds one row to audit_changes.';

-- Writes PL/pgSQL that captures the row of a trigger for each row, and returns. It goes on where the row does not fit
-- into JSON, or its key changed: that takes more care.
CREATE FUNCTION threadline_internal.capture_known_row(audited threadline.audited_tables, event text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.render(CASE event
      WHEN 'update' THEN $sql$  IF {known} THEN{if_fit}
    known_changes := {changes};
    IF known_changes <> '' AND NOT ({key_changed}) THEN
{record}      RETURN NEW;
    ELSIF known_changes = '' THEN
      RETURN NEW;
    END IF;{end_if_fit}
  END IF;
$sql$
      ELSE $sql$  IF {known} THEN{if_fit}
{record}    RETURN {row};{end_if_fit}
  END IF;
$sql$ END, jsonb_build_object(
    'known', concat_ws(E'\n    AND ', threadline_internal.columns_are_known(audited), CASE WHEN by_size THEN fit END),
    'if_fit', CASE WHEN NOT by_size THEN E'\n    IF ' || fit || ' THEN' END,
    'end_if_fit', CASE WHEN NOT by_size AND fit IS NOT NULL THEN E'\n    END IF;' END,
    'row', CASE event WHEN 'delete' THEN 'OLD' ELSE 'NEW' END,
    'changes', CASE event WHEN 'update' THEN threadline_internal.known_changes(audited, 'OLD.%I', 'NEW.%I') END,
    'key_changed', CASE event WHEN 'update' THEN threadline_internal.known_key_changed(audited, 'OLD.%I', 'NEW.%I') END,
    'record', CASE event
      WHEN 'insert' THEN threadline_internal.record_known_row(audited, event,
        threadline_internal.known_key(audited, 'NEW.%I'),
        threadline_internal.known_image(audited, 'NEW', 'NEW.%I'), NULL)
      WHEN 'delete' THEN threadline_internal.record_known_row(audited, event,
        threadline_internal.known_key(audited, 'OLD.%I'),
        NULL, threadline_internal.known_image(audited, 'OLD', 'OLD.%I'))
      WHEN 'update' THEN threadline_internal.record_known_row(audited, event,
        threadline_internal.known_key(audited, 'NEW.%I'), threadline_internal.known_image(audited, 'NEW', 'NEW.%I'),
        $$concat('{', known_changes, '}')::jsonb$$) END))
    FROM (SELECT threadline_internal.fits_by_size(audited) AS by_size) AS s
   CROSS JOIN LATERAL (SELECT string_agg(CASE WHEN s.by_size THEN format('pg_column_size(%s) <= 16384', r.name)
         ELSE threadline_internal.known_to_fit(audited, r.name || '.%I') END, ' AND ') AS fit
       FROM unnest(CASE event WHEN 'insert' THEN '{NEW}' WHEN 'delete' THEN '{OLD}' ELSE '{OLD, NEW}' END::text[])
         AS r (name)
      WHERE threadline_internal.known_to_fit(audited, r.name || '.%I') IS NOT NULL) AS f
$function$;
COMMENT ON FUNCTION threadline_internal.capture_known_row(threadline.audited_tables, text) IS
  'PL/pgSQL that records the row of a trigger for each row where its columns are known.';
