//! Counters for Prometheus.

use crate::{
    api::{routes, typed},
    auth::{authenticate, text},
    error::ApiError,
    gateway::Gateway,
    metrics::observe_process,
};
use actix_web::{HttpRequest, HttpResponse, Responder, body::BoxBody, http::header, web};
use goclaw_core::caller::Access;
use goclaw_ports::{Error, roles::Role};
use paperclip::{
    actix::{OperationModifier, api_v2_operation},
    v2::{models::DefaultOperationRaw, schema::Apiv2Schema},
};

routes! {
    "/metrics" {
        "" { get => render, Admin; }
    }
}

/// Prometheus's text format.
pub struct Exposition(String);

impl Apiv2Schema for Exposition {}

impl OperationModifier for Exposition {
    fn update_response(operation: &mut DefaultOperationRaw) {
        typed(operation, "text/plain", "Prometheus's text format");
    }
}

impl Responder for Exposition {
    type Body = BoxBody;
    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        HttpResponse::Ok().insert_header((header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")).body(self.0)
    }
}

/// Counters for Prometheus
///
/// Without a credential only to clients on the same machine.
#[api_v2_operation(tags("Platform"), operation_id = "metrics")]
async fn render(request: HttpRequest, gateway: web::Data<Gateway>) -> Result<Exposition, ApiError> {
    if !is_local(&request) {
        authenticate(&request).await?.require(Role::Admin, Access::Read, "/metrics")?;
    }
    let counters = gateway.metrics.clone();
    let text = web::block(move || {
        observe_process();
        counters.render()
    });
    Ok(Exposition(text.await.map_err(|cause| Error::internal(cause.to_string()))?))
}

/// Whether the request comes from this machine, and not through a proxy on it.
fn is_local(request: &HttpRequest) -> bool {
    let proxied = ["X-Forwarded-For", "X-Real-IP", "Forwarded"].iter().any(|name| text(request.headers(), name).is_some());
    !proxied && request.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback())
}
