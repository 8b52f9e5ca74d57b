//! Long work as many short transactions: nobody waits for long, and work that is killed leaves whole, recorded steps.

use std::time::Duration;

use diesel::deserialize::QueryableByName;
use diesel::pg::Pg;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};

use crate::error::Error;
use crate::telemetry::Span;

/// Work that is done a step at a time. A step is one statement, whose row says how far it came.
#[doc(hidden)]
pub trait Steps: Send {
    /// What its span is called.
    const NAME: &'static str;
    /// What a step returns.
    type Row: QueryableByName<Pg> + Send + 'static;
    /// What all of it comes to.
    type Outcome: Send;

    /// The next step, a transaction of its own.
    fn next(&self) -> BoxedSqlQuery<'static, Pg, SqlQuery>;

    /// Takes note of a step: how long to pause before the next one, or `None` if it was the last.
    fn took(&mut self, row: Self::Row) -> Option<Duration>;

    /// What it came to.
    fn outcome(self) -> Self::Outcome;
}

/// Connections that long work runs on.
#[diagnostic::on_unimplemented(
    message = "long work does not run on `{Self}`",
    note = "a connection out of a pool is passed as `&mut *conn`",
    note = "`PgConnection` needs the feature `sync` of threadline, `AsyncPgConnection` the feature `async`"
)]
pub trait RunsSteps {
    /// A result, or the future of one.
    type Outcome<'a, T>
    where
        Self: 'a,
        T: 'a;

    #[doc(hidden)]
    fn run_steps<'a, S: Steps + 'a>(&'a mut self, steps: S) -> Self::Outcome<'a, S::Outcome>;
}

/// In a transaction of the caller's, all steps would be one, with all its locks until the end.
fn in_transaction() -> Error {
    Error::Refused {
        message: "long work commits as it goes, and a transaction is open".into(),
        hint: "run it outside of a transaction".into(),
    }
}

#[cfg(feature = "sync")]
impl RunsSteps for diesel::PgConnection {
    type Outcome<'a, T>
        = Result<T, Error>
    where
        T: 'a;

    fn run_steps<'a, S: Steps + 'a>(&'a mut self, mut steps: S) -> Result<S::Outcome, Error> {
        use diesel::RunQueryDsl;

        if crate::context::depth(self)? > 0 {
            return Err(in_transaction());
        }
        Span::operation(S::NAME, None).in_scope(|| {
            loop {
                let row = steps.next().get_result(self);
                match steps.took(row.map_err(Error::from_refusal)?) {
                    Some(pause) => std::thread::sleep(pause),
                    None => return Ok(steps.outcome()),
                }
            }
        })
    }
}

#[cfg(feature = "async")]
impl RunsSteps for diesel_async::AsyncPgConnection {
    type Outcome<'a, T>
        = std::pin::Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>
    where
        T: 'a;

    fn run_steps<'a, S: Steps + 'a>(&'a mut self, mut steps: S) -> Self::Outcome<'a, S::Outcome> {
        use diesel_async::RunQueryDsl;

        let work = async move {
            if crate::context::async_depth(self)? > 0 {
                return Err(in_transaction());
            }
            loop {
                let row = RunQueryDsl::get_result(steps.next(), self).await;
                match steps.took(row.map_err(Error::from_refusal)?) {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Ok(steps.outcome()),
                }
            }
        };
        Box::pin(Span::operation(S::NAME, None).instrument(work))
    }
}
