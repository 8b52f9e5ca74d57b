//! Integration tests, on a PostgreSQL of their own: every test has its own database and commits for real.
#![allow(
    clippy::incompatible_msrv,
    reason = "tests need the toolchain of development, and not only the Rust of the library"
)]

mod actions;
mod capture;
mod catalogue;
mod common;
mod context;
mod context_async;
mod continuity;
mod coverage;
mod diff;
mod export;
mod faults;
mod generated_sql;
mod given_keys;
mod golden;
mod health;
mod history;
mod load;
mod maintain;
mod migrations;
mod module_graph;
mod pages;
mod parity;
mod pgbench;
mod pgbouncer;
mod random;
mod redaction;
mod restores;
mod retention;
mod skipped;
mod time_travel;
mod timeline;
mod trust;
mod web;
