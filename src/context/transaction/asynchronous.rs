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

/// An async closure of one argument whose future has a name, so that it can be asked to be `Send`.
///
/// Implemented for all of them; stands in bounds only. (Rust cannot yet name the future of an `AsyncFnOnce`.)
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

/// Audited transactions on an [`AsyncPgConnection`], and on whatever dereferences to one, such as an object of a
/// deadpool pool.
///
/// The synchronous twin is `AuditedConnection`.
pub trait AsyncAuditedConnection: sealed::Sealed {
    /// Runs `work` in a transaction whose changes are recorded as made by `ctx`.
    ///
    /// Commits when `work` returns `Ok` and rolls back when it returns `Err`, as diesel-async's `transaction` does. When
    /// `work` returns `Ok` although a statement of it failed, PostgreSQL can only roll back: then that is an error here, and
    /// never `Ok`.
    /// Within another transaction it is a savepoint: what `work` changes carries `ctx`, what comes after it carries
    /// the outer context again, and the database transaction stays one unit. Nothing of `ctx` survives the
    /// transaction, so a pooled server connection is clean. With the feature `ambient`, `work` runs in the
    /// [scope](AuditContext::scope) of `ctx`.
    ///
    /// ```sql
    /// BEGIN; SET LOCAL threadline.actor_ref = '{"type":"user","id":"7"}'; SET LOCAL threadline.context = '{}'  -- one round trip
    /// ```
    ///
    /// # Cancel safety
    ///
    /// A dropped future commits nothing. It leaves the transaction open and the connection marked as broken, so that
    /// a pool discards it and the server rolls back. If only a nested audited transaction is dropped, the outer one
    /// rolls everything back and returns `BrokenTransactionManager`: nobody can tell whose changes came after.
    ///
    /// # Errors
    ///
    /// The error of `work`. A context that cannot be stored is a `QueryBuilderError` around
    /// [`threadline::Error`](crate::Error), before anything is sent. `BrokenTransactionManager` if `work` left a
    /// transaction of its own open.
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

    /// [`audited_transaction`](Self::audited_transaction) with the context of the [scope](AuditContext::scope) that the code runs in.
    ///
    /// # Errors
    ///
    /// A `QueryBuilderError` around [`MissingActor`](crate::Error::MissingActor) outside a scope, before anything is
    /// sent; else as `audited_transaction`.
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

    /// Sets `ctx` for the rest of the transaction that is open, for code that opens its own.
    ///
    /// # Errors
    ///
    /// `NotInTransaction` outside a transaction, where the settings would be gone at once; else as
    /// [`audited_transaction`](Self::audited_transaction).
    fn set_audit_context(
        &mut self,
        ctx: &AuditContext,
    ) -> impl Future<Output = QueryResult<()>> + Send;

    /// The id that this transaction has in `threadline.audit_transactions`, or `None` before its first
    /// recorded change. Needs no right on the schema `threadline`.
    ///
    /// # Errors
    ///
    /// Those of any query.
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
                    // The error of the work says more than that its connection broke.
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

/// What `work` calls acts for the same, unless it names another context.
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

/// `BEGIN` may have run although what follows it failed: then the server is in a transaction that Diesel does
/// not know of. Until it is ended for certain, the connection counts as broken.
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

/// Not the manager's `commit_transaction`, for what [`COMMIT`] says. Until the end is certain, the connection counts as broken.
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

/// More than one step only when `work` left transactions of its own open.
async fn roll_back_to(conn: &mut AsyncPgConnection, outer: u32) -> QueryResult<()> {
    while depth(conn)? > outer {
        Manager::rollback_transaction(conn).await?;
    }
    Ok(())
}
