CREATE FUNCTION threadline.redaction_plan(relation regclass, row_keys text[], mask text[] DEFAULT '{}',
  remove text[] DEFAULT '{}',
  substitutes jsonb DEFAULT '{}',
  OUT rows bigint, OUT changes bigint, OUT replaced jsonb, OUT unknown_keys text[], OUT moved_keys text[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  audited threadline.audited_tables := threadline_internal.redactable_table(relation);
  keys text[] := threadline_internal.redaction_keys(audited, row_keys);
  replacements jsonb := threadline_internal.redaction_replacements(audited, keys, mask, remove, substitutes);
BEGIN
  PERFORM threadline_internal.require_not_held(audited, keys, keys);
  WITH found AS (
    SELECT k.key, c.moved_key, r.replaced
      FROM unnest(keys) AS k (key)
     CROSS JOIN LATERAL threadline_internal.redactable_changes(audited.id, k.key) AS c
     CROSS JOIN LATERAL threadline_internal.redacted_change(c, audited.older_definitions, replacements)
       AS r
  )
  SELECT count(DISTINCT f.key), count(*) FILTER (WHERE f.replaced <> '{}'),
         (SELECT jsonb_object_agg(c, (SELECT count(*) FROM found CROSS JOIN LATERAL unnest(found.replaced) AS v
           WHERE v = c))
            FROM jsonb_object_keys(replacements) AS c),
         ARRAY(SELECT k FROM unnest(keys) AS k EXCEPT SELECT found.key FROM found ORDER BY 1),
         ARRAY(SELECT DISTINCT found.moved_key FROM found WHERE found.moved_key <> ALL (keys) ORDER BY 1)
    INTO rows, changes, replaced, unknown_keys, moved_keys FROM found AS f;
END
$function$;
COMMENT ON FUNCTION threadline.redaction_plan(regclass, text[], text[], text[], jsonb) IS
  'What threadline.redact_step would do in total: rows found, changes and values of each column to replace, keys '
  'without recorded changes, and other keys that the rows had.';
