//! Law 2: a schema migration under running writers never makes a write fail, and never loses a value.

use std::sync::atomic::{AtomicBool, Ordering};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use threadline_test_support::Database;

use super::{GRANULARITIES, audit, count};
use crate::common::{database, run, text};

/// Three writers insert, update, move and delete rows, naming only the columns `id` and `n`, while `ddl` runs.
/// Returns how many writes there were; none of them may fail.
fn under_writers(database: &Database, ddl: impl FnOnce(&mut PgConnection)) -> i64 {
    let done = AtomicBool::new(false);
    let (done, mut conn) = (&done, database.connect());
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let mut conn = database.connect();
                scope.spawn(move || {
                    let mut writes = 0;
                    for id in (writer..).step_by(3) {
                        if done.load(Ordering::Relaxed) && id > 60 {
                            break;
                        }
                        for sql in [
                            format!("INSERT INTO t (id, n) VALUES ({id}, 0)"),
                            format!("UPDATE t SET n = n + 1 WHERE id = {id}"),
                            format!("UPDATE t SET n = n WHERE id = {id}"),
                            format!("UPDATE t SET id = -{id} - 1, n = 7 WHERE id = {id}"),
                            format!("DELETE FROM t WHERE id = -{id} - 1 AND {id} % 2 = 0"),
                        ] {
                            if let Err(error) = conn.batch_execute(&sql) {
                                done.store(true, Ordering::Relaxed);
                                panic!("{error}\nin: {sql}");
                            }
                        }
                        writes += if id % 2 == 0 { 5 } else { 4 };
                    }
                    writes
                })
            })
            .collect();
        ddl(&mut conn);
        done.store(true, Ordering::Relaxed);
        writers
            .into_iter()
            .map(|w| w.join().expect("no write fails"))
            .sum()
    })
}

/// Columns are added, dropped, renamed and retyped under running writers: no write fails, none is lost, and after the
/// refresh all versions can be read. (A name that came and went between two refreshes is nowhere but in the images.)
#[test]
fn columns_under_running_writers() {
    for granularity in GRANULARITIES {
        let (database, mut conn) = database(
            "CREATE TABLE t (id int PRIMARY KEY, n int, gone text DEFAULT 'g', named text DEFAULT 'n', kind int DEFAULT 5,
                             secret text DEFAULT 'SECRET', hidden text DEFAULT 'SECRET')",
        );
        run(
            &mut conn,
            &format!(
                "SELECT threadline.audit_table('t', mask => '{{secret}}', exclude => '{{hidden}}', granularity => '{granularity}')"
            ),
        );
        let writes = under_writers(&database, |conn| {
            for round in 0..3 {
                for ddl in [
                    format!("ALTER TABLE t ADD COLUMN new{round} text NOT NULL DEFAULT 'new'"),
                    "ALTER TABLE t DROP COLUMN gone".into(),
                    "ALTER TABLE t RENAME COLUMN named TO renamed".into(),
                    "ALTER TABLE t RENAME COLUMN secret TO open".into(),
                    "ALTER TABLE t RENAME COLUMN hidden TO shown".into(),
                    "ALTER TABLE t ALTER COLUMN kind TYPE text".into(),
                    "ALTER TABLE t ALTER COLUMN id TYPE bigint".into(),
                    "ALTER TABLE t ADD COLUMN gone text DEFAULT 'g'".into(),
                    "ALTER TABLE t RENAME COLUMN renamed TO named".into(),
                    "ALTER TABLE t RENAME COLUMN open TO secret".into(),
                    "ALTER TABLE t RENAME COLUMN shown TO hidden".into(),
                    "ALTER TABLE t ALTER COLUMN kind TYPE int USING kind::int".into(),
                    "ALTER TABLE t ALTER COLUMN id TYPE int".into(),
                ] {
                    run(conn, &ddl);
                }
            }
        });
        assert_eq!(
            count(&mut conn, "SELECT count(*) FROM threadline.audit_changes"),
            writes
        );
        run(&mut conn, "SELECT threadline.refresh_audited_tables()");
        assert_eq!(
            count(
                &mut conn,
                "SELECT count(*) FROM threadline.versions(NULL::t) WHERE \"row\" ->> 'id' IS NOT NULL AND 'n' IN (\"row\" ->> 'named', \"row\" ->> 'renamed')"
            ),
            writes
        );
        assert_eq!(super::whole_record(&mut conn).find("SECRET"), None);
        assert_eq!(
            count(
                &mut conn,
                "SELECT count(*) FROM threadline.versions(NULL::t, -2) WHERE \"row\" ? 'n'"
            ),
            1
        );
    }
}

/// The table is renamed and moved to another schema under running writers of a view on it.
#[test]
fn table_under_running_writers() {
    for granularity in GRANULARITIES {
        let (database, mut conn) = database(
            "CREATE SCHEMA s; CREATE TABLE base (id int PRIMARY KEY, n int); CREATE VIEW t AS SELECT * FROM base",
        );
        audit(&mut conn, "base", granularity);
        let writes = under_writers(&database, |conn| {
            for _ in 0..10 {
                run(conn, "ALTER TABLE base RENAME TO \"Base 2\"");
                run(conn, "ALTER TABLE \"Base 2\" SET SCHEMA s");
                run(conn, "ALTER TABLE s.\"Base 2\" RENAME TO base");
                run(conn, "ALTER TABLE s.base SET SCHEMA public");
                run(conn, "SELECT threadline.refresh_audited_tables()");
            }
            run(conn, "ALTER TABLE base RENAME TO elsewhere");
        });
        assert_eq!(
            count(&mut conn, "SELECT count(*) FROM threadline.audit_changes"),
            writes
        );
        super::assert_no_gap(&mut conn, "elsewhere");
        run(&mut conn, "TRUNCATE elsewhere");
        assert_eq!(
            text(
                &mut conn,
                "SELECT max(op) FROM threadline.changes WHERE table_name = 'elsewhere'"
            )
            .as_deref(),
            Some("update")
        );
        super::assert_no_gap(&mut conn, "elsewhere");
    }
}

/// Refreshing, auditing anew with other arguments and ending capture under running writers fails no write.
#[test]
fn audit_table_under_running_writers() {
    let (database, mut conn) = database("CREATE TABLE t (id int PRIMARY KEY, n int, name text)");
    run(&mut conn, "SELECT threadline.audit_table('t')");
    let writes = under_writers(&database, |conn| {
        for round in 0..6 {
            run(
                conn,
                &format!(
                    "SELECT threadline.audit_table('t', granularity => '{}')",
                    GRANULARITIES[round % 2]
                ),
            );
            run(conn, "SELECT threadline.audit_table('t', mask => '{name}')");
            run(
                conn,
                "ALTER TABLE t RENAME COLUMN name TO called; SELECT threadline.refresh_audited_tables(); ALTER TABLE t RENAME COLUMN called TO name; SELECT threadline.audit_table('t')",
            );
        }
    });
    assert_eq!(
        count(&mut conn, "SELECT count(*) FROM threadline.audit_changes"),
        writes
    );
    run(&mut conn, "TRUNCATE t");
    under_writers(&database, |conn| {
        for _ in 0..5 {
            run(conn, "SELECT threadline.unaudit_table('t')");
            run(conn, "SELECT threadline.audit_table('t')");
        }
    });
}

/// An id that is too long for an index, and cannot be compressed, makes no write fail; it is kept as evidence.
#[test]
fn long_ids_in_settings() {
    let (_database, mut conn) =
        database("CREATE TABLE t (id serial PRIMARY KEY); SELECT threadline.audit_table('t')");
    run(
        &mut conn,
        "CREATE FUNCTION long() RETURNS text LANGUAGE sql AS $$
           SELECT string_agg(md5(n::text), '') FROM generate_series(1, 200) AS n $$;
         SELECT set_config('threadline.actor_ref', jsonb_build_object('type', 'user', 'id', long())::text, false),
                set_config('threadline.context', jsonb_build_object('correlation_id', long(),
                  'on_behalf_of', jsonb_build_object('type', 'user', 'id', long()))::text, false)",
    );
    run(&mut conn, "INSERT INTO t DEFAULT VALUES");
    // In a nested context, which is kept with the change.
    run(
        &mut conn,
        "BEGIN; SET LOCAL threadline.actor_ref = ''; SET LOCAL threadline.context = ''; INSERT INTO t DEFAULT VALUES; COMMIT;
         BEGIN; SET LOCAL threadline.actor_ref = ''; INSERT INTO t DEFAULT VALUES;
         SELECT set_config('threadline.actor_ref', jsonb_build_object('type', 'user', 'id', long())::text, true);
         INSERT INTO t DEFAULT VALUES; COMMIT",
    );
    let evidence = "SELECT count(*) FROM threadline.audit_transactions WHERE length(correlation_id) = 1000 AND meta -> 'shortened' = '[\"correlation_id\"]'";
    assert_eq!(count(&mut conn, evidence), 2);
    let evidence = "SELECT count(*) FROM threadline.audit_transactions WHERE actor_ref IS NULL AND on_behalf_of IS NULL AND meta ? 'unreadable_actor_ref'";
    assert_eq!(count(&mut conn, evidence), 1);
    assert_eq!(
        count(&mut conn, "SELECT count(*) FROM threadline.audit_changes"),
        4
    );
}

/// No setting, however malformed, makes a write fail; what was said is kept as evidence.
#[test]
fn garbage_in_settings() {
    let (_database, mut conn) =
        database("CREATE TABLE t (id serial PRIMARY KEY); SELECT threadline.audit_table('t')");
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let garbage = [
        "x",
        "{",
        "null",
        "1",
        "[]",
        "[1]",
        "\"x\"",
        "{}",
        "{\"type\":1}",
        "{\"type\":\"user\",\"id\":1}",
        "{\"type\":\"user\",\"id\":\"\"}",
        "{\"type\":[],\"id\":{}}",
        "{\"remote_ip\":\"nowhere\"}",
        "{\"remote_ip\":[]}",
        "{\"meta\":\"\\u0000\"}",
        "{\"meta\":1e999999}",
        "{\"meta\":null,\"source\":{}}",
        "{\"outer\":{\"outer\":[]},\"context\":\"{\"}",
        "{\"actor_ref\":\"{\",\"outer\":1}",
        "\u{1}",
        "\\ud800",
        &deep,
    ];
    for setting in [
        "actor_ref",
        "context",
        "outer_context",
        "entered_with",
        "entered",
        "moving",
        "inserting",
    ] {
        for value in garbage {
            diesel::sql_query("SELECT set_config('threadline.' || $1, $2, false)")
                .bind::<diesel::sql_types::Text, _>(setting)
                .bind::<diesel::sql_types::Text, _>(value)
                .execute(&mut conn)
                .expect("a setting takes any text");
            run(&mut conn, "INSERT INTO t DEFAULT VALUES");
        }
        run(&mut conn, &format!("SET threadline.{setting} = ''"));
    }
    let writes = i64::try_from(garbage.len() * 7).expect("few");
    assert_eq!(
        count(
            &mut conn,
            "SELECT count(*) FROM threadline.audit_transactions WHERE actor_ref IS NULL"
        ),
        writes
    );
    super::assert_no_gap(&mut conn, "t");
}

/// What is wrong with one part of a context hides nothing that is wrong with another: each is told, and the rest is kept.
#[test]
fn several_wrong_parts() {
    let (_database, mut conn) = database(
        "CREATE TABLE t (id serial PRIMARY KEY, n int); SELECT threadline.audit_table('t')",
    );
    let actors = ["", r#"{"type":"user","id":"7"}"#, "nobody"];
    let addresses = ["", r#""remote_ip":"192.0.2.7""#, r#""remote_ip":"nowhere""#];
    let behalves = [
        "",
        r#""on_behalf_of":{"type":"user","id":"8"}"#,
        r#""on_behalf_of":"nobody""#,
    ];
    let long = format!(r#""correlation_id":"{}""#, "x".repeat(1001));
    let correlations = ["", r#""correlation_id":"a""#, &long];
    let metas = ["", r#""meta":{"k":1}"#, r#""meta":[2]"#];
    let mut written = 0;
    for (a, actor) in actors.iter().enumerate() {
        for n in 0..81 {
            let parts = [n % 3, n / 3 % 3, n / 9 % 3, n / 27];
            let [address, behalf, correlation, meta] = parts;
            let said = [
                addresses[address],
                behalves[behalf],
                correlations[correlation],
                metas[meta],
            ];
            let said: Vec<_> = said.into_iter().filter(|part| !part.is_empty()).collect();
            let context = if said.is_empty() {
                String::new()
            } else {
                format!("{{{}}}", said.join(","))
            };
            // As the context of a transaction, and as that of a change in one without any.
            let set = format!(
                "SET LOCAL threadline.actor_ref = '{actor}'; SET LOCAL threadline.context = '{context}'"
            );
            run(
                &mut conn,
                &format!(
                    "BEGIN; {set}; INSERT INTO t (n) VALUES (1); COMMIT; BEGIN; INSERT INTO t (n) VALUES (1); {set}; UPDATE t SET n = 2 WHERE n = 1 AND id = currval('t_id_seq'); COMMIT"
                ),
            );
            written += 1;
            // An address that is none makes all of a context unreadable, as ever.
            let unreadable = address == 2;
            let expected = [
                (a == 1, "actor_ref", "7"),
                (address == 1, "remote_ip", "192.0.2.7"),
                (behalf == 1 && !unreadable, "on_behalf_of", "8"),
                (correlation == 1 && !unreadable, "correlation_id", "a"),
                (a == 2, "meta", "unreadable_actor_ref"),
                (unreadable, "meta", "unreadable_context"),
                (
                    behalf == 2 && !unreadable,
                    "meta",
                    "unreadable_on_behalf_of",
                ),
                (
                    correlation == 2 && !unreadable,
                    "meta",
                    r#""shortened": ["correlation_id"]"#,
                ),
            ];
            for (present, column, value) in expected {
                let found = format!(
                    "SELECT count(*) FROM (SELECT * FROM threadline.changes ORDER BY id DESC LIMIT 3) AS c WHERE coalesce({column}::text, '') LIKE '%{value}%' AND id <> (SELECT max(id) - 1 FROM threadline.changes)"
                );
                assert_eq!(
                    count(&mut conn, &found),
                    if present { 2 } else { 0 },
                    "{column} {value} of {actor} {context}"
                );
            }
        }
    }
    let addresses = "SELECT count(remote_ip) FROM threadline.changes";
    assert_eq!(count(&mut conn, addresses), written / 3 * 2);
}

/// An unrelated serializable transaction is not made to fail by what capture reads and writes beside it.
#[test]
fn serializable_neighbours() {
    for granularity in GRANULARITIES {
        let (database, mut conn) = database(
            "CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t SELECT g, repeat('x', 500) FROM generate_series(1, 10000) AS g; ANALYZE t",
        );
        audit(&mut conn, "t", granularity);
        for round in 0..3 {
            let mut sessions: Vec<_> = (0..4).map(|_| database.connect()).collect();
            for (n, session) in sessions.iter_mut().enumerate() {
                run(
                    session,
                    &format!(
                        "BEGIN ISOLATION LEVEL SERIALIZABLE; UPDATE t SET name = '{round}' WHERE id = {}",
                        10 + n * 3000
                    ),
                );
            }
            for (n, session) in sessions.iter_mut().enumerate().rev() {
                run(
                    session,
                    &format!("DELETE FROM t WHERE id = {}", 20 + round + n * 3000),
                );
                run(session, "COMMIT");
            }
        }
        assert_eq!(
            count(
                &mut conn,
                "SELECT count(*) FROM threadline.audit_transactions"
            ),
            12
        );
        assert_eq!(
            count(&mut conn, "SELECT count(*) FROM threadline.audit_changes"),
            24
        );
    }
}

/// A bulk statement after single ones in the same session is not caught in the plan made for a single row.
#[test]
fn bulk_after_single_rows() {
    let (_database, mut conn) = database(
        "CREATE TABLE t (id int PRIMARY KEY, n int); SELECT threadline.audit_table('t');
         INSERT INTO t VALUES (0, 0); UPDATE t SET n = 1; UPDATE t SET n = 2; DELETE FROM t;
         INSERT INTO t SELECT g, 0 FROM generate_series(1, 20000) AS g; SET statement_timeout = '60s'; UPDATE t SET n = id; DELETE FROM t",
    );
    super::assert_no_gap(&mut conn, "t");
}

/// A key that fits into the index of its own table is captured, however long it is and whatever becomes of it as JSON; and found.
#[test]
fn long_keys() {
    let (_database, mut conn) = database(
        "CREATE TABLE named (id text PRIMARY KEY); CREATE TABLE pairs (a text, b text, PRIMARY KEY (a, b));
         SELECT threadline.audit_table('named'), threadline.audit_table('pairs')",
    );
    // What cannot be compressed; and quotes, which JSON doubles.
    let random = "(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 100))";
    run(
        &mut conn,
        &format!(
            "INSERT INTO named SELECT left({random}, 2690); INSERT INTO named SELECT repeat('x', 500) || left({random}, 2190);
             INSERT INTO pairs SELECT left(replace({random}, 'a', '\"'), 1330), left(replace({random}, '7', chr(1)), 1330)"
        ),
    );
    let found = |table: &str, id: i32, key: &str| {
        format!("SELECT bool_and(1 = (SELECT count(*) FROM threadline.versions(NULL::{table}, {key}))
                            AND 1 = (SELECT count(*) FROM threadline.timeline(jsonb_build_object('row_key', threadline_internal.row_key_{id}(ROW({key}))))))::text FROM {table}")
    };
    assert_eq!(
        text(&mut conn, &found("named", 1, "id")).as_deref(),
        Some("true")
    );
    assert_eq!(
        text(&mut conn, &found("pairs", 2, "a, b")).as_deref(),
        Some("true")
    );
}

/// A column whose name is that of an alias in our own statements makes no write fail, at any level of isolation.
#[test]
fn columns_called_as_our_aliases() {
    let (_database, mut conn) = database(
        "CREATE TABLE t (id int PRIMARY KEY, r text, t text, c text, o text, n text, k text, d text, s text);
         SELECT threadline.audit_table('t'); ALTER TABLE t ADD p text",
    );
    for isolation in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        run(
            &mut conn,
            &format!(
                "BEGIN ISOLATION LEVEL {isolation}; INSERT INTO t (id, r, t, p) VALUES (1, 'r', 't', 'p'); UPDATE t SET r = 'changed';
                 DELETE FROM t; COMMIT; ALTER TABLE t ADD \"{isolation}\" text"
            ),
        );
    }
    assert_eq!(
        count(&mut conn, "SELECT count(*) FROM threadline.audit_changes"),
        9
    );
}
