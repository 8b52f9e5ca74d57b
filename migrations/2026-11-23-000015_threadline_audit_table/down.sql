-- Ends all capture first: without the functions below nobody could. The record stays.
SELECT threadline.unaudit_table(relation) FROM threadline.audited_tables
 WHERE capture_ended_at IS NULL AND EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = relation);
DO $block$
DECLARE
  reading_function regprocedure;
BEGIN
  FOR reading_function IN SELECT f.oid FROM threadline.reading_functions() AS f WHERE f.relation IS NOT NULL LOOP
    EXECUTE format('DROP FUNCTION %s', reading_function);
  END LOOP;
END
$block$;
DROP FUNCTION threadline.grant_reader(regrole);
DROP FUNCTION threadline.refresh_audited_tables();
DROP FUNCTION threadline.unaudit_table(regclass);
DROP FUNCTION threadline.audit_table(regclass, text[], text[], text);
DROP FUNCTION threadline.rewrite_keys(threadline.audited_tables);
DROP FUNCTION threadline.check_auditable(regclass, text[], text[], text);
DROP FUNCTION threadline.refuse(regclass, text, text);
DROP FUNCTION threadline.define_triggers(threadline.audited_tables);
DROP FUNCTION threadline.drop_triggers(regclass);
