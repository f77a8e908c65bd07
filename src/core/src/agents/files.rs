//! The files that make an agent what it is for all its users.

use super::Agents;
use crate::caller::{Access, Caller};
use goclaw_ports::{
    Error, Result,
    agents::{Agent, ContextFile},
    message,
    roles::Role,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

/// The files that can be read and written, in the order of their list.
const FILES: [&str; 8] = ["AGENTS.md", "SOUL.md", "IDENTITY.md", "USER.md", "USER_PREDEFINED.md", "BOOTSTRAP.md", "MEMORY.json", "HEARTBEAT.md"];
/// The largest file, in bytes.
const MAX_FILE: usize = 1 << 20;

/// A file of an agent, or that there is none of this name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AgentFile {
    /// Its name.
    pub name: String,
    /// Whether there is none.
    pub missing: bool,
    /// How large it is, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// Its text, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

/// The files of an agent.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentFiles<F> {
    /// As it was asked for.
    pub agent_id: String,
    /// The files.
    #[serde(flatten)]
    pub files: F,
}

/// A file that is to be written.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct FileChange {
    /// The agent, by key or id.
    pub agent_id: String,
    /// The file.
    pub name: String,
    /// Its new text.
    pub content: String,
    /// Whether all users who have a copy get it too.
    pub propagate: bool,
}

/// A file that was written.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct FileSet {
    /// The file.
    pub file: AgentFile,
    /// How many users' copies were replaced.
    pub propagated: i64,
}

impl AgentFile {
    fn new(name: &str, content: Option<String>, shown: bool) -> Self {
        Self { name: name.to_owned(), missing: content.is_none(), size: content.as_ref().map(String::len), content: content.filter(|_| shown) }
    }
}

impl Agents {
    /// Which files an agent has.
    ///
    /// # Errors
    /// `Forbidden` below viewer or without access, `NotFound`, `Invalid` without an agent.
    pub async fn list_files(&self, caller: &Caller, agent_id: &str) -> Result<Vec<AgentFile>> {
        caller.require(Role::Viewer, Access::Read, "agents.files.list")?;
        let agent = self.accessible(caller, agent_id).await?;
        let mut stored = self.store.files(caller.tenant, agent.id).await?;
        let mut content = |name: &str| stored.iter_mut().find(|file| file.name == name).map(|file| std::mem::take(&mut file.content));
        Ok(FILES.iter().map(|name| AgentFile::new(name, content(name), false)).collect())
    }

    /// One of an agent's files.
    ///
    /// # Errors
    /// `Forbidden` below viewer or without access, `NotFound` for an unknown agent, `Invalid` for another name.
    pub async fn read_file(&self, caller: &Caller, agent_id: &str, name: &str) -> Result<AgentFile> {
        caller.require(Role::Viewer, Access::Read, "agents.files.get")?;
        check_name(name)?;
        let agent = self.accessible(caller, agent_id).await?;
        let stored = self.store.files(caller.tenant, agent.id).await?;
        Ok(AgentFile::new(name, stored.into_iter().find(|file| file.name == name).map(|file| file.content), true))
    }

    /// Writes one of an agent's files.
    ///
    /// # Errors
    /// `Forbidden` below admin or without access, `NotFound` for an unknown agent, `Invalid` for another name.
    pub async fn write_file(&self, caller: &Caller, change: FileChange) -> Result<FileSet> {
        caller.require(Role::Admin, Access::Manage, "agents.files.set")?;
        let FileChange { agent_id, name, content, propagate } = change;
        check_name(&name)?;
        if content.len() > MAX_FILE {
            return Err(Error::invalid(message::too_long("content", MAX_FILE)));
        }
        let agent = self.accessible(caller, &agent_id).await?;
        let (file, now) = (ContextFile { name, content }, self.clock.now());
        self.store.put_file(caller.tenant, agent.id, &file, now).await?;
        let mut propagated = 0;
        if propagate {
            let content = file.content.clone();
            propagated = self.store.rewrite_user_files(caller.tenant, agent.id, &file.name, Arc::new(move |_| content.clone()), now).await?;
        }
        let details = json!({"file_name": file.name, "propagated": propagated});
        self.audit.record(caller, "agent.file_set", "agent", agent.id, Some(details)).await;
        Ok(FileSet { file: AgentFile::new(&file.name, Some(file.content), true), propagated })
    }

    /// The agent with this id or key, whatever its status, if the caller may use it; `default` is the one that stands in.
    pub(crate) async fn accessible(&self, caller: &Caller, id_or_key: &str) -> Result<Agent> {
        let agent = match self.known(caller.tenant, id_or_key).await {
            Err(error) if id_or_key == super::DEFAULT_KEY => self.store.find_default(caller.tenant).await?.ok_or(error)?,
            found => found?,
        };
        self.check_access(caller, &agent).await?;
        Ok(agent)
    }
}

fn check_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::required("name"));
    }
    if FILES.contains(&name) { Ok(()) } else { Err(Error::invalid(message::not_one_of("name", FILES.join(", ")))) }
}
