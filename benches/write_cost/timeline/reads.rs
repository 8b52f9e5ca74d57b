use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};
use serde::Serialize;

/// What is read of the audit log.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Reads {
    pub(crate) rows_read: i64,
    /// Tables and partitions read from end to end: no index was used.
    scanned: Vec<String>,
    /// As many more, in which there is nothing.
    scanned_empty: usize,
}

impl Reads {
    /// The server counts it, in whatever function it happens. That a plan has a scan which never begins is no matter.
    pub(crate) fn of<T>(
        conn: &mut PgConnection,
        read: impl FnOnce(&mut PgConnection) -> QueryResult<T>,
    ) -> QueryResult<Self> {
        // What the session read before may not have been cleared yet.
        conn.transaction(|conn| {
            let before = Table::all(conn)?;
            read(conn)?;
            let mut reads = Self::default();
            for table in Table::all(conn)? {
                let earlier = before.iter().find(|earlier| earlier.name == table.name);
                reads.rows_read += table.rows - earlier.map_or(0, |earlier| earlier.rows);
                if table.scans > earlier.map_or(0, |earlier| earlier.scans) {
                    if table.is_empty {
                        reads.scanned_empty += 1;
                    } else {
                        reads.scanned.push(table.name);
                    }
                }
            }
            Ok(reads)
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "there are few tables")]
    pub(crate) fn scans(&self) -> f64 {
        (self.scanned.len() + self.scanned_empty) as f64
    }

    /// For people; nothing when indexes were used throughout.
    pub(crate) fn scanned(&self) -> String {
        let mut scanned = self.scanned.clone();
        if self.scanned_empty > 0 {
            scanned.push(format!("{} empty", self.scanned_empty));
        }
        scanned.join(", ")
    }
}

/// What the running transaction, and maybe some before it, read of a table.
#[derive(QueryableByName)]
struct Table {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = BigInt)]
    scans: i64,
    #[diesel(sql_type = BigInt)]
    rows: i64,
    #[diesel(sql_type = Bool)]
    is_empty: bool,
}

impl Table {
    fn all(conn: &mut PgConnection) -> QueryResult<Vec<Self>> {
        diesel::sql_query(
            "SELECT relname::text AS name, seq_scan AS scans, seq_tup_read + coalesce(idx_tup_fetch, 0) AS rows,
                    pg_relation_size(relid) = 0 AS is_empty
               FROM pg_stat_xact_user_tables
              WHERE schemaname = 'threadline' AND relname ~ '^audit_(actions|changes|transactions)'
              ORDER BY relname",
        )
        .load(conn)
    }
}
