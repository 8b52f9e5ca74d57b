//! Long work and the server are killed at any point, with SIGKILL: no change is lost, nothing is done by half or told wrongly, and
//! when the work is run again it ends.

mod jobs;

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use threadline_test_support::Database;

use crate::common::{run, text};
use jobs::{Job, Work};

/// Kills of each kind of work, and of the server under each kind of work: fifty in all.
const KILLS: u64 = 10;
const CRASHES: u64 = 7;

/// Moments of death: after `n` steps of this many milliseconds, which share no divisor with what the work does.
fn moment(n: u64) -> Duration {
    Duration::from_millis(5 + n * 37 % 211)
}

/// Each kind of work, in a process of its own that is killed.
#[test]
fn killed_work() {
    for job in Job::ALL {
        let mut work = Work::prepare(Database::new(), job);
        let mut killed = 0;
        for n in 0.. {
            let mut child = work.start();
            if killed == KILLS {
                assert!(child.wait().unwrap().success(), "{job:?} fails");
                break;
            }
            thread::sleep(moment(n));
            child.kill().unwrap();
            if child.wait().unwrap().success() {
                // It was done before, and is begun anew.
                work.check_end();
                work = Work::prepare(work.database.beside(), job);
            } else {
                killed += 1;
                work.check();
            }
        }
        work.check_end();
    }
}

/// The server, under each kind of work, and under a writer that counts what it was told is committed.
#[test]
fn killed_server() {
    let database = Database::alone();
    for job in Job::ALL {
        let work = Work::prepare(database.beside(), job);
        let database = &work.database;
        run(
            &mut database.connect(),
            "CREATE TABLE counters (id integer PRIMARY KEY, n bigint); INSERT INTO counters VALUES (1, 0); SELECT threadline.audit_table('counters')",
        );
        let mut written = 0;
        for n in 0..CRASHES {
            let mut child = work.start();
            let mut conn = database.connect();
            let writer = thread::spawn(move || {
                let mut acknowledged = 0;
                while write(&mut conn).is_ok() {
                    acknowledged += 1;
                }
                acknowledged
            });
            thread::sleep(moment(n));
            kill_the_server(database, n);
            let acknowledged: i64 = writer.join().unwrap();
            child.kill().unwrap();
            child.wait().unwrap();

            let mut conn = reconnect(database);
            let now: i64 = text(&mut conn, "SELECT n FROM counters")
                .unwrap()
                .parse()
                .unwrap();
            // The last one may have committed without a word of it.
            assert!(
                (acknowledged..=acknowledged + 1).contains(&(now - written)),
                "{acknowledged} from {written} to {now}"
            );
            written = now;
            let recorded = text(
                &mut conn,
                "SELECT count(*) FROM threadline.changes WHERE table_name = 'counters' AND op = 'update'",
            );
            assert_eq!(recorded, Some(written.to_string()));
            work.check();
        }
        assert!(work.start().wait().unwrap().success(), "{job:?} fails");
        work.check_end();
    }
}

fn write(conn: &mut PgConnection) -> QueryResult<usize> {
    diesel::sql_query("UPDATE counters SET n = n + 1").execute(conn)
}

/// With one of its processes: a session at work, or one that the server cannot do without. All end, and it recovers by its log.
fn kill_the_server(database: &Database, n: u64) {
    #[derive(QueryableByName)]
    struct Process {
        #[diesel(sql_type = diesel::sql_types::Integer)]
        pid: i32,
    }
    let victim = [
        "client backend",
        "checkpointer",
        "walwriter",
        "client backend",
    ][usize::try_from(n % 4).unwrap()];
    let query = "SELECT pid FROM pg_stat_activity WHERE backend_type = $1 AND pid <> pg_backend_pid() ORDER BY query NOT LIKE '%threadline.%', pid LIMIT 1";
    let process: Process = diesel::sql_query(query)
        .bind::<diesel::sql_types::Text, _>(victim)
        .get_result(&mut database.connect())
        .unwrap();
    // By the shell, which has a `kill` of its own.
    let killed = Command::new("sh")
        .args(["-c", r#"kill -9 "$1""#, "sh", &process.pid.to_string()])
        .status();
    assert!(killed.unwrap().success());
}

fn reconnect(database: &Database) -> PgConnection {
    let start = Instant::now();
    loop {
        match PgConnection::establish(database.url()) {
            Ok(conn) => return conn,
            Err(error) => assert!(start.elapsed() < Duration::from_mins(1), "{error}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}
