#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| goclaw_archives::fuzzing::archives(bytes));
