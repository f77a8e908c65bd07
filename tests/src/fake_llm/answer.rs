//! What the scripted upstream answers.

use serde_json::Value;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Lets the pieces of an answer through, one by one or all.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Semaphore>);

impl Default for Gate {
    fn default() -> Self {
        Self::closed()
    }
}

impl Gate {
    /// A gate that lets nothing through yet.
    #[must_use]
    pub fn closed() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets `count` more pieces through.
    pub fn pass(&self, count: usize) {
        self.0.add_permits(count);
    }

    /// Lets everything through from now on.
    pub fn open(&self) {
        self.0.close();
    }

    pub(super) async fn wait(&self) {
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }
}

/// A tool call that the model makes.
#[derive(Debug, Clone)]
pub struct ToolUse {
    /// Its id.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The arguments as they go over the wire; need not be JSON.
    pub arguments: String,
}

/// How an answer goes wrong.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// Another status than 200.
    Status { code: u16, body: String, retry_after: Option<String> },
    /// Pieces, then the connection is cut.
    Cut,
    /// Pieces, then nothing until the client goes.
    Stall,
    /// Something that is neither JSON nor SSE.
    Garbage,
    /// Nothing at all until the client goes.
    Hang,
    /// An error inside the stream, after the pieces.
    Error(String),
}

/// One answer of the model.
#[derive(Debug, Clone)]
pub struct Answer {
    pub(super) text: String,
    pub(super) thinking: String,
    pub(super) phase: String,
    pub(super) tools: Vec<ToolUse>,
    pub(super) chunks: usize,
    pub(super) usage: Option<(u64, u64)>,
    pub(super) finish: Option<String>,
    pub(super) echo: bool,
    pub(super) gate: Option<Gate>,
    pub(super) fault: Option<Fault>,
    pub(super) raw: Option<String>,
}

impl Answer {
    /// A text, in one piece.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            thinking: String::new(),
            phase: String::new(),
            tools: Vec::new(),
            chunks: 1,
            usage: Some((12, 7)),
            finish: None,
            echo: false,
            gate: None,
            fault: None,
            raw: None,
        }
    }

    /// `echo: ` and the last user message.
    #[must_use]
    pub fn echo() -> Self {
        Self { echo: true, ..Self::text("") }
    }

    /// One tool call with these arguments, and no text.
    #[must_use]
    pub fn tool(name: &str, arguments: &Value) -> Self {
        Self::text("").and_tool(name, arguments)
    }

    /// This body with status 200, whatever was asked.
    #[must_use]
    pub fn raw(body: impl Into<String>) -> Self {
        Self { raw: Some(body.into()), ..Self::text("") }
    }

    /// A status other than 200.
    #[must_use]
    pub fn status(code: u16, body: impl Into<String>) -> Self {
        Self { fault: Some(Fault::Status { code, body: body.into(), retry_after: None }), ..Self::text("") }
    }

    /// An error status in OpenAI's shape.
    #[must_use]
    pub fn error(code: u16, message: &str) -> Self {
        Self::status(code, serde_json::json!({"error": {"message": message, "type": "stub_error"}}).to_string())
    }

    /// Bytes that are neither JSON nor SSE.
    #[must_use]
    pub fn garbage() -> Self {
        Self { fault: Some(Fault::Garbage), ..Self::text("") }
    }

    /// No answer until the client goes.
    #[must_use]
    pub fn hang() -> Self {
        Self { fault: Some(Fault::Hang), ..Self::text("") }
    }

    /// Cuts the connection after the text, before the end of the answer.
    #[must_use]
    pub fn then_cut(self) -> Self {
        Self { fault: Some(Fault::Cut), ..self }
    }

    /// Says nothing more after the text, until the client goes.
    #[must_use]
    pub fn then_stall(self) -> Self {
        Self { fault: Some(Fault::Stall), ..self }
    }

    /// Sends an error inside the stream after the text.
    #[must_use]
    pub fn then_error(self, message: &str) -> Self {
        Self { fault: Some(Fault::Error(message.to_owned())), ..self }
    }

    /// Adds `Retry-After` to an error status.
    #[must_use]
    pub fn retry_after(mut self, value: &str) -> Self {
        if let Some(Fault::Status { retry_after, .. }) = &mut self.fault {
            *retry_after = Some(value.to_owned());
        }
        self
    }

    /// Adds a tool call. Ids count up: `toolu_1`, `toolu_2`, …
    #[must_use]
    pub fn and_tool(mut self, name: &str, arguments: &Value) -> Self {
        self.tools.push(ToolUse { id: format!("toolu_{}", self.tools.len() + 1), name: name.to_owned(), arguments: arguments.to_string() });
        self
    }

    /// Adds a tool call with an id and arguments that may be no JSON.
    #[must_use]
    pub fn and_raw_tool(mut self, id: &str, name: &str, arguments: &str) -> Self {
        self.tools.push(ToolUse { id: id.to_owned(), name: name.to_owned(), arguments: arguments.to_owned() });
        self
    }

    /// Adds what the model thinks first.
    #[must_use]
    pub fn thinking(self, thinking: &str) -> Self {
        Self { thinking: thinking.to_owned(), ..self }
    }

    /// What the Responses API calls this part of the answer.
    #[must_use]
    pub fn phase(self, phase: &str) -> Self {
        Self { phase: phase.to_owned(), ..self }
    }

    /// How many pieces the text comes in when it is streamed.
    #[must_use]
    pub fn chunks(self, chunks: usize) -> Self {
        Self { chunks, ..self }
    }

    /// Lets each piece of the text wait for the gate. Answers that are not streamed wait once.
    #[must_use]
    pub fn gated(self, gate: &Gate) -> Self {
        Self { gate: Some(gate.clone()), ..self }
    }

    /// The tokens it took.
    #[must_use]
    pub fn usage(self, input: u64, output: u64) -> Self {
        Self { usage: Some((input, output)), ..self }
    }

    /// Says nothing about tokens.
    #[must_use]
    pub fn without_usage(self) -> Self {
        Self { usage: None, ..self }
    }

    /// The reason to stop, in OpenAI's words.
    #[must_use]
    pub fn finish(self, reason: &str) -> Self {
        Self { finish: Some(reason.to_owned()), ..self }
    }

    /// The text in its pieces.
    pub(super) fn pieces(&self) -> Vec<String> {
        let chars: Vec<char> = self.text.chars().collect();
        if chars.is_empty() {
            return Vec::new();
        }
        let size = chars.len().div_ceil(self.chunks.max(1));
        chars.chunks(size).map(|piece| piece.iter().collect()).collect()
    }

    pub(super) fn finish_reason(&self) -> &str {
        self.finish.as_deref().unwrap_or(if self.tools.is_empty() { "stop" } else { "tool_calls" })
    }
}
