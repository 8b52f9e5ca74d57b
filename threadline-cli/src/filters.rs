use clap::Args;
use threadline::{Timeline, timeline};

/// What changes have to be. In any combination.
#[derive(Args, Default)]
#[command(next_help_heading = "Filters")]
pub(crate) struct Filters {
    /// Of a table, as in SQL; several times for several
    #[arg(long, value_name = "TABLE")]
    table: Vec<String>,
    /// Of the row with this primary key; of several columns, as a JSON array
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    row_key: Option<String>,
    /// delete, insert, snapshot, truncate or update; several times for several
    #[arg(long, value_name = "OP")]
    op: Vec<String>,
    /// Of this column
    #[arg(long, value_name = "COLUMN")]
    column: Option<String>,
    /// By someone: user:123, job:nightly, anonymous
    #[arg(long, value_name = "ACTOR")]
    actor: Option<String>,
    /// For someone
    #[arg(long, value_name = "ACTOR")]
    on_behalf_of: Option<String>,
    /// Of a business process
    #[arg(long, value_name = "ID")]
    correlation_id: Option<String>,
    /// Of transactions with an action of this name
    #[arg(long, value_name = "NAME")]
    action: Option<String>,
    /// Of the transaction with this action
    #[arg(long, value_name = "UUID")]
    action_id: Option<String>,
    /// Of a transaction
    #[arg(long, value_name = "UUID")]
    transaction: Option<String>,
    /// At this time or later: RFC 3339, or a date
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// At this time or earlier: RFC 3339, or a date for its end
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl Filters {
    /// What the library says of them is said once, of all that is wrong.
    pub(crate) fn timeline(&self, before: Option<&String>) -> Result<Timeline, threadline::Error> {
        let single = [
            ("row_key", self.row_key.as_ref()),
            ("column", self.column.as_ref()),
            ("actor", self.actor.as_ref()),
            ("on_behalf_of", self.on_behalf_of.as_ref()),
            ("correlation_id", self.correlation_id.as_ref()),
            ("action", self.action.as_ref()),
            ("action_id", self.action_id.as_ref()),
            ("transaction", self.transaction.as_ref()),
            ("since", self.since.as_ref()),
            ("until", self.until.as_ref()),
            ("before", before),
        ];
        let tables = self.table.iter().map(|table| ("table", table));
        let ops = self.op.iter().map(|op| ("op", op));
        let single = single
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)));
        timeline().params(tables.chain(ops).chain(single))
    }
}
