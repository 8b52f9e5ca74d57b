//! The same words on `AsyncPgConnection`, out of a pool, pipelined and in spawned tasks.

use diesel::prelude::*;
use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use super::{Comment, Post, RowAsOf, User, changed, comments, posts, users};
use threadline::prelude::*;

/// Rows and queries of the past load as they do in the present.
#[tokio::test]
async fn rows_and_queries() {
    let (database, _conn, before) = changed();
    let mut conn = AsyncPgConnection::establish(database.url()).await.unwrap();
    let ada = User::as_of(1, before).get_result(&mut conn).await.unwrap();
    assert_eq!(ada.into_result().unwrap().name, "Ada");
    let comment: RowAsOf<Comment> = Comment::as_of((10_i64, 2), before)
        .first(&mut conn)
        .await
        .unwrap();
    assert_eq!(comment.into_result().unwrap().text, "second");

    let query = || {
        users::table
            .inner_join(posts::table)
            .select((User::as_select(), Post::as_select()))
    };
    let past: Vec<(User, Post)> = threadline::as_of(before, query())
        .filter(posts::likes.gt(0))
        .order(posts::id)
        .load(&mut conn)
        .await
        .unwrap();
    let past: Vec<_> = past
        .iter()
        .map(|(user, post)| (user.name.as_str(), post.title.as_str()))
        .collect();
    assert_eq!(
        past,
        [("Ada", "Engines"), ("Bob", "Bricks"), ("Cyd", "Notes")]
    );
    let present: Vec<(User, Post)> = query()
        .filter(posts::likes.gt(0))
        .load(&mut conn)
        .await
        .unwrap();
    assert_eq!(present.len(), 3);

    let texts: Vec<String> = threadline::as_of(
        before,
        comments::table
            .select(comments::text)
            .order((comments::post_id, comments::number)),
    )
    .load(&mut conn)
    .await
    .unwrap();
    assert_eq!(texts, ["first", "second", "first"]);
    let error = threadline::as_of(before, users::table.for_update())
        .load::<User>(&mut conn)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("it locks rows"), "{error}");
}

/// The same type at other times, and past and present side by side, each get their own rows, pipelined too.
#[tokio::test]
async fn pipelined_and_spawned() {
    let (database, _conn, before) = changed();
    let manager = AsyncDieselConnectionManager::<AsyncPgConnection>::new(database.url());
    let pool = Pool::builder(manager).max_size(2).build().unwrap();
    let name = |id: i32| users::table.find(id).select(users::name);
    let mut conn = pool.get().await.unwrap();
    let after: chrono::DateTime<chrono::Utc> = diesel::select(diesel::dsl::sql::<
        diesel::sql_types::Timestamptz,
    >("clock_timestamp()"))
    .get_result(&mut conn)
    .await
    .unwrap();
    for _ in 0..3 {
        let shared = &*conn;
        let (past, present, later, row) = tokio::join!(
            threadline::as_of(before, name(1)).get_result::<String>(&mut &*shared),
            name(1).get_result::<String>(&mut &*shared),
            threadline::as_of(after, name(1)).get_result::<String>(&mut &*shared),
            User::as_of(2, before).get_result::<RowAsOf<User>>(&mut &*shared),
        );
        assert_eq!(
            (past.unwrap(), present.unwrap(), later.unwrap()),
            ("Ada".into(), "Ada L.".into(), "Ada L.".into())
        );
        assert_eq!(row.unwrap().into_result().unwrap().name, "Bob");
    }
    drop(conn);
    let tasks = (0..8).map(|_| {
        let pool = pool.clone();
        tokio::spawn(async move {
            let mut conn = pool.get().await.unwrap();
            threadline::as_of(before, posts::table.count())
                .get_result::<i64>(&mut conn)
                .await
                .unwrap()
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        assert_eq!(task.await.unwrap(), 4);
    }
}
