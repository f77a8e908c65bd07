//! The table of what was found.

use crate::options::Section;
use goclaw_tests::Edition;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How many broken promises of one section are told in full.
const TOLD: usize = 20;

/// What came of a section.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    rounds: usize,
    broken: BTreeMap<String, usize>,
    /// What was done and counted, for the reader.
    notes: Vec<String>,
    not_run: Option<String>,
}

impl Outcome {
    /// It could not be run, for this reason. That is neither a pass nor a finding.
    pub fn not_run(reason: impl Into<String>) -> Self {
        Self { not_run: Some(reason.into()), ..Self::default() }
    }

    /// This was found in this round.
    pub fn broken(rounds: usize, what: String) -> Self {
        let mut outcome = Self { rounds, ..Self::default() };
        outcome.find(what);
        outcome
    }

    /// One more round is over.
    pub fn round(&mut self) {
        self.rounds += 1;
    }

    /// So many rounds are over.
    pub fn rounds(&mut self, count: usize) {
        self.rounds += count;
    }

    /// A promise was broken.
    pub fn find(&mut self, what: impl Into<String>) {
        let what = what.into();
        let first = !self.broken.contains_key(&what);
        *self.broken.entry(what.clone()).or_default() += 1;
        if first {
            eprintln!("torture: found: {what}");
        }
    }

    /// Several promises were broken.
    pub fn find_all(&mut self, all: impl IntoIterator<Item = String>) {
        all.into_iter().for_each(|what| self.find(what));
    }

    /// Whether this holds; else `what` was found.
    pub fn hold(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.find(what());
        }
    }

    /// Something worth reading beside the result.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    fn verdict(&self) -> String {
        match &self.not_run {
            Some(reason) => format!("NOT RUN: {reason}"),
            None if self.broken.is_empty() => "nothing".to_owned(),
            None => format!("{} broken", self.broken.values().sum::<usize>()),
        }
    }
}

/// All that came of a run.
pub struct Report {
    seed: u64,
    rows: Vec<(Section, Edition, Outcome)>,
}

impl Report {
    /// Nothing yet.
    pub fn new(seed: u64) -> Self {
        Self { seed, rows: Vec::new() }
    }

    /// Enters what came of a section.
    pub fn put(&mut self, section: Section, edition: Edition, outcome: Outcome) {
        self.rows.push((section, edition, outcome));
    }

    /// Whether no promise was broken.
    pub fn is_clean(&self) -> bool {
        self.rows.iter().all(|(_, _, outcome)| outcome.broken.is_empty())
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let rows = self.rows.iter().map(|(section, edition, outcome)| {
            json!({
                "section": section.name(), "what": section.title(), "edition": edition.name(), "rounds": outcome.rounds,
                "found": outcome.broken, "notes": outcome.notes, "not_run": outcome.not_run,
            })
        });
        json!({"seed": self.seed, "clean": self.is_clean(), "rows": rows.collect::<Vec<_>>()})
    }

    /// For people: Markdown that is aligned for a terminal too.
    pub fn to_text(&self) -> String {
        let mut lines = vec![["what", "edition", "rounds", "found", "notes"].map(str::to_owned)];
        for (section, edition, outcome) in &self.rows {
            let rounds = if outcome.not_run.is_some() { "–".to_owned() } else { outcome.rounds.to_string() };
            lines.push([section.title().to_owned(), edition.name().to_owned(), rounds, outcome.verdict(), outcome.notes.join("; ")]);
        }
        let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or_default();
        let widths = [0, 1, 2, 3, 4].map(width);
        let mut text = String::new();
        for (number, line) in lines.iter().enumerate() {
            let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
            text.push_str(&format!("| {} |\n", cells.collect::<Vec<_>>().join(" | ")));
            if number == 0 {
                text.push_str(&format!("|{}|\n", widths.map(|width| "-".repeat(width + 2)).join("|")));
            }
        }
        for (section, edition, outcome) in &self.rows {
            for (what, times) in outcome.broken.iter().take(TOLD) {
                text.push_str(&format!("\nBROKEN ({}, {}, {times} times): {what}\n", section.name(), edition.name()));
            }
            if outcome.broken.len() > TOLD {
                text.push_str(&format!("\n… and {} more ({}, {})\n", outcome.broken.len() - TOLD, section.name(), edition.name()));
            }
        }
        text.push_str(&format!("\nseed {}\n", self.seed));
        text
    }
}
