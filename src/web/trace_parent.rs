/// Returns the trace id of a `traceparent` header, as defined by W3C Trace Context:
/// `version-trace_id-parent_id-flags`. Versions after `00` may add more fields.
pub(super) fn trace_id(header: &str) -> Option<&str> {
    let mut fields = header.splitn(5, '-');
    let mut hex = |length| fields.next().filter(|field| is_hex(field, length));
    let (version, trace_id, parent_id) = (hex(2)?, hex(32)?, hex(16)?);
    hex(2)?;
    let is_valid = match version {
        "00" => fields.next().is_none(),
        "ff" => false,
        _ => true,
    };
    let is_zero = |id: &str| id.bytes().all(|digit| digit == b'0');
    (is_valid && !is_zero(trace_id) && !is_zero(parent_id)).then_some(trace_id)
}

fn is_hex(field: &str, length: usize) -> bool {
    field.len() == length
        && field
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::trace_id;

    const ID: &str = "0af7651916cd43dd8448eb211c80319c";

    /// Headers of unknown later versions are read as far as they must match version `00`.
    #[test]
    fn valid() {
        for header in [
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future-brings",
        ] {
            assert_eq!(trace_id(header), Some(ID), "{header}");
        }
    }

    /// A header that breaks a rule of the standard has no trace id.
    #[test]
    fn invalid() {
        for header in [
            "",
            "-",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319cc-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "CC-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.what",
            " 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0äf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(trace_id(header), None, "{header}");
        }
    }
}
