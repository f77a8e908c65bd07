//! API keys.

use crate::{
    api::{ApiJson, Created, Example, SMALL_JSON_LIMIT, routes},
    auth::Who,
    error::ApiError,
    gateway::Gateway,
};
use actix_web::web;
use goclaw_core::api_keys::{ApiKeyView, CreatedApiKey, NewApiKey, Revoked};
use paperclip::actix::api_v2_operation;

pub(crate) const EXAMPLES: &[Example] = &[
    Example {
        operation: "api_keys_create",
        request: r#"{"name":"build server","scopes":["operator.read","operator.write"],"expires_in":2592000}"#,
        response: r#"{"id":"0193a5b0-7000-7000-8000-00000000000a","name":"build server","prefix":"goclaw_1f2e3d4c","key":"goclaw_1f2e3d4c5b6a79880123456789abcdef","scopes":["operator.read","operator.write"],"expires_at":"2026-01-31T00:00:00Z","created_at":"2026-01-01T00:00:00Z"}"#,
    },
    Example { operation: "api_keys_revoke", request: "", response: r#"{"status":"revoked"}"# },
    Example { operation: "api_keys_delete", request: "", response: r#"{"status":"revoked"}"# },
];

routes! {
    "/v1/api-keys" {
        "" {
            get => list, Admin;
            post => create, Admin;
        }
        "/{id}" { delete => remove, Admin; }
        "/{id}/revoke" { post => revoke, Admin; }
    }
}

/// List API keys
///
/// The keys of the caller's tenant, newest first, revoked and expired ones included. Owners see the system keys as well.
#[api_v2_operation(tags("API keys"), operation_id = "api_keys_list")]
async fn list(who: Who, gateway: web::Data<Gateway>) -> Result<ApiJson<Vec<ApiKeyView>>, ApiError> {
    Ok(ApiJson(gateway.core.api_keys.list(&who).await?))
}

/// Create an API key
///
/// The key is told in this answer only; the gateway keeps its SHA-256. Nobody can give scopes that they do not have. An owner
/// chooses the tenant, or makes a system key by naming none; a key of anybody else is for their own tenant.
#[api_v2_operation(tags("API keys"), operation_id = "api_keys_create")]
async fn create(who: Who, body: ApiJson<NewApiKey, SMALL_JSON_LIMIT>, gateway: web::Data<Gateway>) -> Result<Created<CreatedApiKey>, ApiError> {
    Ok(Created(gateway.core.api_keys.create(&who, body.0).await?))
}

/// Revoke an API key
///
/// It stops working at once, everywhere; open WebSockets that use it are closed. Revoking it again changes nothing.
#[api_v2_operation(tags("API keys"), operation_id = "api_keys_revoke")]
async fn revoke(who: Who, id: web::Path<String>, gateway: web::Data<Gateway>) -> Result<ApiJson<Revoked>, ApiError> {
    Ok(ApiJson(gateway.core.api_keys.revoke(&who, &id).await?))
}

/// Revoke an API key by DELETE
///
/// The same as `POST /v1/api-keys/{id}/revoke`: the key stays in the list, revoked.
#[api_v2_operation(tags("API keys"), operation_id = "api_keys_delete")]
async fn remove(who: Who, id: web::Path<String>, gateway: web::Data<Gateway>) -> Result<ApiJson<Revoked>, ApiError> {
    Ok(ApiJson(gateway.core.api_keys.revoke(&who, &id).await?))
}
