//! The asynchronous twin.

use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use threadline::prelude::*;
use threadline::{ActionReceipt, Error};
use uuid::Uuid;

use super::{actions, ada, audited};
use crate::common::run;

/// The asynchronous twin says the same, and its future can be sent to another thread.
#[tokio::test(flavor = "multi_thread")]
async fn asynchronous() {
    let (database, mut admin) = audited();
    let manager = AsyncDieselConnectionManager::<AsyncPgConnection>::new(database.url());
    let pool = Pool::builder(manager).max_size(1).build().unwrap();
    run(
        &mut admin,
        "SELECT threadline.require_reason('account.closed')",
    );
    let work = async move {
        let mut conn = pool.get().await.unwrap();
        let linked: (ActionReceipt, Option<Uuid>) = conn
            .audited_transaction(&ada(), async |conn| {
                let action = NewAction::new("account.opened").record(conn).await?;
                diesel::sql_query("INSERT INTO accounts VALUES (1, 100)")
                    .execute(conn)
                    .await?;
                Ok::<_, Error>((action, conn.audit_transaction_id().await?))
            })
            .await
            .unwrap();
        assert_eq!(Some(linked.0.transaction_id), linked.1);
        let alone = NewAction::new("account.viewed")
            .context(&ada())
            .record(&mut *conn)
            .await;
        assert_ne!(Some(alone.unwrap().transaction_id), linked.1);
        let in_scope =
            ada().scope(async { NewAction::new("account.listed").record(&mut *conn).await });
        in_scope.await.unwrap();
        let nobody = NewAction::new("account.listed").record(&mut *conn).await;
        assert!(matches!(nobody, Err(Error::MissingActor)), "{nobody:?}");
        let nobody = conn
            .transaction(async |conn| NewAction::new("account.listed").record(&mut **conn).await)
            .await;
        assert!(matches!(nobody, Err(Error::MissingActor)), "{nobody:?}");
        let no_reason = NewAction::new("account.closed")
            .context(&ada())
            .record(&mut *conn)
            .await;
        assert!(
            matches!(no_reason, Err(Error::ReasonRequired { .. })),
            "{no_reason:?}"
        );
        let nameless = NewAction::new("closed")
            .context(&ada())
            .record(&mut *conn)
            .await;
        assert!(
            matches!(nameless, Err(Error::InvalidAction(_))),
            "{nameless:?}"
        );
    };
    tokio::spawn(work).await.unwrap();
    let ids = "ada c-1 r-1 j-1";
    assert_eq!(
        actions(&mut admin),
        ["account.opened", "account.viewed", "account.listed"].map(|name| format!("{name} {ids}"))
    );
}
