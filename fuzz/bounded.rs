//! A bounded run of a fuzz target inside the normal tests: every input of its corpus as it is, and a few thousand small changes of them.
//! `#[path]` puts this file into the tests of each crate that has targets. `PROPTEST_CASES` makes the run longer or shorter.

use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{TestCaseError, TestRunner},
};
use std::{fs, path::Path};

/// How many times more often than a property is tried: a target is quick.
const TIMES: u32 = 8;
/// No input gets longer than this, in bytes.
const LONGEST: usize = 64 << 10;

/// Runs `target` on the corpus of this name, and on what is near to it.
///
/// # Panics
/// If the target does, or the corpus is empty.
pub fn run(name: &str, target: impl Fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let mut corpus: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    assert!(!corpus.is_empty(), "{} holds inputs", directory.display());
    corpus.sort();
    corpus.push(Vec::new());
    corpus.iter().for_each(|input| target(input));

    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let config = ProptestConfig { cases: config.cases * TIMES, ..config };
    let near = (any::<Index>(), prop::collection::vec(edit(), 1..8));
    let outcome = TestRunner::new(config).run(&near, |(start, edits)| {
        let mut input = start.get(&corpus).clone();
        for edit in &edits {
            edit.apply(&mut input, &corpus);
        }
        target(&input);
        Ok::<_, TestCaseError>(())
    });
    if let Err(error) = outcome {
        panic!("{name}: {error}");
    }
}

/// A small change of an input.
#[derive(Debug, Clone)]
enum Edit {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    /// Some bytes, many times: depth, and length.
    Repeat(Index, usize, usize),
    /// What another input ends with.
    Graft(Index, Index, Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (at(), prop::collection::vec(any::<u8>(), 1..4)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (at(), prop::sample::select(&b"{}[]:,\"'\\/.\0\n\r-9"[..])).prop_map(|(at, byte)| Edit::Insert(at, vec![byte])),
        (at(), 1_usize..32).prop_map(|(at, length)| Edit::Remove(at, length)),
        (at(), 1_usize..16, 1_usize..2_000).prop_map(|(at, length, times)| Edit::Repeat(at, length, times)),
        (at(), at(), at()).prop_map(|(at, other, from)| Edit::Graft(at, other, from)),
    ]
}

impl Edit {
    fn apply(&self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        match self {
            Self::Set(at, byte) if !input.is_empty() => {
                let at = at.index(input.len());
                input[at] = *byte;
            }
            Self::Set(..) => {}
            Self::Insert(at, bytes) => {
                let at = at.index(input.len() + 1);
                input.splice(at..at, bytes.iter().copied());
            }
            Self::Remove(at, length) => {
                let at = at.index(input.len() + 1);
                input.drain(at..(at + length).min(input.len()));
            }
            Self::Repeat(at, length, times) => {
                let at = at.index(input.len() + 1);
                let part = input[at..(at + length).min(input.len())].repeat(*times);
                input.splice(at..at, part);
            }
            Self::Graft(at, other, from) => {
                let other = other.get(corpus);
                input.truncate(at.index(input.len() + 1));
                input.extend_from_slice(&other[from.index(other.len() + 1)..]);
            }
        }
        input.truncate(LONGEST);
    }
}
