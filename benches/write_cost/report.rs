use std::{fmt, fs, thread};

use comfy_table::Table;
use serde::Serialize;
use threadline_test_support::Database;

use crate::clients::Throughput;
use crate::growth::Growth;
use crate::indexes::Without;
use crate::rows::Cost;
use crate::shape::{How, Shape, Write};
use crate::subject::Subject;
use crate::targets::{self, Target};
use crate::{time_travel, timeline};
use threadline_benches::{Result, Server, table, two_digits, verdict};

/// All that was measured.
#[derive(Serialize)]
pub(crate) struct Report {
    /// The processor, and how many of its cores there are.
    pub(crate) machine: String,
    pub(crate) server: Server,
    pub(crate) targets: Vec<Target>,
    /// Of the usual row.
    pub(crate) rows: Vec<Cost>,
    /// Of other rows.
    pub(crate) shapes: Vec<Cost>,
    pub(crate) clients: Vec<Throughput>,
    pub(crate) indexes: Vec<Without>,
    pub(crate) growth: Vec<Growth>,
    pub(crate) timeline: Option<threadline_benches::Report<timeline::Measurement>>,
    pub(crate) time_travel: Option<threadline_benches::Report<time_travel::Measurement>>,
    pub(crate) small_time_travel: Option<threadline_benches::Report<time_travel::Measurement>>,
}

/// What a row may cost when the record is large, as a part of what it costs when it is empty.
const GROWS_AT_MOST: f64 = 1.3;

/// A table by the name that it has in the guide.
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) table: Table,
}

/// What a row is written by, in the order of the columns of a table.
const WAYS: [(&str, Write, How); 8] = [
    ("INSERT", Write::Insert, How::Single),
    ("UPDATE", Write::Update, How::Single),
    ("DELETE", Write::Delete, How::Single),
    ("bulk INSERT", Write::Insert, How::Bulk),
    ("bulk UPDATE", Write::Update, How::Bulk),
    ("bulk DELETE", Write::Delete, How::Bulk),
    ("INSERT; COMMIT", Write::Insert, How::Transactions),
    ("UPDATE; COMMIT", Write::Update, How::Transactions),
];

impl Report {
    /// With nothing measured.
    pub(crate) fn of_this_machine() -> Result<Self> {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = processors
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Ok(Self {
            machine: format!(
                "{}, {} cores",
                model.map_or("unknown processor", |(_, model)| model),
                thread::available_parallelism()?
            ),
            server: threadline_benches::server(&mut Database::empty().connect())?,
            targets: Vec::new(),
            rows: Vec::new(),
            shapes: Vec::new(),
            clients: Vec::new(),
            indexes: Vec::new(),
            growth: Vec::new(),
            timeline: None,
            time_travel: None,
            small_time_travel: None,
        })
    }

    pub(crate) fn set_targets(&mut self) {
        let mut costs = self.rows.clone();
        costs.extend_from_slice(&self.shapes);
        let (usual, widest) = (Shape::usual(), Shape::of(80, false));
        self.targets = targets::targets(&costs, &usual.name, &widest.name);
    }

    pub(crate) fn missed(&self) -> usize {
        self.targets.iter().filter(|target| !target.met).count()
            + self
                .growth
                .iter()
                .filter_map(|growth| self.of_empty(growth))
                .filter(|ratio| *ratio > GROWS_AT_MOST)
                .count()
            + self
                .timeline
                .as_ref()
                .map_or(0, threadline_benches::Report::missed)
            + self
                .time_travel
                .as_ref()
                .map_or(0, threadline_benches::Report::missed)
    }

    /// Ratios first.
    pub(crate) fn sections(&self) -> Vec<Section> {
        let section = |name, title, table: Table| Section { name, title, table };
        let rows = |cell: fn(&Cost, &Cost) -> String| self.by_subject(cell);
        [
            section("targets", "Targets: what Threadline takes, as a part of what others take", self.targets()),
            section("ratios", "CPU time that a row takes more than unaudited, the plain trigger being 1", rows(|cost, plain| {
                two_digits(cost.overhead_us / plain.overhead_us)
            })),
            section("cpu", "The same in microseconds, of this machine", rows(|cost, _| format!("{:.1}", cost.overhead_us))),
            section("wal", "Bytes of WAL that a row takes more than unaudited", rows(|cost, _| format!("{:.0}", cost.wal_bytes))),
            section("record", "Bytes that the record grows by with a row, indexes included", rows(|cost, _| format!("{:.0}", cost.record_bytes))),
            section("shapes", "CPU time that a row takes more than unaudited, in microseconds, by the kind of row", self.shapes()),
            section("clients", "Transactions a second that update one row each, and the part of the unaudited ones", self.clients()),
            section(
                "indexes",
                "CPU time that a row takes less without an index, in microseconds",
                self.indexes(),
            ),
            section("growth", "CPU time that a row takes more than unaudited, in microseconds, by the changes in the record", self.growth()),
        ]
        .into_iter()
        .filter(|section| section.table.row_count() > 0)
        .collect()
    }

    fn targets(&self) -> Table {
        let mut table = table(&["", "compared to", "ratio", "at most", ""], 2);
        for target in &self.targets {
            table.add_row([
                target.what.to_owned(),
                target.compared_to.to_owned(),
                two_digits(target.ratio),
                two_digits(target.at_most),
                verdict(target.met),
            ]);
        }
        table
    }

    fn by_subject(&self, cell: fn(&Cost, &Cost) -> String) -> Table {
        let ways = WAYS.map(|(name, ..)| name);
        let header: Vec<_> = [""].into_iter().chain(ways).collect();
        let mut table = table(&header, 1);
        let shape = Shape::usual().name;
        for subject in &Subject::ALL[1..] {
            let of = |(_, write, how): &(&str, Write, How), subject| {
                Cost::of(&self.rows, &shape, *write, *how, subject)
            };
            let cells: Vec<_> = WAYS
                .iter()
                .filter_map(|way| Some(cell(of(way, *subject)?, of(way, Subject::Plain)?)))
                .collect();
            if !cells.is_empty() {
                table.add_row([subject.name().to_owned()].into_iter().chain(cells));
            }
        }
        table
    }

    fn shapes(&self) -> Table {
        let subjects = Subject::ALL[1..].iter().map(|subject| subject.name());
        let header: Vec<_> = ["row", "written by"].into_iter().chain(subjects).collect();
        let mut table = table(&header, 2);
        let mut shapes = Vec::new();
        for cost in &self.shapes {
            if !shapes.contains(&&cost.shape) {
                shapes.push(&cost.shape);
            }
        }
        for shape in shapes {
            for (name, write, how) in [
                ("INSERT", Write::Insert, How::Single),
                ("UPDATE of one column", Write::Update, How::Single),
                ("UPDATE of all", Write::UpdateAll, How::Single),
                ("bulk INSERT", Write::Insert, How::Bulk),
                ("bulk UPDATE of one column", Write::Update, How::Bulk),
                ("bulk UPDATE of all", Write::UpdateAll, How::Bulk),
                ("bulk DELETE", Write::Delete, How::Bulk),
            ] {
                let cells = Subject::ALL[1..].iter().filter_map(|subject| {
                    let cost = Cost::of(&self.shapes, shape, write, how, *subject)?;
                    Some(format!("{:.1}", cost.overhead_us))
                });
                table.add_row([shape.clone(), name.to_owned()].into_iter().chain(cells));
            }
        }
        table
    }

    fn clients(&self) -> Table {
        let mut table = table(&["", "clients", "a second", "of unaudited"], 1);
        for throughput in &self.clients {
            let unaudited = self
                .clients
                .iter()
                .find(|t| t.clients == throughput.clients);
            let part = unaudited.map(|t| throughput.per_second / t.per_second);
            table.add_row([
                throughput.subject.name().to_owned(),
                throughput.clients.to_string(),
                format!("{:.0}", throughput.per_second),
                part.map(two_digits).unwrap_or_default(),
            ]);
        }
        table
    }

    fn indexes(&self) -> Table {
        let ways = &WAYS[..6];
        let names = ways.iter().map(|(name, ..)| *name);
        let header: Vec<_> = ["without indexes"].into_iter().chain(names).collect();
        let mut table = table(&header, 1);
        let mut names: Vec<_> = self.indexes.iter().map(|without| without.indexes).collect();
        names.dedup();
        for name in names {
            let saved = |(_, write, how): &(&str, Write, How)| {
                let mut all = self.indexes.iter();
                let without =
                    all.find(|w| w.indexes == name && w.write == *write && w.how == *how)?;
                Some(format!("{:.1}", without.saved_us))
            };
            table.add_row(
                [name.to_owned()]
                    .into_iter()
                    .chain(ways.iter().filter_map(saved)),
            );
        }
        table
    }

    fn growth(&self) -> Table {
        let header = [
            "",
            "written by",
            "changes",
            "µs",
            "of empty",
            "at most",
            "",
            "memory kB",
        ];
        let mut table = table(&header, 2);
        for growth in &self.growth {
            let mut ways = WAYS.iter();
            let way = ways.find(|(_, write, how)| growth.write == *write && growth.how == *how);
            let Some((name, ..)) = way else { continue };
            let of_empty = self.of_empty(growth);
            table.add_row([
                growth.subject.name().to_owned(),
                (*name).to_owned(),
                growth.changes.to_string(),
                format!("{:.1}", growth.overhead_us),
                of_empty.map(two_digits).unwrap_or_default(),
                of_empty
                    .map(|_| two_digits(GROWS_AT_MOST))
                    .unwrap_or_default(),
                of_empty
                    .map(|ratio| verdict(ratio <= GROWS_AT_MOST))
                    .unwrap_or_default(),
                growth.memory_kb.to_string(),
            ]);
        }
        table
    }

    /// As a part of what it is with an empty record.
    fn of_empty(&self, growth: &Growth) -> Option<f64> {
        let same = |g: &&Growth| {
            g.subject == growth.subject && g.write == growth.write && g.how == growth.how
        };
        let mut all = self.growth.iter().filter(same);
        let empty = all.find(|g| g.changes == 0)?;
        (growth.changes > 0).then(|| growth.overhead_us / empty.overhead_us)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for section in self.sections() {
            writeln!(f, "{}\n\n{}\n", section.title, section.table)?;
        }
        if let Some(timeline) = &self.timeline {
            writeln!(f, "Pages of the timeline\n\n{timeline}\n")?;
        }
        if let Some(time_travel) = &self.time_travel {
            writeln!(f, "Reading the past\n\n{time_travel}\n")?;
            if let Some(small) = &self.small_time_travel {
                writeln!(f, "{}\n", time_travel::sizes(time_travel, small))?;
            }
        }
        write!(
            f,
            "On {}, with PostgreSQL {}",
            self.machine, self.server["server_version"]
        )
    }
}
