//! Who else may use an agent.

use super::Agents;
use crate::caller::{Access, Caller};
use goclaw_ports::{Error, Result, agents::AgentShare, message, roles::Role};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

/// The roles that a share may have. All of them give access, and nothing else.
const ROLES: [&str; 4] = ["user", "viewer", "operator", "admin"];
/// The longest user id, in bytes.
pub(crate) const MAX_USER: usize = 255;

/// With whom to share an agent.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NewShare {
    /// The user; at most 255 bytes.
    pub user_id: String,
    /// `user`, `viewer`, `operator` or `admin`; `user` if it is left out.
    pub role: Option<String>,
}

impl Agents {
    /// The users whom the agent is shared with, oldest share first. Only its owner may ask.
    ///
    /// # Errors
    /// `Invalid` for a bad id, `NotFound`, `Forbidden`.
    pub async fn shares(&self, caller: &Caller, id: &str) -> Result<Vec<AgentShare>> {
        caller.require(Role::Viewer, Access::Read, "/v1/agents/{id}/shares")?;
        let agent = self.owned(caller, id, "see the shares of").await?;
        self.store.shares(caller.tenant, agent.id).await
    }

    /// Shares the agent with a user, or gives the share another role. Only its owner may.
    ///
    /// # Errors
    /// `Invalid` for a bad id, user or role, `NotFound`, `Forbidden`.
    pub async fn share(&self, caller: &Caller, id: &str, new: NewShare) -> Result<()> {
        caller.require(Role::Admin, Access::Manage, "/v1/agents/{id}/shares")?;
        let agent = self.owned(caller, id, "share").await?;
        if new.user_id.is_empty() {
            return Err(Error::required("user_id"));
        }
        if new.user_id.len() > MAX_USER {
            return Err(Error::invalid(message::too_long("user_id", MAX_USER)));
        }
        let role = new.role.filter(|role| !role.is_empty()).unwrap_or_else(|| ROLES[0].to_owned());
        if !ROLES.contains(&role.as_str()) {
            return Err(Error::invalid(message::not_one_of("role", ROLES.join(", "))));
        }
        let now = self.clock.now();
        let share = AgentShare {
            id: self.ids.row(),
            created_at: now,
            updated_at: now,
            agent_id: agent.id,
            user_id: new.user_id,
            role,
            granted_by: caller.user.to_string(),
        };
        self.store.put_share(caller.tenant, &share).await?;
        let details = json!({"user_id": share.user_id, "role": share.role});
        self.audit.record(caller, "agent.shared", "agent", agent.id, Some(details)).await;
        Ok(())
    }

    /// Ends a share; there being none is not an error. Only the agent's owner may.
    ///
    /// # Errors
    /// `Invalid` for a bad id, `NotFound`, `Forbidden`.
    pub async fn unshare(&self, caller: &Caller, id: &str, user: &str) -> Result<()> {
        caller.require(Role::Admin, Access::Manage, "/v1/agents/{id}/shares/{userID}")?;
        let agent = self.owned(caller, id, "share").await?;
        if self.store.delete_share(caller.tenant, agent.id, user).await? {
            self.audit.record(caller, "agent.share_revoked", "agent", agent.id, Some(json!({"user_id": user}))).await;
        }
        Ok(())
    }
}
