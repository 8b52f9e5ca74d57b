//! What the benchmarks share: the command line, a year of changes, targets and tables.

mod command_line;
mod data;
mod report;
mod server;
mod size;
mod target;

use std::error::Error;

pub use command_line::{Output, main};
pub use data::{Data, SETTINGS};
pub use report::{Line, Report, table, two_digits};
pub use server::{Server, server};
pub use size::Size;
pub use target::Target;

/// An error of any kind ends a benchmark.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;
