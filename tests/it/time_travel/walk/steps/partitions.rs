//! Partitions that come and go.

use super::super::Walk;
use super::super::table::{self, Column};
use super::migration::Migration;

impl Walk {
    /// Partitions come and go, empty or with rows.
    pub(in super::super) fn partition(&mut self) -> Migration {
        let mut partitions = self.tables[1].partitions.clone();
        let mut migration = Migration::new(1);
        if partitions.len() > 3 || partitions.len() > 1 && self.random.below(2) == 0 {
            let (gone, _) = partitions.remove(self.random.below(partitions.len()));
            if self.random.below(3) > 0 {
                migration.live.push(format!("TRUNCATE {gone}"));
            } else {
                migration.anew = true;
            }
            migration
                .live
                .push(format!("ALTER TABLE parcels DETACH PARTITION {gone}"));
            // The refresh can no longer see that it was empty.
            if self.random.below(4) == 0 {
                migration.live.push(format!("DROP TABLE {gone}"));
                migration.anew = true;
            }
        } else {
            let n = self.next();
            let (new, region) = (format!("parcels_{n}"), format!("r{n}"));
            let mut columns = table::columns(&mut self.conn, "parcels");
            if self.random.below(2) == 0 {
                columns.reverse();
            }
            let each: Vec<_> = (columns.iter())
                .map(
                    |Column {
                         name,
                         kind,
                         not_null,
                     }| {
                        format!("{name} {kind}{}", if *not_null { " NOT NULL" } else { "" })
                    },
                )
                .collect();
            migration
                .live
                .push(format!("CREATE TABLE {new} ({})", each.join(", ")));
            if self.random.below(4) == 0 {
                let values: Vec<_> = (columns.iter())
                    .map(|column| match column.name.as_str() {
                        "region" => format!("'{region}'"),
                        _ => self.value(1, column),
                    })
                    .collect();
                let values = values.join(", ");
                migration
                    .live
                    .push(format!("INSERT INTO {new} VALUES ({values})"));
                migration.anew = true;
            }
            migration.live.push(format!(
                "ALTER TABLE parcels ATTACH PARTITION {new} FOR VALUES IN ('{region}')"
            ));
            partitions.push((new, region));
        }
        migration.partitions = Some(partitions);
        migration
    }
}
