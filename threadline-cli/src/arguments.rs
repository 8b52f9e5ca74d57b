use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use serde_json::Value;
use threadline::{ActorRef, ExportFormat};

use crate::filters::Filters;

/// Who changed what, when and why, and what everything looked like then.
///
/// Exit status: 0 success; 1 `coverage --strict` or `health` found a problem, or `redact` nothing; 2 error.
#[derive(Parser)]
#[command(name = "threadline", version, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Args)]
pub(crate) struct Connection {
    /// The database, as a URL or as `host=localhost dbname=shop`; what is left out is taken from PGHOST, PGUSER and so on
    #[arg(long, global = true, env = "DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show one row as it was at a time
    AsOf(AsOf),
    /// Write a migration that puts tables under capture
    Audit(Audit),
    /// Record the rows that a table had before its capture began, as snapshots; run again, it goes on where it was
    Baseline(Baseline),
    /// Tell since when each table is known, and whether the rows from before are recorded
    Continuity(Output),
    /// List all tables: audited, exempt with the reason, or neither
    Coverage(Coverage),
    /// Print the completions of a shell
    Completions { shell: Shell },
    /// Write a migration that says that tables need not be audited, or that columns may be recorded, and why
    Exempt(Exempt),
    /// Write changes out, of one snapshot and as many as there are
    Export(Export),
    /// Show what is wrong with capture and the audit log, and what to do about it
    Health(Output),
    /// Show the changes of one row, newest first
    History(History),
    /// List, place or release legal holds
    Hold(Hold),
    /// Write Threadline's migrations into a project, or run them
    Install(Install),
    /// Create the partitions of the next months, and analyze the audit log; run it daily
    Maintain {
        /// How many months after this one
        #[arg(long, value_name = "N", default_value_t = 3)]
        months: u16,
    },
    /// Print the manual page
    #[command(hide = true)]
    Man,
    /// Show what the retention policies remove, or remove it
    Purge(Purge),
    /// List, set or unset how long changes are kept
    Retention(Retention),
    /// Remove values from the recorded changes of some rows
    Redact(Redact),
    /// Bring the capture of audited tables in line with their present columns and the installed version
    Refresh(Refresh),
    /// Tell on one page how things are: version, tables, growth, problems
    Status {
        #[command(flatten)]
        output: Output,
    },
    /// Show changes, newest first
    Timeline(Timeline),
    /// Show one transaction: who, why, and all it changed
    Transaction(Transaction),
    /// Write a migration that ends the capture of tables; the audit log keeps their changes
    Unaudit(Unaudit),
    /// Do all that a new version needs, beside readers and writers; run again, it goes on where it was
    Upgrade(Upgrade),
}

/// How to print.
#[derive(Clone, Copy, ValueEnum, PartialEq)]
pub(crate) enum Format {
    Csv,
    Json,
    Table,
}

#[derive(Args)]
pub(crate) struct Output {
    /// How to print; changes as json and csv are those of an export
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
}

#[derive(Args)]
pub(crate) struct Baseline {
    /// The table, as in SQL
    pub(crate) table: String,
    #[command(flatten)]
    pub(crate) who: Who,
    /// Rows that one transaction goes past
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch_size: u32,
    /// How long to wait between two transactions, as 20ms or 1s
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    pub(crate) pause: Duration,
    /// At most so many transactions
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_batches: Option<u64>,
}

#[derive(Args)]
pub(crate) struct Refresh {
    /// Only this table, as in SQL
    #[arg(long)]
    pub(crate) table: Option<String>,
}

/// Runs the migrations that are pending, refreshes every audited table in a transaction of its own, and then does the long work
/// of the version in batches.
#[derive(Args)]
pub(crate) struct Upgrade {
    /// Rows of the audit log that one transaction goes past
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch_size: u32,
    /// How long to wait between two transactions, as 20ms or 1s
    #[arg(long, value_name = "DURATION", default_value = "20ms", value_parser = humantime::parse_duration)]
    pub(crate) pause: Duration,
    /// At most so many transactions
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_batches: Option<u64>,
}

/// Whether a command that is a dry run by default changes anything.
#[derive(Args)]
pub(crate) struct Mode {
    /// Do it: without this, nothing is changed
    #[arg(long)]
    pub(crate) apply: bool,
    /// Only show what would be done, which is the default
    #[arg(long, conflicts_with = "apply")]
    dry_run: bool,
}

#[derive(Args)]
pub(crate) struct Coverage {
    /// Exit with 1 if a table is neither audited nor exempt
    #[arg(long)]
    pub(crate) strict: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Timeline {
    #[command(flatten)]
    pub(crate) filters: Filters,
    #[command(flatten)]
    pub(crate) page: Page,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Page {
    /// At most so many changes
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) limit: u16,
    /// Go on after a page: its last line says how
    #[arg(long, value_name = "CURSOR")]
    pub(crate) before: Option<String>,
}

#[derive(Args)]
pub(crate) struct History {
    /// The table, as in SQL
    pub(crate) table: String,
    /// The primary key; of several columns, as a JSON array
    #[arg(allow_hyphen_values = true)]
    pub(crate) key: String,
    #[command(flatten)]
    pub(crate) page: Page,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct AsOf {
    /// The table, as in SQL
    pub(crate) table: String,
    /// The primary key; of several columns, as a JSON array
    #[arg(allow_hyphen_values = true)]
    pub(crate) key: String,
    /// RFC 3339, or a date for its beginning in UTC
    pub(crate) time: String,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Without --apply, only shows what would be done. The rows themselves are not touched: change them first.
#[derive(Args)]
pub(crate) struct Redact {
    /// The table, as in SQL
    pub(crate) table: String,
    /// The primary keys; of several columns, as JSON arrays; after `--` if one begins as an option does
    #[arg(required = true, value_name = "KEY", allow_negative_numbers = true)]
    pub(crate) keys: Vec<String>,
    /// Replace the values of this column, of text, by the placeholder
    #[arg(long, value_name = "COLUMN")]
    pub(crate) mask: Vec<String>,
    /// Replace the values of this column by NULL
    #[arg(long, value_name = "COLUMN")]
    pub(crate) remove: Vec<String>,
    /// Replace the values of this column by this one: JSON, or else text
    #[arg(long, value_name = "COLUMN=VALUE", value_parser = substitute)]
    pub(crate) substitute: Vec<(String, Value)>,
    /// Who does it: user:123, admin:dpo
    #[arg(long, value_name = "ACTOR", required_if_eq("apply", "true"))]
    pub(crate) actor: Option<ActorRef>,
    /// Why it is done
    #[arg(long, value_name = "TEXT", required_if_eq("apply", "true"))]
    pub(crate) reason: Option<String>,
    /// How many changes to look at in a transaction
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch_size: u32,
    #[command(flatten)]
    pub(crate) mode: Mode,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// The name ends at the first `=`, which no sensible name of a column has in it.
fn substitute(text: &str) -> Result<(String, Value), String> {
    let (column, value) = text.split_once('=').ok_or("write it as COLUMN=VALUE")?;
    let json = serde_json::from_str(value);
    Ok((column.to_owned(), json.unwrap_or_else(|_| value.into())))
}

#[derive(Args)]
pub(crate) struct Transaction {
    /// Its id, as the other commands show it
    pub(crate) transaction: uuid::Uuid,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Export {
    #[command(flatten)]
    pub(crate) filters: Filters,
    /// csv, json or ndjson
    #[arg(long, default_value = "csv")]
    pub(crate) format: ExportFormat,
    /// The file to write instead of standard output
    #[arg(long, short, value_name = "FILE", conflicts_with = "directory")]
    pub(crate) output: Option<PathBuf>,
    /// A directory for files of a size and a manifest: run again, it goes on where it was killed
    #[arg(long, short, value_name = "DIRECTORY")]
    pub(crate) directory: Option<PathBuf>,
    /// Changes in each file of the directory
    #[arg(
        long,
        value_name = "N",
        default_value_t = 100_000,
        requires = "directory"
    )]
    pub(crate) rows_per_file: u64,
    /// At most so many changes
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Go on after another export, whose summary says how
    #[arg(long, value_name = "CURSOR")]
    pub(crate) before: Option<String>,
}

#[derive(Args)]
pub(crate) struct Install {
    #[command(flatten)]
    pub(crate) to: Migrations,
}

#[derive(Args)]
pub(crate) struct Exempt {
    /// The tables, as in SQL
    #[arg(required_unless_present = "column", value_name = "TABLE")]
    pub(crate) tables: Vec<String>,
    /// A column that may be recorded, though its name is that of a secret; several times for several
    #[arg(long, value_name = "TABLE.COLUMN")]
    pub(crate) column: Vec<String>,
    /// Why they need not be audited, or may be recorded
    #[arg(long)]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) to: Migrations,
}

/// Who does it, and why: this is recorded as an action.
#[derive(Args)]
pub(crate) struct Who {
    /// Who does it: user:123, admin:7, system:cron
    #[arg(long)]
    pub(crate) actor: ActorRef,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Hold {
    #[command(subcommand)]
    pub(crate) change: Option<ChangeHold>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Subcommand)]
pub(crate) enum ChangeHold {
    /// List the legal holds, which is the default
    List(Output),
    /// Keep the changes of a table, of a row, or by and for an actor
    Place {
        /// The table, as in SQL
        #[arg(
            long,
            required_unless_present = "for_actor",
            conflicts_with = "for_actor"
        )]
        table: Option<String>,
        /// The row of the table with this primary key; of several columns, as a JSON array
        #[arg(
            long,
            value_name = "KEY",
            requires = "table",
            allow_hyphen_values = true
        )]
        row_key: Option<String>,
        /// What this actor did, and what was done for them
        #[arg(long, value_name = "ACTOR")]
        for_actor: Option<ActorRef>,
        #[command(flatten)]
        who: Who,
    },
    /// End a hold
    Release {
        /// Its number, as `threadline hold list` shows it
        hold: i64,
        #[command(flatten)]
        who: Who,
    },
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Retention {
    #[command(subcommand)]
    pub(crate) change: Option<ChangeRetention>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Subcommand)]
pub(crate) enum ChangeRetention {
    /// List the retention policies, which is the default
    List(Output),
    /// Say how long changes are kept
    Set {
        /// As an interval of PostgreSQL, like '90 days', or `forever`
        keep: String,
        /// Only of this table, as in SQL; by default of all tables without a policy of their own
        #[arg(long)]
        table: Option<String>,
        /// To the day, and not by whole months: then partitions are seldom dropped
        #[arg(long)]
        to_the_day: bool,
    },
    /// Take a policy back
    Unset {
        /// The policy of this table, as in SQL; by default the policy of all others
        #[arg(long)]
        table: Option<String>,
    },
}

#[derive(Args)]
pub(crate) struct Purge {
    #[command(flatten)]
    pub(crate) mode: Mode,
    /// How many changes to remove at a time
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) batch_size: u32,
    /// How long to wait after each batch, as 20ms or 1s
    #[arg(long, value_name = "DURATION", default_value = "50ms", value_parser = humantime::parse_duration)]
    pub(crate) pause: Duration,
    /// End after so many partitions and batches; the next purge goes on
    #[arg(long, value_name = "N")]
    pub(crate) max_batches: Option<u64>,
    /// Who does it; system:threadline by default
    #[arg(long)]
    pub(crate) actor: Option<ActorRef>,
    /// Why
    #[arg(long, default_value = "retention policy")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct Migrations {
    /// Where the project keeps its migrations
    #[arg(
        long,
        value_name = "DIRECTORY",
        env = "MIGRATION_DIRECTORY",
        default_value = "migrations"
    )]
    pub(crate) migration_dir: PathBuf,
    /// Print what would be written
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Run it at once, and write nothing
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) apply: bool,
}

#[derive(Args)]
pub(crate) struct Audit {
    /// The tables, as in SQL
    #[arg(
        required_unless_present = "all",
        conflicts_with = "all",
        value_name = "TABLE"
    )]
    pub(crate) tables: Vec<String>,
    /// Every table of the database that is neither audited nor exempt
    #[arg(long)]
    pub(crate) all: bool,
    /// With --all: only those of this schema
    #[arg(
        long,
        requires = "all",
        conflicts_with = "tables",
        value_name = "SCHEMA"
    )]
    pub(crate) schema: Option<String>,
    /// Record that this column changes, but not its values; the table with its schema or without
    #[arg(long, value_name = "TABLE.COLUMN")]
    pub(crate) mask: Vec<String>,
    /// Do not record this column
    #[arg(long, value_name = "TABLE.COLUMN")]
    pub(crate) exclude: Vec<String>,
    /// Record this column of the primary key as a keyed hash
    #[arg(long, value_name = "TABLE.COLUMN")]
    pub(crate) hash_key: Vec<String>,
    /// Ends the redaction of a column that is masked, excluded or hashed; the audit log records it
    #[arg(long, value_name = "TABLE.COLUMN", value_delimiter = ',')]
    pub(crate) unredact: Vec<String>,
    #[command(flatten)]
    pub(crate) to: Migrations,
}

#[derive(Args)]
pub(crate) struct Unaudit {
    /// The tables, as in SQL
    #[arg(required = true, value_name = "TABLE")]
    pub(crate) tables: Vec<String>,
    #[command(flatten)]
    pub(crate) to: Migrations,
}
