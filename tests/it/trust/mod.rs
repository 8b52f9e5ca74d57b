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

/// Ids of tables begin at another number in each installation; in a test they are known.
const FIRST_IDS: &str = "SELECT setval('threadline.audited_tables_id_seq', 1, false), setval('threadline.table_definitions_id_seq', 1, false)";
