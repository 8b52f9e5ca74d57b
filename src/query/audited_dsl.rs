use diesel::expression::AsExpression;
use diesel::sql_types::Timestamptz;

use super::as_of::RowAsOfQuery;
use super::history::{History, Story};
use super::timeline::Timeline;
use crate::model::{AllRows, Audited, IntoKey};
use crate::sql::rendered;

/// Queries on an [`Audited`] model: its histories, its timeline, and its rows as of a time.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an audited model",
    label = "has no recorded history",
    note = "add `#[derive(Audited)]` to `{Self}`, and put its table under capture with `threadline::capture::install`"
)]
pub trait AuditedDsl: Audited {
    /// Queries the recorded versions of the row with this primary key, newest first.
    ///
    /// Pass a composite key as a tuple. Loads [`Version<Self>`](crate::Version). You can filter,
    /// order, limit and offset it by the columns of the model and those of
    /// [`change`](crate::change). The query uses the index on the key, whatever the size of the
    /// audit log. The reader needs the rights that `threadline.grant_reader` gives.
    ///
    /// ```sql
    /// SELECT …, "users"."id", "users"."name"
    ///   FROM threadline_internal."versions users"(NULL::"users", $1) AS "threadline_change"
    ///  CROSS JOIN LATERAL jsonb_populate_record(NULL::"users", "threadline_change".row) AS "users"
    ///  … ORDER BY "threadline_change".id DESC LIMIT NULL OFFSET 0
    /// ```
    ///
    /// # Errors
    ///
    /// Running it fails in these cases:
    ///
    /// - The table is not audited, or was renamed since the last refresh.
    /// - The table has no primary key, or its key differs from the model's. The message is then
    ///   `function threadline_internal.versions users(…) does not exist`.
    /// - A recorded value cannot be converted to the present type of its column. Select the [row as
    ///   JSON](crate::change) instead.
    ///
    /// # Example
    ///
    /// ```
    /// # use diesel::prelude::*;
    /// # use threadline_test_support::Database;
    /// use threadline::prelude::*;
    /// use threadline::{Op, change};
    ///
    /// # diesel::table! { users { id -> Integer, name -> Text } }
    /// #[derive(Queryable, Selectable, Audited, Debug, PartialEq)]
    /// struct User { id: i32, name: String }
    ///
    /// # let database = Database::new();
    /// # let mut conn = database.connect();
    /// # diesel::sql_query("CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL)").execute(&mut conn)?;
    /// # threadline::capture::install(&mut conn, &[User::audit_spec()]).unwrap();
    /// let ctx = AuditContext::new(ActorRef::user("7"));
    /// conn.audited_transaction(&ctx, |conn| {
    ///     diesel::insert_into(users::table).values((users::id.eq(1), users::name.eq("Ada"))).execute(conn)?;
    ///     diesel::update(users::table.find(1)).set(users::name.eq("Ada Lovelace")).execute(conn)
    /// })?;
    ///
    /// let versions: Vec<Version<User>> = User::history(1).load(&mut conn)?;
    /// assert_eq!(versions[0].op, Op::Update);
    /// assert_eq!(versions[0].row.name, "Ada Lovelace");
    /// assert_eq!(versions[0].row_before.as_ref().unwrap().name, "Ada");
    /// assert_eq!(versions[0].actor, Some(ActorRef::user("7")));
    ///
    /// let inserted: Version<User> = User::history(1).filter(change::op.eq(Op::Insert)).first(&mut conn)?;
    /// assert_eq!(inserted.row.name, "Ada");
    /// # Ok::<_, diesel::result::Error>(())
    /// ```
    fn history<K: IntoKey<Self::Key>>(key: K) -> History<Self, K::Key> {
        History::new(key.into_key())
    }

    /// Queries the recorded versions of every row of the table, newest first; otherwise as
    /// [`history`](Self::history).
    ///
    /// It reads all recorded changes of the table, unless you limit the time. To read a single row,
    /// use `history`.
    ///
    /// # Example
    ///
    /// ```
    /// # use diesel::prelude::*;
    /// # use threadline_test_support::Database;
    /// use threadline::prelude::*;
    ///
    /// # diesel::table! { users { id -> Integer, name -> Text } }
    /// # #[derive(Queryable, Selectable, Audited)]
    /// # struct User { id: i32, name: String }
    /// # let database = Database::new();
    /// # let mut conn = database.connect();
    /// # diesel::sql_query("CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL)").execute(&mut conn)?;
    /// # threadline::capture::install(&mut conn, &[User::audit_spec()]).unwrap();
    /// # diesel::insert_into(users::table).values((users::id.eq(1), users::name.eq("Ada"))).execute(&mut conn)?;
    /// let adas: Vec<Version<User>> = User::history_all().filter(users::name.like("Ada%")).limit(10).load(&mut conn)?;
    /// assert_eq!(adas[0].row.id, 1);
    /// # Ok::<_, diesel::result::Error>(())
    /// ```
    fn history_all() -> History<Self, AllRows> {
        History::new(AllRows)
    }

    /// Queries the story of the row with this primary key: its [`history`](Self::history), in which
    /// each change carries the actions of its transaction. Loads
    /// [`TimelineEntry<Self>`](crate::TimelineEntry).
    ///
    /// ```sql
    /// SELECT …, "threadline_table".*, "threadline_actions".*, "users"."id", "users"."name", "threadline_before".*
    ///   FROM threadline_internal."versions users"(NULL::"users", $1) AS "threadline_change"
    ///  CROSS JOIN threadline_internal.timeline_table(NULL::"users") AS "threadline_table"
    ///  CROSS JOIN LATERAL threadline_internal.transaction_actions("threadline_change".transaction_id) AS "threadline_actions"
    ///  …
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`history`](Self::history).
    ///
    /// # Example
    ///
    /// Changes of one transaction share its actions, so print the actions once per transaction:
    ///
    /// ```
    /// # use diesel::prelude::*;
    /// # use threadline_test_support::Database;
    /// use threadline::TimelineEntry;
    /// use threadline::prelude::*;
    ///
    /// # diesel::table! { users { id -> Integer, name -> Text } }
    /// # #[derive(Queryable, Selectable, Audited)]
    /// # struct User { id: i32, name: String }
    /// # let database = Database::new();
    /// # let mut conn = database.connect();
    /// # diesel::sql_query("CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL)").execute(&mut conn)?;
    /// # threadline::capture::install(&mut conn, &[User::audit_spec()])?;
    /// conn.audited_transaction(&AuditContext::new(ActorRef::user("7")), |conn| {
    ///     diesel::insert_into(users::table).values((users::id.eq(1), users::name.eq("Ada"))).execute(conn)?;
    ///     diesel::update(users::table.find(1)).set(users::name.eq("Ada Lovelace")).execute(conn)?;
    ///     NewAction::new("user.invited").reason("asked for").record(conn)
    /// })?;
    ///
    /// let story: Vec<TimelineEntry<User>> = User::story(1).load(&mut conn)?;
    /// let mut told = Vec::new();
    /// for transaction in story.chunk_by(|a, b| a.transaction_id == b.transaction_id) {
    ///     for action in &transaction[0].actions {
    ///         told.push(format!("{}: {}", action.name, action.reason.as_deref().unwrap_or("-")));
    ///     }
    ///     for entry in transaction {
    ///         told.push(format!("  {} {}", entry.op, entry.row.name));
    ///     }
    /// }
    /// assert_eq!(told, ["user.invited: asked for", "  update Ada Lovelace", "  insert Ada"]);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    fn story<K: IntoKey<Self::Key>>(key: K) -> History<Self, K::Key, Story<Self>> {
        Self::history(key).with_actions()
    }

    /// Queries the changes of the table page by page, with filters: [`timeline`](crate::timeline())
    /// with rows of this model. Loads [`TimelineEntry<Self>`](crate::TimelineEntry).
    ///
    /// ```sql
    /// SELECT …, "users"."id", "users"."name", "threadline_before".* FROM threadline.timeline($1, $2, $3, $4, $5) AS "threadline_change"
    ///  CROSS JOIN LATERAL jsonb_populate_record(NULL::"users", "threadline_change".row) AS "users"
    ///  … ORDER BY "threadline_change".captured_at DESC, "threadline_change".id DESC
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`timeline`](crate::timeline()). Running it also fails if a recorded value cannot be
    /// converted to the present type of its column.
    ///
    /// # Example
    ///
    /// ```
    /// # use diesel::prelude::*;
    /// # use threadline_test_support::Database;
    /// use threadline::TimelineEntry;
    /// use threadline::prelude::*;
    ///
    /// # diesel::table! { users { id -> Integer, name -> Text } }
    /// # #[derive(Queryable, Selectable, Audited)]
    /// # struct User { id: i32, name: String }
    /// # let database = Database::new();
    /// # let mut conn = database.connect();
    /// # diesel::sql_query("CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL)").execute(&mut conn)?;
    /// # threadline::capture::install(&mut conn, &[User::audit_spec()])?;
    /// let ada = ActorRef::user("ada");
    /// conn.audited_transaction(&AuditContext::new(ada.clone()), |conn| {
    ///     diesel::insert_into(users::table).values((users::id.eq(1), users::name.eq("Grace"))).execute(conn)?;
    ///     diesel::update(users::table.find(1)).set(users::name.eq("Grace Hopper")).execute(conn)
    /// })?;
    ///
    /// let by_ada = User::timeline().actor(&ada).column("name");
    /// let page: Vec<TimelineEntry<User>> = by_ada.limit(20).load(&mut conn)?;
    /// assert_eq!(page[0].row.name, "Grace Hopper");
    /// assert_eq!(page[0].row_before.as_ref().map(|user| user.name.as_str()), Some("Grace"));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    fn timeline() -> Timeline<Self> {
        Timeline::new(Some(rendered(&Self::Table::default())))
    }

    /// Queries the row with this primary key as of a time.
    ///
    /// Always loads exactly one [`RowAsOf<Self>`](crate::RowAsOf), which says whether the row
    /// existed, and if not, why. Pass a composite key as a tuple. `at` has the same types and
    /// meaning as in [`as_of`](crate::as_of). To read one row by its key, this method is the faster
    /// of the two, whatever the type of the key.
    ///
    /// ```sql
    /// SELECT …, "users"."id", "users"."name"
    ///   FROM threadline_internal."row_as_of users"(NULL::"users", $1, $2) AS "threadline_change"
    ///   LEFT JOIN LATERAL threadline_internal."row_of users"(NULL::"users", …, $3) AS "users" ON "threadline_change".state = 'found'
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`as_of`](crate::as_of), except that a time before the table's history is a result
    /// here and not an error.
    ///
    /// # Example
    ///
    /// ```
    /// # use diesel::prelude::*;
    /// # use threadline_test_support::Database;
    /// use threadline::prelude::*;
    ///
    /// # diesel::table! { users { id -> Integer, name -> Text } }
    /// #[derive(Queryable, Selectable, Audited, Debug, PartialEq)]
    /// struct User { id: i32, name: String }
    ///
    /// # let database = Database::new();
    /// # let mut conn = database.connect();
    /// # diesel::sql_query("CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL)").execute(&mut conn)?;
    /// # threadline::capture::install(&mut conn, &[User::audit_spec()]).unwrap();
    /// # diesel::insert_into(users::table).values((users::id.eq(1), users::name.eq("Ada"))).execute(&mut conn)?;
    /// # let then: chrono::DateTime<chrono::Utc> = diesel::select(diesel::dsl::sql::<diesel::sql_types::Timestamptz>("clock_timestamp()")).get_result(&mut conn)?;
    /// # diesel::delete(users::table).execute(&mut conn)?;
    /// # let now: chrono::DateTime<chrono::Utc> = diesel::select(diesel::dsl::sql::<diesel::sql_types::Timestamptz>("clock_timestamp()")).get_result(&mut conn)?;
    /// match User::as_of(1, then).get_result(&mut conn)? {
    ///     RowAsOf::Found(user) => assert_eq!(user.name, "Ada"),
    ///     other => panic!("{other:?}"),
    /// }
    /// let RowAsOf::Deleted(change) = User::as_of(1, now).get_result(&mut conn)? else { panic!("it was deleted") };
    /// println!("deleted at {} by {:?}", change.captured_at, change.actor);
    /// # Ok::<_, diesel::result::Error>(())
    /// ```
    fn as_of<K, At>(key: K, at: At) -> RowAsOfQuery<Self, K::Key, At::Expression>
    where
        K: IntoKey<Self::Key>,
        At: AsExpression<Timestamptz>,
    {
        RowAsOfQuery::new(key.into_key(), at.as_expression())
    }
}

impl<M: Audited> AuditedDsl for M {}
