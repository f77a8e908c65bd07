//! The OpenAPI document.

use crate::{api::routes, openapi};
use actix_web::{HttpRequest, HttpResponse, Responder, body::BoxBody, http::header};
use paperclip::{
    actix::{OperationModifier, api_v2_operation},
    v2::{
        models::{DefaultOperationRaw, DefaultSchemaRaw, Either, Response},
        schema::Apiv2Schema,
    },
};

routes! {
    "/v1/openapi.json" {
        "" { get => document, Public; }
    }
}

/// The document, as it lies in memory.
pub struct Document;

impl Apiv2Schema for Document {}

impl OperationModifier for Document {
    fn update_response(operation: &mut DefaultOperationRaw) {
        let response = Response { description: Some("OK".to_owned()), schema: Some(DefaultSchemaRaw::default()), ..Response::default() };
        operation.responses.insert("200".to_owned(), Either::Right(response));
    }
}

impl Responder for Document {
    type Body = BoxBody;
    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, "application/json"))
            .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
            .body(openapi::bytes())
    }
}

/// This document
///
/// OpenAPI 3.0.3, made from the route table.
#[api_v2_operation(tags("Platform"), operation_id = "openapi")]
async fn document() -> Document {
    Document
}
