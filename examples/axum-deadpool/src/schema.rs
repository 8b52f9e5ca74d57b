// @generated automatically by Diesel CLI.

diesel::table! {
    members (id) {
        id -> Int8,
        name -> Text,
        email -> Text,
        role -> Text,
    }
}

diesel::table! {
    sessions (token) {
        token -> Text,
        user_id -> Text,
        is_admin -> Bool,
        acting_for -> Nullable<Text>,
    }
}

diesel::allow_tables_to_appear_in_same_query!(members, sessions,);
