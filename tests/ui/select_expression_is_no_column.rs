use diesel::prelude::*;
use threadline::prelude::*;

diesel::table! {
    users {
        id -> Int4,
        name -> Text,
    }
}

diesel::table! {
    accounts {
        id -> Int4,
        avatar -> Nullable<Text>,
    }
}

diesel::allow_tables_to_appear_in_same_query!(users, accounts);

#[derive(Queryable, Selectable, Audited)]
struct User {
    id: i32,
    #[diesel(select_expression = accounts::avatar.nullable())]
    avatar: Option<String>,
}

#[derive(Queryable, Selectable, Audited)]
#[diesel(table_name = users)]
struct Named {
    id: i32,
    #[diesel(select_expression = users::name.nullable(), select_expression_type = diesel::dsl::Nullable<users::name>)]
    name: Option<String>,
}

fn main() {}
