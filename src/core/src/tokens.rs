//! How many tokens a text is. Each model counts in its own way; one vocabulary is a fair guess for all, and what a provider
//! reports corrects it. The vocabulary takes memory, so it is read when a text is counted for the first time; what is surely
//! small enough is known by its [`at_most`] without it.

use goclaw_ports::sessions::ChatMessage;

/// Texts are counted in pieces of so many bytes: the patterns that split them into words give up on very long ones.
const PIECE: usize = 4_096;
/// What a message takes besides its text: who speaks, and where it ends.
const FRAME: usize = 4;
/// What a picture takes at most, by the rules of the vendors, as large as the gateway shows them: 1200 pixels wide and high.
pub(crate) const PICTURE: usize = 1_600;

/// How many tokens a text is.
#[must_use]
pub(crate) fn of_text(mut text: &str) -> usize {
    let vocabulary = tiktoken_rs::cl100k_base_singleton();
    let mut tokens = 0;
    while !text.is_empty() {
        let (piece, rest) = text.split_at(text.floor_char_boundary(PIECE));
        tokens += vocabulary.count_ordinary(piece);
        text = rest;
    }
    tokens
}

/// How many tokens messages are, as models read them.
#[must_use]
pub(crate) fn of_messages(messages: &[ChatMessage]) -> usize {
    messages.iter().map(|message| frame(message) + of_text(&message.content) + calls_of(message).iter().map(|text| of_text(text)).sum::<usize>()).sum()
}

/// More tokens than this messages cannot be: a token is at least one byte.
#[must_use]
pub(crate) fn at_most(messages: &[ChatMessage]) -> usize {
    messages.iter().map(|message| frame(message) + message.content.len() + calls_of(message).iter().map(String::len).sum::<usize>()).sum()
}

/// What a message takes besides what can be read.
fn frame(message: &ChatMessage) -> usize {
    FRAME + PICTURE * message.images.len()
}

/// The tool calls of a message as text.
fn calls_of(message: &ChatMessage) -> Vec<String> {
    message.tool_calls.iter().map(|call| format!("{} {} {}", call.id, call.name, serde_json::Value::Object(call.arguments.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use goclaw_ports::{
        media::ImagePart,
        sessions::{MessageRole, ToolCall},
    };
    use proptest::prelude::*;

    #[test]
    fn words_are_tokens_and_long_texts_are_counted_whole() {
        assert_eq!(of_text("hello world"), 2);
        assert_eq!(of_text(""), 0);
        let long = of_text(&"hello world ".repeat(10_000));
        assert!((20_000..20_100).contains(&long), "{long}");
    }

    #[test]
    fn pictures_count_as_long_as_the_model_is_shown_them() {
        let said = ChatMessage::new(MessageRole::User, "Look.");
        let picture = ImagePart { mime_type: "image/jpeg".into(), data: "x".repeat(100_000).into() };
        let shown = ChatMessage { images: vec![picture.clone(), picture], ..said.clone() };
        let (with, without) = ([shown], [said]);
        assert_eq!(of_messages(&with) - of_messages(&without), 2 * PICTURE);
        assert_eq!(at_most(&with) - at_most(&without), 2 * PICTURE);
    }

    #[test]
    fn odd_texts_do_no_harm() {
        for odd in [" ".repeat(200_000), "a".repeat(200_000), "\n\r\t ".repeat(100_000), "🦊".repeat(10_000)] {
            assert!((1..=odd.len()).contains(&of_text(&odd)));
        }
    }

    proptest! {
        #[test]
        fn there_are_never_more_tokens_than_bytes(texts in proptest::collection::vec(".{0,200}", 0..5), name in ".{0,20}") {
            let call = |text: &String| ToolCall {
                id: "call_1".into(),
                name: name.clone(),
                arguments: goclaw_ports::JsonObject::from_iter([(name.clone(), text.clone().into())]),
                metadata: Default::default(),
                parse_error: String::new(),
            };
            let messages: Vec<_> = texts
                .iter()
                .map(|text| ChatMessage { tool_calls: vec![call(text)], ..ChatMessage::new(MessageRole::Assistant, text.clone()) })
                .collect();
            prop_assert!(of_messages(&messages) <= at_most(&messages));
        }
    }
}
