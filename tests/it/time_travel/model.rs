//! The law of time, held against a model: random transactions of sessions that overlap, replayed one after the other in
//! the order of their last changes. What the replay holds after each of them is what the past must be.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Formatter};
use std::hash::{BuildHasher, RandomState};

use chrono::NaiveDate;
use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::sql_types::{Array, Nullable, Text, Timestamptz};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngSeed, TestCaseResult, TestRunner, contextualize_config};

use super::*;

diesel::table! {
    accounts { id -> Int8, owner -> Nullable<Int4>, balance -> Int4, note -> Nullable<Text>, }
}

diesel::table! {
    seats (hall, day, place) { hall -> Uuid, day -> Date, place -> Text, taken_by -> Nullable<Int4>, }
}

#[derive(Debug, PartialEq, Queryable, Selectable, Audited)]
struct Account {
    id: i64,
    owner: Option<i32>,
    balance: i32,
    note: Option<String>,
}

#[derive(Debug, PartialEq, Queryable, Selectable, Audited)]
#[diesel(primary_key(hall, day, place))]
struct Seat {
    hall: uuid::Uuid,
    day: NaiveDate,
    place: String,
    taken_by: Option<i32>,
}

/// Keys that are easily taken for something else, or for each other; and what the other statements need.
const FUNCTIONS: &str = r#"
    CREATE FUNCTION odd(n int) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT (ARRAY['', ' ', 'null', 'it''s', '"q"',
      'back\slash', E'tab\tnew\nline', '[1, "a"]', U&'\00E9', U&'e\0301', '%s 😀', '"Q"'])[n] $$;
    CREATE FUNCTION odd_uuid(n int) RETURNS uuid IMMUTABLE LANGUAGE sql AS $$ SELECT md5(n::text)::uuid $$;
    -- TRUNCATE takes away rows that an older snapshot does not show, so that capture cannot see them.
    CREATE FUNCTION truncate_all(which text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
      ASSERT current_setting('transaction_isolation') = 'read committed'; EXECUTE 'TRUNCATE ' || which; END $$;
"#;

/// Made twice: for the sessions, and for the replay.
const TABLES: &str = "
    CREATE TABLE owners (id int PRIMARY KEY, name text);
    CREATE TABLE accounts (id bigint PRIMARY KEY, owner int REFERENCES owners ON DELETE CASCADE ON UPDATE CASCADE,
                           balance int NOT NULL, note text);
    CREATE TABLE seats (hall uuid, day date, place text, taken_by int, PRIMARY KEY (hall, day, place));
    CREATE TABLE tags (tag text PRIMARY KEY, n int);
    CREATE TABLE files (file uuid PRIMARY KEY, data jsonb);
    CREATE TABLE ports (port smallint PRIMARY KEY, name text);
    CREATE TABLE logs (session int, what text, n int);
    CREATE TABLE parcels (region text, id int, weight numeric, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
    CREATE TABLE parcels_eu PARTITION OF parcels FOR VALUES IN ('eu');
    CREATE TABLE parcels_other (weight numeric, id int NOT NULL, region text NOT NULL);
    ALTER TABLE parcels ATTACH PARTITION parcels_other DEFAULT;
    CREATE TABLE scans (region text, session int, what text) PARTITION BY LIST (region);
    CREATE TABLE scans_eu PARTITION OF scans FOR VALUES IN ('eu');
    CREATE TABLE scans_other PARTITION OF scans DEFAULT;
    -- Older than their capture.
    INSERT INTO owners SELECT g, 'old' FROM generate_series(1, 12, 2) AS g;
    INSERT INTO accounts SELECT g, g, 100 FROM generate_series(1, 12, 2) AS g;
    INSERT INTO seats SELECT odd_uuid(g % 2), '2024-02-29', odd(g) FROM generate_series(1, 12, 3) AS g;
    INSERT INTO tags SELECT odd(g), g FROM generate_series(1, 12, 3) AS g;
    INSERT INTO files SELECT odd_uuid(g), to_jsonb(odd(g)) FROM generate_series(1, 12, 3) AS g;
    INSERT INTO ports SELECT g, 'old' FROM generate_series(1, 12, 2) AS g;
    INSERT INTO logs SELECT g, odd(g), 0 FROM generate_series(1, 12) AS g, generate_series(1, 2);
    INSERT INTO parcels SELECT CASE g % 3 WHEN 1 THEN 'eu' ELSE 'us' END, g, 1.50 FROM generate_series(1, 12, 2) AS g;
    INSERT INTO scans SELECT 'eu', g, 'old' FROM generate_series(1, 12) AS g, generate_series(1, 2);
";

type Sql = &'static str;

/// A table, its key as texts, these as the key again, and the granularities that are exact for it.
type Table = (Sql, Sql, Sql, &'static [Sql]);

const ANY: &[Sql] = &["NULL", "'row'", "'statement'"];
const ROW: &[Sql] = &["NULL", "'row'"];

#[rustfmt::skip]
const AUDITED: [Table; 9] = [
    ("owners", "ARRAY[id::text]", "key[1]::int", ANY),
    ("accounts", "ARRAY[id::text]", "key[1]::bigint", ANY),
    ("seats", "ARRAY[hall::text, day::text, place]", "key[1]::uuid, key[2]::date, key[3]", ANY),
    ("tags", "ARRAY[tag]", "key[1]", ANY),
    ("files", "ARRAY[file::text]", "key[1]::uuid", ANY),
    ("ports", "ARRAY[port::text]", "key[1]::smallint", ANY),
    ("logs", "NULL::text[]", "NULL", ANY),
    ("parcels", "ARRAY[region, id::text]", "key[1], key[2]::int", ROW),
    ("scans", "NULL::text[]", "NULL", ROW),
];

/// What sessions do. Each has four numbers of its own, from `{l}` to `{h}`, of which `{a}` and `{b}` are two, and what it
/// does depends on rows of these numbers alone: so the replay, in another order, must come to the same.
const WRITES: &[Sql] = &[
    "INSERT INTO owners VALUES ({a}, {t}), ({b}, {t}) ON CONFLICT (id) DO NOTHING",
    "UPDATE owners SET name = {t} WHERE id BETWEEN {l} AND {a}",
    "UPDATE owners SET id = {b} WHERE id = {a} AND NOT EXISTS (SELECT FROM owners WHERE id = {b})",
    "DELETE FROM owners WHERE id = {a}",
    "INSERT INTO accounts VALUES ({a}, NULL, {n}, {t}) ON CONFLICT (id) DO UPDATE SET note = excluded.note",
    "INSERT INTO accounts SELECT g, (SELECT max(id) FROM owners WHERE id BETWEEN {l} AND {h}), {n} FROM generate_series({l}, {a}) AS g
       ON CONFLICT (id) DO UPDATE SET owner = excluded.owner, balance = accounts.balance - 1",
    "UPDATE accounts SET balance = balance + CASE id WHEN {a} THEN {n} ELSE -{n} END WHERE id IN ({a}, {b})",
    "UPDATE accounts SET balance = balance, note = note WHERE id BETWEEN {l} AND {h}",
    "UPDATE accounts SET id = {b}, note = {t} WHERE id = {a}",
    "UPDATE accounts SET id = -id WHERE id BETWEEN {l} AND {h}; UPDATE accounts SET id = {l} + (-id - {l} + 1) % 4 WHERE -id BETWEEN {l} AND {h}",
    "DELETE FROM accounts WHERE id = {a}; INSERT INTO accounts VALUES ({a}, NULL, {n})",
    "DELETE FROM accounts WHERE id BETWEEN {a} AND {h}",
    "INSERT INTO seats SELECT odd_uuid({n}), date '2024-02-28' + g % 2, odd(g), {n} FROM generate_series({l}, {a}) AS g
       ON CONFLICT (hall, day, place) DO UPDATE SET taken_by = nullif(seats.taken_by, {n})",
    "UPDATE seats SET taken_by = nullif({n}, 0) WHERE place IN (odd({a}), odd({b}))",
    "UPDATE seats SET place = odd({b}), taken_by = {n} WHERE place = odd({a})",
    "DELETE FROM seats WHERE place = odd({a})",
    "INSERT INTO tags SELECT odd(g), {n} FROM generate_series({l}, {a}) AS g ON CONFLICT (tag) DO UPDATE SET n = tags.n + excluded.n",
    "UPDATE tags SET tag = odd({b}), n = {n} WHERE tag = odd({a})",
    "DELETE FROM tags WHERE tag IN (odd({a}), odd({b}))",
    "INSERT INTO files VALUES (odd_uuid({a}), to_jsonb({t}::text)) ON CONFLICT (file) DO UPDATE SET data = excluded.data",
    "UPDATE files SET file = odd_uuid({b}), data = jsonb_build_array(data) WHERE file = odd_uuid({a})",
    "WITH gone AS (DELETE FROM files WHERE file = odd_uuid({a}) RETURNING *) INSERT INTO logs SELECT {l}, data::text, 0 FROM gone",
    "INSERT INTO ports SELECT g, {t} FROM generate_series({l}, {a}) AS g WHERE NOT EXISTS (SELECT FROM ports WHERE port = g)",
    "UPDATE ports SET port = -port WHERE port BETWEEN {l} AND {h}; UPDATE ports SET port = {l} + (-port - {l} + 1) % 4 WHERE -port BETWEEN {l} AND {h}",
    "UPDATE ports SET port = -port WHERE port IN ({a}, {b}); UPDATE ports SET port = {a} + {b} + port, name = {t} WHERE -port IN ({a}, {b})",
    "DELETE FROM ports WHERE port = {a}",
    "INSERT INTO logs SELECT {l}, {t}, {n} FROM generate_series(1, 2)",
    "UPDATE logs SET n = n + 1, what = {t} WHERE session = {l} AND n <= {n}",
    "DELETE FROM logs WHERE ctid = (SELECT ctid FROM logs AS l WHERE session = {l} ORDER BY l DESC LIMIT 1)",
    "INSERT INTO parcels VALUES ('eu', {a}, {n}), ('us', {b}, NULL) ON CONFLICT (region, id) DO UPDATE SET weight = excluded.weight",
    "UPDATE parcels SET region = CASE region WHEN 'eu' THEN 'us' ELSE 'eu' END, weight = {n} WHERE id = {a}",
    "UPDATE parcels SET region = 'sea', id = {b} WHERE id = {a} AND region <> 'sea'",
    "UPDATE parcels_eu SET weight = weight + {n} WHERE id BETWEEN {l} AND {a}",
    "DELETE FROM parcels WHERE id = {a}",
    "INSERT INTO scans SELECT CASE {n} WHEN 0 THEN 'eu' ELSE 'us' END, {l}, {t} FROM generate_series(1, 2)",
    "UPDATE scans SET region = CASE region WHEN 'eu' THEN 'us' ELSE 'eu' END, what = {t} WHERE session = {l}",
    "DELETE FROM scans_eu WHERE session = {l}",
    "SELECT truncate_all('owners CASCADE')",
    "SELECT truncate_all('seats, logs')",
    "SELECT truncate_all('ports, parcels_eu, scans')",
];

/// What changes nothing: rows that were there before are recorded, a few at a time and beside the sessions.
const BASELINE: &str = "SELECT count(threadline.baseline_step(relation, '{\"type\": \"system\", \"id\": \"model\"}', 'as the law of time says', {n} + 2))
    FROM threadline.audited_tables WHERE key_type IS NOT NULL";

/// A session that keeps no transaction open.
const BESIDE: usize = 3;

const TEXTS: &[Sql] = &["NULL", "''", "'é \"😀\" \\'", "'a'", "E'\\n''$$ '"];

/// What one of the sessions does. It prints as a line of a script.
#[derive(Clone)]
struct Step {
    session: usize,
    sql: String,
    write: bool,
}

impl Debug for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "/* session {} */ {};", self.session, self.sql)
    }
}

/// How the tables are audited, and what is done one after the other.
fn cases() -> impl Strategy<Value = (Vec<String>, Vec<Step>)> {
    let audit = AUDITED.map(|(table, .., granularities)| {
        select(granularities).prop_map(move |how| {
            format!("SELECT threadline.audit_table('{table}', granularity => {how})")
        })
    });
    let sql = prop_oneof![
        70 => select(WRITES),
        12 => Just("COMMIT; BEGIN"),
        1 => Just("COMMIT; BEGIN ISOLATION LEVEL REPEATABLE READ"),
        1 => Just("COMMIT; BEGIN ISOLATION LEVEL SERIALIZABLE"),
        1 => Just("COMMIT"),
        1 => Just("ROLLBACK; BEGIN"),
        4 => Just("SAVEPOINT s"),
        2 => Just("ROLLBACK TO s"),
        1 => Just("RELEASE s"),
        // As long as it takes to be noted as a long transaction.
        3 => Just("SELECT pg_sleep(0.13)"),
        1 => Just(BASELINE),
    ];
    let numbers = (1_usize..=4, 1_usize..=4, 0_usize..3);
    let step = (0_usize..3, sql, numbers, select(TEXTS));
    let step = step.prop_map(|(session, template, (a, b, n), text)| {
        let mut sql = template.replace("{n}", &n.to_string());
        for (name, own) in [("{l}", 1), ("{h}", 4), ("{a}", a), ("{b}", b)] {
            sql = sql.replace(name, &(session * 4 + own).to_string());
        }
        Step {
            session,
            sql: sql.replace("{t}", text),
            write: WRITES.contains(&template),
        }
    });
    let beside = (0..3).prop_map(|n: i32| Step {
        session: BESIDE,
        sql: BASELINE.replace("{n}", &n.to_string()),
        write: false,
    });
    let step = prop_oneof![96 => step, 4 => beside];
    (audit.to_vec(), prop::collection::vec(step, 1..100))
}

/// A committed transaction: when it took effect, by its last change, and what it did.
#[derive(QueryableByName)]
struct Committed {
    #[diesel(sql_type = Timestamptz)]
    at: DateTime<Utc>,
    #[diesel(sql_type = Array<Text>)]
    writes: Vec<String>,
}

/// What a transaction did after its last change came to nothing, but might not when it is repeated at that time.
const COMMITTED: &str = "
    SELECT t.at, ARRAY(SELECT d.sql FROM truth.done AS d WHERE d.txid = t.txid AND d.begun <= t.at ORDER BY d.n) AS writes
      FROM (SELECT t.txid, max(c.captured_at) AS at FROM threadline.audit_transactions AS t
              JOIN threadline.audit_changes AS c ON c.transaction_id = t.id GROUP BY t.id) AS t ORDER BY t.at";

/// A step that fails is rolled back to the savepoint, or with the transaction; so is one that would have to wait, since
/// nobody else goes on meanwhile. What is done is noted by the transaction itself, and so only if it is not rolled back.
fn step(conn: &mut PgConnection, Step { sql, write, .. }: &Step) {
    let note = format!("; INSERT INTO truth.done (sql) VALUES ($note${sql}$note$)");
    let batch = format!("{sql}{}", if *write { &note } else { "" });
    if conn.batch_execute(&batch).is_err() && conn.batch_execute("ROLLBACK TO s").is_err() {
        run(conn, "ROLLBACK; BEGIN");
    }
}

/// A table and a key in it.
type Key = (String, Vec<String>);

/// A row of one of the tables, as text, or what else there is to say of its key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Nullable<Array<Text>>)]
    key: Option<Vec<String>>,
    #[diesel(sql_type = Text)]
    value: String,
}

/// What a query for each table gives, in order.
fn rows(conn: &mut PgConnection, at: DateTime<Utc>, query: impl Fn(Table) -> String) -> Vec<Row> {
    let query = diesel::sql_query(AUDITED.map(query).join(" UNION ALL "));
    let mut rows: Vec<Row> = query.bind::<Timestamptz, _>(at).load(conn).unwrap();
    rows.sort();
    rows
}

/// The rows of all tables.
fn all_rows(conn: &mut PgConnection, at: DateTime<Utc>, of: impl Fn(&str) -> String) -> Vec<Row> {
    rows(conn, at, |(name, key, ..)| {
        format!(
            "SELECT '{name}' AS name, {key} AS key, t::text AS value FROM {} AS t",
            of(name)
        )
    })
}

/// The rows that Diesel can load.
fn models(
    accounts: QueryResult<Vec<Account>>,
    seats: QueryResult<Vec<Seat>>,
) -> BTreeMap<Key, String> {
    let accounts = accounts.unwrap().into_iter().map(|row| {
        let key = ("accounts".to_owned(), vec![row.id.to_string()]);
        (key, format!("{row:?}"))
    });
    let seats = seats.unwrap().into_iter().map(|row| {
        let key = vec![row.hall.to_string(), row.day.to_string(), row.place.clone()];
        (("seats".to_owned(), key), format!("{row:?}"))
    });
    accounts.chain(seats).collect()
}

/// A row as `Model::as_of` tells it.
fn told<M: Debug>(row: QueryResult<RowAsOf<M>>, at: DateTime<Utc>) -> String {
    match row.unwrap() {
        RowAsOf::Found(row) => format!("{row:?}"),
        RowAsOf::Deleted(change) if change.captured_at <= at => "deleted".to_owned(),
        RowAsOf::NotCreated => "not_yet".to_owned(),
        other => format!("{other:?}"),
    }
}

/// What the tables held from a time on.
struct Truth {
    since: DateTime<Utc>,
    rows: Vec<Row>,
    models: BTreeMap<Key, String>,
    /// Each key that there had ever been, with its row or `deleted`.
    keys: BTreeMap<Key, String>,
}

const NOTES: &str = "
    CREATE TABLE done (n bigint GENERATED ALWAYS AS IDENTITY, txid xid8 DEFAULT pg_current_xact_id(), sql text,
                       begun timestamptz DEFAULT statement_timestamp());
    CREATE TABLE ever (name text, key text[])";

/// Repeats a transaction on the second set of tables, and notes which keys there are after each of its statements.
fn replay(conn: &mut PgConnection, Committed { at, writes }: Committed) -> Truth {
    let keys = AUDITED.map(|(name, key, ..)| format!("SELECT '{name}', {key} FROM {name}"));
    let keys = keys.join(" UNION ");
    for sql in writes.iter().map(String::as_str).chain([""]) {
        let note = format!("INSERT INTO ever {keys} EXCEPT SELECT * FROM ever");
        run(conn, &format!("{sql}; {note}"));
    }
    let ever = rows(conn, at, |(name, ..)| {
        format!("SELECT *, 'deleted' AS value FROM ever WHERE name = '{name}'")
    });
    let rows = all_rows(conn, at, str::to_owned);
    let known = ever.into_iter().chain(rows.clone());
    Truth {
        since: at,
        rows,
        models: models(accounts::table.load(conn), seats::table.load(conn)),
        keys: known
            .filter_map(|row| Some(((row.name, row.key?), row.value)))
            .collect(),
    }
}

/// Fails with the rows that are too few or, counted below zero, too many.
fn compare(what: &str, at: DateTime<Utc>, truth: &[Row], past: &[Row]) -> TestCaseResult {
    let mut counts = BTreeMap::new();
    let counted = truth.iter().map(|row| (row, 1));
    for (row, n) in counted.chain(past.iter().map(|row| (row, -1))) {
        *counts.entry(row).or_insert(0) += n;
    }
    counts.retain(|_, count| *count != 0);
    prop_assert!(counts.is_empty(), "{what} as of {at:?}: {counts:#?}");
    Ok(())
}

/// The times that could be mistaken: when each transaction began, first changed something, and took effect, and just
/// before that.
const MOMENTS: &str = "SELECT DISTINCT m FROM (
    SELECT t.occurred_at AS began, min(c.captured_at) AS first, max(c.captured_at) AS last FROM threadline.audit_changes AS c
      JOIN threadline.audit_transactions AS t ON t.id = c.transaction_id GROUP BY t.id) AS t
   CROSS JOIN LATERAL (VALUES (began), (first), (last), (last - interval '1 microsecond')) AS v (m) ORDER BY m";

fn check(audit: &[String], steps: &[Step]) -> TestCaseResult {
    let (database, mut conn) = database(&format!("{FUNCTIONS}{TABLES}{}", audit.join(";")));
    let mut second = database.connect();
    run(
        &mut second,
        &format!("CREATE SCHEMA truth; SET search_path = truth, public; {TABLES} {NOTES}"),
    );
    let at = now(&mut conn);
    let mut sessions = [0, 1, 2].map(|_| database.connect());
    for session in &mut sessions {
        run(session, "SET lock_timeout = '5ms'");
        run(session, "BEGIN");
    }
    let mut beside = database.connect();
    run(&mut beside, "SET lock_timeout = '5ms'");
    for taken in steps {
        if taken.session == BESIDE {
            let _ = beside.batch_execute(&taken.sql);
        } else {
            step(&mut sessions[taken.session], taken);
        }
    }
    // A serializable transaction may fail even here.
    let _ = sessions.map(|mut session| session.batch_execute("COMMIT"));
    let mut committed: Vec<Committed> = diesel::sql_query(COMMITTED).load(&mut conn).unwrap();
    committed.insert(0, Committed { at, writes: vec![] });
    let replay = committed.into_iter().map(|done| replay(&mut second, done));
    let truths: Vec<Truth> = replay.collect();
    let end = truths.last().expect("there was a beginning");
    let present = all_rows(&mut conn, end.since, str::to_owned);
    compare("the model itself", end.since, &end.rows, &present)?;
    let snapshots = all_rows(&mut conn, at, |name| {
        format!(
            "(SELECT r.* FROM threadline.versions(NULL::{name}) AS v
               CROSS JOIN LATERAL jsonb_populate_record(NULL::{name}, v.\"row\") AS r WHERE v.op = 'snapshot')"
        )
    });
    let first = &truths[0].rows;
    let others: Vec<_> = snapshots
        .iter()
        .filter(|row| !first.contains(row))
        .collect();
    prop_assert!(
        others.is_empty(),
        "snapshots of no row that was there: {others:#?}"
    );

    let moments: Vec<DateTime<Utc>> = sql::<Timestamptz>(MOMENTS).load(&mut conn).unwrap();
    for at in moments {
        let truth = truths.iter().rfind(|truth| truth.since <= at);
        let truth = truth.expect("all began after the beginning");
        check_tables(&mut conn, at, truth)?;
        check_rows(&mut conn, at, truth, end)?;
    }
    Ok(())
}

fn check_tables(conn: &mut PgConnection, at: DateTime<Utc>, truth: &Truth) -> TestCaseResult {
    let past = all_rows(conn, at, |name| {
        format!("threadline.as_of(NULL::{name}, $1)")
    });
    compare("as_of", at, &truth.rows, &past)?;
    let models = models(
        threadline::as_of(at, accounts::table).load(conn),
        threadline::as_of(at, seats::table).load(conn),
    );
    prop_assert_eq!(&models, &truth.models, "as of {:?}", at);
    Ok(())
}

/// Every row there ever is.
fn check_rows(
    conn: &mut PgConnection,
    at: DateTime<Utc>,
    truth: &Truth,
    end: &Truth,
) -> TestCaseResult {
    let rows = rows(conn, at, |(name, _, key, _)| {
        if key == "NULL" {
            return "SELECT NULL, NULL, NULL WHERE false".to_owned();
        }
        format!(
            "SELECT e.name, e.key, CASE a.state WHEN 'found' THEN r::text ELSE a.state END AS value FROM truth.ever AS e
              CROSS JOIN LATERAL threadline.row_as_of(NULL::{name}, $1, {key}) AS a
               LEFT JOIN LATERAL threadline.row_of(NULL::{name}, a.image, a.image_of, {key}) AS r ON a.state = 'found'
              WHERE e.name = '{name}'"
        )
    });
    prop_assert_eq!(rows.len(), end.keys.len());
    for Row { name, key, value } in rows {
        let key = (name, key.unwrap_or_default());
        let known = truth.keys.get(&key).map_or("not_yet", String::as_str);
        prop_assert_eq!(&value, known, "{:?} as of {:?}", key, at);
        let model = match (key.0.as_str(), &key.1[..]) {
            ("accounts", [id]) => {
                let id: i64 = id.parse().unwrap();
                told::<Account>(Account::as_of(id, at).get_result(conn), at)
            }
            ("seats", [hall, day, place]) => {
                let (hall, day): (uuid::Uuid, NaiveDate) =
                    (hall.parse().unwrap(), day.parse().unwrap());
                told::<Seat>(Seat::as_of((hall, day, place), at).get_result(conn), at)
            }
            _ => continue,
        };
        let known = truth.models.get(&key).map_or(known, String::as_str);
        prop_assert_eq!(&model, known, "{:?} as of {:?}", key, at);
    }
    Ok(())
}

/// As of any time, every table holds what the transactions that had made their last change by then had made of it, and
/// every row is found, deleted or not there yet accordingly.
#[test]
fn the_law_of_time() {
    let config = contextualize_config(Config {
        cases: 5,
        max_shrink_iters: 100,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(RandomState::new().hash_one(())),
        ..Config::default()
    });
    let seed = config.rng_seed;
    if let Err(error) =
        TestRunner::new(config).run(&cases(), |(audit, steps)| check(&audit, &steps))
    {
        panic!("{error}\nPROPTEST_RNG_SEED={seed} repeats it");
    }
}
