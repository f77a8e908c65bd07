//! Composes the system prompt. Pure and deterministic: the same agent gives the same text, so that providers can cache it;
//! what changes from day to day stands last.

use crate::{context_files, prune::head_and_tail};
use chrono::{DateTime, Utc};
use goclaw_ports::agents::{Agent, AgentType, ContextFile};
use serde_json::Value;
use std::fmt::Write;

/// What a prompt is made of.
pub(crate) struct Ingredients<'a> {
    /// Who answers.
    pub agent: &'a Agent,
    /// Its context files.
    pub files: &'a [ContextFile],
    /// The tools on offer, each with one line.
    pub tools: &'a [(String, String)],
    /// Where the conversation takes place.
    pub channel: &'a str,
    /// `direct` or `group`.
    pub peer_kind: &'a str,
    /// The directory that the tools work in.
    pub workspace: &'a str,
    /// The users who own the installation.
    pub owners: &'a [String],
    /// What this run adds; "" is nothing.
    pub extra: &'a str,
    /// What was said before the oldest message that is kept.
    pub summary: &'a str,
    /// The most characters of one file, and of all.
    pub limits: (usize, usize),
    /// Today.
    pub now: DateTime<Utc>,
}

/// Files that are shortened to less than this are left out.
const SMALLEST: usize = 64;

/// The system prompt.
pub(crate) fn compose(from: &Ingredients<'_>) -> String {
    let predefined = from.agent.agent_type == AgentType::Predefined;
    let files = fitted(from.files, from.limits);
    let file = |name: &str| files.iter().find(|file| file.name == name).map(|file| file.content.as_str()).filter(|text| !text.trim().is_empty());
    let mut prompt = Sections::default();
    prompt.add(match from.peer_kind {
        "group" => format!("You take part in a group conversation on {}.", from.channel),
        _ => format!("You are in a direct conversation on {}.", from.channel),
    });
    let persona: Vec<String> = [context_files::SOUL, context_files::IDENTITY].into_iter().filter_map(|name| Some(fenced(name, file(name)?))).collect();
    if !persona.is_empty() {
        prompt.add(format!("# Who you are\nThis is your character. Stay in it in every answer.\n\n{}", persona.join("\n\n")));
    } else if !from.agent.display_name.is_empty() {
        prompt.add(format!("# Who you are\nYou are {}. {}", from.agent.display_name, from.agent.frontmatter).trim_end());
    }
    if !from.tools.is_empty() {
        let mut section = "# Tools\nThese tools are available now; the list is complete:\n".to_owned();
        for (name, summary) in from.tools {
            let _ = writeln!(section, "- {name}: {summary}");
        }
        section.push_str("Write large files in several steps.");
        prompt.add(section);
        prompt.add(include_str!("../../prompts/style.md"));
    }
    prompt.add(include_str!("../../prompts/safety.md"));
    if predefined {
        prompt.add(include_str!("../../prompts/predefined.md"));
        if from.agent.other("self_evolve").and_then(Value::as_bool).unwrap_or(false) {
            prompt.add(include_str!("../../prompts/self_evolve.md"));
        }
    }
    if from.tools.iter().any(|(name, _)| name.ends_with("write_file")) && file(context_files::USER).is_some_and(is_unfilled) {
        prompt.add(include_str!("../../prompts/profile.md"));
    }
    if !from.tools.is_empty() {
        prompt.add(format!("# Workspace\nYour files are in {}. Name them relative to it.", from.workspace));
    }
    if !from.owners.is_empty() {
        prompt.add(format!("# Owners\nThe owners of this installation have the user ids: {}.", from.owners.join(", ")));
    }
    if from.peer_kind == "group" {
        prompt.add(include_str!("../../prompts/group.md"));
    }
    if !from.extra.is_empty() {
        prompt.add(format!("# For this run\n<context>\n{}\n</context>", from.extra.trim()));
    }
    let others = files.iter().filter(|file| ![context_files::SOUL, context_files::IDENTITY].contains(&file.name.as_str()) && !file.content.trim().is_empty());
    let others: Vec<String> = others.map(|file| fenced(&file.name, &file.content)).collect();
    if !others.is_empty() {
        let lead = if predefined { include_str!("../../prompts/predefined_files.md") } else { include_str!("../../prompts/open_files.md") };
        prompt.add(format!("{}\n\n{}", lead.trim(), others.join("\n\n")));
    }
    if !from.summary.is_empty() {
        prompt.add(format!("# Earlier in this conversation\n{}", from.summary));
    }
    prompt.add(format!("Runtime: agent={} | channel={}", from.agent.agent_key, from.channel));
    prompt.add(format!("Today is {}, {} (UTC).", from.now.format("%A"), from.now.format("%Y-%m-%d")));
    prompt.0
}

#[derive(Default)]
struct Sections(String);

impl Sections {
    fn add(&mut self, section: impl AsRef<str>) {
        if !self.0.is_empty() {
            self.0.push_str("\n\n");
        }
        self.0.push_str(section.as_ref().trim());
    }
}

fn fenced(name: &str, text: &str) -> String {
    format!("<file name=\"{name}\">\n{}\n</file>", text.trim())
}

/// Whether a user's profile has no name yet.
fn is_unfilled(profile: &str) -> bool {
    profile.lines().any(|line| matches!(line.trim(), "- **Name:**" | "**Name:**"))
}

/// The files, shortened to the limits: most of the beginning and a part of the end of each.
fn fitted(files: &[ContextFile], (one, all): (usize, usize)) -> Vec<ContextFile> {
    let mut left = all;
    let mut fitted = vec![];
    for file in files {
        let limit = one.min(left);
        let length = file.content.chars().count();
        if length > limit && limit < SMALLEST {
            continue;
        }
        let content = if length > limit { head_and_tail(&file.content, limit * 7 / 10, limit / 5) } else { file.content.clone() };
        left -= length.min(limit);
        fitted.push(ContextFile { name: file.name.clone(), content });
    }
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;
    use goclaw_ports::{AgentId, JsonObject, TenantId, agents::AgentStatus};

    fn agent(agent_type: AgentType, other_config: JsonObject) -> Agent {
        Agent {
            id: AgentId(uuid::Uuid::nil()),
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
            tenant_id: TenantId::MASTER,
            agent_key: "fox".into(),
            display_name: "Fox".into(),
            frontmatter: "Knows burrows.".into(),
            owner_id: "u".into(),
            provider: String::new(),
            model: String::new(),
            context_window: 200_000,
            max_tool_iterations: 30,
            workspace: String::new(),
            restrict_to_workspace: true,
            agent_type,
            is_default: false,
            status: AgentStatus::Active,
            budget_monthly_cents: None,
            tools_config: JsonObject::new(),
            sandbox_config: None,
            subagents_config: None,
            memory_config: None,
            compaction_config: None,
            context_pruning: None,
            other_config,
        }
    }

    fn file(name: &str, content: &str) -> ContextFile {
        ContextFile { name: name.into(), content: content.into() }
    }

    struct Case {
        agent: Agent,
        files: Vec<ContextFile>,
        tools: Vec<(String, String)>,
        peer_kind: &'static str,
        extra: &'static str,
        summary: &'static str,
    }

    impl Case {
        fn new(agent_type: AgentType) -> Self {
            Self { agent: agent(agent_type, JsonObject::new()), files: vec![], tools: vec![], peer_kind: "direct", extra: "", summary: "" }
        }

        fn prompt(&self) -> String {
            compose(&Ingredients {
                agent: &self.agent,
                files: &self.files,
                tools: &self.tools,
                channel: "ws",
                peer_kind: self.peer_kind,
                workspace: "/w",
                owners: &["boss".into()],
                extra: self.extra,
                summary: self.summary,
                limits: (20_000, 24_000),
                now: DateTime::UNIX_EPOCH,
            })
        }
    }

    #[test]
    fn the_date_stands_last() {
        assert!(Case::new(AgentType::Open).prompt().ends_with("Today is Thursday, 1970-01-01 (UTC)."));
    }

    #[test]
    fn sections_appear_when_their_condition_holds() {
        let mut case = Case::new(AgentType::Open);
        for (absent, why) in [
            ("# Tools", "no tools"),
            ("# In a group", "direct"),
            ("# Who decides", "open"),
            ("# Earlier", "no summary"),
            ("# Growing", "open"),
            ("# For this run", "nothing extra"),
        ] {
            assert!(!case.prompt().contains(absent), "{absent}: {why}");
        }
        assert!(case.prompt().contains("You are Fox. Knows burrows."));
        case.tools = vec![("write_file".into(), "Writes.".into())];
        case.peer_kind = "group";
        case.summary = "They met.";
        case.extra = "Be quick.";
        case.files = vec![file("SOUL.md", "Be kind."), file("USER.md", "- **Name:**\n"), file("AGENTS.md", "Work well.")];
        let prompt = case.prompt();
        for present in [
            "# Tools",
            "- write_file: Writes.",
            "# Using tools",
            "# In a group",
            "They met.",
            "Be quick.",
            "Be kind.",
            "Work well.",
            "# Getting to know the user",
            "/w",
            "boss",
        ] {
            assert!(prompt.contains(present), "{present}");
        }
        case.agent = agent(AgentType::Predefined, JsonObject::from_iter([("self_evolve".to_owned(), true.into())]));
        let prompt = case.prompt();
        assert!(prompt.contains("# Who decides") && prompt.contains("# Growing") && prompt.contains("# Your configuration"));
    }

    #[test]
    fn long_files_are_shortened_to_the_limits() {
        let files = [file("A.md", &"a".repeat(500)), file("B.md", &"b".repeat(500)), file("C.md", &"c".repeat(500))];
        let fitted = fitted(&files, (300, 400));
        assert_eq!(fitted.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["A.md", "B.md"]);
        assert!(fitted[0].content.contains("left out") && fitted[0].content.len() < 330);
    }
}
