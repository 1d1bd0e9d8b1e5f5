//! Header fields in the bytes of a head that was found valid.

use memchr::memchr;

use crate::header::trim_ows;

/// Names and values in order. Lines without a colon end it: a valid head has none but the empty line.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Reads the lines of `bytes`, which begin after the request line.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The first value of `name`, in whatever case.
    pub(crate) fn find(mut self, name: &[u8]) -> Option<&'a [u8]> {
        Iterator::find(&mut self, |field| field.0.eq_ignore_ascii_case(name)).map(|field| field.1)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let end = memchr(b'\n', self.0)?;
        let (line, rest) = (&self.0[..end], &self.0[end + 1..]);
        let colon = memchr(b':', line)?;
        self.0 = rest;
        let value = line[colon + 1..].strip_suffix(b"\r").unwrap_or(&line[colon + 1..]);
        Some((&line[..colon], trim_ows(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_name_and_the_body_is_not_looked_at() {
        let fields = Fields::new(b"Host: a\r\nX-Empty:\r\nx-two:  b c \t\r\n\r\nNot: a field\r\n");
        assert_eq!(fields.clone().count(), 3);
        assert_eq!(fields.clone().find(b"X-Two"), Some(&b"b c"[..]));
        assert_eq!(fields.clone().find(b"x-empty"), Some(&b""[..]));
        assert_eq!(fields.find(b"not"), None);
    }
}
