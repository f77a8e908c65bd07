//! JSON bodies.

use super::collect::{Way, answer, reference};
use crate::{connections::HttpTimes, error::ApiError, gateway::Gateway};
use actix_web::{
    FromRequest, HttpRequest, HttpResponse, Responder,
    body::BoxBody,
    dev::{Decompress, Payload},
    http::{StatusCode, header},
    web::Data,
};
use bytes::BytesMut;
use futures_util::{StreamExt, future::LocalBoxFuture};
use goclaw_ports::{Error, ErrorKind, message};
use paperclip::{
    actix::OperationModifier,
    v2::{
        models::{DefaultOperationRaw, DefaultSchemaRaw, Either, Parameter, ParameterIn},
        schema::Apiv2Schema,
    },
};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, time::Duration};

/// The largest JSON body of most endpoints, in bytes.
pub const JSON_LIMIT: usize = 1 << 20;
/// The largest JSON body of messages, in bytes: they may hold pictures.
pub const MESSAGE_JSON_LIMIT: usize = 16 << 20;
/// The largest JSON body of endpoints that take a few short values, in bytes.
pub const SMALL_JSON_LIMIT: usize = 64 << 10;
/// How much of an oversized body is read and dropped, so that the client gets to read the refusal.
const DRAIN_LIMIT: usize = 8 << 20;

/// A JSON body: of the request, at most `LIMIT` bytes of it; or of a 200 answer.
///
/// The first JSON value of the body is read, whatever its `Content-Type`; unknown keys are ignored.
pub struct ApiJson<T, const LIMIT: usize = JSON_LIMIT>(pub T);

impl<T, const LIMIT: usize> Apiv2Schema for ApiJson<T, LIMIT> {}

impl<T: JsonSchema, const LIMIT: usize> OperationModifier for ApiJson<T, LIMIT> {
    fn update_parameter(operation: &mut DefaultOperationRaw) {
        body_parameter::<T>(operation, true);
    }
    fn update_response(operation: &mut DefaultOperationRaw) {
        answer(operation, "200", "OK", Some(reference::<T>(Way::Out)));
    }
    fn update_definitions(_: &mut BTreeMap<String, DefaultSchemaRaw>) {}
}

impl<T: DeserializeOwned + 'static, const LIMIT: usize> FromRequest for ApiJson<T, LIMIT> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = read(request, payload, LIMIT);
        Box::pin(async move { Ok(Self(first_value(&body.await?)?)) })
    }
}

impl<T: Serialize, const LIMIT: usize> Responder for ApiJson<T, LIMIT> {
    type Body = BoxBody;
    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        json(StatusCode::OK, &self.0)
    }
}

/// A JSON body that may be left out.
pub struct OptionalJson<T>(pub T);

impl<T> Apiv2Schema for OptionalJson<T> {}

impl<T: JsonSchema> OperationModifier for OptionalJson<T> {
    fn update_parameter(operation: &mut DefaultOperationRaw) {
        body_parameter::<T>(operation, false);
    }
    fn update_definitions(_: &mut BTreeMap<String, DefaultSchemaRaw>) {}
}

impl<T: DeserializeOwned + Default + 'static> FromRequest for OptionalJson<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = read(request, payload, SMALL_JSON_LIMIT);
        Box::pin(async move {
            let body = body.await?;
            Ok(Self(if body.trim_ascii().is_empty() { T::default() } else { first_value(&body)? }))
        })
    }
}

/// A 201 answer with a JSON body.
pub struct Created<T>(pub T);

impl<T> Apiv2Schema for Created<T> {}

impl<T: JsonSchema> OperationModifier for Created<T> {
    fn update_response(operation: &mut DefaultOperationRaw) {
        answer(operation, "201", "Created", Some(reference::<T>(Way::Out)));
    }
    fn update_definitions(_: &mut BTreeMap<String, DefaultSchemaRaw>) {}
}

impl<T: Serialize> Responder for Created<T> {
    type Body = BoxBody;
    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        json(StatusCode::CREATED, &self.0)
    }
}

/// A 202 answer with a JSON body: what was asked for goes on in the background.
pub struct Accepted<T>(pub T);

impl<T> Apiv2Schema for Accepted<T> {}

impl<T: JsonSchema> OperationModifier for Accepted<T> {
    fn update_response(operation: &mut DefaultOperationRaw) {
        answer(operation, "202", "Accepted", Some(reference::<T>(Way::Out)));
    }
    fn update_definitions(_: &mut BTreeMap<String, DefaultSchemaRaw>) {}
}

impl<T: Serialize> Responder for Accepted<T> {
    type Body = BoxBody;
    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        json(StatusCode::ACCEPTED, &self.0)
    }
}

/// A 204 answer.
pub struct NoContent;

impl Apiv2Schema for NoContent {}

impl OperationModifier for NoContent {
    fn update_response(operation: &mut DefaultOperationRaw) {
        answer(operation, "204", "No Content", None);
    }
    fn update_definitions(_: &mut BTreeMap<String, DefaultSchemaRaw>) {}
}

impl Responder for NoContent {
    type Body = BoxBody;
    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        HttpResponse::NoContent().finish()
    }
}

/// Renders a JSON answer.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> HttpResponse {
    match serde_json::to_vec(value) {
        Ok(body) => HttpResponse::build(status).insert_header((header::CONTENT_TYPE, "application/json")).body(body),
        Err(cause) => HttpResponse::from_error(ApiError::from(Error::internal(cause))),
    }
}

fn body_parameter<T: JsonSchema>(operation: &mut DefaultOperationRaw, required: bool) {
    operation.parameters.push(Either::Right(Parameter {
        in_: ParameterIn::Body,
        name: "body".to_owned(),
        required,
        schema: Some(reference::<T>(Way::In)),
        ..Parameter::default()
    }));
}

fn first_value<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    match serde_json::Deserializer::from_slice(body).into_iter().next() {
        Some(Ok(value)) => Ok(value),
        Some(Err(cause)) => Err(Error::invalid(message::invalid_json()).because(cause)),
        None => Err(Error::invalid(message::invalid_json())),
    }
}

fn read(request: &HttpRequest, payload: &mut Payload, limit: usize) -> impl Future<Output = Result<BytesMut, Error>> + use<> {
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(0);
    let mut chunks = Decompress::from_headers(payload.take(), request.headers());
    let patience = patience(request);
    let too_large = move || Error::new(ErrorKind::TooLarge, message::body_too_large(limit));
    let whole = async move {
        let mut body = BytesMut::with_capacity(announced.min(limit));
        let mut received = 0_usize;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|cause| Error::invalid_request("the body cannot be read").because(cause.to_string()))?;
            received = received.saturating_add(chunk.len());
            if received <= limit {
                body.extend_from_slice(&chunk);
            } else if received > limit.saturating_add(DRAIN_LIMIT) {
                break;
            }
        }
        if received > limit { Err(too_large()) } else { Ok(body) }
    };
    async move {
        if announced > limit.saturating_add(DRAIN_LIMIT) {
            return Err(too_large());
        }
        match tokio::time::timeout(patience, whole).await {
            Ok(body) => body,
            Err(_) => Err(too_slow()),
        }
    }
}

/// How long a body may take to arrive.
pub(super) fn patience(request: &HttpRequest) -> Duration {
    request.app_data::<Data<Gateway>>().map_or_else(HttpTimes::default, |gateway| gateway.times).body
}

pub(super) fn too_slow() -> Error {
    Error::invalid(message::timeout("request body"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    async fn body_of<const LIMIT: usize>(bytes: &'static [u8]) -> Result<serde_json::Value, u16> {
        let (request, mut payload) = TestRequest::post().set_payload(bytes).to_http_parts();
        let body = ApiJson::<serde_json::Value, LIMIT>::from_request(&request, &mut payload).await;
        body.map(|body| body.0).map_err(|error| actix_web::ResponseError::status_code(&error).as_u16())
    }

    #[actix_web::test]
    async fn the_first_value_of_a_body_is_read_whatever_its_type() {
        assert_eq!(body_of::<64>(b" {\"a\":1} trailing").await, Ok(serde_json::json!({"a": 1})));
    }

    #[actix_web::test]
    async fn broken_and_empty_bodies_are_the_callers_fault() {
        assert_eq!(body_of::<64>(b"{\"a\":").await, Err(400));
        assert_eq!(body_of::<64>(b"").await, Err(400));
    }

    #[actix_web::test]
    async fn a_body_over_its_limit_is_refused_and_one_at_the_limit_is_not() {
        assert_eq!(body_of::<5>(b"\"abcd\"").await, Err(413));
        assert_eq!(body_of::<6>(b"\"abcd\"").await, Ok(serde_json::json!("abcd")));
    }
}
