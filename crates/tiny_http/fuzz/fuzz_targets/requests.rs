//! Any bytes, whole and in pieces, must come to the same requests.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tiny_http::fuzzing::check(data));
