//! Whom the audit log can be trusted against: each test is an attack, and fails where the attack succeeds.

mod actions;
mod context;
mod foreign_code;
mod installing;
mod locks;
mod many_tables;
mod obstruction;
mod redaction;
mod roles;
mod settings;
mod shop;
mod upgrades;
