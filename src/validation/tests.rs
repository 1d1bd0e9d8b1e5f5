use proptest::prelude::*;

use super::*;
use crate::json::{MAX_DEPTH, MAX_INTEGER_DIGITS};

/// The errors of a refused body as (field, message, type).
fn errors<T: std::fmt::Debug>(refused: Result<T, BodyError>) -> Vec<(String, String, &'static str)> {
    match refused {
        Err(BodyError::Unprocessable(errors)) => {
            errors.into_iter().map(|error| (error.field, error.message, error.kind)).collect()
        }
        other => panic!("not unprocessable: {other:?}"),
    }
}

fn only_error<T: std::fmt::Debug>(refused: Result<T, BodyError>) -> (String, String, &'static str) {
    let mut errors = errors(refused);
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.remove(0)
}

fn priced(price: &str) -> Result<f64, BodyError> {
    let body = format!(r#"{{"name":"a","description":"b","price":{price}}}"#);
    new_product(body.as_bytes()).map(|product| product.price)
}

#[test]
fn a_product_is_read_from_its_three_members() {
    let body = br#" {"price": 12.5, "extra": [null], "description": "", "name": "caf\u00e9 \ud83d\ude00"} "#;
    let expected = NewProduct { name: "café 😀".to_owned(), description: String::new(), price: 12.5 };
    assert_eq!(new_product(body), Ok(expected));
}

#[test]
fn of_members_with_the_same_name_the_last_one_counts() {
    let body = br#"{"name":1,"name":"a","description":"b","price":"x","pric\u0065":2}"#;
    let product = new_product(body).expect("the last ones are right");
    assert_eq!((product.name.as_str(), product.price), ("a", 2.0));
}

#[test]
fn prices_are_coerced_as_pydantic_coerces_them() {
    let cases = [
        ("1", 1.0),
        ("1e3", 1000.0),
        ("12345678901234567890", 12_345_678_901_234_567_890.0),
        ("1.7976931348623157e308", f64::MAX),
        ("5e-324", 5e-324),
        ("true", 1.0),
        (r#""12.5""#, 12.5),
        (r#"" 12.5\n""#, 12.5),
        (r#""\u00a012.5\u2003""#, 12.5),
        (r#""1_000""#, 1000.0),
        (r#""1_000.5_0""#, 1000.5),
        (r#""1._5""#, 1.5),
        (r#""1e_5""#, 1e5),
        (r#""+1E+5""#, 1e5),
        (r#"".5""#, 0.5),
        (r#""5.""#, 5.0),
    ];
    for (price, expected) in cases {
        assert_eq!(priced(price), Ok(expected), "{price}");
    }
}

#[test]
fn prices_are_refused_in_the_words_of_pydantic() {
    let parsing = "Input should be a valid number, unable to parse string as a number";
    let number = "Input should be a valid number";
    let finite = "Input should be a finite number";
    let greater = "Input should be greater than 0";
    let cases = [
        (r#""number""#, parsing, "number", "float_parsing"),
        (r#""""#, parsing, "", "float_parsing"),
        (r#"" 1_000""#, parsing, " 1_000", "float_parsing"),
        (r#""1__0""#, parsing, "1__0", "float_parsing"),
        (r#""_1""#, parsing, "_1", "float_parsing"),
        (r#""1_""#, parsing, "1_", "float_parsing"),
        (r#""0x10""#, parsing, "0x10", "float_parsing"),
        (r#""１２""#, parsing, "１２", "float_parsing"),
        (r#""1\u0000""#, parsing, "1\0", "float_parsing"),
        ("null", number, "null", "float_type"),
        ("[1, 2]", number, "[1,2]", "float_type"),
        (r#"{"a": "b c"}"#, number, r#"{"a":"b c"}"#, "float_type"),
        ("NaN", finite, "NaN", "finite_number"),
        ("-Infinity", finite, "-Infinity", "finite_number"),
        ("1e999", finite, "1e999", "finite_number"),
        ("-1e999", finite, "-1e999", "finite_number"),
        (r#""nan""#, finite, "nan", "finite_number"),
        (r#""-Infinity""#, finite, "-Infinity", "finite_number"),
        (r#""1e400""#, finite, "1e400", "finite_number"),
        ("0", greater, "0", "greater_than"),
        ("-0.0", greater, "-0.0", "greater_than"),
        ("-10.0", greater, "-10.0", "greater_than"),
        ("1e-999", greater, "1e-999", "greater_than"),
        ("false", greater, "false", "greater_than"),
        (r#""-1""#, greater, "-1", "greater_than"),
    ];
    for (price, verdict, received, kind) in cases {
        let message = format!("{verdict}. Received: '{received}'");
        let expected = ("body -> price".to_owned(), message, kind);
        assert_eq!(only_error(priced(price)), expected, "{price}");
    }
}

#[test]
fn an_integer_beyond_a_double_is_no_number_where_a_float_is_infinite() {
    let zeros = |count| "0".repeat(count);
    assert_eq!(priced(&format!("1{}", zeros(308))), Ok(1e308));
    for sign in ["", "-"] {
        let (_, message, kind) = only_error(priced(&format!("{sign}1{}", zeros(309))));
        assert_eq!(kind, "float_type");
        assert!(message.starts_with("Input should be a valid number. Received: '"), "{message}");
    }
    assert_eq!(only_error(priced(&format!("1{}.0", zeros(309)))).2, "finite_number");
}

#[test]
fn names_and_descriptions_are_not_coerced() {
    for (sent, received) in [
        ("1", "1"),
        ("-10.0", "-10.0"),
        ("true", "true"),
        ("null", "null"),
        ("[ \"a\" ]", "[\"a\"]"),
        ("{}", "{}"),
        ("NaN", "NaN"),
    ] {
        let message = format!("Input should be a valid string. Received: '{received}'");
        let body = format!(r#"{{"name":{sent},"description":{sent},"price":1}}"#);
        let expected =
            ["body -> name", "body -> description"].map(|field| (field.to_owned(), message.clone(), "string_type"));
        assert_eq!(errors(new_product(body.as_bytes())), expected);
    }
}

#[test]
fn all_errors_come_in_field_order_whatever_was_sent_first() {
    let expected = [
        ("body -> name", "Input should be a valid string. Received: '1'", "string_type"),
        ("body -> description", r#"Field required. Received: '{"price":-1,"name":1}'"#, "missing"),
        ("body -> price", "Input should be greater than 0. Received: '-1'", "greater_than"),
    ];
    let expected = expected.map(|(field, message, kind)| (field.to_owned(), message.to_owned(), kind));
    assert_eq!(errors(new_product(br#"{ "price": -1, "name": 1 }"#)), expected);
}

#[test]
fn a_missing_field_shows_the_object_it_is_missing_from() {
    let expected = ["body -> name", "body -> description", "body -> price"]
        .map(|field| (field.to_owned(), "Field required. Received: '{}'".to_owned(), "missing"));
    assert_eq!(errors(new_product(b" { } ")), expected);
}

#[test]
fn what_is_no_object_has_no_fields() {
    let verdict = "Input should be a valid dictionary or object to extract fields from";
    for (body, received) in [("[ ]", "[]"), ("\"a b\"", "a b"), ("1.0", "1.0"), ("null", "null"), ("NaN", "NaN")] {
        let message = format!("{verdict}. Received: '{received}'");
        let expected = ("body".to_owned(), message, "model_attributes_type");
        assert_eq!(only_error(new_product(body.as_bytes())), expected);
    }
}

#[test]
fn an_empty_body_is_missing() {
    let missing = || ("body".to_owned(), "Field required. Received: 'null'".to_owned(), "missing");
    assert_eq!(only_error(new_product(b"")), missing());
    assert_eq!(only_error(any_json(b"")), missing());
}

#[test]
fn broken_json_is_reported_at_its_offset() {
    for (body, offset) in [(" ", 1), ("{", 1), ("{\"é\":1}x", 7), ("{'a':1}", 1), ("\u{feff}", 0)] {
        let message = "JSON decode error. Received: '{}'".to_owned();
        let expected = (format!("body -> {offset}"), message, "json_invalid");
        assert_eq!(only_error(new_product(body.as_bytes())), expected);
        assert_eq!(only_error(any_json(body.as_bytes())), expected);
    }
}

#[test]
fn a_body_that_cannot_be_read_is_told_what_would_be_right() {
    let cases = [
        (b"{\"name\":\"\xff\"}".to_vec(), "UTF-8".to_owned()),
        (b"[".repeat(1 << 20), format!("at most {MAX_DEPTH} ")),
        (b"9".repeat(1 << 20), format!("at most {MAX_INTEGER_DIGITS} ")),
        (br#"{"name":"\ud800"}"#.to_vec(), "both halves".to_owned()),
    ];
    for (body, hint) in cases {
        for refused in [new_product(&body).err(), any_json(&body).err()] {
            match refused {
                Some(BodyError::Malformed(sentence)) => {
                    assert!(sentence.contains(&hint), "{sentence}");
                }
                other => panic!("not malformed: {other:?}"),
            }
        }
    }
}

#[test]
fn long_input_is_cut_after_a_fixed_number_of_characters() {
    let received = |text: &str| only_error(priced(&format!("\"{text}\""))).1;
    let whole = "é".repeat(MAX_RECEIVED_CHARACTERS);
    assert!(received(&whole).ends_with(&format!("Received: '{whole}'")));
    assert!(received(&format!("{whole}é")).ends_with(&format!("Received: '{whole}...'")));
    assert!(received(&"é".repeat(5 << 20)).ends_with(&format!("Received: '{whole}...'")));
    let (_, list, _) = only_error(priced(&format!("[ 1{} ]", ",  1".repeat(1 << 18))));
    assert!(list.ends_with(&format!("Received: '[1{}...'", ",1".repeat(99))), "{list}");
}

#[test]
fn any_json_comes_back_exactly_as_sent() {
    for (body, expected) in [
        ("null", "null"),
        (" {\"b\": 1.0, \"a\":12345678901234567890}\n", "{\"b\": 1.0, \"a\":12345678901234567890}"),
        ("\u{feff}[1e999, \"\\u00e9\"]", "[1e999, \"\\u00e9\"]"),
        ("{\"a\":1,\"a\":2}", "{\"a\":1,\"a\":2}"),
    ] {
        assert_eq!(any_json(body.as_bytes()), Ok(expected));
    }
}

#[test]
fn constants_that_are_no_json_are_not_given_back() {
    for (body, offset) in [("NaN", 0), ("{\"é\": -Infinity}", 6), ("[Infinity, NaN]", 1)] {
        let message = "JSON decode error. Received: '{}'".to_owned();
        let expected = (format!("body -> {offset}"), message, "json_invalid");
        assert_eq!(only_error(any_json(body.as_bytes())), expected);
    }
}

#[test]
fn an_error_is_written_as_field_message_and_type() {
    let error = query_limit("x", 100).expect_err("x is no number");
    let expected = concat!(
        r#"{"field":"query -> limit","message":"Input should be a valid integer, "#,
        r#"unable to parse string as an integer. Received: 'x'","type":"int_parsing"}"#
    );
    assert_eq!(serde_json::to_string(&error).expect("it can be written"), expected);
}

#[test]
fn a_limit_is_read_as_pydantic_reads_integers() {
    for (raw, limit) in [
        ("1", 1),
        ("100", 100),
        ("+5", 5),
        (" 5\n", 5),
        ("007", 7),
        ("0_5", 5),
        ("1_0", 10),
        ("5.00", 5),
        ("1_0.0", 10),
    ] {
        assert_eq!(query_limit(raw, 100), Ok(limit), "{raw}");
    }
    assert_eq!(query_limit("4294967295", u32::MAX), Ok(u32::MAX));
}

#[test]
fn a_limit_is_refused_in_the_words_of_pydantic() {
    let parsing = "Input should be a valid integer, unable to parse string as an integer";
    let least = "Input should be greater than or equal to 1";
    let most = "Input should be less than or equal to 100";
    let malformed = ["", "abc", "5.5", "1.", ".0", "1__0", "_1", "1_", "++1", "- 1", "1e2", "１", "-"];
    let cases = malformed.map(|raw| (raw, parsing, "int_parsing")).into_iter().chain([
        ("0", least, "greater_than_equal"),
        ("-0", least, "greater_than_equal"),
        ("-5", least, "greater_than_equal"),
        ("0.0", least, "greater_than_equal"),
        ("101", most, "less_than_equal"),
        ("4294967297", most, "less_than_equal"),
        ("99999999999999999999", most, "less_than_equal"),
    ]);
    for (raw, verdict, kind) in cases {
        let error = query_limit(raw, 100).expect_err(raw);
        assert_eq!(error.field, "query -> limit");
        assert_eq!(error.message, format!("{verdict}. Received: '{raw}'"));
        assert_eq!(error.kind, kind);
    }
}

#[test]
fn a_uuid_is_read_in_its_usual_spellings() {
    let expected = Uuid::from_u128(0xf916_8c5e_ceb2_4faa_b6bf_329b_f39f_a1e4);
    for raw in [
        "f9168c5e-ceb2-4faa-b6bf-329bf39fa1e4",
        "F9168C5ECEB24FAAB6BF329BF39FA1E4",
        "{f9168c5e-ceb2-4faa-b6bf-329bf39fa1e4}",
        "urn:uuid:f9168c5e-ceb2-4faa-b6bf-329bf39fa1e4",
    ] {
        assert_eq!(query_uuid("after", raw), Ok(expected), "{raw}");
    }
}

#[test]
fn a_uuid_is_refused_in_the_words_of_pydantic() {
    for (raw, reason) in [
        ("", "invalid length: found 0"),
        ("x", "invalid character: found `x` at 0"),
        ("00000000-0000-0000-0000-00000000000", "invalid group length in group 4: expected 12, found 11"),
    ] {
        let error = query_uuid("after", raw).expect_err(raw);
        let message = format!("Input should be a valid UUID, {reason}. Received: '{raw}'");
        let expected = FieldError { field: "query -> after".to_owned(), message, kind: "uuid_parsing" };
        assert_eq!(error, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_bytes_are_too_strange_to_be_judged(body: Vec<u8>, query: String) {
        let _ = (new_product(&body), any_json(&body), query_limit(&query, 1), query_uuid("q", &query));
    }

    #[test]
    fn every_finite_positive_price_survives(price in any::<f64>()) {
        let sent = price.abs();
        prop_assume!(sent > 0.0 && sent.is_finite());
        prop_assert_eq!(priced(&format!("{sent:?}")), Ok(sent));
        prop_assert_eq!(priced(&format!("\"{sent:?}\"")), Ok(sent));
    }

    #[test]
    fn every_string_survives_as_a_name(name: String) {
        let body = serde_json::json!({ "name": name, "description": "", "price": 1 }).to_string();
        let product = new_product(body.as_bytes()).expect("a string is a name");
        prop_assert_eq!(product.name, name);
    }

    #[test]
    fn a_limit_is_read_whole_or_refused(limit: u64, max in 1..=u32::MAX) {
        match query_limit(&limit.to_string(), max) {
            Ok(read) => prop_assert!(u64::from(read) == limit && (1..=max).contains(&read)),
            Err(_) => prop_assert!(limit == 0 || limit > u64::from(max)),
        }
    }
}
