//! Types of extensions: recorded as their text, exactly, whatever casts to json they have.

use diesel::pg::PgConnection;

use super::{GRANULARITIES, audit, count, texts};
use crate::common::{database, run};
use crate::skipped::skip;

/// Installs an extension, or says that the server has not got it. In CI the installed server must have it; the others that
/// are tested there are built without some.
fn has_extension(conn: &mut PgConnection, name: &str) -> bool {
    let available = format!("SELECT count(*) FROM pg_available_extensions WHERE name = '{name}'");
    if count(conn, &available) > 0 {
        run(conn, &format!("CREATE EXTENSION IF NOT EXISTS {name}"));
        return true;
    }
    let variable = |name| std::env::var_os(name).is_some();
    assert!(
        !variable("CI") || variable("PG_BIN"),
        "the server has no extension {name}"
    );
    skip(conn, &format!("the server has no extension {name}"));
    false
}

/// Writes each value by an insert, an update and a delete, before and after the table has got another such column, and
/// reads it back from `versions` and `as_of`.
fn survive(conn: &mut PgConnection, kind: &str, values: &[&str]) {
    let name = kind.split('(').next().unwrap();
    let guide = include_str!("../../../docs/supported-tables.md");
    assert!(guide.contains(&format!("`{name}`")), "{name} is not there");
    for granularity in GRANULARITIES {
        run(
            conn,
            &format!(
                "DROP TABLE IF EXISTS t, was CASCADE; DELETE FROM threadline.audit_changes; DELETE FROM threadline.audited_tables; CREATE TABLE t (id int PRIMARY KEY, v {kind}, vs {name}[], n int); CREATE TABLE was (id int, v text, vs text)"
            ),
        );
        audit(conn, "t", granularity);
        for (id, value) in values.iter().enumerate() {
            let value = format!("'{}'", value.replace('\'', "''"));
            run(
                conn,
                &format!("INSERT INTO t VALUES ({id}, {value}, ARRAY[{value}::{kind}, NULL], 1)"),
            );
        }
        run(
            conn,
            "INSERT INTO was SELECT id, v::text, vs::text FROM t; CREATE TABLE IF NOT EXISTS moment (at timestamptz);
             TRUNCATE moment; INSERT INTO moment SELECT clock_timestamp(); UPDATE t SET n = 2",
        );
        let lost = [
            "SELECT format('version %s: %s, was %s', w.id, (r.typed_row).v::text, w.v) AS value
               FROM was AS w JOIN threadline.versions(NULL::t) AS r ON (r.\"row\" ->> 'id')::int = w.id
              WHERE ((r.typed_row).v::text, (r.typed_row).vs::text) IS DISTINCT FROM (w.v, w.vs)",
            "SELECT format('as_of %s: %s, was %s', w.id, r.v::text, w.v) AS value
               FROM moment, was AS w LEFT JOIN LATERAL threadline.as_of(NULL::t, moment.at) AS r ON r.id = w.id
              WHERE (r.v::text, r.vs::text) IS DISTINCT FROM (w.v, w.vs)",
        ];
        for lost in lost {
            assert_eq!(texts(conn, lost), [] as [&str; 0], "{kind} {granularity}");
        }
        // Before a refresh that the new column asks for, the images are what they will be after it.
        run(
            conn,
            "ALTER TABLE t ADD w text; UPDATE t SET n = 3; ALTER TABLE t DROP w",
        );
        run(
            conn,
            &format!(
                "ALTER TABLE t ADD w {kind}; UPDATE t SET w = v; UPDATE t SET v = NULL; DELETE FROM t WHERE id = 0; TRUNCATE t"
            ),
        );
        let changed = "SELECT count(*) FROM threadline.changes WHERE changed_fields = '{w}' AND captured_at > (SELECT at FROM moment)";
        assert_eq!(
            count(conn, changed),
            i64::try_from(values.len()).unwrap(),
            "{kind} {granularity}"
        );
        let other = "SELECT changed_from::text AS value FROM threadline.audit_changes
                      WHERE changed_from ->> 'v' IS NOT NULL AND jsonb_typeof(changed_from -> 'v') <> 'string'";
        assert_eq!(texts(conn, other), [] as [&str; 0], "{kind} {granularity}");
    }
}

/// `PostGIS`: what `GeoJSON` does not know, or gets wrong, is recorded and read back to the bit.
#[test]
fn postgis() {
    let (_database, mut conn) = database("SELECT 1");
    if !has_extension(&mut conn, "postgis") {
        return;
    }
    survive(
        &mut conn,
        "geometry",
        &[
            "CIRCULARSTRING(0 0,1 1,2 0)",
            "CURVEPOLYGON(CIRCULARSTRING(0 0,4 0,4 4,0 4,0 0))",
            "POINT(NaN 2)",
            "POINTM(1 2 3)",
            "POINTM(1 2 99)",
            "POINT ZM(1 2 3 4)",
            "SRID=910001;POINT(1 2)",
            "SRID=4326;LINESTRING(0.1 0.2,3 4)",
            "TIN(((0 0 0,0 0 1,0 1 0,0 0 0)))",
            "POINT(1e300 1)",
            "POINT EMPTY",
        ],
    );
    survive(&mut conn, "geometry(PointZM)", &["POINT ZM(1 2 3 4)"]);
    survive(&mut conn, "geography", &["POINT(0.1 51)"]);
}

/// The types of contrib modules.
#[test]
fn contrib() {
    let (_database, mut conn) = database("SELECT 1");
    for (extension, kind, values) in [
        (
            "hstore",
            "hstore",
            &[
                r#""a"=>"1", "b"=>NULL, "c \"d\""=>"true""#,
                "",
                "n=>1.50, t=>t",
            ][..],
        ),
        ("citext", "citext", &["Ada", "ADA", ""]),
        ("ltree", "ltree", &["a.b.c", ""]),
        ("cube", "cube", &["(0.1,2),(3,4)"]),
        ("isn", "isbn", &["0-306-40615-2"]),
        ("vector", "vector", &["[0.1,2,3]"]),
    ] {
        if has_extension_or_vector(&mut conn, extension) {
            survive(&mut conn, kind, values);
        }
    }
    if has_extension(&mut conn, "pgcrypto") {
        run(
            &mut conn,
            "CREATE EXTENSION IF NOT EXISTS pgcrypto; SELECT gen_random_bytes(1)",
        );
        survive(&mut conn, "bytea", &["\\x00ff", "\\x"]);
    }
}

/// Debian 12 has no package of pgvector, so that it may be missing everywhere.
fn has_extension_or_vector(conn: &mut PgConnection, name: &str) -> bool {
    if name == "vector" {
        let available = "SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'";
        if count(conn, available) == 0 {
            skip(conn, "the server has no extension vector");
            return false;
        }
    }
    has_extension(conn, name)
}
