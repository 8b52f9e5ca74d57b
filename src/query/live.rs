use diesel::Table;
use diesel::pg::Pg;
use diesel::query_builder::QueryFragment;

use super::as_of::AsOf;
use super::past_table::PastTable;
use crate::base::rendered;

/// Tables that are read as they are now, in a query against the past: a table after others, or none.
pub trait LiveTables {
    #[doc(hidden)]
    fn paths() -> Vec<Vec<String>>;
}

impl LiveTables for () {
    fn paths() -> Vec<Vec<String>> {
        Vec::new()
    }
}

impl<L, T> LiveTables for (L, T)
where
    L: LiveTables,
    T: Table + Default + QueryFragment<Pg>,
{
    fn paths() -> Vec<Vec<String>> {
        let mut paths = L::paths();
        paths.push(PastTable::new(rendered(&T::default())).path().to_vec());
        paths
    }
}

impl<At, Q, L> AsOf<At, Q, L> {
    /// Reads `table` as it is now.
    pub fn live<T>(self, table: T) -> AsOf<At, Q, (L, T)>
    where
        (L, T): LiveTables,
    {
        AsOf {
            at: self.at,
            query: self.query,
            live: (self.live, table),
        }
    }
}
