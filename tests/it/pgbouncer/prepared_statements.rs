//! Named prepared statements belong to a server connection, and a client has none of its own.

use diesel::dsl::sql;
use diesel::prelude::{Connection, IntoSql, PgConnection, QueryResult};
use diesel::sql_types::{Integer, Text};
use diesel_async::{AsyncConnection, AsyncPgConnection};
use threadline::prelude::*;
use threadline_test_support::{PgBouncer, needs};

use super::{connect, pool};
use crate::common::{database, run, text};
use crate::context::ACCOUNTS;

/// Only a PgBouncer that knows prepared statements serves connections as diesel-async makes them: older ones may run
/// on one server connection what was prepared on another, or prepared before it was reset.
#[needs(pgbouncer)]
#[tokio::test]
async fn of_diesel_async() {
    let (database, _admin) = database(ACCOUNTS);
    let pgbouncer = database.pgbouncer(1);
    let conn = AsyncPgConnection::establish(pgbouncer.url()).await;
    let message = conn.map(drop).map_err(|error| error.to_string());
    if pgbouncer.knows_prepared_statements() {
        assert_eq!(message, Ok(()));
    } else {
        assert!(
            message
                .as_ref()
                .is_err_and(|text| text.ends_with("does not exist")),
            "{message:?}"
        );
    }
    // Those of the test bed always work.
    insert(&pgbouncer, 1).await.unwrap();
}

/// Nor does an older one serve connections with Diesel's cache of statements: it keeps its names, and they are gone.
#[needs(pgbouncer)]
#[test]
fn of_diesels_cache() {
    use diesel::RunQueryDsl;
    let (database, _admin) = database(ACCOUNTS);
    let pgbouncer = database.pgbouncer(1);
    let cacheable =
        |conn: &mut PgConnection| diesel::select(1.into_sql::<Integer>()).get_result::<i32>(conn);
    let cached = cacheable(&mut PgConnection::establish(pgbouncer.url()).unwrap());
    assert_eq!(
        cached.is_ok(),
        pgbouncer.knows_prepared_statements(),
        "{cached:?}"
    );
    assert_eq!(cacheable(&mut connect(&pgbouncer)), Ok(1));
}

/// Another program may leave a statement of the name that this one uses next. It is in the way, unless PgBouncer
/// keeps the names apart or resets its server connections.
#[needs(pgbouncer)]
#[tokio::test]
async fn of_other_programs() {
    let (database, _admin) = database(ACCOUNTS);
    let with_recipe = database.pgbouncer(1);
    let off = if with_recipe.knows_prepared_statements() {
        "max_prepared_statements = 0"
    } else {
        ""
    };
    let without = database.pgbouncer_with(1, off);
    for (id, pgbouncer, works) in [(1, with_recipe, true), (2, without, false)] {
        take_names(&pgbouncer, next_name(database.url()).await);
        let result = insert(&pgbouncer, id).await;
        assert_eq!(result.is_ok(), works, "{result:?}");
        assert!(works || result.is_err_and(|message| message.ends_with("already exists")));
    }
}

/// One row in a transaction, or the message of the error.
async fn insert(pgbouncer: &PgBouncer, id: i32) -> Result<usize, String> {
    use diesel_async::RunQueryDsl;
    let mut conn = pool(pgbouncer)
        .get()
        .await
        .map_err(|error| error.to_string())?;
    let ctx = AuditContext::new(ActorRef::user("ada"));
    let insert = format!("INSERT INTO accounts VALUES ({id}, 0)");
    let work = async |conn: &mut AsyncPgConnection| diesel::sql_query(&insert).execute(conn).await;
    let result: QueryResult<_> = conn.audited_transaction(&ctx, work).await;
    result.map_err(|error| error.to_string())
}

/// The number of the next name in this process, of which the statement that asks has the last.
async fn next_name(url: &str) -> usize {
    use diesel_async::RunQueryDsl;
    let mut conn = AsyncPgConnection::establish(url).await.unwrap();
    let name =
        sql::<Text>("(SELECT name FROM pg_prepared_statements ORDER BY prepare_time DESC LIMIT 1)");
    let name: String = diesel::select(name).get_result(&mut conn).await.unwrap();
    name.strip_prefix('s')
        .and_then(|number| number.parse().ok())
        .expect("a name such as s7")
}

/// Takes the names that come next on the only server connection. Other tests of this process use some meanwhile.
fn take_names(pgbouncer: &PgBouncer, from: usize) {
    let mut conn = connect(pgbouncer);
    run(
        &mut conn,
        &format!(
            "DO $$ BEGIN FOR n IN {from}..{from} + 20000 LOOP EXECUTE format('PREPARE s%s AS SELECT 1', n); END LOOP; END $$"
        ),
    );
    assert_eq!(text(&mut conn, "1").unwrap(), "1");
}
