use std::{fmt, fs, thread};

use comfy_table::Table;
use serde::Serialize;
use threadline_benches::{self as benches, Result, Server, Target, table, two_digits};
use threadline_test_support::Database;

use crate::clients::Throughput;
use crate::rows::Cost;
use crate::shape::{How, Write};
use crate::subject::Subject;
use crate::tpcb::Tpcb;
use crate::{request, time_travel, timeline};

/// Everything that was measured.
#[derive(Default, Serialize)]
pub(crate) struct Report {
    /// The processor, and the number of its cores.
    pub(crate) machine: String,
    pub(crate) server: Server,
    pub(crate) targets: Vec<Target>,
    /// Of the usual row.
    pub(crate) rows: Vec<Cost>,
    /// Of other rows.
    pub(crate) shapes: Vec<Cost>,
    pub(crate) clients: Vec<Throughput>,
    pub(crate) tpcb: Option<Tpcb>,
    pub(crate) indexes: Vec<Cost>,
    pub(crate) growth: Vec<Cost>,
    pub(crate) timeline: Option<benches::Report<timeline::Measurement>>,
    pub(crate) time_travel: Option<benches::Report<time_travel::Measurement>>,
}

/// A table, and its name in the guide.
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) table: Table,
}

/// How a row is written: a column of a table.
type Way = (&'static str, Write, How);

const ROW: [Way; 9] = [
    ("INSERT", Write::Insert, How::Single),
    ("UPDATE", Write::Update, How::Single),
    ("DELETE", Write::Delete, How::Single),
    ("bulk INSERT", Write::Insert, How::Bulk),
    ("bulk UPDATE", Write::Update, How::Bulk),
    ("bulk DELETE", Write::Delete, How::Bulk),
    ("INSERT; COMMIT", Write::Insert, How::Transactions),
    ("UPDATE; COMMIT", Write::Update, How::Transactions),
    ("DELETE; COMMIT", Write::Delete, How::Transactions),
];
const SHAPE: [Way; 8] = [
    ("INSERT", Write::Insert, How::Single),
    ("UPDATE of one", Write::Update, How::Single),
    ("UPDATE of all", Write::UpdateAll, How::Single),
    ("bulk INSERT", Write::Insert, How::Bulk),
    ("bulk UPDATE of one", Write::Update, How::Bulk),
    ("bulk UPDATE of all", Write::UpdateAll, How::Bulk),
    ("bulk DELETE", Write::Delete, How::Bulk),
    ("UPDATE of one; COMMIT", Write::Update, How::Transactions),
];

/// A line for each contestant, and a column for each way to write a row.
fn by_way(
    costs: &[Cost],
    names: &[&str],
    name: impl Fn(&Cost) -> Vec<String>,
    ways: &[Way],
    cell: impl Fn(&Cost) -> String,
) -> Table {
    let header: Vec<_> = names
        .iter()
        .copied()
        .chain(ways.iter().map(|way| way.0))
        .collect();
    let mut table = table(&header, names.len());
    for costs in costs.chunk_by(|a, b| a.setting == b.setting && a.subject == b.subject) {
        if costs[0].subject == Subject::Nobody {
            continue;
        }
        let cells = ways.iter().filter_map(|(_, write, how)| {
            costs
                .iter()
                .find(|cost| cost.write == *write && cost.how == *how)
                .map(&cell)
        });
        table.add_row(name(&costs[0]).into_iter().chain(cells));
    }
    table
}

impl Report {
    /// With nothing measured.
    pub(crate) fn of_this_machine() -> Result<Self> {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = processors
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let model = model.map_or("unknown processor", |(_, model)| model);
        Ok(Self {
            machine: format!("{model}, {} cores", thread::available_parallelism()?),
            server: benches::server(&mut Database::empty().connect())?,
            ..Self::default()
        })
    }

    pub(crate) fn sections(&self) -> Vec<Section> {
        let subject = |cost: &Cost| vec![cost.subject.name().to_owned()];
        let setting = |cost: &Cost| vec![cost.setting.clone()];
        let both = |cost: &Cost| vec![cost.setting.clone(), cost.subject.name().to_owned()];
        let us = |cost: &Cost| format!("{:.1}", cost.overhead_us);
        let row = |cell: fn(&Cost) -> String| by_way(&self.rows, &[""], subject, &ROW, cell);
        let times_plain = |cost: &Cost| {
            let Cost {
                setting,
                write,
                how,
                ..
            } = cost;
            let plain = Cost::find(&self.rows, setting, Subject::Plain, *write, *how);
            plain.map_or_else(String::new, |plain| {
                two_digits(cost.overhead_us / plain.overhead_us)
            })
        };
        let grown = |cost: &Cost| {
            let times = self.times_empty(cost).map(|times| format!(" ({times:.2})"));
            us(cost) + &times.unwrap_or_default()
        };
        let with_memory = |cost: &Cost| [both(cost), vec![cost.memory_kb.to_string()]].concat();
        let sections = [
            (
                "ratios",
                "CPU time of auditing a row, as a multiple of the plain trigger",
                by_way(&self.rows, &[""], subject, &ROW, times_plain),
            ),
            ("cpu", "The same in microseconds", row(us)),
            (
                "wal",
                "WAL of auditing a row, in bytes",
                row(|cost| format!("{:.0}", cost.wal_bytes)),
            ),
            (
                "log",
                "Growth of the audit log with a row, in bytes, indexes included",
                row(|cost| format!("{:.0}", cost.log_bytes)),
            ),
            (
                "shapes",
                "CPU time of auditing a row of another shape, in microseconds",
                by_way(&self.shapes, &["row", ""], both, &SHAPE, us),
            ),
            (
                "clients",
                "Transactions per second that update one row each, also as a part of the unaudited ones",
                self.clients(),
            ),
            (
                "indexes",
                "CPU time that a row takes less without some indexes, in microseconds",
                by_way(
                    &self.indexes,
                    &["without indexes"],
                    setting,
                    &ROW[..6],
                    |cost| format!("{:.1}", -cost.overhead_us),
                ),
            ),
            (
                "growth",
                "CPU time of auditing a row, in microseconds and as a multiple of the same with an empty audit log",
                by_way(
                    &self.growth,
                    &["changes", "", "memory, kB"],
                    with_memory,
                    &ROW,
                    grown,
                ),
            ),
        ];
        let sections = sections.map(|(name, title, table)| Section { name, title, table });
        sections
            .into_iter()
            .filter(|section| !section.table.is_empty())
            .collect()
    }

    fn clients(&self) -> Table {
        let mut table = table(&["", "clients", "per second", "of unaudited"], 1);
        for clients in self.clients.chunk_by(|a, b| a.clients == b.clients) {
            for throughput in clients {
                table.add_row([
                    throughput.subject.name().to_owned(),
                    throughput.clients.to_string(),
                    format!("{:.0}", throughput.per_second),
                    two_digits(throughput.per_second / clients[0].per_second),
                ]);
            }
        }
        table
    }

    /// What a row costs, as a multiple of the same with an empty audit log.
    pub(crate) fn times_empty(&self, cost: &Cost) -> Option<f64> {
        let empty = Cost::find(&self.growth, "0", cost.subject, cost.write, cost.how)?;
        (cost.setting != "0").then(|| cost.overhead_us / empty.overhead_us)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.targets.is_empty() {
            writeln!(f, "Targets\n\n{}\n", Target::table(&self.targets))?;
        }
        if let Some(picture) = request::picture(&self.rows) {
            writeln!(f, "CPU time of a request\n\n{picture}\n")?;
        }
        for section in self.sections() {
            writeln!(f, "{}\n\n{}\n", section.title, section.table)?;
        }
        if let Some(tpcb) = &self.tpcb {
            writeln!(f, "TPC-B\n\n{tpcb}\n")?;
        }
        if let Some(timeline) = &self.timeline {
            writeln!(f, "Pages of the timeline\n\n{timeline}")?;
        }
        if let Some(time_travel) = &self.time_travel {
            writeln!(f, "Reads of the past\n\n{time_travel}")?;
        }
        let version = &self.server["server_version"];
        write!(f, "{}, PostgreSQL {version}", self.machine)
    }
}
