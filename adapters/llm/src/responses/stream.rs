//! Answers of the Responses API.

use crate::{
    answer::{Answer, usage},
    chat::{Decoder, Reported},
    text::{Text, describe, tool_call},
};
use goclaw_ports::llm::{ChatEvent, ChatResponse, Usage};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet, VecDeque},
};

/// An event, of whichever kind.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    delta: Option<Text<'a>>,
    #[serde(borrow)]
    item_id: Option<Text<'a>>,
    output_index: Option<u64>,
    item: Option<Item>,
    response: Option<Ended>,
    error: Option<Value>,
    code: Option<Value>,
    message: Option<String>,
}

/// A part of the answer, when it begins or ends.
#[derive(Deserialize)]
struct Item {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    id: Option<String>,
    phase: Option<String>,
    call_id: Option<String>,
    name: Option<String>,
    arguments: Option<String>,
    content: Option<Vec<Part>>,
    summary: Option<Vec<Part>>,
}

#[derive(Deserialize)]
struct Part {
    text: Option<String>,
    refusal: Option<String>,
}

/// The answer as a whole, when it has ended.
#[derive(Deserialize)]
struct Ended {
    usage: Option<UsageWire>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct UsageWire {
    input_tokens: Option<i64>,
    output_tokens: Option<i64>,
    total_tokens: Option<i64>,
    input_tokens_details: Option<InputDetails>,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Deserialize)]
struct InputDetails {
    cached_tokens: Option<i64>,
}

#[derive(Deserialize)]
struct OutputDetails {
    reasoning_tokens: Option<i64>,
}

impl From<UsageWire> for Usage {
    fn from(wire: UsageWire) -> Self {
        let cached = wire.input_tokens_details.and_then(|details| details.cached_tokens);
        let thought = wire.output_tokens_details.and_then(|details| details.reasoning_tokens);
        usage(wire.input_tokens, wire.output_tokens, wire.total_tokens, cached, thought)
    }
}

/// A tool call as it grows.
#[derive(Default)]
struct Growing {
    /// Its place in the answer.
    at: Option<u64>,
    item: String,
    call_id: String,
    name: String,
    arguments: String,
}

/// Reads an answer.
#[derive(Default)]
pub(crate) struct ResponsesDecoder {
    answer: Answer,
    phase: String,
    /// The message that is being written.
    writing: String,
    /// The items whose text came in pieces.
    in_pieces: HashSet<String>,
    calls: Vec<Growing>,
}

impl Decoder for ResponsesDecoder {
    fn event(&mut self, data: &[u8], out: &mut VecDeque<ChatEvent>) -> Result<(), Reported> {
        // What cannot be read is passed over; an answer without its last event is an error all the same.
        let Ok(event) = serde_json::from_slice::<Event>(data) else { return Ok(()) };
        let item_id = event.item_id.as_ref().map(|id| id.0.as_ref()).unwrap_or_default();
        let delta = event.delta.map(|delta| delta.0).unwrap_or_default();
        match event.kind.0.as_ref() {
            "response.output_text.delta" | "response.refusal.delta" => {
                self.in_pieces.insert(item_id.to_owned());
                self.write(item_id, delta, out);
            }
            "response.reasoning_summary_text.delta" => {
                self.in_pieces.insert(item_id.to_owned());
                self.answer.think(delta, out);
            }
            "response.function_call_arguments.delta" => self.call(item_id, event.output_index).arguments.push_str(&delta),
            "response.output_item.added" | "response.output_item.done" => {
                if let Some(item) = event.item {
                    self.item(item, event.output_index, event.kind.0.ends_with(".done"), out);
                }
            }
            "response.completed" => out.push_back(ChatEvent::Done(Box::new(self.response(event.response, false)))),
            "response.incomplete" => out.push_back(ChatEvent::Done(Box::new(self.response(event.response, true)))),
            "response.failed" => {
                let error = event.response.and_then(|response| response.error);
                return Err(reported(&error.unwrap_or_else(|| "the response failed".into())));
            }
            "error" => {
                let flat = || json!({"code": event.code, "message": event.message.as_deref().unwrap_or("no message")});
                return Err(reported(&event.error.unwrap_or_else(flat)));
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self) -> Option<ChatResponse> {
        None
    }
}

fn reported(error: &Value) -> Reported {
    let (code, text) = describe(error);
    Reported { code, text: format!("stream error: {text}") }
}

fn joined(parts: Option<Vec<Part>>, between: &str) -> String {
    let texts = parts.unwrap_or_default().into_iter().filter_map(|part| part.text.or(part.refusal));
    texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(between)
}

impl ResponsesDecoder {
    fn write(&mut self, item: &str, text: Cow<'_, str>, out: &mut VecDeque<ChatEvent>) {
        if text.is_empty() {
            return;
        }
        let mut text = text.into_owned();
        if self.writing != item {
            item.clone_into(&mut self.writing);
            if !self.answer.content.is_empty() {
                text.insert_str(0, "\n\n");
            }
        }
        self.answer.say(text.into(), out);
    }

    /// The call that an item is, known by its id, else by its place.
    fn call(&mut self, item: &str, at: Option<u64>) -> &mut Growing {
        let known = self.calls.iter().position(|call| if item.is_empty() { at.is_some() && call.at == at } else { call.item == item });
        let index = known.unwrap_or_else(|| {
            self.calls.push(Growing { at, item: item.to_owned(), ..Growing::default() });
            self.calls.len() - 1
        });
        let call = &mut self.calls[index];
        call.at = call.at.or(at);
        call
    }

    fn item(&mut self, item: Item, at: Option<u64>, done: bool, out: &mut VecDeque<ChatEvent>) {
        let id = item.id.unwrap_or_default();
        match item.kind.as_str() {
            "function_call" => {
                let call = self.call(&id, at);
                let set = |to: &mut String, from: Option<String>| {
                    if let Some(from) = from.filter(|from| !from.is_empty()) {
                        *to = from;
                    }
                };
                set(&mut call.call_id, item.call_id);
                set(&mut call.name, item.name);
                if done {
                    set(&mut call.arguments, item.arguments);
                }
            }
            "message" if done => {
                self.phase = item.phase.unwrap_or_default();
                if !self.in_pieces.contains(&id) {
                    self.write(&id, joined(item.content, "").into(), out);
                }
            }
            "reasoning" if done && !self.in_pieces.contains(&id) => self.answer.think(joined(item.summary, "\n\n").into(), out),
            _ => {}
        }
    }

    fn response(&mut self, ended: Option<Ended>, cut: bool) -> ChatResponse {
        let mut calls = std::mem::take(&mut self.calls);
        calls.sort_by_key(|call| call.at.unwrap_or(u64::MAX));
        let finished = |(at, call): (usize, Growing)| {
            let id = [call.call_id, call.item].into_iter().find(|id| !id.is_empty()).unwrap_or_else(|| format!("call_{at}"));
            tool_call(id, &call.name, &call.arguments, BTreeMap::new())
        };
        let tool_calls: Vec<_> = calls.into_iter().enumerate().map(finished).collect();
        let usage = ended.and_then(|ended| ended.usage).map(Usage::from);
        ChatResponse { phase: std::mem::take(&mut self.phase), ..self.answer.finish(tool_calls, cut, usage) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sse::SseParser;
    use proptest::prelude::*;

    /// What a stream that comes in these pieces says.
    fn decoded<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<ChatEvent>, Reported> {
        let (mut parser, mut decoder, mut out) = (SseParser::default(), ResponsesDecoder::default(), VecDeque::new());
        let mut outcome = Ok(());
        for piece in pieces {
            parser.push(piece, |data| outcome = outcome.clone().and_then(|()| decoder.event(data, &mut out))).unwrap();
        }
        outcome.map(|()| out.into())
    }

    fn events() -> impl Strategy<Value = Vec<Value>> {
        let text = "[a-zä€😀\"\\\\{} \n]{0,8}";
        let item = prop::sample::select(vec!["m1", "m2", ""]);
        let at = prop::option::of(0_u64..4);
        let event = prop_oneof![
            (item.clone(), text).prop_map(|(id, delta)| json!({"type": "response.output_text.delta", "item_id": id, "delta": delta})),
            text.prop_map(|delta| json!({"type": "response.reasoning_summary_text.delta", "item_id": "r", "delta": delta})),
            (item.clone(), at.clone(), text)
                .prop_map(|(id, at, delta)| { json!({"type": "response.function_call_arguments.delta", "item_id": id, "output_index": at, "delta": delta}) }),
            (item, at, text, any::<bool>()).prop_map(|(id, at, text, done)| {
                let item = json!({"type": "function_call", "id": id, "call_id": text, "name": text, "arguments": text});
                json!({"type": if done { "response.output_item.done" } else { "response.output_item.added" }, "output_index": at, "item": item})
            }),
            text.prop_map(|text| {
                json!({"type": "response.output_item.done", "item": {"type": "message", "phase": "commentary", "content": [{"text": text}, {"refusal": text}]}})
            }),
            text.prop_map(|message| json!({"type": "error", "message": message})),
            text.prop_map(|text| json!({"type": text, "item": 5})),
        ];
        prop::collection::vec(event, 0..12)
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_says_the_same(events in events(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
            let end = json!({"type": "response.completed", "response": {"usage": null}});
            let bytes: String = events.iter().chain([&end]).map(|event| format!("event: x\ndata: {event}\n\n")).collect();
            let bytes = bytes.as_bytes();
            let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
            at.sort_unstable();
            let whole = decoded([bytes]);
            prop_assert_eq!(decoded(at.windows(2).map(|pair| &bytes[pair[0]..pair[1]])), whole.clone());
            // The pieces together are the answer.
            if let Ok(events) = whole {
                let Some((ChatEvent::Done(answer), pieces)) = events.split_last() else { panic!("no end") };
                let of = |wanted: fn(&ChatEvent) -> Option<&str>| pieces.iter().filter_map(wanted).collect::<String>();
                prop_assert_eq!(&answer.content, &of(|event| if let ChatEvent::Text(text) = event { Some(text) } else { None }));
                prop_assert_eq!(&answer.thinking, &of(|event| if let ChatEvent::Thinking(text) = event { Some(text) } else { None }));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), json in "\\PC{0,80}") {
            let mut out = VecDeque::new();
            let _ = ResponsesDecoder::default().event(&bytes, &mut out);
            let _ = ResponsesDecoder::default().event(json.as_bytes(), &mut out);
        }
    }
}
