use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_types::{Array, Nullable, Text};

use crate::error::Error;
use crate::migrations::is_migrated;
use crate::model::{Granularity, TableSpec};
use crate::telemetry::Span;

/// Connections that [`install`] works on.
#[diagnostic::on_unimplemented(
    message = "capture cannot be installed on `{Self}`",
    note = "a connection out of a pool is passed as `&mut *conn`",
    note = "`PgConnection` needs the feature `sync` of threadline, `AsyncPgConnection` the feature `async`"
)]
pub trait Install {
    /// A result, or the future of one.
    type Outcome<'a>
    where
        Self: 'a;

    /// See [`install`].
    fn install<'a>(&'a mut self, specs: &'a [TableSpec]) -> Self::Outcome<'a>;
}

/// Puts the tables under capture, or brings their capture in line with the specifications and with what has become
/// of the tables since.
///
/// Call it at every start or deployment, after the migrations: when nothing has changed it takes no lock on a table.
/// Several processes may do so at once. Each table is installed in a transaction of its own, so that no write of one
/// waits for another; a table that is in use is tried again for as long as `lock_timeout` says, or 10 seconds. Inside a
/// transaction of the caller's, all tables are installed by that one. On an error, the tables before it stay installed.
/// Tables that are not mentioned are left as they are. A pooled connection is passed as `&mut *conn`.
///
/// Redaction only ever grows: where two specifications name one table, what either masks or excludes is redacted. What one
/// redacts and the other [unredacts](TableSpec::unredact) is an error.
///
/// On a [`PgConnection`] it returns a result, on an `AsyncPgConnection` the future of one.
///
/// ```sql
/// SELECT threadline.audit_table('"users"', mask => ARRAY['email'], exclude => ARRAY['password_hash'])
/// ```
///
/// # Errors
///
/// [`Error::NotMigrated`] if the schema `threadline` is missing, [`Error::Refused`] if a table cannot be audited as
/// asked, [`Error::KeyMismatch`] if the model names another primary key than the table has.
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
                    // Not the closure of `transaction`, which diesel-async 0.8 wants in another shape.
                    AnsiTransactionManager::begin_transaction(self).await?;
                    let result = RunQueryDsl::get_result(audit_table(spec), self).await;
                    let key = result.map_err(Error::from_refusal);
                    match key.and_then(|key| check_key(spec, &key)) {
                        Ok(()) => AnsiTransactionManager::commit_transaction(self).await?,
                        Err(error) => {
                            // What was wrong with the table says more than that its connection broke.
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

/// What one specification redacts and another of the same table unredacts would alternate from start to start.
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

/// What the database has for the primary key.
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
