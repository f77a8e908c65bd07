//! What runs cost.

use crate::{
    api::{ApiJson, ApiQuery, Example, parsed, routes},
    auth::Who,
    error::ApiError,
    gateway::Gateway,
};
use actix_web::web;
use chrono::{DateTime, Utc};
use goclaw_core::traces::CostSummary;
use goclaw_ports::{AgentId, traces::CostFilter};
use paperclip::actix::api_v2_operation;
use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) const EXAMPLES: &[Example] = &[Example {
    operation: "costs_summary",
    request: "",
    response: r#"{"rows":[{"agent_id":"0193a5b0-7000-7000-8000-00000000000a","total_cost":0.006,"total_input_tokens":1000,"total_output_tokens":500,"trace_count":1}]}"#,
}];

routes! {
    "/v1/costs" {
        "/summary" { get => summary, Viewer; }
    }
}

/// Which runs to count. What cannot be read is ignored.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CostQuery {
    /// Of this agent.
    #[serde(deserialize_with = "parsed")]
    agent_id: Option<AgentId>,
    /// Begun then or later (RFC 3339).
    #[serde(deserialize_with = "parsed")]
    from: Option<DateTime<Utc>>,
    /// Begun earlier (RFC 3339).
    #[serde(deserialize_with = "parsed")]
    to: Option<DateTime<Utc>>,
}

/// Sum up costs by agent
///
/// The dearest first. Admins get the sums of the tenant, others those of their own runs.
#[api_v2_operation(tags("Traces"), operation_id = "costs_summary")]
async fn summary(who: Who, query: ApiQuery<CostQuery>, gateway: web::Data<Gateway>) -> Result<ApiJson<CostSummary>, ApiError> {
    let CostQuery { agent_id, from, to } = query.0;
    Ok(ApiJson(gateway.core.traces.costs(&who, CostFilter { agent_id, user_id: None, from, to }).await?))
}
