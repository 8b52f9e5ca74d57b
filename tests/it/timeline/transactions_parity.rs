//! Whatever is asked for, the pages of transactions are those that a plain look at the audit log finds.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Jsonb, Uuid as SqlUuid};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner, contextualize_config};
use serde_json::json;
use threadline::prelude::*;
use threadline::{AuditTransaction, transactions};
use uuid::Uuid;

use super::transactions::ids;
use crate::common::{database, run, text};
use crate::parity::{CONTEXTS, LOG};

/// A transaction stands where it began, however late it changed something: many that went on for long do not hide a younger one
/// that was short.
#[test]
fn long_transactions_stand_where_they_began() {
    let (_database, mut conn) = database("CREATE TABLE numbered (id int PRIMARY KEY)");
    run(
        &mut conn,
        r#"CREATE TEMPORARY TABLE transactions AS
             SELECT at, at + lasts AS changed_at, lasts > interval '1 s' AS is_long, threadline.first_id_after(at - interval '1 us') AS id
               FROM (SELECT now() - interval '60 min' + n * interval '1 s' AS at, interval '59 min' AS lasts FROM generate_series(1, 200) AS n
                     UNION ALL SELECT now() - interval '30 min' + n * interval '1 s', interval '1 ms' FROM generate_series(1, 5) AS n) AS t;
           INSERT INTO threadline.audit_transactions (id, txid, occurred_at, database_role) SELECT id, pg_current_xact_id(), at, 'x' FROM transactions;
           INSERT INTO threadline.audit_changes (transaction_id, table_id, op, captured_at, data_after, context)
             SELECT id, 1, 'insert', changed_at, '{}', '{"actor_ref": {"type": "user", "id": "ada"}}' FROM transactions;
           INSERT INTO threadline_internal.long_transactions SELECT 15, at, id FROM transactions WHERE is_long"#,
    );
    run(&mut conn, CONTEXTS);
    let newest = text(
        &mut conn,
        "SELECT string_agg(id::text, ' ' ORDER BY id DESC) FROM (SELECT id FROM transactions ORDER BY id DESC LIMIT 6) AS t",
    );
    let ada = transactions().actor(&ActorRef::user("ada"));
    let first = ids(&mut conn, ada.clone().limit(3));
    let cursor = first[2].to_string().parse().unwrap();
    let next = ids(&mut conn, ada.before(cursor).limit(3));
    let read: Vec<_> = first.iter().chain(&next).map(Uuid::to_string).collect();
    assert_eq!(Some(read.join(" ")), newest);
}

/// Every transaction, looked at one by one.
const PLAIN: &str = r#"
    SELECT t.id FROM threadline.audit_transactions AS t, jsonb_to_record($1) AS f (actor text, behalf text, correlation text, action text,
           "from" timestamptz, "to" timestamptz)
     WHERE (f.actor IS NULL OR t.actor_ref ->> 'id' = f.actor
            OR f.actor IN (SELECT a.actor_ref ->> 'id' FROM threadline.audit_actions AS a WHERE a.transaction_id = t.id)
            OR f.actor IN (SELECT c.context #>> '{actor_ref,id}' FROM threadline.audit_changes AS c WHERE c.transaction_id = t.id AND c.context IS NOT NULL))
       AND (f.behalf IS NULL OR t.on_behalf_of ->> 'id' = f.behalf
            OR f.behalf IN (SELECT c.context #>> '{on_behalf_of,id}' FROM threadline.audit_changes AS c WHERE c.transaction_id = t.id AND c.context IS NOT NULL))
       AND (f.correlation IS NULL OR t.correlation_id = f.correlation
            OR f.correlation IN (SELECT a.correlation_id FROM threadline.audit_actions AS a WHERE a.transaction_id = t.id)
            OR f.correlation IN (SELECT c.context ->> 'correlation_id' FROM threadline.audit_changes AS c WHERE c.transaction_id = t.id AND c.context IS NOT NULL))
       AND (f.action IS NULL OR f.action IN (SELECT a.name FROM threadline.audit_actions AS a WHERE a.transaction_id = t.id))
       AND (f.from IS NULL OR t.occurred_at >= f.from) AND (f.to IS NULL OR t.occurred_at <= f.to)
     ORDER BY t.id DESC"#;

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

/// Random filters over a random log, nested contexts and long transactions included: all pages together are what a plain look
/// finds, in its order.
#[test]
fn pages_are_what_a_plain_look_finds() {
    let (_database, mut conn) = database("CREATE TABLE numbered (id int PRIMARY KEY)");
    run(&mut conn, "SELECT setseed(0.42)");
    run(&mut conn, LOG);
    run(&mut conn, CONTEXTS);
    let now = text(
        &mut conn,
        "SELECT to_char(max(occurred_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') FROM threadline.audit_transactions",
    );
    let now: DateTime<Utc> = now.unwrap().parse().unwrap();
    let maybe = |range: std::ops::Range<i64>, of_ten: f64| prop::option::weighted(of_ten, range);
    let asked = (
        (maybe(0..5, 0.5), maybe(0..4, 0.3)),
        (maybe(0..21, 0.3), maybe(0..4, 0.2)),
        (maybe(0..60, 0.3), maybe(0..60, 0.3)),
        1..400_u16,
    );
    let mut runner = TestRunner::new(contextualize_config(Config {
        cases: 100,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(7),
        ..Config::default()
    }));
    let conn = std::cell::RefCell::new(conn);
    let found = std::cell::Cell::new(0);
    runner
        .run(&asked, |((actor, behalf), (correlation, name), (from, to), limit)| {
            let conn = &mut *conn.borrow_mut();
            let ago = |seconds: i64| now - chrono::Duration::seconds(seconds);
            let plain: Vec<Id> = diesel::sql_query(PLAIN)
                .bind::<Jsonb, _>(json!({
                    "actor": actor.map(|n| n.to_string()), "behalf": behalf.map(|n| n.to_string()),
                    "correlation": correlation.map(|n| format!("c-{n}")), "action": name.map(|n| format!("a.{n}")),
                    "from": from.map(ago), "to": to.map(ago),
                }))
                .load(conn)
                .unwrap();
            let plain: Vec<_> = plain.iter().map(|row| row.id).collect();
            let user = |n: i64| ActorRef::user(n.to_string());
            let mut asked = transactions().limit(limit);
            if let Some(n) = actor {
                asked = asked.actor(&user(n));
            }
            if let Some(n) = behalf {
                asked = asked.on_behalf_of(&user(n));
            }
            if let Some(n) = correlation {
                asked = asked.correlation_id(format!("c-{n}"));
            }
            if let Some(n) = name {
                asked = asked.action(format!("a.{n}"));
            }
            if let Some(seconds) = from {
                asked = asked.since(ago(seconds));
            }
            if let Some(seconds) = to {
                asked = asked.until(ago(seconds));
            }
            let mut paged = Vec::new();
            let mut page: Vec<AuditTransaction> = asked.clone().load(conn).unwrap();
            while let Some(last) = page.last() {
                paged.extend(page.iter().map(|transaction| transaction.id));
                // Enough to tell, where there are many small pages.
                if page.len() < usize::from(limit) || paged.len() > 300 && limit < 50 {
                    break;
                }
                page = asked.clone().before(last.cursor()).load(conn).unwrap();
            }
            prop_assert_eq!(&paged[..], &plain[..paged.len().min(plain.len())]);
            prop_assert!(paged.len() == plain.len() || limit < 50);
            found.set(found.get() + usize::from(!plain.is_empty()));
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(found.get() > 50, "only {} found anything", found.get());
}
