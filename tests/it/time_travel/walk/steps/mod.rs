//! The steps of the walk: writes, and migrations that the copies go through as well.

mod columns;
mod conversions;
mod keys;
mod migration;
mod partitions;
mod writes;
