//! Summoning: a model writes the files that make an agent what it is.

mod answer;
mod writer;

use crate::{
    context_files::{self, IDENTITY, SOUL, USER_PREDEFINED},
    pools::Routes,
    providers::Registry,
    runs::engine::model_of,
    settings::TenantSettings,
    traces::{Tracer, new_trace},
};
use answer::WRITTEN;
use async_trait::async_trait;
use goclaw_ports::{
    AgentId, Error, ErrorKind, Result, TenantId, TraceId,
    agents::{Agent, AgentPatch, AgentStatus, AgentStore, AgentType, ContextFile},
    clock::{Clock, Ids},
    events::{Event, EventBus},
    llm::Provider,
    message,
    traces::TraceStatus,
};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use writer::{Shelf, Writer};

/// How many agents of this process are summoned at once.
const PLACES: usize = 32;
/// How long a first summoning may take.
const FIRST_TIME: Duration = Duration::from_secs(600);
/// How long a change may take.
const EDIT_TIME: Duration = Duration::from_secs(300);
/// A summoning that was last heard of longer ago than this has lost its process.
const STALE: chrono::TimeDelta = chrono::TimeDelta::minutes(15);
/// How often lost summonings are looked for.
const SWEEP: Duration = Duration::from_secs(300);
/// How long the end waits for what is stopped.
const PATIENCE: Duration = Duration::from_secs(5);

/// Has models write agents' files.
pub(crate) struct Summoner {
    pub store: Arc<dyn AgentStore>,
    pub registry: Arc<Registry>,
    pub routes: Arc<Routes>,
    pub settings: Arc<TenantSettings>,
    pub tracer: Tracer,
    pub bus: Arc<dyn EventBus>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    pub runtime: tokio::runtime::Handle,
    pub work: Work,
}

/// What goes on.
pub(crate) struct Work {
    places: Arc<Semaphore>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Default for Work {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(PLACES)), stop: CancellationToken::new(), tasks: TaskTracker::new() }
    }
}

/// A place among those that are summoned. Dropping it gives it back.
pub(crate) struct Place(#[expect(dead_code, reason = "it is held, not looked at")] OwnedSemaphorePermit);

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// Write the files from the agent's description.
    Write,
    /// Change the files as this text says.
    Edit(String),
}

/// An agent that is summoned.
pub(crate) struct Job {
    pub agent: Agent,
    pub order: Order,
    /// Its status until now.
    pub before: AgentStatus,
    /// Who asked for it.
    pub user: Arc<str>,
}

/// The description that an agent is summoned from.
pub(crate) fn description_of(agent: &Agent) -> Option<&str> {
    agent.other("description")?.as_str().map(str::trim).filter(|text| !text.is_empty())
}

impl Summoner {
    /// A place for one more.
    ///
    /// # Errors
    /// `Unavailable` while there are too many, or while the gateway stops.
    pub fn reserve(&self) -> Result<Place> {
        if self.work.stop.is_cancelled() {
            return Err(Error::new(ErrorKind::Unavailable, message::shutting_down()));
        }
        let place = self.work.places.clone().try_acquire_owned();
        place.map(Place).map_err(|_| Error::unavailable("summoning").retry_after(Duration::from_secs(30)))
    }

    /// The provider that would be asked.
    ///
    /// # Errors
    /// `Unavailable` if there is none.
    pub async fn provider(&self, agent: &Agent) -> Result<Arc<dyn Provider>> {
        let settings = self.settings.of(agent.tenant_id).await?;
        let wanted = if agent.provider.is_empty() { &settings.agents.provider } else { &agent.provider };
        let provider = self.registry.choose(agent.tenant_id, wanted);
        let provider = self.routes.of(agent.tenant_id, wanted, agent, provider).await;
        provider.ok_or_else(|| Error::new(ErrorKind::Unavailable, message::no_providers(&agent.agent_key)))
    }

    /// Begins, in the background. The agent's status is `summoning` already.
    pub fn begin(self: &Arc<Self>, place: Place, job: Job) {
        let summoner = self.clone();
        let task = async move {
            let _place = place;
            summoner.summon(&job).await;
        };
        self.work.tasks.spawn_on(task, &self.runtime);
    }

    async fn summon(&self, job: &Job) {
        self.tell(job, "started", None, None);
        let limit = if job.order == Order::Write { FIRST_TIME } else { EDIT_TIME };
        let done = tokio::select! {
            biased;
            () = self.work.stop.cancelled() => Err(Error::new(ErrorKind::Unavailable, message::shutting_down())),
            done = tokio::time::timeout(limit, self.carry_out(job)) => {
                done.unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, message::upstream_timeout())))
            }
        };
        let ended = match done {
            Ok(summary) => self.complete(job, summary).await,
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            self.fail(job, &error).await;
        }
    }

    /// Has the files written; answers with what the agent is good for, if the model said so.
    async fn carry_out(&self, job: &Job) -> Result<Option<String>> {
        let agent = &job.agent;
        let mut current = self.store.files(agent.tenant_id, agent.id).await?;
        let wanted = match job.order {
            Order::Edit(_) => WRITTEN.to_vec(),
            Order::Write => {
                self.complete_templates(agent, &mut current).await?;
                let wanted: Vec<&str> = WRITTEN.into_iter().filter(|name| !is_written(agent, &current, name)).collect();
                if !wanted.contains(&SOUL) && !wanted.contains(&IDENTITY) {
                    for name in [SOUL, IDENTITY] {
                        self.tell(job, "file_generated", Some(name), None);
                    }
                    return Ok(None);
                }
                wanted
            }
        };
        let provider = self.provider(agent).await?;
        let settings = self.settings.of(agent.tenant_id).await?;
        let model = model_of("", agent, &settings, &*provider);
        let mut trace = new_trace(TraceId(self.ids.row()), format!("summon {}", agent.agent_key), self.clock.now());
        trace.agent_id = Some(agent.id);
        trace.user_id = job.user.to_string();
        trace.tags = vec!["summoning".into()];
        let text = match &job.order {
            Order::Write => description_of(agent).unwrap_or_default(),
            Order::Edit(wish) => wish,
        };
        trace.input_preview = text.to_owned();
        let trace = self.tracer.begin(agent.tenant_id, trace, CancellationToken::new());
        let mut writer = Writer { provider, model, settings, trace };
        let shelf = AgentShelf { summoner: self, job };
        let done = match job.order {
            Order::Write => writer.write(text, &current, &wanted, &shelf).await,
            Order::Edit(_) => writer.edit(text, &current, &shelf).await,
        };
        let (status, error) = match &done {
            Ok(_) => (TraceStatus::Completed, String::new()),
            Err(error) => (TraceStatus::Error, crate::redact::redact(&error.to_string()).into_owned()),
        };
        self.tracer.finish(writer.trace, status, error, String::new());
        done
    }

    /// Gives the agent the templates of files that it lacks.
    async fn complete_templates(&self, agent: &Agent, current: &mut Vec<ContextFile>) -> Result<()> {
        for template in templates_of(agent).into_iter().filter(|file| WRITTEN.contains(&file.name.as_str())) {
            if current.iter().any(|file| file.name == template.name && !file.content.trim().is_empty()) {
                continue;
            }
            current.retain(|file| file.name != template.name);
            if template.name == USER_PREDEFINED {
                self.store.put_file(agent.tenant_id, agent.id, &template, self.clock.now()).await?;
            }
            current.push(template);
        }
        Ok(())
    }

    /// The files are there: the agent gets its summary, a name if it has none, and its status.
    async fn complete(&self, job: &Job, summary: Option<String>) -> Result<()> {
        let (tenant, id) = (job.agent.tenant_id, job.agent.id);
        let agent = self.store.find(tenant, &id.to_string()).await?.filter(|agent| agent.id == id).ok_or_else(|| Error::not_found("agent", id))?;
        let files = self.store.files(tenant, id).await?;
        let identity = files.iter().find(|file| file.name == IDENTITY).map_or("", |file| &file.content);
        let stands_in = || description_of(&agent).map(answer::excerpt).filter(|_| agent.frontmatter.is_empty() && job.order == Order::Write);
        let patch = AgentPatch {
            frontmatter: summary.or_else(stands_in),
            display_name: answer::name_in(identity).filter(|_| agent.display_name.is_empty()),
            ..AgentPatch::default()
        };
        self.store.update(tenant, id, &patch, &[], self.clock.now()).await?;
        let after = if job.before == AgentStatus::Inactive { AgentStatus::Inactive } else { AgentStatus::Active };
        self.store.switch_status(tenant, id, &[AgentStatus::Summoning], after, self.clock.now()).await?;
        self.tell(job, "completed", None, None);
        Ok(())
    }

    /// An agent that worked before works on as it was.
    async fn fail(&self, job: &Job, error: &Error) {
        let (tenant, id) = (job.agent.tenant_id, job.agent.id);
        if error.kind == ErrorKind::NotFound {
            tracing::info!(agent = %id, "the agent that was being summoned is gone");
            return;
        }
        tracing::warn!(agent = %id, %error, "the agent could not be summoned");
        let after = match job.before {
            AgentStatus::Active | AgentStatus::Inactive => job.before,
            AgentStatus::Summoning | AgentStatus::SummonFailed => AgentStatus::SummonFailed,
        };
        if let Err(error) = self.store.switch_status(tenant, id, &[AgentStatus::Summoning], after, self.clock.now()).await {
            tracing::error!(agent = %id, %error, "the agent's status could not be changed");
        }
        let told = if error.kind == ErrorKind::Internal { message::summoning_failed().to_string() } else { error.message.to_string() };
        self.tell(job, "failed", None, Some(&told));
    }

    fn tell(&self, job: &Job, kind: &str, file: Option<&str>, error: Option<&str>) {
        let mut payload = json!({"type": kind, "agent_id": job.agent.id});
        for (key, value) in [("file", file), ("error", error)] {
            if let Some(value) = value {
                payload[key] = value.into();
            }
        }
        self.bus.publish(Event::new(job.agent.tenant_id, "agent.summoning", payload));
    }

    /// Marks summonings as failed that a process left behind, now and from time to time. `exclusive` is whether no other
    /// process can be at work.
    ///
    /// # Errors
    /// What the store says.
    pub async fn follow(self: &Arc<Self>, exclusive: bool) -> Result<()> {
        let now = self.clock.now();
        let lost = self.store.all_tenants_fail_summoning(if exclusive { now } else { now - STALE }, now).await?;
        if lost > 0 {
            tracing::warn!(agents = lost, "summonings were interrupted when a gateway last stopped");
        }
        let (summoner, stop) = (self.clone(), self.work.stop.clone());
        let sweeping = async move {
            let mut tick = tokio::time::interval(SWEEP);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            tick.tick().await;
            loop {
                tick.tick().await;
                let now = summoner.clock.now();
                match summoner.store.all_tenants_fail_summoning(now - STALE, now).await {
                    Ok(0) => {}
                    Ok(lost) => tracing::warn!(agents = lost, "summonings were left behind by a gateway that is gone"),
                    Err(error) => tracing::warn!(%error, "lost summonings could not be looked for"),
                }
            }
        };
        let sweeping = async move {
            stop.run_until_cancelled(sweeping).await;
        };
        self.work.tasks.spawn_on(sweeping, &self.runtime);
        Ok(())
    }

    /// Stops what goes on: agents that are being summoned count as failed, or work on as before.
    pub async fn stop(&self) {
        self.work.stop.cancel();
        self.work.tasks.close();
        if tokio::time::timeout(PATIENCE, self.work.tasks.wait()).await.is_err() {
            tracing::warn!("a summoning does not end");
        }
    }
}

/// The files that a model writes, as an agent has them before.
fn templates_of(agent: &Agent) -> Vec<ContextFile> {
    context_files::seed_of(&Agent { agent_type: AgentType::Predefined, ..agent.clone() })
}

/// Whether a file says more than its template does, whatever name it gives.
fn is_written(agent: &Agent, current: &[ContextFile], name: &str) -> bool {
    let nameless = |file: &ContextFile| context_files::with_field(&file.content, "Name", "").trim().to_owned();
    let of = |files: &[ContextFile]| files.iter().find(|file| file.name == name && !file.content.trim().is_empty()).map(nameless);
    of(current).is_some_and(|text| of(&templates_of(agent)).is_none_or(|template| template != text))
}

/// Where an agent's files are kept.
struct AgentShelf<'a> {
    summoner: &'a Summoner,
    job: &'a Job,
}

#[async_trait]
impl Shelf for AgentShelf<'_> {
    async fn keep(&self, file: &ContextFile) -> Result<()> {
        let Job { agent, .. } = self.job;
        let (tenant, id): (TenantId, AgentId) = (agent.tenant_id, agent.id);
        self.summoner.store.put_file(tenant, id, file, self.summoner.clock.now()).await?;
        self.summoner.tell(self.job, "file_generated", Some(&file.name), None);
        Ok(())
    }
}
