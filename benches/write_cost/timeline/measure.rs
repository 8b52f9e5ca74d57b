use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Timestamptz};
use serde::Serialize;
use threadline::{Timeline, TimelineCursor, TimelineEntry};
use threadline_benches::{Data, Line, Result, Size, Target, two_digits};

use super::plans;
use super::reads::Reads;
use crate::times::{self, Times};

/// Entries of a page, the default of a timeline.
const PAGE: i64 = 50;
const TARGET_MS: f64 = 10.0;

/// One line of a report, times being in milliseconds.
#[derive(Serialize)]
pub(crate) struct Measurement {
    filter: &'static str,
    page: u32,
    /// How many changes the filter lets through.
    changes: i64,
    #[serde(flatten)]
    times: Times,
    #[serde(flatten)]
    reads: Reads,
}

impl Line for Measurement {
    const HEADER: &'static [&'static str] = &[
        "changes of",
        "scanned",
        "changes",
        "page",
        "rows read",
        "first ms",
        "minimum ms",
        "median ms",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.filter.to_owned(),
            self.reads.scanned(),
            self.changes.to_string(),
            self.page.to_string(),
            self.reads.rows_read.to_string(),
            two_digits(self.times.first),
            two_digits(self.times.minimum),
            two_digits(self.times.median),
        ]
    }
}

impl Measurement {
    pub(crate) fn targets(&self) -> [Target; 2] {
        let page = "a page of the timeline";
        [
            Target::new(page, "ms", self.times.median, TARGET_MS),
            Target::new(
                page,
                "tables read without an index",
                self.reads.scans(),
                0.0,
            ),
        ]
    }
}

/// A filter of the timeline, and what it asks for as SQL on a change c and its transaction t.
pub(crate) struct Filter {
    pub(crate) name: &'static str,
    pub(crate) timeline: Timeline,
    pub(crate) condition: String,
}

/// Measures pages.
pub(crate) struct Bench<'a> {
    data: &'a Data,
    conn: PgConnection,
    pub(crate) size: Size,
    plans: bool,
    pub(crate) measurements: Vec<Measurement>,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(data: &'a Data, size: Size, plans: bool) -> Result<Self> {
        Ok(Self {
            data,
            conn: data.connect("")?,
            size,
            plans,
            measurements: Vec::new(),
        })
    }

    pub(crate) fn pages(&mut self, filter: &Filter, pages: &[u32]) -> Result<()> {
        eprintln!("{}", filter.name);
        let recorded = recorded(&mut self.conn, &filter.condition, pages)?;
        let changes = recorded.last().map_or(0, |change| change.n);
        for &page in pages {
            let skipped = skipped(page);
            let on_page = skipped + 1..=skipped + PAGE;
            let expected: Vec<i64> = recorded
                .iter()
                .filter(|change| on_page.contains(&change.n))
                .map(|change| change.id)
                .collect();
            assert!(!expected.is_empty(), "{} has a page {page}", filter.name);
            let mut timeline = filter.timeline.clone();
            if let Some(last) = recorded.iter().find(|change| change.n == skipped) {
                timeline = timeline.before(last.cursor()?);
            }
            let measurement = self.measure(filter.name, page, changes, &timeline, &expected)?;
            self.measurements.push(measurement);
        }
        Ok(())
    }

    /// In a session of its own.
    fn measure(
        &self,
        filter: &'static str,
        page: u32,
        changes: i64,
        timeline: &Timeline,
        expected: &[i64],
    ) -> Result<Measurement> {
        let mut conn = self.data.connect("")?;
        let what = format!("{filter}, page {page}");
        let (times, entries) = times::measure(&what, || {
            Ok(timeline.clone().load::<TimelineEntry>(&mut conn)?)
        })?;
        let found: Vec<i64> = entries.iter().map(|entry| entry.id).collect();
        assert_eq!(found, expected, "{what}: as the audit log has it");
        let reads = Reads::of(&mut conn, |conn| {
            timeline.clone().load::<TimelineEntry>(conn)
        })?;
        if self.plans {
            plans::print(self.data, timeline)?;
        }
        Ok(Measurement {
            filter,
            page,
            changes,
            times,
            reads,
        })
    }
}

/// How many entries precede a page.
fn skipped(page: u32) -> i64 {
    i64::from(page - 1) * PAGE
}

/// A change that a filter lets through, numbered from the newest one.
#[derive(QueryableByName)]
struct Recorded {
    #[diesel(sql_type = BigInt)]
    n: i64,
    #[diesel(sql_type = Timestamptz)]
    captured_at: DateTime<Utc>,
    #[diesel(sql_type = BigInt)]
    id: i64,
}

impl Recorded {
    fn cursor(&self) -> Result<TimelineCursor> {
        Ok(format!("{}-{}", self.captured_at.timestamp_micros(), self.id).parse()?)
    }
}

/// The changes of the pages, those before which a page begins, and the oldest one.
fn recorded(conn: &mut PgConnection, condition: &str, pages: &[u32]) -> Result<Vec<Recorded>> {
    let earlier_pages: Vec<_> = pages.iter().map(|page| i64::from(page - 1)).collect();
    let query = format!(
        "SELECT n, captured_at, id
           FROM (SELECT c.captured_at, c.id, row_number() OVER newest AS n, lead(c.id) OVER newest IS NULL AS is_last
                   FROM threadline.audit_changes AS c JOIN threadline.audit_transactions AS t ON t.id = c.transaction_id
                  WHERE {condition} WINDOW newest AS (ORDER BY c.captured_at DESC, c.id DESC)) AS numbered
          WHERE n / {PAGE} = ANY ($1) OR (n - 1) / {PAGE} = ANY ($1) OR is_last ORDER BY n"
    );
    let query = diesel::sql_query(query).bind::<Array<BigInt>, _>(earlier_pages);
    Ok(query.load(conn)?)
}
