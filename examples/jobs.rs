//! A request queues a job, and what the job does later is still the user's doing: the context travels in its arguments.
//!
//! ```sh
//! cargo run --example jobs
//! ```
//!
//! The queue is that of apalis, in memory. Any other will do: what has to survive is the JSON of the arguments.

use std::error::Error;

use apalis::prelude::{Data, MemoryStorage, TaskId, TaskSink, WorkerBuilder, WorkerContext};
use diesel::prelude::*;
use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde::{Deserialize, Serialize};
use threadline::prelude::*;
use threadline_test_support::Database;

use schema::orders;

mod schema {
    diesel::table! {
        orders {
            id -> Integer,
            state -> Text,
        }
    }
}

#[derive(Queryable, Selectable, Audited)]
struct Order {
    id: i32,
    state: String,
}

/// The arguments of a job. Its context is a field like any other.
#[derive(Serialize, Deserialize)]
struct ShipOrder {
    order: i32,
    audit: AuditContext,
}

type BoxError = Box<dyn Error + Send + Sync>;
type Db = Pool<AsyncPgConnection>;

/// The worker: it adds the id of its job, and leaves the actor who he is.
async fn ship(
    args: String,
    task: TaskId,
    db: Data<Db>,
    worker: WorkerContext,
) -> Result<(), BoxError> {
    let job: ShipOrder = serde_json::from_str(&args)?;
    let ctx = job.audit.job_id(task.to_string());
    let mut conn = db.get().await?;
    conn.audited_transaction(&ctx, async |conn| {
        diesel::update(orders::table.find(job.order))
            .set(orders::state.eq("shipped"))
            .execute(conn)
            .await?;
        NewAction::new("order.shipped").record(conn).await
    })
    .await?;
    // This was the only job there is.
    worker.stop()?;
    Ok(())
}

/// The handler of a request: queues, and is done.
async fn checkout(queue: &mut MemoryStorage<String>, ctx: AuditContext) -> Result<(), BoxError> {
    // Better refused now than when the job runs.
    ctx.validate()?;
    let job = ShipOrder {
        order: 7,
        audit: ctx,
    };
    let args = serde_json::to_string(&job)?;
    println!("queued: {args}");
    queue.push(args).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let database = Database::create(threadline_test_support::Content::Migrated)?;
    let db: Db = Pool::builder(AsyncDieselConnectionManager::new(database.url())).build()?;
    let mut conn = db.get().await?;
    conn.batch_execute(
        "CREATE TABLE orders (id integer PRIMARY KEY, state text NOT NULL);
         INSERT INTO orders VALUES (7, 'paid')",
    )
    .await?;
    threadline::capture::install(&mut *conn, &[Order::audit_spec()]).await?;

    let mut queue = MemoryStorage::new();
    let ctx = AuditContext::new(ActorRef::user("ada"))
        .request_id("req-1")
        .correlation_id("checkout-77");
    checkout(&mut queue, ctx).await?;
    let worker = WorkerBuilder::new("shipping")
        .backend(queue)
        .data(db.clone())
        .build(ship);
    worker.run().await?;

    let version: Version<Order> = Order::history(7).first(&mut conn).await?;
    assert_eq!(version.actor, Some(ActorRef::user("ada")));
    assert_eq!(version.request_id.as_deref(), Some("req-1"));
    println!(
        "order {} was {} by {}, in request {} and job {}",
        version.row.id,
        version.row.state,
        version.actor.as_ref().ok_or("no actor")?,
        version.request_id.as_ref().ok_or("no request")?,
        version.job_id.as_ref().ok_or("no job")?,
    );
    Ok(())
}
