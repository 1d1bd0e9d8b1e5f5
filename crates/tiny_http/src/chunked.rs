//! The chunked coding, read (RFC 9112, section 7.1). No I/O: bytes in, ranges of content out.
//!
//! ```text
//!              +--------------------------- DataEnd <---------+
//!              v                                               |
//!  Size -> SizeDigits -> Extension -> SizeLf -> Data ----------+
//!                                        |
//!                                        +-> TrailerStart <-> Trailer* -> EndLf -> Done
//! ```
//!
//! Extensions and trailers are checked, counted and dropped.

use std::ops::Range;

use crate::header::is_token_byte;
use crate::limits::Limits;
use crate::reject::{RejectReason, Rejection};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first digit of a size.
    Size,
    SizeDigits,
    /// White space that must lead to an extension.
    ExtensionSpace,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

impl State {
    /// What is wrong with a byte that has no place here.
    fn complaint(self) -> &'static str {
        match self {
            Self::Size | Self::SizeDigits | Self::ExtensionSpace => "A chunk has no valid size.",
            Self::Extension | Self::SizeLf => "A chunk extension is malformed.",
            Self::Data | Self::DataCr | Self::DataLf => "A chunk is longer than its size.",
            Self::TrailerStart
            | Self::TrailerName
            | Self::TrailerValue
            | Self::TrailerLf
            | Self::EndLf
            | Self::Done => "A trailer is malformed.",
        }
    }
}

/// A decoder in the middle of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunked {
    state: State,
    /// The size being read, then what is left of the chunk.
    size: u64,
    digits: u8,
    extension_bytes: usize,
    trailer_bytes: usize,
}

/// What a decoder made of its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Content, at this place of the input; what follows it was not looked at.
    Data(Range<usize>),
    /// All of the input was taken and held no content.
    More,
    /// The body ended before this byte of the input.
    End(usize),
}

/// Enough for any `u64`.
const MAX_DIGITS: u8 = 16;

const fn bad_chunk(detail: &'static str) -> Rejection {
    Rejection::new(RejectReason::Chunk, detail)
}

impl Chunked {
    pub(crate) const fn new() -> Self {
        Self { state: State::Size, size: 0, digits: 0, extension_bytes: 0, trailer_bytes: 0 }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Reads on in `input`, up to the next content of at most `room` bytes.
    pub(crate) fn next(&mut self, input: &[u8], room: usize, limits: &Limits) -> Result<Piece, Rejection> {
        let mut at = 0;
        while at < input.len() || self.state == State::Done {
            match self.state {
                State::Done => return Ok(Piece::End(at)),
                State::Data => {
                    let left = usize::try_from(self.size).unwrap_or(usize::MAX);
                    let len = left.min(room).min(input.len() - at);
                    self.size -= len as u64;
                    if self.size == 0 {
                        self.state = State::DataCr;
                    }
                    return Ok(Piece::Data(at..at + len));
                }
                _ => self.step(input[at], limits)?,
            }
            at += 1;
        }
        Ok(Piece::More)
    }

    /// Takes one byte that is not content.
    fn step(&mut self, byte: u8, limits: &Limits) -> Result<(), Rejection> {
        let is_text = matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        self.state = match (self.state, byte) {
            (State::Size | State::SizeDigits, _) if byte.is_ascii_hexdigit() => self.add_digit(byte)?,
            (State::SizeDigits | State::Extension, b'\r') => State::SizeLf,
            (State::SizeDigits | State::ExtensionSpace, b' ' | b'\t') => self.extend(State::ExtensionSpace, limits)?,
            (State::SizeDigits | State::ExtensionSpace, b';') => self.extend(State::Extension, limits)?,
            (State::Extension, _) if is_text => self.extend(State::Extension, limits)?,
            (State::SizeLf, b'\n') if self.size == 0 => State::TrailerStart,
            (State::SizeLf, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size,
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::TrailerStart | State::TrailerName, _) if is_token_byte(byte) => {
                self.trail(State::TrailerName, limits)?
            }
            (State::TrailerName, b':') => self.trail(State::TrailerValue, limits)?,
            (State::TrailerValue, b'\r') => self.trail(State::TrailerLf, limits)?,
            (State::TrailerValue, _) if is_text => self.trail(State::TrailerValue, limits)?,
            (State::TrailerLf, b'\n') => self.trail(State::TrailerStart, limits)?,
            (State::EndLf, b'\n') => State::Done,
            (state, _) => return Err(bad_chunk(state.complaint())),
        };
        Ok(())
    }

    fn add_digit(&mut self, byte: u8) -> Result<State, Rejection> {
        if self.state == State::Size {
            self.digits = 0;
            self.size = 0;
        }
        self.digits += 1;
        if self.digits > MAX_DIGITS {
            return Err(bad_chunk("The size of a chunk is too large."));
        }
        let value = match byte {
            b'0'..=b'9' => byte - b'0',
            _ => (byte | 0x20) - b'a' + 10,
        };
        self.size = self.size << 4 | u64::from(value);
        Ok(State::SizeDigits)
    }

    fn extend(&mut self, next: State, limits: &Limits) -> Result<State, Rejection> {
        self.extension_bytes += 1;
        if self.extension_bytes > limits.chunk_extension_bytes {
            return Err(bad_chunk("The chunk extensions are too long."));
        }
        Ok(next)
    }

    fn trail(&mut self, next: State, limits: &Limits) -> Result<State, Rejection> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > limits.trailer_bytes {
            return Err(Rejection::new(RejectReason::HeadTooLarge, "The trailers are too long."));
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Decoded = Result<Option<(Vec<u8>, usize)>, u16>;

    /// Content and bytes left over, or the status, of a body that comes in pieces of `step` bytes, read `room` at a time.
    fn decode(input: &[u8], step: usize, room: usize, limits: &Limits) -> Decoded {
        let mut decoder = Chunked::new();
        let (mut content, mut at) = (Vec::new(), 0);
        while at < input.len() {
            let end = (at + step).min(input.len());
            match decoder.next(&input[at..end], room, limits).map_err(|rejection| rejection.status.0)? {
                Piece::Data(range) => {
                    content.extend(&input[at..][range.clone()]);
                    at += range.end;
                }
                Piece::More => at = end,
                Piece::End(len) => return Ok(Some((content, input.len() - at - len))),
            }
        }
        Ok(decoder.is_done().then_some((content, 0)))
    }

    #[test]
    fn every_rule_holds_at_every_split() {
        let hello = |left| Ok(Some((b"hello".to_vec(), left)));
        let cases: &[(&[u8], Decoded)] = &[
            (b"5\r\nhello\r\n0\r\n\r\n", hello(0)),
            (b"5\r\nhello\r\n0\r\n\r\nGET", hello(3)),
            (b"2\r\nhe\r\n003\r\nllo\r\n000\r\n\r\n", hello(0)),
            (b"5;a=b;c=\"d\"\r\nhello\r\n0;e\r\n\r\n", hello(0)),
            (b"5 \t;a\r\nhello\r\n0\r\n\r\n", hello(0)),
            (b"5\r\nhello\r\n0\r\nA: b\r\nC:\r\n\r\n", hello(0)),
            (b"5\r\nhello\r\n0\r\n", Ok(None)),
            (b"5\r\nhel", Ok(None)),
            (b"\r\n", Err(400)),
            (b"5\nhello\r\n", Err(400)),
            (b"5\rhello\r\n", Err(400)),
            (b"5 \r\nhello\r\n", Err(400)),
            (b" 5\r\nhello\r\n", Err(400)),
            (b"-5\r\nhello\r\n", Err(400)),
            (b"+5\r\nhello\r\n", Err(400)),
            (b"0x5\r\nhello\r\n", Err(400)),
            (b"5_\r\nhello\r\n", Err(400)),
            (b"g\r\n", Err(400)),
            (b"5;a\nhello\r\n", Err(400)),
            (b"5;a\0\r\nhello\r\n", Err(400)),
            (b"5;a\rb\r\nhello\r\n", Err(400)),
            (b"5\r\nhelloX\r\n", Err(400)),
            (b"5\r\nhello\n0\r\n\r\n", Err(400)),
            (b"5\r\nhello\r0\r\n\r\n", Err(400)),
            (b"5\r\nhello0\r\n\r\n", Err(400)),
            (b"10000000000000000\r\n", Err(400)),
            (b"00000000000000005\r\n", Err(400)),
            (b"0\r\nno colon\r\n\r\n", Err(400)),
            (b"0\r\nA : b\r\n\r\n", Err(400)),
            (b"0\r\n A: b\r\n\r\n", Err(400)),
            (b"0\r\nA: b\n\r\n", Err(400)),
            (b"0\r\nA: b\r\n folded\r\n\r\n", Err(400)),
            (b"0\r\nA: \0\r\n\r\n", Err(400)),
            (b"0\r\n\n", Err(400)),
            (b"0\r\n\rx", Err(400)),
        ];
        let limits = Limits::default();
        for (input, expected) in cases {
            for step in 1..=input.len() {
                for room in [1, 2, usize::MAX] {
                    assert_eq!(
                        decode(input, step, room, &limits),
                        *expected,
                        "{} by {step}, {room}",
                        input.escape_ascii()
                    );
                }
            }
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded_to_the_byte() {
        let limits = Limits { chunk_extension_bytes: 10, trailer_bytes: 20, ..Limits::default() };
        let extended = |len: usize| format!("1;{}\r\na\r\n0\r\n\r\n", "e".repeat(len - 1));
        let spread = |len: usize| format!("1;{}\r\na\r\n0;e\r\n\r\n", "e".repeat(len - 3));
        let trailed = |len: usize| format!("1\r\na\r\n0\r\nt:{}\r\n\r\n", "e".repeat(len - 4));
        for (body, expected) in [
            (extended(9), Ok(())),
            (extended(10), Ok(())),
            (extended(11), Err(400)),
            (spread(10), Ok(())),
            (spread(11), Err(400)),
            (trailed(19), Ok(())),
            (trailed(20), Ok(())),
            (trailed(21), Err(431)),
        ] {
            assert_eq!(decode(body.as_bytes(), 3, 9, &limits).map(|_| ()), expected, "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_chunked_comes_back_in_any_pieces(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            step in 1_usize..50,
            room in 1_usize..50,
        ) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend(format!("{:x}\r\n", chunk.len()).bytes());
                body.extend(chunk);
                body.extend(b"\r\n");
            }
            body.extend(b"0\r\n\r\n");
            prop_assert_eq!(decode(&body, step, room, &Limits::default()), Ok(Some((chunks.concat(), 0))));
        }

        #[test]
        fn any_bytes_in_any_pieces_give_what_the_whole_gives(
            mut bytes in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'1'), Just(b'0'), Just(b';'), any::<u8>()], 0..40),
            step in 1_usize..10,
        ) {
            bytes.extend(b"\r\n0\r\n\r\n");
            let limits = Limits::default();
            prop_assert_eq!(decode(&bytes, step, 7, &limits), decode(&bytes, bytes.len(), usize::MAX, &limits));
        }
    }
}
