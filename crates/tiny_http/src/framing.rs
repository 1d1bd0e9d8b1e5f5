//! Where a body ends: by length or by chunks. No I/O.

use crate::chunked::Chunked;
pub(crate) use crate::chunked::Piece;
use crate::head::Framing;
use crate::limits::Limits;
use crate::reject::{RejectReason, Rejection};

/// A body in the middle of being read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BodyDecoder {
    /// So many bytes are still to come.
    Length(u64),
    /// Chunks, and how much content they have given so far.
    Chunked(Chunked, u64),
}

impl From<Framing> for BodyDecoder {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunked::new(), 0),
        }
    }
}

impl BodyDecoder {
    pub(crate) fn is_done(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunked, _) => chunked.is_done(),
        }
    }

    /// How many bytes are certain to come yet.
    pub(crate) fn known_left(&self) -> u64 {
        match self {
            Self::Length(left) => *left,
            Self::Chunked(..) => 0,
        }
    }

    /// Reads on in `input`, up to the next content of at most `room` bytes.
    pub(crate) fn next(&mut self, input: &[u8], room: usize, limits: &Limits) -> Result<Piece, Rejection> {
        match self {
            Self::Length(0) => Ok(Piece::End(0)),
            Self::Length(_) if input.is_empty() => Ok(Piece::More),
            Self::Length(left) => {
                let len = input.len().min(room).min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= len as u64;
                Ok(Piece::Data(0..len))
            }
            Self::Chunked(chunked, content) => {
                let piece = chunked.next(input, room, limits)?;
                if let Piece::Data(range) = &piece {
                    *content += range.len() as u64;
                    if *content > limits.body_bytes {
                        return Err(BODY_TOO_LARGE);
                    }
                }
                Ok(piece)
            }
        }
    }
}

pub(crate) const BODY_TOO_LARGE: Rejection = Rejection::new(RejectReason::BodyTooLarge, "The body is too long.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_counted_down_and_what_follows_is_left() {
        let limits = Limits::default();
        let mut body = BodyDecoder::from(Framing::Length(5));
        assert_eq!(body.next(b"", 10, &limits), Ok(Piece::More));
        assert_eq!(body.next(b"hel", 10, &limits), Ok(Piece::Data(0..3)));
        assert_eq!(body.known_left(), 2);
        assert_eq!(body.next(b"loGET", 1, &limits), Ok(Piece::Data(0..1)));
        assert_eq!(body.next(b"oGET", 10, &limits), Ok(Piece::Data(0..1)));
        assert!(body.is_done());
        assert_eq!(body.next(b"GET", 10, &limits), Ok(Piece::End(0)));
    }

    #[test]
    fn chunks_may_not_add_up_to_more_than_the_limit() {
        let limits = Limits { body_bytes: 4, ..Limits::default() };
        let mut body = BodyDecoder::from(Framing::Chunked);
        assert_eq!(body.next(b"4\r\nabcd", 10, &limits), Ok(Piece::Data(3..7)));
        assert_eq!(body.next(b"\r\n1\r\ne", 10, &limits), Err(BODY_TOO_LARGE));
    }
}
