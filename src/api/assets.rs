//! Files that are part of the program: kept compressed, sent compressed to whoever takes that, and not sent again to
//! whoever has them.
//!
//! Invariants: an entity tag stands for one sequence of bytes, so the compressed and the plain form have one each; only an
//! address that names the version it wants may be kept for long. What it never does: read a file.

use std::io::Read as _;

use flate2::read::GzDecoder;

use crate::api::entity_tag::is_named_by;
use crate::exchange::{Body, Exchange, Reply};
use crate::route::query;

/// A year, the longest time a cache may be asked for in good faith, and no question in between (RFC 8246).
const FOR_GOOD: &str = "public, max-age=31536000, immutable";
/// Kept, but asked about each time.
const ASK_FIRST: &str = "no-cache";

/// An embedded file.
#[derive(Debug)]
pub(crate) struct Asset {
    /// The last segment of its address.
    pub(crate) name: &'static str,
    /// Its media type.
    pub(crate) content_type: &'static str,
    /// Its content, a gzip member (RFC 1952).
    pub(crate) gzip: &'static [u8],
}

/// The [`Asset`] that the build made of a file: its folder, its name, its media type.
macro_rules! asset {
    ($folder:literal, $name:literal, $content_type:expr) => {
        $crate::api::assets::Asset {
            name: $name,
            content_type: $content_type,
            gzip: include_bytes!(concat!(env!("OUT_DIR"), "/", $folder, "/", $name, ".gz")),
        }
    };
}
pub(crate) use asset;

pub(crate) const HTML: &str = "text/html; charset=utf-8";
pub(crate) const CSS: &str = "text/css; charset=utf-8";
pub(crate) const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
pub(crate) const SVG: &str = "image/svg+xml";

impl Asset {
    /// 200 and the file, or 304 when the client has it.
    pub(crate) fn reply<E: Exchange>(&self, exchange: &E) -> Reply {
        self.reply_varying(exchange, "Accept-Encoding")
    }

    /// The same, where more than the encoding was chosen: `vary` names the fields that had a say.
    pub(crate) fn reply_varying<E: Exchange>(&self, exchange: &E, vary: &'static str) -> Reply {
        let compressed = accepts_gzip(exchange.header_values("accept-encoding"));
        let version = self.version();
        let tag = if compressed { format!("\"{version:08x}-gzip\"") } else { format!("\"{version:08x}\"") };
        let caching = if query(exchange.target()) == format!("v={version:08x}") { FOR_GOOD } else { ASK_FIRST };
        let reply = if exchange.header_values("if-none-match").any(|tags| is_named_by(&tag, tags)) {
            Reply::empty(304)
        } else if compressed {
            Reply::new(200, self.content_type, Body::Static(self.gzip)).with("Content-Encoding", "gzip")
        } else {
            Reply::new(200, self.content_type, Body::Owned(self.plain()))
        };
        reply.with("ETag", tag).with("Cache-Control", caching).with("Vary", vary)
    }

    /// The CRC-32 of the plain content, out of the gzip member's trailer (RFC 1952, section 2.3.1).
    fn version(&self) -> u32 {
        let trailer = self.gzip.last_chunk::<8>().map_or([0; 4], |&[a, b, c, d, ..]| [a, b, c, d]);
        u32::from_le_bytes(trailer)
    }

    fn plain(&self) -> Vec<u8> {
        let mut plain = Vec::new();
        GzDecoder::new(self.gzip)
            .read_to_end(&mut plain)
            .expect("the build compressed it, and memory takes all that is written");
        plain
    }
}

/// Whether a client takes gzip, by its `Accept-Encoding` (RFC 9110, section 12.5.3).
fn accepts_gzip<'v>(values: impl Iterator<Item = &'v [u8]>) -> bool {
    let codings = values.filter_map(|value| std::str::from_utf8(value).ok()).flat_map(|value| value.split(','));
    let (mut named, mut any) = (None, None);
    for (coding, wanted) in codings.map(preference) {
        if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
            named = Some(wanted);
        } else if coding == "*" {
            any = Some(wanted);
        }
    }
    named.or(any).unwrap_or(false)
}

/// Whether a client wants this media type, spelled out, by its `Accept` (RFC 9110, section 12.5.1).
pub(crate) fn accepts<'v>(values: impl Iterator<Item = &'v [u8]>, media_type: &str) -> bool {
    let ranges = values.filter_map(|value| std::str::from_utf8(value).ok()).flat_map(|value| value.split(','));
    ranges.map(preference).any(|(range, wanted)| wanted && range.eq_ignore_ascii_case(media_type))
}

/// One item of a list of preferences, and whether it is wanted at all: its weight is not zero.
fn preference(item: &str) -> (&str, bool) {
    let mut parts = item.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    (name, weight.is_none_or(|weight| weight.parse().is_ok_and(|weight: f32| weight > 0.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<'v>(values: &'v [&'v str]) -> impl Iterator<Item = &'v [u8]> {
        values.iter().map(|value| value.as_bytes())
    }

    #[test]
    fn gzip_goes_to_whoever_names_it_or_takes_anything_and_to_nobody_else() {
        for yes in ["gzip", "GZIP", "x-gzip", "br, gzip;q=0.5", "*", "gzip, deflate, br, zstd", "identity;q=0, *;q=0.1"]
        {
            assert!(accepts_gzip(of(&[yes])), "{yes}");
        }
        for no in ["", "br", "gzip;q=0", "gzip; q=0.000", "*, gzip;q=0", "identity", "gzipped", "gzip;q=high"] {
            assert!(!accepts_gzip(of(&[no])), "{no}");
        }
        assert!(accepts_gzip(of(&["br", "gzip"])));
        assert!(!accepts_gzip(of(&[])));
    }

    #[test]
    fn a_media_type_is_wanted_when_it_is_spelled_out() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        for yes in [browser, "text/html", "TEXT/HTML;q=0.1", "text/plain, text/html"] {
            assert!(accepts(of(&[yes]), "text/html"), "{yes}");
        }
        for no in ["*/*", "", "text/*", "text/html;q=0", "text/plain", "application/json"] {
            assert!(!accepts(of(&[no]), "text/html"), "{no}");
        }
    }
}
