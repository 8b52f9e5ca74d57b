use std::fmt;

use diesel::Table;
use diesel::pg::Pg;
use diesel::query_builder::QueryFragment;

use crate::sql::{Literal, rendered};
use crate::text_enum::text_enum;

text_enum! {
    /// How often capture runs.
    pub enum Granularity {
        /// Once for each row. For partitioned tables and tables whose own row triggers write to them again.
        Row = "row",
        /// Once for each statement, whatever the number of rows: several times faster in bulk.
        Statement = "statement",
    }
}

/// How a table is to be audited: made by `#[derive(Audited)]`, used by
/// [`capture::install`](crate::capture::install), and printed as the SQL of a migration.
///
/// # Example
///
/// ```
/// # diesel::table! { users { id -> Integer, email -> Text, password_hash -> Text } }
/// let spec = threadline::TableSpec::new(users::table)
///     .mask(["email"])
///     .exclude(["password_hash"]);
/// assert_eq!(
///     spec.up_sql(),
///     r#"SELECT threadline.audit_table('"users"', mask => ARRAY['email'], exclude => ARRAY['password_hash']);"#,
/// );
/// assert_eq!(spec.down_sql(), r#"SELECT threadline.unaudit_table('"users"');"#);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct TableSpec {
    table: String,
    key: Vec<&'static str>,
    mask: Vec<String>,
    exclude: Vec<String>,
    hash_key: Vec<String>,
    unredact: Vec<String>,
    granularity: Option<Granularity>,
}

impl TableSpec {
    /// The table with every column recorded and the granularity left to the database.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a table is given by value, as to Diesel"
    )]
    pub fn new<T>(table: T) -> Self
    where
        T: Table + QueryFragment<Pg>,
    {
        Self::named(rendered(&table))
    }

    /// The same for a table that is named as in SQL: `users`, `blog.posts`, `"Odd Name"`.
    pub fn named(table: impl Into<String>) -> Self {
        Self {
            table: table.into(),
            key: Vec::new(),
            mask: Vec::new(),
            exclude: Vec::new(),
            hash_key: Vec::new(),
            unredact: Vec::new(),
            granularity: None,
        }
    }

    /// Says which columns are the primary key, so that installing can compare them with the table's.
    pub fn key(mut self, columns: impl IntoIterator<Item = &'static str>) -> Self {
        self.key = columns.into_iter().collect();
        self
    }

    /// Records these columns as the placeholder `[REDACTED]`: that they changed is known, their values are not.
    ///
    /// A column that was ever masked or excluded stays so, whatever other specifications of the table say, until
    /// [`unredact`](Self::unredact) names it.
    pub fn mask(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.mask = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Leaves these columns out of the audit log altogether.
    pub fn exclude(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.exclude = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Records these columns of the primary key as a keyed hash of their values (HMAC-SHA256), for secrets that are keys,
    /// such as session tokens.
    ///
    /// Only columns of `text`, `varchar`, `bytea` and `uuid` can be. Rows are found by the real key, or by its hash. A column
    /// that was ever hashed stays so, until [`unredact`](Self::unredact) names it.
    pub fn hash_key(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.hash_key = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Ends the redaction of these columns, or weakens it: an excluded column that [`mask`](Self::mask) names as well is
    /// masked from now on. Values that were written before stay redacted.
    ///
    /// The audit log records it as the action `threadline.redaction_weakened`. Where another specification of the table
    /// redacts the column again, the health of the table says so.
    pub fn unredact(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.unredact = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Chooses how often capture runs. Left alone, the database chooses what records the table exactly.
    pub fn granularity(mut self, granularity: Granularity) -> Self {
        self.granularity = Some(granularity);
        self
    }

    /// The table, quoted, with its schema if the `table!` has one.
    pub fn table_name(&self) -> &str {
        &self.table
    }

    /// The columns given to [`key`](Self::key).
    pub fn key_columns(&self) -> &[&'static str] {
        &self.key
    }

    /// The columns given to [`mask`](Self::mask).
    pub fn masked_columns(&self) -> &[String] {
        &self.mask
    }

    /// The columns given to [`exclude`](Self::exclude).
    pub fn excluded_columns(&self) -> &[String] {
        &self.exclude
    }

    /// The columns given to [`hash_key`](Self::hash_key).
    pub fn hashed_columns(&self) -> &[String] {
        &self.hash_key
    }

    /// The columns given to [`unredact`](Self::unredact).
    pub fn unredacted_columns(&self) -> &[String] {
        &self.unredact
    }

    /// The granularity asked for, if any.
    pub fn requested_granularity(&self) -> Option<Granularity> {
        self.granularity
    }

    /// The statement that brings capture in line with this specification, for the `up.sql` of a migration.
    pub fn up_sql(&self) -> String {
        let mut arguments = Literal(&self.table).to_string();
        for (name, columns) in [
            ("mask", &self.mask),
            ("exclude", &self.exclude),
            ("hash_key", &self.hash_key),
            ("unredact", &self.unredact),
        ] {
            if !columns.is_empty() {
                let columns: Vec<_> = columns.iter().map(|c| Literal(c).to_string()).collect();
                arguments.extend([", ", name, " => ARRAY[", &columns.join(", "), "]"]);
            }
        }
        if let Some(granularity) = self.granularity {
            arguments.extend([", granularity => '", granularity.as_str(), "'"]);
        }
        format!("SELECT threadline.audit_table({arguments});")
    }

    /// The statement that ends the capture and keeps the audit log, for the `down.sql` of a migration.
    pub fn down_sql(&self) -> String {
        format!("SELECT threadline.unaudit_table({});", Literal(&self.table))
    }
}

/// [`up_sql`](TableSpec::up_sql).
impl fmt::Display for TableSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.up_sql())
    }
}
