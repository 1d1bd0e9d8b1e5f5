//! From (method, target) to what is asked for: one total match that reads like the API's table.
//!
//! Pure: no I/O, no clock, nothing of HTTP's framing. It never fails; a target that makes no sense is simply not found.

use std::borrow::Cow;

/// The request methods this server knows; any other is answered 501.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each variant is the method of that name: RFC 9110 section 9.3, RFC 5789, draft-ietf-httpbis-safe-method-w-body"
)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
    Query,
    Trace,
    Connect,
    /// Anything else.
    Other,
}

impl Method {
    /// Every method, in the order of their discriminants.
    pub const ALL: [Self; 11] = [
        Self::Get,
        Self::Head,
        Self::Post,
        Self::Put,
        Self::Patch,
        Self::Delete,
        Self::Options,
        Self::Query,
        Self::Trace,
        Self::Connect,
        Self::Other,
    ];

    /// The method that a request line names; methods are case-sensitive (RFC 9110, section 9.1).
    #[must_use]
    pub fn parse(name: &str) -> Self {
        Self::ALL.into_iter().find(|method| method.as_str() == name).unwrap_or(Self::Other)
    }

    /// The name, as it stands in `Allow` and in metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Query => "QUERY",
            Self::Trace => "TRACE",
            Self::Connect => "CONNECT",
            Self::Other => "_OTHER",
        }
    }
}

/// A resource of the API, without what a path carries besides; its name is a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the resource of that name")]
pub enum Handler {
    Root,
    Console,
    Docs,
    OpenApi,
    Status,
    Ready,
    Products,
    Product,
    ProtectedAction,
    Metrics,
    /// No resource: an unknown path, or a request that never became one.
    None,
}

impl Handler {
    /// Every handler, in the order of their discriminants.
    pub const ALL: [Self; 11] = [
        Self::Root,
        Self::Console,
        Self::Docs,
        Self::OpenApi,
        Self::Status,
        Self::Ready,
        Self::Products,
        Self::Product,
        Self::ProtectedAction,
        Self::Metrics,
        Self::None,
    ];

    /// The name in metric labels and in the access log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Console => "console",
            Self::Docs => "docs",
            Self::OpenApi => "openapi",
            Self::Status => "status",
            Self::Ready => "ready",
            Self::Products => "products",
            Self::Product => "product",
            Self::ProtectedAction => "protected_action",
            Self::Metrics => "metrics",
            Self::None => "none",
        }
    }

    /// The methods the resource answers to, in the order `Allow` lists them.
    #[must_use]
    pub fn methods(self) -> &'static [Method] {
        use Method::{Delete, Get, Head, Options, Post};
        match self {
            Self::Root | Self::Console | Self::Docs | Self::OpenApi | Self::Status | Self::Ready | Self::Metrics => {
                &[Get, Head, Options]
            }
            Self::Products => &[Get, Head, Post, Options],
            Self::Product => &[Get, Head, Delete, Options],
            Self::ProtectedAction => &[Post, Options],
            Self::None => &[Options],
        }
    }

    /// [`Handler::methods`], as the value of an `Allow` field.
    #[must_use]
    pub fn allow(self) -> &'static str {
        match self {
            Self::Root | Self::Console | Self::Docs | Self::OpenApi | Self::Status | Self::Ready | Self::Metrics => {
                "GET, HEAD, OPTIONS"
            }
            Self::Products => "GET, HEAD, POST, OPTIONS",
            Self::Product => "GET, HEAD, DELETE, OPTIONS",
            Self::ProtectedAction => "POST, OPTIONS",
            Self::None => "GET, HEAD, POST, DELETE, OPTIONS",
        }
    }
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `GET /`
    Root,
    /// `GET /console`
    Console,
    /// `GET /console/{file}`
    ConsoleFile(String),
    /// `GET /docs`
    Docs,
    /// `GET /docs/{file}`
    DocsFile(String),
    /// `GET /openapi.json`
    OpenApi,
    /// `GET /api/status`
    Status,
    /// `GET /api/ready`
    Ready,
    /// `GET /api/products`
    ListProducts,
    /// `POST /api/products`
    CreateProduct,
    /// `GET /api/products/{id}`
    GetProduct(String),
    /// `DELETE /api/products/{id}`
    DeleteProduct(String),
    /// `POST /api/protected-action`
    ProtectedAction,
    /// `GET /metrics`
    Metrics,
    /// `OPTIONS` on a resource, or on `*`: what it answers to.
    Options,
    /// The path is a resource, the method is none of its own.
    MethodNotAllowed,
    /// The method is not one this server knows.
    MethodUnknown,
    /// The path is no resource.
    NotFound,
}

/// The resource and what is asked of it; `HEAD` is routed as `GET`, whose answer it gets without the body.
#[must_use]
pub fn route(method: Method, target: &str) -> (Handler, Route) {
    let (handler, name) = resource(path(target));
    let method = if method == Method::Head { Method::Get } else { method };
    let route = match (handler, method) {
        (_, Method::Other) => Route::MethodUnknown,
        (Handler::None, Method::Options) if target == "*" => Route::Options,
        (Handler::None, _) => Route::NotFound,
        (_, Method::Options) => Route::Options,
        (Handler::Root, Method::Get) => Route::Root,
        (Handler::Console, Method::Get) if name.is_empty() => Route::Console,
        (Handler::Console, Method::Get) => Route::ConsoleFile(name.into_owned()),
        (Handler::Docs, Method::Get) if name.is_empty() => Route::Docs,
        (Handler::Docs, Method::Get) => Route::DocsFile(name.into_owned()),
        (Handler::OpenApi, Method::Get) => Route::OpenApi,
        (Handler::Status, Method::Get) => Route::Status,
        (Handler::Ready, Method::Get) => Route::Ready,
        (Handler::Products, Method::Get) => Route::ListProducts,
        (Handler::Products, Method::Post) => Route::CreateProduct,
        (Handler::Product, Method::Get) => Route::GetProduct(name.into_owned()),
        (Handler::Product, Method::Delete) => Route::DeleteProduct(name.into_owned()),
        (Handler::ProtectedAction, Method::Post) => Route::ProtectedAction,
        (Handler::Metrics, Method::Get) => Route::Metrics,
        (
            _,
            Method::Get
            | Method::Head
            | Method::Post
            | Method::Put
            | Method::Patch
            | Method::Delete
            | Method::Query
            | Method::Trace
            | Method::Connect,
        ) => Route::MethodNotAllowed,
    };
    (handler, route)
}

/// The query of a target, without its `?`; empty when there is none.
#[must_use]
pub fn query(target: &str) -> &str {
    target.split_once('?').map_or("", |(_, query)| query)
}

/// The path of a target in origin form or absolute form (RFC 9112, section 3.2), still percent-encoded.
#[must_use]
pub fn path(target: &str) -> &str {
    let end = target.find(['?', '#']).unwrap_or(target.len());
    let before_query = &target[..end];
    if before_query.starts_with('/') {
        return before_query;
    }
    match before_query.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => before_query,
    }
}

/// The resource, and what the path names within it: a product's id, a page's file.
fn resource(path: &str) -> (Handler, Cow<'_, str>) {
    // The common case first: nothing to decode.
    let handler = match path {
        "/api/status" => Handler::Status,
        "/api/ready" => Handler::Ready,
        "/api/products" => Handler::Products,
        "/api/protected-action" => Handler::ProtectedAction,
        "/metrics" => Handler::Metrics,
        "/" => Handler::Root,
        _ => return decoded_resource(path),
    };
    (handler, Cow::Borrowed(""))
}

fn decoded_resource(path: &str) -> (Handler, Cow<'_, str>) {
    let nothing = (Handler::None, Cow::Borrowed(""));
    let Some(path) = path.strip_prefix('/') else { return nothing };
    // Split before decoding: an encoded slash is part of a segment, not the end of one.
    let mut segments = path.strip_suffix('/').unwrap_or(path).split('/').map(percent_decoded);
    let found = [(); 4].map(|()| segments.next());
    match found.each_ref().map(Option::as_deref) {
        [Some("console"), None, None, None] => (Handler::Console, Cow::Borrowed("")),
        [Some("docs"), None, None, None] => (Handler::Docs, Cow::Borrowed("")),
        [Some("openapi.json"), None, None, None] => (Handler::OpenApi, Cow::Borrowed("")),
        [Some("api"), Some("status"), None, None] => (Handler::Status, Cow::Borrowed("")),
        [Some("api"), Some("ready"), None, None] => (Handler::Ready, Cow::Borrowed("")),
        [Some("api"), Some("products"), None, None] => (Handler::Products, Cow::Borrowed("")),
        [Some("api"), Some("protected-action"), None, None] => (Handler::ProtectedAction, Cow::Borrowed("")),
        [Some("metrics"), None, None, None] => (Handler::Metrics, Cow::Borrowed("")),
        [Some(page @ ("console" | "docs")), Some(file), None, None] if !file.is_empty() => {
            let handler = if page == "docs" { Handler::Docs } else { Handler::Console };
            let [_, file, ..] = found;
            (handler, file.unwrap_or_default())
        }
        [Some("api"), Some("products"), Some(id), None] if !id.is_empty() => {
            let [_, _, id, _] = found;
            (Handler::Product, id.unwrap_or_default())
        }
        _ => nothing,
    }
}

/// Decodes `%XX` (RFC 3986, section 2.1); what is no valid escape, or no UTF-8 afterwards, stays as it was.
#[must_use]
pub fn percent_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let hex =
        |at: usize| bytes.get(at).and_then(|&b| char::from(b).to_digit(16)).and_then(|digit| u8::try_from(digit).ok());
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(high << 4 | low);
                at += 3;
            }
            (byte, _, _) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).map_or(Cow::Borrowed(text), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, target: &str) -> (Handler, Route) {
        route(Method::parse(method), target)
    }

    #[test]
    fn the_table_of_the_api() {
        let id = || "42".to_owned();
        let cases = [
            ("GET", "/", Handler::Root, Route::Root),
            ("GET", "/console", Handler::Console, Route::Console),
            ("GET", "/console/", Handler::Console, Route::Console),
            ("GET", "/console/console.js", Handler::Console, Route::ConsoleFile("console.js".to_owned())),
            ("HEAD", "/docs", Handler::Docs, Route::Docs),
            ("GET", "/docs/docs.css?v=1", Handler::Docs, Route::DocsFile("docs.css".to_owned())),
            ("GET", "/openapi.json", Handler::OpenApi, Route::OpenApi),
            ("POST", "/docs", Handler::Docs, Route::MethodNotAllowed),
            ("GET", "/api/status", Handler::Status, Route::Status),
            ("HEAD", "/api/status", Handler::Status, Route::Status),
            ("GET", "/api/ready", Handler::Ready, Route::Ready),
            ("GET", "/api/products", Handler::Products, Route::ListProducts),
            ("POST", "/api/products", Handler::Products, Route::CreateProduct),
            ("GET", "/api/products/42", Handler::Product, Route::GetProduct(id())),
            ("HEAD", "/api/products/42", Handler::Product, Route::GetProduct(id())),
            ("DELETE", "/api/products/42", Handler::Product, Route::DeleteProduct(id())),
            ("POST", "/api/protected-action", Handler::ProtectedAction, Route::ProtectedAction),
            ("GET", "/metrics", Handler::Metrics, Route::Metrics),
            ("OPTIONS", "/api/products/42", Handler::Product, Route::Options),
            ("OPTIONS", "*", Handler::None, Route::Options),
            ("PUT", "/api/products", Handler::Products, Route::MethodNotAllowed),
            ("QUERY", "/api/products", Handler::Products, Route::MethodNotAllowed),
            ("TRACE", "/api/status", Handler::Status, Route::MethodNotAllowed),
            ("HEAD", "/api/protected-action", Handler::ProtectedAction, Route::MethodNotAllowed),
            ("BREW", "/api/status", Handler::Status, Route::MethodUnknown),
            ("get", "/api/status", Handler::Status, Route::MethodUnknown),
            ("GET", "/nowhere", Handler::None, Route::NotFound),
            ("OPTIONS", "/nowhere", Handler::None, Route::NotFound),
        ];
        for (method, target, handler, route) in cases {
            assert_eq!(of(method, target), (handler, route), "{method} {target}");
        }
    }

    #[test]
    fn one_resource_has_many_spellings() {
        for target in [
            "/api/status/",
            "/api/status?",
            "/api/status?x=/api/ready",
            "/api/status/?a=b&c",
            "/%61pi/%73tatus",
            "/api/stat%75s/",
            "http://example.org/api/status",
            "http://example.org:80/api/status/?q",
        ] {
            assert_eq!(of("GET", target), (Handler::Status, Route::Status), "{target}");
        }
    }

    #[test]
    fn an_absolute_target_without_a_path_is_the_root() {
        for target in ["http://example.org", "http://example.org/", "http://example.org?q", "/?q"] {
            assert_eq!(of("GET", target), (Handler::Root, Route::Root), "{target}");
        }
    }

    #[test]
    fn what_is_not_a_resource_is_not_found() {
        for target in [
            "",
            "//",
            "/console//",
            "/docs/a/b",
            "/openapi.json/x",
            "/api",
            "/api/",
            "/api//status",
            "/api/status//",
            "/api/statuss",
            "/api/products//",
            "/api/products/1/2",
            "/api%2Fstatus",
            "/API/status",
            "/api/%zztatus",
            "/api/status%",
            "/api/%ff",
            "api/status",
            "*",
            "/metrics/x",
        ] {
            assert_eq!(of("GET", target), (Handler::None, Route::NotFound), "{target}");
        }
    }

    #[test]
    fn an_encoded_slash_stays_within_its_segment() {
        assert_eq!(of("GET", "/api/products/a%2Fb"), (Handler::Product, Route::GetProduct("a/b".to_owned())));
    }

    #[test]
    fn allow_lists_just_the_methods_that_are_routed() {
        for handler in Handler::ALL {
            let names: Vec<_> = handler.methods().iter().map(|method| method.as_str()).collect();
            if handler != Handler::None {
                assert_eq!(handler.allow(), names.join(", "));
            }
        }
        let paths = [
            "/",
            "/console",
            "/console/x",
            "/docs",
            "/docs/x",
            "/openapi.json",
            "/api/status",
            "/api/ready",
            "/api/products",
            "/api/products/1",
            "/api/protected-action",
            "/metrics",
        ];
        for (path, method) in paths.into_iter().flat_map(|path| Method::ALL.map(|method| (path, method))) {
            let (handler, route) = route(method, path);
            let refused = matches!(route, Route::MethodNotAllowed | Route::MethodUnknown);
            assert_eq!(refused, !handler.methods().contains(&method), "{method:?} {path}");
        }
    }

    #[test]
    fn the_query_is_what_follows_the_first_question_mark() {
        assert_eq!(query("/api/products?limit=1&after=?"), "limit=1&after=?");
        assert_eq!(query("/api/products"), "");
    }
}
