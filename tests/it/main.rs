//! Integration tests, on a PostgreSQL of their own: every test has its own database and commits for real.

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
mod golden;
mod health;
mod history;
mod maintain;
mod migrations;
mod module_graph;
mod parity;
mod pgbench;
mod pgbouncer;
mod redaction;
mod retention;
mod time_travel;
mod timeline;
mod web;
