use std::future::Future;

use diesel::connection::{InstrumentationEvent, TransactionManagerStatus};
use diesel::prelude::*;
use diesel::result::Error;
use diesel_async::{
    AnsiTransactionManager, AsyncConnection as _, AsyncPgConnection, RunQueryDsl,
    SimpleAsyncConnection, TransactionManager,
};
use uuid::Uuid;

use super::{COMMIT, Settings, TRANSACTION_ID, UNNEST};
use crate::context::{AuditContext, telemetry};

type Manager = AnsiTransactionManager;

/// An async closure of one argument whose future has a name, so that a bound can require it to be
/// `Send`.
///
/// Implemented for all such closures, and only useful in bounds. (Rust cannot name the future of an
/// `AsyncFnOnce` yet.)
pub trait AsyncFn1<A, R>: AsyncFnOnce(A) -> R + FnOnce(A) -> <Self as AsyncFn1<A, R>>::Fut {
    /// The future that a call returns.
    type Fut: Future<Output = R>;
}

impl<F, A, Fut, R> AsyncFn1<A, R> for F
where
    F: AsyncFnOnce(A) -> R + FnOnce(A) -> Fut,
    Fut: Future<Output = R>,
{
    type Fut = Fut;
}

/// Audited transactions on an [`AsyncPgConnection`], and on anything that dereferences to one, such
/// as an object of a deadpool pool.
///
/// The sync counterpart is `AuditedConnection`.
pub trait AsyncAuditedConnection: sealed::Sealed {
    /// Runs `work` in a transaction and records its changes with the context `ctx`.
    ///
    /// Commits if `work` returns `Ok`, and rolls back if it returns `Err`, like diesel-async's
    /// `transaction`. If `work` returns `Ok` although one of its statements failed, PostgreSQL can
    /// only roll back. This method then returns an error, never `Ok`.
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
    /// # Cancel safety
    ///
    /// A dropped future commits nothing. It leaves the transaction open and the connection marked
    /// as broken, so that a pool discards the connection and the server rolls back. If only a
    /// nested audited transaction is dropped, the outer one rolls everything back and returns
    /// `BrokenTransactionManager`, because it is unclear which context later changes belong to.
    ///
    /// # Errors
    ///
    /// The error of `work`. If the context cannot be stored, a `QueryBuilderError` around
    /// [`threadline::Error`](crate::Error), before anything is sent. If `work` leaves a transaction
    /// of its own open, `BrokenTransactionManager`.
    ///
    /// # Example
    ///
    /// ```
    /// # use diesel::prelude::*;
    /// # use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
    /// # use threadline_test_support::Database;
    /// use threadline::prelude::*;
    ///
    /// # diesel::table! { users { id -> Integer, name -> Text } }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let database = Database::new();
    /// # let mut conn = AsyncPgConnection::establish(database.url()).await?;
    /// # diesel::sql_query("CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL)").execute(&mut conn).await?;
    /// # threadline::capture::install(&mut conn, &[threadline::TableSpec::new(users::table)]).await?;
    /// let ctx = AuditContext::new(ActorRef::user("7")).correlation_id("checkout-77");
    /// let transaction = conn.audited_transaction(&ctx, async |conn| {
    ///     diesel::insert_into(users::table).values((users::id.eq(1), users::name.eq("Ada"))).execute(conn).await?;
    ///     conn.audit_transaction_id().await
    /// }).await?;
    /// assert!(transaction.is_some());
    /// # Ok(())
    /// # }
    /// ```
    fn audited_transaction<'a, 'conn, T, E, F>(
        &'conn mut self,
        ctx: &'conn AuditContext,
        work: F,
    ) -> impl Future<Output = Result<T, E>> + Send + 'conn
    where
        for<'r> F: AsyncFn1<&'r mut Self, Result<T, E>, Fut: Send> + Send + 'a,
        E: From<Error> + Send + 'a,
        T: Send + 'a,
        'a: 'conn;

    /// Runs [`audited_transaction`](Self::audited_transaction) with the context of the current
    /// [scope](AuditContext::scope).
    ///
    /// # Errors
    ///
    /// Outside a scope, a `QueryBuilderError` around [`MissingActor`](crate::Error::MissingActor),
    /// before anything is sent. Otherwise as `audited_transaction`.
    #[cfg(feature = "ambient")]
    fn audited<'a, 'conn, T, E, F>(
        &'conn mut self,
        work: F,
    ) -> impl Future<Output = Result<T, E>> + Send + 'conn
    where
        for<'r> F: AsyncFn1<&'r mut Self, Result<T, E>, Fut: Send> + Send + 'a,
        E: From<Error> + Send + 'a,
        T: Send + 'a,
        'a: 'conn;

    /// Sets `ctx` for the rest of the open transaction, for code that opens its own transactions.
    ///
    /// # Errors
    ///
    /// `NotInTransaction` outside a transaction, where the settings would be lost at once.
    /// Otherwise as [`audited_transaction`](Self::audited_transaction).
    fn set_audit_context(
        &mut self,
        ctx: &AuditContext,
    ) -> impl Future<Output = QueryResult<()>> + Send;

    /// Returns the id of this transaction in `threadline.audit_transactions`, or `None` before its
    /// first recorded change. Needs no right on the schema `threadline`.
    ///
    /// # Errors
    ///
    /// As for any query.
    fn audit_transaction_id(&mut self) -> impl Future<Output = QueryResult<Option<Uuid>>> + Send;
}

mod sealed {
    pub trait Sealed: Send {}
    impl Sealed for diesel_async::AsyncPgConnection {}
}

impl AsyncAuditedConnection for AsyncPgConnection {
    async fn audited_transaction<'a, 'conn, T, E, F>(
        &'conn mut self,
        ctx: &'conn AuditContext,
        work: F,
    ) -> Result<T, E>
    where
        for<'r> F: AsyncFn1<&'r mut Self, Result<T, E>, Fut: Send> + Send + 'a,
        E: From<Error> + Send + 'a,
        T: Send + 'a,
        'a: 'conn,
    {
        let settings = Settings::new(ctx).map_err(Error::from)?;
        let outer = depth(self)?;
        let span = telemetry::transaction_span(ctx, outer);
        span.instrument(async {
            begin(self, &settings, outer).await?;
            let result = match in_scope(ctx, work(&mut *self)).await {
                Ok(value) => finish(self, outer).await.map(|()| value).map_err(E::from),
                Err(error) => match roll_back_to(self, outer).await {
                    // The error of `work` is more useful than the broken connection it may have
                    // caused.
                    Ok(()) | Err(Error::BrokenTransactionManager) => Err(error),
                    Err(rollback) => Err(rollback.into()),
                },
            };
            telemetry::transaction_ended(result.is_ok());
            result
        })
        .await
    }

    #[cfg(feature = "ambient")]
    async fn audited<'a, 'conn, T, E, F>(&'conn mut self, work: F) -> Result<T, E>
    where
        for<'r> F: AsyncFn1<&'r mut Self, Result<T, E>, Fut: Send> + Send + 'a,
        E: From<Error> + Send + 'a,
        T: Send + 'a,
        'a: 'conn,
    {
        let ctx = AuditContext::current().ok_or(crate::error::Error::MissingActor);
        self.audited_transaction(&ctx.map_err(Error::from)?, work)
            .await
    }

    async fn set_audit_context(&mut self, ctx: &AuditContext) -> QueryResult<()> {
        let settings = Settings::new(ctx)?;
        if depth(self)? == 0 {
            return Err(Error::NotInTransaction);
        }
        self.batch_execute(&settings.apply()).await
    }

    async fn audit_transaction_id(&mut self) -> QueryResult<Option<Uuid>> {
        diesel::select(diesel::dsl::sql::<
            diesel::sql_types::Nullable<diesel::sql_types::Uuid>,
        >(TRANSACTION_ID))
        .get_result(self)
        .await
    }
}

/// Code called by `work` acts with the same context, unless it names another one.
#[cfg(feature = "ambient")]
fn in_scope<F: Future>(ctx: &AuditContext, work: F) -> impl Future<Output = F::Output> + use<F> {
    ctx.clone().scope(work)
}

#[cfg(not(feature = "ambient"))]
fn in_scope<F: Future>(_: &AuditContext, work: F) -> F {
    work
}

pub(crate) fn depth(conn: &mut AsyncPgConnection) -> QueryResult<u32> {
    let depth = Manager::transaction_manager_status_mut(conn).transaction_depth()?;
    Ok(depth.map_or(0, u32::from))
}

/// If a later statement of the batch fails, `BEGIN` may already have run. The server is then in a
/// transaction that Diesel does not know about. Until that transaction has certainly ended, the
/// connection counts as broken.
async fn begin(conn: &mut AsyncPgConnection, settings: &Settings, outer: u32) -> QueryResult<()> {
    if outer > 0 {
        Manager::begin_transaction(conn).await?;
        if let Err(error) = conn.batch_execute(&settings.nest()).await {
            roll_back_to(conn, outer).await?;
            return Err(error);
        }
        return Ok(());
    }
    let Err(error) = Manager::begin_transaction_sql(conn, &settings.begin()).await else {
        return Ok(());
    };
    *Manager::transaction_manager_status_mut(conn) = TransactionManagerStatus::InError;
    if conn.batch_execute("ROLLBACK").await.is_ok() {
        *Manager::transaction_manager_status_mut(conn) = TransactionManagerStatus::default();
    }
    Err(error)
}

async fn finish(conn: &mut AsyncPgConnection, outer: u32) -> QueryResult<()> {
    if depth(conn)? != outer + 1 {
        roll_back_to(conn, outer).await?;
        return Err(Error::BrokenTransactionManager);
    }
    if outer > 0 {
        if let Err(error) = conn.batch_execute(UNNEST).await {
            roll_back_to(conn, outer).await?;
            return Err(error);
        }
        return Manager::commit_transaction(conn).await;
    }
    #[cfg(feature = "metrics")]
    let changed = match telemetry::changed_tables() {
        Some(query) => query.get_result(conn).await.ok(),
        None => None,
    };
    commit(conn).await?;
    #[cfg(feature = "metrics")]
    telemetry::count_committed(changed);
    Ok(())
}

/// Not the transaction manager's `commit_transaction`, for the reason given at [`COMMIT`]. Until
/// the outcome is certain, the connection counts as broken.
async fn commit(conn: &mut AsyncPgConnection) -> QueryResult<()> {
    if let Some(depth) = Manager::transaction_manager_status_mut(conn).transaction_depth()? {
        let event = InstrumentationEvent::commit_transaction(depth);
        conn.instrumentation().on_connection_event(event);
    }
    *Manager::transaction_manager_status_mut(conn) = TransactionManagerStatus::InError;
    let result = conn.batch_execute(COMMIT).await;
    if result.is_ok() || conn.batch_execute("ROLLBACK").await.is_ok() {
        *Manager::transaction_manager_status_mut(conn) = TransactionManagerStatus::default();
    }
    result
}

/// Takes more than one step only if `work` left transactions of its own open.
async fn roll_back_to(conn: &mut AsyncPgConnection, outer: u32) -> QueryResult<()> {
    while depth(conn)? > outer {
        Manager::rollback_transaction(conn).await?;
    }
    Ok(())
}
