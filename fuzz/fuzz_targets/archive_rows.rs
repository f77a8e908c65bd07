#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| goclaw_core::archives::fuzzing::archive_rows(bytes));
