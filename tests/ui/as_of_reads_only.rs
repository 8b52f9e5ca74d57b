//! Only a `SELECT` can be read as of the past: anything else would change the present.

use diesel::prelude::*;

diesel::table! {
    users {
        id -> Int4,
        name -> Text,
    }
}

fn main() {
    let then = chrono::DateTime::UNIX_EPOCH;
    let _ = threadline::as_of(then, diesel::delete(users::table));
    let _ = threadline::as_of(then, diesel::insert_into(users::table).values(users::name.eq("Ada")));
    let _ = threadline::as_of(then, diesel::sql_query("SELECT * FROM users"));
}
