use diesel::prelude::*;
use threadline::prelude::*;

diesel::table! {
    users {
        id -> Int4,
        name -> Text,
        logins -> Int4,
        password_hash -> Text,
    }
}

use threadline::change;

#[derive(Queryable, Selectable, Audited)]
struct User {
    id: i32,
    name: String,
}

fn main() {
    let _ = User::history(7).filter(users::name.eq("x")).select(change::data_after);
}
