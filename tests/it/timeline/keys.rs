//! The filter by key: whatever the key is made of, pages, count and export find the same.

use diesel::prelude::*;
use threadline::{ExportFormat, timeline};

use super::load;
use crate::common::{database, run};

/// What is special in the SQL that finds a row is nothing special in a key.
#[test]
fn special_characters() {
    let (_database, mut conn) = database(
        "CREATE TABLE named (id text PRIMARY KEY); CREATE TABLE pairs (a int, b text, PRIMARY KEY (a, b));
         SELECT threadline.audit_table('named'), threadline.audit_table('pairs')",
    );
    let keys = [
        "%", "50%", "%s", "%1$s", "%%", "a'b", r"a\b", r"\'%s", "$1", "{}",
    ];
    for conforming in ["on", "off"] {
        run(
            &mut conn,
            &format!("SET standard_conforming_strings = {conforming}; TRUNCATE named, pairs"),
        );
        for key in keys {
            for insert in [
                "INSERT INTO named VALUES ($1)",
                "INSERT INTO pairs VALUES (1, $1)",
            ] {
                let insert = diesel::sql_query(insert).bind::<diesel::sql_types::Text, _>(key);
                insert.execute(&mut conn).unwrap();
            }
        }
        for key in keys {
            for row_key in [
                key.to_owned(),
                serde_json::json!([1, key]).to_string().replace(',', ", "),
            ] {
                let one = timeline().row_key(&row_key).op(threadline::Op::Insert);
                let found = load(&mut conn, one.clone());
                assert!(
                    !found.is_empty()
                        && found
                            .iter()
                            .all(|entry| entry.row_key.as_ref() == Some(&row_key)),
                    "{row_key}: {found:?}"
                );
                let count: i64 = one.count().get_result(&mut conn).unwrap();
                assert_eq!(count, i64::try_from(found.len()).unwrap(), "{row_key}");
            }
        }
    }
}

/// A table that lost its primary key keeps the keys of what it had recorded.
#[test]
fn without_key_since() {
    let (_database, mut conn) = database(
        "CREATE TABLE t (id int PRIMARY KEY); SELECT threadline.audit_table('t'); INSERT INTO t VALUES (1), (2);
         ALTER TABLE t DROP CONSTRAINT t_pkey; SELECT threadline.refresh_audited_tables(); DELETE FROM t",
    );
    let one = timeline().row_key("1");
    assert_eq!(load(&mut conn, one.clone()).len(), 1);
    let count: i64 = one.clone().count().get_result(&mut conn).unwrap();
    assert_eq!(count, 1);
    let exported = one
        .export(ExportFormat::Ndjson)
        .write_to(&mut conn, std::io::sink());
    assert_eq!(exported.unwrap().changes, 1);
}
