//! Signing in to accounts.

use crate::{
    api::{ApiJson, Example, OptionalJson, routes},
    auth::Who,
    error::ApiError,
    gateway::Gateway,
};
use actix_web::web;
use goclaw_core::oauth::{QuotaEnvelope, SignIn, SignInStatus, SignedIn, Started};
use goclaw_ports::{Error, ErrorKind};
use paperclip::actix::api_v2_operation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The provider of the short paths.
const CODEX: &str = "openai-codex";

pub(crate) const EXAMPLES: &[Example] = &[
    Example { operation: "oauth_status", request: "", response: r#"{"authenticated":true,"provider_name":"openai-codex"}"# },
    Example {
        operation: "oauth_start",
        request: "{}",
        response: r#"{"auth_url":"https://auth.openai.com/oauth/authorize?...","provider_name":"openai-codex"}"#,
    },
    Example {
        operation: "oauth_callback",
        request: r#"{"redirect_url":"http://localhost:1455/auth/callback?code=...&state=..."}"#,
        response: r#"{"authenticated":true,"provider_name":"openai-codex","provider_id":"0193a5b0-7000-7000-8000-00000000000a"}"#,
    },
    Example { operation: "oauth_logout", request: "", response: r#"{"status":"logged out"}"# },
];

routes! {
    "/v1/auth" {
        "/chatgpt/{provider}/status" { get => status, Admin; }
        "/chatgpt/{provider}/quota" { get => quota, Admin; }
        "/chatgpt/{provider}/start" { post => start, Admin; }
        "/chatgpt/{provider}/callback" { post => callback, Admin; }
        "/chatgpt/{provider}/logout" { post => logout, Admin; }
        "/openai/status" { get => codex_status, Admin; }
        "/openai/quota" { get => codex_quota, Admin; }
        "/openai/start" { post => codex_start, Admin; }
        "/openai/callback" { post => codex_callback, Admin; }
        "/openai/logout" { post => codex_logout, Admin; }
    }
}

/// Where the browser was sent to.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CallbackRequest {
    /// The whole address; required.
    redirect_url: Option<String>,
}

/// What was done.
#[derive(Serialize, JsonSchema)]
pub struct LoggedOut {
    /// Always `logged out`.
    status: &'static str,
}

/// Whether somebody is signed in to an account
///
/// Gets a new token if the old one is about to expire.
#[api_v2_operation(tags("Providers"), operation_id = "oauth_status")]
async fn status(who: Who, provider: web::Path<String>, gateway: web::Data<Gateway>) -> Result<ApiJson<SignInStatus>, ApiError> {
    Ok(ApiJson(gateway.core.oauth.status(&who, &provider).await?))
}

/// What is left of an account
///
/// What the vendor answers is never an error: the answer then says why nobody knows.
#[api_v2_operation(tags("Providers"), operation_id = "oauth_quota")]
async fn quota(who: Who, provider: web::Path<String>, gateway: web::Data<Gateway>) -> Result<ApiJson<QuotaEnvelope>, ApiError> {
    quota_of(&who, &provider, &gateway).await
}

async fn quota_of(who: &Who, provider: &str, gateway: &Gateway) -> Result<ApiJson<QuotaEnvelope>, ApiError> {
    let named = |error: Error| match error.kind {
        ErrorKind::NotFound => ApiError::Named(error, "provider_not_found"),
        ErrorKind::AlreadyExists => ApiError::Named(error, "provider_type_conflict"),
        _ => error.into(),
    };
    gateway.core.oauth.quota(who, provider).await.map(ApiJson).map_err(named)
}

/// Begin to sign in to an account
///
/// Open `auth_url` in a browser. If it comes back to this machine, that ends the sign-in; else send the address it was sent to with
/// `callback`. The same user gets the same address again until the sign-in ends or six minutes have passed.
#[api_v2_operation(tags("Providers"), operation_id = "oauth_start")]
async fn start(who: Who, provider: web::Path<String>, body: OptionalJson<SignIn>, gateway: web::Data<Gateway>) -> Result<ApiJson<Started>, ApiError> {
    Ok(ApiJson(gateway.core.oauth.start(&who, &provider, body.0).await?))
}

/// End a sign-in
///
/// With the address that the browser was sent to. After a failure the sign-in goes on.
#[api_v2_operation(tags("Providers"), operation_id = "oauth_callback")]
async fn callback(who: Who, provider: web::Path<String>, body: ApiJson<CallbackRequest>, gateway: web::Data<Gateway>) -> Result<ApiJson<SignedIn>, ApiError> {
    Ok(ApiJson(gateway.core.oauth.callback(&who, &provider, body.0.redirect_url.as_deref().unwrap_or_default()).await?))
}

/// Sign out of an account
///
/// Deletes its provider and its tokens. Succeeds if nobody is signed in.
#[api_v2_operation(tags("Providers"), operation_id = "oauth_logout")]
async fn logout(who: Who, provider: web::Path<String>, gateway: web::Data<Gateway>) -> Result<ApiJson<LoggedOut>, ApiError> {
    logout_of(&who, &provider, &gateway).await
}

async fn logout_of(who: &Who, provider: &str, gateway: &Gateway) -> Result<ApiJson<LoggedOut>, ApiError> {
    gateway.core.oauth.logout(who, provider).await?;
    Ok(ApiJson(LoggedOut { status: "logged out" }))
}

/// Whether somebody is signed in to the account `openai-codex`
#[api_v2_operation(tags("Providers"), operation_id = "oauth_openai_status")]
async fn codex_status(who: Who, gateway: web::Data<Gateway>) -> Result<ApiJson<SignInStatus>, ApiError> {
    Ok(ApiJson(gateway.core.oauth.status(&who, CODEX).await?))
}

/// What is left of the account `openai-codex`
#[api_v2_operation(tags("Providers"), operation_id = "oauth_openai_quota")]
async fn codex_quota(who: Who, gateway: web::Data<Gateway>) -> Result<ApiJson<QuotaEnvelope>, ApiError> {
    quota_of(&who, CODEX, &gateway).await
}

/// Begin to sign in to the account `openai-codex`
#[api_v2_operation(tags("Providers"), operation_id = "oauth_openai_start")]
async fn codex_start(who: Who, body: OptionalJson<SignIn>, gateway: web::Data<Gateway>) -> Result<ApiJson<Started>, ApiError> {
    Ok(ApiJson(gateway.core.oauth.start(&who, CODEX, body.0).await?))
}

/// End a sign-in to the account `openai-codex`
#[api_v2_operation(tags("Providers"), operation_id = "oauth_openai_callback")]
async fn codex_callback(who: Who, body: ApiJson<CallbackRequest>, gateway: web::Data<Gateway>) -> Result<ApiJson<SignedIn>, ApiError> {
    Ok(ApiJson(gateway.core.oauth.callback(&who, CODEX, body.0.redirect_url.as_deref().unwrap_or_default()).await?))
}

/// Sign out of the account `openai-codex`
#[api_v2_operation(tags("Providers"), operation_id = "oauth_openai_logout")]
async fn codex_logout(who: Who, gateway: web::Data<Gateway>) -> Result<ApiJson<LoggedOut>, ApiError> {
    logout_of(&who, CODEX, &gateway).await
}
