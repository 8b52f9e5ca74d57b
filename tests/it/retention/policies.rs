//! Policies and who may set them, and what a purge refuses.

use diesel::prelude::*;
use threadline::{Error, purge};

use super::a_year;
use crate::common::{database, error, run, text};

const USERS: &str =
    "CREATE TABLE users (id integer PRIMARY KEY); SELECT threadline.audit_table('users');";

/// The table's own policy goes before that of all; `NULL` keeps for ever, and so does a hold of the whole table.
#[test]
fn which_one_counts() {
    let (_database, mut conn) = database(
        "CREATE TABLE a (id integer PRIMARY KEY); CREATE TABLE b (LIKE a INCLUDING ALL); CREATE TABLE c (LIKE a INCLUDING ALL);
         SELECT threadline.audit_table(t::regclass) FROM unnest('{a,b,c}'::text[]) AS t;
         SELECT threadline.set_retention('10 days', 'c', whole_months => false);
         SELECT threadline.set_retention('2 years'), threadline.set_retention(NULL, 'b');",
    );
    let horizons = "SELECT string_agg(concat_ws(' ', a.relation, now() - h.retention_cutoff = '10 days', date_trunc('month', h.retention_cutoff) = h.retention_cutoff), ', ' ORDER BY a.id)
          FROM threadline_internal.retention_cutoffs() AS h JOIN threadline.audited_tables AS a ON a.id = h.table_id";
    let told = text(&mut conn, &format!("({horizons})"));
    assert_eq!(told.as_deref(), Some("a f t, c t f"));
    run(
        &mut conn,
        "SELECT set_config('threadline.actor_ref', '{\"type\":\"user\",\"id\":\"1\"}', true), threadline.place_hold('case 12', 'a')",
    );
    assert_eq!(
        text(&mut conn, &format!("({horizons})")).as_deref(),
        Some("c t f")
    );
    assert_eq!(
        text(&mut conn, "SELECT concat_ws(' ', threadline.unset_retention('c'), threadline.unset_retention('c'), threadline.unset_retention())").as_deref(),
        Some("t f t")
    );
    assert_eq!(text(&mut conn, &format!("({horizons})")), None);
}

/// Who set it, and when, stands beside it.
#[test]
fn who_set_it() {
    let (_database, mut conn) = database(USERS);
    run(
        &mut conn,
        "BEGIN; SELECT set_config('threadline.actor_ref', '{\"type\":\"admin\",\"id\":\"7\"}', true);
         SELECT threadline.set_retention('90 days', 'users'); COMMIT",
    );
    let policy = threadline::schema::threadline::retention_policies::table;
    let set: (i32, bool, String, Option<serde_json::Value>) = {
        use threadline::schema::threadline::retention_policies::dsl;
        let columns = (
            dsl::table_id,
            dsl::whole_months,
            dsl::set_by,
            dsl::actor_ref,
        );
        policy.select(columns).get_result(&mut conn).unwrap()
    };
    let actor = serde_json::json!({"type": "admin", "id": "7"});
    assert_eq!(set, (1, true, "postgres".to_owned(), Some(actor)));
}

/// What means nothing is refused with a hint, and nothing is changed.
#[test]
fn refused() {
    let (_database, mut conn) = database(&format!(
        "{USERS} CREATE TABLE other (id integer); INSERT INTO users VALUES (1);"
    ));
    for (statement, message) in [
        (
            "SELECT threadline.set_retention('23 hours')",
            "changes cannot be kept for 23:00:00 only",
        ),
        (
            "SELECT threadline.set_retention('-90 days')",
            "changes cannot be kept for -90 days only",
        ),
        (
            "SELECT threadline.set_retention('90 days', 'other')",
            "public.other is not audited",
        ),
        (
            "SELECT threadline.place_hold(' ', 'users')",
            "a hold needs a reason",
        ),
        (
            "SELECT threadline.place_hold('why')",
            "a hold is of one table, row or actor",
        ),
        (
            "SELECT threadline.place_hold('why', row_key => '1')",
            "a hold is of one table, row or actor",
        ),
        (
            "SELECT threadline.place_hold('why', 'other')",
            "public.other is not audited",
        ),
        (
            "SELECT threadline.place_hold('why', 'users', '2')",
            "no recorded change of public.users has the key '2'",
        ),
        (
            "SELECT threadline.place_hold('why', actor_ref => '{\"type\":\"robot\"}')",
            "this is no actor",
        ),
        (
            "SELECT threadline.place_hold('why', 'users', '1')",
            "nobody is known who does threadline.hold_placed",
        ),
        (
            "SELECT threadline.release_hold(1, 'over')",
            "there is no hold 1",
        ),
        (
            "SELECT threadline.release_hold(1, '')",
            "releasing a hold needs a reason",
        ),
        (
            "SELECT threadline.purge_step(NULL, NULL, NULL, 0)",
            "a batch has at least one row",
        ),
    ] {
        let refusal = error(&mut conn, statement);
        assert!(refusal.contains(message), "{refusal}");
    }
    let nothing = "SELECT (SELECT count(*) FROM threadline.retention_policies) + (SELECT count(*) FROM threadline.legal_holds)";
    assert_eq!(text(&mut conn, nothing).as_deref(), Some("0"));
}

/// Only the owner of the audit log can purge it; a reader sees what would go.
#[test]
fn rights() {
    let (database, mut conn) = a_year(2_000);
    let role = format!("{}_reader", database.name());
    run(
        &mut conn,
        &format!(
            "SELECT threadline.set_retention('90 days'); CREATE ROLE {role}; SELECT threadline.grant_reader('{role}'); SET ROLE {role}"
        ),
    );
    let planned = text(
        &mut conn,
        "SELECT sum(changes) > 0 FROM threadline.retention_plan",
    );
    assert_eq!(planned.as_deref(), Some("true"));
    assert!(matches!(purge().run(&mut conn), Err(Error::Database(_))));
    for statement in [
        "SELECT threadline.set_retention('1 day')",
        "SELECT threadline.unset_retention()",
        "SELECT threadline.place_hold('why', 'users')",
        "SELECT threadline.release_hold(1, 'why')",
        "DELETE FROM threadline.legal_holds",
    ] {
        assert!(error(&mut conn, statement).contains("permission denied"));
    }
    run(
        &mut conn,
        &format!("RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}"),
    );
}

/// In a transaction of the caller's it would keep all locks until the end.
#[test]
fn in_a_transaction() {
    let (_database, mut conn) = database(USERS);
    let refused = conn.transaction(|conn| {
        let refused = purge().run(conn);
        assert!(matches!(&refused, Err(Error::Refused { message, .. }) if message.contains("a transaction is open")));
        QueryResult::Ok(())
    });
    refused.unwrap();
}

/// What the guide shows runs as it stands there.
#[test]
fn guide() {
    let (_database, mut conn) = database(
        "CREATE TABLE sessions (id integer PRIMARY KEY); CREATE TABLE invoices (LIKE sessions INCLUDING ALL); CREATE TABLE clicks (LIKE sessions INCLUDING ALL);
         CREATE TABLE users (LIKE sessions INCLUDING ALL);
         SELECT threadline.audit_table(t::regclass) FROM unnest('{sessions,invoices,clicks,users}'::text[]) AS t; INSERT INTO users VALUES (7)",
    );
    let guide = include_str!("../../../docs/retention.md");
    let blocks: Vec<_> = guide
        .split("```sql\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```"))
        .collect();
    assert_eq!(blocks.len(), 2);
    for (sql, _) in blocks {
        run(&mut conn, sql);
    }
    let left = "SELECT count(*) || ' ' || (SELECT count(*) FROM threadline.legal_holds) FROM threadline.retention_policies";
    assert_eq!(text(&mut conn, left).as_deref(), Some("3 1"));
}
