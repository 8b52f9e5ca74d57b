use std::marker::PhantomData;

use diesel::QueryResult;
use diesel::expression::{AsExpression, TypedExpressionType};
use diesel::pg::{Pg, PgMetadataLookup, PgTypeMetadata};
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{HasSqlType, SqlType};

/// A value that can be used as a primary key of the SQL types `ST`: a single value for one column,
/// a tuple for several.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a primary key of the SQL types `{ST}`",
    note = "give one value for a key of one column, and a tuple in key order for a composite key"
)]
pub trait IntoKey<ST> {
    /// The key as a query fragment.
    type Key: QueryFragment<Pg> + QueryId;

    /// Converts the value into a query fragment.
    fn into_key(self) -> Self::Key;
}

/// The key of the row whose history is queried.
#[derive(Debug, Clone, Copy, QueryId)]
pub struct KeyArgs<V>(V);

/// Replaces the key in a query for the history of all rows.
#[derive(Debug, Clone, Copy, QueryId)]
pub struct AllRows;

/// Writes `, $1, $2`: the arguments of `threadline.versions` after the table.
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

/// A column of a key. The functions of a table take a key of a user-defined type as text, so that
/// they do not prevent the application from dropping the type.
#[derive(Debug, Clone, Copy)]
pub struct KeyColumn<E, ST>(E, PhantomData<ST>);

impl<E: QueryId, ST: 'static> QueryId for KeyColumn<E, ST> {
    type QueryId = KeyColumn<E::QueryId, ST>;
    const HAS_STATIC_QUERY_ID: bool = E::HAS_STATIC_QUERY_ID;
}

impl<E, ST> QueryFragment<Pg> for KeyColumn<E, ST>
where
    E: QueryFragment<Pg>,
    Pg: HasSqlType<ST>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.0.walk_ast(out.reborrow())?;
        let mut named = NamedType(false);
        let _ = <Pg as HasSqlType<ST>>::metadata(&mut named);
        if named.0 {
            out.push_sql("::text");
        }
        Ok(())
    }
}

/// Detects whether a type is looked up by its name, which is the case only for types that are not
/// built in.
struct NamedType(bool);

impl PgMetadataLookup for NamedType {
    fn lookup_type(&mut self, _: &str, _: Option<&str>) -> PgTypeMetadata {
        self.0 = true;
        PgTypeMetadata::new(0, 0)
    }
}

// The implementations for a value and for tuples do not overlap, because their `ST` has a different
// arity.
impl<ST, V> IntoKey<(ST,)> for V
where
    ST: SqlType + TypedExpressionType,
    V: AsExpression<ST>,
    V::Expression: QueryFragment<Pg> + QueryId,
    Pg: HasSqlType<ST>,
{
    type Key = KeyArgs<(KeyColumn<V::Expression, ST>,)>;

    fn into_key(self) -> Self::Key {
        KeyArgs((KeyColumn(self.as_expression(), PhantomData),))
    }
}

macro_rules! composite_keys {
    ($(($($V:ident $ST:ident),+),)+) => {$(
        impl<$($V, $ST),+> IntoKey<($($ST),+)> for ($($V),+)
        where
            $($ST: SqlType + TypedExpressionType,
            $V: AsExpression<$ST>,
            $V::Expression: QueryFragment<Pg> + QueryId,
            Pg: HasSqlType<$ST>,)+
        {
            type Key = KeyArgs<($(KeyColumn<$V::Expression, $ST>),+)>;

            #[allow(non_snake_case)]
            fn into_key(self) -> Self::Key {
                let ($($V),+) = self;
                KeyArgs(($(KeyColumn($V.as_expression(), PhantomData)),+))
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
