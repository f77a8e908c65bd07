//! What a model wrote: files, and a summary.

use crate::context_files::{self, IDENTITY, SOUL, USER_PREDEFINED};
use goclaw_ports::agents::ContextFile;
use regex::Regex;
use std::sync::LazyLock;

/// The files that models write, in the order in which they are stored.
pub(super) const WRITTEN: [&str; 3] = [SOUL, IDENTITY, USER_PREDEFINED];
/// The longest summary, in characters.
const MAX_SUMMARY: usize = 200;
/// The longest name, in characters.
const MAX_NAME: usize = 255;

#[expect(clippy::expect_used, reason = "a constant pattern")]
static FILE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#"(?s)<file\s+name\s*=\s*["']([^"'<>]{1,64})["']\s*>(.*?)</file>"#).expect("a constant pattern"));
#[expect(clippy::expect_used, reason = "a constant pattern")]
static SUMMARY: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?s)<frontmatter>(.*?)</frontmatter>").expect("a constant pattern"));

/// What a model wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// Whole files, each name once, in the order in which they are stored.
    pub files: Vec<ContextFile>,
    /// What the agent is good for.
    pub summary: Option<String>,
}

/// The whole blocks of an answer, even of one that was cut off. What a model thought aloud does not count.
pub(super) fn parse(text: &str) -> Answer {
    let said = text.rsplit_once("</think>").map_or(text, |(_, said)| said);
    let mut files: Vec<ContextFile> = Vec::new();
    for found in FILE.captures_iter(said) {
        let (name, content) = (found[1].trim(), unfenced(&found[2]));
        let Some(name) = WRITTEN.into_iter().find(|known| *known == name) else { continue };
        if content.is_empty() {
            continue;
        }
        files.retain(|file| file.name != name);
        files.push(ContextFile { name: name.to_owned(), content: format!("{content}\n") });
    }
    files.sort_by_key(|file| WRITTEN.iter().position(|known| *known == file.name));
    let summary = SUMMARY.captures(said).map(|found| one_line(&found[1])).filter(|summary| !summary.is_empty());
    Answer { files, summary: summary.map(|summary| summary.chars().take(MAX_SUMMARY).collect()) }
}

/// A text without the code fence around it.
fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let Some(inner) = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```")) else { return text };
    inner.split_once('\n').map_or("", |(_, inner)| inner).trim()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What stands in for a summary: the beginning of the description.
pub(super) fn excerpt(description: &str) -> String {
    let line = one_line(description);
    match line.char_indices().nth(MAX_SUMMARY) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// The name in an IDENTITY.md. A placeholder, or another field's label, is none.
pub(super) fn name_in(identity: &str) -> Option<String> {
    let name = context_files::field(identity, "Name")?;
    let is_label = ["creature", "purpose", "vibe", "emoji", "avatar"].iter().any(|label| {
        let bare = name.trim_start_matches(['-', '*', '_', ' ']).to_lowercase();
        bare.strip_prefix(label).is_some_and(|rest| rest.trim_start_matches(['*', '_', ' ']).starts_with(':') || rest.is_empty())
    });
    let is_placeholder = name.starts_with(['[', '(', '<', '{']);
    (!is_label && !is_placeholder).then(|| name.chars().take(MAX_NAME).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn file(name: &str, content: &str) -> ContextFile {
        ContextFile { name: name.into(), content: content.into() }
    }

    #[test]
    fn whole_blocks_are_read_in_the_order_of_storage() {
        let text = "Sure!\n<file name=\"IDENTITY.md\">\n- **Name:** Zoe\n</file>\n<frontmatter> Knows\n foxes </frontmatter><file name='SOUL.md'>```markdown\n# Soul\n```</file>";
        let expected = Answer { files: vec![file(SOUL, "# Soul\n"), file(IDENTITY, "- **Name:** Zoe\n")], summary: Some("Knows foxes".into()) };
        assert_eq!(parse(text), expected);
    }

    #[rstest]
    #[case("")]
    #[case("I cannot do that.")]
    #[case("<file name=\"SOUL.md\">cut off")]
    #[case("<file name=\"SOUL.md\">  </file>")]
    #[case("<file name=\"../SOUL.md\">x</file>")]
    #[case("<file name=\"AGENTS.md\">x</file>")]
    #[case("<think><file name=\"SOUL.md\">draft</file></think>done")]
    fn what_is_not_whole_or_not_asked_for_does_not_count(#[case] text: &str) {
        assert!(parse(text).files.is_empty());
    }

    #[test]
    fn the_last_of_two_files_of_one_name_counts() {
        assert_eq!(parse("<file name=\"SOUL.md\">one</file><file name=\"SOUL.md\">two</file>").files, [file(SOUL, "two\n")]);
    }

    #[rstest]
    #[case("- **Name:** Zoe", Some("Zoe"))]
    #[case("Name: *Zoe the Fox*", Some("Zoe the Fox"))]
    #[case("- **Name:** **Creature:** fox", None)]
    #[case("Name: Emoji:", None)]
    #[case("- **Name:** [your name]", None)]
    #[case("- **Name:**\n- **Creature:** fox", None)]
    #[case("Name: Purposeful Pete", Some("Purposeful Pete"))]
    fn a_name_is_read_from_the_identity(#[case] identity: &str, #[case] name: Option<&str>) {
        assert_eq!(name_in(identity).as_deref(), name);
    }

    #[test]
    fn a_long_description_is_cut_between_characters() {
        assert_eq!(excerpt("short\ntext"), "short text");
        assert_eq!(excerpt(&"ü".repeat(300)), format!("{}…", "ü".repeat(200)));
    }

    proptest! {
        #[test]
        fn any_answer_is_read(text in "(<file name=\"(SOUL|IDENTITY|X)\\.md\">|</file>|<frontmatter>|</frontmatter>|```|</think>|\\PC{0,9}|\n){0,20}") {
            let answer = parse(&text);
            prop_assert!(answer.files.len() <= WRITTEN.len());
            prop_assert!(answer.files.iter().all(|file| !file.content.trim().is_empty()));
            prop_assert!(answer.summary.is_none_or(|summary| summary.chars().count() <= 200 && !summary.is_empty()));
            let _ = name_in(&text);
        }
    }
}
