use std::time::Instant;

use diesel::prelude::*;
use diesel_async::{AsyncConnection, AsyncPgConnection};
use futures_util::TryStreamExt;
use serde::Serialize;
use threadline::{ExportFormat, timeline};
use threadline_benches::{Data, Line, Result, SETTINGS, Target, two_digits};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

use crate::memory;

/// An export takes at most twice as long as `COPY`, and this much memory.
const TIMES_COPY: f64 = 2.0;
const MIB: f64 = 64.0;

/// What an export reads, as plain SQL, in the same order.
const COPY: &str = "
    COPY (SELECT c.id, c.transaction_id, a.table_schema, a.table_name, c.op, c.captured_at, c.key_integer, c.key_bigint, c.key_uuid, c.key_text,
                 c.moved_key, c.data_after, c.changed_from, c.context, t.occurred_at, t.actor_ref, t.on_behalf_of, t.source, t.correlation_id,
                 t.request_id, t.job_id, t.remote_ip, t.meta, t.database_role, t.application_name,
                 (SELECT jsonb_agg(x) FROM threadline.audit_actions AS x WHERE x.transaction_id = c.transaction_id)
            FROM threadline.audit_changes AS c
            LEFT JOIN threadline.audit_transactions AS t ON t.id = c.transaction_id
            JOIN threadline.audited_tables AS a ON a.id = c.table_id
           ORDER BY c.captured_at DESC, c.id DESC) TO STDOUT (FORMAT csv)";

/// One line of a report.
#[derive(Serialize, Clone)]
pub(crate) struct Measurement {
    what: String,
    connection: &'static str,
    seconds: f64,
    changes_per_second: f64,
    megabytes: f64,
    peak_mib: Option<f64>,
    /// The speed, as a part of that of `COPY`.
    of_copy: f64,
}

impl Line for Measurement {
    const HEADER: &'static [&'static str] = &[
        "what",
        "",
        "seconds",
        "changes/s",
        "MB",
        "peak MiB",
        "of COPY",
    ];

    fn cells(&self) -> Vec<String> {
        let peak = self.peak_mib.map(|mib| format!("{mib:.1}"));
        vec![
            self.what.clone(),
            self.connection.to_owned(),
            two_digits(self.seconds),
            format!("{:.0}", self.changes_per_second),
            format!("{:.0}", self.megabytes),
            peak.unwrap_or_default(),
            two_digits(self.of_copy),
        ]
    }
}

/// Measures exports, each into nothing: what is measured is not the disk.
pub(crate) struct Bench<'a> {
    data: &'a Data,
    runtime: Runtime,
    changes: u64,
    measurements: Vec<Measurement>,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(data: &'a Data) -> Result<Self> {
        let mut conn = data.connect("")?;
        let changes: i64 = timeline().count().get_result(&mut conn)?;
        Ok(Self {
            data,
            runtime: Runtime::new()?,
            changes: changes.try_into()?,
            measurements: Vec::new(),
        })
    }

    pub(crate) fn copy(&mut self) -> Result<()> {
        let client = self.runtime.block_on(connect(self.data.database.url()))?;
        self.measure("COPY".to_owned(), "", |bench| {
            bench.runtime.block_on(async {
                let copied = client.copy_out(COPY).await?;
                let bytes = copied.try_fold(0, async |bytes, piece| Ok(bytes + piece.len() as u64));
                Ok((bench.changes, bytes.await?))
            })
        })
    }

    pub(crate) fn export(&mut self, format: ExportFormat) -> Result<()> {
        let mut conn = self.data.connect("")?;
        self.measure(format.to_string(), "PgConnection", |_| {
            let exported = timeline()
                .export(format)
                .write_to(&mut conn, std::io::sink())?;
            Ok((exported.changes, exported.bytes))
        })
    }

    pub(crate) fn export_async(&mut self, format: ExportFormat) -> Result<()> {
        self.measure(format.to_string(), "AsyncPgConnection", |bench| {
            bench.runtime.block_on(async {
                let mut conn = AsyncPgConnection::establish(bench.data.database.url()).await?;
                let export = timeline()
                    .export(format)
                    .write_to(&mut conn, tokio::io::sink());
                let exported = export.await?;
                Ok((exported.changes, exported.bytes))
            })
        })
    }

    fn measure(
        &mut self,
        what: String,
        connection: &'static str,
        run: impl FnOnce(&Self) -> Result<(u64, u64)>,
    ) -> Result<()> {
        eprintln!("{what} {connection}");
        memory::reset();
        let start = Instant::now();
        let (changes, bytes) = run(self)?;
        let seconds = start.elapsed().as_secs_f64();
        assert_eq!(changes, self.changes, "{what}: all of them");
        #[expect(clippy::cast_precision_loss, reason = "far from 2^53")]
        self.measurements.push(Measurement {
            what,
            connection,
            seconds,
            changes_per_second: changes as f64 / seconds,
            megabytes: bytes as f64 / 1e6,
            peak_mib: memory::peak(),
            of_copy: 1.0,
        });
        Ok(())
    }

    /// The fastest of each, with the most memory that it ever took.
    pub(crate) fn best(self) -> (Vec<Measurement>, Vec<Target>) {
        let mut best: Vec<Measurement> = Vec::new();
        for measured in self.measurements {
            let same = |b: &&mut Measurement| {
                b.what == measured.what && b.connection == measured.connection
            };
            match best.iter_mut().find(same) {
                Some(b) => {
                    let peak_mib = b.peak_mib.zip(measured.peak_mib).map(|(a, b)| a.max(b));
                    if measured.seconds < b.seconds {
                        *b = measured;
                    }
                    b.peak_mib = peak_mib;
                }
                None => best.push(measured),
            }
        }
        let copy = best[0].seconds;
        let mut targets = Vec::new();
        for b in &mut best[1..] {
            b.of_copy = copy / b.seconds;
            let what = format!("{}, {}", b.what, b.connection);
            targets.push(Target::new(&what, "× COPY", b.seconds / copy, TIMES_COPY));
            targets.extend(b.peak_mib.map(|mib| Target::new(&what, "MiB", mib, MIB)));
        }
        (best, targets)
    }
}

async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute(SETTINGS).await?;
    Ok(client)
}
