use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::*;

fn value(text: &str) -> Value<'_> {
    read(text.as_bytes()).expect("well-formed").value
}

fn error(body: impl AsRef<[u8]>) -> Option<JsonError> {
    read(body.as_ref()).err()
}

#[test]
fn errors_stand_where_python_reports_them() {
    let cases = [
        ("", 0),
        (" \n", 2),
        ("tru", 0),
        ("truex", 4),
        ("Na", 0),
        ("Infinit", 0),
        ("-", 0),
        ("-I", 0),
        ("1.", 1),
        ("1.e1", 1),
        ("1e", 1),
        ("1e+", 1),
        ("01", 1),
        ("-01", 2),
        ("+1", 0),
        (".5", 0),
        ("1 2", 2),
        ("[", 1),
        ("[1", 2),
        ("[1 2]", 3),
        ("[,]", 1),
        ("[1,]", 3),
        ("[1, ", 4),
        ("[1}", 2),
        ("{", 1),
        ("{1:2}", 1),
        ("{'a':1}", 1),
        ("{\"a\"", 4),
        ("{\"a\" 1}", 5),
        ("{\"a\":", 5),
        ("{\"a\":}", 5),
        ("{\"a\":1", 6),
        ("{\"a\":1 \"b\":2}", 7),
        ("{\"a\":1 ,  }", 10),
        ("{\"a\":1}}", 7),
        ("\u{a0}1", 0),
        ("1\u{a0}", 1),
    ];
    for (text, offset) in cases {
        assert_eq!(error(text), Some(JsonError::Syntax { offset }), "{text}");
    }
}

#[test]
fn errors_in_strings_stand_where_python_reports_them() {
    let cases = [
        (r#"""#, 0),
        (r#" "abc"#, 1),
        (r#""\"#, 0),
        (r#""a\""#, 0),
        (r#""\x""#, 1),
        (r#""\é""#, 1),
        (r#""\u12"#, 2),
        (r#""\u12""#, 2),
        (r#""\u+123""#, 2),
        (r#""\u123é""#, 2),
        (r#""\u1234"#, 2),
        (r#""\ud800\u""#, 8),
        (r#""\ud800\udc0g""#, 8),
        ("\"a\n\"", 2),
        ("\"\0\"", 1),
        ("\"\u{1f}\"", 1),
    ];
    for (text, offset) in cases {
        assert_eq!(error(text), Some(JsonError::Syntax { offset }), "{text}");
    }
}

#[test]
fn errors_are_counted_in_characters_after_the_byte_order_mark() {
    let cases = [("\"é\"x", 3), ("[\"😀€\"x", 5), ("\u{feff}", 0), ("\u{feff}\u{feff}1", 0), ("\u{feff}[1", 2)];
    for (text, offset) in cases {
        assert_eq!(error(text), Some(JsonError::Syntax { offset }), "{text}");
    }
}

#[test]
fn a_value_is_kept_as_sent_less_what_surrounds_it() {
    let cases = [
        ("1", "1"),
        ("\u{feff} null\r\n", "null"),
        ("\t[1 , 2.0]", "[1 , 2.0]"),
        ("{ }", "{ }"),
        (r#" "\u00e9 é" "#, r#""\u00e9 é""#),
        ("12345678901234567890", "12345678901234567890"),
        ("-0.0E+0", "-0.0E+0"),
        (r#"{"b":1,"a":2,"b":3}"#, r#"{"b":1,"a":2,"b":3}"#),
    ];
    for (body, text) in cases {
        assert_eq!(value(body).text(), text);
    }
}

#[test]
fn the_first_constant_that_is_no_json_is_reported() {
    let cases = [
        ("NaN", Some(0)),
        ("[1, -Infinity, NaN]", Some(4)),
        ("\u{feff}{\"é\": Infinity}", Some(6)),
        ("[\"NaN\", null]", None),
    ];
    for (body, offset) in cases {
        let document = read(body.as_bytes()).expect("well-formed");
        assert_eq!(document.first_constant, offset, "{body}");
    }
}

#[test]
fn bytes_that_are_not_utf_8_come_before_any_other_error() {
    for body in [&b"\xff"[..], b"{\xc3}", b"x\xed\xa0\x80", b"\xff\xfe1\0", b"\xef\xbb"] {
        assert_eq!(error(body), Some(JsonError::NotUtf8), "{body:?}");
    }
}

#[test]
fn half_a_surrogate_pair_is_refused_wherever_it_stands() {
    for text in [
        r#""\ud800""#,
        r#""\udc00""#,
        r#""\udc00\ud800""#,
        r#""\ud800\ud800\udc00""#,
        r#""\ud800\udc00\udc00""#,
        r#""\ud800 \udc00""#,
        r#""\ud800\n\udc00""#,
        r#"{"\uDBFF":1}"#,
        r#"[["\uDFFF"], NaN]"#,
    ] {
        assert_eq!(error(text), Some(JsonError::UnpairedSurrogate), "{text}");
    }
    assert_eq!(error(r#"["\ud800", x]"#), Some(JsonError::Syntax { offset: 11 }));
    assert_eq!(error(r#"["\\ud800", "\uD83D\uDE00", "\ud7ff\ue000"]"#), None);
}

#[test]
fn as_many_levels_as_the_bound_are_read_and_not_one_more() {
    let depth = MAX_DEPTH as usize;
    let arrays = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let objects = |levels: usize| "{\"a\":[".repeat(levels / 2) + &"]}".repeat(levels / 2);
    for nested in [arrays, objects] {
        assert_eq!(error(nested(depth)), None);
        assert_eq!(error(nested(depth + 2)), Some(JsonError::TooDeep));
    }
    assert_eq!(error(arrays(depth + 1)), Some(JsonError::TooDeep));
    let siblings = format!("[{}1]", "[[]],".repeat(depth));
    assert_eq!(error(siblings), None, "containers beside each other do not add up");
}

#[test]
fn only_integers_are_bounded_in_length() {
    let digits = |count: usize| "9".repeat(count);
    for sign in ["", "-"] {
        let longest = format!("{sign}{}", digits(MAX_INTEGER_DIGITS));
        assert_eq!(error(&longest), None);
        assert_eq!(error(longest.clone() + "9"), Some(JsonError::IntegerTooLong));
        assert_eq!(error(longest.clone() + "9.0"), None);
        assert_eq!(error(longest + "9e1"), None);
    }
}

#[test]
fn bodies_made_to_be_slow_are_read_at_once() {
    const LENGTH: usize = 4 << 20;
    let quotes = "\\\"".repeat(LENGTH / 2);
    assert_eq!(error(format!("\"{quotes}\"")), None);
    assert_eq!(error(format!("\"{quotes}")), Some(JsonError::Syntax { offset: 0 }));
    assert_eq!(error(format!("\"{}", r"\ud800".repeat(LENGTH / 6))), {
        Some(JsonError::Syntax { offset: LENGTH / 6 * 6 - 4 })
    });
    assert_eq!(error(" ".repeat(LENGTH)), Some(JsonError::Syntax { offset: LENGTH }));
    assert_eq!(error("[".repeat(LENGTH)), Some(JsonError::TooDeep));
    assert_eq!(error(format!("[{}1]", "[],".repeat(LENGTH / 3))), None);
    assert_eq!(error(format!("{}.0", "1".repeat(LENGTH))), None);
    let object = format!("{{{}\"a\":1}}", "\"a\":1,".repeat(LENGTH / 6));
    let Shape::Object(members) = value(&object).shape() else { panic!("an object") };
    assert_eq!(members.count(), LENGTH / 6 + 1);
}

#[test]
fn shapes_tell_integers_from_floats() {
    for (text, is_integer) in [("0", true), ("-12", true), ("1.0", false), ("1e3", false), ("-Infinity", false)] {
        match value(text).shape() {
            Shape::Integer(digits) => assert!(is_integer && digits == text),
            Shape::Float(digits) => assert!(!is_integer && digits == text),
            shape => panic!("{text} is {shape:?}"),
        }
    }
}

#[test]
fn strings_stand_for_their_characters() {
    for (text, characters) in [
        (r#""""#, ""),
        (r#""é'""#, "é'"),
        (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
        (r#""\u00E9\uD83d\uDe00\u0000""#, "é😀\0"),
    ] {
        match value(text).shape() {
            Shape::String(decoded) => assert_eq!(decoded, characters),
            shape => panic!("{text} is {shape:?}"),
        }
    }
}

#[test]
fn members_come_in_order_with_repeated_names() {
    let object = value(r#"{ "a" : [1, {"x": 2}] , "\u0061":"," ,"" :{} }"#);
    let Shape::Object(members) = object.shape() else { panic!("an object") };
    let members: Vec<_> = members.map(|(name, value)| (name, value.text())).collect();
    let expected = [("a", r#"[1, {"x": 2}]"#), ("a", r#"",""#), ("", "{}")];
    assert_eq!(members, expected.map(|(name, text)| (Cow::Borrowed(name), text)));
    let Shape::Object(mut none) = value("{ }").shape() else { panic!("an object") };
    assert_eq!(none.next(), None);
}

#[test]
fn compact_drops_whitespace_between_tokens_only() {
    let text = "{ \"a \\\" b\" :\t[ 1.0,\r\n\" \\\\\" , -2e+3 ] }";
    let compact: String = value(text).compact().collect();
    assert_eq!(compact, r#"{"a \" b":[1.0," \\",-2e+3]}"#);
}

/// Texts that are JSON, or would be but for a token or two.
fn nearly_json() -> impl Strategy<Value = String> {
    let fragment = prop::sample::select(vec![
        "{", "}", "[", "]", ",", ":", "\"", "\"a\":", "\"é\"", "\\", "\\n", "\\u", "\\u00e9", "0", "1", "-", ".", "e",
        "E+", "12.5", "true", "null", "fals", " ", "\n", "\u{1}", "😀", "\\ud800", "\\udc00", "[1,", "{\"k\":", "]}",
        "\u{feff}",
    ]);
    prop::collection::vec(fragment, 0..16).prop_map(|fragments| fragments.concat())
}

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(any::<String>(), inner, 0..6).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_bytes_are_too_strange_to_be_judged(body: Vec<u8>) {
        let _ = read(&body);
    }

    /// Half pairs apart, which serde_json overlooks in what it skips.
    #[test]
    fn what_is_json_is_what_serde_json_says(text in nearly_json()) {
        let accepted = matches!(read(text.as_bytes()), Ok(_) | Err(JsonError::UnpairedSurrogate));
        let without_mark = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let expected = serde_json::from_str::<IgnoredAny>(without_mark).is_ok();
        prop_assert_eq!(accepted, expected);
    }

    /// Checks above all that no string passes that can't be decoded.
    #[test]
    fn strings_are_decoded_as_serde_json_decodes_them(text in nearly_json()) {
        let text = format!("\"{text}\"");
        let expected = serde_json::from_str::<String>(&text).ok();
        let decoded = read(text.as_bytes()).ok().map(|document| document.value.characters());
        prop_assert_eq!(decoded.as_deref(), expected.as_deref());
    }

    #[test]
    fn objects_come_apart_into_what_they_were_made_of(value in json_value()) {
        let pretty = serde_json::to_string_pretty(&value).expect("a value can be written");
        let document = read(pretty.as_bytes()).expect("what serde_json writes is JSON");
        let compact: String = document.value.compact().collect();
        prop_assert_eq!(compact, value.to_string());
        if let Shape::Object(members) = document.value.shape() {
            let parts = members.map(|(name, part)| (name.into_owned(), part.compact().collect()));
            let expected = value.as_object().expect("an object is read as one").iter();
            let expected = expected.map(|(name, part)| (name.clone(), part.to_string()));
            prop_assert_eq!(parts.collect::<Vec<(_, String)>>(), expected.collect::<Vec<_>>());
        }
    }
}
