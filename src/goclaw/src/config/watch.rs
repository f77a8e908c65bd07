//! Noticing that somebody has edited the configuration file.

use super::live::LiveConfiguration;
use anyhow::{Context, Result};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

/// How long the file must have been left alone before it is read. Editors write in several steps.
const QUIET: Duration = Duration::from_millis(300);
/// It is read after this long even if it is never left alone.
const LONGEST: Duration = Duration::from_secs(3);

/// Watches, until it is dropped.
pub struct Watch {
    _watcher: RecommendedWatcher,
    reader: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Reads the file again whenever it changes. The file need not exist; its directory must.
///
/// # Errors
/// If the directory cannot be watched.
pub fn watch(path: &Path, configuration: &Arc<LiveConfiguration>, runtime: &tokio::runtime::Handle) -> Result<Watch> {
    // The directory is watched, because editors put a new file in the place of the old one. A link leads to another directory,
    // and may be turned to yet another one.
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = |path: &Path| path.file_name().map(ToOwned::to_owned).context("the path names no file");
    let names = [name(path)?, name(&target)?];
    let link = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    // One mark is enough: it says that it is worth looking. The first is there already, for what happened since the start.
    let (changed, changes) = mpsc::channel(1);
    let _ = changed.try_send(());
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let about_it = match &event {
            Ok(event) => {
                let named = |path: &PathBuf| path.file_name().is_some_and(|name| names.iter().any(|known| known == name));
                !matches!(event.kind, EventKind::Access(_)) && (link || event.paths.iter().any(named))
            }
            // Events may have been lost.
            Err(_) => true,
        };
        if about_it {
            // A full queue holds the mark already.
            let _ = changed.try_send(());
        }
    })?;
    let directory = |path: &Path| path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    let mut directories = vec![directory(path), directory(&target)];
    directories.dedup();
    for directory in directories {
        watcher.watch(&directory, RecursiveMode::NonRecursive).with_context(|| format!("cannot watch {}", directory.display()))?;
    }
    let reader = runtime.spawn(read(changes, Arc::downgrade(configuration)));
    Ok(Watch { _watcher: watcher, reader })
}

async fn read(mut changes: mpsc::Receiver<()>, configuration: Weak<LiveConfiguration>) {
    while changes.recv().await.is_some() {
        let quiet = async { while let Ok(Some(())) = timeout(QUIET, changes.recv()).await {} };
        // Read in any case.
        let _ = timeout(LONGEST, quiet).await;
        let Some(configuration) = configuration.upgrade() else { return };
        configuration.reread().await;
    }
}
