//! Checks that every table is audited as intended, and that capture is healthy.
#![allow(
    clippy::test_attr_in_doctest,
    reason = "tests of applications are what is shown"
)]

mod check_health;
mod coverage;
mod findings;
mod health;
mod telemetry;

pub use check_health::{ChecksHealth, check_health};
pub use coverage::{ChecksCoverage, assert_audited, assert_covered};
pub use findings::Check;
pub use health::{Health, LogStats};
