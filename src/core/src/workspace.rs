//! Which directory an agent works in for a user.

use crate::settings::Settings;
use goclaw_ports::{Error, Result, TenantId, agents::Agent};
use moka::sync::Cache;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    path::{Component, Path, PathBuf},
    time::Duration,
};
use tokio::task::spawn_blocking;

/// Makes a directory if it is not there, and answers with its path without links.
///
/// # Errors
/// `Internal` if the disk refuses.
pub(crate) async fn made(directory: &Path) -> Result<PathBuf> {
    let directory = directory.to_owned();
    let made = spawn_blocking(move || {
        std::fs::create_dir_all(&directory)?;
        directory.canonicalize()
    });
    made.await.map_err(Error::internal)?.map_err(Error::internal)
}

/// Directories that were there a moment ago.
pub(crate) struct Directories(Cache<PathBuf, PathBuf>);

impl Default for Directories {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(10_000).time_to_live(Duration::from_secs(60)).build())
    }
}

impl Directories {
    /// The path without links of a directory that was [made](Self::make) in the last minute. It may be gone since.
    pub fn known(&self, directory: &Path) -> Option<PathBuf> {
        self.0.get(directory)
    }

    /// Makes a directory if it is not there, and answers with its path without links.
    ///
    /// # Errors
    /// `Internal` if the disk refuses.
    pub async fn make(&self, directory: &Path) -> Result<PathBuf> {
        let made = made(directory).await?;
        self.0.insert(directory.to_owned(), made.clone());
        Ok(made)
    }
}

/// The directory of an agent. Tenants other than master have a directory of their own, whatever their agents say.
#[must_use]
pub fn of_agent(settings: &Settings, tenant: TenantId, tenant_slug: &str, agent: &Agent) -> PathBuf {
    let root = &settings.agents.workspace;
    if tenant != TenantId::MASTER {
        return of_tenant(settings, tenant_slug).join(&agent.agent_key);
    }
    if agent.workspace.is_empty() { root.join(&agent.agent_key) } else { root.join(&agent.workspace) }
}

/// The directory of a tenant other than master.
#[must_use]
pub fn of_tenant(settings: &Settings, slug: &str) -> PathBuf {
    of_tenants(settings).join(segment(slug))
}

/// Where the directories of tenants other than master are.
#[must_use]
pub fn of_tenants(settings: &Settings) -> PathBuf {
    settings.agents.workspace.join("tenants")
}

/// The directory of a user below the one that its profile names; the agent's own without a user.
#[must_use]
pub fn of_user(profile: &Path, user: &str) -> PathBuf {
    if user.is_empty() { profile.to_owned() } else { profile.join(segment(user)) }
}

/// The directory that an agent works in for a user whom it meets in a conversation of this kind: the one that users share, if
/// the agent's `workspace_sharing` says that this user does, else the user's own.
#[must_use]
pub fn of_conversation(profile: &Path, agent: &Agent, user: &str, peer_kind: &str) -> PathBuf {
    let shared = agent.other("workspace_sharing").is_some_and(|sharing| shares(sharing, user, peer_kind));
    of_user(profile, if shared { "" } else { user })
}

/// Whether users share the agent's directory, all of them or some.
#[must_use]
pub fn is_shared(agent: &Agent) -> bool {
    let Some(sharing) = agent.other("workspace_sharing") else { return false };
    ["shared_dm", "shared_group"].iter().any(|key| sharing[key].as_bool() == Some(true))
        || sharing["shared_users"].as_array().is_some_and(|users| !users.is_empty())
}

fn shares(sharing: &Value, user: &str, peer_kind: &str) -> bool {
    let set = |key: &str| sharing[key].as_bool().unwrap_or(false);
    let named = sharing["shared_users"].as_array().is_some_and(|users| users.iter().any(|named| named.as_str() == Some(user)));
    named || (peer_kind == "direct" && set("shared_dm")) || (peer_kind == "group" && set("shared_group"))
}

/// A text as one path segment. Characters other than letters, digits, `_` and `-` become `_`; where that loses something,
/// a hash keeps different texts apart.
#[must_use]
pub fn segment(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' }).take(100).collect();
    if plain == text { plain } else { format!("{plain}-{}", &hex::encode(Sha256::digest(text))[..8]) }
}

/// Whether `path`, without looking at links, is a place for an agent of the master tenant: below `root`, and not where the
/// other tenants' directories are.
#[must_use]
pub fn is_agents_place(path: &Path, root: &Path) -> bool {
    let path = root.join(path);
    let Ok(below) = path.strip_prefix(root) else { return false };
    let mut parts = below.components();
    !below.as_os_str().is_empty() && parts.all(|part| matches!(part, Component::Normal(_))) && !below.starts_with("tenants")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn users_that_look_alike_have_directories_of_their_own() {
        assert_eq!(segment("alice"), "alice");
        assert_ne!(segment("a.b"), segment("a_b"));
        assert_ne!(segment("a.b"), segment("a:b"));
    }

    #[test]
    fn agents_live_below_the_root_and_apart_from_other_tenants() {
        let root = Path::new("/w");
        for path in ["/w/a", "a/b", "/w/tenants-of-mine"] {
            assert!(is_agents_place(Path::new(path), root), "{path}");
        }
        for path in ["/etc", "/w/../etc", "/wx", "/w", "", "/w/tenants/acme", "tenants"] {
            assert!(!is_agents_place(Path::new(path), root), "{path}");
        }
    }

    #[test]
    fn who_shares_the_directory_is_said_by_kind_of_conversation_or_by_name() {
        let cases = [
            (json!({"shared_dm": true}), "ann", "direct", true),
            (json!({"shared_dm": true}), "ann", "group", false),
            (json!({"shared_group": true}), "group:tg:1", "group", true),
            (json!({"shared_group": true}), "ann", "direct", false),
            (json!({"shared_users": ["ann"]}), "ann", "direct", true),
            (json!({"shared_users": ["ann"]}), "ben", "direct", false),
            (json!({"shared_dm": "yes", "shared_users": "ann"}), "ann", "direct", false),
            (json!({}), "ann", "direct", false),
            (json!(7), "ann", "direct", false),
        ];
        for (sharing, user, peer_kind, expected) in cases {
            assert_eq!(shares(&sharing, user, peer_kind), expected, "{sharing} {user} {peer_kind}");
        }
    }

    proptest! {
        #[test]
        fn a_segment_is_one_segment(text in "\\PC{1,300}") {
            let segment = segment(&text);
            prop_assert!(segment.len() <= 109 && !segment.contains('/') && segment != "." && segment != "..");
        }
    }
}
