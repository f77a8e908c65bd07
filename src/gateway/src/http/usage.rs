//! What runs took.

use crate::{
    api::{ApiJson, ApiQuery, Example, parsed, routes},
    auth::Who,
    error::ApiError,
    gateway::Gateway,
};
use actix_web::web;
use chrono::{DateTime, Utc};
use goclaw_core::usage::{UsageBreakdown, UsageSeries, UsageSummaries, UsageWish};
use goclaw_ports::{AgentId, usage::UsageKey};
use paperclip::actix::api_v2_operation;
use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) const EXAMPLES: &[Example] = &[
    Example {
        operation: "usage_timeseries",
        request: "",
        response: r#"{"points":[{"bucket_time":"2026-01-01T10:00:00Z","input_tokens":1000,"output_tokens":500,"cache_read_tokens":0,"cache_create_tokens":0,"thinking_tokens":0,"total_cost":0.006,"request_count":1,"llm_call_count":1,"tool_call_count":0,"error_count":0,"unique_users":1,"avg_duration_ms":900,"memory_docs":0,"memory_chunks":0,"kg_entities":0,"kg_relations":0}]}"#,
    },
    Example {
        operation: "usage_breakdown",
        request: "",
        response: r#"{"rows":[{"key":"openai","input_tokens":1000,"output_tokens":500,"cache_read_tokens":0,"cache_create_tokens":0,"total_cost":0.006,"request_count":0,"llm_call_count":1,"tool_call_count":0,"error_count":0,"avg_duration_ms":0}]}"#,
    },
];

routes! {
    "/v1/usage" {
        "/timeseries" { get => timeseries, Viewer; }
        "/breakdown" { get => breakdown, Viewer; }
        "/summary" { get => summary, Viewer; }
    }
}

/// Which usage to count. What cannot be read is ignored; texts are compared exactly.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct UsageTimeQuery {
    /// Hours that begin then or later (RFC 3339); required.
    #[serde(deserialize_with = "parsed")]
    from: Option<DateTime<Utc>>,
    /// Hours that begin earlier (RFC 3339); required.
    #[serde(deserialize_with = "parsed")]
    to: Option<DateTime<Utc>>,
    /// Of this agent.
    #[serde(deserialize_with = "parsed")]
    agent_id: Option<AgentId>,
    /// Of this provider: calls only, since a run may ask several.
    provider: Option<String>,
    /// Of this model: calls only.
    model: Option<String>,
    /// Of this channel.
    channel: Option<String>,
    /// `hour` (the default) or `day` for the time series; `provider` (the default), `model`, `channel` or `agent` for the breakdown.
    group_by: Option<String>,
}

/// Which usage to sum up. What cannot be read is ignored; texts are compared exactly.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct UsageSummaryQuery {
    /// `24h` (the default), `today`, `7d` or `30d`, up to now.
    period: Option<String>,
    /// Of this agent.
    #[serde(deserialize_with = "parsed")]
    agent_id: Option<AgentId>,
    /// Of this provider: calls only, since a run may ask several.
    provider: Option<String>,
    /// Of this model: calls only.
    model: Option<String>,
    /// Of this channel.
    channel: Option<String>,
}

fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

impl UsageTimeQuery {
    fn wish(self) -> UsageWish {
        let Self { from, to, agent_id, provider, model, channel, .. } = self;
        UsageWish { from, to, agent_id, provider: given(provider), model: given(model), channel: given(channel) }
    }
}

/// Show usage over time
///
/// By hour or by day (UTC), the hour that goes on included; hours and days without usage are left out.
#[api_v2_operation(tags("Usage"), operation_id = "usage_timeseries")]
async fn timeseries(who: Who, query: ApiQuery<UsageTimeQuery>, gateway: web::Data<Gateway>) -> Result<ApiJson<UsageSeries>, ApiError> {
    let by_day = query.group_by.as_deref() == Some("day");
    Ok(ApiJson(gateway.core.usage.series(&who, query.0.wish(), by_day).await?))
}

/// Break usage down
///
/// By provider, model, channel or agent. What belongs to no agent has the key "".
#[api_v2_operation(tags("Usage"), operation_id = "usage_breakdown")]
async fn breakdown(who: Who, query: ApiQuery<UsageTimeQuery>, gateway: web::Data<Gateway>) -> Result<ApiJson<UsageBreakdown>, ApiError> {
    let by = match query.group_by.as_deref() {
        Some("model") => UsageKey::Model,
        Some("channel") => UsageKey::Channel,
        Some("agent") => UsageKey::Agent,
        _ => UsageKey::Provider,
    };
    Ok(ApiJson(gateway.core.usage.breakdown(&who, query.0.wish(), by).await?))
}

/// Sum up usage
///
/// Of a period up to now, and of the one before it.
#[api_v2_operation(tags("Usage"), operation_id = "usage_summary")]
async fn summary(who: Who, query: ApiQuery<UsageSummaryQuery>, gateway: web::Data<Gateway>) -> Result<ApiJson<UsageSummaries>, ApiError> {
    let UsageSummaryQuery { period, agent_id, provider, model, channel } = query.0;
    let wish = UsageWish { agent_id, provider: given(provider), model: given(model), channel: given(channel), ..UsageWish::default() };
    Ok(ApiJson(gateway.core.usage.summary(&who, wish, period.as_deref().unwrap_or_default()).await?))
}
