//! Every error answer is made here: RFC 9457 problem+json, the same shape from every layer.
//!
//! `detail` carries the words of the system this one replaces, where it had any; what would be right stands in `hint`.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;

use crate::exchange::{Body, BodyError, Reply};
use crate::validation::{self, FieldError};

/// The media type of every error body (RFC 9457, section 3).
pub const CONTENT_TYPE: &str = "application/problem+json";

const BLANK: &str = "about:blank";
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";
const REDUCED_CAPACITY: &str = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";

/// An error answer in the making.
#[derive(Debug, Serialize)]
pub struct Problem {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<Cow<'static, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
    #[serde(rename = "violated-policies", skip_serializing_if = "Option::is_none")]
    violated_policies: Option<[&'static str; 1]>,
}

impl Problem {
    /// A problem that its status says it all of: the title and the detail are the status's own words.
    #[must_use]
    pub fn of_status(status: u16) -> Self {
        let title = reason_phrase(status);
        Self {
            r#type: BLANK,
            title,
            status,
            detail: Cow::Borrowed(title),
            hint: None,
            errors: Vec::new(),
            violated_policies: None,
        }
    }

    /// This problem with what was wrong said in `detail`.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = detail.into();
        self
    }

    /// This problem with what would be right said in `hint`.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The answer's body.
    ///
    /// # Panics
    /// Never: every field is text or a number.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text and numbers are always JSON")
    }

    /// The answer.
    #[must_use]
    pub fn reply(&self) -> Reply {
        Reply::new(self.status, CONTENT_TYPE, Body::Owned(self.body()))
    }
}

/// 404: the path is no resource.
#[must_use]
pub fn not_found() -> Reply {
    Problem::of_status(404).hint("See the API's paths in the README; /api/status is one.").reply()
}

/// 404: no product has this id.
#[must_use]
pub fn no_such_product() -> Reply {
    Problem::of_status(404).hint("No product has this id; GET /api/products lists all.").reply()
}

/// 405, with the methods there are.
#[must_use]
pub fn method_not_allowed(allow: &'static str) -> Reply {
    Problem::of_status(405).hint(format!("This resource answers to {allow}.")).reply().with("Allow", allow)
}

/// 501: a method this server does not know.
#[must_use]
pub fn method_unknown(allow: &'static str) -> Reply {
    Problem::of_status(501)
        .detail("This server does not know the request's method.")
        .hint(format!("Methods are case-sensitive; this resource answers to {allow}."))
        .reply()
}

/// 415: the body says that it is not JSON.
#[must_use]
pub fn not_json() -> Reply {
    Problem::of_status(415)
        .detail("The Content-Type says that the body is not JSON.")
        .hint("Send JSON with Content-Type: application/json, or without a Content-Type.")
        .reply()
        .with("Accept", "application/json")
}

/// 415: the body is compressed (RFC 9110, section 15.5.16).
#[must_use]
pub fn encoded() -> Reply {
    Problem::of_status(415)
        .detail("The Content-Encoding says that the body is compressed.")
        .hint("Send it as it is, without Content-Encoding.")
        .reply()
        .with("Accept-Encoding", "identity")
}

/// 413, 408, 503 or 400: the body could not be had. The rest of the connection is of no use.
#[must_use]
pub fn body_not_received(error: BodyError, max_bytes: usize) -> Reply {
    match error {
        BodyError::TooLarge => Problem::of_status(413)
            .detail(format!("The request body is larger than {max_bytes} bytes."))
            .hint("Send a smaller body; MAX_BODY_BYTES sets the limit."),
        BodyError::TimedOut => Problem::of_status(408).detail("The request body did not arrive in time."),
        BodyError::NoRoom => {
            return rejected(503, "The bodies of the requests that are being received take too much memory.");
        }
        BodyError::Incomplete => Problem::of_status(400)
            .detail("The request body ended early or was not framed correctly.")
            .hint("Send as many bytes as Content-Length says, or valid chunks."),
    }
    .reply()
}

/// 422 with all field errors, or 400 where there is nothing to point at.
#[must_use]
pub fn invalid_body(error: validation::BodyError) -> Reply {
    match error {
        validation::BodyError::Unprocessable(errors) => {
            unprocessable("Validation failed for the request body.", errors)
        }
        validation::BodyError::Malformed(what) => Problem::of_status(400).detail(what).reply(),
    }
}

/// 422: parameters of the query are wrong.
#[must_use]
pub fn invalid_query(errors: Vec<FieldError>) -> Reply {
    unprocessable("Validation failed for the query.", errors)
}

fn unprocessable(detail: &'static str, errors: Vec<FieldError>) -> Reply {
    Problem { errors, ..Problem::of_status(422).detail(detail) }.reply()
}

/// The body of a 429; it is always the same, what changes stands in the headers.
#[must_use]
pub fn quota_exceeded(policy: &'static str) -> Vec<u8> {
    Problem {
        r#type: QUOTA_EXCEEDED,
        title: "Request quota exceeded",
        violated_policies: Some([policy]),
        ..Problem::of_status(429).hint("Retry after the seconds that Retry-After names; a token is there then.")
    }
    .body()
}

/// 503: the limit cannot be judged, and the configuration says to refuse then.
#[must_use]
pub fn limiter_unavailable(policy: &'static str) -> Reply {
    Problem {
        r#type: REDUCED_CAPACITY,
        title: "Temporarily reduced capacity",
        violated_policies: Some([policy]),
        ..Problem::of_status(503)
            .detail("The rate limiter's Redis does not answer.")
            .hint("Retry after the seconds that Retry-After names.")
    }
    .reply()
}

/// 503: the server is on its way out.
#[must_use]
pub fn draining() -> Reply {
    Problem::of_status(503)
        .detail("The server is shutting down.")
        .hint("Retry on a new connection, after the seconds that Retry-After names.")
        .reply()
        .with("Retry-After", 1)
}

/// 507: no more products fit, by their number or by the bytes of them.
#[must_use]
pub fn products_full(max_products: usize, max_bytes: usize) -> Reply {
    let max_mib = max_bytes / (1024 * 1024);
    Problem::of_status(507)
        .detail(format!("The product store is full: it holds at most {max_products} products and {max_mib} MiB."))
        .hint("Delete products that are no longer needed; MAX_PRODUCTS sets the first of the limits.")
        .reply()
}

/// A request that the HTTP engine could not make sense of, or had no room for; `what` is the rule that was broken.
#[must_use]
pub fn rejected(status: u16, what: &'static str) -> Reply {
    let reply = Problem::of_status(status).detail(what).reply();
    if status == 503 { reply.with("Retry-After", 1) } else { reply }
}

/// 503: the store of the products cannot be reached.
#[must_use]
pub fn products_unavailable(retry_in: Duration) -> Reply {
    Problem::of_status(503)
        .detail("The product store's Redis does not answer.")
        .hint("Retry after the seconds that Retry-After names, with an Idempotency-Key if a product was to be created.")
        .reply()
        .with("Retry-After", retry_in.as_secs() + 1)
}

/// 504: a product may have been created, but Redis did not say so in time. Unlike a 503, it must not be sent again blindly.
#[must_use]
pub fn product_in_doubt(retry_in: Duration) -> Reply {
    Problem::of_status(504)
        .detail("The product store's Redis did not answer in time; the product may have been created.")
        .hint(
            "Look for it before sending it again, or send it with an Idempotency-Key, which makes repeating harmless.",
        )
        .reply()
        .with("Retry-After", retry_in.as_secs() + 1)
}

/// 504: a product may have been deleted, but Redis did not say so in time.
#[must_use]
pub fn deletion_in_doubt(retry_in: Duration) -> Reply {
    Problem::of_status(504)
        .detail("The product store's Redis did not answer in time; the product may have been deleted.")
        .hint("Send it again after the seconds that Retry-After names; 404 then says that it is gone.")
        .reply()
        .with("Retry-After", retry_in.as_secs() + 1)
}

/// 422: an idempotency key stands for one product.
#[must_use]
pub fn idempotency_key_reused() -> Reply {
    Problem::of_status(422)
        .detail("The Idempotency-Key was used for another product.")
        .hint("Use a new key for each product, and the same key only to repeat the same request.")
        .reply()
}

/// 400: an idempotency key that cannot be kept.
#[must_use]
pub fn bad_idempotency_key(longest: usize) -> Reply {
    Problem::of_status(400)
        .detail("The Idempotency-Key is not usable.")
        .hint(format!("Send 1 to {longest} visible ASCII characters, a UUID for instance."))
        .reply()
}

/// 500: a handler failed in a way it should not have.
#[must_use]
pub fn internal() -> Reply {
    Problem::of_status(500).detail("The server met an error of its own; its log says which.").reply()
}

/// The words that go with a status code (RFC 9110, section 15; RFC 4918 and RFC 6585 for three of them).
#[must_use]
pub fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "Unknown",
    }
}
