use chrono::{DateTime, Utc};
use diesel::sql_types::{Bool, Nullable, Text, Timestamptz};
use diesel::{QueryableByName, RunQueryDsl};
use serde_json::json;

use crate::Result;
use crate::arguments::{ChangeRetention, Format, Retention};
use crate::connection::Database;
use crate::output::{print, say};

pub(crate) fn run(conn: &mut Database, arguments: &Retention) -> Result<()> {
    let done = match &arguments.change {
        None => return list(conn, arguments.output.format),
        Some(ChangeRetention::List(output)) => return list(conn, output.format),
        Some(ChangeRetention::Set {
            keep,
            table,
            to_the_day,
        }) => {
            let keep = Some(keep).filter(|keep| *keep != "forever");
            let query =
                "SELECT true AS done FROM threadline.set_retention($1::interval, $2::regclass, $3)";
            diesel::sql_query(query)
                .bind::<Nullable<Text>, _>(keep)
                .bind::<Nullable<Text>, _>(table.as_ref())
                .bind::<Bool, _>(!to_the_day)
                .get_result::<Done>(conn)?
        }
        Some(ChangeRetention::Unset { table }) => {
            let query = "SELECT threadline.unset_retention($1::regclass) AS done";
            diesel::sql_query(query)
                .bind::<Nullable<Text>, _>(table.as_ref())
                .get_result::<Done>(conn)?
        }
    };
    if !done.done {
        return Err("there is no such policy".into());
    }
    say!("Done; `threadline purge` shows what it removes now")
}

#[derive(QueryableByName)]
struct Done {
    #[diesel(sql_type = Bool)]
    done: bool,
}

#[derive(QueryableByName)]
struct Policy {
    #[diesel(sql_type = Nullable<Text>)]
    table: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    keep: Option<String>,
    #[diesel(sql_type = Nullable<Bool>)]
    whole_months: Option<bool>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    retention_cutoff: Option<DateTime<Utc>>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    purged_before: Option<DateTime<Utc>>,
}

/// The policy of all first, then each table with the one that counts for it.
const POLICIES: &str = "
    SELECT NULL AS table, p.keep::text, p.whole_months, NULL::timestamptz AS retention_cutoff, NULL::timestamptz AS purged_before, '' AS sorted
      FROM threadline.retention_policies AS p WHERE p.table_id = 0
     UNION ALL
    SELECT n.name, p.keep::text, p.whole_months, h.retention_cutoff, a.purged_before, n.name
      FROM threadline.audited_tables AS a
     CROSS JOIN LATERAL (SELECT format('%I.%I', a.table_schema, a.table_name)) AS n (name)
      LEFT JOIN LATERAL threadline_internal.retention_policy(a.id) AS p ON true
      LEFT JOIN threadline_internal.retention_cutoffs() AS h ON h.table_id = a.id
     ORDER BY sorted";

fn list(conn: &mut Database, format: Format) -> Result<()> {
    let policies: Vec<Policy> = diesel::sql_query(POLICIES).load(conn)?;
    let row = |policy: &Policy| {
        let time = |time: Option<DateTime<Utc>>| json!(time.map(|time| time.to_rfc3339()));
        let has_policy = policy.whole_months.is_some();
        [
            json!(policy.table.as_deref().unwrap_or("(all others)")),
            json!(policy.keep.as_deref().unwrap_or("forever")),
            json!(
                policy
                    .whole_months
                    .filter(|_| has_policy && policy.keep.is_some())
            ),
            time(policy.retention_cutoff),
            time(policy.purged_before),
        ]
    };
    let header = [
        "table",
        "keep",
        "whole_months",
        "retention_cutoff",
        "purged_before",
    ];
    print(format, header, policies.iter().map(row))
}
