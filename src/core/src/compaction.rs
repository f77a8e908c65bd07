//! Compaction: when a conversation fills the model's context, its older part gives way to a summary.

use crate::{prune::head_and_tail, tokens};
use goclaw_ports::{
    JsonObject,
    llm::Usage,
    sessions::{ChatMessage, MessageRole},
};
use serde_json::Value;

/// When long conversations are summed up.
#[derive(Debug, Clone, PartialEq)]
pub struct CompactionSettings {
    /// From which share of the model's context on, above 0, at most 1.
    pub max_history_share: f64,
    /// So many of the newest messages stay as they are.
    pub keep_last_messages: usize,
}

impl Default for CompactionSettings {
    fn default() -> Self {
        Self { max_history_share: 0.85, keep_last_messages: 4 }
    }
}

impl CompactionSettings {
    /// These settings with an agent's own over them. Values that make no sense change nothing.
    #[must_use]
    pub(crate) fn with_own(&self, own: Option<&JsonObject>) -> Self {
        let value = |name: &str| own.and_then(|own| own.get(name));
        let share = value("maxHistoryShare").and_then(Value::as_f64).filter(|share| *share > 0.0 && *share <= 1.0);
        let keep = value("keepLastMessages").and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok());
        Self { max_history_share: share.unwrap_or(self.max_history_share), keep_last_messages: keep.unwrap_or(self.keep_last_messages) }
    }
}

/// Measures how full the model's context is. What providers report corrects what is counted here.
#[derive(Debug, Clone)]
pub(crate) struct Gauge {
    window: i64,
    /// So many tokens a conversation may have.
    limit: i64,
    /// What a prompt holds besides the conversation, once it is known.
    overhead: Option<i64>,
    /// The conversation that was sent last, as it was counted here.
    counted: Option<i64>,
    /// By how much it was more for the provider.
    error: i64,
}

impl Gauge {
    pub fn new(context_window: i64, settings: &CompactionSettings) -> Self {
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "an estimate")]
        let limit = (context_window.max(0) as f64 * settings.max_history_share) as i64;
        Self { window: context_window, limit, overhead: None, counted: None, error: 0 }
    }

    /// Whether a conversation surely leaves enough of the context. Costs nothing.
    pub fn surely_fits(&self, messages: &[ChatMessage]) -> bool {
        self.window <= 0 || tokens_of(tokens::at_most(conversation(messages))).saturating_add(self.error.max(0)) <= self.limit
    }

    /// Whether a conversation that is about to be sent fills too much of the context. Takes a millisecond for some kilobytes.
    pub fn is_full(&mut self, messages: &[ChatMessage]) -> bool {
        let counted = tokens_of(tokens::of_messages(conversation(messages)));
        self.counted = Some(counted);
        counted + self.error > self.limit
    }

    /// Notes what the provider read. A report far below any count is none: some services leave out what they had in a cache.
    pub fn note(&mut self, usage: Usage, provider_type: &str) {
        let Some(counted) = self.counted.take() else { return };
        let cached = if provider_type == "anthropic_native" { usage.cache_read_tokens + usage.cache_creation_tokens } else { 0 };
        let read = usage.prompt_tokens + cached;
        if read < counted / 4 {
            return;
        }
        let overhead = *self.overhead.get_or_insert((read - counted).clamp(0, self.window / 5 * 2));
        self.error = read - overhead - counted;
    }
}

fn tokens_of(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The messages without the system prompt before them.
fn conversation(messages: &[ChatMessage]) -> &[ChatMessage] {
    &messages[system_of(messages)..]
}

/// How many messages the system prompt is.
pub(crate) fn system_of(messages: &[ChatMessage]) -> usize {
    messages.iter().take_while(|message| message.role == MessageRole::System).count()
}

/// Where a conversation can be cut so that at least `keep` messages stay: no result is parted from its call.
pub(crate) fn cut<'m>(messages: impl ExactSizeIterator<Item = &'m ChatMessage> + DoubleEndedIterator, keep: usize) -> usize {
    let start = messages.len().saturating_sub(keep);
    let results = messages.rev().skip(keep.saturating_sub(1)).take_while(|message| message.role == MessageRole::Tool).count();
    // With nothing kept there is no result to part.
    if keep == 0 { start } else { start.saturating_sub(results) }
}

/// How a summary begins when the model is reminded of it.
const REMINDER: &str = "[What was said earlier in this conversation, in short]";

/// A summary as the model is reminded of it at the beginning of what is left.
pub(crate) fn remembered(summary: &str) -> Vec<ChatMessage> {
    if summary.is_empty() {
        return vec![];
    }
    let reminder = |role, text| ChatMessage { reminds: true, ..ChatMessage::new(role, text) };
    vec![reminder(MessageRole::User, format!("{REMINDER}\n{summary}")), reminder(MessageRole::Assistant, "I remember, and go on from there.".to_owned())]
}

/// How many messages stand before the conversation itself: the system prompt, and the summary of what was said earlier.
pub(crate) fn lead_of(messages: &[ChatMessage]) -> usize {
    let system = system_of(messages);
    system + messages[system..].iter().take_while(|message| message.reminds).count()
}

/// The most characters of what somebody says, and of a tool's result, that a summary is made from.
const SAID: usize = 12_000;
const RESULT: usize = 2_000;
const ARGUMENTS: usize = 500;

/// A message as a summary is made from it.
pub(crate) fn line(message: &ChatMessage, most: usize) -> String {
    let short = |text: &str, limit: usize| {
        let limit = limit.min(most);
        head_and_tail(text, limit * 7 / 10, limit * 3 / 10)
    };
    let speaker = match message.role {
        MessageRole::System => "note",
        MessageRole::User => "user",
        MessageRole::Assistant => "assistant",
        MessageRole::Tool => "tool result",
    };
    let text = short(&message.content, if message.role == MessageRole::Tool { RESULT } else { SAID });
    let calls =
        message.tool_calls.iter().map(|call| format!("\n(calls {}: {})", call.name, short(&Value::Object(call.arguments.clone()).to_string(), ARGUMENTS)));
    format!("{speaker}: {text}{}\n\n", calls.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use goclaw_ports::sessions::ToolCall;
    use serde_json::json;

    fn said(role: MessageRole, words: usize) -> ChatMessage {
        ChatMessage::new(role, "word ".repeat(words))
    }

    fn roles(text: &str) -> Vec<ChatMessage> {
        let role = |letter| match letter {
            'u' => MessageRole::User,
            't' => MessageRole::Tool,
            _ => MessageRole::Assistant,
        };
        text.chars().map(|letter| ChatMessage::new(role(letter), "x")).collect()
    }

    #[test]
    fn a_cut_keeps_what_is_wanted_and_never_parts_a_result_from_its_call() {
        for (conversation, keep, start) in
            [("uaua", 2, 2), ("uaua", 4, 0), ("uaua", 9, 0), ("", 4, 0), ("uatta", 1, 4), ("uatta", 2, 1), ("uatta", 3, 1), ("uata", 0, 4), ("tt", 1, 0)]
        {
            assert_eq!(cut(roles(conversation).iter(), keep), start, "{conversation} {keep}");
        }
    }

    #[test]
    fn the_reminder_of_a_summary_is_told_from_words_that_look_like_it() {
        let system = ChatMessage::new(MessageRole::System, "You are a fox.");
        let with = |more: Vec<ChatMessage>| [vec![system.clone()], more].concat();
        assert_eq!(lead_of(&with([remembered("Dens."), roles("ua")].concat())), 3);
        let typed: Vec<_> = remembered("Dens.").into_iter().map(|message| ChatMessage::new(message.role, message.content)).collect();
        assert_eq!(lead_of(&with(typed)), 1, "a user may write the same words");
        assert_eq!((lead_of(&with(remembered(""))), lead_of(&[])), (1, 0));
    }

    #[test]
    fn an_agents_own_settings_win_where_they_make_sense() {
        let settings = CompactionSettings::default();
        let with = |own: Value| settings.with_own(own.as_object());
        assert_eq!(with(json!({})), settings);
        assert_eq!(with(json!({"maxHistoryShare": 2, "keepLastMessages": -1})), settings);
        assert_eq!(with(json!({"maxHistoryShare": 0.5, "keepLastMessages": 10})), CompactionSettings { max_history_share: 0.5, keep_last_messages: 10 });
        assert_eq!(settings.with_own(None), settings);
    }

    #[test]
    fn a_context_is_full_from_the_share_on() {
        let gauge = || Gauge::new(1_000, &CompactionSettings::default());
        let conversation = |words| vec![said(MessageRole::System, 5_000), said(MessageRole::User, words)];
        assert!(gauge().surely_fits(&conversation(100)) && !gauge().surely_fits(&conversation(400)));
        assert!(!gauge().is_full(&conversation(800)));
        assert!(gauge().is_full(&conversation(900)));
    }

    #[test]
    fn what_the_provider_reports_corrects_the_count() {
        let conversation = |words| vec![said(MessageRole::User, words)];
        let report = |prompt_tokens| Usage { prompt_tokens, ..Usage::default() };
        let mut gauge = Gauge::new(1_000, &CompactionSettings::default());
        assert!(!gauge.is_full(&conversation(400)));
        // The first report tells what the prompt holds besides, the next how far off the count is.
        gauge.note(report(605), "openai_compat");
        assert!(!gauge.is_full(&conversation(800)));
        gauge.note(report(1_105), "openai_compat");
        assert!(gauge.is_full(&conversation(800)), "the provider counts a hundred more");
        gauge.note(report(12), "openai_compat");
        assert!(gauge.is_full(&conversation(800)), "twelve tokens are no report");
        gauge.note(Usage { prompt_tokens: 5, cache_read_tokens: 900, cache_creation_tokens: 0, ..Usage::default() }, "anthropic_native");
        assert!(!gauge.is_full(&conversation(800)), "what was in the cache counts");
    }

    #[test]
    fn a_line_says_who_said_what_and_is_not_long() {
        let call = ToolCall {
            id: "1".into(),
            name: "read_file".into(),
            arguments: JsonObject::from_iter([("path".to_owned(), "a".repeat(9_000).into())]),
            metadata: Default::default(),
            parse_error: String::new(),
        };
        let step = line(&ChatMessage { tool_calls: vec![call], ..ChatMessage::new(MessageRole::Assistant, "I look.") }, 10_000);
        assert!(step.starts_with("assistant: I look.\n(calls read_file: {\"path\":\"aaa") && step.len() < 700, "{step}");
        assert!(line(&said(MessageRole::Tool, 9_000), 10_000).len() < 2_200);
        assert!(line(&said(MessageRole::User, 9_000), 1_000).len() < 1_100);
    }
}
