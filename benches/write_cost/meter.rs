use std::fs;

use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer};
use threadline_test_support::Database;

use threadline_benches::Result;

/// Who writes, as the library says it, and as the others read it.
const CONTEXT: &str = r#"
SET threadline.actor_ref = '{"type":"user","id":"018f4e0e-7a30-7cc0-b1d7-6f0f2c8d1a55"}';
SET app.actor = '{"type":"user","id":"018f4e0e-7a30-7cc0-b1d7-6f0f2c8d1a55"}';
"#;

/// The audit log of every subject, without the audited table.
const LOG: &str = "(SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class AS c
   WHERE c.relkind = 'r' AND c.relnamespace IN (to_regnamespace('audit'), to_regnamespace('history'), to_regnamespace('threadline')))";

/// A session whose server process is watched.
pub(crate) struct Meter {
    pub(crate) conn: PgConnection,
    pid: i32,
}

/// What a piece of work took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    pub(crate) cpu_ns: u64,
    pub(crate) wal_bytes: i64,
    pub(crate) log_bytes: i64,
}

impl Meter {
    pub(crate) fn connect(database: &Database) -> Result<Self> {
        let mut conn = PgConnection::establish(database.url())?;
        conn.batch_execute(CONTEXT)?;
        let pid = diesel::select(sql::<Integer>("pg_backend_pid()")).get_result(&mut conn)?;
        let meter = Self { conn, pid };
        meter.cpu_ns()?;
        Ok(meter)
    }

    pub(crate) fn spend(&mut self, work: &str) -> Result<Spent> {
        let (wal, log) = self.written()?;
        let cpu = self.cpu_ns()?;
        self.conn
            .batch_execute(work)
            .map_err(|error| format!("{error}\nin: {work}"))?;
        let cpu_ns = self.cpu_ns()? - cpu;
        let (wal_after, log_after) = self.written()?;
        Ok(Spent {
            cpu_ns,
            wal_bytes: wal_after - wal,
            log_bytes: log_after - log,
        })
    }

    /// Memory of the process that is its own, in kilobytes.
    pub(crate) fn memory_kb(&self) -> Result<u64> {
        let status = self.proc("status")?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"))
            .ok_or("the kernel does not tell a process's own memory")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// Time on a CPU, as the kernel's scheduler counts it: steadier than the clock when the machine does other things beside.
    fn cpu_ns(&self) -> Result<u64> {
        let schedstat = self.proc("schedstat")?;
        let first = schedstat.split_whitespace().next().unwrap_or_default();
        Ok(first.parse()?)
    }

    fn proc(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.pid);
        fs::read_to_string(&path).map_err(|error| {
            format!("cannot read {path}: {error}. This needs Linux and a server on this machine.")
                .into()
        })
    }

    fn written(&mut self) -> Result<(i64, i64)> {
        let wal = sql::<BigInt>("(pg_current_wal_insert_lsn() - '0/0')::bigint");
        Ok(diesel::select((wal, sql::<BigInt>(LOG))).get_result(&mut self.conn)?)
    }
}
