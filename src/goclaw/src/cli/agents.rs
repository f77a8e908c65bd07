//! `goclaw agent list|add|delete`: the agents of the running gateway.

use super::{
    client::Gateway,
    exit::{refused, usage},
    print,
};
use crate::config::Config;
use anyhow::Result;
use inquire::Text;
use reqwest::Method;
use serde_json::{Value, json};
use std::io::{self, IsTerminal};

/// The agent that answers when nobody is named.
const DEFAULT: &str = "default";
/// The longest id that the command line makes.
const MAX_ID: usize = 64;

/// A new agent. What is not said is asked for, or left to the gateway's defaults.
#[derive(clap::Args)]
pub struct NewAgent {
    /// Its id; letters, digits and hyphens
    #[arg(short, long)]
    name: Option<String>,
    /// The name that people see [default: the id]
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// The provider [default: the configured one]
    #[arg(long)]
    provider: Option<String>,
    /// The model [default: the configured one]
    #[arg(long)]
    model: Option<String>,
    /// The directory of its files [default: one below the configured workspace]
    #[arg(long, value_name = "DIR")]
    workspace: Option<String>,
    /// Everybody may use it
    #[arg(long)]
    default: bool,
    /// Print JSON, and ask nothing
    #[arg(long)]
    json: bool,
}

/// Lists the agents.
///
/// # Errors
/// If no gateway runs or it refuses.
pub async fn list(config: &Config, as_json: bool) -> Result<()> {
    let gateway = Gateway::of(config).await?;
    let answer = gateway.expect(Method::GET, "/v1/agents", None).await?;
    let agents: Vec<_> = answer["agents"].as_array().into_iter().flatten().map(summary).collect();
    if as_json {
        return print::json(&agents);
    }
    let text = |agent: &Value, key: &str| agent[key].as_str().unwrap_or_default().to_owned();
    let rows: Vec<_> = agents
        .iter()
        .map(|agent| {
            let default = if agent["isDefault"] == true { "yes" } else { "" };
            [text(agent, "id"), text(agent, "displayName"), text(agent, "provider"), text(agent, "model"), default.to_owned()]
        })
        .collect();
    print::table(["ID", "NAME", "PROVIDER", "MODEL", "DEFAULT"], &rows, "There are no agents; `goclaw agent add` makes one.")
}

/// An agent, as the command line shows it.
fn summary(agent: &Value) -> Value {
    let mut summary = json!({
        "id": agent["agent_key"],
        "displayName": agent["display_name"],
        "provider": agent["provider"],
        "model": agent["model"],
        "isDefault": agent["is_default"],
    });
    if agent["workspace"].as_str().is_some_and(|workspace| !workspace.is_empty()) {
        summary["workspace"] = agent["workspace"].clone();
    }
    summary
}

/// Creates an agent.
///
/// # Errors
/// If no gateway runs or it refuses, or the id is missing and cannot be asked for.
pub async fn add(config: &Config, new: NewAgent) -> Result<()> {
    let ask = !new.json && new.name.is_none() && io::stdin().is_terminal();
    let name = match (&new.name, ask) {
        (Some(name), _) => name.clone(),
        (None, true) => Text::new("Id of the agent:").prompt()?,
        (None, false) => return Err(usage("name the agent with --name")),
    };
    let id = normalised(&name);
    let optional = |given: &Option<String>, question: &str, help: &str| -> Result<String> {
        match given {
            Some(text) => Ok(text.trim().to_owned()),
            None if ask => Ok(Text::new(question).with_help_message(help).prompt()?.trim().to_owned()),
            None => Ok(String::new()),
        }
    };
    let display_name = optional(&new.display_name, "Name that people see:", "empty: the id")?;
    let body = json!({
        "agent_key": id,
        "display_name": if display_name.is_empty() { id.clone() } else { display_name },
        "provider": optional(&new.provider, "Provider:", "empty: the configured one")?,
        "model": optional(&new.model, "Model:", "empty: the configured one")?,
        "workspace": optional(&new.workspace, "Workspace:", "empty: a directory below the configured one")?,
        "is_default": new.default,
    });
    let created = Gateway::of(config).await?.expect(Method::POST, "/v1/agents", Some(&body)).await?;
    if new.json {
        return print::json(&summary(&created));
    }
    print::line(&format!("created {id}; talk to it with `goclaw agent chat -n {id}`"))
}

/// Deletes an agent.
///
/// # Errors
/// If no gateway runs or it refuses, for the default agent, or if the user does not agree.
pub async fn delete(config: &Config, id: &str, force: bool, as_json: bool) -> Result<()> {
    if id == DEFAULT {
        return Err(refused("the agent default answers when nobody is named; it cannot be deleted"));
    }
    let gateway = Gateway::of(config).await?;
    let path = format!("/v1/agents/{}", path_segment(id));
    // Only ids are deleted: a key may be another agent's by the time that it is.
    let found = gateway.expect(Method::GET, &path, None).await?;
    print::confirm(force, &format!("Delete the agent {id} with its memory and files?"))?;
    gateway.expect(Method::DELETE, &format!("/v1/agents/{}", path_segment(found["id"].as_str().unwrap_or(id))), None).await?;
    if as_json { print::json(&json!({"deleted": id})) } else { print::line(&format!("deleted {id}")) }
}

/// The id that a name gives: lower case, runs of other characters than letters, digits, `_` and `-` become `-`.
fn normalised(name: &str) -> String {
    let mut id = String::new();
    for c in name.trim().to_lowercase().chars() {
        match c {
            'a'..='z' | '0'..='9' | '_' | '-' => id.push(c),
            _ if id.ends_with('-') => {}
            _ => id.push('-'),
        }
    }
    let cut = &id[..id.len().min(MAX_ID)];
    match cut.trim_matches('-') {
        "" => DEFAULT.to_owned(),
        id => id.to_owned(),
    }
}

/// A text as one segment of a path.
pub fn path_segment(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_ids() {
        for (name, id) in [
            (" My Fox! ", "my-fox"),
            ("fox_2", "fox_2"),
            ("--a  b--", "a-b"),
            ("Füchsin", "f-chsin"),
            ("!!!", "default"),
            ("", "default"),
            (&"x".repeat(80), &"x".repeat(64)),
        ] {
            assert_eq!(normalised(name), id, "{name}");
        }
    }

    #[test]
    fn a_segment_leaves_its_place_in_no_way() {
        assert_eq!(path_segment("../a b?c"), "..%2Fa%20b%3Fc");
    }
}
