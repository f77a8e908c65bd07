//! From a provider's settings to a provider that can be asked.

use crate::{
    anthropic::Anthropic,
    embeddings::OpenAiEmbedder,
    errors::Errors,
    openai::OpenAi,
    responses::ChatGpt,
    retry::RetryPolicy,
    transport::{Transport, sensitive},
};
use goclaw_outbound::{Outbound, Refused};
use goclaw_ports::{
    Error, Result,
    embeddings::{Embedder, EmbedderSpec},
    llm::{OPENAI, Provider, ProviderFactory, ProviderSpec},
    message,
};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use std::{sync::Arc, time::Duration};
use url::{Host, Url};

/// The types that speak OpenAI's dialect.
const OPENAI_TYPES: &[&str] = &[
    OPENAI,
    "openai_compat",
    "openrouter",
    "groq",
    "deepseek",
    "gemini_native",
    "mistral",
    "xai",
    "minimax_native",
    "minimax",
    "cohere",
    "perplexity",
    "dashscope",
    "bailian",
    "zai",
    "zai_coding",
    "ollama",
    "ollama_cloud",
    "novita",
    "yescale",
];

/// How models are called. The timeout for connecting is the outbound client's.
#[derive(Debug, Clone)]
pub struct LlmOptions {
    /// How long a stream may be silent, its first byte included. An answer in one piece may take two and a half times as long to begin.
    pub idle_timeout: Duration,
    /// When failed calls are tried again.
    pub retry: RetryPolicy,
    /// In a container: the name of the machine that it runs on. An Ollama at `localhost` is looked for there.
    pub machine: Option<String>,
}

impl Default for LlmOptions {
    fn default() -> Self {
        Self { idle_timeout: Duration::from_secs(120), retry: RetryPolicy::default(), machine: None }
    }
}

/// The factory of providers that are reached over HTTP.
#[must_use]
pub fn factory(outbound: Arc<Outbound>, options: LlmOptions) -> Arc<dyn ProviderFactory> {
    Arc::new(HttpProviders { outbound, options })
}

struct HttpProviders {
    outbound: Arc<Outbound>,
    options: LlmOptions,
}

fn refused(refused: &Refused) -> Error {
    Error::invalid(message::bad_provider_url(refused.provider_text()))
}

fn parse(api_base: &str) -> Result<Url> {
    Url::parse(api_base.trim()).map_err(|error| match error {
        url::ParseError::RelativeUrlWithoutBase => refused(&Refused::Scheme(String::new())),
        error => Error::invalid(message::bad_provider_url(format!("provider URL is not valid: {error}"))),
    })
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

impl ProviderFactory for HttpProviders {
    fn speaks(&self, provider_type: &str) -> bool {
        matches!(provider_type, "anthropic_native" | "chatgpt_oauth") || OPENAI_TYPES.contains(&provider_type)
    }

    fn build(&self, spec: ProviderSpec) -> Result<Arc<dyn Provider>> {
        let transport = self.transport(&spec)?;
        Ok(match spec.provider_type.as_str() {
            "anthropic_native" => Arc::new(Anthropic::new(spec, transport)),
            "chatgpt_oauth" => Arc::new(ChatGpt::new(spec, transport)),
            _ => Arc::new(OpenAi::new(spec, transport)),
        })
    }

    fn embedder(&self, spec: EmbedderSpec) -> Result<Arc<dyn Embedder>> {
        let EmbedderSpec { provider, model, dimensions, attempts } = spec;
        Ok(Arc::new(OpenAiEmbedder { transport: self.transport(&provider)?, model, dimensions, attempts }))
    }

    fn check_base(&self, api_base: &str) -> Result<()> {
        self.outbound.guard().check_url(&parse(api_base)?).map_err(|why| refused(&why))
    }
}

impl HttpProviders {
    /// How the provider is reached.
    fn transport(&self, spec: &ProviderSpec) -> Result<Arc<Transport>> {
        if !self.speaks(&spec.provider_type) {
            return Err(Error::invalid(message::unsupported_provider_type()));
        }
        let mut url = parse(&spec.api_base)?;
        let mut base = spec.api_base.trim().trim_end_matches('/').to_owned();
        // An Ollama of this machine is its normal home; anywhere else it is held to the guard like all others.
        let trusted = spec.trusted || (spec.provider_type == "ollama" && is_loopback(&url));
        let client = if trusted {
            if !matches!(url.scheme(), "http" | "https") {
                return Err(refused(&Refused::Scheme(url.scheme().to_owned())));
            }
            self.outbound.trusted()
        } else {
            self.outbound.guard().check_url(&url).map_err(|why| refused(&why))?;
            self.outbound.guarded()
        };
        if spec.provider_type == "ollama" {
            if let Some(machine) = self.options.machine.as_deref().filter(|_| is_loopback(&url))
                && url.set_host(Some(machine)).is_ok()
            {
                base = url.as_str().trim_end_matches('/').to_owned();
            }
            if !base.ends_with("/v1") {
                base.push_str("/v1");
            }
        }
        let secret = spec.api_key.clone().filter(|key| !key.expose_secret().trim().is_empty());
        let secret = secret.or_else(|| (spec.provider_type == "ollama").then(|| SecretString::from("ollama")));
        let key = secret.as_ref().map(|key| header(key.expose_secret().trim())).transpose()?;
        let mut headers = HeaderMap::new();
        if let Some(secret) = &secret {
            let secret = secret.expose_secret().trim();
            if spec.provider_type == "anthropic_native" {
                headers.insert(HeaderName::from_static("x-api-key"), header(secret)?);
            } else if base.contains("azure.com") {
                headers.insert(HeaderName::from_static("api-key"), header(secret)?);
            } else {
                headers.insert(AUTHORIZATION, header(&format!("Bearer {secret}"))?);
            }
        }
        // "ollama" is no secret, and scrubbing it would only spoil the texts.
        let scrubbed = secret.filter(|_| spec.api_key.is_some()).map(|key| SecretString::from(key.expose_secret().trim()));
        Ok(Arc::new(Transport {
            client,
            base,
            headers,
            credentials: spec.credentials.clone(),
            key,
            errors: Errors { provider: spec.name.clone(), key: scrubbed },
            idle: self.options.idle_timeout,
            retry: self.options.retry.clone(),
        }))
    }
}

fn header(value: &str) -> Result<HeaderValue> {
    sensitive(value).ok_or_else(|| Error::invalid_request("api_key holds characters that cannot be sent"))
}
