//! LLM providers.

use crate::{
    api::{ApiJson, ApiQuery, Created, Example, OptionalJson, SMALL_JSON_LIMIT, number, routes},
    auth::Who,
    error::ApiError,
    gateway::Gateway,
};
use actix_web::web;
use goclaw_core::{
    pools::ProviderPoolActivity,
    providers::{CliLogin, EmbeddingStatus, EmbeddingTrial, EmbeddingVerification, NewProvider, ProviderModels, ProviderUpdate, ProviderView, Verification},
};
use paperclip::actix::api_v2_operation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) const EXAMPLES: &[Example] = &[
    Example { operation: "providers_create", request: r#"{"name":"main","provider_type":"anthropic_native","api_key":"sk-...","enabled":true}"#, response: "" },
    Example { operation: "providers_update", request: r#"{"enabled":false}"#, response: r#"{"status":"updated"}"# },
    Example { operation: "providers_delete", request: "", response: r#"{"status":"deleted"}"# },
    Example {
        operation: "providers_claude_login",
        request: "",
        response: r#"{"logged_in":true,"email":"ann@example.com","subscription_type":"max","in_docker":false}"#,
    },
    Example { operation: "providers_verify", request: r#"{"model":"claude-sonnet-4-5"}"#, response: r#"{"valid":true}"# },
    Example { operation: "providers_verify_embedding", request: r#"{"model":"text-embedding-3-small"}"#, response: r#"{"valid":true,"dimensions":1536}"# },
];

routes! {
    "/v1/providers" {
        "" {
            get => list, Admin;
            post => create, Admin;
        }
        // Before the ids, whose place its first part could take.
        "/claude-cli/auth-status" { get => claude_login, Admin; }
        "/{id}" {
            get => find, Admin;
            put => update, Admin;
            delete => remove, Admin;
        }
        "/{id}/models" { get => models, Admin; }
        "/{id}/verify" { post => verify, Admin; }
        "/{id}/codex-pool-activity" { get => pool_activity, Admin; }
        "/{id}/verify-embedding" { post => verify_embedding, Admin; }
    }
}

/// Where texts become vectors.
pub(crate) mod embedding {
    use super::*;

    pub(crate) const EXAMPLES: &[Example] = &[Example {
        operation: "embedding_status",
        request: "",
        response: r#"{"configured":true,"provider":"Main","provider_name":"main","model":"text-embedding-3-small"}"#,
    }];

    routes! {
        "/v1/embedding" {
            "/status" { get => status, Admin; }
        }
    }

    /// Say which provider makes vectors
    ///
    /// The one that the tenant's values name (`embedding.provider`), else the first that is meant for it in its settings.
    #[api_v2_operation(tags("Providers"), operation_id = "embedding_status")]
    async fn status(who: Who, gateway: web::Data<Gateway>) -> Result<ApiJson<EmbeddingStatus>, ApiError> {
        Ok(ApiJson(gateway.core.providers.embedding_status(&who).await?))
    }
}

/// Providers.
#[derive(Serialize, JsonSchema)]
pub struct ProviderList {
    /// By name.
    providers: Vec<ProviderView>,
}

/// What was done.
#[derive(Serialize, JsonSchema)]
pub struct Outcome {
    /// Always `updated`.
    status: &'static str,
}

/// What was deleted.
#[derive(Serialize, JsonSchema)]
pub struct Deleted {
    /// Always `deleted`.
    status: &'static str,
    /// The owners of pools that still list it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    listed_by: Vec<String>,
}

/// How many calls to show.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PoolQuery {
    /// 1 to 50, else 18.
    #[serde(deserialize_with = "number")]
    limit: Option<i64>,
}

impl PoolQuery {
    /// The limit that holds.
    pub(crate) fn limit(&self) -> usize {
        self.limit.filter(|limit| (1..=50).contains(limit)).and_then(|limit| usize::try_from(limit).ok()).unwrap_or(18)
    }
}

/// Which model to try.
#[derive(Deserialize, JsonSchema)]
pub struct VerifyRequest {
    /// The model's id; required.
    #[serde(default)]
    model: Option<String>,
}

/// List providers
///
/// By name, with masked keys.
#[api_v2_operation(tags("Providers"), operation_id = "providers_list")]
async fn list(who: Who, gateway: web::Data<Gateway>) -> Result<ApiJson<ProviderList>, ApiError> {
    Ok(ApiJson(ProviderList { providers: gateway.core.providers.list(&who).await? }))
}

/// Create a provider
///
/// A provider of the same name is replaced and keeps its id. It is used only if `enabled` is true.
#[api_v2_operation(tags("Providers"), operation_id = "providers_create")]
async fn create(who: Who, body: ApiJson<NewProvider>, gateway: web::Data<Gateway>) -> Result<Created<ProviderView>, ApiError> {
    Ok(Created(gateway.core.providers.create(&who, body.0).await?))
}

/// Get a provider
#[api_v2_operation(tags("Providers"), operation_id = "providers_get")]
async fn find(who: Who, id: web::Path<String>, gateway: web::Data<Gateway>) -> Result<ApiJson<ProviderView>, ApiError> {
    Ok(ApiJson(gateway.core.providers.get(&who, &id).await?))
}

/// Change a provider
///
/// An `api_key` of `***` or an empty one leaves the stored key as it is; `settings` are replaced as a whole.
#[api_v2_operation(tags("Providers"), operation_id = "providers_update")]
async fn update(who: Who, id: web::Path<String>, body: ApiJson<ProviderUpdate>, gateway: web::Data<Gateway>) -> Result<ApiJson<Outcome>, ApiError> {
    gateway.core.providers.update(&who, &id, body.0).await?;
    Ok(ApiJson(Outcome { status: "updated" }))
}

/// Delete a provider
///
/// Deleting one that is not there succeeds.
#[api_v2_operation(tags("Providers"), operation_id = "providers_delete")]
async fn remove(who: Who, id: web::Path<String>, gateway: web::Data<Gateway>) -> Result<ApiJson<Deleted>, ApiError> {
    let listed_by = gateway.core.providers.delete(&who, &id).await?;
    Ok(ApiJson(Deleted { status: "deleted", listed_by }))
}

/// See who is logged in at Claude's command line
///
/// Asks the program of the tenant's first provider of that type, else the configured one; it has 10 seconds.
#[api_v2_operation(tags("Providers"), operation_id = "providers_claude_login")]
async fn claude_login(who: Who, gateway: web::Data<Gateway>) -> Result<ApiJson<CliLogin>, ApiError> {
    Ok(ApiJson(gateway.core.providers.claude_login(&who).await?))
}

/// List a provider's models
///
/// Empty if the provider cannot be asked.
#[api_v2_operation(tags("Providers"), operation_id = "providers_models")]
async fn models(who: Who, id: web::Path<String>, gateway: web::Data<Gateway>) -> Result<ApiJson<ProviderModels>, ApiError> {
    Ok(ApiJson(gateway.core.providers.models(&who, &id).await?))
}

/// Try a model
///
/// Sends the model one short message.
#[api_v2_operation(tags("Providers"), operation_id = "providers_verify")]
async fn verify(
    who: Who,
    id: web::Path<String>,
    body: ApiJson<VerifyRequest, SMALL_JSON_LIMIT>,
    gateway: web::Data<Gateway>,
) -> Result<ApiJson<Verification>, ApiError> {
    let model = body.0.model.unwrap_or_default();
    Ok(ApiJson(gateway.core.providers.verify(&who, &id, &model).await?))
}

/// How a provider's pool has fared
///
/// Over the calls of the last week. Empty for a provider that is no ChatGPT account.
#[api_v2_operation(tags("Providers"), operation_id = "providers_pool_activity")]
async fn pool_activity(
    who: Who,
    id: web::Path<String>,
    query: ApiQuery<PoolQuery>,
    gateway: web::Data<Gateway>,
) -> Result<ApiJson<ProviderPoolActivity>, ApiError> {
    Ok(ApiJson(gateway.core.pools.of_provider(&who, &id, query.limit()).await?))
}

/// Try whether a provider makes vectors
///
/// Has it turn one word into a vector. The body may be left out.
#[api_v2_operation(tags("Providers"), operation_id = "providers_verify_embedding")]
async fn verify_embedding(
    who: Who,
    id: web::Path<String>,
    body: OptionalJson<EmbeddingTrial>,
    gateway: web::Data<Gateway>,
) -> Result<ApiJson<EmbeddingVerification>, ApiError> {
    Ok(ApiJson(gateway.core.providers.verify_embedding(&who, &id, body.0).await?))
}
