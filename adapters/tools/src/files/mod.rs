//! The file tools: `read_file`, `write_file`, `edit`, `list_files`.

mod edit;
mod list;
mod read;
mod write;

pub use edit::Edit;
pub use list::ListFiles;
pub use read::ReadFile;
pub use write::WriteFile;

use crate::{
    arguments::Refusal,
    confine::{PathError, Root},
};
use goclaw_ports::tools::{ToolContext, VirtualFiles};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::{Mutex, MutexGuard};

/// Largest file that is read or edited, in bytes.
const MAX_FILE: u64 = 10 << 20;
/// Locks that serialise changes; files share them by hash.
const LOCKS: usize = 64;

/// The files of workspaces, virtual ones first.
#[derive(Clone)]
pub struct WorkspaceFiles {
    virtual_files: Arc<dyn VirtualFiles>,
    protected: Arc<[PathBuf]>,
    locks: Arc<[Mutex<()>; LOCKS]>,
}

impl WorkspaceFiles {
    pub fn new(virtual_files: Arc<dyn VirtualFiles>, protected: Arc<[PathBuf]>) -> Self {
        Self { virtual_files, protected, locks: Arc::new(std::array::from_fn(|_| Mutex::new(()))) }
    }

    /// Waits until no other call changes a file of this name in the workspace: models call tools in parallel, and two
    /// edits of one file must both be kept.
    async fn lock(&self, context: &ToolContext, path: &str) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        (context.tenant, &context.workspace, Path::new(path).file_name()).hash(&mut hasher);
        self.locks[hasher.finish() as usize % LOCKS].lock().await
    }

    /// Does `work` on the workspace of the call, on a thread that may wait for the disk.
    async fn on_disk<T: Send + 'static>(
        &self,
        context: &ToolContext,
        work: impl FnOnce(&Root<'_>) -> Result<T, PathError> + Send + 'static,
    ) -> Result<T, PathError> {
        let (workspace, protected) = (context.workspace.clone(), Arc::clone(&self.protected));
        let done = tokio::task::spawn_blocking(move || work(&Root::open(&workspace, &protected)?)).await;
        done.unwrap_or(Err(PathError::System(nix::errno::Errno::EIO)))
    }
}

/// What the model reads when a path is refused.
fn refusal(path: &str, error: PathError) -> Refusal {
    Refusal::new(match error {
        PathError::Missing => format!("file not found: {path}"),
        PathError::TooLarge(_) => {
            format!("{path}: {error}, too large for this tool; use exec with head, tail, grep or sed to work on a part of it")
        }
        PathError::IsDirectory => format!("{path} is a directory; use list_files to see what is in it"),
        error => format!("{error}: {path}"),
    })
}

#[cfg(test)]
mod tests;
