//! How failures look on the wire: one table from kinds to statuses and codes, one place that words them.

use crate::i18n;
use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use goclaw_core::caller::Locale;
use goclaw_ports::{Error, ErrorKind, message};
use paperclip::v2::schema::Apiv2Errors;
use schemars::JsonSchema;
use serde::Serialize;
use std::fmt;
use uuid::Uuid;

/// What OpenAI's clients are told to wait after a refusal for the rate, in seconds.
const OPENAI_RETRY_AFTER: u64 = 60;

/// How a kind of failure is told.
pub(crate) struct Wire {
    /// The HTTP status.
    pub status: StatusCode,
    /// The `code` of the HTTP body.
    pub code: &'static str,
    /// The `code` of the WebSocket error.
    pub ws_code: &'static str,
}

/// The one table.
pub(crate) fn wire(kind: ErrorKind) -> Wire {
    let (status, code, ws_code) = match kind {
        ErrorKind::NotFound => (StatusCode::NOT_FOUND, "NOT_FOUND", "NOT_FOUND"),
        ErrorKind::AlreadyExists => (StatusCode::CONFLICT, "ALREADY_EXISTS", "ALREADY_EXISTS"),
        ErrorKind::Invalid => (StatusCode::BAD_REQUEST, "INVALID_REQUEST", "INVALID_REQUEST"),
        ErrorKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "INVALID_REQUEST", "INVALID_REQUEST"),
        ErrorKind::Unauthorized => (StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "UNAUTHORIZED"),
        ErrorKind::Forbidden => (StatusCode::FORBIDDEN, "UNAUTHORIZED", "UNAUTHORIZED"),
        ErrorKind::TenantRevoked => (StatusCode::UNAUTHORIZED, "TENANT_ACCESS_REVOKED", "TENANT_ACCESS_REVOKED"),
        ErrorKind::TenantClosed => (StatusCode::FORBIDDEN, "TENANT_ACCESS_REVOKED", "TENANT_ACCESS_REVOKED"),
        ErrorKind::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED"),
        ErrorKind::Precondition => (StatusCode::CONFLICT, "FAILED_PRECONDITION", "FAILED_PRECONDITION"),
        ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", "UNAVAILABLE"),
        ErrorKind::Timeout => (StatusCode::GATEWAY_TIMEOUT, "AGENT_TIMEOUT", "AGENT_TIMEOUT"),
        ErrorKind::Upstream | ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL", "INTERNAL"),
    };
    Wire { status, code, ws_code }
}

/// The text for the client. A fault of ours is logged with its cause under a correlation id, and only that is told.
pub(crate) fn words(error: &Error, locale: Locale) -> String {
    words_for(error, locale, None)
}

/// The same, with the id of the HTTP request for the log.
fn words_for(error: &Error, locale: Locale, request_id: Option<&str>) -> String {
    let cause = error.cause.as_deref().map(tracing::field::display);
    match error.kind {
        ErrorKind::Internal => {
            let correlation = Uuid::new_v4();
            tracing::error!(%correlation, request_id, cause, "internal error");
            i18n::text(locale, &message::internal(correlation))
        }
        _ => {
            if cause.is_some() {
                tracing::debug!(request_id, kind = ?error.kind, cause, "request failed: {}", error.message);
            }
            i18n::text(locale, &error.message)
        }
    }
}

/// Why an HTTP request failed.
#[derive(Debug, Clone)]
pub enum ApiError {
    /// A use case refused it, or the request could not be read.
    Failed(Error),
    /// The same, with a code of its own.
    Named(Error, &'static str),
    /// There is nothing at this path.
    NoSuchPath,
    /// The path knows other verbs.
    MethodNotAllowed,
    /// The path takes WebSocket upgrades only.
    UpgradeRequired,
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) | Self::Named(error, _) => error.fmt(f),
            other => f.write_str(other.status_code().canonical_reason().unwrap_or_default()),
        }
    }
}

impl Apiv2Errors for ApiError {}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Failed(error) | Self::Named(error, _) => wire(error.kind).status,
            Self::NoSuchPath => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::UpgradeRequired => StatusCode::UPGRADE_REQUIRED,
        }
    }

    /// Only the status: the body needs the request's language and shape, which the outermost middleware knows.
    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        if matches!(self, Self::UpgradeRequired) {
            response.insert_header((header::UPGRADE, "websocket"));
        }
        response.finish()
    }
}

/// The body of every failure but those of OpenAI's endpoints.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ErrorBody {
    /// What went wrong, in the caller's language.
    error: String,
    /// What went wrong, for programs: `INVALID_REQUEST`, `UNAUTHORIZED`, `NOT_FOUND`, …
    code: &'static str,
}

/// The body of a failure of OpenAI's endpoints.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct OpenAiErrorBody {
    /// The failure.
    error: OpenAiError,
}

/// A failure, as OpenAI's clients read it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct OpenAiError {
    /// What went wrong, in the caller's language.
    message: String,
    /// `invalid_request_error`, `not_found_error`, `rate_limit_error` or `server_error`.
    #[serde(rename = "type")]
    kind: &'static str,
}

/// Which of the two bodies an endpoint answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// [`ErrorBody`].
    Ours,
    /// [`OpenAiErrorBody`].
    OpenAi,
}

/// A failure, worded for one request.
pub(crate) struct Rendered {
    /// The JSON body.
    pub body: String,
    /// The value of `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
}

impl ApiError {
    /// Words the failure for a request to `path`; the id of the request is for the log.
    pub(crate) fn render(&self, locale: Locale, shape: Shape, path: &str, request_id: Option<&str>) -> Rendered {
        let (text, code) = match self {
            Self::Failed(error) => (words_for(error, locale, request_id), wire(error.kind).code),
            Self::Named(error, code) => (words_for(error, locale, request_id), *code),
            Self::NoSuchPath => (i18n::text(locale, &message::no_such_path(path)), "NOT_FOUND"),
            Self::MethodNotAllowed => (i18n::text(locale, &message::method_not_allowed()), "INVALID_REQUEST"),
            Self::UpgradeRequired => (i18n::text(locale, &message::invalid_request("WebSocket upgrade expected")), "INVALID_REQUEST"),
        };
        let status = self.status_code();
        let wait = match self {
            Self::Failed(error) | Self::Named(error, _) => error.retry_after.map(|wait| wait.as_secs_f64().ceil().max(1.0) as u64),
            _ => None,
        };
        match shape {
            Shape::Ours => Rendered {
                body: to_json(&ErrorBody { error: text, code }),
                // A client that is refused for its rate is always told when to come back.
                retry_after: wait.or((status == StatusCode::TOO_MANY_REQUESTS).then_some(1)),
            },
            Shape::OpenAi => Rendered {
                body: to_json(&OpenAiErrorBody { error: OpenAiError { message: text, kind: openai_type(status) } }),
                retry_after: if status == StatusCode::TOO_MANY_REQUESTS { Some(OPENAI_RETRY_AFTER) } else { wait },
            },
        }
    }
}

fn to_json(body: &impl Serialize) -> String {
    serde_json::to_string(body).unwrap_or_else(|_| "{}".to_owned())
}

fn openai_type(status: StatusCode) -> &'static str {
    match status {
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::NOT_FOUND => "not_found_error",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::time::Duration;

    fn body(error: ApiError, locale: Locale, shape: Shape) -> Value {
        serde_json::from_str(&error.render(locale, shape, "/v1/x", None).body).unwrap()
    }

    #[test]
    fn a_failure_is_told_in_the_callers_language_with_its_code() {
        let error = ApiError::from(Error::unauthorized());
        assert_eq!(body(error.clone(), Locale::En, Shape::Ours), json!({"error": "unauthorized", "code": "UNAUTHORIZED"}));
        assert_eq!(body(error, Locale::Vi, Shape::Ours), json!({"error": "chưa được xác thực", "code": "UNAUTHORIZED"}));
    }

    #[test]
    fn the_cause_of_an_internal_error_stays_inside() {
        let text = ApiError::from(Error::internal("relation agents does not exist")).render(Locale::En, Shape::Ours, "/v1/x", Some("r-1")).body;
        assert!(text.contains("internal error (reference ") && !text.contains("relation"), "{text}");
    }

    #[test]
    fn openai_clients_get_their_own_shape_and_wait_a_minute() {
        let limited = ApiError::from(Error::new(ErrorKind::RateLimited, message::rate_limit()).retry_after(Duration::from_secs(3)));
        assert_eq!(limited.render(Locale::En, Shape::OpenAi, "/", None).retry_after, Some(60));
        assert_eq!(limited.render(Locale::En, Shape::Ours, "/", None).retry_after, Some(3));
        assert_eq!(body(limited, Locale::En, Shape::OpenAi)["error"]["type"], "rate_limit_error");
        assert_eq!(body(Error::internal("x").into(), Locale::En, Shape::OpenAi)["error"]["type"], "server_error");
        assert_eq!(body(Error::required("model").into(), Locale::En, Shape::OpenAi)["error"]["type"], "invalid_request_error");
    }

    #[test]
    fn a_part_of_a_second_is_rounded_up() {
        let error = ApiError::from(Error::unavailable("x").retry_after(Duration::from_millis(1200)));
        assert_eq!(error.render(Locale::En, Shape::Ours, "/", None).retry_after, Some(2));
    }
}
