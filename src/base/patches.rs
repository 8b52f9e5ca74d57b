/// One migration of Threadline, as SQL: for tools that copy it into a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Patch {
    /// Its directory in [`MIGRATIONS`](crate::MIGRATIONS), which begins with its version.
    pub name: &'static str,
    /// What it does.
    pub up: &'static str,
    /// What undoes it.
    pub down: &'static str,
}

macro_rules! patches {
    ($($name:literal,)+) => {
        &[$(Patch {
            name: $name,
            up: include_str!(concat!("../../migrations/", $name, "/up.sql")),
            down: include_str!(concat!("../../migrations/", $name, "/down.sql")),
        }),+]
    };
}

/// The SQL of [`MIGRATIONS`](crate::MIGRATIONS), in order. `threadline install` writes it into a project's own `migrations/`.
pub const PATCHES: &[Patch] = patches![
    "2026-11-23-000001_threadline_tables",
    "2026-11-23-000002_threadline_capture",
    "2026-11-23-000003_threadline_generator",
    "2026-11-23-000004_threadline_history",
    "2026-11-23-000005_threadline_time_travel",
    "2026-11-23-000006_threadline_reading",
    "2026-11-23-000007_threadline_actions",
    "2026-11-23-000008_threadline_timeline",
    "2026-11-23-000009_threadline_transactions",
    "2026-11-23-000010_threadline_export",
    "2026-11-23-000011_threadline_health",
    "2026-11-23-000012_threadline_continuity",
    "2026-11-23-000013_threadline_redaction",
    "2026-11-23-000014_threadline_retention",
    "2026-11-23-000015_threadline_audit_table",
];
