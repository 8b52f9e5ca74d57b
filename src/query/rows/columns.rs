//! The columns of a recorded change, to filter, order and select histories by, and the struct they
//! load as.
//!
//! They are available beside the model's own columns in a [`History`](crate::History), and nowhere
//! else.
//!
//! `data_after` and `changed_from` are the JSON as it was recorded. `row` and `row_before` are the
//! whole row after and before the change, under the present names of its columns. Selecting these
//! needs no model, so it works for rows whose column types have changed since:
//!
//! ```
//! # use diesel::prelude::*;
//! # use threadline_test_support::Database;
//! use threadline::prelude::*;
//! use threadline::change;
//!
//! # diesel::table! { users { id -> Integer, name -> Text } }
//! # #[derive(Queryable, Selectable, Audited)]
//! # struct User { id: i32, name: String }
//! # let database = Database::new();
//! # let mut conn = database.connect();
//! # diesel::sql_query("CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL)").execute(&mut conn)?;
//! # threadline::capture::install(&mut conn, &[User::audit_spec()]).unwrap();
//! # diesel::insert_into(users::table).values((users::id.eq(1), users::name.eq("Ada"))).execute(&mut conn)?;
//! let images: Vec<(i64, Option<serde_json::Value>)> =
//!     User::history(1).select((change::id, change::data_after)).load(&mut conn)?;
//! assert_eq!(images[0].1, Some(serde_json::json!({"id": 1, "name": "Ada"})));
//! # Ok::<_, diesel::result::Error>(())
//! ```

use std::marker::PhantomData;

use diesel::expression::{
    AppearsOnTable, Expression, SelectableExpression, ValidGrouping, is_aggregate,
};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::query_source::AppearsInFromClause;
use diesel::sql_types::{Array, BigInt, Jsonb, Nullable, Text, Timestamptz, Uuid};

/// The source of the columns of `T` and of [`change`](crate::change); with `()`, only of the
/// latter.
#[derive(Debug, Clone, Copy)]
pub struct ChangeSource<T>(PhantomData<T>);

impl<T, T2> AppearsInFromClause<T2> for ChangeSource<T>
where
    T: AppearsInFromClause<T2>,
{
    type Count = T::Count;
}

/// The columns of a [`Change`](crate::Change).
pub(crate) type All = (
    (
        id,
        transaction_id,
        op,
        captured_at,
        row_key,
        moved_key,
        changed_fields,
        diff,
    ),
    (
        actor_ref,
        on_behalf_of,
        source,
        correlation_id,
        request_id,
        job_id,
        remote_ip,
    ),
    (meta, database_role, application_name),
);

macro_rules! columns {
    ($($(#[$doc:meta])* $name:ident: $ST:ty = $sql:literal;)+) => {$(
        $(#[$doc])*
        #[allow(non_camel_case_types)]
        #[derive(Debug, Clone, Copy, Default, QueryId)]
        pub struct $name;

        impl Expression for $name {
            type SqlType = $ST;
        }

        impl ValidGrouping<()> for $name {
            type IsAggregate = is_aggregate::No;
        }

        impl<T> AppearsOnTable<ChangeSource<T>> for $name {}

        impl<T> SelectableExpression<ChangeSource<T>> for $name {}

        impl QueryFragment<Pg> for $name {
            fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> diesel::QueryResult<()> {
                out.push_sql($sql);
                Ok(())
            }
        }
    )+};
}

pub(crate) use columns;

columns! {
    /// The actor.
    actor_ref: Nullable<Jsonb> = "\"threadline_change\".actor_ref";
    /// The `application_name` of the session that made the write.
    application_name: Nullable<Text> = "\"threadline_change\".application_name";
    /// The clock time of the write.
    captured_at: Timestamptz = "\"threadline_change\".captured_at";
    /// The columns that changed.
    changed_fields: Array<Text> = "\"threadline_change\".changed_fields";
    /// The old values of the changed columns, as recorded; the whole row for a delete or truncate.
    changed_from: Nullable<Jsonb> = "\"threadline_change\".changed_from";
    /// The id that the transactions of one business process share.
    correlation_id: Nullable<Text> = "\"threadline_change\".correlation_id";
    /// The row after an insert or update, as recorded.
    data_after: Nullable<Jsonb> = "\"threadline_change\".data_after";
    /// The database role that made the write.
    database_role: Nullable<Text> = "\"threadline_change\".database_role";
    /// The position in the order of changes.
    id: BigInt = "\"threadline_change\".id";
    /// The id of the background job that caused the transaction.
    job_id: Nullable<Text> = "\"threadline_change\".job_id";
    /// Further details from the application.
    meta: Nullable<Jsonb> = "\"threadline_change\".meta";
    /// Set if an update changed the primary key: the new or old key of the row.
    moved_key: Nullable<Text> = "\"threadline_change\".moved_key";
    /// On whose behalf the actor acted.
    on_behalf_of: Nullable<Jsonb> = "\"threadline_change\".on_behalf_of";
    /// What the change did to each column: a [`Diff`](crate::Diff).
    diff: Jsonb = "\"threadline_change\".diff";
    /// What happened to the row: an [`Op`](crate::Op).
    op: Text = "\"threadline_change\".op";
    /// The whole row after the change (for a delete or truncate, before it), under the present
    /// names of its columns.
    row: Jsonb = "\"threadline_change\".\"row\"";
    /// The whole row before the change, under the present names of its columns.
    row_before: Nullable<Jsonb> = "\"threadline_change\".row_before";
    /// The address of the client that requested the work, as text.
    remote_ip: Nullable<Text> = "pg_catalog.host(\"threadline_change\".remote_ip)";
    /// The id of the request that caused the transaction.
    request_id: Nullable<Text> = "\"threadline_change\".request_id";
    /// The primary key as text.
    row_key: Nullable<Text> = "\"threadline_change\".row_key";
    /// Where the work came from: the name of an application, a route or a command.
    source: Nullable<Text> = "\"threadline_change\".source";
    /// The transaction that made the change.
    transaction_id: Uuid = "\"threadline_change\".transaction_id";
}
