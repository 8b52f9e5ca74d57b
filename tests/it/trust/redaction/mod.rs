//! Redaction is a one-way door.

#![expect(
    clippy::format_push_string,
    clippy::similar_names,
    clippy::struct_excessive_bools,
    clippy::type_complexity,
    clippy::unnecessary_wraps,
    reason = "a random sequence is put together from steps of one signature"
)]

mod cases;
mod columns;
mod generated;
mod hashed_keys;
mod model;
mod property;
mod steps;
mod tables;
mod tables_again;
mod writes;

use diesel::PgConnection;

use self::property::found;
use crate::common::text;

const REFRESH: &str = "SELECT threadline.refresh_audited_tables()";

/// What was recorded of a table, the newest last.
#[track_caller]
fn images(conn: &mut PgConnection) -> String {
    let images = "SELECT string_agg(concat_ws(' ', op, data_after, changed_from), E'\n' ORDER BY id) FROM threadline.audit_changes";
    text(conn, images).unwrap_or_default()
}

#[track_caller]
fn assert_secret(conn: &mut PgConnection) {
    let leaks = found(conn, "secret-|7365637265742d|16180339");
    assert_eq!(leaks, []);
}
