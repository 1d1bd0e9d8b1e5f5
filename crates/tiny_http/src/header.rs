//! Header fields as owned values, and what may stand in one.

use std::fmt;
use std::str::FromStr;

use ascii::{AsciiStr, AsciiString, FromAsciiError};

/// One header field of a request or a response.
#[derive(Debug, Clone)]
pub struct Header {
    /// Its name.
    pub field: HeaderField,
    /// Its value, without the white space around it.
    pub value: AsciiString,
}

impl Header {
    /// Builds a field from its name and value.
    ///
    /// # Errors
    /// If the name is no token, or the value is not ASCII or holds CR, LF or NUL (RFC 9110, section 5.5): in a response
    /// those would begin a field, or a body, that nobody meant to send.
    #[allow(clippy::result_unit_err, reason = "the signature is the published one")]
    pub fn from_bytes<B1, B2>(header: B1, value: B2) -> Result<Self, ()>
    where
        B1: Into<Vec<u8>> + AsRef<[u8]>,
        B2: Into<Vec<u8>> + AsRef<[u8]>,
    {
        if !is_token(header.as_ref()) || !is_safe_value(value.as_ref()) {
            return Err(());
        }
        Ok(Self {
            field: HeaderField::from_bytes(header).map_err(|_| ())?,
            value: AsciiString::from_ascii(value).map_err(|_| ())?,
        })
    }

    /// Whether the field can be written without becoming more than one: the fields are public and may hold anything.
    pub(crate) fn is_safe(&self) -> bool {
        is_token(self.field.as_str().as_bytes()) && is_safe_value(self.value.as_bytes())
    }
}

impl FromStr for Header {
    type Err = ();

    /// Splits at the first colon; white space around the value goes, white space in or around the name is an error.
    fn from_str(line: &str) -> Result<Self, ()> {
        let (name, value) = line.split_once(':').ok_or(())?;
        Self::from_bytes(name, value.trim())
    }
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.value)
    }
}

/// The name of a header field. Two that differ only in case are equal.
#[derive(Debug, Clone, Eq)]
pub struct HeaderField(AsciiString);

impl HeaderField {
    /// Builds a name.
    ///
    /// # Errors
    /// If it is not ASCII; the error gives the bytes back. What is ASCII but no token is refused by
    /// [`Header::from_bytes`] and left out of responses.
    pub fn from_bytes<B>(bytes: B) -> Result<Self, FromAsciiError<B>>
    where
        B: Into<Vec<u8>> + AsRef<[u8]>,
    {
        AsciiString::from_ascii(bytes).map(HeaderField)
    }

    /// The name as it was spelled.
    #[must_use]
    pub fn as_str(&self) -> &AsciiStr {
        &self.0
    }

    /// Whether this is `other`, in whatever case.
    #[must_use]
    pub fn equiv(&self, other: &'static str) -> bool {
        self.0.as_str().eq_ignore_ascii_case(other)
    }
}

impl FromStr for HeaderField {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        if name.contains(char::is_whitespace) {
            return Err(());
        }
        Self::from_bytes(name).map_err(|_| ())
    }
}

impl fmt::Display for HeaderField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl PartialEq for HeaderField {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str().eq_ignore_ascii_case(other.0.as_str())
    }
}

/// Whether `bytes` is a token (RFC 9110, section 5.6.2): what a method or a field name is made of.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

/// Whether `byte` may stand in a token.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    // A table: it is asked about every byte of every field name that is sent.
    const IN_TOKEN: [bool; 256] = {
        let (mut table, mut byte) = ([false; 256], 0_u8);
        while byte < 128 {
            table[byte as usize] = byte.is_ascii_alphanumeric()
                || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~');
            byte += 1;
        }
        table
    };
    IN_TOKEN[usize::from(byte)]
}

/// Whether `value` can be written as a field value without ending its line.
pub(crate) fn is_safe_value(value: &[u8]) -> bool {
    !value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

/// `value` without the optional white space around it (RFC 9110, section 5.6.3).
pub(crate) fn trim_ows(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// The elements of a comma-separated list, trimmed, empty ones left out (RFC 9110, section 5.6.1).
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim_ows).filter(|element| !element.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_would_end_its_line_is_refused() {
        for value in ["a\r\nSet-Cookie: x", "a\nb", "a\rb", "a\0b", "\r\n"] {
            assert!(Header::from_bytes("X-Test", value).is_err(), "{value:?}");
            assert!(!is_safe_value(value.as_bytes()));
        }
        assert!(Header::from_bytes("X-Test", "tab\tand space").is_ok());
    }

    #[test]
    fn a_name_that_is_no_token_is_refused() {
        for name in ["", "a b", "a:", "a\r\nb", "a\0", "(a)", "a/b", "é"] {
            assert!(Header::from_bytes(name, "v").is_err(), "{name:?}");
        }
        for name in ["Content-Type", "x", "!#$%&'*+-.^_`|~09AZaz"] {
            assert!(Header::from_bytes(name, "v").is_ok(), "{name:?}");
        }
    }

    #[test]
    fn a_line_is_split_at_its_first_colon() {
        let header: Header = "Time:  20: 34 ".parse().unwrap();
        assert!(header.field.equiv("time"));
        assert_eq!(header.value.as_str(), "20: 34");
        assert_eq!(header.to_string(), "Time: 20: 34");
        for line in ["no colon", "Name : v", " Name: v", "Na me: v", ": v", "Name: a\r\nb"] {
            assert!(line.parse::<Header>().is_err(), "{line:?}");
        }
    }

    #[test]
    fn names_are_equal_in_any_case() {
        let name: HeaderField = "Content-Length".parse().unwrap();
        assert_eq!(name, "content-length".parse().unwrap());
        assert_eq!(name.as_str().as_str(), "Content-Length");
    }

    #[test]
    fn a_list_is_split_at_its_commas() {
        let elements: Vec<_> = list(b"a, b ,,\tc").collect();
        assert_eq!(elements, [&b"a"[..], b"b", b"c"]);
    }
}
