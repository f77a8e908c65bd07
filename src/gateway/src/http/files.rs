//! Files of agents and users, and links to them.

use crate::{
    api::{ApiJson, ApiQuery, Example, Pattern, routes, typed},
    auth::{Who, authenticate_with},
    error::ApiError,
    gateway::Gateway,
};
use actix_files::NamedFile;
use actix_web::{
    HttpRequest, HttpResponse, Responder,
    body::BoxBody,
    http::header::{self, Charset, ContentDisposition, DispositionParam, DispositionType, ExtendedValue, HeaderValue},
    web,
};
use goclaw_core::files::{Pass, Served, kind};
use goclaw_ports::{Error, message};
use paperclip::{
    actix::{OperationModifier, api_v2_operation},
    v2::{models::DefaultOperationRaw, schema::Apiv2Schema},
};
use percent_encoding::percent_decode_str;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) const EXAMPLES: &[Example] = &[Example {
    operation: "files_sign",
    request: r#"{"path":"/app/workspace/helper/ws/mai/report.pdf"}"#,
    response: r#"{"url":"/v1/files/app/workspace/helper/ws/mai/report.pdf?ft=bW9jayBzaWduYXR1cmUhIQ.1767225900"}"#,
}];

routes! {
    "/v1/files" {
        "/sign" { post => sign, Operator; }
        "/{path}" { get => find, Viewer; }
    }
}

/// Serves the routes. The path of a file holds slashes.
pub(crate) fn configure(config: &mut web::ServiceConfig) {
    let whole = web::resource("/{path:.*}").app_data(Pattern("/v1/files/{path}"));
    config.service(scope().service(whole.route(crate::api::get().to(find))));
}

/// How a file is asked for.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FileQuery {
    /// `true`: to be saved rather than shown.
    download: Option<String>,
    /// The token of a link. It alone decides, whatever other credentials there are.
    ft: Option<String>,
    /// A token or API key, where no header can be sent.
    token: Option<String>,
}

/// A file that is to be signed.
#[derive(Deserialize, JsonSchema)]
pub struct SignRequest {
    /// Its absolute path on the server.
    #[serde(default)]
    path: String,
}

/// A link to a file.
#[derive(Serialize, JsonSchema)]
pub struct SignedUrl {
    /// Opens the file without credentials for five minutes.
    url: String,
}

/// A file's bytes, or a part of them.
pub struct FileBody {
    served: Served,
    download: bool,
    /// For how long it may be kept by whoever asked, in seconds; `None` to ask again each time.
    max_age: Option<u32>,
}

impl FileBody {
    pub(super) fn new(served: Served, query: &FileQuery, max_age: Option<u32>) -> Self {
        Self { served, download: query.download.as_deref() == Some("true"), max_age }
    }
}

impl Apiv2Schema for FileBody {}

impl OperationModifier for FileBody {
    fn update_response(operation: &mut DefaultOperationRaw) {
        typed(operation, "*/*", "The file, with its own type. Ranges (206) and conditional requests (304) are answered.");
    }
}

impl Responder for FileBody {
    type Body = BoxBody;
    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        let Self { served: Served { file, name, kind }, download, max_age } = self;
        let (disposition, active) = (if download { "attachment" } else { "inline" }, kind::is_active(kind));
        let kind = if kind.starts_with("text/") { format!("{kind}; charset=utf-8") } else { kind.to_owned() };
        let named = match NamedFile::from_file(file.content, &file.path) {
            Ok(named) => named,
            Err(cause) => return HttpResponse::from_error(ApiError::from(Error::internal(cause))),
        };
        let attached = active || disposition == "attachment";
        let named = match kind.parse() {
            Ok(kind) => named.set_content_type(kind),
            Err(_) => named,
        };
        let mut response = named.prefer_utf8(false).set_content_disposition(called(&name, attached)).into_response(request);
        let headers = response.headers_mut();
        let caching = max_age.map_or_else(|| "private, no-cache".to_owned(), |seconds| format!("private, max-age={seconds}"));
        if let Ok(caching) = HeaderValue::from_str(&caching) {
            headers.insert(header::CACHE_CONTROL, caching);
        }
        if active {
            // Files share the dashboard's origin: what runs code must not run as the dashboard.
            headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
        }
        response
    }
}

/// What a file is called when it is saved.
fn called(name: &str, attached: bool) -> ContentDisposition {
    let ascii: String = name.chars().map(|letter| if letter.is_ascii() && !letter.is_ascii_control() { letter } else { '_' }).collect();
    let mut parameters = vec![DispositionParam::Filename(ascii)];
    if !name.is_ascii() {
        parameters.push(DispositionParam::FilenameExt(ExtendedValue {
            charset: Charset::Ext("UTF-8".into()),
            language_tag: None,
            value: name.as_bytes().to_vec(),
        }));
    }
    ContentDisposition { disposition: if attached { DispositionType::Attachment } else { DispositionType::Inline }, parameters }
}

/// Who asks, if no link speaks for them.
pub(super) async fn who(request: &HttpRequest, query: &FileQuery) -> Result<Option<Who>, Error> {
    match &query.ft {
        Some(_) => Ok(None),
        None => authenticate_with(request, query.token.as_deref()).await.map(Some),
    }
}

/// What lets them see a file.
pub(super) fn pass<'a>(who: Option<&'a Who>, query: &'a FileQuery) -> Pass<'a> {
    who.map_or_else(|| Pass::Link(query.ft.as_deref().unwrap_or_default()), |who| Pass::Caller(who))
}

/// The rest of the path, percent-escapes decoded once.
fn rest_of(request: &HttpRequest) -> Result<String, Error> {
    let raw = request.uri().path().strip_prefix("/v1/files/").unwrap_or_default();
    // A leading slash must be escaped, so that `//` never means anything.
    let rest = if raw.starts_with('/') { None } else { percent_decode_str(raw).decode_utf8().ok() };
    rest.map(Into::into).ok_or_else(|| Error::invalid(message::bad_path()))
}

/// Get a file
///
/// `path` is an absolute path of the server without its leading slash, or a bare name that is looked for in the tenant's workspaces.
/// A link's `ft` opens its own path only; else callers see what is their tenant's, and below admin only what is theirs.
#[api_v2_operation(tags("Files"), operation_id = "files_get")]
async fn find(_path: web::Path<String>, query: ApiQuery<FileQuery>, request: HttpRequest, gateway: web::Data<Gateway>) -> Result<FileBody, ApiError> {
    let path = rest_of(&request)?;
    let who = who(&request, &query).await?;
    let served = gateway.core.user_files.open(pass(who.as_ref(), &query), &path).await?;
    Ok(FileBody::new(served, &query, None))
}

/// Make a link to a file
///
/// It opens the file for whoever holds it for five minutes, or until the gateway is restarted. Only files that the caller may see.
#[api_v2_operation(tags("Files"), operation_id = "files_sign")]
async fn sign(who: Who, body: ApiJson<SignRequest>, gateway: web::Data<Gateway>) -> Result<ApiJson<SignedUrl>, ApiError> {
    Ok(ApiJson(SignedUrl { url: gateway.core.user_files.sign(&who, &body.0.path).await? }))
}
