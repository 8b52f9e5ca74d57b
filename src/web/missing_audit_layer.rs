use std::fmt;

/// The rejection of a handler that asks for an [`AuditContext`](crate::AuditContext) on a route
/// outside the audit layer. This is a bug in the application, answered with status 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingAuditLayer;

impl fmt::Display for MissingAuditLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this route is not within the audit layer")
    }
}

impl std::error::Error for MissingAuditLayer {}
