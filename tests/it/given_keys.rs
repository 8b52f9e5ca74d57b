//! Keys that are given as text: every place that takes one reads it as the types of the key do, and refuses what is no key.

use diesel::PgConnection;
use diesel::prelude::*;
use threadline::{ActorRef, Error, redact, timeline};

use crate::common::{count, create_caseless, database, error, run, text};

/// The columns of a key, a key as SQL, as the audit log has it, other spellings of it, and what is no key at all.
type Case = (
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

const CASES: &[Case] = &[
    (
        "id int",
        "1",
        "1",
        &["01", "+1", " 1", "1 "],
        &["abc", "", "1.5", "2147483648", "[1]"],
    ),
    ("id smallint", "-7", "-7", &["-07"], &["32768", "x"]),
    (
        "id bigint",
        "9007199254740993",
        "9007199254740993",
        &["09007199254740993"],
        &["9223372036854775808", "1e2"],
    ),
    (
        "id uuid",
        "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        &[
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc999c0b4ef8bb6d6bb9bd380a11}",
        ],
        &["a0eebc99", "1"],
    ),
    (
        "id numeric",
        "150",
        "150",
        &["1.5e2", "150.00", "0150"],
        &["x", "1,5"],
    ),
    (
        "id numeric(6, 2)",
        "1.50",
        "1.5",
        &["1.50", "1.5"],
        &["123456"],
    ),
    (
        "id bool",
        "true",
        "true",
        &["t", "yes", "TRUE", "1"],
        &["maybe"],
    ),
    (
        "id date",
        "'2026-01-02'",
        "2026-01-02",
        &["20260102", "January 2, 2026"],
        &["2026-13-01"],
    ),
    (
        "id timestamptz",
        "'2026-11-01T07:00:00+00'",
        "2026-11-01T07:00:00+00:00",
        &[
            "2026-11-01 07:00:00+00",
            "2026-11-01T08:00:00+01:00",
            "2026-11-01 07:00:00",
        ],
        &["yesterday evening"],
    ),
    (
        "id bytea",
        r"'\xdeadbeef'",
        r"\xdeadbeef",
        &[r"\xDEADBEEF", r"\336\255\276\357"],
        &[r"\xDEADBEE"],
    ),
    ("id char(4)", "'ab'", "ab", &["ab  "], &["abcde"]),
    ("id varchar(4)", "'ab'", "ab", &[], &["abcde"]),
    (
        "id inet",
        "'10.0.0.1'",
        "10.0.0.1",
        &["10.0.0.1/32"],
        &["10.0.0.256"],
    ),
    (
        "id int4range",
        "'[1,5)'",
        "[1,5)",
        &["[1,4]", "[1, 5)"],
        &["[5,1]"],
    ),
    (
        "id int[]",
        "'{1,2}'",
        "[1, 2]",
        &["[1,2]", "{1,2}", "{ 1, 02 }"],
        &["{a}", r#"["a"]"#],
    ),
    (
        "id interval",
        "'1 day'",
        "1 day",
        &["24:00:00", "P1D"],
        &["soon"],
    ),
    ("id citext", "'Ada'", "Ada", &["ADA", "ada"], &[]),
    (
        "id text COLLATE caseless",
        "'Ada'",
        "Ada",
        &["ADA", "ada"],
        &[],
    ),
    ("id mood", "'sad'", "sad", &[], &["happy", "SAD"]),
    ("id positive", "7", "7", &["07"], &["x"]),
    (
        "id json_key",
        r#"'{"b": 1, "a": 2}'"#,
        r#"{"a": 2, "b": 1}"#,
        &[r#"{"b":1,"a":2}"#],
        &["{"],
    ),
    (
        "a int, b text",
        "1, 'x, y'",
        r#"[1, "x, y"]"#,
        &[
            r#"[1,"x, y"]"#,
            r#"["01", "x, y"]"#,
            "[ 1 ,\n\"x, y\" ]",
            r#"[1,"\u0078, y"]"#,
        ],
        &[
            "[1]",
            "[1, \"x\", 2]",
            r#"["a", "x"]"#,
            "1",
            r"[1, null]",
            r#"{"a": 1}"#,
            "[1, x]",
        ],
    ),
    (
        "a uuid, b numeric",
        "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 1.50",
        r#"["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", 1.5]"#,
        &[
            r#"["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", 1.50]"#,
            r#"["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "15e-1"]"#,
        ],
        &[r#"["x", 1]"#],
    ),
    (
        "a citext, b int",
        "'Ada', 1",
        r#"["Ada", 1]"#,
        &[r#"["ADA",1]"#],
        &[r#"["Ada", "x"]"#],
    ),
];

fn table((columns, value, ..): &Case) -> String {
    let names: Vec<_> = columns
        .split(", ")
        .filter_map(|column| column.split_once(' '))
        .map(|(name, _)| name)
        .filter(|name| name.parse::<u8>().is_err() && !name.contains(')'))
        .collect();
    format!(
        "CREATE TABLE t ({columns}, note text, PRIMARY KEY ({})); SELECT threadline.audit_table('t');
         INSERT INTO t VALUES ({value}, 'secret')",
        names.join(", ")
    )
}

const TYPES: &str = "CREATE EXTENSION citext; CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN positive AS int CHECK (value > 0);
    CREATE DOMAIN json_key AS jsonb";

fn each_case(of: impl Fn(&mut PgConnection, &Case)) {
    let (_database, mut conn) = database(TYPES);
    let has_caseless = create_caseless(&mut conn);
    for case in CASES {
        if case.0.contains("caseless") && !has_caseless {
            continue;
        }
        run(&mut conn, &table(case));
        of(&mut conn, case);
        run(
            &mut conn,
            "DROP TABLE t CASCADE; TRUNCATE threadline.audited_tables, threadline.audit_changes, threadline.audit_actions CASCADE",
        );
    }
}

fn found(conn: &mut PgConnection, key: &str) -> QueryResult<i64> {
    timeline()
        .table_named("t")
        .row_key(key)
        .count()
        .get_result(conn)
}

/// A key finds the changes of its row in every spelling that its types read.
#[test]
fn every_spelling_is_read() {
    each_case(|conn, case @ (_, _, recorded, spellings, _)| {
        for zone in ["UTC", "America/New_York"] {
            run(
                conn,
                &format!("SET TimeZone = '{zone}'; SET DateStyle = 'SQL, DMY'"),
            );
            for key in [*recorded].iter().chain(*spellings) {
                assert_eq!(found(conn, key), Ok(1), "{key} of {case:?}");
                let page: Vec<threadline::TimelineEntry> = timeline()
                    .table_named("t")
                    .row_key(*key)
                    .load(conn)
                    .unwrap();
                assert_eq!(
                    page[0].row_key.as_deref(),
                    Some(*recorded),
                    "{key} of {case:?}"
                );
                // Of all tables, that is of those it is a key of.
                assert_eq!(
                    timeline().row_key(*key).count().get_result::<i64>(conn),
                    Ok(1),
                    "{key} of {case:?}"
                );
            }
        }
    });
}

/// A hold of a row is placed in every spelling of its key, and keeps what `audit_changes` has under its own.
#[test]
fn holds_read_every_spelling() {
    each_case(|conn, case @ (_, _, recorded, spellings, none)| {
        run(
            conn,
            "SET threadline.actor_ref = '{\"type\": \"user\", \"id\": \"1\"}'",
        );
        for key in [*recorded].iter().chain(*spellings) {
            let place = "SELECT threadline.place_hold('case 12', 't', $1, NULL)::bigint";
            let placed = diesel::sql_query(place)
                .bind::<diesel::sql_types::Text, _>(*key)
                .execute(conn);
            assert!(placed.is_ok(), "{key} of {case:?}: {placed:?}");
            assert_eq!(
                text(conn, "SELECT max(row_key) FROM threadline.legal_holds").as_deref(),
                Some(*recorded)
            );
            run(conn, "DELETE FROM threadline.legal_holds");
        }
        for key in *none {
            let place = "SELECT threadline.place_hold('case 12', 't', $1, NULL)";
            let refused = diesel::sql_query(place)
                .bind::<diesel::sql_types::Text, _>(*key)
                .execute(conn)
                .unwrap_err();
            assert!(
                refused.to_string().contains("is no key of public.t: "),
                "{key} of {case:?}: {refused}"
            );
        }
    });
}

/// What is no key of the table is an error, which names the columns of the key and their types.
#[test]
fn what_is_no_key_is_refused() {
    each_case(|conn, case @ (columns, _, _, _, none)| {
        for key in *none {
            let refused = found(conn, key).unwrap_err();
            let diesel::result::Error::DatabaseError(_, info) = &refused else {
                panic!("{refused:?}")
            };
            assert!(
                info.message().contains("is no key of public.t: "),
                "{key} of {case:?}: {refused}"
            );
            let first = columns.split(' ').next().unwrap();
            let hint = info.hint().unwrap();
            assert!(
                hint.starts_with("The primary key is") && hint.contains(first),
                "{key}: {hint}"
            );
            let redacted = redact("t").row(*key).mask(["note"]).plan(conn).unwrap_err();
            assert!(
                matches!(redacted, Error::Refused { .. }),
                "{key} of {case:?}: {redacted}"
            );
        }
    });
}

/// A redaction finds the row in every spelling of its key.
#[test]
fn redactions_read_every_spelling() {
    each_case(|conn, case @ (columns, _, recorded, spellings, _)| {
        if columns.contains("json_key") {
            return; // A key of one jsonb column cannot be redacted.
        }
        for key in [*recorded].iter().chain(*spellings) {
            let plan = redact("t").row(*key).mask(["note"]).plan(conn).unwrap();
            assert_eq!((plan.rows, plan.changes), (1, 1), "{key} of {case:?}");
        }
        let key = spellings.last().unwrap_or(recorded);
        let redaction = redact("t")
            .row(*key)
            .mask(["note"])
            .actor(ActorRef::admin("dpo"))
            .reason("request");
        let done = redaction.run(conn).unwrap();
        assert_eq!((done.rows, done.values), (1, 1), "{key} of {case:?}");
        assert_eq!(
            count(
                conn,
                "threadline.audit_changes AS c WHERE c::text LIKE '%secret%'"
            ),
            0
        );
    });
}

/// An erasure of nothing is not recorded as done.
#[test]
fn an_erasure_of_nothing_is_refused() {
    let (_database, mut conn) = database(
        "CREATE TABLE t (id int PRIMARY KEY, note text); SELECT threadline.audit_table('t'); INSERT INTO t VALUES (1, 'secret')",
    );
    let of = |key: i32| {
        redact("t")
            .row(key)
            .mask(["note"])
            .actor(ActorRef::admin("dpo"))
            .reason("request")
    };
    let refused = of(2).run(&mut conn).unwrap_err();
    assert!(
        refused.to_string().contains("nothing is recorded of 2"),
        "{refused}"
    );
    assert_eq!(count(&mut conn, "threadline.audit_actions"), 0);
    of(1).run(&mut conn).unwrap();
    let refused = of(1).run(&mut conn).unwrap_err();
    assert!(
        refused.to_string().contains("no such values any more"),
        "{refused}"
    );
    assert_eq!(count(&mut conn, "threadline.audit_actions"), 1);
}

/// Of a table that was dropped, and of a type that has changed, a key is found as it was recorded.
#[test]
fn recorded_spellings_stay_keys() {
    let (_database, mut conn) = database(
        "CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE t (m mood PRIMARY KEY); CREATE TABLE gone (a int, b int, PRIMARY KEY (a, b));
         SELECT threadline.audit_table('t'), threadline.audit_table('gone'); INSERT INTO t VALUES ('sad'); INSERT INTO gone VALUES (1, 2);
         ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'",
    );
    let gone = text(&mut conn, "SELECT 'gone'::regclass::oid").unwrap();
    run(&mut conn, "DROP TABLE gone CASCADE");
    assert_eq!(found(&mut conn, "sad"), Ok(1));
    assert_eq!(found(&mut conn, "blue"), Ok(0));
    let count = |key: &str| {
        format!(
            "SELECT threadline.timeline_count('{{\"row_key\": \"{key}\"}}', ARRAY[{gone}::regclass])"
        )
    };
    assert_eq!(text(&mut conn, &count("[1, 2]")).as_deref(), Some("1"));
    let refused = error(&mut conn, &count("[1,2]"));
    assert!(refused.contains("the table is gone"), "{refused}");
}

/// Without a table, a key is that of the tables whose types read it, and of none it is an error.
#[test]
fn keys_of_any_table() {
    let (_database, mut conn) = database(
        "CREATE TABLE numbers (id int PRIMARY KEY); CREATE TABLE words (id text PRIMARY KEY); SELECT threadline.audit_table('numbers');
         INSERT INTO numbers VALUES (1)",
    );
    let mut count = |key: &str| timeline().row_key(key).count().get_result::<i64>(&mut conn);
    assert_eq!(count("01"), Ok(1));
    let refused = count("x").unwrap_err().to_string();
    assert!(
        refused.contains("'x' is no key of public.numbers"),
        "{refused}"
    );
    run(
        &mut conn,
        "SELECT threadline.audit_table('words'); INSERT INTO words VALUES ('01'), ('1'), ('x')",
    );
    let mut keys = |key: &str| {
        let page: Vec<threadline::TimelineEntry> = timeline().row_key(key).load(&mut conn).unwrap();
        let mut keys: Vec<_> = page
            .into_iter()
            .map(|entry| format!("{}/{}", entry.table_name, entry.row_key.clone().unwrap()))
            .collect();
        keys.sort();
        keys
    };
    assert_eq!(keys("01"), ["numbers/1", "words/01"]);
    assert_eq!(keys("1"), ["numbers/1", "words/1"]);
    assert_eq!(keys("x"), ["words/x"]);
}

/// Nobody's code runs to read a key: neither the CHECK of a domain nor the input function of a type.
#[test]
fn no_code_runs() {
    let (_database, mut conn) = database(
        "CREATE FUNCTION tell() RETURNS bool LANGUAGE plpgsql AS $$BEGIN IF current_setting('test.reading', true) = 'on' THEN RAISE 'ran'; END IF; RETURN true; END$$;
         CREATE DOMAIN told AS text CHECK (tell()); CREATE TABLE t (id told PRIMARY KEY); SELECT threadline.audit_table('t'); INSERT INTO t VALUES ('a');
         SET test.reading = on",
    );
    assert_eq!(found(&mut conn, "a"), Ok(1));
    assert_eq!(found(&mut conn, "b"), Ok(0));
    assert_eq!(
        error(
            &mut conn,
            "SELECT * FROM threadline.timeline('{\"row_keys\": []}')"
        )
        .split(" HINT")
        .next(),
        Some("a timeline has no filter 'row_keys'")
    );
}
