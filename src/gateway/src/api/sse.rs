//! Server-sent events.

use super::{
    MEDIA_MARK,
    body::json,
    collect::{Way, answer, component, reference},
};
use actix_web::{
    HttpRequest, HttpResponse, Responder,
    body::BoxBody,
    http::{StatusCode, header},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream::LocalBoxStream};
use paperclip::{
    actix::OperationModifier,
    v2::{
        models::{DefaultOperationRaw, DefaultSchemaRaw, Either},
        schema::Apiv2Schema,
    },
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{collections::BTreeMap, convert::Infallible, marker::PhantomData};

/// The records of an event stream, each with its blank line. Dropped when the client goes away.
pub type SseBody = LocalBoxStream<'static, Bytes>;

/// A 200 answer that is an event stream; `T` is what the data of one event holds.
pub struct Sse<T> {
    body: SseBody,
    event: PhantomData<T>,
}

impl<T> Sse<T> {
    /// Answers with these records.
    #[must_use]
    pub fn new(body: SseBody) -> Self {
        Self { body, event: PhantomData }
    }
}

impl<T> Apiv2Schema for Sse<T> {}

impl<T: JsonSchema> OperationModifier for Sse<T> {
    fn update_response(operation: &mut DefaultOperationRaw) {
        let description = format!("{MEDIA_MARK}text/event-stream{MEDIA_MARK}Server-sent events");
        answer(operation, "200", &description, Some(reference::<T>(Way::Out)));
    }
    fn update_definitions(_: &mut BTreeMap<String, DefaultSchemaRaw>) {}
}

impl<T> Responder for Sse<T> {
    type Body = BoxBody;
    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        stream(self.body)
    }
}

/// A 200 answer that is either JSON or an event stream, as the request asks; `C` is what the data of one event holds.
pub enum JsonOrSse<T, C> {
    /// JSON.
    Json(T),
    /// An event stream.
    Sse(Sse<C>),
}

impl<T, C> Apiv2Schema for JsonOrSse<T, C> {}

impl<T: JsonSchema, C: JsonSchema> OperationModifier for JsonOrSse<T, C> {
    fn update_response(operation: &mut DefaultOperationRaw) {
        let description = format!("{MEDIA_MARK}text/event-stream:{}{MEDIA_MARK}OK", component::<C>(Way::Out));
        answer(operation, "200", &description, Some(reference::<T>(Way::Out)));
    }
    fn update_definitions(_: &mut BTreeMap<String, DefaultSchemaRaw>) {}
}

impl<T: Serialize, C> Responder for JsonOrSse<T, C> {
    type Body = BoxBody;
    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        match self {
            Self::Json(value) => json(StatusCode::OK, &value),
            Self::Sse(events) => events.respond_to(request),
        }
    }
}

/// A 201 answer with JSON, or an event stream, as the request asks; `C` is what the data of one event holds.
pub enum CreatedOrSse<T, C> {
    /// JSON.
    Created(T),
    /// An event stream.
    Sse(Sse<C>),
}

impl<T, C> Apiv2Schema for CreatedOrSse<T, C> {}

impl<T: JsonSchema, C: JsonSchema> OperationModifier for CreatedOrSse<T, C> {
    fn update_response(operation: &mut DefaultOperationRaw) {
        Sse::<C>::update_response(operation);
        answer(operation, "201", "Created", Some(reference::<T>(Way::Out)));
    }
    fn update_definitions(_: &mut BTreeMap<String, DefaultSchemaRaw>) {}
}

impl<T: Serialize, C> Responder for CreatedOrSse<T, C> {
    type Body = BoxBody;
    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        match self {
            Self::Created(value) => json(StatusCode::CREATED, &value),
            Self::Sse(events) => events.respond_to(request),
        }
    }
}

/// A 200 answer that is of a media type of its own, or an event stream, as the request asks; `C` is what the data of one event holds.
pub enum MediaOrSse<M, C> {
    /// Not JSON.
    Media(M),
    /// An event stream.
    Sse(Sse<C>),
}

impl<M, C> Apiv2Schema for MediaOrSse<M, C> {}

impl<M: OperationModifier, C: JsonSchema> OperationModifier for MediaOrSse<M, C> {
    fn update_response(operation: &mut DefaultOperationRaw) {
        M::update_response(operation);
        if let Some(Either::Right(response)) = operation.responses.get_mut("200") {
            // The event stream comes after the media type, and is told by its schema.
            let described = response.description.take().unwrap_or_default();
            let described = described.strip_prefix(MEDIA_MARK).unwrap_or(&described);
            response.description = Some(format!("{MEDIA_MARK}text/event-stream:{}+{described}", component::<C>(Way::Out)));
        }
    }
    fn update_definitions(_: &mut BTreeMap<String, DefaultSchemaRaw>) {}
}

impl<M: Responder<Body = BoxBody>, C> Responder for MediaOrSse<M, C> {
    type Body = BoxBody;
    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        match self {
            Self::Media(media) => media.respond_to(request),
            Self::Sse(events) => events.respond_to(request),
        }
    }
}

fn stream(body: SseBody) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        // Proxies must pass records on as they come.
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(body.map(Ok::<_, Infallible>))
}
