use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde::Serialize;
use threadline_test_support::{Database, pg_bin};

use threadline_benches::Result;

/// How long writers took, in milliseconds, from when a transaction was due until it was done.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Latencies {
    pub(crate) transactions: usize,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) longest: f64,
}

/// `pgbench`, which writes until it is told to stop.
pub(crate) struct Writers {
    pgbench: Child,
    directory: PathBuf,
}

impl Writers {
    pub(crate) fn start(database: &Database, rate: u32, script: &str) -> Result<Self> {
        let directory = std::env::temp_dir().join(format!("{}_writers", database.name()));
        fs::create_dir_all(&directory)?;
        let file = directory.join("script.sql");
        fs::write(&file, script)?;
        let pgbench = Command::new(pg_bin().join("pgbench"))
            .args([
                "-n",
                "-c",
                "4",
                "-j",
                "1",
                "-M",
                "prepared",
                "-T",
                "3600",
                "-l",
                "--log-prefix",
                "log",
            ])
            .args(["-R", &rate.to_string(), "-f"])
            .arg(&file)
            .envs(database.pg_env())
            .current_dir(&directory)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { pgbench, directory })
    }

    /// Reads their log, without a last line that was cut off.
    pub(crate) fn stop(mut self) -> Result<Latencies> {
        if let Some(status) = self.pgbench.try_wait()? {
            return Err(format!("pgbench has ended: {status}").into());
        }
        self.pgbench.kill()?;
        self.pgbench.wait()?;
        let mut times = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("log"))
            {
                let text = fs::read_to_string(path)?;
                let time = |line: &str| line.split(' ').nth(2)?.parse::<f64>().ok();
                times.extend(text.lines().filter_map(time));
            }
        }
        fs::remove_dir_all(&self.directory)?;
        times.sort_by(f64::total_cmp);
        let Some(longest) = times.last() else {
            return Err("pgbench has logged nothing".into());
        };
        let of_hundred = |percent: usize| times[(times.len() - 1) * percent / 100] / 1000.0;
        Ok(Latencies {
            transactions: times.len(),
            p50: of_hundred(50),
            p99: of_hundred(99),
            longest: longest / 1000.0,
        })
    }
}
