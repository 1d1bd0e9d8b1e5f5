//! Status codes and their phrases.

use std::cmp::Ordering;

/// The status code of a response (RFC 9110, section 15).
#[derive(Eq, PartialEq, Copy, Clone, Debug, Ord, PartialOrd)]
pub struct StatusCode(pub u16);

/// Codes with their phrases, ascending.
const PHRASES: &[(u16, &str)] = &[
    (100, "Continue"),
    (101, "Switching Protocols"),
    (102, "Processing"),
    (103, "Early Hints"),
    (200, "OK"),
    (201, "Created"),
    (202, "Accepted"),
    (203, "Non-Authoritative Information"),
    (204, "No Content"),
    (205, "Reset Content"),
    (206, "Partial Content"),
    (207, "Multi-Status"),
    (208, "Already Reported"),
    (226, "IM Used"),
    (300, "Multiple Choices"),
    (301, "Moved Permanently"),
    (302, "Found"),
    (303, "See Other"),
    (304, "Not Modified"),
    (305, "Use Proxy"),
    (307, "Temporary Redirect"),
    (308, "Permanent Redirect"),
    (400, "Bad Request"),
    (401, "Unauthorized"),
    (402, "Payment Required"),
    (403, "Forbidden"),
    (404, "Not Found"),
    (405, "Method Not Allowed"),
    (406, "Not Acceptable"),
    (407, "Proxy Authentication Required"),
    (408, "Request Timeout"),
    (409, "Conflict"),
    (410, "Gone"),
    (411, "Length Required"),
    (412, "Precondition Failed"),
    (413, "Content Too Large"),
    (414, "URI Too Long"),
    (415, "Unsupported Media Type"),
    (416, "Range Not Satisfiable"),
    (417, "Expectation Failed"),
    (421, "Misdirected Request"),
    (422, "Unprocessable Content"),
    (423, "Locked"),
    (424, "Failed Dependency"),
    (426, "Upgrade Required"),
    (428, "Precondition Required"),
    (429, "Too Many Requests"),
    (431, "Request Header Fields Too Large"),
    (451, "Unavailable For Legal Reasons"),
    (500, "Internal Server Error"),
    (501, "Not Implemented"),
    (502, "Bad Gateway"),
    (503, "Service Unavailable"),
    (504, "Gateway Timeout"),
    (505, "HTTP Version Not Supported"),
    (506, "Variant Also Negotiates"),
    (507, "Insufficient Storage"),
    (508, "Loop Detected"),
    (510, "Not Extended"),
    (511, "Network Authentication Required"),
];

impl StatusCode {
    /// The phrase that goes with the code in a status line; `"Unknown"` for a code that has none.
    #[must_use]
    pub fn default_reason_phrase(&self) -> &'static str {
        match self.0 {
            200 => "OK",
            code => PHRASES.binary_search_by_key(&code, |entry| entry.0).map_or("Unknown", |at| PHRASES[at].1),
        }
    }

    /// Whether a response of this code ends after its head, whatever its header fields say (RFC 9112, section 6.3).
    pub(crate) fn is_bodiless(self) -> bool {
        matches!(self.0, 100..=199 | 204 | 304)
    }

    /// Whether a response of this code, given so many bytes of body, says nothing about a length (RFC 9110, section 8.6). In
    /// a 304 it would be the length of what was not sent, which is not nothing.
    pub(crate) fn is_lengthless(self, body_len: usize) -> bool {
        matches!(self.0, 100..=199 | 204) || self.0 == 304 && body_len == 0
    }
}

macro_rules! from_integer {
    ($($integer:ty),*) => {$(
        impl From<$integer> for StatusCode {
            /// Converts as `as u16` does.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_lossless)]
            fn from(code: $integer) -> StatusCode {
                StatusCode(code as u16)
            }
        }
    )*};
}

from_integer!(i8, u8, i16, u16, i32, u32);

impl AsRef<u16> for StatusCode {
    fn as_ref(&self) -> &u16 {
        &self.0
    }
}

impl PartialEq<u16> for StatusCode {
    fn eq(&self, other: &u16) -> bool {
        self.0 == *other
    }
}

impl PartialEq<StatusCode> for u16 {
    fn eq(&self, other: &StatusCode) -> bool {
        *self == other.0
    }
}

impl PartialOrd<u16> for StatusCode {
    fn partial_cmp(&self, other: &u16) -> Option<Ordering> {
        self.0.partial_cmp(other)
    }
}

impl PartialOrd<StatusCode> for u16 {
    fn partial_cmp(&self, other: &StatusCode) -> Option<Ordering> {
        self.partial_cmp(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_are_sorted_so_that_each_is_found() {
        assert!(PHRASES.is_sorted_by(|a, b| a.0 < b.0));
        for (code, phrase) in PHRASES {
            assert_eq!(StatusCode(*code).default_reason_phrase(), *phrase);
        }
        assert_eq!(StatusCode(299).default_reason_phrase(), "Unknown");
    }

    #[test]
    fn codes_compare_with_integers_on_either_side() {
        assert!(StatusCode(404) == 404 && 404 == StatusCode(404));
        assert!(StatusCode(404) < 500 && 200 < StatusCode(404));
        assert_eq!(StatusCode::from(-1_i32), StatusCode(u16::MAX));
    }
}
