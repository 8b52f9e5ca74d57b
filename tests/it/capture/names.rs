//! Law 3: names of any kind are only names.

use super::{GRANULARITIES, assert_no_gap, audit, ops};
use crate::common::{database, run, text};

/// Names that would break SQL put together without care, or clash with what capture calls its own.
const NAMES: [&str; 42] = [
    "select",
    "id ",
    "key",
    "image",
    "old_image",
    "new_image",
    "s",
    "r",
    "p",
    "u",
    "i",
    "changed",
    "candidates",
    "place",
    "typed_key",
    "a\"b",
    "a'b",
    "%1$s %s %I %%",
    "$function$",
    "$sql$",
    "back\\slash",
    "ünïcode 雪",
    "new",
    "OLD",
    "new_rows",
    "old_rows",
    "tableoid ",
    "TABLE_NAME",
    "truncated",
    "excluded",
    "mask",
    "recorded",
    "key_changed",
    "NEW",
    "old",
    "tg_relid",
    "old_key",
    "{a,b}",
    "$1",
    "a.b",
    "--",
    "sixty-three bytes: 4567890123456789012345678901234567890123456",
];

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Every odd name works as schema, table, key column, other column, masked and excluded column, in both granularities.
#[test]
fn odd_names() {
    let (_database, mut conn) = database("SELECT");
    let columns: Vec<String> = NAMES
        .iter()
        .map(|name| format!("{} text", quoted(name)))
        .collect();
    for (n, name) in NAMES.iter().enumerate() {
        let granularity = GRANULARITIES[n % 2];
        let table = format!("{0}.{0}", quoted(name));
        let literal = table.replace('\'', "''").replace('\\', "\\\\");
        let (key, masked, hidden) = (
            quoted(name),
            NAMES[(n + 1) % NAMES.len()],
            NAMES[(n + 2) % NAMES.len()],
        );
        let changed = quoted(NAMES[(n + 3) % NAMES.len()]);
        let array = |name: &str| {
            format!(
                "ARRAY[E'{}']",
                name.replace('\\', "\\\\").replace('\'', "''")
            )
        };
        run(
            &mut conn,
            &format!(
                "CREATE SCHEMA {key}; CREATE TABLE {table} ({}, PRIMARY KEY ({key}));
                 SELECT threadline.audit_table(E'{literal}', mask => {}, exclude => {}, granularity => '{granularity}')",
                columns.join(", "),
                array(masked),
                array(hidden),
            ),
        );
        run(
            &mut conn,
            &format!(
                "INSERT INTO {table} ({key}, {changed}, {m}, {h}) VALUES ('k', 'a', 'SECRET', 'SECRET'); UPDATE {table} SET {changed} = 'b'; UPDATE {table} SET {key} = 'K';
                 ALTER TABLE {table} RENAME {changed} TO renamed; UPDATE {table} SET renamed = 'c'; ALTER TABLE {table} ADD added text DEFAULT 'it''s';
                 SELECT threadline.refresh_audited_tables(); DELETE FROM {table}; INSERT INTO {table} ({key}) VALUES ('t'); TRUNCATE {table}",
                m = quoted(masked),
                h = quoted(hidden),
            ),
        );
        let relation: String = table.replace('\'', "''");
        assert_eq!(
            ops(&mut conn, &relation),
            [
                "insert k",
                "update k",
                "delete k>K",
                "insert K>k",
                "update K",
                "delete K",
                "insert t",
                "truncate t"
            ],
            "{table}"
        );
        assert_eq!(
            text(&mut conn, &format!("SELECT string_agg(concat((typed_row).renamed, (typed_row).added), ' ' ORDER BY id) FROM threadline.versions(NULL::{table}, 'K')")).as_deref(),
            Some("bit's cit's cit's"),
            "{table}"
        );
        // The tables that follow need not refresh this one.
        run(
            &mut conn,
            &format!("SELECT threadline.unaudit_table(E'{literal}')"),
        );
    }
    assert_eq!(super::whole_record(&mut conn).find("SECRET"), None);
}

/// Two tables of one name in two schemas are two tables.
#[test]
fn schemas() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = database(
            "CREATE SCHEMA a; CREATE SCHEMA b; CREATE TABLE a.t (id int PRIMARY KEY); CREATE TABLE b.t (id uuid PRIMARY KEY)",
        );
        audit(&mut conn, "a.t", granularity);
        audit(&mut conn, "b.t", granularity);
        run(
            &mut conn,
            "SET search_path = b; INSERT INTO t VALUES (gen_random_uuid()); SET search_path = a; INSERT INTO t VALUES (1); TRUNCATE t, b.t",
        );
        assert_eq!(ops(&mut conn, "a.t"), ["insert 1", "truncate 1"]);
        assert_no_gap(&mut conn, "b.t");
    }
}
