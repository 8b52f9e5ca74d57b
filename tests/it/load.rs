//! Writers and readers beside a test.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use diesel::connection::SimpleConnection;
use diesel::pg::PgConnection;

/// Does something again and again until it is told to stop: how often, or the first error.
#[derive(Default)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<i32, String>>>,
}

impl Load {
    pub(crate) fn start(
        &mut self,
        mut conn: PgConnection,
        sql: impl Fn(i32) -> String + Send + 'static,
    ) {
        let stop = Arc::clone(&self.stop);
        self.threads.push(thread::spawn(move || {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                let sql = sql(round);
                conn.batch_execute(&sql)
                    .map_err(|error| format!("{error}: {error:?} in {sql}"))?;
                round += 1;
            }
            Ok(round)
        }));
    }

    pub(crate) fn end(mut self) -> Vec<i32> {
        self.stop.store(true, Ordering::Relaxed);
        let threads = std::mem::take(&mut self.threads).into_iter();
        let rounds = threads.map(|thread| thread.join().expect("no thread panics"));
        rounds.collect::<Result<_, _>>().unwrap()
    }
}

/// A test that fails ends its threads.
impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
