//! The torture program itself, in a few rounds, so that it stays alive. `make torture` runs all of it.

use std::process::Command;

/// Runs it and expects that no promise was broken.
fn torture(arguments: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_torture")).args(arguments).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    assert!(out.contains("seed 7"), "{out}");
}

#[test]
fn a_few_kills_lose_nothing() {
    torture(&["kill", "--rounds", "3", "--seed", "7"]);
}

#[test]
fn clients_that_vanish_leave_nothing() {
    torture(&["vanish", "--rounds", "60", "--seed", "7"]);
}

#[test]
fn nonsense_is_refused() {
    for arguments in [&["nothing"][..], &["--rounds", "0"], &["--edition", "heavy"], &["--seed"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_torture")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
