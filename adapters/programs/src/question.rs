//! What a program is asked. It keeps the conversation itself, so that only what was said since the model last spoke is news to it.

use goclaw_ports::{llm::ChatRequest, media::ImagePart, sessions::MessageRole};

/// What a program is asked.
#[derive(Debug, PartialEq, Eq)]
pub struct Question {
    /// The last system prompt; may be empty.
    pub prompt: String,
    /// What the user said; empty if there are only pictures.
    pub text: String,
    /// The pictures that came with it, the oldest first.
    pub images: Vec<ImagePart>,
}

impl Question {
    /// The question of a request.
    pub fn of(request: &ChatRequest) -> Self {
        let prompt = request.messages.iter().rev().find(|message| message.role == MessageRole::System).map(|message| message.content.clone());
        let since = request.messages.iter().rev().take_while(|message| message.role != MessageRole::Assistant);
        let mut said: Vec<_> = since.filter(|message| message.role == MessageRole::User).collect();
        said.reverse();
        let texts: Vec<&str> = said.iter().map(|message| message.content.as_str()).filter(|text| !text.is_empty()).collect();
        Self { prompt: prompt.unwrap_or_default(), text: texts.join("\n\n"), images: said.iter().flat_map(|message| message.images.clone()).collect() }
    }

    /// The system prompt, a blank line and the text, for programs that have no place of their own for the prompt.
    pub fn with_prompt(&self) -> String {
        let parts = [self.prompt.as_str(), self.text.as_str()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goclaw_ports::sessions::ChatMessage;

    fn message(role: MessageRole, text: &str, pictures: &[&str]) -> ChatMessage {
        let images = pictures.iter().map(|data| ImagePart { mime_type: "image/png".into(), data: (*data).into() }).collect();
        ChatMessage { images, ..ChatMessage::new(role, text) }
    }

    fn of(messages: Vec<ChatMessage>) -> Question {
        Question::of(&ChatRequest { messages, ..ChatRequest::default() })
    }

    #[test]
    fn it_is_what_was_said_and_shown_since_the_model_spoke() {
        let question = of(vec![
            message(MessageRole::System, "be a fox", &[]),
            message(MessageRole::User, "old", &["old"]),
            message(MessageRole::Assistant, "yes", &[]),
            message(MessageRole::User, "new", &["one", "two"]),
            message(MessageRole::User, "and newer", &["three"]),
        ]);
        assert_eq!((question.prompt.as_str(), question.text.as_str()), ("be a fox", "new\n\nand newer"));
        assert_eq!(question.images.iter().map(|image| &*image.data).collect::<Vec<_>>(), ["one", "two", "three"]);
        assert_eq!(question.with_prompt(), "be a fox\n\nnew\n\nand newer");
    }

    #[test]
    fn what_is_not_there_leaves_no_blank_lines() {
        let pictures = of(vec![message(MessageRole::System, "be a fox", &[]), message(MessageRole::User, "", &["one"])]);
        assert_eq!((pictures.text.as_str(), pictures.with_prompt().as_str()), ("", "be a fox"));
        assert_eq!(of(vec![message(MessageRole::User, "hi", &[])]).with_prompt(), "hi");
    }
}
