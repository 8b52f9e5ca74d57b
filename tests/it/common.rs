//! What the tests share: a database with audited tables, and the audit log read back as plain structs.

use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Jsonb, Nullable, Text, Uuid};
use serde_json::Value;
use threadline_test_support::Database;

use crate::skipped::skip;

/// A database in which `sql` has been run.
pub(crate) fn database(sql: &str) -> (Database, PgConnection) {
    let database = Database::new();
    let mut conn = database.connect();
    run(&mut conn, sql);
    (database, conn)
}

/// Runs one or more statements.
#[track_caller]
pub(crate) fn run(conn: &mut PgConnection, sql: &str) {
    use diesel::connection::SimpleConnection;
    if let Err(error) = conn.batch_execute(sql) {
        panic!("{error}\nin: {sql}");
    }
}

/// Makes a collation that takes texts for equal that differ in case, unless the server is built without ICU.
pub(crate) fn create_caseless(conn: &mut PgConnection) -> bool {
    use diesel::connection::SimpleConnection;
    let caseless = "CREATE COLLATION caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false)";
    match conn.batch_execute(caseless) {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error.to_string(), "ICU is not supported in this build");
            skip(conn, "the server is built without ICU");
            false
        }
    }
}

/// A change as `threadline.changes` shows it.
#[derive(Debug, Clone, PartialEq, QueryableByName)]
#[expect(
    clippy::struct_field_names,
    reason = "named like the columns of the view"
)]
pub(crate) struct Row {
    #[diesel(sql_type = BigInt)]
    pub(crate) id: i64,
    #[diesel(sql_type = Uuid)]
    pub(crate) transaction_id: uuid::Uuid,
    #[diesel(sql_type = Text)]
    pub(crate) op: String,
    #[diesel(sql_type = Nullable<Text>)]
    pub(crate) row_key: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    pub(crate) moved_key: Option<String>,
    #[diesel(sql_type = Array<Text>)]
    pub(crate) changed_fields: Vec<String>,
    #[diesel(sql_type = Nullable<Jsonb>)]
    pub(crate) actor_ref: Option<Value>,
    #[diesel(sql_type = Nullable<Jsonb>)]
    pub(crate) data_after: Option<Value>,
    #[diesel(sql_type = Nullable<Jsonb>)]
    pub(crate) changed_from: Option<Value>,
}

/// Every change of a table (`schema.table`, unquoted), in order.
pub(crate) fn changes(conn: &mut PgConnection, table: &str) -> Vec<Row> {
    diesel::sql_query(
        "SELECT * FROM threadline.changes WHERE table_schema || '.' || table_name = $1 ORDER BY id",
    )
    .bind::<Text, _>(table)
    .load(conn)
    .expect("the audit log can be read")
}

/// One value of text.
#[track_caller]
pub(crate) fn text(conn: &mut PgConnection, sql: &str) -> Option<String> {
    #[derive(QueryableByName)]
    struct Value {
        #[diesel(sql_type = Nullable<Text>)]
        value: Option<String>,
    }
    let rows: Vec<Value> = diesel::sql_query(format!("SELECT ({sql})::text AS value"))
        .load(conn)
        .unwrap_or_else(|error| panic!("{error}\nin: {sql}"));
    rows.into_iter().next().and_then(|row| row.value)
}

/// How many rows there are of what stands behind `FROM`.
#[track_caller]
pub(crate) fn count(conn: &mut PgConnection, from: &str) -> i64 {
    let count = text(conn, &format!("SELECT count(*) FROM {from}"));
    count.unwrap().parse().unwrap()
}

/// SQL that writes a year of changes to users and their posts into the audit log, ten for each row.
pub(crate) fn a_year_of_changes(changes: u32) -> String {
    concat!(
        include_str!("../../benches/log.sql"),
        "DROP VIEW images; DROP TABLE events"
    )
    .replace("{rows}", &(changes / 10).to_string())
    .replace("{changes}", &changes.to_string())
}

/// The message of the error that a statement must give.
#[track_caller]
pub(crate) fn error(conn: &mut PgConnection, sql: &str) -> String {
    use diesel::connection::SimpleConnection;
    match conn.batch_execute(sql) {
        Ok(()) => panic!("no error from: {sql}"),
        Err(diesel::result::Error::DatabaseError(_, info)) => match info.hint() {
            Some(hint) => format!("{} HINT: {hint}", info.message()),
            None => info.message().to_owned(),
        },
        Err(error) => panic!("not an error of the database: {error}"),
    }
}

/// Whether tests that try random cases try fewer: `FEW_CASES` says so, for a server of another version than the one on
/// which they tried all.
pub(crate) fn few_cases() -> bool {
    std::env::var_os("FEW_CASES").is_some()
}
