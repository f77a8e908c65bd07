//! `tenants.*`.

use super::{frame::payload, methods::Call};
use crate::http::{
    agents::CHANGED,
    tenants::{MemberList, TenantList},
};
use goclaw_core::tenants::{NewMember, NewTenant, TenantEntry, TenantUpdate};
use goclaw_ports::Result;
use serde::{Deserialize, Serialize};

#[derive(Default, Deserialize)]
#[serde(default)]
struct IdParams {
    id: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct UpdateParams {
    id: String,
    #[serde(flatten)]
    update: TenantUpdate,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TenantParams {
    tenant_id: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AddParams {
    tenant_id: String,
    #[serde(flatten)]
    member: NewMember,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RemoveParams {
    tenant_id: String,
    user_id: String,
}

#[derive(Serialize)]
struct Entries {
    tenants: Vec<TenantEntry>,
}

/// `tenants.list`: all tenants.
pub(super) async fn list(call: Call) -> Result<String> {
    payload(&TenantList { tenants: call.gateway.core.tenants.list(&call.caller).await? })
}

/// `tenants.get`: one tenant.
pub(super) async fn get(call: Call) -> Result<String> {
    let IdParams { id } = call.params.strict()?;
    payload(&call.gateway.core.tenants.get(&call.caller, &id).await?)
}

/// `tenants.create`: makes a tenant.
pub(super) async fn create(call: Call) -> Result<String> {
    let new: NewTenant = call.params.strict()?;
    payload(&call.gateway.core.tenants.provision(&call.caller, new).await?)
}

/// `tenants.update`: changes a tenant.
pub(super) async fn update(call: Call) -> Result<String> {
    let UpdateParams { id, update } = call.params.strict()?;
    call.gateway.core.tenants.update(&call.caller, &id, update).await?;
    payload(&CHANGED.0)
}

/// `tenants.users.list`: the members of a tenant.
pub(super) async fn members(call: Call) -> Result<String> {
    let TenantParams { tenant_id } = call.params.strict()?;
    payload(&MemberList { users: call.gateway.core.tenants.members(&call.caller, &tenant_id).await? })
}

/// `tenants.users.add`: makes somebody a member of a tenant, or gives a member another role.
pub(super) async fn add_member(call: Call) -> Result<String> {
    let AddParams { tenant_id, member } = call.params.strict()?;
    call.gateway.core.tenants.provision_member(&call.caller, &tenant_id, member).await?;
    payload(&CHANGED.0)
}

/// `tenants.users.remove`: ends a membership.
pub(super) async fn remove_member(call: Call) -> Result<String> {
    let RemoveParams { tenant_id, user_id } = call.params.strict()?;
    call.gateway.core.tenants.remove_member(&call.caller, &tenant_id, &user_id).await?;
    payload(&CHANGED.0)
}

/// `tenants.mine`: the tenants that the caller can enter.
pub(super) async fn mine(call: Call) -> Result<String> {
    payload(&Entries { tenants: call.gateway.core.tenants.mine(&call.caller).await? })
}
