//! `/`: where to go from here; and which pages there are at all.

use std::fmt::Write as _;

use crate::api::assets::accepts;
use crate::api::{console, docs};
use crate::exchange::{Body, Exchange, Reply};
use crate::route::{Handler, Route};

/// The pages for people, each of which can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pages {
    console: bool,
    docs: bool,
}

impl Pages {
    /// The pages that are wanted, as far as this build has them.
    #[must_use]
    pub fn new(console: bool, docs: bool) -> Self {
        Self { console, docs: docs && docs::INCLUDED }
    }

    /// What is asked for, unless it belongs to a page that is left out: that is not found.
    #[must_use]
    pub fn admit(self, asked: (Handler, Route)) -> (Handler, Route) {
        let there = match asked.0 {
            Handler::Console => self.console,
            Handler::Docs | Handler::OpenApi => self.docs,
            Handler::Root
            | Handler::Status
            | Handler::Ready
            | Handler::Products
            | Handler::Product
            | Handler::ProtectedAction
            | Handler::Metrics
            | Handler::None => true,
        };
        if there {
            return asked;
        }
        // Unknown methods are told so everywhere, also where nothing is.
        let route = if asked.1 == Route::MethodUnknown { Route::MethodUnknown } else { Route::NotFound };
        (Handler::None, route)
    }
}

/// 200: the console to a browser, to anybody else a few lines of plain text.
pub fn root<E: Exchange>(exchange: &E, pages: Pages) -> Reply {
    if pages.console && accepts(exchange.header_values("accept"), "text/html") {
        return console::page_chosen_by_accept(exchange);
    }
    Reply::new(200, "text/plain; charset=utf-8", Body::Owned(links(pages).into_bytes()))
        .with("Cache-Control", "no-cache")
        .with("Vary", "Accept, Accept-Encoding")
}

fn links(pages: Pages) -> String {
    let mut text = concat!("Tollgate ", env!("CARGO_PKG_VERSION"), "\n\n").to_owned();
    let mut link = |path: &str, what: &str| {
        let _infallible = writeln!(text, "  {path:<23} {what}");
    };
    if pages.console {
        link("/console", "watch it work and try it, in a browser");
    }
    if pages.docs {
        link("/docs", "the API, to read and to try, in a browser");
        link("/openapi.json", "the same for programs (OpenAPI 3.1)");
    }
    link("/api/protected-action", "POST any JSON: takes a token, 429 when there is none");
    link("/api/products", "GET lists, POST creates");
    link("/api/status", "is it alive");
    link("/api/ready", "can it work");
    link("/metrics", "for Prometheus");
    text.push_str("\nDrain a bucket: curl -i --json '{\"hello\":1}' HOST/api/protected-action, again and again\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_left_out_is_not_linked_and_not_found() {
        let nothing = (Handler::None, Route::NotFound);
        let pages = Pages::new(false, false);
        for path in ["/console", "/docs", "/openapi.json"] {
            assert!(!links(pages).contains(path), "{path}");
        }
        assert_eq!(pages.admit((Handler::Console, Route::Console)), nothing);
        assert_eq!(pages.admit((Handler::Docs, Route::MethodNotAllowed)), nothing);
        assert_eq!(pages.admit((Handler::OpenApi, Route::OpenApi)), nothing);
        assert_eq!(pages.admit((Handler::Root, Route::Root)), (Handler::Root, Route::Root));
        assert_eq!(pages.admit((Handler::Docs, Route::MethodUnknown)), (Handler::None, Route::MethodUnknown));
    }

    #[test]
    fn the_documentation_is_there_if_it_is_wanted_and_built_in() {
        assert_eq!(links(Pages::new(true, true)).contains("/docs"), docs::INCLUDED);
        assert!(links(Pages::new(true, true)).contains("/console"));
    }
}
