use diesel::dsl::{AsSelect, Select};
use diesel::pg::Pg;

/// The rows `R` of a view of the schema `threadline`: made by [`coverage`](crate::coverage()), [`health`](crate::health())
/// and their like.
///
/// It is an ordinary query of Diesel: filter, order and limit it by the columns of the view in
/// [`schema`](crate::schema::threadline).
pub type Report<View, R> = Select<View, AsSelect<R, Pg>>;
