use std::net::IpAddr;

use serde_json::{Map, Value};

use super::headers::Headers;
use super::trace_parent::trace_id;
use super::trusted_proxies::TrustedProxies;
use crate::context::{ActorRef, AuditContext};
use crate::error::Error;

const FORWARDED_FOR: &str = "x-forwarded-for";
const TRACE_PARENT: &str = "traceparent";
const TRACE_ID: &str = "trace_id";

/// The options that all frameworks share.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) correlation_id_header: String,
    pub(super) request_id_header: String,
    pub(super) source: Option<String>,
    pub(super) trusted_proxies: TrustedProxies,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            correlation_id_header: "x-correlation-id".to_owned(),
            request_id_header: "x-request-id".to_owned(),
            source: None,
            trusted_proxies: TrustedProxies::default(),
        }
    }
}

impl Options {
    /// Creates the context of a request and validates it. `map` adds what only the application
    /// knows.
    pub(super) fn context(
        &self,
        actor: ActorRef,
        headers: &impl Headers,
        peer: Option<IpAddr>,
        map: impl FnOnce(AuditContext) -> AuditContext,
    ) -> Result<AuditContext, Error> {
        let mut ctx = AuditContext::new(actor);
        if let Some(source) = &self.source {
            ctx = ctx.source(source);
        }
        if let Some(id) = headers.id(&self.request_id_header) {
            ctx = ctx.request_id(id);
        }
        let trace_id = headers.id(TRACE_PARENT).and_then(trace_id);
        let correlation_id = headers.id(&self.correlation_id_header);
        if let Some(id) = correlation_id.or(trace_id) {
            ctx = ctx.correlation_id(id);
        }
        if let Some(address) = self
            .trusted_proxies
            .client(peer, &headers.values(FORWARDED_FOR))
        {
            ctx = ctx.remote_ip(address);
        }
        ctx = map(ctx);
        if let (Some(_), Some(id)) = (correlation_id, trace_id) {
            ctx = with_trace_id(ctx, id);
        }
        ctx.validate()?;
        Ok(ctx)
    }
}

/// Runs after everything else, so that an application that sets `meta` does not have to handle the
/// trace id.
fn with_trace_id(ctx: AuditContext, id: &str) -> AuditContext {
    let mut meta = match ctx.claims().meta.clone() {
        None => Map::new(),
        Some(Value::Object(meta)) => meta,
        Some(_) => return ctx,
    };
    meta.entry(TRACE_ID).or_insert_with(|| id.into());
    ctx.meta(Value::Object(meta))
}

/// Defines the option methods, with the same names for every framework.
macro_rules! option_methods {
    ($HeaderName:ty, $Request:ty) => {
        /// Sets the header that carries the request id; the default is `x-request-id`.
        pub fn request_id_header(mut self, name: $HeaderName) -> Self {
            self.options.request_id_header = name.as_str().to_owned();
            self
        }

        /// Sets the header that carries the correlation id; the default is `x-correlation-id`.
        pub fn correlation_id_header(mut self, name: $HeaderName) -> Self {
            self.options.correlation_id_header = name.as_str().to_owned();
            self
        }

        /// Sets the proxies whose `X-Forwarded-For` is trusted. By default none is, and `remote_ip`
        /// is the peer of the connection.
        pub fn trusted_proxies(mut self, proxies: $crate::web::TrustedProxies) -> Self {
            self.options.trusted_proxies = proxies;
            self
        }

        /// Sets where the work comes from: the name of the application. At most 256 bytes.
        pub fn source(mut self, source: impl Into<String>) -> Self {
            self.options.source = Some(source.into());
            self
        }

        /// Adds to the context what only the application knows. Further calls add to the result of
        /// earlier ones.
        ///
        /// Limit the length of values that you take from the request: a context that cannot be
        /// stored, such as one with a `source` of more than 256 bytes, is answered with status 500.
        /// If the trace id is recorded in `meta`, it is added to the object that you set there.
        pub fn map_context(
            mut self,
            map: impl Fn($crate::context::AuditContext, &$Request) -> $crate::context::AuditContext
            + Send
            + Sync
            + 'static,
        ) -> Self {
            let earlier = self.map;
            self.map = ::std::sync::Arc::new(move |ctx, request: &$Request| {
                map(earlier(ctx, request), request)
            });
            self
        }
    };
}
pub(super) use option_methods;
