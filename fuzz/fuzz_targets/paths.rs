#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| goclaw_tools::fuzzing::paths(bytes));
