use std::fmt::Write as _;

use crate::rows::Cost;
use crate::shape::{How, Shape, Write};
use crate::subject::Subject;

/// A name, and the granularities it can have: the better one counts.
const AUDITS: [(&str, &[Subject]); 3] = [
    ("plain row trigger", &[Subject::Plain]),
    ("typed history", &Subject::TYPED),
    ("Threadline", &Subject::THREADLINE),
];
const REQUESTS: [(&str, Write, u32); 4] = [
    ("INSERT one row; COMMIT", Write::Insert, 1),
    ("UPDATE one row; COMMIT", Write::Update, 1),
    ("INSERT ten rows, one by one; COMMIT", Write::Insert, 10),
    ("UPDATE ten rows, one by one; COMMIT", Write::Update, 10),
];
/// Of the longest bar, in characters.
const WIDTH: f64 = 60.0;

/// CPU time of a request that writes so many rows in one transaction, in microseconds.
fn request(
    costs: &[Cost],
    subject: Subject,
    write: Write,
    rows: u32,
    of: fn(&Cost) -> f64,
) -> Option<f64> {
    let cost = |how| Cost::find(costs, &Shape::usual().name, subject, write, how).map(of);
    Some(cost(How::Transactions)? + f64::from(rows - 1) * cost(How::Single)?)
}

/// Bars of characters: the request itself, and auditing it.
pub(crate) fn picture(costs: &[Cost]) -> Option<String> {
    let mut bars = Vec::new();
    for (title, write, rows) in REQUESTS {
        let itself = request(costs, Subject::Nobody, write, rows, |c| c.cpu_us)?;
        bars.push((title, "no audit", itself, 0.0));
        for (name, subjects) in AUDITS {
            let audit = |subject| request(costs, subject, write, rows, |c| c.overhead_us);
            let audit = subjects.iter().filter_map(|&subject| audit(subject));
            bars.push((title, name, itself, audit.reduce(f64::min)?));
        }
    }
    let mut picture = String::from("█ the request itself   ▒ auditing it");
    for requests in bars.chunk_by(|a, b| a.0 == b.0) {
        let longest = requests
            .iter()
            .map(|(_, _, itself, audit)| itself + audit)
            .fold(0.0, f64::max);
        let bar = |with: &str, us: f64| {
            let length = (us / longest * WIDTH).round();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "some dozens"
            )]
            with.repeat(length as usize)
        };
        let _ = write!(picture, "\n\n{}", requests[0].0);
        for (_, name, itself, audit) in requests {
            let _ = write!(
                picture,
                "\n  {name:<17} {}{} {:.0} µs",
                bar("█", *itself),
                bar("▒", *audit),
                itself + audit
            );
        }
    }
    Some(picture)
}
