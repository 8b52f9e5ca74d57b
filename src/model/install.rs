use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_types::{Array, Nullable, Text};

use crate::error::Error;
use crate::migrations::is_migrated;
use crate::model::{Granularity, TableSpec};
use crate::telemetry::Span;

/// A connection on which [`install`] can run.
#[diagnostic::on_unimplemented(
    message = "capture cannot be installed on `{Self}`",
    note = "a connection out of a pool is passed as `&mut *conn`",
    note = "`PgConnection` needs the feature `sync` of threadline, `AsyncPgConnection` the feature `async`"
)]
pub trait Install {
    /// A result, or a future of one.
    type Outcome<'a>
    where
        Self: 'a;

    /// See [`install`].
    fn install<'a>(&'a mut self, specs: &'a [TableSpec]) -> Self::Outcome<'a>;
}

/// Puts the tables under capture, or updates their capture to match the specifications and the
/// present columns of the tables.
///
/// Call it at every start or deployment, after the migrations. If nothing has changed, it locks no
/// table. Several processes may call it at once. Each table is installed in a transaction of its
/// own, so that writes to one table do not wait for another table. If a table is in use, the call
/// retries for the duration of `lock_timeout`, or for 10 seconds. If the caller has an open
/// transaction, all tables are installed in that one. If an error occurs, the tables before it stay
/// installed. Tables without a specification are left as they are. Pass a pooled connection as
/// `&mut *conn`.
///
/// Redaction only ever grows: if two specifications name the same table, a column that either one
/// masks or excludes is redacted. A column that one redacts and the other
/// [unredacts](TableSpec::unredact) is an error.
///
/// On a [`PgConnection`] this returns a result, on an `AsyncPgConnection` a future of one.
///
/// ```sql
/// SELECT threadline.audit_table('"users"', mask => ARRAY['email'], exclude => ARRAY['password_hash'])
/// ```
///
/// # Errors
///
/// [`Error::NotMigrated`] if the schema `threadline` is missing, [`Error::Refused`] if a table
/// cannot be audited as specified, [`Error::KeyMismatch`] if the primary key of the model differs
/// from that of the table.
///
/// # Example
///
/// ```
/// # use diesel::prelude::*;
/// # use threadline_test_support::Database;
/// use threadline::prelude::*;
///
/// # diesel::table! { users { id -> Integer, email -> Text } }
/// #[derive(Queryable, Selectable, Audited)]
/// #[audited(mask(email))]
/// struct User { id: i32, email: String }
///
/// # let database = Database::new();
/// # let mut conn = database.connect();
/// # diesel::sql_query("CREATE TABLE users (id integer PRIMARY KEY, email text NOT NULL)").execute(&mut conn)?;
/// threadline::capture::install(&mut conn, &[User::audit_spec()])?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub fn install<'a, C: Install>(conn: &'a mut C, specs: &'a [TableSpec]) -> C::Outcome<'a> {
    conn.install(specs)
}

#[cfg(feature = "sync")]
impl Install for PgConnection {
    type Outcome<'a> = Result<(), Error>;

    fn install<'a>(&'a mut self, specs: &'a [TableSpec]) -> Self::Outcome<'a> {
        Span::operation("install", None).in_scope(|| {
            check_specs(specs)?;
            if !diesel::select(is_migrated()).get_result(self)? {
                return Err(Error::NotMigrated);
            }
            for spec in specs {
                self.transaction(|conn| {
                    let result = audit_table(spec).get_result(conn);
                    check_key(spec, &result.map_err(Error::from_refusal)?)
                })?;
            }
            Ok(())
        })
    }
}

#[cfg(feature = "async")]
impl Install for diesel_async::AsyncPgConnection {
    type Outcome<'a> = std::pin::Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

    fn install<'a>(&'a mut self, specs: &'a [TableSpec]) -> Self::Outcome<'a> {
        use diesel_async::{AnsiTransactionManager, RunQueryDsl, TransactionManager};

        let span = Span::operation("install", None);
        Box::pin(async move {
            let installed = async {
                check_specs(specs)?;
                if !RunQueryDsl::get_result(diesel::select(is_migrated()), self).await? {
                    return Err(Error::NotMigrated);
                }
                for spec in specs {
                    // Not the closure of `transaction`, because diesel-async 0.8 expects another
                    // closure type.
                    AnsiTransactionManager::begin_transaction(self).await?;
                    let result = RunQueryDsl::get_result(audit_table(spec), self).await;
                    let key = result.map_err(Error::from_refusal);
                    match key.and_then(|key| check_key(spec, &key)) {
                        Ok(()) => AnsiTransactionManager::commit_transaction(self).await?,
                        Err(error) => {
                            // The problem with the table is more useful than the broken connection
                            // it may have caused.
                            AnsiTransactionManager::rollback_transaction(self)
                                .await
                                .ok();
                            return Err(error);
                        }
                    }
                }
                Ok(())
            };
            span.instrument(installed).await
        })
    }
}

/// Refuses a column that one specification redacts and another one of the same table unredacts. Its
/// redaction would alternate from start to start.
fn check_specs(specs: &[TableSpec]) -> Result<(), Error> {
    for spec in specs {
        for column in spec.unredacted_columns() {
            let redacts = |other: &&TableSpec| {
                other.table_name() == spec.table_name()
                    && (other.excluded_columns().contains(column)
                        || *other != spec
                            && (other.masked_columns().contains(column)
                                || other.hashed_columns().contains(column)))
            };
            if specs.iter().any(|other| redacts(&other)) {
                return Err(Error::Refused {
                    message: format!(
                        "cannot audit {}: column {column} is redacted and unredacted",
                        spec.table_name()
                    ),
                    hint: "let the specifications of the table agree".into(),
                });
            }
        }
    }
    Ok(())
}

fn check_key(spec: &TableSpec, Installed { key_columns }: &Installed) -> Result<(), Error> {
    if spec.key_columns().is_empty() || spec.key_columns() == *key_columns {
        return Ok(());
    }
    Err(Error::KeyMismatch {
        table: spec.table_name().to_owned(),
        model: spec.key_columns().join(", "),
        database: key_columns.join(", "),
    })
}

/// The primary key of the table in the database.
#[derive(QueryableByName)]
struct Installed {
    #[diesel(sql_type = Array<Text>)]
    key_columns: Vec<String>,
}

fn audit_table(spec: &TableSpec) -> BoxedSqlQuery<'_, Pg, SqlQuery> {
    diesel::sql_query(
        "SELECT k.columns AS key_columns, \
         threadline.audit_table($1::regclass, mask => $2, exclude => $3, granularity => $4, unredact => $5, \
         hash_key => $6) \
         FROM threadline_internal.primary_key($1::regclass) AS k",
    )
    .into_boxed()
    .bind::<Text, _>(spec.table_name())
    .bind::<Array<Text>, _>(spec.masked_columns())
    .bind::<Array<Text>, _>(spec.excluded_columns())
    .bind::<Nullable<Text>, _>(spec.requested_granularity().map(Granularity::as_str))
    .bind::<Array<Text>, _>(spec.unredacted_columns())
    .bind::<Array<Text>, _>(spec.hashed_columns())
}
