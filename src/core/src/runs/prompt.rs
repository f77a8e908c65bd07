//! Composes the system prompt. Pure and deterministic: the same agent gives the same text, so that providers can cache it;
//! what changes from day to day stands last.

use crate::{
    context_files,
    delegation::{self, Delegate},
    prune::head_and_tail,
};
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
    /// The agents that it may hand work to.
    pub delegates: &'a [Delegate],
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
    if !from.delegates.is_empty() {
        let agents: Vec<String> = from.delegates.iter().map(|delegate| format!("- {}: {}", delegate.agent_key, delegate.about)).collect();
        prompt.add(format!("# Agents you may hand work to, with {}\n{}", delegation::TOOL, agents.join("\n")));
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
    // It lasts as long as the run.
    prompt.0.shrink_to_fit();
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
mod tests;
