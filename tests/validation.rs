//! What is said about a body that is not what it ought to be: pydantic's verdicts and words, and what is not JSON at all.
//!
//! The rules themselves have their tests beside them, in the module `validation`; here is what of them a client sees.

mod support;

use serde_json::{Value, json};
use support::{Response, Tollgate};

/// Errors as (field, message, type).
type Errors<'e> = &'e [(&'e str, &'e str, &'e str)];

const PRODUCTS: &str = "/api/products";
const ACTION: &str = "/api/protected-action";

/// A server whose limit is in nobody's way.
fn server() -> Tollgate {
    Tollgate::start(&[("RATE_LIMIT", "1000000")])
}

fn send(server: &Tollgate, target: &str, body: &[u8]) -> Response {
    server.request("POST", target, &[("Content-Type", "application/json")], body)
}

/// The whole answer to a body with these errors.
fn unprocessable(errors: Errors<'_>) -> Value {
    let errors: Vec<Value> =
        errors.iter().map(|(field, message, kind)| json!({"field": field, "message": message, "type": kind})).collect();
    json!({
        "type": "about:blank",
        "title": "Unprocessable Content",
        "status": 422,
        "detail": "Validation failed for the request body.",
        "errors": errors,
    })
}

#[track_caller]
fn assert_unprocessable(response: &Response, errors: Errors<'_>, what: &str) {
    assert_eq!(response.status, 422, "{what}: {response:?}");
    assert_eq!(response.header("Content-Type"), Some("application/problem+json"), "{what}");
    assert_eq!(response.json(), unprocessable(errors), "{what}");
}

#[test]
fn the_example_of_the_documentation_is_answered_to_the_letter() {
    let server = server();
    let response = server.post(PRODUCTS, r#"{"name":"a","description":"b","price":"number"}"#);
    let expected = concat!(
        r#"{"type":"about:blank","title":"Unprocessable Content","status":422,"#,
        r#""detail":"Validation failed for the request body.","errors":[{"field":"body -> price","#,
        r#""message":"Input should be a valid number, unable to parse string as a number. Received: 'number'","#,
        r#""type":"float_parsing"}]}"#
    );
    assert_eq!((response.status, response.text()), (422, expected));
}

#[test]
fn a_price_that_is_none_is_refused_in_the_words_of_pydantic() {
    let server = server();
    let parsing = "Input should be a valid number, unable to parse string as a number";
    let number = "Input should be a valid number";
    let finite = "Input should be a finite number";
    let greater = "Input should be greater than 0";
    let cases = [
        (r#""number""#, parsing, "number", "float_parsing"),
        (r#""""#, parsing, "", "float_parsing"),
        (r#""it's""#, parsing, "it's", "float_parsing"),
        (r#""0x10""#, parsing, "0x10", "float_parsing"),
        ("null", number, "null", "float_type"),
        ("[1, 2]", number, "[1,2]", "float_type"),
        (r#"{"name": 1}"#, number, r#"{"name":1}"#, "float_type"),
        ("NaN", finite, "NaN", "finite_number"),
        ("Infinity", finite, "Infinity", "finite_number"),
        ("-Infinity", finite, "-Infinity", "finite_number"),
        ("1e999", finite, "1e999", "finite_number"),
        (r#""nan""#, finite, "nan", "finite_number"),
        (r#""1e999""#, finite, "1e999", "finite_number"),
        ("0", greater, "0", "greater_than"),
        ("-10.0", greater, "-10.0", "greater_than"),
        ("false", greater, "false", "greater_than"),
        (r#""-1""#, greater, "-1", "greater_than"),
    ];
    for (price, verdict, received, kind) in cases {
        let response = server.post(PRODUCTS, &format!(r#"{{"name":"a","description":"b","price":{price}}}"#));
        let message = format!("{verdict}. Received: '{received}'");
        assert_unprocessable(&response, &[("body -> price", &message, kind)], price);
    }
    assert_eq!(server.get(PRODUCTS).text(), "[]", "nothing of it was stored");
}

#[test]
fn a_price_is_coerced_as_pydantic_coerces_it() {
    let server = server();
    let cases = [
        ("1", "1.0"),
        ("0.1", "0.1"),
        ("1e3", "1000.0"),
        ("true", "1.0"),
        (r#""12.5""#, "12.5"),
        (r#"" 12.5\n""#, "12.5"),
        (r#""1_000""#, "1000.0"),
        (r#""1e2""#, "100.0"),
        ("5e-324", "5e-324"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
    ];
    for (price, shown) in cases {
        let response = server.post(PRODUCTS, &format!(r#"{{"name":"a","description":"b","price":{price}}}"#));
        assert_eq!(response.status, 201, "{price}: {response:?}");
        let start = format!(r#"{{"name":"a","description":"b","price":{shown},"id":""#);
        assert!(response.text().starts_with(&start), "{price}: {response:?}");
    }
}

#[test]
fn names_and_descriptions_are_strings_and_nothing_is_made_one() {
    let server = server();
    for sent in ["1", "-10.0", "true", "null", "[]", r#"{"name":1}"#, "NaN"] {
        let response = server.post(PRODUCTS, &format!(r#"{{"name":{sent},"description":{sent},"price":1}}"#));
        let message = format!("Input should be a valid string. Received: '{sent}'");
        let errors = ["body -> name", "body -> description"].map(|field| (field, message.as_str(), "string_type"));
        assert_unprocessable(&response, &errors, sent);
    }
    for text in ["", " ", "caf\\u00e9 \\ud83d\\ude00", "\\u0000\\u001f\\\"", "<script>", "caf\u{e9}"] {
        let response = server.post(PRODUCTS, &format!(r#"{{"name":"{text}","description":"{text}","price":1}}"#));
        let expected: Value = serde_json::from_str(&format!("\"{text}\"")).expect("the test's own text is JSON");
        assert_eq!((response.status, &response.json()["name"]), (201, &expected), "{text}");
        assert_eq!(response.json()["description"], expected, "{text}");
    }
}

#[test]
fn all_errors_are_told_together_in_the_order_of_the_fields() {
    let server = server();
    let cases: &[(&str, Errors<'_>)] = &[
        (
            r#"{ "price": -1, "name": 1 }"#,
            &[
                ("body -> name", "Input should be a valid string. Received: '1'", "string_type"),
                ("body -> description", r#"Field required. Received: '{"price":-1,"name":1}'"#, "missing"),
                ("body -> price", "Input should be greater than 0. Received: '-1'", "greater_than"),
            ],
        ),
        (
            "{}",
            &[
                ("body -> name", "Field required. Received: '{}'", "missing"),
                ("body -> description", "Field required. Received: '{}'", "missing"),
                ("body -> price", "Field required. Received: '{}'", "missing"),
            ],
        ),
    ];
    for (body, errors) in cases {
        assert_unprocessable(&server.post(PRODUCTS, body), errors, body);
    }
}

#[test]
fn of_duplicate_names_the_last_wins_and_unknown_ones_are_ignored() {
    let server = server();
    let body = r#"{"name":1,"x":[{}],"name":"a","price":"?","description":"b","pric\u0065":2,"Name":3,"":null}"#;
    let response = server.post(PRODUCTS, body);
    assert_eq!(response.status, 201, "{response:?}");
    assert!(response.text().starts_with(r#"{"name":"a","description":"b","price":2.0,"id":""#), "{response:?}");
    let response = server.post(PRODUCTS, r#"{"name":"a","description":"b","price":1,"price":0}"#);
    let errors = [("body -> price", "Input should be greater than 0. Received: '0'", "greater_than")];
    assert_unprocessable(&response, &errors, "the last price is wrong");
}

#[test]
fn a_product_that_is_no_object_has_no_fields() {
    let server = server();
    let verdict = "Input should be a valid dictionary or object to extract fields from";
    for (body, received) in
        [("[ ]", "[]"), (r#""a b""#, "a b"), ("1.0", "1.0"), ("null", "null"), ("true", "true"), ("NaN", "NaN")]
    {
        let message = format!("{verdict}. Received: '{received}'");
        assert_unprocessable(&server.post(PRODUCTS, body), &[("body", &message, "model_attributes_type")], body);
    }
}

#[test]
fn broken_json_is_reported_at_the_character_where_it_breaks() {
    let server = server();
    let cases = [
        (" ", 1),
        ("{", 1),
        ("nul", 0),
        ("{\"a\":1,}", 7),
        ("[1,]", 3),
        ("{\"a\":1}x", 7),
        ("{'a':1}", 1),
        ("{\"a\" 1}", 5),
        ("\"a", 0),
        ("{\"caf\u{e9}\":1}x", 10),
        ("01", 1),
        ("1.", 1),
        ("+1", 0),
        ("\"\\x\"", 1),
    ];
    for (body, offset) in cases {
        let field = format!("body -> {offset}");
        for target in [PRODUCTS, ACTION] {
            let errors = [(field.as_str(), "JSON decode error. Received: '{}'", "json_invalid")];
            assert_unprocessable(&server.post(target, body), &errors, body);
        }
    }
}

#[test]
fn an_empty_body_is_missing_however_it_is_sent() {
    let server = server();
    let errors = [("body", "Field required. Received: 'null'", "missing")];
    for target in [PRODUCTS, ACTION] {
        assert_unprocessable(&server.request("POST", target, &[], b""), &errors, target);
        assert_unprocessable(&server.request("POST", target, &[("Content-Length", "0")], b""), &errors, target);
        let chunked = server.request("POST", target, &[("Transfer-Encoding", "chunked")], b"0\r\n\r\n");
        assert_unprocessable(&chunked, &errors, target);
    }
}

#[test]
fn what_cannot_be_read_as_json_is_a_bad_request_that_says_why() {
    let server = server();
    let named = |name: &str| format!(r#"{{"name":"{name}","description":"b","price":1}}"#).into_bytes();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"\xff".to_vec(), "not valid UTF-8"),
        (b"{\"name\":\"\xc3\x28\"}".to_vec(), "not valid UTF-8"),
        (b"{\"name\":\"\xed\xa0\x80\"}".to_vec(), "not valid UTF-8"),
        ([0xff, 0xfe].into_iter().chain("{}".encode_utf16().flat_map(u16::to_le_bytes)).collect(), "not valid UTF-8"),
        (named("\\ud800"), "half a surrogate pair"),
        (named("\\udc00\\ud800"), "half a surrogate pair"),
        (b"[".repeat(500_000), "nested too deeply"),
        (b"{\"a\":".repeat(100_000), "nested too deeply"),
        (b"9".repeat(100_000), "too long"),
    ];
    for (body, why) in cases {
        for target in [PRODUCTS, ACTION] {
            let response = send(&server, target, &body);
            let start = String::from_utf8_lossy(&body[..body.len().min(40)]);
            assert_eq!(response.status, 400, "{start}: {response:?}");
            let problem = response.json();
            assert_eq!(
                (&problem["type"], &problem["title"]),
                (&json!("about:blank"), &json!("Bad Request")),
                "{start}"
            );
            assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(why)), "{start}: {problem}");
        }
    }
    assert_eq!(server.get(PRODUCTS).text(), "[]", "nothing of it was stored");
}

#[test]
fn as_deep_as_is_allowed_is_not_too_deep() {
    let server = server();
    for (depth, status) in [(128, 200), (129, 400)] {
        let body = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(server.post(ACTION, &body).status, status, "{depth}");
    }
}

#[test]
fn of_a_string_of_ten_megabytes_an_answer_shows_the_start() {
    let server = Tollgate::start(&[("MAX_BODY_BYTES", "20000000")]);
    let text = "\u{e9}".repeat(5_000_000);
    let response = server.post(PRODUCTS, &format!(r#"{{"name":"a","description":"b","price":"{text}"}}"#));
    let verdict = "Input should be a valid number, unable to parse string as a number";
    let message = format!("{verdict}. Received: '{}...'", "\u{e9}".repeat(200));
    assert_unprocessable(&response, &[("body -> price", &message, "float_parsing")], "ten megabytes");
    let stored = server.post(PRODUCTS, &format!(r#"{{"name":"{text}","description":"b","price":1}}"#));
    assert_eq!((stored.status, stored.json()["name"].as_str()), (201, Some(text.as_str())));
}

#[test]
fn the_protected_action_gives_the_data_back_byte_for_byte() {
    let server = server();
    let long = format!("\"{}\"", "\u{1f600}".repeat(100_000));
    for (sent, data) in [
        ("null", "null"),
        ("0", "0"),
        ("\"\"", "\"\""),
        (r#"{"z":1,"a":2,"z":3}"#, r#"{"z":1,"a":2,"z":3}"#),
        ("[12345678901234567890, 1.0, 1e999, -0.0, 1E5]", "[12345678901234567890, 1.0, 1e999, -0.0, 1E5]"),
        ("{ \"a\" :\t[ ] }", "{ \"a\" :\t[ ] }"),
        (r#""\u00e9\/\ud83d\ude00""#, r#""\u00e9\/\ud83d\ude00""#),
        (" \r\n\t[1]\n ", "[1]"),
        ("\u{feff}{}", "{}"),
        (&long, &long),
    ] {
        let response = server.post(ACTION, sent);
        assert_eq!((response.status, response.header("Content-Type")), (200, Some("application/json")), "{sent}");
        let expected = format!(r#"{{"message":"Action performed successfully","data":{data}}}"#);
        assert_eq!(response.text(), expected);
    }
}

#[test]
fn what_is_no_json_but_python_reads_is_not_given_back() {
    let server = server();
    for (body, offset) in [("NaN", 0), ("[1, Infinity]", 4), ("{\"a\": -Infinity}", 6)] {
        let field = format!("body -> {offset}");
        let errors = [(field.as_str(), "JSON decode error. Received: '{}'", "json_invalid")];
        assert_unprocessable(&server.post(ACTION, body), &errors, body);
    }
}

#[test]
fn a_body_is_json_unless_it_says_otherwise() {
    let server = server();
    let product = br#"{"name":"a","description":"b","price":1}"#;
    for content_type in
        ["application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json", "application/json;v=1", ""]
    {
        let response = server.request("POST", PRODUCTS, &[("Content-Type", content_type)], product);
        assert_eq!(response.status, 201, "{content_type}: {response:?}");
    }
    assert_eq!(server.request("POST", PRODUCTS, &[], product).status, 201, "no Content-Type");
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/json",
        "json",
        "*/*",
    ] {
        for target in [PRODUCTS, ACTION] {
            let response = server.request("POST", target, &[("Content-Type", content_type)], product);
            assert_eq!(response.status, 415, "{content_type}: {response:?}");
            assert_eq!(response.header("Accept"), Some("application/json"), "{content_type}");
            assert_eq!(response.json()["title"], "Unsupported Media Type", "{content_type}");
        }
    }
}
