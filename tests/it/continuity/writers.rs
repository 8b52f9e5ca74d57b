use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::*;

/// Beside a writer of 50,000 rows nobody waits for a lock, and every row ends with a history that begins at its beginning.
#[test]
fn nobody_waits() {
    let (database, mut conn) = database(
        "CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL);
         INSERT INTO users SELECT g, 'old ' || g FROM generate_series(1, 50000) AS g; SELECT threadline.audit_table('users')",
    );
    let mut writer = database.connect();
    run(&mut writer, "SET lock_timeout = '50ms'");
    run(&mut conn, "SET lock_timeout = '50ms'");
    let finished = AtomicBool::new(false);
    let (done, slowest, count) = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut slowest = Duration::ZERO;
            let mut count = 0_u32;
            while !finished.load(Ordering::Relaxed) {
                let id = 1 + (count * 7919) % 50_000;
                let since = Instant::now();
                run(
                    &mut writer,
                    &format!(
                        "BEGIN; UPDATE users SET name = 'new' WHERE id BETWEEN {id} AND {id} + 3; DELETE FROM users WHERE id = {id} + 4;
                         UPDATE users SET id = -{id} WHERE id = {id} + 5; INSERT INTO users VALUES ({id} + 4, 'again') ON CONFLICT DO NOTHING; COMMIT"
                    ),
                );
                slowest = slowest.max(since.elapsed());
                count += 1;
            }
            (slowest, count)
        });
        let done = baseline("users").batch_size(500).run(&mut conn);
        finished.store(true, Ordering::Relaxed);
        let (slowest, count) = writing.join().unwrap();
        (done.unwrap(), slowest, count)
    });
    assert!(done.finished && done.recorded > 1000, "{done:?}");
    assert!(count > 20, "{count} writes");
    assert!(slowest < Duration::from_secs(1), "a write took {slowest:?}");

    let at = "(SELECT capture_since FROM threadline.audited_tables)";
    let wrong = format!(
        "SELECT count(*) FROM threadline.as_of(NULL::users, {at}) AS t FULL JOIN generate_series(1, 50000) AS g ON g = t.id WHERE t.name IS DISTINCT FROM 'old ' || g"
    );
    assert_eq!(text(&mut conn, &wrong).as_deref(), Some("0"));
    let snapshots = "SELECT count(*) FROM threadline.audit_changes WHERE op = 'snapshot' AND data_after ->> 'name' <> 'old ' || key_integer";
    assert_eq!(text(&mut conn, snapshots).as_deref(), Some("0"));
    let without = "SELECT count(*) FROM users AS u WHERE NOT EXISTS (SELECT FROM threadline.audit_changes AS c WHERE c.key_integer = u.id)";
    assert_eq!(text(&mut conn, without).as_deref(), Some("0"));
    let twice = "SELECT count(*) FROM (SELECT FROM threadline.audit_changes WHERE op = 'snapshot' GROUP BY key_integer HAVING count(*) > 1) AS t";
    assert_eq!(text(&mut conn, twice).as_deref(), Some("0"));
}
