//! `/v1/responses`: in our own shape, and in OpenAI's for those who ask in OpenAI's.

mod openai;
mod wire;

use super::{chat::AGENT_HEADERS, streaming};
use crate::{
    api::{ApiJson, Example, JsonOrSse, MESSAGE_JSON_LIMIT, Sse, routes},
    auth::{Who, text},
    error::{ApiError, Shape},
    gateway::Gateway,
};
use actix_web::{HttpMessage, HttpRequest, web};
use goclaw_core::chat::{Completion, InputContent, InputMessage, select_agent};
use openai::Exchange;
use paperclip::actix::api_v2_operation;
use wire::{Response, ResponseAnswer, ResponseEvent, ResponseInput, ResponsesRequest};

pub(crate) const PATH: &str = "/v1/responses";

pub(crate) const EXAMPLES: &[Example] = &[Example {
    operation: "responses_create",
    request: r#"{"model":"goclaw:helper","messages":[{"role":"user","content":"Hello"}],"stream":false}"#,
    response: r#"{"id":"resp-0a1b2c3d","status":"completed",
        "output":[{"type":"message","role":"assistant","content":[{"type":"text","text":"Hi!"}]}],
        "usage":{"prompt_tokens":12,"completion_tokens":3,"total_tokens":15}}"#,
}];

routes! {
    "/v1/responses" {
        "" { post => create, Operator; }
    }
}

/// Create a response
///
/// Runs an agent, chosen as for chat completions, with the last user message, in a new session. A request with `messages` is answered
/// in the shape shown here; with `stream` as server-sent events of the types `response.started`, `response.delta` and
/// `response.done`. A request with `input` instead is answered as OpenAI's Responses API does, events and
/// errors included. The run is cancelled
/// when the client goes away.
#[api_v2_operation(tags("Chat"), operation_id = "responses_create")]
async fn create(
    who: Who,
    body: ApiJson<ResponsesRequest, MESSAGE_JSON_LIMIT>,
    request: HttpRequest,
    gateway: web::Data<Gateway>,
) -> Result<JsonOrSse<ResponseAnswer, ResponseEvent<'static>>, ApiError> {
    let ResponsesRequest { model, messages, input, instructions, stream, user } = body.0;
    let (model, stream) = (model.unwrap_or_default(), stream.unwrap_or_default());
    let instructions = instructions.unwrap_or_default();
    let openai = messages.is_none() && input.is_some();
    if openai {
        request.extensions_mut().insert(Shape::OpenAi);
    }
    let completion = Completion {
        agent: select_agent(&model, AGENT_HEADERS.map(|name| text(request.headers(), name))),
        messages: messages.unwrap_or_else(|| input.map(messages_of).unwrap_or_default()),
        stream,
        user: user.unwrap_or_default(),
        instructions: instructions.clone(),
    };
    let handle = gateway.core.chat.respond(&who, completion).await?;
    let (run, now) = (handle.run_id, gateway.core.clock.now());
    Ok(match (openai, stream) {
        (false, true) => JsonOrSse::Sse(Sse::new(streaming::body(handle, Response::new(run, now), who.locale))),
        (false, false) => JsonOrSse::Json(ResponseAnswer::Ours(Response::new(run, now).completed(streaming::finished(handle).await?))),
        (true, true) => JsonOrSse::Sse(Sse::new(streaming::body(handle, Exchange::new(run, now, model, instructions), who.locale))),
        (true, false) => JsonOrSse::Json(ResponseAnswer::OpenAi(Exchange::new(run, now, model, instructions).completed(&streaming::finished(handle).await?))),
    })
}

fn messages_of(input: ResponseInput) -> Vec<InputMessage> {
    match input {
        ResponseInput::Text(text) => vec![InputMessage { role: "user".to_owned(), content: Some(InputContent::Text(text)) }],
        ResponseInput::Items(items) => items,
    }
}
