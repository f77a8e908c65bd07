//! One command as a process of this machine.

use super::{ExecOptions, Site};
use goclaw_process::{End, Ended};
use std::time::Duration;
use tokio::process::Command;

/// A duration the way people say it: `1m0s`, `90ms`.
pub fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0) => format!("{}ms", duration.as_millis()),
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

fn shell(command: &str, site: &Site, options: &ExecOptions) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command);
    // The process' own environment holds the installation's secrets.
    shell.env_clear().env("PATH", &options.path).env("HOME", &site.workspace);
    shell.env("LANG", "C.UTF-8").env("TZ", "UTC").env("TERM", "dumb");
    #[cfg(target_os = "linux")]
    {
        // Entering the directory by its handle leaves no time in which it could be exchanged for a link.
        use std::os::fd::AsRawFd;
        shell.current_dir(format!("/proc/self/fd/{}", site.directory.as_raw_fd()));
    }
    #[cfg(not(target_os = "linux"))]
    shell.current_dir(&site.path);
    shell
}

/// Runs `command` to its end or to the timeout. Dropping the future kills it with all that it started.
pub async fn run(command: &str, site: &Site, options: &ExecOptions) -> Ended {
    let ended = goclaw_process::run(&mut shell(command, site, options), b"", options.timeout, options.capture_limit).await;
    if let End::NotStarted(why) = &ended.end {
        tracing::error!(why, "the shell cannot be started");
    }
    ended
}
