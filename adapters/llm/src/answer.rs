//! An answer of OpenAI's dialects as it grows.

use goclaw_ports::{
    llm::{ChatEvent, ChatResponse, FinishReason, Usage},
    sessions::ToolCall,
};
use std::{borrow::Cow, collections::VecDeque};

/// What was said and thought so far.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) content: String,
    thinking: String,
}

impl Answer {
    /// The next bit of text.
    pub(crate) fn say(&mut self, text: Cow<'_, str>, out: &mut VecDeque<ChatEvent>) {
        if !text.is_empty() {
            self.content.push_str(&text);
            out.push_back(ChatEvent::Text(text.into_owned()));
        }
    }

    /// The next bit of thought.
    pub(crate) fn think(&mut self, thought: Cow<'_, str>, out: &mut VecDeque<ChatEvent>) {
        if !thought.is_empty() {
            self.thinking.push_str(&thought);
            out.push_back(ChatEvent::Thinking(thought.into_owned()));
        }
    }

    /// All of it. `cut` says that the model ran into its limit: its calls may lack their end.
    pub(crate) fn finish(&mut self, tool_calls: Vec<ToolCall>, cut: bool, usage: Option<Usage>) -> ChatResponse {
        ChatResponse {
            content: std::mem::take(&mut self.content),
            thinking: std::mem::take(&mut self.thinking),
            finish_reason: match cut {
                true => FinishReason::Length,
                false if !tool_calls.is_empty() => FinishReason::ToolCalls,
                false => FinishReason::Stop,
            },
            tool_calls,
            usage,
            ..ChatResponse::default()
        }
    }
}

/// What an answer took: `input` and `output` hold the cached and the thought tokens. A total that is not told is their sum.
pub(crate) fn usage(input: Option<i64>, output: Option<i64>, total: Option<i64>, cached: Option<i64>, thought: Option<i64>) -> Usage {
    let (prompt_tokens, completion_tokens) = (input.unwrap_or(0), output.unwrap_or(0));
    Usage {
        prompt_tokens,
        completion_tokens,
        total_tokens: total.unwrap_or(prompt_tokens + completion_tokens),
        cache_creation_tokens: 0,
        cache_read_tokens: cached.unwrap_or(0),
        thinking_tokens: thought.unwrap_or(0),
    }
}
