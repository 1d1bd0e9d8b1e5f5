//! What the fuzzers drive: heads and bodies one after the other as a connection reads them, without a socket.
//!
//! Only with the feature `fuzzing`, and no part of the API.

use crate::framing::{BODY_TOO_LARGE, BodyDecoder, Piece};
use crate::head::{Fields, Framing, Head, HeadScan, empty_lines};
use crate::limits::Limits;
use crate::reject::Rejection;

/// What a client's bytes came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcript {
    /// Each request: its head's bytes and its body.
    pub requests: Vec<(Vec<u8>, Vec<u8>)>,
    /// The status it ended with, if it did.
    pub rejected: Option<u16>,
}

/// Small, so that few bytes reach them.
fn limits() -> Limits {
    Limits {
        request_line_bytes: 120,
        head_bytes: 400,
        headers: 8,
        body_bytes: 300,
        chunk_extension_bytes: 30,
        trailer_bytes: 60,
        ..Limits::default()
    }
}

enum Phase {
    Head(HeadScan),
    Body(BodyDecoder),
}

/// Reads `input` in pieces of the lengths that `cuts` gives, over and over; in one if there are none.
///
/// # Panics
/// If an invariant does not hold.
#[must_use]
pub fn read(input: &[u8], cuts: &[usize]) -> Transcript {
    let limits = limits();
    let mut transcript = Transcript { requests: Vec::new(), rejected: None };
    let (mut phase, mut kept, mut at) = (Phase::Head(HeadScan::default()), Vec::new(), 0);
    let mut lengths = cuts.iter().copied().filter(|len| *len > 0).cycle();
    while at < input.len() {
        let end = at.saturating_add(lengths.next().unwrap_or(usize::MAX)).min(input.len());
        kept.extend_from_slice(&input[at..end]);
        at = end;
        match advance(&mut phase, &kept, &limits, &mut transcript) {
            Ok(took) => drop(kept.drain(..took)),
            Err(rejection) => {
                transcript.rejected = Some(rejection.status.0);
                break;
            }
        }
    }
    transcript
}

fn advance(phase: &mut Phase, input: &[u8], limits: &Limits, transcript: &mut Transcript) -> Result<usize, Rejection> {
    let mut at = 0;
    loop {
        let rest = &input[at..];
        match phase {
            Phase::Head(scan) => {
                let skipped = if *scan == HeadScan::default() { empty_lines(rest) } else { 0 };
                at += skipped;
                let Some(head) = scan.resume(&rest[skipped..], limits)? else { return Ok(at) };
                let bytes = &rest[skipped..skipped + head.len];
                check_head(&head, bytes, limits);
                if matches!(head.framing, Framing::Length(length) if length > limits.body_bytes) {
                    return Err(BODY_TOO_LARGE);
                }
                transcript.requests.push((bytes.to_vec(), Vec::new()));
                at += head.len;
                let decoder = head.framing.into();
                *phase = Phase::Body(decoder);
            }
            Phase::Body(decoder) => match decoder.next(rest, usize::MAX, limits)? {
                Piece::More => return Ok(input.len()),
                Piece::Data(range) => {
                    let body = &mut transcript.requests.last_mut().expect("a body has a request").1;
                    body.extend_from_slice(&rest[range.clone()]);
                    assert!(body.len() as u64 <= limits.body_bytes, "a body is longer than its limit");
                    at += range.end;
                }
                Piece::End(end) => {
                    at += end;
                    *phase = Phase::Head(HeadScan::default());
                }
            },
        }
    }
}

fn check_head(head: &Head, bytes: &[u8], limits: &Limits) {
    assert!(bytes.len() <= limits.head_bytes && bytes.ends_with(b"\r\n\r\n"), "a head is cut wrong");
    let fields: Vec<_> = Fields::new(&bytes[head.fields_at..]).collect();
    assert!(fields.len() <= limits.headers, "a head has more fields than its limit");
    for (name, value) in &fields {
        assert!(crate::header::is_token(name) && crate::header::is_safe_value(value), "a field is not what it seems");
    }
    assert_eq!(fields.len(), bytes.split(|&byte| byte == b'\n').count() - 3, "a line is no field");
    let resource = &bytes[head.target.resource.clone()];
    assert!(resource.iter().all(u8::is_ascii_graphic), "a target holds what it must not");
}

/// Reads `data` whole and in pieces.
///
/// # Panics
/// If that makes a difference.
pub fn check(data: &[u8]) {
    let whole = read(data, &[]);
    assert_eq!(whole, read(data, &[1]), "byte by byte");
    let cuts: Vec<usize> = data.iter().take(8).map(|&byte| usize::from(byte % 23) + 1).collect();
    assert_eq!(whole, read(data, &cuts), "cut by {cuts:?}");
}
