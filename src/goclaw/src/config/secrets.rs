//! Secrets of the configuration: where they are, how they are hidden, and how they get out of the file.

use super::document;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// What stands for a secret when the configuration is shown; sent back, it means "leave it".
pub const MASK: &str = "***";

/// Where secrets are. `*` is any key.
const PATHS: &[&str] = &[
    "gateway.token",
    "providers.*.api_key",
    "channels.telegram.token",
    "channels.discord.token",
    "channels.zalo.token",
    "channels.zalo.webhook_secret",
    "channels.slack.bot_token",
    "channels.slack.app_token",
    "channels.slack.user_token",
    "channels.feishu.app_id",
    "channels.feishu.app_secret",
    "channels.feishu.encrypt_key",
    "channels.feishu.verification_token",
    "channels.*.stt_api_key",
    "tts.openai.api_key",
    "tts.elevenlabs.api_key",
    "tts.minimax.api_key",
    "tts.minimax.group_id",
    "tools.web.brave.api_key",
    "tools.mcp_servers.*.env.*",
    "tools.mcp_servers.*.headers.*",
    "telemetry.headers.*",
    "tailscale.auth_key",
];

/// The part of the path whose object must be in the file for a stored secret to count: without its server, a server's secret is nothing.
const ENTRIES: &[&str] = &["tools.mcp_servers.*"];

/// What names of secrets in parts that nobody knows end with. They are hidden as well, but stay in the file.
const SUSPECT: &[&str] = &["token", "secret", "password", "api_key", "apikey", "auth_key"];

/// What a change does to secrets, by name: a new value, or `None` to remove it.
pub type Changes = BTreeMap<String, Option<SecretString>>;

/// Where a secret is, for people and the secret store: `gateway.token`. A point in a key is `\.`.
#[must_use]
pub fn name_of(path: &[impl AsRef<str>]) -> String {
    path.iter().map(|key| key.as_ref().replace('\\', r"\\").replace('.', r"\.")).collect::<Vec<_>>().join(".")
}

/// The path of a secret with this name.
#[must_use]
pub fn path_of(name: &str) -> Vec<String> {
    let mut path = vec![String::new()];
    let mut characters = name.chars();
    while let Some(character) = characters.next() {
        let literal = match character {
            '.' => {
                path.push(String::new());
                continue;
            }
            '\\' => characters.next(),
            other => Some(other),
        };
        if let Some(key) = path.last_mut() {
            key.extend(literal);
        }
    }
    path
}

fn matches(pattern: &str, path: &[impl AsRef<str>]) -> bool {
    let mut keys = path.iter();
    pattern.split('.').all(|wanted| keys.next().is_some_and(|key| wanted == "*" || wanted == key.as_ref())) && keys.next().is_none()
}

/// Whether a secret is kept at this path.
#[must_use]
pub fn is_secret(path: &[impl AsRef<str>]) -> bool {
    PATHS.iter().any(|pattern| matches(pattern, path))
}

fn is_suspect(path: &[String]) -> bool {
    path.last().is_some_and(|key| {
        let key = key.to_ascii_lowercase();
        SUSPECT.iter().any(|ending| key.ends_with(ending))
    })
}

/// Calls `visit` for everything in the document that is no object, with its path; what it answers `false` to is removed.
fn leaves(value: &mut Value, path: &mut Vec<String>, visit: &mut impl FnMut(&[String], &mut Value) -> bool) {
    let Value::Object(map) = value else { return };
    map.retain(|key, value| {
        path.push(key.clone());
        let keep = if value.is_object() {
            leaves(value, path, visit);
            true
        } else {
            visit(path, value)
        };
        path.pop();
        keep
    });
}

/// Hides every secret of a document.
pub fn mask(document: &mut Value) {
    hide(document, |_| MASK.to_owned());
}

/// Puts in the place of every secret of a document what `show` makes of it.
pub fn hide(document: &mut Value, show: impl Fn(&str) -> String) {
    leaves(document, &mut Vec::new(), &mut |path, value| {
        if let Some(text) = value.as_str().filter(|text| !text.is_empty() && (is_secret(path) || is_suspect(path))) {
            *value = show(text).into();
        }
        true
    });
}

/// Takes every secret out of a document, and answers with what it says about them: a text is a new value, `null` removes the
/// stored one, and the mask or nothing leaves it.
pub fn take(document: &mut Value) -> Changes {
    let mut changes = Changes::new();
    leaves(document, &mut Vec::new(), &mut |path, value| {
        if !is_secret(path) {
            return true;
        }
        match value {
            Value::Null => drop(changes.insert(name_of(path), None)),
            Value::String(text) if !text.trim().is_empty() && text != MASK => drop(changes.insert(name_of(path), Some(std::mem::take(text).into()))),
            Value::String(_) => {}
            // Of the wrong type: the check of types says so.
            _ => return true,
        }
        false
    });
    changes
}

/// The names of stored secrets that go because `changes` removes the object they are in.
pub fn under_nulls<'s>(changes: &Value, stored: impl Iterator<Item = &'s String>) -> Vec<String> {
    let removed = |name: &&String| {
        let path = path_of(name);
        (1..path.len()).any(|length| document::at(changes, &path[..length]).is_some_and(Value::is_null))
    };
    stored.filter(removed).cloned().collect()
}

/// Whether what a secret belongs to is in the document.
#[must_use]
pub fn has_place(document: &Value, name: &str) -> bool {
    let path = path_of(name);
    let entry = ENTRIES
        .iter()
        .map(|pattern| pattern.split('.').count())
        .find(|length| path.len() > *length && ENTRIES.iter().any(|pattern| matches(pattern, &path[..*length])));
    entry.is_none_or(|length| document::at(document, &path[..length]).is_some_and(Value::is_object))
}

/// Lays stored secrets over a document. Names that are no secrets of the configuration are left out.
pub fn lay(document: &mut Value, secrets: &HashMap<String, SecretString>) {
    for (name, secret) in secrets {
        let path = path_of(name);
        if is_secret(&path) && has_place(document, name) {
            document::put(document, &path, secret.expose_secret().into());
        }
    }
}

/// Puts what `before` has where a document has the mask. What is hidden there and was not there before, is removed.
pub fn unmask(document: &mut Value, before: &Value) {
    leaves(document, &mut Vec::new(), &mut |path, value| {
        if value.as_str() != Some(MASK) {
            return true;
        }
        match document::at(before, path) {
            Some(kept) => {
                *value = kept.clone();
                true
            }
            None => false,
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn everything() -> Value {
        json!({
            "gateway": {"token": "s", "port": 1},
            "providers": {"groq": {"api_key": "s", "api_base": "b"}, "novita": {"api_key": "s"}},
            "channels": {"slack": {"bot_token": "s", "app_token": "s", "user_token": "s"}, "telegram": {"token": "s", "stt_api_key": "s"}, "feishu": {"app_id": "s", "stt_api_key": "s"}},
            "tts": {"minimax": {"group_id": "s", "api_key": "s"}},
            "tools": {"web": {"brave": {"api_key": "s"}}, "mcp_servers": {"a.b": {"env": {"K.1": "s"}, "headers": {"X": "s"}, "url": "u"}}},
            "telemetry": {"headers": {"authorization": "s"}},
            "tailscale": {"auth_key": "s"},
            "sessions": {"main_key": "main"},
        })
    }

    #[test]
    fn every_secret_is_hidden_and_nothing_else() {
        let mut document = everything();
        mask(&mut document);
        let text = document.to_string();
        assert!(!text.contains("\"s\""), "{text}");
        assert_eq!(document["providers"]["groq"]["api_base"], "b");
        assert_eq!(document["tools"]["mcp_servers"]["a.b"]["url"], "u");
        assert_eq!(document["sessions"]["main_key"], "main");
        let mut document = json!({"gateway": {"token": ""}, "mine": {"api_key": "s", "bot_token": "s", "max_tokens": 5}});
        mask(&mut document);
        assert_eq!(document, json!({"gateway": {"token": ""}, "mine": {"api_key": "***", "bot_token": "***", "max_tokens": 5}}));
    }

    #[test]
    fn what_is_taken_out_can_be_laid_back() {
        let mut document = everything();
        let changes = take(&mut document);
        assert!(!document.to_string().contains("\"s\""));
        let stored = changes.into_iter().map(|(name, secret)| (name, secret.unwrap())).collect();
        lay(&mut document, &stored);
        assert_eq!(document::canonical(&document), document::canonical(&everything()));
    }

    #[test]
    fn the_mask_and_nothing_leave_a_secret_and_null_removes_it() {
        let mut document = json!({"gateway": {"token": "***"}, "providers": {"groq": {"api_key": ""}, "openai": {"api_key": null}, "xai": {"api_key": "new"}}});
        let changes = take(&mut document);
        assert_eq!(changes.keys().collect::<Vec<_>>(), ["providers.openai.api_key", "providers.xai.api_key"]);
        assert!(changes["providers.openai.api_key"].is_none());
        assert_eq!(document, json!({"gateway": {}, "providers": {"groq": {}, "openai": {}, "xai": {}}}));
    }

    #[test]
    fn a_removed_object_takes_its_secrets_along() {
        let stored = ["tools.mcp_servers.x.env.K", "tools.mcp_servers.y.env.K", "providers.groq.api_key", "gateway.token"].map(String::from);
        let gone = under_nulls(&json!({"tools": {"mcp_servers": {"x": null}}, "providers": null}), stored.iter());
        assert_eq!(gone, ["tools.mcp_servers.x.env.K", "providers.groq.api_key"]);
        assert!(!has_place(&json!({}), "tools.mcp_servers.x.env.K") && has_place(&json!({"tools": {"mcp_servers": {"x": {}}}}), "tools.mcp_servers.x.env.K"));
        assert!(has_place(&json!({}), "gateway.token"));
    }

    #[test]
    fn a_hidden_value_that_nobody_knows_comes_back() {
        let mut document = json!({"mine": {"api_key": "***", "new_token": "***", "a": 1}});
        unmask(&mut document, &json!({"mine": {"api_key": "s"}}));
        assert_eq!(document, json!({"mine": {"api_key": "s", "a": 1}}));
    }

    proptest! {
        #[test]
        fn names_and_paths_are_two_ways_of_saying_it(path in prop::collection::vec(r"[a-z.\\]{0,4}", 1..5)) {
            prop_assert_eq!(path_of(&name_of(&path)), path);
        }
    }
}
