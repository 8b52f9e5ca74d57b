//! The past is read as of a time with a time zone, and not of anything else.

diesel::table! {
    users {
        id -> Int4,
        name -> Text,
    }
}

fn main() {
    let _ = threadline::as_of("yesterday", users::table);
}
