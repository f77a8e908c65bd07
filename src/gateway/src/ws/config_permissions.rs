//! `config.permissions.*`.

use super::{frame::payload, methods::Call};
use goclaw_core::config_permissions::RuleParams;
use goclaw_ports::{Result, config_permissions::ConfigPermission};
use serde::{Deserialize, Serialize};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ListParams {
    agent_id: String,
    config_type: String,
}

#[derive(Serialize)]
struct Done {
    ok: bool,
}

#[derive(Serialize)]
struct Rules {
    permissions: Vec<ConfigPermission>,
}

/// `config.permissions.list`: the rules of an agent.
pub(super) async fn list(call: Call) -> Result<String> {
    let ListParams { agent_id, config_type } = call.params.lenient();
    payload(&Rules { permissions: call.gateway.core.config_permissions.list(&call.caller, &agent_id, &config_type).await? })
}

/// `config.permissions.grant`: makes or changes a rule.
pub(super) async fn grant(call: Call) -> Result<String> {
    let params: RuleParams = call.params.strict()?;
    call.gateway.core.config_permissions.grant(&call.caller, params).await?;
    payload(&Done { ok: true })
}

/// `config.permissions.revoke`: removes a rule.
pub(super) async fn revoke(call: Call) -> Result<String> {
    let params: RuleParams = call.params.strict()?;
    call.gateway.core.config_permissions.revoke(&call.caller, params).await?;
    payload(&Done { ok: true })
}
