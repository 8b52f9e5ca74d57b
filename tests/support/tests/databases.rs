//! Databases are separate, many at once, and gone afterwards.

use std::sync::Barrier;
use std::thread;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use threadline_test_support::Database;

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

fn count(conn: &mut PgConnection, from: &str) -> i64 {
    diesel::sql_query(format!("SELECT count(*) FROM {from}"))
        .get_result::<Count>(conn)
        .unwrap()
        .count
}

/// Sixteen tests that ask at the same moment get a database each.
#[test]
fn parallel() {
    let barrier = Barrier::new(16);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                barrier.wait();
                let db = Database::new();
                let mut conn = db.connect();
                diesel::sql_query("CREATE TABLE mine (id bigint)")
                    .execute(&mut conn)
                    .unwrap();
                assert_eq!(count(&mut conn, "mine"), 0);
            });
        }
    });
}

/// The migrations have run in a new database, and in an empty one they have not.
#[test]
fn content() {
    let migrations = "pg_class WHERE relname = '__diesel_schema_migrations'";
    assert_eq!(count(&mut Database::new().connect(), migrations), 1);
    assert_eq!(count(&mut Database::empty().connect(), migrations), 0);
}

/// A database is dropped with its value, even while someone is connected to it.
#[test]
fn dropped() {
    let other = Database::empty();
    let exists = |name: &str| {
        let query = diesel::sql_query("SELECT count(*) FROM pg_database WHERE datname = $1")
            .bind::<Text, _>(name);
        query
            .get_result::<Count>(&mut other.connect())
            .unwrap()
            .count
    };
    let db = Database::empty();
    let name = db.name().to_owned();
    let _connection = db.connect();
    assert_eq!(exists(&name), 1);
    drop(db);
    assert_eq!(exists(&name), 0);
}
