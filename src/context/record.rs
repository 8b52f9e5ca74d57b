use super::{ActionReceipt, NewAction, telemetry};
use crate::error::Error;

/// Connections that an [`NewAction`] is recorded on.
#[diagnostic::on_unimplemented(
    message = "an action cannot be recorded on `{Self}`",
    note = "a connection out of a pool is passed as `&mut *conn`",
    note = "`PgConnection` needs the feature `sync` of threadline, `AsyncPgConnection` the feature `async`"
)]
pub trait Records {
    /// A result, or the future of one.
    type Outcome<'a>
    where
        Self: 'a;

    #[doc(hidden)]
    fn record(&mut self, action: NewAction) -> Self::Outcome<'_>;
}

#[cfg(feature = "sync")]
impl Records for diesel::PgConnection {
    type Outcome<'a> = Result<ActionReceipt, Error>;

    fn record(&mut self, action: NewAction) -> Self::Outcome<'_> {
        use diesel::RunQueryDsl;

        let statement = action.statement()?;
        let run = |conn: &mut Self| statement.get_result(conn).map_err(Error::from_action);
        let recorded = if super::transaction::depth(self)? > 0 {
            run(self)
        } else {
            super::AuditedConnection::audited_transaction(self, &action.own_context()?, run)
        };
        recorded.inspect(|recorded| telemetry::action_recorded(&action, recorded))
    }
}

#[cfg(feature = "async")]
impl Records for diesel_async::AsyncPgConnection {
    type Outcome<'a> =
        std::pin::Pin<Box<dyn Future<Output = Result<ActionReceipt, Error>> + Send + 'a>>;

    fn record(&mut self, action: NewAction) -> Self::Outcome<'_> {
        use diesel_async::RunQueryDsl;

        Box::pin(async move {
            let statement = action.statement()?;
            let run = async |conn: &mut Self| {
                let recorded = statement.get_result(conn).await;
                recorded.map_err(Error::from_action)
            };
            let recorded = if super::async_transaction::depth(self)? > 0 {
                run(self).await
            } else {
                let ctx = action.own_context()?;
                super::AsyncAuditedConnection::audited_transaction(self, &ctx, run).await
            };
            recorded.inspect(|recorded| telemetry::action_recorded(&action, recorded))
        })
    }
}
