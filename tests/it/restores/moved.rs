//! A database in use moves to a newer server: it is written until the move and after it, and its audit log is one.

use diesel::pg::PgConnection;
use threadline_test_support::{Database, pg_bin};

use super::upgraded::{installed_with, older_bins, upgradable_bins};
use super::{assert_no_secret, dump, findings, restore, without_notes};
use crate::common::{count, run, text};
use crate::load::Load;

/// Columns that are masked, excluded and hashed, and a key that a sequence gives.
const TABLES: &str = "
    CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL, owner text, pin text, shown text GENERATED ALWAYS AS (upper(owner)) STORED);
    CREATE TABLE transfers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, source int NOT NULL, target int NOT NULL, amount int NOT NULL, memo text, j json NOT NULL DEFAULT 'null');
    CREATE TABLE sessions (token text PRIMARY KEY, account int NOT NULL);
    INSERT INTO accounts SELECT n, 1000, 'SECRET', 'SECRET' FROM generate_series(0, 9) AS n;
    SELECT threadline.audit_table('accounts', mask => '{owner}', exclude => '{pin, shown}'),
      threadline.audit_table('transfers', mask => '{memo}', granularity => 'row'), threadline.audit_table('sessions', hash_key => '{token}')";

/// What was in the tables at a time.
const PAST: &str = "concat_ws('; ', (SELECT string_agg(concat_ws(' ', id, balance, owner), ', ' ORDER BY id) FROM threadline.as_of(NULL::accounts, '{at}')),
    (SELECT string_agg(concat_ws(' ', id, source, target, amount, memo, j), ', ' ORDER BY id) FROM threadline.as_of(NULL::transfers, '{at}')),
    (SELECT string_agg(concat_ws(' ', token, account), ', ' ORDER BY token) FROM threadline.as_of(NULL::sessions, '{at}')))";

/// The accounts that are not what the transfers until then made of them.
const TORN: &str =
    "threadline.as_of(NULL::accounts, '{at}') AS a WHERE a.balance <> 1000 + coalesce((
    SELECT sum(CASE a.id WHEN t.source THEN -t.amount ELSE t.amount END)
      FROM threadline.as_of(NULL::transfers, '{at}') AS t WHERE a.id IN (t.source, t.target)), 0)";

/// Transfers between accounts, in the order of their keys, and a session that ends with the next.
fn transfer(writer: i32, round: i32) -> String {
    let (source, target, amount) = (round % 5, 5 + (round + writer) % 5, 1 + round % 7);
    format!(
        "BEGIN; UPDATE accounts SET balance = balance - {amount}, owner = 'SECRET {round}', pin = 'SECRET' WHERE id = {source};
         UPDATE accounts SET balance = balance + {amount} WHERE id = {target};
         INSERT INTO transfers (source, target, amount, memo) VALUES ({source}, {target}, {amount}, 'SECRET');
         DELETE FROM sessions WHERE account = {writer}; INSERT INTO sessions VALUES ('SECRET {writer} {round}', {writer}); COMMIT"
    )
}

fn start(database: &Database) -> Load {
    let mut load = Load::default();
    for writer in 0..3 {
        load.start(database.connect(), move |round| transfer(writer, round));
    }
    load
}

/// Some times while the database is written, all of them settled.
fn moments(conn: &mut PgConnection) -> Vec<String> {
    let mut moments = Vec::new();
    for _ in 0..8 {
        let enough = count(conn, "transfers") + 10;
        while count(conn, "transfers") < enough {}
        moments.extend(text(conn, "SELECT clock_timestamp()"));
    }
    let settled = format!("SELECT threadline.settled_at() > '{}'", moments[7]);
    while text(conn, &settled).as_deref() != Some("true") {}
    moments
}

#[track_caller]
fn past(conn: &mut PgConnection, moments: &[String]) -> Vec<String> {
    let mut past = Vec::new();
    for at in moments {
        assert_eq!(count(conn, &TORN.replace("{at}", at)), 0, "torn at {at}");
        past.extend(text(conn, &PAST.replace("{at}", at)));
    }
    past
}

/// Changes that do not follow from the one before them, or have its id.
const GAPS: &str = "(SELECT (changed_from ->> 'balance')::int AS before, lag((data_after ->> 'balance')::int) OVER key AS last,
      id <= lag(id) OVER key AS falls FROM threadline.changes WHERE table_name = 'accounts' WINDOW key AS (PARTITION BY row_key ORDER BY captured_at)) AS c
    WHERE before <> last OR falls";

/// `go` moves a database and says what of it is to be found in the copy: it is given the load, to end it when it must.
#[track_caller]
fn moved(database: Database, go: impl FnOnce(Database, Load) -> Database) {
    let mut conn = database.connect();
    run(&mut conn, TABLES);
    let load = start(&database);
    let mut all = moments(&mut conn);
    let before = past(&mut conn, &all);
    drop(conn);

    let copy = go(database, load);
    let mut conn = copy.connect();
    let conn = &mut conn;
    run(conn, "SELECT threadline.refresh_audited_tables()");
    assert_eq!(findings(conn), [""; 0]);
    assert_eq!(past(conn, &all), before);
    let kept = count(conn, "transfers");
    let load = start(&copy);
    all.extend(moments(conn));
    let rounds = load.end();
    assert_eq!(past(conn, &all)[..before.len()], before);

    assert_eq!(
        count(conn, "transfers"),
        kept + i64::from(rounds.iter().sum::<i32>())
    );
    assert_eq!(count(conn, GAPS), 0);
    let missed = "transfers AS t FULL JOIN (SELECT * FROM threadline.changes WHERE table_name = 'transfers') AS c ON c.row_key = t.id::text
        WHERE t.id IS NULL OR c.id IS NULL";
    assert_eq!(count(conn, missed), 0);
    let history = "SELECT (SELECT count(*) FROM threadline.versions(NULL::accounts, 3)) = (SELECT count(*) FROM transfers WHERE 3 IN (source, target))";
    assert_eq!(text(conn, history).as_deref(), Some("true"));
    assert_no_secret(conn);
    assert_eq!(findings(conn), [""; 0]);
}

/// A dump is taken while the database is written, and restored in a newer server: what the dump has is there as it was, and goes
/// on.
#[test]
#[ignore = "it needs older servers, in OLDER_PG_BIN"]
fn dump_under_load() {
    for bin in older_bins() {
        moved(installed_with(&bin), |database, load| {
            without_notes(&database);
            let dump = dump(&database, &["-Fc"]);
            load.end();
            let copy = Database::elsewhere();
            restore(&dump, &copy, &["--exit-on-error"]).unwrap();
            copy
        });
    }
}

/// A database is written until `pg_upgrade` shuts its server down, and goes on in the newer one.
#[test]
#[ignore = "it needs older servers, in OLDER_PG_BIN"]
fn pg_upgrade_under_load() {
    for bin in upgradable_bins() {
        moved(installed_with(&bin), |database, load| {
            load.end();
            without_notes(&database);
            database.upgraded_in_place(pg_bin())
        });
    }
}
