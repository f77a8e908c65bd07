#![no_main]
#![allow(dead_code, reason = "the gateway uses what this target does not")]

// The gateway's own crate is a program, so its configuration is compiled in here as well.
#[path = "../../src/goclaw/src"]
mod goclaw {
    pub mod config;
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| goclaw::config::fuzzing::config(bytes));
