//! Who else may use an agent.

use super::{CHANGED, Changed};
use crate::{
    api::{ApiJson, Created, SMALL_JSON_LIMIT},
    auth::Who,
    error::ApiError,
    gateway::Gateway,
};
use actix_web::web;
use goclaw_core::agents::NewShare;
use goclaw_ports::agents::AgentShare;
use paperclip::actix::api_v2_operation;
use schemars::JsonSchema;
use serde::Serialize;

/// The shares of an agent.
#[derive(Serialize, JsonSchema)]
pub struct ShareList {
    /// Oldest first.
    shares: Vec<AgentShare>,
}

/// List an agent's shares
///
/// By the agent's id. For its owner.
#[api_v2_operation(tags("Agents"), operation_id = "agents_shares_list")]
pub(super) async fn list(who: Who, id: web::Path<String>, gateway: web::Data<Gateway>) -> Result<ApiJson<ShareList>, ApiError> {
    Ok(ApiJson(ShareList { shares: gateway.core.agents.shares(&who, &id).await? }))
}

/// Share an agent
///
/// By the agent's id. For its owner. A user whom it is shared with already gets the role. All roles give the same: the user may
/// see and use the agent.
#[api_v2_operation(tags("Agents"), operation_id = "agents_shares_add")]
pub(super) async fn add(
    who: Who,
    id: web::Path<String>,
    body: ApiJson<NewShare, SMALL_JSON_LIMIT>,
    gateway: web::Data<Gateway>,
) -> Result<Created<Changed>, ApiError> {
    gateway.core.agents.share(&who, &id, body.0).await?;
    Ok(Created(CHANGED.0))
}

/// End a share
///
/// By the agent's id and the user. For the agent's owner. There being no such share is not an error.
#[api_v2_operation(tags("Agents"), operation_id = "agents_shares_remove")]
pub(super) async fn remove(who: Who, path: web::Path<(String, String)>, gateway: web::Data<Gateway>) -> Result<ApiJson<Changed>, ApiError> {
    let (id, user) = path.into_inner();
    gateway.core.agents.unshare(&who, &id, &user).await?;
    Ok(CHANGED)
}
