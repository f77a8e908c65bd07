//! OpenAI's dialect (chat completions), as OpenAI and those who copy it speak it.

mod gemini;
mod request;
pub(crate) mod stream;

#[cfg(test)]
pub(crate) use stream::OpenAiDecoder;

use crate::{
    chat::{self, Body, Call, Decoder, Reported},
    images, models,
    text::Findings,
    transport::{Failure, Transport},
};
use async_trait::async_trait;
use goclaw_ports::{
    JsonObject,
    llm::{ChatRequest, ChatResponse, ChatStream, LlmError, ModelInfo, OPENAI, Provider, ProviderSpec},
};
use request::{Rendered, Vendor};
use reqwest::RequestBuilder;
use serde_json::Value;
use std::sync::Arc;
use url::Url;

/// Keys that some vendors refuse and that a call can do without.
const OPTIONAL: &[&str] = &["stream_options", "tool_choice", "reasoning_effort"];

/// An account at OpenAI or at someone who speaks like it.
pub(crate) struct OpenAi {
    spec: ProviderSpec,
    transport: Arc<Transport>,
    vendor: Vendor,
    findings: Arc<Findings>,
    tools: Rendered,
}

impl OpenAi {
    pub(crate) fn new(mut spec: ProviderSpec, transport: Arc<Transport>) -> Self {
        let vendor = Vendor::new(&spec, &transport.base);
        if spec.provider_type == OPENAI {
            spec.provider_type = "openai_compat".to_owned();
        }
        Self { spec, transport, vendor, findings: Arc::default(), tools: Rendered::default() }
    }
}

#[async_trait]
impl Provider for OpenAi {
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
        let model = self.vendor.model(&request.model, &self.spec.default_model);
        let streamed = request.stream && (!self.vendor.dashscope || request.tools.is_empty());
        let mut body = request::body(&request, &model, &self.vendor, streamed);
        if let Value::Object(body) = &mut body {
            body.retain(|key, _| !self.findings.has(&model, key));
        }
        if self.findings.has(&model, images::BLIND) {
            images::removed(&mut body);
        }
        let call = OpenAiCall { path: self.vendor.path, findings: Arc::clone(&self.findings), model };
        let tools = (!request.tools.is_empty()).then(|| (request::TOOLS, self.tools.of(&request.tools, &self.vendor)));
        let body = Body { own: body, shared: tools };
        chat::chat(Arc::clone(&self.transport), Box::new(call), body, request.stream, streamed)
    }

    async fn models(&self) -> Result<Vec<ModelInfo>, LlmError> {
        if let Some(list) = models::fixed(&self.spec.provider_type) {
            return Ok(list);
        }
        if self.spec.provider_type != "gemini_native" {
            return models::list(&self.transport).await;
        }
        let url = gemini_list(&self.spec, &self.transport.base);
        match Url::parse(&url) {
            Ok(url) => models::gemini(&self.transport, &url).await,
            Err(error) => Err(self.transport.errors.told(&format!("the base cannot be read: {error}"))),
        }
    }
}

/// Where Gemini lists its models. An operator's own base (a proxy) is asked itself; a tenant's is not.
fn gemini_list(spec: &ProviderSpec, base: &str) -> String {
    if spec.trusted { format!("{}/models", base.strip_suffix("/openai").unwrap_or(base)) } else { models::GEMINI_LIST.to_owned() }
}

struct OpenAiCall {
    path: &'static str,
    findings: Arc<Findings>,
    model: String,
}

impl Call for OpenAiCall {
    fn request(&self, transport: &Transport, body: &Body) -> RequestBuilder {
        transport.ask(self.path, body)
    }

    fn amend(&self, body: &mut Value, failure: &Failure) -> bool {
        if images::given_up(body, failure) {
            self.findings.add(&self.model, images::BLIND);
            return true;
        }
        if !matches!(failure.error.status, Some(400 | 422)) {
            return false;
        }
        let Value::Object(body) = body else { return false };
        if let Some(most) = request::token_limit(&failure.body) {
            for key in ["max_tokens", "max_completion_tokens"] {
                if let Some(tokens) = body.get_mut(key).filter(|tokens| **tokens != most) {
                    *tokens = most.into();
                    return true;
                }
            }
        }
        let mut changed = false;
        for key in OPTIONAL {
            if failure.body.contains(key) && body.shift_remove(*key).is_some() {
                self.findings.add(&self.model, key);
                changed = true;
            }
        }
        changed
    }

    fn whole(&self, body: &[u8]) -> Result<ChatResponse, Reported> {
        stream::whole(body)
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(stream::OpenAiDecoder::default())
    }
}
