//! What the model reads of a command.

use super::process::in_words;
use goclaw_ports::tools::ToolResult;
use goclaw_process::{Captured, End, Ended};
use regex::Regex;
use std::sync::LazyLock;

/// Characters at the end of a long output in which something important is looked for.
const TELLING: usize = 2_000;
/// Most characters of a tail.
const MAX_TAIL: usize = 4_000;

/// Words that make the end of an output worth keeping.
#[expect(clippy::expect_used, reason = "a constant pattern that the tests compile")]
static IMPORTANT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)error|exception|failed|fatal|traceback|panic|stack trace|exit code|total|summary|result|complete|finished|done|\}\s*$")
        .expect("a constant pattern")
});

/// The answer for a command that ended, at most about `limit` characters long.
pub fn compose(ended: Ended, limit: usize) -> ToolResult {
    let mut text = text_of(&ended.stdout);
    let errors = text_of(&ended.stderr);
    if !errors.is_empty() {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str("STDERR:\n");
        text.push_str(&errors);
    }
    match ended.end {
        End::Success if text.trim().is_empty() => ToolResult::silent("(the command printed nothing)"),
        End::Success => ToolResult::silent(shortened(text, limit)),
        End::Failure(how) if text.trim().is_empty() => ToolResult::error(how),
        End::Failure(_) => ToolResult::error(shortened(text, limit)),
        End::Timeout(after) => {
            let mut said = format!("command timed out after {}", in_words(after));
            if !text.trim().is_empty() {
                said.push_str("; until then it printed:\n");
                said.push_str(&shortened(text, limit));
            }
            ToolResult::error(said)
        }
        End::NotStarted(why) => ToolResult::error(format!("the command could not be started: {why}")),
    }
}

fn text_of(captured: &Captured) -> String {
    let mut text = String::from_utf8_lossy(&captured.kept).into_owned();
    if captured.total > captured.kept.len() as u64 {
        text.push_str(&format!("\n[output truncated: the first {} of {} bytes are kept]\n", captured.kept.len(), captured.total));
    }
    text
}

/// The byte at which the character number `chars` of `text` starts.
fn byte_of(text: &str, chars: usize) -> usize {
    text.char_indices().nth(chars).map_or(text.len(), |(at, _)| at)
}

/// The first `chars` characters, cut after a line if one ends in their last fifth.
fn head(text: &str, chars: usize) -> &str {
    let head = &text[..byte_of(text, chars)];
    match head.rfind('\n') {
        Some(at) if at >= byte_of(head, chars - chars / 5) => &head[..=at],
        _ => head,
    }
}

/// The last `chars` characters of `total`, starting at a line if one starts in their first fifth.
fn tail(text: &str, total: usize, chars: usize) -> &str {
    let tail = &text[byte_of(text, total.saturating_sub(chars))..];
    match tail.find('\n') {
        Some(at) if at < byte_of(tail, chars / 5) => &tail[at + 1..],
        _ => tail,
    }
}

/// `text` if it fits into `limit` characters, else its head, and its tail if that says something.
fn shortened(text: String, limit: usize) -> String {
    let total = text.chars().count();
    if total <= limit {
        return text;
    }
    let advice = format!("[output is {total} characters long, too long to show; redirect it to a file and read parts of that]");
    if !IMPORTANT.is_match(tail(&text, total, TELLING)) {
        return format!("{}\n{advice}", head(&text, limit));
    }
    let last = (limit * 3 / 10).min(MAX_TAIL);
    format!("{}\n[… the middle is left out …]\n{}\n{advice}", head(&text, limit * 7 / 10), tail(&text, total, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn captured(text: &str) -> Captured {
        Captured { kept: text.into(), total: text.len() as u64 }
    }

    fn composed(end: End, stdout: &str, stderr: &str) -> ToolResult {
        compose(Ended { end, stdout: captured(stdout), stderr: captured(stderr) }, 1_000)
    }

    #[test]
    fn both_outputs_are_told_apart() {
        assert_eq!(composed(End::Success, "a", "b"), ToolResult::silent("a\nSTDERR:\nb"));
        assert_eq!(composed(End::Success, "", "b"), ToolResult::silent("STDERR:\nb"));
        assert!(!composed(End::Success, "\n", "").for_llm.trim().is_empty());
    }

    #[test]
    fn a_failure_says_what_was_printed_or_how_it_ended() {
        assert_eq!(composed(End::Failure("exit status: 3".into()), "", ""), ToolResult::error("exit status: 3"));
        assert_eq!(composed(End::Failure("exit status: 3".into()), "", "no"), ToolResult::error("STDERR:\nno"));
        assert!(composed(End::Failure("x".into()), &"y".repeat(5_000), "").for_llm.len() < 1_200);
    }

    #[test]
    fn a_long_output_keeps_its_head_and_a_telling_tail() {
        let lines = "line of text\n".repeat(500);
        let plain = shortened(lines.clone(), 1_000);
        assert!(plain.contains("6500 characters") && plain.contains("redirect it to a file") && !plain.contains("left out"));
        let telling = shortened(lines + "12 tests FAILED\n", 1_000);
        assert!(telling.contains("left out") && telling.contains("12 tests FAILED\n"));
        assert!(telling.lines().all(|line| !line.starts_with("ine of") && !line.ends_with("line of te")));
        assert!(shortened("x".repeat(5_000) + "\n}", 1_000).contains("\n}"));
    }

    #[test]
    fn output_beyond_the_capture_is_counted() {
        assert!(text_of(&Captured { kept: b"abc".to_vec(), total: 10 }).contains("first 3 of 10 bytes"));
    }

    proptest! {
        #[test]
        fn any_text_is_cut_between_characters(text in "(é|a|\n|error|🙂){0,400}", limit in 1_usize..200) {
            prop_assert!(shortened(text, limit).chars().count() <= limit + 300);
        }
    }
}
