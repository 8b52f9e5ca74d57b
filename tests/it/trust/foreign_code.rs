//! No code of the owner of a table runs with the rights of somebody else.

use diesel::PgConnection;
use diesel::connection::SimpleConnection;
use threadline_test_support::Database;

use crate::common::{database, error, run, text};

/// A table of somebody who may do nothing else. The function `public.loot` notes by a sequence that it ran as anybody
/// but its owner.
struct Foreign {
    _database: Database,
    conn: PgConnection,
    owner: String,
    log_owner: String,
}

impl Foreign {
    fn new() -> Self {
        let database = Database::empty();
        let mut conn = database.connect();
        let owner = format!("{}_owner", database.name());
        let log_owner = format!("{}_audit", database.name());
        run(
            &mut conn,
            &format!(
                r#"CREATE ROLE "{owner}"; CREATE ROLE "{log_owner}"; GRANT ALL ON SCHEMA public TO "{owner}", "{log_owner}";
                GRANT CREATE ON DATABASE "{0}" TO "{log_owner}"; CREATE SEQUENCE public.ran; GRANT USAGE ON SEQUENCE public.ran TO PUBLIC;
                SET ROLE "{log_owner}""#,
                database.name()
            ),
        );
        diesel_migrations::MigrationHarness::run_pending_migrations(
            &mut conn,
            threadline::MIGRATIONS,
        )
        .unwrap();
        run(
            &mut conn,
            &format!(
                r#"SET ROLE "{owner}"; ALTER DEFAULT PRIVILEGES GRANT SELECT, UPDATE, TRIGGER ON TABLES TO "{log_owner}";
                CREATE FUNCTION public.loot() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
                  IF current_user <> '{owner}' THEN PERFORM pg_catalog.nextval('public.ran'); END IF; RETURN true; END $$;
                CREATE FUNCTION public.loot(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM public.loot(); RETURN 1; END $$;
                CREATE FUNCTION public.loot(text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN public.loot(); END $$;
                CREATE DOMAIN public.evil AS text CHECK (public.loot(VALUE));
                CREATE TYPE public.mood AS ENUM ('happy', 'sad');
                CREATE FUNCTION public.as_json(public.mood) RETURNS json LANGUAGE plpgsql AS $$ BEGIN PERFORM public.loot(); RETURN '1'; END $$;
                CREATE TABLE public.orders (id bigint PRIMARY KEY, item text, mood public.mood DEFAULT 'sad');
                INSERT INTO public.orders VALUES (1, 'tea');
                SET ROLE "{log_owner}"; SELECT threadline.audit_table('orders', mask => '{{item}}')"#
            ),
        );
        Self {
            _database: database,
            conn,
            owner,
            log_owner,
        }
    }

    fn as_owner(&mut self, sql: &str) {
        let owner = &self.owner;
        run(&mut self.conn, &format!(r#"SET ROLE "{owner}"; {sql}"#));
    }

    /// Whatever becomes of the statements, as the owner of the audit log and as a superuser.
    fn work(&mut self, statements: &[&str]) {
        let Self {
            conn, log_owner, ..
        } = self;
        for role in [format!(r#""{log_owner}""#), "none".to_owned()] {
            for statement in statements {
                let result = conn.batch_execute(&format!("SET ROLE {role}; {statement}"));
                if let Err(error) = result {
                    conn.batch_execute("ROLLBACK").unwrap();
                    let error = error.to_string();
                    assert!(
                        error.starts_with("reading ") || !error.contains("loot"),
                        "{statement}: {error}"
                    );
                }
            }
        }
        self.assert_safe(&statements.join("; "));
    }

    #[track_caller]
    fn assert_safe(&mut self, what: &str) {
        run(&mut self.conn, "RESET ROLE");
        let ran = text(&mut self.conn, "SELECT is_called FROM public.ran");
        assert_eq!(ran.as_deref(), Some("false"), "foreign code ran: {what}");
    }
}

fn texts(conn: &mut PgConnection, sql: &str) -> Vec<String> {
    let joined = format!("SELECT string_agg(value, chr(10)) FROM ({sql}) AS v");
    let joined = text(conn, &joined).unwrap_or_default();
    joined.lines().map(ToOwned::to_owned).collect()
}

const OPERATIONS: &[&str] = &[
    "SELECT * FROM threadline.health",
    "SELECT * FROM threadline.continuity",
    "SELECT * FROM threadline.coverage",
    "SELECT threadline.refresh_audited_tables()",
    "SELECT threadline.audit_table('orders')",
    "SELECT threadline.audit_table('orders', mask => '{extra}')",
    "SELECT threadline.audit_table('orders', exclude => '{extra}')",
    "SELECT threadline.baseline_step('orders', '{\"type\": \"system\", \"id\": \"test\"}', 'test')",
    "SELECT threadline.redaction_plan('orders', '{1}', mask => '{extra}')",
    "SELECT threadline.redaction_plan('orders', '{1}', remove => '{extra}')",
    "SELECT threadline.redaction_plan('orders', '{1}', substitutes => '{\"extra\": \"x\"}')",
    "SELECT threadline.redaction_plan('orders', '{1}', substitutes => '{\"mood\": \"happy\"}')",
    "SELECT threadline.unaudit_table('orders')",
    "SELECT threadline.audit_table('orders')",
    "SELECT * FROM threadline.timeline()",
    "SELECT * FROM threadline.retention_plan",
    "SELECT * FROM threadline.health",
];

/// Neither by its type's CHECK, nor by its default, nor by a type that consists of it.
#[test]
fn types_and_defaults() {
    for column in [
        "extra public.evil DEFAULT 'x'",
        "extra public.evil",
        "extra public.evil[] DEFAULT '{x}'",
        "extra text DEFAULT 'x', ALTER extra TYPE public.evil",
        "extra public.evil GENERATED ALWAYS AS (item::public.evil) STORED",
    ] {
        let mut foreign = Foreign::new();
        foreign.as_owner("INSERT INTO orders VALUES (2, 'coffee')");
        let column = column.split(", ALTER").next().unwrap().to_owned();
        foreign.as_owner(&format!("ALTER TABLE orders ADD {column}"));
        foreign.work(OPERATIONS);
        foreign.as_owner("INSERT INTO orders (id) VALUES (3); DELETE FROM orders WHERE id = 2");
        foreign.assert_safe("writes");
    }
    let mut foreign = Foreign::new();
    foreign.as_owner("CREATE TYPE public.pair AS (a public.evil, b int); ALTER TABLE orders ADD extra public.pair DEFAULT '(x,1)'");
    foreign.work(OPERATIONS);
}

/// The primary key becomes of a type with code, and older keys are written anew.
#[test]
fn keys() {
    let mut foreign = Foreign::new();
    foreign.as_owner(
        "UPDATE orders SET id = 7; ALTER TABLE orders DROP CONSTRAINT orders_pkey; ALTER TABLE orders ALTER id TYPE public.evil;
         ALTER TABLE orders ADD PRIMARY KEY (id)",
    );
    foreign.work(OPERATIONS);
}

/// A CHECK that fails unless its owner runs it does not keep the other tables from being checked and refreshed.
#[test]
fn one_table_does_not_stop_the_others() {
    let mut foreign = Foreign::new();
    foreign.as_owner(
        "CREATE TABLE others (id int PRIMARY KEY); CREATE FUNCTION public.mine(text) RETURNS boolean LANGUAGE plpgsql AS
           $$ BEGIN IF current_user NOT LIKE '%owner' THEN RAISE 'not you'; END IF; RETURN true; END $$;
         CREATE DOMAIN public.picky AS text CHECK (public.mine(VALUE)); ALTER TABLE orders ADD extra public.picky DEFAULT 'x'",
    );
    let log_owner = foreign.log_owner.clone();
    let conn = &mut foreign.conn;
    run(
        conn,
        &format!(r#"SET ROLE "{log_owner}"; SELECT threadline.audit_table('others')"#),
    );
    run(conn, "RESET ROLE; ALTER TABLE others ADD note text");
    let checks = r#"SELECT "check" AS value FROM threadline.health WHERE table_name IN ('orders', 'others') ORDER BY table_name"#;
    assert_eq!(
        texts(conn, checks),
        ["definition_stale", "definition_stale"]
    );
    let listed = "SELECT table_name AS value FROM threadline.continuity ORDER BY 1";
    assert_eq!(texts(conn, listed), ["orders", "others"]);
    run(
        conn,
        &format!(
            r#"SET ROLE "{log_owner}"; SELECT threadline.refresh_audited_tables(); RESET ROLE"#
        ),
    );
    assert_eq!(texts(conn, checks), [""; 0]);
    // Whatever is wrong with the one is a finding of it.
    run(
        conn,
        "UPDATE threadline.audited_tables SET definition = '{\"columns\": 1}' WHERE table_name = 'orders'; ALTER TABLE others ADD more text",
    );
    assert_eq!(texts(conn, checks).len(), 2);
    run(conn, "SELECT threadline.refresh_audited_tables()");
    let found = texts(conn, checks);
    assert!(found.len() < 2, "{found:?}");
}

/// Capture makes no JSON by a cast, which may be the code of somebody else: it records the text, and the write goes on.
#[test]
fn casts_to_json() {
    for granularity in ["row", "statement"] {
        for column in ["mood public.mood", "moods public.mood[]"] {
            let mut foreign = Foreign::new();
            let log_owner = foreign.log_owner.clone();
            foreign.as_owner(&format!(
                "CREATE TABLE moods (id int PRIMARY KEY, {column}); INSERT INTO moods SELECT 1"
            ));
            run(
                &mut foreign.conn,
                &format!(
                    r#"SET ROLE "{log_owner}"; SELECT threadline.audit_table('moods', granularity => '{granularity}')"#
                ),
            );
            // A cast that is younger than the definition, a new column, and then a definition that knows them.
            for change in [
                "CREATE CAST (public.mood AS json) WITH FUNCTION public.as_json(public.mood)",
                "ALTER TABLE moods ADD another public.mood DEFAULT 'happy'",
                "",
            ] {
                foreign.as_owner(change);
                if change.is_empty() {
                    run(
                        &mut foreign.conn,
                        &format!(
                            r#"SET ROLE "{log_owner}"; SELECT threadline.refresh_audited_tables()"#
                        ),
                    );
                }
                let name = column.split(' ').next().unwrap();
                for write in [
                    "INSERT INTO moods VALUES (2)".to_owned(),
                    "INSERT INTO moods SELECT g FROM generate_series(3, 5) AS g".to_owned(),
                    format!("UPDATE moods SET {name} = DEFAULT"),
                    format!(
                        "UPDATE moods SET {name} = CASE '{name}' WHEN 'mood' THEN 'sad' ELSE '{{sad}}' END::text::public.{}",
                        column.split("public.").nth(1).unwrap()
                    ),
                    "UPDATE moods SET id = id + 10".to_owned(),
                    "DELETE FROM moods WHERE id < 14".to_owned(),
                    "TRUNCATE moods".to_owned(),
                ] {
                    foreign.as_owner(&write);
                    foreign.assert_safe(&format!("{column}: {change}: {write}"));
                }
            }
            let recorded = format!(
                "SELECT DISTINCT coalesce(changed_from, data_after) ->> '{name}' AS value FROM threadline.audit_changes AS c
                  WHERE op = 'delete' ORDER BY 1"
            , name = column.split(' ').next().unwrap());
            let sad = if column.ends_with("[]") {
                "{sad}"
            } else {
                "sad"
            };
            assert_eq!(texts(&mut foreign.conn, &recorded), [sad]);
        }
    }
}

/// To plan a query PostgreSQL computes what is constant in indexes and constraints. TRUNCATE and baselines read tables.
#[test]
fn planning() {
    for code in [
        "CREATE INDEX ON orders ((public.loot(1)))",
        "CREATE INDEX ON orders (id) WHERE public.loot(1) = 1",
        "ALTER TABLE orders ADD CHECK (public.loot(1) = 1)",
        "CREATE INDEX ON orders (('x'::public.evil))",
        "CREATE OPERATOR public.@@@ (FUNCTION = public.loot, RIGHTARG = int); CREATE INDEX ON orders ((public.@@@ 1))",
    ] {
        let mut foreign = Foreign::new();
        let code = code.replace("(public.@@@ 1)", "(OPERATOR(public.@@@) 1)");
        foreign.as_owner(&code);
        let log_owner = foreign.log_owner.clone();
        let baseline = format!(
            r#"SET ROLE "{log_owner}"; SELECT threadline.baseline_step('orders', '{{"type": "system", "id": "test"}}', 'test')"#
        );
        let refused = error(&mut foreign.conn, &baseline);
        assert!(
            refused.starts_with("reading public.orders would run "),
            "{code}: {refused}"
        );
        let owner = foreign.owner.clone();
        let refused = error(
            &mut foreign.conn,
            &format!(r#"SET ROLE "{owner}"; TRUNCATE orders"#),
        );
        assert!(
            refused.starts_with("reading public.orders would run "),
            "{code}: {refused}"
        );
        foreign.assert_safe(&code);
    }
}

/// No statement is made by replacing text in a statement: a column may have any name.
#[test]
fn names_that_break_out() {
    let (_database, mut conn) = database("CREATE TABLE orders (id bigint PRIMARY KEY, item text)");
    run(
        &mut conn,
        r#"SELECT threadline.audit_table('orders'); INSERT INTO orders VALUES (1, 'tea');
        CREATE SEQUENCE public.ran; CREATE FUNCTION public.x() RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('public.ran'); RETURN '{}'; END $$;
        ALTER TABLE orders ADD COLUMN "*/*/*/FROM threadline.audit_changes--" text; SELECT threadline.refresh_audited_tables();
        ALTER TABLE orders ADD COLUMN U&"\0001" integer GENERATED ALWAYS AS IDENTITY;
        ALTER TABLE orders DROP CONSTRAINT orders_pkey, ADD PRIMARY KEY (U&"\0001");
        ALTER TABLE orders RENAME COLUMN "*/*/*/FROM threadline.audit_changes--" TO x;
        ALTER TABLE orders RENAME TO "')AS key FROM(SELECT*,public.x()image/*"; SELECT threadline.refresh_audited_tables()"#,
    );
    assert_eq!(
        text(&mut conn, "SELECT is_called FROM public.ran").as_deref(),
        Some("false")
    );
    // A name that looks like a placeholder of a template stays a name.
    for name in [
        "{table}",
        "{column}",
        "{image}",
        "%s",
        "%1$I",
        "$sql$",
        "{",
        "}",
        "{{table}}",
        "$1",
        "\u{1}",
        "\\",
    ] {
        let (_database, mut conn) = database(&format!(
            r#"CREATE TABLE "t{name}" ("{name}" int PRIMARY KEY, "{name}2" text, secret text);
            SELECT threadline.audit_table('"t{name}"', mask => '{{secret}}', exclude => ARRAY['{name}2']); INSERT INTO "t{name}" VALUES (1, 'x', 's');
            UPDATE "t{name}" SET "{name}" = 2; ALTER TABLE "t{name}" ADD "{name}3" int DEFAULT 3; ALTER TABLE "t{name}" RENAME "{name}" TO "{name}9";
            SELECT threadline.refresh_audited_tables(); UPDATE "t{name}" SET "{name}9" = 4, "{name}3" = 1; DELETE FROM "t{name}"; INSERT INTO "t{name}" VALUES (5);
            TRUNCATE "t{name}""#
        ));
        assert_eq!(
            text(&mut conn, "SELECT count(*) FROM threadline.audit_changes").as_deref(),
            Some("8"),
            "{name}"
        );
        assert_eq!(
            texts(&mut conn, "SELECT message AS value FROM threadline.health"),
            [""; 0],
            "{name}"
        );
    }
}
