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
#[audited(hide(name))]
struct User {
    id: i32,
    name: String,
}

#[derive(Queryable, Selectable, Audited)]
#[diesel(table_name = users)]
#[audited(granularity = "sometimes")]
struct Member {
    id: i32,
}

#[derive(Audited)]
enum Kind {
    Person,
}

fn main() {}
