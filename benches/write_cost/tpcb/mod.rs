//! Transactions a second of the real pgbench, whose four tables are audited. Afterwards the audit log is compared with the tables.

mod contestant;
mod pgbench;

use std::process::Command;
use std::{env, fmt};

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Text;
use serde::Serialize;
use threadline_benches::{Result, table, two_digits};
use threadline_test_support::Database;

use crate::subject::Subject;
use contestant::Contestant;
use pgbench::Load;

const CLIENTS: [u32; 2] = [1, 2];

/// Of a server of our own. Everything fits into its memory, and no checkpoint falls into a run.
const SETTINGS: [&str; 3] = ["fsync=on", "shared_buffers=1GB", "max_wal_size=4GB"];

/// What tells one server from another here.
const SERVER: &str = "(SELECT string_agg(format('`%s = %s`', name, current_setting(name)), ', ')
   FROM unnest(ARRAY['fsync', 'full_page_writes', 'shared_buffers']) AS name)";

/// How much is run to measure.
#[derive(Clone, Copy)]
pub(crate) struct Amount {
    pub(crate) rounds: u32,
    pub(crate) seconds: u32,
    pub(crate) scale: u32,
}

/// Transactions a second of all subjects, and of which server.
#[derive(Debug, Serialize)]
pub(crate) struct Tpcb {
    server: String,
    pub(crate) rates: Vec<Rate>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Rate {
    pub(crate) subject: Subject,
    pub(crate) clients: u32,
    pub(crate) synchronous_commit: &'static str,
    pub(crate) tps: f64,
}

/// The medians of some rounds, in which the subjects take turns.
pub(crate) fn measure(amount: Amount) -> Result<Tpcb> {
    let database = if env::var("DATABASE_URL").is_ok_and(|url| !url.is_empty()) {
        Database::new()
    } else {
        Database::with_settings(&SETTINGS)
    };
    let mut contestants = Vec::new();
    for subject in Subject::OF_WHOLE_ROWS {
        contestants.push(Contestant::new(subject, database.beside(), amount.scale)?);
    }
    let mut rates = Vec::new();
    for synchronous_commit in ["on", "off"] {
        for clients in CLIENTS {
            let load = Load {
                scale: amount.scale,
                clients,
                seconds: amount.seconds,
            };
            let mut measured = vec![Vec::new(); contestants.len()];
            for round in 1..=amount.rounds {
                eprintln!(
                    "TPC-B, synchronous_commit {synchronous_commit}, clients {clients}: round {round} of {}",
                    amount.rounds
                );
                for (contestant, measured) in contestants.iter_mut().zip(&mut measured) {
                    measured.push(contestant.run(synchronous_commit, load)?);
                }
            }
            for (contestant, mut measured) in contestants.iter().zip(measured) {
                measured.sort_by(f64::total_cmp);
                rates.push(Rate {
                    subject: contestant.subject,
                    clients,
                    synchronous_commit,
                    tps: measured[measured.len() / 2],
                });
            }
        }
    }
    for contestant in &contestants {
        contestant.verify()?;
    }
    Ok(Tpcb {
        server: server(&database)?,
        rates,
    })
}

/// A sync costs nothing where files are in memory, so the kind of file system belongs to the settings.
fn server(database: &Database) -> Result<String> {
    let (settings, directory): (String, String) = diesel::select((
        sql::<Text>(SERVER),
        sql::<Text>("current_setting('data_directory')"),
    ))
    .get_result(&mut database.connect())?;
    let output = Command::new("stat")
        .args(["-f", "-c", "%T", &directory])
        .output()?;
    let files = String::from_utf8_lossy(&output.stdout);
    let files = match files.trim() {
        "" => "an unknown file system",
        files => files,
    };
    Ok(format!("{settings}, files on {files}"))
}

impl Tpcb {
    /// The rates that are compared with each other; the first one is of tables without audit.
    pub(crate) fn comparable(&self) -> impl Iterator<Item = &[Rate]> {
        let of = |rate: &Rate| (rate.clients, rate.synchronous_commit);
        self.rates.chunk_by(move |a, b| of(a) == of(b))
    }
}

impl fmt::Display for Tpcb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = table(
            &["", "clients", "`synchronous_commit`", "tps", "of unaudited"],
            1,
        );
        for rates in self.comparable() {
            for rate in rates {
                table.add_row([
                    rate.subject.name().to_owned(),
                    rate.clients.to_string(),
                    rate.synchronous_commit.to_owned(),
                    format!("{:.0}", rate.tps),
                    two_digits(rate.tps / rates[0].tps),
                ]);
            }
        }
        write!(f, "{table}\n\n{}", self.server)
    }
}
