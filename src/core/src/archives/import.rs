//! Bringing an agent in.

use super::{
    Archives, Job, Place,
    inspect::{Inspection, Rows, refused},
    job::Teller,
    layout::{Section, WORKSPACE, keys, sections, slug_of},
};
use crate::{
    agents::{NewAgent, check_key, check_place},
    caller::{Access, Caller},
    workspace,
};
use futures_util::{StreamExt, stream};
use goclaw_ports::{
    AgentId, Error, ErrorKind, JsonObject, Result, TenantId,
    agents::Agent,
    archives::{ArchiveFiles, ImportCounts, ImportRow, ImportRows, ImportTarget, Placed},
    roles::Role,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::File,
    io::Read,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::mpsc;

/// How many batches of rows wait to be stored.
const QUEUE: usize = 2;
/// After how many files of a workspace it is told how far it is.
const TELL: u64 = 10;
/// Why parts of an archive were left out.
const UNSUPPORTED: &str = "skipped: this gateway does not keep it";

/// The texts that come with an archive of a new agent.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ImportFields {
    /// The agent's key, in place of the archive's.
    pub agent_key: String,
    /// The agent's name, in place of the archive's.
    pub display_name: String,
}

/// What an archive holds.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ImportPreview {
    /// Its manifest; `null` if it has none.
    pub manifest: Option<JsonObject>,
    /// Files of the agent's own.
    pub context_files: u64,
    /// Documents of its memory.
    pub memory_docs: u64,
    /// Entities of its knowledge graph.
    pub kg_entities: u64,
    /// Relations of its knowledge graph.
    pub kg_relations: u64,
    /// The manifest's version.
    pub version: Option<Value>,
    /// The manifest's format.
    pub format: Option<Value>,
    /// When it was exported.
    pub exported_at: Option<Value>,
    /// The agent's key; "" if it says none.
    pub agent_key: String,
    /// What the manifest says of each section; `agent_config` is true if a new agent can be made of it.
    pub sections: JsonObject,
    /// What this gateway cannot keep, by section.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub skipped: BTreeMap<&'static str, u64>,
}

/// What was imported.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ImportSummary {
    /// The agent.
    pub agent_id: AgentId,
    /// Its key.
    pub agent_key: String,
    /// Files of the agent's own.
    pub context_files: u64,
    /// Documents of its memory.
    pub memory_docs: u64,
    /// Entities of its knowledge graph.
    pub kg_entities: u64,
    /// Relations of its knowledge graph.
    pub kg_relations: u64,
    /// Files of its users.
    pub user_context_files: u64,
    /// Users who were not known.
    pub user_profiles: u64,
    /// Files of its workspace that were not there.
    pub workspace_files: u64,
    /// What the archive has and this gateway cannot keep, by section.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub skipped: BTreeMap<&'static str, u64>,
}

/// That somebody may bring in an archive: a place, and where it goes.
pub struct Admission {
    place: Place,
    into: Option<Agent>,
}

impl Archives {
    /// Lets the caller bring in an archive of a new agent. Only owners of the installation may.
    ///
    /// # Errors
    /// `Forbidden`; `Invalid` without a user; `Unavailable` while too many archives are made or read.
    pub fn admit(&self, caller: &Caller) -> Result<Admission> {
        caller.require(Role::Owner, Access::Manage, "/v1/agents/import")?;
        caller.named_user()?;
        Ok(Admission { place: self.place()?, into: None })
    }

    /// Lets the caller bring an archive into an agent. Only its owner may.
    ///
    /// # Errors
    /// `Forbidden`, `NotFound`; `Unavailable` while too many archives are made or read.
    pub async fn admit_into(&self, caller: &Caller, id: &str) -> Result<Admission> {
        caller.require(Role::Admin, Access::Manage, "/v1/agents/{id}/import")?;
        let agent = self.agents.own(caller, id, "import into").await?;
        Ok(Admission { place: self.place()?, into: Some(agent) })
    }

    /// Says what an archive holds.
    ///
    /// # Errors
    /// `Invalid` if it is none that can be imported.
    pub async fn import_preview(&self, admission: Admission, archive: File) -> Result<ImportPreview> {
        let _place = admission.place;
        let seen = inspect(&*self.files, &Arc::new(archive)).await?;
        let skipped = named(&seen.unsupported());
        let said = |key: &str| seen.manifest.as_ref().and_then(|manifest| manifest.get(key));
        let mut sections = said("sections").and_then(Value::as_object).cloned().unwrap_or_default();
        if seen.agent.is_some() {
            sections.insert("agent_config".into(), true.into());
        }
        let own_key = seen.agent.as_ref().map(|agent| agent.agent_key.as_str()).filter(|key| !key.is_empty());
        Ok(ImportPreview {
            context_files: seen.context_files,
            memory_docs: seen.memory_docs,
            kg_entities: seen.entities,
            kg_relations: seen.relations,
            version: said("version").cloned(),
            format: said("format").cloned(),
            exported_at: said("exported_at").cloned(),
            agent_key: own_key.or_else(|| said("agent_key").and_then(Value::as_str)).unwrap_or_default().to_owned(),
            sections,
            skipped,
            manifest: seen.manifest,
        })
    }

    /// Begins to make an agent of the caller's from an archive. It goes on though the job is dropped. If it fails, there is no agent.
    pub fn import(self: &Arc<Self>, caller: &Caller, admission: Admission, archive: File, fields: ImportFields) -> Job<ImportSummary> {
        let (archives, caller) = (self.clone(), caller.clone());
        Job::start(&self.work.imports, &self.runtime, |teller| async move {
            let _place = admission.place;
            archives.make(&caller, Arc::new(archive), fields, &teller).await
        })
    }

    /// Begins to bring an archive into an agent, whose configuration stays: the sections that a list with commas names, or all. It goes
    /// on though the job is dropped. If it fails, nothing was changed.
    pub fn merge(self: &Arc<Self>, caller: &Caller, admission: Admission, archive: File, include: Option<&str>) -> Job<ImportSummary> {
        let (archives, caller) = (self.clone(), caller.clone());
        let wanted = sections(include, &Section::ALL);
        Job::start(&self.work.imports, &self.runtime, |teller| async move {
            let _place = admission.place;
            let agent = admission.into.ok_or_else(|| Error::internal("an archive that goes nowhere"))?;
            let archive = Arc::new(archive);
            let seen = inspect(&*archives.files, &archive).await?;
            let bringing = Bringing { caller: &caller, archive, seen: &seen, wanted, teller: &teller };
            archives.bring(&bringing, &agent, ImportTarget::Existing(agent.id)).await
        })
    }

    async fn make(&self, caller: &Caller, archive: Arc<File>, fields: ImportFields, teller: &Teller) -> Result<ImportSummary> {
        teller.running("config", 0);
        let seen = inspect(&*self.files, &archive).await?;
        let settings = self.settings.of(caller.tenant).await?;
        let archived = seen.agent.clone().ok_or_else(|| refused("it holds no agent.json"))?;
        let (memory_config, compaction_config) = (archived.memory_config.clone(), archived.compaction_config.clone());
        let mut new = archived.into_new();
        let or = |own: String, other: String| if own.is_empty() { other } else { own };
        new.display_name = or(fields.display_name, new.display_name);
        let wanted = or(or(fields.agent_key, new.agent_key), slug_of(&new.display_name));
        check_key(&wanted)?;
        new.agent_key = String::new();
        teller.done("config", 1);
        let bringing = Bringing { caller, archive, seen: &seen, wanted: Section::ALL.to_vec(), teller };
        for key in keys(&wanted) {
            let Some(_reserved) = self.reserve(caller.tenant, &key).await? else { continue };
            let new = NewAgent { agent_key: key, ..new.clone() };
            let mut agent = new.into_agent(caller.tenant, caller.user.to_string(), &settings, AgentId(self.ids.row()), self.clock.now())?;
            // As the archive has them, also if it has none.
            (agent.memory_config, agent.compaction_config) = (memory_config.clone(), compaction_config.clone());
            check_place(caller, &settings, &agent)?;
            match self.bring(&bringing, &agent, ImportTarget::New(Box::new(agent.clone()), settings.edition.max_agents)).await {
                // Somebody was faster.
                Err(error) if error.kind == ErrorKind::AlreadyExists => {}
                done => return done,
            }
        }
        Err(Error::already_exists("agent", wanted))
    }

    /// Keeps the key for one import; `None` if it is taken, or another import has it.
    async fn reserve(&self, tenant: TenantId, key: &str) -> Result<Option<Reserved>> {
        let name = (tenant, key.to_owned());
        if !self.work.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone()) {
            return Ok(None);
        }
        let reserved = Reserved { name, keys: self.work.keys.clone() };
        Ok(self.agent_store.find(tenant, key).await?.is_none().then_some(reserved))
    }

    /// Brings what an archive holds into an agent. Files come first: they can be taken back if the rows are refused.
    async fn bring(&self, bringing: &Bringing<'_>, agent: &Agent, target: ImportTarget) -> Result<ImportSummary> {
        let Bringing { caller, seen, wanted, teller, .. } = bringing;
        let settings = self.settings.of(caller.tenant).await?;
        let directory = workspace::of_agent(&settings, caller.tenant, &caller.tenant_slug, agent);
        let placed = self.place_files(bringing, &directory).await?;
        let workspace_files = placed.counts.files;
        for section in wanted.iter().filter(|section| [Section::ContextFiles, Section::UserProfiles].contains(section)) {
            teller.running(section.as_str(), 0);
        }
        let rows = self.rows(bringing).await;
        let imported = {
            let _write = self.agents.known.write(caller.tenant);
            self.store.import(caller.tenant, target, rows, self.clock.now()).await
        };
        let counts = match imported {
            Ok(counts) => counts,
            Err(error) => {
                self.files.take_back(&directory, placed).await;
                return Err(error);
            }
        };
        self.tell(bringing, &counts);
        let skipped = seen.unsupported().into_iter().filter(|(section, _)| wanted.contains(section)).collect();
        let summary = ImportSummary {
            agent_id: agent.id,
            agent_key: agent.agent_key.clone(),
            context_files: counts.context_files,
            memory_docs: 0,
            kg_entities: 0,
            kg_relations: 0,
            user_context_files: counts.user_files,
            user_profiles: counts.profiles,
            workspace_files,
            skipped: named(&skipped),
        };
        let details = json!({
            "context_files": counts.context_files, "user_context_files": counts.user_files,
            "user_profiles": counts.profiles, "workspace_files": workspace_files,
        });
        self.audit.record(caller, "agent.imported", "agent", agent.id, Some(details)).await;
        Ok(summary)
    }

    async fn place_files(&self, bringing: &Bringing<'_>, directory: &Path) -> Result<Placed> {
        if bringing.seen.workspace_files == 0 || !bringing.wanted.contains(&Section::Workspace) {
            return Ok(Placed::default());
        }
        bringing.teller.running("workspace", 0);
        let teller = bringing.teller.clone();
        let progress = move |files: u64| {
            if files.is_multiple_of(TELL) {
                teller.running("workspace", files);
            }
        };
        let placed = self.files.place(bringing.archive.clone(), WORKSPACE, directory, Box::new(progress)).await?;
        bringing.teller.done("workspace", placed.counts.files);
        Ok(placed)
    }

    /// The rows of an archive. They are being read when this answers, so that whoever stores them waits for no thread.
    async fn rows(&self, bringing: &Bringing<'_>) -> ImportRows {
        let (to, mut from) = mpsc::channel(QUEUE);
        let reading = read_rows(self.files.clone(), bringing.archive.clone(), bringing.wanted.clone(), bringing.seen.users.clone(), to);
        tokio::spawn(reading);
        let first = from.recv().await;
        let others = stream::unfold(from, async |mut from| from.recv().await.map(|batch| (batch, from)));
        stream::iter(first).chain(others).boxed()
    }

    fn tell(&self, bringing: &Bringing<'_>, counts: &ImportCounts) {
        let Bringing { seen, wanted, teller, .. } = bringing;
        let unsupported = seen.unsupported();
        for section in wanted {
            match section {
                Section::ContextFiles => teller.done(section.as_str(), counts.context_files + counts.user_files),
                Section::UserProfiles => teller.done(section.as_str(), counts.profiles),
                // Told when it was done.
                Section::Workspace => {}
                other => {
                    if let Some(count) = unsupported.get(other) {
                        teller.skipped(other.as_str(), *count, UNSUPPORTED);
                    }
                }
            }
        }
    }
}

/// An archive on its way into an agent.
struct Bringing<'a> {
    caller: &'a Caller,
    archive: Arc<File>,
    seen: &'a Inspection,
    wanted: Vec<Section>,
    teller: &'a Teller,
}

/// A key that an import is about to give to a new agent.
struct Reserved {
    name: (TenantId, String),
    keys: Arc<Mutex<HashSet<(TenantId, String)>>>,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

/// Reads an archive to its end, for what it holds.
async fn inspect(files: &dyn ArchiveFiles, archive: &Arc<File>) -> Result<Inspection> {
    let seen = Arc::new(Mutex::new(Inspection::default()));
    let looking = seen.clone();
    let each = Box::new(move |path: &str, content: &mut dyn Read| looking.lock().unwrap_or_else(PoisonError::into_inner).entry(path, content));
    files.read(archive.clone(), each).await?;
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::take(&mut *seen))
}

async fn read_rows(
    files: Arc<dyn ArchiveFiles>,
    archive: Arc<File>,
    wanted: Vec<Section>,
    users: HashMap<String, String>,
    to: mpsc::Sender<Result<Vec<ImportRow>>>,
) {
    let rows = Arc::new(Mutex::new(Rows::new(wanted, users, to.clone())));
    let reading = rows.clone();
    let each = Box::new(move |path: &str, content: &mut dyn Read| reading.lock().unwrap_or_else(PoisonError::into_inner).entry(path, content));
    let last = match files.read(archive, each).await {
        Ok(()) => Ok(rows.lock().unwrap_or_else(PoisonError::into_inner).rest()),
        Err(error) => Err(error),
    };
    // Whoever does not take it has failed already.
    let _ = to.send(last).await;
}

fn named(sections: &BTreeMap<Section, u64>) -> BTreeMap<&'static str, u64> {
    sections.iter().map(|(section, count)| (section.as_str(), *count)).collect()
}
