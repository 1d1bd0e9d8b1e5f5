//! The resources, one file each: from what was asked to the answer, without a word about connections.

pub(crate) mod assets;
pub mod console;
pub mod docs;
pub(crate) mod entity_tag;
pub mod metrics;
pub mod products;
pub mod protected_action;
pub mod root;
pub mod status;

use crate::exchange::{Exchange, Reply};
use crate::problem;

/// Reads a JSON body and hands it on; the ways in which there is none are answered here.
pub(crate) fn with_json_body<E: Exchange>(
    exchange: &mut E,
    max_body_bytes: usize,
    handle: impl FnOnce(&[u8]) -> Reply,
) -> Reply {
    if !says_json(exchange) {
        return problem::not_json();
    }
    let codings = exchange.header_values("content-encoding").flat_map(|codings| codings.split(|&byte| byte == b','));
    if !codings.map(<[u8]>::trim_ascii).all(|coding| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")) {
        return problem::encoded();
    }
    match exchange.body(max_body_bytes) {
        Ok(body) => handle(&body),
        Err(error) => problem::body_not_received(error, max_body_bytes),
    }
}

/// Whether the request's `Content-Type` is JSON's, or missing.
pub(crate) fn says_json<E: Exchange>(exchange: &E) -> bool {
    exchange.header("content-type").is_none_or(is_json)
}

/// Whether a media type is JSON: `application/json` or `application/*+json` (RFC 6839), with any parameters.
fn is_json(content_type: &[u8]) -> bool {
    let media_type = content_type.split(|&b| b == b';').next().unwrap_or_default().trim_ascii();
    if media_type.is_empty() {
        return true;
    }
    let Some(subtype) = media_type.get(12..).filter(|_| media_type[..12].eq_ignore_ascii_case(b"application/")) else {
        return false;
    };
    let ends_in_json = subtype.len() >= 5 && subtype[subtype.len() - 5..].eq_ignore_ascii_case(b"+json");
    subtype.eq_ignore_ascii_case(b"json") || ends_in_json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_is_json_by_name_or_by_suffix() {
        for json in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/problem+json",
            "application/vnd.x+JSON;v=1",
            "",
            " ",
        ] {
            assert!(is_json(json.as_bytes()), "{json:?}");
        }
        for other in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "text/json",
            "application/",
            "application/jsonx",
            "json",
            "application",
        ] {
            assert!(!is_json(other.as_bytes()), "{other:?}");
        }
    }
}
