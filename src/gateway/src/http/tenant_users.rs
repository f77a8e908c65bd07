//! The members of the caller's own tenant.

use crate::{
    api::{ApiJson, routes},
    auth::Who,
    error::ApiError,
    gateway::Gateway,
    http::tenants::MemberList,
};
use actix_web::web;
use paperclip::actix::api_v2_operation;

routes! {
    "/v1/tenant-users" {
        "" { get => list, Viewer; }
    }
}

/// List members of the own tenant
///
/// Oldest membership first.
#[api_v2_operation(tags("Tenants"), operation_id = "tenant_users_list")]
async fn list(who: Who, gateway: web::Data<Gateway>) -> Result<ApiJson<MemberList>, ApiError> {
    Ok(ApiJson(MemberList { users: gateway.core.tenants.own_members(&who).await? }))
}
