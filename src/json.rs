//! Reads a request body as Python's `json.loads` reads it, without building a tree.
//!
//! The clients of this API know the positions at which Python's C scanner reports an error (3.12;
//! from 3.13 on a trailing comma is reported at the comma, not behind it), so this scanner finds
//! its errors in the same order and at the same characters. [`read`] proves a body well-formed
//! once; a [`Value`] is then a slice of it, exactly as sent, which is taken apart only where
//! somebody asks.
//!
//! Invariant: every position moves forward only. Time is linear in the body, nothing recurses,
//! and nothing is allocated but a string that has escapes in it, when it is decoded.
//!
//! Three things Python takes are refused here: more than [`MAX_DEPTH`] levels, half a surrogate
//! pair, and encodings other than UTF-8 (RFC 8259, section 8.1, has no other on the wire). The
//! literals `NaN`, `Infinity` and `-Infinity` are no JSON but are read, and [`Document`] says so.
//!
//! What a value ought to be is not judged here.

use std::borrow::Cow;

/// The most arrays and objects that may be open at once.
pub const MAX_DEPTH: u32 = 128;

/// The most digits an integer may have; Python refuses to convert a longer one.
pub const MAX_INTEGER_DIGITS: usize = 4300;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Why a body can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// It is not JSON from some place on.
    Syntax {
        /// The place, counted in characters after any byte order mark.
        offset: usize,
    },
    /// Some bytes are not UTF-8.
    NotUtf8,
    /// More than [`MAX_DEPTH`] arrays and objects inside each other.
    TooDeep,
    /// An integer of more than [`MAX_INTEGER_DIGITS`] digits.
    IntegerTooLong,
    /// A string names half of a surrogate pair, which is no character.
    UnpairedSurrogate,
}

/// A well-formed body.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    /// The one value in it.
    pub value: Value<'a>,
    /// Where the first `NaN`, `Infinity` or `-Infinity` stands, counted in characters.
    pub first_constant: Option<usize>,
}

/// Reads a body that holds one JSON value, with whitespace or a byte order mark around it.
///
/// # Errors
/// The first [`JsonError`] in reading order, but bytes that are not UTF-8 come before all else
/// and [`JsonError::UnpairedSurrogate`] after all else, as Python does not mind it.
pub fn read(body: &[u8]) -> Result<Document<'_>, JsonError> {
    let encoded = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let text = str::from_utf8(encoded).map_err(|_| JsonError::NotUtf8)?;
    let mut scanner = Scanner::new(text);
    scanner.whitespace();
    let value = scanner.value()?;
    scanner.whitespace();
    if scanner.peek().is_some() {
        return Err(scanner.syntax_error(scanner.at));
    }
    if scanner.unpaired_surrogate {
        return Err(JsonError::UnpairedSurrogate);
    }
    let first_constant = scanner.first_constant.map(|at| scanner.characters_before(at));
    Ok(Document { value, first_constant })
}

/// One value of a well-formed body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a>(&'a str);

/// What a [`Value`] is.
#[derive(Clone, Debug)]
pub enum Shape<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean(bool),
    /// A number with neither fraction nor exponent, as sent.
    Integer(&'a str),
    /// Any other number as sent, `NaN` and the infinities among them.
    Float(&'a str),
    /// The characters a string stands for.
    String(Cow<'a, str>),
    /// An array, whatever is in it.
    Array,
    /// An object, to be gone through by its members.
    Object(Members<'a>),
}

impl<'a> Value<'a> {
    /// The value exactly as it was sent.
    #[must_use]
    pub fn text(self) -> &'a str {
        self.0
    }

    /// The value taken apart one level deep.
    #[must_use]
    pub fn shape(self) -> Shape<'a> {
        let integral = |byte: u8| byte == b'-' || byte.is_ascii_digit();
        match self.0.as_bytes().first() {
            Some(b'n') => Shape::Null,
            Some(b't') => Shape::Boolean(true),
            Some(b'f') => Shape::Boolean(false),
            Some(b'"') => Shape::String(self.characters()),
            Some(b'[') => Shape::Array,
            Some(b'{') => Shape::Object(Members::of(self)),
            _ if self.0.bytes().all(integral) => Shape::Integer(self.0),
            _ => Shape::Float(self.0),
        }
    }

    /// The value as sent, less the whitespace between its tokens.
    pub fn compact(self) -> impl Iterator<Item = char> + 'a {
        let mut in_string = false;
        let mut escaped = false;
        self.0.chars().filter(move |&character| {
            if in_string {
                in_string = character != '"' || escaped;
                escaped = character == '\\' && !escaped;
                return true;
            }
            in_string = character == '"';
            !matches!(character, ' ' | '\t' | '\n' | '\r')
        })
    }

    fn characters(self) -> Cow<'a, str> {
        if self.0.contains('\\') {
            let decoded = serde_json::from_str(self.0);
            Cow::Owned(decoded.expect("a string that was read has whole escapes and pairs"))
        } else {
            Cow::Borrowed(&self.0[1..self.0.len() - 1])
        }
    }
}

/// The members of an object in the order they were sent, repeated names included.
#[derive(Clone, Debug)]
pub struct Members<'a>(Scanner<'a>);

impl<'a> Members<'a> {
    fn of(object: Value<'a>) -> Self {
        let mut scanner = Scanner::new(object.0);
        scanner.at = 1;
        Self(scanner)
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, Value<'a>);

    /// No error can occur here, as the object was read before; one would end the iteration.
    fn next(&mut self) -> Option<Self::Item> {
        let scanner = &mut self.0;
        scanner.whitespace();
        match scanner.peek() {
            Some(b'}') => return None,
            Some(b',') => {
                scanner.at += 1;
                scanner.whitespace();
            }
            _ => {}
        }
        let name = scanner.name().ok()?;
        let value = scanner.value().ok()?;
        Some((name.characters(), value))
    }
}

/// The open arrays and objects, one bit each, the innermost in the lowest.
#[derive(Default)]
struct Nesting {
    depth: u32,
    objects: u128,
}

const _: () = assert!(MAX_DEPTH <= u128::BITS, "Nesting has a bit for every level");

#[derive(Clone, Copy, PartialEq)]
enum Container {
    Array,
    Object,
}

impl Nesting {
    fn enter(&mut self, container: Container) -> Result<(), JsonError> {
        if self.depth == MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(container == Container::Object);
        Ok(())
    }

    fn leave(&mut self) {
        self.depth -= 1;
        self.objects >>= 1;
    }

    fn innermost(&self) -> Option<Container> {
        match (self.depth, self.objects & 1) {
            (0, _) => None,
            (_, 0) => Some(Container::Array),
            _ => Some(Container::Object),
        }
    }
}

/// A position in a text, always between two characters, and what was noticed before it.
#[derive(Clone, Debug)]
struct Scanner<'a> {
    text: &'a str,
    at: usize,
    first_constant: Option<usize>,
    unpaired_surrogate: bool,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, at: 0, first_constant: None, unpaired_surrogate: false }
    }

    fn peek(&self) -> Option<u8> {
        self.peek_at(self.at)
    }

    fn peek_at(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    fn characters_before(&self, at: usize) -> usize {
        let starts_character = |byte: &&u8| **byte & 0xc0 != 0x80;
        self.text.as_bytes()[..at].iter().filter(starts_character).count()
    }

    fn syntax_error(&self, at: usize) -> JsonError {
        JsonError::Syntax { offset: self.characters_before(at) }
    }

    fn whitespace(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// One value of any size; the loop goes round once for each value inside it.
    fn value(&mut self) -> Result<Value<'a>, JsonError> {
        let start = self.at;
        let mut open = Nesting::default();
        loop {
            let entered = match self.peek() {
                Some(b'[') => self.enter(Container::Array, &mut open)?,
                Some(b'{') => self.enter(Container::Object, &mut open)?,
                _ => {
                    self.scalar()?;
                    false
                }
            };
            if !entered && !self.next_value(&mut open)? {
                return Ok(Value(&self.text[start..self.at]));
            }
        }
    }

    /// Opens a container and says whether it stands before a first value; an empty one is closed.
    fn enter(&mut self, container: Container, open: &mut Nesting) -> Result<bool, JsonError> {
        open.enter(container)?;
        self.at += 1;
        self.whitespace();
        match (container, self.peek()) {
            (Container::Array, Some(b']')) | (Container::Object, Some(b'}')) => {
                self.at += 1;
                open.leave();
                return Ok(false);
            }
            (Container::Object, _) => drop(self.name()?),
            (Container::Array, _) => {}
        }
        Ok(true)
    }

    /// After a value: closes what ends here and says whether another value follows.
    fn next_value(&mut self, open: &mut Nesting) -> Result<bool, JsonError> {
        while let Some(container) = open.innermost() {
            self.whitespace();
            match (container, self.peek()) {
                (Container::Array, Some(b']')) | (Container::Object, Some(b'}')) => {
                    self.at += 1;
                    open.leave();
                }
                (_, Some(b',')) => {
                    self.at += 1;
                    self.whitespace();
                    if container == Container::Object {
                        self.name()?;
                    }
                    return Ok(true);
                }
                _ => return Err(self.syntax_error(self.at)),
            }
        }
        Ok(false)
    }

    /// The name of a member and all that stands between it and its value.
    fn name(&mut self) -> Result<Value<'a>, JsonError> {
        if self.peek() != Some(b'"') {
            return Err(self.syntax_error(self.at));
        }
        let start = self.at;
        self.string()?;
        let name = Value(&self.text[start..self.at]);
        self.whitespace();
        if self.peek() != Some(b':') {
            return Err(self.syntax_error(self.at));
        }
        self.at += 1;
        self.whitespace();
        Ok(name)
    }

    fn scalar(&mut self) -> Result<(), JsonError> {
        const LITERALS: [&str; 3] = ["true", "false", "null"];
        const CONSTANTS: [&str; 3] = ["NaN", "Infinity", "-Infinity"];
        if self.peek() == Some(b'"') {
            return self.string();
        }
        let rest = &self.text.as_bytes()[self.at..];
        let starts_here = |word: &&str| rest.starts_with(word.as_bytes());
        if let Some(literal) = LITERALS.into_iter().find(starts_here) {
            self.at += literal.len();
        } else if let Some(constant) = CONSTANTS.into_iter().find(starts_here) {
            self.first_constant.get_or_insert(self.at);
            self.at += constant.len();
        } else {
            self.number()?;
        }
        Ok(())
    }

    /// A number as far as it is one: `1.` and `1e` are the number 1 with something after it.
    fn number(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        let integer_start = self.at;
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.at = self.digits_from(self.at),
            _ => return Err(self.syntax_error(start)),
        }
        let integer_end = self.at;
        if self.peek() == Some(b'.') {
            self.extend_with_digits(self.at + 1);
        }
        if let Some(b'e' | b'E') = self.peek() {
            let signed = matches!(self.peek_at(self.at + 1), Some(b'+' | b'-'));
            self.extend_with_digits(self.at + 1 + usize::from(signed));
        }
        if self.at == integer_end && integer_end - integer_start > MAX_INTEGER_DIGITS {
            return Err(JsonError::IntegerTooLong);
        }
        Ok(())
    }

    /// Moves behind the digits that stand at `start`; stays where it is if there are none.
    fn extend_with_digits(&mut self, start: usize) {
        let end = self.digits_from(start);
        if end > start {
            self.at = end;
        }
    }

    fn digits_from(&self, start: usize) -> usize {
        let rest = self.text.as_bytes().get(start..).unwrap_or_default();
        start + rest.iter().take_while(|byte| byte.is_ascii_digit()).count()
    }

    fn string(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        self.at += 1;
        let mut high_surrogate_ends_at = None;
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let plain = rest.iter().position(|&byte| byte < b' ' || byte == b'"' || byte == b'\\');
            let Some(plain) = plain else {
                return Err(self.syntax_error(start));
            };
            self.at += plain;
            match (rest[plain], rest.get(plain + 1)) {
                (b'"', _) => break,
                (b'\\', None) => return Err(self.syntax_error(start)),
                (b'\\', Some(b'u')) => self.unicode_escape(&mut high_surrogate_ends_at)?,
                (b'\\', Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't')) => {
                    self.at += 2;
                }
                _ => return Err(self.syntax_error(self.at)),
            }
        }
        self.unpaired_surrogate |= high_surrogate_ends_at.is_some();
        self.at += 1;
        Ok(())
    }

    /// `\u` and four digits. `high` is the end of a high surrogate that waits for its low one.
    fn unicode_escape(&mut self, high: &mut Option<usize>) -> Result<(), JsonError> {
        let unit = self.hexadecimal_at(self.at + 2);
        let end = self.at + 6;
        // Python wants to see a character after the digits before it believes in them.
        let (Some(unit), Some(_)) = (unit, self.peek_at(end)) else {
            return Err(self.syntax_error(self.at + 1));
        };
        let is_low = (0xdc00..=0xdfff).contains(&unit);
        let is_pair = is_low && *high == Some(self.at);
        self.unpaired_surrogate |= (is_low || high.is_some()) && !is_pair;
        *high = (0xd800..=0xdbff).contains(&unit).then_some(end);
        self.at = end;
        Ok(())
    }

    fn hexadecimal_at(&self, start: usize) -> Option<u32> {
        let digits = self.text.as_bytes().get(start..start + 4)?;
        digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)?))
    }
}

#[cfg(test)]
mod tests;
