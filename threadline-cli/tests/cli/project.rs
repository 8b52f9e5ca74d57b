//! A database and a directory, and the program run in it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection};
use serde_json::Value;
use threadline_test_support::{Content, Database};

/// A database, and a directory to work in, which goes when the test ends.
pub(crate) struct Project {
    pub(crate) database: Database,
    pub(crate) directory: PathBuf,
}

impl Project {
    pub(crate) fn new(content: Content) -> Self {
        let database = Database::create(content).unwrap();
        let directory = std::env::temp_dir().join(format!("{}_cli", database.name()));
        fs::create_dir_all(&directory).unwrap();
        Self {
            database,
            directory,
        }
    }

    /// With two audited tables, and changes of two actors.
    pub(crate) fn with_changes() -> Self {
        let project = Self::new(Content::Migrated);
        project.run(
            r#"CREATE TABLE users (id int PRIMARY KEY, name text, email text, balance numeric); CREATE TABLE pairs (a int, b text, PRIMARY KEY (a, b));
               SELECT threadline.audit_table('users', mask => '{email}'), threadline.audit_table('pairs');
               BEGIN; SELECT set_config('threadline.actor_ref', '{"type": "user", "id": "ada"}', true);
               INSERT INTO users VALUES (1, 'Grace', 'g@example.com', 12345678901234567890.10), (2, 'Linus', NULL, 0); COMMIT;
               UPDATE users SET name = 'Grace Hopper' WHERE id = 1; INSERT INTO pairs VALUES (-1, 'x, y'); DELETE FROM users WHERE id = 2"#,
        );
        project
    }

    pub(crate) fn run(&self, sql: &str) {
        let mut conn = PgConnection::establish(self.database.url()).unwrap();
        conn.batch_execute(sql).unwrap();
    }

    pub(crate) fn threadline(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_threadline"))
            .args(arguments)
            .env("DATABASE_URL", self.database.url())
            .env_remove("MIGRATION_DIRECTORY")
            .current_dir(&self.directory)
            .output()
            .unwrap()
    }

    /// What it prints when all is well.
    #[track_caller]
    pub(crate) fn said(&self, arguments: &[&str]) -> String {
        let output = self.threadline(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let said = self.said(&[arguments, &["--format", "json"]].concat());
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    /// What it says when it cannot: nothing on standard output, and code 2.
    #[track_caller]
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let output = self.threadline(arguments);
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            (output.status.code(), &*stdout),
            (Some(2), ""),
            "{arguments:?}"
        );
        String::from_utf8(output.stderr).unwrap()
    }

    pub(crate) fn migrations(&self) -> Vec<String> {
        let name = |entry: std::io::Result<fs::DirEntry>| {
            entry.unwrap().file_name().into_string().unwrap()
        };
        let mut names: Vec<_> = fs::read_dir(self.directory.join("migrations"))
            .unwrap()
            .map(name)
            .collect();
        names.sort();
        names
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}
