//! Redaction is a one-way door.

mod model;
mod property;
mod steps;
