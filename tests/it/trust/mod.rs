//! Whom the audit log can be trusted against: each test is an attack, and fails where the attack succeeds.

mod actions;
mod context;
mod installing;
mod upgrades;
