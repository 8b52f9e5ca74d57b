-- Running a migration writes a row to Diesel's table of migrations, and so runs any code on that table with the rights
-- of the role that runs the migration. The table and all of its code must therefore belong to that role or to a
-- superuser. The check looks up the table in the search_path of the session, as Diesel does, and uses the search_path
-- for nothing else. Code is whatever the triggers, defaults, constraints, indexes and columns of the table depend on. A
-- rule or a policy is always rejected, whatever it does.
DO $check$
DECLARE
  migrations regclass := pg_catalog.to_regclass('__diesel_schema_migrations');
  path text := pg_catalog.current_setting('search_path');
  trusted oid[];
  owned_by oid;
  found text;
  problem text;
  advice text;
BEGIN
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  trusted := ARRAY(SELECT r.oid FROM pg_roles AS r WHERE r.rolsuper OR r.rolname = current_user);
  SELECT c.relowner INTO owned_by FROM pg_class AS c WHERE c.oid = migrations;
  WITH parts AS (
    SELECT 'pg_class'::regclass::oid AS classid, migrations::oid AS objid
     UNION
    SELECT d.classid, d.objid FROM pg_depend AS d
     WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = migrations AND d.deptype IN ('a', 'i'))
  SELECT pg_describe_object(p.classid, p.objid, 0) INTO found
    FROM parts AS p
   WHERE p.classid IN ('pg_rewrite'::regclass, 'pg_policy'::regclass)
      OR EXISTS (SELECT FROM pg_depend AS u
                   LEFT JOIN pg_proc AS f ON u.refclassid = 'pg_proc'::regclass AND f.oid = u.refobjid
                   LEFT JOIN pg_type AS t ON u.refclassid = 'pg_type'::regclass AND t.oid = u.refobjid
                   LEFT JOIN pg_operator AS o ON u.refclassid = 'pg_operator'::regclass AND o.oid = u.refobjid
                  WHERE u.classid = p.classid AND u.objid = p.objid
                    AND coalesce(f.proowner, t.typowner, o.oprowner) <> ALL (trusted))
   ORDER BY 1 LIMIT 1;
  IF NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = migrations AND c.relkind = 'r')
    OR EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhparent = migrations) THEN
    problem := format('%s is not an ordinary table', migrations);
    advice := 'Find out who made it. Rename it, and run the migrations of Threadline again.';
  ELSIF owned_by <> ALL (trusted) THEN
    problem := format('%s belongs to %s, whose code would run as %I', migrations, owned_by::regrole, current_user);
    advice := format('Run the migrations of Threadline as %2$s, or first: ALTER TABLE %1$s OWNER TO %3$I; '
      'GRANT SELECT, INSERT, UPDATE, DELETE ON %1$s TO %2$s;', migrations, owned_by::regrole, current_user);
  ELSIF found IS NOT NULL THEN
    problem := format('%s has code that would run as %I: %s', migrations, current_user, found);
    advice := 'Look at it, and drop it; then run the migrations of Threadline again.';
  END IF;
  IF migrations IS NOT NULL AND problem IS NOT NULL THEN
    RAISE EXCEPTION '%', problem USING ERRCODE = 'object_not_in_prerequisite_state',
      CONSTRAINT = 'threadline_migrations_table', HINT = advice;
  END IF;
  PERFORM pg_catalog.set_config('search_path', path, true);
END
$check$;

-- Nothing in these schemas is granted to PUBLIC. Applications need no right in them to be audited. The owner of the
-- schemas lets roles read the audit log with threadline.grant_reader.
CREATE SCHEMA threadline;
COMMENT ON SCHEMA threadline IS
  'Threadline: who changed what, when and why, and what everything looked like then. The public functions and views.';
CREATE SCHEMA threadline_internal;
COMMENT ON SCHEMA threadline_internal IS
  'Threadline: the implementation of the functions and views of the schema threadline. It changes without notice.';
