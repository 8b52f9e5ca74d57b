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

/// Audited transactions on a [`PgConnection`], and on anything that dereferences to one, such as an
/// r2d2 connection.
///
/// The async counterpart is [`AsyncAuditedConnection`](crate::AsyncAuditedConnection).
pub trait AuditedConnection: sealed::Sealed {
    /// Runs `work` in a transaction and records its changes with the context `ctx`.
    ///
    /// Commits if `work` returns `Ok`, and rolls back if it returns `Err` or panics, like Diesel's
    /// [`transaction`](Connection::transaction). If `work` returns `Ok` although one of its
    /// statements failed, PostgreSQL can only roll back. This method then returns an error, never
    /// `Ok`.
    ///
    /// Inside another transaction, it creates a savepoint. Changes in `work` carry `ctx`, later
    /// changes carry the outer context again, and the database transaction remains one unit. No
    /// part of `ctx` survives the transaction, so a pooled server connection is clean. With the
    /// feature `ambient`, `work` runs in the [scope](AuditContext::scope) of `ctx`.
    ///
    /// ```sql
    /// BEGIN; SET LOCAL threadline.actor_ref = '{"type":"user","id":"7"}'; SET LOCAL threadline.context = '{}'  -- one round trip
    /// ```
    ///
    /// # Errors
    ///
    /// The error of `work`. If the context cannot be stored, a `QueryBuilderError` around
    /// [`threadline::Error`](crate::Error), before anything is sent. If `work` leaves a transaction
    /// of its own open, `BrokenTransactionManager`; everything is then rolled back, because it is
    /// unclear which context those changes belong to.
    ///
    /// # Panics
    ///
    /// Only if `work` panics. The transaction is rolled back first.
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

    /// Runs [`audited_transaction`](Self::audited_transaction) with the context of the current
    /// [scope](AuditContext::scope).
    ///
    /// # Errors
    ///
    /// Outside a scope, a `QueryBuilderError` around [`MissingActor`](crate::Error::MissingActor),
    /// before anything is sent. Otherwise as `audited_transaction`.
    #[cfg(feature = "ambient")]
    fn audited<T, E, F>(&mut self, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut Self) -> Result<T, E>,
        E: From<Error>,
    {
        let ctx = AuditContext::current().ok_or(crate::error::Error::MissingActor);
        self.audited_transaction(&ctx.map_err(Error::from)?, work)
    }

    /// Sets `ctx` for the rest of the open transaction, for code that opens its own transactions.
    ///
    /// # Errors
    ///
    /// `NotInTransaction` outside a transaction, where the settings would be lost at once.
    /// Otherwise as [`audited_transaction`](Self::audited_transaction).
    fn set_audit_context(&mut self, ctx: &AuditContext) -> QueryResult<()>;

    /// Returns the id of this transaction in `threadline.audit_transactions`, or `None` before its
    /// first recorded change. Needs no right on the schema `threadline`.
    ///
    /// # Errors
    ///
    /// As for any query.
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
                    // The error of `work` is more useful than the broken connection it may have
                    // caused.
                    Ok(()) | Err(Error::BrokenTransactionManager) => Err(error),
                    Err(rollback) => Err(rollback.into()),
                },
                Err(panic) => {
                    // If this fails, the connection is marked as broken, which a pool checks.
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

/// Code called by `work` acts with the same context, unless it names another one.
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

/// If a later statement of the batch fails, `BEGIN` may already have run. The server is then in a
/// transaction that Diesel does not know about. Until that transaction has certainly ended, the
/// connection counts as broken.
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

/// Not the transaction manager's `commit_transaction`, for the reason given at [`COMMIT`]. Until
/// the outcome is certain, the connection counts as broken.
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

/// Takes more than one step only if `work` left transactions of its own open.
fn roll_back_to(conn: &mut PgConnection, outer: u32) -> QueryResult<()> {
    while depth(conn)? > outer {
        Manager::rollback_transaction(conn)?;
    }
    Ok(())
}
