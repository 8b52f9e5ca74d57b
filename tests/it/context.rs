//! `audited_transaction`: who acted reaches the audit log, and nothing of it outlives the transaction.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use diesel::connection::{Instrumentation, InstrumentationEvent};
use diesel::prelude::*;
use diesel::result::Error::{self, RollbackTransaction};
use serde_json::json;
use threadline::prelude::*;
use threadline_test_support::Database;

use crate::common::{Row, changes, database, error, run, text};

diesel::table! {
    accounts {
        id -> Int4,
        balance -> Int4,
    }
}

#[derive(Debug, Queryable, Selectable, Audited)]
#[diesel(table_name = accounts)]
struct Account {
    id: i32,
    #[expect(dead_code, reason = "the table has it")]
    balance: i32,
}

pub(crate) const ACCOUNTS: &str = "
    CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL);
    SELECT threadline.audit_table('accounts')";

fn audited() -> (Database, PgConnection) {
    database(ACCOUNTS)
}

fn ada() -> AuditContext {
    AuditContext::new(ActorRef::user("ada"))
}

fn bob() -> AuditContext {
    AuditContext::new(ActorRef::admin("bob"))
}

fn insert(conn: &mut PgConnection, id: i32) -> QueryResult<usize> {
    diesel::insert_into(accounts::table)
        .values((accounts::id.eq(id), accounts::balance.eq(100)))
        .execute(conn)
}

/// Each changed key with the id of who changed it.
fn actors(conn: &mut PgConnection) -> Vec<(String, Option<String>)> {
    let actor = |row: &Row| Some(row.actor_ref.as_ref()?["id"].as_str()?.to_owned());
    changes(conn, "public.accounts")
        .iter()
        .map(|row| (row.row_key.clone().unwrap_or_default(), actor(row)))
        .collect()
}

fn recorded(rows: &[(&str, Option<&str>)]) -> Vec<(String, Option<String>)> {
    rows.iter()
        .map(|(key, actor)| ((*key).to_owned(), actor.map(str::to_owned)))
        .collect()
}

#[track_caller]
fn assert_nothing_left(conn: &mut PgConnection) {
    for setting in [
        "actor_ref",
        "context",
        "outer_context",
        "entered",
        "entered_with",
    ] {
        let value = text(
            conn,
            &format!("current_setting('threadline.{setting}', true)"),
        );
        assert_eq!(
            value.unwrap_or_default(),
            "",
            "threadline.{setting} outlived its transaction"
        );
    }
    // In a transaction the time stands still.
    let times = [text(conn, "now()"), text(conn, "now()")];
    assert_ne!(times[0], times[1], "a transaction is still open");
}

/// Every value of the context reaches the transaction's row, whatever characters it is made of.
#[test]
fn context_is_recorded() {
    let (_database, mut conn) = audited();
    let hostile = r#"O'Hara \ \' "x" -- ; DROP TABLE accounts; $1 %s 🦀"#;
    for conforming in ["on", "off"] {
        run(
            &mut conn,
            &format!(
                "SET standard_conforming_strings = {conforming}; SET escape_string_warning = off"
            ),
        );
        let ctx = AuditContext::new(ActorRef::service_account(hostile))
            .on_behalf_of(ActorRef::user(hostile))
            .source(hostile)
            .correlation_id(hostile)
            .request_id("r-1")
            .job_id("j-1")
            .remote_ip("2001:db8::7".parse().unwrap())
            .meta(json!({hostile: [hostile, 1, null]}));
        let id = conn
            .audited_transaction(&ctx, |conn| {
                diesel::delete(accounts::table).execute(conn)?;
                insert(conn, 1)?;
                conn.audit_transaction_id()
            })
            .unwrap()
            .expect("the insert made a transaction");
        let row = text(
            &mut conn,
            &format!(
                "SELECT to_jsonb(t) FROM threadline.audit_transactions AS t WHERE id = '{id}'"
            ),
        );
        let row: serde_json::Value = serde_json::from_str(&row.unwrap()).unwrap();
        assert_eq!(
            row["actor_ref"],
            json!({"type": "service_account", "id": hostile})
        );
        assert_eq!(row["on_behalf_of"], json!({"type": "user", "id": hostile}));
        assert_eq!(row["source"], hostile);
        assert_eq!(row["correlation_id"], hostile);
        assert_eq!(
            (&row["request_id"], &row["job_id"]),
            (&json!("r-1"), &json!("j-1"))
        );
        assert_eq!(row["remote_ip"], "2001:db8::7");
        assert_eq!(row["meta"], json!({hostile: [hostile, 1, null]}));
    }
    assert_nothing_left(&mut conn);
}

/// The statements that a connection sends.
#[derive(Default)]
pub(crate) struct Log(pub(crate) Arc<Mutex<Vec<String>>>);

impl Instrumentation for Log {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        if let InstrumentationEvent::StartQuery { query, .. } = event {
            self.0.lock().unwrap().push(query.to_string());
        }
    }
}

/// The last message that the session of `conn` sent, as the server saw it.
pub(crate) fn last_message(observer: &mut PgConnection, pid: &str) -> String {
    text(
        observer,
        &format!("SELECT query FROM pg_stat_activity WHERE pid = {pid}"),
    )
    .unwrap()
}

/// `BEGIN` and the context are one message: an audited transaction sends what a plain one sends, by the log of the statements
/// and by what the server saw.
#[test]
fn one_round_trip() {
    let (database, mut conn) = audited();
    let mut observer = database.connect();
    let pid = text(&mut conn, "pg_backend_pid()").unwrap();
    let log = Arc::default();
    conn.set_instrumentation(Log(Arc::clone(&log)));
    conn.audited_transaction(&ada(), |conn| {
        let begin = last_message(&mut observer, &pid);
        assert!(
            begin.starts_with("BEGIN; SET LOCAL threadline.actor_ref = "),
            "{begin}"
        );
        insert(conn, 1)
    })
    .unwrap();
    assert_eq!(last_message(&mut observer, &pid), "SELECT; COMMIT");
    let audited = std::mem::take(&mut *log.lock().unwrap());
    conn.transaction(|conn| insert(conn, 2)).unwrap();
    let plain = log.lock().unwrap();
    assert_eq!(
        (audited.len(), plain.len()),
        (3, 3),
        "{audited:#?}\n{plain:#?}"
    );
}

/// The value of the closure comes back on success; its error, of its own type, after a rollback.
#[test]
fn closure_decides() {
    #[derive(Debug, PartialEq)]
    enum Mine {
        Diesel(Error),
        Refused,
    }
    impl From<Error> for Mine {
        fn from(error: Error) -> Self {
            Self::Diesel(error)
        }
    }
    let (_database, mut conn) = audited();
    let value = conn.audited_transaction(&ada(), |conn| Ok::<_, Mine>(insert(conn, 1)? + 41));
    assert_eq!(value, Ok(42));
    let refused = conn.audited_transaction(&ada(), |conn| {
        insert(conn, 2)?;
        Err::<(), _>(Mine::Refused)
    });
    assert_eq!(refused, Err(Mine::Refused));
    let duplicate = conn.audited_transaction(&ada(), |conn| Ok::<_, Mine>(insert(conn, 1)?));
    assert!(
        matches!(duplicate, Err(Mine::Diesel(Error::DatabaseError(..)))),
        "{duplicate:?}"
    );
    assert_eq!(actors(&mut conn), recorded(&[("1", Some("ada"))]));
    assert_eq!(
        text(
            &mut conn,
            "SELECT count(*) FROM threadline.audit_transactions"
        )
        .unwrap(),
        "1"
    );
    assert_nothing_left(&mut conn);
}

/// Changes of a nested call carry its actor; what comes after it, whether it succeeded or not, the outer one.
#[test]
fn nested_actors() {
    let (_database, mut conn) = audited();
    conn.audited_transaction(&ada(), |conn| {
        conn.audited_transaction(&bob(), |conn| insert(conn, 1))?;
        insert(conn, 2)?;
        let failed = conn.audited_transaction(&bob(), |conn| {
            insert(conn, 3)?;
            Err::<(), _>(RollbackTransaction)
        });
        assert_eq!(failed, Err(RollbackTransaction));
        insert(conn, 4)?;
        // A statement that fails ends the savepoint, and only that.
        let failed = conn.audited_transaction(&bob(), |conn| insert(conn, 4));
        assert!(matches!(failed, Err(Error::DatabaseError(..))));
        insert(conn, 5)?;
        conn.transaction(|conn| {
            conn.audited_transaction(&bob(), |conn| {
                let carol = AuditContext::new(ActorRef::job("carol")).correlation_id("deep");
                conn.audited_transaction(&carol, |conn| insert(conn, 6))?;
                insert(conn, 7)
            })
        })?;
        insert(conn, 8)
    })
    .unwrap();
    assert_eq!(
        actors(&mut conn),
        recorded(&[
            ("1", Some("bob")),
            ("2", Some("ada")),
            ("4", Some("ada")),
            ("5", Some("ada")),
            ("6", Some("carol")),
            ("7", Some("bob")),
            ("8", Some("ada")),
        ])
    );
    let groups = "SELECT string_agg(DISTINCT t.actor_ref ->> 'id', ',') || count(DISTINCT t.id)
                    FROM threadline.audit_transactions t JOIN threadline.audit_changes c ON c.transaction_id = t.id";
    assert_eq!(
        text(&mut conn, groups).unwrap(),
        "ada1",
        "one group, the outermost actor's"
    );
    let deep =
        "SELECT string_agg(row_key, ',') FROM threadline.changes WHERE correlation_id = 'deep'";
    assert_eq!(
        text(&mut conn, deep).unwrap(),
        "6",
        "the context is nested with the actor"
    );
    assert_nothing_left(&mut conn);
}

/// Whom an actor acts for is recorded beside it, of a nested call too, and both can be filtered by.
#[test]
fn on_behalf_of() {
    use threadline::change;
    let (_database, mut conn) = audited();
    let as_user = bob().on_behalf_of(ActorRef::user("eve"));
    conn.audited_transaction(&as_user, |conn| {
        insert(conn, 1)?;
        conn.audited_transaction(&ada(), |conn| insert(conn, 2))?;
        conn.audited_transaction(&ada().on_behalf_of(ActorRef::user("zoe")), |conn| {
            insert(conn, 3)
        })
    })
    .unwrap();
    let of = |conn: &mut PgConnection, user: ActorRef| -> Vec<(i32, Option<ActorRef>)> {
        let versions: Vec<Version<Account>> = Account::history_all()
            .filter(change::on_behalf_of.eq(user))
            .load(conn)
            .unwrap();
        versions
            .into_iter()
            .map(|v| (v.row.id, v.actor.clone()))
            .collect()
    };
    assert_eq!(
        of(&mut conn, ActorRef::user("eve")),
        [(1, Some(ActorRef::admin("bob")))]
    );
    assert_eq!(
        of(&mut conn, ActorRef::user("zoe")),
        [(3, Some(ActorRef::user("ada")))]
    );
    let version: Version<Account> = Account::history(2).get_result(&mut conn).unwrap();
    assert_eq!(version.on_behalf_of, None);
    let shown = "SELECT string_agg(concat(row_key, on_behalf_of ->> 'id'), ' ' ORDER BY id) FROM threadline.changes";
    assert_eq!(text(&mut conn, shown).unwrap(), "1eve 2 3zoe");
}

/// What passes for no actor is kept as it was said and is not believed, of the one acted for as well.
#[test]
fn unreadable_on_behalf_of() {
    let (_database, mut conn) = audited();
    let shown = "SELECT concat(on_behalf_of, ' ', actor_ref ->> 'id', ' ', meta) FROM threadline.audit_transactions ORDER BY id DESC LIMIT 1";
    for (said, kept) in [
        (r#""eve""#, r#"{"unreadable_on_behalf_of": "eve"}"#),
        ("7", r#"{"unreadable_on_behalf_of": 7}"#),
        (
            r#"{"type":"robot","id":"1"}"#,
            r#"{"unreadable_on_behalf_of": {"id": "1", "type": "robot"}}"#,
        ),
        ("null", ""),
    ] {
        run(
            &mut conn,
            &format!(
                r#"BEGIN; SET LOCAL threadline.actor_ref = '{{"type":"user","id":"ada"}}';
                   SET LOCAL threadline.context = '{{"on_behalf_of": {said}}}';
                   DELETE FROM accounts; INSERT INTO accounts VALUES (1, 1); COMMIT"#
            ),
        );
        assert_eq!(text(&mut conn, shown).unwrap(), format!(" ada {kept}"));
    }
}

/// Far from where the context is known, a transaction takes that of the scope it is in; without one it is refused, and
/// nothing is sent.
#[test]
fn ambient() {
    let (_database, mut conn) = audited();
    let log = Arc::default();
    conn.set_instrumentation(Log(Arc::clone(&log)));
    let refused = conn.audited(|_| -> Result<(), threadline::Error> { unreachable!() });
    assert!(
        matches!(refused, Err(threadline::Error::MissingActor)),
        "{refused:?}"
    );
    assert_eq!(*log.lock().unwrap(), [""; 0]);
    ada().sync_scope(|| {
        conn.audited(|conn| insert(conn, 1)).unwrap();
        bob().sync_scope(|| conn.audited(|conn| insert(conn, 2)).unwrap());
        conn.audited(|conn| insert(conn, 3)).unwrap();
        let _ = catch_unwind(|| bob().sync_scope(|| panic!("in a scope")));
        // Work is in the scope of its own transaction.
        conn.audited_transaction(&bob(), |conn| conn.audited(|conn| insert(conn, 4)))
            .unwrap();
    });
    assert_eq!(AuditContext::current(), None);
    assert_eq!(
        actors(&mut conn),
        recorded(&[
            ("1", Some("ada")),
            ("2", Some("bob")),
            ("3", Some("ada")),
            ("4", Some("bob"))
        ])
    );
}

/// A nested call in a transaction without a context gives it to its own changes only.
#[test]
fn nested_in_a_plain_transaction() {
    let (_database, mut conn) = audited();
    conn.transaction(|conn| {
        insert(conn, 1)?;
        conn.audited_transaction(&bob(), |conn| insert(conn, 2))?;
        insert(conn, 3)
    })
    .unwrap();
    assert_eq!(
        actors(&mut conn),
        recorded(&[("1", None), ("2", Some("bob")), ("3", None)])
    );
}

/// In a transaction of one's own the context can be set, and set again; outside one it is refused.
#[test]
fn context_in_a_transaction_of_ones_own() {
    let (_database, mut conn) = audited();
    assert!(matches!(
        conn.set_audit_context(&ada()),
        Err(Error::NotInTransaction)
    ));
    conn.transaction(|conn| {
        assert_eq!(conn.audit_transaction_id(), Ok(None));
        conn.set_audit_context(&ada())?;
        insert(conn, 1)?;
        conn.set_audit_context(&bob())?;
        insert(conn, 2)
    })
    .unwrap();
    assert_eq!(
        actors(&mut conn),
        recorded(&[("1", Some("ada")), ("2", Some("bob"))])
    );
    assert_nothing_left(&mut conn);
}

/// A context that cannot be stored is refused before anything is sent.
#[test]
fn invalid_contexts() {
    let (_database, mut conn) = audited();
    let log = Arc::default();
    conn.set_instrumentation(Log(Arc::clone(&log)));
    let nul = "a\0b";
    for ctx in [
        AuditContext::new(ActorRef::user("")),
        AuditContext::new(ActorRef::user(nul)),
        ada().on_behalf_of(ActorRef::user("")),
        ada().correlation_id("x".repeat(257)),
        ada().request_id(nul),
        ada().meta(json!({"a": [{"b": nul}]})),
        ada().meta(json!({nul: 1})),
    ] {
        let result = conn.audited_transaction(&ctx, |_| -> QueryResult<()> { unreachable!() });
        let Err(Error::QueryBuilderError(error)) = result else {
            panic!("{ctx:?} gave {result:?}");
        };
        assert!(error.to_string().starts_with("invalid "), "{error}");
    }
    assert_eq!(*log.lock().unwrap(), [""; 0]);
    conn.audited_transaction(&ada().correlation_id("x".repeat(256)), |conn| {
        insert(conn, 1)
    })
    .unwrap();
}

/// A panic rolls back, goes on to the caller, and leaves a connection that works.
#[test]
fn panics() {
    let (_database, mut conn) = audited();
    for nested in [false, true] {
        let panic = catch_unwind(AssertUnwindSafe(|| {
            conn.audited_transaction(&ada(), |conn| {
                insert(conn, 1)?;
                assert!(nested, "shallow");
                conn.transaction(|_| -> QueryResult<()> { panic!("deep") })
            })
        }));
        assert!(panic.is_err());
        assert_nothing_left(&mut conn);
    }
    insert(&mut conn, 2).unwrap();
    assert_eq!(actors(&mut conn), recorded(&[("2", None)]));
}

/// A pooled connection comes back without a transaction and without an actor, after errors and panics too.
#[test]
fn pooled() {
    let (database, mut admin) = audited();
    let manager = diesel::r2d2::ConnectionManager::<PgConnection>::new(database.url());
    let pool = diesel::r2d2::Pool::builder()
        .max_size(1)
        .build(manager)
        .unwrap();
    pool.get()
        .unwrap()
        .audited_transaction(&ada(), |conn| insert(conn, 1))
        .unwrap();
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let mut conn = pool.get().unwrap();
        conn.audited_transaction(&bob(), |conn| -> QueryResult<()> {
            insert(conn, 2)?;
            panic!("while pooled")
        })
    }));
    let mut conn = pool.get().unwrap();
    assert_nothing_left(&mut conn);
    insert(&mut conn, 3).unwrap();
    assert_eq!(
        actors(&mut admin),
        recorded(&[("1", Some("ada")), ("3", None)])
    );
}

/// Work that leaves a transaction of its own open is rolled back whole: nobody could say whose changes come next.
#[test]
fn unbalanced_work() {
    use diesel::connection::{AnsiTransactionManager, TransactionManager};
    let (_database, mut conn) = audited();
    let result = conn.audited_transaction(&ada(), |conn| {
        insert(conn, 1)?;
        AnsiTransactionManager::begin_transaction(conn)?;
        insert(conn, 2)
    });
    assert!(
        matches!(result, Err(Error::BrokenTransactionManager)),
        "{result:?}"
    );
    assert_nothing_left(&mut conn);
    assert_eq!(actors(&mut conn), []);
}

/// `COMMIT` of a transaction that failed is a rollback, and PostgreSQL calls it none the less a success; so does Diesel's own
/// `transaction`. Here it is the error it is, and the connection goes on. A constraint that is checked at `COMMIT` is told as such.
#[test]
fn swallowed_errors() {
    let (_database, mut conn) = audited();
    let events = Arc::new(Mutex::new(Vec::new()));
    conn.set_instrumentation({
        let events = Arc::clone(&events);
        move |event: InstrumentationEvent<'_>| match event {
            InstrumentationEvent::BeginTransaction { .. } => events.lock().unwrap().push("begin"),
            InstrumentationEvent::CommitTransaction { .. } => events.lock().unwrap().push("commit"),
            _ => {}
        }
    });
    insert(&mut conn, 1).unwrap();
    let swallowed = conn.audited_transaction(&ada(), |conn| {
        insert(conn, 2)?;
        let _ = insert(conn, 1);
        QueryResult::Ok(())
    });
    let Err(Error::DatabaseError(_, info)) = swallowed else {
        panic!("{swallowed:?}");
    };
    assert!(
        info.message().starts_with("current transaction is aborted"),
        "{info:?}"
    );
    assert_nothing_left(&mut conn);

    run(
        &mut conn,
        "CREATE TABLE entries (account int REFERENCES accounts DEFERRABLE INITIALLY DEFERRED)",
    );
    let deferred = conn.audited_transaction(&ada(), |conn| {
        diesel::sql_query("INSERT INTO entries VALUES (9)").execute(conn)
    });
    let foreign_key = diesel::result::DatabaseErrorKind::ForeignKeyViolation;
    assert!(
        matches!(&deferred, Err(Error::DatabaseError(kind, _)) if *kind == foreign_key),
        "{deferred:?}"
    );
    assert_nothing_left(&mut conn);

    // What is swallowed within a savepoint is undone with it, and the rest is committed.
    conn.audited_transaction(&ada(), |conn| {
        let undone = conn.audited_transaction(&bob(), |conn| {
            insert(conn, 3)?;
            let _ = insert(conn, 1);
            QueryResult::Ok(())
        });
        assert!(
            matches!(undone, Err(Error::DatabaseError(..))),
            "{undone:?}"
        );
        insert(conn, 4)
    })
    .unwrap();
    assert_eq!(
        actors(&mut conn),
        recorded(&[("1", None), ("4", Some("ada"))])
    );
    // The nested one was not even tried.
    let expected = [
        "begin", "commit", "begin", "commit", "begin", "begin", "commit",
    ];
    assert_eq!(*events.lock().unwrap(), expected);
}

/// When the context cannot be set, a transaction that stands open on the server is ended, also one that Diesel does not
/// know of.
#[test]
fn failing_begin() {
    let (_database, mut conn) = audited();
    run(&mut conn, "BEGIN");
    error(&mut conn, "SELECT 1 / 0");
    let result = conn.audited_transaction(&ada(), |_| -> QueryResult<()> { unreachable!() });
    assert!(
        matches!(result, Err(Error::DatabaseError(..))),
        "{result:?}"
    );
    assert_nothing_left(&mut conn);
    conn.transaction(|conn| insert(conn, 1)).unwrap();
}
