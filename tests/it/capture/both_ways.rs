//! Capture has two ways: by the names of columns that it knows, and with care where they may be any. Whatever tables,
//! statements, migrations and contexts there are, both record the same. Each case runs in two databases, of which one has only
//! the careful way.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::{env, thread};

use diesel::connection::SimpleConnection;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;
use threadline_test_support::Database;

use crate::common::{count, create_caseless, database, few_cases, run, text};
use crate::random::Random;

/// The variable of the environment that makes the cases others.
const SEED: &str = "BOTH_WAYS_SEED";

/// Each script is a case: a transaction or two, perhaps after a migration.
const SCRIPTS_OF_A_TABLE: usize = 34;

/// Takes from capture what makes it fast: the condition that the columns are known, and the short way into a transaction.
const BE_CAREFUL: &str = r"
    DO $do$
    DECLARE f record;
    BEGIN
      FOR f IN SELECT oid FROM pg_proc WHERE proname ~ '^capture_[0-9]+_(insert|update|delete)$' LOOP
        ASSERT pg_get_functiondef(f.oid) ~ 'IF (false AND )?NOT [(]TG_RELID', 'the condition is another one now';
        EXECUTE replace(pg_get_functiondef(f.oid), '  IF NOT (TG_RELID', '  IF false AND NOT (TG_RELID');
      END LOOP;
    END $do$;
    CREATE OR REPLACE FUNCTION threadline_internal.enter_first(written_at timestamptz, table_id integer) RETURNS uuid
    LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'";

const TYPES: &str = r"
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s', 'été');
    CREATE DOMAIN short AS text CHECK (length(VALUE) < 100);
    CREATE DOMAIN amount AS numeric(12, 3);
    CREATE TYPE pair AS (a int, b text)";

/// Types of columns with some of their values; those that are equal are written in more than one way.
const KINDS: [(&str, &[&str]); 29] = [
    ("integer", &["0", "1", "-7", "2147483647"]),
    ("bigint", &["0", "9007199254740993", "-1"]),
    ("smallint", &["0", "32767"]),
    (
        "text",
        &[
            "''",
            "'a'",
            "'A'",
            "'it''s \"q\" \\ \u{1} é 🦀'",
            "repeat('x', 20000)",
            "' '",
        ],
    ),
    ("varchar(20)", &["''", "'a'", "'ä'", "'null'"]),
    ("char(5)", &["''", "'a'", "'a  '"]),
    (
        "numeric",
        &["1", "1.0", "1.00", "-0", "'NaN'", "1e30", "1e-30"],
    ),
    ("numeric(10, 2)", &["1", "1.5", "0"]),
    ("boolean", &["true", "false"]),
    ("date", &["'2026-11-30'", "'infinity'", "'0044-03-15 BC'"]),
    (
        "timestamp",
        &["'2026-11-30 12:00:00.000001'", "'-infinity'"],
    ),
    (
        "timestamptz",
        &["'2026-11-30 12:00+02'", "'2026-11-30 10:00Z'", "'infinity'"],
    ),
    ("time", &["'12:00'", "'24:00'"]),
    ("timetz", &["'12:00+02'", "'10:00Z'"]),
    ("interval", &["'1 mon'", "'30 days'", "'-1 us'"]),
    (
        "uuid",
        &[
            "'00000000-0000-0000-0000-000000000001'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        ],
    ),
    ("bytea", &["''", "'\\x00ff'"]),
    (
        "jsonb",
        &[
            "'null'",
            "'{}'",
            "'{\"a\": 1.0}'",
            "'{\"a\": 1}'",
            "'\"x\"'",
            "'[1, {\"\": null}]'",
        ],
    ),
    (
        "json",
        &[
            "'null'",
            "'{\"a\": 1, \"a\": 2}'",
            "'{ \"a\":2 }'",
            "'\"\\u0000\"'",
        ],
    ),
    ("double precision", &["0", "'-0'", "'NaN'", "0.1", "1e300"]),
    ("real", &["0.1", "'Infinity'", "3"]),
    ("integer[]", &["'{}'", "'{1,NULL}'", "'[2:3]={1,2}'"]),
    ("text[]", &["'{a,\"b c\"}'", "'{}'"]),
    ("inet", &["'10.0.0.1'", "'10.0.0.1/32'", "'::1'"]),
    ("mood", &["'sad'", "'it''s'", "'été'"]),
    ("short", &["'a'", "'A'"]),
    ("amount", &["1", "1.0", "2.5"]),
    ("pair", &["ROW(1, 'x')", "ROW(NULL, NULL)"]),
    ("text COLLATE caseless", &["'a'", "'A'", "'b'"]),
];

/// Names of columns, among them those of variables and columns of the generated code.
const NAMES: [&str; 24] = [
    "name",
    "new",
    "old",
    "Sel ect",
    "image",
    "place",
    "o1",
    "n1",
    "u",
    "r",
    "running",
    "written_at",
    "known_changes",
    "known_key",
    "key_changed",
    "many",
    "changed",
    "context",
    "op",
    "id 'x'",
    "back\\slash",
    "a.b",
    "%I",
    "{values}",
];

/// Whether the table is not what its definition says.
const STALE: &str = "threadline.audited_tables AS t WHERE t.capture_ended_at IS NULL
    AND t.definition ->> 'layout' <> threadline_internal.column_layout(t.relation)";

/// What a transaction says of itself, well-formed and not.
const CONTEXTS: [&str; 20] = [
    r#"SET LOCAL threadline.actor_ref = '{"type":"user","id":"7"}'"#,
    r#"SET LOCAL threadline.actor_ref = '{"type":"anonymous"}'"#,
    r#"SET LOCAL threadline.actor_ref = '{"type":"anonymous","id":"7"}'"#,
    r#"SET LOCAL threadline.actor_ref = '{"type":"job","id":"7","more":1}'"#,
    r#"SET LOCAL threadline.actor_ref = '{"type":"user","id":7}'"#,
    r#"SET LOCAL threadline.actor_ref = '{"type":"user","id":""}'"#,
    r#"SET LOCAL threadline.actor_ref = '{"type":"nobody","id":"7"}'"#,
    r#"SET LOCAL threadline.actor_ref = '{"type":"user"'"#,
    "SET LOCAL threadline.actor_ref = 'null'",
    "SET LOCAL threadline.actor_ref = '[]'",
    "SELECT set_config('threadline.actor_ref', jsonb_build_object('type', 'user', 'id', repeat('é', 700))::text, true)",
    r#"SET LOCAL threadline.context = '{"source":"s","correlation_id":"c","request_id":"r","job_id":"j","remote_ip":"::1","meta":{"a":[1]}}'"#,
    r#"SET LOCAL threadline.context = '{"source":7,"correlation_id":null,"remote_ip":"010.0.0.1","meta":null}'"#,
    r#"SET LOCAL threadline.context = '{"remote_ip":"nowhere"}'"#,
    r#"SET LOCAL threadline.context = '{"meta":"text","on_behalf_of":{"type":"user","id":"8"}}'"#,
    r#"SET LOCAL threadline.context = '{"on_behalf_of":{"type":"x"}}'"#,
    "SET LOCAL threadline.context = '[1]'",
    "SET LOCAL threadline.context = 'nonsense'",
    "SELECT set_config('threadline.context', jsonb_build_object('source', repeat('s', 2000), 'meta', repeat('m', 17000))::text, true)",
    "SET LOCAL threadline.entered = 'forged,'; SET LOCAL threadline.entered_with = E'forged\\x1f\\x1f'",
];

/// Types of keys, all of which have numbers for values.
const KEYS: [&str; 7] = [
    "integer", "bigint", "uuid", "text", "numeric", "smallint", "char(8)",
];

/// A key, out of SQL for its number.
fn key(kind: &str, number: &str) -> String {
    match kind {
        "uuid" => format!("('00000000-0000-0000-0000-' || lpad(({number})::text, 12, '0'))::uuid"),
        kind => format!("({number})::{kind}"),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[derive(Clone)]
struct Column {
    name: String,
    kind: usize,
}

impl Column {
    fn value(&self, random: &mut Random) -> String {
        let (kind, values) = KINDS[self.kind];
        if random.one_in(5) {
            return "NULL".to_owned();
        }
        // A text in a row constructor has no type yet.
        let kind = kind.split(" COLLATE").next().unwrap();
        format!("({}::{kind})", random.of(values))
    }
}

struct Table {
    columns: Vec<Column>,
    /// The types of `k0` and `k1`, as far as there are any.
    keys: Vec<&'static str>,
    rows: usize,
    next_column: usize,
}

impl Table {
    fn new(random: &mut Random, caseless: bool) -> Self {
        let mut names: Vec<&str> = NAMES.to_vec();
        let kinds = KINDS.len() - usize::from(!caseless);
        let columns = (0..=random.below(7)).map(|_| Column {
            name: names.swap_remove(random.below(names.len())).to_owned(),
            kind: random.below(kinds),
        });
        Self {
            columns: columns.collect(),
            keys: (0..random.below(3)).map(|_| *random.of(&KEYS)).collect(),
            rows: 0,
            next_column: 0,
        }
    }

    /// The table `t`, with its key, and what asks for its capture.
    fn create(&self, random: &mut Random) -> String {
        let mut columns = Vec::new();
        for (number, kind) in self.keys.iter().enumerate() {
            columns.push(format!("k{number} {kind} NOT NULL"));
        }
        for column in &self.columns {
            columns.push(format!("{} {}", quoted(&column.name), KINDS[column.kind].0));
        }
        if random.one_in(4) {
            columns.push("g integer GENERATED ALWAYS AS (1 + 1) STORED".to_owned());
        }
        if !self.keys.is_empty() {
            let keys: Vec<_> = (0..self.keys.len()).map(|key| format!("k{key}")).collect();
            columns.push(format!("PRIMARY KEY ({})", keys.join(", ")));
        }
        let partitioned = !self.keys.is_empty() && random.one_in(5);
        let mut sql = format!("CREATE TABLE t ({})", columns.join(", "));
        if partitioned {
            sql.push_str(
                " PARTITION BY HASH (k0); CREATE TABLE t_0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);
                 CREATE TABLE t_1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
            );
        }
        let mut redaction = String::new();
        for (option, only_text) in [("mask", true), ("exclude", false)] {
            let columns = self.columns.iter().enumerate().filter(|(place, column)| {
                place % 3 == usize::from(only_text)
                    && (!only_text || KINDS[column.kind].0 == "text")
            });
            let names: Vec<_> = columns
                .map(|(_, column)| format!("'{}'", column.name.replace('\'', "''")))
                .collect();
            if !names.is_empty() && random.one_in(3) {
                write!(redaction, ", {option} => ARRAY[{}]", names.join(", ")).unwrap();
            }
        }
        let granularity = if partitioned {
            "row"
        } else {
            random.of(&["row", "statement"])
        };
        format!(
            "{sql}; SELECT threadline.audit_table('t', granularity => '{granularity}'{redaction})"
        )
    }

    /// A row that has another key than all before.
    fn row(&mut self, random: &mut Random) -> String {
        self.rows += 1;
        let keys = self.keys.iter().zip([self.rows, self.rows % 7]);
        let mut values: Vec<_> = keys
            .map(|(kind, number)| key(kind, &number.to_string()))
            .collect();
        values.extend(self.columns.iter().map(|column| column.value(random)));
        format!("({})", values.join(", "))
    }

    fn names(&self) -> String {
        let keys = (0..self.keys.len()).map(|key| format!("k{key}"));
        let names = self.columns.iter().map(|column| quoted(&column.name));
        keys.chain(names).collect::<Vec<_>>().join(", ")
    }

    fn some_rows(&self, random: &mut Random) -> &'static str {
        match (self.keys.len(), random.below(4)) {
            (0, 0) | (_, 1) => "",
            (0, _) => " WHERE t::text = (SELECT max(u::text) FROM t AS u)",
            (_, 0) => " WHERE k0::text LIKE '%1'",
            _ => " WHERE k0::text = (SELECT max(k0::text) FROM t)",
        }
    }

    fn statement(&mut self, random: &mut Random) -> String {
        let rows = self.some_rows(random);
        match random.below(12) {
            0..=3 => {
                let rows: Vec<_> = (0..*random.of(&[1, 1, 1, 3, 20]))
                    .map(|_| self.row(random))
                    .collect();
                format!(
                    "INSERT INTO t ({}) VALUES {}",
                    self.names(),
                    rows.join(", ")
                )
            }
            4..=7 if !self.columns.is_empty() => {
                let mut set = Vec::new();
                for column in &self.columns {
                    if random.one_in(2) {
                        set.push(format!(
                            "{} = {}",
                            quoted(&column.name),
                            column.value(random)
                        ));
                    }
                }
                if set.is_empty() {
                    let name = quoted(&self.columns[0].name);
                    set.push(format!("{name} = {name}"));
                }
                format!("UPDATE t SET {}{rows}", set.join(", "))
            }
            8 if !self.keys.is_empty() => {
                let number = "(right(k0::text, 12)::numeric + 1000)::text";
                format!("UPDATE t SET k0 = {}{rows}", key(self.keys[0], number))
            }
            9 => format!("DELETE FROM t{rows}"),
            10 if random.one_in(3) => "TRUNCATE t".to_owned(),
            _ => "SAVEPOINT s; DELETE FROM t; ROLLBACK TO s".to_owned(),
        }
    }

    /// What happens to the table between two scripts: mostly nothing.
    fn migration(&mut self, random: &mut Random, kinds: usize) -> Option<String> {
        if !random.one_in(8) {
            return None;
        }
        let place = random.below(self.columns.len().max(1));
        let sql = match random.below(6) {
            0 | 1 if !self.columns.is_empty() => {
                self.next_column += 1;
                let column = &mut self.columns[place];
                let old = quoted(&column.name);
                column.name = format!("renamed {}", self.next_column);
                format!("ALTER TABLE t RENAME {old} TO {}", quoted(&column.name))
            }
            2 | 3 => {
                self.next_column += 1;
                let column = Column {
                    name: format!("added {}", self.next_column),
                    kind: random.below(kinds),
                };
                let default = column.value(random);
                let sql = format!(
                    "ALTER TABLE t ADD {} {} DEFAULT {default}",
                    quoted(&column.name),
                    KINDS[column.kind].0
                );
                self.columns.push(column);
                sql
            }
            4 if self.columns.len() > 1 => {
                let column = self.columns.remove(place);
                format!("ALTER TABLE t DROP {}", quoted(&column.name))
            }
            5 if self.columns.len() > 1 => {
                let column = &mut self.columns[place];
                let sql = format!(
                    "ALTER TABLE t ALTER {0} TYPE text USING left({0}::text, 10)",
                    quoted(&column.name)
                );
                column.kind = 3;
                sql
            }
            _ => return Some("SELECT threadline.refresh_audited_tables()".to_owned()),
        };
        Some(if random.below(4) > 0 {
            format!("{sql}; SELECT threadline.refresh_audited_tables()")
        } else {
            sql
        })
    }

    fn script(&mut self, random: &mut Random) -> Vec<String> {
        let isolation = random.of(&[
            "",
            "",
            "",
            " ISOLATION LEVEL SERIALIZABLE",
            " ISOLATION LEVEL REPEATABLE READ",
        ]);
        let mut script = vec![format!("BEGIN{isolation}")];
        for _ in 0..random.below(3) {
            script.push((*random.of(&CONTEXTS)).to_owned());
        }
        for _ in 0..=random.below(5) {
            script.push(self.statement(random));
            if random.one_in(6) {
                script.push((*random.of(&CONTEXTS)).to_owned());
            }
        }
        script.push((*random.of(&["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"])).to_owned());
        script
    }
}

#[derive(QueryableByName)]
struct Recorded {
    #[diesel(sql_type = Text)]
    row: String,
}

/// All that is recorded, but for what two databases have each of their own: ids and times. The changes of a transaction are in
/// the order of their texts: those of one statement have no other.
const RECORDED: &str = "
    SELECT r.row FROM (
      SELECT dense_rank() OVER (ORDER BY c.transaction_id) AS number,
             concat_ws(' | ', dense_rank() OVER (ORDER BY c.definition_id), c.op, c.key_integer, c.key_bigint, c.key_uuid, c.key_text,
               'moved ' || c.moved_key, 'after ' || c.data_after::text, 'from ' || c.changed_from::text, 'in ' || c.context::text,
               t.actor_ref, t.on_behalf_of, t.source, t.correlation_id, t.request_id, t.job_id, t.remote_ip, t.meta, t.database_role,
               t.application_name,
               (SELECT string_agg(concat_ws(', ', x.actor_ref, x.on_behalf_of, x.correlation_id), '; ' ORDER BY x.digest)
                  FROM threadline_internal.transaction_contexts AS x WHERE x.transaction_id = c.transaction_id)) AS row
        FROM threadline.audit_changes AS c LEFT JOIN threadline.audit_transactions AS t ON t.id = c.transaction_id 
       WHERE c.captured_at > $1::timestamptz AND c.table_id = (SELECT a.id FROM threadline.audited_tables AS a WHERE a.relation = 't'::regclass)) AS r
     ORDER BY r.number, r.row COLLATE \"C\"";

/// A database, and what happened in it so far.
struct Way {
    _database: Database,
    conn: PgConnection,
    is_careful: bool,
    /// When what was recorded was last compared.
    compared_at: String,
}

impl Way {
    fn new(is_careful: bool) -> (Self, bool) {
        let (database, mut conn) = database(TYPES);
        let caseless = create_caseless(&mut conn);
        run(
            &mut conn,
            "SET escape_string_warning = off; SET standard_conforming_strings = on",
        );
        let way = Self {
            _database: database,
            conn,
            is_careful,
            compared_at: "-infinity".to_owned(),
        };
        (way, caseless)
    }

    /// What the server says of it; a failed statement fails the same way both ways.
    fn run(&mut self, sql: &str) -> Result<(), String> {
        self.conn
            .batch_execute(sql)
            .map_err(|error| error.to_string())
    }

    /// What was recorded of the table since it was asked last.
    fn recorded(&mut self) -> Vec<String> {
        let rows = diesel::sql_query(RECORDED).bind::<Text, _>(&self.compared_at);
        let rows: Vec<Recorded> = rows.load(&mut self.conn).unwrap();
        self.compared_at = text(&mut self.conn, "SELECT clock_timestamp()").unwrap();
        rows.into_iter().map(|row| row.row).collect()
    }

    fn migrate(&mut self, sql: &str) -> Result<(), String> {
        let mut result = self.run(sql);
        // A refresh leaves a table that somebody locks, as autovacuum does.
        for _ in 0..50 {
            if !sql.contains("refresh") || result.is_err() || count(&mut self.conn, STALE) == 0 {
                break;
            }
            result = self.run("SELECT threadline.refresh_audited_tables()");
        }
        if self.is_careful {
            run(&mut self.conn, BE_CAREFUL);
        }
        result
    }
}

/// What differs after a case, with its story; then the two databases have gone apart.
fn cases(seed: u64, tables: usize) -> Result<BTreeMap<&'static str, usize>, String> {
    let mut random = Random(seed);
    let ((mut fast, caseless), (mut careful, _)) = (Way::new(false), Way::new(true));
    let kinds = KINDS.len() - usize::from(!caseless);
    let mut tally = BTreeMap::new();
    for number in 0..tables {
        let mut table = Table::new(&mut random, caseless);
        let create = format!(
            "CREATE SCHEMA s{number}; SET search_path = s{number}, public; {}",
            table.create(&mut random)
        );
        let mut story = vec![create.clone()];
        let created = (fast.migrate(&create), careful.migrate(&create));
        if created.0 != created.1 || created.0.is_err() {
            return Err(format!("table {number}: {created:?}\n{create}"));
        }
        for _ in 0..SCRIPTS_OF_A_TABLE {
            if let Some(migration) = table.migration(&mut random, kinds) {
                story.push(migration.clone());
                let migrated = (fast.migrate(&migration), careful.migrate(&migration));
                if migrated.0 != migrated.1 {
                    return Err(format!(
                        "table {number}: {migrated:?}\n{}",
                        story.join(";\n")
                    ));
                }
            }
            for statement in table.script(&mut random) {
                story.push(statement.clone());
                let ran = (fast.run(&statement), careful.run(&statement));
                *tally
                    .entry(if ran.0.is_ok() { "ran" } else { "failed" })
                    .or_default() += 1;
                if ran.0 != ran.1 {
                    return Err(format!("table {number}: {ran:?}\n{}", story.join(";\n")));
                }
            }
            let (one, other) = (fast.recorded(), careful.recorded());
            *tally.entry("recorded").or_default() += one.len();
            if one != other {
                let differ = |a: &[String], b: &[String]| {
                    let rows = a.iter().filter(|row| !b.contains(row)).take(5);
                    rows.cloned().collect::<Vec<_>>().join("\n")
                };
                return Err(format!(
                    "table {number}, by name:\n{}\nwith care:\n{}\n\n{}",
                    differ(&one, &other),
                    differ(&other, &one),
                    story.join(";\n")
                ));
            }
        }
        for way in [&mut fast, &mut careful] {
            way.run(&format!(
                "SELECT threadline.unaudit_table('t'); DROP SCHEMA s{number} CASCADE"
            ))
            .unwrap();
        }
    }
    Ok(tally)
}

#[test]
fn record_the_same() {
    let seed = env::var(SEED)
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(20_261_130_u64);
    let tables = if few_cases() { 6 } else { 30 };
    let results: Vec<_> = thread::scope(|scope| {
        let running = [0, 1].map(|half| scope.spawn(move || cases(seed + half, tables)));
        running
            .into_iter()
            .map(|half| half.join().unwrap())
            .collect()
    });
    for result in results {
        match result {
            Ok(tally) => {
                println!("{SEED}={seed}: {tally:?}");
                assert!(
                    tally["recorded"] > tables * SCRIPTS_OF_A_TABLE * 3,
                    "{tally:?}"
                );
            }
            Err(story) => panic!("{SEED}={seed}: {story}"),
        }
    }
}
