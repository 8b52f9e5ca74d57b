//! Who changed what, when and why: an audited table from nothing to its history.
//!
//! ```sh
//! cargo run --example quickstart
//! ```
//!
//! Its PostgreSQL is a private, throw-away server of the one that is installed, else of one that is fetched; or that of
//! `DATABASE_URL`, where it makes a database, and drops it at the end.

use std::error::Error;

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_migrations::MigrationHarness;
use schema::customers;
use threadline::prelude::*;
use threadline_test_support::{Content, Database};

/// What `diesel print-schema` writes.
mod schema {
    diesel::table! {
        customers {
            id -> BigInt,
            name -> Text,
            email -> Text,
            credit_limit -> Integer,
        }
    }
}

/// An ordinary Diesel model. `Audited` makes its table one whose changes are recorded; of `email` the audit log only
/// says that it changed.
#[derive(Debug, Queryable, Selectable, Insertable, Audited)]
#[diesel(table_name = customers)]
#[audited(mask(email))]
struct Customer {
    id: i64,
    name: String,
    email: String,
    credit_limit: i32,
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let database = Database::create(Content::Empty)?;
    let mut conn = PgConnection::establish(database.url())?;

    // 1. Once, at the start or deployment of your application: Threadline's migrations beside your own, and then the
    //    models whose tables are to be audited. From here on every change is captured, whoever makes it.
    conn.run_pending_migrations(threadline::MIGRATIONS)?;
    conn.batch_execute(
        "CREATE TABLE customers (
           id           bigint  PRIMARY KEY,
           name         text    NOT NULL,
           email        text    NOT NULL,
           credit_limit integer NOT NULL
         )",
    )?;
    threadline::capture::install(&mut conn, &[Customer::audit_spec()])?;

    // 2. A transaction that says who acts. In it, Diesel as ever.
    let ada = AuditContext::new(ActorRef::user("ada"))
        .source("web")
        .correlation_id("signup-1");
    conn.audited_transaction(&ada, |conn| {
        diesel::insert_into(customers::table)
            .values(Customer {
                id: 7,
                name: "Ada Byron".to_owned(),
                email: "ada@example.com".to_owned(),
                credit_limit: 100,
            })
            .execute(conn)
    })?;

    // 3. Someone else. What is rolled back leaves nothing behind, savepoints included.
    let grace = AuditContext::new(ActorRef::admin("grace"))
        .source("back office")
        .correlation_id("ticket-42");
    conn.audited_transaction(&grace, |conn| {
        let too_generous = conn.audited_transaction(&grace, |conn| {
            set_credit_limit(conn, 1_000_000)?;
            Err::<(), _>(diesel::result::Error::RollbackTransaction)
        });
        assert!(too_generous.is_err());
        set_credit_limit(conn, 500)
    })?;

    // 4. The same user again, in a transaction that changes two columns.
    let ada = ada.correlation_id("wedding-1");
    conn.audited_transaction(&ada, |conn| {
        diesel::update(customers::table.find(7))
            .set((
                customers::name.eq("Ada Lovelace"),
                customers::email.eq("lovelace@example.com"),
            ))
            .execute(conn)
    })?;

    // 5. A change by hand, as from psql. Nobody says who acts; the audit log still has the role of the database.
    conn.batch_execute("UPDATE customers SET credit_limit = 0")?;

    // 6. The history of the row is a Diesel query, and comes back as the model.
    let versions: Vec<Version<Customer>> = Customer::history(7).load(&mut conn)?;
    println!("Customer 7, newest change first:\n{}", as_table(&versions));

    // 7. And any query can be run against the past: here, the states that those transactions left.
    let limits = customers::table.select(diesel::dsl::max(customers::credit_limit));
    for version in versions.iter().rev() {
        let limit: Option<i32> =
            threadline::as_of_transaction(version.transaction_id, limits).get_result(&mut conn)?;
        let at = version.captured_at.format("%H:%M:%S%.3f");
        println!(
            "As of {at} the highest credit limit was {}.",
            limit.unwrap_or_default()
        );
    }
    Ok(())
}

fn set_credit_limit(conn: &mut PgConnection, limit: i32) -> QueryResult<usize> {
    diesel::update(customers::table.find(7))
        .set(customers::credit_limit.eq(limit))
        .execute(conn)
}

/// Newest first, as they are loaded.
fn as_table(versions: &[Version<Customer>]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL);
    table.set_header(["When", "Who", "What", "From → to", "Correlation"]);
    for version in versions {
        let changes: Vec<_> = version
            .changed_fields
            .iter()
            .map(|field| {
                let after = value(&version.row, field);
                match &version.row_before {
                    Some(before) => format!("{field}: {} → {after}", value(before, field)),
                    None => format!("{field}: {after}"),
                }
            })
            .collect();
        table.add_row([
            version.captured_at.format("%H:%M:%S%.3f").to_string(),
            who(version),
            version.op.to_string(),
            changes.join("\n"),
            version.correlation_id.clone().unwrap_or_default(),
        ]);
    }
    table
}

/// The actor, or as much as is known of a change without one.
fn who(version: &Version<Customer>) -> String {
    match (&version.actor, &version.database_role) {
        (Some(actor), _) => actor.to_string(),
        (None, Some(role)) => format!("database role {role}"),
        (None, None) => "unknown".to_owned(),
    }
}

fn value(customer: &Customer, field: &str) -> String {
    match field {
        "id" => customer.id.to_string(),
        "name" => customer.name.clone(),
        "email" => customer.email.clone(),
        "credit_limit" => customer.credit_limit.to_string(),
        other => format!("(not in the model: {other})"),
    }
}
