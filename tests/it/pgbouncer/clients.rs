//! Clients that do what they planned and note what came of it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use diesel::result::{DatabaseErrorKind, Error};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::plan::{Ending, Outcome, Plan, Transaction, plans};

/// Every transaction of a client, with what came of it.
pub(super) type Done = Vec<(Transaction, Outcome)>;

/// Together with the number of a client, the seed of its plans.
pub(super) const SEED: u8 = 7;

/// The plans of a client, the same in every run.
fn transactions(client: i32, count: i32, cancel: u32) -> Vec<Transaction> {
    let mut seed = [SEED; 16];
    seed[..4].copy_from_slice(&client.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::XorShift, &seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = plans(cancel);
    let mut plan = || -> Plan {
        let tree = strategy.new_tree(&mut runner);
        tree.expect("nothing is rejected").current()
    };
    (0..count)
        .map(|number| Transaction {
            client,
            number,
            plan: plan(),
        })
        .collect()
}

/// An error or panic that was not planned is a failure of the test.
#[track_caller]
fn outcome(transaction: &Transaction, result: Option<Result<(), Error>>) -> Outcome {
    use DatabaseErrorKind::UniqueViolation;
    match (transaction.plan.ending, result) {
        (Ending::Cancel { .. } | Ending::Commit, Some(Ok(()))) => Outcome::Committed,
        (Ending::Error(_), Some(Err(Error::RollbackTransaction)))
        | (Ending::Duplicate(_), Some(Err(Error::DatabaseError(UniqueViolation, _)))) => {
            Outcome::Failed
        }
        (Ending::Panic(_), None) => Outcome::Panicked,
        (Ending::Cancel { .. }, None) => Outcome::Cancelled,
        (_, result) => panic!("{transaction:?} gave {result:?}"),
    }
}

pub(super) mod synchronous {
    use diesel::connection::{AnsiTransactionManager, TransactionManager};
    use diesel::prelude::*;
    use diesel::result::Error;
    use threadline::prelude::*;
    use threadline_test_support::PgBouncer;

    use super::{AssertUnwindSafe, Done, catch_unwind, outcome, transactions};
    use crate::pgbouncer::connect;
    use crate::pgbouncer::plan::{Ending, Step, Transaction, Who, Work, work};

    /// Does `count` transactions, one after the other, and replaces a connection that is broken, as pools do: Diesel's
    /// own `transaction` stays open after a panic.
    pub(in crate::pgbouncer) fn run(pgbouncer: &PgBouncer, client: i32, count: i32) -> Done {
        let mut conn = connect(pgbouncer);
        let each = |transaction: Transaction| {
            if AnsiTransactionManager::is_broken_transaction_manager(&mut conn) {
                conn = connect(pgbouncer);
            }
            let conn = &mut conn;
            let result = catch_unwind(AssertUnwindSafe(|| attempt(conn, &transaction))).ok();
            let outcome = outcome(&transaction, result);
            (transaction, outcome)
        };
        transactions(client, count, 0)
            .into_iter()
            .map(each)
            .collect()
    }

    fn attempt(conn: &mut PgConnection, transaction: &Transaction) -> QueryResult<()> {
        match transaction.plan.who {
            Who::Late(_) | Who::Nobody => conn.transaction(|conn| body(conn, transaction)),
            Who::Nested { .. } | Who::Own => {
                conn.audited_transaction(&transaction.context(), |conn| body(conn, transaction))
            }
        }
    }

    fn body(conn: &mut PgConnection, transaction: &Transaction) -> QueryResult<()> {
        let plan = &transaction.plan;
        for (part, &step) in plan.steps.iter().enumerate() {
            before(conn, transaction, part)?;
            let row = transaction.row(part);
            match plan.who {
                Who::Nested {
                    part: nested,
                    fails,
                } if nested == part => {
                    let result = conn.audited_transaction(&transaction.nested_context(), |conn| {
                        write(conn, step, &row)?;
                        if fails {
                            Err(Error::RollbackTransaction)
                        } else {
                            Ok(())
                        }
                    });
                    assert_eq!(result.is_err(), fails, "{result:?}");
                }
                _ => write(conn, step, &row)?,
            }
        }
        before(conn, transaction, plan.steps.len())
    }

    fn before(conn: &mut PgConnection, transaction: &Transaction, part: usize) -> QueryResult<()> {
        if matches!(transaction.plan.who, Who::Late(at) if at == part) {
            conn.set_audit_context(&transaction.context())?;
        }
        if matches!(transaction.plan.ending, Ending::Duplicate(at) if at == part) {
            write(conn, Step::Insert, &transaction.duplicate())?;
        }
        transaction.strike(part)
    }

    fn write(conn: &mut PgConnection, step: Step, row: &Work) -> QueryResult<()> {
        let changed = match step {
            Step::Insert => diesel::insert_into(work::table).values(row).execute(conn)?,
            Step::Update => diesel::update(work::table.find((row.client, row.slot)))
                .set(row)
                .execute(conn)?,
        };
        assert_eq!(changed, 1, "{row:?}");
        if let (Step::Update, Some(action)) = (step, row.action()) {
            action.record(conn)?;
        }
        Ok(())
    }
}

pub(super) mod asynchronous {
    use std::future::poll_fn;
    use std::task::Poll;

    use diesel::prelude::{QueryDsl, QueryResult};
    use diesel::result::Error;
    use diesel_async::pooled_connection::deadpool::Pool;
    use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
    use threadline::prelude::*;

    use super::{AssertUnwindSafe, Done, catch_unwind, outcome, transactions};
    use crate::pgbouncer::plan::{Ending, Step, Transaction, Who, Work, work};

    /// Does `count` transactions, one after the other. The pool replaces a connection that is broken.
    pub(in crate::pgbouncer) async fn run(
        pool: Pool<AsyncPgConnection>,
        client: i32,
        count: i32,
        cancel: u32,
    ) -> Done {
        let mut done = Vec::new();
        for transaction in transactions(client, count, cancel) {
            let mut conn = pool.get().await.expect("a connection");
            let (polls, yields) = match transaction.plan.ending {
                Ending::Cancel { polls, yields } => (polls, yields),
                _ => (usize::MAX, 0),
            };
            let result = poll_at_most(polls, yields, attempt(&mut conn, &transaction)).await;
            let outcome = outcome(&transaction, result);
            done.push((transaction, outcome));
        }
        done
    }

    /// `None` if it was dropped, after `polls` and a while, or panicked.
    pub(in crate::pgbouncer) async fn poll_at_most<T>(
        polls: usize,
        yields: usize,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        let mut future = Box::pin(future);
        let mut left = polls;
        let polled = poll_fn(|cx| {
            left -= 1;
            match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
                Ok(Poll::Ready(value)) => Poll::Ready(Some(value)),
                Ok(Poll::Pending) if left > 0 => Poll::Pending,
                Ok(Poll::Pending) | Err(_) => Poll::Ready(None),
            }
        });
        let value = polled.await;
        if value.is_none() {
            for _ in 0..yields {
                tokio::task::yield_now().await;
            }
        }
        value
    }

    async fn attempt(conn: &mut AsyncPgConnection, transaction: &Transaction) -> QueryResult<()> {
        match transaction.plan.who {
            Who::Late(_) | Who::Nobody => {
                conn.transaction(async |conn| body(conn, transaction).await)
                    .await
            }
            Who::Nested { .. } | Who::Own => {
                let ctx = transaction.context();
                conn.audited_transaction(&ctx, async |conn| body(conn, transaction).await)
                    .await
            }
        }
    }

    async fn body(conn: &mut AsyncPgConnection, transaction: &Transaction) -> QueryResult<()> {
        let plan = &transaction.plan;
        for (part, &step) in plan.steps.iter().enumerate() {
            before(conn, transaction, part).await?;
            let row = transaction.row(part);
            match plan.who {
                Who::Nested {
                    part: nested,
                    fails,
                } if nested == part => {
                    let ctx = transaction.nested_context();
                    let work = async |conn: &mut AsyncPgConnection| {
                        write(conn, step, &row).await?;
                        if fails {
                            Err(Error::RollbackTransaction)
                        } else {
                            Ok(())
                        }
                    };
                    let result = conn.audited_transaction(&ctx, work).await;
                    assert_eq!(result.is_err(), fails, "{result:?}");
                }
                _ => write(conn, step, &row).await?,
            }
        }
        before(conn, transaction, plan.steps.len()).await
    }

    async fn before(
        conn: &mut AsyncPgConnection,
        transaction: &Transaction,
        part: usize,
    ) -> QueryResult<()> {
        if matches!(transaction.plan.who, Who::Late(at) if at == part) {
            conn.set_audit_context(&transaction.context()).await?;
        }
        if matches!(transaction.plan.ending, Ending::Duplicate(at) if at == part) {
            write(conn, Step::Insert, &transaction.duplicate()).await?;
        }
        transaction.strike(part)
    }

    async fn write(conn: &mut AsyncPgConnection, step: Step, row: &Work) -> QueryResult<()> {
        let changed = match step {
            Step::Insert => {
                diesel::insert_into(work::table)
                    .values(row)
                    .execute(conn)
                    .await?
            }
            Step::Update => {
                diesel::update(work::table.find((row.client, row.slot)))
                    .set(row)
                    .execute(conn)
                    .await?
            }
        };
        assert_eq!(changed, 1, "{row:?}");
        if let (Step::Update, Some(action)) = (step, row.action()) {
            action.record(conn).await?;
        }
        Ok(())
    }
}
