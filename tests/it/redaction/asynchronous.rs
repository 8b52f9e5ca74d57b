//! The asynchronous twin.

use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::{AsyncConnection, AsyncPgConnection};
use threadline::{ActorRef, AuditContext, Error, redact};

use super::{PEOPLE, images};
use crate::common::{database, text};

/// It does the same, its future can be sent to another thread, and the actor can come from the scope.
#[tokio::test(flavor = "multi_thread")]
async fn asynchronous() {
    let (database, mut admin) = database(PEOPLE);
    let manager = AsyncDieselConnectionManager::<AsyncPgConnection>::new(database.url());
    let pool = Pool::builder(manager).max_size(1).build().unwrap();
    let work = async move {
        let mut conn = pool.get().await.unwrap();
        let redaction = redact("people")
            .keys([1, 2, 3])
            .mask(["email", "note"])
            .remove(["extra"])
            .batch_size(2)
            .reason("erasure request 12");
        let plan = redaction.clone().plan(&mut *conn).await.unwrap();
        let nobody = redaction.clone().run(&mut *conn).await;
        assert!(matches!(nobody, Err(Error::MissingActor)), "{nobody:?}");
        let inside = redaction.clone();
        let inside = conn
            .transaction(async |conn| inside.run(&mut **conn).await)
            .await;
        assert!(matches!(inside, Err(Error::Refused { .. })), "{inside:?}");
        let ctx = AuditContext::new(ActorRef::admin("dpo"));
        let mut batches = 0;
        let redaction = redaction.progress(|_| batches += 1);
        let redacted = ctx
            .scope(async { redaction.run(&mut *conn).await })
            .await
            .unwrap();
        assert_eq!((redacted.rows, redacted.changes), (plan.rows, plan.changes));
        assert!(batches > 4);
        redacted
    };
    let redacted = tokio::spawn(work).await.unwrap();
    assert_eq!(redacted.changes, 10);
    assert!(!images(&mut admin, "1").contains("secret"));
    let actor = "SELECT actor_ref ->> 'id' FROM threadline.audit_actions";
    assert_eq!(text(&mut admin, actor).unwrap(), "dpo");
}
