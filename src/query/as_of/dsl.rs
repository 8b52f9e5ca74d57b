//! Diesel's query methods on a query against the past. They apply to the inner query.

use diesel::query_dsl::methods::{
    FilterDsl, FindDsl, LimitDsl, OffsetDsl, OrFilterDsl, OrderDsl, SelectDsl, ThenOrderDsl,
};
use diesel::{Expression, QueryDsl, RunQueryDsl};

use super::{AsOf, LiveTables};

impl<At, Q, L> QueryDsl for AsOf<At, Q, L> {}

impl<At, Q, L, Conn> RunQueryDsl<Conn> for AsOf<At, Q, L> {}

impl<At, Q, L> AsOf<At, Q, L> {
    /// Reads `table` in its present state, beside tables that are read in the past. Use it for
    /// tables that are not audited because they never change, such as a list of countries. Any
    /// other table without a past is still refused.
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

    fn map<Q2>(self, change: impl FnOnce(Q) -> Q2) -> AsOf<At, Q2, L> {
        AsOf {
            at: self.at,
            query: change(self.query),
            live: self.live,
        }
    }
}

macro_rules! delegate {
    ($($Dsl:ident::$method:ident($($argument:ident: $Argument:ty)?) $([$P:ident $(: $Bound:ident)?])?;)+) => {$(
        impl<At, Q, L $(, $P)?> $Dsl$(<$P>)? for AsOf<At, Q, L>
        where
            Q: $Dsl$(<$P>)?,
            $($($P: $Bound,)?)?
        {
            type Output = AsOf<At, Q::Output, L>;

            fn $method(self $(, $argument: $Argument)?) -> Self::Output {
                self.map(|query| query.$method($($argument)?))
            }
        }
    )+};
}

delegate! {
    FilterDsl::filter(predicate: P) [P];
    FindDsl::find(key: P) [P];
    LimitDsl::limit(limit: i64);
    OffsetDsl::offset(offset: i64);
    OrFilterDsl::or_filter(predicate: P) [P];
    OrderDsl::order(expression: P) [P: Expression];
    SelectDsl::select(selection: P) [P: Expression];
    ThenOrderDsl::then_order_by(expression: P) [P];
}
