//! HTML as Markdown or plain text, without what readers do not see.

mod hidden;
mod parse;
mod render;

pub use render::Mode;

use regex::Regex;
use std::sync::LazyLock;

/// The readable text of a page; "" if there is none.
pub fn convert(page: &str, mode: Mode) -> String {
    render::render(&parse::parse(page).document, mode)
}

/// Markdown without its marks.
pub fn without_markdown(text: &str) -> String {
    let mut text = text.to_owned();
    for (mark, instead) in MARKS.iter() {
        text = mark.replace_all(&text, *instead).into_owned();
    }
    text.trim().to_owned()
}

#[expect(clippy::expect_used, reason = "constant patterns that the tests compile")]
static MARKS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r"(?m)^```.*\n?", ""),
        (r"(?m)^#{1,6}\s+", ""),
        (r"(?m)^>\s?", ""),
        (r"(?m)^\s*(?:---+|\*\*\*+)\s*$", ""),
        (r"!?\[([^\]\n]*)\]\([^)\n]*\)", "$1"),
        (r"\*\*([^*\n]+)\*\*", "$1"),
        (r"\*([^*\n]+)\*", "$1"),
        (r"`([^`\n]+)`", "$1"),
    ]
    .map(|(mark, instead)| (Regex::new(mark).expect("a constant pattern"), instead))
    .into()
});

#[cfg(test)]
mod tests;
