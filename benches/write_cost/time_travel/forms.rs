use chrono::{DateTime, Utc};
use diesel::dsl::{count_star, sum};
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Timestamptz};
use threadline::change;
use threadline::prelude::*;
use threadline_benches::Result;

use super::measure::{Ago, Bench};

diesel::table! {
    users {
        id -> Int8,
        name -> Text,
        email -> Text,
        visits -> Int4,
        born -> Nullable<Date>,
        vip -> Bool,
        note -> Nullable<Text>,
    }
}

diesel::table! {
    posts {
        id -> Int8,
        user_id -> Int8,
        title -> Text,
        body -> Text,
        edits -> Int4,
        at -> Timestamptz,
        hidden -> Bool,
    }
}

diesel::joinable!(posts -> users (user_id));
diesel::allow_tables_to_appear_in_same_query!(users, posts);

#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Audited)]
struct User {
    id: i64,
    name: String,
    email: String,
    visits: i32,
    born: Option<chrono::NaiveDate>,
    vip: bool,
    note: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Audited)]
struct Post {
    id: i64,
    user_id: i64,
    title: String,
    body: String,
    edits: i32,
    at: DateTime<Utc>,
    hidden: bool,
}

/// A post that is still there.
const POST: i64 = 1002;
const POSTS: [i64; 8] = [1002, 1102, 1202, 1302, 1402, 1502, 1602, 1702];

const HOUR: Ago = Ago::Hours(1);
const YEAR: Ago = Ago::Days(350);
const BY_KEY: Option<f64> = Some(1.0);

/// The post out of its history. Every change adds one to its edits.
fn recorded(conn: &mut PgConnection, id: i64, at: DateTime<Utc>) -> QueryResult<Post> {
    let versions: Vec<Version<Post>> = Post::history(id)
        .filter(change::captured_at.le(at))
        .load(conn)?;
    let newest = versions[0].row.clone();
    assert_eq!(usize::try_from(newest.edits), Ok(versions.len()));
    Ok(newest)
}

pub(crate) fn row_by_key(bench: &mut Bench<'_>) -> Result<()> {
    let mut conn = bench.connect()?;
    // One post in twenty was deleted if it was ever changed.
    let deleted = (1001..)
        .step_by(20)
        .find_map(
            |id| match posts::table.find(id).count().get_result::<i64>(&mut conn) {
                Ok(0) => Some(Ok(id)),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            },
        )
        .expect("there are as many keys as integers")?;
    for (form, id) in [("row", POST), ("row, deleted since", deleted)] {
        bench.form = form;
        let live: Vec<Post> = bench.live(|| posts::table.find(id).select(Post::as_select()))?;
        assert_eq!(live.is_empty(), id == deleted);
        let now: Vec<RowAsOf<Post>> = bench.past(Ago::Now, BY_KEY, |at| Post::as_of(id, at))?;
        let [now] = <[_; 1]>::try_from(now).expect("there is one answer");
        assert_eq!(now.found().as_ref(), live.first());
        for ago in [HOUR, YEAR] {
            let then: Vec<RowAsOf<Post>> = bench.past(ago, BY_KEY, |at| Post::as_of(id, at))?;
            if id != deleted || ago == YEAR {
                let truth = recorded(&mut conn, id, ago.before(bench.now()))?;
                assert_eq!(then, [RowAsOf::Found(truth)]);
            }
        }
    }
    Ok(())
}

pub(crate) fn rows_by_key(bench: &mut Bench<'_>) -> Result<()> {
    let mut conn = bench.connect()?;
    bench.form = "filter by a key";
    let one = || {
        posts::table
            .filter(posts::id.eq(POST))
            .select(Post::as_select())
    };
    let live: Vec<Post> = bench.live(one)?;
    assert_eq!(
        bench.past::<Post, _>(Ago::Now, BY_KEY, |at| threadline::as_of(at, one()))?,
        live
    );
    for ago in [HOUR, YEAR] {
        let then: Vec<Post> = bench.past(ago, BY_KEY, |at| threadline::as_of(at, one()))?;
        assert_eq!(then, [recorded(&mut conn, POST, ago.before(bench.now()))?]);
    }
    bench.form = "filter by 8 keys";
    let eight = || {
        posts::table
            .filter(posts::id.eq_any(POSTS))
            .select(Post::as_select())
    };
    bench.live::<Post, _>(eight)?;
    for ago in [HOUR, YEAR] {
        let mut then: Vec<Post> = bench.past(ago, BY_KEY, |at| threadline::as_of(at, eight()))?;
        then.sort_by_key(|post| post.id);
        for (post, id) in then.iter().zip(POSTS) {
            assert_eq!(post, &recorded(&mut conn, id, ago.before(bench.now()))?);
        }
        assert_eq!(then.len(), POSTS.len());
    }
    Ok(())
}

pub(crate) fn join(bench: &mut Bench<'_>) -> Result<()> {
    let mut conn = bench.connect()?;
    bench.form = "join, of a user";
    let user: i64 = posts::table
        .find(POST)
        .select(posts::user_id)
        .first(&mut conn)?;
    let query = || {
        users::table
            .inner_join(posts::table)
            .filter(users::id.eq(user))
            .select((User::as_select(), Post::as_select()))
    };
    let sorted = |mut rows: Vec<(User, Post)>| {
        rows.sort_by_key(|(_, post)| post.id);
        rows
    };
    let live = sorted(bench.live(query)?);
    let as_of = |at| threadline::as_of(at, query());
    assert_eq!(sorted(bench.past(Ago::Now, None, as_of)?), live);
    for ago in [HOUR, Ago::Days(30), YEAR] {
        let at = ago.before(bench.now());
        let then = sorted(bench.past(ago, None, as_of)?);
        assert!(then.iter().any(|(_, post)| post.id == POST));
        for (user, post) in then {
            assert_eq!(post, recorded(&mut conn, post.id, at)?);
            let visits = User::history(user.id).filter(change::captured_at.le(at));
            assert_eq!(
                Ok(user.visits),
                visits.load::<Version<User>>(&mut conn)?.len().try_into()
            );
        }
    }
    Ok(())
}

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
