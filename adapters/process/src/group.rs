//! A process and everything it starts.

use crate::warden;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{io, process::ExitStatus};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

/// A process and all processes of its group. They are killed when this is dropped, or when this process is killed.
#[derive(Debug)]
pub struct Group {
    child: Child,
    id: Option<Pid>,
}

impl Group {
    /// Starts `command` as the first process of a group of its own.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let (child, id) = warden::spawn(command.process_group(0).kill_on_drop(true))?;
        Ok(Self { child, id })
    }

    /// The ends of the pipes that `command` asked for. Each is there once.
    pub fn pipes(&mut self) -> (Option<ChildStdin>, Option<ChildStdout>, Option<ChildStderr>) {
        (self.child.stdin.take(), self.child.stdout.take(), self.child.stderr.take())
    }

    /// Kills the group. The first process still has to be waited for.
    pub fn kill(&mut self) {
        if let Some(id) = self.id.take() {
            // No such group: all have ended already.
            let _ = killpg(id, Signal::SIGKILL);
            warden::release(id);
        }
    }

    /// Asks the group to end.
    pub fn terminate(&self) {
        if let Some(id) = self.id {
            // No such group: all have ended already.
            let _ = killpg(id, Signal::SIGTERM);
        }
    }

    /// Waits until the first process has ended, then kills what it left behind.
    ///
    /// # Errors
    /// If the system does not tell.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await;
        self.kill();
        status
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The runtime reaps the child when it is dropped.
        self.kill();
    }
}
