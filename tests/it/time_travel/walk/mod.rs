//! The past through a random walk of writes, DDL, partitions that come and go, and restores. A copy of every table is kept
//! at each moment, and each migration is done to the copies as well. The past is the copy, or an error that says why not.

mod compare;
mod steps;
mod table;

use std::env;

use diesel::PgConnection;
use diesel::connection::SimpleConnection;
use threadline_test_support::Database;

use self::compare::Tally;
use self::table::Table;
use crate::common::{run, text};
use crate::random::Random;
use crate::restores::{dump, restore};

/// The variables of the environment that make the walk another one, or longer.
const SEED: &str = "WALK_SEED";
const STEPS: &str = "WALK_STEPS";

/// A table of any granularity, one with partitions, and one without a key.
const TABLES: &str = "
    CREATE TABLE items (id int CONSTRAINT items_key PRIMARY KEY, u int NOT NULL, a int, b int, c text, d text);
    CREATE TABLE parcels (region text NOT NULL, id int NOT NULL, u int NOT NULL, a int, b text,
                          CONSTRAINT parcels_key PRIMARY KEY (region, id)) PARTITION BY LIST (region);
    CREATE TABLE parcels_0 PARTITION OF parcels FOR VALUES IN ('r0');
    CREATE TABLE parcels_1 (b text, u int NOT NULL, id int NOT NULL, a int, region text NOT NULL);
    ALTER TABLE parcels ATTACH PARTITION parcels_1 FOR VALUES IN ('r1');
    CREATE TABLE bags (id int, u int NOT NULL, a int, c text);
    INSERT INTO items SELECT g, g, g, NULL, 'old ' || g, 'it''s' FROM generate_series(-6, -1) AS g;
    INSERT INTO parcels SELECT 'r' || g % 2, g, g, g, 'old' FROM generate_series(6, 12) AS g;
    INSERT INTO bags SELECT 1, 0, 2, 'old' FROM generate_series(1, 3);
    CREATE SCHEMA kept;
    CREATE TABLE kept.moments (moment_ int PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp());
    CREATE TABLE kept.items AS SELECT 0 AS moment_, i.* FROM items AS i WITH NO DATA;
    CREATE TABLE kept.parcels AS SELECT 0 AS moment_, p.* FROM parcels AS p WITH NO DATA;
    CREATE TABLE kept.bags AS SELECT 0 AS moment_, b.* FROM bags AS b WITH NO DATA";

struct Walk {
    database: Database,
    conn: PgConnection,
    random: Random,
    tables: Vec<Table>,
    /// How many moments are kept.
    moments: usize,
    /// Every number but those that are to come again is another one.
    counter: usize,
    tally: Tally,
    story: Vec<String>,
    failures: Vec<String>,
}

impl Walk {
    fn begin(seed: u64) -> Self {
        let database = Database::elsewhere();
        let mut conn = database.connect();
        diesel_migrations::MigrationHarness::run_pending_migrations(
            &mut conn,
            threadline::MIGRATIONS,
        )
        .unwrap();
        run(&mut conn, "SET client_min_messages = warning");
        let mut random = Random(seed);
        let granularity = random.of(&["NULL", "'row'", "'statement'"]);
        run(&mut conn, TABLES);
        run(
            &mut conn,
            &format!(
                "SELECT threadline.audit_table('items', granularity => {granularity});
                 SELECT threadline.audit_table('parcels'); SELECT threadline.audit_table('bags')"
            ),
        );
        let mut walk = Self {
            database,
            conn,
            random,
            tables: ["items", "parcels", "bags"].map(Table::new).into(),
            moments: 0,
            counter: 100,
            tally: Tally::default(),
            story: vec![format!("-- items by {granularity}")],
            failures: Vec::new(),
        };
        walk.keep();
        walk
    }

    /// Runs a transaction, which may fail, and tells whether it did not.
    fn attempt(&mut self, statements: &[String]) -> bool {
        let sql = statements.join(";\n");
        match self.conn.batch_execute(&format!("BEGIN; {sql}; COMMIT")) {
            Ok(()) => {
                self.story.push(format!("BEGIN;\n{sql};\nCOMMIT;"));
                true
            }
            Err(error) => {
                self.story
                    .push(format!("-- {error}: {}", sql.replace('\n', " ")));
                run(&mut self.conn, "ROLLBACK");
                false
            }
        }
    }

    /// Keeps a copy of each table.
    fn keep(&mut self) {
        let moment = self.moments;
        for at in 0..self.tables.len() {
            let name = self.tables[at].name;
            let columns = table::names(&table::columns(&mut self.conn, name));
            run(
                &mut self.conn,
                &format!(
                    "INSERT INTO kept.{name} (moment_, {columns}) SELECT {moment}, {columns} FROM {name}"
                ),
            );
        }
        run(
            &mut self.conn,
            &format!("INSERT INTO kept.moments VALUES ({moment})"),
        );
        self.story.push(format!("-- moment {moment}"));
        self.moments += 1;
    }

    /// Goes on in a copy on another server. What was altered since the last refresh is refreshed first: in a dump the
    /// numbers of columns are lost.
    fn move_on(&mut self) {
        if self.tables.iter().any(|table| table.dirty) {
            self.refresh();
        }
        let copy = Database::elsewhere();
        let dump = dump(&self.database, &["-Fc"]);
        restore(&dump, &copy, &["--exit-on-error", "--single-transaction"]).unwrap();
        self.conn = copy.connect();
        self.database = copy;
        run(&mut self.conn, "SET client_min_messages = warning");
        self.story.push("-- dump and restore".to_owned());
        self.tally.restores += 1;
        // The copy goes on before its refresh as well.
        if self.random.below(2) == 0 {
            self.write();
            self.keep();
            self.compare(3);
        }
        self.refresh();
    }

    fn refresh(&mut self) {
        self.story
            .push("SELECT threadline.refresh_audited_tables();".to_owned());
        text(&mut self.conn, "threadline.refresh_audited_tables()");
        self.refreshed();
    }

    fn refreshed(&mut self) {
        for table in &mut self.tables {
            table.refreshed(self.moments);
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..36 => self.write(),
            36..44 => self.straddle(),
            44..50 => self.refresh(),
            50..66 => self.migrate(Self::alter),
            66..80 => self.migrate(Self::convert),
            80..94 => self.migrate(|walk| Some(walk.partition())),
            _ => self.migrate(|walk| Some(walk.change_key())),
        }
    }
}

/// One walk, with a dump and restore after each third of it.
fn walk(seed: u64, steps: usize) -> (Tally, String) {
    let mut walk = Walk::begin(seed);
    for step in 1..=steps {
        walk.step();
        if step % (steps / 3) == 0 && step < steps {
            walk.move_on();
        }
        if walk.random.below(3) > 0 {
            walk.write();
        }
        walk.keep();
        walk.compare(5);
        if !walk.failures.is_empty() {
            break;
        }
    }
    if walk.failures.is_empty() {
        walk.refresh();
        walk.compare(usize::MAX);
    }
    let told = if walk.failures.is_empty() {
        String::new()
    } else {
        format!(
            "{}\n\n{}\n",
            walk.failures.join("\n"),
            walk.story.join("\n")
        )
    };
    (walk.tally, told)
}

/// After each step of the walk the past is exactly what was there, or an error of ours: nowhere another value. Most of it
/// is known.
#[test]
fn through_migrations_partitions_and_restores() {
    let given = |name| env::var(name).ok().and_then(|value| value.parse().ok());
    let seed: u64 = given(SEED).unwrap_or(20_261_130);
    let steps = given(STEPS).map_or(30, |steps| usize::try_from(steps).unwrap());
    let (tally, failures) = walk(seed, steps);
    assert!(failures.is_empty(), "{SEED}={seed} repeats it\n{failures}");
    println!("{SEED}={seed}: {tally:?}");
    assert!(
        tally.is_telling(),
        "{SEED}={seed}: too little is known of the past: {tally:?}"
    );
}
