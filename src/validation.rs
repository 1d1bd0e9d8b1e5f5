//! Judges what clients send, with the verdicts and the words of pydantic 2 behind `FastAPI`.
//!
//! Clients of the system this one replaces parse these answers, so the order, the names, the
//! messages and the types of the errors are theirs to keep. `Received` alone is nearer to the
//! client than it was: all but a string is shown as it was sent, less whitespace, where the old
//! system showed what it had made of it (`1e2` became `100.0`, of a repeated name the last stayed).
//!
//! Pure: bytes in, values or errors out. Status codes and bodies of answers are made elsewhere.

use serde::Serialize;
use uuid::Uuid;

use crate::json::{self, Document, JsonError, Shape, Value};

/// The most characters of an input that `Received` shows; a longer one ends in `...`.
pub const MAX_RECEIVED_CHARACTERS: usize = 200;

/// One thing wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Where it is, from the outside in: `body -> price`.
    pub field: String,
    /// What is wrong and what was received.
    pub message: String,
    /// The name a program knows the error by, such as `float_parsing`.
    #[serde(rename = "type")]
    pub kind: &'static str,
}

/// Why a body is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// It was understood but is not what it ought to be (status 422); never empty.
    Unprocessable(Vec<FieldError>),
    /// It can't be read at all (status 400); a sentence for whoever sent it.
    Malformed(&'static str),
}

/// A product as a client describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct NewProduct {
    /// Its name; any text, the empty one too.
    pub name: String,
    /// Its description; any text, the empty one too.
    pub description: String,
    /// Finite and greater than 0.
    pub price: f64,
}

/// A verdict: its type and its message.
struct Fault<'a>(&'static str, &'a str);

const MISSING: Fault = Fault("missing", "Field required");
const JSON_INVALID: Fault = Fault("json_invalid", "JSON decode error");
const MODEL_ATTRIBUTES_TYPE: Fault =
    Fault("model_attributes_type", "Input should be a valid dictionary or object to extract fields from");
const STRING_TYPE: Fault = Fault("string_type", "Input should be a valid string");
const FLOAT_TYPE: Fault = Fault("float_type", "Input should be a valid number");
const FLOAT_PARSING: Fault =
    Fault("float_parsing", "Input should be a valid number, unable to parse string as a number");
const FINITE_NUMBER: Fault = Fault("finite_number", "Input should be a finite number");
const GREATER_THAN: Fault = Fault("greater_than", "Input should be greater than 0");
const INT_PARSING: Fault =
    Fault("int_parsing", "Input should be a valid integer, unable to parse string as an integer");

impl Fault<'_> {
    fn at(&self, field: impl Into<String>, received: impl Iterator<Item = char>) -> FieldError {
        let Fault(kind, verdict) = *self;
        let message = format!("{verdict}. Received: '{}'", cut(received));
        FieldError { field: field.into(), message, kind }
    }

    fn at_value(&self, field: &str, value: Value<'_>) -> FieldError {
        match value.shape() {
            Shape::String(characters) => self.at(field, characters.chars()),
            Shape::Null | Shape::Boolean(_) | Shape::Integer(_) | Shape::Float(_) | Shape::Array | Shape::Object(_) => {
                self.at(field, value.compact())
            }
        }
    }
}

fn cut(characters: impl Iterator<Item = char>) -> String {
    let mut characters = characters.fuse();
    let mut shown: String = characters.by_ref().take(MAX_RECEIVED_CHARACTERS).collect();
    if characters.next().is_some() {
        shown.push_str("...");
    }
    shown
}

impl From<FieldError> for BodyError {
    fn from(error: FieldError) -> Self {
        Self::Unprocessable(vec![error])
    }
}

/// Reads the body of a request that creates a product: a name, a description and a price.
///
/// The two strings must be strings. The price may be a number, a boolean or a string that holds a
/// number. Other members are ignored; of members with the same name the last one counts.
///
/// # Errors
/// [`BodyError`], with all that is wrong in the order name, description, price.
pub fn new_product(body: &[u8]) -> Result<NewProduct, BodyError> {
    let object = read(body)?.value;
    let Shape::Object(members) = object.shape() else {
        return Err(MODEL_ATTRIBUTES_TYPE.at_value("body", object).into());
    };
    let (mut name, mut description, mut price) = (None, None, None);
    for (key, value) in members {
        match &*key {
            "name" => name = Some(value),
            "description" => description = Some(value),
            "price" => price = Some(value),
            _ => {}
        }
    }
    let name = field("body -> name", name, object, string);
    let description = field("body -> description", description, object, string);
    let price = field("body -> price", price, object, positive_number);
    match (name, description, price) {
        (Ok(name), Ok(description), Ok(price)) => Ok(NewProduct { name, description, price }),
        (name, description, price) => {
            let errors = [name.err(), description.err(), price.err()];
            Err(BodyError::Unprocessable(errors.into_iter().flatten().collect()))
        }
    }
}

/// Proves a body to be JSON and gives it back exactly as sent, less what surrounds the value.
///
/// Allocates nothing unless there is an error to tell.
///
/// # Errors
/// [`BodyError`]; `NaN` and the infinities are refused too, as an answer could not carry them.
pub fn any_json(body: &[u8]) -> Result<&str, BodyError> {
    let document = read(body)?;
    match document.first_constant {
        None => Ok(document.value.text()),
        Some(offset) => Err(json_invalid(offset).into()),
    }
}

/// Reads a number from 1 to `max` out of the query parameter `limit`, already percent-decoded.
///
/// # Errors
/// `int_parsing`, `greater_than_equal` or `less_than_equal`.
pub fn query_limit(raw: &str, max: u32) -> Result<u32, FieldError> {
    let fault = |fault: Fault| fault.at("query -> limit", raw.chars());
    let (is_negative, digits) = integer(raw).ok_or_else(|| fault(INT_PARSING))?;
    if is_negative || digits.is_empty() {
        let verdict = "Input should be greater than or equal to 1";
        return Err(fault(Fault("greater_than_equal", verdict)));
    }
    digits.parse().ok().filter(|&limit| limit <= max).ok_or_else(|| {
        let verdict = format!("Input should be less than or equal to {max}");
        fault(Fault("less_than_equal", &verdict))
    })
}

/// Reads a UUID, in any of its usual spellings, out of the query parameter `name`.
///
/// # Errors
/// `uuid_parsing`, with the reason as the `uuid` crate words it: pydantic uses the same one.
pub fn query_uuid(name: &str, raw: &str) -> Result<Uuid, FieldError> {
    Uuid::parse_str(raw).map_err(|error| {
        let verdict = format!("Input should be a valid UUID, {error}");
        Fault("uuid_parsing", &verdict).at(format!("query -> {name}"), raw.chars())
    })
}

fn read(body: &[u8]) -> Result<Document<'_>, BodyError> {
    if body.is_empty() {
        return Err(MISSING.at("body", "null".chars()).into());
    }
    json::read(body).map_err(|error| match error {
        JsonError::Syntax { offset } => json_invalid(offset).into(),
        JsonError::NotUtf8 => {
            BodyError::Malformed("The body is not valid UTF-8; JSON is sent in UTF-8, without other encodings.")
        }
        JsonError::TooDeep => BodyError::Malformed(
            "The JSON is nested too deeply; at most 128 arrays and objects may enclose each other.",
        ),
        JsonError::IntegerTooLong => {
            BodyError::Malformed("The JSON holds an integer that is too long; at most 4300 digits are read.")
        }
        JsonError::UnpairedSurrogate => BodyError::Malformed(
            "The JSON holds half a surrogate pair; a character beyond U+FFFF is sent as itself \
             or as both halves, the high one (\\ud800 to \\udbff) first.",
        ),
    })
}

/// What was received is shown as an empty object: where JSON fails there is no value to show.
fn json_invalid(offset: usize) -> FieldError {
    JSON_INVALID.at(format!("body -> {offset}"), "{}".chars())
}

/// Reads one member of `object`, or says what is wrong with it; a missing one shows the object.
fn field<'a, T>(
    field: &str,
    value: Option<Value<'a>>,
    object: Value<'a>,
    read: fn(Shape<'a>) -> Result<T, Fault<'static>>,
) -> Result<T, FieldError> {
    match value {
        None => Err(MISSING.at_value(field, object)),
        Some(value) => read(value.shape()).map_err(|fault| fault.at_value(field, value)),
    }
}

fn string(shape: Shape<'_>) -> Result<String, Fault<'static>> {
    match shape {
        Shape::String(characters) => Ok(characters.into_owned()),
        Shape::Null | Shape::Boolean(_) | Shape::Integer(_) | Shape::Float(_) | Shape::Array | Shape::Object(_) => {
            Err(STRING_TYPE)
        }
    }
}

fn positive_number(shape: Shape<'_>) -> Result<f64, Fault<'static>> {
    match number(shape)? {
        number if !number.is_finite() => Err(FINITE_NUMBER),
        number if number <= 0.0 => Err(GREATER_THAN),
        number => Ok(number),
    }
}

/// An integer beyond the range of a double is no number; a float beyond it is infinite.
fn number(shape: Shape<'_>) -> Result<f64, Fault<'static>> {
    match shape {
        Shape::Boolean(is_true) => Ok(f64::from(is_true)),
        Shape::Integer(digits) => digits.parse().ok().filter(|number: &f64| number.is_finite()).ok_or(FLOAT_TYPE),
        Shape::Float(digits) => digits.parse().map_err(|_| FLOAT_TYPE),
        Shape::String(text) => number_in_words(&text).ok_or(FLOAT_PARSING),
        Shape::Null | Shape::Array | Shape::Object(_) => Err(FLOAT_TYPE),
    }
}

/// Single underscores may stand inside a number, but then no whitespace around it.
fn number_in_words(text: &str) -> Option<f64> {
    let grouped = !text.starts_with('_') && !text.ends_with('_') && !text.contains("__");
    match text.trim().parse() {
        Ok(number) => Some(number),
        Err(_) if grouped => text.replace('_', "").parse().ok(),
        Err(_) => None,
    }
}

/// Splits an optional sign, digits that single underscores may part, and an optional fraction of
/// zeros into whether it is negative and the digits, less leading zeros.
fn integer(raw: &str) -> Option<(bool, String)> {
    let trimmed = raw.trim();
    let unsigned = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let all = |text: &str, allowed: fn(u8) -> bool| !text.is_empty() && text.bytes().all(allowed);
    let mut groups = whole.split('_');
    let is_integer = groups.all(|group| all(group, |byte| byte.is_ascii_digit())) && all(fraction, |byte| byte == b'0');
    is_integer.then(|| {
        let significant = whole.bytes().skip_while(|byte| matches!(byte, b'0' | b'_'));
        let digits = significant.filter(|&byte| byte != b'_').map(char::from);
        (trimmed.starts_with('-'), digits.collect())
    })
}

#[cfg(test)]
mod tests;
