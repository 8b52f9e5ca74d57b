use crate::context::MAX_LENGTH;

/// The headers of a request. actix-web has header types of its own.
pub(super) trait Headers {
    /// Returns all values of a header, in the order of its lines.
    fn values(&self, name: &str) -> Vec<&[u8]>;

    /// Returns a value that is safe to record: it occurs once, has a bounded length, and is visible
    /// ASCII.
    fn id(&self, name: &str) -> Option<&str> {
        let [value] = self.values(name)[..] else {
            return None;
        };
        let fits = (1..=MAX_LENGTH).contains(&value.len());
        let visible = value.iter().all(u8::is_ascii_graphic);
        std::str::from_utf8(value).ok().filter(|_| fits && visible)
    }
}

#[cfg(feature = "tower")]
impl Headers for http::HeaderMap {
    fn values(&self, name: &str) -> Vec<&[u8]> {
        self.get_all(name)
            .iter()
            .map(http::HeaderValue::as_bytes)
            .collect()
    }
}

#[cfg(feature = "actix-web")]
impl Headers for actix_web::http::header::HeaderMap {
    fn values(&self, name: &str) -> Vec<&[u8]> {
        self.get_all(name)
            .map(actix_web::http::header::HeaderValue::as_bytes)
            .collect()
    }
}
