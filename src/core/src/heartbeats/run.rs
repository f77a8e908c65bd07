//! One heartbeat: whether it runs now, and asking the agent.

use super::{
    checklist_of, hours,
    schedule::{Heart, LEASE},
};
use crate::{
    caller::Caller,
    context_files,
    runs::{
        engine::{End, RunOutcome},
        lanes::Lane,
        queue::Queueing,
        request::{Origin, Request, RunOptions},
    },
};
use chrono::{DateTime, Utc};
use goclaw_ports::{
    Error, ErrorKind, JsonObject, Result, TenantId,
    agents::{Agent, AgentStatus},
    heartbeats::{ClaimedHeartbeat, Heartbeat, HeartbeatStatus, SkipReason},
    message,
    roles::Role,
    sessions::SessionFilter,
    tenants::TenantStatus,
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The channel of heartbeats that have none.
const CHANNEL: &str = "heartbeat";
/// How long a heartbeat may take in all.
const LIMIT: Duration = Duration::from_secs(1_800);
/// How often its claim is renewed.
const RENEW: Duration = Duration::from_secs(30);
/// How many conversations that a crash left behind are swept up at once.
const SWEPT: i64 = 20;

/// A heartbeat that is run.
pub(super) struct Turn {
    pub tenant: TenantId,
    pub beat: Heartbeat,
    pub claim: Uuid,
    pub agent: Agent,
    caller: Caller,
    pub began: DateTime<Utc>,
}

/// How asking the agent ended.
pub(super) enum Ended {
    Answered(RunOutcome),
    Failed(Error),
    Stopped,
}

/// Why it must end before the agent has answered.
#[derive(Debug, PartialEq, Eq)]
enum Cut {
    TooLong,
    /// Somebody else has the heartbeat, or it is gone.
    Lost,
}

impl Heart {
    /// Runs a claimed heartbeat. Answers how it went; `None` if it is due still, or not ours to run.
    pub(super) async fn run(&self, claimed: ClaimedHeartbeat, claim: Uuid) -> Result<Option<HeartbeatStatus>> {
        let ClaimedHeartbeat { tenant, heartbeat: beat } = claimed;
        let began = self.clock.now();
        let (owner, agent) = tokio::try_join!(self.tenants.find(tenant), self.find_agent(tenant, &beat))?;
        let owner = owner.filter(|tenant| tenant.status == TenantStatus::Active);
        let (Some(owner), Some(agent)) = (owner, agent.filter(|agent| agent.status == AgentStatus::Active)) else {
            self.store.release(tenant, beat.id, claim).await?;
            return Ok(None);
        };
        let caller = Caller::without_credential(tenant, &owner.slug, Role::Operator, &agent.owner_id);
        let turn = Turn { tenant, beat, claim, agent, caller, began };
        if !hours::is_active(&turn.beat, began) {
            return self.skip(&turn, SkipReason::ActiveHours).await;
        }
        if self.is_busy(&turn).await? {
            return self.put_off(&turn).await;
        }
        let checklist = checklist_of(&*self.agents, &turn.agent).await?;
        if checklist.trim().is_empty() {
            return self.skip(&turn, SkipReason::EmptyChecklist).await;
        }
        self.tell(&turn, "running", &JsonObject::new());
        let cancel = CancellationToken::new();
        let ended = until(self.ask(&turn, &checklist, &cancel), self.watch(&turn), &cancel).await;
        match ended {
            Ok(Ended::Stopped) if self.work.stop.is_cancelled() => {
                // The gateway stops: the next one that looks runs it.
                self.store.release(tenant, turn.beat.id, claim).await?;
                Ok(None)
            }
            Ok(ended) => self.conclude(&turn, ended).await,
            Err(Cut::TooLong) => self.conclude(&turn, Ended::Failed(Error::new(ErrorKind::Timeout, message::timeout("the heartbeat")))).await,
            Err(Cut::Lost) => {
                tracing::warn!(agent = turn.agent.agent_key, "the heartbeat was taken over or deleted while it ran");
                Ok(None)
            }
        }
    }

    /// Whether the agent has a run, here or on another gateway that vouches for it.
    async fn is_busy(&self, turn: &Turn) -> Result<bool> {
        Ok(self.runs.of_agent(turn.tenant, &turn.agent.agent_key) > 0 || !self.elsewhere.busy(turn.tenant, Some(turn.agent.id)).await?.is_empty())
    }

    async fn find_agent(&self, tenant: TenantId, beat: &Heartbeat) -> Result<Option<Agent>> {
        let agent = self.agents.find(tenant, &beat.agent_id.to_string()).await?;
        Ok(agent.filter(|agent| agent.id == beat.agent_id))
    }

    /// Renews the claim as long as it can, and for as long as the heartbeat may take.
    async fn watch(&self, turn: &Turn) -> Cut {
        let deadline = tokio::time::Instant::now() + LIMIT;
        let mut held = turn.began + LEASE;
        let mut tick = tokio::time::interval(RENEW);
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => return Cut::TooLong,
                _ = tick.tick() => {}
            }
            let until = self.clock.now() + LEASE;
            match self.store.renew(turn.tenant, turn.beat.id, turn.claim, until).await {
                Ok(true) => held = until,
                Ok(false) => return Cut::Lost,
                Err(error) => {
                    tracing::warn!(%error, agent = turn.agent.agent_key, "the claim on a heartbeat could not be renewed");
                    // It ends before somebody else may begin.
                    if self.clock.now() + RENEW >= held {
                        return Cut::Lost;
                    }
                }
            }
        }
    }

    /// Asks the agent, again if that fails and may go better.
    async fn ask(&self, turn: &Turn, checklist: &str, cancel: &CancellationToken) -> Ended {
        let mut last = None;
        for attempt in 0..=turn.beat.max_retries {
            if attempt > 0 {
                let pause = Duration::from_secs(1 << (attempt - 1));
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = cancel.cancelled() => return Ended::Stopped,
                    () = self.work.stop.cancelled() => return Ended::Stopped,
                }
            }
            match self.attempt(turn, checklist, cancel).await {
                End::Completed(outcome) => return Ended::Answered(outcome),
                End::Cancelled => return Ended::Stopped,
                End::Failed(error) if self.work.stop.is_cancelled() => {
                    tracing::debug!(%error, "a heartbeat was cut off by the end of the gateway");
                    return Ended::Stopped;
                }
                End::Failed(error) => {
                    let hopeless = matches!(error.kind, ErrorKind::Invalid | ErrorKind::Forbidden | ErrorKind::NotFound | ErrorKind::Precondition);
                    last = Some(error);
                    if hopeless {
                        break;
                    }
                }
            }
        }
        Ended::Failed(last.unwrap_or_else(|| Error::internal("a heartbeat was not attempted")))
    }

    async fn attempt(&self, turn: &Turn, checklist: &str, cancel: &CancellationToken) -> End {
        let (beat, key) = (&turn.beat, &turn.agent.agent_key);
        let isolated = beat.isolated_session;
        if isolated {
            self.sweep(turn).await;
        }
        let session = if isolated { format!("agent:{key}:heartbeat:{}", self.clock.now().timestamp_millis()) } else { format!("agent:{key}:heartbeat") };
        let order = beat.prompt.clone().unwrap_or_else(|| include_str!("../../prompts/heartbeat.md").trim().to_owned());
        let provider = beat.provider_name.clone().unwrap_or_default();
        let mut tags = vec!["heartbeat".to_owned()];
        tags.extend(Some(format!("provider:{provider}")).filter(|_| !provider.is_empty()));
        let options = RunOptions {
            extra_prompt: format!("{}\n\n<checklist>\n{}\n</checklist>", include_str!("../../prompts/heartbeat_rules.md").trim(), checklist.trim()),
            provider,
            model: beat.model.clone().unwrap_or_default(),
            light_context: beat.light_context,
            // It stands in what this run adds.
            without_file: Some(context_files::HEARTBEAT),
            queueing: Some(Queueing { lane: Some(Lane::Cron), ..Queueing::default() }),
            trace_name: format!("Heartbeat [{key}]"),
            tags,
            cancel: Some(cancel.clone()),
            ..RunOptions::default()
        };
        // The type is ours, whatever the channel is called: it names the runs in the metrics.
        let origin =
            Origin { channel_type: CHANNEL.to_owned(), ..Origin::direct(beat.channel.as_deref().unwrap_or(CHANNEL), beat.chat_id.clone().unwrap_or_default()) };
        let request = Request { options, ..Request::new(turn.caller.clone(), turn.agent.clone(), session.clone(), order, origin) };
        let end = match self.engine.start(request) {
            Ok(started) => started.end.await.unwrap_or_else(|_| End::Failed(Error::internal("the run ended without an end"))),
            Err(error) => End::Failed(error),
        };
        if isolated && let Err(error) = self.sessions.delete(turn.tenant, &session).await {
            tracing::warn!(%error, session, "the conversation of a heartbeat could not be deleted");
        }
        end
    }

    /// Deletes conversations of this heartbeat that a crash left behind: only one runs at a time.
    async fn sweep(&self, turn: &Turn) {
        let left = SessionFilter {
            agent_key: Some(turn.agent.agent_key.clone()),
            channel: Some("heartbeat".to_owned()),
            user_id: Some(turn.caller.user.to_string()),
            limit: SWEPT,
            ..SessionFilter::default()
        };
        let swept = async {
            let own = format!("agent:{}:heartbeat:", turn.agent.agent_key);
            let is_own = |key: &str| key.strip_prefix(&own).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
            for session in self.sessions.list(turn.tenant, &left).await?.0.into_iter().filter(|session| is_own(&session.key)) {
                self.sessions.delete(turn.tenant, &session.key).await?;
            }
            Ok::<_, Error>(())
        };
        if let Err(error) = swept.await {
            tracing::warn!(%error, agent = turn.agent.agent_key, "old conversations of a heartbeat could not be deleted");
        }
    }
}

/// Does `work`, but not beyond what `limit` allows: then it is stopped, and has ended when this answers.
async fn until<T, L>(work: impl Future<Output = T>, limit: impl Future<Output = L>, stop: &CancellationToken) -> Result<T, L> {
    tokio::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => Ok(done),
        cut = limit => {
            stop.cancel();
            work.await;
            Err(cut)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    #[tokio::test]
    async fn work_that_hangs_is_stopped_and_has_ended_when_its_time_is_over() {
        let stop = CancellationToken::new();
        let ended = std::sync::atomic::AtomicBool::new(false);
        let hangs = async {
            stop.cancelled().await;
            ended.store(true, std::sync::atomic::Ordering::Relaxed);
        };
        assert_eq!(until(hangs, ready(Cut::TooLong), &stop).await, Err(Cut::TooLong));
        assert!(ended.into_inner());
        let stop = CancellationToken::new();
        assert_eq!(until(ready(1), pending::<Cut>(), &stop).await, Ok(1));
        assert!(!stop.is_cancelled());
    }
}
