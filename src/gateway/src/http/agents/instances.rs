//! An agent's users.

use crate::{
    api::{ApiJson, SMALL_JSON_LIMIT},
    auth::Who,
    error::ApiError,
    gateway::Gateway,
};
use actix_web::web;
use goclaw_core::agents::{InstanceFile, InstanceView};
use paperclip::actix::api_v2_operation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The users of an agent.
#[derive(Serialize, JsonSchema)]
pub struct InstanceList {
    /// Those first who wrote last.
    instances: Vec<InstanceView>,
}

/// The context files of a user.
#[derive(Serialize, JsonSchema)]
pub struct InstanceFileList {
    /// By name.
    files: Vec<InstanceFile>,
}

/// The new text of a file.
#[derive(Deserialize, JsonSchema)]
pub struct FileContent {
    /// The whole text.
    content: String,
}

/// What to note of a user.
#[derive(Deserialize, JsonSchema)]
pub struct InstanceMetadata {
    /// Entries, over those of the same names.
    metadata: BTreeMap<String, String>,
}

/// What was stored.
#[derive(Serialize, JsonSchema)]
pub struct Updated {
    /// `updated`.
    status: &'static str,
}

const UPDATED: ApiJson<Updated> = ApiJson(Updated { status: "updated" });

/// List an agent's users
///
/// By the agent's id. For its owner.
#[api_v2_operation(tags("Agents"), operation_id = "agents_instances_list")]
pub(super) async fn list(who: Who, id: web::Path<String>, gateway: web::Data<Gateway>) -> Result<ApiJson<InstanceList>, ApiError> {
    Ok(ApiJson(InstanceList { instances: gateway.core.agents.instances(&who, &id).await? }))
}

/// List a user's context files
///
/// By the agent's id and the user. For the agent's owner. An unknown user has none.
#[api_v2_operation(tags("Agents"), operation_id = "agents_instances_files_list")]
pub(super) async fn files(who: Who, path: web::Path<(String, String)>, gateway: web::Data<Gateway>) -> Result<ApiJson<InstanceFileList>, ApiError> {
    let (id, user) = path.into_inner();
    Ok(ApiJson(InstanceFileList { files: gateway.core.agents.instance_files(&who, &id, &user).await? }))
}

/// Get a user's context file
///
/// By the agent's id, the user and the file's name. For the agent's owner.
#[api_v2_operation(tags("Agents"), operation_id = "agents_instances_files_get")]
pub(super) async fn file(who: Who, path: web::Path<(String, String, String)>, gateway: web::Data<Gateway>) -> Result<ApiJson<InstanceFile>, ApiError> {
    let (id, user, name) = path.into_inner();
    Ok(ApiJson(gateway.core.agents.instance_file(&who, &id, &user, &name).await?))
}

/// Change a user's context file
///
/// By the agent's id, the user and the file's name, which must be `USER.md`. For the agent's owner.
#[api_v2_operation(tags("Agents"), operation_id = "agents_instances_files_set")]
pub(super) async fn set_file(
    who: Who,
    path: web::Path<(String, String, String)>,
    body: ApiJson<FileContent>,
    gateway: web::Data<Gateway>,
) -> Result<ApiJson<Updated>, ApiError> {
    let (id, user, name) = path.into_inner();
    gateway.core.agents.set_instance_file(&who, &id, &user, &name, body.0.content).await?;
    Ok(UPDATED)
}

/// Change what is known of a user
///
/// By the agent's id and the user. For the agent's owner. Entries that are not named stay.
#[api_v2_operation(tags("Agents"), operation_id = "agents_instances_metadata_update")]
pub(super) async fn set_metadata(
    who: Who,
    path: web::Path<(String, String)>,
    body: ApiJson<InstanceMetadata, SMALL_JSON_LIMIT>,
    gateway: web::Data<Gateway>,
) -> Result<ApiJson<Updated>, ApiError> {
    let (id, user) = path.into_inner();
    gateway.core.agents.set_instance_metadata(&who, &id, &user, body.0.metadata).await?;
    Ok(UPDATED)
}
