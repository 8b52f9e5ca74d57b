//! The law of time, held against a model: random transactions of sessions that overlap, replayed one after the other in
//! the order of their last changes. What the replay holds after each of them is what the past must be.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Formatter};
use std::hash::{BuildHasher, RandomState};

use chrono::NaiveDate;
use diesel::connection::SimpleConnection;
use diesel::sql_types::{Array, Nullable, Text, Timestamptz};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngSeed, TestRunner, contextualize_config};

use super::*;

diesel::table! {
    owners {
        id -> Int4,
        name -> Nullable<Text>,
    }
}

diesel::table! {
    accounts {
        id -> Int8,
        owner -> Nullable<Int4>,
        balance -> Int4,
        note -> Nullable<Text>,
    }
}

diesel::table! {
    seats (hall, day, seat) {
        hall -> Uuid,
        day -> Date,
        seat -> Text,
        taken_by -> Nullable<Int4>,
    }
}

diesel::joinable!(accounts -> owners (owner));
diesel::allow_tables_to_appear_in_same_query!(accounts, owners);

#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Audited)]
struct Owner {
    id: i32,
    name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Audited)]
struct Account {
    id: i64,
    owner: Option<i32>,
    balance: i32,
    note: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Audited)]
#[diesel(primary_key(hall, day, seat))]
struct Seat {
    hall: uuid::Uuid,
    day: NaiveDate,
    seat: String,
    taken_by: Option<i32>,
}

/// What the keys are made of: texts that are easily taken for something else, or for each other.
const FUNCTIONS: &str = r#"
    CREATE FUNCTION odd(n int) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT (ARRAY['', ' ', 'null', 'it''s', '"q"',
      'back\slash', E'tab\tnew\nline', '[1, "a"]', '{}', U&'\00E9', U&'e\0301', '😀', '%s $1', 'a', 'A'])[n] $$;
    CREATE FUNCTION odd_uuid(n int) RETURNS uuid IMMUTABLE LANGUAGE sql AS $$ SELECT md5(n::text)::uuid $$;
"#;

/// Made twice: for the sessions, and for the replay.
const TABLES: &str = "
    CREATE TABLE owners (id int PRIMARY KEY, name text);
    CREATE TABLE accounts (id bigint PRIMARY KEY, owner int REFERENCES owners ON DELETE CASCADE ON UPDATE CASCADE,
                           balance int NOT NULL, note text);
    CREATE TABLE seats (hall uuid, day date, seat text, taken_by int, PRIMARY KEY (hall, day, seat));
    CREATE TABLE tags (tag text PRIMARY KEY, n int);
    CREATE TABLE files (file uuid PRIMARY KEY, data jsonb);
    CREATE TABLE ports (port smallint PRIMARY KEY DEFERRABLE, name text);
    CREATE TABLE logs (session int, what text, n int);
    CREATE TABLE parcels (region text, id int, weight numeric, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
    CREATE TABLE parcels_eu PARTITION OF parcels FOR VALUES IN ('eu');
    CREATE TABLE parcels_other (weight numeric, id int NOT NULL, region text NOT NULL);
    ALTER TABLE parcels ATTACH PARTITION parcels_other DEFAULT;
    CREATE TABLE scans (region text, session int, what text) PARTITION BY LIST (region);
    CREATE TABLE scans_eu PARTITION OF scans FOR VALUES IN ('eu');
    CREATE TABLE scans_other PARTITION OF scans DEFAULT;
    -- Older than their capture.
    INSERT INTO owners SELECT g, 'old' FROM generate_series(1, 15, 2) AS g;
    INSERT INTO accounts SELECT g, g, 100 FROM generate_series(1, 15, 2) AS g;
    INSERT INTO seats SELECT odd_uuid(g % 2), '2024-02-29', odd(g) FROM generate_series(1, 15, 3) AS g;
    INSERT INTO tags SELECT odd(g), g FROM generate_series(1, 15, 3) AS g;
    INSERT INTO files SELECT odd_uuid(g), to_jsonb(odd(g)) FROM generate_series(1, 15, 3) AS g;
    INSERT INTO ports SELECT g, 'old' FROM generate_series(1, 15, 2) AS g;
    INSERT INTO logs SELECT g, odd(g), 0 FROM generate_series(1, 15) AS g, generate_series(1, 2);
    INSERT INTO parcels SELECT CASE g % 3 WHEN 0 THEN 'eu' ELSE 'us' END, g, 1.50 FROM generate_series(1, 15, 2) AS g;
    INSERT INTO scans SELECT 'eu', g, 'old' FROM generate_series(1, 15) AS g, generate_series(1, 2);
";

/// A table, its key as text, that text as the key again, and the granularities that are exact for it.
type Table = (
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
);

const ANY: &[&str] = &["NULL", "'row'", "'statement'"];
const ROW: &[&str] = &["NULL", "'row'"];

#[rustfmt::skip]
const AUDITED: [Table; 9] = [
    ("owners", "ARRAY[id::text]", "key[1]::int", ANY),
    ("accounts", "ARRAY[id::text]", "key[1]::bigint", ANY),
    ("seats", "ARRAY[hall::text, day::text, seat]", "key[1]::uuid, key[2]::date, key[3]", ANY),
    ("tags", "ARRAY[tag]", "key[1]", ANY),
    ("files", "ARRAY[file::text]", "key[1]::uuid", ANY),
    ("ports", "ARRAY[port::text]", "key[1]::smallint", &["NULL", "'statement'"]),
    ("logs", "NULL::text[]", "NULL", ANY),
    ("parcels", "ARRAY[region, id::text]", "key[1], key[2]::int", ROW),
    ("scans", "NULL::text[]", "NULL", ROW),
];

/// What sessions do. Each has five numbers of its own, from `{l}` to `{h}`, of which `{a}` and `{b}` are two, and what it
/// does depends on rows of these numbers alone: so the replay, in another order, must come to the same.
const WRITES: &[&str] = &[
    "INSERT INTO accounts VALUES ({a}, NULL, {n}, {t}) ON CONFLICT (id) DO UPDATE SET note = excluded.note",
    "INSERT INTO accounts SELECT g, (SELECT max(id) FROM owners WHERE id BETWEEN {l} AND {h}), {n}
       FROM generate_series({l}, {a}) AS g ON CONFLICT (id) DO UPDATE SET owner = excluded.owner, balance = accounts.balance - 1",
    "UPDATE accounts SET balance = balance + CASE id WHEN {a} THEN {n} ELSE -{n} END WHERE id IN ({a}, {b})",
    "UPDATE accounts SET balance = balance, note = note WHERE id BETWEEN {l} AND {h}",
    "UPDATE accounts SET id = {b}, note = {t} WHERE id = {a}",
    "UPDATE accounts SET id = -id WHERE id IN ({a}, {b}); UPDATE accounts SET id = CASE -id WHEN {a} THEN {b} ELSE {a} END
      WHERE -id IN ({a}, {b})",
    "UPDATE accounts SET id = -id WHERE id BETWEEN {l} AND {h}; UPDATE accounts SET id = {l} + (-id - {l} + 1) % 5
      WHERE -id BETWEEN {l} AND {h}",
    "DELETE FROM accounts WHERE id = {a}; INSERT INTO accounts VALUES ({a}, NULL, {n})",
    "DELETE FROM accounts WHERE id BETWEEN {a} AND {h}",
    "INSERT INTO owners VALUES ({a}, {t}), ({b}, {t}) ON CONFLICT (id) DO NOTHING",
    "UPDATE owners SET name = {t} WHERE id BETWEEN {l} AND {a}",
    "UPDATE owners SET id = {b} WHERE id = {a} AND NOT EXISTS (SELECT FROM owners WHERE id = {b})",
    "DELETE FROM owners WHERE id = {a}",
    "INSERT INTO seats SELECT odd_uuid({n}), date '2024-02-28' + g % 2, odd(g), {n} FROM generate_series({l}, {a}) AS g
       ON CONFLICT (hall, day, seat) DO UPDATE SET taken_by = nullif(seats.taken_by, {n})",
    "UPDATE seats SET taken_by = nullif({n}, 0) WHERE seat IN (odd({a}), odd({b}))",
    "UPDATE seats SET seat = odd({b}), taken_by = {n} WHERE seat = odd({a})",
    "UPDATE seats SET day = '2024-02-29' WHERE seat = odd({a}) AND hall = odd_uuid({n})",
    "DELETE FROM seats WHERE seat = odd({a})",
    "INSERT INTO tags SELECT odd(g), {n} FROM generate_series({l}, {a}) AS g ON CONFLICT (tag) DO UPDATE SET n = tags.n + excluded.n",
    "UPDATE tags SET tag = odd({b}), n = {n} WHERE tag = odd({a})",
    "DELETE FROM tags WHERE tag IN (odd({a}), odd({b}))",
    "INSERT INTO files VALUES (odd_uuid({a}), to_jsonb({t}::text)) ON CONFLICT (file) DO UPDATE SET data = excluded.data",
    "UPDATE files SET data = CASE {n} WHEN 0 THEN 'null'::jsonb ELSE jsonb_build_array(data) END WHERE file = odd_uuid({a})",
    "UPDATE files SET file = odd_uuid({b}) WHERE file = odd_uuid({a})",
    "WITH gone AS (DELETE FROM files WHERE file = odd_uuid({a}) RETURNING *) INSERT INTO logs SELECT {l}, data::text, 0 FROM gone",
    "INSERT INTO ports SELECT g, {t} FROM generate_series({l}, {a}) AS g WHERE NOT EXISTS (SELECT FROM ports WHERE port = g)",
    "UPDATE ports SET port = {l} + (port - {l} + 1) % 5 WHERE port BETWEEN {l} AND {h}",
    "UPDATE ports SET port = {a} + {b} - port, name = {t} WHERE port IN ({a}, {b})",
    "DELETE FROM ports WHERE port = {a}",
    "INSERT INTO logs SELECT {l}, {t}, {n} FROM generate_series(1, 2)",
    "UPDATE logs SET n = n + 1, what = {t} WHERE session = {l} AND n <= {n}",
    "UPDATE logs SET what = {t} WHERE ctid = (SELECT ctid FROM logs AS l WHERE session = {l} ORDER BY l LIMIT 1)",
    "DELETE FROM logs WHERE ctid = (SELECT ctid FROM logs AS l WHERE session = {l} ORDER BY l DESC LIMIT 1)",
    "INSERT INTO parcels VALUES ('eu', {a}, {n}), ('us', {b}, NULL) ON CONFLICT (region, id) DO UPDATE SET weight = excluded.weight",
    "UPDATE parcels SET region = CASE region WHEN 'eu' THEN 'us' ELSE 'eu' END, weight = {n} WHERE id = {a}",
    "UPDATE parcels SET region = 'sea', id = {b} WHERE id = {a} AND region <> 'sea'",
    "UPDATE parcels_eu SET weight = weight + {n} WHERE id BETWEEN {l} AND {a}",
    "DELETE FROM parcels WHERE id = {a}",
    "INSERT INTO scans SELECT CASE {n} WHEN 0 THEN 'eu' ELSE 'us' END, {l}, {t} FROM generate_series(1, 2)",
    "UPDATE scans SET region = CASE region WHEN 'eu' THEN 'us' ELSE 'eu' END WHERE session = {l}",
    "UPDATE scans SET what = {t} WHERE session = {l} AND region = 'eu'",
    "DELETE FROM scans_eu WHERE session = {l}",
    "TRUNCATE accounts, tags",
    "TRUNCATE owners CASCADE",
    "TRUNCATE seats, files, logs",
    "TRUNCATE ports, parcels, scans_other",
    "TRUNCATE parcels_eu",
];

const TEXTS: [&str; 5] = ["NULL", "''", "'é \"😀\" \\'", "'a'", "E'\\n''$$ '"];

/// Which session does what, one after the other. It prints as a script.
#[derive(Clone)]
struct Case {
    granularities: Vec<&'static str>,
    steps: Vec<(usize, String)>,
}

impl Debug for Case {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for ((table, ..), granularity) in AUDITED.iter().zip(&self.granularities) {
            writeln!(
                f,
                "SELECT threadline.audit_table('{table}', granularity => {granularity});"
            )?;
        }
        self.steps
            .iter()
            .try_for_each(|(session, sql)| writeln!(f, "/* session {session} */ {sql};"))
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let write = (
        select(WRITES),
        1_usize..=5,
        1_usize..=5,
        0_usize..3,
        select(&TEXTS[..]),
    );
    let step = (0_usize..3, write, 0..100).prop_map(|(session, (write, a, b, n, text), what)| {
        let first = session * 5;
        let sql = match what {
            0..60 => write
                .replace("{l}", &(first + 1).to_string())
                .replace("{h}", &(first + 5).to_string())
                .replace("{a}", &(first + a).to_string())
                .replace("{b}", &(first + b).to_string())
                .replace("{n}", &n.to_string())
                .replace("{t}", text),
            60..77 => "COMMIT".to_owned(),
            77..84 => format!(
                "BEGIN ISOLATION LEVEL {}",
                ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"][n]
            ),
            84..90 => "SAVEPOINT s".to_owned(),
            90..94 => "ROLLBACK TO s".to_owned(),
            94..96 => "RELEASE s".to_owned(),
            96..98 => "ROLLBACK".to_owned(),
            _ => "SELECT pg_sleep(0.13)".to_owned(),
        };
        (session, sql)
    });
    let granularities = AUDITED
        .map(|(.., granularities)| select(granularities))
        .to_vec();
    (granularities, prop::collection::vec(step, 1..64)).prop_map(|(granularities, steps)| Case {
        granularities,
        steps,
    })
}

/// A connection, and what its open transaction has done that still stands, with the number of those statements at each
/// savepoint.
struct Session {
    conn: PgConnection,
    open: Option<(Vec<String>, Vec<usize>)>,
}

/// A committed transaction: when it took effect, and what it did.
type Committed = (DateTime<Utc>, Vec<String>);

impl Session {
    /// Does the next step, unless it makes no sense where the session stands. A write that fails ends its savepoint or
    /// its transaction: so does one that has to wait, because nobody else goes on meanwhile.
    fn step(&mut self, sql: &str) -> Option<Committed> {
        let conn = &mut self.conn;
        match (sql.split(' ').next()?, &mut self.open) {
            ("BEGIN", None) => {
                run(conn, sql);
                self.open = Some(<_>::default());
            }
            ("BEGIN", Some(_)) | ("COMMIT" | "RELEASE" | "ROLLBACK" | "SAVEPOINT", None) => {}
            ("COMMIT", Some((statements, _))) => {
                let at = took_effect(conn);
                let statements = std::mem::take(statements);
                self.open = None;
                return conn
                    .batch_execute("COMMIT")
                    .ok()
                    .and(Some((at?, statements)));
            }
            ("SAVEPOINT", Some((statements, savepoints))) => {
                run(conn, sql);
                savepoints.push(statements.len());
            }
            ("RELEASE", Some((_, savepoints))) => {
                if savepoints.pop().is_some() {
                    run(conn, sql);
                }
            }
            ("ROLLBACK", Some(_)) => self.roll_back(sql != "ROLLBACK"),
            (_, None) => {
                self.step("BEGIN");
                return self.step(sql);
            }
            (_, Some((statements, _))) => match conn.batch_execute(sql) {
                Ok(()) => statements.push(sql.to_owned()),
                Err(_) => self.roll_back(true),
            },
        }
        None
    }

    /// Rolls back to the last savepoint, or else everything.
    fn roll_back(&mut self, to_savepoint: bool) {
        match &mut self.open {
            Some((statements, savepoints)) if to_savepoint && !savepoints.is_empty() => {
                run(&mut self.conn, "ROLLBACK TO s; RELEASE s");
                statements.truncate(savepoints.pop().unwrap_or_default());
            }
            _ => {
                run(&mut self.conn, "ROLLBACK");
                self.open = None;
            }
        }
    }
}

/// When the open transaction made its last change that was captured, if it made any.
fn took_effect(conn: &mut PgConnection) -> Option<DateTime<Utc>> {
    diesel::select(diesel::dsl::sql::<Nullable<Timestamptz>>(
        "(SELECT max(c.captured_at) FROM threadline.audit_changes AS c JOIN threadline.audit_transactions AS t
             ON t.id = c.transaction_id WHERE t.txid = pg_current_xact_id_if_assigned())",
    ))
    .get_result(conn)
    .expect("the record can be read")
}

/// A row of any table, or what is known of a key without one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Nullable<Array<Text>>)]
    key: Option<Vec<String>>,
    #[diesel(sql_type = Text)]
    row: String,
}

/// What a query for each of the tables gives, in order.
fn rows(conn: &mut PgConnection, at: DateTime<Utc>, query: impl Fn(Table) -> String) -> Vec<Row> {
    let mut rows: Vec<Row> = diesel::sql_query(AUDITED.map(query).join(" UNION ALL "))
        .bind::<Timestamptz, _>(at)
        .load(conn)
        .expect("the tables can be read");
    rows.sort();
    rows
}

/// The rows of all tables, each as its text.
fn all_rows(
    conn: &mut PgConnection,
    at: DateTime<Utc>,
    table: impl Fn(&str) -> String,
) -> Vec<Row> {
    rows(conn, at, |(name, key, ..)| {
        format!(
            "SELECT '{name}' AS name, {key} AS key, t::text AS row FROM {} AS t",
            table(name)
        )
    })
}

/// What Diesel loads.
#[derive(Debug, PartialEq)]
struct Loaded {
    accounts: Vec<Account>,
    seats: Vec<Seat>,
    owners: Vec<(Owner, Option<Account>)>,
}

macro_rules! load {
    ($conn:expr, |$query:ident| $past:expr) => {{
        macro_rules! rows {
            ($of:expr) => {{
                let $query = $of;
                $past.load($conn).expect("the query runs")
            }};
        }
        Loaded {
            accounts: rows!(accounts::table.order(accounts::id)),
            seats: rows!(seats::table.order((seats::seat, seats::day, seats::hall))),
            owners: rows!(
                owners::table
                    .left_join(accounts::table)
                    .order((owners::id, accounts::id))
                    .select((Owner::as_select(), Option::<Account>::as_select()))
            ),
        }
    }};
}

/// What the tables held from a time on, and all keys there had ever been.
struct Truth {
    since: DateTime<Utc>,
    rows: Vec<Row>,
    loaded: Loaded,
    ever: Vec<Row>,
}

/// The second set of tables, in which the transactions are repeated one after the other.
struct Replay(PgConnection);

impl Replay {
    fn new(database: &Database) -> Self {
        let mut conn = database.connect();
        run(
            &mut conn,
            &format!(
                "CREATE SCHEMA truth; SET search_path = truth, public; {TABLES} CREATE TABLE ever (name text, key text[])"
            ),
        );
        Self(conn)
    }

    fn repeat(&mut self, (since, statements): Committed) -> Truth {
        let conn = &mut self.0;
        for sql in statements.iter().map(String::as_str).chain([""]) {
            let keys = AUDITED.map(|(name, key, ..)| format!("SELECT '{name}', {key} FROM {name}"));
            run(
                conn,
                &format!(
                    "{sql}; INSERT INTO ever {} EXCEPT SELECT * FROM ever",
                    keys.join(" UNION ")
                ),
            );
        }
        Truth {
            since,
            rows: all_rows(conn, since, str::to_owned),
            loaded: load!(conn, |query| query),
            ever: rows(conn, since, |(name, ..)| {
                format!(
                    "SELECT name, key, 'deleted' AS row FROM ever WHERE name = '{name}' AND key IS NOT NULL"
                )
            }),
        }
    }
}

/// What is known of each of the keys there ever are.
fn known(truth: &Truth, keys: &[Row]) -> Vec<Row> {
    let not_yet = keys.iter().map(|key| Row {
        row: "not_yet".to_owned(),
        ..key.clone()
    });
    let mut known = BTreeMap::new();
    for row in not_yet
        .chain(truth.ever.clone())
        .chain(truth.rows.clone())
        .filter(|row| row.key.is_some())
    {
        known.insert((row.name, row.key), row.row);
    }
    known
        .into_iter()
        .map(|((name, key), row)| Row { name, key, row })
        .collect()
}

/// A row as `Model::as_of` gives it, in the words of [`known`].
fn told<M: Debug>(row: RowAsOf<M>, at: DateTime<Utc>) -> String {
    match row {
        RowAsOf::Found(row) => format!("{row:?}"),
        RowAsOf::Deleted(change) if change.captured_at <= at => "deleted".to_owned(),
        RowAsOf::NotYet => "not_yet".to_owned(),
        other => format!("{other:?}"),
    }
}

/// The rows that `past` lacks, and those it has too many.
fn compare(
    what: &str,
    at: DateTime<Utc>,
    truth: &[Row],
    past: &[Row],
) -> Result<(), TestCaseError> {
    let (mut missing, mut surplus) = (truth.to_vec(), Vec::new());
    for row in past {
        match missing.binary_search(row) {
            Ok(position) => drop(missing.remove(position)),
            Err(_) => surplus.push(row),
        }
    }
    prop_assert!(
        missing.is_empty() && surplus.is_empty(),
        "{what} as of {at:?} lacks {missing:#?} and has {surplus:#?}"
    );
    Ok(())
}

/// Every time at which anything was recorded to happen, and the moment before.
fn moments(conn: &mut PgConnection) -> Vec<DateTime<Utc>> {
    diesel::dsl::sql::<Timestamptz>(
        "SELECT m FROM (SELECT captured_at FROM threadline.audit_changes UNION SELECT occurred_at FROM threadline.audit_transactions) AS t (at)
          CROSS JOIN LATERAL (VALUES (at), (at - interval '1 microsecond')) AS v (m)
          WHERE m >= (SELECT max(capture_since) FROM threadline.audited_tables) ORDER BY m",
    )
    .load(conn)
    .expect("the record can be read")
}

fn check(case: &Case) -> Result<(), TestCaseError> {
    let (database, mut conn) = database(&format!("{FUNCTIONS}{TABLES}"));
    let mut replay = Replay::new(&database);
    for ((table, ..), granularity) in AUDITED.iter().zip(&case.granularities) {
        run(
            &mut conn,
            &format!("SELECT threadline.audit_table('{table}', granularity => {granularity})"),
        );
    }
    let mut committed = vec![(now(&mut conn), Vec::new())];
    let mut sessions: Vec<Session> = (0..3)
        .map(|_| Session {
            conn: database.connect(),
            open: None,
        })
        .collect();
    for session in &mut sessions {
        run(&mut session.conn, "SET lock_timeout = '5ms'");
    }
    for (session, sql) in &case.steps {
        committed.extend(sessions[*session].step(sql));
    }
    for session in &mut sessions {
        committed.extend(session.step("COMMIT"));
    }
    committed.sort();
    let truths: Vec<Truth> = committed
        .into_iter()
        .map(|transaction| replay.repeat(transaction))
        .collect();
    let end = truths.last().expect("there was a beginning");
    compare(
        "the replay",
        end.since,
        &end.rows,
        &all_rows(&mut conn, end.since, str::to_owned),
    )?;

    for at in moments(&mut conn) {
        let Some(truth) = truths.iter().rfind(|truth| truth.since <= at) else {
            continue;
        };
        let past = all_rows(&mut conn, at, |name| {
            format!("threadline.as_of(NULL::{name}, $1)")
        });
        compare("as_of", at, &truth.rows, &past)?;
        prop_assert_eq!(
            &load!(&mut conn, |query| threadline::as_of(at, query)),
            &truth.loaded,
            "as of {:?}",
            at
        );

        let known = known(truth, &end.ever);
        let rows = rows(&mut conn, at, |(name, _, key, _)| {
            if key == "NULL" {
                return "SELECT NULL, NULL, NULL WHERE false".to_owned();
            }
            format!(
                "SELECT e.name, e.key, CASE a.state WHEN 'found' THEN r::text ELSE a.state END AS row FROM truth.ever AS e
                  CROSS JOIN LATERAL threadline.row_as_of(NULL::{name}, $1, {key}) AS a
                   LEFT JOIN LATERAL threadline.row_of(NULL::{name}, a.image, a.image_of, {key}) AS r ON a.state = 'found'
                  WHERE e.name = '{name}'"
            )
        });
        compare("row_as_of", at, &known, &rows)?;
        for Row { name, key, row } in known {
            let key = key.expect("known by its key");
            let (told, row) = match name.as_str() {
                "accounts" => {
                    let id: i64 = key[0].parse().expect("a number");
                    let account = truth
                        .loaded
                        .accounts
                        .iter()
                        .find(|account| account.id == id);
                    (
                        Account::as_of(id, at)
                            .get_result(&mut conn)
                            .map(|row| told::<Account>(row, at)),
                        account.map_or(row, |account| format!("{account:?}")),
                    )
                }
                "seats" => {
                    let hall: uuid::Uuid = key[0].parse().expect("a UUID");
                    let day: NaiveDate = key[1].parse().expect("a date");
                    let seat = truth
                        .loaded
                        .seats
                        .iter()
                        .find(|s| (s.hall, s.day, &s.seat) == (hall, day, &key[2]));
                    (
                        Seat::as_of((hall, day, &key[2]), at)
                            .get_result(&mut conn)
                            .map(|row| told::<Seat>(row, at)),
                        seat.map_or(row, |seat| format!("{seat:?}")),
                    )
                }
                _ => continue,
            };
            prop_assert_eq!(
                told.expect("the row can be read"),
                row,
                "{} as of {:?}",
                key.join(", "),
                at
            );
        }
    }
    Ok(())
}

/// As of any time, every table holds what the transactions that had made their last change by then had made of it, and
/// every row is found, deleted or not there yet accordingly.
#[test]
fn the_law_of_time() {
    let config = contextualize_config(Config {
        cases: 24,
        max_shrink_iters: 200,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(RandomState::new().hash_one(())),
        ..Config::default()
    });
    let seed = config.rng_seed;
    if let Err(error) = TestRunner::new(config).run(&cases(), |case| check(&case)) {
        panic!("{error}\nPROPTEST_RNG_SEED={seed} repeats it");
    }
}
