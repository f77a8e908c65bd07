//! Which files are whose: the directories of the tenants, and what a user sees of them.

use super::path::is_private;
use crate::{settings::Settings, workspace};
use std::path::{Path, PathBuf};

/// What is served of a data directory. All else there is the installation's own.
const SERVED_DATA: [&str; 5] = ["uploads", "skills", "skills-store", "teams", "media"];
/// Where uploads are, below a data directory.
pub(super) const UPLOADS: &str = "uploads";
/// Where the other tenants' directories are.
pub(super) const TENANTS: &str = "tenants";

/// The two directories that everything served is in, as they are configured and with all links resolved.
#[derive(Debug, Clone)]
pub(super) struct Roots {
    given: [PathBuf; 2],
    /// Agents' workspaces.
    pub workspace: PathBuf,
    /// The gateway's own files.
    pub data: PathBuf,
}

/// Where a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The directory name of the tenant that it belongs to; `None` for master.
    pub tenant: Option<String>,
    /// The tenant's directory.
    pub root: PathBuf,
    /// The path below it.
    pub below: PathBuf,
    /// Whether the directory is one of data, not of workspaces.
    pub is_data: bool,
}

impl Roots {
    /// The directories that the operator decided on.
    pub async fn of(settings: &Settings) -> Self {
        let (workspace, data) = (settings.agents.workspace.clone(), settings.data_dir.clone());
        let resolved = |path: PathBuf| async move { tokio::fs::canonicalize(&path).await.unwrap_or(path) };
        let given = [workspace.clone(), data.clone()];
        Self { given, workspace: resolved(workspace).await, data: resolved(data).await }
    }

    /// The same path below the directories with all links resolved.
    pub fn resolved(&self, path: &Path) -> PathBuf {
        let [workspace, data] = &self.given;
        let mut known = [(workspace, &self.workspace), (data, &self.data)];
        known.sort_by_key(|(given, _)| std::cmp::Reverse(given.components().count()));
        let inside = known.into_iter().find_map(|(given, resolved)| Some(resolved.join(path.strip_prefix(given).ok()?)));
        inside.unwrap_or_else(|| path.to_owned())
    }

    /// Where `path` is; `None` if it is in no tenant's directory, or belongs to the installation.
    pub fn place(&self, path: &Path) -> Option<Place> {
        let path = self.resolved(path);
        let in_workspace = path.strip_prefix(&self.workspace).ok();
        let in_data = path.strip_prefix(&self.data).ok();
        // One may lie inside the other: the inner one counts.
        let is_data = match (in_workspace, in_data) {
            (Some(workspace), Some(data)) => data.components().count() < workspace.components().count(),
            (None, Some(_)) => true,
            _ => false,
        };
        let (root, below) = if is_data { (&self.data, in_data?) } else { (&self.workspace, in_workspace?) };
        let mut parts = below.components().map(|part| part.as_os_str());
        let (tenant, root, below) = if parts.next()? == TENANTS {
            let slug = parts.next()?;
            let root = root.join(TENANTS).join(slug);
            (Some(slug.to_str()?.to_owned()), root, parts.collect())
        } else {
            (None, root.to_owned(), below.to_owned())
        };
        let first = below.components().next()?.as_os_str();
        if is_private(&below) || (is_data && !SERVED_DATA.iter().any(|served| first == *served)) {
            return None;
        }
        Some(Place { tenant, root, below, is_data })
    }
}

/// What somebody sees.
#[derive(Debug, Clone)]
pub(super) enum Sight {
    /// Every tenant's files: an owner of the installation.
    All,
    /// A tenant's.
    Tenant(Option<String>),
    /// Of a tenant's, their own.
    User {
        /// The tenant.
        tenant: Option<String>,
        /// The user, as directories are named after it.
        user: String,
        /// The directories of the agents that they may use, and whether users share what is in there.
        agents: Vec<(PathBuf, bool)>,
    },
}

impl Sight {
    /// Whether a file at this place is seen.
    pub fn covers(&self, place: &Place) -> bool {
        match self {
            Self::All => true,
            Self::Tenant(tenant) => *tenant == place.tenant,
            Self::User { tenant, user, agents } => {
                *tenant == place.tenant && (if place.is_data { own_data(place, user) } else { own_work(place, user, agents) })
            }
        }
    }
}

/// Of the data, uploads are their user's; the rest is the tenant's.
fn own_data(place: &Place, user: &str) -> bool {
    match place.below.strip_prefix(UPLOADS) {
        Ok(upload) => upload.starts_with(user),
        Err(_) => true,
    }
}

/// Of an agent's directory, `{channel}/{user}/…` is that user's, unless users share it; what lies above is every user's.
fn own_work(place: &Place, user: &str, agents: &[(PathBuf, bool)]) -> bool {
    if place.below.starts_with("teams") {
        return true;
    }
    let path = place.root.join(&place.below);
    agents.iter().any(|(directory, shared)| {
        let Ok(below) = path.strip_prefix(directory) else { return false };
        let parts: Vec<_> = below.components().map(|part| part.as_os_str()).collect();
        *shared || parts.len() < 3 || parts[1] == user
    })
}

/// The directory of a tenant's uploads by this user.
pub(super) fn uploads_of(user: &str) -> PathBuf {
    Path::new(UPLOADS).join(user_directory(user))
}

/// How a user's directory is called. No user has the name of the directory of those without one.
pub(super) fn user_directory(user: &str) -> String {
    if user.is_empty() { "~".into() } else { workspace::segment(user) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place_in(workspace: &str, data: &str, path: &str) -> Option<Place> {
        let (workspace, data) = (PathBuf::from(workspace), PathBuf::from(data));
        Roots { given: [workspace.clone(), data.clone()], workspace, data }.place(Path::new(path))
    }

    fn place(path: &str) -> Option<Place> {
        place_in("/w", "/d", path)
    }

    fn user(name: &str, agents: &[(&str, bool)]) -> Sight {
        let agents = agents.iter().map(|(path, shared)| (PathBuf::from(path), *shared)).collect();
        Sight::User { tenant: None, user: user_directory(name), agents }
    }

    #[test]
    fn a_path_belongs_to_the_tenant_whose_directory_it_is_in() {
        for (path, tenant, root, below) in [
            ("/w/fox/ws/mai/a.png", None, "/w", "fox/ws/mai/a.png"),
            ("/w/tenants/acme/fox/a.png", Some("acme"), "/w/tenants/acme", "fox/a.png"),
            ("/d/uploads/mai/a.png", None, "/d", "uploads/mai/a.png"),
            ("/d/tenants/acme/uploads/mai/a.png", Some("acme"), "/d/tenants/acme", "uploads/mai/a.png"),
        ] {
            let place = place(path).unwrap();
            assert_eq!((place.tenant.as_deref(), place.root.to_str(), place.below.to_str()), (tenant, Some(root), Some(below)), "{path}");
        }
    }

    #[test]
    fn what_is_no_tenants_has_no_place() {
        for path in [
            "/etc/passwd",
            "/w",
            "/w/tenants",
            "/w/tenants/acme",
            "/wx/a",
            "/d",
            "/d/goclaw.db",
            "/d/gateway.token",
            "/d/encryption.key",
            "/d/secrets/a",
            "/d/tenants/acme/mcp-configs/a",
            "/d/uploads/mai/.env",
            "/w/fox/key.pem",
            "/w/fox/config.json",
        ] {
            assert_eq!(place(path), None, "{path}");
        }
    }

    #[test]
    fn of_nested_roots_the_inner_one_counts() {
        assert!(place_in("/d/workspace", "/d", "/d/workspace/fox/a.png").is_some_and(|place| !place.is_data));
        assert!(place_in("/d/workspace", "/d", "/d/backups/a.png").is_none());
        assert!(place_in("/w", "/w/data", "/w/data/backups/a.png").is_none());
        assert!(place_in("/w", "/w/data", "/w/data/skills/a.png").is_some_and(|place| place.is_data));
    }

    #[test]
    fn a_root_may_be_reached_through_a_link() {
        let (workspace, data) = (PathBuf::from("/real/w"), PathBuf::from("/real/d"));
        let roots = Roots { given: [PathBuf::from("/w"), PathBuf::from("/w/d")], workspace, data };
        let below = |path| roots.place(Path::new(path)).map(|place| place.root.join(place.below));
        assert_eq!(below("/w/fox/a"), Some("/real/w/fox/a".into()));
        assert_eq!(below("/real/w/fox/a"), Some("/real/w/fox/a".into()));
        assert_eq!(below("/w/d/skills/a"), Some("/real/d/skills/a".into()));
    }

    #[test]
    fn tenants_see_their_own() {
        let (master, acme) = (place("/w/fox/a").unwrap(), place("/w/tenants/acme/fox/a").unwrap());
        assert!(Sight::All.covers(&master) && Sight::All.covers(&acme));
        assert!(Sight::Tenant(None).covers(&master) && !Sight::Tenant(None).covers(&acme));
        assert!(!Sight::Tenant(Some("acme".into())).covers(&master) && Sight::Tenant(Some("acme".into())).covers(&acme));
        assert!(!user("mai", &[("/w/tenants/acme/fox", true)]).covers(&acme));
    }

    #[test]
    fn users_see_their_own_part_of_agents_that_they_may_use() {
        let mai = user("mai", &[("/w/fox", false), ("/w/owl", true)]);
        for (path, seen) in [
            ("/w/fox/ws/mai/a", true),
            ("/w/fox/ws/mai/generated/a", true),
            ("/w/fox/ws/lan/a", false),
            ("/w/fox/ws/a", true),
            ("/w/fox/a", true),
            ("/w/owl/ws/docs/a", true),
            ("/w/cat/ws/mai/a", false),
            ("/w/a", false),
            ("/w/teams/t/a", true),
            ("/d/uploads/mai/a", true),
            ("/d/uploads/lan/a", false),
            ("/d/uploads/~/a", false),
            ("/d/skills/x/SKILL.md", true),
        ] {
            assert_eq!(mai.covers(&place(path).unwrap()), seen, "{path}");
        }
        assert!(user("", &[]).covers(&place("/d/uploads/~/a").unwrap()));
    }
}
