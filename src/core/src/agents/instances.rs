//! An agent's users, and what it keeps for each of them.

use super::{Agents, shares::MAX_USER};
use crate::{
    caller::{Access, Caller},
    context_files::USER,
};
use chrono::{DateTime, SecondsFormat, Utc};
use goclaw_ports::{
    AgentId, Error, Result,
    agents::{ContextFile, UserInstance},
    message,
    roles::Role,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A user of an agent.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct InstanceView {
    /// The user; `group:<channel>:<chat>` for a group.
    pub user_id: String,
    /// When the user first wrote.
    pub first_seen_at: String,
    /// When the user last wrote.
    pub last_seen_at: String,
    /// How many context files the user has.
    pub file_count: i64,
    /// What else is known of the user.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

/// A context file of a user.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct InstanceFile {
    /// The agent.
    pub agent_id: AgentId,
    /// The user.
    pub user_id: String,
    /// The file's name.
    pub file_name: String,
    /// Its text.
    pub content: String,
}

fn seconds(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

impl From<UserInstance> for InstanceView {
    fn from(user: UserInstance) -> Self {
        Self {
            user_id: user.user_id,
            first_seen_at: seconds(user.first_seen_at),
            last_seen_at: seconds(user.last_seen_at),
            file_count: user.file_count,
            metadata: user.metadata,
        }
    }
}

impl Agents {
    /// The agent's users, those first who wrote last. Only its owner may ask.
    ///
    /// # Errors
    /// `Invalid` for a bad id, `NotFound`, `Forbidden`.
    pub async fn instances(&self, caller: &Caller, id: &str) -> Result<Vec<InstanceView>> {
        caller.require(Role::Viewer, Access::Read, "/v1/agents/{id}/instances")?;
        let agent = self.owned(caller, id, "see the users of").await?;
        Ok(self.store.instances(caller.tenant, agent.id).await?.into_iter().map(InstanceView::from).collect())
    }

    /// A user's context files, by name; none for an unknown user. Only the agent's owner may ask.
    ///
    /// # Errors
    /// `Invalid` for a bad id, `NotFound`, `Forbidden`.
    pub async fn instance_files(&self, caller: &Caller, id: &str, user: &str) -> Result<Vec<InstanceFile>> {
        caller.require(Role::Viewer, Access::Read, "/v1/agents/{id}/instances/{userID}/files")?;
        let agent = self.owned(caller, id, "see the users of").await?;
        let files = self.store.user_files(caller.tenant, agent.id, user).await?;
        let of_user = |file: ContextFile| InstanceFile { agent_id: agent.id, user_id: user.to_owned(), file_name: file.name, content: file.content };
        Ok(files.into_iter().map(of_user).collect())
    }

    /// One of a user's context files. Only the agent's owner may ask.
    ///
    /// # Errors
    /// `Invalid` for a bad id, `NotFound`, `Forbidden`.
    pub async fn instance_file(&self, caller: &Caller, id: &str, user: &str, name: &str) -> Result<InstanceFile> {
        let files = self.instance_files(caller, id, user).await?;
        files.into_iter().find(|file| file.file_name == name).ok_or_else(|| Error::not_found("file", name))
    }

    /// Stores a user's `USER.md`, the one file that is not only the user's to change. Only the agent's owner may.
    ///
    /// # Errors
    /// `Invalid` for a bad id, user or another file, `NotFound`, `Forbidden`.
    pub async fn set_instance_file(&self, caller: &Caller, id: &str, user: &str, name: &str, content: String) -> Result<()> {
        caller.require(Role::Admin, Access::Manage, "/v1/agents/{id}/instances/{userID}/files/{fileName}")?;
        let agent = self.owned(caller, id, "change the users of").await?;
        if name != USER {
            return Err(Error::invalid(message::not_one_of("fileName", USER)));
        }
        check_user(user)?;
        let file = ContextFile { name: name.to_owned(), content };
        self.store.put_instance_file(caller.tenant, agent.id, user, &file, self.clock.now()).await?;
        let details = json!({"user_id": user, "file_name": name});
        self.audit.record(caller, "agent_instance.file_set", "agent_instance", agent.id, Some(details)).await;
        Ok(())
    }

    /// Puts entries into what is known of a user, over those of the same names. Only the agent's owner may.
    ///
    /// # Errors
    /// `Invalid` for a bad id or no entries, `NotFound` for an unknown agent or user, `Forbidden`.
    pub async fn set_instance_metadata(&self, caller: &Caller, id: &str, user: &str, metadata: BTreeMap<String, String>) -> Result<()> {
        caller.require(Role::Admin, Access::Manage, "/v1/agents/{id}/instances/{userID}/metadata")?;
        let agent = self.owned(caller, id, "change the users of").await?;
        if metadata.is_empty() {
            return Err(Error::required("metadata"));
        }
        let keys: Vec<String> = metadata.keys().cloned().collect();
        let metadata = metadata.into_iter().map(|(key, value)| (key, Value::from(value))).collect();
        if !self.store.merge_metadata(caller.tenant, agent.id, user, &metadata).await? {
            return Err(Error::not_found("user", user));
        }
        let details = json!({"user_id": user, "keys": keys});
        self.audit.record(caller, "agent_instance.metadata_updated", "agent_instance", agent.id, Some(details)).await;
        Ok(())
    }
}

fn check_user(user: &str) -> Result<()> {
    if user.is_empty() {
        return Err(Error::required("userID"));
    }
    if user.len() > MAX_USER { Err(Error::invalid(message::too_long("userID", MAX_USER))) } else { Ok(()) }
}
