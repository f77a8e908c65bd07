//! Anthropic's dialect: the Messages API.

mod request;
pub(crate) mod stream;

#[cfg(test)]
pub(crate) use stream::AnthropicDecoder;

use crate::{
    chat::{self, Body, Call, Decoder, Reported},
    images, models,
    text::{Findings, describe},
    transport::{Failure, Transport},
};
use async_trait::async_trait;
use goclaw_ports::{
    JsonObject,
    llm::{ChatRequest, ChatResponse, ChatStream, LlmError, ModelInfo, Provider, ProviderSpec},
};
use reqwest::{RequestBuilder, header::HeaderValue};
use serde_json::{Value, json};
use std::sync::Arc;

const VERSION: &str = "2023-06-01";
/// The model takes no thinking budget, only `adaptive`.
const ADAPTIVE: &str = "adaptive";

/// An account at Anthropic, or a server that speaks like it.
pub(crate) struct Anthropic {
    spec: ProviderSpec,
    transport: Arc<Transport>,
    findings: Arc<Findings>,
}

impl Anthropic {
    pub(crate) fn new(spec: ProviderSpec, transport: Arc<Transport>) -> Self {
        let mut transport = Arc::unwrap_or_clone(transport);
        transport.headers.insert("anthropic-version", HeaderValue::from_static(VERSION));
        Self { spec, transport: Arc::new(transport), findings: Arc::default() }
    }
}

#[async_trait]
impl Provider for Anthropic {
    fn name(&self) -> &str {
        &self.spec.name
    }

    fn provider_type(&self) -> &str {
        &self.spec.provider_type
    }

    fn default_model(&self) -> &str {
        &self.spec.default_model
    }

    fn settings(&self) -> Option<&JsonObject> {
        Some(&self.spec.settings)
    }

    fn chat(&self, request: ChatRequest) -> ChatStream {
        let model = request::model(&request.model, &self.spec.default_model);
        let mut body = request::body(&request, &model, self.findings.has(&model, ADAPTIVE));
        if self.findings.has(&model, images::BLIND) {
            images::removed(&mut body);
        }
        let level = request.reasoning_effort.unwrap_or_default();
        let call = AnthropicCall { findings: Arc::clone(&self.findings), model, level, betas: request::betas(&body) };
        chat::chat(Arc::clone(&self.transport), Box::new(call), body.into(), request.stream, request.stream)
    }

    async fn models(&self) -> Result<Vec<ModelInfo>, LlmError> {
        models::list(&self.transport).await
    }
}

struct AnthropicCall {
    findings: Arc<Findings>,
    model: String,
    level: String,
    betas: Vec<&'static str>,
}

impl Call for AnthropicCall {
    fn request(&self, transport: &Transport, body: &Body) -> RequestBuilder {
        let request = transport.ask("messages", body);
        if self.betas.is_empty() { request } else { request.header("anthropic-beta", self.betas.join(",")) }
    }

    fn amend(&self, body: &mut Value, failure: &Failure) -> bool {
        if images::given_up(body, failure) {
            self.findings.add(&self.model, images::BLIND);
            return true;
        }
        let told = failure.body.to_lowercase();
        let rejects_budget = failure.error.status == Some(400) && told.contains("adaptive") && (told.contains("budget_tokens") || told.contains("thinking"));
        if !rejects_budget || body.pointer("/thinking/budget_tokens").is_none() {
            return false;
        }
        self.findings.add(&self.model, ADAPTIVE);
        request::think_adaptively(body, &self.level);
        true
    }

    fn whole(&self, body: &[u8]) -> Result<ChatResponse, Reported> {
        stream::whole(body)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(stream::AnthropicDecoder::default())
    }
}

/// An error object as a failure of this dialect.
fn reported(error: &Value) -> Reported {
    let (code, text) = describe(error);
    Reported { code, text: format!("anthropic stream error: {text}") }
}

/// The marker that lets the upstream cache everything up to here.
fn cache_control() -> Value {
    json!({"type": "ephemeral"})
}
