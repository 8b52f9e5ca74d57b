//! A pooler that is there as long as it is needed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use diesel::prelude::*;
use diesel::sql_types::Integer;
use threadline_test_support::{Database, needs};

#[derive(QueryableByName)]
struct Process {
    #[diesel(sql_type = Integer)]
    process: i32,
}

fn process(conn: &mut PgConnection) -> i32 {
    let query = diesel::sql_query("SELECT pg_backend_pid() AS process");
    query.get_result::<Process>(conn).unwrap().process
}

/// The directory of its socket.
fn directory(url: &str) -> &Path {
    let (_, parameters) = url.split_once("?host=").unwrap();
    Path::new(parameters.split('&').next().unwrap())
}

/// Connections are lent for the time of a transaction, and there are no more of them than were asked for.
#[needs(pgbouncer)]
#[test]
fn lends_connections() {
    let db = Database::empty();
    let pgbouncer = db.pgbouncer(2);
    let mut clients: Vec<_> = (0..10)
        .map(|_| PgConnection::establish(pgbouncer.url()).unwrap())
        .collect();
    let used: BTreeSet<_> = clients.iter_mut().map(process).collect();
    assert!(used.len() <= 2, "{used:?}");
    let [one, other, ..] = &mut clients[..] else {
        unreachable!()
    };
    let apart = one.transaction(|one| {
        let apart = other.transaction(|other| QueryResult::Ok(process(one) != process(other)));
        QueryResult::Ok(apart.unwrap())
    });
    assert_eq!(apart, Ok(true));
}

/// Its files are gone with it, also while someone is connected.
#[needs(pgbouncer)]
#[test]
fn ends_with_its_value() {
    let db = Database::empty();
    let pgbouncer = db.pgbouncer(1);
    let directory = directory(pgbouncer.url()).to_owned();
    let _client = PgConnection::establish(pgbouncer.url()).unwrap();
    assert!(directory.exists());
    drop(pgbouncer);
    assert!(!directory.exists());
}

/// One that does not start says why.
#[needs(pgbouncer)]
#[test]
fn does_not_start() {
    let db = Database::empty();
    let start = || db.pgbouncer_with(1, "no_such_setting = 1");
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(start)).unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(
        message.contains("PgBouncer did not start") && message.contains("no_such_setting"),
        "{message}"
    );
}

/// What an owner had that is killed, and can do nothing about it: this test, once more and in a process of its own.
#[needs(pgbouncer)]
#[test]
fn ends_with_a_killed_owner() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};
    const OWNER: &str = "THREADLINE_TEST_OWNER";

    if std::env::var_os(OWNER).is_some() {
        let db = Database::empty();
        let pgbouncer = db.pgbouncer(1);
        println!("\nowner of {}", directory(pgbouncer.url()).display());
        std::thread::sleep(Duration::from_mins(5));
        return;
    }
    let mut owner = Command::new(std::env::current_exe().unwrap());
    let mut owner = owner
        .args(["--exact", "--nocapture", "ends_with_a_killed_owner"])
        .env(OWNER, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(owner.stdout.take().unwrap());
    let directory = output
        .lines()
        .find_map(|line| Some(line.unwrap().strip_prefix("owner of ")?.to_owned()))
        .expect("it has one");
    assert!(fs::exists(&directory).unwrap());
    let server = fs::read_to_string(Path::new(&directory).join("pid")).unwrap();
    let running = || {
        // By the shell, which has a `kill` of its own.
        let mut kill = Command::new("sh");
        kill.args(["-c", r#"kill -0 "$1""#, "sh", server.trim()])
            .stderr(Stdio::null());
        kill.status().unwrap().success()
    };
    assert!(running());
    owner.kill().unwrap();
    owner.wait().unwrap();
    let start = Instant::now();
    while fs::exists(&directory).unwrap() || running() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{directory} is still in use"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}
