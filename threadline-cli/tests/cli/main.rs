//! The command line, as people and scripts use it.

#![allow(clippy::disallowed_macros)] // they are for what the program prints

mod connecting;
mod exploring;
mod guide;
mod hostile;
mod migrating;
mod operating;
mod project;
mod retaining;
mod tls_server;
