//! The `.env` file: bytes in, assignments with their lines out.
//!
//! Quotes, escapes, `export` and `$NAME` are dotenvy's; the line numbers are counted here. The process environment is
//! never changed, and nothing is opened: the bytes are an argument.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use super::problems::Problem;

/// One assignment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) variable: String,
    pub(super) value: String,
    /// The line it ends on, counted from 1.
    pub(super) line: usize,
}

/// Reads a whole file, going on after a bad line, so that every bad line is told.
pub(super) fn parse(file: &[u8]) -> (Vec<Assignment>, Vec<Problem>) {
    const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
    let file = file.strip_prefix(BYTE_ORDER_MARK).unwrap_or(file);
    // Without a last line feed dotenvy takes a space at the end for the start of something unfinished.
    let file = [file, b"\n"].concat();

    let lines_read = Rc::new(Cell::new(0));
    let lines = OneLineARead { rest: &file, lines_read: Rc::clone(&lines_read) };
    let (mut assignments, mut problems) = (Vec::new(), Vec::new());
    for item in dotenvy::from_read_iter(lines) {
        let line = lines_read.get();
        match item {
            Ok((variable, value)) => assignments.push(Assignment { variable, value, line }),
            // An open quote swallows the rest of the file: name the line it starts on.
            Err(dotenvy::Error::LineParse(text, _)) => {
                let first_line = line + 1 - text.lines().count().max(1);
                problems.push(Problem::DotEnvLine { line: first_line });
            }
            // Bytes that are not UTF-8; dotenvy has passed over their line.
            Err(_) => problems.push(Problem::DotEnvLine { line }),
        }
    }
    (assignments, problems)
}

/// Hands out at most one line with each read, so that what dotenvy has read is what it has parsed: it buffers its
/// input, and its errors carry no line number.
struct OneLineARead<'a> {
    rest: &'a [u8],
    lines_read: Rc<Cell<usize>>,
}

impl Read for OneLineARead<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let line_feed = self.rest.iter().position(|byte| *byte == b'\n');
        let line_len = line_feed.map_or(self.rest.len(), |at| at + 1);
        let (line, rest) = self.rest.split_at(line_len.min(buffer.len()));
        buffer[..line.len()].copy_from_slice(line);
        self.rest = rest;
        if line.ends_with(b"\n") {
            self.lines_read.set(self.lines_read.get() + 1);
        }
        Ok(line.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assignments(file: &str) -> Vec<(String, String, usize)> {
        let (assignments, problems) = parse(file.as_bytes());
        assert_eq!(problems, []);
        assignments.into_iter().map(|found| (found.variable, found.value, found.line)).collect()
    }

    fn bad_lines(file: &[u8]) -> Vec<usize> {
        let bad_line = |problem| match problem {
            Problem::DotEnvLine { line } => line,
            other => panic!("{other}"),
        };
        parse(file).1.into_iter().map(bad_line).collect()
    }

    #[test]
    fn an_assignment_knows_its_line() {
        let cases = [
            ("A=1", "1", 1),
            ("# a comment\n\n  A=1\n", "1", 3),
            ("\n#=\r\nA=1\r\n", "1", 3),
            ("export A='$1 # x'  # y\n", "$1 # x", 1),
            ("A=\"one\ntwo\"\n", "one\ntwo", 2),
            ("A=1 ", "1", 1),
            ("\u{feff}A=1\n", "1", 1),
            ("A=\n", "", 1),
        ];
        for (file, value, line) in cases {
            let expected = vec![("A".to_owned(), value.to_owned(), line)];
            assert_eq!(assignments(file), expected, "{file:?}");
        }
    }

    #[test]
    fn a_line_longer_than_any_buffer_is_one_line() {
        let long = "x".repeat(100_000);
        let found = assignments(&format!("A={long}\nB=2\n"));
        assert_eq!(found[0], ("A".to_owned(), long, 1));
        assert_eq!(found[1], ("B".to_owned(), "2".to_owned(), 2));
    }

    #[test]
    fn every_bad_line_is_told_by_its_number() {
        let cases: [(&[u8], &[usize]); 7] = [
            (b"A=1\nnot an assignment\nB=2\n=3\n", &[2, 4]),
            (b"A=two words\n", &[1]),
            (b"\nA='open\nB=2\nC=3\n", &[2]),
            (b"A=1\nB=\"open", &[2]),
            (b"A=1\nB=\xff\nC=3\n", &[2]),
            (b"\n\n1A=1\n", &[3]),
            (b"", &[]),
        ];
        for (file, lines) in cases {
            assert_eq!(bad_lines(file), lines, "{}", file.escape_ascii());
        }
    }
}
