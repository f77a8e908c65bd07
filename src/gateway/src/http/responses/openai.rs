//! The shape of OpenAI's Responses API: one response object, and the events in which it grows.

use crate::http::streaming::{Form, record};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use goclaw_core::chat::RunOutcome;
use goclaw_ports::llm::Usage;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// A response that is being made.
pub(super) struct Exchange {
    id: String,
    message_id: String,
    created_at: i64,
    model: String,
    instructions: String,
    /// The number of the next event.
    sequence: u64,
}

impl Exchange {
    /// Of this run, now.
    pub(super) fn new(run: Uuid, now: DateTime<Utc>, model: String, instructions: String) -> Self {
        let run = run.simple();
        Self { id: format!("resp_{run}"), message_id: format!("msg_{run}"), created_at: now.timestamp(), model, instructions, sequence: 0 }
    }

    /// The whole answer.
    pub(super) fn completed(&self, outcome: &RunOutcome) -> Map<String, Value> {
        self.response("completed", &[self.message("completed", &outcome.content)], outcome.usage, None)
    }

    fn response(&self, status: &str, output: &[Value], usage: Option<Usage>, error: Option<&str>) -> Map<String, Value> {
        let response = json!({
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "status": status,
            "error": error.map(|message| json!({"code": "server_error", "message": message})),
            "incomplete_details": null,
            "instructions": Some(&self.instructions).filter(|text| !text.is_empty()),
            "max_output_tokens": null,
            "metadata": {},
            "model": self.model,
            "output": output,
            "parallel_tool_calls": true,
            "previous_response_id": null,
            "reasoning": {"effort": null, "summary": null},
            "store": false,
            "temperature": null,
            "text": {"format": {"type": "text"}},
            // The agent's own tools are its own affair.
            "tool_choice": "auto",
            "tools": [],
            "top_p": null,
            "truncation": "disabled",
            "usage": usage.map(usage_of),
        });
        match response {
            Value::Object(response) => response,
            _ => Map::new(),
        }
    }

    fn message(&self, status: &str, text: &str) -> Value {
        let content = if status == "completed" { json!([part(text)]) } else { json!([]) };
        json!({"type": "message", "id": self.message_id, "status": status, "role": "assistant", "content": content})
    }

    /// An event of this type with these fields beside its number.
    fn event(&mut self, kind: &str, fields: Value) -> Bytes {
        let mut event = json!({"type": kind, "sequence_number": self.sequence});
        self.sequence += 1;
        if let (Value::Object(event), Value::Object(fields)) = (&mut event, fields) {
            event.extend(fields);
        }
        record(Some(kind), &event)
    }

    /// An event about the text of the message.
    fn about_text(&mut self, kind: &str, key: &str, value: Value) -> Bytes {
        let mut fields = json!({"item_id": self.message_id, "output_index": 0, "content_index": 0});
        fields[key] = value;
        if kind.starts_with("response.output_text.") {
            fields["logprobs"] = json!([]);
        }
        self.event(kind, fields)
    }
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

fn usage_of(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cache_read_tokens},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.thinking_tokens},
        "total_tokens": usage.total_tokens,
    })
}

impl Form for Exchange {
    fn begin(&mut self) -> Vec<Bytes> {
        let begun = Value::Object(self.response("in_progress", &[], None, None));
        let item = self.message("in_progress", "");
        vec![
            self.event("response.created", json!({"response": begun})),
            self.event("response.in_progress", json!({"response": begun})),
            self.event("response.output_item.added", json!({"output_index": 0, "item": item})),
            self.about_text("response.content_part.added", "part", part("")),
        ]
    }

    fn text(&mut self, text: &str) -> Bytes {
        self.about_text("response.output_text.delta", "delta", text.into())
    }

    fn end(&mut self, end: Result<RunOutcome, String>) -> Vec<Bytes> {
        let outcome = match end {
            Ok(outcome) => outcome,
            Err(why) => {
                let failed = self.response("failed", &[], None, Some(&why));
                return vec![self.event("response.failed", json!({"response": failed}))];
            }
        };
        let (whole, item) = (self.completed(&outcome), self.message("completed", &outcome.content));
        vec![
            self.about_text("response.output_text.done", "text", outcome.content.as_str().into()),
            self.about_text("response.content_part.done", "part", part(&outcome.content)),
            self.event("response.output_item.done", json!({"output_index": 0, "item": item})),
            self.event("response.completed", json!({"response": whole})),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(bytes: &Bytes) -> Value {
        let text = std::str::from_utf8(bytes).unwrap().strip_suffix("\n\n").unwrap();
        let (name, data) = text.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        data
    }

    #[test]
    fn the_events_are_numbered_and_named_and_the_last_one_holds_all() {
        let mut exchange = Exchange::new(Uuid::nil(), DateTime::UNIX_EPOCH, "goclaw:a".into(), "Be brief.".into());
        let mut records = exchange.begin();
        records.push(exchange.text("Hi"));
        records.extend(exchange.end(Ok(RunOutcome { content: "Hi".into(), ..RunOutcome::default() })));
        let events: Vec<Value> = records.iter().map(event).collect();
        let numbers: Vec<_> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (0..9).collect::<Vec<_>>());
        let last = &events[8]["response"];
        assert_eq!((&last["status"], &last["output"][0]["content"][0]["text"], &last["usage"]), (&json!("completed"), &json!("Hi"), &Value::Null));
        assert_eq!((&last["instructions"], &last["error"]), (&json!("Be brief."), &Value::Null));
    }

    #[test]
    fn a_failure_is_the_last_event() {
        let mut exchange = Exchange::new(Uuid::nil(), DateTime::UNIX_EPOCH, String::new(), String::new());
        let records = exchange.end(Err("why".into()));
        let event = event(&records[0]);
        assert_eq!((records.len(), &event["type"], &event["response"]["error"]["message"]), (1, &json!("response.failed"), &json!("why")));
    }
}
