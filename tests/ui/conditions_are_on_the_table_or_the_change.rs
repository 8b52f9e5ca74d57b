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

diesel::table! {
    posts {
        id -> Int4,
    }
}

#[derive(Queryable, Selectable, Audited)]
struct User {
    id: i32,
    name: String,
}

fn main() {
    let _ = User::history(7).filter(posts::id.eq(1));
    let _ = users::table.filter(change::op.eq("update"));
}
