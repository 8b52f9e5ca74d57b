//! Redaction after the fact: what is named is nowhere in the audit log of what is named, all else is as it was, and every reading
//! of the past goes on.

mod asynchronous;
mod converted;
mod keys;
mod names;
mod property;
mod reading;
mod refused;
mod runs;

use diesel::connection::SimpleConnection;
use diesel::pg::PgConnection;
use threadline::{ActorRef, Redaction, RedactionReport};
use threadline_test_support::Database;

use crate::common::{run, text};

/// A table with all that images can have of it: both ways of capture record it alike.
const PEOPLE: &str = "CREATE TABLE people (id int PRIMARY KEY, email text NOT NULL, born date, code varchar(5), note text, extra jsonb);
    SELECT threadline.audit_table('people');
    INSERT INTO people SELECT n, 'secret ' || n, '1815-12-10', 'S-' || n, NULL, '{\"deep\": [\"secret\"]}' FROM generate_series(1, 3) AS n;
    UPDATE people SET email = 'secret again ' || id, born = '1815-12-11'; UPDATE people SET note = 'secret note', code = 'S+' || id;
    DELETE FROM people WHERE id = 3";

/// A database in which each statement of `sql` is a transaction.
fn committed(sql: &str) -> (Database, PgConnection) {
    let database = Database::new();
    let mut conn = database.connect();
    each(&mut conn, sql);
    (database, conn)
}

#[track_caller]
fn each(conn: &mut PgConnection, sql: &str) {
    for statement in sql.split(';').filter(|s| !s.trim().is_empty()) {
        run(conn, statement);
    }
}

/// Does it as somebody, for a reason.
#[track_caller]
fn done(conn: &mut PgConnection, redaction: Redaction<'_>) -> RedactionReport {
    let redaction = redaction
        .actor(ActorRef::admin("dpo"))
        .reason("erasure request 12");
    redaction.run(conn).unwrap()
}

/// All that is recorded of some rows, or of all but them, in order: the rows of the table as they are stored.
#[track_caller]
fn stored(conn: &mut PgConnection, condition: &str) -> String {
    let sql = format!(
        "SELECT coalesce(string_agg(c::text, chr(10) ORDER BY id), '') FROM (SELECT *, coalesce(key_integer::text, key_bigint::text, key_uuid::text, key_text) AS key
           FROM threadline.audit_changes) AS c WHERE {condition}"
    );
    text(conn, &sql).unwrap_or_default()
}

/// The images of the changes of one row, and nothing else of them.
#[track_caller]
fn images(conn: &mut PgConnection, key: &str) -> String {
    let sql = format!(
        "SELECT string_agg(concat_ws(' ', op, data_after, changed_from), '; ' ORDER BY id) FROM threadline.changes WHERE row_key = '{key}'"
    );
    text(conn, &sql).unwrap_or_default()
}

/// Whether a statement is refused by the name of a constraint.
#[track_caller]
fn refused_by(conn: &mut PgConnection, sql: &str) -> Option<String> {
    match conn.batch_execute(sql) {
        Ok(()) => panic!("no error from: {sql}"),
        Err(diesel::result::Error::DatabaseError(_, info)) => {
            info.constraint_name().map(ToOwned::to_owned)
        }
        Err(error) => panic!("not an error of the database: {error}"),
    }
}
