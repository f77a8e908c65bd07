//! The audit log.

use crate::{
    api::{ApiJson, ApiQuery, Example, number, routes},
    auth::Who,
    error::ApiError,
    gateway::Gateway,
};
use actix_web::web;
use goclaw_core::activity::ActivityPage;
use goclaw_ports::activity::ActivityFilter;
use paperclip::actix::api_v2_operation;
use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) const EXAMPLES: &[Example] = &[Example {
    operation: "activity_list",
    request: "",
    response: r#"{"logs":[{"id":"0193a5b0-7000-7000-8000-00000000000a","actor_type":"user","actor_id":"mai","action":"agent.created","entity_type":"agent","entity_id":"0193a5b0-7000-7000-8000-00000000000b","details":null,"ip_address":"192.0.2.7","created_at":"2026-01-01T00:00:00Z"}],"total":1,"limit":50,"offset":0}"#,
}];

routes! {
    "/v1/activity" {
        "" { get => list, Viewer; }
    }
}

/// Which entries to list. All conditions must hold; texts are compared exactly.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ActivityQuery {
    /// `user` or `system`.
    actor_type: Option<String>,
    /// Who did it. Callers below admin see only what they did themselves, whatever they ask for.
    actor_id: Option<String>,
    /// What was done: `agent.created`, …
    action: Option<String>,
    /// To what kind of thing.
    entity_type: Option<String>,
    /// To which one.
    entity_id: Option<String>,
    /// How many: 1 to 200, else 50.
    #[serde(deserialize_with = "number")]
    limit: Option<i64>,
    /// After how many; 0 if it is negative.
    #[serde(deserialize_with = "number")]
    offset: Option<i64>,
}

/// List what was done
///
/// Who changed what in the caller's tenant, newest first. Admins see all, others what they did themselves.
#[api_v2_operation(tags("Activity"), operation_id = "activity_list")]
async fn list(who: Who, query: ApiQuery<ActivityQuery>, gateway: web::Data<Gateway>) -> Result<ApiJson<ActivityPage>, ApiError> {
    let ActivityQuery { actor_type, actor_id, action, entity_type, entity_id, limit, offset } = query.0;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let filter = ActivityFilter {
        actor_type: given(actor_type),
        actor_id: given(actor_id),
        action: given(action),
        entity_type: given(entity_type),
        entity_id: given(entity_id),
        limit: limit.unwrap_or_default(),
        offset: offset.unwrap_or_default(),
    };
    Ok(ApiJson(gateway.core.activity.list(&who, filter).await?))
}
