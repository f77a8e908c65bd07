//! Asking an agent from outside of any chat.

use crate::{api::ApiJson, auth::Who, error::ApiError, gateway::Gateway, http::chat::wire::CompletionUsage};
use actix_web::web;
use goclaw_core::chat::Wake;
use paperclip::actix::api_v2_operation;
use schemars::JsonSchema;
use serde::Serialize;

/// What an agent answered.
#[derive(Serialize, JsonSchema)]
pub struct WakeAnswer {
    /// The text; "" if the agent chose to say nothing.
    content: String,
    /// The run that answered.
    run_id: String,
    /// What it took; absent if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<CompletionUsage>,
}

/// Wake an agent
///
/// By id or key. Runs the agent with a message, in a new session unless `session_key` names one of its own, and answers when the run
/// has ended. The run goes on when the client goes away. Its answer is in the session before the client gets it, and a wake that was
/// answered is never carried out again.
#[api_v2_operation(tags("Agents"), operation_id = "agents_wake")]
pub(super) async fn wake(who: Who, id: web::Path<String>, body: ApiJson<Wake>, gateway: web::Data<Gateway>) -> Result<ApiJson<WakeAnswer>, ApiError> {
    let woken = gateway.core.chat.wake(&who, &id, body.0).await?;
    let usage = woken.outcome.usage.map(CompletionUsage::from);
    Ok(ApiJson(WakeAnswer { content: woken.outcome.content, run_id: woken.run_id.to_string(), usage }))
}
