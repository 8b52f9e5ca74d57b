//! Law 5: nothing that a writer or a reader shadows is used by capture, and nothing of theirs runs with its rights.

use super::safe::Roles;
use super::{GRANULARITIES, count, ops, texts};
use crate::common::{database, run};

/// Functions, operators, types and tables that shadow what capture and reading use are not used by them.
#[test]
#[expect(clippy::too_many_lines, reason = "most of them name what is shadowed")]
fn hostile_search_path() {
    for granularity in GRANULARITIES {
        let (database, mut conn) = database(
            "CREATE TABLE t (id int PRIMARY KEY, m text, e text, j jsonb); CREATE TABLE p (a int, b numeric, PRIMARY KEY (a, b)) PARTITION BY LIST (a);
             CREATE TABLE p_1 PARTITION OF p FOR VALUES IN (1); CREATE TABLE p_2 PARTITION OF p DEFAULT",
        );
        let (_roles, [app]) = Roles::new(&database, ["app"]);
        run(
            &mut conn,
            &format!(
                "SELECT threadline.audit_table('t', '{{m}}', '{{e}}', '{granularity}'), threadline.audit_table('p'); GRANT ALL ON t, p TO {app}"
            ),
        );
        run(
            &mut conn,
            &format!("SET SESSION AUTHORIZATION {app}; CREATE SCHEMA evil"),
        );
        for signature in [
            "to_jsonb(anyelement)",
            "concat(text, text, text)",
            "concat_ws(text, text, text)",
            "current_setting(text)",
            "current_setting(text, boolean)",
            "clock_timestamp()",
            "statement_timestamp()",
            "transaction_timestamp()",
            "pg_current_xact_id()",
            "set_config(text, text, boolean)",
            "hashtextextended(text, bigint)",
            "date_part(text, timestamptz)",
            "power(double precision, double precision)",
            "num_nulls(text, text)",
            "num_nulls(jsonb, text)",
            "encode(bytea, text)",
            "int8send(bigint)",
            "jsonb_each(jsonb)",
            "jsonb_build_array(jsonb, jsonb)",
            "jsonb_build_object(text, jsonb)",
            "jsonb_object_keys(jsonb)",
            "jsonb_populate_record(anyelement, jsonb)",
            "jsonb_typeof(jsonb)",
            "jsonb_strip_nulls(jsonb)",
            "pg_trigger_depth()",
            "strpos(text, text)",
            "chr(int)",
            "trim_scale(numeric)",
            "replace(text, text, text)",
            "unnest(text[])",
        ] {
            run(
                &mut conn,
                &format!(
                    "CREATE FUNCTION evil.{signature} RETURNS int LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''hijacked''; END'"
                ),
            );
        }
        for (number, (name, left, right, result)) in [
            ("=", "jsonb", "jsonb", "boolean"),
            ("<>", "jsonb", "jsonb", "boolean"),
            (">=", "jsonb", "jsonb", "boolean"),
            ("||", "jsonb", "jsonb", "jsonb"),
            ("-", "jsonb", "text[]", "jsonb"),
            ("->", "jsonb", "text", "jsonb"),
            ("->>", "jsonb", "text", "text"),
            ("#>>", "jsonb", "text[]", "text"),
            ("?", "jsonb", "text", "boolean"),
            ("=", "text", "text", "boolean"),
            ("=", "int", "int", "boolean"),
            ("/", "bigint", "int", "bigint"),
            ("%", "bigint", "int", "bigint"),
            ("*", "bigint", "int", "bigint"),
            ("<<", "bigint", "int", "bigint"),
            ("|", "bigint", "bigint", "bigint"),
            ("&", "bigint", "bigint", "bigint"),
            ("||", "bytea", "bytea", "bytea"),
            ("<", "timestamptz", "timestamptz", "boolean"),
            ("=", "uuid", "uuid", "boolean"),
            ("*=", "record", "record", "boolean"),
            ("=", "timestamptz", "timestamptz", "boolean"),
        ]
        .into_iter()
        .enumerate()
        {
            run(
                &mut conn,
                &format!(
                    "CREATE FUNCTION evil.op{number}({left}, {right}) RETURNS {result} LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''hijacked''; END';
                     CREATE OPERATOR evil.{name} (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = evil.op{number})"
                ),
            );
        }
        run(
            &mut conn,
            "CREATE DOMAIN evil.jsonb AS int; CREATE DOMAIN evil.text AS int; CREATE DOMAIN evil.uuid AS int; CREATE DOMAIN evil.timestamptz AS int; CREATE DOMAIN evil.numeric AS int; CREATE TYPE evil.xid8 AS (a int)",
        );
        for name in [
            "audit_changes",
            "audit_transactions",
            "audited_tables",
            "pg_attribute",
            "pg_trigger",
            "pg_class",
            "pg_type",
            "new_rows",
            "old_rows",
            "t",
            "r",
        ] {
            run(
                &mut conn,
                &format!("CREATE TEMP TABLE {name} (x int); CREATE TABLE evil.{name} (x int)"),
            );
        }
        run(
            &mut conn,
            r#"SET search_path = pg_temp, evil, pg_catalog, public;
               INSERT INTO public.t VALUES (1, 'SECRET', 'SECRET', '{"a": 1}'), (2, 'SECRET', 'SECRET', '[]'); UPDATE public.t SET j = '{"a": 2}', id = -id;
               UPDATE public.t SET m = 'SECRET 2'; DELETE FROM public.t WHERE id < -1; TRUNCATE public.t;
               INSERT INTO p VALUES (1, 1.0); UPDATE p SET a = 3; DELETE FROM p; TRUNCATE p; RESET SESSION AUTHORIZATION"#,
        );
        // Reading, under the same path.
        let versions = texts(
            &mut conn,
            "SELECT pg_catalog.string_agg(v.typed_row::pg_catalog.text, ' ') AS value FROM threadline.versions(NULL::public.t, -1) AS v",
        );
        assert_eq!(
            versions,
            [
                r#"(-1,[REDACTED],,"{""a"": 2}") (-1,[REDACTED],,"{""a"": 2}") (-1,[REDACTED],,"{""a"": 2}")"#
            ]
        );
        assert_eq!(
            count(
                &mut conn,
                "SELECT pg_catalog.count(*) FROM threadline.versions(NULL::public.p, 3, 1.00)"
            ),
            2
        );
        run(
            &mut conn,
            "SELECT threadline.refresh_audited_tables(), threadline_internal.create_partitions(); RESET search_path; DROP SCHEMA evil CASCADE; DISCARD TEMP",
        );
        assert_eq!(ops(&mut conn, "t").len(), 10);
        assert_eq!(ops(&mut conn, "p").len(), 4);
        assert_eq!(super::whole_record(&mut conn).find("SECRET"), None);
    }
}

/// The image of a column whose type has a cast to json is its text, be the column younger than the definition of a
/// table that was trusted: the author of the cast makes none of it, in the capture function.
#[test]
fn casts_to_json() {
    let (database, mut conn) =
        database("CREATE TABLE t (id int PRIMARY KEY); SELECT threadline.audit_table('t')");
    let (_roles, [app]) = Roles::new(&database, ["app"]);
    run(
        &mut conn,
        &format!(
            "ALTER TABLE t OWNER TO {app}; SET SESSION AUTHORIZATION {app}; CREATE TABLE seen (who text); CREATE TYPE own AS ENUM ('a');
             CREATE FUNCTION own_json(own) RETURNS json LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.seen VALUES (current_user); RETURN ''1''; END';
             CREATE CAST (own AS json) WITH FUNCTION own_json(own); ALTER TABLE t ADD o own; INSERT INTO t VALUES (1, 'a'); RESET SESSION AUTHORIZATION"
        ),
    );
    assert_eq!(
        texts(&mut conn, "SELECT DISTINCT who AS value FROM seen"),
        [""; 0]
    );
}
