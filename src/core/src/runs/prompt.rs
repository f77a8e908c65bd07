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
    /// Whether no user is at the other end: the prompt says only what the work needs.
    pub minimal: bool,
    /// Whether this is the user's first meeting with the agent.
    pub first_meeting: bool,
    /// Whether the shell may install packages.
    pub may_install: bool,
    /// Where the conversation takes place.
    pub channel: &'a str,
    /// `direct` or `group`.
    pub peer_kind: &'a str,
    /// The type of the model's provider.
    pub provider_type: &'a str,
    /// The directory that the tools work in.
    pub workspace: &'a str,
    /// The users who own the installation.
    pub owners: &'a [String],
    /// What this run adds; "" is nothing.
    pub extra: &'a str,
    /// The most characters of one file, and of all.
    pub limits: (usize, usize),
    /// Today.
    pub now: DateTime<Utc>,
}

/// Files that are shortened to less than this are left out.
const SMALLEST: usize = 64;
/// The most characters of one part of SOUL.md in the reminder.
const REMINDED: usize = 200;

/// The system prompt.
pub(crate) fn compose(from: &Ingredients<'_>) -> String {
    let files = Files(fitted(from.files, from.limits));
    let predefined = from.agent.agent_type == AgentType::Predefined;
    // An open agent that does not know yet who it is has nothing but its files to attend to.
    let only_meets = from.first_meeting && !predefined;
    let mut prompt = Sections::default();
    prompt.add(match from.peer_kind {
        "group" => format!("You take part in a group conversation on {}.", from.channel),
        _ => format!("You are in a direct conversation on {}.", from.channel),
    });
    prompt.add_some(meeting(from, &files, predefined));
    prompt.add_some(persona(from.agent, &files));
    prompt.add_some(tools(from));
    if !from.tools.is_empty() && !only_meets {
        prompt.add(include_str!("../../prompts/style.md"));
    }
    prompt.add(include_str!("../../prompts/safety.md"));
    if predefined {
        prompt.add(include_str!("../../prompts/predefined.md"));
        if from.agent.other("self_evolve").and_then(Value::as_bool).unwrap_or(false) {
            prompt.add(include_str!("../../prompts/self_evolve.md"));
        }
    }
    if !from.tools.is_empty() {
        prompt.add(format!("# Workspace\nYour files are in {}. Name them relative to it.", from.workspace));
    }
    if !from.owners.is_empty() && !from.minimal && !only_meets {
        prompt.add(format!("# Owners\nThe owners of this installation have the user ids: {}.", from.owners.join(", ")));
    }
    if from.channel.starts_with("zalo") {
        prompt.add(include_str!("../../prompts/plain_text.md"));
    }
    if from.peer_kind == "group" {
        prompt.add(include_str!("../../prompts/group.md"));
    }
    if !from.extra.is_empty() {
        prompt.add(format!("# For this run\n<context>\n{}\n</context>", from.extra.trim()));
    }
    prompt.add_some(other_files(&files, predefined));
    prompt.add(format!("Runtime: agent={} | channel={}", from.agent.agent_key, from.channel));
    if !only_meets {
        prompt.add_some(reminder(from, &files));
    }
    prompt.add(format!("Today is {}, {} (UTC).", from.now.format("%A"), from.now.format("%Y-%m-%d")));
    prompt.0
}

/// What to do about a user who is not known yet.
fn meeting(from: &Ingredients<'_>, files: &Files, predefined: bool) -> Option<&'static str> {
    let may_write = from.tools.iter().any(|(name, _)| name.ends_with("write_file"));
    match (from.first_meeting, predefined) {
        (true, true) => Some(include_str!("../../prompts/onboarding_predefined.md")),
        (true, false) => Some(include_str!("../../prompts/onboarding_open.md")),
        (false, _) if !from.minimal && may_write && files.text(context_files::USER).is_some_and(is_unfilled) => Some(include_str!("../../prompts/profile.md")),
        _ => None,
    }
}

fn persona(agent: &Agent, files: &Files) -> Option<String> {
    let files: Vec<String> = PERSONA.iter().filter_map(|name| Some(fenced(name, files.text(name)?))).collect();
    if !files.is_empty() {
        Some(format!("# Who you are\nThis is your character. Stay in it in every answer.\n\n{}", files.join("\n\n")))
    } else {
        let named = format!("# Who you are\nYou are {}. {}", agent.display_name, agent.frontmatter);
        (!agent.display_name.is_empty()).then(|| named.trim_end().to_owned())
    }
}

const PERSONA: [&str; 2] = [context_files::SOUL, context_files::IDENTITY];

fn tools(from: &Ingredients<'_>) -> Option<String> {
    if from.tools.is_empty() {
        return None;
    }
    let mut section = "# Tools\nThese tools are available now; the list is complete:\n".to_owned();
    for (name, summary) in from.tools {
        let _ = writeln!(section, "- {name}: {summary}");
    }
    if from.tools.iter().any(|(name, _)| name.ends_with("exec")) {
        section.push_str(if from.may_install { "The shell may install packages.\n" } else { "The shell must not install packages.\n" });
    }
    section.push_str("Write large files in several steps.");
    Some(section)
}

fn other_files(files: &Files, predefined: bool) -> Option<String> {
    let others = files.0.iter().filter(|file| !PERSONA.contains(&file.name.as_str()) && !file.content.trim().is_empty());
    let others: Vec<String> = others.map(|file| fenced(&file.name, &file.content)).collect();
    let lead = if predefined { include_str!("../../prompts/predefined_files.md") } else { include_str!("../../prompts/open_files.md") };
    (!others.is_empty()).then(|| format!("{}\n\n{}", lead.trim(), others.join("\n\n")))
}

/// What is said again near the end, because models forget it over long prompts.
fn reminder(from: &Ingredients<'_>, files: &Files) -> Option<String> {
    let mut lines = vec![];
    if let Some(soul) = files.text(context_files::SOUL) {
        lines.push("Stay in your character.".to_owned());
        if ["openai", "codex", "chatgpt"].iter().any(|kind| from.provider_type.starts_with(kind)) {
            let part = |heading| Some(format!("{heading}: {}", under(soul, heading)?));
            lines.extend(["Style", "Vibe"].into_iter().filter_map(part));
        }
    }
    if !from.minimal && files.text(context_files::AGENTS).is_some() {
        lines.push("Follow the rules of AGENTS.md.".to_owned());
    }
    (!lines.is_empty()).then(|| format!("# Remember\n{}", lines.join("\n")))
}

/// The beginning of what stands below a heading, in one line.
fn under(text: &str, heading: &str) -> Option<String> {
    let below = text.lines().skip_while(|line| line.strip_prefix("## ").is_none_or(|found| found.trim() != heading)).skip(1);
    let words: Vec<&str> = below.take_while(|line| !line.starts_with('#')).flat_map(str::split_whitespace).collect();
    let line: String = words.join(" ").chars().take(REMINDED).collect();
    (!line.is_empty()).then_some(line)
}

/// The context files of a prompt.
struct Files(Vec<ContextFile>);

impl Files {
    /// The text of a file that says something.
    fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|file| file.name == name).map(|file| file.content.as_str()).filter(|text| !text.trim().is_empty())
    }
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

    fn add_some(&mut self, section: Option<impl AsRef<str>>) {
        if let Some(section) = section {
            self.add(section);
        }
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
        minimal: bool,
        first_meeting: bool,
        may_install: bool,
        channel: &'static str,
        peer_kind: &'static str,
        provider_type: &'static str,
        owners: Vec<String>,
        extra: &'static str,
    }

    impl Case {
        /// Nothing but an agent.
        fn new(agent_type: AgentType) -> Self {
            Self {
                agent: agent(agent_type, JsonObject::new()),
                files: vec![],
                tools: vec![],
                minimal: false,
                first_meeting: false,
                may_install: false,
                channel: "ws",
                peer_kind: "direct",
                provider_type: "anthropic",
                owners: vec![],
                extra: "",
            }
        }

        /// All that there can be.
        fn full(agent_type: AgentType) -> Self {
            let tool = |name: &str| (name.to_owned(), "Works.".to_owned());
            Self {
                agent: agent(agent_type, JsonObject::from_iter([("self_evolve".to_owned(), true.into())])),
                files: vec![
                    file("AGENTS.md", "Work well."),
                    file("SOUL.md", "# Soul\n\n## Vibe\nCalm.\n\n## Style\n- Tone: dry\n- Emoji: no\n"),
                    file("USER.md", "- **Name:**\n"),
                ],
                tools: vec![tool("exec"), tool("write_file")],
                channel: "zalo_oa",
                peer_kind: "group",
                provider_type: "openai_compat",
                owners: vec!["boss".into()],
                extra: "Be quick.",
                ..Self::new(agent_type)
            }
        }

        fn prompt(&self) -> String {
            compose(&Ingredients {
                agent: &self.agent,
                files: &self.files,
                tools: &self.tools,
                minimal: self.minimal,
                first_meeting: self.first_meeting,
                may_install: self.may_install,
                channel: self.channel,
                peer_kind: self.peer_kind,
                provider_type: self.provider_type,
                workspace: "/w",
                owners: &self.owners,
                extra: self.extra,
                limits: (20_000, 24_000),
                now: DateTime::UNIX_EPOCH,
            })
        }
    }

    /// The parts of a prompt that have a condition, in their order.
    const PARTS: [(&str, &str); 19] = [
        ("group line", "You take part in a group"),
        ("first meeting", "# First meeting"),
        ("profile", "# Getting to know the user"),
        ("persona", "This is your character."),
        ("tools", "# Tools"),
        ("packages", "The shell must not install packages."),
        ("style", "# Using tools"),
        ("safety", "# Limits"),
        ("predefined", "# Who decides"),
        ("evolve", "# Growing"),
        ("workspace", "Your files are in /w."),
        ("owners", "# Owners"),
        ("plain", "# Form of your answers"),
        ("group", "# In a group"),
        ("extra", "# For this run\n<context>\nBe quick."),
        ("files", "<file name=\"AGENTS.md\">"),
        ("character again", "# Remember\nStay in your character."),
        ("soul again", "Style: - Tone: dry - Emoji: no\nVibe: Calm."),
        ("rules again", "Follow the rules of AGENTS.md."),
    ];

    /// The names of the parts that a prompt has; they stand in order.
    fn parts(prompt: &str) -> Vec<&'static str> {
        let found: Vec<(usize, &str)> = PARTS.iter().filter_map(|(name, text)| Some((prompt.find(text)?, *name))).collect();
        assert!(found.is_sorted(), "{found:?}");
        found.into_iter().map(|(_, name)| name).collect()
    }

    fn without(names: &[&str]) -> Vec<&'static str> {
        PARTS.iter().map(|(name, _)| *name).filter(|name| !names.contains(name)).collect()
    }

    #[test]
    fn the_date_stands_last_and_the_text_is_always_the_same() {
        for case in [Case::new(AgentType::Open), Case::full(AgentType::Open), Case::full(AgentType::Predefined)] {
            assert!(case.prompt().ends_with("Today is Thursday, 1970-01-01 (UTC)."));
            assert_eq!(case.prompt(), case.prompt());
        }
    }

    #[test]
    fn an_agent_alone_has_hardly_a_section() {
        let prompt = Case::new(AgentType::Open).prompt();
        assert_eq!(parts(&prompt), ["safety"]);
        assert!(prompt.contains("You are Fox. Knows burrows.") && prompt.contains("Runtime: agent=fox | channel=ws"));
    }

    #[test]
    fn each_section_is_there_exactly_if_its_condition_holds() {
        let full = |change: fn(&mut Case)| {
            let mut case = Case::full(AgentType::Predefined);
            change(&mut case);
            parts(&case.prompt())
        };
        type Change = fn(&mut Case);
        let cases: [(Change, &[&str]); 14] = [
            (|_| (), &[]),
            (|case| case.agent.agent_type = AgentType::Open, &["predefined", "evolve"]),
            (|case| case.agent.other_config.clear(), &["evolve"]),
            (|case| case.peer_kind = "direct", &["group line", "group"]),
            (|case| case.channel = "telegram", &["plain"]),
            (|case| case.owners.clear(), &["owners"]),
            (|case| case.extra = "", &["extra"]),
            (|case| case.may_install = true, &["packages"]),
            (|case| drop(case.tools.remove(0)), &["packages"]),
            (|case| drop(case.tools.pop()), &["profile"]),
            (|case| case.tools.clear(), &["profile", "tools", "packages", "style", "workspace"]),
            (|case| case.files[2].content = "- **Name:** Ann".into(), &["profile"]),
            (|case| case.provider_type = "anthropic", &["soul again"]),
            (|case| case.minimal = true, &["profile", "owners", "rules again"]),
        ];
        for (n, (change, missing)) in cases.into_iter().enumerate() {
            let missing = [&["first meeting"], missing].concat();
            assert_eq!(full(change), without(&missing), "case {n}");
        }
        let no_files = ["first meeting", "profile", "persona", "files", "character again", "soul again", "rules again"];
        assert_eq!(full(|case| case.files.clear()), without(&no_files));
    }

    #[test]
    fn a_first_meeting_comes_before_all_else() {
        let mut case = Case::full(AgentType::Predefined);
        case.first_meeting = true;
        assert_eq!(parts(&case.prompt()), without(&["profile"]), "a predefined agent goes on working");
        case.agent.agent_type = AgentType::Open;
        let left_out = ["profile", "style", "predefined", "evolve", "owners", "character again", "soul again", "rules again"];
        assert_eq!(parts(&case.prompt()), without(&left_out), "an open one attends to its files");
    }

    #[test]
    fn long_files_are_shortened_to_the_limits() {
        let files = [file("A.md", &"a".repeat(500)), file("B.md", &"b".repeat(500)), file("C.md", &"c".repeat(500))];
        let fitted = fitted(&files, (300, 400));
        assert_eq!(fitted.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["A.md", "B.md"]);
        assert!(fitted[0].content.contains("left out") && fitted[0].content.len() < 330);
    }
}
