//! Gemini refuses tool calls that come back without the signature it gave them.

use goclaw_ports::sessions::{ChatMessage, MessageRole};
use std::{borrow::Cow, collections::HashSet};

/// Where a call keeps its signature.
pub(super) const SIGNATURE: &str = "thought_signature";

/// The conversation without unsigned calls: their turns keep the text, and the results that follow become one user message. Results of no call
/// are left out.
pub(super) fn without_unsigned_calls(messages: &[ChatMessage]) -> Vec<Cow<'_, ChatMessage>> {
    let mut kept: Vec<Cow<'_, ChatMessage>> = Vec::new();
    let mut known: HashSet<&str> = HashSet::new();
    let mut rest = messages.iter().peekable();
    while let Some(message) = rest.next() {
        match message.role {
            MessageRole::Assistant if message.tool_calls.iter().any(|call| call.metadata.get(SIGNATURE).is_none_or(String::is_empty)) => {
                if !message.content.is_empty() {
                    kept.push(Cow::Owned(ChatMessage { tool_calls: Vec::new(), ..message.clone() }));
                }
                let mut results = Vec::new();
                while let Some(result) = rest.next_if(|next| next.role == MessageRole::Tool) {
                    if message.tool_calls.iter().any(|call| call.id == result.tool_call_id) && !result.content.is_empty() {
                        results.push(result.content.as_str());
                    }
                }
                if !results.is_empty() {
                    kept.push(Cow::Owned(ChatMessage::new(MessageRole::User, results.join("\n\n"))));
                }
            }
            MessageRole::Tool if !known.contains(message.tool_call_id.as_str()) => {}
            _ => {
                known.extend(message.tool_calls.iter().map(|call| call.id.as_str()));
                kept.push(Cow::Borrowed(message));
            }
        }
    }
    kept
}
