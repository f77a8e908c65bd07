//! Built-in tools: the catalogue, and calling one directly.

use crate::{
    api::{ApiJson, Example, Way, component, json, routes},
    auth::{Who, text},
    error::ApiError,
    gateway::Gateway,
    http::chat::AGENT_HEADERS,
};
use actix_web::{HttpRequest, HttpResponse, Responder, body::BoxBody, http::StatusCode, web};
use goclaw_core::toolbox::{CatalogueEntry, Invocation, Invoked};
use goclaw_ports::{JsonObject, builtin_tools::BuiltinTool};
use paperclip::{
    actix::{OperationModifier, api_v2_operation},
    v2::{models::DefaultOperationRaw, schema::Apiv2Schema},
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

pub(crate) const EXAMPLES: &[Example] = &[Example {
    operation: "tools_invoke",
    request: r#"{"tool":"datetime","args":{"timezone":"Asia/Ho_Chi_Minh"}}"#,
    response: r#"{"result":{"output":"{\"utc\":\"2026-01-01T00:00:00Z\"}","forUser":"","metadata":{}}}"#,
}];

routes! {
    "/v1/tools" {
        "/invoke" { post => invoke, Operator; }
        "/builtin" { get => list, Viewer; }
        "/builtin/{name}" { get => find, Viewer; }
    }
}

/// The catalogue.
#[derive(Serialize, JsonSchema)]
pub struct Catalogue {
    /// By category, then name.
    tools: Vec<CatalogueEntry>,
}

/// What a tool answered, or what it is.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub enum InvokeAnswer {
    /// What a tool is: the answer to `dryRun`.
    Description(ToolDescription),
    /// What a tool answered.
    Result {
        /// The result.
        result: ToolOutput,
    },
}

/// What a tool is.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToolDescription {
    /// The name it was asked for by.
    tool: String,
    /// What it does.
    description: String,
    /// The JSON Schema of its arguments.
    parameters: Value,
    /// Always true: nothing was done.
    dry_run: bool,
}

/// What a tool answered.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToolOutput {
    /// For the model.
    output: String,
    /// For the user; "" if nothing.
    for_user: String,
    /// Reserved.
    metadata: JsonObject,
}

/// A tool's failure.
#[derive(Serialize, JsonSchema)]
pub struct ToolFailure {
    /// The failure.
    error: ToolError,
}

/// A tool's failure.
#[derive(Serialize, JsonSchema)]
pub struct ToolError {
    /// `NOT_FOUND` or `TOOL_ERROR`.
    code: &'static str,
    /// The tool's own words.
    message: String,
}

/// The answer to a call, good or bad.
pub enum Answer {
    /// 200.
    Done(InvokeAnswer),
    /// The tool's own refusal, in a shape of its own.
    Refused(StatusCode, ToolFailure),
}

impl Apiv2Schema for Answer {}

impl OperationModifier for Answer {
    fn update_response(operation: &mut DefaultOperationRaw) {
        component::<ToolFailure>(Way::Out);
        ApiJson::<InvokeAnswer>::update_response(operation);
    }
}

impl Responder for Answer {
    type Body = BoxBody;
    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        match self {
            Self::Done(answer) => json(StatusCode::OK, &answer),
            Self::Refused(status, failure) => json(status, &failure),
        }
    }
}

/// List built-in tools
///
/// By category, then name. `tenant_enabled` is there only if the tenant switched any of them.
#[api_v2_operation(tags("Tools"), operation_id = "tools_list")]
async fn list(who: Who, gateway: web::Data<Gateway>) -> Result<ApiJson<Catalogue>, ApiError> {
    Ok(ApiJson(Catalogue { tools: gateway.core.tools.catalogue(&who).await? }))
}

/// Get a built-in tool
#[api_v2_operation(tags("Tools"), operation_id = "tools_get")]
async fn find(who: Who, name: web::Path<String>, gateway: web::Data<Gateway>) -> Result<ApiJson<BuiltinTool>, ApiError> {
    Ok(ApiJson(gateway.core.tools.catalogue_entry(&who, &name).await?))
}

/// Call a tool
///
/// As the agent `agentId` (else the header `X-GoClaw-Agent-Id`, else `default`) would. A tool's own failure is answered with
/// `{"error":{"code","message"}}`: 404 `NOT_FOUND` or 400 `TOOL_ERROR`.
#[api_v2_operation(tags("Tools"), operation_id = "tools_invoke")]
async fn invoke(who: Who, body: ApiJson<Invocation>, request: HttpRequest, gateway: web::Data<Gateway>) -> Result<Answer, ApiError> {
    let mut call = body.0;
    if call.agent_id.is_empty() {
        let named = AGENT_HEADERS.iter().find_map(|name| text(request.headers(), name));
        call.agent_id = named.unwrap_or_default().to_owned();
    }
    Ok(match gateway.core.tools.invoke(&who, call).await? {
        Invoked::DryRun { tool, description, parameters } => {
            Answer::Done(InvokeAnswer::Description(ToolDescription { tool, description, parameters, dry_run: true }))
        }
        Invoked::Result { output, for_user } => Answer::Done(InvokeAnswer::Result { result: ToolOutput { output, for_user, metadata: JsonObject::new() } }),
        Invoked::Refused { status, code, message } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
            Answer::Refused(status, ToolFailure { error: ToolError { code, message } })
        }
    })
}
