//! Methods and versions.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use ascii::AsciiString;

/// The method of a request (RFC 9110, section 9; `PATCH` from RFC 5789).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Method {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `DELETE`
    Delete,
    /// `CONNECT`
    Connect,
    /// `OPTIONS`
    Options,
    /// `TRACE`
    Trace,
    /// `PATCH`
    Patch,
    /// Any other, as the client spelled it: methods are case-sensitive.
    NonStandard(AsciiString),
}

impl Method {
    /// The method as it stands in a request line.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
            Self::NonStandard(name) => name.as_str(),
        }
    }
}

impl FromStr for Method {
    type Err = ();

    /// Knows the standard methods; takes any other ASCII text for one of its own.
    fn from_str(name: &str) -> Result<Self, ()> {
        Ok(match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            "CONNECT" => Self::Connect,
            "OPTIONS" => Self::Options,
            "TRACE" => Self::Trace,
            "PATCH" => Self::Patch,
            other => Self::NonStandard(AsciiString::from_ascii(other).map_err(|_| ())?),
        })
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An HTTP version, major and minor.
#[allow(clippy::upper_case_acronyms, reason = "the name is the published one")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HTTPVersion(pub u8, pub u8);

impl fmt::Display for HTTPVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl Ord for HTTPVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

impl PartialOrd for HTTPVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq<(u8, u8)> for HTTPVersion {
    fn eq(&self, other: &(u8, u8)) -> bool {
        (self.0, self.1) == *other
    }
}

impl PartialEq<HTTPVersion> for (u8, u8) {
    fn eq(&self, other: &HTTPVersion) -> bool {
        other == self
    }
}

impl PartialOrd<(u8, u8)> for HTTPVersion {
    fn partial_cmp(&self, other: &(u8, u8)) -> Option<Ordering> {
        Some((self.0, self.1).cmp(other))
    }
}

impl PartialOrd<HTTPVersion> for (u8, u8) {
    fn partial_cmp(&self, other: &HTTPVersion) -> Option<Ordering> {
        Some(self.cmp(&(other.0, other.1)))
    }
}

impl From<(u8, u8)> for HTTPVersion {
    fn from((major, minor): (u8, u8)) -> Self {
        Self(major, minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_what_it_prints() {
        for name in ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PURGE", "get"] {
            assert_eq!(name.parse::<Method>().unwrap().to_string(), name);
        }
        assert!(matches!("get".parse(), Ok(Method::NonStandard(_))));
        assert!("GÉT".parse::<Method>().is_err());
    }

    #[test]
    fn versions_are_ordered_by_major_then_minor() {
        assert!(HTTPVersion(1, 9) < HTTPVersion(2, 0));
        assert!(HTTPVersion(1, 0) < (1, 1) && (1, 0) < HTTPVersion(1, 1));
        assert_eq!(HTTPVersion::from((1, 1)).to_string(), "1.1");
    }
}
