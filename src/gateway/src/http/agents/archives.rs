//! Agents as archives.

use crate::{
    api::{ApiJson, ApiQuery, CreatedOrSse, FileForm, JsonOrSse, MediaOrSse, NoFields, Sse, parsed},
    auth::Who,
    error::ApiError,
    gateway::Gateway,
    http::{
        export::ArchiveFile,
        progress::{self, JobEvent},
    },
};
use actix_web::web;
use goclaw_core::{
    archives::{ExportPreview, ImportFields, ImportPreview, ImportSummary},
    exports::Export,
};
use goclaw_ports::{Error, archives::MAX_ARCHIVE};
use paperclip::actix::api_v2_operation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// What to export, and how to answer.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExportQuery {
    /// Sections, with commas: `context_files`, `user_profiles`, `workspace`. Others are ignored; `config` always is part of it.
    /// `config,context_files` if it is left out.
    sections: Option<String>,
    /// `true` for events that say how far it is, and at last where the archive can be fetched.
    #[serde(deserialize_with = "parsed")]
    stream: Option<bool>,
}

/// How to answer.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ImportQuery {
    /// `true` for events that say how far it is.
    #[serde(deserialize_with = "parsed")]
    stream: Option<bool>,
}

/// What to take from an archive, and how to answer.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MergeQuery {
    /// Sections, with commas: `context_files`, `user_profiles`, `workspace`. All if it is left out; others are ignored.
    include: Option<String>,
    /// `true` for events that say how far it is.
    #[serde(deserialize_with = "parsed")]
    stream: Option<bool>,
}

/// Where an export can be fetched, for five minutes.
#[derive(Serialize, JsonSchema)]
pub struct Ready {
    /// Where.
    download_url: String,
    /// What to call it.
    file_name: String,
    /// How long it is, in bytes.
    file_size: u64,
}

/// Preview an export
///
/// How much there is of an agent, by id or key. For its owner.
#[api_v2_operation(tags("Agents"), operation_id = "agents_export_preview")]
pub(super) async fn preview_export(who: Who, id: web::Path<String>, gateway: web::Data<Gateway>) -> Result<ApiJson<ExportPreview>, ApiError> {
    Ok(ApiJson(gateway.core.archives.export_preview(&who, &id).await?))
}

/// Export an agent
///
/// By id or key, as a gzipped tar of at most 500 MiB. For its owner. With `stream=true` the answer is a stream of `progress` events that
/// ends with `complete` (`download_url`, `file_name`, `file_size`) or `error`.
#[api_v2_operation(tags("Agents"), operation_id = "agents_export")]
pub(super) async fn export(
    who: Who,
    id: web::Path<String>,
    query: ApiQuery<ExportQuery>,
    gateway: web::Data<Gateway>,
) -> Result<MediaOrSse<ArchiveFile, JobEvent<Ready>>, ApiError> {
    let (agent, job) = gateway.core.archives.export(&who, &id, query.sections.as_deref()).await?;
    if query.stream != Some(true) {
        return Ok(MediaOrSse::Media(ArchiveFile(Arc::new(job.finish().await?))));
    }
    let caller = (*who).clone();
    let keep = move |export: Export| -> Result<Ready, Error> {
        let (file_name, file_size) = (export.name.clone(), export.archive.size);
        let token = gateway.core.exports.keep(&caller, export)?;
        Ok(Ready { download_url: format!("/v1/agents/{}/export/download/{token}", agent.id), file_name, file_size })
    };
    Ok(MediaOrSse::Sse(Sse::new(progress::events(job, who.locale, keep, |detail| failed("archive", detail)))))
}

/// Fetch an export of an agent
///
/// With the token that the export ended with, as often as wanted within five minutes. For whoever exported, and for owners.
#[api_v2_operation(tags("Agents"), operation_id = "agents_export_download")]
pub(super) async fn download(who: Who, path: web::Path<(String, String)>, gateway: web::Data<Gateway>) -> Result<ArchiveFile, ApiError> {
    Ok(ArchiveFile(gateway.core.exports.find(&who, &path.1)?))
}

/// Preview an import
///
/// What an archive holds. For owners of the installation.
#[api_v2_operation(tags("Agents"), operation_id = "agents_import_preview")]
pub(super) async fn preview_import(who: Who, form: FileForm<MAX_ARCHIVE, NoFields>, gateway: web::Data<Gateway>) -> Result<ApiJson<ImportPreview>, ApiError> {
    let archives = &gateway.core.archives;
    let (admission, permission) = parted(archives.admit(&who));
    let form = form.read(permission).await?;
    Ok(ApiJson(archives.import_preview(admitted(admission)?, form.file.content).await?))
}

/// Import an agent
///
/// Makes an agent of the caller's from an archive. Its key gets a number if it is taken. For owners of the installation. If anything
/// fails, there is no agent. With `stream=true` the answer is a stream of `progress` events that ends with `complete`, which has the
/// same data, or `error`.
#[api_v2_operation(tags("Agents"), operation_id = "agents_import")]
pub(super) async fn import(
    who: Who,
    query: ApiQuery<ImportQuery>,
    form: FileForm<MAX_ARCHIVE, ImportFields>,
    gateway: web::Data<Gateway>,
) -> Result<CreatedOrSse<ImportSummary, JobEvent<ImportSummary>>, ApiError> {
    let archives = &gateway.core.archives;
    let (admission, permission) = parted(archives.admit(&who));
    let form = form.read(permission).await?;
    let job = archives.import(&who, admitted(admission)?, form.file.content, form.fields);
    if query.stream != Some(true) {
        return Ok(CreatedOrSse::Created(job.finish().await?));
    }
    Ok(CreatedOrSse::Sse(Sse::new(progress::events(job, who.locale, Ok, |detail| failed("import", detail)))))
}

/// Import into an agent
///
/// Brings what an archive holds into an agent, by id or key. Files of the same names are replaced, but files in the workspace, users who
/// are known, and the agent's configuration stay. For its owner. If anything fails, nothing is changed. With `stream=true` the answer is a
/// stream of `progress` events that ends with `complete`, which has the same data, or `error`.
#[api_v2_operation(tags("Agents"), operation_id = "agents_import_into")]
pub(super) async fn merge(
    who: Who,
    id: web::Path<String>,
    query: ApiQuery<MergeQuery>,
    form: FileForm<MAX_ARCHIVE, NoFields>,
    gateway: web::Data<Gateway>,
) -> Result<JsonOrSse<ImportSummary, JobEvent<ImportSummary>>, ApiError> {
    let archives = &gateway.core.archives;
    let (admission, permission) = parted(archives.admit_into(&who, &id).await);
    let form = form.read(permission).await?;
    let job = archives.merge(&who, admitted(admission)?, form.file.content, query.include.as_deref());
    if query.stream != Some(true) {
        return Ok(JsonOrSse::Json(job.finish().await?));
    }
    let failed = |detail| json!({"phase": "merge", "status": "error", "detail": detail, "rolled_back": true});
    Ok(JsonOrSse::Sse(Sse::new(progress::events(job, who.locale, Ok, failed))))
}

fn failed(phase: &str, detail: String) -> Value {
    json!({"phase": phase, "status": "error", "detail": detail})
}

/// Whether it was granted, apart from what was.
fn parted<T>(granted: Result<T, Error>) -> (Option<T>, Result<(), Error>) {
    match granted {
        Ok(granted) => (Some(granted), Ok(())),
        Err(refusal) => (None, Err(refusal)),
    }
}

/// What was granted. A refusal has ended the request before.
fn admitted<T>(granted: Option<T>) -> Result<T, Error> {
    granted.ok_or_else(|| Error::internal("a form was read without a permission"))
}
