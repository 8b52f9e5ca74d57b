//! `threadline::MIGRATIONS`: up, down and up again, by whoever may create a schema.

use diesel::connection::SimpleConnection;
use diesel_migrations::MigrationHarness;
use threadline_test_support::Database;

use crate::common::{changes, run, text};

const ITEMS: &str = "CREATE TABLE items (id int PRIMARY KEY, name text);
    SELECT threadline.audit_table('items'); INSERT INTO items VALUES (1, 'a')";

/// Reverting takes the record with it, leaves audited tables as they are and writable, and can be run again.
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

    assert_eq!(
        conn.revert_all_migrations(threadline::MIGRATIONS)
            .unwrap()
            .len(),
        count
    );
    let leftovers = "SELECT count(*) FROM pg_namespace WHERE nspname = 'threadline'";
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

/// Step by step down and up again, with a table under capture: the steps that keep the tables keep the record.
#[test]
fn redo_with_audited_tables() {
    let database = Database::new();
    let mut conn = database.connect();
    run(&mut conn, ITEMS);
    conn.revert_last_migration(threadline::MIGRATIONS).unwrap();
    run(&mut conn, "INSERT INTO items VALUES (2, 'not captured')");
    conn.run_pending_migrations(threadline::MIGRATIONS).unwrap();
    run(
        &mut conn,
        "SELECT threadline.audit_table('items'); INSERT INTO items VALUES (3, 'captured again')",
    );
    let keys: Vec<_> = changes(&mut conn, "public.items")
        .into_iter()
        .filter_map(|c| c.row_key)
        .collect();
    assert_eq!(keys, ["1", "3"]);
    let gap = "SELECT capture_since > (SELECT min(captured_at) FROM threadline.audit_changes)
                 FROM threadline.audited_tables";
    assert_eq!(
        text(&mut conn, gap).unwrap(),
        "true",
        "capture starts anew after the gap"
    );
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

/// `install` installs all or nothing, tells a refusal with its hint, and does nothing when nothing changed.
#[test]
fn install_is_all_or_nothing() {
    let database = Database::new();
    let mut conn = database.connect();
    run(
        &mut conn,
        "CREATE TABLE items (id int PRIMARY KEY, name text); CREATE TABLE others (id int PRIMARY KEY)",
    );
    diesel::table! { others { id -> Int4, } }
    let items = threadline::TableSpec::of::<items::table>();
    let wrong = threadline::TableSpec::of::<others::table>().mask(["nmae"]);
    let error = threadline::capture::install(&mut conn, &[items.clone(), wrong]).unwrap_err();
    let threadline::Error::Refused { message, hint } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(message, "cannot audit public.others: it has no column nmae");
    assert_eq!(hint, "Its columns are: id.");
    assert_eq!(
        text(&mut conn, "SELECT count(*) FROM threadline.audited_tables").unwrap(),
        "0"
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

/// Whoever calls `audit_table`, a superuser too: the capture functions belong to the owner of the record, and run
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
               GRANT ALL ON SCHEMA threadline TO "{role}"; SELECT threadline.audit_table('items')"#
        ),
    );
    let owners = "SELECT string_agg(DISTINCT proowner::regrole::text, ',') FROM pg_proc
                   WHERE pronamespace = 'threadline'::regnamespace AND proname ~ '^(capture_[0-9]+_.*|versions)$'";
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
    let patches = threadline::base::PATCHES.iter();
    let patches: Vec<_> = patches
        .map(|patch| {
            let [name, up, down] = [patch.name, patch.up, patch.down].map(ToOwned::to_owned);
            (name, up, down)
        })
        .collect();
    assert_eq!(patches, directories);
}
