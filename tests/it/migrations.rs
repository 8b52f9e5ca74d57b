//! `threadline::MIGRATIONS`: up, down and up again, by whoever may create a schema.

use std::collections::BTreeSet;
use std::path::Path;

use diesel::Connection;
use diesel::connection::{BoxableConnection, SimpleConnection};
use diesel::migration::{
    Migration, MigrationMetadata, MigrationName, MigrationSource, MigrationVersion,
};
use diesel::pg::{Pg, PgConnection};
use diesel_migrations::{FileBasedMigrations, MigrationHarness};
use threadline::{ActorRef, AuditContext, AuditedConnection};
use threadline_test_support::Database;

use crate::common::{changes, run, text};

const ITEMS: &str = "CREATE TABLE items (id int PRIMARY KEY, name text);
    SELECT threadline.audit_table('items'); INSERT INTO items VALUES (1, 'a')";

/// Reverting takes the audit log with it, leaves audited tables as they are and writable, and can be run again.
#[test]
fn up_down_up() {
    let database = Database::empty();
    let mut conn = database.connect();
    let count = conn
        .run_pending_migrations(threadline::MIGRATIONS)
        .unwrap()
        .len();
    assert!(count > 0);
    run(&mut conn, ITEMS);
    assert_eq!(
        conn.run_pending_migrations(threadline::MIGRATIONS)
            .unwrap()
            .len(),
        0
    );

    run(&mut conn, "SET threadline.drop_audit_log = 'yes'");
    assert_eq!(
        conn.revert_all_migrations(threadline::MIGRATIONS)
            .unwrap()
            .len(),
        count
    );
    let leftovers =
        "SELECT count(*) FROM pg_namespace WHERE nspname IN ('threadline', 'threadline_internal')";
    assert_eq!(text(&mut conn, leftovers).unwrap(), "0");
    let triggers = "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'items'::regclass";
    assert_eq!(text(&mut conn, triggers).unwrap(), "0");
    run(
        &mut conn,
        "UPDATE items SET name = 'unrecorded'; DROP TABLE items",
    );

    conn.run_pending_migrations(threadline::MIGRATIONS).unwrap();
    run(&mut conn, ITEMS);
    assert_eq!(changes(&mut conn, "public.items").len(), 1);
}

/// A program that Threadline was taken away from can go on with its audited transactions, nested ones included: they only send settings.
#[test]
fn audited_transactions_without_the_schema() {
    let database = Database::empty();
    let mut conn = database.connect();
    run(&mut conn, "CREATE TABLE items (id int PRIMARY KEY)");
    let (outer, inner) = ["1", "2"]
        .map(|id| AuditContext::new(ActorRef::user(id)))
        .into();
    conn.audited_transaction(&outer, |conn| {
        run(conn, "INSERT INTO items VALUES (1)");
        conn.audited_transaction(&inner, |conn| {
            run(conn, "INSERT INTO items VALUES (2)");
            diesel::QueryResult::Ok(())
        })
    })
    .unwrap();
    assert_eq!(text(&mut conn, "SELECT count(*) FROM items").unwrap(), "2");
}

/// `refreshing` has the audited tables refreshed at the end of each migration, up or down, with and without a transaction;
/// before Threadline is there and after it has gone, migrations run as they are.
#[test]
fn migrations_refresh_audited_tables() {
    let database = Database::empty();
    let mut conn = database.connect();
    let directory = std::env::temp_dir().join(format!("{}_migrations", database.name()));
    for (file, text) in [
        (
            "1_items/up.sql",
            "CREATE TABLE items (id int PRIMARY KEY, name text)",
        ),
        ("1_items/down.sql", "DROP TABLE items"),
        (
            "2_upper/up.sql",
            "ALTER TABLE items ALTER name TYPE text USING upper(name)",
        ),
        (
            "2_upper/down.sql",
            "ALTER TABLE items ALTER name TYPE text USING lower(name)",
        ),
        ("3_price/up.sql", "ALTER TABLE items ADD price int"),
        ("3_price/down.sql", "ALTER TABLE items DROP price"),
        ("3_price/metadata.toml", "run_in_transaction = false"),
    ] {
        let file = directory.join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    let source = FileBasedMigrations::from_path(directory.to_str().unwrap()).unwrap();
    let source = threadline::migrations::refreshing(source);
    conn.run_next_migration(source.clone()).unwrap();
    conn.run_pending_migrations(threadline::MIGRATIONS).unwrap();
    run(
        &mut conn,
        "SELECT threadline.audit_table('items'); INSERT INTO items VALUES (1, 'a')",
    );

    let stale = "SELECT string_agg(message, '; ') FROM threadline.health WHERE \"check\" = 'definition_stale'";
    // So it is only where the refresh is in the transaction of the migration.
    let declarable =
        "SELECT string_agg(can_be_declared::text, ' ') FROM threadline.column_conversions";
    conn.run_next_migration(source.clone()).unwrap();
    assert_eq!(text(&mut conn, declarable).unwrap(), "true");
    run(&mut conn, "INSERT INTO items VALUES (2, 'B')");
    conn.run_next_migration(source.clone()).unwrap();
    assert_eq!(text(&mut conn, stale), None);
    conn.revert_last_migration(source.clone()).unwrap();
    assert_eq!(text(&mut conn, stale), None);
    conn.revert_last_migration(source.clone()).unwrap();
    assert_eq!(text(&mut conn, declarable).unwrap(), "true true");

    run(&mut conn, "SET threadline.drop_audit_log = 'yes'");
    let threadline: Vec<Box<dyn Migration<Pg>>> = threadline::MIGRATIONS.migrations().unwrap();
    for migration in threadline.iter().rev() {
        conn.revert_migration(migration).unwrap();
    }
    conn.run_pending_migrations(source.clone()).unwrap();
    conn.revert_all_migrations(source).unwrap();
    std::fs::remove_dir_all(directory).unwrap();
}

/// A migration that does nothing.
struct Nothing;

impl MigrationSource<Pg> for Nothing {
    fn migrations(&self) -> diesel::migration::Result<Vec<Box<dyn Migration<Pg>>>> {
        Ok(vec![Box::new(Nothing)])
    }
}

impl Migration<Pg> for Nothing {
    fn run(&self, _: &mut dyn BoxableConnection<Pg>) -> diesel::migration::Result<()> {
        Ok(())
    }

    fn revert(&self, _: &mut dyn BoxableConnection<Pg>) -> diesel::migration::Result<()> {
        Ok(())
    }

    fn metadata(&self) -> &dyn MigrationMetadata {
        self
    }

    fn name(&self) -> &dyn MigrationName {
        self
    }
}

impl MigrationMetadata for Nothing {}

impl MigrationName for Nothing {
    fn version(&self) -> MigrationVersion<'_> {
        "20261130000000".into()
    }
}

impl std::fmt::Display for Nothing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("20261130000000_nothing")
    }
}

/// So it is for migrations that run on an asynchronous connection.
#[tokio::test(flavor = "multi_thread")]
async fn asynchronous_migrations_refresh_audited_tables() {
    use diesel_async::{AsyncConnection, AsyncMigrationHarness, AsyncPgConnection};

    let database = Database::new();
    let mut conn = database.connect();
    run(
        &mut conn,
        &format!("{ITEMS}; ALTER TABLE items ADD price int"),
    );
    let stale = "SELECT count(*) FROM threadline.health WHERE \"check\" = 'definition_stale'";
    assert_eq!(text(&mut conn, stale).unwrap(), "1");
    let asynchronous = AsyncPgConnection::establish(database.url()).await.unwrap();
    let mut harness = AsyncMigrationHarness::new(asynchronous);
    harness
        .run_pending_migrations(threadline::migrations::refreshing(Nothing))
        .unwrap();
    assert_eq!(text(&mut conn, stale).unwrap(), "0");
}

/// Reverting refuses to drop a log that has a change or an action in it, and says which setting drops it all the same.
#[test]
fn down_keeps_a_log_with_changes() {
    let in_the_log = [
        ITEMS,
        r#"SELECT threadline.record_action('stock.counted', actor_ref => '{"type": "system", "id": "till"}')"#,
    ];
    for sql in in_the_log {
        let database = Database::new();
        let mut conn = database.connect();
        run(&mut conn, sql);
        for setting in [
            "RESET threadline.drop_audit_log",
            "SET threadline.drop_audit_log = 'no'",
        ] {
            run(&mut conn, setting);
            let error = conn
                .revert_last_migration(threadline::MIGRATIONS)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("the audit log has changes or actions in it, so it is not dropped"),
                "{error}"
            );
        }
        let kept = "SELECT (SELECT count(*) FROM threadline.audit_changes) + (SELECT count(*) FROM threadline.audit_actions)";
        assert_eq!(text(&mut conn, kept).unwrap(), "1");
        run(&mut conn, "SET threadline.drop_audit_log = 'yes'");
        conn.revert_last_migration(threadline::MIGRATIONS).unwrap();
    }
    // A log with nothing in it goes without a word, audited tables or not.
    let database = Database::new();
    let mut conn = database.connect();
    run(
        &mut conn,
        "CREATE TABLE items (id int PRIMARY KEY); SELECT threadline.audit_table('items')",
    );
    conn.revert_last_migration(threadline::MIGRATIONS).unwrap();
    run(&mut conn, "INSERT INTO items VALUES (1)");
}

/// The migration of the next release is what `sql/` makes.
#[test]
fn migration_is_written_from_sql() {
    let next = xtask::migration(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    let directory = Path::new("migrations").join(&next.name);
    let read = |file| std::fs::read_to_string(directory.join(file)).unwrap_or_default();
    assert!(
        read("up.sql") == next.up && read("down.sql") == next.down,
        "{} is not what sql/ makes: run `cargo xtask migration`",
        directory.display()
    );
}

/// `sql/order.txt` names every file of `sql/` that the migration is written from.
#[test]
fn every_sql_file_is_in_the_migration() {
    let sql = Path::new("sql");
    let named: BTreeSet<_> = xtask::files(sql).unwrap().into_iter().collect();
    let mut found = BTreeSet::new();
    let mut directories = vec![sql.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "sql") {
                found.insert(path);
            }
        }
    }
    for apart in ["sql/down.sql", "sql/upgrade.sql"] {
        assert!(found.remove(Path::new(apart)), "{apart} is there");
    }
    assert_eq!(named, found);
}

/// No line of `sql/` is longer than 120 columns. A function of more than 60 lines says in its header why.
#[test]
fn sql_is_formatted() {
    let mut wrong = Vec::new();
    for path in xtask::files(Path::new("sql")).unwrap() {
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in (1..).zip(text.lines()) {
            if line.chars().count() > 120 {
                wrong.push(format!(
                    "{}:{number} has more than 120 columns",
                    path.display()
                ));
            }
        }
        let lines: Vec<_> = text.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let Some(name) = line.strip_prefix("CREATE FUNCTION ") else {
                continue;
            };
            let body = lines[start..]
                .iter()
                .position(|line| line.ends_with("$function$;"));
            let mut comment = lines[..start]
                .iter()
                .rev()
                .take_while(|line| line.starts_with("--"));
            let excused = comment.any(|line| line.contains("More than 60"));
            if body.is_some_and(|last| last >= 60) && !excused {
                wrong.push(format!("{}: {name} has more than 60 lines", path.display()));
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
}

/// A released migration is never edited: its checksum stands in `sql/released.sha256`.
#[test]
fn released_migrations_are_frozen() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(xtask::changed_releases(root).unwrap(), [""; 0]);
    let released = xtask::released(root).unwrap();
    let files: Vec<_> = threadline::migrations::FILES
        .iter()
        .map(|file| file.name)
        .collect();
    assert_eq!(
        files.len(),
        released.len() + 1,
        "{files:?} are the released migrations {released:?} and that of the next release"
    );
}

/// The migration creates functions without looking into them. PostgreSQL finds nothing wrong with any of them.
#[test]
fn function_bodies_are_valid() {
    let database = Database::new();
    let mut conn = database.connect();
    run(
        &mut conn,
        "DO $do$
         DECLARE
           function regprocedure;
         BEGIN
           SET LOCAL check_function_bodies = on;
           FOR function IN SELECT oid FROM pg_proc WHERE pronamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace) LOOP
             EXECUTE pg_get_functiondef(function);
           END LOOP;
         END
         $do$",
    );
}

/// Threadline's version sorts before any that Diesel gives a project's own migration, and after Diesel's own.
#[test]
fn version_sorts_before_those_of_projects() {
    for file in threadline::migrations::FILES {
        let (version, name) = file.name.split_once('_').unwrap();
        assert!(
            ("00000000000000".."19700101000000").contains(&version),
            "{version}"
        );
        assert!(name.starts_with("threadline_"), "{name}");
    }
}

/// No superuser, no extension: a role that owns its database does it all.
#[test]
fn needs_no_superuser() {
    let database = Database::empty();
    let mut conn = database.connect();
    let role = format!("{}_owner", database.name());
    run(
        &mut conn,
        &format!(
            r#"CREATE ROLE "{role}"; ALTER DATABASE "{0}" OWNER TO "{role}"; GRANT ALL ON SCHEMA public TO "{role}""#,
            database.name()
        ),
    );
    run(&mut conn, &format!(r#"SET ROLE "{role}""#));
    assert_eq!(
        text(
            &mut conn,
            "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
        )
        .unwrap(),
        "false"
    );
    conn.run_pending_migrations(threadline::MIGRATIONS).unwrap();
    run(&mut conn, ITEMS);
    let written = "SELECT database_role FROM threadline.changes";
    assert_eq!(text(&mut conn, written).unwrap(), role);
    let extensions = "SELECT string_agg(extname, ',') FROM pg_extension";
    assert_eq!(text(&mut conn, extensions).unwrap(), "plpgsql");
    conn.batch_execute(&format!(
        r#"RESET ROLE; DROP OWNED BY "{role}" CASCADE; ALTER DATABASE "{}" OWNER TO CURRENT_USER; DROP ROLE "{role}""#,
        database.name()
    ))
    .unwrap();
}

/// `install` says what is missing when the migrations have not run.
#[test]
fn install_without_migrations() {
    let database = Database::empty();
    let mut conn = database.connect();
    let error = threadline::capture::install(&mut conn, &[]).unwrap_err();
    assert!(matches!(error, threadline::Error::NotMigrated), "{error:?}");
    assert!(
        error
            .to_string()
            .contains("run threadline::MIGRATIONS first")
    );
}

diesel::table! {
    items {
        id -> Int4,
        name -> Nullable<Text>,
    }
}

/// `install` ends at the first table that is refused, with the hint of the refusal, and does nothing when nothing changed.
#[test]
fn install_table_by_table() {
    let database = Database::new();
    let mut conn = database.connect();
    run(
        &mut conn,
        "CREATE TABLE items (id int PRIMARY KEY, name text); CREATE TABLE others (id int PRIMARY KEY)",
    );
    diesel::table! { others { id -> Int4, } }
    let items = threadline::TableSpec::new(items::table);
    let wrong = threadline::TableSpec::new(others::table).mask(["nmae"]);
    let error = threadline::capture::install(&mut conn, &[items.clone(), wrong]).unwrap_err();
    let threadline::Error::Refused { message, hint } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(message, "cannot audit public.others: it has no column nmae");
    assert_eq!(hint, "Its columns are: id.");
    assert_eq!(
        text(&mut conn, "SELECT count(*) FROM threadline.audited_tables").unwrap(),
        "1"
    );

    threadline::capture::install(&mut conn, std::slice::from_ref(&items)).unwrap();
    // With a writer in the middle of its transaction: had install anything to do, it would wait for the table.
    let mut writer = database.connect();
    run(&mut writer, "BEGIN; INSERT INTO items VALUES (1, 'a')");
    run(&mut conn, "SET lock_timeout = '1s'");
    threadline::capture::install(&mut conn, &[items]).unwrap();
    run(&mut writer, "COMMIT");
    assert_eq!(changes(&mut conn, "public.items").len(), 1);
}

/// Whoever calls `audit_table`, a superuser too: the capture functions belong to the owner of the audit log, and run
/// with no other rights.
#[test]
fn functions_belong_to_the_owner_of_the_record() {
    let database = Database::new();
    let mut conn = database.connect();
    let role = format!("{}_record", database.name());
    run(
        &mut conn,
        &format!(
            r#"CREATE ROLE "{role}"; ALTER TABLE threadline.audit_changes OWNER TO "{role}";
               CREATE TABLE items (id int PRIMARY KEY); GRANT SELECT ON items TO "{role}";
               GRANT ALL ON SCHEMA threadline, threadline_internal TO "{role}"; SELECT threadline.audit_table('items')"#
        ),
    );
    let owners = "SELECT string_agg(DISTINCT proowner::regrole::text, ',') FROM pg_proc
                   WHERE pronamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace) AND proname ~ '^(capture_[0-9]+_.*|versions_[0-9]+)$'";
    assert_eq!(text(&mut conn, owners).unwrap(), role);
    run(
        &mut conn,
        &format!(r#"DROP OWNED BY "{role}" CASCADE; DROP ROLE "{role}""#),
    );
}

/// One table that can no longer be audited as it was does not keep a refresh, or an upgrade, from the others.
#[test]
fn refresh_goes_on() {
    let database = Database::new();
    let mut conn = database.connect();
    run(
        &mut conn,
        "CREATE TABLE a (id int PRIMARY KEY, name text NOT NULL); SELECT threadline.audit_table('a', mask => '{name}');
         CREATE TABLE b (id int PRIMARY KEY); SELECT threadline.audit_table('b');
         ALTER TABLE a DROP CONSTRAINT a_pkey, ADD PRIMARY KEY (id, name); ALTER TABLE b ADD COLUMN name text",
    );
    assert_eq!(
        text(&mut conn, "SELECT threadline.refresh_audited_tables()").unwrap(),
        "1"
    );
    run(
        &mut conn,
        "INSERT INTO a VALUES (1, 'hidden'); INSERT INTO b VALUES (1, 'shown')",
    );
    let images: Vec<_> = ["public.a", "public.b"]
        .into_iter()
        .flat_map(|table| changes(&mut conn, table))
        .map(|change| change.data_after.unwrap()["name"].clone())
        .collect();
    assert_eq!(images, ["[REDACTED]", "shown"]);
}

/// The SQL that is handed out is that of all migrations.
#[test]
fn patches_are_the_migrations() {
    let of_directory = |entry: std::io::Result<std::fs::DirEntry>| {
        let directory = entry.unwrap().path();
        let sql = |file| std::fs::read_to_string(directory.join(file)).unwrap();
        let name = directory.file_name().unwrap().to_str().unwrap().to_owned();
        (name, sql("up.sql"), sql("down.sql"))
    };
    let directories = std::fs::read_dir("migrations").unwrap();
    let mut directories: Vec<_> = directories.map(of_directory).collect();
    directories.sort();
    let patches = threadline::migrations::FILES.iter();
    let patches: Vec<_> = patches
        .map(|patch| {
            let [name, up, down] = [patch.name, patch.up, patch.down].map(ToOwned::to_owned);
            (name, up, down)
        })
        .collect();
    assert_eq!(patches, directories);
}

/// The migrations are plain ASCII, which a database of any encoding reads.
#[test]
fn plain_ascii() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    for migration in std::fs::read_dir(folder).unwrap() {
        for file in std::fs::read_dir(migration.unwrap().path()).unwrap() {
            let file = file.unwrap().path();
            let sql = std::fs::read_to_string(&file).unwrap();
            let line = sql.lines().find(|line| !line.is_ascii());
            assert_eq!(line, None, "{}", file.display());
        }
    }
}

/// Threadline installs by Diesel, captures, masks and reads the past in databases of other encodings.
#[test]
fn other_encodings() {
    let database = Database::empty();
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let name = format!("{}_{}", database.name(), encoding.to_lowercase());
        let mut conn = database.connect();
        run(
            &mut conn,
            &format!(
                "CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
            ),
        );
        let url = database.url().replace(database.name(), &name);
        let mut other = PgConnection::establish(&url).unwrap();
        other
            .run_pending_migrations(threadline::MIGRATIONS)
            .unwrap();
        run(
            &mut other,
            r#"CREATE TABLE "straße" (id text PRIMARY KEY, secret text, "ü" text, j json);
               SELECT threadline.audit_table('"straße"', mask => '{secret}');
               INSERT INTO "straße" VALUES ('ä', 'x', 'ö', '{"a": "\u4e2d"}')"#,
        );
        let at = text(&mut other, "SELECT clock_timestamp()").unwrap();
        run(
            &mut other,
            r#"UPDATE "straße" SET secret = 'y', "ü" = NULL"#,
        );
        let then = format!(
            r#"SELECT concat(id, ' ', secret, ' ', "ü") FROM threadline_internal."as_of straße"(NULL::"straße", '{at}')"#
        );
        assert_eq!(
            text(&mut other, &then).as_deref(),
            Some("ä [REDACTED] ö"),
            "{encoding}"
        );
        drop(other);
        run(&mut conn, &format!("DROP DATABASE {name}"));
    }
}
