//! A bank whose tables are migrated while eight clients of the real `pgbench` move money about: between accounts, and
//! accounts between partitions. At every moment, in the bank and in a restored copy of it, there are as many accounts and as
//! much money.

use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use diesel::connection::SimpleConnection;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::result::Error::DatabaseError;
use diesel::sql_types::{BigInt, Text};
use threadline_test_support::Database;

use super::says_altered;
use crate::common::{run, text};
use crate::pgbench::pgbench;
use crate::random::Random;
use crate::restores::{dump, restore};

/// The variables of the environment that make the moments others, and the bank open for more seconds.
const SEED: &str = "BANK_SEED";
const SECONDS: &str = "BANK_SECONDS";

const ACCOUNTS: i64 = 60;
const MONEY: i64 = ACCOUNTS * 1000;
const MOMENTS: usize = 150;

const TABLES: &str = "
    CREATE TABLE accounts (id int NOT NULL, branch int NOT NULL, balance bigint NOT NULL, PRIMARY KEY (id, branch))
      PARTITION BY LIST (branch);
    CREATE TABLE accounts_1 PARTITION OF accounts FOR VALUES IN (1);
    CREATE TABLE accounts_2 PARTITION OF accounts FOR VALUES IN (2);
    CREATE TABLE branches (branch int PRIMARY KEY);
    INSERT INTO branches VALUES (1), (2);
    INSERT INTO accounts SELECT g, 1 + g % 2, 1000 FROM generate_series(1, 60) AS g";

/// Whoever moves an account locks it first: PostgreSQL fails an update that waits for a row which moves meanwhile.
const TRANSFER: &str = "
\\set a random(1, 60)
\\set b random(1, 60)
\\set amount random(-500, 500)
BEGIN;
SELECT pg_advisory_xact_lock(least(:a, :b)); SELECT pg_advisory_xact_lock(greatest(:a, :b));
UPDATE accounts SET balance = balance - :amount WHERE id = :a;
UPDATE accounts SET branch = (SELECT branch FROM branches ORDER BY random() LIMIT 1) WHERE id = :b;
UPDATE accounts SET balance = balance + :amount WHERE id = :b;
END;
";

/// A script for pgbench in a file of its own.
struct Script(PathBuf);

impl Script {
    fn new(database: &Database) -> Self {
        let path = env::temp_dir().join(format!("{}.pgbench", database.name()));
        fs::write(&path, TRANSFER).expect("the script can be written");
        Self(path)
    }

    fn run(&self, database: &Database, seconds: u64) {
        let time = format!("--time={seconds}");
        let file = format!("--file={}", self.0.display());
        pgbench(
            database,
            &["--no-vacuum", "--client=8", "--jobs=2", &time, &file],
        );
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

/// The migrations of the bank, one after the other and again. Each is followed by the refresh, in its transaction.
fn migration(number: usize) -> String {
    match number % 5 {
        0 => format!("ALTER TABLE accounts ADD note_{number} text DEFAULT 'none'"),
        1 => {
            let branch = number + 10;
            format!(
                "CREATE TABLE accounts_{branch} (LIKE accounts INCLUDING DEFAULTS);
                 ALTER TABLE accounts ATTACH PARTITION accounts_{branch} FOR VALUES IN ({branch});
                 INSERT INTO branches VALUES ({branch})"
            )
        }
        2 => format!("ALTER TABLE accounts DROP note_{}", number - 2),
        3 => format!("ALTER TABLE accounts ADD limit_{number} int NOT NULL DEFAULT 0"),
        _ => "ALTER TABLE accounts ALTER balance TYPE numeric; SELECT threadline.refresh_audited_tables(); ALTER TABLE accounts ALTER balance TYPE bigint".to_owned(),
    }
}

#[derive(QueryableByName)]
struct State {
    #[diesel(sql_type = Text)]
    at: String,
    #[diesel(sql_type = BigInt)]
    accounts: i64,
    #[diesel(sql_type = BigInt)]
    money: i64,
    #[diesel(sql_type = Text)]
    balances: String,
}

/// What was seen at moments of the past.
#[derive(Default)]
struct Seen {
    states: Vec<State>,
    refused: Vec<String>,
}

impl Seen {
    /// Reads the accounts as of a moment between two. What was altered between the plan of a query and its lock is
    /// refused.
    fn look(&mut self, conn: &mut PgConnection, start: &str, end: &str, random: &mut Random) {
        let share = f64::from(u32::try_from(random.below(1_000_000)).unwrap()) / 1e6;
        let at = format!(
            "SELECT timestamptz '{start}' + {share} * (timestamptz '{end}' - timestamptz '{start}')"
        );
        let at = text(conn, &at).expect("a time");
        let state = diesel::sql_query(format!(
            "SELECT '{at}' AS at, count(*) AS accounts, coalesce(sum(balance), 0)::bigint AS money,
                    md5(coalesce(string_agg(concat_ws(' ', id, branch, balance), ',' ORDER BY id), '')) AS balances
               FROM threadline.as_of(NULL::accounts, '{at}')"
        ))
        .get_result(conn);
        match state {
            Ok(state) => self.states.push(state),
            Err(DatabaseError(_, error))
                if error.constraint_name() == Some("threadline_past")
                    || says_altered(error.message()) =>
            {
                self.refused.push(error.message().to_owned());
            }
            Err(error) => panic!("{error} as of {at}"),
        }
    }

    #[track_caller]
    fn assert_whole(&self, seed: u64) {
        let whole = |state: &&State| (state.accounts, state.money) == (ACCOUNTS, MONEY);
        let torn = self.states.iter().filter(|state| !whole(state));
        let torn: Vec<_> = torn
            .map(|state| (&state.at, state.accounts, state.money))
            .collect();
        assert!(torn.is_empty(), "{SEED}={seed}, torn: {torn:#?}");
        let mut balances: Vec<_> = self.states.iter().map(|state| &state.balances).collect();
        balances.sort_unstable();
        balances.dedup();
        // How many there are depends on how many transfers a machine gets through.
        assert!(
            balances.len() >= 10,
            "{SEED}={seed}: the moments show many states, and not one: {}",
            balances.len()
        );
    }
}

fn now(conn: &mut PgConnection) -> String {
    text(conn, "SELECT clock_timestamp()").expect("the server knows the time")
}

/// Migrates the bank for as long; returns how many migrations there were.
fn migrate(conn: &mut PgConnection, until: Instant) -> usize {
    let mut number = 0;
    while Instant::now() < until {
        let sql = migration(number);
        let refresh = "SELECT threadline.refresh_audited_tables()";
        if let Err(error) = conn.batch_execute(&format!("BEGIN; {sql}; {refresh}; COMMIT")) {
            panic!("{error}\nin: {sql}");
        }
        number += 1;
        thread::sleep(Duration::from_millis(200));
    }
    number
}

/// No moment shows a transfer or a move by half, whatever migrations run meanwhile, and nor does a restored copy, where the
/// bank goes on.
#[test]
fn no_transfer_is_torn_by_migrations() {
    let given = |name| {
        env::var(name)
            .ok()
            .and_then(|value| value.parse::<u64>().ok())
    };
    let seed = given(SEED).unwrap_or(20_261_130);
    let seconds = given(SECONDS).unwrap_or(8);
    let mut random = Random(seed);
    let database = Database::new();
    let script = Script::new(&database);
    let mut conn = database.connect();
    run(&mut conn, TABLES);
    run(&mut conn, "SELECT threadline.audit_table('accounts')");
    let start = now(&mut conn);
    let mut here = Seen::default();
    let until = Instant::now() + Duration::from_secs(seconds);
    let migrations = thread::scope(|scope| {
        let clients = scope.spawn(|| script.run(&database, seconds));
        let migrating = scope.spawn(|| migrate(&mut database.connect(), until));
        while !clients.is_finished() {
            let end = now(&mut conn);
            here.look(&mut conn, &start, &end, &mut random);
        }
        clients.join().expect("pgbench ran");
        migrating.join().expect("the migrations ran")
    });
    let (meanwhile, refused) = (here.states.len(), here.refused.len());
    assert!(
        migrations >= 5,
        "{SEED}={seed}: only {migrations} migrations"
    );
    // A migration can refuse the reading that it runs into, and perhaps the next one.
    assert!(
        meanwhile >= 10 && refused <= 2 * migrations,
        "{SEED}={seed}: of {meanwhile} readings during {migrations} migrations were refused: {:#?}",
        here.refused
    );
    let end = now(&mut conn);
    for _ in 0..MOMENTS {
        here.look(&mut conn, &start, &end, &mut random);
    }
    here.assert_whole(seed);

    let copy = Database::elsewhere();
    let dump = dump(&database, &["-Fc"]);
    restore(&dump, &copy, &["--exit-on-error", "--single-transaction"]).unwrap();
    let mut conn = copy.connect();
    let mut there = Seen::default();
    for _ in 0..MOMENTS / 3 {
        there.look(&mut conn, &start, &end, &mut random);
    }
    run(&mut conn, "SELECT threadline.refresh_audited_tables()");
    script.run(&copy, 2);
    let end = now(&mut conn);
    for _ in 0..MOMENTS {
        there.look(&mut conn, &start, &end, &mut random);
    }
    there.assert_whole(seed);
    assert_eq!(
        (here.refused.len(), &there.refused),
        (refused, &vec![]),
        "{SEED}={seed}: readings are refused while nobody migrates"
    );
    println!(
        "{SEED}={seed}: {migrations} migrations, {meanwhile} readings meanwhile, {refused} refused"
    );
}
