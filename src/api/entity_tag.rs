//! Entity tags, compared.

/// Whether an `If-None-Match` value names the tag; the comparison is weak (RFC 9110, section 13.1.2).
pub(crate) fn is_named_by(tag: &str, if_none_match: &[u8]) -> bool {
    let mut rest = if_none_match.trim_ascii();
    if rest == b"*" {
        return true;
    }
    loop {
        // Commas and stars may stand inside a tag (section 8.8.3), so it is read from quote to quote.
        while let [b' ' | b'\t' | b',', more @ ..] = rest {
            rest = more;
        }
        rest = rest.strip_prefix(b"W/").unwrap_or(rest);
        let Some((b'"', opaque)) = rest.split_first() else { return false };
        let Some(end) = opaque.iter().position(|&byte| byte == b'"') else { return false };
        let (named, behind) = rest.split_at(end + 2);
        if named == tag.as_bytes() {
            return true;
        }
        let Some((b',', next)) = behind.trim_ascii_start().split_first() else { return false };
        rest = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_recognised_among_others_weak_or_strong_or_as_any() {
        for tags in
            ["\"a-1\"", "W/\"a-1\"", "\"b\", \"a-1\" , \"c\"", "\"x,y\",W/\"a-1\"", ",\"b\", ,\"a-1\",", "*", " * "]
        {
            assert!(is_named_by("\"a-1\"", tags.as_bytes()), "{tags}");
        }
        for tags in ["\"a-2\"", "a-1", "", "\"a,*,b\"", "\"b\", *", "\"b", "\"b\" \"a-1\"", "\"b\",\"\"a-1\"\""] {
            assert!(!is_named_by("\"a-1\"", tags.as_bytes()), "{tags}");
        }
    }
}
