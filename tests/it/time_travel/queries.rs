//! `threadline::as_of`: any query, run against the past, gives what it gave then.

use diesel::dsl::{count, count_star, exists, not, sum};
use diesel::prelude::*;
use diesel::query_dsl::positional_order_dsl::PositionalOrderDsl;

use super::*;

/// Runs a query when the tables are as they were `BEFORE`, and as of that time after they have changed.
macro_rules! assert_same {
    ($($query:expr => $Row:ty;)+) => {
        let (_database, mut conn) = audited();
        run(&mut conn, BEFORE);
        let then = now(&mut conn);
        let mut truths = Vec::new();
        $(
            let rows: Vec<$Row> = $query.load(&mut conn).expect("the query runs");
            truths.push(format!("{rows:#?}"));
        )+
        run(&mut conn, LATER);
        let mut truths = truths.into_iter();
        $(
            let present: Vec<$Row> = $query.load(&mut conn).expect("the query runs in the present");
            let past: Vec<$Row> = threadline::as_of(then, $query).load(&mut conn)
                .unwrap_or_else(|error| panic!("{error}\nin: {}", stringify!($query)));
            let past = format!("{past:#?}");
            assert_eq!(truths.next().as_deref(), Some(past.as_str()), "{}", stringify!($query));
            assert_ne!(format!("{present:#?}"), past, "the query must tell past and present apart: {}", stringify!($query));
        )+
    };
}

/// Selections, conditions, orders, pages.
#[test]
fn plain_queries() {
    assert_same! {
        users::table.order(users::id) => User;
        users::table.select(User::as_select()).order(users::name.desc()) => User;
        users::table.find(1) => User;
        users::table.filter(users::email.is_null()).select(users::id) => i32;
        users::table.filter(users::id.eq_any([1, 2, 4])).order(users::id) => User;
        posts::table.filter(posts::user_id.eq(1)).order(posts::id) => Post;
        posts::table.order(posts::id).limit(2).offset(1) => Post;
        posts::table.filter(posts::id.between(11, 20)).order(posts::id) => Post;
        posts::table.order((posts::title, posts::id)).distinct_on(posts::title) => Post;
        posts::table.select(posts::title).distinct().order(posts::title) => String;
        users::table.count() => i64;
        odd_names::table.order(odd_names::key) => Odd;
        odd_names::table.filter(odd_names::key.eq("b")) => Odd;
    }
}

/// Joins, with the tables in it under their own names or others.
#[test]
fn joins() {
    let author = diesel::alias!(users as author);
    assert_same! {
        users::table.inner_join(posts::table).select((User::as_select(), Post::as_select())).order(posts::id) => (User, Post);
        users::table.left_join(posts::table).select((User::as_select(), Option::<Post>::as_select()))
            .order((users::id, posts::id)) => (User, Option<Post>);
        posts::table.inner_join(users::table).filter(users::name.like("Ada%")).select(posts::title).order(posts::id) => String;
        posts::table.inner_join(author.on(author.field(users::id).eq(posts::user_id)))
            .select((posts::id, author.field(users::name))).order(posts::id) => (i64, String);
        users::table.inner_join(author.on(author.field(users::id).lt(users::id)))
            .select((users::name, author.field(users::name))).order((users::id, author.field(users::id))) => (String, String);
        posts::table.inner_join(comments::table).inner_join(users::table)
            .select((users::name, posts::title, comments::text)).order((posts::id, comments::number)) => (String, String, String);
        posts::table.left_join(comments::table.on(comments::post_id.eq(posts::id).and(comments::number.eq(2))))
            .select((posts::id, comments::text.nullable())).order(posts::id) => (i64, Option<String>);
    }
}

/// `belonging_to` is a query like others.
#[test]
fn belonging_to() {
    let ada = User {
        id: 1,
        name: String::new(),
        email: None,
    };
    let cyd = User {
        id: 3,
        ..ada.clone()
    };
    let both = vec![ada.clone(), cyd];
    assert_same! {
        Post::belonging_to(&ada).order(posts::id) => Post;
        Post::belonging_to(&both).select(Post::as_select()).order(posts::id) => Post;
    }
}

/// Groups and aggregates.
#[test]
fn aggregates() {
    assert_same! {
        posts::table.select(sum(posts::likes)) => Option<i64>;
        posts::table.group_by(posts::user_id).select((posts::user_id, count_star())).order(posts::user_id) => (i32, i64);
        posts::table.group_by(posts::title).having(count(posts::id).gt(1)).select((posts::title, sum(posts::likes)))
            .order(posts::title) => (String, Option<i64>);
        users::table.inner_join(posts::table).group_by(users::name).select((users::name, count(posts::id)))
            .order(users::name) => (String, i64);
    }
}

/// Tables that only a subquery reads are read as of the past, too.
#[test]
fn subqueries() {
    let other = diesel::alias!(posts as other);
    assert_same! {
        users::table.filter(exists(posts::table.filter(posts::user_id.eq(users::id).and(posts::likes.gt(4)))))
            .order(users::id) => User;
        users::table.filter(not(exists(posts::table.filter(posts::title.eq("New"))))).order(users::id) => User;
        users::table.filter(users::id.eq_any(posts::table.filter(posts::title.eq("Notes")).select(posts::user_id)))
            .order(users::id) => User;
        users::table.select((users::id, posts::table.filter(posts::user_id.eq(users::id)).select(posts::likes)
            .order(posts::likes.desc()).limit(1).single_value())).order(users::id) => (i32, Option<i32>);
        posts::table.filter(posts::likes.nullable().eq(other.order(other.field(posts::likes).desc()).select(other.field(posts::likes)).single_value())) => Post;
        diesel::select(exists(users::table.filter(users::name.eq("Bob")))) => bool;
        users::table.filter(diesel::dsl::sql::<diesel::sql_types::Bool>(
            "(SELECT count(*) FROM posts AS p, blog.comments c WHERE p.user_id = users.id AND c.post_id = p.id) > 1")) => User;
    }
}

/// Unions and the like.
#[test]
fn combinations() {
    assert_same! {
        users::table.select(users::name).union(posts::table.select(posts::title)).positional_order_by(1) => String;
        users::table.select(users::id).union_all(posts::table.select(posts::user_id)).positional_order_by(1) => i32;
        users::table.select(users::id).except(posts::table.filter(posts::likes.gt(2)).select(posts::user_id))
            .positional_order_by(1) => i32;
        users::table.select(users::id).intersect(posts::table.filter(posts::title.eq("Notes")).select(posts::user_id))
            .positional_order_by(1) => i32;
    }
}
