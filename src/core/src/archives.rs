//! Agents as archives: who may take one out, who may bring one in.

mod export;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod import;
mod inspect;
mod job;
mod layout;

pub use export::ExportPreview;
pub use import::{Admission, ImportFields, ImportPreview, ImportSummary};
pub use job::{Job, Progress, Step};

use crate::{
    agents::Agents,
    audit::Audit,
    caller::Caller,
    settings::{Settings, TenantSettings},
    workspace,
};
use goclaw_ports::{
    Error, ErrorKind, Result, TenantId,
    agents::{Agent, AgentFilter, AgentStore},
    archives::{ArchiveFiles, ArchiveStore},
    clock::{Clock, Ids},
    message,
};
use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

/// How many archives are made and read at once, in all.
const AT_ONCE: usize = 4;
/// When to try again if there is no place.
const RETRY: Duration = Duration::from_secs(10);

/// What may be done with archives.
pub struct Archives {
    pub(crate) agents: Arc<Agents>,
    pub(crate) agent_store: Arc<dyn AgentStore>,
    pub(crate) store: Arc<dyn ArchiveStore>,
    pub(crate) files: Arc<dyn ArchiveFiles>,
    pub(crate) settings: Arc<TenantSettings>,
    pub(crate) audit: Audit,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) work: Work,
}

/// What is under way.
pub(crate) struct Work {
    places: Arc<Semaphore>,
    imports: TaskTracker,
    /// The keys that imports are about to give to new agents.
    keys: Arc<Mutex<HashSet<(TenantId, String)>>>,
}

impl Default for Work {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE)), imports: TaskTracker::new(), keys: Arc::default() }
    }
}

/// A place among those who make or read an archive. Dropping it gives it back.
struct Place(#[expect(dead_code, reason = "it is held, not looked at")] OwnedSemaphorePermit);

impl Archives {
    /// Waits until the imports that are under way have ended, and begins no more.
    pub(crate) async fn stop(&self, grace: Duration) {
        self.work.places.close();
        self.work.imports.close();
        if tokio::time::timeout(grace, self.work.imports.wait()).await.is_err() {
            tracing::warn!(imports = self.work.imports.len(), "imports were cut off");
        }
    }

    fn place(&self) -> Result<Place> {
        match self.work.places.clone().try_acquire_owned() {
            Ok(place) => Ok(Place(place)),
            Err(tokio::sync::TryAcquireError::Closed) => Err(Error::new(ErrorKind::Unavailable, message::shutting_down())),
            Err(tokio::sync::TryAcquireError::NoPermits) => Err(Error::unavailable("export and import").retry_after(RETRY)),
        }
    }

    /// The agent's directory, and what in it belongs to others.
    async fn directory(&self, caller: &Caller, settings: &Settings, agent: &Agent) -> Result<(PathBuf, Vec<PathBuf>)> {
        let of = |agent: &Agent| workspace::of_agent(settings, caller.tenant, &caller.tenant_slug, agent);
        let directory = of(agent);
        let others = self.agent_store.list(caller.tenant, &AgentFilter::default()).await?;
        let mut without: Vec<PathBuf> = others.iter().filter(|other| other.id != agent.id).map(of).filter(|other| *other != directory).collect();
        if caller.tenant == TenantId::MASTER {
            without.push(workspace::of_tenants(settings));
        }
        Ok((directory, without))
    }
}
