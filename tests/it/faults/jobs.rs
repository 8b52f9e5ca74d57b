//! The kinds of long work, and what must be true of each whenever it is looked at.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use diesel::prelude::*;
use threadline::{ActorRef, ExportFormat, Manifest, timeline};
use threadline_test_support::Database;

use crate::common::{a_year_of_changes, count, run, text};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Job {
    Baseline,
    Export,
    Purge,
}

impl Job {
    pub(super) const ALL: [Self; 3] = [Self::Baseline, Self::Export, Self::Purge];
}

/// A year of changes to work on, and what they were when it began.
pub(super) struct Work {
    pub(super) database: Database,
    job: Job,
    directory: PathBuf,
    /// Moments: as of the one the past is looked at, and what is younger than the others stays.
    at: String,
    horizons: [String; 2],
    past: String,
    changes: i64,
    younger: i64,
}

const CHANGES: &str = "threadline.changes WHERE table_name IN ('posts', 'users')";

const SNAPSHOTS: &str = "threadline.audit_changes WHERE op = 'snapshot'";

impl Work {
    pub(super) fn prepare(database: Database, job: Job) -> Self {
        let mut conn = database.connect();
        run(&mut conn, &a_year_of_changes(20_000));
        if job == Job::Baseline {
            run(
                &mut conn,
                "CREATE TABLE rows AS SELECT n AS id, 'row ' || n AS name FROM generate_series(1, 30000) AS n; ALTER TABLE rows ADD PRIMARY KEY (id);
                 SELECT threadline.audit_table('rows')",
            );
        }
        let mut moment =
            |days| text(&mut conn, &format!("SELECT now() - interval '{days} days'")).unwrap();
        let mut work = Self {
            directory: std::env::temp_dir().join(format!("{}_{job:?}", database.name())),
            job,
            at: moment(20),
            horizons: [moment(40), moment(200)],
            past: String::new(),
            changes: count(&mut conn, CHANGES),
            younger: 0,
            database,
        };
        work.past = work.past(&mut conn);
        work.younger = count(&mut conn, &work.of_younger());
        work
    }

    fn of_younger(&self) -> String {
        let [users, posts] = &self.horizons;
        format!(
            "threadline.changes WHERE table_name = 'users' AND captured_at >= '{users}' OR table_name = 'posts' AND captured_at >= '{posts}'"
        )
    }

    fn past(&self, conn: &mut PgConnection) -> String {
        let past = format!(
            "SELECT md5(string_agg(r::text, ',' ORDER BY id)) FROM threadline.as_of(NULL::posts, '{}') AS r",
            self.at
        );
        text(conn, &past).unwrap()
    }

    /// The work in a process of its own.
    pub(super) fn start(&self) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["faults::jobs::work_that_is_killed", "--exact", "--ignored"])
            .env("THREADLINE_FAULTS_URL", self.database.url())
            .env("THREADLINE_FAULTS_JOB", format!("{:?}", self.job))
            .env("THREADLINE_FAULTS_DIRECTORY", &self.directory)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// What must be true at any time.
    pub(super) fn check(&self) {
        let mut conn = self.database.connect();
        // A session that has lost its client ends what it is at.
        let others = "pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active' AND backend_type = 'client backend'";
        while count(&mut conn, others) > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(self.past(&mut conn), self.past, "the past has changed");
        assert_eq!(count(&mut conn, &self.of_younger()), self.younger);
        match self.job {
            Job::Baseline => {
                // Each row once at most, and as many as were told.
                let recorded = count(&mut conn, SNAPSHOTS);
                let rows = text(
                    &mut conn,
                    &format!("SELECT count(DISTINCT key_integer) FROM {SNAPSHOTS}"),
                );
                assert_eq!(rows.unwrap(), recorded.to_string());
                let told = "SELECT concat_ws(' ', coalesce(sum(recorded), 0), (SELECT coalesce(sum((meta ->> 'changes')::bigint), 0) FROM threadline.audit_actions WHERE name = 'threadline.baseline')) FROM threadline.baselines";
                assert_eq!(
                    text(&mut conn, told),
                    Some(format!("{recorded} {recorded}"))
                );
            }
            Job::Export => {
                if let Ok(manifest) = Manifest::read(&self.directory) {
                    manifest.verify(&self.directory).unwrap();
                }
            }
            Job::Purge => {
                let gone = self.changes - count(&mut conn, CHANGES);
                let told = "SELECT coalesce(sum((meta ->> 'changes')::bigint), 0) FROM threadline.audit_actions WHERE name = 'threadline.purge'";
                assert_eq!(text(&mut conn, told).unwrap(), gone.to_string());
            }
        }
    }

    /// What must be true once it is done.
    pub(super) fn check_end(&self) {
        self.check();
        let mut conn = self.database.connect();
        match self.job {
            Job::Baseline => {
                assert_eq!(count(&mut conn, SNAPSHOTS), 30_000);
                let wrong = "rows AS r FULL JOIN threadline.versions(NULL::rows) AS v ON v.typed_row = r WHERE v.typed_row IS NULL OR r.id IS NULL";
                assert_eq!(count(&mut conn, wrong), 0);
            }
            Job::Export => {
                let manifest = Manifest::read(&self.directory).unwrap();
                assert!(manifest.complete);
                let changes = manifest.changes;
                assert!(i64::try_from(changes).unwrap() >= self.changes);
                let mut ids: Vec<_> = manifest
                    .files
                    .iter()
                    .flat_map(|file| {
                        let text = fs::read_to_string(self.directory.join(&file.name)).unwrap();
                        crate::export::readers::ids(manifest.format, &text)
                    })
                    .collect();
                ids.sort_unstable();
                ids.dedup();
                assert_eq!(ids.len() as u64, changes);
                fs::remove_dir_all(&self.directory).unwrap();
            }
            Job::Purge => {
                assert_eq!(count(&mut conn, "threadline.retention_plan"), 0);
                let empty = "threadline.audit_transactions AS t
                    WHERE NOT EXISTS (SELECT FROM threadline.audit_changes AS c WHERE c.transaction_id = t.id)
                      AND NOT EXISTS (SELECT FROM threadline.audit_actions AS a WHERE a.transaction_id = t.id)";
                assert_eq!(count(&mut conn, empty), 0);
            }
        }
    }
}

/// What is killed.
#[test]
#[ignore = "is killed by the tests of faults"]
fn work_that_is_killed() {
    let of = |name| std::env::var_os(name).unwrap().into_string().unwrap();
    let mut conn = PgConnection::establish(&of("THREADLINE_FAULTS_URL")).unwrap();
    match of("THREADLINE_FAULTS_JOB").as_str() {
        "Baseline" => {
            let baseline = threadline::baseline("rows")
                .actor(ActorRef::user("ops"))
                .reason("faults");
            let baseline = baseline.batch_size(100).pause(Duration::ZERO);
            assert!(baseline.run(&mut conn).unwrap().finished);
        }
        "Export" => {
            let export = timeline().export(ExportFormat::Ndjson).rows_per_file(1_500);
            export
                .write_files(&mut conn, of("THREADLINE_FAULTS_DIRECTORY"))
                .map(drop)
                .unwrap();
        }
        "Purge" => {
            run(
                &mut conn,
                "SELECT threadline.set_retention('40 days'), threadline.set_retention('200 days', 'posts')",
            );
            let purge = threadline::purge().batch_size(100).pause(Duration::ZERO);
            assert!(purge.run(&mut conn).unwrap().finished);
        }
        other => panic!("{other}"),
    }
}
