//! Putting words into an agent's mouth: a message in a conversation without a run.

use super::{Chat, agent_in, well_formed};
use crate::caller::{Access, Caller};
use goclaw_ports::{
    Error, Result, SessionId, message,
    roles::Role,
    sessions::{ChatMessage, MessageRole, NewSession, SessionDelta},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How much of a label is kept, in bytes.
const MAX_LABEL: usize = 100;

/// A message that the agent is to have said.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Injection {
    /// In which conversation.
    pub session_key: String,
    /// What.
    pub message: String,
    /// Where it comes from; it stands in brackets before the message.
    pub label: String,
}

/// A message that is in the conversation.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Injected {
    /// Always true.
    pub ok: bool,
    /// The message's id.
    pub message_id: Uuid,
}

impl Injection {
    /// The text of the message.
    fn text(&self) -> String {
        let label = self.label.trim();
        let end = (0..=MAX_LABEL.min(label.len())).rev().find(|at| label.is_char_boundary(*at)).unwrap_or_default();
        match &label[..end] {
            "" => self.message.clone(),
            label => format!("[{label}]\n\n{}", self.message),
        }
    }
}

impl Chat {
    /// Puts a message of the agent into a conversation, which is opened if it is not there (`chat.inject`).
    ///
    /// # Errors
    /// `Forbidden` below operator, for an agent that the caller may not use, and for another user's conversation below admin;
    /// `Invalid` without a conversation or a message, or if they are too long; `NotFound` for an unknown agent.
    pub async fn inject(&self, caller: &Caller, injection: Injection) -> Result<Injected> {
        caller.require(Role::Operator, Access::Write, "chat.inject")?;
        let key = &injection.session_key;
        if key.is_empty() {
            return Err(Error::required("sessionKey"));
        }
        well_formed("sessionKey", key)?;
        if injection.message.trim().is_empty() {
            return Err(Error::invalid(message::message_required()));
        }
        let limit = self.engine.settings.of(caller.tenant).await?.gateway.max_message_chars;
        if limit > 0 && injection.message.chars().count() > limit {
            return Err(Error::invalid(message::too_long("message", limit)));
        }
        let now = self.engine.clock.now();
        if let Some(session) = self.sessions.visible(caller, key).await? {
            if let Some(agent) = session.agent_id {
                self.agents.resolve(caller, &agent.to_string()).await?;
            }
        } else {
            if caller.user.is_empty() {
                return Err(Error::invalid(message::user_id_required()));
            }
            let named = agent_in(key);
            if named.is_empty() {
                return Err(Error::invalid(message::invalid_request("sessionKey must begin with agent:{agent key}:")));
            }
            let agent = self.agents.resolve(caller, named).await?;
            let new = NewSession {
                id: SessionId(self.ids.row()),
                key: key.clone(),
                agent_id: agent.id,
                user_id: caller.user.to_string(),
                channel: channel_in(key).to_owned(),
            };
            let opened = self.engine.sessions.open(caller.tenant, &new, now).await?;
            // Somebody else may have opened it since.
            if opened.user_id != *caller.user && !caller.is_admin() {
                return Err(Error::forbidden("this session belongs to another user"));
            }
        }
        let said = ChatMessage { created_at: Some(now), ..ChatMessage::new(MessageRole::Assistant, injection.text()) };
        self.engine.sessions.append(caller.tenant, key, &[said], &SessionDelta::default(), now).await?;
        self.sessions.audit.record(caller, "chat.injected", "session", key, None).await;
        Ok(Injected { ok: true, message_id: self.ids.random() })
    }
}

/// The channel that a session key names: `agent:{agent}:{this}:…`, or `agent:{agent}:{this}-…`.
fn channel_in(session_key: &str) -> &str {
    let rest = session_key.splitn(3, ':').nth(2).unwrap_or_default();
    rest.split([':', '-']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(label: &str) -> String {
        Injection { label: label.into(), message: "hi".into(), ..Injection::default() }.text()
    }

    #[test]
    fn a_label_stands_before_the_message_and_is_cut_between_characters() {
        assert_eq!(text(" "), "hi");
        assert_eq!(text("note"), "[note]\n\nhi");
        assert_eq!(text(&"ü".repeat(60)), format!("[{}]\n\nhi", "ü".repeat(50)));
        assert_eq!(text(&format!("x{}", "ü".repeat(60))), format!("[x{}]\n\nhi", "ü".repeat(49)));
    }

    #[test]
    fn a_key_names_its_channel() {
        for (key, channel) in [("agent:fox:ws:direct:1", "ws"), ("agent:fox:http-mai-12", "http"), ("agent:fox:heartbeat", "heartbeat"), ("x", "")] {
            assert_eq!(channel_in(key), channel);
        }
    }
}
