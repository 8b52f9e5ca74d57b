//! A database with the roles of docs/security.md, set up by the SQL of that page.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_migrations::MigrationHarness;
use threadline_test_support::Database;

use super::FIRST_IDS;
use crate::common::{error, run, text};

const GUIDE: &str = include_str!("../../../docs/security.md");

pub(super) const ACTOR: &str =
    r#"SELECT set_config('threadline.actor_ref', '{"type": "user", "id": "ops"}', true)"#;

/// SQL says `shop_app`, and the roles have the name of the database before theirs: roles belong to the whole server.
pub(super) struct Shop {
    pub(super) database: Database,
    pub(super) conn: PgConnection,
}

impl Shop {
    /// What the section "Set-up" has one do, and an order and an event.
    pub(super) fn new() -> Self {
        let database = Database::empty();
        let conn = database.connect();
        let mut shop = Self { database, conn };
        for block in section("Set-up").split("```").skip(1).step_by(2) {
            if let Some(sql) = block.strip_prefix("sql\n") {
                let sql = shop.own(sql);
                run(&mut shop.conn, &sql);
            } else {
                let audit = shop.own("SET ROLE shop_audit");
                run(&mut shop.conn, &audit);
                shop.conn
                    .run_pending_migrations(threadline::MIGRATIONS)
                    .unwrap();
                run(&mut shop.conn, FIRST_IDS);
            }
            run(&mut shop.conn, "RESET ROLE");
        }
        shop.run_as(
            "shop_app",
            "INSERT INTO orders (item) VALUES ('tea'); INSERT INTO events VALUES (1, '2026-01-01', 'began')",
        );
        shop
    }

    /// With the names of the roles as they are on this server.
    pub(super) fn own(&self, sql: &str) -> String {
        let name = self.database.name();
        sql.replace("DATABASE shop ", &format!("DATABASE {name} "))
            .replace("shop_", &format!("{name}_"))
    }

    /// A connection of a role.
    pub(super) fn connect(&self, role: &str) -> PgConnection {
        let mut conn = self.database.connect();
        run(
            &mut conn,
            &self.own(&format!("SET SESSION AUTHORIZATION {role}")),
        );
        conn
    }

    #[track_caller]
    pub(super) fn run_as(&mut self, role: &str, sql: &str) {
        let sql = self.own(&format!(
            "SET SESSION AUTHORIZATION {role}; {sql}; RESET SESSION AUTHORIZATION"
        ));
        run(&mut self.conn, &sql);
    }

    /// The message of the error that a role gets, with the names of the roles as SQL here has them.
    #[track_caller]
    pub(super) fn refused(&mut self, role: &str, sql: &str) -> String {
        let sql = self.own(&format!("SET SESSION AUTHORIZATION {role}; {sql}"));
        let message = error(&mut self.conn, &sql);
        message.replace(&format!("{}_", self.database.name()), "shop_")
    }

    /// One value, as a role sees it.
    #[track_caller]
    pub(super) fn text_as(&mut self, role: &str, sql: &str) -> Option<String> {
        let role = self.own(&format!("SET SESSION AUTHORIZATION {role}"));
        run(&mut self.conn, &role);
        let sql = self.own(sql);
        let value = text(&mut self.conn, &sql);
        run(&mut self.conn, "RESET SESSION AUTHORIZATION");
        value
    }

    /// Makes the changes of January 2020 of those that are recorded.
    pub(super) fn age(&mut self) {
        self.run_as(
            "shop_audit",
            "CREATE TABLE threadline.audit_changes_2020_01 PARTITION OF threadline.audit_changes FOR VALUES FROM ('2020-01-01Z') TO ('2020-02-01Z');
             REVOKE USAGE ON TYPE threadline.audit_changes_2020_01 FROM PUBLIC;
             UPDATE threadline.audit_changes SET captured_at = '2020-01-02Z'",
        );
    }

    /// Makes what was recorded since the last call as old.
    pub(super) fn age_again(&mut self) {
        self.run_as(
            "shop_audit",
            "UPDATE threadline.audit_changes SET captured_at = '2020-01-03Z' WHERE captured_at > '2021-01-01'",
        );
    }

    /// What health says, each as `check table: message`.
    #[track_caller]
    pub(super) fn health(&mut self) -> String {
        let findings = "SELECT coalesce(string_agg(format('%s %s: %s', h.\"check\", h.table_name, h.message), E'\\n' ORDER BY h), '') FROM threadline.health AS h WHERE h.\"check\" <> 'uncovered'";
        self.text_as("shop_auditor", findings).unwrap()
    }

    /// The changes that were recorded since the last call, each as `table op key`.
    #[track_caller]
    pub(super) fn recorded(&mut self) -> String {
        let changes = "SELECT string_agg(concat_ws(' ', table_name, op, row_key), ', ' ORDER BY id) FROM threadline.changes
            WHERE id > coalesce(nullif(current_setting('test.seen', true), ''), '0')::bigint";
        let changes = text(&mut self.conn, changes);
        run(
            &mut self.conn,
            "SELECT set_config('test.seen', (SELECT max(id)::text FROM threadline.audit_changes), false)",
        );
        changes.unwrap_or_default()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let roles = "shop_audit, shop_owner, shop_app, shop_worker, shop_auditor, shop_nobody";
        let dropped = self.own(&format!(
            "ROLLBACK; RESET SESSION AUTHORIZATION; DROP OWNED BY {roles} CASCADE; DROP ROLE {roles}"
        ));
        if let Err(error) = self.conn.batch_execute(&dropped) {
            eprintln!("{}: {error}", self.database.name());
        }
    }
}

/// A section of the guide.
pub(super) fn section(title: &str) -> &'static str {
    let (_, section) = GUIDE.split_once(&format!("\n## {title}\n")).expect(title);
    section.split("\n## ").next().unwrap()
}
