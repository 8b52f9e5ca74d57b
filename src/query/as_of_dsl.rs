//! Diesel's query methods on a query against the past: they are those of the query itself.

use diesel::query_dsl::methods::{
    FilterDsl, FindDsl, LimitDsl, OffsetDsl, OrFilterDsl, OrderDsl, SelectDsl, ThenOrderDsl,
};
use diesel::{Expression, QueryDsl, RunQueryDsl};

use super::as_of::AsOf;

impl<At, Q, L> QueryDsl for AsOf<At, Q, L> {}

impl<At, Q, L, Conn> RunQueryDsl<Conn> for AsOf<At, Q, L> {}

impl<At, Q, L> AsOf<At, Q, L> {
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
