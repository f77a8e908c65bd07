//! Looking after tasks while nobody does: holding on to those of this process, taking over those of processes that died, and
//! putting away those that are long done.

use super::{Kept, NO_TEXT, Subagents, announce, conversation_of, end_of, lock};
use crate::{
    media,
    runs::{engine::ENDED, sanitise},
};
use chrono::TimeDelta;
use goclaw_ports::{
    Result, SubagentTaskId, TenantId, message,
    sessions::{MessageRole, Session},
    subagents::{SubagentTask, TaskEnd, TaskLease, TaskStatus},
    tools::MediaResult,
};
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::time::MissedTickBehavior;

/// How often this process says that it lives, and looks for those that do not.
const BEAT: Duration = Duration::from_secs(3);
/// Each how manieth beat tasks are put away.
const ARCHIVING: u32 = 20;
/// How many tasks are taken over, or put away, at once.
const BATCH: i64 = 200;
/// How long a task is kept after it was put away.
const KEPT: TimeDelta = TimeDelta::days(30);
/// How long a task that was taken over is kept before it is put away.
const ARCHIVE: TimeDelta = TimeDelta::minutes(60);
/// How long the end waits for what is being written.
const PATIENCE: Duration = Duration::from_secs(5);

impl Subagents {
    /// Takes over what died, now and from time to time. `exclusive` is whether no other process can be at work: then all
    /// that runs has died.
    ///
    /// # Errors
    /// What the store says.
    pub async fn follow(self: &Arc<Self>, exclusive: bool) -> Result<()> {
        self.adopt(if exclusive { TimeDelta::days(1) } else { TimeDelta::zero() }).await?;
        let (subagents, stop) = (self.clone(), self.stop.clone());
        let caring = async move {
            let mut beats = tokio::time::interval(BEAT);
            beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for beat in 0_u32.. {
                beats.tick().await;
                subagents.care(exclusive, beat % ARCHIVING == 0).await.unwrap_or_else(|error| tracing::warn!(%error, "tasks could not be looked after"));
            }
        };
        let caring = async move {
            stop.run_until_cancelled(caring).await;
        };
        self.work.spawn_on(caring, &self.engine.runtime);
        Ok(())
    }

    async fn care(self: &Arc<Self>, exclusive: bool, archive: bool) -> Result<()> {
        self.hold().await?;
        self.tell_progress();
        if !exclusive {
            self.adopt(TimeDelta::zero()).await?;
        }
        if archive {
            self.archive().await?;
        }
        Ok(())
    }

    /// Says that this process lives. What another replica has stopped is stopped here.
    async fn hold(&self) -> Result<()> {
        let known: Vec<SubagentTaskId> = lock(&self.running).keys().copied().collect();
        if known.is_empty() && self.announcing.is_idle() {
            return Ok(());
        }
        let running: HashSet<SubagentTaskId> = self.store.all_tenants_renew(self.lease()).await?.into_iter().collect();
        let running_here = lock(&self.running);
        for id in known.iter().filter(|id| !running.contains(id)) {
            if let Some(underway) = running_here.get(id) {
                underway.cancel.cancel();
            }
        }
        Ok(())
    }

    async fn adopt(self: &Arc<Self>, ahead: TimeDelta) -> Result<()> {
        loop {
            let adopted = self.store.all_tenants_adopt(ahead, self.lease(), BATCH).await?;
            let all = adopted.len() < BATCH as usize;
            for (tenant, task) in adopted {
                tracing::warn!(task = %task.id, session = task.session_key, "a task was left behind by a gateway that is gone");
                let session = task.session_key.clone();
                if task.status == TaskStatus::Running {
                    let end = self.found_end(tenant, &task).await;
                    let task = self.store_end(tenant, task, end).await;
                    self.tell(tenant, &task, "async");
                    self.tell_accumulated(tenant, &task).await;
                }
                self.announce_soon(tenant, &session);
            }
            if all {
                return Ok(());
            }
        }
    }

    /// How the run of a task ended whose process is gone: its conversation says it if there is a result.
    async fn found_end(&self, tenant: TenantId, task: &SubagentTask) -> TaskEnd {
        let now = self.clock().now();
        let result = self.result_in(tenant, &conversation_of(task)).await.unwrap_or_else(|error| {
            tracing::warn!(%error, task = %task.id, "what came of a task could not be read");
            None
        });
        let Some((session, status, text, media)) = result else {
            return end_of(TaskStatus::Failed, message::run_interrupted().to_string(), task, now, ARCHIVE);
        };
        TaskEnd {
            metadata: Kept { media, ..Kept::of(task) }.metadata(),
            model: session.model,
            provider: session.provider,
            input_tokens: session.input_tokens,
            output_tokens: session.output_tokens,
            ..end_of(status, text, task, now, ARCHIVE)
        }
    }

    /// The result that stands at the end of a task's conversation, with its files, if its run came to one.
    async fn result_in(&self, tenant: TenantId, key: &str) -> Result<Option<(Session, TaskStatus, String, Vec<MediaResult>)>> {
        let Some(session) = self.engine.sessions.find(tenant, key).await? else { return Ok(None) };
        let Some(ended) = session.metadata.get(ENDED) else { return Ok(None) };
        let status = if ended == "exhausted" { TaskStatus::Failed } else { TaskStatus::Completed };
        let Some(last) = self.engine.sessions.messages(tenant, key, Some(1)).await?.pop() else { return Ok(None) };
        let text = if sanitise::is_silent(&last.content) { String::new() } else { sanitise::delivered(&last.content) };
        let text = if text.trim().is_empty() { NO_TEXT.into() } else { text };
        Ok((last.role == MessageRole::Assistant).then(|| (session, status, text, media::named_by(&last.media_refs))))
    }

    async fn archive(&self) -> Result<()> {
        let now = self.clock().now();
        let archived = self.store.all_tenants_archive(now, now - KEPT, BATCH).await?;
        for (tenant, key) in announce::conversations(&archived) {
            self.engine.sessions.delete(tenant, &key).await?;
        }
        Ok(())
    }

    /// Lets go: what conversations do not know yet, the next process tells them.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.work.close();
        if tokio::time::timeout(PATIENCE, self.work.wait()).await.is_err() {
            tracing::warn!("a task does not end");
        }
        let gone = TaskLease { owner: self.owner, lasts: TimeDelta::zero() };
        if let Err(error) = self.store.all_tenants_renew(gone).await {
            tracing::warn!(%error, "tasks could not be let go; others take them over later");
        }
    }
}
