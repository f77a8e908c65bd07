//! What a run tells the world while it goes on: `agent` events, and the pieces for the client that waits for it.

use super::{ActiveRun, request::Request};
use crate::{
    counters,
    files::{
        Readable,
        links::{self, LinkStream},
    },
};
use goclaw_ports::{
    JsonObject, TenantId,
    events::{AGENT, Event, EventBus},
    sessions::ToolCall,
    tools::MediaResult,
};
use serde_json::{Value, json};
use std::{
    borrow::Cow,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// How long a client may take to read a piece before it counts as gone.
const SLOW_CLIENT: Duration = Duration::from_secs(30);
/// How much of arguments and results events carry, in bytes.
const ARGUMENT_BYTES: usize = 500;
const RESULT_BYTES: usize = 1_000;

/// Tells what a run does.
pub(crate) struct Emitter {
    bus: Arc<dyn EventBus>,
    tenant: TenantId,
    user: Arc<str>,
    common: JsonObject,
    pieces: Option<mpsc::Sender<String>>,
    run: Arc<ActiveRun>,
    started: Instant,
    spoke: AtomicBool,
    /// What the run's links may lead to.
    readable: OnceLock<Readable>,
    /// What may become a link.
    held: Mutex<LinkStream>,
}

impl Emitter {
    pub fn new(bus: Arc<dyn EventBus>, request: &Request, run: &Arc<ActiveRun>) -> Self {
        let mut common = JsonObject::new();
        let values = [
            ("agentId", run.agent_key.as_str()),
            ("runId", &run.id.to_string()),
            ("userId", &*run.user),
            ("runKind", request.options.kind),
            ("delegationId", &request.options.lineage.delegation),
            ("parentAgentId", &request.options.lineage.agent_key),
            ("channel", &request.origin.channel),
            ("chatId", &request.origin.chat_id),
            ("sessionKey", &run.session_key),
        ];
        for (name, value) in values.into_iter().filter(|(_, value)| !value.is_empty()) {
            common.insert(name.into(), value.into());
        }
        let (tenant, pieces) = (request.caller.tenant, request.pieces.clone());
        Self {
            bus,
            tenant,
            user: run.user.clone(),
            common,
            pieces,
            run: run.clone(),
            started: Instant::now(),
            spoke: AtomicBool::new(false),
            readable: OnceLock::new(),
            held: Mutex::default(),
        }
    }

    /// From now on links that lead there are marked, to be signed where they leave.
    pub fn may_link(&self, readable: Readable) {
        let _ = self.readable.set(readable);
    }

    fn marked<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.readable.get().map_or(Cow::Borrowed(text), |readable| links::marked(text, readable))
    }

    fn held(&self) -> MutexGuard<'_, LinkStream> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was said along with tool calls.
    pub fn reply(&self, text: &str) {
        self.event("block.reply", Some(json!({"content": self.marked(text)})));
    }

    /// An `agent` event of this type.
    pub fn event(&self, kind: &str, payload: Option<Value>) {
        if !self.bus.attended() {
            return;
        }
        let mut event = JsonObject::new();
        event.insert("type".into(), kind.into());
        event.extend(self.common.iter().map(|(name, value)| (name.clone(), value.clone())));
        if let Some(payload) = payload {
            event.insert("payload".into(), payload);
        }
        let user = Some(self.user.clone()).filter(|user| !user.is_empty());
        self.bus.publish(Event { tenant: self.tenant, name: AGENT.into(), user, payload: Arc::new(event.into()) });
    }

    /// A bit of the answer. What may be the beginning of a link waits for the rest of it. A client that waits for the answer and does
    /// not read stops the run.
    pub async fn text(&self, text: &str) {
        let whole = self.held().push(text);
        self.pass_on(&whole).await;
    }

    /// The model has said all: what still waits goes out.
    pub async fn end_of_text(&self) {
        let rest = self.held().finish();
        self.pass_on(&rest).await;
    }

    async fn pass_on(&self, text: &str) {
        if text.is_empty() {
            return;
        }
        let text = self.marked(text);
        if !self.spoke.swap(true, Ordering::Relaxed) {
            counters::first_token(self.started.elapsed());
        }
        self.event("chunk", Some(json!({"content": text})));
        if let Some(pieces) = &self.pieces
            && pieces.send_timeout(text.into_owned(), SLOW_CLIENT).await.is_err()
        {
            self.run.cancel.cancel();
        }
    }

    /// What the run does now.
    pub fn activity(&self, activity: Value) {
        self.run.set_activity(json!({
            "phase": activity["phase"],
            "tool": activity.get("tool").unwrap_or(&Value::String(String::new())),
            "iteration": activity.get("iteration").unwrap_or(&json!(0)),
        }));
        self.event("activity", Some(activity));
    }

    /// A tool is called.
    pub fn tool_call(&self, id: &str, name: &str, arguments: &JsonObject) {
        let shown: JsonObject = arguments
            .iter()
            .map(|(key, value)| match value {
                Value::String(text) => (key.clone(), Value::String(end_of(text, ARGUMENT_BYTES))),
                other => (key.clone(), other.clone()),
            })
            .collect();
        self.event("tool.call", Some(json!({"name": name, "id": id, "arguments": shown})));
    }

    /// A tool has answered this to a call, with these files.
    pub fn tool_result(&self, call: &ToolCall, result: &str, is_error: bool, media: &[MediaResult]) {
        // What is cut off is no link any more, so it is cut first.
        let end = end_of(result, RESULT_BYTES);
        let mut payload = json!({"name": call.name, "id": call.id, "is_error": is_error, "arguments": call.arguments, "result": self.marked(&end)});
        if is_error {
            payload["content"] = self.marked(result).into();
        }
        if !media.is_empty() {
            payload["media"] = links::marked_files(media);
        }
        self.event("tool.result", Some(payload));
    }
}

/// The end of a text, marked if something is missing before it.
fn end_of(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let start = (text.len() - bytes..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    format!("...{}", &text[start..])
}
