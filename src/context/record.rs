use super::{ActionReceipt, NewAction, telemetry};
use crate::error::Error;

impl NewAction {
    /// Records it. On a [`PgConnection`](diesel::PgConnection) it returns a result, on an `AsyncPgConnection` the future
    /// of one; a pooled connection is passed as `&mut *conn`.
    ///
    /// In a transaction it belongs to that one, whether changes came before or will come after; several may. Outside it
    /// gets an [audited transaction](crate::AuditedConnection::audited_transaction) of its own, and needs an actor of its
    /// own: by [`actor`](Self::actor) or [`context`](Self::context), or by the [scope](crate::AuditContext::scope) it is in. (A
    /// `BEGIN` that you send by hand is none to Diesel: use its `transaction`.)
    ///
    /// The role needs `threadline.grant_recorder('role')`, and no right on any table of Threadline.
    ///
    /// ```sql
    /// SELECT * FROM threadline.record_action($1, actor_ref => $2, reason => $3, status => $4, comment => $5, …)
    /// ```
    ///
    /// # Errors
    ///
    /// Before anything is sent: [`Error::InvalidAction`], [`Error::InvalidActor`] and [`Error::InvalidContext`] for
    /// what cannot be stored, [`Error::MissingActor`] outside a transaction. From the database, which aborts the
    /// transaction: [`Error::MissingActor`] if the transaction has none, whatever the scope, [`Error::ReasonRequired`],
    /// [`Error::Database`].
    ///
    /// # Cancel safety
    ///
    /// A dropped future may have sent the action already: in a transaction that commits all the same it is there, and recorded
    /// twice if it is tried again. Outside one, it is there whole or not at all.
    pub fn record<C: Records>(self, conn: &mut C) -> C::Outcome<'_> {
        conn.record(self)
    }
}

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
        let recorded = if super::transaction::sync::depth(self)? > 0 {
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
            let recorded = if super::transaction::asynchronous::depth(self)? > 0 {
                run(self).await
            } else {
                let ctx = action.own_context()?;
                super::AsyncAuditedConnection::audited_transaction(self, &ctx, run).await
            };
            recorded.inspect(|recorded| telemetry::action_recorded(&action, recorded))
        })
    }
}
