//! Agents.

mod archives;
mod instances;
mod shares;
mod summon;
mod wake;

use crate::{
    api::{ApiJson, ApiQuery, Created, Example, routes},
    auth::Who,
    error::ApiError,
    gateway::Gateway,
    http::providers::PoolQuery,
};
use actix_web::web;
use goclaw_core::{
    agents::{AgentUpdate, NewAgent},
    pools::PoolActivity,
};
use goclaw_ports::agents::Agent;
use paperclip::actix::api_v2_operation;
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::Arc;

pub(crate) const EXAMPLES: &[Example] = &[
    Example {
        operation: "agents_create",
        request: r#"{"agent_key":"helper","display_name":"Helper","provider":"anthropic","model":"claude-sonnet-4-5"}"#,
        response: "",
    },
    Example { operation: "agents_update", request: r#"{"display_name":"Helper","budget_monthly_cents":null}"#, response: r#"{"ok":"true"}"# },
    Example { operation: "agents_delete", request: "", response: r#"{"ok":"true"}"# },
    Example {
        operation: "agents_regenerate",
        request: r#"{"prompt":"Be more concise, and never use emoji."}"#,
        response: r#"{"ok":"true","status":"summoning"}"#,
    },
    Example { operation: "agents_resummon", request: "", response: r#"{"ok":"true","status":"summoning"}"# },
    Example {
        operation: "agents_wake",
        request: r#"{"message":"The build has failed. What happened?","metadata":{"build":"417"}}"#,
        response: r#"{"content":"A test fails.","run_id":"0a1b2c3d-0000-4000-8000-000000000000",
            "usage":{"prompt_tokens":12,"completion_tokens":3,"total_tokens":15}}"#,
    },
    Example { operation: "agents_shares_add", request: r#"{"user_id":"mai@example.com","role":"user"}"#, response: r#"{"ok":"true"}"# },
    Example { operation: "agents_shares_remove", request: "", response: r#"{"ok":"true"}"# },
    Example { operation: "agents_instances_files_set", request: r##"{"content":"# User\n\n- **Name:** Mai\n"}"##, response: r#"{"status":"updated"}"# },
    Example { operation: "agents_instances_metadata_update", request: r#"{"metadata":{"display_name":"Mai"}}"#, response: r#"{"status":"updated"}"# },
];

routes! {
    "/v1/agents" {
        "" {
            get => list, Viewer;
            post => create, Admin;
        }
        "/import/preview" { post => archives::preview_import, Owner; }
        "/import" { post => archives::import, Owner; }
        "/{id}" {
            get => find, Viewer;
            put => update, Admin;
            delete => remove, Admin;
        }
        "/{id}/import" { post => archives::merge, Admin; }
        "/{id}/export/preview" { get => archives::preview_export, Viewer; }
        "/{id}/export" { get => archives::export, Viewer; }
        "/{id}/export/download/{token}" { get => archives::download, Viewer; }
        "/{id}/regenerate" { post => summon::regenerate, Admin; }
        "/{id}/resummon" { post => summon::resummon, Admin; }
        "/{id}/wake" { post => wake::wake, Operator; }
        "/{id}/codex-pool-activity" { get => pool_activity, Viewer; }
        "/{id}/shares" {
            get => shares::list, Viewer;
            post => shares::add, Admin;
        }
        "/{id}/shares/{userID}" { delete => shares::remove, Admin; }
        "/{id}/instances" { get => instances::list, Viewer; }
        "/{id}/instances/{userID}/files" { get => instances::files, Viewer; }
        "/{id}/instances/{userID}/files/{fileName}" {
            get => instances::file, Viewer;
            put => instances::set_file, Admin;
        }
        "/{id}/instances/{userID}/metadata" { patch => instances::set_metadata, Admin; }
    }
}

/// Agents.
#[derive(Serialize, JsonSchema)]
pub struct AgentList {
    /// Newest first.
    agents: Arc<[Agent]>,
}

/// A change that was made.
#[derive(Serialize, JsonSchema)]
pub struct Changed {
    /// The text `true`.
    ok: &'static str,
}

/// The answer to a change.
pub(crate) const CHANGED: ApiJson<Changed> = ApiJson(Changed { ok: "true" });

/// List agents
///
/// The agents that the caller may use, newest first. Needs a user.
#[api_v2_operation(tags("Agents"), operation_id = "agents_list")]
async fn list(who: Who, gateway: web::Data<Gateway>) -> Result<ApiJson<AgentList>, ApiError> {
    Ok(ApiJson(AgentList { agents: gateway.core.agents.list(&who).await? }))
}

/// Create an agent
///
/// The caller becomes its owner. Needs a user. A predefined agent whose `other_config` has a `description` is summoned: a model
/// writes its files in the background, and the event `agent.summoning` tells how that goes.
#[api_v2_operation(tags("Agents"), operation_id = "agents_create")]
async fn create(who: Who, body: ApiJson<NewAgent>, gateway: web::Data<Gateway>) -> Result<Created<Agent>, ApiError> {
    Ok(Created(gateway.core.agents.create(&who, body.0).await?))
}

/// Get an agent
///
/// By id or key.
#[api_v2_operation(tags("Agents"), operation_id = "agents_get")]
async fn find(who: Who, id: web::Path<String>, gateway: web::Data<Gateway>) -> Result<ApiJson<Agent>, ApiError> {
    Ok(ApiJson(gateway.core.agents.get(&who, &id).await?))
}

/// Change an agent
///
/// By id. Keys that are left out change nothing; `null` clears what may be empty; other keys are ignored.
#[api_v2_operation(tags("Agents"), operation_id = "agents_update")]
async fn update(who: Who, id: web::Path<String>, body: ApiJson<AgentUpdate>, gateway: web::Data<Gateway>) -> Result<ApiJson<Changed>, ApiError> {
    gateway.core.agents.update(&who, &id, body.0).await?;
    Ok(CHANGED)
}

/// Delete an agent
///
/// By id, with its files, shares and sessions.
#[api_v2_operation(tags("Agents"), operation_id = "agents_delete")]
async fn remove(who: Who, id: web::Path<String>, gateway: web::Data<Gateway>) -> Result<ApiJson<Changed>, ApiError> {
    gateway.core.agents.delete(&who, &id).await?;
    Ok(CHANGED)
}

/// How the accounts have fared that answer an agent
///
/// Empty if its provider is no ChatGPT account.
#[api_v2_operation(tags("Agents"), operation_id = "agents_pool_activity")]
async fn pool_activity(who: Who, id: web::Path<String>, query: ApiQuery<PoolQuery>, gateway: web::Data<Gateway>) -> Result<ApiJson<PoolActivity>, ApiError> {
    Ok(ApiJson(gateway.core.pools.of_agent(&who, &id, query.limit()).await?))
}
