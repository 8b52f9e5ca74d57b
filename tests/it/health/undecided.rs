//! What nobody has decided about: tables that are neither audited nor exempt, and columns with the name of a secret.

use diesel::PgConnection;
use diesel::prelude::*;
use threadline::HealthProblem;

use super::line;
use crate::common::{database, error, run, text};

fn problems(conn: &mut PgConnection) -> Vec<String> {
    let problems: Vec<HealthProblem> = threadline::health().load(conn).unwrap();
    problems.iter().map(line).collect()
}

/// A table that is neither audited nor exempt is named, also where it took the place of an audited one.
#[test]
fn uncovered_tables_are_named() {
    let (_database, mut conn) = database(
        "CREATE TABLE users (id int PRIMARY KEY); CREATE TABLE cache (id int); SELECT threadline.audit_table('users')",
    );
    let expected = "warning uncovered cache: the table is neither audited nor exempt";
    assert_eq!(problems(&mut conn), [expected]);
    run(
        &mut conn,
        "SELECT threadline.exempt_table('cache', 'it is made anew')",
    );
    assert_eq!(problems(&mut conn), [""; 0]);
    run(
        &mut conn,
        "ALTER TABLE users RENAME TO old_users; CREATE TABLE users (id int PRIMARY KEY)",
    );
    let expected = "warning uncovered users: the table is neither audited nor exempt";
    assert!(
        problems(&mut conn)
            .iter()
            .any(|problem| problem == expected)
    );
}

/// A column with the name of a secret is named, unless it is masked, excluded or exempt; a new one at once.
#[test]
fn secrets_are_named() {
    let (_database, mut conn) = database(
        "CREATE TABLE users (id int PRIMARY KEY, password_hash text, api_key bytea, email text, token_count int, token_id int);
         SELECT threadline.audit_table('users', mask => '{password_hash}', exclude => '{api_key}')",
    );
    assert_eq!(problems(&mut conn), [""; 0]);
    run(
        &mut conn,
        "ALTER TABLE users ADD COLUMN gh_encrypted_token bytea",
    );
    let found = problems(&mut conn);
    let expected =
        "column gh_encrypted_token looks like a secret by its name, and its values are recorded";
    assert!(
        found.iter().any(|problem| problem.contains(expected)),
        "{found:?}"
    );
    run(
        &mut conn,
        "SELECT threadline.refresh_audited_tables(), threadline.exempt_column('users', 'gh_encrypted_token', 'it is encrypted')",
    );
    assert_eq!(problems(&mut conn), [""; 0]);
    let back = "SELECT threadline.unexempt_column('users', 'gh_encrypted_token')";
    assert_eq!(text(&mut conn, back).as_deref(), Some("true"));
    assert_eq!(problems(&mut conn).len(), 1);
    for wrong in ["'none', 'r'", "'email', ' '"] {
        let refused = error(
            &mut conn,
            &format!("SELECT threadline.exempt_column('users', {wrong})"),
        );
        assert!(refused.starts_with("cannot exempt column "), "{refused}");
    }
}

/// Names of secrets are told from others by their last word, in snake case and camel case.
#[test]
fn names_of_secrets() {
    let (_database, mut conn) = database("SELECT 1");
    let mut looks = |name: &str, of_type: &str| {
        let sql =
            format!("SELECT threadline_internal.looks_secret('{name}', '{of_type}'::regtype)");
        text(&mut conn, &sql).as_deref() == Some("true")
    };
    for name in [
        "token",
        "secret",
        "password",
        "passwordHash",
        "password_hash",
        "iban",
        "ssn",
        "api_key",
        "apiKeys",
        "private_key",
        "totp_secret",
        "hashed_token",
        "token_new",
        "recovery_codes",
    ] {
        assert!(looks(name, "text"), "{name}");
    }
    for name in [
        "secretary",
        "tokens_used",
        "password_changed_by",
        "name",
        "shipping",
        "hashtag",
        "tokenizer",
    ] {
        assert!(!looks(name, "text"), "{name}");
    }
    assert!(looks("token", "bytea") && looks("tokens", "text[]"));
    assert!(!looks("token", "boolean") && !looks("password", "timestamptz"));
}
