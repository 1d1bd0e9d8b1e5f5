//! Header fields of a response as one reusable buffer.

use std::fmt;

use memchr::{memchr, memchr3};

use super::encode::put_field;
use crate::header::{is_safe_value, is_token};

/// Checked field lines, kept as they will be sent. Cleared and filled again it allocates nothing.
///
/// ```
/// let mut fields = tiny_http::FieldLines::new();
/// fields.push("Content-Type", b"application/json")?;
/// assert!(fields.push("Content-Length", b"5").is_err());
/// # Ok::<(), tiny_http::InvalidField>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldLines {
    bytes: Vec<u8>,
    has_server: bool,
    has_date: bool,
}

/// A field was refused by [`FieldLines::push`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidField {
    /// The name is no token (RFC 9110, section 5.1).
    Name,
    /// The value holds CR, LF or NUL (RFC 9110, section 5.5).
    Value,
    /// The engine writes this field itself: it says where the message ends or what becomes of the connection.
    Reserved,
}

impl fmt::Display for InvalidField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "the field name is not a token",
            Self::Value => "the field value holds CR, LF or NUL",
            Self::Reserved => "the field is written by the engine",
        })
    }
}

impl std::error::Error for InvalidField {}

const RESERVED: [&str; 5] = ["Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Trailer"];

impl FieldLines {
    /// No fields.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), has_server: false, has_date: false }
    }

    /// Appends a field.
    ///
    /// # Errors
    /// If the name or the value is invalid, or the field is the engine's to write.
    pub fn push(&mut self, name: &str, value: &[u8]) -> Result<(), InvalidField> {
        if !is_safe_value(value) {
            return Err(InvalidField::Value);
        }
        self.admit(name.as_bytes())?;
        put_field(&mut self.bytes, name.as_bytes(), value);
        Ok(())
    }

    /// Appends fields that are lines already, each a name, a colon, a value and CRLF: all of them, or none.
    ///
    /// # Errors
    /// If a line is not of that form, or a field would be refused by [`push`](Self::push).
    pub fn push_lines(&mut self, lines: &[u8]) -> Result<(), InvalidField> {
        let (has_server, has_date) = (self.has_server, self.has_date);
        let checked = self.check_lines(lines);
        if checked.is_ok() {
            self.bytes.extend_from_slice(lines);
        } else {
            (self.has_server, self.has_date) = (has_server, has_date);
        }
        checked
    }

    fn check_lines(&mut self, mut lines: &[u8]) -> Result<(), InvalidField> {
        while !lines.is_empty() {
            let colon = memchr(b':', lines).ok_or(InvalidField::Name)?;
            self.admit(&lines[..colon])?;
            let value = &lines[colon + 1..];
            let end = memchr3(b'\r', b'\n', 0, value).ok_or(InvalidField::Value)?;
            lines = value[end..].strip_prefix(b"\r\n").ok_or(InvalidField::Value)?;
        }
        Ok(())
    }

    /// Whether a field of this name may be sent; takes notice of those that the engine adds where they are missing.
    fn admit(&mut self, name: &[u8]) -> Result<(), InvalidField> {
        if !is_token(name) {
            return Err(InvalidField::Name);
        }
        if RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved.as_bytes())) {
            return Err(InvalidField::Reserved);
        }
        self.has_server |= name.eq_ignore_ascii_case(b"Server");
        self.has_date |= name.eq_ignore_ascii_case(b"Date");
        Ok(())
    }

    /// Appends all fields of `other`, which were checked when they were pushed there.
    pub fn extend(&mut self, other: &Self) {
        self.has_server |= other.has_server;
        self.has_date |= other.has_date;
        self.bytes.extend_from_slice(&other.bytes);
    }

    /// Takes all fields out and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.has_server = false;
        self.has_date = false;
    }

    /// The lines as they will be sent, each with its CRLF.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn has(&self, name: &'static str) -> bool {
        match name {
            "Server" => self.has_server,
            "Date" => self.has_date,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_change_the_message_is_refused() {
        let mut fields = FieldLines::new();
        for (name, value, why) in [
            ("X-Y", &b"a\r\nb"[..], InvalidField::Value),
            ("X-Y", b"a\nb", InvalidField::Value),
            ("X-Y", b"a\0b", InvalidField::Value),
            ("X Y", b"a", InvalidField::Name),
            ("", b"a", InvalidField::Name),
            ("X\r\n", b"a", InvalidField::Name),
            ("content-length", b"5", InvalidField::Reserved),
            ("TRANSFER-ENCODING", b"chunked", InvalidField::Reserved),
            ("Connection", b"close", InvalidField::Reserved),
        ] {
            assert_eq!(fields.push(name, value), Err(why), "{name}");
        }
        assert!(fields.as_bytes().is_empty());
    }

    #[test]
    fn lines_are_taken_all_or_none() {
        let mut fields = FieldLines::new();
        fields.push("A", b"b").unwrap();
        let before = fields.clone();
        for (lines, why) in [
            (&b"X: y"[..], InvalidField::Value),
            (b"X: y\n", InvalidField::Value),
            (b"X: y\rZ: 1\r\n", InvalidField::Value),
            (b"X: y\0\r\n", InvalidField::Value),
            (b"X: y\r\n\r\n", InvalidField::Name),
            (b"\r\n", InvalidField::Name),
            (b"X y: z\r\n", InvalidField::Name),
            (b"X\r\nY: z\r\n", InvalidField::Name),
            (b"X: y\r\n Y: folded\r\n", InvalidField::Name),
            (b"Date: x\r\nServer: x\r\nconnection: close\r\n", InvalidField::Reserved),
        ] {
            assert_eq!(fields.push_lines(lines), Err(why), "{}", lines.escape_ascii());
            assert_eq!(fields, before, "{}", lines.escape_ascii());
        }
        fields.push_lines(b"").unwrap();
        fields.push_lines(b"Date: today\r\nX: \r\nLocation: http://[::1]:80/\r\n").unwrap();
        assert_eq!(fields.as_bytes(), b"A: b\r\nDate: today\r\nX: \r\nLocation: http://[::1]:80/\r\n");
        assert!(fields.has("Date") && !fields.has("Server"));
    }

    #[test]
    fn fields_are_kept_as_they_are_sent() {
        let mut fields = FieldLines::new();
        fields.push("A", b"b").unwrap();
        let mut all = fields.clone();
        all.push("dAte", b"\xe9").unwrap();
        fields.extend(&all);
        assert_eq!(fields.as_bytes(), b"A: b\r\nA: b\r\ndAte: \xe9\r\n");
        assert!(fields.has("Date") && !fields.has("Server"));
        fields.clear();
        assert_eq!(fields, FieldLines::new());
    }
}
