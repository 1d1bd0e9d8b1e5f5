//! `/console`: one page that shows the server at work and lets a person try it, and the files the page is made of.
//!
//! The page asks `/metrics` and the API like anybody else; there is nothing here that it alone could see.

use crate::api::assets::{Asset, CSS, HTML, JAVASCRIPT, SVG, asset};
use crate::exchange::{Exchange, Reply};
use crate::problem;

/// Scripts, styles, images and requests of this origin, and nothing else; nobody may frame the page.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static PAGE: Asset = asset!("console", "index.html", HTML);

static FILES: [Asset; 7] = [
    asset!("console", "console.css", CSS),
    asset!("console", "console.js", JAVASCRIPT),
    asset!("console", "bucket.js", JAVASCRIPT),
    asset!("console", "chart.js", JAVASCRIPT),
    asset!("console", "metrics.js", JAVASCRIPT),
    asset!("console", "products.js", JAVASCRIPT),
    asset!("console", "icon.svg", SVG),
];

/// 200 and the page, or 304.
pub fn page<E: Exchange>(exchange: &E) -> Reply {
    guarded(PAGE.reply(exchange))
}

/// The page, chosen by what the client accepts over something else that stands at the same address.
pub(crate) fn page_chosen_by_accept<E: Exchange>(exchange: &E) -> Reply {
    guarded(PAGE.reply_varying(exchange, "Accept, Accept-Encoding"))
}

/// 200 and one of the page's files, 304, or 404.
pub fn file<E: Exchange>(exchange: &E, name: &str) -> Reply {
    FILES.iter().find(|file| file.name == name).map_or_else(problem::not_found, |file| file.reply(exchange))
}

fn guarded(reply: Reply) -> Reply {
    reply.with("Content-Security-Policy", CONTENT_SECURITY_POLICY).with("Referrer-Policy", "no-referrer")
}
