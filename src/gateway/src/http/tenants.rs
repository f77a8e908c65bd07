//! Tenants and their members, for the installation's owners.

use crate::{
    api::{ApiJson, Created, Example, SMALL_JSON_LIMIT, routes},
    auth::Who,
    error::ApiError,
    gateway::Gateway,
    http::agents::{CHANGED, Changed},
};
use actix_web::web;
use goclaw_core::tenants::{CreatedTenant, NewMember, NewTenant, TenantUpdate};
use goclaw_ports::tenants::{Member, Tenant};
use paperclip::actix::api_v2_operation;
use schemars::JsonSchema;
use serde::Serialize;

pub(crate) const EXAMPLES: &[Example] = &[
    Example { operation: "tenants_create", request: r#"{"name":"Acme Corporation","slug":"acme"}"#, response: "" },
    Example { operation: "tenants_update", request: r#"{"status":"suspended"}"#, response: r#"{"ok":"true"}"# },
    Example { operation: "tenants_users_add", request: r#"{"user_id":"mai@example.com","role":"operator"}"#, response: r#"{"ok":"true"}"# },
    Example { operation: "tenants_users_remove", request: "", response: r#"{"ok":"true"}"# },
];

routes! {
    "/v1/tenants" {
        "" {
            get => list, Owner;
            post => create, Owner;
        }
        "/{id}" {
            get => find, Owner;
            patch => update, Owner;
        }
        "/{id}/users" {
            get => members, Owner;
            post => add_member, Owner;
        }
        "/{id}/users/{userId}" { delete => remove_member, Owner; }
    }
}

/// Tenants.
#[derive(Serialize, JsonSchema)]
pub struct TenantList {
    /// Oldest first.
    pub(crate) tenants: Vec<Tenant>,
}

/// Members of a tenant.
#[derive(Serialize, JsonSchema)]
pub struct MemberList {
    /// Oldest membership first.
    pub(crate) users: Vec<Member>,
}

/// List tenants
///
/// Oldest first.
#[api_v2_operation(tags("Tenants"), operation_id = "tenants_list")]
async fn list(who: Who, gateway: web::Data<Gateway>) -> Result<ApiJson<TenantList>, ApiError> {
    Ok(ApiJson(TenantList { tenants: gateway.core.tenants.list(&who).await? }))
}

/// Create a tenant
///
/// It is active at once. Its slug names it in headers and directories, and never changes.
#[api_v2_operation(tags("Tenants"), operation_id = "tenants_create")]
async fn create(who: Who, body: ApiJson<NewTenant>, gateway: web::Data<Gateway>) -> Result<Created<CreatedTenant>, ApiError> {
    Ok(Created(gateway.core.tenants.create(&who, body.0).await?))
}

/// Get a tenant
///
/// By id.
#[api_v2_operation(tags("Tenants"), operation_id = "tenants_get")]
async fn find(who: Who, id: web::Path<String>, gateway: web::Data<Gateway>) -> Result<ApiJson<Tenant>, ApiError> {
    Ok(ApiJson(gateway.core.tenants.get(&who, &id).await?))
}

/// Change a tenant
///
/// By id. What is absent or "" stays as it is; `settings` are replaced as a whole. A tenant that is `suspended` or `archived` is
/// open to owners only.
#[api_v2_operation(tags("Tenants"), operation_id = "tenants_update")]
async fn update(who: Who, id: web::Path<String>, body: ApiJson<TenantUpdate>, gateway: web::Data<Gateway>) -> Result<ApiJson<Changed>, ApiError> {
    gateway.core.tenants.update(&who, &id, body.0).await?;
    Ok(CHANGED)
}

/// List a tenant's members
///
/// Oldest membership first.
#[api_v2_operation(tags("Tenants"), operation_id = "tenants_users_list")]
async fn members(who: Who, id: web::Path<String>, gateway: web::Data<Gateway>) -> Result<ApiJson<MemberList>, ApiError> {
    Ok(ApiJson(MemberList { users: gateway.core.tenants.members(&who, &id).await? }))
}

/// Add a member
///
/// Somebody who is a member already gets the role. The role decides about the tenant's own settings, not about what a request
/// may do.
#[api_v2_operation(tags("Tenants"), operation_id = "tenants_users_add")]
async fn add_member(
    who: Who,
    id: web::Path<String>,
    body: ApiJson<NewMember, SMALL_JSON_LIMIT>,
    gateway: web::Data<Gateway>,
) -> Result<Created<Changed>, ApiError> {
    gateway.core.tenants.add_member(&who, &id, body.0).await?;
    Ok(Created(CHANGED.0))
}

/// Remove a member
///
/// There being no such member is not an error. The user's WebSockets in the tenant get the event `tenant.access.revoked`.
#[api_v2_operation(tags("Tenants"), operation_id = "tenants_users_remove")]
async fn remove_member(who: Who, path: web::Path<(String, String)>, gateway: web::Data<Gateway>) -> Result<ApiJson<Changed>, ApiError> {
    let (id, user) = path.into_inner();
    gateway.core.tenants.remove_member(&who, &id, &user).await?;
    Ok(CHANGED)
}
