use diesel::QueryResult;
use diesel::expression::{AsExpression, TypedExpressionType};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::SqlType;

/// What a primary key of the SQL types `ST`, a tuple, can be given as: for one column a value, for more a tuple.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a primary key of the SQL types `{ST}`",
    note = "give one value for a key of one column, and a tuple in key order for a composite key"
)]
pub trait IntoKey<ST> {
    /// The key as a part of a query.
    type Key: QueryFragment<Pg> + QueryId;

    /// Makes it one.
    fn into_key(self) -> Self::Key;
}

/// The key of the row whose history is read.
#[derive(Debug, Clone, Copy, QueryId)]
pub struct KeyArgs<V>(V);

/// Stands for a key where the history of all rows is read.
#[derive(Debug, Clone, Copy, QueryId)]
pub struct AllRows;

/// `, $1, $2`: the arguments of `threadline.versions` after the table.
impl<V: QueryFragment<Pg>> QueryFragment<Pg> for KeyArgs<V> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(", ");
        self.0.walk_ast(out)
    }
}

impl QueryFragment<Pg> for AllRows {
    fn walk_ast<'b>(&'b self, _: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        Ok(())
    }
}

// One implementation for a value and one for each tuple cannot overlap: they differ in the arity of `ST`.
impl<ST, V> IntoKey<(ST,)> for V
where
    ST: SqlType + TypedExpressionType,
    V: AsExpression<ST>,
    V::Expression: QueryFragment<Pg> + QueryId,
{
    type Key = KeyArgs<(V::Expression,)>;

    fn into_key(self) -> Self::Key {
        KeyArgs((self.as_expression(),))
    }
}

macro_rules! composite_keys {
    ($(($($V:ident $ST:ident),+),)+) => {$(
        impl<$($V, $ST),+> IntoKey<($($ST),+)> for ($($V),+)
        where
            $($ST: SqlType + TypedExpressionType,
            $V: AsExpression<$ST>,
            $V::Expression: QueryFragment<Pg> + QueryId,)+
        {
            type Key = KeyArgs<($($V::Expression),+)>;

            #[allow(non_snake_case)]
            fn into_key(self) -> Self::Key {
                let ($($V),+) = self;
                KeyArgs(($($V.as_expression()),+))
            }
        }
    )+};
}

composite_keys! {
    (A Sa, B Sb),
    (A Sa, B Sb, C Sc),
    (A Sa, B Sb, C Sc, D Sd),
    (A Sa, B Sb, C Sc, D Sd, E Se),
    (A Sa, B Sb, C Sc, D Sd, E Se, F Sf),
}
