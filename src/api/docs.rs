//! `/openapi.json`: the API, described for programs (`OpenAPI` 3.1). `/docs`: the same for people, in Swagger UI, with no
//! network needed.
//!
//! A build without the feature `docs` has neither, and [`INCLUDED`] says so.

use crate::api::assets::Asset;
use crate::exchange::{Exchange, Reply};
use crate::problem;

/// Whether this build has the documentation in it.
pub const INCLUDED: bool = cfg!(feature = "docs");

/// Scripts, styles and requests of this origin; nobody may frame the page. Swagger UI's style sheet has its icons within.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[cfg(feature = "docs")]
mod embedded {
    use crate::api::assets::{Asset, CSS, HTML, JAVASCRIPT, asset};

    pub(super) static DESCRIPTION: Option<Asset> = Some(asset!("docs", "openapi.json", "application/json"));
    pub(super) static PAGE: Option<Asset> = Some(asset!("docs", "index.html", HTML));
    pub(super) static FILES: &[Asset] = &[
        asset!("docs", "docs.css", CSS),
        asset!("docs", "docs.js", JAVASCRIPT),
        asset!("docs", "swagger-ui.css", CSS),
        asset!("docs", "swagger-ui-bundle.js", JAVASCRIPT),
    ];
}

#[cfg(not(feature = "docs"))]
mod embedded {
    use crate::api::assets::Asset;

    pub(super) static DESCRIPTION: Option<Asset> = None;
    pub(super) static PAGE: Option<Asset> = None;
    pub(super) static FILES: &[Asset] = &[];
}

/// 200 and the description of the API, or 304.
pub fn description<E: Exchange>(exchange: &E) -> Reply {
    found(embedded::DESCRIPTION.as_ref(), exchange)
}

/// 200 and the page, or 304.
pub fn page<E: Exchange>(exchange: &E) -> Reply {
    found(embedded::PAGE.as_ref(), exchange)
        .with("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        .with("Referrer-Policy", "no-referrer")
}

/// 200 and one of the page's files, 304, or 404.
pub fn file<E: Exchange>(exchange: &E, name: &str) -> Reply {
    found(embedded::FILES.iter().find(|file| file.name == name), exchange)
}

fn found<E: Exchange>(asset: Option<&Asset>, exchange: &E) -> Reply {
    asset.map_or_else(problem::not_found, |asset| asset.reply(exchange))
}
