//! A scripted LLM upstream on loopback: OpenAI chat completions and responses, Anthropic messages, model lists, and whatever a test
//! puts at a path of its own.
//!
//! Each question takes the next scripted [`Answer`]; when none is left, a rule or the default answers. Nothing here waits
//! for time: an answer that has to come slowly waits for its [`Gate`].

mod answer;
mod exchange;
mod responses;
mod wire;

pub use answer::{Answer, Gate, ToolUse};

use crate::within;
use serde_json::Value;
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};
use tokio::{net::TcpListener, runtime, sync::watch};

/// What the upstream says when it was told nothing else.
pub const DEFAULT_TEXT: &str = "Hello from the stub model.";

/// The title that it gives to every session.
pub const TITLE: &str = "Stub title";

/// The summary that it gives of every conversation.
pub const SUMMARY: &str = "Stub summary: they talked about foxes.";

type Rule = Box<dyn Fn(&Request) -> Option<Answer> + Send>;

/// A request that the upstream got.
#[derive(Debug, Clone)]
pub struct Request {
    /// `POST`, `GET`.
    pub method: String,
    /// With the query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The JSON body; null if there was none.
    pub body: Value,
    /// The values of a form that was sent instead.
    pub form: BTreeMap<String, String>,
}

impl Request {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The conversation that was sent, or the items of a response's input.
    #[must_use]
    pub fn messages(&self) -> &[Value] {
        let key = if self.is_responses() { "input" } else { "messages" };
        self.body[key].as_array().map_or(&[], Vec::as_slice)
    }

    /// The texts of the messages with this role, content parts joined.
    #[must_use]
    pub fn texts_of(&self, role: &str) -> Vec<String> {
        self.messages().iter().filter(|message| message["role"] == role).map(|message| text_of(&message["content"])).collect()
    }

    /// The text of the last user message; "" if there is none.
    #[must_use]
    pub fn last_user_text(&self) -> String {
        self.texts_of("user").pop().unwrap_or_default()
    }

    /// The system prompt, wherever the protocol puts it.
    #[must_use]
    pub fn system(&self) -> String {
        let mut parts = self.texts_of("system");
        parts.extend(self.texts_of("developer"));
        parts.push(text_of(&self.body["system"]));
        parts.push(text_of(&self.body["instructions"]));
        parts.concat()
    }

    /// The names of the tools that were offered.
    #[must_use]
    pub fn tool_names(&self) -> Vec<String> {
        let tools = self.body["tools"].as_array().map_or(&[][..], Vec::as_slice);
        tools.iter().filter_map(|tool| tool["function"]["name"].as_str().or_else(|| tool["name"].as_str())).map(str::to_owned).collect()
    }

    /// Whether a streamed answer was asked for.
    #[must_use]
    pub fn streams(&self) -> bool {
        self.body["stream"] == true
    }

    /// Whether this asks for a session's title, which the gateway does on its own after a run. Scripts and
    /// [`FakeLlm::questions`] leave such questions out.
    #[must_use]
    pub fn asks_for_title(&self) -> bool {
        if self.is_responses() {
            return self.last_user_text().starts_with("<message>\n");
        }
        let limit = if self.body["max_tokens"].is_null() { &self.body["max_completion_tokens"] } else { &self.body["max_tokens"] };
        limit == 50 && self.last_user_text() != "hi"
    }

    /// Whether this asks for the summary of a long conversation, which the gateway does on its own. Scripts and
    /// [`FakeLlm::questions`] leave such questions out.
    #[must_use]
    pub fn asks_for_summary(&self) -> bool {
        self.last_user_text().contains("<messages>") && self.tool_names().is_empty() && !self.streams()
    }

    fn is_question(&self) -> bool {
        self.method == "POST" && self.form.is_empty() && !self.asks_for_title() && !self.asks_for_summary()
    }

    fn is_responses(&self) -> bool {
        self.path.ends_with("/codex/responses")
    }

    /// The path without the query.
    fn place(&self) -> &str {
        self.path.split('?').next().unwrap_or_default()
    }

    fn is_anthropic(&self) -> bool {
        self.header("x-api-key").is_some() || self.path.ends_with("/messages")
    }
}

fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(|part| part["text"].as_str().or_else(|| part["content"].as_str()).unwrap_or_default()).collect(),
        _ => String::new(),
    }
}

#[derive(Default)]
struct Script {
    queue: VecDeque<Answer>,
    rule: Option<Rule>,
    default: Option<Answer>,
    models: Option<Answer>,
    places: Vec<(String, Rule)>,
    summaries: Option<Answer>,
}

struct Shared {
    script: Mutex<Script>,
    requests: watch::Sender<Vec<Request>>,
    lost: watch::Sender<usize>,
    open: watch::Sender<usize>,
}

impl Shared {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("no test holds the script while it panics")
    }

    /// What a test put at the request's path.
    fn answer_at(&self, request: &Request) -> Option<Answer> {
        self.script().places.iter().rev().find(|(place, _)| request.place().ends_with(place)).and_then(|(_, rule)| rule(request))
    }

    fn take_answer(&self, request: &Request) -> Answer {
        if request.asks_for_title() {
            return Answer::text(TITLE);
        }
        let mut script = self.script();
        if request.asks_for_summary() {
            return script.summaries.clone().unwrap_or_else(|| Answer::text(SUMMARY));
        }
        if let Some(answer) = script.queue.pop_front() {
            return answer;
        }
        let by_rule = script.rule.as_ref().and_then(|rule| rule(request));
        by_rule.or_else(|| script.default.clone()).unwrap_or_else(|| Answer::text(DEFAULT_TEXT).chunks(5))
    }
}

/// The upstream. It ends when its last clone is dropped.
#[derive(Clone)]
pub struct FakeLlm {
    address: SocketAddr,
    shared: Arc<Shared>,
    _alive: watch::Sender<()>,
}

impl FakeLlm {
    /// Starts an upstream on a free port of loopback, on a thread of its own.
    #[must_use]
    pub fn start() -> Self {
        let shared =
            Arc::new(Shared { script: Mutex::default(), requests: watch::Sender::new(Vec::new()), lost: watch::Sender::new(0), open: watch::Sender::new(0) });
        let (alive, mut ended) = watch::channel(());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let served = shared.clone();
        std::thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).expect("a listener");
                loop {
                    tokio::select! {
                        Ok((socket, _)) = listener.accept() => drop(tokio::spawn(exchange::serve(socket, served.clone()))),
                        _ = ended.changed() => break,
                    }
                }
            });
        });
        Self { address, shared, _alive: alive }
    }

    /// How many requests there were whose path ends like this.
    #[must_use]
    pub fn count_at(&self, place: &str) -> usize {
        self.shared.requests.borrow().iter().filter(|request| request.place().ends_with(place)).count()
    }

    /// The base URL, for all protocols.
    #[must_use]
    pub fn base(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Scripts the answer to the next question that no earlier call scripted.
    pub fn next(&self, answer: Answer) -> &Self {
        self.shared.script().queue.push_back(answer);
        self
    }

    /// Answers every question that nothing else answers.
    pub fn always(&self, answer: Answer) -> &Self {
        self.shared.script().default = Some(answer);
        self
    }

    /// Asks `rule` for an answer when nothing is scripted.
    pub fn on(&self, rule: impl Fn(&Request) -> Option<Answer> + Send + 'static) -> &Self {
        self.shared.script().rule = Some(Box::new(rule));
        self
    }

    /// Asks `rule` for the answers to requests whose path ends like this. The last rule of a path counts; where it says nothing, the
    /// request is answered as any other.
    pub fn at(&self, place: &str, rule: impl Fn(&Request) -> Option<Answer> + Send + 'static) -> &Self {
        self.shared.script().places.push((place.to_owned(), Box::new(rule)));
        self
    }

    /// What the model list answers.
    pub fn models(&self, answer: Answer) -> &Self {
        self.shared.script().models = Some(answer);
        self
    }

    /// What every summary of a conversation is from now on.
    pub fn summaries(&self, answer: Answer) -> &Self {
        self.shared.script().summaries = Some(answer);
        self
    }

    /// All questions so far (no model lists, titles or summaries), oldest first.
    #[must_use]
    pub fn questions(&self) -> Vec<Request> {
        self.shared.requests.borrow().iter().filter(|request| request.is_question()).cloned().collect()
    }

    /// All requests so far, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.borrow().clone()
    }

    /// The questions for summaries so far, oldest first.
    #[must_use]
    pub fn summaries_asked_for(&self) -> Vec<Request> {
        self.requests().into_iter().filter(Request::asks_for_summary).collect()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.shared.requests.send_replace(Vec::new());
    }

    /// Waits until there are `count` questions, and answers with them.
    pub async fn wait_for_questions(&self, count: usize) -> Vec<Request> {
        let enough = |requests: &Vec<Request>| requests.iter().filter(|request| request.is_question()).count() >= count;
        within("questions to the model", self.shared.requests.subscribe().wait_for(enough)).await.expect("the upstream lives");
        self.questions()
    }

    /// Waits until `count` clients went away before their answer ended.
    pub async fn wait_for_lost_clients(&self, count: usize) {
        within("the gateway to hang up", self.shared.lost.subscribe().wait_for(|lost| *lost >= count)).await.expect("the upstream lives");
    }

    /// Waits until `count` answers are being given at the same time.
    pub async fn wait_for_open_answers(&self, count: usize) {
        within("open answers", self.shared.open.subscribe().wait_for(|open| *open >= count)).await.expect("the upstream lives");
    }
}
