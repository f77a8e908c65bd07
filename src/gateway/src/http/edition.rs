//! What this installation is.

use crate::{
    api::{ApiJson, Example, routes},
    gateway::Gateway,
};
use actix_web::web;
use goclaw_core::settings::Edition;
use paperclip::actix::api_v2_operation;

pub(crate) const EXAMPLES: &[Example] = &[Example {
    operation: "edition",
    request: "",
    response: r#"{"name":"lite","max_agents":0,"max_teams":0,"max_team_members":0,"max_channels":null,"max_subagent_concurrent":0,"max_subagent_depth":0,
        "kg_enabled":true,"rbac_enabled":true,"team_full_mode":true,"vector_search":true}"#,
}];

routes! {
    "/v1/edition" {
        "" { get => edition, Public; }
    }
}

/// The edition and its limits
///
/// 0 and `null` mean no limit.
#[api_v2_operation(tags("Platform"), operation_id = "edition")]
async fn edition(gateway: web::Data<Gateway>) -> ApiJson<Edition> {
    ApiJson(gateway.core.platform.edition())
}
