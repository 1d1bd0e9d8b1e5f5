//! Entity tags, compared.

/// Whether an `If-None-Match` value names the tag; the comparison is weak (RFC 9110, section 13.1.2).
pub(crate) fn is_named_by(tag: &str, if_none_match: &[u8]) -> bool {
    if_none_match
        .split(|&b| b == b',')
        .map(<[u8]>::trim_ascii)
        .any(|each| each == b"*" || each.strip_prefix(b"W/").unwrap_or(each) == tag.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_recognised_among_others_weak_or_strong_or_as_any() {
        for tags in ["\"a-1\"", "W/\"a-1\"", "\"b\", \"a-1\" , \"c\"", "*"] {
            assert!(is_named_by("\"a-1\"", tags.as_bytes()), "{tags}");
        }
        for tags in ["\"a-2\"", "a-1", ""] {
            assert!(!is_named_by("\"a-1\"", tags.as_bytes()), "{tags}");
        }
    }
}
