use std::fmt::{self, Debug};

use chrono::{DateTime, TimeDelta, Utc};
use diesel::dsl::sql;
use diesel::pg::{Pg, PgConnection};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::query_dsl::LoadQuery;
use diesel::sql_types::{Bool, Text};
use serde::Serialize;
use threadline_benches::{Data, Line, Result, Target, two_digits};

use crate::times::{self, Times};

/// A time to read as of, that long ago.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Ago {
    Now,
    Hours(i64),
    Days(i64),
}

pub(crate) const HOUR: Ago = Ago::Hours(1);
pub(crate) const YEAR: Ago = Ago::Days(350);

/// The limit for what is found by a key: see [`Bench::past`].
pub(crate) const BY_KEY: Option<f64> = Some(1.0);

impl Ago {
    pub(crate) fn before(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::Now => now,
            Self::Hours(hours) => now - TimeDelta::hours(hours),
            Self::Days(days) => now - TimeDelta::days(days),
        }
    }
}

impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n, unit) = match *self {
            Self::Now => return f.write_str("now"),
            Self::Hours(n) => (n, "hour"),
            Self::Days(n) => (n, "day"),
        };
        write!(f, "{n} {unit}{} ago", if n == 1 { "" } else { "s" })
    }
}

/// One line of a report, times being in milliseconds.
#[derive(Serialize)]
pub(crate) struct Measurement {
    pub(crate) form: &'static str,
    pub(crate) as_of: String,
    #[serde(flatten)]
    pub(crate) times: Times,
    /// How much slower than the present, by the median.
    pub(crate) ratio: Option<f64>,
    /// `generic` if the server has settled on one plan for all values, `custom` if it makes one for each; if it has not
    /// run often enough to settle, neither.
    pub(crate) plan: Option<&'static str>,
}

impl Line for Measurement {
    const HEADER: &'static [&'static str] = &[
        "form",
        "as of",
        "first ms",
        "minimum ms",
        "median ms",
        "× live",
        "plan",
    ];

    fn cells(&self) -> Vec<String> {
        let ratio = self.ratio.map(|ratio| format!("{ratio:.1}"));
        vec![
            self.form.to_owned(),
            self.as_of.clone(),
            two_digits(self.times.first),
            two_digits(self.times.minimum),
            two_digits(self.times.median),
            ratio.unwrap_or_default(),
            self.plan.unwrap_or_default().to_owned(),
        ]
    }
}

/// Measures queries, each live and as of the past.
pub(crate) struct Bench<'a> {
    data: &'a Data,
    plans: bool,
    /// What is being read.
    pub(crate) form: &'static str,
    /// Settings of the sessions.
    pub(crate) settings: &'static str,
    pub(crate) measurements: Vec<Measurement>,
    pub(crate) targets: Vec<Target>,
    /// How long the form takes in the present.
    live: f64,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(data: &'a Data, plans: bool) -> Self {
        Self {
            data,
            plans,
            form: "",
            settings: "",
            measurements: Vec::new(),
            targets: Vec::new(),
            live: 0.0,
        }
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.data.now
    }

    pub(crate) fn connect(&self) -> Result<PgConnection> {
        self.data.connect(self.settings)
    }

    /// The present, to which the next calls of [`past`](Self::past) compare.
    pub(crate) fn live<U, Q>(&mut self, query: impl Fn() -> Q) -> Result<Vec<U>>
    where
        U: PartialEq + Debug,
        Q: Query + QueryFragment<Pg> + for<'q> LoadQuery<'q, PgConnection, U>,
    {
        let (measurement, rows) = self.measure("live", query)?;
        self.live = measurement.times.median;
        self.measurements.push(measurement);
        Ok(rows)
    }

    /// `slower` is the limit for the median: how many milliseconds more than three times the present it may be.
    pub(crate) fn past<U, Q>(
        &mut self,
        ago: Ago,
        slower: Option<f64>,
        query: impl Fn(DateTime<Utc>) -> Q,
    ) -> Result<Vec<U>>
    where
        U: PartialEq + Debug,
        Q: Query + QueryFragment<Pg> + for<'q> LoadQuery<'q, PgConnection, U>,
    {
        let at = ago.before(self.now());
        let (mut measurement, rows) = self.measure(&ago.to_string(), || query(at))?;
        measurement.ratio = Some(measurement.times.median / self.live);
        if let Some(slower) = slower {
            let at_most = 3.0 * self.live + slower;
            let what = format!("reading the past: {}", self.form);
            let median = measurement.times.median;
            self.targets.push(Target::new(what, "ms", median, at_most));
        }
        self.measurements.push(measurement);
        Ok(rows)
    }

    /// In a session of its own, which settles on a plan as that of an application would that asks for such times.
    fn measure<U, Q>(&self, as_of: &str, query: impl Fn() -> Q) -> Result<(Measurement, Vec<U>)>
    where
        U: PartialEq + Debug,
        Q: Query + QueryFragment<Pg> + for<'q> LoadQuery<'q, PgConnection, U>,
    {
        let what = format!("{}, {as_of}", self.form);
        eprintln!("{what}");
        let mut conn = self.connect()?;
        let (times, rows) = times::measure(&what, || {
            let rows: QueryResult<_> = query().internal_load(&mut conn)?.collect();
            Ok(rows?)
        })?;
        let generic: bool = diesel::select(sql::<Bool>(
            "EXISTS (SELECT FROM pg_prepared_statements WHERE generic_plans > 0)",
        ))
        .get_result(&mut conn)?;
        // The first five plans are custom ones in any case.
        let settled = times.all_runs > 5;
        let plan = if generic { "generic" } else { "custom" };
        if self.plans {
            let plan: Vec<String> = Explain(query()).load(&mut conn)?;
            eprintln!("\n{}\n", plan.join("\n"));
        }
        let measurement = Measurement {
            form: self.form,
            as_of: as_of.to_owned(),
            times,
            ratio: None,
            plan: settled.then_some(plan),
        };
        Ok((measurement, rows))
    }
}

/// The plan of a query instead of its rows.
struct Explain<Q>(Q);

impl<Q: Query> Query for Explain<Q> {
    type SqlType = Text;
}

impl<Q> QueryId for Explain<Q> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q> RunQueryDsl<PgConnection> for Explain<Q> {}

impl<Q: QueryFragment<Pg>> QueryFragment<Pg> for Explain<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.unsafe_to_cache_prepared();
        out.push_sql("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY ON) ");
        self.0.walk_ast(out)
    }
}
