//! Asks the deny groups and the protected paths about a command.
//!
//! Patterns on a command line are a seat belt, not a wall: whoever wants to get past them can. The wall is a sandbox.

use super::patterns::{PATTERNS_OF_GROUPS, SHELL_DENY_GROUPS, expanded};
use goclaw_ports::tools::ToolContext;
use regex::Regex;
use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::LazyLock,
};

const INSTALLATION: &str = "package_install";
/// The installation's own directory in a home.
const STATE: &str = ".goclaw";
/// The part of it that commands may name: scripts of skills lie there.
const SKILLS: &str = ".goclaw/skills-store/";

struct Pattern {
    group: &'static str,
    regex: Regex,
}

#[expect(clippy::expect_used, reason = "constant patterns that the tests compile")]
static PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
    let compiled = |pattern: &str| Regex::new(&expanded(pattern)).expect("a constant pattern");
    PATTERNS_OF_GROUPS
        .iter()
        .zip(SHELL_DENY_GROUPS)
        .flat_map(|(patterns, group)| patterns.iter().map(move |pattern| Pattern { group: group.name, regex: compiled(pattern) }))
        .collect()
});

/// Why a command does not run.
#[derive(Debug, PartialEq, Eq)]
pub enum Denial {
    /// A pattern of a group matches.
    Pattern { group: &'static str, pattern: &'static str },
    /// It names a path of the installation.
    Path,
    /// It installs packages, and does nothing else that is denied.
    Installation,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern { group, pattern } => write!(f, "command denied by safety policy: matches pattern {pattern} (group {group})"),
            Self::Path => f.write_str("command denied by safety policy: matches pattern of a protected path"),
            Self::Installation => f.write_str(
                "command denied by safety policy: it installs or removes packages. An administrator must do that; \
                 tell the user which package is needed, or do without it.",
            ),
        }
    }
}

/// The command as a shell reads it where that is cheap to tell: joined lines, no empty quotes, no needless backslashes.
fn unquoted(command: &str) -> String {
    let mut plain = String::with_capacity(command.len());
    let joined = command.replace("\\\r\n", "").replace("\\\n", "").replace("''", "").replace("\"\"", "");
    let mut characters = joined.chars().peekable();
    while let Some(c) = characters.next() {
        if c != '\\' || !characters.peek().is_some_and(char::is_ascii_alphanumeric) {
            plain.push(c);
        }
    }
    plain
}

/// Why `command` must not run in this call, if it must not.
pub fn check(command: &str, context: &ToolContext, protected: &[PathBuf]) -> Option<Denial> {
    check_in(command, &context.workspace, &context.shell_deny_groups, protected)
}

/// Why `command` must not run in `workspace`, if it must not. `groups` switches groups off.
pub fn check_in(command: &str, workspace: &Path, groups: &BTreeMap<String, bool>, protected: &[PathBuf]) -> Option<Denial> {
    let plain = unquoted(command);
    let matches = |pattern: &&Pattern| groups.get(pattern.group) != Some(&false) && (pattern.regex.is_match(command) || pattern.regex.is_match(&plain));
    let mut installs = false;
    for pattern in PATTERNS.iter().filter(matches) {
        if pattern.group != INSTALLATION {
            return Some(Denial::Pattern { group: pattern.group, pattern: pattern.regex.as_str() });
        }
        installs = true;
    }
    if [command, &plain].iter().any(|command| names_protected(command, workspace, protected)) {
        return Some(Denial::Path);
    }
    installs.then_some(Denial::Installation)
}

/// Whether a word of `command` leads into the installation's own files. Words that stay in the workspace or in the
/// store of skills do not.
fn names_protected(command: &str, workspace: &Path, protected: &[PathBuf]) -> bool {
    let workspaces = [workspace.to_owned(), workspace.canonicalize().unwrap_or_else(|_| workspace.to_owned())];
    let real = protected.iter().filter_map(|path| path.canonicalize().ok());
    // The root alone would be named by every absolute path.
    let named: Vec<PathBuf> = protected.iter().cloned().chain(real).filter(|path| path.parent().is_some()).collect();
    command.split(is_delimiter).any(|word| {
        let climbs = word.contains("..");
        if !climbs && workspaces.iter().any(|workspace| Path::new(word).starts_with(workspace)) {
            return false;
        }
        let mut states = word.match_indices(STATE).map(|(at, _)| &word[at + STATE.len()..]).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let skill = !climbs && word.contains(SKILLS) && states.clone().all(|rest| rest.starts_with("/skills-store/"));
        !skill && (states.next().is_some() || named.iter().any(|path| path.to_str().is_some_and(|path| word.contains(path))))
    }) || named.iter().any(|path| path.to_str().is_some_and(|path| path.contains(is_delimiter) && command.contains(path)))
}

fn is_delimiter(c: char) -> bool {
    c.is_whitespace() || "'\"`;|&<>(){}=,:".contains(c)
}

#[cfg(test)]
mod tests;
