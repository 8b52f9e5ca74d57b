use chrono::{DateTime, Utc};
use diesel::dsl::{count_star, sum};
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Timestamptz};
use threadline_benches::Result;

use super::measure::{Ago, Bench, HOUR, YEAR};
use super::tables::posts;

/// The number of posts and the sum of their edits, out of all changes until then. A delete is no edit.
fn counted(conn: &mut PgConnection, at: DateTime<Utc>) -> QueryResult<(i64, Option<i64>)> {
    #[derive(QueryableByName)]
    struct Counted {
        #[diesel(sql_type = BigInt)]
        posts: i64,
        #[diesel(sql_type = BigInt)]
        edits: i64,
    }
    let counted: Counted = diesel::sql_query(
        "SELECT count(*) FILTER (WHERE op = 'insert') - count(*) FILTER (WHERE op = 'delete') AS posts,
                count(*) FILTER (WHERE op <> 'delete')
                - coalesce(sum((changed_from ->> 'edits')::int) FILTER (WHERE op = 'delete'), 0) AS edits
           FROM threadline.audit_changes
          WHERE table_id = (SELECT id FROM threadline.audited_tables WHERE relation = 'posts'::regclass) AND captured_at <= $1",
    )
    .bind::<Timestamptz, _>(at)
    .get_result(conn)?;
    Ok((counted.posts, Some(counted.edits)))
}

pub(crate) fn whole_table(bench: &mut Bench<'_>) -> Result<()> {
    let mut conn = bench.connect()?;
    let query = || posts::table.select((count_star(), sum(posts::edits)));
    for (form, settings) in [
        ("table", ""),
        ("table, serial", "SET max_parallel_workers_per_gather = 0"),
    ] {
        bench.form = form;
        bench.settings = settings;
        let live: Vec<(i64, Option<i64>)> = bench.live(query)?;
        for ago in [
            Ago::Now,
            HOUR,
            Ago::Days(1),
            Ago::Days(30),
            Ago::Days(180),
            YEAR,
        ] {
            let slower = [Ago::Now, HOUR].contains(&ago).then_some(0.0);
            let then: Vec<(i64, Option<i64>)> =
                bench.past(ago, slower, |at| threadline::as_of(at, query()))?;
            assert_eq!(then, [counted(&mut conn, ago.before(bench.now()))?]);
            assert!(ago != Ago::Now || then == live);
        }
    }
    Ok(())
}
