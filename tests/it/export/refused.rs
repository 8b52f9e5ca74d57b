//! What goes wrong is said, and leaves the connection as it was.

use std::io::{self, Write};

use diesel::prelude::*;
use diesel::result::Error::AlreadyInTransaction;
use diesel_async::pooled_connection::PoolableConnection;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl as AsyncRunQueryDsl};
use threadline::{Error, ExportFormat, timeline};

use super::audited;
use crate::common::run;

/// Takes so many bytes and no more.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self
            .0
            .checked_sub(bytes.len())
            .ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const MANY: &str =
    "INSERT INTO users SELECT n, repeat('x', 100) FROM generate_series(1, 12000) AS n";

/// A disk that is full is an error, in the middle of a page too; the connection can be used, and is in no transaction.
#[test]
fn full_disk() {
    let (_database, mut conn) = audited();
    run(&mut conn, MANY);
    for room in [0, 100_000, 3_000_000] {
        let error = timeline()
            .export(ExportFormat::Csv)
            .write_to(&mut conn, Full(room))
            .unwrap_err();
        assert!(
            matches!(&error, Error::Output(error) if error.kind() == io::ErrorKind::StorageFull),
            "{error:?}"
        );
        run(&mut conn, "BEGIN; INSERT INTO users VALUES (0); ROLLBACK");
    }
}

/// The same with diesel-async, and when the future is dropped in the middle.
#[tokio::test]
async fn full_disk_async() {
    let (database, mut conn) = audited();
    run(&mut conn, MANY);
    let mut conn = AsyncPgConnection::establish(database.url()).await.unwrap();
    // A pipe that nobody reads from.
    let (mut pipe, reader) = tokio::io::duplex(100_000);
    let export = timeline()
        .export(ExportFormat::Csv)
        .write_to(&mut conn, &mut pipe);
    let stuck = tokio::time::timeout(std::time::Duration::from_millis(300), export).await;
    assert!(stuck.is_err());
    assert!(conn.is_broken(), "a pool would hand it out again");

    let mut conn = AsyncPgConnection::establish(database.url()).await.unwrap();
    drop(reader);
    let error = timeline()
        .export(ExportFormat::Csv)
        .write_to(&mut conn, &mut pipe)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Output(error) if error.kind() == io::ErrorKind::BrokenPipe),
        "{error:?}"
    );
    let count: i64 = AsyncRunQueryDsl::get_result(timeline().count(), &mut conn)
        .await
        .unwrap();
    assert_eq!(count, 12_000);
}

/// In a transaction that is not of one snapshot it is refused; in one that is, it sees what that transaction sees.
#[test]
fn transactions() {
    let (database, mut conn) = audited();
    run(&mut conn, "INSERT INTO users VALUES (1)");
    let export = |conn: &mut PgConnection| {
        timeline()
            .export(ExportFormat::Csv)
            .write_to(conn, io::sink())
    };
    conn.transaction(|conn| {
        let refused = export(conn);
        assert!(
            matches!(refused, Err(Error::Database(AlreadyInTransaction))),
            "{refused:?}"
        );
        QueryResult::Ok(())
    })
    .unwrap();
    let mut other = database.connect();
    let counted = conn.build_transaction().repeatable_read().run(|conn| {
        let before = export(conn)?.changes;
        run(&mut other, "INSERT INTO users VALUES (2)");
        Ok::<_, Error>((before, export(conn)?.changes))
    });
    assert_eq!(counted.unwrap(), (1, 1));
    assert_eq!(export(&mut conn).unwrap().changes, 2);
}

/// Who may read the audit log may export it, and nobody else.
#[test]
fn rights() {
    let (database, mut conn) = audited();
    let role = format!("exporter_{}", database.name());
    run(
        &mut conn,
        &format!("INSERT INTO users VALUES (1); CREATE ROLE {role}; SET ROLE {role}"),
    );
    let export = |conn: &mut PgConnection| {
        timeline()
            .table_named("users")
            .export(ExportFormat::Csv)
            .write_to(conn, io::sink())
    };
    assert!(matches!(export(&mut conn), Err(Error::Database(_))));
    run(
        &mut conn,
        &format!("RESET ROLE; SELECT threadline.grant_reader('{role}'); SET ROLE {role}"),
    );
    assert_eq!(export(&mut conn).unwrap().changes, 1);
    run(
        &mut conn,
        &format!("RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}"),
    );
    let unaudited = timeline()
        .table_named("pg_class")
        .export(ExportFormat::Csv)
        .write_to(&mut conn, io::sink());
    let Err(Error::Database(error)) = unaudited else {
        panic!("{unaudited:?}");
    };
    assert_eq!(
        error.to_string(),
        "pg_class has no history: it is not audited"
    );
}
