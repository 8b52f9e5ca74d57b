//! Law 5: writers need no right on the audit log and get none, and readers get only what they were granted.

use diesel::pg::PgConnection;
use diesel_migrations::MigrationHarness;
use threadline_test_support::Database;

use super::{GRANULARITIES, assert_no_gap, audit, count, ops, texts};
use crate::common::{database, error, run};

/// Roles belong to the whole cluster: these are named after the database, and dropped at the end of the test.
pub(super) struct Roles(PgConnection, Vec<String>);

impl Roles {
    pub(super) fn new<const N: usize>(
        database: &Database,
        names: [&str; N],
    ) -> (Self, [String; N]) {
        let mut conn = database.connect();
        let roles = names.map(|name| format!("{}_{name}", database.name()));
        for role in &roles {
            run(
                &mut conn,
                &format!(
                    "CREATE ROLE {role}; GRANT CREATE, TEMPORARY ON DATABASE \"{}\" TO {role}; GRANT ALL ON SCHEMA public TO {role}",
                    database.name()
                ),
            );
        }
        (Self(conn, roles.to_vec()), roles)
    }
}

impl Drop for Roles {
    fn drop(&mut self) {
        use diesel::connection::SimpleConnection;
        let roles = self.1.join(", ");
        let dropped = self.0.batch_execute(&format!(
            "SET lock_timeout = '5s'; DROP OWNED BY {roles} CASCADE; DROP ROLE {roles}"
        ));
        if let Err(error) = dropped {
            eprintln!("{error}");
        }
    }
}

/// A role without any right on the audit log is captured under its name, SET ROLE included, whatever it does.
#[test]
fn writers_without_rights() {
    for granularity in GRANULARITIES {
        let (database, mut conn) = database(
            "CREATE TABLE t (id int PRIMARY KEY, n int); CREATE TABLE p (id int PRIMARY KEY) PARTITION BY LIST (id); CREATE TABLE p_1 PARTITION OF p DEFAULT",
        );
        let (_roles, [app, other]) = Roles::new(&database, ["app", "Other"]);
        audit(&mut conn, "t", granularity);
        run(
            &mut conn,
            &format!(
                "SELECT threadline.audit_table('p'); GRANT ALL ON t, p TO {app}, {other}; GRANT {other} TO {app}; SET SESSION AUTHORIZATION {app}"
            ),
        );
        run(
            &mut conn,
            "INSERT INTO t VALUES (1), (2); UPDATE t SET n = 1, id = id + 10; DELETE FROM t WHERE id = 11; TRUNCATE t; INSERT INTO p VALUES (1); UPDATE p SET id = 2; TRUNCATE p",
        );
        run(&mut conn, &format!("SET ROLE {other}"));
        run(&mut conn, "INSERT INTO t VALUES (3)");
        run(&mut conn, "RESET SESSION AUTHORIZATION");
        assert_eq!(ops(&mut conn, "t").len(), 9);
        assert_no_gap(&mut conn, "t");
        let roles = texts(
            &mut conn,
            "SELECT concat(database_role, ' ', count(*)) AS value FROM threadline.changes GROUP BY database_role ORDER BY min(id)",
        );
        assert_eq!(
            roles,
            [format!("{app} 12"), format!("{} 1", other.to_lowercase())]
        );
    }
}

/// Whoever was granted nothing is refused by every table, view, sequence and function of the audit log, generated ones included.
#[test]
fn nothing_is_public() {
    let (database, mut conn) = database(
        "CREATE TABLE t (id int PRIMARY KEY, m text); CREATE TABLE c (a text, b text, PRIMARY KEY (a, b)) PARTITION BY LIST (a);
         SELECT threadline.audit_table('t', mask => '{m}'), threadline.audit_table('c'); INSERT INTO t VALUES (1)",
    );
    let (_roles, [app]) = Roles::new(&database, ["app"]);
    let tries = texts(
        &mut conn,
        "SELECT format(CASE relkind WHEN 'S' THEN 'SELECT nextval(''%1$s'')' ELSE verb END, oid::regclass) AS value
           FROM pg_class, unnest(ARRAY['SELECT * FROM %s', 'DELETE FROM %s', 'TRUNCATE %s',
                                       'INSERT INTO %s DEFAULT VALUES']) AS verb
          WHERE relnamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace) AND relkind IN ('r', 'p', 'v', 'S') AND NOT (relkind = 'v' AND verb NOT LIKE 'SELECT%')
         UNION ALL
         SELECT format(CASE prorettype WHEN 'trigger'::regtype THEN 'CREATE TABLE own_%1$s (id int); CREATE TRIGGER own BEFORE INSERT ON own_%1$s FOR EACH STATEMENT EXECUTE FUNCTION %3$I.%1$I()'
                  ELSE 'SELECT %3$I.%1$I(%2$s)' END, proname,
                (SELECT string_agg('NULL::' || CASE t WHEN 'anyelement'::regtype THEN 't' ELSE t::regtype::text END, ', ' ORDER BY p) FROM unnest(proargtypes::oid[]) WITH ORDINALITY AS a (t, p)), pronamespace::regnamespace::text)
           FROM pg_proc WHERE pronamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace)",
    );
    assert!(tries.len() > 50, "{tries:?}");
    for usage in [false, true] {
        if usage {
            run(
                &mut conn,
                &format!("GRANT USAGE ON SCHEMA threadline, threadline_internal TO {app}"),
            );
        }
        run(&mut conn, &format!("SET SESSION AUTHORIZATION {app}"));
        for sql in &tries {
            let message = error(&mut conn, sql);
            assert!(
                message.starts_with("permission denied for "),
                "{sql}: {message}"
            );
        }
        run(&mut conn, "RESET SESSION AUTHORIZATION");
    }
    let public = "SELECT count(*) FROM pg_proc WHERE pronamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace)
        AND (proacl IS NULL OR EXISTS (SELECT FROM aclexplode(proacl) WHERE grantee = 0))";
    assert_eq!(count(&mut conn, public), 0);
}

/// `grant_reader` lets a role read the audit log of tables audited before and after it, and write nothing.
#[test]
fn readers() {
    let (database, mut conn) = database(
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (x text, y int, PRIMARY KEY (x, y)); SELECT threadline.audit_table('a')",
    );
    let (_roles, [reader]) = Roles::new(&database, ["reader"]);
    run(&mut conn, &format!("SELECT threadline.grant_reader('{reader}'); SELECT threadline.audit_table('b'); INSERT INTO a VALUES (1); INSERT INTO b VALUES ('x', 1);
        ALTER TABLE b RENAME x TO z; SELECT threadline.refresh_audited_tables(); SELECT threadline_internal.create_partitions(9); SET SESSION AUTHORIZATION {reader}"));
    for sql in [
        "threadline.versions(NULL::a)",
        "threadline.versions(NULL::a, 1)",
        "threadline.versions(NULL::b)",
        "threadline.versions(NULL::b, 'x', 1)",
    ] {
        assert_eq!(
            count(&mut conn, &format!("SELECT count(typed_row) FROM {sql}")),
            1,
            "{sql}"
        );
    }
    assert_eq!(
        count(&mut conn, "SELECT count(*) FROM threadline.changes"),
        2
    );
    for sql in [
        "DELETE FROM threadline.audit_changes",
        "UPDATE threadline.audit_transactions SET meta = NULL",
        "SELECT threadline.unaudit_table('a')",
        "SELECT threadline_internal.create_partitions()",
        "INSERT INTO threadline.audit_actions DEFAULT VALUES",
        "SELECT threadline_internal.enter_transaction(now(), 1)",
    ] {
        let message = error(&mut conn, sql);
        assert!(message.starts_with("permission denied"), "{sql}: {message}");
    }
}

/// Where the audit log's owner does not own the table, it must be able to read it, and is told so; row level security then
/// hides nothing: an owner that bypasses it captures all, and any other gets a loud error where it would miss rows.
#[test]
fn other_owners_and_row_level_security() {
    let database = Database::empty();
    let mut conn = database.connect();
    let (_roles, [log, app]) = Roles::new(&database, ["log", "app"]);
    run(&mut conn, &format!("SET ROLE {log}"));
    conn.run_pending_migrations(threadline::MIGRATIONS).unwrap();
    run(
        &mut conn,
        &format!(
            "RESET ROLE; SET ROLE {app}; CREATE TABLE t (id int PRIMARY KEY, n int); GRANT TRIGGER, UPDATE ON t TO {log}; RESET ROLE; SET ROLE {log}"
        ),
    );
    let message = error(&mut conn, "SELECT threadline.audit_table('t')");
    assert_eq!(
        message,
        format!(
            "cannot audit public.t: {log}, the owner of the audit log, may not read it HINT: GRANT SELECT ON public.t TO {log}; it is needed to record what TRUNCATE removes."
        )
    );
    let policy = "ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY odd ON t USING (id % 2 = 1) WITH CHECK (true)";
    run(
        &mut conn,
        &format!(
            "RESET ROLE; GRANT SELECT ON t TO {log}; SET ROLE {log}; SELECT threadline.audit_table('t'); RESET ROLE; SET ROLE {app}; {policy}"
        ),
    );
    run(
        &mut conn,
        "INSERT INTO t VALUES (1), (2), (3); UPDATE t SET n = 1",
    );
    let message = error(&mut conn, "TRUNCATE t");
    assert_eq!(
        message,
        "query would be affected by row-level security policy for table \"t\""
    );
    run(
        &mut conn,
        &format!(
            "RESET ROLE; ALTER ROLE {log} BYPASSRLS; ALTER TABLE t FORCE ROW LEVEL SECURITY; SET ROLE {app}"
        ),
    );
    run(&mut conn, "UPDATE t SET n = 2; TRUNCATE t; RESET ROLE");
    assert_eq!(
        ops(&mut conn, "t").join(", "),
        "insert 1, insert 2, insert 3, update 1, update 2, update 3, update 1, update 3, truncate 2, truncate 1, truncate 3"
    );
}
