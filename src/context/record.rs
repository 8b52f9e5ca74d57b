use super::{ActionReceipt, NewAction, telemetry};
use crate::error::Error;

impl NewAction {
    /// Records the action. On a [`PgConnection`](diesel::PgConnection) it returns a result, on an
    /// `AsyncPgConnection` a future of one. Pass a pooled connection as `&mut *conn`.
    ///
    /// Inside a transaction, the action belongs to that transaction, whether changes come before or
    /// after it. A transaction can have several actions. Outside a transaction, the action gets an
    /// [audited transaction](crate::AuditedConnection::audited_transaction) of its own. It then
    /// needs its own actor, from [`actor`](Self::actor), [`context`](Self::context) or the current
    /// [scope](crate::AuditContext::scope). (Diesel does not see a `BEGIN` that you send by hand;
    /// use its `transaction`.)
    ///
    /// The role needs `threadline.grant_recorder('role')`, and no right on any of Threadline's
    /// tables.
    ///
    /// ```sql
    /// SELECT * FROM threadline.record_action($1, actor_ref => $2, reason => $3, status => $4, comment => $5, …)
    /// ```
    ///
    /// # Errors
    ///
    /// Before anything is sent: [`Error::InvalidAction`], [`Error::InvalidActor`] or
    /// [`Error::InvalidContext`] if a value cannot be stored, and [`Error::MissingActor`] if there
    /// is no actor outside a transaction.
    ///
    /// From the database, which aborts the transaction: [`Error::MissingActor`] if the transaction
    /// has no actor (the scope does not count), [`Error::ReasonRequired`] or [`Error::Database`].
    ///
    /// # Cancel safety
    ///
    /// The action may already have been sent when the future is dropped. Inside a transaction that
    /// still commits, the action is then recorded, and a retry records it twice. Outside a
    /// transaction, the action is recorded completely or not at all.
    pub fn record<C: Records>(self, conn: &mut C) -> C::Outcome<'_> {
        conn.record(self)
    }
}

/// A connection that can record a [`NewAction`].
#[diagnostic::on_unimplemented(
    message = "an action cannot be recorded on `{Self}`",
    note = "a connection out of a pool is passed as `&mut *conn`",
    note = "`PgConnection` needs the feature `sync` of threadline, `AsyncPgConnection` the feature `async`"
)]
pub trait Records {
    /// A result, or a future of one.
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
