//! The built-in tools: files of the workspace, the shell, pages of the web, and the time.
//!
//! Nothing of a call is kept on a tool, so one instance serves all calls at once. Every path from a model passes
//! [`confine`], every command passes the deny groups and the approval policy, every URL passes the outbound guard.
#![deny(missing_docs)]

mod arguments;
mod audio;
mod confine;
mod datetime;
mod disk;
mod exec;
mod files;
mod host;
mod web_fetch;

pub use audio::AudioShelf;
#[cfg(fuzzing)]
#[doc(hidden)]
pub use confine::fuzzing;
pub use disk::LocalDisk;
pub use exec::{Ask, DenyGroup, ExecApproval, ExecOptions, SHELL_DENY_GROUPS, Security};
pub use host::Host;
pub use web_fetch::{FetchPolicy, WebFetchOptions};

use goclaw_outbound::Outbound;
use goclaw_ports::{
    clock::SystemClock,
    tools::{Tools, VirtualFiles},
};
use std::{
    path::PathBuf,
    sync::{Arc, RwLock},
};

/// What the built-in tools work with.
pub struct ToolsOptions {
    /// The guarded way to the web.
    pub outbound: Arc<Outbound>,
    /// The paths that are rows, not files. They are asked before the disk.
    pub virtual_files: Arc<dyn VirtualFiles>,
    /// How commands run.
    pub exec: ExecOptions,
    /// Which pages may be fetched. Whoever keeps a clone may change it while tools run; the next call sees the change.
    pub web_fetch: Arc<RwLock<WebFetchOptions>>,
    /// Absolute paths of the installation (data directory, configuration, database, …) that file tools never open and
    /// commands must not name. A workspace inside of one stays usable.
    pub protected_paths: Vec<PathBuf>,
}

/// All built-in tools, in the order in which models see them.
#[must_use]
pub fn builtin(options: ToolsOptions) -> Tools {
    let protected: Arc<[PathBuf]> = options.protected_paths.into();
    let workspace_files = files::WorkspaceFiles::new(options.virtual_files, Arc::clone(&protected));
    vec![
        Arc::new(files::ReadFile::new(workspace_files.clone())),
        Arc::new(files::WriteFile::new(workspace_files.clone())),
        Arc::new(files::Edit::new(workspace_files.clone())),
        Arc::new(files::ListFiles::new(workspace_files)),
        Arc::new(exec::Exec::new(options.exec, protected)),
        Arc::new(web_fetch::WebFetch::new(options.outbound, options.web_fetch)),
        Arc::new(datetime::Datetime::new(Arc::new(SystemClock))),
    ]
}

#[cfg(test)]
mod testing;
