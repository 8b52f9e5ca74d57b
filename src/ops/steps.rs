//! Long-running work as many short transactions. Nobody waits for long, and killed work leaves
//! complete, recorded steps.

use std::time::Duration;

use diesel::deserialize::QueryableByName;
use diesel::pg::Pg;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};

use crate::error::Error;
use crate::telemetry::Span;

/// Work that runs step by step. A step is one statement, and its row reports the progress.
#[doc(hidden)]
pub trait Steps: Send {
    /// The name of its span.
    const NAME: &'static str;
    /// The row that a step returns.
    type Row: QueryableByName<Pg> + Send + 'static;
    /// The outcome of all steps.
    type Outcome: Send;

    /// Returns the next step, which runs in a transaction of its own.
    fn next(&self) -> BoxedSqlQuery<'static, Pg, SqlQuery>;

    /// Receives the row of a step. Returns the pause before the next step, or `None` if it was the
    /// last.
    fn took(&mut self, row: Self::Row) -> Option<Duration>;

    /// Returns the outcome of all steps.
    fn outcome(self) -> Self::Outcome;
}

/// A connection on which long-running work can run.
#[diagnostic::on_unimplemented(
    message = "long work does not run on `{Self}`",
    note = "a connection out of a pool is passed as `&mut *conn`",
    note = "`PgConnection` needs the feature `sync` of threadline, `AsyncPgConnection` the feature `async`"
)]
pub trait RunsSteps {
    /// A result, or a future of one.
    type Outcome<'a, T>
    where
        Self: 'a,
        T: 'a;

    #[doc(hidden)]
    fn run_steps<'a, S: Steps + 'a>(&'a mut self, steps: S) -> Self::Outcome<'a, S::Outcome>;
}

/// In the caller's transaction, all steps would be one transaction, and would hold all locks until
/// its end.
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
