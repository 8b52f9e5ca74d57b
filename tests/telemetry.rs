//! What the features `metrics` and `tracing` tell. A binary of its own, since counting the changed tables is a matter of the
//! whole program.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use diesel::connection::{Instrumentation, InstrumentationEvent};
use diesel::prelude::*;
use diesel::result::Error::RollbackTransaction;
use diesel_async::{AsyncConnection, AsyncPgConnection};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use threadline::prelude::*;
use threadline::{ActionStatus, Error, TableSpec};
use threadline_test_support::Database;
use tracing_subscriber::fmt::format::FmtSpan;

use tables::{accounts, transfers};

mod tables {
    diesel::table! { accounts { id -> Integer, owner -> Text } }
    diesel::table! { transfers { id -> Integer, amount -> Integer } }
}

#[derive(Queryable, Selectable, Audited)]
#[expect(dead_code, reason = "only what is told about it is looked at")]
struct Account {
    id: i32,
    owner: String,
}

fn audited() -> (Database, PgConnection) {
    let database = Database::new();
    let mut conn = database.connect();
    for sql in [
        "CREATE TABLE accounts (id integer PRIMARY KEY, owner text NOT NULL)",
        "CREATE TABLE transfers (id integer PRIMARY KEY, amount integer NOT NULL)",
    ] {
        diesel::sql_query(sql).execute(&mut conn).unwrap();
    }
    let specs = [
        TableSpec::new(accounts::table),
        TableSpec::new(transfers::table),
    ];
    threadline::capture::install(&mut conn, &specs).unwrap();
    (database, conn)
}

fn ada() -> AuditContext {
    AuditContext::new(ActorRef::user("ada@secret.example"))
        .source("shop")
        .correlation_id("c-1")
        .request_id("r-1")
        .remote_ip([192, 0, 2, 7].into())
        .meta("secret meta".into())
}

fn open(conn: &mut PgConnection, id: i32) -> QueryResult<usize> {
    let row = (accounts::id.eq(id), accounts::owner.eq("secret owner"));
    diesel::insert_into(accounts::table)
        .values(row)
        .execute(conn)
}

fn transfer(conn: &mut PgConnection, id: i32) -> QueryResult<usize> {
    let row = (transfers::id.eq(id), transfers::amount.eq(1));
    diesel::insert_into(transfers::table)
        .values(row)
        .execute(conn)
}

/// Whether changed tables are counted is a matter of the whole program, so one test at a time says so.
static COUNTS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Counters by name and labels, and what went into histograms.
fn counted(work: impl FnOnce()) -> BTreeMap<String, Vec<u64>> {
    let recorder = DebuggingRecorder::new();
    metrics::with_local_recorder(&recorder, work);
    snapshot(&recorder)
}

/// What was counted since the last time.
fn snapshot(recorder: &DebuggingRecorder) -> BTreeMap<String, Vec<u64>> {
    let entries = recorder.snapshotter().snapshot().into_vec();
    let entries = entries.into_iter().map(|(key, _, _, value)| {
        let key = key.key();
        let labels = key.labels().flat_map(|l| [" ", l.key(), "=", l.value()]);
        let labels: String = labels.collect();
        let values = match value {
            DebugValue::Counter(count) => vec![count],
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "counts of tables"
            )]
            DebugValue::Histogram(values) => values.iter().map(|v| v.0 as u64).collect(),
            DebugValue::Gauge(_) => panic!("there are no gauges"),
        };
        (format!("{}{labels}", key.name()), values)
    });
    entries.collect()
}

/// A transaction counts once when it commits, with the number of tables that it really changed: not those of a savepoint
/// that was rolled back, nor those where nothing changed.
#[test]
fn committed_transactions() {
    let _alone = COUNTS.blocking_lock();
    let (_database, mut conn) = audited();
    threadline::count_changed_tables(true);
    let counted = counted(|| {
        conn.audited_transaction(&ada(), |conn| {
            open(conn, 1)?;
            open(conn, 2)
        })
        .unwrap();
        conn.audited_transaction(&ada(), |conn| {
            open(conn, 3)?;
            conn.audited_transaction(&ada(), |conn| transfer(conn, 1))
        })
        .unwrap();
        conn.audited_transaction(&ada(), |conn| {
            open(conn, 4)?;
            let undone = conn.audited_transaction(&ada(), |conn| {
                transfer(conn, 2)?;
                Err::<(), _>(RollbackTransaction)
            });
            assert_eq!(undone, Err(RollbackTransaction));
            diesel::update(transfers::table)
                .set(transfers::amount.eq(transfers::amount))
                .execute(conn)
        })
        .unwrap();
        conn.audited_transaction(&ada(), |_| QueryResult::Ok(()))
            .unwrap();

        // None of these is committed.
        let undone = conn.audited_transaction(&ada(), |conn| {
            open(conn, 5)?;
            Err::<(), _>(RollbackTransaction)
        });
        assert_eq!(undone, Err(RollbackTransaction));
        let swallowed = conn.audited_transaction(&ada(), |conn| {
            let _ = open(conn, 1);
            QueryResult::Ok(())
        });
        assert!(swallowed.is_err());
        conn.transaction(|conn| open(conn, 6)).unwrap();
    });
    assert_eq!(counted["threadline.transaction.committed"], [4]);
    assert_eq!(counted["threadline.transaction.table_count"], [1, 2, 1, 0]);
    assert_eq!(counted.len(), 2, "{counted:?}");
}

/// Without a wish for the changed tables, the feature costs no statement; with it, one for each transaction.
#[tokio::test(flavor = "current_thread")]
async fn changed_tables_only_when_asked() {
    let _alone = COUNTS.lock().await;
    let (database, mut conn) = audited();
    let mut asynchronous = AsyncPgConnection::establish(database.url()).await.unwrap();
    let recorder = DebuggingRecorder::new();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let mut id = 0;
    for (asked, statements, tables) in [(false, 3, vec![]), (true, 4, vec![1, 1])] {
        threadline::count_changed_tables(asked);
        let log = Statements::default();
        conn.set_instrumentation(log.clone());
        conn.audited_transaction(&ada(), |conn| open(conn, id + 1))
            .unwrap();
        assert_eq!(log.len(), statements, "{log:?}");

        let log = Statements::default();
        asynchronous.set_instrumentation(log.clone());
        asynchronous
            .audited_transaction(&ada(), async |conn| {
                let row = (accounts::id.eq(id + 2), accounts::owner.eq("secret owner"));
                let insert = diesel::insert_into(accounts::table).values(row);
                diesel_async::RunQueryDsl::execute(insert, conn).await
            })
            .await
            .unwrap();
        assert_eq!(log.len(), statements, "{log:?}");
        id += 2;

        let counted = snapshot(&recorder);
        assert_eq!(counted["threadline.transaction.committed"], [2]);
        let counts = counted.get("threadline.transaction.table_count");
        assert_eq!(counts.cloned().unwrap_or_default(), tables);
    }
}

/// The statements that a connection sends.
#[derive(Clone, Debug, Default)]
struct Statements(Arc<Mutex<Vec<String>>>);

impl Statements {
    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl Instrumentation for Statements {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        if let InstrumentationEvent::StartQuery { query, .. } = event {
            self.0.lock().unwrap().push(query.to_string());
        }
    }
}

/// An action counts by its status when it is recorded.
#[test]
fn recorded_actions() {
    let (_database, mut conn) = audited();
    let counted = counted(|| {
        conn.audited_transaction(&ada(), |conn| {
            NewAction::new("account.opened").record(conn)?;
            NewAction::new("account.opened").record(conn)?;
            NewAction::new("account.closed")
                .status(ActionStatus::Error)
                .record(conn)
        })
        .unwrap();
        NewAction::new("closed").record(&mut conn).unwrap_err();
    });
    assert_eq!(counted["threadline.action.recorded status=ok"], [2]);
    assert_eq!(counted["threadline.action.recorded status=error"], [1]);
}

/// A check of the health counts by the worst that it found.
#[test]
fn checked_health() {
    let (_database, mut conn) = audited();
    let log = Log::default();
    let counted = counted(|| {
        let subscriber = log.subscriber();
        tracing::subscriber::with_default(subscriber, || {
            for sql in [
                "SELECT 1",
                "ALTER TABLE accounts ADD COLUMN note text",
                "ALTER TABLE accounts DISABLE TRIGGER ALL",
            ] {
                diesel::sql_query(sql).execute(&mut conn).unwrap();
                threadline::check_health(&mut conn).unwrap();
            }
        });
    });
    for status in ["ok", "warning", "error"] {
        let name = format!("threadline.health.checked status={status}");
        assert_eq!(counted[&name], [1]);
    }
    assert_eq!(counted.len(), 3, "{counted:?}");
    let lines = log.lines();
    let span = r#"INFO threadline.operation{name="health"}: threadline::"#;
    let told =
        format!("{span}ops::check::telemetry: threadline.health checked errors=4 warnings=1");
    assert!(lines.contains(&told), "{lines:#?}");
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// A subscriber that writes here all that is told.
    fn subscriber(&self) -> impl tracing::Subscriber + Send + Sync + use<> {
        let log = self.clone();
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_span_events(FmtSpan::CLOSE)
            .with_writer(move || log.clone())
            .with_ansi(false)
            .without_time()
            .finish()
    }

    /// The lines that are ours, without what differs from run to run.
    fn lines(&self) -> Vec<String> {
        let log = self.0.lock().unwrap();
        let log = std::str::from_utf8(&log).unwrap();
        assert!(
            !log.contains("secret") && !log.contains("192.0.2.7"),
            "{log}"
        );
        let ours = log.lines().filter(|line| line.contains("threadline"));
        let stable = |line: &str| {
            let line = line.split(" time.busy").next().unwrap_or_default();
            let line = line.split(" id=").next().unwrap_or_default();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        ours.map(stable).collect()
    }
}

/// Transactions and operations have a span, actions and queries an event; none of them says a value of a row, a reason
/// or whose id it is.
#[test]
fn spans_and_events() {
    let (_database, mut conn) = audited();
    let log = Log::default();
    tracing::subscriber::with_default(log.subscriber(), || {
        conn.audited_transaction(&ada(), |conn| {
            open(conn, 1)?;
            let action = NewAction::new("account.opened")
                .reason("secret reason")
                .comment("secret comment");
            action.meta("secret".into()).record(conn)
        })
        .unwrap();
        let undone = conn.audited_transaction(&ada(), |_| Err::<(), _>(RollbackTransaction));
        assert_eq!(undone, Err(RollbackTransaction));
        let version: Version<Account> = Account::history(1).get_result(&mut conn).unwrap();
        let then = version.captured_at;
        version.restore().run(&mut conn).unwrap();
        let _ = Account::as_of(1, then).get_result(&mut conn).unwrap();
        let _ = threadline::as_of(then, accounts::table);
        threadline::purge().run(&mut conn).unwrap();
    });
    let span = r#"threadline.transaction{actor_type="user" source="shop" correlation_id="c-1" request_id="r-1" nested=false}: threadline::context::telemetry:"#;
    assert_eq!(
        log.lines(),
        [
            &format!(r#"INFO {span} threadline.action recorded name="account.opened" status="ok""#),
            &format!("DEBUG {span} threadline.transaction ended committed=true"),
            &format!("INFO {span} close"),
            &format!("DEBUG {span} threadline.transaction ended committed=false"),
            &format!("INFO {span} close"),
            r#"DEBUG threadline::telemetry: threadline.query name="history" table="\"accounts\"""#,
            r#"INFO threadline.operation{name="restore" table="\"accounts\""}: threadline::telemetry: close"#,
            r#"DEBUG threadline::telemetry: threadline.query name="row_as_of" table="\"accounts\"""#,
            r#"DEBUG threadline::telemetry: threadline.query name="as_of""#,
            r#"INFO threadline.operation{name="purge"}: threadline::telemetry: close"#,
        ]
    );
}

/// What the application logs in a transaction is in its span, also after it waited.
#[tokio::test(flavor = "current_thread")]
async fn asynchronous() {
    let (database, _conn) = audited();
    let mut conn = AsyncPgConnection::establish(database.url()).await.unwrap();
    let log = Log::default();
    let guard = tracing::subscriber::set_default(log.subscriber());
    conn.audited_transaction(&ada().job_id("j-1"), async |conn| {
        NewAction::new("account.opened").record(conn).await?;
        tokio::task::yield_now().await;
        tracing::warn!(target: "threadline_user", "here");
        Ok::<_, Error>(())
    })
    .await
    .unwrap();
    drop(guard);
    let lines = log.lines();
    let span = r#"threadline.transaction{actor_type="user" source="shop" correlation_id="c-1" request_id="r-1" job_id="j-1" nested=false}:"#;
    let theirs: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("threadline_user"))
        .collect();
    assert_eq!(theirs, [&format!("WARN {span} threadline_user: here")]);
    assert!(lines.iter().all(|line| line.contains(span)), "{lines:#?}");
}
