use threadline_benches::Result;
use threadline_test_support::Database;

use crate::meter::{Meter, Spent};
use crate::rows::Cost;
use crate::shape::{How, Shape, Write};
use crate::subject::Subject;

/// How much is written to measure.
#[derive(Clone, Copy)]
pub(crate) struct Amount {
    pub(crate) rounds: u32,
    /// Rows that have a statement each.
    pub(crate) single: u32,
    /// Rows of one statement.
    pub(crate) bulk: u32,
}

/// Everything that is done to a row, in an order that leaves the table empty.
const WORK: [(Write, How); 11] = [
    (Write::Insert, How::Single),
    (Write::Update, How::Single),
    (Write::UpdateAll, How::Single),
    (Write::Delete, How::Single),
    (Write::Insert, How::Bulk),
    (Write::Update, How::Bulk),
    (Write::UpdateAll, How::Bulk),
    (Write::Delete, How::Bulk),
    (Write::Insert, How::Transactions),
    (Write::Update, How::Transactions),
    (Write::Delete, How::Transactions),
];

/// A session in a database with a table `item`, and a name for what is special about it.
pub(crate) struct Contestant {
    setting: String,
    subject: Subject,
    meter: Meter,
    /// What a row took, for each kind of work.
    rows: Vec<PerRow>,
}

#[derive(Clone, Copy)]
struct PerRow {
    cpu_us: f64,
    wal_bytes: f64,
    log_bytes: f64,
}

impl Contestant {
    pub(crate) fn new(setting: &str, subject: Subject, database: &Database) -> Result<Self> {
        Ok(Self {
            setting: setting.to_owned(),
            subject,
            meter: Meter::connect(database)?,
            rows: Vec::new(),
        })
    }

    pub(crate) fn run(&mut self, sql: &str) -> Result<()> {
        self.meter.spend(sql)?;
        Ok(())
    }

    fn round(&mut self, shape: &Shape, amount: Amount, base: i64) -> Result<()> {
        for (n, (write, how)) in WORK.into_iter().enumerate() {
            // The three ways have keys of their own.
            let (rows, first) = match how {
                How::Single => (amount.single, base),
                How::Bulk => (amount.bulk, base + 1_000_000),
                How::Transactions => (amount.single / 4, base + 2_000_000),
            };
            let last = first + i64::from(rows) - 1;
            let spent =
                self.meter
                    .spend(&shape.work(write, how, first, last, self.subject.context()))?;
            let row = PerRow::of(spent, rows);
            match self.rows.get_mut(n) {
                Some(earlier) => earlier.add(row),
                None => self.rows.push(row),
            }
        }
        self.run("DELETE FROM item")
    }
}

impl PerRow {
    #[expect(
        clippy::cast_precision_loss,
        reason = "no count here comes near 2 to the 53rd"
    )]
    fn of(spent: Spent, rows: u32) -> Self {
        let rows = f64::from(rows);
        Self {
            cpu_us: spent.cpu_ns as f64 / 1000.0 / rows,
            wal_bytes: spent.wal_bytes as f64 / rows,
            log_bytes: spent.log_bytes as f64 / rows,
        }
    }

    /// The least CPU time and WAL counts: whatever else the machine does can only add to it. The bytes of the audit log come by
    /// whole pages, so all rounds count.
    fn add(&mut self, row: Self) {
        self.cpu_us = self.cpu_us.min(row.cpu_us);
        self.wal_bytes = self.wal_bytes.min(row.wal_bytes);
        self.log_bytes += row.log_bytes;
    }
}

/// All contestants do the same work in turns. Their overhead is what they take more than the first one.
pub(crate) fn contest(
    what: &str,
    contestants: &mut [Contestant],
    shape: &Shape,
    amount: Amount,
) -> Result<Vec<Cost>> {
    for round in 0..amount.rounds {
        eprintln!("{what}: round {} of {}", round + 1, amount.rounds);
        for contestant in &mut *contestants {
            contestant.round(shape, amount, i64::from(round) * 10_000_000)?;
        }
    }
    let mut costs = Vec::new();
    for contestant in &*contestants {
        let memory_kb = contestant.meter.memory_kb()?;
        let pairs = contestant.rows.iter().zip(&contestants[0].rows);
        for ((write, how), (row, first)) in WORK.into_iter().zip(pairs) {
            costs.push(Cost {
                setting: contestant.setting.clone(),
                subject: contestant.subject,
                write,
                how,
                cpu_us: row.cpu_us,
                overhead_us: row.cpu_us - first.cpu_us,
                wal_bytes: row.wal_bytes - first.wal_bytes,
                log_bytes: row.log_bytes / f64::from(amount.rounds),
                memory_kb,
            });
        }
    }
    Ok(costs)
}
