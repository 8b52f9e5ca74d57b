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
    /// Brings the row back to what this change left: by an insert, an update or a delete, captured like any other, and
    /// made with the rights of the caller. Run it in an audited transaction, so that it has an actor.
    ///
    /// It is refused if later changes of the row would be lost, unless they are said to be.
    /// Columns that were added since keep their values; masked and excluded ones are not in the audit log, and are left alone.
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

/// A row to be brought back: made by [`Version::restore`].
#[allow(missing_debug_implementations)]
#[must_use = "nothing is restored until it is run"]
pub struct Restore<'a, M> {
    change: &'a Change,
    losing: i64,
    model: PhantomData<fn() -> M>,
}

/// What bringing a row back took.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreReport {
    /// What was done; `None` if the row was what it was to be.
    pub op: Option<Op>,
    /// Columns that the audit log does not have: masked or excluded ones. An update left them alone, an insert gave them
    /// their defaults.
    pub skipped_columns: Vec<String>,
}

impl<M: Audited> Restore<'_, M> {
    /// Accepts that later changes of the row are lost, up to and including the one with this id: the newest that
    /// whoever decides has seen.
    pub fn discard_changes_through(self, change_id: i64) -> Self {
        Self {
            losing: change_id,
            ..self
        }
    }

    /// Accepts that later changes of the row are lost, whatever they are.
    pub fn discard_later_changes(self) -> Self {
        self.discard_changes_through(i64::MAX)
    }

    /// Does it. On a [`PgConnection`] it returns a result, on an `AsyncPgConnection` the future of one; a pooled connection
    /// is passed as `&mut *conn`.
    ///
    /// # Errors
    ///
    /// [`Error::LaterChanges`] if the row has changed since, by changes that were not said to be lost. [`Error::Database`] if the
    /// change is no longer in the audit log, its values cannot be converted to the types that the columns have now, or the caller may not write the table.
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

/// Connections that a [`Restore`] runs on.
#[diagnostic::on_unimplemented(
    message = "a row cannot be restored on `{Self}`",
    note = "a connection out of a pool is passed as `&mut *conn`",
    note = "`PgConnection` needs the feature `sync` of threadline, `AsyncPgConnection` the feature `async`"
)]
pub trait Restores {
    /// A result, or the future of one.
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
