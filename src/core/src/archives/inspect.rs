//! Reading what an archive brings: first all of it, to know whether it can be used, then its rows.

use super::layout::{ArchivedAgent, FORMAT, Part, Section, VERSION, part, segment};
use crate::agents::MAX_USER;
use goclaw_ports::{
    Error, JsonObject, Result,
    agents::ContextFile,
    archives::{ArchivedProfile, ImportRow},
    message,
};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Display,
    io::{BufRead, BufReader, Read},
};
use tokio::sync::mpsc;

/// The longest line of a list, in bytes.
const MAX_LINE: u64 = 10 << 20;
/// The largest context file, in bytes.
const MAX_TEXT: u64 = 4 << 20;
/// The largest description of an agent, in bytes.
const MAX_AGENT: u64 = 4 << 20;
/// The largest manifest, in bytes: it may name every user.
const MAX_MANIFEST: u64 = 16 << 20;
/// How many rows travel together, and how many bytes.
const BATCH: (usize, usize) = (500, 1 << 20);

/// The archive is at fault.
pub(super) fn refused(why: impl Display) -> Error {
    Error::invalid(message::archive_invalid(why))
}

/// What an archive holds.
#[derive(Debug, Default)]
pub(super) struct Inspection {
    pub manifest: Option<JsonObject>,
    pub agent: Option<ArchivedAgent>,
    /// Who is behind names of paths that do not say it.
    pub users: HashMap<String, String>,
    pub context_files: u64,
    pub user_files: u64,
    pub profiles: u64,
    pub overrides: u64,
    pub memory_docs: u64,
    pub entities: u64,
    pub relations: u64,
    pub cron_jobs: u64,
    pub teams: u64,
    pub workspace_files: u64,
}

impl Inspection {
    /// Looks at a file.
    pub fn entry(&mut self, path: &str, content: &mut dyn Read) -> Result<()> {
        match part(path) {
            Part::Agent => self.agent = Some(json(AGENT_FILE, content, MAX_AGENT)?),
            Part::Manifest => self.manifest(json(MANIFEST_FILE, content, MAX_MANIFEST)?)?,
            Part::ContextFile(_) => {
                text(path, content)?;
                self.context_files += 1;
            }
            Part::UserFile(..) => {
                text(path, content)?;
                self.user_files += 1;
            }
            Part::Profiles => lines(path, content, |profile| {
                checked_profile(profile)?;
                self.profiles += 1;
                Ok(())
            })?,
            Part::Overrides => count(path, content, &mut self.overrides)?,
            Part::Memory => count(path, content, &mut self.memory_docs)?,
            Part::Entities => count(path, content, &mut self.entities)?,
            Part::Relations => count(path, content, &mut self.relations)?,
            Part::Cron => count(path, content, &mut self.cron_jobs)?,
            Part::Team => self.teams += 1,
            Part::Workspace => self.workspace_files += 1,
            Part::Unknown => {}
        }
        Ok(())
    }

    fn manifest(&mut self, manifest: JsonObject) -> Result<()> {
        if let Some(format) = manifest.get("format")
            && format != FORMAT
        {
            return Err(refused(format!("its format is {format}, not \"{FORMAT}\"")));
        }
        if let Some(version) = manifest.get("version")
            && version.as_u64() != Some(VERSION)
        {
            return Err(refused(format!("its version is {version}, and this gateway reads {VERSION}")));
        }
        if let Some(users) = manifest.get("user_ids") {
            let users: HashMap<String, String> =
                serde_json::from_value(users.clone()).map_err(|error| refused(format!("{MANIFEST_FILE}: user_ids: {error}")))?;
            users.values().try_for_each(|user| check_user(user))?;
            self.users = users;
        }
        self.manifest = Some(manifest);
        Ok(())
    }

    /// What the archive has of sections that this gateway cannot keep, by section.
    pub fn unsupported(&self) -> BTreeMap<Section, u64> {
        let all = [
            (Section::Memory, self.memory_docs),
            (Section::KnowledgeGraph, self.entities + self.relations),
            (Section::Cron, self.cron_jobs),
            (Section::UserOverrides, self.overrides),
            (Section::Team, self.teams),
        ];
        all.into_iter().filter(|(_, count)| *count > 0).collect()
    }
}

const AGENT_FILE: &str = super::layout::AGENT;
const MANIFEST_FILE: &str = super::layout::MANIFEST;

/// Reads the rows of an archive that was looked at before, and sends them off in batches.
pub(super) struct Rows {
    sections: Vec<Section>,
    users: HashMap<String, String>,
    batch: Vec<ImportRow>,
    bytes: usize,
    to: mpsc::Sender<Result<Vec<ImportRow>>>,
}

impl Rows {
    pub fn new(sections: Vec<Section>, users: HashMap<String, String>, to: mpsc::Sender<Result<Vec<ImportRow>>>) -> Self {
        Self { sections, users, batch: Vec::new(), bytes: 0, to }
    }

    /// Takes the rows of a file. Waits for whoever stores them.
    pub fn entry(&mut self, path: &str, content: &mut dyn Read) -> Result<()> {
        match part(path) {
            Part::ContextFile(name) if self.wants(Section::ContextFiles) => {
                let file = ContextFile { name: segment(name), content: text(path, content)? };
                self.push(ImportRow::ContextFile(file))
            }
            Part::UserFile(user, name) if self.wants(Section::ContextFiles) => {
                let file = ContextFile { name: segment(name), content: text(path, content)? };
                let user = self.users.get(user).map_or(user, String::as_str).to_owned();
                self.push(ImportRow::UserFile(user, file))
            }
            Part::Profiles if self.wants(Section::UserProfiles) => {
                lines(path, content, |profile: ArchivedProfile| self.push(ImportRow::Profile(checked_profile(profile)?)))
            }
            _ => Ok(()),
        }
    }

    /// The rows that have not been sent off.
    pub fn rest(&mut self) -> Vec<ImportRow> {
        self.bytes = 0;
        std::mem::take(&mut self.batch)
    }

    fn wants(&self, section: Section) -> bool {
        self.sections.contains(&section)
    }

    fn push(&mut self, row: ImportRow) -> Result<()> {
        self.bytes += match &row {
            ImportRow::ContextFile(file) | ImportRow::UserFile(_, file) => file.content.len(),
            ImportRow::Profile(_) => 0,
        };
        self.batch.push(row);
        if self.batch.len() < BATCH.0 && self.bytes < BATCH.1 {
            return Ok(());
        }
        let batch = self.rest();
        self.to.blocking_send(Ok(batch)).map_err(|_| Error::internal("nobody takes the rows of an archive any more"))
    }
}

fn check_user(user: &str) -> Result<()> {
    if user.is_empty() || user.len() > MAX_USER { Err(refused(format!("a user id must have 1 to {MAX_USER} bytes"))) } else { Ok(()) }
}

fn checked_profile(profile: ArchivedProfile) -> Result<ArchivedProfile> {
    check_user(&profile.user_id)?;
    Ok(profile)
}

/// The content of a file that must not be longer than `limit`.
fn whole(path: &str, content: &mut dyn Read, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    content.take(limit + 1).read_to_end(&mut bytes).map_err(refused)?;
    if bytes.len() as u64 > limit { Err(refused(format!("{path} is larger than {} MiB", limit >> 20))) } else { Ok(bytes) }
}

fn text(path: &str, content: &mut dyn Read) -> Result<String> {
    String::from_utf8(whole(path, content, MAX_TEXT)?).map_err(|_| refused(format!("{path} is not UTF-8")))
}

/// What a JSON object holds. A list of the fields in order, which serde would take as well, is refused.
fn json<T: DeserializeOwned>(path: &str, content: &mut dyn Read, limit: u64) -> Result<T> {
    let object = serde_json::from_slice(&whole(path, content, limit)?).map(Value::Object);
    object.and_then(serde_json::from_value).map_err(|error| refused(format!("{path}: {error}")))
}

/// Gives each line of a list, which is a JSON object, to `each`. Empty lines are none.
fn lines<T: DeserializeOwned>(path: &str, content: &mut dyn Read, mut each: impl FnMut(T) -> Result<()>) -> Result<()> {
    let mut content = BufReader::new(content);
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let read = (&mut content).take(MAX_LINE + 1).read_until(b'\n', &mut line).map_err(refused)?;
        if read == 0 {
            break;
        }
        if read as u64 > MAX_LINE {
            return Err(refused(format!("{path}: line {number} is longer than {} MiB", MAX_LINE >> 20)));
        }
        if !line.trim_ascii().is_empty() {
            each(serde_json::from_slice(&line).map_err(|error| refused(format!("{path}: line {number}: {error}")))?)?;
        }
    }
    Ok(())
}

fn count(path: &str, content: &mut dyn Read, number: &mut u64) -> Result<()> {
    lines(path, content, |_: HashMap<String, IgnoredAny>| {
        *number += 1;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use goclaw_ports::ErrorKind;
    use proptest::prelude::*;
    use rstest::rstest;

    fn inspected(files: &[(&str, &str)]) -> Result<Inspection> {
        let mut inspection = Inspection::default();
        files.iter().try_for_each(|(path, content)| inspection.entry(path, &mut content.as_bytes()))?;
        Ok(inspection)
    }

    fn rows(sections: &[Section], files: &[(&str, &str)]) -> Vec<ImportRow> {
        let users = inspected(files).unwrap().users;
        let (to, mut from) = mpsc::channel(100);
        let mut rows = Rows::new(sections.to_vec(), users, to);
        for (path, content) in files {
            rows.entry(path, &mut content.as_bytes()).unwrap();
        }
        let rest = rows.rest();
        drop(rows);
        let mut all = Vec::new();
        while let Some(batch) = from.blocking_recv() {
            all.extend(batch.unwrap());
        }
        all.extend(rest);
        all
    }

    fn file(name: &str, content: &str) -> ContextFile {
        ContextFile { name: name.into(), content: content.into() }
    }

    const ARCHIVE: &[(&str, &str)] = &[
        ("manifest.json", r#"{"version":1,"format":"goclaw-agent-export","user_ids":{"a_b":"a/b"}}"#),
        ("agent.json", r#"{"agent_key":"fox","tools_config":null}"#),
        ("context_files/SOUL.md", "soul"),
        ("user_context_files/a_b/USER.md", "user"),
        ("user_context_files/mai/USER.md", "mai"),
        ("user_profiles.jsonl", "{\"user_id\":\"mai\",\"workspace\":\"/w\"}\n\n{\"user_id\":\"a/b\"}"),
        ("user_overrides.jsonl", "{}\n"),
        ("memory/global.jsonl", "{}\n{}\n"),
        ("memory/users/mai.jsonl", "{}"),
        ("knowledge_graph/entities.jsonl", "{}\n"),
        ("knowledge_graph/relations.jsonl", "{}\n{}\n{}\n"),
        ("cron/jobs.jsonl", "{}\n"),
        ("team/team.json", "whatever"),
        ("workspace/a.bin", "\0"),
        ("something/else", "\0"),
    ];

    #[test]
    fn what_an_archive_holds_is_counted() {
        let seen = inspected(ARCHIVE).unwrap();
        assert_eq!(seen.agent.as_ref().unwrap().agent_key, "fox");
        assert_eq!((seen.context_files, seen.user_files, seen.profiles, seen.workspace_files), (1, 2, 2, 1));
        assert_eq!((seen.memory_docs, seen.entities, seen.relations), (3, 1, 3));
        let expected = [(Section::Memory, 3), (Section::KnowledgeGraph, 4), (Section::Cron, 1), (Section::UserOverrides, 1), (Section::Team, 1)];
        assert_eq!(seen.unsupported(), BTreeMap::from(expected));
    }

    #[test]
    fn rows_are_those_of_the_sections_that_are_wanted() {
        let files = [
            ImportRow::ContextFile(file("SOUL.md", "soul")),
            ImportRow::UserFile("a/b".into(), file("USER.md", "user")),
            ImportRow::UserFile("mai".into(), file("USER.md", "mai")),
        ];
        assert_eq!(rows(&[Section::ContextFiles], ARCHIVE), files);
        assert_eq!(rows(&[Section::UserProfiles, Section::Memory], ARCHIVE).len(), 2);
        assert_eq!(rows(&Section::ALL, ARCHIVE).len(), 5);
    }

    #[test]
    fn many_rows_travel_in_batches_and_stop_when_nobody_takes_them() {
        let profiles: String = (0..1_200).map(|n| format!("{{\"user_id\":\"u{n}\"}}\n")).collect();
        assert_eq!(rows(&Section::ALL, &[("user_profiles.jsonl", &profiles)]).len(), 1_200);
        let (to, from) = mpsc::channel(1);
        drop(from);
        let mut gone = Rows::new(Section::ALL.to_vec(), HashMap::new(), to);
        assert!(gone.entry("user_profiles.jsonl", &mut profiles.as_bytes()).is_err());
    }

    #[rstest]
    #[case::agent_is_no_json("agent.json", "{", "agent.json")]
    #[case::agent_is_no_object("agent.json", "[]", "agent.json")]
    #[case::agent_of_another_shape("agent.json", r#"{"agent_key":5}"#, "agent.json")]
    #[case::manifest_is_no_object("manifest.json", "5", "manifest.json")]
    #[case::version("manifest.json", r#"{"version":2,"format":"goclaw-agent-export"}"#, "version is 2")]
    #[case::version_is_no_number("manifest.json", r#"{"version":"1"}"#, "version is")]
    #[case::team("manifest.json", r#"{"version":1,"format":"goclaw-team-export"}"#, "format is")]
    #[case::users("manifest.json", r#"{"user_ids":{"a":5}}"#, "user_ids")]
    #[case::nobody("manifest.json", r#"{"user_ids":{"a":""}}"#, "user id")]
    #[case::context_file_is_no_text("context_files/a", "\u{fffd}", "")]
    #[case::profile_is_no_json("user_profiles.jsonl", "{\"user_id\":\"a\"}\nx", "line 2")]
    #[case::profile_of_nobody("user_profiles.jsonl", "{}", "line 1")]
    #[case::profile_without_a_name("user_profiles.jsonl", r#"{"user_id":""}"#, "user id")]
    #[case::memory("memory/global.jsonl", "{}\n5\n", "line 2")]
    #[case::cron("cron/jobs.jsonl", "{\"a\":}", "line 1")]
    fn what_cannot_be_read_is_refused(#[case] path: &str, #[case] content: &str, #[case] why: &str) {
        let content = if content == "\u{fffd}" { b"\xff".to_vec() } else { content.as_bytes().to_vec() };
        let error = Inspection::default().entry(path, &mut &*content).unwrap_err();
        assert_eq!((error.kind, error.message.key), (ErrorKind::Invalid, "error-archive-invalid"));
        assert!(error.message.to_string().contains(why), "{error}");
    }

    #[test]
    fn what_is_too_long_is_not_read_to_its_end() {
        for (path, limit) in [("agent.json", MAX_AGENT), ("manifest.json", MAX_MANIFEST), ("context_files/a", MAX_TEXT), ("cron/jobs.jsonl", MAX_LINE)] {
            let mut endless = std::io::repeat(b' ').take(limit * 2);
            assert_eq!(Inspection::default().entry(path, &mut endless).unwrap_err().kind, ErrorKind::Invalid, "{path}");
            assert!(endless.limit() > 0, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_content_is_refused_or_read(path in prop::sample::select(ARCHIVE.iter().map(|(path, _)| *path).collect::<Vec<_>>()), content: Vec<u8>) {
            if let Err(error) = Inspection::default().entry(path, &mut &*content) {
                prop_assert_eq!(error.kind, ErrorKind::Invalid);
            }
        }
    }
}
