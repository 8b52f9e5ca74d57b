//! What is refused, and what is said about it.

use diesel::PgConnection;
use serde_json::json;
use threadline::{ActorRef, Error, Redaction, redact};

use super::{PEOPLE, refused_by, stored};
use crate::common::{database, error, run, text};

const TYPES: &str = "
    CREATE DOMAIN given AS text NOT NULL; CREATE DOMAIN short AS text CHECK (length(value) < 5); CREATE TYPE pair AS (a int, b text);
    CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL, d date, a text[], j jsonb NOT NULL, given given DEFAULT 'x', short short, v5 varchar(5), pair pair,
      email text NOT NULL, upper text GENERATED ALWAYS AS (upper(email)) STORED);
    SELECT threadline.audit_table('t'); INSERT INTO t VALUES (1, 1, now(), '{a}', '{}', 'g', 's', 'v', '(1,b)', 'e')";

#[track_caller]
fn refused(conn: &mut PgConnection, redaction: Redaction<'_>) -> String {
    let before = stored(conn, "true");
    let planned = redaction.clone().plan(conn).unwrap_err();
    let ran = redaction
        .actor(ActorRef::system("test"))
        .reason("test")
        .run(conn)
        .unwrap_err();
    let Error::Refused { message, hint } = ran else {
        panic!("{ran:?}")
    };
    assert!(
        matches!(&planned, Error::Refused { message: planned, .. } if *planned == message),
        "{planned:?}"
    );
    assert_eq!(stored(conn, "true"), before);
    assert_eq!(
        text(conn, "SELECT count(*) FROM threadline.audit_actions").unwrap(),
        "0"
    );
    let message = message.strip_prefix("cannot redact public.t: ");
    format!("{}. {hint}", message.expect("it names the table"))
}

/// What a column cannot hold would keep the past of the whole table from being read.
#[test]
fn values_of_another_type() {
    let (_database, mut conn) = database(TYPES);
    let of = || redact("t").row(1);
    let mut refused = |redaction| refused(&mut conn, redaction);
    let either = "Remove its values, or substitute one of its type.";
    let substitute = "Substitute a value of its type.";
    for (column, of_type, hint) in [
        ("n", "integer", substitute),
        ("d", "date", either),
        ("a", "text[]", either),
        ("j", "jsonb", substitute),
        ("short", "public.short", either),
        ("v5", "character varying(5)", either),
        ("pair", "public.pair", either),
    ] {
        let expected = format!(
            "column {column} of type {of_type} cannot hold the placeholder [REDACTED]. {hint}"
        );
        assert_eq!(refused(of().mask([column])), expected);
    }
    for (column, hint) in [
        ("n", substitute),
        ("j", substitute),
        ("email", "Mask it, or substitute a value of its type."),
    ] {
        let expected =
            format!("column {column} is NOT NULL, so its values cannot be removed. {hint}");
        assert_eq!(refused(of().remove([column])), expected);
    }
    assert!(
        refused(of().remove(["given"]))
            .starts_with("column given of type public.given cannot hold null: ")
    );
    for (column, value) in [
        ("n", json!("x")),
        ("n", json!(1.5)),
        ("d", json!("yesterday or so")),
        ("a", json!("a")),
        ("v5", json!("too long")),
        ("pair", json!({"a": "x"})),
    ] {
        let said = refused(of().substitute(column, value.clone()));
        let value = value.to_string().replace(':', ": ");
        assert!(said.contains(&format!("cannot hold {value}: ")), "{said}");
    }
    assert!(refused(of().substitute("n", json!(null))).starts_with("column n is NOT NULL"));
    assert!(refused(of().substitute("j", json!(null))).starts_with("column j is NOT NULL"));
}

/// Columns that are not, are of the key, are named twice or tell of another.
#[test]
fn columns() {
    let (_database, mut conn) = database(TYPES);
    let mut refused = |redaction| refused(&mut conn, redaction);
    let of = || redact("t").row(1);
    assert_eq!(
        refused(of().mask(["emial"])),
        "it has no column emial, and the audit log of these rows has none. Its columns are: id, n, d, a, j, given, short, v5, pair, email, upper."
    );
    assert!(refused(of().mask(["id"])).starts_with("column id is part of its primary key. "));
    assert!(
        refused(of().mask(["email"]).remove(["email"])).starts_with("column email is named twice")
    );
    assert!(
        refused(of().mask(["email"])).starts_with("column upper is generated from column email. ")
    );
    assert!(refused(of()).starts_with("no column is named. "));
    assert!(refused(redact("t").mask(["email"])).starts_with("no row is named. "));
}

/// Neither by nobody nor without a reason; blanks are none.
#[test]
fn who_and_why() {
    let (_database, mut conn) = database(PEOPLE);
    let before = stored(&mut conn, "true");
    let of = || redact("people").row(1).mask(["email"]);
    let nobody = of().reason("because").run(&mut conn);
    assert!(matches!(nobody, Err(Error::MissingActor)), "{nobody:?}");
    for reason in [None, Some(""), Some(" \n\t")] {
        let redaction = of().actor(ActorRef::system("test"));
        let redaction = reason.into_iter().fold(redaction, Redaction::reason);
        let refused = redaction.run(&mut conn);
        assert!(
            matches!(&refused, Err(Error::ReasonRequired { action }) if action == "threadline.redaction"),
            "{refused:?}"
        );
    }
    let nameless = of()
        .actor(ActorRef::user(""))
        .reason("because")
        .run(&mut conn);
    assert!(nameless.is_err());
    assert_eq!(stored(&mut conn, "true"), before);
}

/// A later batch is one of the redaction that its action tells of, and of no other.
#[test]
fn another_action() {
    let (_database, mut conn) = database(PEOPLE);
    run(
        &mut conn,
        "SELECT set_config('threadline.actor_ref', '{\"type\": \"user\", \"id\": \"1\"}', false)",
    );
    run(
        &mut conn,
        "SELECT threadline_internal.insert_action('threadline.redaction', meta => '{\"table\": \"public.people\", \"columns\": {\"note\": \"mask\"}}')",
    );
    let step = "SELECT threadline.redact_step('people', '{1}', mask => '{email}', action_id => (SELECT id FROM threadline.audit_actions))";
    assert_eq!(refused_by(&mut conn, step).unwrap(), "threadline_refused");
    assert_eq!(
        refused_by(&mut conn, "SELECT threadline.redact_step('people', '{1}', mask => '{email}', batch_size => 0, reason => 'r')").unwrap(),
        "threadline_refused"
    );
    assert_eq!(
        refused_by(
            &mut conn,
            "SELECT threadline.redaction_plan('people', '{1}', substitutes => '[1]')"
        )
        .unwrap(),
        "threadline_refused"
    );
}

/// Tables that are not recorded, and those whose rows the past does not know by a key.
#[test]
fn tables() {
    let (_database, mut conn) = database(
        "CREATE TABLE keyless (x text); CREATE TABLE by_json (j jsonb PRIMARY KEY, x text); CREATE TABLE other (id int PRIMARY KEY, x text);
         SELECT threadline.audit_table('keyless'), threadline.audit_table('by_json')",
    );
    for (table, said) in [
        ("keyless", "its rows have no primary key"),
        ("by_json", "its rows have no primary key"),
        ("other", "nothing of it is recorded"),
    ] {
        let refused = redact(table)
            .row(1)
            .mask(["x"])
            .plan(&mut conn)
            .unwrap_err();
        assert!(
            matches!(&refused, Error::Refused { message, .. } if message.contains(said)),
            "{refused:?}"
        );
    }
}

/// Only the owner of the audit log may: no reader, no recorder, not even one who was granted the functions.
#[test]
fn rights() {
    let (database, mut conn) = database(PEOPLE);
    let role = format!("{}_reader", database.name());
    run(
        &mut conn,
        &format!(
            r#"CREATE ROLE "{role}"; SELECT threadline.grant_reader('"{role}"'); SELECT threadline.grant_recorder('"{role}"'); GRANT SELECT ON people TO "{role}""#
        ),
    );
    let step = format!(
        r#"BEGIN; SET LOCAL ROLE "{role}"; SELECT threadline.redact_step('people', '{{1}}', mask => '{{email}}', actor_ref => '{{"type": "user", "id": "1"}}', reason => 'r')"#
    );
    assert_eq!(
        error(&mut conn, &step),
        "permission denied for function redact_step"
    );
    run(
        &mut conn,
        &format!(
            r#"ROLLBACK; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA threadline, threadline_internal TO "{role}""#
        ),
    );
    assert_eq!(error(&mut conn, &step), "permission denied for table locks");
    run(
        &mut conn,
        &format!(r#"ROLLBACK; DROP OWNED BY "{role}"; DROP ROLE "{role}""#),
    );
    assert!(super::images(&mut conn, "1").contains("secret again 1"));
}
