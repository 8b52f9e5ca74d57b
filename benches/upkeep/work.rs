use std::thread::sleep;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use serde::Serialize;
use threadline::ActorRef;
use threadline_benches::{Data, Line, Result, Target, two_digits};

use crate::writers::{Latencies, Writers};

/// The longest that a writer may wait while partitions are dropped or a baseline is recorded, in milliseconds.
const LONGEST_MS: f64 = 100.0;
/// The longest that the drop of a partition may take.
const STEP_SECONDS: f64 = 1.0;
/// How much longer the 99th percentile of the writers may be while batches are removed.
const P99_RATIO: f64 = 2.0;

/// Some work that was done while others wrote.
#[derive(Serialize)]
pub(crate) struct Measured {
    work: &'static str,
    unit: &'static str,
    count: u64,
    seconds: f64,
    /// A step is a transaction.
    longest_step_seconds: f64,
    writers: Latencies,
    /// The 99th percentile of the writers, as a multiple of the one without the work.
    p99_ratio: f64,
}

impl Line for Measured {
    const HEADER: &'static [&'static str] = &[
        "work",
        "unit",
        "count",
        "s",
        "longest step, s",
        "writers' p50, ms",
        "p99, ms",
        "longest, ms",
        "p99 / without",
    ];

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![
            self.work.to_owned(),
            self.unit.to_owned(),
            self.count.to_string(),
        ];
        let Latencies {
            p50, p99, longest, ..
        } = self.writers;
        let numbers = [
            self.seconds,
            self.longest_step_seconds,
            p50,
            p99,
            longest,
            self.p99_ratio,
        ];
        cells.extend(numbers.map(two_digits));
        cells
    }
}

/// How the steps of some work went.
struct Steps {
    last: Instant,
    longest: Duration,
}

impl Steps {
    fn begin() -> Self {
        Self {
            last: Instant::now(),
            longest: Duration::ZERO,
        }
    }

    fn step(&mut self, pause: Duration) {
        self.longest = self.longest.max(self.last.elapsed().saturating_sub(pause));
        self.last = Instant::now();
    }
}

struct Bench<'a> {
    data: &'a Data,
    rate: u32,
    without: Latencies,
    lines: Vec<Measured>,
    targets: Vec<Target>,
}

impl Bench<'_> {
    /// Does some work beside writers. It says how much it was, and how long the longest step took.
    fn beside(
        &mut self,
        work: &'static str,
        unit: &'static str,
        script: &str,
        run: impl FnOnce(&mut PgConnection, &mut Steps) -> Result<u64>,
        limit: fn(&Measured) -> Vec<Target>,
    ) -> Result<()> {
        eprintln!("{work}");
        let mut conn = self.data.connect("")?;
        let writers = Writers::start(&self.data.database, self.rate, script)?;
        sleep(Duration::from_secs(1));
        let start = Instant::now();
        let mut steps = Steps::begin();
        let count = run(&mut conn, &mut steps)?;
        let seconds = start.elapsed().as_secs_f64();
        sleep(Duration::from_secs(1));
        let writers = writers.stop()?;
        let measured = Measured {
            work,
            unit,
            count,
            seconds,
            longest_step_seconds: steps.longest.as_secs_f64(),
            writers,
            p99_ratio: writers.p99 / self.without.p99,
        };
        self.targets.extend(limit(&measured));
        self.lines.push(measured);
        Ok(())
    }
}

fn slower(m: &Measured) -> Vec<Target> {
    vec![Target::new(
        m.work,
        "× writers' p99",
        m.p99_ratio,
        P99_RATIO,
    )]
}

fn waits(m: &Measured) -> Vec<Target> {
    vec![Target::new(
        m.work,
        "ms, longest write",
        m.writers.longest,
        LONGEST_MS,
    )]
}

const WRITE: &str =
    "\\set id random(1, 10000)\nUPDATE users SET visits = visits + 1 WHERE id = :id * 5;\n";
const WRITE_BOTH: &str = "\\set id random(1, 10000)\nUPDATE users SET visits = visits + 1 WHERE id = :id * 5;\nUPDATE rows SET name = name || '.' WHERE id = :id * 7;\n";

pub(crate) fn measure(data: &Data, rate: u32, rows: u32) -> Result<(Vec<Measured>, Vec<Target>)> {
    eprintln!("writers alone");
    let writers = Writers::start(&data.database, rate, WRITE)?;
    sleep(Duration::from_secs(15));
    let without = writers.stop()?;
    let alone = Measured {
        work: "none",
        unit: "",
        count: 0,
        seconds: 15.0,
        longest_step_seconds: 0.0,
        writers: without,
        p99_ratio: 1.0,
    };
    let mut bench = Bench {
        data,
        rate,
        without,
        lines: vec![alone],
        targets: Vec::new(),
    };
    purge(&mut bench)?;
    baseline(&mut bench, rows)?;
    Ok((bench.lines, bench.targets))
}

/// The changes of users go in batches, while those of posts are kept; then all that is old goes by months.
fn purge(bench: &mut Bench<'_>) -> Result<()> {
    let pause = Duration::from_millis(50);
    let run = |conn: &mut PgConnection, steps: &mut Steps| {
        let purge = threadline::purge()
            .pause(pause)
            .progress(|_| steps.step(pause));
        let purged = purge.run(conn)?;
        if purged.finished && purged.postponed.is_empty() {
            Ok(purged.changes)
        } else {
            Err(format!("not all was removed: {purged:?}").into())
        }
    };
    let mut conn = bench.data.connect("")?;
    conn.batch_execute("SELECT threadline.set_retention('30 days', 'users')")?;
    bench.beside("purge by batches", "changes", WRITE, run, slower)?;

    conn.batch_execute("SELECT threadline.set_retention('30 days')")?;
    let run = |conn: &mut PgConnection, steps: &mut Steps| {
        let mut changes = 0;
        // The transactions that are left empty are looked for afterwards, in batches.
        while let Some(dropped) = one_partition(conn)? {
            steps.step(Duration::ZERO);
            changes += dropped;
        }
        Ok(changes)
    };
    bench.beside("purge by partitions", "changes", WRITE, run, |m| {
        let step = Target::new(
            m.work,
            "s, longest step",
            m.longest_step_seconds,
            STEP_SECONDS,
        );
        [waits(m), vec![step]].concat()
    })?;
    let run = |conn: &mut PgConnection, steps: &mut Steps| {
        let purge = threadline::purge()
            .pause(pause)
            .progress(|_| steps.step(pause));
        Ok(purge.run(conn)?.transactions)
    };
    bench.beside(
        "removing empty transactions",
        "transactions",
        WRITE,
        run,
        slower,
    )
}

fn one_partition(conn: &mut PgConnection) -> Result<Option<u64>> {
    let purged = threadline::purge()
        .pause(Duration::ZERO)
        .max_batches(1)
        .run(conn)?;
    Ok((!purged.dropped.is_empty()).then_some(purged.changes))
}

/// Beside writers to the very table. Afterwards every row has its beginning, and the table as of the beginning is what it was.
fn baseline(bench: &mut Bench<'_>, rows: u32) -> Result<()> {
    let mut conn = bench.data.connect("")?;
    for statement in [
        format!(
            "CREATE TABLE rows AS SELECT n AS id, 'row ' || n AS name, n % 7 AS kind, now() AS at, repeat('z', 60) AS note FROM generate_series(1, {rows}) AS n"
        ),
        "ALTER TABLE rows ADD PRIMARY KEY (id)".to_owned(),
        "CREATE TABLE copied AS TABLE rows".to_owned(),
        "SELECT threadline.audit_table('rows')".to_owned(),
        "VACUUM ANALYZE rows".to_owned(),
    ] {
        conn.batch_execute(&statement)?;
    }
    let pause = Duration::from_millis(20);
    let run = |conn: &mut PgConnection, steps: &mut Steps| {
        let baseline = threadline::baseline("rows")
            .actor(ActorRef::user("bench"))
            .reason("benchmark");
        let done = baseline
            .pause(pause)
            .progress(|_| steps.step(pause))
            .run(conn)?;
        Ok(done.passed)
    };
    bench.beside("baseline", "rows", WRITE_BOTH, run, waits)?;

    let mut count = |from: &str| {
        let query = diesel::select(sql::<BigInt>(&format!("(SELECT count(*) FROM {from})")));
        query.get_result::<i64>(&mut conn)
    };
    let without_beginning = "rows AS r WHERE NOT EXISTS (SELECT FROM threadline.audit_changes AS c JOIN threadline.audited_tables AS a ON a.id = c.table_id AND a.relation = 'rows'::regclass WHERE c.key_integer = r.id)";
    let past =
        "(SELECT capture_since FROM threadline.audited_tables WHERE relation = 'rows'::regclass)";
    let different =
        format!("(TABLE copied EXCEPT SELECT * FROM threadline.as_of(NULL::rows, {past})) AS d");
    let more =
        format!("(SELECT * FROM threadline.as_of(NULL::rows, {past}) EXCEPT TABLE copied) AS d");
    for wrong in [without_beginning, &different, &more] {
        let found = count(wrong)?;
        if found > 0 {
            return Err(format!("{found} rows are wrong: {wrong}").into());
        }
    }
    Ok(())
}
