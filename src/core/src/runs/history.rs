//! Makes a stored conversation one that every provider accepts.

use goclaw_ports::sessions::{ChatMessage, MessageRole};
use std::collections::HashSet;

/// What stands where a tool's result was lost.
pub(crate) const LOST: &str = "[The result of this call was lost: the run was interrupted.]";

/// The conversation with each tool call directly followed by exactly one result, in the order of the calls: results
/// without a call are left out, missing ones are made up, and calls that share an id get ids of their own.
#[must_use]
pub(crate) fn repaired(messages: Vec<ChatMessage>) -> Vec<ChatMessage> {
    let mut repaired: Vec<ChatMessage> = Vec::with_capacity(messages.len());
    let mut used = HashSet::new();
    let mut messages = messages.into_iter().peekable();
    while let Some(mut message) = messages.next() {
        if message.role == MessageRole::Tool {
            continue;
        }
        if message.tool_calls.is_empty() {
            repaired.push(message);
            continue;
        }
        let mut results: Vec<ChatMessage> = vec![];
        while let Some(result) = messages.next_if(|next| next.role == MessageRole::Tool) {
            results.push(result);
        }
        let mut answers = vec![];
        for call in &mut message.tool_calls {
            let at = results.iter().position(|result| result.tool_call_id == call.id);
            let mut answer = at.map_or_else(|| ChatMessage::tool_result(call.id.clone(), LOST, true), |at| results.remove(at));
            let original = call.id.clone();
            let mut n = 1;
            while !used.insert(call.id.clone()) {
                n += 1;
                call.id = format!("{original}_{n}");
            }
            answer.tool_call_id.clone_from(&call.id);
            answers.push(answer);
        }
        repaired.push(message);
        repaired.append(&mut answers);
    }
    repaired
}

/// What the model is told before it answers messages that are in the conversation already, if others have spoken since.
#[must_use]
pub(crate) fn still_owed(conversation: &[ChatMessage], text: &str) -> Option<ChatMessage> {
    let last = conversation.last().filter(|message| message.role == MessageRole::User);
    last.is_none().then(|| ChatMessage::new(MessageRole::User, include_str!("../../prompts/still_owed.md").trim().replace("{message}", text)))
}

/// The conversation from the user's last turns on; all of it if no number is given.
#[must_use]
pub(crate) fn last_turns(mut messages: Vec<ChatMessage>, turns: Option<usize>) -> Vec<ChatMessage> {
    let Some(turns) = turns else { return messages };
    let from_user = |(at, message): (usize, &ChatMessage)| (message.role == MessageRole::User).then_some(at);
    let starts: Vec<usize> = messages.iter().enumerate().filter_map(from_user).collect();
    match starts.len().checked_sub(turns).and_then(|skipped| starts.get(skipped)) {
        Some(start) => messages.split_off(*start),
        None if turns == 0 => vec![],
        None => messages,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goclaw_ports::sessions::ToolCall;
    use proptest::prelude::*;

    fn call(id: u8) -> ToolCall {
        ToolCall { id: id.to_string(), name: "t".into(), arguments: Default::default(), metadata: Default::default(), parse_error: String::new() }
    }

    fn message() -> impl Strategy<Value = ChatMessage> {
        prop_oneof![
            "[a-z]{1,4}".prop_map(|text| ChatMessage::new(MessageRole::User, text)),
            proptest::collection::vec(0u8..4, 0..3)
                .prop_map(|ids| ChatMessage { tool_calls: ids.into_iter().map(call).collect(), ..ChatMessage::new(MessageRole::Assistant, "") }),
            (0u8..4).prop_map(|id| ChatMessage::tool_result(id.to_string(), "r", false)),
        ]
    }

    proptest! {
        #[test]
        fn every_call_is_followed_by_its_result_and_nothing_else(messages in proptest::collection::vec(message(), 0..20)) {
            let repaired = repaired(messages);
            let mut expected: std::collections::VecDeque<String> = Default::default();
            let mut seen = HashSet::new();
            for message in &repaired {
                match message.role {
                    MessageRole::Tool => prop_assert_eq!(expected.pop_front(), Some(message.tool_call_id.clone())),
                    _ => prop_assert!(expected.is_empty()),
                }
                for call in &message.tool_calls {
                    prop_assert!(seen.insert(call.id.clone()));
                    expected.push_back(call.id.clone());
                }
            }
            prop_assert!(expected.is_empty());
        }

        #[test]
        fn a_sound_conversation_stays_as_it_is(messages in proptest::collection::vec(message(), 0..20)) {
            let once = repaired(messages);
            prop_assert_eq!(repaired(once.clone()), once);
        }
    }

    #[test]
    fn a_message_is_shown_again_where_others_have_spoken_since() {
        let said = |role| vec![ChatMessage::new(MessageRole::User, "What now?"), ChatMessage::new(role, "x")];
        let note = still_owed(&said(MessageRole::Assistant), "What now?").unwrap();
        assert!(note.role == MessageRole::User && note.content.ends_with("What now?"), "{}", note.content);
        assert!(still_owed(&said(MessageRole::Tool), "What now?").is_some() && still_owed(&[], "What now?").is_some());
        assert_eq!(still_owed(&said(MessageRole::User), "What now?"), None);
    }

    #[test]
    fn the_last_turns_begin_with_a_users_message() {
        let said: Vec<_> =
            [(MessageRole::Assistant, "0"), (MessageRole::User, "1"), (MessageRole::Assistant, "2"), (MessageRole::User, "3"), (MessageRole::Assistant, "4")]
                .map(|(role, text)| ChatMessage::new(role, text))
                .into();
        let texts = |turns| last_turns(said.clone(), turns).into_iter().map(|message| message.content).collect::<String>();
        assert_eq!([texts(None), texts(Some(9)), texts(Some(2)), texts(Some(1)), texts(Some(0))], ["01234", "01234", "1234", "34", ""]);
    }
}
