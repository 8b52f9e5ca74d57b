//! The command line, as people and scripts use it.

mod exploring;
mod guide;
mod migrating;
mod operating;
mod project;
mod retaining;
