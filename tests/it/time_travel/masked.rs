//! A masked column behind a type that checks its values.

use std::error::Error;

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::pg::{Pg, PgValue};
use diesel::prelude::*;
use diesel::sql_types::Text;
use threadline::{Audited, AuditedDsl as _, RowAsOf, TimelineEntry, Version};

use super::now;
use crate::common::{database, run};

diesel::table! {
    members (id) {
        id -> Integer,
        email -> Text,
        contact -> Text,
    }
}

#[derive(Debug, FromSqlRow)]
struct Email;

impl FromSql<Text, Pg> for Email {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        let text = <String as FromSql<Text, Pg>>::from_sql(value)?;
        if text.contains('@') {
            Ok(Self)
        } else {
            Err("this is not an address".into())
        }
    }
}

#[derive(Debug, Audited, Queryable, Selectable)]
#[diesel(table_name = members, check_for_backend(Pg))]
#[audited(mask(email))]
struct Member {
    #[expect(dead_code)]
    id: i32,
    #[expect(dead_code)]
    email: Email,
    #[expect(dead_code)]
    contact: Email,
}

/// An error and its causes.
fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

/// The error says that the column is masked, besides what the type says; another one is left as it is.
#[test]
fn validating_type() {
    let (_database, mut conn) = database(
        "CREATE TABLE members (id int PRIMARY KEY, email text NOT NULL, contact text NOT NULL);
         SELECT threadline.audit_table('members', mask => '{email}');
         INSERT INTO members VALUES (1, 'ada@example.com', 'ada@example.com')",
    );
    let at = now(&mut conn);
    let conn = &mut conn;
    for error in [
        Member::history(1)
            .load::<Version<Member>>(conn)
            .unwrap_err(),
        Member::story(1)
            .load::<TimelineEntry<Member>>(conn)
            .unwrap_err(),
        Member::as_of(1, at)
            .first::<RowAsOf<Member>>(conn)
            .unwrap_err(),
    ] {
        let error = chain(&error);
        assert!(error.contains("for masked columns, here email,"), "{error}");
        assert!(error.ends_with("this is not an address"), "{error}");
    }
    run(
        conn,
        "SELECT threadline.audit_table('members', unredact => '{email}'); UPDATE members SET email = 'eve@example.com', contact = 'nobody'",
    );
    let at = now(conn);
    let error = Member::as_of(1, at)
        .first::<RowAsOf<Member>>(conn)
        .unwrap_err();
    assert_eq!(
        chain(&error),
        "Error deserializing field 'contact': this is not an address"
    );
}
