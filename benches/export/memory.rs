use std::fs;

/// Forgets what this process has used, so that [`peak`] is of what comes. Where the kernel cannot, it is of all.
pub(crate) fn reset() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The most memory that this process used, in MiB; unknown outside Linux.
pub(crate) fn peak() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes / 1024.0)
}
