//! What a test leaves out on a server that has not got it. It says so in a line that `.ci/run` counts and shows at its end: a
//! test that passes is not to look as if it had tested all.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use diesel::pg::PgConnection;

use crate::common::text;

/// Whether the server is of this version or a newer one, which brought what is to be tested.
pub(crate) fn since(conn: &mut PgConnection, version: u32, what: &str) -> bool {
    let found = major_version(conn);
    if found < version {
        skip(conn, &format!("{what} came with {version}"));
    }
    found >= version
}

/// Says that the running test leaves something out.
pub(crate) fn skip(conn: &mut PgConnection, why: &str) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let version = major_version(conn);
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a thread");
    let line = format!("skipped on {version}: {test}: {why}\n");
    let is_new = (SAID.lock().unwrap_or_else(PoisonError::into_inner)).insert(line.clone());
    if is_new {
        // Past what the test prints, which is only shown when it fails.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

pub(crate) fn major_version(conn: &mut PgConnection) -> u32 {
    let number = text(
        conn,
        "SELECT current_setting('server_version_num')::int / 10000",
    );
    number
        .and_then(|number| number.parse().ok())
        .expect("a server has a version")
}
