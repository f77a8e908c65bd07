//! What the command line answers: JSON lines, one JSON array, or plain text.

use goclaw_ports::llm::{ChatResponse, FinishReason, Usage};
use serde_json::Value;

/// The most plain text that is kept, in bytes.
const PLAIN: usize = 1 << 20;

/// A piece of the answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// Text.
    Text(String),
    /// What the model thought.
    Thought(String),
}

/// An answer as it comes.
#[derive(Debug, Default)]
pub struct Output {
    text: String,
    thinking: String,
    plain: String,
    result: Option<End>,
}

#[derive(Debug, Default)]
struct End {
    text: String,
    failed: bool,
    usage: Option<Usage>,
    cost: Option<f64>,
}

impl Output {
    /// Takes a line, and answers with what was said in it.
    pub fn line(&mut self, line: &[u8]) -> Vec<Said> {
        match serde_json::from_slice::<Value>(line) {
            Ok(Value::Array(events)) => events.iter().flat_map(|event| self.event(event)).collect(),
            Ok(event @ Value::Object(_)) => self.event(&event),
            _ => {
                let line = String::from_utf8_lossy(line);
                if !line.trim().is_empty() && self.plain.len() + line.len() < PLAIN {
                    self.plain.push_str(&line);
                    self.plain.push('\n');
                }
                vec![]
            }
        }
    }

    fn event(&mut self, event: &Value) -> Vec<Said> {
        match event["type"].as_str() {
            Some("assistant") => {
                let blocks = event["message"]["content"].as_array().map_or(&[][..], Vec::as_slice);
                blocks.iter().filter_map(|block| self.block(block)).collect()
            }
            Some("result") => {
                let text = |key: &str| event[key].as_str().unwrap_or_default();
                self.result = Some(End {
                    text: text("result").to_owned(),
                    failed: text("subtype").starts_with("error") || event["is_error"] == true,
                    usage: event["usage"].is_object().then(|| usage(&event["usage"])),
                    cost: event["total_cost_usd"].as_f64().filter(|cost| *cost >= 0.0),
                });
                vec![]
            }
            _ => vec![],
        }
    }

    fn block(&mut self, block: &Value) -> Option<Said> {
        match block["type"].as_str()? {
            "text" => {
                let text = block["text"].as_str().filter(|text| !text.is_empty())?;
                // Blocks are paragraphs of their own: the program ran tools between them.
                let piece = if self.text.is_empty() { text.to_owned() } else { format!("\n\n{text}") };
                self.text.push_str(&piece);
                Some(Said::Text(piece))
            }
            "thinking" => {
                let thought = block["thinking"].as_str().filter(|thought| !thought.is_empty())?;
                self.thinking.push_str(thought);
                Some(Said::Thought(thought.to_owned()))
            }
            _ => None,
        }
    }

    /// How much was said, in bytes.
    pub fn size(&self) -> usize {
        self.text.len() + self.thinking.len()
    }

    /// The whole answer. `success` is how the program ended; what it had said until then counts all the same.
    ///
    /// # Errors
    /// What it reported, "" if it did not say.
    pub fn end(self, success: bool) -> Result<ChatResponse, String> {
        let End { text: result, failed, usage, cost } = self.result.unwrap_or_default();
        if failed {
            return Err(if result.is_empty() { self.text } else { result });
        }
        // What was streamed is what was said; the result repeats its end.
        let content = [self.text, result, if success { self.plain.trim().to_owned() } else { String::new() }].into_iter().find(|text| !text.trim().is_empty());
        let content = content.ok_or_else(|| self.plain.trim().to_owned())?;
        Ok(ChatResponse { content, thinking: self.thinking, finish_reason: FinishReason::Stop, usage, cost, ..ChatResponse::default() })
    }
}

fn usage(value: &Value) -> Usage {
    let tokens = |key: &str| value[key].as_i64().unwrap_or_default();
    let (cache_creation_tokens, cache_read_tokens) = (tokens("cache_creation_input_tokens"), tokens("cache_read_input_tokens"));
    let (prompt_tokens, completion_tokens) = (tokens("input_tokens"), tokens("output_tokens"));
    Usage { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens, cache_creation_tokens, cache_read_tokens, thinking_tokens: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str], success: bool) -> (Vec<Said>, Result<ChatResponse, String>) {
        let mut output = Output::default();
        let said = lines.iter().flat_map(|line| output.line(line.as_bytes())).collect();
        (said, output.end(success))
    }

    const TEXT: &str =
        r#"{"type":"assistant","message":{"content":[{"type":"thinking","thinking":"hm"},{"type":"text","text":"Hello"},{"type":"tool_use","name":"Bash"}]}}"#;
    const RESULT: &str = r#"{"type":"result","subtype":"success","is_error":false,"result":"Hello","total_cost_usd":0.01,"usage":{"input_tokens":10,"output_tokens":5,"cache_read_input_tokens":7}}"#;

    #[test]
    fn lines_are_an_answer() {
        let (said, response) = read(&[r#"{"type":"system","subtype":"init"}"#, TEXT, RESULT], true);
        assert_eq!(said, [Said::Thought("hm".into()), Said::Text("Hello".into())]);
        let response = response.unwrap();
        assert_eq!((response.content.as_str(), response.thinking.as_str()), ("Hello", "hm"));
        assert_eq!(response.cost, Some(0.01));
        let usage = response.usage.unwrap();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.total_tokens, usage.cache_read_tokens), (10, 5, 15, 7));
    }

    #[test]
    fn an_array_and_plain_text_are_answers_too() {
        let (_, response) = read(&[&format!("[{TEXT},{RESULT}]")], true);
        assert_eq!(response.unwrap().content, "Hello");
        let (_, response) = read(&["Hello,", "you."], true);
        assert_eq!(response.unwrap().content, "Hello,\nyou.");
        let (_, response) = read(&[RESULT], true);
        assert_eq!(response.unwrap().content, "Hello");
    }

    #[test]
    fn failures_are_reported_and_partial_answers_count() {
        for line in [
            r#"{"type":"result","subtype":"error_max_turns","result":"too many"}"#,
            r#"{"type":"result","subtype":"success","is_error":true,"result":"too many"}"#,
        ] {
            assert_eq!(read(&[TEXT, line], true).1.unwrap_err(), "too many");
        }
        assert_eq!(read(&[TEXT], false).1.unwrap().content, "Hello");
        assert_eq!(read(&[], true).1.unwrap_err(), "");
        assert_eq!(read(&["no such option"], false).1.unwrap_err(), "no such option");
    }
}
