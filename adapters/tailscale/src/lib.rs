//! A second way to the gateway: through a Tailscale network, by the Tailscale programs of this machine.
//!
//! `tailscaled` runs as a child in user space, with a state, a socket and a process group of its own, so that it neither needs
//! special rights nor touches a network that the machine is in already. It passes requests on to the gateway's port.
#![deny(missing_docs)]

mod daemon;
mod join;

use daemon::Daemon;
use secrecy::SecretString;
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    runtime::Handle,
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

/// The first pause before another attempt, and the longest; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// What has run for so long was well, so that the next trouble is a new one.
const STEADY: Duration = Duration::from_secs(60);

/// What to be in the network.
#[derive(Debug, Clone)]
pub struct TailnetOptions {
    /// The name there.
    pub hostname: String,
    /// Where the daemon keeps what it knows. Only the owner gets to read it.
    pub state_dir: PathBuf,
    /// Whether the network forgets the machine when it stops.
    pub ephemeral: bool,
    /// Whether clients come to port 443, with a certificate that Tailscale gets; else to port 80.
    pub tls: bool,
    /// What lets the machine in; not needed by one that is in already.
    pub auth_key: Option<SecretString>,
    /// All that the programs see of the environment.
    pub environment: Vec<(String, String)>,
}

/// The two programs.
#[derive(Debug, Clone)]
pub struct Programs {
    daemon: PathBuf,
    client: PathBuf,
}

/// Why the gateway is not in the network.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Programs are missing.
    #[error("there is no program {0} in PATH; install Tailscale, or take tailscale.hostname out of the configuration")]
    Missing(&'static str),
    /// The state's directory cannot be used.
    #[error("{}: {error}", path.display())]
    State {
        /// The directory, or a file in it.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A socket's path has at most about a hundred bytes.
    #[error("the path {} is too long for a socket; set tailscale.state_dir", .0.display())]
    LongPath(PathBuf),
    /// The daemon cannot be started.
    #[error("tailscaled cannot be started: {0}")]
    NotStarted(io::Error),
    /// The daemon opens no socket.
    #[error("tailscaled does not open its socket within {} s", .0.as_secs())]
    Silent(Duration),
    /// The daemon has ended.
    #[error("tailscaled has ended ({how}){said}")]
    Ended {
        /// How.
        how: String,
        /// What it said last.
        said: String,
    },
    /// A step failed.
    #[error("`tailscale {step}` failed ({how}){said}")]
    Refused {
        /// Which.
        step: &'static str,
        /// How.
        how: String,
        /// What it said.
        said: String,
    },
}

impl Programs {
    /// The programs in these directories.
    ///
    /// # Errors
    /// Names the one that is missing.
    pub fn find(search_path: &[PathBuf]) -> Result<Self, Trouble> {
        let find = |name: &'static str| {
            let mut files = search_path.iter().filter(|directory| directory.is_absolute()).map(|directory| directory.join(name));
            files.find(|file| file.is_file()).ok_or(Trouble::Missing(name))
        };
        Ok(Self { daemon: find("tailscaled")?, client: find("tailscale")? })
    }

    /// Where the daemon's program is.
    #[must_use]
    pub fn daemon(&self) -> &Path {
        &self.daemon
    }
}

/// The gateway's place in the network. It is given up by [`Tailnet::stop`], or when this is dropped.
pub struct Tailnet {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Tailnet {
    /// Has what comes to the network's port passed on to `port` of 127.0.0.1, and tries again for as long as that fails.
    #[must_use]
    pub fn start(options: TailnetOptions, programs: Programs, port: u16, runtime: &Handle) -> Self {
        let stop = CancellationToken::new();
        let task = runtime.spawn(stay(options, programs, port, stop.clone()));
        Self { stop, task }
    }

    /// Leaves the network and waits until the programs have ended.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "leaving the tailnet failed");
        }
    }
}

impl Drop for Tailnet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn stay(options: TailnetOptions, programs: Programs, port: u16, stop: CancellationToken) {
    let mut pause = FIRST_PAUSE;
    loop {
        let began = Instant::now();
        match once(&options, &programs, port, &stop).await {
            Ok(()) => return,
            Err(trouble) => {
                if began.elapsed() >= STEADY {
                    pause = FIRST_PAUSE;
                }
                tracing::warn!(error = %trouble, next_attempt_in = ?pause, "the gateway is not in the tailnet");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
        }
    }
}

/// Joins and stays until it is stopped.
async fn once(options: &TailnetOptions, programs: &Programs, port: u16, stop: &CancellationToken) -> Result<(), Trouble> {
    let mut daemon = Daemon::start(options, &programs.daemon).await?;
    let stayed = tokio::select! {
        () = stop.cancelled() => Ok(()),
        trouble = daemon.ended() => Err(trouble),
        trouble = join_and_wait(options, programs, port) => Err(trouble),
    };
    daemon.end().await;
    stayed
}

/// Ends only if something goes wrong.
async fn join_and_wait(options: &TailnetOptions, programs: &Programs, port: u16) -> Trouble {
    match join::join(options, &programs.client, port).await {
        Ok(()) => {
            tracing::info!(hostname = options.hostname, port = if options.tls { 443 } else { 80 }, "the gateway is in the tailnet");
            std::future::pending().await
        }
        Err(trouble) => trouble,
    }
}
