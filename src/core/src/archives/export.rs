//! Taking an agent out.

use super::{
    Archives, Job,
    job::Teller,
    layout::{AGENT, ArchivedAgent, MANIFEST, PROFILES, Section, UserNames, WORKSPACE, manifest, sections, segment},
};
use crate::{
    caller::{Access, Caller},
    exports::Export,
};
use chrono::{DateTime, Utc};
use goclaw_ports::{
    Error, JsonObject, Result, TenantId,
    agents::{Agent, ContextFile},
    archives::{ArchiveFiles, ArchiveStore, PackedArchive, Packing},
    roles::Role,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use std::{path::PathBuf, sync::Arc};

/// How many files of users are read together: each may be large.
const FILES: i64 = 16;
/// How many users are read together.
const USERS: i64 = 1_000;
/// After how many files of a workspace it is told how far it is.
const TELL: u64 = 10;

/// What an export would hold. What this installation does not keep is 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[expect(missing_docs, reason = "the names say it")]
pub struct ExportPreview {
    /// The agent's own.
    pub context_files: i64,
    /// Users who have context files.
    pub user_context_files_users: i64,
    pub memory_global: i64,
    pub memory_per_user: i64,
    pub kg_entities: i64,
    pub kg_relations: i64,
    pub cron_jobs: i64,
    pub user_profiles: i64,
    pub user_overrides: i64,
    pub team_tasks: i64,
    pub team_members: i64,
    pub agent_links: i64,
    /// Without hidden files, links and files over 50 MiB.
    pub workspace_files: i64,
}

impl Archives {
    /// What an export of an agent would hold. Only its owner may ask.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`.
    pub async fn export_preview(&self, caller: &Caller, id: &str) -> Result<ExportPreview> {
        caller.require(Role::Viewer, Access::Read, "/v1/agents/{id}/export/preview")?;
        let agent = self.agents.own(caller, id, "export").await?;
        let settings = self.settings.of(caller.tenant).await?;
        let (directory, without) = self.directory(caller, &settings, &agent).await?;
        let (counts, files) = tokio::try_join!(self.store.archive_counts(caller.tenant, agent.id), self.files.count(&directory, &without))?;
        Ok(ExportPreview {
            context_files: counts.context_files,
            user_context_files_users: counts.users_with_files,
            user_profiles: counts.profiles,
            workspace_files: i64::try_from(files.files).unwrap_or(i64::MAX),
            ..ExportPreview::default()
        })
    }

    /// Begins to export an agent: the sections that a list with commas names, or its context files. Only its owner may. Dropping the
    /// job ends it.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`; `Unavailable` while too many archives are made or read.
    pub async fn export(&self, caller: &Caller, id: &str, list: Option<&str>) -> Result<(Agent, Job<Export>)> {
        caller.require(Role::Viewer, Access::Read, "/v1/agents/{id}/export")?;
        let agent = self.agents.own(caller, id, "export").await?;
        let place = self.place()?;
        let settings = self.settings.of(caller.tenant).await?;
        let (directory, without) = self.directory(caller, &settings, &agent).await?;
        let now = self.clock.now();
        let name = format!("agent-{}-{}.tar.gz", file_name(&agent.agent_key), now.format("%Y%m%d"));
        let making = Making {
            tenant: caller.tenant,
            agent: agent.clone(),
            sections: sections(list, &[Section::ContextFiles]),
            directory,
            without,
            store: self.store.clone(),
            own_files: self.agent_store.files(caller.tenant, agent.id).await?,
        };
        let (files, by) = (self.files.clone(), caller.user.clone());
        let job = Job::start_for_caller(&self.runtime, |teller| async move {
            let _place = place;
            let archive = making.make(&*files, &by, now, &teller).await?;
            Ok(Export { name, archive })
        });
        self.audit.record(caller, "agent.exported", "agent", agent.id, None).await;
        Ok((agent, job))
    }
}

/// A key as part of a file's name.
fn file_name(key: &str) -> String {
    key.chars().map(|c| if matches!(c, 'a'..='z' | '0'..='9' | '_' | '-') { c } else { '-' }).collect()
}

/// An archive that is to be made.
struct Making {
    tenant: TenantId,
    agent: Agent,
    sections: Vec<Section>,
    directory: PathBuf,
    without: Vec<PathBuf>,
    store: Arc<dyn ArchiveStore>,
    own_files: Vec<ContextFile>,
}

impl Making {
    async fn make(&self, files: &dyn ArchiveFiles, by: &str, now: DateTime<Utc>, teller: &Teller) -> Result<PackedArchive> {
        let mut archive = files.pack().await?;
        let mut said = JsonObject::new();
        let mut users = UserNames::default();
        teller.running("config", 0);
        file(&mut *archive, AGENT, indented(&ArchivedAgent::of(&self.agent))?).await?;
        said.insert("config".into(), json!({"count": 1}));
        teller.done("config", 1);
        for section in &self.sections {
            match section {
                Section::ContextFiles => {
                    self.own_files(&mut *archive, teller, &mut said).await?;
                    self.user_files(&mut *archive, teller, &mut said, &mut users).await?;
                }
                Section::UserProfiles => self.profiles(&mut *archive, teller, &mut said).await?,
                Section::Workspace => self.workspace(&mut *archive, teller, &mut said).await?,
                // There is nothing of these.
                Section::Memory | Section::KnowledgeGraph | Section::Cron | Section::UserOverrides | Section::Team => {}
            }
        }
        let manifest = manifest(&self.agent, by, now, &said, &users.told());
        file(&mut *archive, MANIFEST, indented(&manifest)?).await?;
        archive.finish().await
    }

    async fn own_files(&self, archive: &mut dyn Packing, teller: &Teller, said: &mut JsonObject) -> Result<()> {
        teller.running("context_files", 0);
        for own in &self.own_files {
            file(archive, &format!("context_files/{}", segment(&own.name)), own.content.clone().into_bytes()).await?;
        }
        let count = self.own_files.len() as u64;
        said.insert("context_files".into(), json!({"count": count}));
        teller.done("context_files", count);
        Ok(())
    }

    async fn user_files(&self, archive: &mut dyn Packing, teller: &Teller, said: &mut JsonObject, users: &mut UserNames) -> Result<()> {
        teller.running("user_context_files", 0);
        let mut count = 0;
        let mut last: Option<(String, String)> = None;
        let mut name = String::new();
        loop {
            let after = last.as_ref().map(|(user, name)| (user.as_str(), name.as_str()));
            let page = self.store.user_files_after(self.tenant, self.agent.id, after, FILES).await?;
            if page.is_empty() {
                break;
            }
            for (user, one) in page {
                if last.as_ref().is_none_or(|(known, _)| *known != user) {
                    name = users.name(&user);
                }
                file(archive, &format!("user_context_files/{name}/{}", segment(&one.name)), one.content.into_bytes()).await?;
                count += 1;
                last = Some((user, one.name));
            }
        }
        said.insert("user_context_files".into(), json!({"count": count}));
        teller.done("user_context_files", count);
        Ok(())
    }

    async fn profiles(&self, archive: &mut dyn Packing, teller: &Teller, said: &mut JsonObject) -> Result<()> {
        teller.running("user_profiles", 0);
        let mut count = 0;
        let mut last: Option<String> = None;
        loop {
            let page = self.store.profiles_after(self.tenant, self.agent.id, last.as_deref(), USERS).await?;
            let Some(end) = page.last() else { break };
            let mut lines = Vec::new();
            for profile in &page {
                serde_json::to_writer(&mut lines, profile).map_err(Error::internal)?;
                lines.push(b'\n');
            }
            if count == 0 {
                archive.begin(PROFILES).await?;
            }
            archive.write(lines).await?;
            count += page.len() as u64;
            last = Some(end.user_id.clone());
        }
        if count > 0 {
            archive.end().await?;
        }
        said.insert("user_profiles".into(), json!({"count": count}));
        teller.done("user_profiles", count);
        Ok(())
    }

    async fn workspace(&self, archive: &mut dyn Packing, teller: &Teller, said: &mut JsonObject) -> Result<()> {
        teller.running("workspace", 0);
        let progress = {
            let teller = teller.clone();
            move |files: u64| {
                if files.is_multiple_of(TELL) {
                    teller.running("workspace", files);
                }
            }
        };
        let counts = archive.workspace(WORKSPACE, &self.directory, &self.without, Box::new(progress)).await?;
        said.insert("workspace".into(), json!({"file_count": counts.files, "total_bytes": counts.bytes}));
        teller.done("workspace", counts.files);
        Ok(())
    }
}

async fn file(archive: &mut dyn Packing, path: &str, content: Vec<u8>) -> Result<()> {
    archive.begin(path).await?;
    archive.write(content).await?;
    archive.end().await
}

fn indented(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(value).map_err(Error::internal)
}
