use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use serde::Serialize;
use threadline_benches::Result;
use threadline_test_support::Database;

use crate::meter::Meter;
use crate::shape::{How, Shape, Write};
use crate::subject::{ITEM, Subject};

diesel::table! {
    item {
        id -> Int8,
        visits -> Int4,
        updated_at -> Timestamptz,
    }
}

const CLIENTS: [i64; 3] = [1, 2, 8];
/// Rows of each client: none waits for another's lock.
const ROWS: i64 = 1000;

/// How many transactions of one row each a number of clients commit.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Throughput {
    pub(crate) subject: Subject,
    pub(crate) clients: i64,
    pub(crate) per_second: f64,
}

/// The medians of some rounds, in which the subjects take turns.
pub(crate) fn measure(rounds: usize, duration: Duration) -> Result<Vec<Throughput>> {
    let mut subjects = Vec::new();
    for subject in Subject::ALL {
        let database = Database::new();
        let shape = Shape::usual();
        let mut meter = Meter::connect(&database)?;
        meter.spend(&shape.table())?;
        let rows = CLIENTS.iter().max().map_or(0, |clients| clients * ROWS);
        meter.spend(&shape.work(Write::Insert, How::Bulk, 0, rows - 1, ""))?;
        meter.spend(&subject.set_up(&[ITEM]))?;
        subjects.push((subject, database));
    }
    let mut throughputs = Vec::new();
    for clients in CLIENTS {
        let mut measured = vec![Vec::new(); subjects.len()];
        for round in 0..rounds {
            eprintln!("{clients} clients: round {} of {rounds}", round + 1);
            for ((_, database), measured) in subjects.iter().zip(&mut measured) {
                measured.push(run(database, clients, duration)?);
            }
        }
        for ((subject, _), mut measured) in subjects.iter().zip(measured) {
            measured.sort_by(f64::total_cmp);
            throughputs.push(Throughput {
                subject: *subject,
                clients,
                per_second: measured[measured.len() / 2],
            });
        }
    }
    Ok(throughputs)
}

fn run(database: &Database, clients: i64, duration: Duration) -> Result<f64> {
    let mut meters = Vec::new();
    for _ in 0..clients {
        meters.push(Meter::connect(database)?);
    }
    let barrier = Barrier::new(meters.len());
    let counts = thread::scope(|scope| {
        let clients: Vec<_> = (0..)
            .zip(&mut meters)
            .map(|(client, meter)| {
                let barrier = &barrier;
                scope.spawn(move || commit(meter, barrier, client * ROWS, duration))
            })
            .collect();
        let join =
            |client: thread::ScopedJoinHandle<'_, _>| client.join().expect("it does not panic");
        clients
            .into_iter()
            .map(join)
            .collect::<QueryResult<Vec<f64>>>()
    })?;
    Ok(counts.iter().sum())
}

/// Transactions a second of one client.
fn commit(
    meter: &mut Meter,
    barrier: &Barrier,
    first: i64,
    duration: Duration,
) -> QueryResult<f64> {
    let conn = &mut meter.conn;
    let mut update = |n: i64| {
        diesel::update(item::table.find(first + n % ROWS))
            .set((
                item::visits.eq(item::visits + 1),
                item::updated_at.eq(diesel::dsl::now),
            ))
            .execute(conn)
    };
    // The first ones read the catalogue.
    for n in 0..50 {
        update(n)?;
    }
    barrier.wait();
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < duration {
        // Not in the order of the keys, so that neighbours are not on one page.
        update(i64::from(count) * 37)?;
        count += 1;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}
