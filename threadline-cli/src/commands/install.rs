use std::fs;
use std::io::Write;
use std::path::Path;

use diesel::connection::SimpleConnection;
use diesel_migrations::MigrationHarness;
use threadline::MIGRATIONS;
use threadline::migrations::{FILES, check_sql};

use crate::Result;
use crate::arguments::Migrations;
use crate::connection::Database;
use crate::output::{exact, say};

/// What is there already stays as it is: a migration that has run is not changed.
pub(crate) fn write(to: &Migrations) -> Result<()> {
    for patch in FILES {
        let directory = to.migration_dir.join(patch.name);
        if directory.exists() {
            refuse_changed(&directory, patch.up)?;
            continue;
        }
        write_migration(to, patch.name, patch.up, patch.down, None)?;
    }
    Ok(())
}

fn refuse_changed(directory: &Path, up: &str) -> Result<()> {
    let file = directory.join("up.sql");
    let found =
        fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    if found == up {
        return Ok(());
    }
    let file = file.display();
    Err(
        format!("{file} is not what this version of threadline has: nothing was written there")
            .into(),
    )
}

/// Whole or not at all, so that no migration lacks its half.
pub(crate) fn write_migration(
    to: &Migrations,
    name: &str,
    up: &str,
    down: &str,
    metadata: Option<&str>,
) -> Result<()> {
    let directory = to.migration_dir.join(name);
    if to.dry_run {
        let (up, down) = (up.trim_end(), down.trim_end());
        let directory = directory.display();
        // For a file or psql, so as it is.
        writeln!(
            exact(),
            "-- {directory}/up.sql\n{up}\n\n-- {directory}/down.sql\n{down}\n"
        )?;
        if let Some(metadata) = metadata {
            let metadata = metadata.trim_end();
            // A comment to psql, like the names of the files.
            writeln!(exact(), "-- {directory}/metadata.toml\n-- {metadata}\n")?;
        }
        return Ok(());
    }
    let unfinished = to.migration_dir.join(format!(".{name}"));
    let written = fs::create_dir_all(&unfinished)
        .and_then(|()| fs::write(unfinished.join("up.sql"), up))
        .and_then(|()| fs::write(unfinished.join("down.sql"), down))
        .and_then(|()| match metadata {
            Some(metadata) => fs::write(unfinished.join("metadata.toml"), metadata),
            None => Ok(()),
        })
        .and_then(|()| fs::rename(&unfinished, &directory));
    let directory = directory.display();
    written.map_err(|error| format!("{directory}: {error}"))?;
    say!("Creating {}", directory)
}

pub(crate) fn apply(conn: &mut Database) -> Result<()> {
    // Before Diesel reads the table of migrations, which may be a view that runs code.
    conn.batch_execute(check_sql())?;
    let applied = conn
        .run_pending_migrations(MIGRATIONS)
        .map_err(|error| error.to_string())?;
    for version in &applied {
        say!("Running migration {}", version)?;
    }
    if applied.is_empty() {
        say!("All migrations have run")?;
    }
    Ok(())
}
