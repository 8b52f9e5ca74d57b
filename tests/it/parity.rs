//! Whatever a filter asks for, its pages, its count and its exports are the same changes, and those that a plain look at the audit log
//! finds.

use std::cell::RefCell;

use chrono::{DateTime, Duration, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Jsonb};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner, contextualize_config};
use serde_json::{Value, json};
use threadline::prelude::*;
use threadline::{ExportFormat, Op, Timeline, TimelineCursor, TimelineEntry, timeline};

use crate::common::{database, run, text};
use crate::export::readers;
use crate::timeline::load;

/// What capture notes of nested contexts, and of those on behalf of someone, where a test writes the log itself.
pub(crate) const CONTEXTS: &str = "
    SELECT threadline_internal.note_context(transaction_id, context) FROM threadline.audit_changes WHERE context IS NOT NULL;
    SELECT threadline_internal.note_context(id, jsonb_build_object('on_behalf_of', on_behalf_of)) FROM threadline.audit_transactions
     WHERE on_behalf_of IS NOT NULL";

/// A log whose transactions overlap, with long ones, nested contexts and actions: every tenth transaction lasts up to a minute,
/// and is noted for that as capture does it.
pub(crate) const LOG: &str = "
    CREATE TEMPORARY TABLE transactions AS
      SELECT n, at, threadline.first_id_after(at - interval '1 us') AS id, CASE WHEN n % 10 = 0 THEN 60 ELSE 0.12 END AS lasts
        FROM (SELECT n, now() - interval '5 min' + n * interval '17 ms' + random() * interval '10 ms' AS at FROM generate_series(1, 3000) AS n) AS t;
    INSERT INTO threadline.audit_transactions (id, txid, occurred_at, actor_ref, on_behalf_of, correlation_id, database_role)
      SELECT id, pg_current_xact_id(), at, CASE WHEN random() < 0.8 THEN jsonb_build_object('type', 'user', 'id', (n % 4)::text) END,
             CASE WHEN random() < 0.2 THEN jsonb_build_object('type', 'user', 'id', (random() * 3)::int::text) END,
             CASE WHEN random() < 0.5 THEN 'c-' || (random() * 20)::int END, current_user FROM transactions;
    INSERT INTO threadline.audit_changes (transaction_id, table_id, op, captured_at, key_integer, key_text, data_after, changed_from, context)
      SELECT id, tab, CASE WHEN op = 0 THEN 'insert' WHEN op = 1 THEN 'delete' ELSE 'update' END, at + random() * lasts * interval '1 s',
             CASE WHEN tab = 1 THEN (random() * 20)::int END, CASE WHEN tab = 2 THEN (random() * 20)::int::text END,
             CASE WHEN op <> 1 THEN '{\"id\": 1, \"a\": 2, \"b\": 3}'::jsonb END,
             CASE WHEN op = 1 THEN '{\"id\": 1, \"a\": 2, \"b\": 3}'::jsonb WHEN op > 1 THEN jsonb_build_object(CASE WHEN random() < 0.5 THEN 'a' ELSE 'b' END, 1) END,
             CASE WHEN random() < 0.15 THEN jsonb_strip_nulls(jsonb_build_object(
                'actor_ref', CASE WHEN random() < 0.8 THEN jsonb_build_object('type', 'user', 'id', (random() * 4)::int::text) END,
                'on_behalf_of', CASE WHEN random() < 0.5 THEN jsonb_build_object('type', 'user', 'id', (random() * 3)::int::text) END,
                'correlation_id', CASE WHEN random() < 0.5 THEN 'c-' || (random() * 20)::int END)) END
        FROM (SELECT t.*, 1 + (random() < 0.3)::int AS tab, (random() * 4)::int AS op FROM transactions AS t CROSS JOIN generate_series(1, 3) AS k) AS e;
    INSERT INTO threadline_internal.long_transactions (duration_class, occurred_at, transaction_id)
      SELECT DISTINCT length(ltrim(floor(extract(epoch FROM c.captured_at - t.occurred_at) * 8)::bigint::bit(64)::text, '0')), t.occurred_at, t.id
        FROM threadline.audit_changes AS c JOIN threadline.audit_transactions AS t ON t.id = c.transaction_id
       WHERE c.captured_at >= t.occurred_at + interval '125 ms';
    INSERT INTO threadline.audit_actions (id, name, occurred_at, actor_ref, status, correlation_id, transaction_id)
      SELECT (left(threadline.first_id_after(at - interval '1 us')::text, 19) || right(gen_random_uuid()::text, 17))::uuid, 'a.' || (random() * 3)::int, at, '{\"type\": \"user\", \"id\": \"1\"}', 'ok', CASE WHEN random() < 0.3 THEN 'c-' || (random() * 20)::int END, id
        FROM transactions CROSS JOIN generate_series(1, 2) AS k WHERE random() < 0.2;
    ANALYZE threadline.audit_changes, threadline.audit_transactions, threadline.audit_actions, threadline_internal.long_transactions";

#[derive(Clone, Debug)]
struct Capabilities {
    table: Option<i32>,
    actor: Option<i32>,
    on_behalf_of: Option<i32>,
    correlation_id: Option<i32>,
    action: Option<i32>,
    op: Option<usize>,
    field: bool,
    row_key: Option<i32>,
    /// Seconds before now.
    from: Option<i64>,
    to: Option<i64>,
    /// The transaction or the first action of the change that is in this place.
    transaction_of: Option<i64>,
    action_of: Option<i64>,
    limit: u16,
    format: usize,
}

const FORMATS: [ExportFormat; 3] = [ExportFormat::Csv, ExportFormat::Json, ExportFormat::Ndjson];
const OPS: [Op; 3] = [Op::Delete, Op::Insert, Op::Update];

fn asked() -> impl Strategy<Value = Capabilities> {
    let maybe = |range: std::ops::Range<i32>, of_ten: f64| prop::option::weighted(of_ten, range);
    (
        (
            maybe(1..3, 0.3),
            maybe(0..5, 0.4),
            maybe(0..4, 0.2),
            maybe(0..21, 0.3),
            maybe(0..4, 0.2),
        ),
        (
            prop::option::weighted(0.2, 0..3_usize),
            prop::bool::weighted(0.2),
            maybe(0..21, 0.2),
        ),
        (
            prop::option::weighted(0.3, 0..360_i64),
            prop::option::weighted(0.3, 200..310_i64),
            prop::option::weighted(0.05, 0..9000_i64),
            prop::option::weighted(0.05, 0..9000_i64),
            1..400_u16,
            0..3_usize,
        ),
    )
        .prop_map(
            |(
                (table, actor, on_behalf_of, correlation_id, action),
                (op, field, row_key),
                (from, to, transaction_of, action_of, limit, format),
            )| Capabilities {
                table,
                actor,
                on_behalf_of,
                correlation_id,
                action,
                op,
                field,
                row_key,
                from,
                to,
                transaction_of,
                action_of,
                limit,
                format,
            },
        )
}

impl Capabilities {
    fn time(seconds: i64, now: DateTime<Utc>) -> DateTime<Utc> {
        now - Duration::seconds(seconds)
    }

    fn timeline(&self, now: DateTime<Utc>) -> Timeline {
        let user = |id: i32| ActorRef::user(id.to_string());
        let mut timeline = timeline().limit(self.limit);
        if let Some(table) = self.table {
            timeline = timeline.table_named(if table == 1 { "numbered" } else { "named" });
        }
        if let Some(id) = self.actor {
            timeline = timeline.actor(&user(id));
        }
        if let Some(id) = self.on_behalf_of {
            timeline = timeline.on_behalf_of(&user(id));
        }
        if let Some(id) = self.correlation_id {
            timeline = timeline.correlation_id(format!("c-{id}"));
        }
        if let Some(n) = self.action {
            timeline = timeline.action(format!("a.{n}"));
        }
        if let Some(op) = self.op {
            timeline = timeline.op(OPS[op]);
        }
        if self.field {
            timeline = timeline.column("a");
        }
        if let Some(key) = self.row_key {
            timeline = timeline.row_key(key.to_string());
        }
        if let Some(seconds) = self.from {
            timeline = timeline.since(Self::time(seconds, now));
        }
        if let Some(seconds) = self.to {
            timeline = timeline.until(Self::time(seconds, now));
        }
        timeline
    }

    fn json(&self, now: DateTime<Utc>) -> Value {
        json!({
            "table": self.table, "actor": self.actor.map(|id| id.to_string()), "behalf": self.on_behalf_of.map(|id| id.to_string()),
            "correlation": self.correlation_id.map(|id| format!("c-{id}")), "action": self.action.map(|n| format!("a.{n}")),
            "op": self.op.map(|op| OPS[op].as_str()), "field": self.field.then_some("a"), "key": self.row_key.map(|key| key.to_string()),
            "from": self.from.map(|s| Self::time(s, now)), "to": self.to.map(|s| Self::time(s, now)),
        })
    }
}

/// Every change, looked at one by one in the view for people.
const PLAIN: &str = "
    SELECT v.id FROM threadline.changes AS v, jsonb_to_record($1) AS f (\"table\" int, actor text, behalf text, correlation text, action text,
           op text, field text, key text, \"from\" timestamptz, \"to\" timestamptz, transaction uuid, action_id uuid)
     WHERE (f.table IS NULL OR v.table_id = f.table) AND (f.actor IS NULL OR v.actor_ref ->> 'id' = f.actor)
       AND (f.behalf IS NULL OR v.on_behalf_of ->> 'id' = f.behalf)
       AND (f.correlation IS NULL OR v.correlation_id = f.correlation OR f.correlation IN (
              SELECT a.correlation_id FROM threadline.audit_actions AS a WHERE a.transaction_id = v.transaction_id))
       AND (f.action IS NULL OR f.action IN (SELECT a.name FROM threadline.audit_actions AS a WHERE a.transaction_id = v.transaction_id))
       AND (f.op IS NULL OR v.op = f.op) AND (f.field IS NULL OR f.field = ANY (v.changed_fields)) AND (f.key IS NULL OR v.row_key = f.key)
       AND (f.transaction IS NULL OR v.transaction_id = f.transaction)
       AND (f.action_id IS NULL OR f.action_id IN (SELECT a.id FROM threadline.audit_actions AS a WHERE a.transaction_id = v.transaction_id))
       AND (f.from IS NULL OR v.captured_at >= f.from) AND (f.to IS NULL OR v.captured_at <= f.to)
     ORDER BY v.captured_at DESC, v.id DESC";

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// A change of the log, by its place, and the first action of its transaction.
#[derive(QueryableByName)]
struct Place {
    #[diesel(sql_type = diesel::sql_types::Uuid)]
    transaction_id: uuid::Uuid,
    #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::Uuid>)]
    action_id: Option<uuid::Uuid>,
}

/// A random log.
struct Log {
    conn: PgConnection,
    now: DateTime<Utc>,
}

impl Log {
    fn place(&mut self, place: i64) -> Place {
        let query = "SELECT c.transaction_id, (SELECT x.id FROM threadline.audit_actions AS x WHERE x.transaction_id = c.transaction_id ORDER BY x.id LIMIT 1) AS action_id
                       FROM threadline.audit_changes AS c ORDER BY c.id OFFSET $1 LIMIT 1";
        let query = diesel::sql_query(query).bind::<BigInt, _>(place);
        query.get_result(&mut self.conn).unwrap()
    }

    /// All pages together, or enough of them to tell, where there are many small ones.
    fn pages(&mut self, timeline: &Timeline, asked: &Capabilities) -> Vec<i64> {
        let mut paged = Vec::new();
        let mut position: Option<TimelineCursor> = None;
        loop {
            let page = position
                .into_iter()
                .fold(timeline.clone(), Timeline::before);
            let page = load(&mut self.conn, page);
            paged.extend(page.iter().map(|entry| entry.id));
            let is_last = page.len() < usize::from(asked.limit);
            if is_last || paged.len() > 600 && asked.limit < 50 {
                return paged;
            }
            position = page.last().map(TimelineEntry::cursor);
        }
    }

    fn exported(&mut self, timeline: &Timeline, format: ExportFormat) -> Vec<i64> {
        let mut bytes = Vec::new();
        let export = timeline.clone().export(format);
        let exported = export.write_to(&mut self.conn, &mut bytes).unwrap();
        let ids = readers::ids(format, std::str::from_utf8(&bytes).unwrap());
        assert_eq!(ids.len() as u64, exported.changes);
        ids
    }

    /// How many changes the filter lets through.
    fn check(&mut self, asked: &Capabilities) -> Result<usize, TestCaseError> {
        let mut timeline = asked.timeline(self.now);
        let mut json = asked.json(self.now);
        if let Some(place) = asked.transaction_of {
            let id = self.place(place).transaction_id;
            timeline = timeline.transaction(id);
            json["transaction"] = json!(id);
        }
        if let Some(id) = asked
            .action_of
            .and_then(|place| self.place(place).action_id)
        {
            timeline = timeline.action_id(id);
            json["action_id"] = json!(id);
        }
        let plain = diesel::sql_query(PLAIN).bind::<Jsonb, _>(json);
        let plain: Vec<Id> = plain.load(&mut self.conn).unwrap();
        let plain: Vec<_> = plain.iter().map(|row| row.id).collect();
        let paged = self.pages(&timeline, asked);
        prop_assert_eq!(&paged[..], &plain[..paged.len().min(plain.len())]);
        prop_assert!(paged.len() == plain.len() || asked.limit < 50);
        prop_assert_eq!(self.exported(&timeline, FORMATS[asked.format]), &plain[..]);
        let count: i64 = timeline.count().get_result(&mut self.conn).unwrap();
        prop_assert_eq!(count, i64::try_from(plain.len()).unwrap());
        Ok(plain.len())
    }
}

/// Random filters over random logs: all pages together, the count, and an export, are what a plain look finds, in its order.
#[test]
fn pages_count_and_exports() {
    for seed in [5, 6, 7] {
        let (_database, mut conn) = database(
            "CREATE TABLE numbered (id int PRIMARY KEY, a int, b int); CREATE TABLE named (id text PRIMARY KEY, a int, b int);
             SELECT threadline.audit_table('numbered'), threadline.audit_table('named')",
        );
        run(&mut conn, &format!("SELECT setseed(0.0{seed})"));
        run(&mut conn, LOG);
        run(&mut conn, CONTEXTS);
        let now = "SELECT to_char(max(captured_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') FROM threadline.audit_changes";
        let now = text(&mut conn, now).unwrap().parse().unwrap();
        let long = text(
            &mut conn,
            "SELECT count(*) FROM threadline_internal.long_transactions",
        )
        .unwrap();
        assert!(
            long.parse::<i64>().unwrap() > 200,
            "{long} long transactions"
        );
        // The same filters each time; PROPTEST_RNG_SEED and PROPTEST_CASES ask for others, and for more.
        let mut runner = TestRunner::new(contextualize_config(Config {
            cases: 60,
            failure_persistence: None,
            rng_seed: RngSeed::Fixed(seed),
            ..Config::default()
        }));
        let random_log = RefCell::new(Log { conn, now });
        let found = RefCell::new(Vec::new());
        let result = runner.run(&asked(), |asked| {
            let size = random_log.borrow_mut().check(&asked)?;
            found.borrow_mut().push(size);
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{error}"));
        let found = found.into_inner();
        let some = found.iter().filter(|size| **size > 0).count();
        assert!(
            some * 2 > found.len(),
            "only {some} filters found anything: {found:?}"
        );
    }
}
