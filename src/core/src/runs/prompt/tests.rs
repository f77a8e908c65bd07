//! What a prompt holds, and when.

use super::*;
use goclaw_ports::{AgentId, JsonObject, LinkId, TenantId, agents::AgentStatus};

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
    delegates: Vec<Delegate>,
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
            delegates: vec![],
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
            delegates: vec![Delegate {
                agent_id: AgentId(uuid::Uuid::nil()),
                agent_key: "owl".into(),
                about: "Nights.".into(),
                link: LinkId(uuid::Uuid::nil()),
                max_concurrent: 3,
            }],
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
            delegates: &self.delegates,
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
const PARTS: [(&str, &str); 20] = [
    ("group line", "You take part in a group"),
    ("first meeting", "# First meeting"),
    ("profile", "# Getting to know the user"),
    ("persona", "This is your character."),
    ("tools", "# Tools"),
    ("packages", "The shell must not install packages."),
    ("style", "# Using tools"),
    ("delegates", "# Agents you may hand work to, with delegate\n- owl: Nights."),
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
    let cases: [(Change, &[&str]); 15] = [
        (|_| (), &[]),
        (|case| case.delegates.clear(), &["delegates"]),
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
