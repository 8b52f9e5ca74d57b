use diesel::Table;
use diesel::pg::Pg;
use diesel::query_builder::QueryFragment;

use super::as_of::AsOf;
use crate::sql::past_table::PastTable;
use crate::sql::rendered;

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
    /// Reads `table` as it is now, beside others that are read as of the past: for tables that are not audited because
    /// they never change, such as a list of countries. Every other table is still refused if it has no past.
    ///
    /// # Example
    ///
    /// ```
    /// # use diesel::prelude::*;
    /// # use threadline_test_support::Database;
    /// # diesel::table! { users { id -> Integer, country -> Text } }
    /// # diesel::table! { countries (code) { code -> Text, name -> Text } }
    /// # diesel::allow_tables_to_appear_in_same_query!(users, countries);
    /// # let database = Database::new();
    /// # let mut conn = database.connect();
    /// # diesel::sql_query("CREATE TABLE users (id integer PRIMARY KEY, country text NOT NULL)").execute(&mut conn)?;
    /// # diesel::sql_query("CREATE TABLE countries (code text PRIMARY KEY, name text NOT NULL)").execute(&mut conn)?;
    /// # threadline::capture::install(&mut conn, &[threadline::TableSpec::new(users::table)]).unwrap();
    /// # diesel::insert_into(users::table).values((users::id.eq(1), users::country.eq("uk"))).execute(&mut conn)?;
    /// # diesel::insert_into(countries::table).values((countries::code.eq("uk"), countries::name.eq("England"))).execute(&mut conn)?;
    /// # let then: chrono::DateTime<chrono::Utc> = diesel::select(diesel::dsl::sql::<diesel::sql_types::Timestamptz>("clock_timestamp()")).get_result(&mut conn)?;
    /// let query = users::table.inner_join(countries::table.on(countries::code.eq(users::country)));
    /// let names: Vec<String> = threadline::as_of(then, query.select(countries::name)).live(countries::table).load(&mut conn)?;
    /// assert_eq!(names, ["England"]);
    /// # Ok::<_, diesel::result::Error>(())
    /// ```
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
