//! A tenant's configuration values.

use crate::{
    api::{ApiJson, Example, NoContent, Pattern, SMALL_JSON_LIMIT, routes},
    auth::Who,
    error::ApiError,
    gateway::Gateway,
};
use actix_web::web;
use paperclip::actix::api_v2_operation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub(crate) const EXAMPLES: &[Example] = &[
    Example { operation: "system_configs_list", request: "", response: r#"{"agent.default_model":"claude-sonnet-4-5","gateway.rate_limit_rpm":"20"}"# },
    Example { operation: "system_configs_get", request: "", response: r#"{"key":"agent.default_model","value":"claude-sonnet-4-5"}"# },
    Example {
        operation: "system_configs_set",
        request: r#"{"value":"claude-sonnet-4-5"}"#,
        response: r#"{"key":"agent.default_model","value":"claude-sonnet-4-5"}"#,
    },
];

routes! {
    "/v1/system-configs" {
        "" { get => list, Viewer; }
        "/{key}" {
            get => find, Viewer;
            put => set, Admin;
            delete => remove, Admin;
        }
    }
}

/// Serves the routes. A key with a slash is a bad key, not another path.
pub(crate) fn configure(config: &mut web::ServiceConfig) {
    let slashed = web::resource("/{key:.+}").app_data(Pattern("/v1/system-configs/{key}"));
    config.service(scope().service(slashed.route(web::get().to(find)).route(web::put().to(set)).route(web::delete().to(remove))));
}

/// Configuration values, by key.
#[derive(Serialize, JsonSchema)]
#[serde(transparent)]
pub struct SystemConfigs(BTreeMap<String, String>);

/// A configuration value.
#[derive(Serialize, JsonSchema)]
pub struct SystemConfig {
    /// Which.
    key: String,
    /// Plain text.
    value: String,
}

/// A new configuration value.
#[derive(Deserialize, JsonSchema)]
pub struct NewSystemConfig {
    /// Plain text; "" is kept, and counts as unset. Never a secret.
    value: String,
}

/// List configuration values
///
/// The tenant's own, and for each key that the gateway knows and the tenant has not set the value that holds from above: the master
/// tenant's, else the configuration's.
#[api_v2_operation(tags("System configs"), operation_id = "system_configs_list")]
async fn list(who: Who, gateway: web::Data<Gateway>) -> Result<ApiJson<SystemConfigs>, ApiError> {
    Ok(ApiJson(SystemConfigs(gateway.core.system_configs.list(&who).await?)))
}

/// Get a configuration value
///
/// The tenant's own, else the one that holds from above.
#[api_v2_operation(tags("System configs"), operation_id = "system_configs_get")]
async fn find(who: Who, key: web::Path<String>, gateway: web::Data<Gateway>) -> Result<ApiJson<SystemConfig>, ApiError> {
    let value = gateway.core.system_configs.get(&who, &key).await?;
    Ok(ApiJson(SystemConfig { key: key.into_inner(), value }))
}

/// Set a configuration value
///
/// For the caller's tenant only; it holds for new work at once. A key is 1 to 100 letters, digits, dots, underscores or hyphens; keys that
/// the gateway does not know are kept as well. The body is at most 64 KiB.
#[api_v2_operation(tags("System configs"), operation_id = "system_configs_set")]
async fn set(
    who: Who,
    key: web::Path<String>,
    body: ApiJson<NewSystemConfig, SMALL_JSON_LIMIT>,
    gateway: web::Data<Gateway>,
) -> Result<ApiJson<SystemConfig>, ApiError> {
    gateway.core.system_configs.set(&who, &key, &body.0.value).await?;
    Ok(ApiJson(SystemConfig { key: key.into_inner(), value: body.0.value }))
}

/// Remove a configuration value
///
/// The tenant's own; the value from above holds again. Removing what is not there is no error.
#[api_v2_operation(tags("System configs"), operation_id = "system_configs_delete")]
async fn remove(who: Who, key: web::Path<String>, gateway: web::Data<Gateway>) -> Result<NoContent, ApiError> {
    gateway.core.system_configs.delete(&who, &key).await?;
    Ok(NoContent)
}
