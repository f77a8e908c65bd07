//! The table of results, for people and for programs.

use crate::machine::Machine;
use goclaw_tests::Edition;
use serde_json::{Value, json};

/// What a figure is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds.
    Ms,
    /// Millions of bytes.
    Mb,
    /// Thousands of bytes.
    Kb,
    /// Hundredths of the yardstick.
    Percent,
    /// How often per second.
    PerSecond,
    /// How often.
    Count,
    /// Thousands of bytes per minute.
    KbPerMinute,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Ms => "ms",
            Self::Mb => "MB",
            Self::Kb => "kB",
            Self::Percent => "%",
            Self::PerSecond => "/s",
            Self::Count => "",
            Self::KbPerMinute => "kB/min",
        }
    }

    /// A value as people read it: `12,345/s`, `1.25 ms`.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Ms => format!("{value:.2} ms"),
            Self::Mb => format!("{value:.1} MB"),
            Self::Kb => format!("{value:.1} kB"),
            Self::Percent => format!("{value:.0} %"),
            Self::PerSecond => format!("{}/s", grouped(value)),
            Self::Count => grouped(value),
            Self::KbPerMinute => format!("{value:.1} kB/min"),
        }
    }

    /// A target, without needless decimals.
    fn show_target(self, value: f64) -> String {
        match self {
            Self::PerSecond => self.show(value),
            Self::Count => grouped(value),
            _ => format!("{value} {}", self.name()),
        }
    }
}

fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |rest| ("-", rest));
    let mut text = String::from(sign);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What a figure should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// It is only reported.
    Open,
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
}

impl Target {
    fn met(self, value: f64) -> Option<bool> {
        match self {
            Self::Open => None,
            Self::AtMost(limit) => Some(value <= limit),
            Self::AtLeast(limit) => Some(value >= limit),
        }
    }

    /// What was measured, as a multiple of the target. `None` without one, and where it is zero.
    fn ratio(self, value: f64) -> Option<f64> {
        match self {
            Self::Open => None,
            Self::AtMost(limit) | Self::AtLeast(limit) => (limit != 0.0).then(|| value / limit),
        }
    }

    fn show(self, unit: Unit) -> String {
        match self {
            Self::Open => "–".to_owned(),
            Self::AtMost(limit) => format!("≤ {}", unit.show_target(limit)),
            Self::AtLeast(limit) => format!("≥ {}", unit.show_target(limit)),
        }
    }
}

/// One line of the table.
#[derive(Debug, PartialEq)]
pub struct Measure {
    /// What is measured.
    pub what: &'static str,
    /// What it is counted in.
    pub unit: Unit,
    /// The target of the lite edition.
    pub lite: Target,
    /// The target of the standard edition.
    pub standard: Target,
    /// How it is measured, in a few words.
    pub comment: &'static str,
}

impl Measure {
    fn target(&self, edition: Edition) -> Target {
        match edition {
            Edition::Lite => self.lite,
            Edition::Standard => self.standard,
        }
    }

    fn show_target(&self) -> String {
        let (lite, standard) = (self.lite.show(self.unit), self.standard.show(self.unit));
        if lite == standard { lite } else { format!("{lite}; {standard}") }
    }
}

struct Cell {
    value: f64,
    note: String,
}

struct Row {
    measure: &'static Measure,
    cells: [Option<Cell>; 2],
}

impl Row {
    fn cell(&self, edition: Edition) -> Option<&Cell> {
        self.cells[column(edition)].as_ref()
    }
}

fn column(edition: Edition) -> usize {
    match edition {
        Edition::Lite => 0,
        Edition::Standard => 1,
    }
}

/// All results of one run.
pub struct Table {
    machine: Machine,
    quick: bool,
    rows: Vec<Row>,
    failures: Vec<String>,
}

impl Table {
    /// An empty table of this machine; `quick` if its figures are not to be taken for results.
    pub fn new(machine: Machine, quick: bool) -> Self {
        Self { machine, quick, rows: Vec::new(), failures: Vec::new() }
    }

    /// Enters a figure; `note` stands behind it.
    pub fn put(&mut self, measure: &'static Measure, edition: Edition, value: f64, note: impl Into<String>) {
        let cell = Cell { value, note: note.into() };
        let at = self.rows.iter().position(|row| row.measure == measure).unwrap_or_else(|| {
            self.rows.push(Row { measure, cells: [None, None] });
            self.rows.len() - 1
        });
        self.rows[at].cells[column(edition)] = Some(cell);
    }

    /// Says that something could not be measured.
    pub fn fail(&mut self, edition: Edition, what: &str, error: &anyhow::Error) {
        self.failures.push(format!("{}: {what}: {error:#}", edition.name()));
    }

    /// Whether everything could be measured.
    pub fn is_complete(&self) -> bool {
        self.failures.is_empty()
    }

    /// The table as JSON.
    pub fn to_json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let cell = |edition| {
                row.cell(edition).map(|cell| {
                    let target = row.measure.target(edition);
                    json!({"value": cell.value, "note": cell.note, "target": target.show(row.measure.unit), "ratio": target.ratio(cell.value), "met": target.met(cell.value)})
                })
            };
            json!({
                "what": row.measure.what,
                "unit": row.measure.unit.name(),
                "target": row.measure.show_target(),
                "lite": cell(Edition::Lite),
                "standard": cell(Edition::Standard),
                "comment": row.measure.comment,
            })
        });
        json!({"machine": self.machine.to_json(), "quick": self.quick, "rows": rows.collect::<Vec<_>>(), "failures": self.failures})
    }

    /// The table as Markdown that is aligned for a terminal too. A figure that misses its target is marked `**…**`.
    pub fn to_text(&self) -> String {
        let mut lines = vec![["what", "target", "lite", "÷ target", "standard", "÷ target", "comment"].map(str::to_owned)];
        for row in &self.rows {
            let cell = |edition| {
                row.cell(edition).map_or_else(
                    || "–".to_owned(),
                    |cell| {
                        let value = row.measure.unit.show(cell.value);
                        let missed = row.measure.target(edition).met(cell.value) == Some(false);
                        let value = if missed { format!("**{value}**") } else { value };
                        if cell.note.is_empty() { value } else { format!("{value} ({})", cell.note.replace('|', "/").replace('\n', " ")) }
                    },
                )
            };
            let ratio = |edition| {
                let ratio = row.cell(edition).and_then(|cell| row.measure.target(edition).ratio(cell.value));
                ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"))
            };
            let [lite, standard] = [Edition::Lite, Edition::Standard];
            let (what, target, comment) = (row.measure.what.to_owned(), row.measure.show_target(), row.measure.comment.to_owned());
            lines.push([what, target, cell(lite), ratio(lite), cell(standard), ratio(standard), comment]);
        }
        let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or_default();
        let widths = [0, 1, 2, 3, 4, 5, 6].map(width);
        let mut text = format!("{}\n", self.machine);
        for (number, line) in lines.iter().enumerate() {
            let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
            text.push_str(&format!("| {} |\n", cells.collect::<Vec<_>>().join(" | ")));
            if number == 0 {
                text.push_str(&format!("|{}|\n", widths.map(|width| "-".repeat(width + 2)).join("|")));
            }
        }
        if self.quick {
            text.push_str("\nMeasured with --quick: too little load for any of this to be a result.\n");
        }
        text.push_str("\n**…** misses its target. Where two targets stand, the first is lite's.\n");
        for failure in &self.failures {
            text.push_str(&format!("\nnot measured: {failure}\n"));
        }
        text
    }
}
