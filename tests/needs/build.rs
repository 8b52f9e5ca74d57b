//! Looks for the programs that `#[needs]` can name.

use std::env;
use std::path::PathBuf;

const PROGRAMS: [&str; 3] = ["jq", "pgbouncer", "python3"];

/// Where Debian has PgBouncer, which is not on the `PATH` of everybody.
const MORE_PLACES: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"];

fn main() {
    let path = env::var_os("PATH").unwrap_or_default();
    let places: Vec<PathBuf> = env::split_paths(&path)
        .chain(MORE_PLACES.map(PathBuf::from))
        .filter(|place| place.is_absolute() && place.is_dir())
        .collect();
    let is_here = |program: &str| {
        let named = env::var_os(program.to_uppercase()).is_some_and(|name| !name.is_empty());
        named || places.iter().any(|place| place.join(program).is_file())
    };
    let mut missing: Vec<_> = PROGRAMS
        .into_iter()
        .filter(|program| !is_here(program))
        .collect();
    // Without a dependency, Cargo would watch all files of this package.
    println!("cargo::rerun-if-changed=build.rs");
    if !missing.is_empty() {
        // Whoever installs one of them has these tests from then on.
        for place in &places {
            println!("cargo::rerun-if-changed={}", place.display());
        }
        println!("cargo::rerun-if-env-changed=CI");
        println!("cargo::rerun-if-env-changed=PGBOUNCER");
    }
    if env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false") {
        missing.clear();
    }
    println!("cargo::rustc-env=PROGRAMS={}", PROGRAMS.join(" "));
    println!("cargo::rustc-env=MISSING={}", missing.join(" "));
}
