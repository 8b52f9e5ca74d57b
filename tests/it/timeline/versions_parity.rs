//! The timeline tells of a change what `threadline.versions` does, which is generated for its table.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Jsonb};
use serde_json::Value;

use crate::common::{database, run};

/// What both tell, of changes that they do not tell alike.
const DIFFERENT: &str = "
    WITH v AS (SELECT v.id, to_jsonb(v) - '{typed_row,data_after,changed_from}'::text[] AS told FROM threadline.versions(NULL::t) AS v),
         e AS (SELECT e.id, to_jsonb(e) - '{table_schema,table_name,actions}'::text[] AS told
                 FROM threadline.timeline(tables => '{t}', max_rows => 10000) AS e)
    SELECT coalesce(v.id, e.id) AS id, jsonb_build_array(v.told, e.told) AS told FROM v FULL JOIN e USING (id)
     WHERE v.told IS DISTINCT FROM e.told ORDER BY id";

#[derive(Debug, QueryableByName)]
struct Different {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Jsonb)]
    told: Value,
}

/// What happens to a table `t (id, a, b, c)`; after each statement, rows come, change and go.
const TABLES: [(&str, &[&str]); 11] = [
    (
        "renamed",
        &["ALTER TABLE t RENAME a TO z", "ALTER TABLE t RENAME z TO y"],
    ),
    (
        "exchanged",
        &["ALTER TABLE t RENAME a TO x; ALTER TABLE t RENAME b TO a; ALTER TABLE t RENAME x TO b"],
    ),
    (
        "passed on",
        &["ALTER TABLE t RENAME a TO x; ALTER TABLE t RENAME b TO a"],
    ),
    (
        "added",
        &[
            "ALTER TABLE t ADD d int DEFAULT 7, ADD e text, ADD f jsonb DEFAULT 'null'",
            "ALTER TABLE t RENAME d TO g",
        ],
    ),
    (
        "dropped",
        &[
            "ALTER TABLE t DROP a",
            "ALTER TABLE t ADD a text DEFAULT 'new'",
        ],
    ),
    (
        "replaced by one that takes its name",
        &[
            "ALTER TABLE t ADD n text",
            "ALTER TABLE t DROP a",
            "ALTER TABLE t RENAME n TO a",
        ],
    ),
    (
        "replaced at once",
        &[
            "ALTER TABLE t ADD n text; UPDATE t SET n = a; ALTER TABLE t DROP a; ALTER TABLE t RENAME n TO a",
        ],
    ),
    (
        "masked",
        &[
            "SELECT threadline.audit_table('t', mask => '{a}')",
            "ALTER TABLE t RENAME a TO z",
            "SELECT threadline.audit_table('t')",
        ],
    ),
    (
        "excluded",
        &[
            "SELECT threadline.audit_table('t', exclude => '{a}', mask => '{b}')",
            "ALTER TABLE t RENAME a TO z",
            "SELECT threadline.audit_table('t', mask => '{z}')",
        ],
    ),
    (
        "masked and added since",
        &[
            "ALTER TABLE t ADD d text DEFAULT 'x'",
            "SELECT threadline.audit_table('t', mask => '{d}')",
        ],
    ),
    (
        "of another key",
        &[
            "ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id, a)",
            "ALTER TABLE t DROP CONSTRAINT t_pkey",
            "ALTER TABLE t ADD PRIMARY KEY (b)",
        ],
    ),
];

/// Records, diffs and everything else are the same for columns renamed, added, dropped, masked and excluded, whatever was recorded
/// before and after that.
#[test]
fn of_columns_that_changed() {
    for (what, statements) in TABLES {
        let (_database, mut conn) = database(
            "CREATE TABLE t (id int PRIMARY KEY, a text, b text, c jsonb); SELECT threadline.audit_table('t');
             CREATE PROCEDURE write(first int) LANGUAGE plpgsql AS $$
             DECLARE
               texts name[] := ARRAY(SELECT attname FROM pg_attribute
                 WHERE attrelid = 't'::regclass AND attnum > 0 AND NOT attisdropped AND atttypid = 'text'::regtype ORDER BY attnum);
               k name;
             BEGIN
               EXECUTE format('INSERT INTO t (id, c, %1$s) SELECT n, ''null'', %2$s FROM generate_series(%3$s, %3$s + 1) AS n',
                 (SELECT string_agg(quote_ident(x), ', ') FROM unnest(texts) AS x), (SELECT string_agg(format('%L || n', x), ', ') FROM unnest(texts) AS x), first);
               FOREACH k IN ARRAY texts LOOP
                 EXECUTE format('UPDATE t SET %1$I = concat(%1$I, ''+'')', k);
               END LOOP;
               UPDATE t SET c = CASE WHEN c = 'null' THEN '{\"x\": null}'::jsonb END;
               UPDATE t SET id = id + 1000 WHERE id = first;
               DELETE FROM t WHERE id = first + 1;
             END $$",
        );
        run(
            &mut conn,
            "SET threadline.actor_ref = '{\"type\": \"user\", \"id\": \"ada\"}'; CALL write(1)",
        );
        for (n, statement) in statements.iter().enumerate() {
            // What is recorded before the refresh is known to nobody by the new names yet.
            run(
                &mut conn,
                &format!(
                    "{statement}; CALL write({}); SELECT threadline.refresh_audited_tables(); CALL write({})",
                    n * 100 + 10,
                    n * 100 + 50
                ),
            );
            let different: Vec<Different> = diesel::sql_query(DIFFERENT).load(&mut conn).unwrap();
            assert!(
                different.is_empty(),
                "{what}, after {statement}: {:#?}",
                different
                    .iter()
                    .map(|d| (d.id, d.told.to_string()))
                    .collect::<Vec<_>>()
            );
        }
        run(&mut conn, "TRUNCATE t");
        let different: Vec<Different> = diesel::sql_query(DIFFERENT).load(&mut conn).unwrap();
        assert!(different.is_empty(), "{what}, truncated: {different:?}");
        let changes: i64 = threadline::timeline()
            .count()
            .get_result(&mut conn)
            .unwrap();
        assert!(changes > 20, "{what}: {changes} changes");
    }
}
