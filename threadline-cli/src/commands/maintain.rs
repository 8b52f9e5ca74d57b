use diesel::prelude::*;
use diesel::sql_types::{Integer, Text};

use crate::Result;
use crate::connection::Database;
use crate::output::say;

#[derive(QueryableByName)]
struct Maintained {
    #[diesel(sql_type = Integer)]
    created: i32,
    #[diesel(sql_type = Integer)]
    postponed: i32,
}

/// An index that `threadline.maintain` leaves out, since nobody could write while it builds it.
#[derive(QueryableByName)]
struct MissingIndex {
    #[diesel(sql_type = Text)]
    concurrent_statement: String,
}

pub(super) fn run(conn: &mut Database, months: u16) -> Result<()> {
    let query = diesel::sql_query("SELECT created, postponed FROM threadline.maintain($1)");
    let query = query.bind::<Integer, _>(i32::from(months));
    let Maintained { created, postponed } = query.get_result(conn)?;
    if postponed > 0 {
        return Err(
            "the audit log was in use for too long: no partition was made, try again later".into(),
        );
    }
    say!("Partitions made: {}", created)?;
    let missing: Vec<MissingIndex> = diesel::sql_query(
        "SELECT concurrent_statement FROM threadline_internal.missing_key_indexes()",
    )
    .load(conn)?;
    for index in &missing {
        // Not in a transaction.
        diesel::sql_query(&index.concurrent_statement).execute(conn)?;
    }
    if !missing.is_empty() {
        say!("Indexes made: {}", missing.len())?;
    }
    Ok(())
}
