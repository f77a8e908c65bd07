//! Changing and removing conversations.

use super::Sessions;
use crate::caller::{Access, Caller};
use chrono::{DateTime, Utc};
use goclaw_ports::{
    Error, Result,
    events::Event,
    locks::Held,
    message,
    roles::Role,
    sessions::{Session, SessionDelta},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};

/// The longest title, in characters.
const MAX_LABEL: usize = 500;
/// The longest name of a model, in bytes.
const MAX_MODEL: usize = 200;
/// How long runs of other gateways may take to end.
const STOPPING: Duration = Duration::from_secs(10);
/// How much a change of the metadata may hold, in bytes of keys and values.
const MAX_METADATA: usize = 16 * 1024;

/// What is to change about a session; what is absent stays.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SessionPatch {
    /// Which session.
    pub key: String,
    /// Its title, at most 500 characters.
    pub label: Option<String>,
    /// The model that it shows.
    pub model: Option<String>,
    /// Values to set in its metadata; the others stay.
    pub metadata: Option<BTreeMap<String, String>>,
}

/// A session that was changed.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SessionPatched {
    /// Always true.
    pub ok: bool,
    /// Which session.
    pub key: String,
}

impl SessionPatch {
    fn check(&self) -> Result<()> {
        if self.label.as_ref().is_some_and(|label| label.chars().count() > MAX_LABEL) {
            return Err(Error::invalid(message::too_long("label", MAX_LABEL)));
        }
        if self.model.as_ref().is_some_and(|model| model.len() > MAX_MODEL) {
            return Err(Error::invalid(message::too_long("model", MAX_MODEL)));
        }
        let size: usize = self.metadata.iter().flatten().map(|(key, value)| key.len() + value.len()).sum();
        if size > MAX_METADATA {
            return Err(Error::invalid(message::too_long("metadata", MAX_METADATA)));
        }
        Ok(())
    }
}

impl Sessions {
    /// Changes a session's title, model or metadata.
    ///
    /// # Errors
    /// `Forbidden` below operator, and for another user's session below admin; `NotFound` for an unknown one; `Invalid` without a
    /// key or for values that are too long.
    pub async fn patch(&self, caller: &Caller, patch: SessionPatch) -> Result<SessionPatched> {
        caller.require(Role::Operator, Access::Write, "sessions.patch")?;
        if patch.key.is_empty() {
            return Err(Error::required("key"));
        }
        patch.check()?;
        let key = &patch.key;
        let session = self.visible(caller, key).await?.ok_or_else(|| Error::not_found("session", key))?;
        let delta = SessionDelta {
            label: patch.label.clone(),
            model: patch.model.clone(),
            metadata: patch.metadata.clone().unwrap_or_default(),
            ..SessionDelta::default()
        };
        self.store.append(caller.tenant, key, &[], &delta, self.clock.now()).await?;
        let changed: Vec<_> = [("label", patch.label.is_some()), ("model", patch.model.is_some()), ("metadata", patch.metadata.is_some())]
            .into_iter()
            .filter_map(|(name, changed)| changed.then_some(name))
            .collect();
        self.audit.record(caller, "session.patched", "session", key, Some(json!({"changed": changed}))).await;
        let label = patch.label.unwrap_or(session.label);
        let event = json!({"sessionKey": key, "label": label, "userId": session.user_id});
        self.bus.publish(Event::new(caller.tenant, "session.updated", event).of_user(&session.user_id));
        Ok(SessionPatched { ok: true, key: patch.key })
    }

    /// Deletes a session with its messages and the files that came with them; its runs are stopped first. An admin may delete one that is not there.
    ///
    /// # Errors
    /// `Forbidden` below operator, and for another user's session below admin; `NotFound` for an unknown one below admin;
    /// `Invalid` without a key.
    pub async fn delete(&self, caller: &Caller, key: &str) -> Result<()> {
        caller.require(Role::Operator, Access::Write, "sessions.delete")?;
        let Some(session) = self.changeable(caller, key).await? else { return Ok(()) };
        let now = self.clock.now();
        let _quiet = self.quieted(caller, key).await;
        self.registry.forget(caller.tenant, &session.provider, key).await;
        if self.store.delete(caller.tenant, key).await? {
            // What cannot be removed now is found later, because its conversation is gone.
            self.remove_files(caller, key, now).await;
            self.audit.record(caller, "session.deleted", "session", key, None).await;
        }
        Ok(())
    }

    /// Removes a session's messages and summary, with the files that came with them; its runs are stopped first. Title, tokens and
    /// metadata stay.
    ///
    /// # Errors
    /// As [`Sessions::delete`].
    pub async fn reset(&self, caller: &Caller, key: &str) -> Result<()> {
        caller.require(Role::Operator, Access::Write, "sessions.reset")?;
        let Some(session) = self.changeable(caller, key).await? else { return Ok(()) };
        let now = self.clock.now();
        let _quiet = self.quieted(caller, key).await;
        self.registry.forget(caller.tenant, &session.provider, key).await;
        if self.store.reset(caller.tenant, key, self.clock.now()).await? {
            // What comes from here on belongs to messages that stay. What cannot be removed now goes with the session.
            self.remove_files(caller, key, now).await;
            self.audit.record(caller, "session.reset", "session", key, None).await;
        }
        Ok(())
    }

    /// Stops the session's runs, here and at other gateways. Until the answer is dropped, no other gateway has a new one.
    async fn quieted(&self, caller: &Caller, key: &str) -> Option<Held> {
        if let Err(error) = self.elsewhere.stop(caller.tenant, key, "", None).await {
            tracing::warn!(%error, session = key, "runs of other gateways could not be stopped");
        }
        self.runs.stop_session(caller.tenant, key).await;
        tokio::time::timeout(STOPPING, self.locks.take_turn(caller.tenant, key)).await.ok()?.ok()
    }

    async fn remove_files(&self, caller: &Caller, key: &str, then: DateTime<Utc>) {
        if let Err(error) = self.files.media.remove_session(caller.tenant, key, then).await {
            tracing::warn!(%error, session = key, "files of a session could not be removed");
        }
    }

    /// The session that the caller wants to change, if it is there.
    async fn changeable(&self, caller: &Caller, key: &str) -> Result<Option<Session>> {
        if key.is_empty() {
            return Err(Error::required("key"));
        }
        match self.visible(caller, key).await? {
            Some(session) => Ok(Some(session)),
            None if caller.is_admin() => Ok(None),
            None => Err(Error::not_found("session", key)),
        }
    }
}
