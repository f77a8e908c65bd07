//! First meetings: an agent gets to know a user, and an open one finds out who it is to be.

use super::request::Request;
use crate::{context_files::BOOTSTRAP, settings::Settings};
use goclaw_ports::{
    agents::ContextFile,
    sessions::{ChatMessage, MessageRole},
};

/// The only tool of an open agent that does not know yet who it is.
pub(crate) const ONLY_TOOL: &str = "write_file";
/// With this turn a first meeting is over, whatever was written.
pub(crate) const LAST_TURN: usize = 3;

/// Whether no user is at the other end of this conversation.
pub(crate) fn is_minimal(session_key: &str) -> bool {
    matches!(kind(session_key), "subagent" | "delegate" | "cron" | "heartbeat")
}

/// What stands behind the agent in a session key: the channel, or what started the run.
fn kind(session_key: &str) -> &str {
    session_key.split(':').nth(2).unwrap_or_default()
}

/// Whether a user is at the other end of this conversation, alone, and it goes on after one answer.
fn is_direct(session_key: &str) -> bool {
    !is_minimal(session_key) && session_key.split(':').nth(3) == Some("direct")
}

/// The turn of a first meeting, this one included; `None` if this run is none, and then the script for it leaves `files`.
/// Only a user in a direct conversation is met.
pub(crate) fn turn(request: &Request, settings: &Settings, files: &mut Vec<ContextFile>, past: &[ChatMessage]) -> Option<usize> {
    let options = &request.options;
    let direct = is_direct(&request.session_key) && request.origin.peer_kind == "direct" && !request.caller.user.is_empty();
    let plain = options.kind.is_empty() && !options.hidden && !options.light_context;
    let scripted = files.iter().any(|file| file.name == BOOTSTRAP && !file.content.trim().is_empty());
    if !(settings.agents.onboarding && direct && plain && scripted) {
        files.retain(|file| file.name != BOOTSTRAP);
        return None;
    }
    let said = past.iter().filter(|message| message.role == MessageRole::User).count();
    Some(said + usize::from(!request.stored))
}

/// What the model is told in a last turn in which nothing has been written yet.
pub(crate) fn reminder(turn: usize, past: &[ChatMessage]) -> Option<&'static str> {
    let written = past.iter().flat_map(|message| &message.tool_calls).any(|call| call.name.ends_with(ONLY_TOOL));
    (turn >= LAST_TURN && !written).then(|| include_str!("../../prompts/onboarding_reminder.md").trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use goclaw_ports::sessions::ToolCall;

    #[test]
    fn nobody_is_at_the_other_end_of_what_the_gateway_starts() {
        for key in ["agent:fox:subagent:1", "agent:fox:delegate:1", "agent:fox:cron:1", "agent:fox:heartbeat", "agent:fox:heartbeat:1"] {
            assert!(is_minimal(key), "{key}");
        }
        for key in ["agent:fox:ws:direct:cron", "agent:cron:ws:direct:1", "agent:fox:telegram:direct:subagent", "cron", ""] {
            assert!(!is_minimal(key), "{key}");
        }
    }

    #[test]
    fn a_user_is_met_where_a_conversation_goes_on() {
        for key in ["agent:fox:ws:direct:1", "agent:fox:telegram:direct:7:thread:2"] {
            assert!(is_direct(key), "{key}");
        }
        for key in
            ["agent:fox:http-ann-0123", "agent:fox:telegram:group:7", "agent:fox:team:direct-1:7", "agent:fox:cron:direct", "agent:fox:subagent:direct", ""]
        {
            assert!(!is_direct(key), "{key}");
        }
    }

    #[test]
    fn the_reminder_comes_in_the_last_turn_unless_something_was_written() {
        let written =
            ToolCall { id: "1".into(), name: "write_file".into(), arguments: Default::default(), metadata: Default::default(), parse_error: String::new() };
        let step = ChatMessage { tool_calls: vec![written], ..ChatMessage::new(MessageRole::Assistant, "") };
        assert_eq!([1, 2, 3].map(|turn| reminder(turn, &[]).is_some()), [false, false, true]);
        assert_eq!(reminder(3, &[step]), None);
    }
}
