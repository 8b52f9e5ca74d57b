use diesel::prelude::*;
use threadline::change;
use threadline::prelude::*;
use threadline_benches::Result;

use super::measure::{Ago, BY_KEY, Bench, HOUR, YEAR};
use super::posts::{POST, recorded};
use super::tables::{Post, User, posts, users};

pub(crate) fn by_a_column(bench: &mut Bench<'_>) -> Result<()> {
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

/// The second table is found by its own key, which the first one has.
pub(crate) fn by_the_key(bench: &mut Bench<'_>) -> Result<()> {
    let mut conn = bench.connect()?;
    bench.form = "join, of a post";
    let query = || {
        posts::table
            .inner_join(users::table)
            .filter(posts::id.eq(POST))
            .select((Post::as_select(), User::as_select()))
    };
    let live: Vec<(Post, User)> = bench.live(query)?;
    for ago in [Ago::Now, HOUR, YEAR] {
        let at = ago.before(bench.now());
        let then: Vec<(Post, User)> =
            bench.past(ago, BY_KEY, |at| threadline::as_of(at, query()))?;
        let [(post, user)] = <[_; 1]>::try_from(then).expect("a post has one user");
        assert_eq!(post, recorded(&mut conn, POST, at)?);
        assert_eq!(post.user_id, user.id);
        let versions: Vec<Version<User>> = User::history(user.id)
            .filter(change::captured_at.le(at))
            .load(&mut conn)?;
        assert_eq!(user, versions[0].row);
        assert!(ago != Ago::Now || live == [(post, user)]);
    }
    Ok(())
}
