//! `exec`: runs a shell command.

mod answer;
mod approval;
pub(crate) mod deny;
mod patterns;
mod process;

pub use approval::{Ask, ExecApproval, Security};
pub use patterns::{DenyGroup, SHELL_DENY_GROUPS};

use crate::{
    arguments::{Arguments, Refusal},
    confine::{Access, PathError, Root},
};
pub(crate) use approval::Decision;
use async_trait::async_trait;
use deny::Denial;
use goclaw_ports::{
    JsonObject,
    tools::{Tool, ToolContext, ToolEffect, ToolResult, ToolSpec},
};
use serde_json::json;
use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

/// How commands run.
#[derive(Debug, Clone)]
pub struct ExecOptions {
    /// How long a command may take. Default 60 s.
    pub timeout: Duration,
    /// Bytes kept of each of standard output and standard error. Default 1 MiB.
    pub capture_limit: usize,
    /// Characters of an answer. Default 30,000.
    pub answer_chars: usize,
    /// Which commands run without being asked for. Whoever keeps a clone may change it while tools run; the next call sees the change.
    pub approval: Arc<RwLock<ExecApproval>>,
    /// `PATH` of commands.
    pub path: String,
}

impl Default for ExecOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(60),
            capture_limit: 1 << 20,
            answer_chars: 30_000,
            approval: Arc::default(),
            path: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
        }
    }
}

/// Runs shell commands on this machine.
pub struct Exec {
    spec: ToolSpec,
    options: ExecOptions,
    protected: Arc<[PathBuf]>,
}

/// A directory that a command runs in, and the workspace that is its home.
struct Site {
    workspace: PathBuf,
    directory: OwnedFd,
    #[cfg_attr(target_os = "linux", expect(dead_code, reason = "Linux enters the directory by its handle"))]
    path: PathBuf,
}

impl Exec {
    pub fn new(options: ExecOptions, protected: Arc<[PathBuf]>) -> Self {
        let spec = ToolSpec {
            name: "exec",
            description: format!(
                "Run a command with sh in the workspace and get what it prints. It has {} to end; processes it leaves in the background end with it.",
                process::in_words(options.timeout)
            ),
            parameters: json!({
                "type": "object",
                "properties": {
                    "command": {"type": "string", "description": "The command line, as for sh -c."},
                    "working_dir": {"type": "string", "description": "Directory to run in, inside the workspace. Default: the workspace."},
                },
                "required": ["command"],
            }),
            effect: ToolEffect::Either,
        };
        Self { spec, options, protected }
    }

    async fn exec(&self, context: &ToolContext, arguments: &Arguments) -> Result<ToolResult, Refusal> {
        let command = arguments.filled_text("command")?;
        let directory = arguments.text("working_dir")?.filter(|path| !path.trim().is_empty()).unwrap_or_else(|| ".".into());
        if command.contains('\0') {
            return Err(Refusal::new("command contains invalid NUL byte"));
        }
        self.permit(context, &command)?;
        let site = self.site(&context.workspace, &directory).await?;
        let ended = process::run(&command, &site, &self.options).await;
        Ok(answer::compose(ended, self.options.answer_chars))
    }

    /// Asks the deny groups, then the approval policy.
    fn permit(&self, context: &ToolContext, command: &str) -> Result<(), Refusal> {
        match deny::check(command, context, &self.protected) {
            None => {}
            Some(denial @ Denial::Installation) => {
                tracing::info!(tenant = %context.tenant, session = %context.session_key, "a package installation was refused");
                return Err(Refusal::new(denial.to_string()));
            }
            Some(denial) => {
                tracing::warn!(tenant = %context.tenant, session = %context.session_key, "a command was denied by the safety policy");
                return Err(Refusal::new(denial.to_string()));
            }
        }
        let decision = self.options.approval.read().unwrap_or_else(PoisonError::into_inner).decide(command);
        match decision {
            Decision::Allow => Ok(()),
            Decision::Deny => Err(Refusal::new("command denied by exec approval policy")),
            Decision::Ask => Err(Refusal::new(
                "command denied by exec approval policy: it needs an approval, and there is nobody here to ask. \
                 Use another command, or tell the user that an administrator must allow this one.",
            )),
        }
    }

    async fn site(&self, workspace: &Path, directory: &str) -> Result<Site, Refusal> {
        let (workspace, protected, wanted) = (workspace.to_owned(), Arc::clone(&self.protected), directory.to_owned());
        let opened = tokio::task::spawn_blocking(move || {
            let root = Root::open(&workspace, &protected)?;
            let (handle, relative) = root.directory(&wanted, Access::Read)?;
            Ok(Site { workspace: root.absolute(Path::new("")), directory: handle, path: root.absolute(&relative) })
        });
        let opened = opened.await.unwrap_or(Err(PathError::System(nix::errno::Errno::EIO)));
        opened.map_err(|error| Refusal::new(format!("working_dir {directory}: {error}")))
    }
}

#[async_trait]
impl Tool for Exec {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, context: &ToolContext, arguments: JsonObject) -> ToolResult {
        self.exec(context, &Arguments(arguments)).await.unwrap_or_else(ToolResult::from)
    }
}

#[cfg(test)]
mod tests;
