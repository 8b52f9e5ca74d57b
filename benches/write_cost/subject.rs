use serde::Serialize;

/// The first column of text, in SQL.
macro_rules! text_column {
    () => {
        "(SELECT a.attname::text FROM pg_attribute AS a WHERE a.attrelid = '{table}'::regclass AND a.atttypid = 'text'::regtype
           ORDER BY a.attnum LIMIT 1)"
    };
}

/// A table that is audited.
#[derive(Clone, Copy)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// The column of its primary key, or nothing.
    pub(crate) key: &'static str,
}

/// The table of nearly all parts.
pub(crate) const ITEM: Table = Table {
    name: "item",
    key: "id",
};

/// What audits tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Subject {
    Nobody,
    /// A row trigger as it is commonly written.
    Plain,
    /// A history table with the columns of the table.
    TypedRow,
    TypedStatement,
    Row,
    Statement,
    /// By row, with a mask.
    Masked,
    /// By row, without a column.
    Excluded,
}

impl Subject {
    pub(crate) const ALL: [Self; 8] = [
        Self::Nobody,
        Self::Plain,
        Self::TypedRow,
        Self::TypedStatement,
        Self::Row,
        Self::Statement,
        Self::Masked,
        Self::Excluded,
    ];

    /// The two granularities, of which the better one counts.
    pub(crate) const TYPED: [Self; 2] = [Self::TypedRow, Self::TypedStatement];
    pub(crate) const THREADLINE: [Self; 2] = [Self::Row, Self::Statement];

    /// Those that record every column as it is.
    pub(crate) const OF_WHOLE_ROWS: [Self; 6] = [
        Self::Nobody,
        Self::Plain,
        Self::TypedRow,
        Self::TypedStatement,
        Self::Row,
        Self::Statement,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nobody => "no audit",
            Self::Plain => "plain row trigger",
            Self::TypedRow => "typed history, row",
            Self::TypedStatement => "typed history, statement",
            Self::Row => "Threadline, row",
            Self::Statement => "Threadline, statement",
            Self::Masked => "Threadline, row, one column masked",
            Self::Excluded => "Threadline, row, one column excluded",
        }
    }

    /// SQL that puts the tables under its care.
    pub(crate) fn set_up(self, tables: &[Table]) -> String {
        let (once, for_each) = match self {
            Self::Nobody => ("SELECT 1;", ""),
            Self::Plain => (include_str!("plain.sql"), include_str!("plain_table.sql")),
            Self::TypedRow => (
                include_str!("typed.sql"),
                concat!(
                    include_str!("typed_table.sql"),
                    include_str!("typed_row.sql")
                ),
            ),
            Self::TypedStatement => (
                include_str!("typed.sql"),
                concat!(
                    include_str!("typed_table.sql"),
                    include_str!("typed_statement.sql")
                ),
            ),
            Self::Row => (
                "",
                "SELECT threadline.audit_table('{table}', granularity => 'row');",
            ),
            Self::Statement => (
                "",
                "SELECT threadline.audit_table('{table}', granularity => 'statement');",
            ),
            Self::Masked => (
                "",
                concat!(
                    "SELECT threadline.audit_table('{table}', granularity => 'row', mask => ARRAY[",
                    text_column!(),
                    "]);"
                ),
            ),
            Self::Excluded => (
                "",
                concat!(
                    "SELECT threadline.audit_table('{table}', granularity => 'row', exclude => ARRAY[",
                    text_column!(),
                    "]);"
                ),
            ),
        };
        let for_tables = tables.iter().map(|table| {
            for_each
                .replace("{table}", table.name)
                .replace("{key}", table.key)
        });
        once.to_owned() + &for_tables.collect::<String>()
    }

    /// What a transaction says first: who acts, as each of them takes it.
    pub(crate) fn context(self) -> &'static str {
        match self {
            Self::Nobody => "",
            Self::Plain => {
                r#"SET LOCAL app.actor = '{"type":"user","id":"018f4e0e-7a30-7cc0-b1d7-6f0f2c8d1a55"}';"#
            }
            Self::TypedRow | Self::TypedStatement => {
                r#"PERFORM set_config('history.context_id', gen_random_uuid()::text, true);
                   SET LOCAL history.context_metadata = '{"user":"018f4e0e-7a30-7cc0-b1d7-6f0f2c8d1a55","url":"POST /items"}';"#
            }
            Self::Row | Self::Statement | Self::Masked | Self::Excluded => {
                r#"SET LOCAL threadline.actor_ref = '{"type":"user","id":"018f4e0e-7a30-7cc0-b1d7-6f0f2c8d1a55"}';
                   SET LOCAL threadline.context = '{"source":"POST /items"}';"#
            }
        }
    }
}
