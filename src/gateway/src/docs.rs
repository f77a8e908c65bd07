//! `/docs`: Swagger UI, from the binary.

use crate::api::{routes, typed};
use actix_web::{
    HttpRequest, HttpResponse, Responder,
    body::BoxBody,
    http::header::{self, HeaderValue},
    middleware::Compress,
    web,
};
use paperclip::{
    actix::{OperationModifier, api_v2_operation},
    v2::{models::DefaultOperationRaw, schema::Apiv2Schema},
};

/// Nothing but our own files, and no frame around them.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

routes! {
    "/docs" {
        "" { get => page, Public; }
    }
}

/// Serves the page and its files.
pub(crate) fn configure(config: &mut web::ServiceConfig) {
    config.service(
        scope().service(web::resource("/").route(web::get().to(page))).service(web::resource("/{file}").route(web::get().to(file))).wrap(Compress::default()),
    );
}

/// A page that shows this document.
pub struct Page;

impl Apiv2Schema for Page {}

impl OperationModifier for Page {
    fn update_response(operation: &mut DefaultOperationRaw) {
        typed(operation, "text/html", "An HTML page");
    }
}

impl Responder for Page {
    type Body = BoxBody;
    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
            .insert_header((header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)))
            .insert_header((header::CACHE_CONTROL, "no-cache"))
            .body(include_str!("../assets/swagger-ui/index.html"))
    }
}

/// Browse this API
///
/// Swagger UI, served from the binary; it loads `/v1/openapi.json`.
#[api_v2_operation(tags("Platform"), operation_id = "docs")]
async fn page() -> Page {
    Page
}

async fn file(name: web::Path<String>) -> Result<HttpResponse, crate::error::ApiError> {
    let (media_type, text) = match name.as_str() {
        "swagger-ui-bundle.js" => ("text/javascript", include_str!("../assets/swagger-ui/swagger-ui-bundle.js")),
        "swagger-ui.css" => ("text/css", include_str!("../assets/swagger-ui/swagger-ui.css")),
        "init.js" => ("text/javascript", include_str!("../assets/swagger-ui/init.js")),
        _ => return Err(crate::error::ApiError::NoSuchPath),
    };
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, format!("{media_type}; charset=utf-8")))
        .insert_header((header::CACHE_CONTROL, "public, max-age=86400"))
        .body(text))
}
