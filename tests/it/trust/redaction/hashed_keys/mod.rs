//! A secret that is the key of its table is recorded as a keyed hash, and nowhere else.

mod begun_later;
mod one_way;
mod reading;
mod refused;

use diesel::PgConnection;
use threadline_test_support::Database;

use super::{REFRESH, assert_secret};
use crate::common::{count, database, run, text};

/// What the hash of each kind of key looks like.
const HASHES: &str =
    "^(hmac:[0-9a-f]{64}|\\\\x686d61633a[0-9a-f]{64}|[0-9a-f-]{14}8[0-9a-f]{3}-[ef][0-9a-f-]{16})$";

/// A table of sessions.
pub(super) const SESSIONS: &str =
    "CREATE TABLE sessions (token text PRIMARY KEY, ip text, n int NOT NULL DEFAULT 0)";

/// Sessions whose tokens are recorded as hashes.
pub(super) fn sessions() -> (Database, PgConnection) {
    database(&format!(
        "{SESSIONS}; SELECT threadline.audit_table('sessions', hash_key => '{{token}}')"
    ))
}

/// SQL for the hash of a token of the table of sessions.
pub(super) fn hash(conn: &mut PgConnection, token: &str) -> String {
    let hash = format!(
        "SELECT threadline_internal.key_hash(id, 'text', '{token}', false) FROM threadline.audited_tables"
    );
    text(conn, &hash).unwrap()
}

/// The hash is HMAC-SHA256: test case 2 of RFC 4231.
#[test]
fn is_hmac() {
    let (_database, mut conn) = database("SELECT");
    let hash = "SELECT encode(sha256(threadline_internal.hmac_pad('Jefe', 92)
        || sha256(threadline_internal.hmac_pad('Jefe', 54) || 'what do ya want for nothing?')), 'hex')";
    let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_eq!(text(&mut conn, hash).unwrap(), expected);
}

/// Whatever is written, in whatever way, only hashes are recorded, and each row has one history.
#[test]
fn writes() {
    for granularity in ["row", "statement"] {
        for (columns, value) in [
            ("token text PRIMARY KEY", "'secret-' || g"),
            ("token varchar(80) PRIMARY KEY", "'secret-' || g"),
            (
                "token bytea PRIMARY KEY",
                "convert_to('secret-' || g, 'UTF8')",
            ),
            (
                "token uuid PRIMARY KEY",
                "format('16180339-0000-4000-8000-%s', lpad(g::text, 12, '0'))::uuid",
            ),
            ("token worded PRIMARY KEY", "'secret-' || g"),
            (
                "kind int DEFAULT 7, token text, PRIMARY KEY (kind, token)",
                "'secret-' || g",
            ),
            ("token text PRIMARY KEY, j json, p point", "'secret-' || g"),
            (
                "token text PRIMARY KEY, x tsvector DEFAULT 'a'",
                "'secret-' || g",
            ),
        ] {
            let (_database, mut conn) = database(&format!(
                "CREATE DOMAIN worded AS text; CREATE TABLE t ({columns}, masked text, n int, gone text);
                 SELECT threadline.audit_table('t', mask => '{{masked}}', exclude => '{{gone}}', hash_key => '{{token}}',
                   granularity => '{granularity}')"
            ));
            let writes = format!(
                "INSERT INTO t (token, masked, n) SELECT {value}, 'secret-', 1 FROM generate_series(1, 3) AS g;
                 INSERT INTO t (token, n) SELECT {value}, 1 FROM generate_series(4, 4) AS g;
                 UPDATE t SET n = 2; UPDATE t SET n = 3, masked = 'secret-1' WHERE token = (SELECT {value} FROM (SELECT 4) AS s (g));
                 UPDATE t SET n = n, gone = 'x';
                 UPDATE t SET token = (SELECT {value} FROM (SELECT 5) AS s (g)) WHERE token = (SELECT {value} FROM (SELECT 4) AS s (g));
                 DELETE FROM t WHERE token = (SELECT {value} FROM (SELECT 5) AS s (g)); TRUNCATE t"
            );
            run(&mut conn, &writes);
            assert_secret(&mut conn);
            let rows = "(SELECT row_key FROM threadline.changes WHERE op IN ('insert', 'update') GROUP BY row_key) AS k";
            assert_eq!(count(&mut conn, rows), 5, "{columns}");
            assert_eq!(
                count(&mut conn, "threadline.audit_changes"),
                4 + 4 + 1 + 2 + 1 + 3,
                "{columns}"
            );
            let hashed = format!(
                "threadline.changes WHERE (coalesce(data_after, changed_from) ->> 'token') !~ '{HASHES}'"
            );
            assert_eq!(count(&mut conn, &hashed), 0, "{columns}");
            let health = "SELECT string_agg(message, '; ') FROM threadline.health";
            assert_eq!(text(&mut conn, health), None, "{columns}");
        }
    }
}

/// Rows of a partitioned table that move keep their key, and a write straight into a partition is hashed.
#[test]
fn partitions() {
    let (_database, mut conn) = database(
        "CREATE TABLE t (token text, r text, PRIMARY KEY (token, r)) PARTITION BY LIST (r);
         CREATE TABLE t_x PARTITION OF t FOR VALUES IN ('x'); CREATE TABLE t_y PARTITION OF t FOR VALUES IN ('y');
         SELECT threadline.audit_table('t', hash_key => '{token}');
         CREATE TABLE t_z PARTITION OF t FOR VALUES IN ('z');
         INSERT INTO t VALUES ('secret-1', 'x'); INSERT INTO t_y VALUES ('secret-2', 'y'); INSERT INTO t_z VALUES ('secret-3', 'z');
         UPDATE t SET r = 'y' WHERE r = 'x'; TRUNCATE t",
    );
    assert_secret(&mut conn);
    assert_eq!(count(&mut conn, "threadline.audit_changes"), 8);
    let keys =
        "(SELECT DISTINCT data_after ->> 'token' FROM threadline.changes WHERE op = 'insert') AS k";
    assert_eq!(count(&mut conn, keys), 3);
}

/// Rows from before the capture are recorded as hashes at one go: how far a baseline has come would be a key.
#[test]
fn baselines() {
    let (_database, mut conn) = database(&format!(
        "{SESSIONS}; INSERT INTO sessions SELECT 'secret-' || g FROM generate_series(1, 5) AS g;
         SELECT threadline.audit_table('sessions', hash_key => '{{token}}');
         UPDATE sessions SET n = 1 WHERE token = 'secret-3';
         SELECT threadline.baseline_step('sessions', '{{\"type\": \"user\", \"id\": \"1\"}}', 'why', batch_size => 2)"
    ));
    assert_secret(&mut conn);
    assert_eq!(
        count(&mut conn, "threadline.changes WHERE op = 'snapshot'"),
        4
    );
    assert_eq!(
        count(
            &mut conn,
            "threadline.baselines WHERE finished_at IS NOT NULL"
        ),
        1
    );
    let versions =
        "SELECT string_agg(op, ',') FROM threadline.versions(NULL::sessions, 'secret-5')";
    assert_eq!(text(&mut conn, versions).as_deref(), Some("snapshot"));
}

/// A write goes on without the secret, and its key is lost, which health tells; then the history begins anew.
#[test]
fn lost_secret() {
    let (_database, mut conn) = sessions();
    run(
        &mut conn,
        "INSERT INTO sessions VALUES ('secret-1'); DELETE FROM threadline_internal.key_secrets; INSERT INTO sessions VALUES ('secret-2')",
    );
    assert_secret(&mut conn);
    let health = "SELECT string_agg(\"check\", ',') FROM threadline.health";
    assert_eq!(
        text(&mut conn, health).as_deref(),
        Some("key_secret_missing")
    );
    run(
        &mut conn,
        &format!("{REFRESH}; INSERT INTO sessions VALUES ('secret-3')"),
    );
    assert_eq!(text(&mut conn, health), None);
    let gap = "SELECT gap FROM threadline.audited_tables";
    assert_eq!(
        text(&mut conn, gap).as_deref(),
        Some("the secret of its hashed keys was lost")
    );
    assert_eq!(
        count(&mut conn, "threadline.versions(NULL::sessions, 'secret-3')"),
        1
    );
}
