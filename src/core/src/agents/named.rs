//! Agents that are made, changed and deleted by name, as WebSocket clients do it.

use super::{AgentUpdate, Agents, DEFAULT_KEY, NewAgent, check_owner, directory, named, tenant_of};
use crate::{
    caller::{Access, Caller},
    context_files, workspace,
};
use goclaw_ports::{
    AgentId, Error, ErrorKind, Result,
    agents::{Agent, AgentFilter, ContextFile},
    message,
    roles::Role,
};
use regex::Regex;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// The longest key that is made from a name.
const MAX_KEY: usize = 64;

#[expect(clippy::expect_used, reason = "a constant pattern")]
static OTHERS: LazyLock<Regex> = LazyLock::new(|| Regex::new("[^a-z0-9_-]+").expect("a constant pattern"));

/// A new agent: a name, from which its key is made, and the fields of [`NewAgent`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct NamedAgent {
    pub name: String,
    pub emoji: String,
    pub avatar: String,
    /// The first is the agent's owner; the caller, if there is none.
    pub owner_ids: Vec<String>,
    #[serde(flatten)]
    pub fields: NewAgent,
}

/// Changes to an agent. Texts that are empty change nothing.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct NamedUpdate {
    #[serde(rename = "agentId")]
    pub agent_id: String,
    pub name: String,
    pub avatar: String,
    #[serde(flatten)]
    pub fields: AgentUpdate,
}

/// An agent that was deleted.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Removed {
    /// Always true.
    pub ok: bool,
    /// As it was asked for.
    pub agent_id: String,
    /// How many rules led messages to it.
    pub removed_bindings: usize,
}

impl Agents {
    /// Makes an agent from its name, with a directory that holds copies of its first files.
    ///
    /// # Errors
    /// `Forbidden` below admin; `Invalid` without a name, for bad fields and for a key that is taken or `default`;
    /// `Precondition` when the edition allows no more.
    pub async fn create_named(&self, caller: &Caller, new: NamedAgent) -> Result<Agent> {
        caller.require(Role::Admin, Access::Manage, "agents.create")?;
        let NamedAgent { name, emoji, avatar, owner_ids, mut fields } = new;
        let name = name.trim();
        if name.is_empty() {
            return Err(Error::required("name"));
        }
        let key = key_of(name);
        if key == DEFAULT_KEY {
            return Err(Error::invalid_request("the key \"default\" is reserved"));
        }
        let user = if caller.user.is_empty() { "system" } else { &caller.user };
        let owner = owner_ids.into_iter().find(|owner| !owner.is_empty()).unwrap_or_else(|| user.to_owned());
        if owner.len() > super::shares::MAX_USER {
            return Err(Error::invalid(message::too_long("owner_ids", super::shares::MAX_USER)));
        }
        let tenant = tenant_of(caller, &fields);
        let settings = self.settings.of(tenant).await?;
        let or = |own: String, default: &str| if own.is_empty() { default.to_owned() } else { own };
        fields.workspace = or(fields.workspace, &settings.agents.workspace.join("agents").join(&key).to_string_lossy());
        (fields.provider, fields.model) = (or(fields.provider, &settings.agents.provider), or(fields.model, &settings.agents.model));
        (fields.agent_key, fields.display_name, fields.status) = (key, name.to_owned(), None);
        let agent = fields.into_agent(tenant, owner, &settings, AgentId(self.ids.row()), self.clock.now())?;
        let files = first_files(&agent, &emoji, &avatar);
        self.insert(caller, &settings, &agent, &files).await.map_err(|error| match error.kind {
            ErrorKind::AlreadyExists => Error { kind: ErrorKind::Invalid, ..error },
            _ => error,
        })?;
        if tenant == caller.tenant {
            let directory = workspace::of_agent(&settings, tenant, &caller.tenant_slug, &agent);
            // Whatever is missing is made by the first run.
            if let Err(error) = directory::make(&directory, &backup_of(&files)).await {
                tracing::warn!(directory = %directory.display(), %error, "the agent's directory could not be made");
            }
        }
        self.audit.record(caller, "agent.created", "agent", &agent.agent_key, Some(named(&agent))).await;
        Ok(agent)
    }

    /// Changes an agent. Only its owner may.
    ///
    /// # Errors
    /// `Forbidden` below admin or for others, `NotFound`, `Invalid` for bad fields, `AlreadyExists` for a key that is taken.
    pub async fn update_named(&self, caller: &Caller, update: NamedUpdate) -> Result<Agent> {
        caller.require(Role::Admin, Access::Manage, "agents.update")?;
        let NamedUpdate { agent_id, name, avatar, mut fields } = update;
        let agent = self.known(caller.tenant, &agent_id).await?;
        check_owner(caller, &agent, "change")?;
        for text in [&mut fields.workspace, &mut fields.provider, &mut fields.model, &mut fields.status, &mut fields.frontmatter] {
            text.take_if(|text| text.is_empty());
        }
        fields.display_name = Some(name).filter(|name| !name.is_empty());
        let identity: Vec<(&str, &str)> = Some(("Avatar", avatar.as_str())).into_iter().filter(|(_, avatar)| !avatar.is_empty()).collect();
        self.change(caller, agent, fields, &identity).await
    }

    /// Deletes an agent, and its directory if `files` says so and no other agent works there. Only its owner may.
    ///
    /// # Errors
    /// `Forbidden` below admin or for others, `Invalid` without an agent or for `default`, `NotFound`.
    pub async fn delete_named(&self, caller: &Caller, agent_id: &str, files: bool) -> Result<Removed> {
        caller.require(Role::Admin, Access::Manage, "agents.delete")?;
        if agent_id == DEFAULT_KEY {
            return Err(Error::invalid(message::cannot_delete_default()));
        }
        let agent = self.known(caller.tenant, agent_id).await?;
        check_owner(caller, &agent, "delete")?;
        if agent.agent_key == DEFAULT_KEY {
            return Err(Error::invalid(message::cannot_delete_default()));
        }
        self.remove(caller, &agent).await?;
        if files {
            let others = self.store.list(caller.tenant, &AgentFilter::default()).await?;
            directory::remove(&*self.settings.of(caller.tenant).await?, caller.tenant, &caller.tenant_slug, &agent, &others).await;
        }
        Ok(Removed { ok: true, agent_id: agent_id.to_owned(), removed_bindings: 0 })
    }
}

/// The key of an agent that has this name.
fn key_of(name: &str) -> String {
    let key = OTHERS.replace_all(&name.trim().to_lowercase(), "-").into_owned();
    let key = key.trim_matches(['-', '_']).get(..MAX_KEY).unwrap_or(key.trim_matches(['-', '_'])).trim_end_matches(['-', '_']).to_owned();
    if key.is_empty() { DEFAULT_KEY.to_owned() } else { key }
}

/// The files of a new agent, with what was said of its looks.
fn first_files(agent: &Agent, emoji: &str, avatar: &str) -> Vec<ContextFile> {
    let mut identity = format!("# Identity\n\nName: {}\n", one_line(&agent.display_name));
    for (field, value) in [("Emoji", emoji), ("Avatar", avatar)] {
        if !value.is_empty() {
            identity.push_str(&format!("{field}: {}\n", one_line(value)));
        }
    }
    let mut files = context_files::seed_of(agent);
    files.retain(|file| file.name != context_files::IDENTITY);
    files.push(ContextFile { name: context_files::IDENTITY.into(), content: identity });
    files
}

/// What lies in the agent's directory as a copy: its own files, and templates where it has none.
fn backup_of(own: &[ContextFile]) -> Vec<ContextFile> {
    let mut files = context_files::templates(&[context_files::AGENTS, context_files::SOUL, context_files::USER]);
    files.retain(|file| own.iter().all(|own| own.name != file.name));
    files.extend(own.iter().cloned());
    files
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("fox", "fox")]
    #[case("  My Fox! ", "my-fox")]
    #[case("a_b-c", "a_b-c")]
    #[case("Cáo đỏ", "c-o")]
    #[case("--x--", "x")]
    #[case("狐狸", "default")]
    fn a_key_is_made_from_a_name(#[case] name: &str, #[case] key: &str) {
        assert_eq!(key_of(name), key);
    }

    proptest! {
        #[test]
        fn any_name_makes_a_key(name: String) {
            let key = key_of(&name);
            let pattern = Regex::new("^[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?$").unwrap();
            prop_assert!(pattern.is_match(&key), "{key:?}");
            prop_assert_eq!(key_of(&key), key);
        }
    }
}
