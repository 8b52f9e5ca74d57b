//! How large the audit log is, and from when to when it goes.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::Timestamptz;
use threadline::{CaptureActivity, StorageUsage};

use super::TABLES;
use crate::common::{database, run};

/// The oldest and the latest change of each table, also of one whose capture was ended or that is gone.
#[test]
fn captures() {
    let (_database, mut conn) = database(TABLES);
    run(
        &mut conn,
        "INSERT INTO small VALUES (1); UPDATE small SET id = 2; INSERT INTO big VALUES (7); SELECT threadline.unaudit_table('big'); DROP TABLE big CASCADE",
    );
    let health = threadline::check_health(&mut conn).unwrap();
    let of = |name: &str| -> CaptureActivity {
        let captures = &health.figures.captures;
        captures
            .iter()
            .find(|t| t.table_name == name)
            .unwrap()
            .clone()
    };
    let (small, big, named) = (of("small"), of("big"), of("named"));
    assert!(small.first_captured_at < small.last_captured_at);
    assert!(small.first_captured_at >= Some(small.capture_since));
    assert_eq!(
        (small.capture_ended_at, big.capture_ended_at.is_some()),
        (None, true)
    );
    assert_eq!(big.first_captured_at, big.last_captured_at);
    assert_eq!(
        (named.first_captured_at, named.last_captured_at),
        (None, None)
    );
    assert_eq!(health.figures.captures.len(), 14);
    assert_eq!(health.figures.oldest_change(), small.first_captured_at);
    assert_eq!(health.figures.latest_change(), big.last_captured_at);
}

/// Size and rows of each table and partition of the audit log, and of the last month that is over.
#[test]
fn storage() {
    let (_database, mut conn) = database(TABLES);
    let empty = threadline::check_health(&mut conn).unwrap().figures;
    assert_eq!(empty.last_full_month(), None);
    run(
        &mut conn,
        "INSERT INTO small SELECT generate_series(1, 5000); INSERT INTO big SELECT generate_series(1, 300);
         DELETE FROM threadline.audit_changes WHERE key_bigint > 100;
         -- As if the others had been captured last month.
         UPDATE threadline.audit_changes SET captured_at = date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - interval '1 day'
          WHERE key_bigint IS NOT NULL;
         SELECT threadline_internal.create_partitions(); ANALYZE threadline.audit_changes",
    );
    let figures = threadline::check_health(&mut conn).unwrap().figures;
    assert!(figures.total_bytes() > empty.total_bytes() + 500_000);
    let month = figures.last_full_month().unwrap();
    assert_eq!(month.row_estimate, 100);
    assert!(month.total_bytes >= 8192);
    let this_month: &StorageUsage = figures
        .storage
        .iter()
        .find(|partition| partition.changes_from == month.changes_before)
        .unwrap();
    assert_eq!(this_month.row_estimate, 5000);
    let now: DateTime<Utc> = diesel::select(diesel::dsl::sql::<Timestamptz>("now()"))
        .get_result(&mut conn)
        .unwrap();
    assert!(this_month.changes_from <= Some(now) && this_month.changes_before > Some(now));
    let names: Vec<_> = figures.storage.iter().map(|t| &*t.table_name).collect();
    for name in [
        "audit_changes_default",
        "audit_transactions",
        "audit_actions",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
}
