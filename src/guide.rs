//! The guides, one page each. Start with [`getting_started`].
#![allow(
    clippy::doc_markdown,
    reason = "the guides name other tools, which are no code"
)]
#![allow(
    clippy::test_attr_in_doctest,
    reason = "the guides show tests of applications"
)]

#[doc = include_str!("../docs/getting-started.md")]
pub mod getting_started {}

#[doc = include_str!("../docs/audit-log.md")]
pub mod audit_log {}

#[doc = include_str!("../docs/context.md")]
pub mod context {}

#[doc = include_str!("../docs/querying.md")]
pub mod querying {}

#[doc = include_str!("../docs/time-travel.md")]
pub mod time_travel {}

#[doc = include_str!("../docs/existing-tables.md")]
pub mod existing_tables {}

#[doc = include_str!("../docs/supported-tables.md")]
pub mod supported_tables {}

#[doc = include_str!("../docs/postgresql-versions.md")]
pub mod postgresql_versions {}

#[doc = include_str!("../docs/production.md")]
pub mod production {}

#[doc = include_str!("../docs/upgrading.md")]
pub mod upgrading {}

#[doc = include_str!("../docs/restores.md")]
pub mod restores {}

#[doc = include_str!("../docs/uninstall.md")]
pub mod uninstall {}

#[doc = include_str!("../docs/redaction.md")]
pub mod redaction {}

#[doc = include_str!("../docs/retention.md")]
pub mod retention {}

#[doc = include_str!("../docs/incidents.md")]
pub mod incidents {}

#[doc = include_str!("../docs/web.md")]
pub mod web {}

#[doc = include_str!("../docs/pgbouncer.md")]
pub mod pgbouncer {}

#[doc = include_str!("../docs/telemetry.md")]
pub mod telemetry {}

#[doc = include_str!("../docs/security.md")]
pub mod security {}

#[doc = include_str!("../docs/sizing.md")]
pub mod sizing {}

#[doc = include_str!("../docs/performance.md")]
pub mod performance {}

#[doc = include_str!("../docs/comparison.md")]
pub mod comparison {}

#[doc = include_str!("../docs/stability.md")]
pub mod stability {}

#[doc = include_str!("../docs/reference.md")]
pub mod reference {}
