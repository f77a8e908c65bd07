//! What Claude's command line asks before it uses a tool: may it? Whatever goes wrong, the answer is no.

use anyhow::{Context, Result};
use clap::Args;
use goclaw_tools::{Ask, ExecApproval, Host, Security};
use serde_json::{Value, json};
use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

/// The most that is read of a question, in bytes.
const LONGEST: u64 = 16 << 20;

/// The rules, as the gateway writes them into the command line's settings.
#[derive(Args)]
pub struct Options {
    /// The directory that files may be in
    #[arg(long)]
    root: PathBuf,
    /// A path of the installation that nothing opens
    #[arg(long = "protect")]
    protected: Vec<PathBuf>,
    /// A deny group whose commands may run
    #[arg(long = "open")]
    open: Vec<String>,
    /// How far commands are trusted: full, allowlist or deny
    #[arg(long, default_value = "deny")]
    security: String,
    /// When an approval is asked for: off, on-miss or always
    #[arg(long, default_value = "off")]
    ask: String,
    /// A pattern of commands that may run
    #[arg(long = "allow")]
    allowlist: Vec<String>,
}

/// Answers the question on standard input.
///
/// # Errors
/// If the answer cannot be written.
pub fn run(options: Options) -> Result<()> {
    let root = options.root.clone();
    let answer = question().map(|question| judge(&host(options), &root, &question));
    let refusal = answer.unwrap_or_else(|error| Some(format!("the question cannot be read: {error:#}")));
    super::print::line(&decision(refusal.as_deref()).to_string())
}

fn question() -> Result<Value> {
    let mut text = String::new();
    io::stdin().take(LONGEST).read_to_string(&mut text).context("standard input")?;
    serde_json::from_str(&text).context("JSON")
}

fn host(options: Options) -> Host {
    let security = match options.security.as_str() {
        "full" => Security::Full,
        "allowlist" => Security::Allowlist,
        _ => Security::Deny,
    };
    let ask = match options.ask.as_str() {
        "off" => Ask::Off,
        "on-miss" => Ask::OnMiss,
        _ => Ask::Always,
    };
    Host {
        approval: ExecApproval { security, ask, allowlist: options.allowlist },
        deny_groups: options.open.into_iter().map(|group| (group, false)).collect(),
        protected: options.protected,
    }
}

/// Why the tool may not be used, if it may not.
fn judge(host: &Host, root: &Path, question: &Value) -> Option<String> {
    let input = &question["tool_input"];
    let path = ["file_path", "notebook_path", "path"].iter().find_map(|key| input[*key].as_str());
    match (question["tool_name"].as_str(), path) {
        (Some("Bash"), _) => match input["command"].as_str() {
            Some(command) => host.permit(root, command).err(),
            None => Some("the command is missing".to_owned()),
        },
        (Some("Write" | "Edit" | "MultiEdit" | "NotebookEdit"), Some(path)) => host.reaches(root, path, true).err(),
        (Some("Read"), Some(path)) => host.reaches(root, path, false).err(),
        // These look into the working directory if they name no path.
        (Some("Glob" | "Grep"), path) => host.reaches(root, path.unwrap_or("."), false).err(),
        (tool, _) => Some(format!("{} cannot be judged", tool.unwrap_or("the tool"))),
    }
}

fn decision(refusal: Option<&str>) -> Value {
    let mut output = json!({"hookEventName": "PreToolUse", "permissionDecision": if refusal.is_some() { "deny" } else { "allow" }});
    if let Some(why) = refusal {
        output["permissionDecisionReason"] = why.into();
    }
    json!({"hookSpecificOutput": output})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(tool: &str, input: Value) -> Option<String> {
        let root = tempfile::tempdir().unwrap();
        let options = Options { root: root.path().into(), protected: vec![], open: vec![], security: "full".into(), ask: "off".into(), allowlist: vec![] };
        judge(&host(options), root.path(), &json!({"tool_name": tool, "tool_input": input}))
    }

    #[test]
    fn what_the_rules_allow_is_allowed() {
        for (tool, input) in [
            ("Bash", json!({"command": "ls -l"})),
            ("Write", json!({"file_path": "a/b.txt"})),
            ("Edit", json!({"file_path": "b.txt"})),
            ("Read", json!({"file_path": "b.txt"})),
            ("Glob", json!({"pattern": "**/*.rs"})),
            ("Grep", json!({"pattern": "x", "path": "."})),
        ] {
            assert_eq!(judged(tool, input.clone()), None, "{tool} {input}");
        }
    }

    #[test]
    fn everything_else_is_denied() {
        for (tool, input) in [
            ("Bash", json!({"command": "sudo ls"})),
            ("Bash", json!({})),
            ("Write", json!({"file_path": "/etc/passwd"})),
            ("Read", json!({"file_path": "../secret"})),
            ("Grep", json!({"path": "/etc"})),
            ("Edit", json!({})),
            ("Launch", json!({"file_path": "a"})),
        ] {
            assert!(judged(tool, input.clone()).is_some(), "{tool} {input}");
        }
        assert_eq!(decision(Some("no"))["hookSpecificOutput"]["permissionDecision"], "deny");
    }

    #[test]
    fn rules_that_are_not_known_are_the_strictest() {
        let options = Options { root: "/".into(), protected: vec![], open: vec![], security: "loose".into(), ask: "sometimes".into(), allowlist: vec![] };
        let host = host(options);
        assert!(host.approval.security == Security::Deny && host.approval.ask == Ask::Always);
    }
}
