//! `edge-tts` as a script that answers as it is told.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use goclaw_outbound::{Outbound, OutboundOptions};
use goclaw_ports::speech::{Audio, AudioFormat, SpeechError, SpeechProvider, SpeechProviders, SpeechRequest};
use goclaw_speech::{EdgeConfig, Services, SpeechConfig};
use nix::{sys::stat::Mode, unistd::mkfifo};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// Speaks by repeating the text.
const REPEATS: &str = r#"
printf '%s\n' "$@" > "$HOME/arguments"
env > "$HOME/environment"
while [ $# -gt 0 ]; do
  case "$1" in
    --file) text=$2; shift 2;;
    --write-media) media=$2; shift 2;;
    *) shift;;
  esac
done
cp "$text" "$media""#;

/// Puts a program there. Another process writes it: one of ours that is being forked could still hold it open for writing
/// when it is started.
fn install(program: &Path, script: &str) {
    let mut writing = Command::new("/bin/sh").arg("-c").arg("cat > \"$0\" && chmod 755 \"$0\"").arg(program).stdin(Stdio::piped()).spawn().unwrap();
    writing.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{script}\n").as_bytes()).unwrap();
    assert!(writing.wait().unwrap().success());
}

fn edge(home: &Path, rate: Option<&str>) -> Arc<dyn SpeechProvider> {
    let home = home.to_str().unwrap();
    let environment = [("PATH", format!("{home}:/usr/bin:/bin")), ("HOME", home.to_owned()), ("TMPDIR", home.to_owned())];
    let environment = environment.map(|(name, value)| (name.to_owned(), value)).into();
    let edge = Some(EdgeConfig { voice: "en-US-MichelleNeural".into(), rate: rate.map(str::to_owned), environment });
    Services::new(&Outbound::new(OutboundOptions::default()).unwrap(), SpeechConfig { edge, ..SpeechConfig::default() }).now().remove(0)
}

fn request(text: &str) -> SpeechRequest {
    SpeechRequest { text: text.into(), voice: None, model: Some("ignored".into()), format: AudioFormat::Opus }
}

fn installed(script: &str) -> TempDir {
    let home = TempDir::new().unwrap();
    install(&home.path().join("edge-tts"), script);
    home
}

#[tokio::test]
async fn the_program_gets_the_text_in_a_file_and_an_environment_without_secrets() {
    let home = installed(REPEATS);
    let text = "--write-media /etc/passwd; $(reboot)\n“Xin chào”";
    let audio = edge(home.path(), Some("-20%")).speak(&request(text)).await.unwrap();
    // It speaks MP3, whatever it is asked for.
    assert_eq!(audio, Audio { bytes: text.into(), format: AudioFormat::Mp3 });
    let arguments = fs::read_to_string(home.path().join("arguments")).unwrap();
    let arguments: Vec<&str> = arguments.lines().collect();
    let [_, _, _, file, _, media, _] = arguments[..] else { panic!("{arguments:?}") };
    assert_eq!(arguments, ["--voice", "en-US-MichelleNeural", "--file", file, "--write-media", media, "--rate=-20%"]);
    assert!(!Path::new(file).exists() && !Path::new(file).parent().unwrap().exists(), "nothing is left behind");
    let environment = fs::read_to_string(home.path().join("environment")).unwrap();
    let mut names: Vec<&str> = environment.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
    names.sort_unstable();
    assert_eq!(names, ["HOME", "PATH", "TMPDIR"]);
}

#[tokio::test]
async fn a_voice_that_could_be_an_option_is_refused() {
    let home = installed("touch \"$HOME/ran\"");
    for voice in ["--list-voices", "-h", "a;b", ""] {
        let asked = SpeechRequest { voice: Some(voice.into()), ..request("x") };
        let SpeechError(why) = edge(home.path(), None).speak(&asked).await.unwrap_err();
        assert!(why.starts_with("edge: there is no voice"), "{why}");
    }
    assert!(!home.path().join("ran").exists());
}

#[tokio::test]
async fn failures_say_what_the_program_said_last() {
    let missing = TempDir::new().unwrap();
    let SpeechError(why) = edge(missing.path(), None).speak(&request("x")).await.unwrap_err();
    assert!(why.starts_with("edge: the program edge-tts cannot be started"), "{why}");

    let home = installed("head -c 20000 /dev/zero | tr '\\0' x >&2; echo; echo 'no route to the voices' >&2; exit 1");
    let SpeechError(why) = edge(home.path(), None).speak(&request("x")).await.unwrap_err();
    assert!(why.starts_with("edge: exit status: 1: ") && why.len() < 400, "{why}");

    let home = installed("exit 0");
    let SpeechError(why) = edge(home.path(), None).speak(&request("x")).await.unwrap_err();
    assert!(why.starts_with("edge: its audio cannot be read"), "{why}");

    let home = installed("while [ \"$1\" != --write-media ]; do shift; done; truncate -s 33554433 \"$2\"");
    let SpeechError(why) = edge(home.path(), None).speak(&request("x")).await.unwrap_err();
    assert!(why.ends_with("it is larger than 33554432 bytes"), "{why}");
}

#[tokio::test]
async fn whoever_stops_waiting_ends_the_program_and_what_it_started() {
    let home = installed("exec 9> \"$HOME/pipe\"; echo up >&9; sh -c 'sleep 1000 & sleep 1000' & sleep 1000");
    let pipe = home.path().join("pipe");
    mkfifo(&pipe, Mode::from_bits_truncate(0o600)).unwrap();
    let (runs, running) = oneshot::channel();
    let (ends, ended) = oneshot::channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(File::open(pipe).unwrap());
        reader.read_line(&mut String::new()).unwrap();
        runs.send(()).unwrap();
        reader.read_to_end(&mut Vec::new()).unwrap();
        ends.send(()).unwrap();
    });
    let edge = edge(home.path(), None);
    let speaking = tokio::spawn(async move { edge.speak(&request("x")).await });
    running.await.unwrap();
    speaking.abort();
    assert!(speaking.await.unwrap_err().is_cancelled());
    ended.await.unwrap();
}
