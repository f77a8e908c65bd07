//! Which models a provider offers.

use crate::transport::Transport;
use goclaw_ports::llm::{LlmError, ModelInfo};
use reqwest::RequestBuilder;
use serde::Deserialize;
use std::time::Duration;

/// The longest wait for a list.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Where Gemini's own list is; its OpenAI-compatible base has none of the names.
pub(crate) const GEMINI_LIST: &str = "https://generativelanguage.googleapis.com/v1beta/models";

const BAILIAN: &[(&str, &str)] = &[
    ("qwen3.5-plus", "Qwen 3.5 Plus"),
    ("kimi-k2.5", "Kimi K2.5"),
    ("GLM-5", "GLM-5"),
    ("MiniMax-M2.5", "MiniMax M2.5"),
    ("qwen3-max-2026-01-23", "Qwen 3 Max (2026-01-23)"),
    ("qwen3-coder-next", "Qwen 3 Coder Next"),
    ("qwen3-coder-plus", "Qwen 3 Coder Plus"),
    ("glm-4.7", "GLM 4.7"),
];
const DASHSCOPE: &[(&str, &str)] = &[
    ("qwen3.5-plus", "Qwen 3.5 Plus"),
    ("qwen3.5-turbo", "Qwen 3.5 Turbo"),
    ("qwen3-max", "Qwen 3 Max"),
    ("qwen3-plus", "Qwen 3 Plus"),
    ("qwen3-turbo", "Qwen 3 Turbo"),
    ("wan2.6-image", "Wan 2.6 Image"),
    ("wan2.1-image", "Wan 2.1 Image"),
    ("wan2.6-video", "Wan 2.6 Video"),
];
const CHATGPT: &[(&str, &str)] = &[
    ("gpt-5.4", "GPT-5.4"),
    ("gpt-5.4-mini", "GPT-5.4 Mini"),
    ("gpt-5.3-codex", "GPT-5.3 Codex"),
    ("gpt-5.3-codex-spark", "GPT-5.3 Codex Spark"),
    ("gpt-5.2-codex", "GPT-5.2 Codex"),
    ("gpt-5.2", "GPT-5.2"),
    ("gpt-5.1-codex", "GPT-5.1 Codex"),
    ("gpt-5.1-codex-max", "GPT-5.1 Codex Max"),
    ("gpt-5.1-codex-mini", "GPT-5.1 Codex Mini"),
    ("gpt-5.1", "GPT-5.1"),
];
const MINIMAX: &[(&str, &str)] = &[
    ("MiniMax-Text-01", "MiniMax Text 01"),
    ("MiniMax-M1", "MiniMax M1"),
    ("MiniMax-M2.7", "MiniMax M2.7"),
    ("MiniMax-M2.5", "MiniMax M2.5"),
    ("image-01", "Image 01"),
    ("MiniMax-Hailuo-2.3", "Hailuo Video 2.3"),
    ("MiniMax-Hailuo-2", "Hailuo Video 2"),
    ("T2V-01-Director", "T2V-01 Director"),
    ("music-2.5+", "Music 2.5+"),
    ("music-2.5", "Music 2.5"),
    ("speech-02-hd", "Speech 02 HD"),
    ("speech-02-turbo", "Speech 02 Turbo"),
];

/// The list of a vendor that has no endpoint for it.
pub(crate) fn fixed(provider_type: &str) -> Option<Vec<ModelInfo>> {
    let list = match provider_type {
        "bailian" => BAILIAN,
        "chatgpt_oauth" => CHATGPT,
        "dashscope" => DASHSCOPE,
        "minimax_native" | "minimax" => MINIMAX,
        _ => return None,
    };
    Some(list.iter().map(|(id, name)| ModelInfo { id: (*id).to_owned(), name: Some((*name).to_owned()) }).collect())
}

#[derive(Deserialize)]
struct DataList {
    #[serde(default)]
    data: Vec<DataModel>,
}

#[derive(Deserialize)]
struct DataModel {
    id: String,
    display_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GeminiList {
    #[serde(default)]
    models: Vec<GeminiModel>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GeminiModel {
    name: String,
    display_name: Option<String>,
}

async fn get<T: serde::de::DeserializeOwned>(transport: &Transport, request: RequestBuilder) -> Result<T, LlmError> {
    let answer = transport.send(request, TIMEOUT).await.map_err(|failure| failure.error)?;
    let body = transport.whole(answer, TIMEOUT).await?;
    serde_json::from_slice(&body).map_err(|error| transport.errors.told(&format!("the list of models cannot be read: {error}")))
}

/// The list, or that it took too long, all its pages together.
async fn in_time<T>(transport: &Transport, list: impl Future<Output = Result<T, LlmError>>) -> Result<T, LlmError> {
    tokio::time::timeout(TIMEOUT, list).await.unwrap_or_else(|_| Err(transport.errors.idle(TIMEOUT.as_secs_f64())))
}

/// `{base}/models`, as Anthropic and everyone who copies OpenAI have it.
pub(crate) async fn list(transport: &Transport) -> Result<Vec<ModelInfo>, LlmError> {
    let list: DataList = in_time(transport, get(transport, transport.get("models"))).await?;
    let model = |model: DataModel| {
        let name = model.display_name.unwrap_or_else(|| model.id.clone());
        ModelInfo { id: model.id, name: Some(name) }
    };
    Ok(list.data.into_iter().map(model).collect())
}

/// Gemini's own list, with its names.
pub(crate) async fn gemini(transport: &Transport, url: &url::Url) -> Result<Vec<ModelInfo>, LlmError> {
    in_time(transport, gemini_pages(transport, url)).await
}

async fn gemini_pages(transport: &Transport, url: &url::Url) -> Result<Vec<ModelInfo>, LlmError> {
    let mut models = Vec::new();
    let mut page = String::new();
    // The vendor pages its list; far fewer pages than this exist.
    for _ in 0..20 {
        let mut url = url.clone();
        url.query_pairs_mut().append_pair("pageSize", "1000");
        if !page.is_empty() {
            url.query_pairs_mut().append_pair("pageToken", &page);
        }
        let mut request = transport.client.get(url);
        if let Some(key) = transport.key.clone() {
            request = request.header("x-goog-api-key", key);
        }
        let list: GeminiList = get(transport, request).await?;
        models.extend(
            list.models
                .into_iter()
                .map(|model| ModelInfo { id: model.name.strip_prefix("models/").unwrap_or(&model.name).to_owned(), name: model.display_name }),
        );
        match list.next_page_token {
            Some(next) if !next.is_empty() => page = next,
            _ => break,
        }
    }
    Ok(models)
}
