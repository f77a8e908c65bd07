//! What the command line is told.

use super::home::Session;
use crate::offered::Offered;
use goclaw_ports::media::ImagePart;
use serde_json::{Value, json};
use std::ffi::OsString;

/// A longer message goes through standard input: the system limits the length of arguments.
const LONGEST_ARGUMENT: usize = 64 << 10;

/// Tools of the command line, and what of the gateway's tools they stand for.
type Stands = fn(&Offered) -> bool;
const TOOLS: &[(&str, Stands)] = &[
    ("Bash", |offered| offered.run),
    ("Edit", |offered| offered.write),
    ("Read", |offered| offered.read),
    ("Write", |offered| offered.write),
    ("Glob", |offered| offered.read),
    ("Grep", |offered| offered.read),
    ("WebFetch", |offered| offered.fetch),
    ("WebSearch", |offered| offered.fetch || offered.search),
    ("TodoRead", any),
    ("TodoWrite", any),
    ("NotebookRead", |offered| offered.read),
    ("NotebookEdit", |offered| offered.write),
];

fn any(offered: &Offered) -> bool {
    offered.run || offered.read || offered.write || offered.fetch || offered.search
}

/// One question.
pub struct Arguments<'a> {
    pub model: &'a str,
    pub permission_mode: &'a str,
    pub session: &'a Session,
    pub offered: Offered,
    pub message: &'a str,
    pub images: &'a [ImagePart],
    pub stream: bool,
}

impl Arguments<'_> {
    fn through_input(&self) -> bool {
        !self.images.is_empty() || self.message.len() > LONGEST_ARGUMENT || self.message.contains('\0')
    }

    /// The words after the program's name.
    pub fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        let mut add = |more: &[&str]| words.extend(more.iter().map(OsString::from));
        let format = if self.stream || self.through_input() { "stream-json" } else { "json" };
        add(&["-p", "--output-format", format, "--model", self.model, "--permission-mode", self.permission_mode, "--verbose"]);
        add(&[if self.session.begun { "--resume" } else { "--session-id" }, &self.session.id.to_string()]);
        if self.through_input() {
            add(&["--input-format", "stream-json"]);
        }
        let disallowed: Vec<&str> = TOOLS.iter().filter(|(_, allowed)| !allowed(&self.offered)).map(|(tool, _)| *tool).collect();
        if !disallowed.is_empty() {
            add(&["--disallowedTools", &disallowed.join(",")]);
        }
        if let Some(settings) = &self.session.settings {
            words.extend([OsString::from("--settings"), settings.clone().into_os_string()]);
        }
        if !self.through_input() {
            words.extend([OsString::from("--"), self.message.into()]);
        }
        words
    }

    /// What goes through standard input: the pictures, then the text.
    pub fn input(&self) -> Option<String> {
        if !self.through_input() {
            return None;
        }
        let mut content: Vec<Value> = self.images.iter().map(picture).collect();
        // Models refuse an empty text.
        if !self.message.is_empty() {
            content.push(json!({"type": "text", "text": self.message}));
        }
        let message = json!({"type": "user", "message": {"role": "user", "content": content}});
        Some(format!("{message}\n"))
    }
}

fn picture(image: &ImagePart) -> Value {
    json!({"type": "image", "source": {"type": "base64", "media_type": image.mime_type, "data": &*image.data}})
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Offered = Offered { run: true, read: true, write: true, fetch: true, search: true };

    fn words(message: &str, offered: Offered, stream: bool, begun: bool) -> Vec<String> {
        let session = Session { id: uuid::Uuid::nil(), begun, settings: Some("/h/s.json".into()) };
        let arguments = Arguments { model: "sonnet", permission_mode: "bypassPermissions", session: &session, offered, message, images: &[], stream };
        assert_eq!(arguments.input().is_some(), arguments.through_input());
        arguments.words().into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn a_question_is_told_as_the_program_wants_it() {
        let expected = "-p --output-format stream-json --model sonnet --permission-mode bypassPermissions --verbose \
                        --session-id 00000000-0000-0000-0000-000000000000 --settings /h/s.json -- --help";
        assert_eq!(words("--help", ALL, true, false).join(" "), expected);
        let again = words("hi", ALL, false, true).join(" ");
        assert!(again.contains("--output-format json ") && again.contains("--resume 0000") && !again.contains("--session-id"), "{again}");
    }

    #[test]
    fn tools_that_the_agent_may_not_use_are_switched_off() {
        let none = Offered { run: false, read: false, write: false, fetch: false, search: false };
        let off = |offered| {
            words("hi", offered, true, false).iter().position(|word| word == "--disallowedTools").map(|at| words("hi", offered, true, false)[at + 1].clone())
        };
        assert_eq!(off(none).unwrap(), "Bash,Edit,Read,Write,Glob,Grep,WebFetch,WebSearch,TodoRead,TodoWrite,NotebookRead,NotebookEdit");
        assert_eq!(off(Offered { run: false, ..ALL }).unwrap(), "Bash");
        assert_eq!(off(Offered { read: true, ..none }).unwrap(), "Bash,Edit,Write,WebFetch,WebSearch,NotebookEdit");
        assert_eq!(off(ALL), None);
    }

    #[test]
    fn pictures_go_before_the_text_through_standard_input() {
        let session = Session { id: uuid::Uuid::nil(), begun: true, settings: None };
        let images = [("image/jpeg", "aGk="), ("image/png", "eW91")].map(|(mime_type, data)| ImagePart { mime_type: mime_type.into(), data: data.into() });
        for (message, text) in [("What is this?", Some(json!({"type": "text", "text": "What is this?"}))), ("", None)] {
            let arguments =
                Arguments { model: "opus", permission_mode: "bypassPermissions", session: &session, offered: ALL, message, images: &images, stream: false };
            let words = arguments.words().into_iter().map(|word| word.into_string().unwrap()).collect::<Vec<_>>().join(" ");
            let expected = "-p --output-format stream-json --model opus --permission-mode bypassPermissions --verbose \
                            --resume 00000000-0000-0000-0000-000000000000 --input-format stream-json";
            assert_eq!(words, expected);
            let input = arguments.input().unwrap();
            assert_eq!(input.find('\n'), Some(input.len() - 1), "it is one line");
            let picture = |kind: &str, data: &str| json!({"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}});
            let content: Vec<Value> = [picture("image/jpeg", "aGk="), picture("image/png", "eW91")].into_iter().chain(text).collect();
            let expected = json!({"type": "user", "message": {"role": "user", "content": content}});
            assert_eq!(serde_json::from_str::<Value>(&input).unwrap(), expected);
        }
    }

    #[test]
    fn a_long_message_goes_through_standard_input() {
        let long = words(&"x".repeat(LONGEST_ARGUMENT + 1), ALL, false, false).join(" ");
        assert!(long.contains("--output-format stream-json") && long.contains("--input-format stream-json") && long.len() < 400, "{long}");
    }
}
