//! The audit log in copies of its database: restored, upgraded, replicated. It goes on right, or says what is wrong. Each
//! copy is on a server of its own, where OIDs, transaction ids and sequences are others, or the same by chance.

mod copies;
mod labels;
mod loaded;
mod moved;
mod partitions;
mod refused;
mod replicated;
mod upgraded;
mod whole;
mod young_partitions;

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use diesel::PgConnection;
use diesel_migrations::MigrationHarness;
use threadline_test_support::{Database, pg_bin};

use crate::common::{run, text};

/// Tables with rows from before they were audited, and what became of them; `moments` has what was in them, and when.
pub(super) const TABLES: &str = "
    CREATE TABLE moments (number int PRIMARY KEY, at timestamptz NOT NULL, truth text);
    CREATE TABLE a (gone int, id int PRIMARY KEY, secret text, v text); ALTER TABLE a DROP COLUMN gone;
    CREATE TABLE dropped (id int PRIMARY KEY, v text);
    CREATE TABLE b (id int PRIMARY KEY, v text);
    CREATE TABLE excused (id int PRIMARY KEY);
    CREATE TABLE p (id int, r text, v text, PRIMARY KEY (id, r)) PARTITION BY LIST (r);
    CREATE TABLE p_x PARTITION OF p FOR VALUES IN ('x'); CREATE TABLE p_y PARTITION OF p FOR VALUES IN ('y');
    INSERT INTO a VALUES (1, 'SECRET', 'old a'), (2, 'SECRET', 'old a');
    INSERT INTO b VALUES (1, 'old b'), (2, 'old b');
    INSERT INTO p VALUES (1, 'x', 'old p'), (2, 'y', 'old p')";

pub(super) const AUDITED: &str = "SELECT threadline.audit_table('a', mask => '{secret}'), threadline.audit_table('dropped');
    SELECT threadline.audit_table('b'), threadline.audit_table('p');
    SELECT threadline.exempt_table('excused', 'it is empty'), threadline.exempt_table('moments', 'of the test')";

/// Writes to each of the tables.
pub(super) const WRITES: &str = "UPDATE a SET v = v || '+', secret = 'SECRET' WHERE id = 1; UPDATE b SET v = v || '+' WHERE id = 1;
    INSERT INTO a SELECT max(id) + 1, 'SECRET', 'new a' FROM a; INSERT INTO b SELECT max(id) + 1, 'new b' FROM b;
    INSERT INTO p SELECT max(id) + 1, 'x', 'new p' FROM p; UPDATE p SET v = v || '+' WHERE r = 'y'";

/// A database with Threadline on a server of its own.
pub(super) fn installed() -> (Database, PgConnection) {
    let database = Database::elsewhere();
    let mut conn = database.connect();
    conn.run_pending_migrations(threadline::MIGRATIONS).unwrap();
    (database, conn)
}

/// A database where audited tables were written, and one of them dropped.
pub(super) fn source() -> (Database, PgConnection) {
    let (database, mut conn) = installed();
    begin(&mut conn);
    (database, conn)
}

/// Audits tables, writes them, and drops one.
pub(super) fn begin(conn: &mut PgConnection) {
    run(conn, TABLES);
    run(conn, AUDITED);
    moment(conn);
    run(conn, "INSERT INTO dropped VALUES (1, 'dropped')");
    run(conn, WRITES);
    moment(conn);
    run(conn, "DELETE FROM b WHERE id = 2; DROP TABLE dropped");
    run(conn, WRITES);
    moment(conn);
}

/// Uses up as many OIDs.
pub(super) fn burn(conn: &mut PgConnection, oids: usize) {
    for _ in 0..oids {
        run(conn, "CREATE TYPE burned AS ENUM (); DROP TYPE burned");
    }
}

const TRUTH: &str = "concat_ws('; ', (SELECT string_agg(concat(id, v), ', ' ORDER BY id) FROM {a}), (SELECT string_agg(concat(id, v), ', ' ORDER BY id) FROM {b}),
    (SELECT string_agg(concat(id, v), ', ' ORDER BY id) FROM {p}))";

/// Remembers what is in the tables now.
pub(super) fn moment(conn: &mut PgConnection) {
    let truth = TRUTH
        .replace("{a}", "a")
        .replace("{b}", "b")
        .replace("{p}", "p");
    run(
        conn,
        &format!("INSERT INTO moments SELECT count(*), clock_timestamp(), {truth} FROM moments"),
    );
}

/// Every moment is read as it was, by table and by row.
#[track_caller]
pub(super) fn assert_past(conn: &mut PgConnection) {
    let number: i64 = text(conn, "SELECT count(*) FROM moments")
        .unwrap()
        .parse()
        .unwrap();
    for number in 0..number {
        let at = text(
            conn,
            &format!("SELECT at FROM moments WHERE number = {number}"),
        )
        .unwrap();
        let truth = text(
            conn,
            &format!("SELECT truth FROM moments WHERE number = {number}"),
        )
        .unwrap();
        let past = ["a", "b", "p"]
            .into_iter()
            .fold(TRUTH.to_owned(), |sql, table| {
                sql.replace(
                    &format!("{{{table}}}"),
                    &format!("threadline.as_of(NULL::{table}, '{at}')"),
                )
            });
        assert_eq!(
            text(conn, &format!("SELECT {past}")).unwrap(),
            truth,
            "moment {number}"
        );
        let row = text(
            conn,
            &format!(
                "SELECT string_agg(concat(n, CASE WHEN state = 'found' THEN coalesce(image ->> 'v', (SELECT b.v FROM b WHERE b.id = n)) END), ', ' ORDER BY n) FROM generate_series(1, 9) AS n, threadline.row_as_of(NULL::b, '{at}', n)"
            ),
        );
        let rows = text(
            conn,
            &format!(
                "SELECT string_agg(concat(n, b.v), ', ' ORDER BY n) FROM generate_series(1, 9) AS n LEFT JOIN threadline.as_of(NULL::b, '{at}') AS b ON b.id = n"
            ),
        );
        assert_eq!(row, rows, "moment {number}");
    }
}

/// All that is recorded, each change under the name of its table.
pub(super) fn recorded(conn: &mut PgConnection) -> String {
    text(
        conn,
        "SELECT string_agg(concat_ws(' ', table_name, op, row_key, data_after ->> 'v', changed_from ->> 'v'), E'\\n' ORDER BY captured_at, id) FROM threadline.changes",
    )
    .unwrap_or_default()
}

/// What health finds, but for what every new database lacks.
pub(super) fn findings(conn: &mut PgConnection) -> Vec<String> {
    let found = text(
        conn,
        "SELECT string_agg(concat_ws(' ', severity, \"check\", table_name), E'\\n' ORDER BY severity, \"check\", table_name) FROM threadline.health",
    );
    found
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect()
}

pub(super) fn assert_no_secret(conn: &mut PgConnection) {
    let recorded = text(
        conn,
        "SELECT string_agg(c::text, '') FROM threadline.audit_changes AS c",
    );
    assert_eq!(recorded.unwrap_or_default().find("SECRET"), None);
}

/// A dump of a database in a file of its own.
pub(super) struct Dump(pub(super) PathBuf);

impl Drop for Dump {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// Removes what some minor releases note beside columns. A `pg_dump` of theirs leaves it out, and an older one fails to restore
/// it.
pub(super) fn without_notes(database: &Database) {
    run(
        &mut database.connect(),
        "SET allow_system_table_mods = on; UPDATE pg_attribute SET attoptions = nullif(ARRAY(
           SELECT o FROM unnest(attoptions) AS o WHERE o NOT LIKE 'pg_attver=%'), '{}') WHERE attoptions::text LIKE '%pg_attver=%'",
    );
}

pub(super) fn dump(database: &Database, options: &[&str]) -> Dump {
    static DUMPS: AtomicU32 = AtomicU32::new(0);
    let number = DUMPS.fetch_add(1, Ordering::Relaxed);
    let file = std::env::temp_dir().join(format!("{}-{number}.dump", database.name()));
    let mut pg_dump = Command::new(pg_bin().join("pg_dump"));
    pg_dump
        .args(options)
        .arg("-f")
        .arg(&file)
        .envs(database.pg_env());
    finish(&mut pg_dump).unwrap();
    Dump(file)
}

fn finish(command: &mut Command) -> Result<(), String> {
    let output = command.output().unwrap();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

pub(super) fn restore(dump: &Dump, database: &Database, options: &[&str]) -> Result<(), String> {
    let mut pg_restore = Command::new(pg_bin().join("pg_restore"));
    if !has_newer_programs(database) {
        pg_restore.args(options).args(["-d", database.name()]);
        return finish(pg_restore.arg(&dump.0).envs(database.pg_env()));
    }
    // A newer program names a setting that the server has not got.
    let (how, what): (Vec<&str>, Vec<&str>) = options
        .iter()
        .partition(|option| ["--exit-on-error", "--single-transaction", "-j2"].contains(option));
    let script = Dump(dump.0.with_extension("sql"));
    finish(pg_restore.args(what).arg("-f").args([&script.0, &dump.0]))?;
    let stop = how.contains(&"--exit-on-error") || how.contains(&"--single-transaction");
    let mut options = vec![if stop {
        "ON_ERROR_STOP=1"
    } else {
        "ON_ERROR_STOP=0"
    }];
    options.extend(how.contains(&"--single-transaction").then_some("-1"));
    psql(&script, database, &options)
}

/// Whether `pg_restore` and the others are of a later version than the server, as where only that of another can be had.
fn has_newer_programs(database: &Database) -> bool {
    let programs = upgraded::version(pg_bin(), "pg_restore").expect("pg_restore runs");
    let programs = programs.split('.').next().map(str::parse);
    let server = crate::skipped::major_version(&mut database.connect());
    programs.is_some_and(|programs: Result<u32, _>| programs.unwrap() >= 17 && server < 17)
}

/// Runs a plain dump, to its first error.
pub(super) fn run_dump(dump: &Dump, database: &Database) -> Result<(), String> {
    psql(dump, database, &["ON_ERROR_STOP=1"])
}

fn psql(script: &Dump, database: &Database, options: &[&str]) -> Result<(), String> {
    if has_newer_programs(database) {
        let sql = std::fs::read_to_string(&script.0)
            .unwrap()
            .replace("\nSET transaction_timeout = 0;\n", "\n");
        std::fs::write(&script.0, sql).unwrap();
    }
    let mut psql = Command::new(pg_bin().join("psql"));
    psql.args(["-qX", "-v"])
        .args(options)
        .arg("-f")
        .arg(&script.0)
        .envs(database.pg_env());
    let output = psql.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() && !said.contains("ERROR:") {
        Ok(())
    } else {
        Err(said.into_owned())
    }
}
