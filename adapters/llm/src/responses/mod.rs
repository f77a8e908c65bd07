//! The dialect of ChatGPT accounts: OpenAI's Responses API. It is streamed always, whether or not the caller wants pieces.

mod request;
pub(crate) mod stream;

use crate::{
    chat::{self, Body, Call, Decoder, Reported},
    images, models,
    retry::RetryPolicy,
    text::Findings,
    transport::{Failure, Transport},
};
use async_trait::async_trait;
use goclaw_ports::{
    JsonObject,
    llm::{ChatRequest, ChatResponse, ChatStream, LlmError, ModelInfo, Provider, ProviderSpec},
};
use reqwest::{
    RequestBuilder,
    header::{HeaderValue, USER_AGENT},
};
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// The longest wait for what is left of an account's quota.
const QUOTA_PATIENCE: Duration = Duration::from_secs(12);
/// How much of it is read, in bytes.
const QUOTA_LIMIT: usize = 64 * 1024;
/// The endpoint answers only to clients that it knows.
const QUOTA_CLIENT: &str = "codex_cli_rs/0.76.0 (Debian 13.0.0; x86_64) WindowsTerminal";

/// A person's account at ChatGPT.
pub(crate) struct ChatGpt {
    spec: ProviderSpec,
    transport: Arc<Transport>,
    findings: Arc<Findings>,
}

impl ChatGpt {
    pub(crate) fn new(spec: ProviderSpec, transport: Arc<Transport>) -> Self {
        Self { spec, transport, findings: Arc::default() }
    }

    async fn ask_quota(&self) -> Result<Vec<u8>, LlmError> {
        let transport = self.transport.authorised().await?;
        let patience = transport.idle.min(QUOTA_PATIENCE);
        let request = transport.get("wham/usage").header(USER_AGENT, HeaderValue::from_static(QUOTA_CLIENT));
        let answer = transport.send(request, patience).await.map_err(|failure| failure.error)?;
        transport.body(answer, QUOTA_LIMIT, patience).await
    }
}

#[async_trait]
impl Provider for ChatGpt {
    fn name(&self) -> &str {
        &self.spec.name
    }

    fn provider_type(&self) -> &str {
        &self.spec.provider_type
    }

    fn default_model(&self) -> &str {
        &self.spec.default_model
    }

    fn chat(&self, request: ChatRequest) -> ChatStream {
        let model = if request.model.is_empty() { &self.spec.default_model } else { &request.model };
        let mut body = request::body(&request, model);
        if self.findings.has(model, images::BLIND) {
            images::removed(&mut body);
        }
        let call = ResponsesCall { findings: Arc::clone(&self.findings), model: model.clone() };
        chat::chat(Arc::clone(&self.transport), Box::new(call), body.into(), request.stream, true)
    }

    async fn models(&self) -> Result<Vec<ModelInfo>, LlmError> {
        Ok(models::fixed(&self.spec.provider_type).unwrap_or_default())
    }

    fn settings(&self) -> Option<&JsonObject> {
        Some(&self.spec.settings)
    }

    async fn quota(&self) -> Option<Result<Vec<u8>, LlmError>> {
        let policy = RetryPolicy {
            attempts: 2,
            base: Duration::from_millis(400),
            cap: Duration::from_secs(2),
            retry_after_cap: Duration::from_secs(2),
            ..RetryPolicy::default()
        };
        let first = self.ask_quota().await;
        let passing = first.as_ref().err().filter(|error| error.may_pass());
        Some(match passing.and_then(|error| policy.pause(1, error.retry_after, rand::random::<f64>())) {
            Some(pause) => {
                tokio::time::sleep(pause).await;
                self.ask_quota().await
            }
            None => first,
        })
    }
}

struct ResponsesCall {
    findings: Arc<Findings>,
    model: String,
}

impl Call for ResponsesCall {
    fn request(&self, transport: &Transport, body: &Body) -> RequestBuilder {
        transport.ask("codex/responses", body).header("openai-beta", "responses=v1")
    }

    fn amend(&self, body: &mut Value, failure: &Failure) -> bool {
        let amended = images::given_up(body, failure);
        if amended {
            self.findings.add(&self.model, images::BLIND);
        }
        amended
    }

    fn whole(&self, _: &[u8]) -> Result<ChatResponse, Reported> {
        Err(Reported::new("the answer came in one piece, which was not asked for"))
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(stream::ResponsesDecoder::default())
    }
}
