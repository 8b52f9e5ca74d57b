use std::process::Command;
use std::time::Instant;

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Text, Timestamptz};
use threadline_test_support::Database;

use crate::{Result, Server, Size, server};

const LOG: &str = concat!(
    include_str!("../log.sql"),
    include_str!("../keys.sql"),
    "DROP VIEW images;\nDROP TABLE events;\n"
);

/// The settings of every session. The default of 4 MB is meant for many small queries at once.
pub const SETTINGS: &str = "SET work_mem = '64MB'";

#[derive(QueryableByName)]
struct MissingIndex {
    #[diesel(sql_type = Text)]
    concurrent_statement: String,
}

/// A database with a year of changes, which is dropped together with this value.
pub struct Data {
    /// The database.
    pub database: Database,
    /// When the year ends, by the clock of the server.
    pub now: DateTime<Utc>,
}

impl Data {
    /// Creates the database and writes the changes.
    ///
    /// # Errors
    /// If there is no room for them, or a statement fails.
    pub fn generate(size: Size) -> Result<Self> {
        let mut data = Self {
            database: Database::new(),
            now: DateTime::default(),
        };
        data.has_room_for(size)?;
        let mut conn = data.connect("")?;
        let Size { rows, changes } = size;
        let start = Instant::now();
        let progress = |what: &str| eprintln!("{:6.1} s  {what}", start.elapsed().as_secs_f32());
        progress(&format!("{rows} rows and {changes} changes"));
        let log = LOG
            .replace("{rows}", &rows.to_string())
            .replace("{changes}", &changes.to_string());
        // One by one: together they would be one transaction, and some take a minute.
        for statement in log.split_inclusive(";\n") {
            let lines = || statement.lines().filter(|line| !line.starts_with("--"));
            let first: String = lines()
                .find(|line| !line.is_empty())
                .unwrap_or_default()
                .chars()
                .take(90)
                .collect();
            progress(&first);
            conn.batch_execute(statement)?;
        }
        progress("the indexes that `threadline maintain` makes");
        let missing =
            sql_query("SELECT concurrent_statement FROM threadline_internal.missing_key_indexes()");
        for MissingIndex {
            concurrent_statement,
        } in missing.load(&mut conn)?
        {
            conn.batch_execute(&concurrent_statement)?;
        }
        progress("VACUUM ANALYZE");
        conn.batch_execute("VACUUM ANALYZE")?;
        data.now = diesel::select(sql::<Timestamptz>("clock_timestamp()")).get_result(&mut conn)?;
        progress("done");
        Ok(data)
    }

    /// A new connection. None of its prepared statements has a plan yet.
    pub fn connect(&self, settings: &str) -> Result<PgConnection> {
        let mut conn = PgConnection::establish(self.database.url())?;
        conn.batch_execute(&format!("{SETTINGS}; {settings}"))?;
        Ok(conn)
    }

    /// The version and settings of the server.
    pub fn server(&self) -> Result<Server> {
        server(&mut self.connect("")?)
    }

    /// A change takes half a kilobyte, and as much again while it is written. Nothing is known about a server on another machine,
    /// or one whose directory is closed to us.
    fn has_room_for(&self, size: Size) -> Result<()> {
        let directory: String = diesel::select(sql::<Text>("current_setting('data_directory')"))
            .get_result(&mut self.connect("")?)?;
        let needed = u64::from(size.changes) / 1000;
        let output = Command::new("df").args(["-Pk", &directory]).output()?;
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        let available = output
            .lines()
            .nth(1)
            .and_then(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok());
        match available.map(|kilobytes| kilobytes / 1024) {
            Some(available) if available < needed => Err(format!(
                "{} changes need {needed} MB, but {directory} has {available} MB. Use --quick, or a place with more room: THREADLINE_TEST_DIRECTORY, or DATABASE_URL for another server",
                size.changes
            )
            .into()),
            _ => Ok(()),
        }
    }
}
