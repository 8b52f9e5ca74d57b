//! What an audited transaction costs over a plain one.
//!
//! ```sh
//! cargo bench -p threadline-benches --bench transaction
//! ```
//!
//! Both do the same work on the same connection, turn by turn, so that what else the machine does falls on both alike.
//! The server comes from where the tests have theirs, over a unix socket: with no network between, what the context costs is
//! all there is to see.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use diesel::connection::InstrumentationEvent;
use diesel::prelude::*;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use threadline::prelude::*;
use threadline_benches::{Result, table};
use threadline_test_support::Database;

/// Where 7-column rows of some 300 bytes go.
const TABLES: [&str; 2] = ["unaudited", "audited"];
const TURNS: usize = 3000;
/// The first ones fill caches.
const WARM_UP: usize = 200;

static SENT: AtomicUsize = AtomicUsize::new(0);

fn main() -> Result<()> {
    let database = Database::new();
    let mut conn = database.connect();
    for table in TABLES {
        diesel::sql_query(format!(
            "CREATE TABLE {table} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, email text, \
             visits int DEFAULT 0, born date DEFAULT '1990-01-01', vip bool DEFAULT false, note text)"
        ))
        .execute(&mut conn)?;
    }
    diesel::sql_query("SELECT threadline.audit_table('audited')").execute(&mut conn)?;
    conn.set_instrumentation(count);

    let mut report = table(
        &["", "plain µs", "audited µs", "more µs", "statements sent"],
        1,
    );
    report.add_row(sync("nothing", &mut conn, |_| Ok(()))?);
    for table in TABLES {
        let insert = insert_into(table);
        let row = sync(&format!("an insert into {table}"), &mut conn, |conn| {
            diesel::sql_query(&insert).execute(conn)?;
            Ok(())
        })?;
        report.add_row(row);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for work in [
        String::new(),
        insert_into(TABLES[0]),
        insert_into(TABLES[1]),
    ] {
        report.add_row(runtime.block_on(asynchronous(&database, &work))?);
    }
    println!("{report}");
    println!("Medians of {TURNS} transactions each, taken in turns.");
    Ok(())
}

fn insert_into(table: &str) -> String {
    let note = "x".repeat(180);
    format!("INSERT INTO {table} (name, email, note) VALUES ('Ada', 'ada@example.com', '{note}')")
}

#[expect(clippy::needless_pass_by_value, reason = "Diesel gives it so")]
fn count(event: InstrumentationEvent<'_>) {
    if let InstrumentationEvent::StartQuery { .. } = event {
        SENT.fetch_add(1, Ordering::Relaxed);
    }
}

/// As much as a request usually says.
fn context() -> AuditContext {
    AuditContext::new(ActorRef::user("018f4e0e-7a30-7cc0-b1d7-6f0f2c8d1a55"))
        .source("shop")
        .correlation_id("4bf92f3577b34da6a3ce929d0e0e4736")
        .request_id("01JD9Q6M3Z1T4K8W5V7XACEGHJ")
        .remote_ip([192, 0, 2, 7].into())
}

/// Times of one kind of transaction, and the statements that the last of them sent.
#[derive(Default)]
struct Times {
    taken: Vec<Duration>,
    sent: usize,
}

impl Times {
    fn add(&mut self, start: Instant) {
        self.taken.push(start.elapsed());
        self.sent = SENT.swap(0, Ordering::Relaxed);
    }

    fn median(&mut self) -> f64 {
        let measured = &mut self.taken[WARM_UP..];
        measured.sort_unstable();
        measured[measured.len() / 2].as_secs_f64() * 1e6
    }
}

fn row(name: &str, mut plain: Times, mut audited: Times) -> [String; 5] {
    let (plain_us, audited_us) = (plain.median(), audited.median());
    [
        name.to_owned(),
        format!("{plain_us:.0}"),
        format!("{audited_us:.0}"),
        format!("{:.0}", audited_us - plain_us),
        format!("{} and {}", plain.sent, audited.sent),
    ]
}

fn sync(
    name: &str,
    conn: &mut PgConnection,
    work: impl Fn(&mut PgConnection) -> QueryResult<()>,
) -> Result<[String; 5]> {
    let (mut plain, mut audited) = (Times::default(), Times::default());
    SENT.store(0, Ordering::Relaxed);
    for _ in 0..TURNS + WARM_UP {
        let start = Instant::now();
        conn.transaction(&work)?;
        plain.add(start);
        let start = Instant::now();
        conn.audited_transaction(black_box(&context()), &work)?;
        audited.add(start);
    }
    Ok(row(&format!("{name}, sync"), plain, audited))
}

async fn asynchronous(database: &Database, sql: &str) -> Result<[String; 5]> {
    let mut conn = AsyncPgConnection::establish(database.url()).await?;
    conn.set_instrumentation(count);
    let work = async |conn: &mut AsyncPgConnection| {
        if !sql.is_empty() {
            conn.batch_execute(sql).await?;
        }
        QueryResult::Ok(())
    };
    let (mut plain, mut audited) = (Times::default(), Times::default());
    SENT.store(0, Ordering::Relaxed);
    for _ in 0..TURNS + WARM_UP {
        let start = Instant::now();
        conn.transaction(work).await?;
        plain.add(start);
        let start = Instant::now();
        conn.audited_transaction(black_box(&context()), work)
            .await?;
        audited.add(start);
    }
    let name = match sql.split_whitespace().nth(2) {
        Some(table) => format!("an insert into {table}, async"),
        None => "nothing, async".to_owned(),
    };
    Ok(row(&name, plain, audited))
}
