//! One command from its start to its end.

use crate::{Captured, Group};
use std::{process::Stdio, time::Duration};
use tokio::{io::AsyncWriteExt, process::Command};

/// How long output is still read after the command has ended. Its group is dead by then; only a process that left the
/// group can hold the pipe.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How a command ended, and what it printed.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub end: End,
    /// What it printed.
    pub stdout: Captured,
    /// What it complained about.
    pub stderr: Captured,
}

/// How a command ended.
#[derive(Debug)]
pub enum End {
    /// By itself, with success.
    Success,
    /// By itself; how, in words.
    Failure(String),
    /// It was killed after this time.
    Timeout(Duration),
    /// It never ran; why, in words.
    NotStarted(String),
}

/// Runs `command` to its end or to the timeout, with `input` for its standard input, and keeps the first `capture` bytes of
/// each output. Dropping the future kills it with all that it started.
pub async fn run(command: &mut Command, input: &[u8], timeout: Duration, capture: usize) -> Ended {
    let (mut stdout, mut stderr) = (Captured::default(), Captured::default());
    let end = run_into(&mut stdout, &mut stderr, command, input, timeout, capture).await;
    Ended { end, stdout, stderr }
}

async fn run_into(stdout: &mut Captured, stderr: &mut Captured, command: &mut Command, input: &[u8], timeout: Duration, capture: usize) -> End {
    command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() }).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = match Group::spawn(command) {
        Ok(group) => group,
        Err(error) => return End::NotStarted(error.kind().to_string()),
    };
    let (stdin, Some(out), Some(err)) = group.pipes() else {
        return End::NotStarted("its output cannot be read".into());
    };
    let writing = async {
        if let Some(mut stdin) = stdin {
            // A command need not read what it is given.
            let _ = stdin.write_all(input).await;
        }
    };
    let talking = async { tokio::join!(writing, stdout.fill(out, capture), stderr.fill(err, capture)) };
    let ending = async {
        match tokio::time::timeout(timeout, group.wait()).await {
            Ok(Ok(status)) if status.success() => End::Success,
            Ok(Ok(status)) => End::Failure(status.to_string()),
            Ok(Err(error)) => End::Failure(error.kind().to_string()),
            Err(_) => {
                group.kill();
                // It was killed, so this is over at once; it leaves no zombie.
                let _ = group.wait().await;
                End::Timeout(timeout)
            }
        }
    };
    tokio::pin!(talking, ending);
    tokio::select! {
        end = &mut ending => {
            let _ = tokio::time::timeout(LAST_WORDS, &mut talking).await;
            end
        }
        // A command may close its output and go on.
        _ = &mut talking => ending.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::{sys::stat::Mode, unistd::mkfifo};
    use tempfile::TempDir;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script);
        command
    }

    #[tokio::test]
    async fn a_command_gets_its_input_and_tells_how_it_ended() {
        let ended = run(&mut sh("cat; echo no >&2; exit 3"), b"hello", Duration::from_secs(20), 4).await;
        assert!(matches!(&ended.end, End::Failure(how) if how.contains('3')), "{:?}", ended.end);
        assert_eq!((ended.stdout.kept.as_slice(), ended.stdout.total, ended.stderr.kept.as_slice()), (&b"hell"[..], 5, &b"no\n"[..]));
    }

    #[tokio::test]
    async fn a_command_need_not_read_its_input() {
        let ended = run(&mut sh("exit 0"), &vec![b'x'; 1 << 20], Duration::from_secs(20), 10).await;
        assert!(matches!(ended.end, End::Success), "{:?}", ended.end);
    }

    #[tokio::test]
    async fn a_timeout_ends_what_the_command_started_as_well() {
        let directory = TempDir::new().unwrap();
        let pipe = directory.path().join("pipe");
        mkfifo(&pipe, Mode::from_bits_truncate(0o600)).unwrap();
        // Opening waits for the other side, reading for the end of all who hold it.
        let family = std::thread::spawn(move || std::fs::read_to_string(pipe).unwrap());
        let mut command = sh("exec 9> pipe; echo up >&9; sh -c 'sleep 1000 & sleep 1000' & sleep 1000");
        let ended = run(command.current_dir(directory.path()), b"", Duration::from_secs(2), 100).await;
        assert!(matches!(ended.end, End::Timeout(_)), "{:?}", ended.end);
        assert_eq!(family.join().unwrap(), "up\n");
    }

    #[tokio::test]
    async fn what_cannot_be_started_says_so() {
        let ended = run(&mut Command::new("/there/is/no/such/program"), b"", Duration::from_secs(1), 10).await;
        assert!(matches!(&ended.end, End::NotStarted(why) if why.contains("not found")), "{:?}", ended.end);
    }
}
