use chrono::{DateTime, Utc};
use diesel::prelude::*;
use threadline::prelude::*;
use uuid::Uuid;

diesel::table! {
    users {
        id -> Int8,
        name -> Text,
        email -> Text,
        visits -> Int4,
        born -> Nullable<Date>,
        vip -> Bool,
        note -> Nullable<Text>,
    }
}

diesel::table! {
    posts {
        id -> Int8,
        user_id -> Int8,
        title -> Text,
        body -> Text,
        edits -> Int4,
        at -> Timestamptz,
        hidden -> Bool,
    }
}

diesel::table! {
    tags (name) {
        name -> Text,
        edits -> Int4,
        note -> Text,
    }
}

diesel::table! {
    members (post_id, role) {
        post_id -> Int8,
        role -> Text,
        edits -> Int4,
        note -> Text,
    }
}

diesel::table! {
    devices {
        id -> Uuid,
        edits -> Int4,
        note -> Text,
    }
}

diesel::joinable!(posts -> users (user_id));
diesel::allow_tables_to_appear_in_same_query!(users, posts);

#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Audited)]
pub(crate) struct User {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) visits: i32,
    pub(crate) born: Option<chrono::NaiveDate>,
    pub(crate) vip: bool,
    pub(crate) note: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Audited)]
pub(crate) struct Post {
    pub(crate) id: i64,
    pub(crate) user_id: i64,
    pub(crate) title: String,
    pub(crate) body: String,
    pub(crate) edits: i32,
    pub(crate) at: DateTime<Utc>,
    pub(crate) hidden: bool,
}

#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Audited)]
#[diesel(primary_key(name))]
pub(crate) struct Tag {
    pub(crate) name: String,
    pub(crate) edits: i32,
    pub(crate) note: String,
}

#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Audited)]
#[diesel(primary_key(post_id, role))]
pub(crate) struct Member {
    pub(crate) post_id: i64,
    pub(crate) role: String,
    pub(crate) edits: i32,
    pub(crate) note: String,
}

#[derive(Debug, Clone, PartialEq, Queryable, Selectable, Audited)]
pub(crate) struct Device {
    pub(crate) id: Uuid,
    pub(crate) edits: i32,
    pub(crate) note: String,
}
