//! Redaction is a one-way door.

mod cases;
mod model;
mod property;
mod steps;
