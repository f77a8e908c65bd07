//! Files that come with messages.

use super::files::{FileBody, FileQuery, pass, who};
use crate::{
    api::{ApiJson, ApiQuery, Example, FileForm, routes},
    auth::Who,
    error::ApiError,
    gateway::Gateway,
};
use actix_web::{HttpRequest, web};
use goclaw_core::files::Uploaded;
use paperclip::actix::api_v2_operation;

/// The largest upload, in bytes, with what the form adds.
const UPLOAD_LIMIT: u64 = 50 << 20;
/// How long clients may keep a file, in seconds: a day.
const MAX_AGE: u32 = 86_400;

pub(crate) const EXAMPLES: &[Example] = &[Example {
    operation: "media_upload",
    request: "",
    response: r#"{"path":"/app/data/uploads/mai/0193a5b0-7000-7000-8000-00000000000a.png","mime_type":"image/png","filename":"cat.png"}"#,
}];

routes! {
    "/v1/media" {
        "/upload" { post => upload, Operator; }
        "/{id}" { get => find, Viewer; }
    }
}

/// Upload a file for a message
///
/// `path` of the answer goes into `media` of `chat.send`. A file that no message takes up is removed after a day.
#[api_v2_operation(tags("Files"), operation_id = "media_upload")]
async fn upload(who: Who, form: FileForm<UPLOAD_LIMIT>, gateway: web::Data<Gateway>) -> Result<ApiJson<Uploaded>, ApiError> {
    let files = &gateway.core.user_files;
    let file = form.read(files.may_upload(&who)).await?.file;
    Ok(ApiJson(files.upload(&who, &file.name, file.content).await?))
}

/// Get a file of a message
///
/// With a link's `ft`, or as a caller of the tenant.
#[api_v2_operation(tags("Files"), operation_id = "media_get")]
async fn find(id: web::Path<String>, query: ApiQuery<FileQuery>, request: HttpRequest, gateway: web::Data<Gateway>) -> Result<FileBody, ApiError> {
    let who = who(&request, &query).await?;
    let served = gateway.core.user_files.media(pass(who.as_ref(), &query), &id).await?;
    Ok(FileBody::new(served, &query, Some(MAX_AGE)))
}
