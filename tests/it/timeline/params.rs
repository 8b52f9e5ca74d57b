//! Filters as text: nothing is ignored, and all that is wrong is told at once.

use proptest::prelude::*;
use threadline::prelude::*;
use threadline::{Error, Op, actions, timeline, transactions};

use super::{User, audited};
use crate::common::run;

type Pairs = [(&'static str, &'static str)];

fn told<T>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::InvalidFilter(told)) => told,
        Err(error) => panic!("{error}"),
        Ok(_) => "fine".to_owned(),
    }
}

/// Text says what the methods of the same names say.
#[test]
fn are_the_methods() {
    let id = uuid::Uuid::from_u128(7);
    let (ada, nobody) = (ActorRef::user("a:b"), ActorRef::anonymous());
    let (from, to) = (
        "2026-11-24T00:00:00Z".parse().unwrap(),
        "2026-11-24T23:59:59.999999Z".parse().unwrap(),
    );
    let text = id.to_string();
    let asked = timeline()
        .params([
            ("table", "users"),
            ("op", "update"),
            ("actor", "user:a:b"),
            ("table", "pairs"),
            ("on_behalf_of", "anonymous"),
            ("since", "2026-11-24"),
            ("until", "2026-11-24"),
            ("correlation_id", "c-1"),
            ("action", "user.made"),
            ("op", "delete"),
            ("column", "name"),
            ("row_key", "[1, \"x\"]"),
            ("limit", "20"),
            ("before", "1700000000000000-42"),
            ("action_id", &text),
            ("transaction", &text),
        ])
        .unwrap();
    let meant = timeline()
        .table_named("users")
        .table_named("pairs")
        .op(Op::Update)
        .op(Op::Delete)
        .actor(&ada)
        .on_behalf_of(&nobody)
        .since(from)
        .until(to)
        .correlation_id("c-1")
        .action("user.made")
        .column("name")
        .row_key("[1, \"x\"]")
        .limit(20)
        .before("1700000000000000-42".parse().unwrap())
        .action_id(id)
        .transaction(id);
    assert_eq!(format!("{asked:?}"), format!("{meant:?}"));

    let asked = transactions()
        .params([
            ("actor", "user:a:b"),
            ("on_behalf_of", "anonymous"),
            ("action", "user.made"),
            ("correlation_id", "c-1"),
            ("since", "2026-11-24T01:00:00+01:00"),
            ("until", "2026-11-24"),
            ("limit", "1"),
            ("before", &text),
        ])
        .unwrap();
    let meant = transactions()
        .actor(&ada)
        .on_behalf_of(&nobody)
        .action("user.made")
        .correlation_id("c-1")
        .since(from)
        .until(to)
        .limit(1)
        .before(text.parse().unwrap());
    assert_eq!(format!("{asked:?}"), format!("{meant:?}"));

    let asked = actions()
        .params(vec![
            ("actor".to_owned(), "user:a:b".to_owned()),
            ("name".to_owned(), "user.made".to_owned()),
            ("correlation_id".to_owned(), "c-1".to_owned()),
            ("since".to_owned(), "2026-11-24".to_owned()),
            ("until".to_owned(), "2026-11-24".to_owned()),
            ("limit".to_owned(), "65535".to_owned()),
            ("before".to_owned(), text.clone()),
        ])
        .unwrap();
    let meant = actions()
        .actor(&ada)
        .name("user.made")
        .correlation_id("c-1")
        .since(from)
        .until(to)
        .limit(65535)
        .before(text.parse().unwrap());
    assert_eq!(format!("{asked:?}"), format!("{meant:?}"));
    assert_eq!(told(timeline().params([("", ""); 0])), "fine");
}

/// All that is wrong is told at once, each by its name, with what is expected.
#[test]
fn tell_all_that_is_wrong() {
    let wrong = [
        ("actor", "robot:1"),
        ("limit", "0"),
        ("op", "upsert"),
        ("usr", "1"),
        ("table", ""),
        ("column", "a\0"),
        ("transaction", "1"),
        ("since", "yesterday"),
        ("since", "2026-11-24"),
        ("before", "x"),
        ("", "1"),
    ];
    assert_eq!(
        told(timeline().params(wrong)),
        r#"actor is "robot:1": expected an actor, like user:123 or anonymous; limit is "0": expected a whole number from 1 to 65535; op is "upsert": expected delete, insert, snapshot, truncate or update; "usr" is unknown; table is empty: expected text without the character NUL; column is "a\0": expected text without the character NUL; transaction is "1": expected a UUID; since is "yesterday": expected a time like 2026-11-24T09:30:00Z or a date like 2026-11-24; since is there more than once; before is "x": expected the cursor of a page; "" is unknown; known are action, action_id, actor, before, column, correlation_id, limit, on_behalf_of, op, row_key, since, table, transaction, until"#
    );
    assert_eq!(
        told(transactions().params([("name", "x")])),
        r#""name" is unknown; known are action, actor, before, correlation_id, limit, on_behalf_of, since, until"#
    );
    assert_eq!(
        told(actions().params([("action", "x")])),
        r#""action" is unknown; known are actor, before, correlation_id, limit, name, since, until"#
    );
    let long = "x".repeat(5000);
    let told = told(timeline().params([("limit", &long)]));
    assert!(told.len() < 200, "{told}");
}

/// No bad value passes, for whichever query, and none of an actor or a time is read as another.
#[test]
fn refuse_bad_values() {
    let bad: [&Pairs; 3] = [
        &[
            ("actor", "user"),
            ("actor", "user:"),
            ("actor", ":1"),
            ("actor", "User:1"),
            ("actor", "user 1"),
            ("actor", "anonymous:"),
            ("actor", "anonymous:1"),
            ("actor", "user:a\0"),
        ],
        &[
            ("since", "2026-11-24T10:00:00"),
            ("since", "2026-02-30"),
            ("until", "2026-11"),
            ("until", "24.11.2026"),
            ("since", "0000-01-01"),
            ("until", "9999-12-31T23:59:59-05:00"),
            ("since", "infinity"),
            ("since", " 2026-11-24"),
            ("until", "20261124"),
        ],
        &[
            ("limit", "-1"),
            ("limit", "65536"),
            ("limit", "1.5"),
            ("limit", " 5"),
            ("before", "1-"),
            ("before", "99999999999999999999-1"),
            ("before", "-9223372036854775808-1"),
            ("before", "9223372036854775807-1"),
        ],
    ];
    for pair in bad.concat() {
        for told in [
            told(timeline().params([pair])),
            told(transactions().params([pair])),
            told(actions().params([pair])),
        ] {
            assert!(told.contains(": expected "), "{pair:?}: {told}");
        }
    }
    for good in [
        "2026-11-24T10:00:00.5Z",
        "2026-11-24T10:00:60Z",
        "0001-01-01",
        "9999-12-31",
    ] {
        for key in ["since", "until"] {
            assert_eq!(told(timeline().params([(key, good)])), "fine", "{good}");
        }
    }
}

/// What was said before is not for the text to change; of a model's timeline, that is the table.
#[test]
fn cannot_go_beyond_what_was_said() {
    let ada = ActorRef::user("ada");
    let mine = || timeline().actor(&ada).table_named("users").op(Op::Update);
    assert_eq!(
        told(mine().params([("actor", "user:1"), ("table", "pairs"), ("op", "delete")])),
        "actor cannot be chosen here; table cannot be chosen here; op cannot be chosen here"
    );
    assert_eq!(
        told(
            mine()
                .limit(5)
                .params([("limit", "9"), ("until", "2026-11-24")])
        ),
        "fine"
    );
    let error = told(User::timeline().params([("table", "pairs")]));
    assert!(
        error.starts_with(r#""table" is unknown; known are action, action_id, actor, before, "#),
        "{error}"
    );
    assert_eq!(told(User::timeline().params([("row_key", "1")])), "fine");
    assert_eq!(
        told(
            threadline::transactions()
                .actor(&ada)
                .params([("actor", "user:1")])
        ),
        "actor cannot be chosen here"
    );
}

/// Whatever is sent, it is refused or can be run.
#[test]
fn whatever_is_sent() {
    use diesel::RunQueryDsl;

    let (_database, mut conn) = audited();
    run(&mut conn, "INSERT INTO users VALUES (1, 'x')");
    let conn = std::cell::RefCell::new(conn);
    let key = prop::sample::select(vec![
        "action",
        "action_id",
        "actor",
        "before",
        "correlation_id",
        "column",
        "since",
        "limit",
        "name",
        "on_behalf_of",
        "op",
        "row_key",
        "until",
        "transaction",
    ]);
    let value = prop_oneof![
        any::<String>(),
        "(user|job|anonymous)(:.{0,4})?",
        "[0-9]{4}-[0-1][0-9]-[0-3][0-9](T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{1,9})?(Z|[+-][0-2][0-9]:[0-6][0-9]))?",
        "-?[0-9]{1,20}(-[0-9]{1,20})?",
        any::<u128>().prop_map(|n| uuid::Uuid::from_u128(n).to_string()),
        "(delete|insert|truncate|update|[%'\\\\\"$]{1,3})",
    ];
    let pairs = prop::collection::vec((key, value), 1..4);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(3),
        ..ProptestConfig::default()
    });
    let fine = std::cell::Cell::new(0);
    let result = runner.run(&pairs, |pairs| {
        let conn = &mut *conn.borrow_mut();
        let pairs = || pairs.iter().map(|(key, value)| (*key, value.as_str()));
        if let Ok(asked) = timeline().params(pairs()) {
            fine.set(fine.get() + 1);
            let page = asked.clone().load::<threadline::TimelineEntry>(conn);
            let count = asked.count().get_result::<i64>(conn);
            // No table has a key like many of these.
            let is_no_key =
                |error: &diesel::result::Error| error.to_string().contains("is no key of");
            prop_assert!(
                page.as_ref().err().is_none_or(is_no_key)
                    && count.as_ref().err().is_none_or(is_no_key),
                "{page:?} {count:?}"
            );
        }
        if let Ok(asked) = transactions().params(pairs()) {
            fine.set(fine.get() + 1);
            let page = asked.load::<threadline::AuditTransaction>(conn);
            prop_assert!(page.is_ok(), "{page:?}");
        }
        if let Ok(asked) = actions().params(pairs()) {
            fine.set(fine.get() + 1);
            let page = asked.load::<threadline::Action>(conn);
            prop_assert!(page.is_ok(), "{page:?}");
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    assert!(fine.get() > 60, "only {} passed", fine.get());
}
