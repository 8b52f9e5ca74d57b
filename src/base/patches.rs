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
pub const PATCHES: &[Patch] = patches!["00000000000100_threadline_0_1",];
