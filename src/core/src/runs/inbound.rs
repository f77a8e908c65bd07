//! The messages that this process has accepted and owes an answer to. They are stored before they are accepted, and leave the store
//! with their answer.

use super::request::Origin;
use crate::caller::Caller;
use chrono::TimeDelta;
use goclaw_ports::{
    AgentId, InboundId, JsonObject, Result, TenantId,
    clock::{Clock, Ids},
    inbound::{InboundMessage, InboundStore},
    media::MediaRef,
    subagents::{TaskLease, TaskOrigin},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long a process holds its messages without saying that it lives.
const LEASE: TimeDelta = TimeDelta::seconds(10);

/// Keeps accepted messages until they are answered.
pub(crate) struct Inbound {
    store: Arc<dyn InboundStore>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    /// This process, as messages name it.
    owner: Uuid,
    /// Those of this process, and what stops the run that answers each.
    held: Mutex<HashMap<InboundId, CancellationToken>>,
    /// Says that some were let go.
    pub released: Notify,
}

/// A message that is about to be accepted.
pub(crate) struct Accepted<'a> {
    pub caller: &'a Caller,
    pub agent: AgentId,
    pub session_key: &'a str,
    pub text: &'a str,
    pub origin: &'a Origin,
    pub metadata: JsonObject,
}

impl Inbound {
    /// Nothing is owed yet.
    pub fn new(store: Arc<dyn InboundStore>, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        let owner = ids.random();
        Self { store, clock, ids, owner, held: Mutex::default(), released: Notify::new() }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<InboundId, CancellationToken>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This process's hold, from now on.
    fn lease(&self) -> TaskLease {
        TaskLease { owner: self.owner, lasts: LEASE }
    }

    fn message(&self, accepted: Accepted<'_>) -> InboundMessage {
        let Accepted { caller, agent, session_key, text, origin, metadata } = accepted;
        InboundMessage {
            id: InboundId(self.ids.row()),
            session_key: session_key.to_owned(),
            agent_id: agent,
            text: text.to_owned(),
            origin: TaskOrigin {
                channel: origin.channel.clone(),
                chat_id: origin.chat_id.clone(),
                peer_kind: origin.peer_kind.clone(),
                user_id: caller.user.to_string(),
                role: caller.role,
            },
            metadata,
            said: None,
            attempts: 0,
            created_at: self.clock.now(),
        }
    }

    /// Keeps a message whose run is about to put it into its conversation.
    ///
    /// # Errors
    /// What the store says.
    pub async fn keep(&self, accepted: Accepted<'_>) -> Result<InboundId> {
        let tenant = accepted.caller.tenant;
        let message = self.message(accepted);
        self.store.keep(tenant, &message, self.lease()).await?;
        // Not before it is stored: what is held and not in the store counts as taken over.
        self.held().insert(message.id, CancellationToken::new());
        Ok(message.id)
    }

    /// Keeps a message and puts it into its conversation, with its files. `None` if there is no such conversation.
    ///
    /// # Errors
    /// What the store says.
    pub async fn say(&self, accepted: Accepted<'_>, media_refs: &[MediaRef]) -> Result<Option<InboundId>> {
        let tenant = accepted.caller.tenant;
        let message = self.message(accepted);
        if !self.store.say(tenant, &message, media_refs, self.lease()).await? {
            return Ok(None);
        }
        self.held().insert(message.id, CancellationToken::new());
        Ok(Some(message.id))
    }

    /// What stops the run that answers these, if another process takes them over.
    pub fn stops(&self, ids: &[InboundId], run: &CancellationToken) {
        if !ids.is_empty() {
            self.held().extend(ids.iter().map(|id| (*id, run.clone())));
        }
    }

    /// Those of these that no other process has taken over.
    pub fn still_held(&self, mut ids: Vec<InboundId>) -> Vec<InboundId> {
        if !ids.is_empty() {
            let held = self.held();
            ids.retain(|id| held.contains_key(id));
        }
        ids
    }

    /// These are in the store no more, or not this process's.
    pub fn forget(&self, ids: &[InboundId]) {
        if !ids.is_empty() {
            let mut held = self.held();
            ids.iter().for_each(|id| drop(held.remove(id)));
        }
    }

    /// Nothing is owed for these any more.
    pub async fn settle(&self, tenant: TenantId, ids: Vec<InboundId>) {
        let ids = self.still_held(ids);
        if !ids.is_empty() {
            self.ended(&ids, self.store.settle(tenant, &ids).await);
        }
    }

    /// These were dropped: they leave their conversations.
    pub async fn retract(&self, tenant: TenantId, ids: Vec<InboundId>) {
        let ids = self.still_held(ids);
        if !ids.is_empty() {
            self.ended(&ids, self.store.retract(tenant, &ids).await);
        }
    }

    /// These get a run of their own, now.
    pub async fn release(&self, tenant: TenantId, ids: Vec<InboundId>) {
        if !ids.is_empty() {
            self.put_back(tenant, ids).await;
            self.released.notify_one();
        }
    }

    /// These get a run of their own when somebody looks next.
    pub async fn put_back(&self, tenant: TenantId, ids: Vec<InboundId>) {
        let ids = self.still_held(ids);
        if !ids.is_empty() {
            self.ended(&ids, self.store.release(tenant, &ids).await);
        }
    }

    /// What could not be stored stays there without a holder, and is taken over when its lease is over.
    fn ended(&self, ids: &[InboundId], stored: Result<()>) {
        if let Err(error) = stored {
            tracing::warn!(%error, "what became of accepted messages could not be stored");
        }
        self.forget(ids);
    }

    /// Says that this process lives. The run of a message that another process has taken over is stopped.
    ///
    /// # Errors
    /// What the store says.
    pub async fn hold(&self) -> Result<()> {
        let known: Vec<InboundId> = self.held().keys().copied().collect();
        if known.is_empty() {
            return Ok(());
        }
        let renewed = self.store.all_tenants_renew(&known, self.lease()).await?;
        let mut held = self.held();
        for lost in known.iter().filter(|id| !renewed.contains(id)) {
            // One that was answered just now is not there any more, and its run has nothing left to stop.
            if let Some(run) = held.remove(lost) {
                run.cancel();
            }
        }
        Ok(())
    }

    /// Takes over what is held for less than `ahead` from now, or not any more.
    ///
    /// # Errors
    /// What the store says.
    pub async fn adopt(&self, ahead: TimeDelta, limit: i64) -> Result<Vec<(TenantId, InboundMessage)>> {
        let adopted = self.store.all_tenants_adopt(ahead, self.lease(), limit).await?;
        self.held().extend(adopted.iter().map(|(_, message)| (message.id, CancellationToken::new())));
        Ok(adopted)
    }

    /// Lets go of all: the next process that looks answers them.
    pub async fn let_go(&self) {
        let (held, gone): (Vec<InboundId>, _) = (self.held().keys().copied().collect(), TaskLease { owner: self.owner, lasts: TimeDelta::zero() });
        if held.is_empty() {
            return;
        }
        if let Err(error) = self.store.all_tenants_renew(&held, gone).await {
            tracing::warn!(%error, "accepted messages could not be let go; others take them over later");
        }
    }
}
