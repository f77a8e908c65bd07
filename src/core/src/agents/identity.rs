//! What an agent is called and how it looks.

use super::Agents;
use crate::{
    caller::{Access, Caller},
    context_files::{self, IDENTITY},
};
use goclaw_ports::{ErrorKind, Result, roles::Role};
use schemars::JsonSchema;
use serde::Serialize;

/// What an agent is called and how it looks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// As it was asked for.
    pub agent_id: String,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its emoji.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emoji: Option<String>,
    /// Its picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar: Option<String>,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl Agents {
    /// Who an agent is: one that is named, or that of a session's key. Of an agent that does not exist or may not be used there
    /// is nothing to say.
    ///
    /// # Errors
    /// `Forbidden` below viewer.
    pub async fn identity(&self, caller: &Caller, agent_id: &str, session_key: &str) -> Result<Identity> {
        caller.require(Role::Viewer, Access::Read, "agent.identity.get")?;
        let of_session = session_key.strip_prefix("agent:").and_then(|rest| rest.split(':').next()).unwrap_or_default();
        let named = [agent_id, of_session].into_iter().find(|named| !named.is_empty()).unwrap_or(super::DEFAULT_KEY);
        let unknown = Identity { agent_id: named.to_owned(), ..Identity::default() };
        let agent = match self.accessible(caller, named).await {
            Ok(agent) => agent,
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Forbidden) => return Ok(unknown),
            Err(error) => return Err(error),
        };
        let files = self.store.files(caller.tenant, agent.id).await?;
        let text = files.iter().find(|file| file.name == IDENTITY).map_or("", |file| file.content.as_str());
        let field = |name| context_files::field(text, name);
        let display_name = (!agent.display_name.is_empty()).then_some(agent.display_name);
        Ok(Identity {
            name: field("Name").or(display_name),
            emoji: field("Emoji"),
            avatar: field("Avatar"),
            description: field("Description").or_else(|| field("Purpose")),
            ..unknown
        })
    }
}
