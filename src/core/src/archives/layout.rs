//! What an archive of an agent holds, and where.

use crate::agents::NewAgent;
use chrono::{DateTime, SecondsFormat, Utc};
use goclaw_ports::{JsonObject, agents::Agent};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};

pub(super) const AGENT: &str = "agent.json";
pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const PROFILES: &str = "user_profiles.jsonl";
/// What the paths of workspace files begin with.
pub(super) const WORKSPACE: &str = "workspace/";
/// The longest name that stands for a user, in bytes: a number may follow, and file systems take 255.
const LONGEST_NAME: usize = 240;
/// What a manifest says that it is the manifest of.
pub(super) const FORMAT: &str = "goclaw-agent-export";
/// The only version of the format.
pub(super) const VERSION: u64 = 1;

/// A part of an archive that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Section {
    ContextFiles,
    Memory,
    KnowledgeGraph,
    Cron,
    UserProfiles,
    UserOverrides,
    Workspace,
    Team,
}

impl Section {
    pub const ALL: [Self; 8] =
        [Self::ContextFiles, Self::Memory, Self::KnowledgeGraph, Self::Cron, Self::UserProfiles, Self::UserOverrides, Self::Workspace, Self::Team];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::ContextFiles => "context_files",
            Self::Memory => "memory",
            Self::KnowledgeGraph => "knowledge_graph",
            Self::Cron => "cron",
            Self::UserProfiles => "user_profiles",
            Self::UserOverrides => "user_overrides",
            Self::Workspace => "workspace",
            Self::Team => "team",
        }
    }
}

/// The sections that a list with commas names; `default` if it names none at all. Names that nobody knows say nothing.
pub(super) fn sections(list: Option<&str>, default: &[Section]) -> Vec<Section> {
    let Some(list) = list.filter(|list| !list.trim().is_empty()) else { return default.to_vec() };
    let named: HashSet<&str> = list.split(',').map(str::trim).collect();
    Section::ALL.into_iter().filter(|section| named.contains(section.as_str())).collect()
}

/// What a file of an archive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Agent,
    Manifest,
    ContextFile(&'a str),
    UserFile(&'a str, &'a str),
    Profiles,
    Overrides,
    Memory,
    Entities,
    Relations,
    Cron,
    Team,
    Workspace,
    Unknown,
}

/// What the file at this path is.
pub(super) fn part(path: &str) -> Part<'_> {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        [AGENT] => Part::Agent,
        [MANIFEST] => Part::Manifest,
        ["context_files", name] => Part::ContextFile(name),
        ["user_context_files", user, name] => Part::UserFile(user, name),
        [PROFILES] => Part::Profiles,
        ["user_overrides.jsonl"] => Part::Overrides,
        ["memory", "global.jsonl"] => Part::Memory,
        ["memory", "users", user] if user.ends_with(".jsonl") => Part::Memory,
        ["knowledge_graph", "entities.jsonl"] => Part::Entities,
        ["knowledge_graph", "relations.jsonl"] => Part::Relations,
        ["cron", "jobs.jsonl"] => Part::Cron,
        ["team", "team.json"] => Part::Team,
        ["workspace", _, ..] => Part::Workspace,
        _ => Part::Unknown,
    }
}

/// A text as one name of a path.
pub(super) fn segment(text: &str) -> String {
    let plain: String = text.replace("..", "__").chars().map(|c| if matches!(c, '/' | '\\') || c.is_control() { '_' } else { c }).collect();
    if plain.is_empty() || plain == "." { "_".to_owned() } else { plain }
}

/// Gives users names in paths, each its own, and remembers those that do not say who the user is.
#[derive(Default)]
pub(super) struct UserNames {
    taken: HashSet<String>,
    told: BTreeMap<String, String>,
}

impl UserNames {
    /// The name of the next user.
    pub fn name(&mut self, user: &str) -> String {
        let plain = segment(user);
        let plain = &plain[..plain.floor_char_boundary(LONGEST_NAME)];
        let others = (2_u64..).map(|number| format!("{plain}~{number}"));
        let name = std::iter::once(plain.to_owned()).chain(others).find(|name| !self.taken.contains(name)).unwrap_or_default();
        self.taken.insert(name.clone());
        if name != user {
            self.told.insert(name.clone(), user.to_owned());
        }
        name
    }

    /// Who is behind the names that do not say it.
    pub fn told(self) -> BTreeMap<String, String> {
        self.told
    }
}

/// `agent.json`: what an agent is, without whose it is and where it lives.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ArchivedAgent {
    pub agent_key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub display_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    frontmatter: String,
    provider: String,
    model: String,
    context_window: i64,
    max_tool_iterations: i32,
    agent_type: String,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools_config: Option<JsonObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sandbox_config: Option<JsonObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subagents_config: Option<JsonObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_config: Option<JsonObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compaction_config: Option<JsonObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_pruning: Option<JsonObject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    other_config: Option<JsonObject>,
}

impl ArchivedAgent {
    pub fn of(agent: &Agent) -> Self {
        let agent = agent.clone();
        Self {
            agent_key: agent.agent_key,
            display_name: agent.display_name,
            frontmatter: agent.frontmatter,
            provider: agent.provider,
            model: agent.model,
            context_window: agent.context_window,
            max_tool_iterations: agent.max_tool_iterations,
            agent_type: agent.agent_type.as_str().to_owned(),
            status: agent.status.as_str().to_owned(),
            tools_config: Some(agent.tools_config),
            sandbox_config: agent.sandbox_config,
            subagents_config: agent.subagents_config,
            memory_config: agent.memory_config,
            compaction_config: agent.compaction_config,
            context_pruning: agent.context_pruning,
            other_config: Some(agent.other_config),
        }
    }

    /// The new agent that this describes. Its status is nobody's to bring along.
    pub fn into_new(self) -> NewAgent {
        NewAgent {
            agent_key: self.agent_key,
            display_name: self.display_name,
            frontmatter: self.frontmatter,
            provider: self.provider,
            model: self.model,
            context_window: self.context_window,
            max_tool_iterations: self.max_tool_iterations,
            agent_type: Some(self.agent_type).filter(|kind| !kind.is_empty()),
            tools_config: self.tools_config,
            sandbox_config: self.sandbox_config,
            subagents_config: self.subagents_config,
            memory_config: self.memory_config,
            compaction_config: self.compaction_config,
            context_pruning: self.context_pruning,
            other_config: self.other_config,
            ..NewAgent::default()
        }
    }
}

/// The manifest, which comes last.
pub(super) fn manifest(agent: &Agent, by: &str, at: DateTime<Utc>, sections: &JsonObject, users: &BTreeMap<String, String>) -> Value {
    let mut manifest = json!({
        "version": VERSION,
        "format": FORMAT,
        "exported_at": at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        "exported_by": by,
        "agent_key": agent.agent_key,
        "agent_id": agent.id,
        "sections": sections,
    });
    if !users.is_empty() {
        manifest["user_ids"] = json!(users);
    }
    manifest
}

/// A slug made of a name; "" if nothing of it can be in one.
pub(super) fn slug_of(name: &str) -> String {
    let mut slug = String::new();
    for c in name.to_lowercase().chars() {
        match c {
            'a'..='z' | '0'..='9' => slug.push(c),
            _ if slug.ends_with('-') || slug.is_empty() => {}
            _ => slug.push('-'),
        }
        if slug.len() == 64 {
            break;
        }
    }
    slug.trim_end_matches('-').to_owned()
}

/// A key, and those that are tried when it is taken: `-2` to `-100`.
pub(super) fn keys(wanted: &str) -> impl Iterator<Item = String> {
    // Slugs are ASCII, and 100 characters long at most.
    let base = wanted.get(..96).unwrap_or(wanted).trim_end_matches('-').to_owned();
    std::iter::once(wanted.to_owned()).chain((2..=100).map(move |number| format!("{base}-{number}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::is_slug;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("agent.json", Part::Agent)]
    #[case("manifest.json", Part::Manifest)]
    #[case("context_files/SOUL.md", Part::ContextFile("SOUL.md"))]
    #[case("context_files/a/SOUL.md", Part::Unknown)]
    #[case("user_context_files/mai/USER.md", Part::UserFile("mai", "USER.md"))]
    #[case("user_context_files/USER.md", Part::Unknown)]
    #[case("user_profiles.jsonl", Part::Profiles)]
    #[case("user_overrides.jsonl", Part::Overrides)]
    #[case("memory/global.jsonl", Part::Memory)]
    #[case("memory/users/mai.jsonl", Part::Memory)]
    #[case("memory/users/mai.txt", Part::Unknown)]
    #[case("knowledge_graph/entities.jsonl", Part::Entities)]
    #[case("knowledge_graph/relations.jsonl", Part::Relations)]
    #[case("cron/jobs.jsonl", Part::Cron)]
    #[case("team/team.json", Part::Team)]
    #[case("team/members.jsonl", Part::Unknown)]
    #[case("workspace/a/b", Part::Workspace)]
    #[case("workspace", Part::Unknown)]
    #[case("AGENT.JSON", Part::Unknown)]
    fn files_are_known_by_their_paths(#[case] path: &str, #[case] expected: Part<'_>) {
        assert_eq!(part(path), expected);
    }

    #[test]
    fn names_that_nobody_knows_are_no_sections() {
        let default = [Section::ContextFiles];
        assert_eq!(sections(None, &default), default);
        assert_eq!(sections(Some(" "), &default), default);
        assert_eq!(sections(Some("config, workspace,nonsense,context_files"), &default), [Section::ContextFiles, Section::Workspace]);
        assert_eq!(sections(Some("nonsense"), &default), []);
    }

    #[test]
    fn users_that_look_alike_have_names_of_their_own() {
        let mut names = UserNames::default();
        let given: Vec<_> = ["a/b", "a\\b", "a_b", "a_b~2", "group:x", ".", ""].iter().map(|user| names.name(user)).collect();
        assert_eq!(given, ["a_b", "a_b~2", "a_b~3", "a_b~2~2", "group:x", "_", "_~2"]);
        let told = [("_", "."), ("_~2", ""), ("a_b", "a/b"), ("a_b~2", "a\\b"), ("a_b~2~2", "a_b~2"), ("a_b~3", "a_b")];
        assert_eq!(names.told(), BTreeMap::from(told.map(|(name, user)| (name.to_owned(), user.to_owned()))));
    }

    #[rstest]
    #[case("My Fox!", "my-fox")]
    #[case("--Cáo  đỏ", "c-o")]
    #[case("狐狸", "")]
    fn a_slug_is_made_of_a_name(#[case] name: &str, #[case] slug: &str) {
        assert_eq!(slug_of(name), slug);
    }

    #[test]
    fn a_key_that_is_taken_gets_a_number() {
        let tried: Vec<_> = keys("fox").collect();
        assert_eq!((tried.len(), tried[0].as_str(), tried[1].as_str(), tried[99].as_str()), (100, "fox", "fox-2", "fox-100"));
        assert!(keys(&"x".repeat(100)).all(|key| key.len() <= 100 && is_slug(&key)));
    }

    proptest! {
        #[test]
        fn any_name_makes_a_slug_or_nothing(name: String) {
            let slug = slug_of(&name);
            prop_assert!(slug.is_empty() || is_slug(&slug));
        }

        #[test]
        fn a_segment_is_one_name(text: String) {
            let segment = segment(&text);
            prop_assert!(!segment.is_empty() && !segment.contains(['/', '\\', '\n']) && !segment.contains("..") && segment != ".");
        }

        #[test]
        fn every_user_has_a_name_and_is_found_by_it(users in prop::collection::hash_set("[ab/\\\\_~2.]{0,3}", 0..20)) {
            let mut names = UserNames::default();
            let given: Vec<(String, String)> = users.into_iter().map(|user| (names.name(&user), user)).collect();
            let told = names.told();
            for (name, user) in &given {
                prop_assert_eq!(told.get(name).unwrap_or(name), user);
            }
            let different: HashSet<_> = given.iter().map(|(name, _)| name).collect();
            prop_assert_eq!(different.len(), given.len());
        }
    }
}
