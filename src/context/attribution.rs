use diesel::pg::Pg;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_types::{Jsonb, Nullable, Text};

use super::ActorRef;

/// The actor and the reason of an operation that is recorded as an action.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Attribution {
    pub(crate) actor: Option<ActorRef>,
    pub(crate) reason: Option<String>,
}

impl Attribution {
    pub(crate) fn actor(&mut self, actor: ActorRef) {
        self.actor = Some(actor);
    }

    pub(crate) fn reason(&mut self, reason: impl Into<String>) {
        self.reason = Some(reason.into());
    }

    /// Binds the actor, then the reason.
    pub(crate) fn bind(
        &self,
        query: BoxedSqlQuery<'static, Pg, SqlQuery>,
    ) -> BoxedSqlQuery<'static, Pg, SqlQuery> {
        query
            .bind::<Nullable<Jsonb>, _>(self.actor.clone())
            .bind::<Nullable<Text>, _>(self.reason.clone())
    }
}
