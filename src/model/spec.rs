use std::fmt;

use diesel::Table;
use diesel::pg::Pg;
use diesel::query_builder::QueryFragment;

use crate::sql::{Literal, rendered};
use crate::text_enum::text_enum;

text_enum! {
    /// How often the capture trigger runs.
    pub enum Granularity {
        /// Once per row. For partitioned tables, and for tables whose own row triggers write to
        /// them again.
        Row = "row",
        /// Once per statement, for any number of rows. Several times faster for bulk writes.
        Statement = "statement",
    }
}

/// The specification of how a table is audited. Created by `#[derive(Audited)]` or
/// [`new`](Self::new), and used by [`capture::install`](crate::capture::install). Its `Display` is
/// the SQL for a migration.
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
    /// Specifies a table with every column recorded and the granularity chosen by the database.
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

    /// Specifies a table in the same way by its name, written as in SQL: `users`, `blog.posts`,
    /// `"Odd Name"`.
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

    /// Sets the columns of the primary key, so that the installation can compare them with the
    /// table's.
    pub fn key(mut self, columns: impl IntoIterator<Item = &'static str>) -> Self {
        self.key = columns.into_iter().collect();
        self
    }

    /// Records the placeholder `[REDACTED]` instead of the values of these columns. The audit log
    /// still shows that they changed.
    ///
    /// Once a column is masked or excluded, it stays so, whatever other specifications of the table
    /// say, until [`unredact`](Self::unredact) names it.
    pub fn mask(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.mask = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Leaves these columns out of the audit log entirely.
    pub fn exclude(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.exclude = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Records a keyed hash (HMAC-SHA256) instead of the values of these primary key columns, for
    /// keys that are secrets, such as session tokens.
    ///
    /// The columns must be of type `text`, `varchar`, `bytea` or `uuid`. Rows can be found by the
    /// real key or by its hash. Once a column is hashed, it stays so until
    /// [`unredact`](Self::unredact) names it.
    pub fn hash_key(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.hash_key = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Ends the redaction of these columns, or weakens it: an excluded column that
    /// [`mask`](Self::mask) also names is masked from now on. Values that were recorded before stay
    /// redacted.
    ///
    /// The audit log records this as the action `threadline.redaction_weakened`. If another
    /// specification of the table redacts the column again, the health report of the table says so.
    pub fn unredact(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.unredact = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Sets how often capture runs. By default, the database chooses a granularity that records the
    /// table exactly.
    pub fn granularity(mut self, granularity: Granularity) -> Self {
        self.granularity = Some(granularity);
        self
    }

    /// Returns the name of the table, quoted, with its schema if the `table!` has one.
    pub fn table_name(&self) -> &str {
        &self.table
    }

    /// Returns the columns given to [`key`](Self::key).
    pub fn key_columns(&self) -> &[&'static str] {
        &self.key
    }

    /// Returns the columns given to [`mask`](Self::mask).
    pub fn masked_columns(&self) -> &[String] {
        &self.mask
    }

    /// Returns the columns given to [`exclude`](Self::exclude).
    pub fn excluded_columns(&self) -> &[String] {
        &self.exclude
    }

    /// Returns the columns given to [`hash_key`](Self::hash_key).
    pub fn hashed_columns(&self) -> &[String] {
        &self.hash_key
    }

    /// Returns the columns given to [`unredact`](Self::unredact).
    pub fn unredacted_columns(&self) -> &[String] {
        &self.unredact
    }

    /// Returns the granularity given to [`granularity`](Self::granularity), if any.
    pub fn requested_granularity(&self) -> Option<Granularity> {
        self.granularity
    }

    /// Returns the statement that installs capture as specified, for the `up.sql` of a migration.
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

    /// Returns the statement that ends capture and keeps the audit log, for the `down.sql` of a
    /// migration.
    pub fn down_sql(&self) -> String {
        format!("SELECT threadline.unaudit_table({});", Literal(&self.table))
    }
}

/// Writes [`up_sql`](TableSpec::up_sql).
impl fmt::Display for TableSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.up_sql())
    }
}
