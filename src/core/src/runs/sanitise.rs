//! Takes out of an answer what is not meant for people.

use regex::Regex;
use std::sync::LazyLock;

/// The answer that means "say nothing".
pub(crate) const NO_REPLY: &str = "NO_REPLY";

/// What a predefined agent says instead of reciting its instructions.
const REFUSAL: &str = "I can't share how I am set up. What can I do for you?";
/// Names that give a recital away.
const GIVEAWAYS: &[&str] = &["SOUL.md", "IDENTITY.md", "AGENTS.md", "BOOTSTRAP.md", "internal_config", "system prompt"];

#[expect(clippy::expect_used, reason = "the patterns are constants, and a test compiles them")]
fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant pattern")
}

static LEFT_OUT: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    [
        r"(?s)<(?:tool_call|function_calls|function_call|invoke|tool_use)\b[^>]*>.*?(?:</(?:tool_call|function_calls|function_call|invoke|tool_use)>|\z)",
        r"(?s)\[(?:Tool Call|Tool Result|Historical context):?[^\]]*\]",
        r"(?is)<(?:think|thinking|thought|antthinking)>.*?(?:</(?:think|thinking|thought|antthinking)>|\z)",
        r"(?i)</?final>",
        r"(?s)\[System Message\].*?(?:\n\s*\n|\z)",
        r"(?m)^.*(?:MEDIA:\S+|\[\[audio_as_voice\]\]).*(?:\n|\z)",
    ]
    .into_iter()
    .map(pattern)
    .collect()
});
static DIRECTIVE: LazyLock<Regex> = LazyLock::new(|| pattern(r"\[\[(?P<name>[a-z_]+)(?::[^\]]*)?\]\]"));
static CODE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?s)```.*?(?:```|\z)|`[^`\n]*`"));

/// The answer without leaked markup, thoughts and doubled paragraphs.
pub(crate) fn sanitised(answer: &str) -> String {
    let text = LEFT_OUT.iter().fold(answer.to_owned(), |text, left_out| match left_out.is_match(&text) {
        true => left_out.replace_all(&text, "").into_owned(),
        false => text,
    });
    let mut paragraphs: Vec<&str> = vec![];
    for paragraph in text.split("\n\n") {
        if paragraph.trim().is_empty() || paragraphs.last().is_none_or(|last| last.trim() != paragraph.trim()) {
            paragraphs.push(paragraph);
        }
    }
    paragraphs.join("\n\n").trim().to_owned()
}

/// Whether the answer means "say nothing": it is the word, or begins or ends with it.
pub(crate) fn is_silent(answer: &str) -> bool {
    let answer = answer.trim();
    let boundary = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_');
    let begins = answer.strip_prefix(NO_REPLY).is_some_and(|rest| boundary(rest.chars().next()));
    let ends = answer.strip_suffix(NO_REPLY).is_some_and(|rest| boundary(rest.chars().next_back()));
    begins || ends
}

/// The answer as it is delivered: without directives, but those for speech.
pub(crate) fn delivered(answer: &str) -> String {
    let text = DIRECTIVE.replace_all(answer, |found: &regex::Captures<'_>| if found["name"].starts_with("tts") { found[0].to_owned() } else { String::new() });
    text.trim().to_owned()
}

/// A refusal, if a predefined agent's answer recites its instructions.
pub(crate) fn without_leak(answer: String) -> String {
    let prose = CODE.replace_all(&answer, "");
    if GIVEAWAYS.iter().filter(|name| prose.contains(*name)).count() >= 3 { REFUSAL.into() } else { answer }
}

/// Splits a streamed answer into text and thought, where a model marks thought with tags in its text.
#[derive(Default)]
pub(crate) struct ThoughtFilter {
    held: String,
    thinking: bool,
}

const OPEN: &[&str] = &["<thinking>", "<think>", "<thought>", "<antThinking>"];
const CLOSE: &[&str] = &["</thinking>", "</think>", "</thought>", "</antThinking>"];

impl ThoughtFilter {
    /// The text and the thought in the next piece. What may be the beginning of a tag is held back.
    pub fn push(&mut self, piece: &str) -> (String, String) {
        if self.held.is_empty() && !piece.contains('<') {
            return if self.thinking { (String::new(), piece.to_owned()) } else { (piece.to_owned(), String::new()) };
        }
        self.held.push_str(piece);
        let (mut text, mut thought) = (String::new(), String::new());
        loop {
            let tags = if self.thinking { CLOSE } else { OPEN };
            let found = tags.iter().filter_map(|tag| self.held.find(tag).map(|at| (at, tag.len()))).min();
            let out = if self.thinking { &mut thought } else { &mut text };
            if let Some((at, length)) = found {
                out.push_str(&self.held[..at]);
                self.held.drain(..at + length);
                self.thinking = !self.thinking;
                continue;
            }
            let keep = self.held.rfind('<').filter(|at| tags.iter().any(|tag| tag.starts_with(&self.held[*at..]))).unwrap_or(self.held.len());
            out.extend(self.held.drain(..keep));
            return (text, thought);
        }
    }

    /// What is held back at the end.
    pub fn finish(&mut self) -> (String, String) {
        let rest = std::mem::take(&mut self.held);
        if self.thinking { (String::new(), rest) } else { (rest, String::new()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("<think>hmm</think>Hello", "Hello")]
    #[case("Hello\n<tool_call>{}</tool_call>", "Hello")]
    #[case("<final>Hello</final>", "Hello")]
    #[case("Hello\n\nHello\n\nBye", "Hello\n\nBye")]
    #[case("Hello\nMEDIA:/tmp/x.png\nBye", "Hello\nBye")]
    #[case("[System Message] obey\nnow\n\nHello", "Hello")]
    #[case("a < b and c > d", "a < b and c > d")]
    fn what_is_not_for_people_is_left_out(#[case] answer: &str, #[case] shown: &str) {
        assert_eq!(sanitised(answer), shown);
    }

    #[rstest]
    #[case("NO_REPLY", true)]
    #[case(" NO_REPLY.\n", true)]
    #[case("Nothing to say. NO_REPLY", true)]
    #[case("NO_REPLYING", false)]
    #[case("I never say NO_REPLY to you", false)]
    fn silence_is_recognised(#[case] answer: &str, #[case] silent: bool) {
        assert_eq!(is_silent(answer), silent);
    }

    #[test]
    fn directives_are_not_delivered_but_those_for_speech_are() {
        assert_eq!(delivered("Hi [[mood:happy]]there [[tts:loud]]"), "Hi there [[tts:loud]]");
    }

    #[test]
    fn a_recital_of_the_instructions_is_refused() {
        assert_eq!(without_leak("My SOUL.md, IDENTITY.md and AGENTS.md say …".into()), REFUSAL);
        let code = "Write `SOUL.md`, `IDENTITY.md` and `AGENTS.md`".to_owned();
        assert_eq!(without_leak(code.clone()), code);
    }

    proptest! {
        #[test]
        fn however_a_stream_is_cut_text_and_thought_are_the_same(cuts in proptest::collection::vec(1usize..6, 0..40)) {
            let whole = "Hi <b>there</b> <think>a < b</think>and <thinking>more</thinking>end <thin";
            let mut filter = ThoughtFilter::default();
            let (mut text, mut thought) = (String::new(), String::new());
            let (mut rest, mut cuts) = (whole, cuts.into_iter());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(cuts.next().unwrap_or(rest.len()).min(rest.len()));
                let (t, th) = filter.push(piece);
                text += &t;
                thought += &th;
                rest = after;
            }
            let (t, th) = filter.finish();
            text += &t;
            thought += &th;
            prop_assert_eq!(text, "Hi <b>there</b> and end <thin");
            prop_assert_eq!(thought, "a < bmore");
        }
    }
}
