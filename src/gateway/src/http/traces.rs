//! What runs did.

use crate::{
    api::{ApiJson, ApiQuery, number, parsed, routes, typed},
    auth::Who,
    error::ApiError,
    gateway::Gateway,
};
use actix_web::{HttpRequest, HttpResponse, Responder, body::BoxBody, http::header, web};
use flate2::{Compression, write::GzEncoder};
use goclaw_core::traces::{ExportedTrace, TraceDetail, TracePage};
use goclaw_ports::{
    AgentId, Error,
    traces::{TraceFilter, TraceStatus},
};
use paperclip::{
    actix::{OperationModifier, api_v2_operation},
    v2::{models::DefaultOperationRaw, schema::Apiv2Schema},
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::io::{BufWriter, Write};

routes! {
    "/v1/traces" {
        "" { get => list, Viewer; }
        "/{traceID}" { get => find, Viewer; }
        "/{traceID}/export" { get => export, Viewer; }
    }
}

/// Which traces to list. All conditions must hold; texts are compared exactly. What cannot be read is ignored.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TraceQuery {
    /// Of this agent.
    #[serde(deserialize_with = "parsed")]
    agent_id: Option<AgentId>,
    /// Of this user. Callers below admin see only their own, whatever they ask for.
    user_id: Option<String>,
    /// Of this session.
    session_key: Option<String>,
    /// `running`, `completed`, `error` or `cancelled`.
    status: Option<String>,
    /// From this channel.
    channel: Option<String>,
    /// How many: 1 to 200, else 50.
    #[serde(deserialize_with = "number")]
    limit: Option<i64>,
    /// After how many; 0 if it is negative.
    #[serde(deserialize_with = "number")]
    offset: Option<i64>,
}

/// A trace as a compressed file.
pub struct TraceFile {
    name: String,
    content: Vec<u8>,
}

impl Apiv2Schema for TraceFile {}

impl OperationModifier for TraceFile {
    fn update_response(operation: &mut DefaultOperationRaw) {
        typed(operation, "application/gzip", "The trace as gzip of JSON");
    }
}

impl Responder for TraceFile {
    type Body = BoxBody;
    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, "application/gzip"))
            .insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", self.name)))
            .body(self.content)
    }
}

/// List traces
///
/// Newest first. Admins see those of the tenant, others their own.
#[api_v2_operation(tags("Traces"), operation_id = "traces_list")]
async fn list(who: Who, query: ApiQuery<TraceQuery>, gateway: web::Data<Gateway>) -> Result<ApiJson<TracePage>, ApiError> {
    let TraceQuery { agent_id, user_id, session_key, status, channel, limit, offset } = query.0;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let filter = TraceFilter {
        agent_id,
        user_id: given(user_id),
        session_key: given(session_key),
        status: status.and_then(|status| TraceStatus::parse(&status)),
        channel: given(channel),
        parent_trace_id: None,
        limit: limit.unwrap_or_default(),
        offset: offset.unwrap_or_default(),
    };
    Ok(ApiJson(gateway.core.traces.list(&who, filter).await?))
}

/// Get a trace
///
/// With its steps, by start.
#[api_v2_operation(tags("Traces"), operation_id = "traces_get")]
async fn find(who: Who, id: web::Path<String>, gateway: web::Data<Gateway>) -> Result<ApiJson<TraceDetail>, ApiError> {
    Ok(ApiJson(gateway.core.traces.get(&who, &id).await?))
}

/// Export a trace
///
/// With its steps and the runs that it started, as a compressed file.
#[api_v2_operation(tags("Traces"), operation_id = "traces_export")]
async fn export(who: Who, id: web::Path<String>, gateway: web::Data<Gateway>) -> Result<TraceFile, ApiError> {
    let exported = gateway.core.traces.export(&who, &id).await?;
    let id = exported.tree.trace.id.to_string();
    let name = format!("trace-{}-{}.json.gz", id.get(..8).unwrap_or_default(), exported.exported_at.format("%Y%m%d"));
    let content = web::block(move || compressed(&exported)).await.map_err(|cause| Error::internal(cause.to_string()))?;
    Ok(TraceFile { name, content: content.map_err(|cause| Error::internal(cause.to_string()))? })
}

fn compressed(exported: &ExportedTrace) -> std::io::Result<Vec<u8>> {
    let mut writer = BufWriter::new(GzEncoder::new(Vec::new(), Compression::default()));
    serde_json::to_writer(&mut writer, exported)?;
    writer.flush()?;
    writer.into_inner().map_err(std::io::IntoInnerError::into_error)?.finish()
}
