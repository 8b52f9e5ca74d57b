use chrono::{DateTime, Utc};
use diesel::pg::PgConnection;
use diesel::prelude::*;
use threadline::change;
use threadline::prelude::*;
use threadline_benches::Result;

use super::measure::{Ago, BY_KEY, Bench, HOUR, YEAR};
use super::tables::{Post, posts};

/// A post that is still there.
pub(crate) const POST: i64 = 1002;
const POSTS: [i64; 8] = [1002, 1102, 1202, 1302, 1402, 1502, 1602, 1702];

/// The post out of its history. Every change adds one to its edits.
pub(crate) fn recorded(conn: &mut PgConnection, id: i64, at: DateTime<Utc>) -> QueryResult<Post> {
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
    for ago in [Ago::Now, HOUR, YEAR] {
        let mut then: Vec<Post> = bench.past(ago, BY_KEY, |at| threadline::as_of(at, eight()))?;
        then.sort_by_key(|post| post.id);
        for (post, id) in then.iter().zip(POSTS) {
            assert_eq!(post, &recorded(&mut conn, id, ago.before(bench.now()))?);
        }
        assert_eq!(then.len(), POSTS.len());
    }
    Ok(())
}
