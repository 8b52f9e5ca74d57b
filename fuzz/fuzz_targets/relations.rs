//! No table that PostgreSQL reads is missed.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|statement: &str| threadline_fuzz::compare(statement));
