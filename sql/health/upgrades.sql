-- Returns the unfinished work of an upgrade, except for the tables: see health_stale.
CREATE FUNCTION threadline_internal.health_upgrades()
RETURNS TABLE ("check" text, severity text, table_schema text, table_name text, message text, hint text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT 'upgrade_unfinished', 'warning', NULL, NULL,
         format('an upgrade is not finished: %s of about %s rows of %s are done', s.rows_done,
                greatest(s.rows_done, s.row_estimate), s.name),
         'threadline upgrade, or SELECT threadline.upgrade_step(); until it returns no steps_left.'
    FROM threadline_internal.upgrade_steps AS s WHERE s.ended_at IS NULL
  UNION ALL
  SELECT 'rights_missing', 'warning', NULL, NULL,
         format('%s is a %s of the audit log and lacks %s rights, such as %s', m.role, m.kind, count(*), min(m.rights)),
         format('SELECT threadline.grant_%s(%L);', m.kind, m.role)
    FROM threadline_internal.missing_rights() AS m GROUP BY m.role, m.kind
$function$;
COMMENT ON FUNCTION threadline_internal.health_upgrades() IS
  'Findings for unfinished upgrades, and for readers and recorders without a right that they should have.';
