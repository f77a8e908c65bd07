//! Having a model write an agent's files.

use crate::{
    api::{Accepted, ApiJson},
    auth::Who,
    error::ApiError,
    gateway::Gateway,
};
use actix_web::web;
use goclaw_core::agents::Regeneration;
use paperclip::actix::api_v2_operation;
use schemars::JsonSchema;
use serde::Serialize;

/// What goes on now.
#[derive(Serialize, JsonSchema)]
pub struct Summoning {
    /// The text `true`.
    ok: &'static str,
    /// `summoning`.
    status: &'static str,
}

const SUMMONING: Accepted<Summoning> = Accepted(Summoning { ok: "true", status: "summoning" });

/// Change an agent's files by a model
///
/// By the agent's id. For its owner. It goes on in the background, and the event `agent.summoning` tells how. Until it is done the
/// agent does not answer; if it fails, the agent works on as before.
#[api_v2_operation(tags("Agents"), operation_id = "agents_regenerate")]
pub(super) async fn regenerate(
    who: Who,
    id: web::Path<String>,
    body: ApiJson<Regeneration>,
    gateway: web::Data<Gateway>,
) -> Result<Accepted<Summoning>, ApiError> {
    gateway.core.agents.regenerate(&who, &id, body.0).await?;
    Ok(SUMMONING)
}

/// Summon an agent once more
///
/// By the agent's id. For its owner. A model writes the agent's files from its description; those that were written already stay.
#[api_v2_operation(tags("Agents"), operation_id = "agents_resummon")]
pub(super) async fn resummon(who: Who, id: web::Path<String>, gateway: web::Data<Gateway>) -> Result<Accepted<Summoning>, ApiError> {
    gateway.core.agents.resummon(&who, &id).await?;
    Ok(SUMMONING)
}
