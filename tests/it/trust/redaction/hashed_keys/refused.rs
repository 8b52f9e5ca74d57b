//! What cannot be recorded as a hash is refused, with advice.

use diesel::prelude::*;
use threadline::Audited;

use super::SESSIONS;
use crate::common::{create_caseless, database, error, run, text};

/// Columns that are not of the key, and types that cannot hold a hash.
#[test]
fn columns() {
    let (_database, mut conn) = database(&format!(
        "{SESSIONS}; CREATE DOMAIN short AS text CHECK (length(VALUE) < 20);
         CREATE TABLE a (token int PRIMARY KEY); CREATE TABLE b (token varchar(68) PRIMARY KEY); CREATE TABLE c (token char(80) PRIMARY KEY);
         CREATE TABLE d (token short PRIMARY KEY); CREATE TABLE e (token name PRIMARY KEY); CREATE TABLE f (token jsonb PRIMARY KEY);
         CREATE TABLE g (token text PRIMARY KEY, head text GENERATED ALWAYS AS (left(token, 3)) STORED)"
    ));
    let conn = &mut conn;
    for table in ["a", "b", "c", "d", "e", "f"] {
        let refused = error(
            conn,
            &format!("SELECT threadline.audit_table('{table}', hash_key => '{{token}}')"),
        );
        assert!(
            refused.contains(
                " cannot be recorded as a hash HINT: Make it text, bytea, uuid, or varchar"
            ),
            "{refused}"
        );
    }
    for (arguments, expected) in [
        (
            "'sessions', hash_key => '{ip}'",
            "column ip is not part of its primary key HINT: Mask or exclude it",
        ),
        (
            "'sessions', hash_key => '{x}'",
            "it has no column x HINT: Its primary key is (token).",
        ),
        (
            "'sessions', hash_key => '{token}', mask => '{token}'",
            "column token is both hashed and masked or excluded",
        ),
        (
            "'sessions', mask => '{token}'",
            "A secret can be recorded as a keyed hash: hash_key.",
        ),
        (
            "'g', hash_key => '{token}'",
            "column head is generated from column token, which is redacted",
        ),
    ] {
        let refused = error(conn, &format!("SELECT threadline.audit_table({arguments})"));
        assert!(refused.contains(expected), "{refused}");
    }
    run(
        conn,
        "SELECT threadline.audit_table('g', hash_key => '{token}', mask => '{head}')",
    );
    if create_caseless(conn) {
        run(
            conn,
            "CREATE TABLE h (token text COLLATE caseless PRIMARY KEY)",
        );
        let refused = error(
            conn,
            "SELECT threadline.audit_table('h', hash_key => '{token}')",
        );
        assert!(
            refused.contains("cannot be recorded as a hash"),
            "{refused}"
        );
    }
}

/// Health advises it for a key with the name of a secret, and a check of the models tells where it is not done.
#[test]
fn advice() {
    #[derive(Queryable, Selectable, threadline::Audited)]
    #[diesel(table_name = sessions, primary_key(token))]
    #[audited(hash_key(token))]
    #[expect(dead_code, reason = "only its specification is wanted")]
    struct Session {
        token: String,
    }
    diesel::table! { sessions (token) { token -> Text, } }

    let (_database, mut conn) = database(&format!(
        "{SESSIONS}; SELECT threadline.audit_table('sessions')"
    ));
    let conn = &mut conn;
    let hint = text(
        conn,
        "SELECT hint FROM threadline.health WHERE \"check\" = 'secret_recorded'",
    )
    .unwrap();
    assert!(
        hint.contains("SELECT threadline.audit_table('public.sessions', hash_key => '{token}');"),
        "{hint}"
    );
    let wrong = threadline::assert_audited(conn, &[Session::audit_spec()]).unwrap_err();
    assert!(
        wrong
            .to_string()
            .contains("column token is not recorded as a hash, but in the model"),
        "{wrong}"
    );
    threadline::capture::install(conn, &[Session::audit_spec()]).unwrap();
    threadline::assert_audited(conn, &[Session::audit_spec()]).unwrap();
}
