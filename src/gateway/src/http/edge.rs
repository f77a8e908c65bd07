//! What surrounds every request: its id, security headers, the wording of failures, counters and the access log.

use super::{chat, responses};
use crate::{
    api::Pattern,
    auth::{locale, text},
    connections::Connection,
    error::{ApiError, Shape},
    gateway::Gateway,
    metrics,
};
use actix_web::{
    Error, HttpMessage, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method, StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
    middleware::Next,
    web,
};
use goclaw_ports::Error as PortError;
use std::{sync::Arc, time::Instant};
use uuid::Uuid;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// In bytes.
const MAX_REQUEST_ID: usize = 128;

/// The outermost middleware.
pub(crate) async fn surround<B: MessageBody + 'static>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    let answering = request.conn_data::<Arc<Connection>>().map(Connection::asked);
    let id = request_id(&request);
    let desktop = request.app_data::<web::Data<Gateway>>().is_some_and(|gateway| gateway.desktop_cors);
    let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    // Asking an agent ends when nobody waits for the answer any more.
    let changes_something = !reads && ![chat::PATH, responses::PATH].contains(&request.path());
    let mut response = if desktop && request.method() == Method::OPTIONS {
        request.into_response(HttpResponse::NoContent().finish())
    } else {
        let answer = next.call(request);
        let response = if changes_something {
            // A change that has begun is finished, whoever has stopped waiting for it: half of one would leave caches behind.
            actix_web::rt::spawn(answer).await.map_err(|error| ApiError::from(PortError::internal(error)))??
        } else {
            answer.await?
        };
        worded(response.map_into_boxed_body(), &id)
    };
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id.clone());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if desktop {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE, OPTIONS"));
        let allowed = HeaderValue::from_static("Authorization, Content-Type, X-GoClaw-Tenant-Id, X-GoClaw-User-Id");
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    }
    observe(&response, started, &id);
    Ok(match answering {
        Some(answering) => answering.with(response),
        None => response,
    })
}

/// The id that the request brought along, or a new one.
fn request_id(request: &ServiceRequest) -> HeaderValue {
    let brought = request.headers().get(REQUEST_ID).filter(|id| is_request_id(id.as_bytes()));
    let new = || HeaderValue::from_str(Uuid::new_v4().hyphenated().encode_lower(&mut Uuid::encode_buffer())).unwrap_or(HeaderValue::from_static("-"));
    brought.cloned().unwrap_or_else(new)
}

fn is_request_id(id: &[u8]) -> bool {
    (1..=MAX_REQUEST_ID).contains(&id.len()) && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
}

/// The same response; if it is a failure without words, with words in the caller's language.
fn worded(response: ServiceResponse<BoxBody>, id: &HeaderValue) -> ServiceResponse<BoxBody> {
    let status = response.status();
    if status.is_success() || status.is_redirection() || status.is_informational() {
        return response;
    }
    let Some(failure) = failure_of(&response) else { return response };
    let request = response.request();
    let path = request.path();
    if matches!(failure, ApiError::NoSuchPath) && !path.starts_with("/v1/") {
        return response.map_body(|_, _| BoxBody::new("404 page not found\n"));
    }
    // Where there are two shapes, the handler has said which one the client wants.
    let wanted = request.extensions().get::<Shape>().copied();
    let shape = wanted.unwrap_or(if path == chat::PATH { Shape::OpenAi } else { Shape::Ours });
    let rendered = failure.render(locale(request.headers()), shape, path, id.to_str().ok());
    let mut response = response.map_body(|_, _| BoxBody::new(rendered.body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.remove(header::CONTENT_LENGTH);
    if let Some(seconds) = rendered.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Why the request failed, if the response does not say it itself.
fn failure_of(response: &ServiceResponse<BoxBody>) -> Option<ApiError> {
    if let Some(error) = response.response().error() {
        return Some(match error.as_error::<ApiError>() {
            Some(failure) => failure.clone(),
            // The framework's own: a path that is not UTF-8, a handshake without a key.
            None if response.status().is_client_error() => PortError::invalid_request(error).into(),
            None => PortError::internal(error.to_string()).into(),
        });
    }
    match response.status() {
        StatusCode::METHOD_NOT_ALLOWED => Some(ApiError::MethodNotAllowed),
        _ => None,
    }
}

fn observe(response: &ServiceResponse<BoxBody>, started: Instant, id: &HeaderValue) {
    let request = response.request();
    let route = request.app_data::<Pattern>().map_or("unmatched", |pattern| pattern.0);
    let (method, status, elapsed) = (request.method(), response.status(), started.elapsed());
    metrics::http(method, route, status, elapsed);
    tracing::debug!(
        request_id = id.to_str().unwrap_or_default(),
        %method,
        // Without its query: that may hold a token.
        path = request.path(),
        route,
        status = status.as_u16(),
        elapsed_ms = elapsed.as_secs_f64() * 1000.0,
        user_agent = text(request.headers(), "User-Agent").unwrap_or_default(),
        "request"
    );
}
