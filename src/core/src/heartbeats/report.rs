//! What becomes of a heartbeat: its log, its delivery, and who is told.

use super::{
    run::{Ended, Turn},
    schedule::Heart,
};
use goclaw_ports::{
    Error, ErrorKind, JsonObject, Result, TenantId,
    channels::{Channels, OutboundMessage},
    events::Event,
    heartbeats::{Heartbeat, HeartbeatLog, HeartbeatStatus, SkipReason},
    message,
};
use serde_json::json;

/// The answer of an agent that has nothing to report.
const NOTHING: &str = "HEARTBEAT_OK";
/// The longest summary, in characters.
const MAX_SUMMARY: usize = 500;

impl Heart {
    /// Not now, but an interval later.
    pub(super) async fn skip(&self, turn: &Turn, reason: SkipReason) -> Result<Option<HeartbeatStatus>> {
        let log = HeartbeatLog { skip_reason: Some(reason), ..self.log(turn, HeartbeatStatus::Skipped) };
        if !self.store.finish(turn.tenant, turn.claim, &log).await? {
            return Ok(None);
        }
        self.tell_end(turn, &log);
        Ok(Some(log.status))
    }

    /// The agent is at work: the next look tries again.
    pub(super) async fn put_off(&self, turn: &Turn) -> Result<Option<HeartbeatStatus>> {
        let log = HeartbeatLog { skip_reason: Some(SkipReason::QueueBusy), ..self.log(turn, HeartbeatStatus::Skipped) };
        if self.store.put_off(turn.tenant, turn.claim, &log).await? {
            self.tell_end(turn, &log);
        }
        Ok(None)
    }

    /// Writes down how it ended, delivers the answer if there is one, and tells the tenant.
    pub(super) async fn conclude(&self, turn: &Turn, ended: Ended) -> Result<Option<HeartbeatStatus>> {
        let mut log = self.log(turn, HeartbeatStatus::Error);
        log.duration_ms = Some((log.created_at - turn.began).num_milliseconds().max(0));
        let mut answer = None;
        match ended {
            Ended::Stopped => log.error = Some(message::run_cancelled().to_string()),
            Ended::Failed(error) => {
                log.error = Some(told(&error));
            }
            Ended::Answered(outcome) => {
                (log.input_tokens, log.output_tokens) = outcome.usage.map_or((0, 0), |usage| (usage.prompt_tokens, usage.completion_tokens));
                log.summary = Some(outcome.content.chars().take(MAX_SUMMARY).collect()).filter(|summary: &String| !summary.is_empty());
                let silent = outcome.content.contains(NOTHING) || (outcome.content.is_empty() && outcome.media.is_empty());
                log.status = if silent { HeartbeatStatus::Suppressed } else { HeartbeatStatus::Ok };
                answer = Some(outcome).filter(|_| !silent);
            }
        }
        let out = answer.zip(address(&turn.beat)).map(|(outcome, (channel, chat_id))| OutboundMessage {
            channel,
            chat_id,
            content: outcome.content,
            media: outcome.media,
            metadata: Default::default(),
        });
        log.metadata = out.as_ref().map(|out| delivery(out, "sending"));
        // First it is written down, so that whoever takes over after a crash does not deliver a second answer.
        if !self.store.finish(turn.tenant, turn.claim, &log).await? {
            return Ok(None);
        }
        if let Some(out) = out {
            deliver(&*self.channels, turn.tenant, out, &mut log).await;
            let metadata = log.metadata.clone().unwrap_or_default();
            if let Err(error) = self.store.amend_log(turn.tenant, log.id, log.error.as_deref(), &metadata).await {
                tracing::warn!(%error, agent = turn.agent.agent_key, "the log of a heartbeat does not say what became of its delivery");
            }
        }
        self.tell_end(turn, &log);
        Ok(Some(log.status))
    }

    fn log(&self, turn: &Turn, status: HeartbeatStatus) -> HeartbeatLog {
        HeartbeatLog {
            id: self.ids.row(),
            heartbeat_id: turn.beat.id,
            agent_id: turn.agent.id,
            status,
            summary: None,
            error: None,
            duration_ms: None,
            input_tokens: 0,
            output_tokens: 0,
            skip_reason: None,
            metadata: None,
            ran_at: turn.began,
            created_at: self.clock.now(),
        }
    }

    fn tell_end(&self, turn: &Turn, log: &HeartbeatLog) {
        let mut more = JsonObject::from_iter([("status".to_owned(), json!(log.status))]);
        more.extend(log.error.as_ref().map(|error| ("error".to_owned(), json!(error))));
        more.extend(log.skip_reason.map(|reason| ("reason".to_owned(), json!(reason))));
        self.tell(turn, log.status.as_str(), &more);
    }

    pub(super) fn tell(&self, turn: &Turn, action: &str, more: &JsonObject) {
        let mut payload = json!({"action": action, "agentId": turn.agent.id, "agentKey": turn.agent.agent_key});
        more.iter().for_each(|(name, value)| payload[name] = value.clone());
        self.bus.publish(Event::new(turn.tenant, "heartbeat", payload));
    }
}

/// The chat that answers go to, if both its parts are set.
fn address(beat: &Heartbeat) -> Option<(String, String)> {
    beat.channel.clone().zip(beat.chat_id.clone())
}

/// What people are told of a failure.
fn told(error: &Error) -> String {
    match error.kind {
        ErrorKind::Internal => message::heartbeat_failed().to_string(),
        _ => error.message.to_string(),
    }
}

/// Hands the answer over to its channel, once, and notes what became of it.
async fn deliver(channels: &dyn Channels, tenant: TenantId, out: OutboundMessage, log: &mut HeartbeatLog) {
    let (channel, sent, failed) = (out.channel.clone(), delivery(&out, "sent"), delivery(&out, "failed"));
    log.metadata = Some(match channels.send(tenant, out).await {
        Ok(()) => sent,
        Err(error) => {
            tracing::warn!(%tenant, channel, %error, "the answer of a heartbeat could not be delivered");
            log.error = Some(told(&error));
            failed
        }
    });
}

/// What the log says of a delivery.
fn delivery(out: &OutboundMessage, state: &str) -> JsonObject {
    let delivery = json!({"channel": out.channel, "chatId": out.chat_id, "state": state});
    JsonObject::from_iter([("delivery".to_owned(), delivery)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use chrono::DateTime;
    use goclaw_ports::{AgentId, HeartbeatId, channels::DeliveryTarget};
    use std::sync::Mutex;
    use uuid::Uuid;

    /// A tenant's only channel, `telegram`, and what went out over it.
    #[derive(Default)]
    struct Telegram(Mutex<Vec<(TenantId, OutboundMessage)>>);

    #[async_trait]
    impl Channels for Telegram {
        async fn targets(&self, _: TenantId) -> Result<Vec<DeliveryTarget>> {
            Ok(vec![])
        }
        async fn send(&self, tenant: TenantId, message: OutboundMessage) -> Result<()> {
            if message.channel != "telegram" {
                return Err(Error::internal("postgres://user:password@host"));
            }
            self.0.lock().unwrap().push((tenant, message));
            Ok(())
        }
    }

    fn log() -> HeartbeatLog {
        HeartbeatLog {
            id: Uuid::nil(),
            heartbeat_id: HeartbeatId(Uuid::nil()),
            agent_id: AgentId(Uuid::nil()),
            status: HeartbeatStatus::Ok,
            summary: None,
            error: None,
            duration_ms: None,
            input_tokens: 0,
            output_tokens: 0,
            skip_reason: None,
            metadata: None,
            ran_at: DateTime::UNIX_EPOCH,
            created_at: DateTime::UNIX_EPOCH,
        }
    }

    #[tokio::test]
    async fn an_answer_is_handed_over_once_and_the_log_says_so() {
        let telegram = Telegram::default();
        let out = |channel: &str| OutboundMessage { channel: channel.into(), chat_id: "7".into(), content: "Wet.".into(), ..OutboundMessage::default() };
        let mut sent = log();
        deliver(&telegram, TenantId::MASTER, out("telegram"), &mut sent).await;
        assert_eq!(*telegram.0.lock().unwrap(), [(TenantId::MASTER, out("telegram"))]);
        assert_eq!((sent.error, sent.metadata), (None, Some(delivery(&out("telegram"), "sent"))));
        let mut failed = log();
        deliver(&telegram, TenantId::MASTER, out("slack"), &mut failed).await;
        assert_eq!(telegram.0.lock().unwrap().len(), 1);
        let told = "the heartbeat failed; the details are in the gateway's log".to_owned();
        assert_eq!((failed.error, failed.metadata), (Some(told), Some(delivery(&out("slack"), "failed"))), "no secret is told");
    }
}
