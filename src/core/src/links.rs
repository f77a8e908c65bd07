//! Which agent may hand work to which.

use crate::{
    audit::Audit,
    caller::{Access, Caller},
};
use goclaw_ports::{
    Error, ErrorKind, JsonObject, LinkId, Result, TenantId,
    agents::{Agent, AgentStore, AgentType},
    clock::{Clock, Ids},
    events::{Event, EventBus},
    links::{AgentLink, LinkDirection, LinkEnds, LinkPatch, LinkSide, LinkStatus, LinkStore},
    message,
    roles::Role,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// How many hand-overs may be under way at once, if the link does not say.
const DEFAULT_CONCURRENT: i64 = 3;
/// The most that a link may say.
const MAX_CONCURRENT: i64 = 1_000;
/// The longest description, in bytes.
const MAX_DESCRIPTION: usize = 4_096;
/// The largest settings, in bytes of JSON.
const MAX_SETTINGS: usize = 16_384;

/// What may be done with links.
pub struct Links {
    pub(crate) store: Arc<dyn LinkStore>,
    pub(crate) agents: Arc<dyn AgentStore>,
    pub(crate) audit: Audit,
    pub(crate) bus: Arc<dyn EventBus>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
}

/// A new link; "" is absent.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct NewLink {
    /// Where it begins: a key or an id.
    pub source_agent: String,
    /// Where it ends: a key or an id.
    pub target_agent: String,
    /// `outbound` if it is left out.
    pub direction: String,
    /// What it is for.
    pub description: String,
    /// How many hand-overs may be under way at once; 3 if it is left out, 0 or less.
    pub max_concurrent: i64,
    /// More about it (`require_role`, `user_allow`, `user_deny`).
    pub settings: Option<JsonObject>,
}

/// Changes to a link; what is left out stays.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LinkUpdate {
    /// Which.
    pub link_id: String,
    /// `outbound`, `inbound` or `bidirectional`; "" changes nothing.
    pub direction: String,
    /// What it is for.
    pub description: Option<String>,
    /// How many hand-overs may be under way at once.
    pub max_concurrent: Option<i64>,
    /// More about it; replaces all that was there.
    pub settings: Option<JsonObject>,
    /// `active` or `disabled`; "" changes nothing.
    pub status: String,
}

impl Links {
    /// An agent's links, oldest first: those that begin at it (`from`, or ""), end at it (`to`), or both (`all`).
    ///
    /// # Errors
    /// `Forbidden` below admin; `Invalid` without an agent, for an unknown agent or side.
    pub async fn list(&self, caller: &Caller, agent: &str, side: &str) -> Result<Vec<AgentLink>> {
        caller.require(Role::Admin, Access::Manage, "agents.links.list")?;
        let side = match side {
            "" | "from" => LinkSide::From,
            "to" => LinkSide::To,
            "all" => LinkSide::All,
            _ => return Err(Error::invalid(message::not_one_of("direction", "from, to, all"))),
        };
        let agent = self.agent(caller.tenant, "agentId", agent).await?;
        self.store.list(caller.tenant, agent.id, side).await
    }

    /// Links one agent to another.
    ///
    /// # Errors
    /// `Forbidden` below admin; `Invalid` for values that are missing or wrong, for agents that the tenant does not have,
    /// and for a target that is open; `AlreadyExists` if there is a link from the one to the other.
    pub async fn create(&self, caller: &Caller, new: NewLink) -> Result<AgentLink> {
        caller.require(Role::Admin, Access::Manage, "agents.links.create")?;
        let source = self.agent(caller.tenant, "sourceAgent", &new.source_agent).await?;
        let target = self.agent(caller.tenant, "targetAgent", &new.target_agent).await?;
        if source.id == target.id {
            return Err(Error::invalid(message::link_to_itself()));
        }
        if target.agent_type == AgentType::Open {
            return Err(Error::invalid(message::link_to_open(&target.agent_key)));
        }
        let concurrent = if new.max_concurrent <= 0 { DEFAULT_CONCURRENT } else { new.max_concurrent };
        check_texts(Some(&new.description), new.settings.as_ref())?;
        let now = self.clock.now();
        let link = AgentLink {
            id: LinkId(self.ids.row()),
            created_at: now,
            updated_at: now,
            source_agent_id: source.id,
            target_agent_id: target.id,
            direction: direction(&new.direction)?.unwrap_or(LinkDirection::Outbound),
            description: new.description,
            max_concurrent: concurrency(concurrent)?,
            settings: new.settings,
            status: LinkStatus::Active,
            created_by: caller.user.to_string(),
            ends: LinkEnds::default(),
        };
        let (source_key, target_key) = (&source.agent_key, &target.agent_key);
        self.store.insert(caller.tenant, &link).await.map_err(|error| match error.kind {
            ErrorKind::AlreadyExists => Error::already_exists("link", format!("{source_key} → {target_key}")),
            // One of the agents was deleted meanwhile.
            ErrorKind::NotFound => Error { kind: ErrorKind::Invalid, ..error },
            _ => error,
        })?;
        let payload = json!({
            "link_id": link.id, "source_agent_id": link.source_agent_id, "source_agent_key": source_key, "target_agent_id": link.target_agent_id,
            "target_agent_key": target_key, "direction": link.direction, "status": link.status,
        });
        self.tell(caller, "agent_link.created", link.id, payload).await;
        Ok(link)
    }

    /// Changes a link.
    ///
    /// # Errors
    /// `Forbidden` below admin; `Invalid` for values that are wrong, or if there is nothing to change; `NotFound`.
    pub async fn update(&self, caller: &Caller, update: LinkUpdate) -> Result<()> {
        caller.require(Role::Admin, Access::Manage, "agents.links.update")?;
        let id = id(&update.link_id)?;
        check_texts(update.description.as_deref(), update.settings.as_ref())?;
        let status = match update.status.as_str() {
            "" => None,
            text => Some(LinkStatus::parse(text).ok_or_else(|| Error::invalid(message::not_one_of("status", "active, disabled")))?),
        };
        let patch = LinkPatch {
            direction: direction(&update.direction)?,
            description: update.description,
            max_concurrent: update.max_concurrent.map(concurrency).transpose()?,
            settings: update.settings,
            status,
        };
        let changes = columns(&patch);
        if changes.is_empty() {
            return Err(Error::invalid(message::no_updates_provided()));
        }
        let missing = || Error::not_found("link", id);
        let link = self.store.find(caller.tenant, id).await?.ok_or_else(missing)?;
        if !self.store.update(caller.tenant, id, &patch, self.clock.now()).await? {
            return Err(missing());
        }
        let mut payload = keys_of(&link);
        if let Some(direction) = patch.direction {
            payload["direction"] = json!(direction);
        }
        if let Some(status) = patch.status {
            payload["status"] = json!(status);
        }
        payload["changes"] = json!(changes);
        self.tell(caller, "agent_link.updated", id, payload).await;
        Ok(())
    }

    /// Removes a link. It is no failure if there is none.
    ///
    /// # Errors
    /// `Forbidden` below admin; `Invalid` without a link's id.
    pub async fn delete(&self, caller: &Caller, link_id: &str) -> Result<()> {
        caller.require(Role::Admin, Access::Manage, "agents.links.delete")?;
        let id = id(link_id)?;
        let Some(link) = self.store.find(caller.tenant, id).await? else { return Ok(()) };
        if self.store.delete(caller.tenant, id).await? {
            self.tell(caller, "agent_link.deleted", id, keys_of(&link)).await;
        }
        Ok(())
    }

    async fn agent(&self, tenant: TenantId, field: &str, id_or_key: &str) -> Result<Agent> {
        if id_or_key.is_empty() {
            return Err(Error::required(field));
        }
        self.agents.find(tenant, id_or_key).await?.ok_or_else(|| Error::invalid(message::agent_not_found(id_or_key)))
    }

    /// Writes what was done into the audit log, and tells the tenant's admins.
    async fn tell(&self, caller: &Caller, what: &'static str, id: LinkId, payload: Value) {
        self.audit.record(caller, what, "agent_link", id, Some(payload.clone())).await;
        self.bus.publish(Event::new(caller.tenant, what, payload));
    }
}

fn keys_of(link: &AgentLink) -> Value {
    json!({"link_id": link.id, "source_agent_key": link.ends.source_agent_key, "target_agent_key": link.ends.target_agent_key})
}

fn columns(patch: &LinkPatch) -> Vec<&'static str> {
    let columns = [
        ("direction", patch.direction.is_some()),
        ("description", patch.description.is_some()),
        ("max_concurrent", patch.max_concurrent.is_some()),
        ("settings", patch.settings.is_some()),
        ("status", patch.status.is_some()),
    ];
    columns.into_iter().filter(|(_, changes)| *changes).map(|(column, _)| column).collect()
}

fn id(text: &str) -> Result<LinkId> {
    if text.is_empty() {
        return Err(Error::required("linkId"));
    }
    text.parse().map_err(|_| Error::invalid(message::invalid_id("link")))
}

fn direction(text: &str) -> Result<Option<LinkDirection>> {
    match text {
        "" => Ok(None),
        text => LinkDirection::parse(text).map(Some).ok_or_else(|| Error::invalid(message::not_one_of("direction", "outbound, inbound, bidirectional"))),
    }
}

fn concurrency(value: i64) -> Result<i32> {
    let fits = i32::try_from(value).ok().filter(|_| (1..=MAX_CONCURRENT).contains(&value));
    fits.ok_or_else(|| Error::invalid(message::out_of_range("maxConcurrent", 1, MAX_CONCURRENT)))
}

/// The description must not be too long; the settings neither, and what is known of them must have its type.
fn check_texts(description: Option<&str>, settings: Option<&JsonObject>) -> Result<()> {
    if description.is_some_and(|text| text.len() > MAX_DESCRIPTION) {
        return Err(Error::invalid(message::too_long("description", MAX_DESCRIPTION)));
    }
    let Some(settings) = settings else { return Ok(()) };
    if serde_json::to_string(settings).map_err(Error::internal)?.len() > MAX_SETTINGS {
        return Err(Error::invalid(message::too_long("settings", MAX_SETTINGS)));
    }
    let users = |key: &str| settings.get(key).is_none_or(|users| users.as_array().is_some_and(|users| users.iter().all(Value::is_string)));
    for key in ["user_allow", "user_deny"] {
        if !users(key) {
            return Err(Error::invalid_request(format!("settings.{key} must be a list of user ids")));
        }
    }
    if settings.get("require_role").is_some_and(|role| !role.is_string()) {
        return Err(Error::invalid_request("settings.require_role must be a role"));
    }
    Ok(())
}
