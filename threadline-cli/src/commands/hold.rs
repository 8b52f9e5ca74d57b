use diesel::sql_types::{BigInt, Jsonb, Nullable, Text};
use diesel::{QueryableByName, RunQueryDsl};
use serde_json::{Value, json};
use threadline::{AsyncAuditedConnection, AuditContext};

use crate::Result;
use crate::arguments::{ChangeHold, Format, Hold, Who};
use crate::connection::{Database, wait};
use crate::output::{print, say};

pub(crate) fn run(conn: &mut Database, arguments: Hold) -> Result<()> {
    match arguments.change {
        None => list(conn, arguments.output.format),
        Some(ChangeHold::List(output)) => list(conn, output.format),
        Some(ChangeHold::Place {
            table,
            row_key,
            for_actor,
            who: Who { actor, reason },
        }) => {
            let for_actor = for_actor.map(serde_json::to_value).transpose()?;
            let context = AuditContext::new(actor).source("threadline");
            let query = "SELECT threadline.place_hold($1, $2::regclass, $3, $4) AS id";
            let query = diesel::sql_query(query)
                .bind::<Text, _>(reason)
                .bind::<Nullable<Text>, _>(table)
                .bind::<Nullable<Text>, _>(row_key)
                .bind::<Nullable<Jsonb>, _>(for_actor);
            let placed: Id = wait(conn.audited_transaction(&context, async move |conn| {
                diesel_async::RunQueryDsl::get_result(query, conn).await
            }))?;
            say!("Hold {} is placed", placed.id)
        }
        Some(ChangeHold::Release {
            hold,
            who: Who { actor, reason },
        }) => {
            let context = AuditContext::new(actor).source("threadline");
            let query = diesel::sql_query("SELECT threadline.release_hold($1, $2)")
                .bind::<BigInt, _>(hold)
                .bind::<Text, _>(reason);
            wait(conn.audited_transaction(&context, async move |conn| {
                diesel_async::RunQueryDsl::execute(query, conn).await
            }))?;
            say!("Hold {} is released", hold)
        }
    }
}

#[derive(QueryableByName)]
struct Id {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

#[derive(QueryableByName)]
struct Held {
    #[diesel(sql_type = Jsonb)]
    hold: Value,
}

const HOLDS: &str = "
    SELECT jsonb_build_object('hold', h.id, 'table', CASE WHEN a.id IS NOT NULL THEN format('%I.%I', a.table_schema, a.table_name) END, 'row_key', h.row_key, 'actor', h.actor_ref,
             'reason', h.reason, 'placed_at', to_char(h.placed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), 'placed_by', h.placed_by) AS hold
      FROM threadline.legal_holds AS h LEFT JOIN threadline.audited_tables AS a ON a.id = h.table_id ORDER BY h.id";

fn list(conn: &mut Database, format: Format) -> Result<()> {
    let holds: Vec<Held> = diesel::sql_query(HOLDS).load(conn)?;
    let header = [
        "hold",
        "table",
        "row_key",
        "actor",
        "reason",
        "placed_at",
        "placed_by",
    ];
    let row = |Held { hold }| header.map(|name| json!(hold[name]));
    print(format, header, holds.into_iter().map(row))
}
