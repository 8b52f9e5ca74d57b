//! Diesel's table of migrations, which was there before and belongs to somebody else, must not run their code as whoever
//! installs Threadline.

use diesel::prelude::*;
use diesel_migrations::MigrationHarness;
use threadline_test_support::Database;

use crate::common::{error, run, text};

const DIESELS: &str = "CREATE TABLE __diesel_schema_migrations (version varchar(50) PRIMARY KEY NOT NULL, run_on timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP)";

/// A database in which `{owner}` owns the tables, and the audit log is to belong to `{audit}`.
struct Brownfield {
    database: Database,
    conn: PgConnection,
    owner: String,
    audit: String,
}

impl Brownfield {
    fn new(sql: &str) -> Self {
        let database = Database::empty();
        let mut conn = database.connect();
        let [owner, audit] = ["owner", "audit"].map(|role| format!("{}_{role}", database.name()));
        let sql = sql.replace("{owner}", &owner).replace("{audit}", &audit);
        run(
            &mut conn,
            &format!(
                "CREATE ROLE {owner}; CREATE ROLE {audit};
                 CREATE TABLE loot (of name NOT NULL DEFAULT current_user); GRANT INSERT ON loot TO PUBLIC;
                 GRANT CREATE ON DATABASE {} TO {audit}; GRANT CREATE, USAGE ON SCHEMA public TO {owner}, {audit};
                 SET ROLE {owner};
                 CREATE FUNCTION loot() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.loot DEFAULT VALUES; RETURN NEW; END $$;
                 CREATE FUNCTION looted() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.loot DEFAULT VALUES; RETURN true; END $$;
                 RESET ROLE; {sql}; RESET ROLE",
                database.name()
            ),
        );
        Self {
            database,
            conn,
            owner,
            audit,
        }
    }

    /// Why `role` cannot install, which leaves nothing.
    #[track_caller]
    fn refused(&mut self, role: &str) -> String {
        run(&mut self.conn, &format!("SET ROLE {role}"));
        let said = error(&mut self.conn, threadline::migrations::check_sql());
        let by_diesel = self.conn.run_pending_migrations(threadline::MIGRATIONS);
        assert!(by_diesel.is_err(), "{said}");
        run(&mut self.conn, "RESET ROLE");
        for nothing in [
            "to_regnamespace('threadline')",
            "(SELECT min(of) FROM loot)",
        ] {
            assert_eq!(text(&mut self.conn, nothing), None, "{said}");
        }
        said.replace(&self.owner, "owner")
            .replace(&self.audit, "audit")
    }

    #[track_caller]
    fn installed(&mut self, role: &str) {
        run(&mut self.conn, &format!("SET ROLE {role}"));
        run(&mut self.conn, threadline::migrations::check_sql());
        self.conn
            .run_pending_migrations(threadline::MIGRATIONS)
            .unwrap();
        run(&mut self.conn, "RESET ROLE");
        assert_eq!(text(&mut self.conn, "SELECT min(of) FROM loot"), None);
    }
}

impl Drop for Brownfield {
    fn drop(&mut self) {
        let Self { owner, audit, .. } = self;
        let dropped = format!(
            "RESET ROLE; DROP OWNED BY {owner}, {audit} CASCADE; DROP ROLE {owner}, {audit}"
        );
        let dropped = diesel::connection::SimpleConnection::batch_execute(&mut self.conn, &dropped);
        if let Err(error) = dropped {
            eprintln!("{}: {error}", self.database.name());
        }
    }
}

/// A trigger of the table's owner would run as the installer, so neither the owner of the audit log nor a superuser
/// installs; both can once the table is theirs and the trigger is gone.
#[test]
fn trigger_of_the_owner() {
    let mut there = Brownfield::new(&format!(
        "SET ROLE {{owner}}; {DIESELS}; GRANT ALL ON __diesel_schema_migrations TO PUBLIC;
         CREATE TRIGGER loot BEFORE INSERT ON __diesel_schema_migrations FOR EACH ROW EXECUTE FUNCTION loot()"
    ));
    let [owner, audit] = [there.owner.clone(), there.audit.clone()];
    assert_eq!(
        there.refused(&audit),
        "public.__diesel_schema_migrations belongs to owner, whose code would run as audit HINT: Run the migrations of Threadline as owner, \
         or first: ALTER TABLE public.__diesel_schema_migrations OWNER TO audit; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON public.__diesel_schema_migrations TO owner;"
    );
    let superuser = text(&mut there.conn, "SELECT current_user").unwrap();
    assert!(there.refused(&superuser).contains("belongs to owner"));
    run(
        &mut there.conn,
        &format!("ALTER TABLE __diesel_schema_migrations OWNER TO {audit}"),
    );
    assert!(
        there
            .refused(&audit)
            .contains("has code that would run as audit: trigger loot on table")
    );
    run(
        &mut there.conn,
        &format!(
            "DROP TRIGGER loot ON __diesel_schema_migrations; GRANT SELECT, INSERT, UPDATE, DELETE ON __diesel_schema_migrations TO {owner}"
        ),
    );
    there.installed(&audit);
}

/// All else that a former owner may have left on the table.
#[test]
fn code_of_a_former_owner() {
    for code in [
        "ALTER TABLE __diesel_schema_migrations ADD CHECK (looted())",
        "ALTER TABLE __diesel_schema_migrations ADD COLUMN looted boolean DEFAULT looted()",
        "CREATE DOMAIN loot_domain AS text CHECK (looted()); ALTER TABLE __diesel_schema_migrations ADD COLUMN looted loot_domain",
        "CREATE RULE loot AS ON INSERT TO __diesel_schema_migrations DO ALSO SELECT looted()",
        "ALTER TABLE __diesel_schema_migrations ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY loot ON __diesel_schema_migrations USING (looted())",
        "CREATE TABLE child () INHERITS (__diesel_schema_migrations)",
    ] {
        let mut there = Brownfield::new(&format!(
            "SET ROLE {{owner}}; {DIESELS}; {code}; RESET ROLE;
             TRUNCATE loot; ALTER TABLE __diesel_schema_migrations OWNER TO {{audit}}"
        ));
        let audit = there.audit.clone();
        run(&mut there.conn, &format!("SET ROLE {audit}"));
        let said = error(&mut there.conn, threadline::migrations::check_sql());
        assert!(
            said.contains("has code that would run as")
                || said.contains("is not an ordinary table"),
            "{code}: {said}"
        );
    }
}

/// Reading a view runs the functions in it, so the check comes before anything reads what has the name of the table.
#[test]
fn view() {
    let mut there = Brownfield::new(
        "SET ROLE {owner}; CREATE VIEW __diesel_schema_migrations AS SELECT '1'::varchar(50) AS version WHERE public.looted()",
    );
    let audit = there.audit.clone();
    run(&mut there.conn, &format!("SET ROLE {audit}"));
    let said = error(&mut there.conn, threadline::migrations::check_sql());
    assert!(said.starts_with("public.__diesel_schema_migrations is not an ordinary table"));
}

/// A table of one's own, one of a superuser and none at all are fine; so is a `search_path` that puts functions of others
/// before those of PostgreSQL.
#[test]
fn own_table() {
    for sql in [
        &*format!("SET ROLE {{audit}}; {DIESELS}"),
        &format!("{DIESELS}; GRANT ALL ON __diesel_schema_migrations TO {{audit}}"),
        "SELECT",
        "SET ROLE {owner}; CREATE FUNCTION to_regclass(text) RETURNS regclass LANGUAGE plpgsql AS $$ BEGIN PERFORM public.looted(); END $$;
         RESET ROLE; SET search_path = public, pg_catalog",
    ] {
        let mut there = Brownfield::new(sql);
        let audit = there.audit.clone();
        there.installed(&audit);
    }
}
