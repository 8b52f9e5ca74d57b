//! What policies let go goes, nothing else does, and what can still be read as of the past reads as before.

mod concurrency;
mod holds;
mod policies;
mod straddling;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text, Timestamptz};
use threadline::{PurgeReport, RetentionPlan, retention_plan};
use threadline_test_support::Database;

use crate::common::{a_year_of_changes, count, database, run, text};

/// A year of changes to users and their posts. Every transaction has a context that is noted.
fn a_year(changes: u32) -> (Database, PgConnection) {
    let (database, mut conn) = database(&a_year_of_changes(changes));
    run(
        &mut conn,
        r#"SELECT threadline_internal.note_context(t.id, '{"on_behalf_of": {"type": "user", "id": "1"}}') FROM threadline.audit_transactions AS t"#,
    );
    (database, conn)
}

#[derive(Debug, PartialEq, QueryableByName)]
struct Past {
    #[diesel(sql_type = Timestamptz)]
    at: DateTime<Utc>,
    #[diesel(sql_type = Text)]
    rows: String,
}

/// What a table was at moments after its horizon and not before, the horizon among them.
fn pasts(conn: &mut PgConnection, table: &str, horizon: DateTime<Utc>) -> Vec<Past> {
    let at = "SELECT at FROM generate_series($1, now(), '5 days 03:04:05') AS at";
    let moments: Vec<Moment> = diesel::sql_query(at)
        .bind::<Timestamptz, _>(horizon)
        .load(conn)
        .unwrap();
    let past = |Moment { at }| {
        let rows = text(
            conn,
            &format!(
                "SELECT concat_ws(' ', count(*), md5(string_agg(r::text, ',' ORDER BY id))) FROM threadline.as_of(NULL::{table}, '{at}') AS r"
            ),
        );
        let rows = rows.unwrap();
        Past { at, rows }
    };
    moments.into_iter().map(past).collect()
}

#[derive(QueryableByName)]
struct Moment {
    #[diesel(sql_type = Timestamptz)]
    at: DateTime<Utc>,
}

fn horizon(conn: &mut PgConnection, table: &str) -> Option<DateTime<Utc>> {
    #[derive(QueryableByName)]
    struct Horizon {
        #[diesel(sql_type = Nullable<Timestamptz>)]
        purged_before: Option<DateTime<Utc>>,
    }
    let query = "SELECT purged_before FROM threadline.audited_tables WHERE relation = $1::regclass";
    let query = diesel::sql_query(query).bind::<Text, _>(table);
    query.get_result::<Horizon>(conn).unwrap().purged_before
}

/// Runs a purge that must do what was planned, and nothing when it is run again.
fn purge_as_planned(conn: &mut PgConnection) -> (Vec<RetentionPlan>, PurgeReport) {
    let plan: Vec<RetentionPlan> = retention_plan().load(conn).unwrap();
    let before = count(conn, "threadline.audit_changes");
    let purged = threadline::purge()
        .pause(std::time::Duration::ZERO)
        .batch_size(777)
        .run(conn)
        .unwrap();
    assert!(purged.finished && purged.postponed.is_empty());
    let planned: i64 = plan.iter().map(|part| part.changes).sum();
    assert_eq!(purged.changes, planned.unsigned_abs());
    assert_eq!(count(conn, "threadline.audit_changes"), before - planned);
    let empty = "threadline.audit_transactions AS t
        WHERE NOT EXISTS (SELECT FROM threadline.audit_changes AS c WHERE c.transaction_id = t.id)
          AND NOT EXISTS (SELECT FROM threadline.audit_actions AS a WHERE a.transaction_id = t.id)";
    assert_eq!(count(conn, empty), 0);
    let noted = "threadline_internal.long_transactions AS l WHERE l.transaction_id NOT IN (SELECT id FROM threadline.audit_transactions)";
    assert_eq!(count(conn, noted), 0);
    let contexts = "threadline_internal.transaction_contexts AS x WHERE x.transaction_id NOT IN (SELECT id FROM threadline.audit_transactions)";
    assert_eq!(count(conn, contexts), 0);

    let left: Vec<RetentionPlan> = retention_plan().load(conn).unwrap();
    assert_eq!(left, []);
    let again = threadline::purge().run(conn).unwrap();
    assert_eq!(
        (again.changes, again.transactions, again.action_id),
        (0, 0, None)
    );
    (plan, purged)
}

/// The whole year goes by months but for the last ones, each with one look at its partition; and all that went is told.
#[test]
fn by_partition() {
    let (_database, mut conn) = a_year(20_000);
    run(&mut conn, "SELECT threadline.set_retention('90 days')");
    let horizon_is = text(
        &mut conn,
        "SELECT date_trunc('month', now() - interval '90 days')",
    )
    .unwrap();
    let planned = text(
        &mut conn,
        "SELECT max(retention_cutoff) FROM threadline_internal.retention_cutoffs()",
    )
    .unwrap();
    assert_eq!(planned, horizon_is);
    let horizon_at = {
        let plan: Vec<RetentionPlan> = retention_plan().load(&mut conn).unwrap();
        plan[0].retention_cutoff.unwrap()
    };
    let older = count(
        &mut conn,
        &format!("threadline.audit_changes WHERE captured_at < '{horizon_is}'"),
    );
    let before = ["users", "posts"].map(|table| pasts(&mut conn, table, horizon_at));

    let (plan, purged) = purge_as_planned(&mut conn);
    assert!(plan.iter().all(|part| part.is_dropped && part.kept == 0));
    assert_eq!(purged.changes, older.unsigned_abs());
    assert!((8..=9).contains(&purged.dropped.len()), "{purged:?}");
    assert_eq!(
        count(
            &mut conn,
            &format!("threadline.audit_changes WHERE captured_at < '{horizon_is}'")
        ),
        0
    );

    let after = ["users", "posts"].map(|table| pasts(&mut conn, table, horizon_at));
    assert_eq!(after, before);
    for table in ["users", "posts"] {
        assert_eq!(horizon(&mut conn, table), Some(horizon_at));
        let earlier = format!(
            "SELECT * FROM threadline.as_of(NULL::{table}, '{horizon_is}'::timestamptz - interval '1 microsecond')"
        );
        assert!(crate::common::error(&mut conn, &earlier).contains("its history begins at"));
    }
    let told = text(
        &mut conn,
        "SELECT concat_ws(' ', name, actor_ref, reason, meta - '{public.users,public.posts}'::text[]) FROM threadline.audit_actions WHERE name = 'threadline.purge'",
    );
    let of_tables = text(
        &mut conn,
        "SELECT (meta ->> 'public.users')::int + (meta ->> 'public.posts')::int FROM threadline.audit_actions WHERE name = 'threadline.purge'",
    );
    assert_eq!(
        told.unwrap(),
        format!(
            r#"threadline.purge {{"id": "threadline", "type": "system"}} retention policy {{"changes": {older}, "partitions": {}, "transactions": {}}}"#,
            purged.dropped.len(),
            purged.transactions
        )
    );
    assert_eq!(of_tables.unwrap(), older.to_string());
}

/// Where one table keeps its changes, those of the others go in batches, and its own stay.
#[test]
fn by_batches() {
    let (_database, mut conn) = a_year(20_000);
    run(
        &mut conn,
        "SELECT threadline.set_retention('90 days'), threadline.set_retention(NULL, 'posts')",
    );
    let plan: Vec<RetentionPlan> = retention_plan().load(&mut conn).unwrap();
    let horizon_at = plan[0].retention_cutoff.unwrap();
    let posts = count(&mut conn, "threadline.changes WHERE table_name = 'posts'");
    let beginning = text(
        &mut conn,
        "SELECT capture_since FROM threadline.audited_tables LIMIT 1",
    );
    let beginning: DateTime<Utc> = beginning.unwrap().replace("+00", "Z").parse().unwrap();
    let before = (
        pasts(&mut conn, "users", horizon_at),
        pasts(&mut conn, "posts", beginning),
    );

    let (plan, purged) = purge_as_planned(&mut conn);
    assert!(
        plan.iter()
            .all(|part| !part.is_dropped && part.table_name == "users")
    );
    assert!(purged.dropped.is_empty() && purged.changes > 2_000);

    assert_eq!(
        count(&mut conn, "threadline.changes WHERE table_name = 'posts'"),
        posts
    );
    let after = (
        pasts(&mut conn, "users", horizon_at),
        pasts(&mut conn, "posts", beginning),
    );
    assert_eq!(after, before);
    assert_eq!(
        (horizon(&mut conn, "users"), horizon(&mut conn, "posts")),
        (Some(horizon_at), None)
    );

    // Once all agree, the months go as they are.
    run(&mut conn, "SELECT threadline.unset_retention('posts')");
    let (plan, purged) = purge_as_planned(&mut conn);
    assert!(plan.iter().all(|part| part.is_dropped));
    assert!((8..=9).contains(&purged.dropped.len()), "{purged:?}");
    assert_eq!(horizon(&mut conn, "posts"), Some(horizon_at));
}

/// To the day: what is old enough goes in batches, before its month is over.
#[test]
fn to_the_day() {
    let (_database, mut conn) = a_year(5_000);
    run(
        &mut conn,
        "SELECT threadline.set_retention('100 days', whole_months => false)",
    );
    let old = "threadline.audit_changes WHERE captured_at < now() - interval '100 days'";
    let older = count(&mut conn, old);
    let before = pasts(&mut conn, "posts", Utc::now() - chrono::Days::new(99));
    let purged = threadline::purge().batch_size(100).run(&mut conn).unwrap();
    assert_eq!(
        (purged.changes, count(&mut conn, old)),
        (older.unsigned_abs(), 0)
    );
    assert!(purged.dropped.len() >= 7);
    let after: Vec<_> = before
        .iter()
        .map(|past| {
            let at = past.at;
            let rows = text(&mut conn, &format!("SELECT concat_ws(' ', count(*), md5(string_agg(r::text, ',' ORDER BY id))) FROM threadline.as_of(NULL::posts, '{at}') AS r"));
            Past { at, rows: rows.unwrap() }
        })
        .collect();
    assert_eq!(after, before);
}

/// Without a policy nothing goes, however old.
#[test]
fn nothing_without_a_policy() {
    let (_database, mut conn) = a_year(2_000);
    let purged = threadline::purge().run(&mut conn).unwrap();
    assert!(purged.finished && purged.changes == 0 && purged.dropped.is_empty());
    assert_eq!(count(&mut conn, "threadline.audit_changes"), 2_000);
}

/// It stops after as many batches as it may take, and the next one goes on.
#[test]
fn goes_on() {
    let (_database, mut conn) = a_year(5_000);
    run(
        &mut conn,
        "SELECT threadline.set_retention('90 days', 'users')",
    );
    let plan: Vec<RetentionPlan> = retention_plan().load(&mut conn).unwrap();
    let planned: i64 = plan.iter().map(|part| part.changes).sum();
    let mut told = Vec::new();
    let first = threadline::purge()
        .batch_size(20)
        .max_batches(3)
        .progress(|progress| told.push(progress.done))
        .run(&mut conn)
        .unwrap();
    assert!((1..=60).contains(&first.changes) && !first.finished);
    assert_eq!((told.len(), told[2]), (3, first.changes));
    let rest = threadline::purge().run(&mut conn).unwrap();
    assert_eq!(rest.changes + first.changes, planned.unsigned_abs());
}
