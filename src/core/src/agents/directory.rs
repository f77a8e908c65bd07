//! An agent's directory on disk.

use crate::{settings::Settings, workspace};
use goclaw_ports::{
    Error, Result, TenantId,
    agents::{Agent, ContextFile},
};
use std::{
    io::{self, ErrorKind},
    path::Path,
    time::Duration,
};
use tokio::{fs, time::timeout};

/// How long the disk may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes the directory, with copies of the first files. What is there already stays.
///
/// # Errors
/// `Internal` if it cannot be made.
pub(super) async fn make(directory: &Path, files: &[ContextFile]) -> Result<()> {
    let making = async {
        fs::create_dir_all(directory).await?;
        for file in files {
            match fs::OpenOptions::new().write(true).create_new(true).open(directory.join(&file.name)).await {
                Ok(mut copy) => {
                    tokio::io::AsyncWriteExt::write_all(&mut copy, file.content.as_bytes()).await?;
                    tokio::io::AsyncWriteExt::flush(&mut copy).await?;
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Ok::<_, io::Error>(())
    };
    timeout(PATIENCE, making).await.map_err(Error::internal)?.map_err(Error::internal)
}

/// Removes the directory of an agent that is no more, unless one of the `others` works in it, above it or below it, or
/// a link leads out of the workspaces. Whatever stays is said in the log.
pub(super) async fn remove(settings: &Settings, tenant: TenantId, slug: &str, agent: &Agent, others: &[Agent]) {
    let directory = workspace::of_agent(settings, tenant, slug, agent);
    let of = |other: &Agent| workspace::of_agent(settings, tenant, slug, other);
    if others.iter().map(of).any(|other| other.starts_with(&directory) || directory.starts_with(&other)) {
        tracing::info!(agent = agent.agent_key, "the agent's directory stays: another agent works there");
        return;
    }
    let root = if tenant == TenantId::MASTER { settings.agents.workspace.clone() } else { workspace::of_tenant(settings, slug) };
    if tenant == TenantId::MASTER && !workspace::is_agents_place(&directory, &root) {
        tracing::info!(agent = agent.agent_key, "the agent's directory stays: it is not below the workspaces");
        return;
    }
    match timeout(PATIENCE, remove_below(&root, &directory)).await {
        Ok(Ok(true)) => {}
        Ok(Ok(false)) => tracing::warn!(directory = %directory.display(), "the agent's directory stays: it is reached by a link"),
        Ok(Err(error)) => tracing::warn!(directory = %directory.display(), %error, "the agent's directory could not be removed"),
        Err(_) => tracing::warn!(directory = %directory.display(), "removing the agent's directory takes too long"),
    }
}

/// Removes a directory below `root`. `false` if a link on the way to it leads elsewhere.
async fn remove_below(root: &Path, directory: &Path) -> io::Result<bool> {
    let Ok(below) = directory.strip_prefix(root) else { return Ok(false) };
    let real = match fs::canonicalize(directory).await {
        Ok(real) => real,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    if below.as_os_str().is_empty() || real != fs::canonicalize(root).await?.join(below) {
        return Ok(false);
    }
    fs::remove_dir_all(real).await.map(|()| true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[tokio::test]
    async fn files_that_are_there_stay() {
        let root = tempfile::tempdir().unwrap();
        let file = |content: &str| ContextFile { name: "SOUL.md".into(), content: content.into() };
        let directory = root.path().join("a/b");
        make(&directory, &[file("first")]).await.unwrap();
        make(&directory, &[file("second")]).await.unwrap();
        assert_eq!(std::fs::read_to_string(directory.join("SOUL.md")).unwrap(), "first");
    }

    #[tokio::test]
    async fn nothing_is_removed_through_a_link() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir_all(outside.path().join("precious")).unwrap();
        std::fs::create_dir_all(root.path().join("own/deep")).unwrap();
        symlink(outside.path(), root.path().join("link")).unwrap();
        for place in ["link", "link/precious"] {
            assert!(!remove_below(root.path(), &root.path().join(place)).await.unwrap());
        }
        assert!(!remove_below(root.path(), root.path()).await.unwrap());
        assert!(!remove_below(root.path(), outside.path()).await.unwrap());
        assert!(remove_below(root.path(), &root.path().join("own")).await.unwrap());
        assert!(remove_below(root.path(), &root.path().join("never")).await.unwrap());
        assert!(outside.path().join("precious").exists() && !root.path().join("own").exists());
    }
}
