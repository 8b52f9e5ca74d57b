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
#[audited(hash_key(name))]
struct User {
    id: i32,
    name: String,
}

fn main() {
    // Masks are for what is not the key.
    let _ = User::history(7);
}
