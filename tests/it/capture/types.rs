//! Law 3: values of any type survive the audit log.

use diesel::pg::PgConnection;

use super::{GRANULARITIES, audit, count, ops, texts};
use crate::common::{database, run, text};
use crate::skipped::since;

/// A type with two values, which differ.
pub(super) type Values = (&'static str, &'static str, &'static str);

/// Edge values of each type.
#[rustfmt::skip]
const VALUES: [Values; 99] = [
    ("smallint", "-32768", "32767"),
    ("integer", "-2147483648", "2147483647"),
    ("bigint", "-9223372036854775808", "9223372036854775807"),
    ("numeric", "1.000", "NaN"),
    ("numeric", "1e400", "-1e-400"),
    ("numeric(6,2)", "9007.10", "0.01"),
    ("real", "0.1", "1e-45"),
    ("real", "NaN", "-Infinity"),
    ("double precision", "0.1", "5e-324"),
    ("double precision", "1.7976931348623157e308", "Infinity"),
    ("money", "-92233720368547758.08", "1234.56"),
    ("boolean", "true", "false"),
    ("text", "", " a\n\"quoted\" \\ 雪 "),
    ("varchar(9)", "a ", "NULL"),
    ("char(5)", "a", "雪"),
    ("bpchar", "a ", "b"),
    ("name", "a", "pg_catalog"),
    ("\"char\"", "a", ""),
    ("bytea", "\\x", "\\x00ff5c27"),
    ("date", "4713-01-01 BC", "5874897-12-31"),
    ("date", "infinity", "-infinity"),
    ("time", "00:00:00", "24:00:00"),
    ("time(3)", "12:34:56.789", "23:59:59.999"),
    ("timetz", "12:00:00.000001+14", "12:00:00-15:59:59"),
    ("timestamp", "4713-01-01 00:00:00 BC", "294276-12-31 23:59:59.999999"),
    ("timestamp", "infinity", "2021-02-28 01:02:03.4"),
    ("timestamptz", "4713-01-01 00:00:00+00 BC", "294276-12-31 23:59:59.999999+00"),
    ("timestamptz", "-infinity", "2021-03-04 05:06:07.89+05:45"),
    ("interval", "-1 year 2 mons -3 days 04:05:06.000007", "24:00:00"),
    ("interval", "178000000 years", "1 day"),
    ("uuid", "00000000-0000-0000-0000-000000000000", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF"),
    ("json", "{\"a\": [1, null, \"x\"]}", "[]"),
    ("jsonb", "{\"a\": [1.00, null, \"\\u00fc\"], \"\": {}}", "\"text\""),
    ("jsonpath", "$.\"a\"[*]?(@ > 1)", "lax $"),
    ("tsvector", "'a':1A,2 'it''s':3", ""),
    ("tsquery", "'a' & !'b' <-> 'c':*AB", "'x'"),
    ("inet", "10.1.2.3/8", "::1"),
    ("cidr", "10.0.0.0/8", "2001:db8::/32"),
    ("macaddr", "08:00:2b:01:02:03", "00:00:00:00:00:00"),
    ("macaddr8", "08:00:2b:01:02:03:04:05", "ff:ff:ff:ff:ff:ff:ff:ff"),
    ("bit(3)", "101", "000"),
    ("varbit", "", "1011"),
    ("point", "(0.1,-2)", "(NaN,Infinity)"),
    ("line", "{1,-1,0.3}", "{0,-1,2}"),
    ("lseg", "[(0,0),(0.1,1e300)]", "[(1,1),(1,1)]"),
    ("box", "(2,2),(0.1,0)", "(1,1),(1,1)"),
    ("path", "[(0,0),(1,1.5)]", "((0,0),(1,1),(2,0))"),
    ("polygon", "((0,0),(1,1),(2,0.3))", "((1,1))"),
    ("circle", "<(0.1,0),0>", "<(1,1),2.5>"),
    ("oid", "0", "4294967295"),
    ("xid", "3", "4294967295"),
    ("xid8", "0", "18446744073709551615"),
    ("cid", "1", "2"),
    ("tid", "(0,1)", "(4294967295,65535)"),
    ("regclass", "pg_class", "pg_type"),
    ("regtype", "timestamptz", "integer[]"),
    ("regproc", "now", "pg_sleep"),
    ("regprocedure", "abs(integer)", "now()"),
    ("regoper", "||/", "|/"),
    ("regoperator", "+(integer,integer)", "-(NONE,integer)"),
    ("regnamespace", "pg_catalog", "threadline"),
    ("regrole", "pg_monitor", "pg_read_all_stats"),
    ("regconfig", "simple", "english"),
    ("regdictionary", "simple", "english_stem"),
    ("pg_lsn", "0/0", "FFFFFFFF/FFFFFFFF"),
    ("pg_snapshot", "10:20:10,14,15", "1:1:"),
    ("txid_snapshot", "10:20:10,14,15", "1:1:"),
    ("refcursor", "a", "b c"),
    ("int4range", "[1,5)", "empty"),
    ("int8range", "(,)", "[-5,9223372036854775807)"),
    ("numrange", "(0.10,1.50]", "[1,)"),
    ("tsrange", "[2021-02-01 00:00:00,2021-03-04 05:06:07)", "(,infinity]"),
    ("tstzrange", "[2021-02-01 00:00:00+05,2021-03-04 05:06:07+09)", "empty"),
    ("daterange", "[2021-02-01,2021-03-04)", "[0044-03-15 BC,)"),
    ("name_range", "[a,\"b,\\\"c\\\"\"]", "(,x)"),
    ("color", "red", "it's \"blue\", {really}"),
    ("positive", "1", "2.50"),
    ("pair", "(1,\"a,\"\"b\\\\c\"\"\")", "(,)"),
    ("nested", "(\"{\"\"(1,x)\"\",NULL}\",\"[1,3)\",red)", "({},empty,)"),
    ("integer[]", "{}", "{1,NULL,3}"),
    ("integer[]", "{{1,2},{3,NULL}}", "{{{1}}}"),
    ("text[]", "{\"\",\"NULL\",NULL,\"a,b\",\"\\\\\\\"\"}", "{x}"),
    ("char(2)[]", "{a,bb}", "{\"\"}"),
    ("numeric[]", "{1.0,NaN,1e50}", "{0}"),
    ("double precision[]", "{NaN,Infinity,0.1}", "{}"),
    ("bytea[]", "{\"\\\\x00ff\",NULL}", "{}"),
    ("timestamptz[]", "{\"2021-02-03 04:05:06+07\",infinity}", "{NULL}"),
    ("jsonb[]", "{\"{\\\"a\\\": 1}\",\"[]\",NULL}", "{1}"),
    ("json[]", "{\"{\\\"a\\\": 1}\",\"[]\",NULL}", "{1}"),
    ("color[]", "{red,NULL,\"it's \\\"blue\\\", {really}\"}", "{}"),
    ("pair[]", "{\"(1,a)\",NULL,\"(,)\"}", "{}"),
    ("positive[]", "{1.0,2}", "{}"),
    ("daterange[]", "{\"[2021-02-01,2021-03-04)\",empty}", "{}"),
    ("point[]", "{\"(1,2)\",\"(3,4)\"}", "{}"),
    ("box[]", "{(2,2),(1,1);(4,4),(3,3)}", "{}"),
    ("inet[]", "{10.0.0.1,::1/64}", "{}"),
    ("uuid[]", "{00000000-0000-0000-0000-000000000001}", "{}"),
    ("bit(2)[]", "{10,01}", "{}"),
    ("interval[]", "{\"1 day\",24:00:00}", "{}"),
];

pub(super) const TYPES: &str = "CREATE TYPE color AS ENUM ('red', 'it''s \"blue\", {really}'); CREATE DOMAIN positive AS numeric CHECK (VALUE > 0);
    CREATE TYPE pair AS (a int, b text); CREATE TYPE nested AS (pairs pair[], r int4range, c color); CREATE TYPE name_range AS RANGE (subtype = text)";

/// The values that this server knows.
pub(super) fn values(conn: &mut PgConnection) -> Vec<Values> {
    let mut values = VALUES.to_vec();
    if since(conn, 14, "a multirange, an infinite numeric") {
        values.push(("numeric", "Infinity", "-Infinity"));
        values.push(("int4multirange", "{[1,2),[4,9)}", "{}"));
        values.push((
            "datemultirange",
            "{[2021-02-01,2021-03-04),[2021-05-06,)}",
            "{(,)}",
        ));
        values.push(("nummultirange[]", "{\"{[1.0,2.50)}\",NULL}", "{}"));
    }
    let xml = "SELECT count(*) FROM pg_catalog.pg_config() WHERE name = 'CONFIGURE' AND setting LIKE '%with-libxml%'";
    if count(conn, xml) > 0 {
        values.push(("xml", "<a b=\"1\">&amp; \"x\"<!-- c --></a>", "text"));
        values.push(("xml[]", "{<a/>,NULL}", "{}"));
    }
    values
}

pub(super) fn literal(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// Edge values of every type come back from both images of every op as they were, byte for byte.
#[test]
fn survive() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = database(TYPES);
        let values = values(&mut conn);
        let columns = |item: &dyn Fn(usize, &Values) -> String, between: &str| {
            let items: Vec<_> = values.iter().enumerate().map(|(n, v)| item(n, v)).collect();
            items.join(between)
        };
        let definition = columns(&|n, (kind, ..)| format!("c{n} {kind}"), ", ");
        run(
            &mut conn,
            &format!(
                "CREATE TABLE t (id int PRIMARY KEY, {definition}); CREATE TABLE was (step int, LIKE t)"
            ),
        );
        audit(&mut conn, "t", granularity);
        let first = columns(&|_, (_, first, _)| literal(first), ", ");
        let second = columns(
            &|n, (.., second)| format!("c{n} = {}", literal(second)),
            ", ",
        );
        for (step, sql) in [
            format!("INSERT INTO t VALUES (1, {first})"),
            format!("UPDATE t SET {second}"),
            format!(
                "UPDATE t SET {}",
                columns(&|n, _| format!("c{n} = NULL"), ", ")
            ),
            format!(
                "UPDATE t SET {}",
                columns(
                    &|n, (_, first, _)| format!("c{n} = {}", literal(first)),
                    ", "
                )
            ),
            format!("UPDATE t SET {second}"),
        ]
        .iter()
        .enumerate()
        {
            // Nothing of the writing session's settings may show.
            run(
                &mut conn,
                "SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'sql_standard'; SET TimeZone = 'Asia/Kathmandu'; SET extra_float_digits = -3; SET bytea_output = 'escape'",
            );
            // Literals of the table above are ISO.
            run(
                &mut conn,
                &format!("SET DateStyle = 'ISO'; {sql}; INSERT INTO was SELECT {step}, * FROM t"),
            );
        }
        // Writes the same values again, and then ends the row.
        run(
            &mut conn,
            &format!(
                "SET DateStyle = 'German'; UPDATE t SET {}; DELETE FROM t; RESET ALL",
                columns(&|n, _| format!("c{n} = c{n}"), ", ")
            ),
        );
        assert_eq!(
            ops(&mut conn, "t"),
            [
                "insert 1", "update 1", "update 1", "update 1", "update 1", "delete 1"
            ]
        );
        let same = columns(
            &|n, (kind, ..)| {
                let kind = literal(kind);
                format!(
                    "({kind}, ROW((image).c{n})::record *= ROW(was.c{n})::record, (image).c{n}::text, was.c{n}::text)"
                )
            },
            ", ",
        );
        let lost = format!(
            "WITH change AS (
               SELECT row_number() OVER (ORDER BY id) - 1 AS step, op, \"row\", row_before FROM threadline.versions(NULL::t)
             ), images AS MATERIALIZED (
               SELECT step, jsonb_populate_record(NULL::t, \"row\") AS image FROM change WHERE op <> 'delete'
               UNION ALL SELECT step - 1, jsonb_populate_record(NULL::t, row_before) FROM change WHERE op <> 'insert'
             )
             SELECT format('%s: %s, was %s', kind, recorded, there) AS value FROM images JOIN was USING (step)
              CROSS JOIN LATERAL (VALUES {same}) AS c (kind, same, recorded, there)
              WHERE NOT same"
        );
        assert_eq!(texts(&mut conn, &lost), [] as [&str; 0], "{granularity}");
        let all_changed = format!(
            "SELECT count(*) FROM threadline.versions(NULL::t) WHERE op = 'update' AND cardinality(changed_fields) = {}",
            values.len()
        );
        assert_eq!(count(&mut conn, &all_changed), 4);
    }
}

/// What JSON cannot tell apart: lower bounds of arrays, JSON null at the top, minus zero and the writing of `json`.
#[test]
fn exceptions() {
    let (_database, mut conn) = database(
        "CREATE TABLE t (id int PRIMARY KEY, a int[], b jsonb, c json, d float8); SELECT threadline.audit_table('t');
         INSERT INTO t VALUES (1, '[0:1]={7,8}', 'null', '{\"b\" : 1, \"a\": 2, \"a\": 3}', '-0')",
    );
    assert_eq!(
        text(
            &mut conn,
            "SELECT typed_row FROM threadline.versions(NULL::t)"
        )
        .as_deref(),
        Some(r#"(1,"{7,8}",,"{""a"": 3, ""b"": 1}",0)"#)
    );
    run(
        &mut conn,
        "UPDATE t SET a = '{7,8}', c = '{\"a\": 3, \"b\": 1}', d = 0",
    );
    assert_eq!(
        count(&mut conn, "SELECT count(*) FROM threadline.audit_changes"),
        1
    );
}

/// No type of the server makes capture fail, be it NULL or, where the type can be written, a value.
#[test]
fn every_type() {
    for granularity in GRANULARITIES {
        let (_database, mut conn) = database(TYPES);
        run(&mut conn, "CREATE EXTENSION IF NOT EXISTS citext");
        let types = texts(
            &mut conn,
            "SELECT format_type(t.oid, NULL) AS value FROM pg_type AS t
               LEFT JOIN pg_class AS c ON c.oid = t.typrelid
              WHERE t.typisdefined AND t.typtype <> 'p' AND t.typnamespace::regnamespace::text !~ '^(pg_toast|information_schema|threadline)'
                AND (t.typrelid = 0 OR c.relname ~ '^(pg_class|pg_type|pair|nested)$')
                AND NOT EXISTS (SELECT FROM pg_type AS e WHERE e.typarray = t.oid AND (e.typrelid <> 0 OR e.typtype = 'p'))
              ORDER BY t.oid",
        );
        // Multiranges came with PostgreSQL 14: six, and the arrays of them.
        let multiranges: u8 = if since(&mut conn, 14, "a multirange") {
            12
        } else {
            0
        };
        assert!(types.len() > 138 + usize::from(multiranges), "{types:?}");
        let columns: Vec<_> = types
            .iter()
            .enumerate()
            .map(|(n, kind)| format!("c{n} {kind}"))
            .collect();
        run(
            &mut conn,
            &format!(
                "CREATE TABLE t (id int PRIMARY KEY, n int, {})",
                columns.join(", ")
            ),
        );
        audit(&mut conn, "t", granularity);
        run(
            &mut conn,
            "INSERT INTO t VALUES (1, 1); UPDATE t SET n = 2; UPDATE t SET n = 2",
        );
        // The first of some texts that the type reads.
        for n in 0..types.len() {
            run(
                &mut conn,
                &format!(
                    "CREATE OR REPLACE FUNCTION pg_temp.write() RETURNS void LANGUAGE plpgsql AS $$
                     DECLARE candidate text; value t.c{n}%TYPE; BEGIN
                       FOREACH candidate IN ARRAY ARRAY['1', '2021-02-03', '{{}}', 'now', '(1,2)', '1:1:', 'simple', 'pg_class', '08:00:2b:01:02:03', 'empty'] LOOP
                         BEGIN
                           value := candidate;
                         EXCEPTION WHEN OTHERS THEN CONTINUE;
                         END;
                         UPDATE t SET c{n} = value; RETURN;
                       END LOOP; END $$; SELECT pg_temp.write()"
                ),
            );
        }
        let updates = count(
            &mut conn,
            "SELECT count(*) FROM threadline.audit_changes WHERE op = 'update'",
        );
        assert!(
            updates > 128 + i64::from(multiranges),
            "{updates} of {} types were written",
            types.len()
        );
        run(
            &mut conn,
            "DELETE FROM t; INSERT INTO t VALUES (2); TRUNCATE t",
        );
        assert_eq!(
            ops(&mut conn, "t").last().map(String::as_str),
            Some("truncate 2")
        );
    }
}
