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

#[derive(Queryable, Selectable, Audited)]
#[audited(exclude(password))]
struct User {
    id: i32,
    name: String,
}

fn main() {}
