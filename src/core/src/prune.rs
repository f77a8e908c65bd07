//! Makes a long conversation fit the model's context, for one call; the stored history stays whole.

use crate::tokens;
use goclaw_ports::sessions::{ChatMessage, MessageRole};
use serde::Deserialize;

/// When and how old tool results are shortened.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PruneSettings {
    /// `off` switches pruning off.
    pub mode: String,
    /// The last so many answers, and all after them, stay as they are.
    pub keep_last_assistants: usize,
    /// Below this share of the context nothing is shortened.
    pub soft_trim_ratio: f64,
    /// From this share on, old results are taken out.
    pub hard_clear_ratio: f64,
    /// Results are taken out only if there is this much to win, in characters.
    pub min_prunable_tool_chars: usize,
    /// How results are shortened.
    pub soft_trim: SoftTrim,
    /// How results are taken out.
    pub hard_clear: HardClear,
}

/// How results are shortened.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SoftTrim {
    /// Longer ones are, in characters.
    pub max_chars: usize,
    /// What stays of the beginning.
    pub head_chars: usize,
    /// What stays of the end.
    pub tail_chars: usize,
}

/// How results are taken out.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HardClear {
    /// Whether they are at all.
    pub enabled: bool,
    /// What stands in their place.
    pub placeholder: String,
}

impl Default for PruneSettings {
    fn default() -> Self {
        Self {
            mode: String::new(),
            keep_last_assistants: 3,
            soft_trim_ratio: 0.25,
            hard_clear_ratio: 0.5,
            min_prunable_tool_chars: 50_000,
            soft_trim: SoftTrim::default(),
            hard_clear: HardClear::default(),
        }
    }
}

impl Default for SoftTrim {
    fn default() -> Self {
        Self { max_chars: 3000, head_chars: 1500, tail_chars: 1500 }
    }
}

impl Default for HardClear {
    fn default() -> Self {
        Self { enabled: true, placeholder: "[Old tool result content cleared]".into() }
    }
}

/// Characters per token, for estimates.
const CHARS_PER_TOKEN: usize = 4;

/// The characters of a message that count against the context.
#[must_use]
pub fn weight(message: &ChatMessage) -> usize {
    let calls: usize = message.tool_calls.iter().map(|call| call.name.len() + serde_json::to_string(&call.arguments).map_or(0, |text| text.len())).sum();
    message.content.chars().count() + message.thinking.chars().count() + calls + message.images.len() * tokens::PICTURE * CHARS_PER_TOKEN
}

fn share(part: usize, whole: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let share = part as f64 / whole as f64;
    share
}

/// Shortens old tool results until the conversation is well within `context_window` tokens.
pub(crate) fn shorten(messages: &mut [ChatMessage], context_window: i64, settings: &PruneSettings) {
    let window = characters(context_window);
    if window == 0 || settings.mode == "off" {
        return;
    }
    let mut total: usize = messages.iter().map(weight).sum();
    if share(total, window) < settings.soft_trim_ratio {
        return;
    }
    let first = messages.iter().position(|message| message.role == MessageRole::User).unwrap_or(0);
    let answers = messages.iter().enumerate().rev().filter(|(_, message)| message.role == MessageRole::Assistant);
    let last = answers.map(|(at, _)| at).nth(settings.keep_last_assistants.saturating_sub(1)).unwrap_or(first);
    let old: Vec<usize> = (first..last).filter(|at| messages[*at].role == MessageRole::Tool).collect();
    let largest = window * 3 / 10;
    for &at in &old {
        let content = &mut messages[at].content;
        let before = content.chars().count();
        if before > largest {
            *content = head_and_tail(content, largest * 7 / 10, largest * 3 / 10);
        }
        let trim = &settings.soft_trim;
        if content.chars().count() > trim.max_chars {
            *content = head_and_tail(content, trim.head_chars, trim.tail_chars);
        }
        total = total - before + content.chars().count();
    }
    let prunable: usize = old.iter().map(|at| messages[*at].content.chars().count()).sum();
    if !settings.hard_clear.enabled || prunable < settings.min_prunable_tool_chars {
        return;
    }
    for at in old {
        if share(total, window) < settings.hard_clear_ratio {
            break;
        }
        let content = &mut messages[at].content;
        total = total.saturating_sub(content.chars().count()) + settings.hard_clear.placeholder.len();
        content.clone_from(&settings.hard_clear.placeholder);
    }
}

/// The beginning and the end of a text, with a note of what is missing between them.
#[must_use]
pub fn head_and_tail(text: &str, head: usize, tail: usize) -> String {
    let length = text.chars().count();
    if length <= head + tail {
        return text.to_owned();
    }
    let beginning: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(length - tail).collect();
    format!("{beginning}\n[… {} characters left out …]\n{end}", length - head - tail)
}

/// Drops the oldest turns of a conversation that would not fit into `context_window` tokens, when nothing else helped. The first
/// `lead` messages stay and do not count: the system prompt, and the summary. The first message after a cut is always a user's, and
/// no result loses its call.
pub(crate) fn drop_oldest_turns(messages: &mut Vec<ChatMessage>, lead: usize, context_window: i64) {
    let limit = characters(context_window) / 10 * 9;
    if limit == 0 {
        return;
    }
    let mut total: usize = messages.iter().skip(lead).map(weight).sum();
    while total > limit {
        let next = messages.iter().enumerate().skip(lead + 1).find(|(_, message)| message.role == MessageRole::User).map(|(at, _)| at);
        let Some(next) = next else { break };
        total -= messages.drain(lead..next).map(|message| weight(&message)).sum::<usize>();
    }
}

/// About as many characters as fit into so many tokens.
fn characters(tokens: i64) -> usize {
    usize::try_from(tokens).unwrap_or(0).saturating_mul(CHARS_PER_TOKEN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use goclaw_ports::sessions::ToolCall;
    use proptest::prelude::*;

    fn turn(n: usize, result: &str) -> Vec<ChatMessage> {
        let call =
            ToolCall { id: format!("c{n}"), name: "read_file".into(), arguments: Default::default(), metadata: Default::default(), parse_error: String::new() };
        vec![
            ChatMessage::new(MessageRole::User, format!("question {n}")),
            ChatMessage { tool_calls: vec![call], ..ChatMessage::new(MessageRole::Assistant, "") },
            ChatMessage::tool_result(format!("c{n}"), result, false),
            ChatMessage::new(MessageRole::Assistant, format!("answer {n}")),
        ]
    }

    fn prune(messages: &mut Vec<ChatMessage>, window: i64, settings: &PruneSettings) {
        shorten(messages, window, settings);
        drop_oldest_turns(messages, 0, window);
    }

    fn conversation(turns: usize, result: &str) -> Vec<ChatMessage> {
        (0..turns).flat_map(|n| turn(n, result)).collect()
    }

    #[test]
    fn a_short_conversation_stays_as_it_is() {
        let mut messages = conversation(3, "short");
        let before = messages.clone();
        prune(&mut messages, 200_000, &PruneSettings::default());
        assert_eq!(messages, before);
    }

    #[test]
    fn old_results_are_shortened_and_recent_ones_are_not() {
        let mut messages = conversation(6, &"x".repeat(5000));
        prune(&mut messages, 20_000, &PruneSettings::default());
        assert!(messages[2].content.chars().count() < 3200);
        assert_eq!(messages[22].content.len(), 5000);
    }

    #[test]
    fn pictures_take_room_as_words_do() {
        let picture = goclaw_ports::media::ImagePart { mime_type: "image/jpeg".into(), data: "x".into() };
        let said = |n: usize| ChatMessage { images: vec![picture.clone(); 2], ..ChatMessage::new(MessageRole::User, n.to_string()) };
        let mut messages: Vec<ChatMessage> = (0..5).map(said).collect();
        // Room for four messages of two pictures each, but for the tenth that stays free.
        prune(&mut messages, 12_800, &PruneSettings::default());
        let left: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
        assert_eq!(left, ["2", "3", "4"]);
    }

    #[test]
    fn the_oldest_turns_go_when_nothing_else_helps() {
        let mut messages: Vec<ChatMessage> = (0..50).map(|n| ChatMessage::new(MessageRole::User, format!("{n} {}", "y".repeat(1000)))).collect();
        prune(&mut messages, 2_000, &PruneSettings::default());
        assert!(messages.iter().map(weight).sum::<usize>() <= 8_000);
        assert!(messages.last().is_some_and(|message| message.content.starts_with("49 ")));
    }

    proptest! {
        #[test]
        fn every_result_keeps_its_call(turns in 1usize..12, size in 0usize..20_000, window in 100i64..50_000) {
            let mut messages = conversation(turns, &"z".repeat(size));
            prune(&mut messages, window, &PruneSettings::default());
            let mut open: Vec<String> = vec![];
            for message in &messages {
                open.extend(message.tool_calls.iter().map(|call| call.id.clone()));
                if message.role == MessageRole::Tool {
                    prop_assert!(open.contains(&message.tool_call_id));
                }
            }
            prop_assert_eq!(messages[0].role, MessageRole::User);
        }
    }
}
