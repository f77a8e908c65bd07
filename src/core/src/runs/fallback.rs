//! Providers that stand in for an agent's own when that fails before it has said anything.

use super::reasoning::Reasoning;
use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use goclaw_ports::{
    Error, JsonObject, Result, TenantId,
    llm::{ChatEvent, ChatRequest, ChatStream, Elsewhere, LlmError, ModelInfo, Provider},
};
use serde_json::Value;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// The key in an agent's other settings.
const KEY: &str = "fallback_providers";
/// How many an agent may name.
const MOST: usize = 5;

/// A provider that an agent names, and the model there; "" for the provider's own choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub provider: String,
    pub model: String,
}

/// The providers that an agent names to stand in, in order. Names alone, or `{"provider", "model"}`.
///
/// # Errors
/// `Invalid` if the settings hold something else there, or too many.
pub(crate) fn named(other_config: &JsonObject) -> Result<Vec<Named>> {
    let refused =
        || Error::invalid_request(format!("other_config.{KEY} must be a list of at most {MOST} providers: names, or objects with provider and model"));
    let Some(list) = other_config.get(KEY).filter(|list| !list.is_null()) else { return Ok(vec![]) };
    let list = list.as_array().filter(|list| list.len() <= MOST).ok_or_else(refused)?;
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(|text| text.trim().to_owned());
    let one = |value: &Value| match value {
        Value::String(name) => Some(Named { provider: name.trim().to_owned(), model: String::new() }),
        Value::Object(object) => {
            let model = if object.contains_key("model") { text(value, "model")? } else { String::new() };
            Some(Named { provider: text(value, "provider")?, model })
        }
        _ => None,
    };
    list.iter().map(|value| one(value).filter(|named| !named.provider.is_empty()).ok_or_else(refused)).collect()
}

/// A provider, and what it is asked with.
pub(crate) struct Candidate {
    pub provider: Arc<dyn Provider>,
    pub model: String,
    pub effort: Option<String>,
}

/// The providers that stand in for `first` in a run of this model, as far as they are there.
pub(crate) fn candidates(
    tenant: TenantId,
    first: &dyn Provider,
    model: &str,
    named: &[Named],
    reasoning: Reasoning,
    find: impl Fn(&str) -> Option<Arc<dyn Provider>>,
) -> Vec<Candidate> {
    let found = named.iter().filter(|named| named.provider != first.name()).filter_map(|named| {
        let provider = find(&named.provider);
        if provider.is_none() {
            tracing::warn!(provider = named.provider, %tenant, "a provider that is to stand in is not there");
        }
        let provider = provider?;
        // A model is another vendor's only by chance: it is asked for there last, where nothing else is known.
        let same = if provider.provider_type() == first.provider_type() { model } else { "" };
        let model = [&*named.model, same, provider.default_model(), model].into_iter().find(|model| !model.is_empty()).unwrap_or_default().to_owned();
        let effort = reasoning.decide(provider.provider_type(), &model).effort();
        Some(Candidate { provider, model, effort })
    });
    found.collect()
}

/// A provider with others that stand in for it, for one run: who has answered once is asked first from then on.
pub(crate) struct WithFallbacks {
    first: Arc<dyn Provider>,
    others: Arc<Vec<Candidate>>,
    /// How many have failed: 0 asks the first, 1 the first of the others.
    failed: Arc<AtomicUsize>,
}

impl WithFallbacks {
    /// `first`, with `others` behind it if there are any.
    pub fn over(first: Arc<dyn Provider>, others: Vec<Candidate>) -> Arc<dyn Provider> {
        if others.is_empty() { first } else { Arc::new(Self { first, others: Arc::new(others), failed: Arc::default() }) }
    }
}

/// A question on its way.
struct Asking {
    first: Arc<dyn Provider>,
    others: Arc<Vec<Candidate>>,
    failed: Arc<AtomicUsize>,
    request: ChatRequest,
    at: usize,
    stream: ChatStream,
    told: VecDeque<ChatEvent>,
    begun: bool,
}

impl Asking {
    fn name(&self, at: usize) -> &str {
        at.checked_sub(1).and_then(|at| self.others.get(at)).map_or(self.first.name(), |candidate| candidate.provider.name())
    }

    /// Asks number `at` from now on; `false` if there is none.
    fn turn_to(&mut self, at: usize, error: &str) -> bool {
        let Some(candidate) = at.checked_sub(1).and_then(|at| self.others.get(at)) else { return false };
        let (model, effort) = (candidate.model.clone(), candidate.effort.clone());
        self.told.push_back(ChatEvent::Elsewhere(Box::new(Elsewhere {
            provider: candidate.provider.name().to_owned(),
            provider_type: candidate.provider.provider_type().to_owned(),
            model: model.clone(),
            instead_of: self.name(at - 1).to_owned(),
            error: error.to_owned(),
        })));
        self.stream = candidate.provider.chat(ChatRequest { model, reasoning_effort: effort, ..self.request.clone() });
        self.at = at;
        true
    }

    async fn next(&mut self) -> Option<std::result::Result<ChatEvent, LlmError>> {
        loop {
            if let Some(event) = self.told.pop_front() {
                return Some(Ok(event));
            }
            match self.stream.next().await? {
                Err(error) if !self.begun && error.may_pass() && self.turn_to(self.at + 1, &error.text) => {
                    tracing::warn!(%error, "the provider failed; another one is asked");
                    self.failed.fetch_max(self.at, Ordering::Relaxed);
                }
                Ok(event) => {
                    self.begun |= matches!(event, ChatEvent::Text(_) | ChatEvent::Thinking(_) | ChatEvent::Done(_));
                    return Some(Ok(event));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

#[async_trait]
impl Provider for WithFallbacks {
    fn name(&self) -> &str {
        self.first.name()
    }

    fn provider_type(&self) -> &str {
        self.first.provider_type()
    }

    fn default_model(&self) -> &str {
        self.first.default_model()
    }

    fn chat(&self, request: ChatRequest) -> ChatStream {
        let mut asking = Asking {
            first: self.first.clone(),
            others: self.others.clone(),
            failed: self.failed.clone(),
            request,
            at: 0,
            stream: stream::empty().boxed(),
            told: VecDeque::new(),
            begun: false,
        };
        if !asking.turn_to(self.failed.load(Ordering::Relaxed), "") {
            asking.stream = self.first.chat(asking.request.clone());
        }
        stream::unfold(asking, |mut asking| async move { asking.next().await.map(|event| (event, asking)) }).boxed()
    }

    async fn models(&self) -> std::result::Result<Vec<ModelInfo>, LlmError> {
        self.first.models().await
    }

    fn settings(&self) -> Option<&JsonObject> {
        self.first.settings()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goclaw_ports::llm::LlmErrorKind;
    use rstest::rstest;
    use serde_json::json;
    use std::sync::Mutex;

    /// Answers with what it was given, one answer for each question.
    struct Scripted(&'static str, Mutex<VecDeque<Vec<std::result::Result<ChatEvent, LlmError>>>>, Mutex<Vec<ChatRequest>>);

    #[async_trait]
    impl Provider for Scripted {
        fn name(&self) -> &str {
            self.0
        }
        fn provider_type(&self) -> &str {
            "openai_compat"
        }
        fn default_model(&self) -> &str {
            ""
        }
        fn chat(&self, request: ChatRequest) -> ChatStream {
            self.2.lock().unwrap().push(request);
            stream::iter(self.1.lock().unwrap().pop_front().unwrap()).boxed()
        }
        async fn models(&self) -> std::result::Result<Vec<ModelInfo>, LlmError> {
            Ok(vec![])
        }
    }

    fn scripted(name: &'static str, answers: Vec<Vec<std::result::Result<ChatEvent, LlmError>>>) -> Arc<Scripted> {
        Arc::new(Scripted(name, Mutex::new(answers.into()), Mutex::default()))
    }

    fn failure(status: u16) -> std::result::Result<ChatEvent, LlmError> {
        Err(LlmError { kind: LlmErrorKind::Other, status: Some(status), text: format!("HTTP {status}"), retry_after: None })
    }

    fn text(text: &str) -> std::result::Result<ChatEvent, LlmError> {
        Ok(ChatEvent::Text(text.into()))
    }

    fn done() -> std::result::Result<ChatEvent, LlmError> {
        Ok(ChatEvent::Done(Box::default()))
    }

    fn over(first: &Arc<Scripted>, others: &[&Arc<Scripted>]) -> Arc<dyn Provider> {
        let others =
            others.iter().map(|other| Candidate { provider: Arc::clone(*other) as _, model: format!("model of {}", other.0), effort: Some("low".into()) });
        WithFallbacks::over(first.clone(), others.collect())
    }

    async fn heard(provider: &dyn Provider) -> Vec<String> {
        let events: Vec<_> = provider.chat(ChatRequest { model: "m".into(), ..ChatRequest::default() }).collect().await;
        let name = |event| match event {
            Ok(ChatEvent::Text(text)) => text,
            Ok(ChatEvent::Elsewhere(other)) => format!("{} instead of {} ({})", other.provider, other.instead_of, other.error),
            Ok(ChatEvent::Done(_)) => "done".into(),
            Ok(_) => "other".into(),
            Err(error) => format!("failed: {error}"),
        };
        events.into_iter().map(name).collect()
    }

    /// Is of a type and has a model of its own, and is asked nothing.
    struct Silent(&'static str, &'static str);

    #[async_trait]
    impl Provider for Silent {
        fn name(&self) -> &str {
            self.0
        }
        fn provider_type(&self) -> &str {
            self.0
        }
        fn default_model(&self) -> &str {
            self.1
        }
        fn chat(&self, _: ChatRequest) -> ChatStream {
            stream::empty().boxed()
        }
        async fn models(&self) -> std::result::Result<Vec<ModelInfo>, LlmError> {
            Ok(vec![])
        }
    }

    #[rstest]
    #[case("anthropic_native", "default", "named", "named")]
    #[case("anthropic_native", "default", "", "default")]
    #[case("openai_compat", "default", "", "of the run")]
    #[case("openai_compat", "", "", "of the run")]
    #[case("groq", "", "", "of the run")]
    #[case("groq", "", "named", "named")]
    fn who_stands_in_is_asked_with_a_model_in_any_case(
        #[case] provider_type: &'static str,
        #[case] default: &'static str,
        #[case] model: &str,
        #[case] expected: &str,
    ) {
        let first = scripted("first", vec![]);
        let named = [Named { provider: "other".into(), model: model.into() }];
        let reasoning = Reasoning::of(&JsonObject::new(), None);
        let find = |_: &str| Some(Arc::new(Silent(provider_type, default)) as Arc<dyn Provider>);
        let found = candidates(TenantId::MASTER, &*first, "of the run", &named, reasoning, find);
        assert_eq!(found.iter().map(|candidate| candidate.model.as_str()).collect::<Vec<_>>(), [expected]);
    }

    #[tokio::test]
    async fn what_may_pass_goes_on_to_the_next_and_stays_there() {
        let first = scripted("a", vec![vec![failure(503)]]);
        let (second, third) = (scripted("b", vec![vec![failure(429)]]), scripted("c", vec![vec![text("hi"), done()], vec![text("again"), done()]]));
        let provider = over(&first, &[&second, &third]);
        assert_eq!(heard(&*provider).await, ["b instead of a (HTTP 503)", "c instead of b (HTTP 429)", "hi", "done"]);
        assert_eq!(heard(&*provider).await, ["c instead of b ()", "again", "done"]);
        let asked = third.2.lock().unwrap();
        assert_eq!((asked[0].model.as_str(), asked[0].reasoning_effort.as_deref()), ("model of c", Some("low")));
    }

    #[tokio::test]
    async fn nothing_else_does() {
        for script in [vec![failure(401)], vec![text("I "), failure(503)]] {
            let (first, second) = (scripted("a", vec![script.clone()]), scripted("b", vec![vec![done()]]));
            let told = heard(&*over(&first, &[&second])).await;
            assert_eq!((told.len(), told.last().unwrap().starts_with("failed: ")), (script.len(), true), "{told:?}");
        }
        let (first, second) = (scripted("a", vec![vec![failure(500)]]), scripted("b", vec![vec![failure(502)]]));
        assert_eq!(heard(&*over(&first, &[&second])).await, ["b instead of a (HTTP 500)", "failed: HTTP 502"]);
    }

    #[rstest]
    #[case(json!({}), Some(vec![]))]
    #[case(json!({"fallback_providers": null}), Some(vec![]))]
    #[case(json!({"fallback_providers": ["a", {"provider": " b ", "model": "m"}, {"provider": "c"}]}), Some(vec![("a", ""), ("b", "m"), ("c", "")]))]
    #[case(json!({"fallback_providers": "a"}), None)]
    #[case(json!({"fallback_providers": [1]}), None)]
    #[case(json!({"fallback_providers": [""]}), None)]
    #[case(json!({"fallback_providers": [{"model": "m"}]}), None)]
    #[case(json!({"fallback_providers": [{"provider": "a", "model": 1}]}), None)]
    #[case(json!({"fallback_providers": ["a", "b", "c", "d", "e", "f"]}), None)]
    fn names_are_read(#[case] other: Value, #[case] expected: Option<Vec<(&str, &str)>>) {
        let expected = expected.map(|list| list.into_iter().map(|(provider, model)| Named { provider: provider.into(), model: model.into() }).collect());
        assert_eq!(named(other.as_object().unwrap()).ok(), expected);
    }
}
