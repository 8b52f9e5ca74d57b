use serde::Serialize;

/// What audits the table `item`.
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
}

impl Subject {
    pub(crate) const ALL: [Self; 6] = [
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
        }
    }

    /// SQL that puts `item` under its care.
    pub(crate) fn set_up(self) -> &'static str {
        match self {
            Self::Nobody => "SELECT 1",
            Self::Plain => include_str!("plain.sql"),
            Self::TypedRow => concat!(include_str!("typed.sql"), include_str!("typed_row.sql")),
            Self::TypedStatement => concat!(
                include_str!("typed.sql"),
                include_str!("typed_statement.sql")
            ),
            Self::Row => "SELECT threadline.audit_table('item', granularity => 'row')",
            Self::Statement => "SELECT threadline.audit_table('item', granularity => 'statement')",
        }
    }
}
