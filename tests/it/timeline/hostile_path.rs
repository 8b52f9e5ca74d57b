//! What runs with the `search_path` of whoever reads takes nothing from there.

use crate::common::{database, run};

/// An operator for each of `pg_catalog`'s that could be taken for it, which fails.
const SHADOWS: &str = "
    CREATE SCHEMA hostile;
    DO $do$
    DECLARE
      o record;
    BEGIN
      FOR o IN SELECT oid, oprname, oprleft::regtype AS l, oprright::regtype AS r, oprresult::regtype AS gives FROM pg_operator
                WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprkind = 'b' LOOP
        BEGIN
          EXECUTE format('CREATE FUNCTION hostile.f_%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS $f$ BEGIN RAISE EXCEPTION ''hostile %%'', %L; END $f$',
            o.oid, o.l, o.r, o.gives, o.oid::regoperator);
          EXECUTE format('CREATE OPERATOR hostile.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = hostile.f_%s)', o.oprname, o.l, o.r, o.oid);
        EXCEPTION WHEN invalid_function_definition OR undefined_function OR datatype_mismatch THEN NULL; -- of internal types
        END;
      END LOOP;
    END $do$";

/// Operators before those of `pg_catalog` in the `search_path` are not called, those that `CASE` and `nullif` imply included.
#[test]
fn operators() {
    let (_database, mut conn) = database(
        r#"CREATE TABLE t (id int PRIMARY KEY, a text, b text); CREATE TABLE pairs (a int, b text, PRIMARY KEY (a, b)); CREATE TABLE keyless (a text);
           SELECT threadline.audit_table('t', mask => '{b}'), threadline.audit_table('pairs'), threadline.audit_table('keyless');
           SET threadline.actor_ref = '{"type": "user", "id": "ada"}';
           INSERT INTO t VALUES (1, 'x'); UPDATE t SET a = 'y', b = 'z'; INSERT INTO pairs VALUES (1, 'x'); DELETE FROM pairs; INSERT INTO keyless VALUES ('x');
           ALTER TABLE t RENAME a TO c; ALTER TABLE t ADD d int DEFAULT 1; SELECT threadline.refresh_audited_tables();
           BEGIN; INSERT INTO t VALUES (2); SELECT threadline.record_action('user.invited'); COMMIT"#,
    );
    run(&mut conn, SHADOWS);
    run(&mut conn, "SET search_path = hostile, pg_catalog, public");
    for filter in [
        "{}",
        r#"{"actor_ref": {"type": "user", "id": "ada"}}"#,
        r#"{"row_key": "1"}"#,
    ] {
        for function in ["timeline", "timeline_export", "timeline_count"] {
            run(
                &mut conn,
                &format!("SELECT f.* FROM threadline.{function}('{filter}') AS f"),
            );
        }
    }
    run(
        &mut conn,
        "SELECT f.* FROM threadline.transactions() AS f; SELECT f.* FROM threadline.actions() AS f;
         SELECT f.* FROM threadline.versions(NULL::public.t) AS f; SELECT f.* FROM threadline_internal.timeline_table(NULL::public.t) AS f",
    );
}
