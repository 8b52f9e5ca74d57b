use std::marker::PhantomData;

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_types::{Array, BigInt, Nullable, Text, Timestamptz, Uuid};

use crate::error::Error;
use crate::query::{Audited, Change, Op, Version};
use crate::sql::rendered;
use crate::telemetry::Span;

impl<M: Audited> Version<M> {
    /// Restores the row to its state after this change, with an insert, an update or a delete. The
    /// restore is captured like any other change, and runs with the rights of the caller. Run it in
    /// an audited transaction, so that it has an actor.
    ///
    /// A restore is refused if it would overwrite later changes of the row, unless you allow that.
    /// Columns added since the change keep their values. Masked and excluded columns are not in the
    /// audit log, and are left alone.
    ///
    /// ```sql
    /// SELECT op, skipped_columns FROM threadline.restore(NULL::"users", $1, $2, $3, $4)
    /// ```
    ///
    /// # Example
    ///
    /// ```
    /// # use diesel::prelude::*;
    /// # use threadline_test_support::Database;
    /// use threadline::prelude::*;
    /// use threadline::{Error, Op};
    ///
    /// # diesel::table! { users { id -> Integer, name -> Text } }
    /// # #[derive(Queryable, Selectable, Audited)]
    /// # struct User { id: i32, name: String }
    /// # let database = Database::new();
    /// # let mut conn = database.connect();
    /// # diesel::sql_query("CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL)").execute(&mut conn)?;
    /// # threadline::capture::install(&mut conn, &[User::audit_spec()])?;
    /// # diesel::insert_into(users::table).values((users::id.eq(1), users::name.eq("Ada"))).execute(&mut conn)?;
    /// # diesel::update(users::table).set(users::name.eq("oops")).execute(&mut conn)?;
    /// let versions: Vec<Version<User>> = User::history(1).load(&mut conn)?;
    /// let (newest, good) = (&versions[0], &versions[1]);
    /// assert!(matches!(good.restore().run(&mut conn), Err(Error::LaterChanges { .. })));
    ///
    /// let ctx = AuditContext::new(ActorRef::admin("7"));
    /// let restored = conn.audited_transaction(&ctx, |conn| {
    ///     Ok::<_, Box<dyn std::error::Error>>(good.restore().discard_changes_through(newest.id).run(conn)?)
    /// })?;
    /// assert_eq!(restored.op, Some(Op::Update));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn restore(&self) -> Restore<'_, M> {
        Restore {
            change: &self.change,
            losing: 0,
            model: PhantomData,
        }
    }
}

/// A restore of a row, to run. Created by [`Version::restore`].
#[allow(missing_debug_implementations)]
#[must_use = "nothing is restored until it is run"]
pub struct Restore<'a, M> {
    change: &'a Change,
    losing: i64,
    model: PhantomData<fn() -> M>,
}

/// The outcome of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreReport {
    /// The operation that was performed; `None` if the row was already in the requested state.
    pub op: Option<Op>,
    /// Columns that are not in the audit log because they are masked or excluded. An update left
    /// them alone, an insert gave them their defaults.
    pub skipped_columns: Vec<String>,
}

impl<M: Audited> Restore<'_, M> {
    /// Allows the loss of later changes of the row, up to and including the change with this id.
    /// Pass the newest change that the person who decides has seen.
    pub fn discard_changes_through(self, change_id: i64) -> Self {
        Self {
            losing: change_id,
            ..self
        }
    }

    /// Allows the loss of all later changes of the row.
    pub fn discard_later_changes(self) -> Self {
        self.discard_changes_through(i64::MAX)
    }

    /// Runs the restore. On a [`PgConnection`] this returns a result, on an `AsyncPgConnection` a
    /// future of one. Pass a pooled connection as `&mut *conn`.
    ///
    /// # Errors
    ///
    /// [`Error::LaterChanges`] if the row has later changes whose loss was not allowed.
    /// [`Error::Database`] if the change is no longer in the audit log, its values cannot be
    /// converted to the present types of the columns, or the caller may not write to the table.
    pub fn run<C: Restores>(self, conn: &mut C) -> C::Outcome<'_> {
        let table = rendered(&M::Table::default());
        let query = diesel::sql_query(format!(
            "SELECT op, skipped_columns FROM threadline.restore(NULL::{table}, $1, $2, $3, $4)"
        ))
        .into_boxed()
        .bind::<Uuid, _>(self.change.transaction_id)
        .bind::<Timestamptz, _>(self.change.captured_at)
        .bind::<BigInt, _>(self.change.id)
        .bind::<BigInt, _>(self.losing);
        conn.restore(RestoreQuery {
            query,
            span: Span::operation("restore", Some(&table)),
        })
    }
}

/// The statement of a [`Restore`].
#[allow(missing_debug_implementations)]
pub struct RestoreQuery {
    query: BoxedSqlQuery<'static, Pg, SqlQuery>,
    span: Span,
}

/// A connection on which a [`Restore`] can run.
#[diagnostic::on_unimplemented(
    message = "a row cannot be restored on `{Self}`",
    note = "a connection out of a pool is passed as `&mut *conn`",
    note = "`PgConnection` needs the feature `sync` of threadline, `AsyncPgConnection` the feature `async`"
)]
pub trait Restores {
    /// A result, or a future of one.
    type Outcome<'a>
    where
        Self: 'a;

    #[doc(hidden)]
    fn restore(&mut self, query: RestoreQuery) -> Self::Outcome<'_>;
}

#[cfg(feature = "sync")]
impl Restores for PgConnection {
    type Outcome<'a> = Result<RestoreReport, Error>;

    fn restore(&mut self, RestoreQuery { query, span }: RestoreQuery) -> Self::Outcome<'_> {
        let row = span.in_scope(|| RunQueryDsl::get_result::<Row>(query, self));
        row.map(RestoreReport::from).map_err(Error::from_restore)
    }
}

#[cfg(feature = "async")]
impl Restores for diesel_async::AsyncPgConnection {
    type Outcome<'a> =
        std::pin::Pin<Box<dyn Future<Output = Result<RestoreReport, Error>> + Send + 'a>>;

    fn restore(&mut self, RestoreQuery { query, span }: RestoreQuery) -> Self::Outcome<'_> {
        Box::pin(async move {
            let row = diesel_async::RunQueryDsl::get_result::<Row>(query, self);
            let row = span.instrument(row).await;
            row.map(RestoreReport::from).map_err(Error::from_restore)
        })
    }
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Nullable<Text>)]
    op: Option<Op>,
    #[diesel(sql_type = Array<Text>)]
    skipped_columns: Vec<String>,
}

impl From<Row> for RestoreReport {
    fn from(
        Row {
            op,
            skipped_columns,
        }: Row,
    ) -> Self {
        Self {
            op,
            skipped_columns,
        }
    }
}
