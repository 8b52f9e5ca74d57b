//! A query against the past takes no lock.

use diesel::prelude::*;

diesel::table! {
    users {
        id -> Int4,
        name -> Text,
    }
}

fn main() {
    let then = chrono::DateTime::UNIX_EPOCH;
    let _ = threadline::as_of(then, users::table).for_update();
}
