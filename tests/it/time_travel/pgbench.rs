//! The real `pgbench`: while eight clients move money about, and afterwards, no moment shows a transfer by half.

use std::thread;

use chrono::{DateTime, Utc};
use diesel::dsl::{sql, sum};
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::Timestamptz;

use super::now;
use crate::common::run;
use crate::pgbench::{TABLES, initialised, pgbench};

diesel::table! {
    pgbench_accounts (aid) {
        aid -> Int4,
        abalance -> Nullable<Int4>,
    }
}

diesel::table! {
    pgbench_tellers (tid) {
        tid -> Int4,
        tbalance -> Nullable<Int4>,
    }
}

diesel::table! {
    pgbench_branches (bid) {
        bid -> Int4,
        bbalance -> Nullable<Int4>,
    }
}

diesel::table! {
    pgbench_history (tid) {
        tid -> Nullable<Int4>,
        delta -> Nullable<Int4>,
    }
}

const SECONDS: &str = "--time=20";
const INSTANTS: usize = 200;

/// TPC-B moves an amount into an account, a teller and a branch, and writes it down: in every state the database was in,
/// the four sums are one.
#[test]
fn no_transfer_is_torn() {
    let (database, mut conn) = initialised(&["--initialize"]);
    for table in TABLES {
        run(
            &mut conn,
            &format!("SELECT threadline.audit_table('{table}')"),
        );
    }
    let start = now(&mut conn);
    let mut sums = Vec::new();
    thread::scope(|scope| {
        let clients = scope.spawn(|| pgbench(&database, &["--client=8", "--jobs=2", SECONDS]));
        while !clients.is_finished() {
            let until = now(&mut conn);
            sums.push(sums_at_random(&mut conn, start, until));
        }
        clients.join().expect("pgbench ran");
    });
    assert!(
        !sums.is_empty(),
        "some moments are read while transactions are in flight"
    );
    let end = now(&mut conn);
    while sums.len() < INSTANTS {
        sums.push(sums_at_random(&mut conn, start, end));
    }

    let torn: Vec<_> = sums
        .iter()
        .filter(|(_, sums)| *sums != [sums[0]; 4])
        .collect();
    assert!(
        torn.is_empty(),
        "accounts, tellers, branches, history:\n{torn:#?}"
    );
    let mut states: Vec<_> = sums.iter().map(|(_, sums)| sums[0]).collect();
    states.sort_unstable();
    states.dedup();
    assert!(
        states.len() > INSTANTS / 2,
        "the moments show many states, and not one: {states:?}"
    );
}

/// The sums of the four tables at a time between two others, in one query.
fn sums_at_random(
    conn: &mut PgConnection,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
) -> (DateTime<Utc>, [i64; 4]) {
    let random = sql::<Timestamptz>("")
        .bind::<Timestamptz, _>(start)
        .sql(" + random() * (")
        .bind::<Timestamptz, _>(end)
        .sql(" - ")
        .bind::<Timestamptz, _>(start)
        .sql(")");
    let at: DateTime<Utc> = diesel::select(random).get_result(conn).expect("a time");
    let query = diesel::select((
        pgbench_accounts::table
            .select(sum(pgbench_accounts::abalance))
            .single_value(),
        pgbench_tellers::table
            .select(sum(pgbench_tellers::tbalance))
            .single_value(),
        pgbench_branches::table
            .select(sum(pgbench_branches::bbalance))
            .single_value(),
        pgbench_history::table
            .select(sum(pgbench_history::delta))
            .single_value(),
    ));
    let sums: (Option<i64>, Option<i64>, Option<i64>, Option<i64>) = threadline::as_of(at, query)
        .get_result(conn)
        .unwrap_or_else(|error| panic!("{error} as of {at}"));
    (
        at,
        [sums.0, sums.1, sums.2, sums.3].map(Option::unwrap_or_default),
    )
}
