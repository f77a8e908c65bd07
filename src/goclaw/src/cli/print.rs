//! What commands print: JSON for programs, tables for people, progress for those who wait.

use super::exit::refused;
use anyhow::{Context, Result};
use inquire::Confirm;
use serde::Serialize;
use std::{
    io::{self, ErrorKind, IsTerminal, Write},
    path::Path,
    time::{Duration, Instant},
};

/// How often progress is shown anew.
const TICK: Duration = Duration::from_millis(200);

/// Prints a line. A reader that has gone away ends the program, as it does with other programs of a pipe.
///
/// # Errors
/// If standard output cannot be written to.
pub fn line(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        written => written.context("cannot write to standard output"),
    }
}

/// Prints JSON.
///
/// # Errors
/// As [`line`].
pub fn json(value: &impl Serialize) -> Result<()> {
    line(&serde_json::to_string_pretty(value)?)
}

/// Prints a table, or `empty` if it has no rows.
///
/// # Errors
/// As [`line`].
pub fn table<const N: usize>(head: [&str; N], rows: &[[String; N]], empty: &str) -> Result<()> {
    if rows.is_empty() {
        return line(empty);
    }
    let rows: Vec<[String; N]> = std::iter::once(head.map(str::to_owned)).chain(rows.iter().map(|row| row.each_ref().map(|cell| shown(cell)))).collect();
    let widths: [usize; N] = std::array::from_fn(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0));
    for row in &rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        line(cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// Says that a file was written.
///
/// # Errors
/// As [`line`].
pub fn written(file: &Path, size: u64, as_json: bool) -> Result<()> {
    if as_json { json(&serde_json::json!({"file": file, "bytes": size})) } else { line(&format!("wrote {} ({})", file.display(), bytes(size))) }
}

/// A value that others chose, without what would steer the terminal.
pub fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A number of bytes in words.
#[expect(clippy::cast_precision_loss, reason = "it is rounded anyway")]
pub fn bytes(count: u64) -> String {
    let units = ["KB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (count as f64, "bytes");
    for next in units {
        if value < 1000.0 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    if unit == "bytes" { format!("{count} bytes") } else { format!("{value:.1} {unit}") }
}

/// Goes on only if the user agrees, or said so beforehand.
///
/// # Errors
/// If they do not, or there is nobody to ask.
pub fn confirm(agreed: bool, question: &str) -> Result<()> {
    if agreed {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(refused(format!("{question} Nobody is there to answer: say --yes if you mean it")));
    }
    match Confirm::new(question).with_default(false).prompt() {
        Ok(true) => Ok(()),
        Ok(false) => Err(refused("nothing was changed")),
        Err(error) => Err(refused(format!("nothing was changed: {error}"))),
    }
}

/// Shows how far something is, to somebody at a terminal.
pub struct Progress {
    what: &'static str,
    shown: Option<Instant>,
    visible: bool,
    files: u64,
    bytes: u64,
}

impl Progress {
    /// Nothing is done yet.
    pub fn new(what: &'static str) -> Self {
        Self { what, shown: None, visible: io::stderr().is_terminal(), files: 0, bytes: 0 }
    }

    /// A file is done.
    pub fn file(&mut self) {
        self.files += 1;
        self.show();
    }

    /// Some bytes are.
    pub fn bytes(&mut self, count: usize) {
        self.bytes += count as u64;
        self.show();
    }

    fn show(&mut self) {
        if self.visible && self.shown.is_none_or(|at| at.elapsed() >= TICK) {
            self.shown = Some(Instant::now());
            eprint!("\r{}: {} files, {}\u{1b}[K", self.what, self.files, bytes(self.bytes));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            eprint!("\r\u{1b}[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_rounded() {
        assert_eq!([0, 999, 1_000, 1_550_000, 2_000_000_000_000_000].map(bytes), ["0 bytes", "999 bytes", "1.0 KB", "1.6 MB", "2000.0 TB"]);
    }

    #[test]
    fn what_steers_a_terminal_is_not_printed() {
        assert_eq!(shown("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }
}
