//! Whether the process lives.

use crate::api::{ApiJson, Example, Pattern, routes};
use actix_web::{guard, web};
use paperclip::actix::api_v2_operation;
use schemars::JsonSchema;
use serde::Serialize;

/// The version of the WebSocket protocol.
pub(crate) const PROTOCOL: u32 = 3;

pub(crate) const EXAMPLES: &[Example] = &[Example { operation: "health", request: "", response: r#"{"status":"ok","protocol":3}"# }];

routes! {
    "/health" {
        "" { get => alive, Public; }
    }
}

/// The liveness probe's answer.
#[derive(Serialize, JsonSchema)]
pub struct Alive {
    /// `ok`.
    status: &'static str,
    /// The version of the WebSocket protocol.
    protocol: u32,
}

/// Serves `/health` for any verb: probes use all of them.
pub(crate) fn configure(config: &mut web::ServiceConfig) {
    let others = web::resource("/health").guard(guard::Not(guard::Get())).app_data(Pattern("/health")).to(alive);
    config.service(others).service(scope());
}

/// Liveness
///
/// Answers as long as the process does; touches no database.
#[api_v2_operation(tags("Platform"), operation_id = "health")]
async fn alive() -> ApiJson<Alive> {
    ApiJson(Alive { status: "ok", protocol: PROTOCOL })
}
