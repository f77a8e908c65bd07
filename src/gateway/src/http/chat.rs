//! `/v1/chat/completions`, as OpenAI's clients know it.

pub(super) mod wire;

use super::streaming;
use crate::{
    api::{ApiJson, Example, JsonOrSse, MESSAGE_JSON_LIMIT, Sse, routes},
    auth::{Who, text},
    error::ApiError,
    gateway::Gateway,
};
use actix_web::{HttpRequest, web};
use goclaw_core::chat::{Completion, select_agent};
use paperclip::actix::api_v2_operation;
use wire::{ChatCompletion, ChatCompletionChunk, ChatRequest, Envelope};

pub(crate) const PATH: &str = "/v1/chat/completions";
/// The headers that name an agent, the first one first.
pub(crate) const AGENT_HEADERS: [&str; 2] = ["X-GoClaw-Agent-Id", "X-GoClaw-Agent"];

pub(crate) const EXAMPLES: &[Example] = &[Example {
    operation: "chat_completions",
    request: r#"{"model":"goclaw:helper","messages":[{"role":"user","content":"Hello"}],"stream":false,"user":"alice"}"#,
    response: r#"{"id":"chatcmpl-0a1b2c3d","object":"chat.completion","created":1767225600,"model":"goclaw:helper",
        "choices":[{"index":0,"message":{"role":"assistant","content":"Hi!"},"finish_reason":"stop"}],
        "usage":{"prompt_tokens":12,"completion_tokens":3,"total_tokens":15}}"#,
}];

routes! {
    "/v1/chat" {
        "/completions" { post => completions, Operator; }
    }
}

/// Complete a chat
///
/// Runs the agent that `model` names (`goclaw:<key>` or `agent:<key>`), else the header `X-GoClaw-Agent-Id`, else `default`, with the
/// last user message, in a new session. With `stream` the answer comes as server-sent events that end with `data: [DONE]`; a run that
/// fails then ends with a chunk `Error: …`. The run is cancelled when the client goes away. Parts of type `image_url` are shown to the
/// model if their URLs are `data:` URLs; the gateway fetches none.
#[api_v2_operation(tags("Chat"), operation_id = "chat_completions")]
async fn completions(
    who: Who,
    body: ApiJson<ChatRequest, MESSAGE_JSON_LIMIT>,
    request: HttpRequest,
    gateway: web::Data<Gateway>,
) -> Result<JsonOrSse<ChatCompletion, ChatCompletionChunk<'static>>, ApiError> {
    let ChatRequest { model, messages, stream, user } = body.0;
    let (model, stream) = (model.unwrap_or_default(), stream.unwrap_or_default());
    let agent = select_agent(&model, AGENT_HEADERS.map(|name| text(request.headers(), name)));
    let completion = Completion { agent, messages: messages.unwrap_or_default(), stream, user: user.unwrap_or_default(), ..Completion::default() };
    let handle = gateway.core.chat.complete(&who, completion).await?;
    let envelope = Envelope::new(handle.run_id, gateway.core.clock.now(), model);
    if stream {
        return Ok(JsonOrSse::Sse(Sse::new(streaming::body(handle, envelope, who.locale))));
    }
    Ok(JsonOrSse::Json(envelope.completion(streaming::finished(handle).await?)))
}
