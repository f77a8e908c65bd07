//! Answering accepted messages whose process is gone, or whose run ended before it saw them.

use super::{
    engine::Engine,
    queue::{DropPolicy, QueueSettings, Queueing},
    request::{Origin, Request, RunOptions},
};
use crate::{agents::Agents, caller::Caller};
use chrono::TimeDelta;
use goclaw_ports::{
    InboundId, JsonObject, Result, TenantId,
    agents::{Agent, AgentStatus},
    inbound::InboundMessage,
    sessions::{ChatMessage, MessageRole, SessionDelta},
    tenants::{TenantStatus, TenantStore},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::time::MissedTickBehavior;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How often this process says that it lives, and looks for those that do not.
const BEAT: Duration = Duration::from_secs(3);
/// How many messages are taken over at once.
const BATCH: i64 = 200;
/// How often a message is begun anew. One that takes its process down again and again must have an end.
const ATTEMPTS: i32 = 3;
/// How long the end waits for what is being begun.
const PATIENCE: Duration = Duration::from_secs(5);
/// What stands in a conversation where a message is given up.
const GIVEN_UP: &str = "This message could not be answered: the gateway stopped each time while it was worked on. Please send it again.";

/// What is kept with a message about the run that answers it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Kept {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(skip_serializing_if = "JsonObject::is_empty")]
    pub trace_metadata: JsonObject,
}

impl Kept {
    fn of(message: &InboundMessage) -> Self {
        serde_json::from_value(Value::Object(message.metadata.clone())).unwrap_or_default()
    }

    /// As it is kept.
    pub fn metadata(&self) -> JsonObject {
        match serde_json::to_value(self) {
            Ok(Value::Object(object)) => object,
            _ => JsonObject::new(),
        }
    }
}

/// Begins runs for messages that nobody is at work on.
pub(crate) struct Resumption {
    pub engine: Arc<Engine>,
    pub agents: Arc<Agents>,
    pub tenants: Arc<dyn TenantStore>,
    pub work: TaskTracker,
    pub stop: CancellationToken,
}

/// Messages that one run answers.
struct Turn {
    tenant: TenantId,
    messages: Vec<InboundMessage>,
}

impl Resumption {
    /// Takes over what was left behind, now and from time to time. `exclusive` is whether no other process can be at work: then
    /// whatever is there was left behind.
    ///
    /// # Errors
    /// What the store says.
    pub async fn follow(self: &Arc<Self>, exclusive: bool) -> Result<()> {
        self.adopt(if exclusive { TimeDelta::days(1) } else { TimeDelta::zero() }).await?;
        let (resumption, stop) = (self.clone(), self.stop.clone());
        let looking = async move {
            let mut beats = tokio::time::interval(BEAT);
            beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = beats.tick() => {}
                    () = resumption.engine.inbound.released.notified() => {}
                }
                resumption.look().await.unwrap_or_else(|error| tracing::warn!(%error, "accepted messages could not be looked after"));
            }
        };
        let looking = async move {
            stop.run_until_cancelled(looking).await;
        };
        self.work.spawn_on(looking, &self.engine.runtime);
        Ok(())
    }

    /// What cannot hold its own messages must not take those of others. A message of this process that nobody holds is one whose
    /// sender went away while it was being stored.
    async fn look(&self) -> Result<()> {
        self.engine.inbound.hold().await?;
        self.adopt(TimeDelta::zero()).await
    }

    /// Takes messages over and begins their runs. Those that cannot begin yet are put back.
    async fn adopt(&self, ahead: TimeDelta) -> Result<()> {
        loop {
            let adopted = self.engine.inbound.adopt(ahead, BATCH).await?;
            let mut all = adopted.len() < BATCH as usize;
            for turn in turns(adopted) {
                let (tenant, ids) = (turn.tenant, turn.ids());
                if let Err(error) = self.begin(turn).await {
                    tracing::warn!(%error, "accepted messages cannot be answered yet");
                    // Not told, so that it is not tried at once.
                    self.engine.inbound.put_back(tenant, ids).await;
                    all = true;
                }
            }
            if all {
                return Ok(());
            }
        }
    }

    async fn begin(&self, turn: Turn) -> Result<()> {
        let Some(first) = turn.messages.first() else { return Ok(()) };
        if first.attempts > ATTEMPTS {
            return self.give_up(&turn).await;
        }
        let Some((agent, caller)) = self.audience(turn.tenant, first).await? else {
            tracing::warn!(session = first.session_key, "accepted messages have nobody to answer them");
            self.engine.inbound.settle(turn.tenant, turn.ids()).await;
            return Ok(());
        };
        let Kept { tags, trace_metadata } = Kept::of(first);
        let origin = Origin { peer_kind: first.origin.peer_kind.clone(), ..Origin::direct(&first.origin.channel, first.origin.chat_id.clone()) };
        let text = turn.messages.iter().map(|message| message.text.as_str()).collect::<Vec<_>>().join("\n\n");
        let request = Request {
            stored: first.said.is_some(),
            owed: turn.ids(),
            stream: true,
            options: RunOptions {
                tags,
                trace_metadata,
                // It turns nobody away: it is tried again.
                queueing: Some(Queueing { queue: QueueSettings { drop: DropPolicy::New, ..QueueSettings::default() }, ..Queueing::default() }),
                ..RunOptions::default()
            },
            ..Request::new(caller, agent, first.session_key.clone(), text, origin)
        };
        self.engine.start(request).map(drop)
    }

    /// Who answers, and on whose behalf; nobody if the agent, the conversation or the tenant is not there any more.
    async fn audience(&self, tenant: TenantId, message: &InboundMessage) -> Result<Option<(Agent, Caller)>> {
        let agent_id = message.agent_id.to_string();
        let (agent, session, row) =
            tokio::try_join!(self.agents.store.find(tenant, &agent_id), self.engine.sessions.find(tenant, &message.session_key), self.tenants.find(tenant))?;
        let agent = agent.filter(|agent| agent.id == message.agent_id && agent.status == AgentStatus::Active);
        let row = row.filter(|row| row.status == TenantStatus::Active);
        let there = message.said.is_none() || session.is_some_and(|session| session.user_id == message.origin.user_id);
        let (Some(agent), Some(row), true) = (agent, row, there) else { return Ok(None) };
        Ok(Some((agent, Caller::without_credential(tenant, &row.slug, message.origin.role, &message.origin.user_id))))
    }

    /// Says in the conversation that there will be no answer.
    async fn give_up(&self, turn: &Turn) -> Result<()> {
        let Some(first) = turn.messages.first() else { return Ok(()) };
        tracing::error!(session = first.session_key, "accepted messages are given up: each attempt to answer them ended with the gateway");
        let now = self.engine.clock.now();
        let said = |role, text: &str| ChatMessage { created_at: Some(now), ..ChatMessage::new(role, text) };
        let mut messages = vec![];
        messages.extend(first.said.is_none().then(|| said(MessageRole::User, &first.text)));
        messages.push(said(MessageRole::Assistant, GIVEN_UP));
        let delta = SessionDelta { answered: turn.ids(), ..SessionDelta::default() };
        match self.engine.sessions.append(turn.tenant, &first.session_key, &messages, &delta, now).await {
            Err(error) if error.kind == goclaw_ports::ErrorKind::NotFound => self.engine.inbound.settle(turn.tenant, turn.ids()).await,
            Err(error) => return Err(error),
            Ok(()) => self.engine.inbound.forget(&turn.ids()),
        }
        Ok(())
    }

    /// Takes nothing over any more, and lets go of what is not answered.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.work.close();
        if tokio::time::timeout(PATIENCE, self.work.wait()).await.is_err() {
            tracing::warn!("accepted messages are still being looked after");
        }
        self.engine.inbound.let_go().await;
    }
}

impl Turn {
    fn ids(&self) -> Vec<InboundId> {
        self.messages.iter().map(|message| message.id).collect()
    }
}

/// The runs that answer these messages: one for all of a conversation that are in it already, as if a run had taken them in, and one
/// for each that is not.
fn turns(messages: Vec<(TenantId, InboundMessage)>) -> Vec<Turn> {
    let mut turns: Vec<Turn> = vec![];
    for (tenant, message) in messages {
        let same = turns.iter_mut().find(|turn| {
            let first = turn.messages.first();
            turn.tenant == tenant && message.said.is_some() && first.is_some_and(|first| first.said.is_some() && first.session_key == message.session_key)
        });
        match same {
            Some(turn) => turn.messages.push(message),
            None => turns.push(Turn { tenant, messages: vec![message] }),
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;
    use goclaw_ports::{AgentId, roles::Role, subagents::TaskOrigin};
    use uuid::Uuid;

    fn message(session: &str, said: Option<i64>) -> (TenantId, InboundMessage) {
        let origin = TaskOrigin { channel: "ws".into(), chat_id: "u".into(), peer_kind: "direct".into(), user_id: "u".into(), role: Role::Operator };
        let message = InboundMessage {
            id: InboundId(Uuid::nil()),
            session_key: session.into(),
            agent_id: AgentId(Uuid::nil()),
            text: said.map_or_else(|| "new".into(), |said| said.to_string()),
            origin,
            metadata: JsonObject::new(),
            said,
            attempts: 1,
            created_at: chrono::DateTime::UNIX_EPOCH,
        };
        (TenantId::MASTER, message)
    }

    #[test]
    fn what_a_conversation_holds_is_answered_together_and_what_it_does_not_one_by_one() {
        let mut of_other = message("a", Some(4));
        of_other.0 = TenantId(Uuid::nil());
        let messages = vec![message("a", Some(1)), message("a", None), message("b", Some(2)), message("a", Some(3)), message("a", None), of_other];
        let texts: Vec<String> =
            turns(messages).iter().map(|turn| turn.messages.iter().map(|message| message.text.as_str()).collect::<Vec<_>>().join("+")).collect();
        assert_eq!(texts, ["1+3", "new", "2", "new", "4"]);
    }
}
