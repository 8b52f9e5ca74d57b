use std::fmt;

/// Why there is no [`AuditContext`](crate::AuditContext) for a handler: its route lies outside of the audit layer. A mistake in the
/// application, answered with 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingAuditLayer;

impl fmt::Display for MissingAuditLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this route is not within the audit layer")
    }
}

impl std::error::Error for MissingAuditLayer {}
