-- Returns the columns to mask, to exclude and to hash: all that ever were, and those requested now, except those whose
-- redaction ends. If several apply to a column, the strictest one wins: exclude before mask, mask before hash. A table
-- that takes the name of an audited one inherits its redaction. More than 60 lines: it is one rule for three ways of
-- redaction.
CREATE FUNCTION threadline_internal.next_redaction(relation regclass, mask text[], exclude text[], unredact text[],
  before threadline.audited_tables, hash_key text[], OUT masked text[], OUT excluded text[], OUT hashed text[],
  OUT unredacted text[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  known threadline.audited_tables;
  found_masked text[] := '{}';
  found_excluded text[] := '{}';
  found_hashed text[] := '{}';
  was_excluded text[] := '{}';
BEGIN
  FOR known IN
    SELECT (before).* WHERE before.id IS NOT NULL
    UNION ALL
    SELECT t.* FROM threadline.audited_tables AS t
      JOIN pg_class AS c ON c.oid = next_redaction.relation JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE before.id IS NULL AND ((t.table_schema, t.table_name) = (n.nspname, c.relname)
                                  OR t.definition -> 'names' ? format('%I.%I', n.nspname, c.relname)) LOOP
    CONTINUE WHEN NOT threadline_internal.is_redacted(known);
    known.relation := relation;
    was_excluded := was_excluded || known.excluded_columns;
    SELECT found_masked || known.masked_columns || coalesce(array_agg(r.name) FILTER (WHERE r.is_masked), '{}'),
           found_excluded || coalesce(array_agg(r.name) FILTER (WHERE NOT r.is_masked AND NOT r.is_hashed), '{}'),
           found_hashed || known.hashed_columns || coalesce(array_agg(r.name) FILTER (WHERE r.is_hashed), '{}')
      INTO found_masked, found_excluded, found_hashed FROM threadline_internal.redacted_columns(known) AS r;
  END LOOP;
  WITH kept AS (
    SELECT unnest(found_excluded || was_excluded) AS name, 1 AS way
    UNION ALL SELECT unnest(found_masked), 2
    UNION ALL SELECT unnest(found_hashed), 3
  ), asked AS (
    SELECT unnest(exclude) AS name, 1 AS way UNION ALL SELECT unnest(mask), 2 UNION ALL SELECT unnest(hash_key), 3
  ), redacted AS (
    SELECT w.name, min(w.way) AS way
      FROM (SELECT k.* FROM kept AS k WHERE k.name <> ALL (unredact) UNION ALL SELECT a.* FROM asked AS a) AS w
     GROUP BY w.name
  )
  SELECT coalesce(array_agg(r.name ORDER BY r.name) FILTER (WHERE r.way = 2), '{}'),
         coalesce(array_agg(r.name ORDER BY r.name) FILTER (WHERE r.way = 1), '{}'),
         coalesce(array_agg(r.name ORDER BY r.name) FILTER (WHERE r.way = 3), '{}'),
         ARRAY(SELECT DISTINCT k.name FROM kept AS k
                WHERE k.name = ANY (unredact)
                  AND CASE WHEN k.name = ANY (was_excluded) THEN 1
                        WHEN k.name = ANY (found_hashed) AND k.name <> ALL (found_masked) THEN 3 ELSE 2 END
                    < coalesce((SELECT min(a.way) FROM asked AS a WHERE a.name = k.name), 4))
    INTO masked, excluded, hashed, unredacted
    FROM redacted AS r;
END
$function$;
COMMENT ON FUNCTION
  threadline_internal.next_redaction(regclass, text[], text[], text[], threadline.audited_tables, text[]) IS
  'The columns of a table to mask, to exclude and to hash, and those whose redaction is weakened.';

-- Returns the previous definition if it still describes the table, so that new changes continue to use it; otherwise
-- NULL.
CREATE FUNCTION threadline_internal.kept_definition(audited threadline.audited_tables,
  before threadline.audited_tables) RETURNS integer
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT d.id
    FROM threadline.table_definitions AS d
   CROSS JOIN threadline_internal.describe_definition(audited) AS p
   WHERE d.id = before.definition_id
     AND (d.columns, d.key_columns, d.layout, d.relation, d.database)
       = (p.columns, p.key_columns, p.layout, p.relation, p.database)
     -- If a later definition exists, changes since were recorded under that one.
     AND NOT EXISTS (SELECT FROM threadline.table_definitions AS l WHERE l.table_id = d.table_id AND l.id > d.id)
$function$;
COMMENT ON FUNCTION threadline_internal.kept_definition(threadline.audited_tables, threadline.audited_tables) IS
  'The previous definition of a table, if it describes the present table.';

-- Describes the requested capture of a table, carried over from its previous capture.
CREATE FUNCTION threadline_internal.describe_capture(relation regclass, mask text[], exclude text[], granularity text,
  unredact text[], before threadline.audited_tables, hash_key text[], OUT audited threadline.audited_tables,
  OUT unredacted text[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  SELECT n.nspname, c.relname, k.columns, k.key_type
    INTO audited.table_schema, audited.table_name, audited.key_columns, audited.key_type
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
   CROSS JOIN threadline_internal.primary_key(relation) AS k
   WHERE c.oid = relation;
  audited.id := before.id;
  audited.relation := relation;
  SELECT r.masked, r.excluded, r.hashed, r.unredacted
    INTO audited.masked_columns, audited.excluded_columns, audited.hashed_columns, unredacted
    FROM threadline_internal.next_redaction(relation, mask, exclude, unredact, before, hash_key) AS r;
  audited.requested_granularity := granularity;
  audited.granularity := coalesce(granularity, threadline_internal.granularity_for(relation));
  audited.definition_version := threadline_internal.definition_version();
  audited.definition := threadline_internal.describe_table(relation, before.definition,
    threadline_internal.redacted_names(audited));
  -- A table that takes a former name of this one inherits its redaction.
  IF (before.table_schema, before.table_name) <> (audited.table_schema, audited.table_name) THEN
    audited.definition := jsonb_set(audited.definition, '{names}',
      audited.definition -> 'names' || to_jsonb(format('%I.%I', before.table_schema, before.table_name)));
  END IF;
  -- Counts how often the redaction of a column was weakened: more than once means that two definitions of the table
  -- disagree.
  audited.definition := jsonb_set(audited.definition, '{unredacted}', audited.definition -> 'unredacted' || (
    SELECT coalesce(jsonb_object_agg(u, coalesce((audited.definition #>> ARRAY['unredacted', u])::integer, 0) + 1),
                    '{}')
      FROM unnest(unredacted) AS u));
  audited.definition_id := threadline_internal.kept_definition(audited, before);
  audited.first_definition_id := before.first_definition_id;
  audited.older_definitions := before.older_definitions;
  audited.capture_since := before.capture_since;
  audited.gap := before.gap;
  audited.catalog_versions := before.catalog_versions;
  audited.purged_before := before.purged_before;
  PERFORM threadline_internal.check_key(audited, before.hashed_columns);
END
$function$;
COMMENT ON FUNCTION
  threadline_internal.describe_capture(regclass, text[], text[], text, text[], threadline.audited_tables, text[]) IS
  'The new audited_tables row of a table, and the columns whose redaction is weakened.';

-- Records that the redaction of columns was weakened.
CREATE FUNCTION threadline_internal.record_unredaction(audited threadline.audited_tables, unredacted text[])
RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  IF unredacted <> '{}' THEN
    PERFORM threadline_internal.insert_action('threadline.redaction_weakened',
      meta => jsonb_build_object('table', format('%I.%I', audited.table_schema, audited.table_name),
                                 'columns', unredacted),
      actor_ref => CASE WHEN threadline_internal.read_actor(current_setting('threadline.actor_ref', true)) IS NULL
        THEN jsonb_build_object('type', 'system', 'id', session_user) END);
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.record_unredaction(threadline.audited_tables, text[]) IS
  'Records the action threadline.redaction_weakened, unless no column is named.';
