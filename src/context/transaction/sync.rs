use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use diesel::connection::{
    AnsiTransactionManager, InstrumentationEvent, SimpleConnection, TransactionManager,
    TransactionManagerStatus,
};
use diesel::prelude::*;
use diesel::result::Error;
use uuid::Uuid;

use super::{COMMIT, Settings, TRANSACTION_ID, UNNEST};
use crate::context::{AuditContext, telemetry};

type Manager = AnsiTransactionManager;

/// Audited transactions on a [`PgConnection`], and on whatever dereferences to one, such as an r2d2 connection.
///
/// The asynchronous twin is [`AsyncAuditedConnection`](crate::AsyncAuditedConnection).
pub trait AuditedConnection: sealed::Sealed {
    /// Runs `work` in a transaction whose changes are recorded as made by `ctx`.
    ///
    /// Commits when `work` returns `Ok` and rolls back when it returns `Err` or panics, as Diesel's
    /// [`transaction`](Connection::transaction) does. When `work` returns `Ok` although a statement of it failed, PostgreSQL
    /// can only roll back: then that is an error here, and never `Ok`. Within another transaction it is a savepoint: what `work`
    /// changes carries `ctx`, what comes after it carries the outer context again, and the database transaction
    /// stays one unit. Nothing of `ctx` survives the transaction, so a pooled server connection is clean. With the feature
    /// `ambient`, `work` runs in the [scope](AuditContext::scope) of `ctx`.
    ///
    /// ```sql
    /// BEGIN; SET LOCAL threadline.actor_ref = '{"type":"user","id":"7"}'; SET LOCAL threadline.context = '{}'  -- one round trip
    /// ```
    ///
    /// # Errors
    ///
    /// The error of `work`. A context that cannot be stored is a `QueryBuilderError` around
    /// [`threadline::Error`](crate::Error), before anything is sent. `BrokenTransactionManager` if `work` left a
    /// transaction of its own open: everything is rolled back, since nobody can tell whose changes those were.
    ///
    /// # Panics
    ///
    /// Only if `work` does; the transaction has been rolled back then.
    ///
    /// # Example
    ///
    /// ```
    /// # use diesel::prelude::*;
    /// # use threadline_test_support::Database;
    /// use threadline::prelude::*;
    ///
    /// # diesel::table! { users { id -> Integer, name -> Text } }
    /// # let database = Database::new();
    /// # let mut conn = database.connect();
    /// # diesel::sql_query("CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL)").execute(&mut conn)?;
    /// # threadline::capture::install(&mut conn, &[threadline::TableSpec::new(users::table)]).unwrap();
    /// let ctx = AuditContext::new(ActorRef::user("7")).correlation_id("checkout-77");
    /// let transaction = conn.audited_transaction(&ctx, |conn| {
    ///     diesel::insert_into(users::table).values((users::id.eq(1), users::name.eq("Ada"))).execute(conn)?;
    ///     conn.audit_transaction_id()
    /// })?;
    /// assert!(transaction.is_some());
    /// # Ok::<_, diesel::result::Error>(())
    /// ```
    fn audited_transaction<T, E, F>(&mut self, ctx: &AuditContext, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut Self) -> Result<T, E>,
        E: From<Error>;

    /// [`audited_transaction`](Self::audited_transaction) with the context of the [scope](AuditContext::scope) that the code runs in.
    ///
    /// # Errors
    ///
    /// A `QueryBuilderError` around [`MissingActor`](crate::Error::MissingActor) outside a scope, before anything is
    /// sent; else as `audited_transaction`.
    #[cfg(feature = "ambient")]
    fn audited<T, E, F>(&mut self, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut Self) -> Result<T, E>,
        E: From<Error>,
    {
        let ctx = AuditContext::current().ok_or(crate::error::Error::MissingActor);
        self.audited_transaction(&ctx.map_err(Error::from)?, work)
    }

    /// Sets `ctx` for the rest of the transaction that is open, for code that opens its own.
    ///
    /// # Errors
    ///
    /// `NotInTransaction` outside a transaction, where the settings would be gone at once; else as
    /// [`audited_transaction`](Self::audited_transaction).
    fn set_audit_context(&mut self, ctx: &AuditContext) -> QueryResult<()>;

    /// The id that this transaction has in `threadline.audit_transactions`, or `None` before its first
    /// recorded change. Needs no right on the schema `threadline`.
    ///
    /// # Errors
    ///
    /// Those of any query.
    fn audit_transaction_id(&mut self) -> QueryResult<Option<Uuid>>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for diesel::PgConnection {}
}

impl AuditedConnection for PgConnection {
    fn audited_transaction<T, E, F>(&mut self, ctx: &AuditContext, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut Self) -> Result<T, E>,
        E: From<Error>,
    {
        let settings = Settings::new(ctx).map_err(Error::from)?;
        let outer = depth(self)?;
        telemetry::transaction_span(ctx, outer).in_scope(|| {
            begin(self, &settings, outer)?;
            let result = match catch_unwind(AssertUnwindSafe(|| in_scope(ctx, || work(self)))) {
                Ok(Ok(value)) => finish(self, outer).map(|()| value).map_err(E::from),
                Ok(Err(error)) => match roll_back_to(self, outer) {
                    // The error of the work says more than that its connection broke.
                    Ok(()) | Err(Error::BrokenTransactionManager) => Err(error),
                    Err(rollback) => Err(rollback.into()),
                },
                Err(panic) => {
                    // If this fails the connection is marked as broken, which a pool checks.
                    let _ = roll_back_to(self, outer);
                    resume_unwind(panic)
                }
            };
            telemetry::transaction_ended(result.is_ok());
            result
        })
    }

    fn set_audit_context(&mut self, ctx: &AuditContext) -> QueryResult<()> {
        let settings = Settings::new(ctx)?;
        if depth(self)? == 0 {
            return Err(Error::NotInTransaction);
        }
        self.batch_execute(&settings.apply())
    }

    fn audit_transaction_id(&mut self) -> QueryResult<Option<Uuid>> {
        diesel::select(diesel::dsl::sql::<
            diesel::sql_types::Nullable<diesel::sql_types::Uuid>,
        >(TRANSACTION_ID))
        .get_result(self)
    }
}

/// What `work` calls acts for the same, unless it names another context.
#[cfg(feature = "ambient")]
fn in_scope<T>(ctx: &AuditContext, work: impl FnOnce() -> T) -> T {
    ctx.clone().sync_scope(work)
}

#[cfg(not(feature = "ambient"))]
fn in_scope<T>(_: &AuditContext, work: impl FnOnce() -> T) -> T {
    work()
}

pub(crate) fn depth(conn: &mut PgConnection) -> QueryResult<u32> {
    let depth = Manager::transaction_manager_status_mut(conn).transaction_depth()?;
    Ok(depth.map_or(0, u32::from))
}

/// `BEGIN` may have run although what follows it failed: then the server is in a transaction that Diesel does
/// not know of. Until it is ended for certain, the connection counts as broken.
fn begin(conn: &mut PgConnection, settings: &Settings, outer: u32) -> QueryResult<()> {
    if outer > 0 {
        Manager::begin_transaction(conn)?;
        return conn.batch_execute(&settings.nest()).or_else(|error| {
            roll_back_to(conn, outer)?;
            Err(error)
        });
    }
    let Err(error) = Manager::begin_transaction_sql(conn, &settings.begin()) else {
        return Ok(());
    };
    *Manager::transaction_manager_status_mut(conn) = TransactionManagerStatus::InError;
    if conn.batch_execute("ROLLBACK").is_ok() {
        *Manager::transaction_manager_status_mut(conn) = TransactionManagerStatus::default();
    }
    Err(error)
}

fn finish(conn: &mut PgConnection, outer: u32) -> QueryResult<()> {
    if depth(conn)? != outer + 1 {
        roll_back_to(conn, outer)?;
        return Err(Error::BrokenTransactionManager);
    }
    if outer > 0 {
        if let Err(error) = conn.batch_execute(UNNEST) {
            roll_back_to(conn, outer)?;
            return Err(error);
        }
        return Manager::commit_transaction(conn);
    }
    #[cfg(feature = "metrics")]
    let changed = telemetry::changed_tables().map(|query| query.get_result(conn));
    commit(conn)?;
    #[cfg(feature = "metrics")]
    telemetry::count_committed(changed.and_then(Result::ok));
    Ok(())
}

/// Not the manager's `commit_transaction`, for what [`COMMIT`] says. Until the end is certain, the connection counts as broken.
fn commit(conn: &mut PgConnection) -> QueryResult<()> {
    if let Some(depth) = Manager::transaction_manager_status_mut(conn).transaction_depth()? {
        let event = InstrumentationEvent::commit_transaction(depth);
        conn.instrumentation().on_connection_event(event);
    }
    *Manager::transaction_manager_status_mut(conn) = TransactionManagerStatus::InError;
    let result = conn.batch_execute(COMMIT);
    if result.is_ok() || conn.batch_execute("ROLLBACK").is_ok() {
        *Manager::transaction_manager_status_mut(conn) = TransactionManagerStatus::default();
    }
    result
}

/// More than one step only when `work` left transactions of its own open.
fn roll_back_to(conn: &mut PgConnection, outer: u32) -> QueryResult<()> {
    while depth(conn)? > outer {
        Manager::rollback_transaction(conn)?;
    }
    Ok(())
}
