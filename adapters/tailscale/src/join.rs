//! Joining the network, with `tailscale`.

use super::{
    TailnetOptions, Trouble,
    daemon::{in_words, socket},
};
use goclaw_process::{End, run};
use secrecy::ExposeSecret;
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::process::Command;

/// How long Tailscale may take to let the machine in.
const JOINING: Duration = Duration::from_secs(60);
/// How long a step may take in all: it says why it gave up, if it is given the time to.
const STEP: Duration = Duration::from_secs(70);
/// How much of what a step says is kept, in bytes.
const WORDS: usize = 1000;

/// Joins the network and has the gateway's `port` served there.
pub async fn join(options: &TailnetOptions, client: &Path, port: u16) -> Result<(), Trouble> {
    let key = KeyFile::write(options)?;
    let mut up = vec!["up".to_owned(), "--reset".to_owned(), format!("--hostname={}", options.hostname), format!("--timeout={}s", JOINING.as_secs())];
    // It is for the gateway only, whose names are resolved by the system.
    up.push("--accept-dns=false".to_owned());
    // Everybody on the machine sees arguments; a file shows itself to its owner.
    up.extend(key.as_ref().map(|key| format!("--auth-key=file:{}", key.0.display())));
    step(options, client, "up", up).await?;
    drop(key);
    // What an earlier start served, under another port perhaps.
    step(options, client, "serve reset", vec!["serve".to_owned(), "reset".to_owned()]).await?;
    let place = if options.tls { "--https=443" } else { "--http=80" };
    let serve = ["serve", "--bg", "--yes", place].map(str::to_owned).into_iter().chain([format!("http://127.0.0.1:{port}")]);
    step(options, client, "serve", serve.collect()).await
}

async fn step(options: &TailnetOptions, client: &Path, step: &'static str, arguments: Vec<String>) -> Result<(), Trouble> {
    let mut command = Command::new(client);
    command.arg(format!("--socket={}", socket(options).display())).args(arguments);
    command.env_clear().envs(options.environment.iter().cloned()).current_dir(&options.state_dir);
    let ended = run(&mut command, b"", STEP, WORDS).await;
    let how = match ended.end {
        End::Success => return Ok(()),
        End::Failure(how) => how,
        End::Timeout(limit) => format!("no end within {} s", limit.as_secs()),
        End::NotStarted(why) => why,
    };
    let mut said = ended.stderr.kept;
    said.extend(ended.stdout.kept);
    let mut said = in_words(&said);
    if let Some(key) = &options.auth_key {
        said = said.replace(key.expose_secret(), "***");
    }
    Err(Trouble::Refused { step, how, said })
}

/// The key in a file that only its owner may read, for as long as it is needed.
struct KeyFile(PathBuf);

impl KeyFile {
    fn write(options: &TailnetOptions) -> Result<Option<Self>, Trouble> {
        let Some(key) = &options.auth_key else { return Ok(None) };
        let path = options.state_dir.join("auth-key");
        let written = remove(&path)
            .and_then(|()| fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path))
            .and_then(|mut file| file.write_all(key.expose_secret().as_bytes()));
        match written {
            Ok(()) => Ok(Some(Self(path))),
            Err(error) => Err(Trouble::State { path, error }),
        }
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            tracing::error!(%error, path = %self.0.display(), "a file with a secret cannot be removed");
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
