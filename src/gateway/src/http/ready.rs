//! Whether the gateway can work.

use crate::{
    api::{ApiJson, json, routes},
    gateway::Gateway,
};
use actix_web::{HttpRequest, HttpResponse, Responder, body::BoxBody, http::StatusCode, web};
use goclaw_core::platform::Readiness;
use paperclip::{
    actix::{OperationModifier, api_v2_operation},
    v2::{models::DefaultOperationRaw, schema::Apiv2Schema},
};

routes! {
    "/ready" {
        "" { get => ready, Public; }
    }
}

/// 200 if requests can be served, else 503.
pub struct Ready(Readiness);

impl Apiv2Schema for Ready {}

impl OperationModifier for Ready {
    fn update_response(operation: &mut DefaultOperationRaw) {
        ApiJson::<Readiness>::update_response(operation);
        if let Some(answer) = operation.responses.get("200").cloned() {
            operation.responses.insert("503".to_owned(), answer);
        }
    }
}

impl Responder for Ready {
    type Body = BoxBody;
    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        let status = if self.0.status == "ok" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        json(status, &self.0)
    }
}

/// Readiness
///
/// 200 if the database answers and the gateway is not shutting down, else 503.
#[api_v2_operation(tags("Platform"), operation_id = "ready")]
async fn ready(gateway: web::Data<Gateway>) -> Ready {
    Ready(gateway.core.platform.ready().await)
}
