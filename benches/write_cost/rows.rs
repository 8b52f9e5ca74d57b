use serde::Serialize;
use threadline_test_support::Database;

use crate::meter::{Meter, Spent};
use crate::shape::{How, Shape, Write};
use crate::subject::Subject;
use threadline_benches::Result;

/// How much is written to measure, for each row a number.
#[derive(Clone, Copy)]
pub(crate) struct Amount {
    pub(crate) rounds: u32,
    pub(crate) single: u32,
    pub(crate) bulk: u32,
}

/// What a row costs that is written in some way.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cost {
    pub(crate) shape: String,
    pub(crate) write: Write,
    pub(crate) how: How,
    pub(crate) subject: Subject,
    /// Of the server process, microseconds.
    pub(crate) cpu_us: f64,
    /// The same, less that of the unaudited table.
    pub(crate) overhead_us: f64,
    /// Bytes of the log that PostgreSQL recovers from, less those of the unaudited table.
    pub(crate) wal_bytes: f64,
    /// Bytes that the record grew by, with its indexes.
    pub(crate) record_bytes: f64,
}

/// All that is written to a row, in this order, so that a round leaves the table empty.
pub(crate) const WORK: [(Write, How); 10] = [
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
];

impl Cost {
    /// That of a subject for one kind of work on rows of one shape.
    pub(crate) fn of<'a>(
        costs: &'a [Self],
        shape: &str,
        write: Write,
        how: How,
        subject: Subject,
    ) -> Option<&'a Self> {
        costs
            .iter()
            .find(|c| c.shape == shape && c.write == write && c.how == how && c.subject == subject)
    }
}

/// Each subject has a database of its own.
pub(crate) fn measure(shape: &Shape, amount: Amount) -> Result<Vec<Cost>> {
    let (mut databases, mut meters) = (Vec::new(), Vec::new());
    for subject in Subject::ALL {
        let database = Database::new();
        let mut meter = Meter::connect(&database)?;
        meter.spend(&shape.table())?;
        meter.spend(subject.set_up())?;
        databases.push(database);
        meters.push(meter);
    }
    let totals = in_turns(&shape.name, &mut meters, shape, amount)?;
    let mut costs = Vec::new();
    for (subject, of_subject) in Subject::ALL.iter().zip(&totals) {
        for (n, (write, how)) in WORK.into_iter().enumerate() {
            let (of, bare) = (&of_subject.0[n], &totals[0].0[n]);
            costs.push(Cost {
                shape: shape.name.clone(),
                write,
                how,
                subject: *subject,
                cpu_us: of.cpu_us,
                overhead_us: of.cpu_us - bare.cpu_us,
                wal_bytes: of.wal_bytes - bare.wal_bytes,
                record_bytes: of.record_bytes / f64::from(amount.rounds),
            });
        }
    }
    Ok(costs)
}

/// All do the same work, turn by turn, and the least of all rounds counts: what else the machine does can only add to it.
pub(crate) fn in_turns(
    what: &str,
    meters: &mut [Meter],
    shape: &Shape,
    amount: Amount,
) -> Result<Vec<Totals>> {
    let mut totals = vec![Totals::default(); meters.len()];
    for round in 0..amount.rounds {
        eprintln!("{what}: round {} of {}", round + 1, amount.rounds);
        for (meter, totals) in meters.iter_mut().zip(&mut totals) {
            let first = i64::from(round) * 10_000_000;
            totals.add(round_of(meter, shape, amount, first)?);
        }
    }
    Ok(totals)
}

/// What a row took, for each kind of work.
fn round_of(meter: &mut Meter, shape: &Shape, amount: Amount, base: i64) -> Result<Vec<PerRow>> {
    let mut spent = Vec::new();
    for (write, how) in WORK {
        // Keys of their own for the three ways.
        let (rows, first) = match how {
            How::Single => (amount.single, base),
            How::Bulk => (amount.bulk, base + 1_000_000),
            How::Transactions => (amount.single / 4, base + 2_000_000),
        };
        let last = first + i64::from(rows) - 1;
        spent.push(PerRow::of(
            meter.spend(&shape.work(write, how, first, last))?,
            rows,
        ));
    }
    meter.spend("DELETE FROM item")?;
    Ok(spent)
}

#[derive(Clone, Debug)]
pub(crate) struct PerRow {
    pub(crate) cpu_us: f64,
    wal_bytes: f64,
    record_bytes: f64,
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
            record_bytes: spent.record_bytes as f64 / rows,
        }
    }
}

/// The least CPU time and WAL of a row, and the bytes of all rounds: those come by whole pages, and average out.
#[derive(Clone, Default)]
pub(crate) struct Totals(pub(crate) Vec<PerRow>);

impl Totals {
    fn add(&mut self, round: Vec<PerRow>) {
        if self.0.is_empty() {
            self.0 = round;
            return;
        }
        for (total, row) in self.0.iter_mut().zip(round) {
            total.cpu_us = total.cpu_us.min(row.cpu_us);
            total.wal_bytes = total.wal_bytes.min(row.wal_bytes);
            total.record_bytes += row.record_bytes;
        }
    }
}
