//! Redaction is a one-way door.

#![expect(
    clippy::format_push_string,
    clippy::similar_names,
    clippy::struct_excessive_bools,
    clippy::type_complexity,
    clippy::unnecessary_wraps,
    reason = "a random sequence is put together from steps of one signature"
)]

mod cases;
mod columns;
mod model;
mod property;
mod steps;
mod tables;
mod tables_again;
mod writes;
