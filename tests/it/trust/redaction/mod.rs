//! Redaction is a one-way door.

mod cases;
mod columns;
mod model;
mod property;
mod steps;
mod tables;
mod tables_again;
mod writes;
