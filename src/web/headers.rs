use crate::context::MAX_LENGTH;

/// The headers of a request: actix-web has other types for them than the rest.
pub(super) trait Headers {
    /// All values of a header, in the order of its lines.
    fn values(&self, name: &str) -> Vec<&[u8]>;

    /// A value that may be kept: there once, bounded, of visible ASCII.
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
