//! Context files: the texts that make an agent what it is.

use crate::known::KnownAgents;
use async_trait::async_trait;
use goclaw_ports::{
    AgentId, Result, TenantId,
    agents::{Agent, AgentStore as _, AgentType, ContextFile},
    clock::Clock,
    tools::{ToolAgent, ToolContext, VirtualFiles},
};
use std::{
    collections::BTreeMap,
    path::{Component, Path},
    sync::Arc,
};

/// How the agent works.
pub const AGENTS: &str = "AGENTS.md";
/// Who the agent is.
pub const SOUL: &str = "SOUL.md";
/// What the agent is called.
pub const IDENTITY: &str = "IDENTITY.md";
/// Who the user is.
pub const USER: &str = "USER.md";
/// What holds for all users of a predefined agent.
pub const USER_PREDEFINED: &str = "USER_PREDEFINED.md";
/// How a first meeting goes. A user who has it has not been met yet.
pub const BOOTSTRAP: &str = "BOOTSTRAP.md";
/// What the agent looks after by itself.
pub const HEARTBEAT: &str = "HEARTBEAT.md";

/// The files that are rows, not files.
pub const NAMES: &[&str] = &[AGENTS, SOUL, IDENTITY, USER, USER_PREDEFINED, BOOTSTRAP, HEARTBEAT];

const TEMPLATES: &[(&str, &str)] = &[
    (AGENTS, include_str!("../prompts/templates/AGENTS.md")),
    (SOUL, include_str!("../prompts/templates/SOUL.md")),
    (IDENTITY, include_str!("../prompts/templates/IDENTITY.md")),
    (USER, include_str!("../prompts/templates/USER.md")),
    (USER_PREDEFINED, include_str!("../prompts/templates/USER_PREDEFINED.md")),
    (BOOTSTRAP, include_str!("../prompts/templates/BOOTSTRAP.md")),
];
const BOOTSTRAP_PREDEFINED: &str = include_str!("../prompts/templates/BOOTSTRAP_PREDEFINED.md");

/// What the model is told where a virtual file has no disk behind it.
const IN_THE_PROMPT: &str = "This file is already part of your instructions. Follow it; do not quote it.";
const ONLY_TO_EMPTY: &str = "BOOTSTRAP.md can only be emptied: write it with empty content when the first meeting is over.";
const OWNER_ONLY: &str = "Only this agent's owner may change this file. Tell the user so, and do not try again.";

/// The templates of these names.
pub(crate) fn templates(names: &[&str]) -> Vec<ContextFile> {
    let of_name = |(name, content): &(&str, &str)| ContextFile { name: (*name).to_owned(), content: (*content).to_owned() };
    TEMPLATES.iter().filter(|(name, _)| names.contains(name)).map(of_name).collect()
}

/// The agent-level files that a new agent starts with.
#[must_use]
pub fn seed_of(agent: &Agent) -> Vec<ContextFile> {
    match agent.agent_type {
        AgentType::Open => vec![],
        AgentType::Predefined => {
            let mut files = templates(&[AGENTS, SOUL, IDENTITY, USER_PREDEFINED]);
            if !agent.display_name.is_empty() {
                files.iter_mut().filter(|file| file.name == IDENTITY).for_each(|file| file.content = with_field(&file.content, "Name", &agent.display_name));
            }
            files
        }
    }
}

/// The files that a user starts with; one that is to be met properly gets the script for it.
fn seed_of_user(agent: &Agent, own: &[ContextFile], onboarding: bool) -> Vec<ContextFile> {
    let names: &[&str] = match agent.agent_type {
        AgentType::Open => &[AGENTS, SOUL, IDENTITY, USER, BOOTSTRAP],
        AgentType::Predefined => &[USER, BOOTSTRAP],
    };
    let mut files = templates(names);
    files.retain(|file| onboarding || file.name != BOOTSTRAP);
    for file in &mut files {
        if file.name == BOOTSTRAP {
            if agent.agent_type == AgentType::Predefined {
                file.content = BOOTSTRAP_PREDEFINED.to_owned();
            }
        } else if let Some(own) = own.iter().find(|own| own.name == file.name && !own.content.is_empty()) {
            file.content.clone_from(&own.content);
        } else if file.name == IDENTITY && !agent.display_name.is_empty() {
            file.content = with_field(&file.content, "Name", &agent.display_name);
        }
    }
    files
}

/// The text with `field` set to `value`: in the first line that, without its marks, starts `field:`, else after the first heading.
#[must_use]
pub fn with_field(text: &str, field: &str, value: &str) -> String {
    let value = value.replace(['\n', '\r'], " ");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let starts_with_field = |line: &String| {
        let bare: String = line.trim_start_matches(['-', '*', '#', '_', ' ', '\t']).to_ascii_lowercase();
        bare.starts_with(&format!("{}:", field.to_ascii_lowercase()))
    };
    if let Some(line) = lines.iter_mut().find(|line| starts_with_field(line)) {
        let colon = line.find(':').map_or(line.len(), |at| at + 1);
        let marks: String = line[colon..].chars().take_while(|c| *c == '*').collect();
        line.truncate(colon);
        line.push_str(&marks);
        line.push(' ');
        line.push_str(&value);
    } else {
        let after = lines.iter().position(|line| line.starts_with('#')).map_or(0, |at| at + 1);
        lines.insert(after, format!("{field}: {value}"));
    }
    lines.join("\n") + "\n"
}

/// The value of `field` in the first line that says it, as `field: value`, with or without list and bold marks.
#[must_use]
pub fn field(text: &str, field: &str) -> Option<String> {
    let value = |line: &str| {
        let bare = line.trim().trim_start_matches(['-', '*', '_', ' ', '\t']);
        let (name, value) = bare.split_once(':')?;
        let value = value.trim_matches(['*', '_', '`', '"', ' ', '\t']);
        (name.trim_end_matches(['*', '_', ' ']).eq_ignore_ascii_case(field) && !value.is_empty()).then(|| value.to_owned())
    };
    text.lines().filter(|line| !line.trim_start().starts_with('#')).find_map(value)
}

/// Reads and writes context files.
pub struct ContextFiles {
    agents: Arc<KnownAgents>,
    clock: Arc<dyn Clock>,
}

impl ContextFiles {
    /// Over these agents' files.
    pub fn new(agents: Arc<KnownAgents>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { agents, clock })
    }

    /// Notes that the user is there, gives a new one its files, and answers with the directory it was first given and
    /// with the files that belong into its prompt. Without `onboarding` a new user gets no script for a first meeting.
    ///
    /// # Errors
    /// What the store says.
    pub async fn enter(&self, tenant: TenantId, agent: &Agent, user: &str, workspace: &str, onboarding: bool) -> Result<(String, Vec<ContextFile>)> {
        let own = self.agents.own_files(tenant, agent.id).await?;
        if user.is_empty() {
            return Ok((workspace.to_owned(), own.to_vec()));
        }
        let seed = || seed_of_user(agent, &own, onboarding);
        let met = self.agents.meet(tenant, agent.id, user, workspace, seed, self.clock.now()).await?;
        Ok((met.workspace.clone(), merge(agent.agent_type, &own, &met.files)))
    }

    /// Ends a user's first meeting. `false` if it had ended before.
    ///
    /// # Errors
    /// What the store says.
    pub async fn end_onboarding(&self, tenant: TenantId, agent: AgentId, user: &str) -> Result<bool> {
        self.agents.delete_user_file(tenant, agent, user, BOOTSTRAP).await
    }

    async fn read_file(&self, tenant: TenantId, agent: &ToolAgent, user: &str, name: &str) -> Result<Option<String>> {
        if !user.is_empty() && name != HEARTBEAT {
            let files = self.agents.user_files(tenant, agent.id, user).await?;
            if let Some(file) = files.into_iter().find(|file| file.name == name) {
                return Ok(Some(file.content));
            }
        }
        Ok(self.agents.files(tenant, agent.id).await?.into_iter().find(|file| file.name == name).map(|file| file.content))
    }
}

/// The files of a prompt: an open agent's user has all of its own; a predefined agent's files hold for all, a user's
/// non-empty copy of the same name wins.
fn merge(agent_type: AgentType, own: &[ContextFile], users: &[ContextFile]) -> Vec<ContextFile> {
    if agent_type == AgentType::Open {
        return if users.is_empty() { own.to_vec() } else { users.to_vec() };
    }
    let users = users.iter().filter(|file| !file.content.is_empty());
    let files: BTreeMap<&str, &ContextFile> = own.iter().chain(users).map(|file| (file.name.as_str(), file)).collect();
    files.into_values().cloned().collect()
}

/// The context file behind a path: one of the names, at the root of the workspace or, if the path is absolute, anywhere below it.
fn context_file(context: &ToolContext, path: &str) -> Option<&'static str> {
    let path = Path::new(path.trim());
    let named = |name: &Path| NAMES.iter().copied().find(|known| name == Path::new(known));
    if path.is_absolute() {
        return path.strip_prefix(&context.workspace).ok()?.file_name().map(Path::new).and_then(named);
    }
    let mut parts = path.components().filter(|part| *part != Component::CurDir);
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(name)), None) => named(Path::new(name)),
        _ => None,
    }
}

#[async_trait]
impl VirtualFiles for ContextFiles {
    async fn read(&self, context: &ToolContext, path: &str) -> Option<Result<String, String>> {
        let (agent, name) = (context.agent.as_ref()?, context_file(context, path)?);
        if !agent.open && !matches!(name, USER | BOOTSTRAP | HEARTBEAT) {
            return Some(Err(IN_THE_PROMPT.into()));
        }
        match self.read_file(context.tenant, agent, &context.user, name).await {
            Ok(Some(text)) => Some(Ok(text)),
            Ok(None) => Some(Err(format!("{name} does not exist yet. Write it to create it."))),
            Err(error) => Some(Err(unreadable(&error))),
        }
    }

    async fn write(&self, context: &ToolContext, path: &str, content: &str) -> Option<Result<String, String>> {
        let (agent, name) = (context.agent.as_ref()?, context_file(context, path)?);
        if name == BOOTSTRAP && content.trim().is_empty() && !context.user.is_empty() {
            let ended = self.end_onboarding(context.tenant, agent.id, &context.user).await;
            return Some(ended.map(|_| "The first meeting is over.".into()).map_err(|error| unreadable(&error)));
        }
        if name == BOOTSTRAP && !agent.open {
            return Some(Err(ONLY_TO_EMPTY.into()));
        }
        let for_user = !context.user.is_empty() && (agent.open || name == USER) && name != HEARTBEAT;
        let for_agent = name == HEARTBEAT || (name == SOUL && agent.self_evolve) || agent.open;
        if !for_user && !for_agent {
            return Some(Err(OWNER_ONLY.into()));
        }
        let file = ContextFile { name: name.into(), content: content.into() };
        let now = self.clock.now();
        let stored = if for_user {
            self.agents.put_user_file(context.tenant, agent.id, &context.user, &file, now).await
        } else {
            self.agents.put_file(context.tenant, agent.id, &file, now).await
        };
        Some(stored.map(|()| format!("Wrote {name} ({} bytes). It takes effect with the next message.", content.len())).map_err(|error| unreadable(&error)))
    }
}

fn unreadable(error: &goclaw_ports::Error) -> String {
    tracing::error!(%error, "a context file could not be read or written");
    "The file cannot be reached just now. Try again later.".into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("# Identity\n\n- **Name:** Old\n- **Emoji:** x\n", "# Identity\n\n- **Name:** Zoe\n- **Emoji:** x\n")]
    #[case("# Identity\nName: Old\n", "# Identity\nName: Zoe\n")]
    #[case("# Identity\n\nText\n", "# Identity\nName: Zoe\n\nText\n")]
    #[case("", "Name: Zoe\n")]
    fn a_field_is_replaced_where_it_stands(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(with_field(text, "Name", "Zoe"), expected);
    }

    #[rstest]
    #[case("Name: Zoe", Some("Zoe"))]
    #[case("# Name: Zoe", None)]
    #[case("- **Name:** Zoe the Fox \n", Some("Zoe the Fox"))]
    #[case("**name**: *Zoe*", Some("Zoe"))]
    #[case("- **Name:**\n- **Creature:** fox", None)]
    #[case("Surname: x\nName:\nName: Zoe", Some("Zoe"))]
    fn a_fields_value_is_read_with_or_without_marks(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(field(text, "Name").as_deref(), expected);
    }

    #[test]
    fn a_value_cannot_add_lines() {
        assert_eq!(with_field("Name: a\n", "Name", "b\nCreature: c"), "Name: b Creature: c\n");
    }

    #[rstest]
    #[case("SOUL.md", Some(SOUL))]
    #[case("./SOUL.md", Some(SOUL))]
    #[case("/w/SOUL.md", Some(SOUL))]
    #[case("/w/deep/down/SOUL.md", Some(SOUL))]
    #[case("BOOTSTRAP.md", Some(BOOTSTRAP))]
    #[case("deep/SOUL.md", None)]
    #[case("../SOUL.md", None)]
    #[case("/elsewhere/SOUL.md", None)]
    #[case("soul.md", None)]
    #[case("TOOLS.md", None)]
    #[case("", None)]
    fn a_context_file_is_known_by_its_name_and_place(#[case] path: &str, #[case] expected: Option<&str>) {
        let context = ToolContext {
            tenant: TenantId::MASTER,
            agent: None,
            user: String::new(),
            role: goclaw_ports::roles::Role::Viewer,
            run: None,
            session_key: String::new(),
            channel: String::new(),
            chat_id: String::new(),
            peer_kind: String::new(),
            workspace: "/w".into(),
            shell_deny_groups: BTreeMap::new(),
            run_share: 0.0,
            settings: Default::default(),
        };
        assert_eq!(context_file(&context, path), expected);
    }

    #[test]
    fn a_users_copy_wins_for_predefined_agents_unless_it_is_empty() {
        let file = |name: &str, content: &str| ContextFile { name: name.into(), content: content.into() };
        let files = merge(AgentType::Predefined, &[file(SOUL, "s"), file(USER, "shared")], &[file(USER, "mine"), file(SOUL, "")]);
        assert_eq!(files, [file(SOUL, "s"), file(USER, "mine")]);
    }
}
